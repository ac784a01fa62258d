"""Slides for the tests of panels, and reference results of scanpy for them.

Slides are AnnData files with all fields that a panel reads. A group is a list of (counts, genes),
one per slide. The references run scanpy on the stacked spots, as the authors' notes and HEST-bench
do.
"""

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse


def write_slide(folder, slide, counts, genes, barcodes=None):
    """Write a slide's AnnData with these counts, (spots, genes), and printed names of genes."""
    counts = sparse.csr_matrix(np.asarray(counts, np.int32))
    spots = counts.shape[0]
    barcodes = barcodes or [f"spot{number}" for number in range(spots)]
    obs = pd.DataFrame(
        {
            "barcode": np.array(barcodes, object),
            "array_row": np.arange(spots, dtype=np.int32),
            "array_col": np.arange(spots, dtype=np.int32) * 2,
            "in_tissue": np.arange(spots) % 3 > 0,
            "tile": np.arange(spots, dtype=np.int64),
        },
        index=pd.Index([f"{slide}_{barcode}" for barcode in barcodes], dtype=object),
    )
    var = pd.DataFrame(
        {"name": np.array(genes, object)},
        index=pd.Index([f"column{number}" for number in range(len(genes))], dtype=object),
    )
    folder.mkdir(parents=True, exist_ok=True)
    spatial = np.stack([np.arange(spots), np.arange(spots) + 0.5], axis=1).astype(float)
    AnnData(
        X=sparse.csr_matrix(counts.shape, dtype=np.float32),
        obs=obs,
        var=var,
        layers={"counts": counts},
        obsm={"spatial": spatial},
    ).write_h5ad(folder / f"{slide}.h5ad")


def write_slides_table(path, slides, **columns):
    """Write ``slides.tsv``; columns are lists, or one value for all."""
    table = pd.DataFrame({"slide": list(slides)})
    defaults = {"tech": "Visium", "species": "human", "tissue": "breast", "study": "GSE1"}
    for name, value in {**defaults, "patient": "", **columns}.items():
        table[name] = value
    path.write_text("# the slides\n" + table.to_csv(sep="\t", index=False))


def stack(slides, names):
    """Stack the counts of slides over these gene names; sum repeated names; dense int32."""
    place = {name: number for number, name in enumerate(names)}
    stacked = []
    for counts, genes in slides:
        own = np.zeros((len(counts), len(names)), np.int32)
        for column, gene in enumerate(genes):
            if gene in place:
                own[:, place[gene]] += np.asarray(counts)[:, column]
        stacked.append(own)
    return np.concatenate(stacked)


def intersect(slides):
    """Return the gene names that all slides have, in the order of the first slide."""
    common = set.intersection(*(set(genes) for _, genes in slides))
    return [name for name in dict.fromkeys(slides[0][1]) if name in common]


def overlap_as_noted(slides, n, dense=False):
    """Return scanpy's table of the genes with a count, by name: note 04, overlap genes."""
    names = intersect(slides)
    counts = stack(slides, names)
    data = AnnData(counts if dense else sparse.csr_matrix(counts))
    data.var_names = names
    sc.pp.filter_cells(data, min_genes=1)
    sc.pp.filter_genes(data, min_cells=1)
    sc.pp.normalize_total(data)
    sc.pp.log1p(data)
    return sc.pp.highly_variable_genes(data, n_top_genes=n, inplace=False), data


def hest_as_benchmarked(slides, n):
    """Return HEST-bench's common genes, scanpy's table, and the genes that HEST-bench keeps."""
    common = None
    for counts, genes in slides:
        own = list(dict.fromkeys(genes))
        data = AnnData(stack([(counts, genes)], own).astype(np.float32))
        data.var_names = own
        sc.pp.filter_genes(data, min_cells=np.ceil(0.10 * len(data.obs)))
        names = np.array(data.var_names)
        common = names if common is None else np.intersect1d(common, names)
    common = [name for name in common if "BLANK" not in name and "Control" not in name]
    stacked = AnnData(stack(slides, common).astype(np.float32))
    stacked.var_names = common
    sc.pp.log1p(stacked)
    found = sc.pp.highly_variable_genes(stacked, n_top_genes=n, inplace=False)
    return found, stacked.var_names[found["highly_variable"].to_numpy()][:n].tolist()


def residuals_as_noted(counts, genes, n):
    """Return scanpy's table by name, repeated names summed: note 04, HVG of a slide."""
    names = list(dict.fromkeys(genes))
    data = AnnData(sparse.csr_matrix(stack([(counts, genes)], names)))
    data.var_names = names
    sc.pp.filter_cells(data, min_genes=1)
    return sc.experimental.pp.highly_variable_genes(data, n_top_genes=n, inplace=False), data


CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def check_ranked(table, reference, kept):
    """Compare a table of chosen genes with scanpy's; equal genes may be in another order."""
    assert sorted(table["gene"]) == sorted(kept)
    for column in ("means", "dispersions", "dispersions_norm"):
        np.testing.assert_allclose(
            table[column], reference.loc[table["gene"], column], err_msg=column, **CLOSE
        )
    ranked = np.sort(reference.loc[kept, "dispersions_norm"].to_numpy())[::-1]
    np.testing.assert_allclose(table["dispersions_norm"], ranked, **CLOSE)
