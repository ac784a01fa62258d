"""The stacked panel, ``results/collection/panels/{name}.h5ad``, written in blocks of spots.

anndata writes the small parts. The parts that grow with the number of spots are written here, as
its specification states (https://anndata.readthedocs.io/en/stable/fileformat-prose.html). anndata
would need all of their values in memory: the names of 4.3 million spots alone are 1 GB of Python
texts.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from st1k4m.formats.slide_anndata import SPATIAL
from st1k4m.formats.texts import read_codes, read_texts

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

#: Columns of ``obs`` that a slide's AnnData does not have.
SLIDE, PART, CHOSEN_FROM, NORMALISED_BY = "slide", "part", "chosen_from", "normalised_by"
#: Parts of ``varm`` and ``uns``.
PRESENT, RANK, PANEL, SLIDES = "present", "rank", "panel", "slides"

CHUNK = 1 << 18
"""Entries of a matrix that are stored and compressed in one HDF5 chunk."""

TEXT = h5py.string_dtype()


@dataclass(frozen=True)
class PanelFacts:
    """The facts of a panel; each field is a part of ``uns['panel']``.

    Attributes
    ----------
    name
        Name of the panel.
    slides
        Names of the slides whose spots it has, (slides,) object.
    chosen_from
        Whether the genes were chosen from the slide, (slides,) bool.
    target_total
        Total to which the spots of each slide were normalised, (slides,) float64.
    options
        The options, as JSON.
    head
        Sentences on how the genes were chosen, object.
    """

    name: str
    slides: np.ndarray
    chosen_from: np.ndarray
    target_total: np.ndarray
    options: str
    head: np.ndarray


def read_slides(file: h5py.File) -> list[str]:
    """Read the slides of a panel, in its order."""
    names: list[str] = read_texts(file["uns"][PANEL][SLIDES]).tolist()
    return names


def read_present(file: h5py.File) -> np.ndarray:
    """Read whether each slide of the panel measured each gene, (slides, genes) bool."""
    present: np.ndarray = file["varm"][PRESENT][:].T.astype(bool)
    return present


def read_slide_of_spots(file: h5py.File) -> tuple[np.ndarray, np.ndarray]:
    """Read the slide of each spot as a code, (spots,), and the slide name of each code."""
    return read_codes(file["obs"][SLIDE])


class PanelWriter:
    """An AnnData file to which the spots of one slide after another are added."""

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
            Columns of ``obs``, (n,) each; the codes for a categorical column.
        spatial
            Centres of the spots, (n, 2) float64.
        """
        begin, end = self._spots, self._spots + len(names)
        obs = self._file["obs"]
        obs["_index"][begin:end] = names
        for name, values in columns.items():
            column = obs[name]
            place = column["codes"] if isinstance(column, h5py.Group) else column
            place[begin:end] = values
        self._file["obsm"][SPATIAL][begin:end] = spatial
        self._spots = end

    def append_values(self, counts: "csr_matrix", x: "csr_matrix") -> None:
        """Add rows: int32 counts, and float32 values with the same non-zero entries."""
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
    present: np.ndarray,
    rank: np.ndarray | None,
    facts: PanelFacts,
) -> Iterator[PanelWriter]:
    """Create the file; `PanelWriter.append` and ``append_values`` then fill it.

    Parameters
    ----------
    path
        The file to write.
    spots
        Number of spots that will be added.
    var
        Table of the genes; the index is their names.
    columns
        Columns of ``obs``: for each a dtype, ``str``, or the categories of a categorical.
    present
        Whether each slide measured each gene, (genes, slides) bool.
    rank
        Rank of each gene on each slide, (genes, slides) float32; None if the method has no ranks.
    facts
        The facts of the panel.
    """
    from anndata.io import write_elem  # type: ignore[import-untyped]

    with h5py.File(path, "w") as file:
        _encode(file, "anndata", "0.1.0")
        for part in ("layers", "obsm", "obsp", "varp"):
            _encode(file.create_group(part), "dict", "0.1.0")
        write_elem(file, "var", _plain_texts(var))
        varm = {PRESENT: present} | ({} if rank is None else {RANK: rank})
        write_elem(file, "varm", varm)
        about = {field.name: getattr(facts, field.name) for field in fields(PanelFacts)}
        write_elem(file, "uns", {"log1p": {}, PANEL: about})
        _create_obs(file, spots, columns)
        spatial = file["obsm"].create_dataset(SPATIAL, (spots, 2), np.float64)
        _encode(spatial, "array")
        _create_matrices(file, spots, len(var))
        yield PanelWriter(file)


def _plain_texts(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return the table with texts as objects: pandas' string type needs anndata 0.12."""
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
    """Create ``X`` and ``layers['counts']``; hard links let them share the index arrays."""
    counts, x = file["layers"].create_group("counts"), file.create_group("X")
    # scikit-learn needs indices and indptr of one type, large enough for the number of entries.
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
