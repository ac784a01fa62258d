"""10x matrices: cell for cell what scanpy reads; every broken one refused in a sentence."""

import gzip
import io
import shutil

import anndata as ad
import h5py
import numpy as np
import own_layouts
import pandas as pd
import pytest
import scanpy as sc
from places import DATA
from scipy import sparse
from st1k4m.errors import SlideError
from st1k4m.expression import tenx
from st1k4m.expression.read_own import read_own_counts
from st1k4m.source import own_slides

SECTION = own_layouts.make_section(antibodies=2)
OWN = DATA / "own"


def same_as_scanpy(counts, expected):
    assert counts.spots == [f"S_{name}" for name in expected.obs_names]
    assert counts.genes == list(expected.var_names)
    assert list(counts.gene_ids) == list(expected.var["gene_ids"])
    assert counts.matrix.dtype == np.int32
    assert (counts.matrix != expected.X.astype(np.int64)).nnz == 0


REAL = [
    ("visium_v1_h5_mouse_brain_anterior", {}),
    ("visium_v1_h5_human_breast_338spots", {}),
    ("visium_v1_mtx_mouse_brain_posterior", {}),
    ("visium_v2_mtx_human_prostate_12spots", {}),
    ("visiumhd_2um_mouse_brain_10bins", {}),
    ("visiumhd_8um_16um_mouse_intestine_fakecounts", {}),
    ("visiumhd_8um_16um_mouse_intestine_fakecounts", {"bin": "16"}),
    ("geo_flat_constructed", {"prefix": "GSM0000001_"}),
    ("geo_flat_constructed", {"prefix": "GSM0000002_"}),
]


@pytest.mark.parametrize(("name", "columns"), REAL)
@pytest.mark.filterwarnings("ignore:Variable names")
def test_real_outputs_equal_scanpys_reader(name, columns, tmp_path):
    if not (OWN / name).is_dir():
        pytest.skip(f"no real outputs at {OWN}; STIMAGE_DATA can name another folder")
    part = own_slides.recognise(own_layouts.row("S", OWN / name, **columns)).parts["counts"]
    counts, _ = read_own_counts("S", part, tmp_path)
    if part["format"] == "10x_h5":
        same_as_scanpy(counts, sc.read_10x_h5(part["matrix"]))
        return
    for role in ("matrix", "barcodes", "features"):  # scanpy wants them gzipped, and named so
        end = "mtx" if role == "matrix" else "tsv"
        with open(part[role], "rb") as file:
            content = file.read()
        if content[:2] != b"\x1f\x8b":
            content = gzip.compress(content)
        (tmp_path / f"{role}.{end}.gz").write_bytes(content)
    same_as_scanpy(counts, sc.read_10x_mtx(tmp_path, make_unique=False))


@pytest.mark.parametrize(
    "name",
    [
        "st_human_breast_her2st_C2/ST-cnts/C2.tsv.gz",
        "st2k_mouse_bulb_stutility_MOB1/MOB1.tsv",
        "st_pipeline_mouse_bulb_REP9/MOB_REP9_stdata.tsv.gz",
    ],
)
def test_real_tables_equal_pandas(name, tmp_path):
    if not (OWN / name).is_file():
        pytest.skip(f"no real outputs at {OWN}; STIMAGE_DATA can name another folder")
    part = {"format": "text", "matrix": str(OWN / name)}
    counts, _ = read_own_counts("S", part, tmp_path)
    expected = pd.read_csv(OWN / name, sep="\t", index_col=0)
    assert counts.spots == [f"S_{spot}" for spot in expected.index]
    assert counts.genes == list(expected.columns)
    assert (counts.matrix.toarray() == expected.to_numpy()).all()


@pytest.mark.filterwarnings("ignore:Variable names")
@pytest.mark.parametrize("piece", [1, 7, 1 << 22])
def test_pieces_and_feature_types(piece, monkeypatch, tmp_path):
    monkeypatch.setattr(tenx, "PIECE", piece)
    own_layouts.write_h5(tmp_path / "a.h5", SECTION.counts, SECTION.barcodes, SECTION)
    part = {"format": "10x_h5", "matrix": str(tmp_path / "a.h5")}
    counts, facts = read_own_counts("S", part, tmp_path)
    same_as_scanpy(counts, sc.read_10x_h5(tmp_path / "a.h5"))
    assert facts["software"] == "spaceranger-9.9.9"


