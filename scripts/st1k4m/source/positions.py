"""Read positions of spots from files of Space Ranger, spot detectors and AnnData.

All positions here are in pixels of the image for which the file was written.
`st1k4m.geometry.own_positions` converts them to pixels of the image that the slide uses.
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.source import places

#: Columns of Space Ranger's positions, in the order of the files without a header.
COLUMNS = (
    "barcode",
    "in_tissue",
    "array_row",
    "array_col",
    "pxl_row_in_fullres",
    "pxl_col_in_fullres",
)
#: Larger than the side of any image in pixels, and than the rows of any array.
FARTHEST, MOST_ROWS = 1e9, 1e6
_AGAIN = "copy or export the file again"


@dataclass(frozen=True)
class Positions:
    """The spots of one file, in the order of the file.

    Attributes
    ----------
    barcodes
        The spots' names in the count matrix.
    x, y
        Centres in pixels, float64.
    row, col
        Positions on the array, int32; None if the file has none.
    selected
        Whether the file states that the spot is in tissue; bool.
    diameter
        Diameter of a spot in the same pixels; None if the file does not state it.
    """

    barcodes: list[str]
    x: np.ndarray
    y: np.ndarray
    row: np.ndarray | None
    col: np.ndarray | None
    selected: np.ndarray
    diameter: float | None = None


def read_positions(slide: str, part: dict) -> Positions:
    """Read the positions of a slide.

    Parameters
    ----------
    slide
        Name of the slide, for errors.
    part
        The slide's ``coord`` part, see `st1k4m.source.own_layout.Recognised`.

    Raises
    ------
    SlideError
        A file is missing or cannot be read; a line is invalid: the message states its number.
    """
    place = part["positions"]
    if part["format"] == "h5ad":
        return read_h5ad(place, slide)
    if part["format"] == "spot_file":
        return read_spot_file(place, slide)
    with _naming_faults(slide, place):
        first = places.first_bytes(place, 4)
    if first == b"PAR1":
        return read_parquet(place, slide)
    return read_tissue_positions(place, slide)


@contextmanager
def _naming_faults(slide: str, place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise places.missing(slide, place) from error
    except (ValueError, OSError, EOFError) as error:
        raise SlideError(slide, f"{place} cannot be read: {error}", _AGAIN) from error


def read_tissue_positions(place: str, slide: str) -> Positions:
    """Read ``tissue_positions.csv`` or ``tissue_positions_list.csv``, gzipped or not.

    The first line shows whether there is a header, not the name of the file. Without a header the
    columns are `COLUMNS`.

    Raises
    ------
    SlideError
        See `read_positions`.
    """
    with _naming_faults(slide, place):
        lines = list(_text_lines(place, ","))
    if not lines:
        raise SlideError(slide, f"{place} is empty", _AGAIN)
    header = [cell.strip().lower() for cell in lines[0][1]]
    if "barcode" in header or "array_row" in header:
        lines = lines[1:]
        lacking = [name for name in COLUMNS if name not in header]
        if lacking:
            raise SlideError(
                slide,
                f"{place}, line 1: no column {' and '.join(lacking)}; the header is "
                f"{','.join(header)[:200]}",
                f"the columns are {', '.join(COLUMNS)}",
            )
    else:
        header = list(COLUMNS)
    column = {name: header.index(name) for name in COLUMNS}
    barcodes, numbers = [], np.empty((len(lines), 5))
    seen: dict[str, int] = {}
    for number, (line, cells) in enumerate(lines):
        where = f"{place}, line {line}"
        if len(cells) != len(header):
            raise SlideError(
                slide, f"{where}: {len(cells)} fields where {len(header)} are expected", _AGAIN
            )
        barcode = cells[column["barcode"]]
        if not barcode or barcode in seen:
            what = (
                f"barcode {barcode[:80]!r} is on line {seen[barcode]} already"
                if barcode
                else ("the barcode is empty")
            )
            raise SlideError(slide, f"{where}: {what}", "remove one of the lines")
        seen[barcode] = line
        barcodes.append(barcode)
        for place_of, name in enumerate(COLUMNS[1:]):
            numbers[number, place_of] = _number(slide, where, name, cells[column[name]])
    if not barcodes:
        raise SlideError(slide, f"{place} has no spot", _AGAIN)
    in_tissue, row, col, y, x = numbers.T
    return _checked(slide, place, barcodes, x, y, row, col, in_tissue)


def read_parquet(place: str, slide: str) -> Positions:
    """Read ``tissue_positions.parquet`` of VisiumHD.

    Raises
    ------
    SlideError
        See `read_positions`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _naming_faults(slide, place), places.open_place(place) as file:
        table = pq.ParquetFile(pa.BufferReader(file.read())).read()
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        raise SlideError(
            slide,
            f"{place}: no column {' and '.join(lacking)}; it has {', '.join(table.column_names)}",
            "use the tissue_positions.parquet that Space Ranger wrote",
        )
    if not table.num_rows:
        raise SlideError(slide, f"{place} has no spot", _AGAIN)
    in_tissue, row, col, y, x = (table[name].to_numpy().astype(float) for name in COLUMNS[1:])
    barcodes = table["barcode"].to_pylist()
    return _checked(slide, place, barcodes, x, y, row, col, in_tissue)


