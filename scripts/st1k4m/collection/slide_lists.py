"""Read any table or list of slides: a split, a training list, a folder of lists."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from st1k4m.errors import ConfigError

#: Names of columns with the part of a slide. The first name that a table has is used.
PART_COLUMNS = ("part", "split", "fold", "set", "subset", "partition", "group_split", "phase")
#: Endings of file names after the name of a slide.
_SUFFIX = re.compile(
    r"(_count|_coord|_anno)?\.(csv|tsv|txt|png|jpe?g|tiff?|h5ad|h5|npy|npz|pt|zarr|parquet)(\.gz)?$",
    re.IGNORECASE,
)
#: Parts of slides if a list names no parts.
LISTED, NOT_LISTED = "listed", "not listed"


@dataclass(frozen=True)
class SlideList:
    """Slides by part.

    Attributes
    ----------
    parts
        part -> slides of the collection, or ids of another collection, in the order of the file.
    unknown
        Texts at the place of a slide's name that are not a known name.
    source
        A description of which columns or keys were read as slides and parts.
    """

    parts: dict[str, list[str]]
    unknown: list[str]
    source: str


class Names:
    """Finds slides by the names that other people's files use.

    Parameters
    ----------
    slides
        Names of the slides.
    ids
        Ids of samples in other collections, such as ``TENX13``.
    """

    def __init__(self, slides: Iterable[str], ids: Iterable[str] = ()) -> None:
        self.slides = {slide.casefold(): slide for slide in slides}
        self.ids = {name.casefold(): name for name in ids}

    def find(self, text: str) -> str | None:
        """Return the slide or id that a text names; None if it names none.

        A text may be the name, the path of a file whose name begins with it, or the id of a spot,
        ``<slide>_<barcode>``.
        """
        text = text.strip().strip("\"'")
        for candidate in (text, re.split(r"[/\\]", text)[-1]):
            while True:
                key = candidate.casefold()
                if key in self.slides:
                    return self.slides[key]
                if key in self.ids:
                    return self.ids[key]
                shorter = _SUFFIX.sub("", candidate)
                if shorter == candidate:
                    break
                candidate = shorter
            # The id of a spot: find the longest slide name before an underscore.
            cut = candidate.casefold()
            while "_" in cut:
                cut = cut.rpartition("_")[0]
                if cut in self.slides:
                    return self.slides[cut]
        return None


def read_slide_list(path: str | Path, names: Names, slide: str = "", part: str = "") -> SlideList:
    """Read a table, a list or a JSON file that names slides.

    Parameters
    ----------
    path
        A table (separated by comma, tab or semicolon; comments with ``#`` at its head are skipped),
        a list with one name per line, JSON (a list, or lists by part), or a folder of such lists.
        Each file of a folder is one part with the name of the file.
    names
        The known slides.
    slide, part
        The columns. If empty: the column with most known names, and the first of `PART_COLUMNS`.

    Returns
    -------
    SlideList
        If the file names no parts, all slides have the part `LISTED`.

    Raises
    ------
    ConfigError
        The file cannot be read, a column is missing, or the file names no slide.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, names)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"leaks: {path} cannot be read: {error}") from None
    found = _read_json(text, names) or _read_rows(path, text, names, slide, part)
    if not any(found.parts.values()):
        raise ConfigError(
            f"leaks: {path} names no slide of the catalogue. Give a table with a column of slides, "
            "or a list with one slide per line. First texts that were tried: "
            f"{', '.join(found.unknown[:3]) or 'none'}"
        )
    return found


def _read_folder(path: Path, names: Names) -> SlideList:
    parts: dict[str, list[str]] = {}
    unknown = []
    for file in sorted(path.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            read = read_slide_list(file, names)
            parts[file.stem] = [one for part in read.parts.values() for one in part]
            unknown += read.unknown
    if not parts:
        raise ConfigError(f"leaks: {path} is an empty folder; put one list per part into it")
    return SlideList(parts, unknown, f"{len(parts)} files, each a part")


def _read_json(text: str, names: Names) -> SlideList | None:
    """Read JSON: a list of names, or such lists by part; return None if it is not JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    if isinstance(value, list):
        value = {LISTED: value}
    parts: dict[str, list[str]] = {}
    unknown: list[str] = []
    for key, listed in value.items():
        if isinstance(listed, str) and names.find(key):  # slide -> part
            parts.setdefault(listed, []).append(names.find(key))
        elif isinstance(listed, list):
            for one in map(str, listed):
                _sort_in(one, str(key), names, parts, unknown)
    return SlideList(parts, unknown, "JSON")


def _read_rows(path: Path, text: str, names: Names, slide: str, part: str) -> SlideList:
    lines = text.splitlines()
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        lines.pop(0)
    if not lines:
        return SlideList({}, [], "nothing")
    delimiter = max("\t,;", key=lines[0].count)
    rows = [row for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter) if row]
    header = [cell.strip() for cell in rows[0]]
    has_header = bool(slide or part) or not any(names.find(cell) for cell in header)
    body = rows[1:] if has_header else rows
    width = max((len(row) for row in body), default=0)
    if not has_header:
        header = [str(number + 1) for number in range(width)]
    for column in (slide, part):
        if column and column not in header:
            raise ConfigError(f"leaks: {path} has no column {column!r}, only {', '.join(header)}")
    at = header.index(slide) if slide else _best_column(body, width, names.find)
    where = header.index(part) if part else _part_column(header, at, body, names)
    parts: dict[str, list[str]] = {}
    unknown: list[str] = []
    for row in body:
        if len(row) > at and row[at].strip():
            label = row[where].strip() if where is not None and len(row) > where else LISTED
            _sort_in(row[at], label or "no part", names, parts, unknown)
    read = f"column {header[at]!r} as slides" if has_header else f"column {at + 1} as slides"
    if where is not None:
        read += f", column {header[where]!r} as parts"
    return SlideList(parts, unknown, read)


def _best_column(rows: Sequence[Sequence[str]], width: int, find: Callable) -> int:
    """Find the column with most names of slides in the first 2,000 rows."""
    hits = [
        sum(1 for row in rows[:2000] if len(row) > column and find(row[column]))
        for column in range(width)
    ]
    return max(range(width), key=lambda column: (hits[column], -column)) if width else 0


def _part_column(header: Sequence[str], slides: int, body, names: Names) -> int | None:
    """Find the column of parts by name; without header, the other of two columns if it fits."""
    lower = [name.casefold() for name in header]
    for name in PART_COLUMNS:
        if name in lower and lower.index(name) != slides:
            return lower.index(name)
    for index, name in enumerate(lower):
        if index != slides and any(word in name for word in PART_COLUMNS[:3]):
            return index
    if all(name.isdigit() for name in header) and len(header) == 2:
        other = 1 - slides
        values = {row[other].strip() for row in body if len(row) > other}
        if 1 < len(values) <= max(20, len(body) // 2) and not any(map(names.find, values)):
            return other
    return None


def _sort_in(text: str, label: str, names: Names, parts: dict, unknown: list[str]) -> None:
    found = names.find(text)
    if found is None:
        unknown.append(text.strip())
    else:
        listed = parts.setdefault(label, [])
        listed.append(found)
