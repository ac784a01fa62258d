"""The AnnData of a slide, ``results/anndata/{slide}.h5ad``, read and written part by part.

anndata reads whole columns and matrices, and its import takes longer than the small reads here.
Parts of a file, or values of very many slides, are therefore read with h5py. The layout is
anndata's (https://anndata.readthedocs.io/en/stable/fileformat-prose.html). Names in ``obs`` and
``var`` are scanpy's if scanpy has one. The expression file and a stacked panel have the same parts.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from st1k4m.formats import expression
from st1k4m.formats.texts import Rows, read_codes, read_index, read_texts

#: Columns of ``obs``.
BARCODE, TILE, ANNOTATION = expression.BARCODE, "tile", "annotation"
ARRAY_ROW, ARRAY_COL = "array_row", "array_col"
IN_TISSUE, TISSUE_SHARE = "in_tissue", "tissue_share"
TOTAL_COUNTS, GENES, PCT_MITO = expression.TOTAL_COUNTS, "n_genes_by_counts", "pct_counts_mt"
#: Columns of ``var``.
PRINTED, RANK, SPOTS = expression.PRINTED, expression.RANK, "n_cells_by_counts"
#: Parts of ``uns``; ``spatial`` is also a part of ``obsm``.
SPATIAL, RECORD = "spatial", "st1k4m"
#: Parts of ``uns['spatial'][slide]``.
IMAGES, HIRES, LOWRES = "images", "hires", "lowres"
SCALES, HIRES_SCALE, LOWRES_SCALE = "scalefactors", "tissue_hires_scalef", "tissue_lowres_scalef"


@dataclass(frozen=True)
class SpotColumns:
    """The columns that are added to ``obs`` of a slide's expression; each field is a column.

    Attributes
    ----------
    array_row, array_col
        Positions on the array, (spots,) int32, -1 if unknown.
    spot_radius
        Radius of the spot in pixels of the image, (spots,) float64.
    tile
        Row in the tile store, (spots,) int64, -1 for none.
    tile_inside, tissue_share
        Share of the spot's square in the image, and of tissue in it, (spots,) float32.
    in_tissue
        Whether the spot is in tissue, (spots,) bool.
    """

    array_row: np.ndarray
    array_col: np.ndarray
    spot_radius: np.ndarray
    tile: np.ndarray
    tile_inside: np.ndarray
    tissue_share: np.ndarray
    in_tissue: np.ndarray


def complete(
    path: str | Path,
    slide: str,
    columns: SpotColumns,
    labels: Sequence[str | None] | None,
    centres: np.ndarray,
    pictures: Mapping[str, np.ndarray],
    scales: Mapping[str, float],
    record: Mapping[str, Any],
) -> None:
    """Turn a copy of a slide's expression file into the slide's AnnData.

    Parameters
    ----------
    path
        The copy, which is changed in place.
    slide
        Name of the slide.
    columns
        Columns to add, in the file's order of spots.
    labels
        The pathologist's label of each spot, None for a spot without one; None if the slide has
        no labels.
    centres
        (x, y) of the spots in pixels of the image, (n, 2) float64.
    pictures
        ``hires`` and ``lowres``, uint8 RGB.
    scales
        ``tissue_hires_scalef``, ``tissue_lowres_scalef``, ``spot_diameter_fullres``.
    record
        The record, in values that HDF5 can store.
    """
    from anndata.io import write_elem  # type: ignore[import-untyped]

    added = {field.name: getattr(columns, field.name) for field in fields(SpotColumns)}
    if labels is not None:
        added[ANNOTATION] = _categories(labels)
    with h5py.File(path, "r+") as file:
        obs, uns = file["obs"], file["uns"]
        for name, values in added.items():
            write_elem(obs, name, values)
        order = [*obs.attrs["column-order"], *added]
        obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
        write_elem(file["obsm"], SPATIAL, centres)
        for part in expression.OWN:
            del uns[part]
        # the layout of 10x and scanpy
        library = {IMAGES: dict(pictures), SCALES: dict(scales), "metadata": {}}
        write_elem(uns, SPATIAL, {slide: library})
        write_elem(uns, RECORD, dict(record))


def _categories(labels: Sequence[str | None]) -> Any:
    """Return labels as a categorical with sorted categories; None is a missing value."""
    import pandas as pd

    known = sorted({label for label in labels if label is not None})
    return pd.Categorical(labels, pd.Index(known, dtype=object))


class StoredRows:
    """A CSR matrix in a file, spots by genes, whose entries are read in parts.

    Attributes
    ----------
    shape
        Numbers of spots and genes.

    Raises
    ------
    KeyError
        The matrix is not stored as CSR.
    """

    def __init__(self, group: h5py.Group) -> None:
        if group.attrs.get("encoding-type") != "csr_matrix":
            raise KeyError(f"{group.name} is stored as {group.attrs.get('encoding-type')}")
        self._group = group
        rows, width = group.attrs["shape"]
        self.shape = int(rows), int(width)

    def read_ends(self) -> np.ndarray:
        """Read the index pointer: 0, then the end of each row's entries, (spots + 1,) int64."""
        ends: np.ndarray = self._group["indptr"][:].astype(np.int64)
        return ends

    def read(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Read genes and values of the entries from ``begin`` to ``end``."""
        return self._group["indices"][begin:end], self._group["data"][begin:end]


def open_counts(file: h5py.File) -> StoredRows | h5py.Dataset:
    """Return the raw counts, int32; as a dataset if they are stored dense."""
    return _open_matrix(file["layers/counts"])


def open_x(file: h5py.File) -> StoredRows | h5py.Dataset:
    """Return the normalised values, float32; as a dataset if they are stored dense."""
    return _open_matrix(file["X"])


def _open_matrix(item: h5py.Group | h5py.Dataset) -> StoredRows | h5py.Dataset:
    return StoredRows(item) if isinstance(item, h5py.Group) else item


def read_spots(file: h5py.File, rows: Rows = slice(None)) -> np.ndarray:
    """Read the ids of spots, (n,) object."""
    return read_index(file["obs"], rows)


def read_genes(file: h5py.File) -> np.ndarray:
    """Read the unique names of the genes, (genes,) object."""
    return read_index(file["var"])


def read_printed(file: h5py.File) -> list[str]:
    """Read the names of the genes as the count file prints them."""
    names: list[str] = read_texts(file["var"][PRINTED]).tolist()
    return names


def read_barcodes(file: h5py.File) -> np.ndarray:
    """Read the ids of spots without the slide's name, (n,) object."""
    return read_texts(file["obs"][BARCODE])


def read_column(file: h5py.File, name: str) -> np.ndarray:
    """Read a column of numbers of the spots, (n,)."""
    values: np.ndarray = file["obs"][name][:]
    return values


def read_gene_column(file: h5py.File, name: str) -> np.ndarray:
    """Read a column of numbers of the genes, (genes,)."""
    values: np.ndarray = file["var"][name][:]
    return values


def read_labels(file: h5py.File) -> tuple[np.ndarray, list[str]] | None:
    """Read the annotation: codes, (n,) int64, -1 for none, and labels; None if there is none."""
    if ANNOTATION not in file["obs"]:
        return None
    codes, names = read_codes(file["obs"][ANNOTATION])
    return codes.astype(np.int64), names.tolist()


def read_centres(file: h5py.File) -> np.ndarray:
    """Read (x, y) of the spots in pixels of the image, (n, 2) float64."""
    centres: np.ndarray = file["obsm"][SPATIAL][:]
    return centres


def read_hires(file: h5py.File, slide: str) -> np.ndarray:
    """Read the larger picture of the slide, (h, w, 3) uint8 RGB."""
    picture: np.ndarray = file["uns"][SPATIAL][slide][IMAGES][HIRES][:]
    return picture


def read_image_size(file: h5py.File) -> tuple[int, int]:
    """Read width and height of the slide's image in pixels."""
    geometry = file["uns"][RECORD]["geometry"]
    return int(geometry["width"][()]), int(geometry["height"][()])


def read_totals(path: str | Path) -> tuple[np.ndarray, float, np.ndarray]:
    """Read the totals with which a slide's counts were normalised, and the rows of its tiles.

    h5py's low-level interface takes half the time. This matters because every slide is read before
    the first batch of a training (0.15 s for 1,149 slides).

    Returns
    -------
    numpy.ndarray
        Total counts of each spot, (n,).
    float
        The total to which the spots were normalised.
    numpy.ndarray
        Row of each spot in the tile store, (n,) int, -1 for none.
    """
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    target = f"uns/{expression.NORMALISATION}/{expression.TARGET_SUM}"
    totals, target_sum, tile = (
        _read_whole(file, name) for name in (f"obs/{TOTAL_COUNTS}", target, f"obs/{TILE}")
    )
    return totals, target_sum, tile


def _read_whole(file: h5py.h5f.FileID, name: str) -> Any:
    dataset = h5py.h5d.open(file, name.encode())
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values
