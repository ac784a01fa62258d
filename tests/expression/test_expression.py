"""Expression: scanpy's numbers over exactly the spots that count, in a file scanpy reads."""

import csv
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DEFAULTS
from scipy.sparse import csr_matrix
from st1k4m.errors import SlideError
from st1k4m.expression import count_expression as step
from st1k4m.expression import mitochondria, variable_genes
from st1k4m.expression.count_expression import count_expression, subset_expression
from st1k4m.expression.mitochondria import find_mitochondrial
from st1k4m.formats import expression as expression_file

OPTIONS = DEFAULTS["expression"]


def write_counts(path, values, spots, genes):
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *genes])
        table.writerows([spot, *row] for spot, row in zip(spots, values.tolist(), strict=True))
    return path


def write_coord(path, spots):
    path.write_text(",yaxis,xaxis,r\n" + "".join(f'"{spot}",1.5,2.5,10.0\n' for spot in spots))
    return path


@pytest.fixture
def run(tmp_path):
    """Run the step on a table; the AnnData's path. ``located``: the spots with coordinates."""

    def count(
        values, *, spots=None, genes=None, located=None, species="human", threads=1, **options
    ):
        values = np.asarray(values)
        spots = spots or [f"S_{n}" for n in range(values.shape[0])]
        genes = genes or [f"g{n}" for n in range(values.shape[1])]
        out = tmp_path / "S.h5ad"
        count_expression(
            write_counts(tmp_path / "S_count.csv", values, spots, genes),
            write_coord(tmp_path / "S_coord.csv", spots if located is None else located),
            out,
            slide="S",
            species=species,
            options=OPTIONS | options,
            threads=threads,
        )
        return out

    return count


