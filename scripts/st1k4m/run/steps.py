"""The steps of a slide, their products, and what a step makes out of date."""

PRODUCTS = {
    "fetch_counts": (),
    "fetch_coord": (),
    "fetch_image": (),
    "count_expression": ("work/expression/{slide}.h5ad",),
    "align_spots": ("work/spots/{slide}.parquet",),
    "cut_tiles": ("results/tiles/{slide}.h5", "results/tiles/{slide}.tar"),
    "build_anndata": (
        "results/anndata/{slide}.h5ad",
        "results/ledger/{slide}.parquet",
        "results/records/{slide}.json",
    ),
    "draw_slide": (
        "results/report/slides/{slide}.js",
        "results/overlay/{slide}.jpg",
        "results/report/tissue/{slide}.jpg",
        "results/report/thumbs/{slide}.jpg",
        "results/report/tiles/{slide}.jpg",
    ),
}
"""The steps of a slide in the order of the chain, and what each leaves."""

# What a step that runs anew makes stale, by the steps that made it. A fetch may serve one step only
# (the image, when a tile option changed), so it names just what every step leads to.
LATER = {
    "fetch_counts": ("build_anndata", "draw_slide"),
    "fetch_coord": ("build_anndata", "draw_slide"),
    "fetch_image": ("build_anndata", "draw_slide"),
    "count_expression": ("cut_tiles", "build_anndata", "draw_slide"),
    "align_spots": ("cut_tiles", "build_anndata", "draw_slide"),
    "cut_tiles": ("build_anndata", "draw_slide"),
    "build_anndata": ("draw_slide",),
    "draw_slide": (),
}

REVISIONS = {
    "count_expression": 1,
    "align_spots": 1,
    "cut_tiles": 1,
    "build_anndata": 1,
    "draw_slide": 1,
    "build_manifest": 1,
    "build_report": 1,
}
"""One integer a step, in the ``params`` of its rule: raising it re-runs the step for every slide.

Raise it whenever the output of the step changes.
"""
