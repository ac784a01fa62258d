"""A collection written with anndata, pandas and h5py, with the contents that DESIGN.md defines."""

from dataclasses import dataclass, field
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from st1k4m.run import provenance
from st1k4m.run.products import read_made, stamp
from st1k4m.run.steps import REVISIONS

TARGET = 50.0


@dataclass
class Made:
    """Contents of a made collection, as arrays that do not come from its files."""

    folder: Path
    tiles: dict[str, np.ndarray] = field(default_factory=dict)
    spots: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, pd.DataFrame] = field(default_factory=dict)
    x: dict[str, pd.DataFrame] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    genes: list[str] = field(default_factory=list)
    measured: np.ndarray | None = None


def make_slide(
    made, slide, tiles, *, side, genes, rng, without_tile=(), compressed=False, counts=None,
    pixels=None,
):  # fmt: skip
    """Write the AnnData and the tile store of a slide."""
    names = [f"{slide}_{i}x{i + 1}" for i in range(tiles + len(without_tile))]
    has_tile = ~np.isin(np.arange(len(names)), list(without_tile))
    if counts is None:
        counts = rng.poisson(0.7, (len(names), len(genes)))
        counts[:1] = 0  # a spot without counts
    counts = counts.astype(np.int32)
    total = counts.sum(1)
    scale = np.where(total == 0, 1, total.astype(np.float32) / np.float32(TARGET))
    x = np.log1p(counts.astype(np.float32) / scale[:, None].astype(np.float32))
    labels = rng.choice(["tumour", "stroma", ""], len(names)).tolist()
    obs = pd.DataFrame({"total_counts": total}, index=names)
    obs["tile"] = np.where(has_tile, np.cumsum(has_tile) - 1, -1)
    obs["annotation"] = pd.Categorical([label or None for label in labels])
    adata = anndata.AnnData(sp.csr_matrix(x), obs, pd.DataFrame(index=genes))
    adata.layers["counts"] = sp.csr_matrix(counts)
    adata.uns["normalisation"] = {"target_sum": TARGET}
    (made.folder / "anndata").mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(made.folder / f"anndata/{slide}.h5ad", compression="gzip")
    if pixels is None:
        pixels = rng.integers(0, 256, (tiles, side, side, 3), dtype=np.uint8)
    kept = [name for name, has in zip(names, has_tile, strict=True) if has]
    write_store(made.folder / f"tiles/{slide}.h5", pixels, kept, compressed)
    stamp_slide(made.folder, slide)
    made.tiles[slide], made.spots[slide] = pixels, kept
    made.counts[slide] = adata.to_df("counts").loc[kept]
    made.x[slide] = adata.to_df().loc[kept]
    made.labels[slide] = [label for label, has in zip(labels, has_tile, strict=True) if has]
    return adata


def stamp_slide(folder, slide):
    """Write into a slide's tile store and AnnData what they were made from."""
    tiles = provenance.Made("cut_tiles", REVISIONS["cut_tiles"], inputs={"image": slide})
    own = provenance.Made(
        "build_anndata", REVISIONS["build_anndata"], reads={"cut_tiles": tiles.digest}
    )
    stamp(folder / f"tiles/{slide}.h5", ".h5", tiles)
    stamp(folder / f"anndata/{slide}.h5ad", ".h5ad", own)


def stamp_panel(folder, slides):
    """Write into the panel that it was made from the AnnData of these slides."""
    lines = [f"{slide} {read_made(folder / f'anndata/{slide}.h5ad').digest}" for slide in slides]
    reads = {"build_anndata": provenance.digest_of("\n".join(lines))}
    made = provenance.Made("choose_panel", REVISIONS["choose_panel"], reads=reads)
    stamp(folder / "collection/panels/some.h5ad", ".h5ad", made)


