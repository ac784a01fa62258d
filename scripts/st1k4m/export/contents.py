"""Read the contents of a folder of results, for its two descriptions: card and Croissant."""

import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from st1k4m.collection.tables import read_table
from st1k4m.errors import ConfigError
from st1k4m.export.hash_products import File
from st1k4m.source.catalogue import Slide

LICENCE_COLUMNS = ("slides", "licence", "url", "source")


@dataclass(frozen=True)
class Table:
    """A table of the collection.

    Attributes
    ----------
    path
        Relative to the folder of the results.
    head
        The comments at its head.
    rows
        The rows, cells by column, all as text.
    """

    path: str
    head: list[str]
    rows: list[dict[str, str]]

    @property
    def columns(self) -> list[str]:
        """Names of the columns; empty if there is no row."""
        return list(self.rows[0]) if self.rows else []

    @classmethod
    def read(cls, root: Path, path: str | Path, columns: Iterable[str] = ()) -> "Table":
        """Read the table ``path``, below ``root``; ``columns`` are required."""
        head, rows = read_table(path, tuple(columns))
        return cls(Path(path).relative_to(root).as_posix(), head, rows)


@dataclass(frozen=True)
class Study:
    """A study and its licence.

    Attributes
    ----------
    name
        As in ``slides.tsv``.
    slides
        Number of its slides in the results.
    pmids
        PubMed numbers of its publications.
    title
        As in the catalogue; empty if unknown.
    licence, licence_url, licence_source
        SPDX identifier, address of the text, and where the licence is stated; empty if unknown.
    """

    name: str
    slides: int
    pmids: tuple[str, ...]
    title: str
    licence: str = ""
    licence_url: str = ""
    licence_source: str = ""

    @property
    def url(self) -> str:
        """Address of the study: its series in GEO, or its publication; empty if unknown."""
        if re.fullmatch(r"GSE\d+", self.name):
            return f"https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc={self.name}"
        return f"https://pubmed.ncbi.nlm.nih.gov/{self.pmids[0]}" if self.pmids else ""


@dataclass(frozen=True)
class Column:
    """A field of the samples of a set of shards.

    Attributes
    ----------
    kind
        ``image``, ``integer``, ``number``, ``boolean``, ``text``, or ``bytes`` for a tar's member
        of any other format.
    length
        Length of an array, 0 if it varies; None for a single value.
    """

    kind: str
    length: int | None = None


@dataclass(frozen=True)
class Shards:
    """A set of shards.

    Attributes
    ----------
    name
        As configured.
    paths
        Paths of the shards relative to the folder of the results: tars of WebDataset, or parquet.
    columns
        Fields of a sample: of parquet by column, of a tar by the ending of its members' names.
    """

    name: str
    paths: tuple[str, ...]
    columns: dict[str, Column]

    @property
    def ending(self) -> str:
        """``.tar`` or ``.parquet``."""
        return Path(self.paths[0]).suffix

    @property
    def pattern(self) -> str:
        """A glob pattern of all paths: shards may be in a folder for each job that wrote them."""
        below = len(Path(self.paths[0]).parts) - 3
        return f"shards/{self.name}/{'*/' * below}*{self.ending}"

    @classmethod
    def read(cls, root: Path, folder: Path) -> "Shards":
        """List a folder of shards; read the fields of a sample from the first shard.

        Raises
        ------
        ConfigError
            The folder has no shards.
        """
        paths = sorted(path for path in folder.rglob("*") if path.suffix in (".tar", ".parquet"))
        if not paths:
            raise ConfigError(
                f"{folder} has no shards, neither .tar nor .parquet; remove it and run again"
            )
        read = _read_columns if paths[0].suffix == ".parquet" else _read_endings
        relative = (path.relative_to(root).as_posix() for path in paths)
        return cls(folder.name, tuple(relative), read(paths[0]))


