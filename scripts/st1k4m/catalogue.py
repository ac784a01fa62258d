"""The slide table: the lock file of the data. Standard library only; read at parse time.

A catalogue is made once from a folder or a hub (`st1k4m.reconcile`, `st1k4m.hub`) and read by
every process afterwards, so reading opens one file and touches neither network nor folders.
"""

import difflib
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from st1k4m import jobs

log = logging.getLogger(__name__)

_NOT_IN_NAMES = r"\s/\\\x7b\x7d'\"`$*?<>|&;,=\x00-\x1f\x7f"
#: What a slide may be called: a plain file name that survives paths, shells and the engine's
#: command lines (which split at commas). `+` and `.` occur in real names. It serves as wildcard
#: constraint too, where a brace would end the pattern: hence \x7b and \x7d.
SLIDE_NAME = rf"[^{_NOT_IN_NAMES}.\-][^{_NOT_IN_NAMES}]*"
#: Leaves room for suffixes within the 255 bytes that file systems give a name.
LONGEST_NAME = 200

TECHS = ("ST", "Visium", "VisiumHD")
#: kind of file: (its folder in the dataset, what follows the slide's name)
KINDS = {
    "image": ("image", ".png"),
    "counts": ("gene_exp", "_count.csv"),
    "coord": ("coord", "_coord.csv"),
    "annotation": ("annotation", "_anno.csv"),
}
#: Where the demo is generated and where downloads go, below the working directory.
DEMO = "resources/demo"
FILES = "resources/files"


class CatalogueError(Exception):
    """No catalogue can be had; the message says why and what to do."""


@dataclass(slots=True)
class Slide:
    """One row: what the source says of a slide before any of its files is opened.

    ``spots`` and ``genes`` are declared by the meta table, 0 where it declares nothing. ``image``,
    ``counts``, ``coord`` and ``annotation`` are paths within the dataset, empty where the source
    has no such file; bytes are then 0. A sha256 is empty where the source does not tell it.
    ``status`` is ``ok`` or the gravest code of `CODES`; ``reason`` says all that is odd.
    """

    slide: str
    tech: str
    species: str = ""
    tissue: str = ""
    pmid: str = ""
    involve_cancer: str = ""
    spots: int = 0
    genes: int = 0
    title: str = ""
    image: str = ""
    image_bytes: int = 0
    image_sha256: str = ""
    image_oid: str = ""
    counts: str = ""
    counts_bytes: int = 0
    counts_sha256: str = ""
    counts_oid: str = ""
    coord: str = ""
    coord_bytes: int = 0
    coord_sha256: str = ""
    coord_oid: str = ""
    annotation: str = ""
    annotation_bytes: int = 0
    annotation_sha256: str = ""
    annotation_oid: str = ""
    status: str = "ok"
    reason: str = ""


#: status of a row whose source disagrees with itself, gravest first
CODES = {
    "no_row": "files without a row in the meta table",
    "missing_file": "in the meta table, but a file is missing",
    "repeated_row": "more than one row in the meta table; the first counts",
    "other_folder": "a file lies in another technology's folder",
    "other_case": "a name differs only in case",
    "declared": "declared spots and genes do not fit the count file",
}

COLUMNS = [column.name for column in fields(Slide)]
NUMBERS = {column.name for column in fields(Slide) if column.type is int}
NAME = re.compile(SLIDE_NAME)


