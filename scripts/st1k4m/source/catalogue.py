"""The table of slides: the lock file of the data. Standard library only; read at parse time.

A catalogue is made once from its sources (`st1k4m.source.open_dataset`). Every later process reads
it: this opens one file and uses neither the network nor the folders of the data.
"""

import json
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from st1k4m import codes
from st1k4m.dataset import KINDS, check_name
from st1k4m.errors import CatalogueError
from st1k4m.run.outputs import write_text

#: Folders of the generated demo and of downloads, below the working directory.
DEMO = "resources/demo"
FILES = "resources/files"
#: Stands between the names of several sources.
AND = " + "


@dataclass(slots=True)
class Slide:
    """One row: what is known of a slide before any of its files is opened.

    ``spots`` and ``genes`` are declared by the meta table, 0 where it declares nothing. ``image``,
    ``counts``, ``coord`` and ``annotation`` are paths within the dataset, empty where the source
    has no such file; bytes are then 0. A sha256 is empty where the source does not state it.
    ``status`` is ``ok`` or the most serious of `codes.CONTRADICTIONS`; ``reason`` lists every
    problem.

    ``source`` is the index of the slide's source, from 0. ``layout`` is empty for a slide in the
    dataset's own layout. For other slides it is JSON: ``name`` of the layout, and ``counts``,
    ``coord``, ``image``, ``missing`` and ``notes`` as in `st1k4m.source.own_layout.Recognised`;
    the three paths are then absolute.
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
    status: str = codes.OK
    reason: str = ""
    study: str = ""
    patient: str = ""
    block: str = ""
    source: int = 0
    layout: str = ""


COLUMNS = [column.name for column in fields(Slide)]
NUMBERS = {column.name for column in fields(Slide) if column.type is int}


@dataclass
class Catalogue:
    """All slides of a dataset.

    Attributes
    ----------
    dataset
        ``demo``, an absolute folder, or ``hf://datasets/OWNER/NAME[@REVISION]`` as asked for.
    revision
        The commit to which the hub resolved it; empty for a folder.
    slides
        By name, in sorted order.
    notes
        Other contents of the source: the meta table used, files that belong to no slide.
    sources
        Name and revision of each source, if there are several. ``dataset`` and ``revision`` are
        then the names and revisions of all sources, joined by `AND`.
    """

    dataset: str
    revision: str
    slides: dict[str, Slide]
    notes: list[str] = field(default_factory=list)
    sources: list[tuple[str, str]] = field(default_factory=list)

    def all_sources(self) -> list[tuple[str, str]]:
        """Return name and revision of every source, in the order of `Slide.source`."""
        return self.sources or [(self.dataset, self.revision)]

    def source_of(self, slide: str) -> tuple[str, str]:
        """Return name and revision of the source that a slide is from."""
        return self.all_sources()[self.slides[slide].source]

    def is_fetched(self, slide: str) -> bool:
        """Return whether the files of a slide have to be fetched."""
        return self.source_of(slide)[0].startswith("hf://")

    def layout(self, slide: str, *kinds: str) -> dict:
        """Return the part of a slide's layout that a job needs for some kinds of files.

        It is empty for the dataset's own layout; otherwise it has ``name``, the parts of ``kinds``,
        and ``missing``.
        """
        text = self.slides[slide].layout
        if not text:
            return {}
        whole = json.loads(text)
        missing = whole.get("missing", {})
        if whole["name"] == "dataset" and not set(kinds) & set(missing):
            return {}
        found = {kind: whole[kind] for kind in kinds if kind in whole}
        lacking = {kind: missing[kind] for kind in kinds if kind in missing}
        return {"name": whole["name"], **found, "missing": lacking}

    def path(self, slide: str, kind: str) -> str:
        """Return the path of a slide's file on this machine; the file may not exist yet.

        ``kind`` is a key of `KINDS`. The path is empty if the dataset has no such annotation.
        """
        row = self.slides[slide]
        folder, suffix = KINDS[kind]
        within = getattr(row, kind)
        if (kind == "annotation" and not within) or row.layout:
            return within
        if self.is_fetched(slide):
            return f"{FILES}/{kind}/{slide}{suffix}"
        root = _root(self.source_of(slide)[0])
        return f"{root}/{within or f'{row.tech}/{folder}/{slide}{suffix}'}"

    def identity(self, slide: str, kind: str) -> str:
        """Return the identity of a file's content: if it changes, the file is fetched again.

        It is the sha256, git's object id or, where the hub states neither, the commit.
        """
        row = self.slides[slide]
        told = getattr(row, f"{kind}_sha256") or getattr(row, f"{kind}_oid")
        return told or (self.source_of(slide)[1] if self.is_fetched(slide) else "")

    @property
    def bib(self) -> str:
        """The path of the studies' BibTeX on this machine; the file may not exist."""
        return self.bibs[0]

    @property
    def bibs(self) -> list[str]:
        """The path of each source's BibTeX on this machine; the files may not exist."""
        return list(dict.fromkeys(f"{_root(name)}/meta/bib.txt" for name, _ in self.all_sources()))