def write_store(path, pixels, names, compressed=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"chunks": (1, *pixels.shape[1:]), "compression": "gzip"} if compressed else {}
    with h5py.File(path, "w") as file:
        file.create_dataset("img", data=pixels, **how)
        file.create_dataset("coords", data=np.zeros((len(names), 2), np.int64))
        file.create_dataset("barcode", data=np.array(names, "S40").reshape(-1, 1))
        for place in (file, file["img"], file["coords"]):
            place.attrs["patch_size_target"] = pixels.shape[1]


def write_tables(made, slides, splits, panel, stacked, *, measured=None, dense=False):
    """Write the tables and panels over all slides."""
    folder = made.folder / "collection"
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    (folder / "panels").mkdir(exist_ok=True)
    table = pd.DataFrame({"slide": list(slides)})
    for name in ("tech", "species", "tissue", "patient", "patient_source", "block", "section"):
        table[name] = ""
    table.insert(4, "study", [slide.split("_")[0] for slide in slides])
    table["spots"] = [len(made.spots[slide]) for slide in slides]
    table["um_per_px"] = [0.5, *[""] * (len(slides) - 1)]
    with open(folder / "slides.tsv", "w") as file:
        file.write("# made for a test\n")
        table.to_csv(file, sep="\t", index=False)
    for name, parts in splits.items():
        rows = pd.DataFrame({"slide": list(parts), "part": list(parts.values()), "group": "g"})
        with open(folder / f"splits/{name}.tsv", "w") as file:
            file.write("# no study is in two parts\n")
            rows.to_csv(file, sep="\t", index=False)
    made.genes = list(panel)
    pd.DataFrame({"rank": range(1, len(panel) + 1), "gene": panel, "slides": len(stacked)}).to_csv(
        folder / "panels/some.tsv", sep="\t", index=False
    )
    whole = anndata.concat({slide: stacked[slide][:, panel] for slide in stacked}, label="slide")
    whole.obs["slide"] = pd.Categorical(whole.obs["slide"], categories=list(stacked))
    own = whole.layers["counts"].toarray().astype(np.float32)
    whole.X = sp.csr_matrix(np.log1p(own / np.maximum(own.sum(1, keepdims=True), 1)))
    if dense:
        whole.X, whole.layers["counts"] = whole.X.toarray(), whole.layers["counts"].toarray()
    whole.varm["present"] = np.ones((len(panel), len(stacked)), bool)
    if measured is not None:
        whole.varm["present"] = measured
    whole.uns["panel"] = {"slides": list(stacked)}
    whole.write_h5ad(folder / "panels/some.h5ad")
    stamp_panel(made.folder, stacked)


SLIDES = {"A_1": (37, 16), "A_2.x+y": (20, 16), "B_1": (50, 24), "C_1": (3, 16), "D_1": (0, 16)}


def make_collection(folder):
    """Make five slides of three studies; tiles of 16 and 24 px; one store compressed, one empty."""
    made = Made(folder)
    rng = np.random.default_rng(0)
    genes = [f"GENE{i}" for i in range(30)]
    stacked = {}
    for slide, (tiles, side) in SLIDES.items():
        without = (2, 5) if slide == "A_1" else ()
        stacked[slide] = make_slide(
            made, slide, tiles, side=side, genes=genes, rng=rng, without_tile=without,
            compressed=slide == "C_1",
        )  # fmt: skip
    panel = ["GENE7", "GENE0", "GENE21", "GENE3", "GENE29"]
    measured = rng.random((len(panel), len(SLIDES))) < 0.8
    parts = {"A_1": "train", "A_2.x+y": "train", "B_1": "val", "C_1": "test", "D_1": "void"}
    folds = {"A_1": "0", "A_2.x+y": "0", "B_1": "1", "C_1": "2", "D_1": "2"}
    splits = {"parts": parts, "folds": folds}
    write_tables(made, SLIDES, splits, panel, stacked, measured=measured)
    made.measured = measured
    return made