@dataclass
class Catalogue:
    """All slides of a dataset.

    Attributes
    ----------
    dataset
        ``demo``, an absolute folder, or ``hf://datasets/OWNER/NAME[@REVISION]`` as asked for.
    revision
        The commit the hub resolved it to; empty for a folder.
    slides
        By name, in sorted order.
    notes
        What the source holds beside slides: the meta table used, files that belong to no slide.
    """

    dataset: str
    revision: str
    slides: dict[str, Slide]
    notes: list[str] = field(default_factory=list)

    @property
    def on_hub(self) -> bool:
        """Whether files have to be fetched."""
        return self.dataset.startswith("hf://")

    def path(self, slide: str, kind: str) -> str:
        """Where a slide's file is on this machine once it is here, whether or not it exists.

        ``kind`` is a key of `KINDS`. Empty for an annotation that the dataset does not have.
        """
        row = self.slides[slide]
        folder, suffix = KINDS[kind]
        within = getattr(row, kind)
        if kind == "annotation" and not within:
            return ""
        if self.on_hub:
            return f"{FILES}/{kind}/{slide}{suffix}"
        return f"{self._root}/{within or f'{row.tech}/{folder}/{slide}{suffix}'}"

    def identity(self, slide: str, kind: str) -> str:
        """Say which content of a file is meant, so that a new revision fetches what differs.

        The sha256, git's object id, or, where the hub tells neither, the commit.
        """
        row = self.slides[slide]
        return getattr(row, f"{kind}_sha256") or getattr(row, f"{kind}_oid") or self.revision

    @property
    def bib(self) -> str:
        """Where the BibTeX of the studies is on this machine, whether or not it exists."""
        return f"{self._root}/meta/bib.txt"

    @property
    def _root(self) -> str:
        if self.on_hub:
            return FILES
        return DEMO if self.dataset == "demo" else self.dataset


def check_name(slide: str) -> str:
    """Say why ``slide`` cannot be a slide's name; empty when it can."""
    if not NAME.fullmatch(slide) or not slide.isprintable():
        return f"{slide[:80]!r} is no plain file name"
    if len(slide.encode()) > LONGEST_NAME:
        return f"{slide[:40]!r}... is longer than {LONGEST_NAME} bytes"
    return ""


def resolve(dataset: str, workdir: str | os.PathLike) -> str:
    """Name the dataset in the one way that the catalogue's head uses.

    Parameters
    ----------
    dataset
        As the user typed it.
    workdir
        What a relative folder is relative to.

    Returns
    -------
    str
        ``demo``, the folder's real absolute path, or the hub address without a trailing slash.

    Raises
    ------
    CatalogueError
        It is none of the three.
    """
    if dataset == "demo":
        return dataset
    if "://" in dataset:
        parse_address(dataset)
        return dataset.rstrip("/")
    if not dataset or re.search(r"[\x00-\x1f\ud800-\udfff]", dataset):
        raise CatalogueError(
            f"dataset: {dataset!r} is no dataset; give 'demo', a folder in the dataset's layout, "
            "or hf://datasets/OWNER/NAME@REVISION"
        )
    return os.path.realpath(Path(workdir, Path(dataset).expanduser()))


def parse_address(address: str) -> tuple[str, str]:
    """Split a hub address into ``OWNER/NAME`` and the revision asked for, empty if none.

    Raises
    ------
    CatalogueError
        The address is of another form.
    """
    match = re.fullmatch(r"hf://datasets/([\w.-]+/[\w.-]+?)/?(?:@([^\s@]+?))?/?", address)
    if not match:
        raise CatalogueError(
            f"dataset: {address!r} is no address of a dataset; it must look like "
            "hf://datasets/OWNER/NAME@REVISION"
        )
    return match[1], match[2] or ""


def load(
    dataset: str,
    path: str | os.PathLike,
    refresh: bool = False,
    checksums: bool = False,
    tell: Callable[[str], None] = log.info,
) -> Catalogue:
    """Read the catalogue of ``dataset`` at ``path``; make it when it is not there yet.

    Parameters
    ----------
    dataset
        As the user typed it; a relative folder is relative to the current one.
    path
        The catalogue's file.
    refresh
        Make it anew even if it is there.
    checksums
        Read all files of a folder for their sha256. A hub tells those of its large files.
    tell
        Gets each line of `summary` when a catalogue was made.

    Raises
    ------
    CatalogueError
        The file is damaged or of another dataset, or the source gives none.
    """
    dataset = resolve(dataset, os.getcwd())
    if os.path.exists(path) and not refresh:
        catalogue = read(path)
        if not matches(dataset, catalogue):
            raise CatalogueError(
                f"{path} is the catalogue of {catalogue.dataset}, not of {dataset}: the products "
                "beside it are that dataset's. Work in another directory (--directory), or give "
                "refresh=true to make the catalogue anew here"
            )
        return catalogue
    if dataset == "demo":
        catalogue = from_demo(DEMO)
    elif dataset.startswith("hf://"):
        catalogue = from_hub(dataset)
    else:
        catalogue = from_folder(dataset, checksums)
    write(catalogue, path)
    for line in summary(catalogue):
        tell(line)
    return catalogue


