"""What is to be predicted: counts, totals, labels and folds, against the AnnData files."""

import anndata
import numpy as np
import pandas as pd
import pytest
from st1k4m.baseline.targets import find_folds, read_targets


@pytest.fixture(scope="module")
def targets(prepared):
    """The targets of the sound collection."""
    return read_targets(prepared[0])


def test_counts_are_those_of_the_spots_that_have_a_tile(made, targets):
    for slide in ("G0_S0", "G3_S1"):
        adata = anndata.read_h5ad(made.results / f"anndata/{slide}.h5ad")
        adata = adata[adata.obs["tile"] >= 0]
        rows = targets.rows([slide])
        assert targets.spots.index[rows].tolist() == adata.obs_names.tolist()
        frame = pd.DataFrame(adata.layers["counts"].toarray(), columns=adata.var["name"])
        frame = frame.T.groupby(level=0).sum().T  # a name that the header repeats is one gene
        np.testing.assert_array_equal(targets.counts[rows].toarray(), frame[targets.genes])
        np.testing.assert_array_equal(targets.spots["total"].iloc[rows], frame.sum(axis=1))
        np.testing.assert_array_equal(targets.spots[["x", "y"]].iloc[rows], adata.obsm["spatial"])
        labels = adata.obs["annotation"].astype(object).fillna("").tolist()
        assert targets.spots["label"].iloc[rows].tolist() == labels


def test_targets_are_log1p_of_raw_or_normalised_counts(targets):
    rows = targets.rows(["G1_S0"])
    genes = targets.panels["clean"]["0"][:5]
    raw = targets.counts[rows][:, [targets.genes.index(gene) for gene in genes]].toarray()
    np.testing.assert_allclose(targets.log_counts(rows, genes), np.log1p(raw))
    total = targets.spots["total"].to_numpy()[rows]
    expected = np.log1p(raw / total[:, None] * 500)
    np.testing.assert_allclose(targets.normalised(rows, genes, 500.0), expected)


def test_spots_are_drawn_the_same_way_every_time(made, collect, tmp_path):
    few = [read_targets(collect(made, tmp_path / n, max_spots=30, seed=1)) for n in ("a", "b")]
    other = read_targets(collect(made, tmp_path / "c", max_spots=30, seed=2))
    assert few[0].spots["slide"].value_counts().unique().tolist() == [30]
    assert few[0].spots.index.equals(few[1].spots.index)
    assert not few[0].spots.index.equals(other.spots.index)


def test_folds_are_tested_once_each_and_fractions_once():
    folds = find_folds({"a": "0", "b": "1", "c": "10", "d": "2", "e": "1"})
    assert [fold.name for fold in folds] == ["0", "1", "2", "10"]
    assert folds[1].test == ["b", "e"] and folds[1].train == ["a", "c", "d"]
    (fold,) = find_folds({"a": "train", "b": "test", "c": "val", "d": "test"})
    assert (fold.train, fold.test) == (["a", "c"], ["b", "d"])
