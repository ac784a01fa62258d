"""Relations of two slides: their kinds and confidences, and their table."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from st1k4m.collection import tables
from st1k4m.errors import ConfigError

#: Kinds of relations, the closest first. Each kind implies all kinds after it.
KINDS = ("same_section", "same_block", "same_patient", "same_study")
#: The slide is in another collection too; ``slide_b`` is then ``<collection>:<id>``.
ALSO_IN = "also_in"
#: Confidences, the lowest first.
CONFIDENCES = ("possible", "likely", "certain")
COLUMNS = ("slide_a", "slide_b", "relation", "evidence", "confidence")


@dataclass(frozen=True, order=True, slots=True)
class Relation:
    """Two related slides, the kind of relation, its evidence and confidence.

    ``slide_a`` is before ``slide_b`` in alphabetical order. ``relation`` is one of `KINDS` or
    `ALSO_IN`, ``confidence`` one of `CONFIDENCES`, ``evidence`` a text with its numbers.
    """

    slide_a: str
    slide_b: str
    relation: str
    evidence: str
    confidence: str


def relate(one: str, other: str, relation: str, evidence: str, confidence: str) -> Relation:
    """Make a relation of two slides, with their names in alphabetical order."""
    first, second = sorted((one, other))
    return Relation(first, second, relation, evidence, confidence)


def at_least(confidence: str, asked: str) -> bool:
    """Return whether a confidence is the one asked for or higher."""
    return CONFIDENCES.index(confidence) >= CONFIDENCES.index(asked)


def merge(found: Iterable[Relation]) -> list[Relation]:
    """Merge all evidence for one relation of two slides into one row; sort rows by slides.

    The evidence with the highest confidence comes first, and the row has its confidence.
    """
    rows: dict[tuple[str, str, str], list[Relation]] = {}
    for row in found:
        rows.setdefault((row.slide_a, row.slide_b, row.relation), []).append(row)
    merged = []
    for (one, other, relation), same in rows.items():
        strongest = sorted(same, key=lambda row: (-CONFIDENCES.index(row.confidence), row.evidence))
        evidence = "; ".join(dict.fromkeys(row.evidence for row in strongest))
        merged.append(Relation(one, other, relation, evidence, strongest[0].confidence))
    order = (*KINDS, ALSO_IN)
    return sorted(merged, key=lambda row: (row.slide_a, row.slide_b, order.index(row.relation)))


def write_relations(path: str | Path, relations: Iterable[Relation]) -> None:
    """Write relations as a table with `COLUMNS`."""
    rows = ({name: getattr(row, name) for name in COLUMNS} for row in relations)
    tables.write_table(path, COLUMNS, rows)


def read_relations(path: str | Path) -> list[Relation]:
    """Read a table of relations.

    Raises
    ------
    ConfigError
        The table cannot be read, or a row has an unknown relation or confidence.
    """
    _, rows = tables.read_table(path, COLUMNS)
    for row in rows:
        if row["relation"] not in (*KINDS, ALSO_IN) or row["confidence"] not in CONFIDENCES:
            raise ConfigError(
                f"{path}: {row['slide_a']}, {row['slide_b']}: found {row['relation']!r}, "
                f"{row['confidence']!r}; the relation must be one of "
                f"{', '.join((*KINDS, ALSO_IN))} and the confidence one of "
                f"{', '.join(CONFIDENCES)}"
            )
    return [Relation(**{name: row[name] for name in COLUMNS}) for row in rows]
