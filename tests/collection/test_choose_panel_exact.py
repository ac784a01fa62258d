"""Panels against scanpy, run as the authors' notes and HEST-bench run it, on the stacked spots."""

import numpy as np
import pandas as pd
import panels
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from st1k4m.collection import panel_methods, slide_genes
from st1k4m.collection.panel_options import NameOptions, read_options


def read(tmp_path, slides):
    paths = {}
    for number, (counts, genes) in enumerate(slides):
        panels.write_slide(tmp_path, f"S{number}", counts, genes)
        paths[f"S{number}"] = tmp_path / f"S{number}.h5ad"
    return slide_genes.SlideGenes(paths, NameOptions())


def choose(genes, method, n, **options):
    options = read_options("p", {"method": method, "n": n, **options})
    return panel_methods.CHOOSERS[method](genes, genes.slides, options)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few spots, so that every slide is read in many."""
    monkeypatch.setattr(slide_genes, "BLOCK", 40)


def make_group(seed, slides=3, genes=60, repeated=0):
    """Slides with counts as sections have them: own gene lists, depth, and marker genes."""
    random = np.random.default_rng(seed)
    names = [f"G{number:03d}" for number in range(genes)]
    levels = random.gamma(0.6, 2.0, genes)
    group = []
    for _ in range(slides):
        spots = int(random.integers(20, 45))
        own = random.permutation(genes)[: int(random.integers(genes * 3 // 4, genes + 1))]
        depth = random.lognormal(0, 0.6, (spots, 1))
        rate = depth * levels[own] * random.gamma(1.5, 0.7, (spots, len(own)))
        printed = [names[gene] for gene in own]
        printed[:repeated] = printed[repeated : 2 * repeated]
        group.append((random.poisson(rate), printed))
    return group


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("seed", "repeated"), [(0, 0), (1, 3), (2, 0)])
def test_overlap_genes_are_those_of_the_notes(tmp_path, seed, repeated, dense):
    group = make_group(seed, repeated=repeated)
    reference, _ = panels.overlap_as_noted(group, 12, dense)
    table = choose(read(tmp_path, group), "overlap_hvg", 12).table
    assert len(table) == 12
    panels.check_ranked(table, reference, reference.index[reference["highly_variable"]])


@pytest.mark.parametrize(("seed", "slides", "repeated"), [(0, 3, 0), (1, 1, 0), (2, 4, 3)])
def test_hest_genes_are_those_of_the_benchmark(tmp_path, seed, slides, repeated):
    group = make_group(seed, slides=slides, repeated=repeated)
    reference, kept = panels.hest_as_benchmarked(group, 10)
    table = choose(read(tmp_path, group), "hest", 10).table
    assert len(table) == 10
    panels.check_ranked(table, reference, kept)


@pytest.mark.parametrize(("seed", "repeated"), [(0, 0), (3, 3)])
def test_slide_genes_are_those_of_the_notes(tmp_path, seed, repeated):
    group = make_group(seed, repeated=repeated)
    genes = read(tmp_path, group)
    choice = choose(genes, "slide_hvg", 15)
    for slide, (counts, printed) in zip(genes.slides, group, strict=True):
        reference, _ = panels.residuals_as_noted(counts, printed, 15)
        ranked = reference["highly_variable_rank"].dropna().sort_values().index
        own = [genes.names[gene] for gene in choice.own[slide]]
        assert own == list(ranked)
        told = choice.table.set_index("gene")["ranks"]
        for rank, gene in enumerate(ranked, start=1):
            assert f"{slide}={rank}" in told[gene].split(";")
    often = choice.table["gene"].map(
        lambda gene: sum(gene in {genes.names[g] for g in own} for own in choice.own.values())
    )
    assert often.tolist() == choice.table["variable_on"].tolist()
    assert often.is_monotonic_decreasing


@pytest.mark.parametrize("seed", [0, 1])
def test_most_expressed_genes_are_pandas_largest(tmp_path, seed):
    group = make_group(seed, repeated=2)
    names = panels.intersect(group)
    means = pd.DataFrame(panels.stack(group, names), columns=names).mean()
    table = choose(read(tmp_path, group), "mean", 9).table
    pd.testing.assert_series_equal(
        table.set_index("gene")["mean"],
        means.nlargest(9),
        check_names=False,
        check_index_type=False,
    )


def odd_group(seed, slides, genes, zeros):
    """Few spots and small counts: ties, empty spots, genes without counts, repeated names."""
    random = np.random.default_rng(seed)
    group = []
    for _ in range(slides):
        spots = int(random.integers(1, 9))
        printed = [f"G{g}" for g in random.permutation(genes)[: int(random.integers(3, genes + 1))]]
        if random.random() < 0.4:
            printed[0] = printed[-1]
        counts = random.integers(1, 4, (spots, len(printed)))
        counts[random.random(counts.shape) < zeros] = 0
        counts[random.random(spots) < 0.2] = 0
        group.append((counts, printed))
    return group


odd_groups = st.builds(
    odd_group,
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(4, 14),
    st.floats(0.05, 0.9),
)
many_odd_groups = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def has_constant_gene(logged):
    """Whether a gene's variance is zero but for rounding: its logarithm is then no number to hold.

    scanpy computes it as a difference of two sums, whose last digits depend on their order.
    """
    values = np.expm1(np.asarray(logged, float))
    return bool((values.std(axis=0) < 1e-6 * values.mean(axis=0)).any())


def check_alike(table, reference, n):
    """As `check_ranked`; genes alike at the limit, but for rounding, may change places."""
    if reference is None:
        assert table.empty
        return
    for column in ("means", "dispersions", "dispersions_norm"):
        np.testing.assert_allclose(
            table[column],
            reference.loc[table["gene"], column],
            err_msg=column,
            rtol=1e-9,
            atol=1e-9,
        )
    values = reference["dispersions_norm"].dropna().sort_values(ascending=False)
    limit = values.iloc[min(n, len(values)) - 1]
    assert set(values.index[values > limit + 1e-9]) <= set(table["gene"])
    assert set(table["gene"]) <= set(values.index[values > limit - 1e-9])
    assert len(table) >= min(n, len(values))


@many_odd_groups
@given(odd_groups, st.integers(1, 12))
@pytest.mark.filterwarnings("ignore")
def test_odd_groups_have_the_overlap_genes_of_the_notes(tmp_path_factory, group, n):
    try:
        reference, data = panels.overlap_as_noted(group, n)
    except IndexError:  # scanpy, where no gene has a dispersion
        reference = None
    except ValueError:  # no gene with a count
        reference = None
    else:
        assume(not has_constant_gene(data.X.toarray()))
    genes = read(tmp_path_factory.mktemp("odd"), group)
    check_alike(choose(genes, "overlap_hvg", n).table, reference, n)


@many_odd_groups
@given(odd_groups, st.integers(1, 12))
@pytest.mark.filterwarnings("ignore")
def test_odd_groups_have_the_means_of_pandas(tmp_path_factory, group, n):
    names = panels.intersect(group)
    means = pd.DataFrame(panels.stack(group, names), columns=names).mean()
    found = choose(read(tmp_path_factory.mktemp("odd"), group), "mean", n).table
    assert (
        found["gene"].tolist()
        == means.sort_values(ascending=False, kind="stable").index.tolist()[:n]
    )
    np.testing.assert_allclose(found["mean"], means[found["gene"]], rtol=1e-12)


def test_a_share_of_the_slides_leaves_out_what_was_not_measured(tmp_path):
    """Means and variances are over the spots of the slides that print the gene, by pandas."""
    group = make_group(5, slides=4)
    genes = read(tmp_path, group)
    choice = choose(genes, "overlap_hvg", 400, share=0.5)
    frames = [pd.DataFrame(np.asarray(c, float), columns=g) for c, g in group]
    printed = pd.Series(np.concatenate([frame.columns for frame in frames])).value_counts()
    often = printed.index[printed >= 2]
    frame = pd.concat([frame[frame.columns.intersection(often)] for frame in frames])
    totals = frame.sum(axis=1)
    normalised = frame.div(totals, axis=0) * totals[totals > 0].median()
    table = choice.table.set_index("gene")
    assert {genes.names[gene] for gene in choice.candidates} == set(often)
    np.testing.assert_allclose(table["means"], np.log1p(normalised.mean())[table.index], rtol=1e-5)
    np.testing.assert_allclose(
        table["dispersions"],
        np.log(normalised.var() / normalised.mean())[table.index],
        rtol=1e-4,
    )
