"""HEST's protocol against a straight transcription of it, and the clean one against hand work."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import stats

sklearn = pytest.importorskip("sklearn")

from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from st1k4m.baseline import ridge  # noqa: E402
from st1k4m.baseline.fit_ridge import fit_ridge  # noqa: E402
from st1k4m.baseline.numbers import read_json  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402


@pytest.fixture(scope="module")
def scores(prepared, tmp_path_factory):
    """What fit_ridge says of pixels on the sound collection."""
    folder = tmp_path_factory.mktemp("ridge")
    targets, features = prepared
    fit_ridge(targets, features, folder / "s.json", folder / "p.json", encoder="pixels")
    return read_json(folder / "s.json"), read_json(folder / "p.json")


def hest_genes(adatas, n):
    """``get_k_genes`` of HEST: found in 10 % of the spots of every slide, log1p, seurat."""
    common = None
    for adata in adatas:
        cells = np.ceil(0.1 * adata.n_obs)
        found = np.asarray((adata.layers["counts"] > 0).sum(axis=0)).ravel() >= cells
        names = set(adata.var["name"][found])
        common = names if common is None else common & names
    stacked = sc.AnnData(
        np.concatenate([summed(adata)[sorted(common)].to_numpy() for adata in adatas]).astype("f4"),
        var=pd.DataFrame(index=sorted(common)),
    )
    sc.pp.log1p(stacked)
    sc.pp.highly_variable_genes(stacked, n_top_genes=n)
    return set(stacked.var_names[stacked.var["highly_variable"]])


def summed(adata):
    frame = pd.DataFrame(adata.layers["counts"].toarray(), adata.obs_names, adata.var["name"])
    return frame.T.groupby(level=0).sum().T


def transcribed_hest(made, features, genes):
    """HEST's benchmark in numpy and scikit-learn: a correlation by fold and gene."""
    parts = pd.read_csv(made.split("study"), sep="\t", comment="#").set_index("slide")["part"]
    x, y, fold = [], [], []
    for slide in made.slides:
        adata = anndata.read_h5ad(made.results / f"anndata/{slide}.h5ad")
        adata = adata[adata.obs["tile"] >= 0]
        with h5py.File(features[slide]) as file:
            names = [name.decode() for name in file["barcode"][:, 0]]
            x.append(pd.DataFrame(file["features"][:], names).loc[adata.obs_names].to_numpy("f8"))
        y.append(np.log1p(summed(adata)[genes].to_numpy("f8")))
        fold += [parts[slide]] * adata.n_obs
    x, y, fold = np.concatenate(x), np.concatenate(y), np.array(fold)
    found = {}
    for number in sorted(set(fold)):
        train, test = fold != number, fold == number
        # lsqr stops at a tolerance of 1e-4, so that rounding alone, by another number of cores or
        # another way of finding the components, moves a correlation by some 1e-3.
        scaler, components = StandardScaler(), PCA(min(256, *x[train].shape), random_state=1)
        scores = np.empty((len(x), components.n_components))
        scores[train] = components.fit_transform(scaler.fit_transform(x[train]))
        scores[test] = components.transform(scaler.transform(x[test]))
        alpha = 100 / (scores.shape[1] * len(genes))
        model = Ridge(alpha=alpha, solver="lsqr", max_iter=1000, fit_intercept=False)
        predicted = model.fit(scores[train], y[train]).predict(scores[test])
        found[str(number)] = [
            stats.pearsonr(y[test][:, i], predicted[:, i])[0] for i in range(len(genes))
        ]
    return found


def test_hest_is_what_its_benchmark_computes(made, prepared, scores):
    folds = {fold["fold"]: fold for fold in scores[0]["protocols"]["hest"]}
    genes = folds["0"]["genes"]
    adatas = [anndata.read_h5ad(path) for path in made.anndata().values()]
    assert set(genes) == hest_genes(adatas, 20)
    with threadpool_limits(1):
        expected = transcribed_hest(made, prepared[1], genes)
    assert set(expected) == set(folds) == {"0", "1", "2", "3"}
    for number, values in expected.items():
        np.testing.assert_allclose(folds[number]["pearson"], values, atol=1e-6, rtol=0)


def test_hest_is_its_steps_by_hand_where_features_are_not_alike():
    rng = np.random.default_rng(3)
    train, test = rng.normal(2, 3, (400, 20)), rng.normal(2, 3, (30, 20))
    target = np.log1p(rng.poisson(np.exp(train[:, :5] / 5)))
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    standard = (train - mean) / deviation
    _, _, directions = np.linalg.svd(standard, full_matrices=False)
    scores = standard @ directions.T
    alpha = 100 / (20 * 5)
    weights = np.linalg.solve(scores.T @ scores + alpha * np.eye(20), scores.T @ target)
    expected = (test - mean) / deviation @ directions.T @ weights  # no intercept
    found = ridge.fit_hest(train, target, test).predicted
    np.testing.assert_allclose(found, expected, atol=2e-3)
    for gene in range(5):
        assert stats.pearsonr(found[:, gene], expected[:, gene])[0] > 1 - 1e-6


