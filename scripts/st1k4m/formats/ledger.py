"""The ledger of a slide, ``results/ledger/{slide}.parquet``: every spot and its status."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.codes import DROPPED, KEPT
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import KEY, Made

COLUMNS: dict[str, tuple[type, str]] = {
    "spot": (str, "Id of the spot, unique over all slides: a row of the slide's AnnData."),
    "barcode": (str, "The spot's barcode, unique within the slide."),
    "in_counts": (bool, "Whether the spot is in the count file."),
    "in_coord": (bool, "Whether the spot is in the coordinate file."),
    "x": (float, "Centre of the spot, in pixels from the left edge of the image."),
    "y": (float, "Centre of the spot, in pixels from the upper edge of the image."),
    "r": (float, "Radius of the spot, in pixels of the image."),
    "array_row": (int, "Row of the spot on its array; -1 if unknown."),
    "array_col": (int, "Column of the spot on its array; -1 if unknown."),
    "tile": (int, "Row of the spot's tile in tiles/{slide}.h5; -1 for none."),
    "status": (str, "kept: the spot is a pair of tile and expression. dropped: it is not."),
    "reason": (str, "Why the spot was dropped; empty for a pair."),
}
"""Columns of the file: type of the values and description; unknown centres are NaN."""


@dataclass(frozen=True)
class Ledger:
    """Every spot of the count file and of the coordinate file, once.

    Each field is a column of `COLUMNS`. Texts are sequences of length n. Numbers are (n,) arrays:
    ``array_row`` and ``array_col`` int32, ``tile`` int64, ``x``, ``y`` and ``r`` float64 in pixels.
    ``status`` is computed from ``reason``.
    """

    spot: Sequence[str]
    barcode: Sequence[str]
    in_counts: np.ndarray
    in_coord: np.ndarray
    x: np.ndarray
    y: np.ndarray
    r: np.ndarray
    array_row: np.ndarray
    array_col: np.ndarray
    tile: np.ndarray
    reason: Sequence[str]

    @property
    def kept(self) -> list[str]:
        """Ids of the spots in the AnnData, in the ledger's order."""
        return [spot for spot, why in zip(self.spot, self.reason, strict=True) if not why]


def write_ledger(path: str | Path, ledger: Ledger, made: Made | None = None) -> None:
    """Write a ledger; ``made`` states what it is made from, and is stored in the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = vars(ledger) | {"status": [DROPPED if why else KEPT for why in ledger.reason]}
    table = pa.table({name: columns[name] for name in COLUMNS})
    if made:
        table = table.replace_schema_metadata({KEY: made.text})
    with atomic(path) as whole:
        pq.write_table(table, whole, compression="zstd")


def read_positions(path: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read the barcodes of all spots, and their rows and columns on the array, (n,) int64 each."""
    barcode, row, col = _read(path, "barcode", "array_row", "array_col")
    return barcode.tolist(), row.astype(np.int64), col.astype(np.int64)


def read_dropped(path: str | Path) -> np.ndarray:
    """Read x and y of the dropped spots that have coordinates, (m, 2) float64, pixels."""
    x, y, in_coord, status = _read(path, "x", "y", "in_coord", "status")
    centres = np.stack([x, y], axis=1)
    gone: np.ndarray = centres[in_coord & (status == DROPPED)]
    return gone


def _read(path: str | Path, *names: str) -> list[np.ndarray]:
    import pyarrow.parquet as pq

    with open(path, "rb") as file:  # read_table would import pandas
        table = pq.ParquetFile(file).read(list(names))
    return [table[name].to_numpy() for name in names]