def read(path):
    """Read a file as users do; a warning is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ad.read_h5ad(path)


def as_scanpy_makes_it(found, **options):
    """Compute from the counts and names in ``found`` all that scanpy has functions for."""
    options = OPTIONS | options
    counts = found.layers["counts"].copy()
    made = ad.AnnData(counts, obs=pd.DataFrame(index=found.obs_names), var=found.var[["mt"]].copy())
    made.layers["counts"] = counts.copy()
    sc.pp.calculate_qc_metrics(
        made,
        qc_vars=["mt"],
        layer="counts",
        percent_top=[n for n in (50, 100, 200, 500) if n <= made.n_vars] or None,
        inplace=True,
    )
    sc.experimental.pp.highly_variable_genes(
        made, layer="counts", n_top_genes=options["n_top_genes"], theta=options["theta"]
    )
    target = options["target_sum"]
    sc.pp.normalize_total(made, target_sum=None if target == "median" else target)
    sc.pp.log1p(made)
    return made


def assert_is_what_scanpy_makes(found, **options):
    made = as_scanpy_makes_it(found, **options)
    assert found.X.dtype == made.X.dtype == np.float32
    assert np.array_equal(found.X.indices, made.X.indices)
    assert np.array_equal(found.X.data, made.X.data), "to the last bit"
    for name, ours, theirs in [
        *((f"obs {c}", found.obs[c], made.obs[c]) for c in made.obs),
        *((f"var {c}", found.var[c], made.var[c]) for c in made.var),
    ]:
        if "_mt" in name and not found.var["mt"].any():
            assert ours.isna().all(), f"{name}: unknown is not 0"
            continue
        assert ours.dtype == theirs.dtype, name
        if "highly_variable" in name:  # the order of genes that vary alike is scanpy's accident
            alike = made.var["residual_variances"].round(9).duplicated(keep=False)
            ours, theirs = ours[~alike], theirs[~alike]
        np.testing.assert_allclose(
            ours.to_numpy(float), theirs.to_numpy(float), rtol=1e-9, atol=1e-10, err_msg=name
        )


def random_counts(spots=90, genes=700, seed=0):
    random = np.random.default_rng(seed)
    means = random.gamma(0.3, 1.0, genes) * random.gamma(3, 1.0, (spots, 1))
    return random.poisson(means) * np.where(random.random((spots, genes)) < 0.01, 150, 1)


# --- scanpy's numbers


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_sum": 10000},
        {"target_sum": 1234.5, "theta": 3.5},
        {"n_top_genes": 2000},
        {"min_counts": 300, "min_genes": 100, "min_spots": 3, "max_pct_mito": 20},
    ],
)
def test_x_qc_and_variable_genes_are_those_of_scanpy(run, options):
    genes = [f"MT-{n}" if n % 50 == 0 else f"g{n}" for n in range(700)]
    found = read(run(random_counts(), genes=genes, **options))
    assert_is_what_scanpy_makes(found, **options)


def test_more_spots_than_a_block_of_x(run, monkeypatch):
    monkeypatch.setattr(step, "SPOTS", 7)
    monkeypatch.setattr(expression_file, "CHUNK", 1000)
    assert_is_what_scanpy_makes(read(run(random_counts())))


@settings(max_examples=30, deadline=None)
@given(
    spots=st.integers(2, 12),
    genes=st.integers(1, 30),
    mean=st.sampled_from([0.05, 0.5, 300]),
    theta=st.sampled_from([0.5, 100, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_residual_variances_are_those_of_scanpy(spots, genes, mean, theta, seed):
    values = np.random.default_rng(seed).poisson(mean, (spots, genes)).astype(np.int32)
    values = values[values.any(axis=1)]
    if not len(values):
        return
    ours = variable_genes.residual_variances(
        csr_matrix(values), values.sum(axis=0), values.sum(axis=1), theta
    )
    table = sc.experimental.pp.highly_variable_genes(
        ad.AnnData(csr_matrix(values)), theta=theta, n_top_genes=1, inplace=False
    )
    np.testing.assert_allclose(ours, table["residual_variances"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("slide", "species"),
    [
        ("ST/{}/Human_Breast_Andersson_10142021_ST_C2", "human"),
        ("ST/{}/Mouse_OlfactoryBulb_STUtility_ST2K_MOB1", "mouse"),
        ("Visium/{}/Mouse_Brain_10X_06232020_Visium_Coronal_squidpycrop", "mouse"),
        (
            "Visium/{}/Mouse_Brain_10X_06232020_Visium_Sagittal_Anterior_Section_1_100genes",
            "mouse",
        ),
    ],
)
def test_a_real_slide_is_what_scanpy_makes_of_pandas_reading(real_slides, tmp_path, slide, species):
    counts = real_slides / f"{slide.format('gene_exp')}_count.csv"
    coord = real_slides / f"{slide.format('coord')}_coord.csv"
    name = counts.name.removesuffix("_count.csv")
    out = tmp_path / "S.h5ad"
    count_expression(counts, coord, out, slide=name, species=species, options=OPTIONS)
    found, table = read(out), pd.read_csv(counts, index_col=0)
    table = table[table.index.isin(pd.read_csv(coord, index_col=0).index)]
    table = table[(table > 0).any(axis=1)]
    assert found.obs_names.tolist() == table.index.tolist()
    assert found.var["name"].tolist() == table.columns.tolist()
    assert (found.layers["counts"].toarray() == table.to_numpy()).all()
    assert_is_what_scanpy_makes(found)


# --- The file


def test_the_file_is_an_anndata_that_scanpy_takes_as_it_is(run, tmp_path):
    found = read(run([[0, 3], [2, 0]], spots=["S_a", "S_b"], genes=["A", "B"]))
    assert found.obs_names.tolist() == ["S_a", "S_b"]
    assert found.obs["barcode"].tolist() == ["a", "b"]
    assert (found.layers["counts"].dtype, found.X.dtype) == (np.int32, np.float32)
    assert found.layers["counts"].toarray().tolist() == [[0, 3], [2, 0]]
    assert found.uns["normalisation"] == {"target_sum": 2.5, "target": "median", "log1p": True}
    found.write_h5ad(tmp_path / "again.h5ad")
    assert read(tmp_path / "again.h5ad").X.toarray().tolist() == found.X.toarray().tolist()


def test_names_of_genes_are_kept_and_made_unique_beside(run):
    found = read(run([[1, 2, 3, 4]], genes=["A", "A", "A-1", "B"]))
    assert found.var["name"].tolist() == ["A", "A", "A-1", "B"]
    assert found.var_names.tolist() == ["A", "A-2", "A-1", "B"]
    assert found.var["is_duplicate"].tolist() == [True, True, False, False]


@pytest.mark.parametrize("compression", ["none", "lzf", "gzip"])
def test_every_compression_holds_the_same_numbers(run, compression):
    found = read(run(random_counts(), compression=compression))
    assert_is_what_scanpy_makes(found)


def test_x_and_counts_share_the_places_of_their_entries(run):
    with h5py.File(run(random_counts())) as file:
        for part in ("indices", "indptr"):
            assert file["X"][part] == file["layers/counts"][part]


def test_same_bytes_from_run_to_run_and_whatever_the_threads(run):
    values = random_counts()
    first = run(values).read_bytes()
    assert run(values).read_bytes() == first
    assert run(values, threads=3).read_bytes() == first


# --- Which spots count


def test_only_spots_in_both_files_count_whatever_their_order(run):
    values = random_counts(6, 40)
    spots = [f"S_{n}" for n in range(6)]
    found = read(run(values, spots=spots, located=["S_9", "S_5", "S_3", "S_0"]))
    assert found.obs_names.tolist() == ["S_0", "S_3", "S_5"]
    assert found.uns["dropped"]["spot"].tolist() == ["S_1", "S_2", "S_4"]
    assert found.uns["dropped"]["reason"].tolist() == ["no_coordinates"] * 3
    alone = read(run(values[[0, 3, 5]], spots=["S_0", "S_3", "S_5"]))
    assert np.array_equal(found.X.toarray(), alone.X.toarray())
    pd.testing.assert_frame_equal(found.var, alone.var)
    pd.testing.assert_frame_equal(found.obs, alone.obs)


def test_the_header_of_coordinates_is_no_spot_whatever_is_before_it(tmp_path):
    counts = write_counts(tmp_path / "S_count.csv", np.ones((2, 2), int), ["r", "S_1"], ["A", "B"])
    coord, out = write_coord(tmp_path / "S_coord.csv", ["S_1"]), tmp_path / "S.h5ad"
    coord.write_text(f"\n\nr{coord.read_text()}")
    count_expression(counts, coord, out, slide="S", species="human", options=OPTIONS)
    found = read(out)
    assert found.obs_names.tolist() == ["S_1"]
    assert found.uns["dropped"]["reason"].tolist() == ["no_coordinates"]


def test_a_header_that_is_one_name_short_is_a_flag(tmp_path):
    counts, coord = tmp_path / "S_count.csv", write_coord(tmp_path / "S_coord.csv", ["S_0"])
    for header, flags in (("sample,A", ["first_gene_unsure"]), (",A,B", [])):
        counts.write_text(f"{header}\nS_0,1,2\n")
        out = tmp_path / "S.h5ad"
        count_expression(counts, coord, out, slide="S", species="human", options=OPTIONS)
        assert list(read(out).uns["facts"].get("flags", [])) == flags


def test_every_spot_that_is_dropped_has_its_reason(run):
    values = [[0, 0, 0], [9, 0, 0], [1, 1, 0], [9, 1, 0], [5, 5, 0], [0, 0, 0]]
    found = read(
        run(
            values,
            genes=["MT-ND1", "A", "B"],
            located=[f"S_{n}" for n in range(5)],
            min_genes=2,
            min_counts=5,
            max_pct_mito=50,
        )
    )
    assert found.obs_names.tolist() == ["S_4"]
    dropped = found.uns["dropped"]
    assert dict(zip(dropped["spot"], dropped["reason"], strict=True)) == {
        "S_0": "no_genes",
        "S_1": "few_genes",
        "S_2": "few_counts",
        "S_3": "high_mito",
        "S_5": "no_coordinates",
    }


def test_by_default_only_spots_without_any_count_are_dropped_and_no_gene(run):
    found = read(run([[0, 0], [1, 0]]))
    assert found.shape == (1, 2)
    assert found.uns["dropped"]["reason"].tolist() == ["no_genes"]


def test_without_a_floor_empty_spots_stay_and_do_not_move_the_median(run):
    found = read(run([[0, 0], [1, 3], [4, 4], [0, 0], [0, 0]], min_genes=0))
    assert found.n_obs == 5
    assert found.uns["normalisation"]["target_sum"] == 6
    assert found.X.toarray()[0].tolist() == [0, 0]
    assert found.X.toarray()[1].tolist() == np.log1p(np.float32([1.5, 4.5])).tolist()


def test_genes_in_too_few_spots_are_dropped_after_the_spots(run):
    found = read(run([[1, 1, 0], [1, 0, 0], [0, 9, 9]], located=["S_0", "S_1"], min_spots=2))
    assert found.var["name"].tolist() == ["g0"]


def test_a_floor_that_drops_every_gene_is_refused(run):
    with pytest.raises(SlideError, match="no gene is found in 3 spots"):
        run([[1, 0], [0, 1]], min_spots=3)


def test_a_slide_of_zeros_ends_as_an_anndata_without_rows_that_says_so(run):
    found = read(run([[0, 0, 0]] * 3, located=["S_0", "S_1"], min_spots=2))
    assert found.shape == (0, 3)
    assert "no spot is left" in found.uns["facts"]["warnings"][0]
    assert found.uns["dropped"]["reason"].tolist() == ["no_genes", "no_genes", "no_coordinates"]
    assert np.isnan(found.uns["normalisation"]["target_sum"])
    assert not found.var["highly_variable"].any()


def test_a_real_slide_of_zeros(real_slides, tmp_path):
    slide = "Mouse_VisiumIO_VisiumHD_10bins_zerocounts"
    folder = real_slides / "VisiumHD"
    count_expression(
        folder / "gene_exp" / f"{slide}_count.csv",
        folder / "coord" / f"{slide}_coord.csv",
        tmp_path / "x.h5ad",
        slide=slide,
        species="mouse",
        options=OPTIONS,
    )
    found = read(tmp_path / "x.h5ad")
    assert found.shape == (0, 10)
    assert set(found.uns["dropped"]["reason"]) == {"no_genes"}


def test_files_without_a_common_spot_are_refused(run):
    with pytest.raises(SlideError, match="have no spot in common") as raised:
        run([[1, 2]], located=["T_0", "T_1"])
    assert "S_count.csv (1 spots, the first is 'S_0')" in raised.value.what


def test_filters_that_leave_nothing_are_refused_with_what_each_dropped(run):
    with pytest.raises(SlideError, match="none of the 3 spots passes the filters") as raised:
        run([[1, 1], [1, 0], [0, 0]], min_counts=3, min_genes=2)
    assert "few_counts 1, few_genes 1, no_genes 1" in raised.value.what
    assert "min_genes" in raised.value.hint


def test_ids_that_do_not_begin_with_the_slide_are_kept_and_told(run):
    found = read(run([[1], [2]], spots=["S_a", "b"]))
    assert found.obs["barcode"].tolist() == ["a", "b"]
    assert "1 spot ids do not begin with S_" in found.uns["facts"]["warnings"][0]


# --- Leaving out spots later


@pytest.mark.parametrize("options", [{}, {"min_spots": 4, "target_sum": 500, "n_top_genes": 9}])
def test_dropping_spots_later_gives_the_numbers_of_dropping_them_first(run, tmp_path, options):
    genes = [f"MT-{n}" if n % 50 == 0 else "same" for n in range(200)]
    values = random_counts(30, 200)
    keep = np.random.default_rng(3).random(30) < 0.6
    spots = [f"S_{n}" for n in range(30)]
    subset_expression(run(values, genes=genes, **options), keep, tmp_path / "subset.h5ad")
    located = [spot for spot, kept in zip(spots, keep, strict=True) if kept]
    found = read(tmp_path / "subset.h5ad")
    expected = read(run(values, genes=genes, located=located, **options))
    assert np.array_equal(found.X.toarray(), expected.X.toarray())
    assert np.array_equal(found.layers["counts"].toarray(), expected.layers["counts"].toarray())
    pd.testing.assert_frame_equal(found.obs, expected.obs, check_exact=True)
    pd.testing.assert_frame_equal(found.var, expected.var, check_exact=True)
    assert found.uns["normalisation"] == expected.uns["normalisation"]


# --- Mitochondrial genes


@pytest.mark.parametrize(
    ("species", "genes", "found"),
    [
        ("human", ["MT-ND1", "MTOR", "MT1X", "AMT-1"], ["MT-ND1"]),
        ("mouse", ["mt-Nd1", "Mtor", "mt-Rnr2"], ["mt-Nd1", "mt-Rnr2"]),
        ("rattus norvegicus", ["Mt-nd1", "Mtor"], ["Mt-nd1"]),
        ("fish", ["mt-nd1", "mtor"], ["mt-nd1"]),
        ("frog", ["mt-nd1.L", "mtor.L"], ["mt-nd1.L"]),
        ("plant", ["ATMG00010", "AT1G01010", "ATCG00020", "MT-1"], ["ATMG00010"]),
        ("human", ["ENSG00000198888.2", "ENSG00000210082", "ENSG00000000003.15"], slice(0, 2)),
        ("mouse", ["ENSMUSG00000064339.1", "ENSMUSG00000065947", "ENSMUSG00000064362"], slice(2)),
        ("human", ["ENSG00000198888.2", "MT-CO1", "ACTB"], slice(2)),
        ("human & mouse", ["GRCh38_MT-ND1", "mm10___mt-Nd1", "mm10___Actb"], slice(2)),
        ("human & mouse", ["hg38_MT-ND1", "GRCh38-MT-ND1", "hg38_ACTB"], slice(2)),
        (
            "pig",
            ["ND1", "ND2", "ND3", "ND4", "COX1", "COX2", "COX3", "CYTB", "ACTB"],
            slice(8),
        ),
        ("pig", ["ND1", "COX1", "ACTB"], []),
        ("ambystoma mexicanum", ["AMEX60DD000001", "AMEX60DDU001"], []),
        ("plant", ["MtrunA17Chr1g0147001"], []),
        ("rattus norvegicus", ["ENSRNOG00000030644"], []),
        ("yeast", ["MT-ND1"], []),
    ],
)
def test_mitochondrial_genes_of_every_species(species, genes, found):
    mask, rule = find_mitochondrial(genes, species)
    expected = genes[found] if isinstance(found, slice) else found
    assert [gene for gene, is_one in zip(genes, mask, strict=True) if is_one] == expected
    assert rule


def test_every_species_of_the_published_table_has_an_answer(published_meta):
    with published_meta.open(newline="") as file:
        values = {row["species"] for row in csv.DictReader(file)}
    assert len(values) == 9
    for species in values:
        _, rule = find_mitochondrial(["MT-ND1", "ATMG00010"], species)
        assert not rule.startswith("no "), species


def test_the_37_genes_of_human_and_mouse_are_known_by_their_ensembl_ids():

    human = {gene for gene in mitochondria._ENSEMBL_MT if gene.startswith("ENSG")}
    assert (len(human), len(mitochondria._ENSEMBL_MT - human)) == (37, 37)


def test_an_unknown_mitochondrial_share_is_nan_and_the_reason_is_told(run):
    found = read(run([[1, 2]], max_pct_mito=5))
    assert np.isnan(found.obs["pct_counts_mt"]).all()
    assert found.uns["facts"]["mitochondrial_genes"] == 0
    assert "no gene has a symbol MT-" in found.uns["facts"]["mitochondrial_rule"]
    assert "max_pct_mito has no effect" in found.uns["facts"]["warnings"][0]


def test_a_mitochondrial_share_of_zero_is_zero_where_the_genes_are_there(run):
    assert read(run([[0, 2]], genes=["MT-ND1", "A"])).obs["pct_counts_mt"].tolist() == [0]