def test_hest_uses_as_many_components_as_there_are_up_to_256():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(300, 400))
    few = ridge.fit_hest(wide[:40], rng.normal(size=(40, 2)), wide[:5])
    many = ridge.fit_hest(wide, rng.normal(size=(300, 50)), wide[:5])
    assert (few.dimensions, few.alpha) == (40, 100 / (40 * 2))
    assert (many.dimensions, many.alpha) == (256, 100 / (256 * 50))


def test_clean_correlates_each_slide_by_itself_on_what_its_counts_say(made, prepared, scores):
    fold = scores[0]["protocols"]["clean"][1]
    assert sorted(fold["slides"]) == ["G1_S0", "G1_S1"] and fold["alpha_by"] == "group"
    x, y, group, slide = [], [], [], []
    for name in made.slides:
        adata = anndata.read_h5ad(made.results / f"anndata/{name}.h5ad")
        counts = summed(adata)[adata.obs["tile"].to_numpy() >= 0]
        with h5py.File(prepared[1][name]) as file:
            x.append(file["features"][:].astype("f8"))
        y.append(np.stack([counts[gene] for gene in fold["genes"]] + [counts.sum(axis=1)], axis=1))
        group += [name[:2]] * len(counts)
        slide += [name] * len(counts)
    x, y, group, slide = np.concatenate(x), np.concatenate(y), np.array(group), np.array(slide)
    train = group != "G1"
    total = np.median(y[train, -1])
    assert fold["normalised_to"] == total
    y = np.log1p(y[:, :-1] / y[:, -1:] * total)
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    deviation[deviation == 0] = 1
    x = (x - mean) / deviation
    # A ridge on all principal components is one on the standardised features.
    model = Ridge(alpha=fold["alpha"], solver="svd").fit(x[train], y[train])
    for name, facts in fold["slides"].items():
        here = slide == name
        predicted = model.predict(x[here])
        expected = [stats.pearsonr(y[here][:, i], predicted[:, i])[0] for i in range(y.shape[1])]
        np.testing.assert_allclose(facts["pearson"], expected, atol=1e-6)
        np.testing.assert_allclose(facts["mse"], ((y[here] - predicted) ** 2).mean(axis=0), 1e-6)


def test_the_penalty_is_the_best_of_all_on_groups_left_out():
    rng = np.random.default_rng(1)
    groups = np.repeat(["a", "b", "c"], 40)
    x = rng.normal(size=(120, 12))
    y = x[:, :1] + rng.normal(size=(120, 3)) * 3
    fit = ridge.fit_clean(x, y, groups.tolist(), groups.tolist(), x[:4])
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    means = []
    for penalty in ridge.PENALTIES:
        found = []
        for left in "abc":
            kept = groups != left
            model = Ridge(alpha=penalty * kept.sum()).fit(standard[kept], y[kept])
            predicted = model.predict(standard[~kept])
            found += [stats.pearsonr(y[~kept][:, i], predicted[:, i])[0] for i in range(3)]
        means.append(np.mean(found))
    assert fit.alpha == ridge.PENALTIES[int(np.argmax(means))] * 120
    assert fit.validated_by == "group"


def test_a_single_group_is_validated_by_slide_and_a_single_slide_is_refused():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    slides = ["s"] * 30 + ["t"] * 30
    assert ridge.fit_clean(x, y, ["g"] * 60, slides, x).validated_by == "slide"
    with pytest.raises(ValueError, match="a single slide"):
        ridge.fit_clean(x, y, ["g"] * 60, ["s"] * 60, x)


def test_a_gene_that_a_slide_does_not_have_is_learned_from_the_others():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(90, 4))
    y = x @ rng.normal(size=(4, 2)) + rng.normal(size=(90, 2)) * 0.1
    groups = ["a"] * 30 + ["b"] * 30 + ["c"] * 30
    y[:30, 1] = np.nan
    fit = ridge.fit_clean(x, y, groups, groups, x[:10])
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    standard = (x - mean) / deviation
    penalty = fit.alpha / 90
    expected = Ridge(alpha=penalty * 60).fit(standard[30:], y[30:, 1]).predict(standard[:10])
    np.testing.assert_allclose(fit.predicted[:, 1], expected, atol=1e-8)
    expected = Ridge(alpha=penalty * 90).fit(standard, y[:, 0]).predict(standard[:10])
    np.testing.assert_allclose(fit.predicted[:, 0], expected, atol=1e-8)


def test_painted_genes_are_the_best_and_the_worst_of_the_slide(scores):
    numbers, painted = scores
    (fold,) = [f for f in numbers["protocols"]["clean"] if painted["slide"] in f["slides"]]
    values = dict(zip(fold["genes"], fold["slides"][painted["slide"]]["pearson"], strict=True))
    ordered = sorted(values, key=values.get, reverse=True)
    assert [gene["gene"] for gene in painted["genes"]] == ordered[:3] + ordered[-3:]
    for gene in painted["genes"]:
        found = stats.pearsonr(gene["measured"], gene["predicted"])[0]
        assert found == pytest.approx(values[gene["gene"]], abs=0.01)
        assert len(gene["measured"]) == len(painted["x"]) == len(painted["y"])