def read_spot_file(place: str, slide: str) -> Positions:
    """Read the spots of a Spatial Transcriptomics array from a detector's or a pipeline's file.

    The file is tab or comma separated and has one of these forms: columns ``x y new_x new_y pixel_x
    pixel_y selected``, where the last may be missing; ids such as ``10x13`` in the first column,
    with ``X`` and ``Y`` in pixels; or six or seven columns of numbers without a header, in the
    order of the first form. The barcode is ``<column>x<row>``, from x and y as integers.

    Raises
    ------
    SlideError
        See `read_positions`.
    """
    with _naming_faults(slide, place):
        first = places.first_bytes(place).decode("utf-8-sig", "replace").partition("\n")[0]
        mark = "\t" if first.count("\t") >= first.count(",") else ","
        lines = list(_text_lines(place, mark))
    if not lines:
        raise SlideError(slide, f"{place} is empty", _AGAIN)
    plain = ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected"]
    header = [cell.strip().lower() for cell in lines[0][1]]
    ids = ""
    if _is_number(lines[0][1][-1]) and all(map(_is_number, lines[0][1])):
        header = plain[: len(header)]
    else:
        lines = lines[1:]
    columns = dict.fromkeys(header)
    if "pixel_x" in columns and "pixel_y" in columns:
        pixels = ("pixel_x", "pixel_y")
        array = ("x", "y") if {"x", "y"} <= set(columns) else ()
    else:
        pixels, array = ("x", "y"), ()
    if not array:
        ids = header[0]
    if not set(pixels) <= set(columns):
        raise SlideError(
            slide,
            f"{place}, line 1: no columns pixel_x and pixel_y; the header is "
            f"{' '.join(header)[:200]}",
            "give a spot file with the columns x, y, pixel_x, pixel_y; or id (10x13), X, Y",
        )
    barcodes, kept = [], []
    seen: dict[str, int] = {}
    for line, cells in lines:
        where = f"{place}, line {line}"
        if len(cells) == len(header) + 1 and line == lines[0][0]:
            header = ["", *header]  # R writes no header for the column of row names
        if len(cells) != len(header):
            raise SlideError(
                slide, f"{where}: {len(cells)} fields where {len(header)} are expected", _AGAIN
            )
        value = dict(zip(header, cells, strict=True))
        x, y = (_number(slide, where, name, value[name]) for name in pixels)
        if array:
            col, row = (_number(slide, where, name, value[name]) for name in array)
        else:
            match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)x(\d{1,6}(?:\.\d+)?)", value[ids].strip())
            if not match:
                raise SlideError(
                    slide,
                    f"{where}: {value[ids][:40]!r} is not a position such as 10x13",
                    "give a spot file with the columns x, y, pixel_x, pixel_y",
                )
            col, row = float(match[1]), float(match[2])
        col, row = round(col), round(row)
        barcode = f"{col}x{row}"
        if barcode in seen:
            raise SlideError(
                slide,
                f"{where}: position {barcode} is on line {seen[barcode]} already",
                "remove one of the lines",
            )
        seen[barcode] = line
        selected = value.get("selected", "1").strip().lower()
        if selected not in ("0", "1", "true", "false", "0.0", "1.0"):
            raise SlideError(
                slide, f"{where}: selected is {selected[:40]!r}, expected 0 or 1", _AGAIN
            )
        barcodes.append(barcode)
        kept.append((float(selected in ("1", "true", "1.0")), row, col, y, x))
    if not barcodes:
        raise SlideError(slide, f"{place} has no spot", _AGAIN)
    in_tissue, row, col, y, x = np.array(kept, float).T
    return _checked(slide, place, barcodes, x, y, row, col, in_tissue)


