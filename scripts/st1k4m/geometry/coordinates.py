"""Read and check coordinate files; errors name the wrong line."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.dataset import slide_of
from st1k4m.errors import SlideError
from st1k4m.source.plain_text import refuse_other_text

COLUMNS = ("yaxis", "xaxis", "r")
# Pixels; no image has so long a side.
FARTHEST = 1e9


@dataclass(frozen=True)
class Coordinates:
    """The spots of one coordinate file, in its order.

    ``x``, ``y`` (centre) and ``r`` (radius) are (spots,) float64, in pixels as in the file.
    """

    spots: list[str]
    x: np.ndarray
    y: np.ndarray
    r: np.ndarray


def read_coordinates(path: str | Path) -> Coordinates:
    """Read a coordinate file.

    The first column has the spot ids; ``yaxis``, ``xaxis`` and ``r`` are found by name. A byte
    order mark, CRLF, empty lines and a missing last line break are accepted.

    Parameters
    ----------
    path
        ``<slide>_coord.csv``.

    Returns
    -------
    Coordinates
        The spots in the order of the file.

    Raises
    ------
    SlideError
        The file is missing, empty, UTF-16, has other separators than commas, or lacks a column; a
        line has another number of fields than the header, a value that is not a finite number, an
        r of zero or less, no id, or the id of an earlier line. The message names the line.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    path = Path(path)
    header, line = _read_header(path)
    names = [f"{number}" for number in range(len(header))]
    places = [names[place] for place in _places(header).values()]
    try:
        table = arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=line),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=[names[0], *places],
                column_types={names[0]: pa.string()} | dict.fromkeys(places, pa.float64()),
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        raise _find_fault(path, header, line, str(error)) from error
    y, x, r = (table[place].to_numpy() for place in places)
    spots = table[names[0]].to_pylist()
    sound = (
        spots
        and all((np.abs(values) < FARTHEST).all() for values in (x, y, r))
        and (r > 0).all()
        and "" not in (distinct := set(spots))
        and "\0" not in "".join(spots)
        and len(distinct) == len(spots)
    )
    if not sound:
        raise _find_fault(path, header, line, "the file has no spot")
    return Coordinates(spots, x, y, r)


def _read_header(path: Path) -> tuple[list[str], int]:
    """Return fields and line number of the header row; raise if a column is missing."""
    hint = "fetch or export the coordinate file again"
    try:
        refuse_other_text(path, slide_of(path, "coord"))
        line, header = next(((line, fields) for line, fields in _lines(path) if fields), (0, []))
    except FileNotFoundError as error:
        raise SlideError(slide_of(path, "coord"), f"{path} does not exist", hint) from error
    if not header:
        raise SlideError(slide_of(path, "coord"), f"{path} is empty", hint)
    header = [field.strip() for field in header]
    lacking = [column for column in COLUMNS if column not in header[1:]]
    if lacking:
        raise SlideError(
            slide_of(path, "coord"),
            f"{path}, line {line}: no column {' and '.join(lacking)}; the header is "
            f"{_short(','.join(header))}",
            "the first column must have the spot ids, further columns must be yaxis, xaxis and r",
        )
    return header, line


def _places(header: list[str]) -> dict[str, int]:
    """Return the places of the columns; the first one has the ids, whatever its name."""
    return {column: header.index(column, 1) for column in COLUMNS}


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of every line."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            for fields in reader:
                yield reader.line_num, fields
        except csv.Error as error:
            raise SlideError(
                slide_of(path, "coord"),
                f"{path}, line {reader.line_num}: this is not valid CSV ({error})",
                "fetch the coordinate file again",
            ) from error


def _find_fault(path: Path, header: list[str], line: int, otherwise: str) -> SlideError:
    """Read the file line by line, and return the error for the first fault in it."""
    seen: dict[str, int] = {}
    places = _places(header)
    for number, fields in _lines(path):
        if number <= line or not fields:
            continue
        what = _fault(fields, len(header), places, seen)
        if what:
            return SlideError(
                slide_of(path, "coord"),
                f"{path}, line {number}: {what}",
                "correct or remove the line, or fetch the file again",
            )
        seen[fields[0]] = number
    return SlideError(
        slide_of(path, "coord"), f"{path}: {_short(otherwise)}", "fetch the coordinate file again"
    )


def _fault(
    fields: list[str], width: int, places: dict[str, int], seen: dict[str, int]
) -> str | None:
    """Return what is wrong with one line, or None."""
    if len(fields) != width:
        return f"{len(fields)} fields where the header has {width}"
    if not fields[0] or "\0" in fields[0]:
        return f"{_short(fields[0])!r} is not a spot id"
    spot = _short(fields[0])
    if fields[0] in seen:
        return f"spot {spot} is on line {seen[fields[0]]} already"
    for column, place in places.items():
        try:
            value = float(fields[place])
        except ValueError:
            value = math.nan
        if not abs(value) < FARTHEST:
            return (
                f"{column} of spot {spot} is {_short(fields[place])!r}, "
                f"expected a finite number below {FARTHEST:g}"
            )
        if column == "r" and value <= 0:
            return f"r of spot {spot} is {fields[place]}, expected more than 0"
    return None


def _short(text: str) -> str:
    """Return a text, cut to a length that a message can show."""
    return text if len(text) <= 200 else f"{text[:200]}..."
