"""Read the array positions of spots from their ids or from a table of barcodes."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.errors import ConfigError
from st1k4m.technologies import TECHNOLOGIES

_IDS = [re.compile(row.spot_id) for row in TECHNOLOGIES.values() if not row.barcoded]
_BARCODES = [re.compile(row.spot_id) for row in TECHNOLOGIES.values() if row.barcoded]

# A table of barcodes is used for a slide if it has at least KNOWN of the slide's barcodes, and at
# least FEWEST of them. It has barcodes of another kind of array only by chance.
KNOWN, FEWEST = 0.5, 4
# Column names of a table, both of calibrate_arrays and of Space Ranger.
COLUMNS = ("barcode", "array_row", "array_col")


@dataclass(frozen=True)
class ArrayIds:
    """Array positions of spots that are known without their centres.

    ``row`` and ``col`` are (spots,) int32, -1 if unknown. ``bin_um`` is the side of a bin in
    micrometres, None if spots are discs. ``source`` is the source of the positions: ``ids`` (the
    spot ids) or ``barcodes`` (a table of barcodes).
    """

    row: np.ndarray
    col: np.ndarray
    bin_um: float | None
    source: str = "ids"


def read_positions(barcodes: list[str]) -> ArrayIds | None:
    """Read the array positions that spot ids state, such as ST's ``10x13``.

    Parameters
    ----------
    barcodes
        Spot ids without the slide's name.

    Returns
    -------
    ArrayIds or None
        None if not every id states a position in the same format, or if bins differ in size.
    """
    for pattern in _IDS:
        if not all(map(pattern.fullmatch, barcodes)):
            continue
        numbers = np.array(pattern.findall("\n".join(barcodes)), np.int32).T
        stated = {name: numbers[group - 1] for name, group in pattern.groupindex.items()}
        sides = np.unique(stated.get("um", []))
        if len(sides) < 2:
            return ArrayIds(stated["row"], stated["col"], float(sides[0]) if len(sides) else None)
    return None


def bases_of(barcode: str) -> str:
    """Return the bases of a barcode without its library number; empty if it is not a barcode."""
    found = next((match for p in _BARCODES if (match := p.fullmatch(barcode))), None)
    return found["bases"] if found else ""


def find_positions(barcodes: list[str], tables: dict[str, dict]) -> tuple[ArrayIds | None, str]:
    """Look up the array positions of barcodes.

    Parameters
    ----------
    barcodes
        Spot ids without the slide's name.
    tables
        The tables, as `read_tables` returns them.

    Returns
    -------
    ArrayIds or None
        Positions from the table that has most of the barcodes; None if no table has half of them.
    str
        The reason if there are no positions, else empty.
    """
    bases = [bases_of(barcode) for barcode in barcodes]
    known = {name: sum(b in table for b in bases) for name, table in tables.items()}
    best = max(known, key=known.get)
    if known[best] < max(KNOWN * len(bases), min(FEWEST, len(bases))):
        return None, (
            f"{best} knows {known[best]} of {len(bases)} barcodes, too few; the array may be of "
            "another kind"
        )
    places = [tables[best].get(b, (-1, -1)) for b in bases]
    row, col = np.array(places, np.int32).T
    return ArrayIds(row, col, None, "barcodes"), ""


def read_tables(path: str | Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Read tables of barcodes from one file, or from all ``.tsv`` files of a folder.

    Three kinds of files are read: a table of `calibrate_arrays` (``barcode``, ``array_row``,
    ``array_col``), the positions file in Space Ranger's output (``tissue_positions.csv``, or
    ``tissue_positions_list.csv`` without a header), and the list that Space Ranger includes
    (``visium-v1_coordinates.txt``: barcode, column, row, counted from 1).

    Returns
    -------
    dict
        For each file name, a dict from the bases of a barcode to its (array_row, array_col),
        counted from 0.

    Raises
    ------
    ConfigError
        A file cannot be read, or a line does not belong to a table of barcodes; the message names
        the line.
    """
    path = Path(path)
    paths = [path]
    if path.is_dir():
        paths = [file for file in sorted(path.glob("*.tsv")) if file.name != "slides.tsv"]
    tables = {file.name: _read_table(file) for file in paths}
    if not any(tables.values()):
        raise ConfigError(
            f"{path} has no table of barcodes; geometry.barcodes must be a table of "
            "calibrate_arrays, a folder of such tables, or a positions file of Space Ranger"
        )
    return tables


def _read_table(path: Path) -> dict[str, tuple[int, int]]:
    """Read one table of barcodes; see `read_tables`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error})") from error
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        return {}
    separator = "\t" if "\t" in lines[0][1] else ","
    rows = [next(csv.reader([line], delimiter=separator)) for _, line in lines]
    if rows[0][0] == "barcode":
        lacking = [name for name in COLUMNS if name not in rows[0]]
        if lacking:
            raise ConfigError(f"{path}, line {lines[0][0]}: no column {', '.join(lacking)}")
        places = [rows[0].index(name) for name in COLUMNS]
        rows, lines, first = rows[1:], lines[1:], 0
    elif len(rows[0]) >= 6:  # barcode, in_tissue, array_row, array_col, and pixels
        places, first = [0, 2, 3], 0
    else:  # barcode, column, row
        places, first = [0, 2, 1], 1
    table: dict[str, tuple[int, int]] = {}
    for (number, line), row in zip(lines, rows, strict=True):
        try:
            name, *place = (row[index] for index in places)
            bases, (at_row, at_col) = bases_of(name), (int(text) - first for text in place)
        except (IndexError, ValueError):
            bases, at_row, at_col = "", -1, -1
        if not bases or at_row < 0 or at_col < 0:
            raise ConfigError(
                f"{path}, line {number}: {line[:80]!r} is not a barcode with its row and column"
            )
        if table.setdefault(bases, (at_row, at_col)) != (at_row, at_col):
            raise ConfigError(f"{path}, line {number}: barcode {name} has two positions")
    return table