def read_h5ad(place: str, slide: str) -> Positions:
    """Read the positions of an AnnData file: ``obsm['spatial']``, and columns of ``obs`` if there.

    Raises
    ------
    SlideError
        There is no ``obsm['spatial']``, or it does not have x and y for every spot; or see
        `read_positions`.
    """
    import h5py
    from anndata.io import read_elem

    path, inside = places.split(place)
    if inside:
        raise SlideError(
            slide, f"{place} is in an archive; an .h5ad is not read from archives", "unpack it"
        )
    with _naming_faults(slide, place), h5py.File(path) as file:
        obs = read_elem(file["obs"])
        keys = list(file["obsm"]) if "obsm" in file else []
        if "spatial" not in keys:
            raise SlideError(
                slide,
                f"{path} has no obsm['spatial'], only {', '.join(keys) or 'nothing'} in obsm",
                "give an .h5ad that has the positions of its spots in pixels there",
            )
        spatial = np.asarray(file["obsm/spatial"], float)
        diameter = _diameter(file)
    if spatial.ndim != 2 or spatial.shape[0] != len(obs) or spatial.shape[1] < 2:
        raise SlideError(
            slide,
            f"{path}: obsm['spatial'] is {' x '.join(map(str, spatial.shape))} for {len(obs):,} "
            "spots",
            "it must have x and y of every spot in pixels",
        )
    known = {"array_row", "array_col"} <= set(obs.columns)
    row, col = (np.asarray(obs[n], float) if known else None for n in ("array_row", "array_col"))
    selected = np.ones(len(obs))
    if "in_tissue" in obs:
        selected = np.asarray(obs["in_tissue"].astype(float))
    barcodes = [str(name) for name in obs.index]
    x, y = spatial[:, 0], spatial[:, 1]
    return _checked(slide, path, barcodes, x, y, row, col, selected, diameter)


def _diameter(file) -> float | None:
    for library in file.get("uns/spatial", {}).values():
        if "scalefactors" in library and "spot_diameter_fullres" in library["scalefactors"]:
            return float(library["scalefactors/spot_diameter_fullres"][()])
    return None


def _text_lines(place: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line that is not empty."""
    with places.open_place(place) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="")
        reader = csv.reader(text, delimiter=mark)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num} is not a row of text ({error})") from error
        finally:
            text.detach()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(slide: str, where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < FARTHEST:
        raise SlideError(
            slide,
            f"{where}: {name} is {text[:40]!r}, expected a finite number below {FARTHEST:g}",
            "correct or remove the line, or export the file again",
        )
    return value


def _checked(
    slide: str,
    place: str | Path,
    barcodes: list[str],
    x: np.ndarray,
    y: np.ndarray,
    row: np.ndarray | None,
    col: np.ndarray | None,
    in_tissue: np.ndarray,
    diameter: float | None = None,
) -> Positions:
    """Check the values of a file; return them as `Positions`, or raise SlideError."""
    checks = [("x", x, -FARTHEST, FARTHEST), ("y", y, -FARTHEST, FARTHEST)]
    if row is not None:
        checks += [("array_row", row, 0, MOST_ROWS), ("array_col", col, 0, MOST_ROWS)]
    for name, values, least, most in checks:
        wrong = ~((values >= least) & (values < most))
        if name.startswith("array"):
            wrong |= values != np.rint(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise SlideError(
                slide,
                f"{place}: {name} of spot {barcodes[first][:80]} is {values[first]:g}",
                "it must be a finite number"
                if not name.startswith("array")
                else "it must be the number of a row or column: a whole number, 0 or more",
            )
    wrong = (in_tissue != 0) & (in_tissue != 1)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise SlideError(
            slide,
            f"{place}: in_tissue of spot {barcodes[first][:80]} is {in_tissue[first]:g}, "
            "expected 0 or 1",
            _AGAIN,
        )
    if len(set(barcodes)) < len(barcodes):
        seen: set[str] = set()
        twice = next(b for b in barcodes if b in seen or seen.add(b))
        raise SlideError(slide, f"{place}: spot {twice[:80]!r} occurs twice", "remove one of them")
    if row is not None:
        row, col = row.astype(np.int32), col.astype(np.int32)
    return Positions(
        barcodes, x.astype(float), y.astype(float), row, col, in_tissue.astype(bool), diameter
    )
