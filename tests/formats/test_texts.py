"""Columns of texts are read whichever way anndata wrote them."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from st1k4m.formats.texts import read_index, read_texts

TEXTS = ["b", "a", "", "µ", "a"]
COLUMNS = {
    "array": np.array(TEXTS, object),
    "masked": pd.array([*TEXTS[:-1], None], dtype="string"),
    "categories": pd.Categorical([*TEXTS[:-1], None]),
}


@pytest.fixture(params=[object, "string"])
def file(request, tmp_path):
    index = pd.Index(["S_1", "S_2", "S_3", "S_4", "S_5"], dtype=request.param)
    with (
        ad.settings.override(allow_write_nullable_strings=True),
        h5py.File(tmp_path / "x.h5ad", "w") as file,
    ):
        write_elem(file, "obs", pd.DataFrame(index=index))
        for name, values in COLUMNS.items():
            write_elem(file, name, values)
        yield file


@pytest.mark.parametrize("rows", [slice(None), slice(1, 4), np.array([0, 2, 4])])
@pytest.mark.parametrize("name", COLUMNS)
def test_texts_are_read_in_every_encoding(file, name, rows):
    found = read_texts(file[name], rows)
    expected = pd.Series(COLUMNS[name]).astype(object).fillna("").to_numpy()[rows]
    assert found.dtype == object
    assert found.tolist() == expected.tolist()


def test_the_encodings_differ(file):
    kinds = [file[name].attrs["encoding-type"] for name in COLUMNS]
    assert kinds == ["string-array", "nullable-string-array", "categorical"]


def test_an_index_is_read_whole_and_in_part(file):
    assert read_index(file["obs"]).tolist() == ["S_1", "S_2", "S_3", "S_4", "S_5"]
    assert read_index(file["obs"], np.array([1, 3])).tolist() == ["S_2", "S_4"]
