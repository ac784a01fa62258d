"""Bring a dataset's meta table and its files together: one row per slide, every odd thing said."""

import csv
import hashlib
import io
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from st1k4m.catalogue import CODES, KINDS, TECHS, Catalogue, CatalogueError, Slide, check_name

log = logging.getLogger(__name__)

#: The published tables, better first.
META_TABLES = ("meta/meta_all_gene02122025.csv", "meta/meta_all_gene.csv")
#: catalogue column: meta column
META_COLUMNS = {
    "slide": "slide",
    "tech": "tech",
    "species": "species",
    "tissue": "tissue",
    "pmid": "pmid",
    "involve_cancer": "involve_cancer",
    "title": "title",
}
NEEDED = ("slide", "tech", "species", "tissue")
#: Bytes that one cell of a dense count file can take with its comma, on average over a file:
#: `0,` is the least; the published files stay below 5 (zeros printed `0.0`).
CELL_BYTES = (2, 8)


class Entry(NamedTuple):
    """What a source tells of a file: bytes; sha256 and git's object id where it does."""

    bytes: int
    sha256: str = ""
    oid: str = ""


#: By path within the dataset.
Listing = dict[str, Entry]


def from_folder(folder: str | os.PathLike, checksums: bool = False) -> Catalogue:
    """Make the catalogue of a folder in the dataset's layout.

    Opens the meta table only; of the other files it takes names and sizes, and reads them for
    their sha256 when ``checksums`` asks for it.

    Raises
    ------
    CatalogueError
        There is no such folder, no meta table in it, or one that cannot be used.
    """
    folder = os.path.realpath(folder)
    if not os.path.isdir(folder):
        raise CatalogueError(
            f"dataset: there is no folder {folder}; give 'demo', a folder in the dataset's layout, "
            "or hf://datasets/OWNER/NAME@REVISION"
        )
    listing = list_folder(folder)
    table = choose_table(listing, folder)
    if checksums:
        for path, entry in listing.items():
            log.info("sha256 of %s", path)
            with open(os.path.join(folder, path), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            listing[path] = entry._replace(sha256=digest)
    return assemble(folder, "", listing, table, Path(folder, table).read_bytes())


def list_folder(folder: str) -> Listing:
    """List the files of the layout's own folders, and what else lies directly in the dataset.

    An entry that cannot be followed (a dangling link) counts as no file. A folder that is not of
    the layout is listed as one entry, its name with a slash, and not searched.
    """
    own = {f"{tech}/{KINDS[kind][0]}" for tech in TECHS for kind in ("image", "counts", "coord")}
    own |= {"annotation", "meta"}
    listing: Listing = {}
    for within in ("", *TECHS, *sorted(own)):
        place = os.path.join(folder, within)
        if not os.path.isdir(place):
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                path = f"{within}/{entry.name}" if within else entry.name
                if entry.is_file():
                    listing[path] = Entry(entry.stat().st_size)
                elif entry.is_dir() and path not in own and path not in TECHS:
                    listing[f"{path}/"] = Entry(0)
    return dict(sorted(listing.items()))


def choose_table(paths: Iterable[str], where: str) -> str:
    """Name the meta table: the newest published one, else the only CSV in ``meta/``.

    Raises
    ------
    CatalogueError
        There is none, or several of which none is a published one.
    """
    paths = set(paths)
    for table in META_TABLES:
        if table in paths:
            return table
    found = sorted(path for path in paths if re.fullmatch(r"meta/[^/]+\.csv", path))
    if len(found) != 1:
        names = f" (found {', '.join(found)})" if found else ""
        raise CatalogueError(
            f"{where}: expected one meta table meta/*.csv{names}; "
            f"name the one to use {META_TABLES[0]}"
        )
    return found[0]


def read_table(table: str, content: bytes) -> list[tuple[int, dict[str, str]]]:
    """Read a meta table: (line where the row starts, its cells by column).

    Quoted cells may hold line breaks. Runs of white space and control characters within a cell
    become one blank, except in slide names, which are left as they are.

    Raises
    ------
    CatalogueError
        The table is no UTF-8 comma separated text, lacks a column, has a row of another length,
        or names slides or technologies that cannot be: all such rows are named.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogueError(
            f"{table}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, faults, start = [], [], 1
    try:
        header = next(reader, [])
        missing = [column for column in NEEDED if column not in header]
        if missing:
            raise CatalogueError(
                f"{table}, line 1: no column {', '.join(missing)}; its columns are "
                f"{', '.join(header) or 'none'}"
            )
        start = reader.line_num + 1
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not cells:
                continue
            row = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                faults.append(f"line {line}: {len(cells)} fields, the header has {len(header)}")
            elif fault := check_name(row["slide"]):
                faults.append(f"line {line}: slide {fault}")
            elif row["tech"] not in TECHS:
                faults.append(f"line {line}: tech {row['tech']!r} is none of {', '.join(TECHS)}")
            else:
                clean = {key: _plain(cell) for key, cell in row.items() if key != "slide"}
                rows.append((line, {"slide": row["slide"], **clean}))
    except csv.Error as error:
        raise CatalogueError(f"{table}, line {start}: {error}; mend the quotes there") from None
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise CatalogueError(
            f"{table} has rows that cannot be used; mend or remove them:\n  "
            + "\n  ".join(faults[:20])
            + more
        )
    if not rows:
        raise CatalogueError(f"{table} has no rows")
    return rows


def _plain(cell: str) -> str:
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+", " ", cell).strip()


def assemble(
    dataset: str, revision: str, listing: Listing, table: str, content: bytes
) -> Catalogue:
    """Join the files of a listing with the rows of its meta table.

    Parameters
    ----------
    dataset, revision
        For the catalogue's head.
    listing
        All files of the dataset.
    table, content
        Path and bytes of the meta table.

    Returns
    -------
    Catalogue
        A row for each slide of the table and for each slide that only has files.
    """
    rows = read_table(table, content)
    files = _Files(listing, {cells["slide"] for _, cells in rows})
    slides: dict[str, Slide] = {}
    oddities: dict[str, list[tuple[str, str]]] = defaultdict(list)
    first_lines: dict[str, int] = {}
    for line, cells in rows:
        name = cells["slide"]
        if name in slides:
            told = f"rows at lines {first_lines[name]} and {line}"
            oddities[name].append(("repeated_row", told))
            continue
        first_lines[name] = line
        slides[name] = Slide(**{key: cells.get(column, "") for key, column in META_COLUMNS.items()})
        for key, column in (("spots", "spot_num"), ("genes", "gene_num")):
            value = cells.get(column, "")
            if value.isascii() and value.isdigit():
                setattr(slides[name], key, int(value))
            elif value:
                oddities[name].append(("declared", f"{column} {value!r} is no number"))
    for row in slides.values():
        oddities[row.slide] += _attach(row, files)
    for tech, name in sorted(files.orphans()):
        if name not in slides and not check_name(name):
            slides[name] = Slide(name, tech)
            oddities[name].append(("no_row", CODES["no_row"]))
            oddities[name] += _attach(slides[name], files)
    folded = Counter(name.lower() for name in slides)
    gravity = list(CODES)
    for name, row in slides.items():
        if folded[name.lower()] > 1:
            oddities[name].append(("other_case", "another slide's name differs only in case"))
        odd = sorted(oddities[name], key=lambda oddity: gravity.index(oddity[0]))
        if odd:
            row.status, row.reason = odd[0][0], "; ".join(reason for _, reason in odd)
    notes = [f"meta table {table}", *files.strays()]
    return Catalogue(dataset, revision, dict(sorted(slides.items())), notes)


class _Files:
    """The listing by kind and slide; remembers what was asked for."""

    def __init__(self, listing: Listing, slides: set[str]) -> None:
        self.listing = listing
        self.slides = slides
        self.unclaimed = {path for path in listing if not _is_known(path)}
        self.places: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        self.folded: dict[tuple[str, str], list[str]] = defaultdict(list)
        for path in listing:
            for kind, tech, name in _parse(path):
                self.places[kind, name][tech] = path
                self.folded[kind, name.lower()].append(name)

    def find(self, kind: str, slide: str, tech: str) -> tuple[str, list[tuple[str, str]]]:
        """Path of a slide's file, empty if there is none, and what is odd about its place."""
        odd = []
        name = slide
        if (kind, slide) not in self.places:
            alike = set(self.folded.get((kind, slide.lower()), ())) - self.slides
            if len(alike) != 1:
                return "", odd
            name = alike.pop()
        places = self.places[kind, name]
        path = places.get(tech) or places[min(places)]
        if name != slide:
            odd.append(("other_case", f"{kind} is {path}"))
        if kind != "annotation" and tech not in places:
            odd.append(("other_folder", f"{kind} is {path}"))
        self.unclaimed.discard(path)
        return path, odd

    def orphans(self) -> set[tuple[str, str]]:
        """(technology, name) of counts, coordinates and images that no slide has claimed."""
        found = set()
        for path in self.unclaimed:
            found |= {(tech, name) for kind, tech, name in _parse(path) if kind != "annotation"}
        return found

    def strays(self) -> list[str]:
        """One line about the files that belong to no slide, by folder."""
        if not self.unclaimed:
            return []
        folders = Counter(path.rpartition("/")[0] or "." for path in self.unclaimed)
        named = ", ".join(f"{folder} {count}" for folder, count in sorted(folders.items())[:10])
        examples = ", ".join(sorted(self.unclaimed)[:5])
        told = f"{len(self.unclaimed)} files belong to no slide ({named}), for example {examples}"
        return [_plain(told)]


def _parse(path: str) -> list[tuple[str, str, str]]:
    """(kind, technology, slide) of a path in the layout; an annotation's technology is empty."""
    parts = path.split("/")
    for kind, (folder, suffix) in KINDS.items():
        if parts[-1].endswith(suffix) and parts[-1] != suffix:
            name = parts[-1].removesuffix(suffix)
            if kind == "annotation" and parts[:-1] == [folder]:
                return [(kind, "", name)]
            if len(parts) == 3 and parts[0] in TECHS and parts[1] == folder:
                return [(kind, parts[0], name)]
    return []


def _is_known(path: str) -> bool:
    """Files that are no slide's and need no mention: the meta folder, the card, hidden files."""
    name = path.rstrip("/").rpartition("/")[2]
    return path.startswith("meta/") or name.startswith(".") or path == "README.md"


def _attach(row: Slide, files: _Files) -> list[tuple[str, str]]:
    """Give the row its files; return what is odd."""
    odd = []
    for kind in KINDS:
        path, oddities = files.find(kind, row.slide, row.tech)
        odd += oddities
        if path:
            setattr(row, kind, path)
            for fact, value in files.listing[path]._asdict().items():
                setattr(row, f"{kind}_{fact}", value)
        elif kind != "annotation":
            folder, suffix = KINDS[kind]
            odd.append(("missing_file", f"no {row.tech}/{folder}/{row.slide}{suffix}"))
    cells = row.spots * row.genes
    if row.counts and cells:
        least = CELL_BYTES[0] * cells
        # ids and gene names come on top; 300 bytes each is beyond any seen
        most = CELL_BYTES[1] * cells + 300 * (row.spots + row.genes + 1)
        if not least <= row.counts_bytes <= most:
            declared = f"{row.spots} spots x {row.genes} genes declared"
            odd.append(("declared", f"{declared}, count file has {row.counts_bytes} bytes"))
    return odd
