"""A small collection with known truth, written to the contract of the products.

Its tissue is painted, and expression follows the region under each spot, as in the demo. With
``private`` every group has a stain and a code of its own: which genes mark which region differs
between groups, so that only a model that has seen a group knows its code.
"""

from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from st1k4m.demo import dataset as demo
from st1k4m.demo import tissue
from tile_stores import write_store

SLIDE_COLUMNS = ("slide", "tech", "species", "tissue", "study", "patient", "patient_source")
SLIDE_COLUMNS += ("block", "section", "spots", "genes", "um_per_px", "tier", "flags")


@dataclass(frozen=True)
class Made:
    """The folder of results, and the facts of its slides."""

    results: Path
    slides: list[str]

    def anndata(self, slides=None):
        return {name: self.results / f"anndata/{name}.h5ad" for name in slides or self.slides}

    def tiles(self, slide):
        return self.results / f"tiles/{slide}.h5"

    def split(self, name):
        return self.results / f"collection/splits/{name}.tsv"

    @property
    def table(self):
        return self.results / "collection/slides.tsv"


def make_collection(
    results,
    *,
    groups=4,
    per_group=2,
    spots=120,
    genes=60,
    private=False,
    shuffled=False,
    labelled=True,
    shared_labels=True,
    tissues=("breast", "colon"),
    um_per_px=4.0,
    seed=0,
):
    """Write slides ``G0_S0`` ...; splits ``study`` (a fold a group) and ``slide`` (leaking)."""
    results = Path(results)
    rows, splits = [], {"study": [], "slide": []}
    for group in range(groups):
        for number in range(per_group):
            slide = f"G{group}_S{number}"
            facts = make_slide(
                results,
                slide,
                group=group,
                spots=spots,
                genes=genes,
                private=private,
                shuffled=shuffled,
                labelled=labelled,
                prefix="" if shared_labels else f"{group} ",
                um_per_px=um_per_px,
                seed=seed + 100 * group + number,
            )
            rows.append(
                {"slide": slide, "tech": "Visium", "species": "human"}
                | {"tissue": tissues[group % len(tissues)], "study": f"study{group}"}
                | {"spots": facts, "genes": genes, "um_per_px": um_per_px, "tier": 1}
            )
            splits["study"].append((slide, group, f"study{group}"))
            splits["slide"].append((slide, number, f"study{group}"))
    folder = results / "collection/splits"
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=list(SLIDE_COLUMNS))
    table.to_csv(results / "collection/slides.tsv", sep="\t", index=False)
    for name, parts in splits.items():
        frame = pd.DataFrame(parts, columns=["slide", "part", "group"])
        text = f"# split {name}: made for a test\n" + frame.to_csv(sep="\t", index=False)
        (folder / f"{name}.tsv").write_text(text)
    return Made(results, [row["slide"] for row in rows])


def make_slide(results, slide, *, group, spots, genes, private, shuffled, labelled, prefix, **more):
    """Write tile store and AnnData of one slide; the number of its spots."""
    um_per_px, seed = more["um_per_px"], more["seed"]
    rng = np.random.default_rng([seed, 99])
    lattice, size = tissue.lay_spots("Visium", spots, um_per_px=um_per_px, seed=seed)
    laid, regions = tissue.shape_tissue(lattice, size, spots, missing=0.0, seed=seed)
    image = tissue.paint_tissue(regions, um_per_px, seed=seed)
    region = tissue.at_spots(regions, laid)
    names, marks = demo.name_genes(genes, "human")
    if private:
        code = np.random.default_rng([group, 7])
        marks = np.where(marks >= 0, code.permutation(len(tissue.REGIONS))[marks], -1)
        image = image[..., code.permutation(3)]
    counts = draw_counts(marks, region, rng)
    if shuffled:
        counts = counts[rng.permutation(len(counts))]
    ids = [f"{slide}_{barcode}" for barcode in demo.name_spots("Visium", laid, seed)]
    half = round(laid.r)
    corners = np.stack([laid.x - laid.r, laid.y - laid.r], axis=1).round().astype(np.int64)
    padded = np.pad(image, ((2 * half, 2 * half), (2 * half, 2 * half), (0, 0)))
    tiles = np.stack(
        [padded[y + 2 * half : y + 4 * half, x + 2 * half : x + 4 * half] for x, y in corners]
    )
    without = 3  # a spot that has no tile
    row = np.cumsum(np.arange(len(ids)) != without) - 1
    row[without] = -1
    write_store(
        results / f"tiles/{slide}.h5",
        tiles[row >= 0],
        np.array(ids)[row >= 0],
        um_per_px=um_per_px,
        slide=slide,
    )
    labels = [f"{prefix}{tissue.REGIONS[kind].name}" if kind >= 0 else None for kind in region]
    obs = pd.DataFrame({"barcode": [name.rpartition("_")[2] for name in ids], "tile": row}, ids)
    obs = obs.assign(array_row=laid.row, array_col=laid.col, in_tissue=region >= 0)
    if labelled:
        obs["annotation"] = pd.Categorical(labels)
    unique = anndata.utils.make_index_unique(pd.Index(names))
    adata = anndata.AnnData(
        sp.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e3), dtype=np.float32),
        obs=obs,
        var=pd.DataFrame({"name": names}, unique),
        obsm={"spatial": np.stack([laid.x, laid.y], axis=1)},
        layers={"counts": sp.csr_matrix(counts, dtype=np.int32)},
    )
    (results / "anndata").mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(results / f"anndata/{slide}.h5ad", convert_strings_to_categoricals=False)
    return len(ids)


def draw_counts(marks, region, rng):
    """Draw counts ``(spots, genes)``: a gene's rate is eightfold in the region that it marks."""
    abundance = np.random.default_rng(0).lognormal(0.5, 0.7, len(marks))  # the same on all slides
    fold = np.where((marks >= 0) & (marks == region[:, None]), 8.0, 1.0)
    depth = rng.lognormal(0, 0.3, (len(region), 1)) * np.where(region < 0, 0.2, 1.0)[:, None]
    counts = rng.poisson(abundance * fold * depth)
    counts[counts.sum(axis=1) == 0, 0] = 1  # a spot without a count would not be in the AnnData
    return counts
