"""Panels of three groups of real slides, every method, against scanpy on the stacked spots."""

import numpy as np
import pandas as pd
import panels
import pytest
import scanpy as sc
from places import DATA
from st1k4m.collection import panel_methods, slide_genes
from st1k4m.collection.gene_names import clean_name
from st1k4m.collection.panel_options import NameOptions, read_options

OWN = DATA / "own"
PUBLISHED = DATA / "stimage-1k4m"


def read_10x(path):
    data = (
        sc.read_10x_h5(path) if path.suffix == ".h5" else sc.read_10x_mtx(path, make_unique=False)
    )
    return data.X.toarray().astype(np.int64), data.var_names.tolist()


def read_table(path, sep, **options):
    frame = pd.read_csv(path, sep=sep, index_col=0, header=0, **options)
    header = pd.read_csv(path, sep=sep, index_col=0, header=None, nrows=1, **options)
    return frame.to_numpy().astype(np.int64), header.iloc[0].astype(str).tolist()


def breast():
    """ST and Visium: 15,706 and 36,601 genes, ten names of the latter repeat."""
    return [
        read_table(OWN / "st_human_breast_her2st_C2/ST-cnts/C2.tsv.gz", "\t"),
        read_10x(OWN / "visium_v1_h5_human_breast_338spots/filtered_feature_bc_matrix.h5"),
    ]


def bulb():
    """ST's 2k and 1k array, ids with other versions of Ensembl."""
    name = "Mouse_OlfactoryBulb_STUtility_ST2K_MOB1"
    counts, genes = read_table(PUBLISHED / f"ST/gene_exp/{name}_count.csv", ",")
    other, others = read_table(OWN / "st_pipeline_mouse_bulb_REP9/MOB_REP9_stdata.tsv.gz", "\t")
    versions = NameOptions(drop_version=True)
    return [
        (values, [clean_name(gene, versions, {}) for gene in names])
        for values, names in ((counts, genes), (other, others))
    ]


def brain():
    """Two parts of the mouse brain with 1,999 and 815 genes; spots with hardly a count."""
    folder = PUBLISHED / "Visium/gene_exp"
    crop = "Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop_count.csv"
    return [
        read_table(folder / crop, ","),
        read_10x(OWN / "visium_v1_mtx_mouse_brain_posterior/filtered_feature_bc_matrix"),
    ]


@pytest.fixture(scope="module", params=[breast, bulb, brain], ids=lambda group: group.__name__)
def group(request, tmp_path_factory):
    if not OWN.is_dir():
        pytest.skip(f"no real slides at {DATA}; STIMAGE_DATA can name another folder")
    slides = request.param()
    folder = tmp_path_factory.mktemp(request.param.__name__)
    paths = {}
    for number, (counts, genes) in enumerate(slides):
        panels.write_slide(folder, f"S{number}", counts, genes)
        paths[f"S{number}"] = folder / f"S{number}.h5ad"
    return slides, slide_genes.SlideGenes(paths, NameOptions())


def choose(genes, method, n):
    options = read_options("p", {"method": method, "n": n})
    return panel_methods.CHOOSERS[method](genes, genes.slides, options)


def test_overlap_genes(group):
    slides, genes = group
    n = min(100, len(panels.intersect(slides)) // 3)
    reference, _ = panels.overlap_as_noted(slides, n)
    kept = reference.index[reference["highly_variable"]]
    panels.check_ranked(choose(genes, "overlap_hvg", n).table, reference, kept)
    assert len(kept) >= n


def test_genes_of_hest(group):
    slides, genes = group
    reference, _ = panels.hest_as_benchmarked(slides, 50)
    n = min(50, len(reference) // 3)
    reference, kept = panels.hest_as_benchmarked(slides, n)
    panels.check_ranked(choose(genes, "hest", n).table, reference, kept)
    assert len(kept) == n


def test_genes_of_each_slide(group):
    """Where fewer than 128 genes have a count scanpy ranks some without any; here none is."""
    slides, genes = group
    choice = choose(genes, "slide_hvg", 128)
    for slide, (counts, printed) in zip(genes.slides, slides, strict=True):
        reference, _ = panels.residuals_as_noted(counts, printed, 128)
        varying = reference[reference["residual_variances"] > 0]
        ranked = varying["highly_variable_rank"].dropna().sort_values().index
        assert [genes.names[gene] for gene in choice.own[slide]] == list(ranked)


def test_most_expressed_genes(group):
    slides, genes = group
    names = panels.intersect(slides)
    n = min(50, len(names))
    means = pd.DataFrame(panels.stack(slides, names), columns=names).mean()
    table = choose(genes, "mean", n).table
    assert (
        table["gene"].tolist()
        == (means.sort_values(ascending=False, kind="stable").index.tolist()[:n])
    )
    np.testing.assert_allclose(table["mean"], means[table["gene"]], rtol=1e-12)