def _read_columns(path: Path) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(kind: pa.DataType) -> Column:
        if pa.types.is_fixed_size_list(kind):
            return Column(column(kind.value_type).kind, kind.list_size)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return Column(column(kind.value_type).kind, 0)
        if pa.types.is_struct(kind) and "bytes" in [field.name for field in kind]:
            return Column("image")
        tests = {
            "integer": pa.types.is_integer,
            "number": pa.types.is_floating,
            "boolean": pa.types.is_boolean,
        }
        return Column(next((name for name, fits in tests.items() if fits(kind)), "text"))

    return {field.name: column(field.type) for field in pq.read_schema(path)}


def _read_endings(path: Path) -> dict[str, Column]:
    """Return the fields of the first sample by the endings of its members' names.

    The members of a sample have the same name up to the first dot.
    """
    endings: dict[str, Column] = {}
    with tarfile.open(path) as tar:
        first = None
        for member in tar:
            key, _, ending = Path(member.name).name.partition(".")
            if first is None:
                first = key
            if key != first:
                break
            image = ending.rpartition(".")[2] in ("jpg", "jpeg", "png", "webp")
            endings[ending] = Column("image" if image else "bytes")
    return endings


@dataclass(frozen=True)
class Contents:
    """The contents of the results.

    Attributes
    ----------
    summary
        The content of ``summary.json``.
    sources
        Name and revision of each source of slides, as in the catalogue.
    version
        Version of the workflow.
    slides
        ``slides.tsv``.
    studies
        Sorted by name.
    files
        Every file that is described, sorted by path.
    splits, panels
        Their tables by name.
    shards
        Sets of shards.
    """

    summary: dict
    sources: list[tuple[str, str]]
    version: str
    slides: Table
    studies: list[Study]
    files: list[File] = field(default_factory=list)
    splits: dict[str, Table] = field(default_factory=dict)
    panels: dict[str, Table] = field(default_factory=dict)
    shards: list[Shards] = field(default_factory=list)

    @property
    def pairs(self) -> int:
        """Number of pairs of tile and expression."""
        return self.summary["found"]["pairs"]

    def below(self, folder: str) -> list[File]:
        """Return the files of a folder of the results."""
        return [file for file in self.files if file.path.startswith(f"{folder}/")]


def find_studies(
    slides: Table, catalogue: Mapping[str, Slide], licences: Iterable[Mapping[str, str]]
) -> list[Study]:
    """Group the slides by study.

    Parameters
    ----------
    slides
        ``slides.tsv``.
    catalogue
        The catalogue's rows, for publications and titles.
    licences
        Rows of the table of licences: a regular expression for the whole name of a slide, the
        licence, its address, and where it is stated. The first row that matches a slide applies.

    Returns
    -------
    list of Study
        Sorted by name. A study has a licence if the same row applies to all its slides.
    """
    licences = list(licences)
    members: dict[str, list[str]] = {}
    for row in slides.rows:
        members.setdefault(row["study"], []).append(row["slide"])
    return [
        _describe_study(name, names, catalogue, licences) for name, names in sorted(members.items())
    ]


def _describe_study(
    name: str,
    slides: list[str],
    catalogue: Mapping[str, Slide],
    licences: list[Mapping[str, str]],
) -> Study:
    # slides without a study's name are of different unknown studies
    rows = [catalogue[slide] for slide in slides if slide in catalogue and name]
    pmids = dict.fromkeys(number for row in rows for number in re.findall(r"\d+", row.pmid or ""))
    fitting = [
        next((row for row in licences if re.fullmatch(row["slides"], slide)), None)
        for slide in slides
    ]
    known = fitting[0] if all(row is fitting[0] for row in fitting) else None
    return Study(
        name=name,
        slides=len(slides),
        pmids=tuple(pmids),
        title=" ".join(next((row.title for row in rows if row.title), "").split()),
        licence=known["licence"] if known else "",
        licence_url=known["url"] if known else "",
        licence_source=known["source"] if known else "",
    )
