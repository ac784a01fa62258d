"""The panel's two files: what they hold, what the head says, and what is refused."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import panels
import pytest
import scanpy as sc
from scipy import sparse
from st1k4m.collection import slide_genes
from st1k4m.collection.choose_panel import choose_panel
from st1k4m.errors import SlideError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(slide_genes, "BLOCK", 200)


class Slides:
    """Three slides in a folder: S2 prints fewer genes, S1 repeats one, all have empty spots."""

    def __init__(self, folder, seed=0):
        self.folder = folder
        random = np.random.default_rng(seed)
        names = [f"G{number:02d}" for number in range(40)]
        printed = {"S0": names, "S1": [*names[::-1], "G03"], "S2": names[5:30]}
        levels = random.gamma(0.6, 3.0, 40)
        self.counts = {}
        for slide, genes in printed.items():
            rate = levels[[names.index(gene) for gene in genes]]
            rate = rate * random.gamma(1.5, 0.7, (30, len(genes)))
            counts = random.poisson(rate)
            counts[4] = 0
            counts[7] = 0
            if slide != "S2":
                counts[7, genes.index("G01")] = 5  # empty over the genes that all print
            self.counts[slide] = (counts, genes)
            panels.write_slide(folder / "anndata", slide, counts, genes)
        panels.write_slides_table(
            folder / "slides.tsv", printed, study=["A", "A", "B"], patient=["p", "", ""]
        )

    def choose(self, name="p", **options):
        given = {key: options.pop(key) for key in ("split", "renames") if key in options}
        if isinstance(options.get("genes"), Path):
            given["genes"], options["genes"] = options["genes"], options["genes"].name
        warnings = choose_panel(
            name,
            options,
            self.folder / "slides.tsv",
            self.folder / "anndata",
            self.folder / "p.tsv",
            self.folder / "p.h5ad",
            **given,
        )
        head = [
            line[2:] for line in (self.folder / "p.tsv").read_text().splitlines() if line[0] == "#"
        ]
        table = pd.read_csv(self.folder / "p.tsv", sep="\t", comment="#")
        return " ".join(head), table, ad.read_h5ad(self.folder / "p.h5ad"), warnings

    def frame(self, slide):
        """The counts of a slide by gene, columns of one name summed."""
        counts, genes = self.counts[slide]
        return pd.DataFrame(counts, columns=genes).T.groupby(level=0).sum().T

    def split(self, **parts):
        path = self.folder / "split.tsv"
        lines = [f"{slide}\t{part}\tg" for slide, part in parts.items()]
        path.write_text("# by study\nslide\tpart\tgroup\n" + "\n".join(lines) + "\n")
        return path


@pytest.fixture
def slides(tmp_path):
    return Slides(tmp_path)


def test_stacked_panel_holds_the_counts_of_its_genes(slides):
    _, table, stacked, _ = slides.choose(method="mean", n=30, share=0.5)

    assert list(stacked.var_names) == table["gene"].tolist()
    assert table["rank"].tolist() == list(range(1, 31))
    assert stacked.layers["counts"].dtype == np.int32
    assert stacked.X.dtype == np.float32
    expected = pd.concat(
        [
            slides.frame(slide).reindex(columns=table["gene"], fill_value=0)
            for slide in slides.counts
        ]
    )
    np.testing.assert_array_equal(stacked.layers["counts"].toarray(), expected.to_numpy())


def test_an_absent_gene_is_not_zero(slides):
    _, table, stacked, _ = slides.choose(method="mean", n=40, share=0.5)

    assert list(stacked.uns["panel"]["slides"]) == ["S0", "S1", "S2"]
    expected = [
        [gene in slides.frame(slide).columns for slide in slides.counts] for gene in table["gene"]
    ]
    np.testing.assert_array_equal(stacked.varm["present"], expected)
    assert table["slides"].tolist() == np.sum(expected, axis=1).tolist()
    assert not np.all(expected)


def test_spots_keep_their_names_places_and_facts(slides):
    _, _, stacked, _ = slides.choose(method="mean", n=5)

    whole = ad.concat(
        [ad.read_h5ad(slides.folder / "anndata" / f"{s}.h5ad") for s in slides.counts]
    )
    assert list(stacked.obs_names) == list(whole.obs_names)
    for column in ("barcode", "array_row", "array_col", "in_tissue", "tile"):
        assert stacked.obs[column].tolist() == whole.obs[column].tolist(), column
    np.testing.assert_array_equal(stacked.obsm["spatial"], whole.obsm["spatial"])
    assert stacked.obs["slide"].astype(str).tolist() == ["S0"] * 30 + ["S1"] * 30 + ["S2"] * 30
    assert stacked.obs["study"].astype(str).tolist() == ["A"] * 60 + ["B"] * 30
    assert stacked.obs["patient"].isna().tolist() == [False] * 30 + [True] * 60
    totals = np.concatenate([counts.sum(axis=1) for counts, _ in slides.counts.values()])
    assert stacked.obs["total_counts"].tolist() == totals.tolist()


def test_values_are_scanpys_over_the_genes_that_could_be_chosen(slides):
    """Rows of spots without a count among these are zero; scanpy has no value for them."""
    _, table, stacked, _ = slides.choose(method="overlap_hvg", n=10)

    names = [gene for gene in slides.frame("S0") if gene in slides.frame("S2")]
    counts = panels.stack(slides.counts.values(), names)
    data = ad.AnnData(sparse.csr_matrix(counts))
    data.var_names = names
    sc.pp.filter_cells(data, min_genes=1)
    sc.pp.normalize_total(data)
    sc.pp.log1p(data)
    kept = stacked[stacked.obs["normalised_by"] > 0]
    np.testing.assert_array_equal(kept.X.toarray(), data[:, table["gene"]].X.toarray())
    assert stacked.obs["normalised_by"].tolist() == counts.sum(axis=1).tolist()
    assert stacked.n_obs - kept.n_obs == 6
    assert not stacked[stacked.obs["normalised_by"] == 0].X.toarray().any()


def test_hest_values_are_the_logarithms_of_the_counts(slides):
    _, _, stacked, _ = slides.choose(method="hest", n=5)

    np.testing.assert_array_equal(
        stacked.X.toarray(), np.log1p(stacked.layers["counts"].toarray().astype(np.float32))
    )


def test_values_over_all_genes_have_the_median_of_the_training_spots(slides):
    split = slides.split(S0="0", S1="1", S2="1")
    _, table, stacked, _ = slides.choose(
        method="mean", n=5, normalise="all", train={"split": "s", "part": ["1"]}, split=split
    )

    data = ad.concat(
        [ad.AnnData(slides.frame(s).astype(np.float32)) for s in slides.counts],
        join="outer",
        fill_value=0,
    )
    totals = data.X.sum(axis=1)
    target = np.median(totals[30:][totals[30:] > 0])
    data = data[totals > 0].copy()
    sc.pp.normalize_total(data, target_sum=target)
    sc.pp.log1p(data)
    kept = stacked[stacked.obs["total_counts"] > 0]
    np.testing.assert_allclose(
        kept.X.toarray(), np.asarray(data[:, table["gene"]].X), rtol=1e-6, atol=1e-7
    )


def test_slides_own_genes_are_the_matrix_of_the_notes(slides):
    """Note 04, HVG: each slide over its own genes, in their rank, normalised over these alone."""
    _, _, stacked, _ = slides.choose(method="slide_hvg", n=8)

    for place, slide in enumerate(slides.counts):
        frame = slides.frame(slide)[list(dict.fromkeys(slides.counts[slide][1]))]
        data = ad.AnnData(frame.astype(np.float32))
        sc.pp.filter_cells(data, min_genes=1)
        sc.experimental.pp.highly_variable_genes(data, n_top_genes=8)
        ranked = data.var["highly_variable_rank"].sort_values().dropna().index
        data = data[:, ranked].copy()
        sc.pp.normalize_total(data)
        sc.pp.log1p(data)
        own = stacked[stacked.obs["slide"] == slide]
        rank = own.varm["rank"][:, place]
        order = [int(np.flatnonzero(rank == number)[0]) for number in range(1, 9)]
        assert list(own.var_names[order]) == list(ranked)
        assert np.isnan(rank).sum() == len(rank) - 8
        own = own[own.obs["total_counts"] > 0]
        seen = (own.obs["normalised_by"] > 0).to_numpy()
        np.testing.assert_array_equal(own.X.toarray()[seen][:, order], np.asarray(data.X)[seen])


def test_opens_in_scanpy(slides):
    _, _, stacked, _ = slides.choose(method="overlap_hvg", n=12)

    sc.pp.pca(stacked, n_comps=3)
    assert stacked.obsm["X_pca"].shape == (90, 3)
    assert np.isfinite(stacked.obsm["X_pca"]).all()
    assert sc.get.obs_df(stacked, keys=["slide"])["slide"].nunique() == 3
    assert stacked.uns["log1p"] == {}  # so that scanpy knows X to be logarithms


def test_chosen_from_the_training_part_alone(slides):
    """Other counts on the test slide change neither the genes nor what the values are scaled by."""
    split = slides.split(S0="0", S1="1", S2="2")
    train = {"split": "study", "part": ["1", "2"]}
    options = {"method": "overlap_hvg", "n": 10, "train": train, "split": split}
    head, table, stacked, warnings = slides.choose(**options)
    counts, genes = slides.counts["S0"]
    panels.write_slide(slides.folder / "anndata", "S0", counts[::-1] * 7, genes)
    _, other, again, _ = slides.choose(**options)

    pd.testing.assert_frame_equal(table, other)
    assert (
        again.uns["panel"]["target_total"].tolist() == stacked.uns["panel"]["target_total"].tolist()
    )
    np.testing.assert_array_equal(again[30:].X.toarray(), stacked[30:].X.toarray())
    assert (again[:30].X.toarray() != stacked[:30].X.toarray()).any()
    assert "Chosen from 2 of 3 selected slides: those in part 1, 2 of the split study." in head
    assert "Chosen from: S1, S2." in head
    assert warnings == []
    assert stacked.obs["chosen_from"].tolist() == [False] * 30 + [True] * 60
    assert stacked.obs["part"].astype(str).tolist() == ["0"] * 30 + ["1"] * 30 + ["2"] * 30


def test_without_a_split_the_head_says_that_test_slides_took_part(slides):
    head, _, stacked, warnings = slides.choose(method="mean", n=5)

    assert "WARNING: chosen from all 3 selected slides" in head
    assert any("tested on took part" in warning for warning in warnings)
    assert " ".join(stacked.uns["panel"]["head"]) == head


def test_the_head_says_who_removed_genes_and_which_names_were_summed(slides):
    head, table, _, _ = slides.choose(method="mean", n=20)

    assert "25 of 40 genes are printed on all of them." in head
    assert "S2 (25 genes) removed 15 genes that would be left otherwise." in head
    assert "Columns of one name were summed: 1 name, 0 of them in the panel." in head
    head, table, _, _ = slides.choose(method="mean", n=40, share=0.5)
    assert "G03" in table["gene"].tolist()
    assert "1 of them in the panel; G03 on 1 slide." in head


def test_a_slide_that_empties_the_intersection_is_named(slides):
    panels.write_slide(slides.folder / "anndata", "S3", [[1, 2], [3, 4]], ["G07", "G08"])
    panels.write_slides_table(slides.folder / "slides.tsv", ["S0", "S1", "S2", "S3"])

    with pytest.raises(SlideError) as refused:
        slides.choose(method="overlap_hvg", n=10)

    assert "2 genes can be chosen from 4 slides, not the 10 asked for" in refused.value.what
    assert "without S3 (2 genes), 25 are left" in refused.value.what
    assert "leave S3 out of the panel by `select`, or lower `share` (to 0.75 or less)" in (
        refused.value.hint
    )
    assert not (slides.folder / "p.h5ad").exists()
    _, table, _, _ = slides.choose(method="overlap_hvg", n=10, share=0.75)
    assert len(table) >= 10


def test_a_slide_that_costs_most_genes_is_warned_of(slides):
    panels.write_slide(slides.folder / "anndata", "S3", [[1, 2], [3, 4]], ["G07", "G08"])
    panels.write_slides_table(slides.folder / "slides.tsv", ["S0", "S1", "S2", "S3"])

    head, _, _, warnings = slides.choose(method="mean", n=2)

    said = "WARNING: S3 (2 genes) alone removed 23 genes; 2 are left to choose from."
    assert said in head
    assert said in warnings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "mean", "select": {"tissue": ["brain"]}}, "no slide in"),
        ({"method": "list"}, "needs `genes`"),
        ({"method": "mean", "genes": "f"}, "only method list uses `genes`"),
        ({"method": "list", "genes": "f", "n": 5}, "remove `n`"),
        ({"method": "slide_hvg", "normalise": "all"}, "over its own genes"),
        ({"method": "median"}, "found 'median', expected one of overlap_hvg"),
        ({"method": "mean", "train": {"split": "s", "part": []}}, "give `split`"),
        ({"n": 5}, "panels.p.method: found missing"),
        ({"method": "mean", "n": 41, "share": 0.1}, "40 genes can be chosen"),
    ],
)
def test_what_does_not_go_together_is_refused(slides, options, said):
    with pytest.raises(SlideError, match="panel p: ") as refused:
        slides.choose(**options)
    assert said in refused.value.what


def test_parts_without_slides_are_refused(slides):
    split = slides.split(S0="0", S1="1", S2="1")
    with pytest.raises(SlideError) as refused:
        slides.choose(method="mean", train={"split": "s", "part": ["2"]}, split=split)
    assert "none of the 3 selected slides is in part 2 of the split 's', which has 0, 1" in (
        refused.value.what
    )


def test_a_slide_outside_the_split_is_said(slides):
    split = slides.split(S0="0", S1="1")
    _, _, stacked, warnings = slides.choose(
        method="mean", n=3, train={"split": "s", "part": ["1"]}, split=split
    )
    assert warnings == [
        "WARNING: 1 selected slide of the panel not in the split s, so not chosen from: S2."
    ]
    assert stacked.obs["part"].isna().sum() == 30


def test_a_list_keeps_its_order_and_what_no_slide_prints(slides):
    path = slides.folder / "genes.txt"
    path.write_text("# mine\nG12\nNOWHERE\nG03\n")
    _, table, stacked, warnings = slides.choose(method="list", genes=path)

    assert table["gene"].tolist() == ["G12", "NOWHERE", "G03"]
    assert table["slides"].tolist() == [3, 0, 2]
    assert not stacked.varm["present"][1].any()
    assert stacked[:, "NOWHERE"].X.nnz == 0
    np.testing.assert_array_equal(
        stacked[:30, "G03"].layers["counts"].toarray().ravel(), slides.frame("S0")["G03"]
    )
    assert warnings == ["WARNING: no selected slide prints 1 of the genes of the list: NOWHERE."]


def test_a_list_of_other_names_is_refused(slides):
    path = slides.folder / "genes.txt"
    path.write_text("ENSG00000141510\n")
    with pytest.raises(SlideError, match="none of the 1 genes of the list is printed"):
        slides.choose(method="list", genes=path)


def test_renamed_genes_are_summed_and_said(slides):
    path = slides.folder / "names.tsv"
    path.write_text("printed\tname\nG10\tG11\nG12\t\n")
    head, table, stacked, _ = slides.choose(
        method="mean", n=23, renames=path, names={"rename": "names.tsv"}
    )
    assert "G10" not in table["gene"].tolist()
    assert "G12" not in table["gene"].tolist()
    expected = np.concatenate([slides.frame(s)[["G10", "G11"]].sum(axis=1) for s in slides.counts])
    np.testing.assert_array_equal(stacked[:, "G11"].layers["counts"].toarray().ravel(), expected)
    assert "1 printed name counted under another one, 1 printed name left out" in head
    assert "G11 on 3 slides" in head


def test_the_same_bytes_again(slides):
    slides.choose(method="overlap_hvg", n=10)
    first = [(slides.folder / name).read_bytes() for name in ("p.tsv", "p.h5ad")]
    slides.choose(method="overlap_hvg", n=10)
    assert [(slides.folder / name).read_bytes() for name in ("p.tsv", "p.h5ad")] == first


def test_a_broken_anndata_names_its_slide(slides):
    (slides.folder / "anndata" / "S1.h5ad").write_bytes(b"no")
    with pytest.raises(SlideError) as refused:
        slides.choose(method="mean", n=3)
    assert refused.value.slide == "S1"


def test_slides_without_spots_and_without_counts(slides):
    panels.write_slide(slides.folder / "anndata", "S3", np.zeros((0, 3)), ["G07", "G08", "G09"])
    panels.write_slide(slides.folder / "anndata", "S4", np.zeros((2, 3)), ["G07", "G08", "G09"])
    panels.write_slides_table(slides.folder / "slides.tsv", ["S0", "S1", "S2", "S3", "S4"])
    for method, share in {"overlap_hvg": 0.5, "mean": 0.5, "hest": 0.4, "slide_hvg": 0.1}.items():
        _, table, stacked, _ = slides.choose(method=method, n=3, share=share)
        assert stacked.n_obs == 92, method
        assert set(table["gene"]) <= set(slides.frame("S0")), method
    assert list(stacked.uns["panel"]["slides"]) == ["S0", "S1", "S2", "S3", "S4"]