def matches(dataset: str, catalogue: Catalogue) -> bool:
    """Whether the catalogue is that of ``dataset``: the same name, or its resolved commit."""
    if dataset == catalogue.dataset:
        return True
    if not (catalogue.on_hub and dataset.startswith("hf://")):
        return False
    asked, revision = parse_address(dataset)
    return asked == parse_address(catalogue.dataset)[0] and revision == catalogue.revision


def from_folder(folder: str | os.PathLike, checksums: bool = False) -> Catalogue:
    """Make the catalogue of a folder; see `st1k4m.reconcile.from_folder`."""
    from st1k4m import reconcile

    return reconcile.from_folder(folder, checksums=checksums)


def from_demo(folder: str | os.PathLike) -> Catalogue:
    """Make the catalogue of the demo, after generating it in ``folder`` if it is not there."""
    from st1k4m import demo, reconcile

    if not os.path.exists(folder):
        beside = f"{folder}.part"
        shutil.rmtree(beside, ignore_errors=True)
        demo.make_demo(beside)
        os.replace(beside, folder)
    catalogue = reconcile.from_folder(folder)
    catalogue.dataset = "demo"
    return catalogue


def from_hub(address: str) -> Catalogue:
    """Make the catalogue of a hub's dataset; see `st1k4m.hub.make_catalogue`."""
    from st1k4m import hub

    return hub.make_catalogue(address)


def write(catalogue: Catalogue, path: str | os.PathLike) -> None:
    """Write the catalogue as a table: head lines, a line of column names, a row per slide."""
    lines = [f"# dataset: {catalogue.dataset}", f"# revision: {catalogue.revision}"]
    lines += [f"# note: {note}" for note in catalogue.notes]
    lines.append("\t".join(COLUMNS))
    lines += [
        "\t".join(str(getattr(row, column)) for column in COLUMNS)
        for row in catalogue.slides.values()
    ]
    jobs.write_text(path, "".join(f"{line}\n" for line in lines))


def read(path: str | os.PathLike) -> Catalogue:
    """Read what `write` wrote.

    Raises
    ------
    CatalogueError
        A line is not as `write` writes it: named, with its number.
    """
    hint = "mend it, or give refresh=true to make it anew"
    head: dict[str, list[str]] = {"dataset": [], "revision": [], "note": []}
    slides: dict[str, Slide] = {}
    columns = None
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{path}: byte {error.start} is not UTF-8; {hint}") from None
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if line.startswith("# ") and columns is None:
            key, _, value = line[2:].partition(":")
            head.setdefault(key, []).append(value.strip())
        elif columns is None:
            columns = line.split("\t")
            if columns != COLUMNS:
                raise CatalogueError(f"{path}, line {number}: not this version's columns; {hint}")
        else:
            row = _read_row(line, f"{path}, line {number}", hint)
            slides[row.slide] = row
    if columns is None or not head["dataset"]:
        raise CatalogueError(f"{path} names no dataset and no columns: no catalogue; {hint}")
    return Catalogue(head["dataset"][0], "".join(head["revision"]), slides, head["note"])


def _read_row(line: str, where: str, hint: str) -> Slide:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise CatalogueError(
            f"{where}: {len(cells)} fields where {len(COLUMNS)} are expected; {hint}"
        )
    try:
        values = [
            int(cell) if name in NUMBERS else cell
            for name, cell in zip(COLUMNS, cells, strict=True)
        ]
    except ValueError as error:
        raise CatalogueError(f"{where}: {error}; {hint}") from None
    if fault := check_name(values[0]):
        raise CatalogueError(f"{where}: {fault}; {hint}")
    return Slide(*values)


