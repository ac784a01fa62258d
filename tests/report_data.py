"""Products of finished slides, made without a run: the input of the report, of any size."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from places import DEFAULTS
from scipy import sparse
from st1k4m.collection import build_manifest
from st1k4m.demo import dataset as demo
from st1k4m.demo import tissue as demo_tissue
from st1k4m.report import build_report, draw_slide
from st1k4m.run.failures import failure_path
from st1k4m.run.outputs import write_text
from st1k4m.run.steps import PRODUCTS
from st1k4m.source import catalogue
from tile_stores import write_store

OPTIONS = {name: DEFAULTS[name] for name in ("expression", "geometry", "tiles")}
OPTIONS["expression"] = OPTIONS["expression"] | {"min_counts": 5}


def make_products(
    folder,
    slide,
    *,
    tech="Visium",
    spots=60,
    genes=40,
    dropped=2,
    um_per_px=8.0,
    annotated=False,
    flags=(),
    warnings=(),
    title="",
    seed=0,
):
    """Write AnnData, tile store, ledger and record of one slide: the input of `draw_slide`."""
    folder = Path(folder)
    paths = {
        "anndata": folder / f"results/anndata/{slide}.h5ad",
        "tiles": folder / f"results/tiles/{slide}.h5",
        "ledger": folder / f"results/ledger/{slide}.parquet",
        "record": folder / f"results/records/{slide}.json",
    }
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lattice, size = demo_tissue.lay_spots(tech, spots + dropped + 1, um_per_px=um_per_px, seed=seed)
    laid, regions = demo_tissue.shape_tissue(lattice, size, spots + dropped, missing=0.0, seed=seed)
    image = demo_tissue.paint_tissue(regions, um_per_px, seed=seed)
    names = demo.name_spots(tech, laid, seed)
    kept = laid[np.arange(spots)]

    values = {"rng": rng, "data_rvs": lambda size: rng.gamma(2.0, size=size)}
    counts = sparse.random(spots, genes, 0.3, "csr", **values).astype(np.float32)
    adata = anndata.AnnData(counts)
    adata.obs_names = [f"{slide}_{name}" for name in names[:spots]]
    adata.var_names = [f"GENE{number}" for number in range(genes)]
    adata.obs["barcode"] = np.array(names[:spots], str)
    adata.obs["array_row"], adata.obs["array_col"] = kept.row, kept.col
    adata.obs["total_counts"] = rng.integers(0, 900, spots).astype(float)
    adata.obs["n_genes_by_counts"] = np.diff(counts.indptr)
    adata.obs["pct_counts_mt"] = np.full(spots, np.nan)
    adata.obs["tissue_share"] = rng.random(spots)
    if annotated:
        labels = rng.choice(["tumour", "<b>stroma</b>", None], spots)
        adata.obs["annotation"] = pd.Categorical(labels)
    adata.var["highly_variable_rank"] = np.where(
        np.arange(genes) < genes - 3, rng.permutation(genes).astype(float), np.nan
    )
    adata.obsm["spatial"] = np.stack([kept.x, kept.y], axis=1)
    scales = {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 2 * laid.r}
    adata.uns["spatial"] = {slide: {"images": {"hires": image}, "scalefactors": scales}}
    adata.write_h5ad(paths["anndata"])

    side = max(1, round(2 * laid.r))
    corners = np.rint(adata.obsm["spatial"] - laid.r).astype(np.int64)
    tiles = rng.integers(0, 255, (spots, side, side, 3), np.uint8)
    write_store(
        paths["tiles"],
        tiles,
        adata.obs_names,
        coords=corners,
        um_per_px=um_per_px,
        slide=slide,
        pictures={"hires": image, "lowres": image},
    )

    # a ledger as pandas and pyarrow write it, with the columns that are read
    columns = {"spot": [f"{slide}_{name}" for name in names], "x": laid.x, "y": laid.y}
    columns |= {"in_coord": [True] * len(laid)}
    columns |= {"status": ["kept"] * spots + ["dropped"] * dropped}
    pq.write_table(pa.table(columns), paths["ledger"])

    record = {
        "slide": slide,
        "study": {"tech": tech, "title": title},
        "spots": {
            "in_counts": spots + dropped,
            "in_coord": spots + dropped,
            "total": spots + dropped,
            "kept": spots,
            "dropped": {"no_genes": dropped} if dropped else {},
        },
        "expression": {"genes": genes},
        "geometry": {
            "width": image.shape[1],
            "height": image.shape[0],
            "image_format": "png",
            "radius": laid.r,
            "um_per_px": um_per_px,
            "tier": "low",
        },
        "tiles": {
            "tiles": spots,
            "pixels": True,
            "patch_size_src": side,
            "patch_size_target": side,
        },
        "flags": list(flags),
        "warnings": list(warnings),
        "parameters": OPTIONS,
        "versions": {"workflow": "0"},
    }
    paths["record"].write_text(json.dumps(record))
    return paths


def draw(folder, slide):
    """Draw a slide of `make_products` to the workflow's paths; return the paths by name."""
    results = Path(folder) / "results"
    drawn = {
        "overlay": results / f"overlay/{slide}.jpg",
        "tissue": results / f"report/tissue/{slide}.jpg",
        "thumbnail": results / f"report/thumbs/{slide}.jpg",
        "sheet": results / f"report/tiles/{slide}.jpg",
        "page": results / f"report/slides/{slide}.js",
    }
    draw_slide.draw_slide(
        results / f"anndata/{slide}.h5ad",
        results / f"tiles/{slide}.h5",
        results / f"ledger/{slide}.parquet",
        results / f"records/{slide}.json",
        **drawn,
    )
    return drawn


def finish(rows, failed=(), excluded=()):
    """Make manifest, summary and report of all slides in the current folder.

    ``rows`` are arguments of `catalogue.Slide`. All slides except those of ``failed`` (failure
    records) and ``excluded`` must have been drawn.
    """
    slides = {row["slide"]: catalogue.Slide(**row) for row in rows}
    bad = {failure["slide"]: failure for failure in failed}
    for slide in slides.keys() - bad.keys():
        for products in PRODUCTS.values():
            for product in products:
                path = Path(product.format(slide=slide))
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    path.touch()
    for failure in failed:
        write_text(failure_path(failure["stage"], failure["slide"]), json.dumps(failure))
    Path("resources").mkdir(exist_ok=True)
    catalogue.write(
        catalogue.Catalogue("/data/some <b>slides</b>", "", dict(sorted(slides.items()))),
        "resources/catalogue.tsv",
    )
    status = {
        name: ("excluded", "<i>left out</i>") if name in excluded else ("selected", "")
        for name in slides
    }
    made = "results/manifest.tsv", "results/summary.json"
    build_manifest.build_manifest("resources/catalogue.tsv", status, *made, "results/citations.bib")
    # of draw_collection, which these slides do not go through
    Path("results/report").mkdir(parents=True, exist_ok=True)
    Path("results/report/related.js").write_text("")
    return build_report.build_report(*made, "results/report", "logs")
