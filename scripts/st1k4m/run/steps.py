"""The steps of the workflow: the products of each, the steps it reads from, and its revision.

Only this table states them. A test checks that it equals the rules. A step is a rule, a script and
a folder of logs of the same name.
"""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes
    ----------
    name
        Name of the rule.
    makes
        Its outputs by their name in the rule; ``{slide}`` is the name of the slide.
    reads
        The steps whose outputs it reads.
    revision
        It is one of the rule's ``params``, so a higher revision re-runs the step for every slide.
        Raise it whenever the step's output changes.
    kept_when_stale
        Whether its outputs are kept when it, or a step before it, runs again. Downloads are.
    optional
        Whether it runs only where the configuration asks for it.
    """

    name: str
    makes: dict[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    revision: int = 1
    kept_when_stale: bool = False
    optional: bool = False


_FETCHES = (
    Step(
        "fetch_counts",
        {"counts": "resources/files/counts/{slide}_count.csv"},
        kept_when_stale=True,
    ),
    Step("fetch_coord", {"coord": "resources/files/coord/{slide}_coord.csv"}, kept_when_stale=True),
    Step(
        "fetch_image",
        {
            "image": "resources/files/image/{slide}.png",
            "fetched": "resources/files/image/{slide}.fetched",
        },
        kept_when_stale=True,
    ),
)
_CHAIN = (
    Step(
        "count_expression",
        {"expression": "work/expression/{slide}.h5ad"},
        ("fetch_counts", "fetch_coord"),
    ),
    Step(
        "align_spots",
        {"spots": "work/spots/{slide}.parquet"},
        ("fetch_coord", "fetch_image"),
        revision=3,
    ),
    Step(
        "cut_tiles",
        makes={"tiles": "results/tiles/{slide}.h5"},
        reads=("fetch_image", "count_expression", "align_spots"),
        revision=4,
    ),
    Step(
        "build_anndata",
        {
            "anndata": "results/anndata/{slide}.h5ad",
            "ledger": "results/ledger/{slide}.parquet",
            "record": "results/records/{slide}.json",
        },
        ("count_expression", "align_spots", "cut_tiles"),
        revision=4,
    ),
    Step(
        "fingerprint_slide",
        {"fingerprint": "work/fingerprints/{slide}.npz"},
        ("build_anndata",),
        revision=2,
    ),
    Step("pack_tiles", {"archive": "results/tiles/{slide}.tar"}, ("cut_tiles",), optional=True),
    Step(
        "draw_slide",
        {
            "overlay": "results/overlay/{slide}.jpg",
            "tissue": "results/report/tissue/{slide}.jpg",
            "thumbnail": "results/report/thumbs/{slide}.jpg",
            "sheet": "results/report/tiles/{slide}.jpg",
            "page": "results/report/slides/{slide}.js",
        },
        ("build_anndata", "cut_tiles"),
        revision=3,
    ),
    Step(
        "write_spatialdata",
        {"store": "results/spatialdata/{slide}.zarr"},
        ("build_anndata", "cut_tiles", "relate_slides", "make_splits"),
        optional=True,
    ),
    Step(
        "hash_products",
        {"sums": "work/checksums/{slide}.txt"},
        ("build_anndata", "cut_tiles", "pack_tiles", "draw_slide", "write_spatialdata"),
        optional=True,
    ),
)
_COLLECTION = (
    Step("calibrate_arrays", {"arrays": "results/collection/arrays"}, ("build_anndata",)),
    Step(
        "build_manifest",
        {
            "manifest": "results/manifest.tsv",
            "summary": "results/summary.json",
            "citations": "results/citations.bib",
            "complete": "work/manifest.complete",
        },
        ("build_anndata", "draw_slide"),
        revision=2,
    ),
    Step(
        "build_report",
        {
            "index": "results/report/index.html",
            "style": "results/report/report.css",
            **{
                name: f"results/report/{name}.js"
                for name in (
                    "core",
                    "gallery",
                    "painting",
                    "slide",
                    "dataset",
                    "collection",
                    "start",
                    "cards",
                    "run",
                )
            },
        },
        ("build_manifest", "fingerprint_slide", "draw_slide"),
        revision=4,
    ),
    Step(
        "relate_slides",
        {
            "slides": "results/collection/slides.tsv",
            "relations": "results/collection/relations.tsv",
            "genes": "results/collection/genes.tsv",
        },
        ("build_anndata", "fingerprint_slide"),
    ),
    Step(
        "make_splits",
        {"split": "results/collection/splits/{split}.tsv"},
        ("relate_slides",),
        revision=2,
    ),
    Step(
        "choose_panel",
        {
            "table": "results/collection/panels/{panel}.tsv",
            "stacked": "results/collection/panels/{panel}.h5ad",
        },
        ("relate_slides",),
        optional=True,
    ),
    Step(
        "draw_collection",
        {"page": "results/report/related.js"},
        ("relate_slides", "make_splits", "choose_panel"),
    ),
)
_TRAINING = (
    Step(
        "write_shards",
        {"part": "results/shards/{shards}/{job}"},
        ("build_anndata", "cut_tiles"),
        revision=2,
        optional=True,
    ),
    Step(
        "index_shards",
        {"index": "results/shards/{shards}/index.json"},
        ("write_shards",),
        optional=True,
    ),
    Step(
        "describe_collection",
        {
            "card": "results/README.md",
            "same_card": "results/collection/README.md",
            "croissant": "results/collection/croissant.json",
            "sums": "results/collection/SHA256SUMS",
            "slides": "results/collection/slides.parquet",
            "splits": "results/collection/splits.parquet",
        },
        (
            "build_manifest",
            "hash_products",
            "relate_slides",
            "make_splits",
            "choose_panel",
            "index_shards",
        ),
        revision=2,
        optional=True,
    ),
)

_BASELINE = (
    Step(
        "embed_tiles",
        {"features": "results/features/{encoder}/{slide}.h5"},
        ("cut_tiles",),
        optional=True,
    ),
    Step(
        "collect_targets",
        {"targets": "work/baseline/{baseline}/targets.h5ad"},
        ("build_anndata", "relate_slides", "make_splits"),
        optional=True,
    ),
    Step(
        "fit_ridge",
        {
            "scores": "work/baseline/{baseline}/{encoder}.ridge.json",
            "painted": "work/baseline/{baseline}/{encoder}.painted.json",
        },
        ("collect_targets", "embed_tiles"),
        optional=True,
    ),
    Step(
        "probe_labels",
        {"scores": "work/baseline/{baseline}/{encoder}.probe.json"},
        ("collect_targets", "embed_tiles"),
        optional=True,
    ),
    Step(
        "score_clusters",
        {"scores": "work/baseline/{baseline}/{encoder}.clusters.json"},
        ("collect_targets", "embed_tiles"),
        optional=True,
    ),
    Step(
        "train_contrastive",
        {"scores": "work/baseline/{baseline}/contrastive.json"},
        ("build_anndata", "cut_tiles", "relate_slides", "make_splits", "choose_panel"),
        optional=True,
    ),
    Step(
        "build_baseline",
        {
            "table": "results/baseline/{baseline}.tsv",
            "numbers": "results/baseline/{baseline}.json",
        },
        ("fit_ridge", "probe_labels", "score_clusters", "train_contrastive"),
        revision=2,
        optional=True,
    ),
    Step(
        "draw_baseline",
        {"page": "results/report/baseline/{baseline}.html"},
        ("build_baseline", "fit_ridge"),
        optional=True,
    ),
)

STEPS = {step.name: step for step in (*_FETCHES, *_CHAIN, *_COLLECTION, *_TRAINING, *_BASELINE)}
"""Every step by its name, in the order of the chain."""

BASELINE = tuple(step.name for step in _BASELINE)
"""Steps of baselines. They run once per encoder and slide, per encoder, or per baseline."""

SLIDE_STEPS = {step.name: step for step in (*_FETCHES, *_CHAIN)}
"""Steps that run once per slide, by name."""


PRODUCTS = {
    name: () if step.kept_when_stale else tuple(step.makes.values())
    for name, step in SLIDE_STEPS.items()
}
"""By step of a slide: its products that are removed when they are stale."""

REVISIONS = {name: step.revision for name, step in STEPS.items() if not step.kept_when_stale}
"""By step: its revision; downloads have none."""


def _all_after(step: str) -> tuple[str, ...]:
    """Return the slide's steps that read products of ``step``, directly or through others."""
    after = {step}
    for later in SLIDE_STEPS.values():  # in the order of the chain
        if after.intersection(later.reads):
            after.add(later.name)
    return tuple(name for name in SLIDE_STEPS if name in after and name != step)


def _stale_after(step: str) -> tuple[str, ...]:
    """Return the slide's steps whose products are stale once ``step`` ran.

    A file can be downloaded again for one of its readers alone: the image, if a tile option
    changed. So after a download only the steps that follow all of its readers are stale.
    """
    readers = [later.name for later in SLIDE_STEPS.values() if step in later.reads]
    if not step.startswith("fetch_"):
        return _all_after(step)
    sure = [{reader, *_all_after(reader)} for reader in readers]
    return tuple(name for name in SLIDE_STEPS if all(name in leads for leads in sure))


STALE_AFTER = {step: _stale_after(step) for step in SLIDE_STEPS}
"""By step of a slide: the later steps whose products are stale after it ran."""


def slide_of_product(path: str) -> str:
    """Return the slide of a product, given its path; empty if no step makes that path."""
    for pattern in (made for step in STEPS.values() for made in step.makes.values()):
        before, _, after = pattern.partition("{slide}")
        # any other wildcard, such as {encoder}, is the name of a folder
        matched = re.fullmatch(
            re.sub(r"\\{\w+\\}", "[^/]+", re.escape(before)) + "([^/]+)" + re.escape(after), path
        )
        if "{slide}" in pattern and matched:
            return matched[1]
    return ""
