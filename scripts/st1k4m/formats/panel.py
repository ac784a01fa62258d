"""The stacked panel, ``results/collection/panels/{name}.h5ad``, written a block of spots at a time.

anndata writes what is small; what grows with the spots is laid out here as its specification says
(https://anndata.readthedocs.io/en/stable/fileformat-prose.html), because anndata would need all of
it at once: the names of 4.3 million spots alone are 1 GB of Python texts.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

CHUNK = 1 << 18
"""Entries of a matrix that are stored, and compressed, as one piece."""

TEXT = h5py.string_dtype()


class PanelWriter:
    """An AnnData file that grows by the spots of one slide after the other."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._spots = self._rows = self._entries = 0

    def append(
        self,
        names: Sequence[str],
        columns: Mapping[str, np.ndarray | Sequence[str]],
        spatial: np.ndarray,
    ) -> None:
        """Add the spots of a slide, before their values.

        Parameters
        ----------
        names
            Ids of the spots, (n,).
        columns
            Of ``obs``, (n,) each. A categorical is given by its codes.
        spatial
            (n, 2) float64.
        """
        begin, end = self._spots, self._spots + len(names)
        obs = self._file["obs"]
        obs["_index"][begin:end] = names
        for name, values in columns.items():
            column = obs[name]
            place = column["codes"] if isinstance(column, h5py.Group) else column
            place[begin:end] = values
        self._file["obsm/spatial"][begin:end] = spatial
        self._spots = end

    def append_values(self, counts: "csr_matrix", x: "csr_matrix") -> None:
        """Add rows: int32 counts, and float32 values where the counts have theirs."""
        matrix, layer = self._file["X"], self._file["layers/counts"]
        begin, end = self._entries, self._entries + counts.nnz
        for place, values in (
            (matrix["data"], x.data),
            (layer["data"], counts.data),
            (layer["indices"], counts.indices),
        ):
            place.resize((end,))
            place[begin:end] = values
        rows = self._rows
        layer["indptr"][rows + 1 : rows + 1 + counts.shape[0]] = counts.indptr[1:] + begin
        self._rows += counts.shape[0]
        self._entries = end


@contextlib.contextmanager
def create(
    path: str | Path,
    spots: int,
    var: "pd.DataFrame",
    columns: Mapping[str, Any],
    varm: Mapping[str, np.ndarray],
    uns: Mapping[str, Any],
) -> Iterator[PanelWriter]:
    """Make the file, to be filled by `PanelWriter.append` and ``append_values``.

    Parameters
    ----------
    path
        Where.
    spots
        How many there will be.
    var
        Table of the genes; the index are their names.
    columns
        Of ``obs``: a dtype, ``str``, or the categories of a categorical.
    varm, uns
        As in the AnnData.
    """
    from anndata.io import write_elem  # type: ignore[import-untyped]

    with h5py.File(path, "w") as file:
        _encode(file, "anndata", "0.1.0")
        for part in ("layers", "obsm", "obsp", "varp"):
            _encode(file.create_group(part), "dict", "0.1.0")
        write_elem(file, "var", _plain_texts(var))
        write_elem(file, "varm", dict(varm))
        write_elem(file, "uns", dict(uns))
        _create_obs(file, spots, columns)
        spatial = file["obsm"].create_dataset("spatial", (spots, 2), np.float64)
        _encode(spatial, "array")
        _create_matrices(file, spots, len(var))
        yield PanelWriter(file)


def _plain_texts(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return the table with texts as objects: pandas' own type of texts needs anndata 0.12."""
    import pandas as pd

    columns = {
        name: values.astype(object) if pd.api.types.is_string_dtype(values) else values
        for name, values in table.items()
    }
    index = pd.Index(table.index.to_numpy(dtype=object), dtype=object)
    return pd.DataFrame({name: values.to_numpy() for name, values in columns.items()}, index=index)


def _create_obs(file: h5py.File, spots: int, columns: Mapping[str, Any]) -> None:
    obs = file.create_group("obs")
    _encode(obs, "dataframe")
    obs.attrs["_index"] = "_index"
    obs.attrs["column-order"] = np.array(list(columns), dtype=TEXT)
    for name, kind in {"_index": str, **columns}.items():
        if kind is str:
            _encode(obs.create_dataset(name, (spots,), TEXT), "string-array")
        elif isinstance(kind, Sequence):
            group = obs.create_group(name)
            _encode(group, "categorical")
            group.attrs["ordered"] = False
            texts = np.array(kind, dtype=object)
            _encode(group.create_dataset("categories", data=texts, dtype=TEXT), "string-array")
            _encode(group.create_dataset("codes", (spots,), np.int16), "array")
        else:
            _encode(obs.create_dataset(name, (spots,), kind), "array")


def _create_matrices(file: h5py.File, spots: int, genes: int) -> None:
    """Make ``X`` and ``layers['counts']``; they share the places of their entries by hard links."""
    counts, x = file["layers"].create_group("counts"), file.create_group("X")
    # scikit-learn wants both kinds of places in one type, which has to hold the number of entries.
    place = np.int32 if spots * genes < np.iinfo(np.int32).max else np.int64
    grows = {"maxshape": (None,), "chunks": (CHUNK,), "compression": "gzip", "compression_opts": 1}
    counts.create_dataset("data", (0,), np.int32, shuffle=True, **grows)
    counts.create_dataset("indices", (0,), place, shuffle=True, **grows)
    counts.create_dataset("indptr", (spots + 1,), place)
    x.create_dataset("data", (0,), np.float32, **grows)
    for part in ("indices", "indptr"):
        x[part] = counts[part]
    for group in (counts, x):
        _encode(group, "csr_matrix", "0.1.0")
        group.attrs["shape"] = np.array([spots, genes], np.int64)


def _encode(item: h5py.Group | h5py.Dataset, kind: str, version: str = "0.2.0") -> None:
    item.attrs["encoding-type"] = kind
    item.attrs["encoding-version"] = version
