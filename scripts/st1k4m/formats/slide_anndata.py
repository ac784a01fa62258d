"""The AnnData of a slide, ``results/anndata/{slide}.h5ad``, part by part.

anndata reads all of a column or a matrix and takes longer to import than the small reads here take,
so what is read in part, or of very many slides, is read through h5py. The layout is anndata's
(https://anndata.readthedocs.io/en/stable/fileformat-prose.html); the names in ``obs`` and ``var``
are scanpy's where scanpy has one. The expression file and a stacked panel have the same parts.
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
#: Parts of ``uns``; ``spatial`` is one of ``obsm`` too.
SPATIAL, RECORD = "spatial", "st1k4m"
#: Parts of ``uns['spatial'][slide]``.
IMAGES, HIRES, LOWRES = "images", "hires", "lowres"
SCALES, HIRES_SCALE, LOWRES_SCALE = "scalefactors", "tissue_hires_scalef", "tissue_lowres_scalef"


@dataclass(frozen=True)
class SpotColumns:
    """What is joined to the expression of a slide's spots; each field is a column of ``obs``.

    Attributes
    ----------
    array_row, array_col
        Positions on the array, int32, -1 where unknown.
    spot_radius
        Pixels of the image, float64.
    tile
        Row in the tile store, int64, -1 for none.
    tile_inside, tissue_share
        Shares of the square in the image, and of tissue in it, float32.
    in_tissue
        bool.
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
    """Make the AnnData of a slide of a copy of its expression file.

    Parameters
    ----------
    path
        The copy, which is changed.
    slide
        Name of the slide.
    columns
        Of its spots, in the file's order.
    labels
        The pathologist's, of each spot; None where there are none.
    centres
        (x, y) of the spots in pixels of the image, (n, 2) float64.
    pictures
        ``hires`` and ``lowres``, uint8 RGB.
    scales
        ``tissue_hires_scalef``, ``tissue_lowres_scalef``, ``spot_diameter_fullres``.
    record
        Values that HDF5 can hold.
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
        # as 10x and scanpy lay it out
        library = {IMAGES: dict(pictures), SCALES: dict(scales), "metadata": {}}
        write_elem(uns, SPATIAL, {slide: library})
        write_elem(uns, RECORD, dict(record))


def _categories(labels: Sequence[str | None]) -> Any:
    """Return labels as categories in sorted order; None is missing."""
    import pandas as pd

    known = sorted({label for label in labels if label is not None})
    return pd.Categorical(labels, pd.Index(known, dtype=object))


class StoredRows:
    """A sparse matrix in a file, rows of spots, of which some entries are read at a time.

    Attributes
    ----------
    shape
        Spots and genes.

    Raises
    ------
    KeyError
        The matrix is stored in another way.
    """

    def __init__(self, group: h5py.Group) -> None:
        if group.attrs.get("encoding-type") != "csr_matrix":
            raise KeyError(f"{group.name} is stored as {group.attrs.get('encoding-type')}")
        self._group = group
        rows, width = group.attrs["shape"]
        self.shape = int(rows), int(width)

    def read_ends(self) -> np.ndarray:
        """Read where the entries of each row end, and first a 0: (spots + 1,) int64."""
        ends: np.ndarray = self._group["indptr"][:].astype(np.int64)
        return ends

    def read(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Read genes and values of the entries from ``begin`` to ``end``."""
        return self._group["indices"][begin:end], self._group["data"][begin:end]


def open_counts(file: h5py.File) -> StoredRows | h5py.Dataset:
    """Return the raw counts, int32; a dataset where they are stored dense."""
    return _open_matrix(file["layers/counts"])


def open_x(file: h5py.File) -> StoredRows | h5py.Dataset:
    """Return the normalised values, float32; a dataset where they are stored dense."""
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
    """Read the annotation: (n,) numbers, -1 for none, and their labels; None without any."""
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
    """Read what a slide's counts were normalised by, and which spots have a tile.

    Through h5py's lower level, which takes half the time: it is done for every slide (0.15 s for
    1,149 of them) before the first batch of a training.

    Returns
    -------
    numpy.ndarray
        Total of each spot, (n,).
    float
        The total that they were normalised to.
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