def select(
    catalogue: Catalogue,
    select: Mapping[str, list[str]] | None = None,
    exclude: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Say for every slide whether it is to be built.

    Parameters
    ----------
    catalogue
        All slides.
    select
        Lists under ``tech``, ``species``, ``tissue``, ``slides``: a slide must be in each list
        that is not empty. Files without a row in the meta table are built only when named.
    exclude
        Slides to leave out, with the reason.

    Returns
    -------
    selected
        Names in sorted order.
    status
        Every slide's ``(selected | excluded | not_selected, reason)``.

    Raises
    ------
    ValueError
        Names that the catalogue does not have, all of them, each with what is close to it; or
        nothing is left.
    """
    wanted = {key: set(names) for key, names in (select or {}).items() if names}
    exclude = exclude or {}
    _check_names(catalogue, wanted, exclude)
    status = {}
    for name, row in catalogue.slides.items():
        if name in exclude:
            status[name] = ("excluded", exclude[name])
        elif missed := [key for key in wanted if _value(row, key) not in wanted[key]]:
            status[name] = ("not_selected", f"{missed[0]} not among those selected")
        elif row.status == "no_row" and "slides" not in wanted:
            status[name] = ("not_selected", row.reason)
        else:
            status[name] = ("selected", "")
    selected = sorted(name for name, (state, _) in status.items() if state == "selected")
    if not selected:
        raise ValueError("select and exclude leave no slide")
    return selected, status


def _value(row: Slide, key: str) -> str:
    return row.slide if key == "slides" else getattr(row, key)


def _check_names(catalogue: Catalogue, wanted: Mapping, exclude: Mapping) -> None:
    faults = []
    named = [(f"select: {key}", key, names) for key, names in wanted.items()]
    for where, key, names in [*named, ("exclude", "slides", exclude)]:
        known = {_value(row, key) for row in catalogue.slides.values()}
        for name in sorted(set(names) - known):
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
            if len(known) <= 60 and key != "slides":
                close = close or sorted(known)
            meant = f"; there is {', '.join(close)}" if close else ""
            faults.append(f"{where}: {name!r} is not in the catalogue{meant}")
    if faults:
        raise ValueError("\n".join(faults))


def summary(catalogue: Catalogue, shown: int = 5) -> list[str]:
    """Sum up the catalogue for a person: totals, then each kind of discrepancy with examples."""
    rows = catalogue.slides.values()
    revision = f" at {catalogue.revision}" if catalogue.revision else ""
    lines = [f"{catalogue.dataset}{revision}: {_totals(rows)}"]
    if catalogue.on_hub and not catalogue.dataset.endswith(f"@{catalogue.revision}"):
        repo, asked = parse_address(catalogue.dataset)
        lines.append(
            f"  {asked or 'no revision'} was asked for; to have this data again, pin it: "
            f"dataset=hf://datasets/{repo}@{catalogue.revision}"
        )
    lines += [
        f"  {tech}: {_totals([row for row in rows if row.tech == tech])}"
        for tech in sorted({row.tech for row in rows})
    ]
    for code, meaning in CODES.items():
        odd = [row for row in rows if row.status == code]
        if odd:
            more = f"; and {len(odd) - shown} more" if len(odd) > shown else ""
            which = "; ".join(f"{row.slide} ({row.reason})" for row in odd[:shown])
            lines.append(f"  {len(odd)} {code} ({meaning}): {which}{more}")
    return lines + [f"  {note}" for note in catalogue.notes]


def _totals(rows: Iterable[Slide]) -> str:
    kinds = Counter()
    for row in rows:
        kinds.update({kind: bool(getattr(row, kind)) for kind in KINDS})
    size = sum(getattr(row, f"{kind}_bytes") for row in rows for kind in KINDS)
    files = ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS)
    return (
        f"{len(rows):,} slides, {sum(row.spots for row in rows):,} spots declared; "
        f"{files}; {size / 1e9:,.1f} GB"
    )