def _root(dataset: str) -> str:
    """Return the folder on this machine that the paths of a source are relative to."""
    if dataset.startswith("hf://"):
        return FILES
    return DEMO if dataset == "demo" else dataset


def parse_address(address: str) -> tuple[str, str]:
    """Split a hub address into ``OWNER/NAME`` and the requested revision, empty if none.

    Raises
    ------
    CatalogueError
        The address has another form.
    """
    match = re.fullmatch(r"hf://datasets/([\w.-]+/[\w.-]+?)/?(?:@([^\s@]+?))?/?", address)
    if not match:
        raise CatalogueError(
            f"dataset: {address!r} is not an address of a dataset; it must look like "
            "hf://datasets/OWNER/NAME@REVISION"
        )
    return match[1], match[2] or ""


def matches(datasets: str | list[str], catalogue: Catalogue) -> bool:
    """Return whether the catalogue is of these sources: the same names, or resolved commits."""
    datasets = [datasets] if isinstance(datasets, str) else datasets
    sources = catalogue.all_sources()
    return len(datasets) == len(sources) and all(map(_is_source, datasets, sources))


def _is_source(dataset: str, source: tuple[str, str]) -> bool:
    name, commit = source
    if dataset == name:
        return True
    if not (name.startswith("hf://") and dataset.startswith("hf://")):
        return False
    asked, revision = parse_address(dataset)
    return asked == parse_address(name)[0] and revision == commit


def write(catalogue: Catalogue, path: str | os.PathLike) -> None:
    """Write the catalogue as a table: head lines, a header row, one row per slide."""
    lines = []
    for name, revision in catalogue.all_sources():
        lines += [f"# dataset: {name}", f"# revision: {revision}"]
    lines += [f"# note: {note}" for note in catalogue.notes]
    lines.append("\t".join(COLUMNS))
    lines += [
        "\t".join(str(getattr(row, column)) for column in COLUMNS)
        for row in catalogue.slides.values()
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read(path: str | os.PathLike) -> Catalogue:
    """Read what `write` wrote.

    Raises
    ------
    CatalogueError
        A line differs from the format of `write`; the message states its number.
    """
    hint = "fix it, or run with refresh=true to make it again"
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
                raise CatalogueError(
                    f"{path}, line {number}: not the columns of this version; {hint}"
                )
        else:
            row = _read_row(line, f"{path}, line {number}", hint)
            slides[row.slide] = row
    if columns is None or not head["dataset"]:
        raise CatalogueError(
            f"{path} is not a catalogue: it has no line '# dataset:' or no header row; {hint}"
        )
    names, revisions = head["dataset"], head["revision"]
    sources = list(zip(names, revisions, strict=False)) if len(names) > 1 else []
    return Catalogue(AND.join(names), AND.join(revisions), slides, head["note"], sources)


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
