"""Read and check a table of a user's own slides. Standard library only."""

import csv
import difflib
import os
import re
from pathlib import Path

from st1k4m.dataset import check_name
from st1k4m.errors import CatalogueError
from st1k4m.source import places
from st1k4m.technologies import TECHS

#: Columns of a table of slides; the first two are required.
COLUMNS = (
    "slide",
    "path",
    "tech",
    "image",
    "scale",
    "species",
    "tissue",
    "study",
    "patient",
    "block",
    "bin",
    "prefix",
)


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read a table of slides: tab separated, with a header row; ``#`` begins a comment line.

    Returns
    -------
    list of dict
        One row per slide with every key of `COLUMNS`, empty if the table has no value; ``path`` and
        ``image`` are absolute.

    Raises
    ------
    CatalogueError
        The table cannot be read; a column is missing, unknown or repeated; there are no rows; or
        rows are invalid: the message lists these rows with their line numbers.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CatalogueError(f"dataset: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(
            f"{path}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from error
    header: list[str] = []
    rows: list[dict[str, str]] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter="\t"))]
        if not header:
            header = cells
            _check_header(path, number, header)
            continue
        if len(cells) != len(header):
            faults.append(
                f"line {number}: {len(cells)} fields where the header has {len(header)}; fields "
                "are separated by one tab"
            )
            continue
        row = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=True))
        fault = _fault(row)
        if row["slide"] in lines:
            fault = f"slide {row['slide']!r} is on line {lines[row['slide']]} already"
        lines.setdefault(row["slide"], number)
        if fault:
            faults.append(f"line {number}: {fault}")
            continue
        for name in ("path", "image"):
            if row[name]:
                row[name] = _absolute(path.parent, row[name])
        rows.append(row)
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise CatalogueError(
            f"{path} has invalid rows; correct or remove them:\n  "
            + "\n  ".join(faults[:20])
            + more
        )
    if not rows:
        raise CatalogueError(
            f"{path} has no slide; it needs a header row with {COLUMNS[0]} and {COLUMNS[1]}, "
            "separated by a tab, and one row per slide"
        )
    return rows


def _check_header(path: Path, number: int, header: list[str]) -> None:
    where = f"{path}, line {number}"
    lacking = [name for name in COLUMNS[:2] if name not in header]
    if lacking:
        raise CatalogueError(
            f"{where}: no column {' and '.join(lacking)}; the columns, separated by tabs, are "
            f"slide, path and optionally {', '.join(COLUMNS[2:])}"
        )
    for name in header:
        if header.count(name) > 1:
            raise CatalogueError(f"{where}: the column {name!r} occurs twice")
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, n=1)
            meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(COLUMNS)}"
            raise CatalogueError(f"{where}: {name!r} is not a column of a table of slides; {meant}")


def _fault(row: dict[str, str]) -> str:
    """Return what is wrong with a row; empty if it is valid."""
    if fault := check_name(row["slide"]):
        return f"slide {fault}"
    if not row["path"]:
        return f"slide {row['slide']} has no path"
    if row["tech"] and row["tech"] not in TECHS:
        return f"tech {row['tech']!r} is not one of {', '.join(TECHS)}"
    if row["bin"] and not re.fullmatch(r"[1-9]\d{0,3}", row["bin"]):
        return f"bin {row['bin']!r} is not a whole number of micrometres such as 8"
    if row["scale"]:
        try:
            scale = float(row["scale"])
        except ValueError:
            scale = 0.0
        if not 0 < scale < 1e4:
            return (
                f"scale {row['scale']!r} is not a number above 0: pixels of the image per pixel "
                "of the positions"
            )
        if not row["image"]:
            return "scale is given for the image in column image, but this column is empty"
    return ""


def _absolute(folder: Path, path: str) -> str:
    head, mark, inside = os.path.expanduser(path).partition(places.INSIDE)
    return os.path.realpath(os.path.join(folder, head)) + mark + inside