def test_unsorted_entries_and_stored_zeros(tmp_path):
    matrix = SECTION.counts.copy()
    matrix.data[::5] = 0
    for spot in range(0, matrix.shape[0], 2):  # columns of a row in descending order
        part = slice(*matrix.indptr[spot : spot + 2])
        matrix.data[part] = matrix.data[part][::-1]
        matrix.indices[part] = matrix.indices[part][::-1]
    own_layouts.write_h5(tmp_path / "a.h5", matrix, SECTION.barcodes, SECTION)
    counts = tenx.read_h5(tmp_path / "a.h5", "S")
    assert (counts.matrix != matrix[:, :-2]).nnz == 0
    assert counts.matrix.has_canonical_format
    assert (counts.matrix.data > 0).all()


def mtx(text, barcodes="b1\nb2\n", features="i1\tA\ni2\tB\ni3\tC\n"):
    files = [io.BytesIO(part.encode()) for part in (text, barcodes, features)]
    return tenx.read_mtx(*files, "S", {k: k for k in ("matrix", "barcodes", "features")})


HEAD = "%%MatrixMarket matrix coordinate integer general\n"


def test_entries_in_any_order():
    counts = mtx(HEAD + "%\n3 2 4\n3 2 5\n1 1 1\n2 2 7\n3 1 2\n")
    assert counts.matrix.toarray().tolist() == [[1, 0, 2], [0, 7, 5]]
    assert (counts.genes, counts.gene_ids) == (["A", "B", "C"], ["i1", "i2", "i3"])
    whole = mtx(HEAD.replace("integer", "real") + "3 2 1\n3 2 5.0\n", features="A\nB\nC\n")
    assert whole.matrix.toarray().tolist() == [[0, 0, 0], [0, 0, 5]]
    assert whole.gene_ids == ["A", "B", "C"]


# What stands in matrix.mtx, barcodes.tsv and features.tsv, and what is said of it.
BROKEN_MTX = [
    ({"text": "hello\n"}, "is not a matrix in Market Exchange format: it begins with 'hello"),
    ({"text": ""}, "is not a matrix in Market Exchange format"),
    ({"text": HEAD}, "line 2: expected the numbers of rows, columns and counts, found ''"),
    ({"text": HEAD + "3 2\n"}, "line 2: expected the numbers of rows, columns and counts"),
    ({"text": HEAD + "3 2 9999999999\n"}, "9,999,999,999 counts in a matrix of 3 x 2"),
    (
        {"text": HEAD + "2 3 0\n"},
        "is 2 x 3, but features has 3 features and barcodes 2 barcodes; the matrix is transposed",
    ),
    ({"text": HEAD + "4 2 0\n"}, "is 4 x 2, but features has 3 features"),
    ({"text": HEAD + "3 2 2\n1 1 1\n"}, "has 1 counts, but its header states 2: it is cut off"),
    ({"text": HEAD + "3 2 1\n1 1 1\n2 1 1\n"}, "has more counts than its header states"),
    ({"text": HEAD + "3 2 1\n4 1 1\n"}, "line 3: found 4 1 1, expected a row up to 3"),
    ({"text": HEAD + "3 2 1\n1 0 1\n"}, "line 3: found 1 0 1"),
    ({"text": HEAD + "3 2 1\n1 1 1.5\n"}, "line 3: found 1 1 1.5"),
    ({"text": HEAD + "3 2 1\n1 1 -1\n"}, "line 3: found 1 1 -1"),
    ({"text": HEAD + "3 2 1\n1 1 nan\n"}, "line 3: found 1 1 nan"),
    ({"text": HEAD + "3 2 1\n1 1 x\n"}, "cannot be read after line 2"),
    ({"text": HEAD + "3 2 2\n1 1 1\n1 1 2\n"}, "has two counts of one gene and barcode"),
    (
        {"text": HEAD.replace("integer", "pattern") + "3 2 1\n1 1\n"},
        "'pattern general', not of counts",
    ),
    ({"text": HEAD + "3 2 0\n", "barcodes": "b1\nb1\n"}, "barcode 'b1' occurs 2 times"),
    ({"text": HEAD + "3 2 0\n", "barcodes": ""}, "barcodes is empty"),
    ({"text": HEAD + "3 2 0\n", "features": ""}, "features is empty"),
    ({"text": HEAD + "3 2 0\n", "features": "i\tA\tPeaks\n" * 3}, "no feature of the type 'Gene E"),
]


@pytest.mark.parametrize(("files", "says"), BROKEN_MTX, ids=range(len(BROKEN_MTX)))
def test_broken_mtx(files, says):
    with pytest.raises(SlideError) as error:
        mtx(**files)
    assert says in error.value.what
    assert error.value.hint


