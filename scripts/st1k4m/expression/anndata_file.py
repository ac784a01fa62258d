"""AnnData files through h5py alone, as the format's specification lays them out.

Importing anndata takes longer than most slides take to read; what is written here is a handful of
arrays with their encoding named beside them, which anndata and scanpy read as their own.
Specification: https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CHUNK = 1 << 18
"""Entries of a matrix that are stored, and compressed, as one piece."""

COMPRESSIONS = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "compression_opts": 1},
}
"""Filters by the name of the option. h5py reads them all, other HDF5 programs none and gzip."""


@contextlib.contextmanager
def create(path: str | Path) -> Iterator[h5py.File]:
    """Make an AnnData file whose parts are all there and empty, but ``X``, ``obs`` and ``var``."""
    with h5py.File(path, "w") as file:
        _encode(file, "anndata", "0.1.0")
        for part in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            write(file, part, {})
        yield file


def write(parent: h5py.Group, name: str, value: dict | str | float | Sequence[str] | np.ndarray):
    """Write a value: dict, text, number, truth value, texts, or array of numbers."""
    if isinstance(value, dict):
        group = parent.create_group(name)
        _encode(group, "dict", "0.1.0")
        for key, item in value.items():
            write(group, key, item)
    elif isinstance(value, str):
        _encode(parent.create_dataset(name, data=value, dtype=h5py.string_dtype()), "string")
    elif isinstance(value, np.ndarray) and value.dtype != object:
        _encode(parent.create_dataset(name, data=value), "array")
    elif isinstance(value, np.ndarray | list):
        texts = np.array(value, dtype=object)
        _encode(parent.create_dataset(name, data=texts, dtype=h5py.string_dtype()), "string-array")
    else:
        _encode(parent.create_dataset(name, data=value), "numeric-scalar")


def write_frame(
    parent: h5py.Group,
    name: str,
    index: Sequence[str],
    columns: dict[str, Sequence[str] | np.ndarray],
) -> None:
    """Write a table with its index; the columns keep their order."""
    group = parent.create_group(name)
    _encode(group, "dataframe")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array(list(columns), dtype=h5py.string_dtype())
    write(group, "_index", index)
    for column, values in columns.items():
        write(group, column, values)


def add_column(frame: h5py.Group, name: str, values: Sequence[str] | np.ndarray) -> None:
    """Write one more column of a table that `write_frame` wrote."""
    write(frame, name, values)
    _note_column(frame, name)


def add_categories(frame: h5py.Group, name: str, values: Sequence[str | None]) -> None:
    """Write one more column, of categories in sorted order; None is missing."""
    categories = sorted({value for value in values if value is not None})
    codes = {None: -1} | {category: code for code, category in enumerate(categories)}
    group = frame.create_group(name)
    _encode(group, "categorical")
    group.attrs["ordered"] = False
    write(group, "categories", categories)
    write(group, "codes", np.array([codes[value] for value in values], np.int32))
    _note_column(frame, name)


def write_csr(parent: h5py.Group, name: str, matrix: "csr_matrix", compression: str) -> h5py.Group:
    """Write a sparse matrix; ``compression`` is a name of `COMPRESSIONS`."""
    group = parent.create_group(name)
    _encode(group, "csr_matrix", "0.1.0")
    group.attrs["shape"] = np.array(matrix.shape, np.int64)
    for part in ("data", "indices", "indptr"):
        values = getattr(matrix, part)
        _create_array(group, part, len(values), values.dtype, compression)[:] = values
    return group


def create_csr_like(
    parent: h5py.Group, name: str, other: h5py.Group, dtype: np.dtype, compression: str
) -> h5py.Dataset:
    """Make a sparse matrix with its entries where those of ``other`` are; give its values to fill.

    Both share one copy of these places in the file, by hard links.
    """
    group = parent.create_group(name)
    for key, value in other.attrs.items():
        group.attrs[key] = value
    for part in ("indices", "indptr"):
        group[part] = other[part]
    return _create_array(group, "data", len(other["data"]), np.dtype(dtype), compression)


def read_csr(group: h5py.Group) -> "csr_matrix":
    """Read a sparse matrix."""
    from scipy.sparse import csr_matrix

    parts = (group["data"][:], group["indices"][:], group["indptr"][:])
    return csr_matrix(parts, shape=tuple(group.attrs["shape"]))


def read(item: h5py.Group | h5py.Dataset) -> dict | str | float | list[str] | np.ndarray:
    """Read what `write` wrote."""
    if isinstance(item, h5py.Group):
        return {key: read(value) for key, value in item.items()}
    if h5py.check_string_dtype(item.dtype):
        return item.asstr()[()] if item.shape == () else item.asstr()[:].tolist()
    return item[()].item() if item.shape == () else item[:]


def _note_column(frame: h5py.Group, name: str) -> None:
    order = np.array([*frame.attrs["column-order"], name], dtype=h5py.string_dtype())
    frame.attrs["column-order"] = order


def _create_array(
    group: h5py.Group, name: str, size: int, dtype: np.dtype, compression: str
) -> h5py.Dataset:
    filters = COMPRESSIONS[compression] if size else {}
    if filters:
        # Integers are small and ascend: their upper bytes, put side by side, nearly vanish. The few
        # different numbers of X repeat as they are.
        filters = filters | {"chunks": (min(size, CHUNK),), "shuffle": dtype.kind == "i"}
    return group.create_dataset(name, (size,), dtype, **filters)


def _encode(item: h5py.Group | h5py.Dataset, kind: str, version: str = "0.2.0") -> None:
    item.attrs["encoding-type"] = kind
    item.attrs["encoding-version"] = version
