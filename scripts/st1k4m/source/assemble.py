"""Join a dataset's meta table with its files: one row per slide, with every discrepancy."""

from collections import Counter, defaultdict
from typing import NamedTuple

from st1k4m import codes
from st1k4m.dataset import KINDS, check_name
from st1k4m.run.text import one_line
from st1k4m.source.catalogue import Catalogue, Slide
from st1k4m.source.meta_table import META_COLUMNS, read_table
from st1k4m.technologies import TECHS

#: Least and most bytes of one cell of a dense count file with its comma, on average over a file:
#: `0,` is the least; the published files stay below 5 (zeros printed as `0.0`).
CELL_BOUNDS = (2, 8)


class Entry(NamedTuple):
    """What a source states of a file: size in bytes; sha256 and git's object id, or empty."""

    bytes: int
    sha256: str = ""
    oid: str = ""


#: Path within the dataset: its entry.
Listing = dict[str, Entry]


def assemble(
    dataset: str, revision: str, listing: Listing, table: str, content: bytes
) -> Catalogue:
    """Join the files of a listing with the rows of its meta table.

    Parameters
    ----------
    dataset, revision
        Of the catalogue's head.
    listing
        All files of the dataset.
    table, content
        Path and bytes of the meta table.

    Returns
    -------
    Catalogue
        One row for each slide of the table and for each slide that has files only.
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
            oddities[name].append((codes.REPEATED_ROW, told))
            continue
        first_lines[name] = line
        slides[name] = Slide(**{key: cells.get(column, "") for key, column in META_COLUMNS.items()})
        for key, column in (("spots", "spot_num"), ("genes", "gene_num")):
            value = cells.get(column, "")
            if value.isascii() and value.isdigit():
                setattr(slides[name], key, int(value))
            elif value:
                oddities[name].append((codes.DECLARED, f"{column} {value!r} is not a number"))
    for row in slides.values():
        oddities[row.slide] += _attach(row, files)
    for tech, name in sorted(files.orphans()):
        if name not in slides and not check_name(name):
            slides[name] = Slide(name, tech)
            oddities[name].append((codes.NO_ROW, codes.CONTRADICTIONS[codes.NO_ROW]))
            oddities[name] += _attach(slides[name], files)
    folded = Counter(name.lower() for name in slides)
    gravity = list(codes.CONTRADICTIONS)
    for name, row in slides.items():
        if folded[name.lower()] > 1:
            oddities[name].append((codes.OTHER_CASE, "another slide's name differs only in case"))
        odd = sorted(oddities[name], key=lambda oddity: gravity.index(oddity[0]))
        if odd:
            row.status, row.reason = odd[0][0], "; ".join(reason for _, reason in odd)
    notes = [f"meta table {table}", *files.strays()]
    return Catalogue(dataset, revision, dict(sorted(slides.items())), notes)


class _Files:
    """The listing by kind and slide; ``unclaimed`` are the paths that no slide has claimed."""

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
        """Return the path of a slide's file, empty if there is none, and problems of its place."""
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
            odd.append((codes.OTHER_CASE, f"{kind} is {path}"))
        if kind != "annotation" and tech not in places:
            odd.append((codes.OTHER_FOLDER, f"{kind} is {path}"))
        self.unclaimed.discard(path)
        return path, odd

    def orphans(self) -> set[tuple[str, str]]:
        """Return (technology, name) of counts, coordinates and images that no slide has claimed."""
        found = set()
        for path in self.unclaimed:
            found |= {(tech, name) for kind, tech, name in _parse(path) if kind != "annotation"}
        return found

    def strays(self) -> list[str]:
        """Return one line about the files that belong to no slide, counted by folder."""
        if not self.unclaimed:
            return []
        folders = Counter(path.rpartition("/")[0] or "." for path in self.unclaimed)
        named = ", ".join(f"{folder} {count}" for folder, count in sorted(folders.items())[:10])
        examples = ", ".join(sorted(self.unclaimed)[:5])
        told = f"{len(self.unclaimed)} files belong to no slide ({named}), for example {examples}"
        return [one_line(told)]


def _parse(path: str) -> list[tuple[str, str, str]]:
    """Return (kind, technology, slide) of a path; an annotation's technology is empty."""
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
    """Return whether a path is not a slide's file by design: meta folder, card, hidden file."""
    name = path.rstrip("/").rpartition("/")[2]
    return path.startswith("meta/") or name.startswith(".") or path == "README.md"


def _attach(row: Slide, files: _Files) -> list[tuple[str, str]]:
    """Set the files of a row; return the problems found."""
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
            odd.append((codes.MISSING_FILE, f"no {row.tech}/{folder}/{row.slide}{suffix}"))
    cells = row.spots * row.genes
    if row.counts and cells:
        least = CELL_BOUNDS[0] * cells
        # plus ids and gene names: 300 bytes for each is more than in any known file
        most = CELL_BOUNDS[1] * cells + 300 * (row.spots + row.genes + 1)
        if not least <= row.counts_bytes <= most:
            declared = f"{row.spots} spots x {row.genes} genes declared"
            odd.append((codes.DECLARED, f"{declared}, count file has {row.counts_bytes} bytes"))
    return odd