def test_a_cut_gzip_is_named(tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION, matrix="mtx.gz")
    path = folder / "filtered_feature_bc_matrix/matrix.mtx.gz"
    path.write_bytes(path.read_bytes()[:-200])
    part = own_slides.recognise(own_layouts.row("S", folder)).parts["counts"]
    with pytest.raises(SlideError, match=r"matrix\.mtx\.gz") as error:
        read_own_counts("S", part, tmp_path)
    assert "cut off" in error.value.what


def change(path, name, value):
    with h5py.File(path, "r+") as file:
        del file[f"matrix/{name}"]
        if value is not None:
            file[f"matrix/{name}"] = value


# A dataset of the h5 file, what becomes of it, and what is said.
BROKEN_H5 = [
    ("features", None, "is not a feature-barcode matrix: it has no group matrix with features"),
    ("data", None, "is damaged"),
    ("indptr", np.array([0, 3]), "contradicts itself: shape 32 x"),
    ("shape", np.array([5, 5]), "contradicts itself: shape 5 x 5"),
    ("barcodes", np.array(["AA"] * len(SECTION.barcodes), "S"), "barcode 'AA' occurs"),
    ("features/id", np.array(["x"], "S"), "contradicts itself"),
    (
        "features/feature_type",
        np.array(["Peaks"] * 32, "S"),
        "has no feature of the type 'Gene Exp",
    ),
    ("data", SECTION.counts.data * 0.5, "is 0.5, expected a whole number from 0 to 2,147,483,647"),
    ("data", -SECTION.counts.data, "expected a whole number from 0"),
    ("data", SECTION.counts.data.astype(np.int64) << 33, "expected a whole number from 0"),
    ("indices", SECTION.counts.indices + 1, "a count refers to feature 32 of 32"),
    ("indices", SECTION.counts.indices // 2, "has two counts of one gene and barcode"),
]


@pytest.mark.parametrize(("name", "value", "says"), BROKEN_H5, ids=range(len(BROKEN_H5)))
def test_broken_h5(name, value, says, tmp_path):
    path = tmp_path / "a.h5"
    own_layouts.write_h5(path, SECTION.counts, SECTION.barcodes, SECTION)
    change(path, name, value)
    with pytest.raises(SlideError) as error:
        tenx.read_h5(path, "S")
    assert says in error.value.what


def test_no_h5_a_cut_one_and_none(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(SlideError, match="there is no file"):
        tenx.read_h5(path, "S")
    own_layouts.write_h5(path, SECTION.counts, SECTION.barcodes, SECTION)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SlideError, match="damaged or cut off"):
        tenx.read_h5(path, "S")
    path.write_text("no HDF5")
    with pytest.raises(SlideError, match="damaged or cut off"):
        tenx.read_h5(path, "S")


def test_raw_counts_of_an_h5ad_wherever_they_are(tmp_path):
    counts = sparse.csr_matrix(SECTION.counts[:, :30])
    normal = counts.astype(np.float32) * 0.37
    names = {"obs": pd.DataFrame(index=SECTION.barcodes)}
    names["var"] = pd.DataFrame({"gene_ids": SECTION.ids[:30]}, index=[f"g{i}" for i in range(30)])
    plain = ad.AnnData(counts.astype(np.float32), **names)
    layered = ad.AnnData(normal, layers={"counts": counts}, **names)
    kept = plain.copy()
    kept.raw = plain
    kept.X = normal
    kept = kept[:, :10].copy()
    dense = ad.AnnData(counts.toarray().astype(np.float64), **names)
    for adata, where in ((plain, "X"), (layered, "layers/counts"), (kept, "raw/X"), (dense, "X")):
        adata.write_h5ad(tmp_path / "a.h5ad")
        part = {"format": "h5ad", "matrix": str(tmp_path / "a.h5ad")}
        read, facts = read_own_counts("S", part, tmp_path)
        assert facts["counts_from"] == where
        assert (read.matrix != counts).nnz == 0
        assert read.spots == [f"S_{barcode}" for barcode in SECTION.barcodes]
        assert list(read.gene_ids) == SECTION.ids[:30]
    ad.AnnData(normal, **names).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(SlideError, match=r"has no raw counts .*: X has the value"):
        read_own_counts("S", part, tmp_path)


def test_nothing_is_left_of_what_was_unpacked(tmp_path):
    folder = own_layouts.write_outs(tmp_path / "outs", SECTION)
    own_layouts.pack(folder, tmp_path / "o.tar.gz")
    shutil.rmtree(folder)
    part = own_slides.recognise(own_layouts.row("S", tmp_path / "o.tar.gz")).parts["counts"]
    read_own_counts("S", part, tmp_path / "unpacked")
    assert list((tmp_path / "unpacked").iterdir()) == []
