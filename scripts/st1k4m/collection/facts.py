"""Facts of a slide that need none of its data: from its record, or from the catalogue."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from st1k4m.formats.record import Record, read_record


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """Facts of one slide.

    ``spots`` and ``genes`` are numbers in the count file (from the catalogue: as declared), 0 if
    unknown. ``study``, ``patient`` and ``block`` are what the owner of a slide states; empty for
    slides of the dataset, which states none. ``um_per_px``, ``tier`` and ``flags`` are empty if the
    slide was not built.
    """

    slide: str
    tech: str = ""
    species: str = ""
    tissue: str = ""
    pmid: str = ""
    title: str = ""
    spots: int = 0
    genes: int = 0
    study: str = ""
    patient: str = ""
    block: str = ""
    um_per_px: float | None = None
    tier: str = ""
    flags: str = ""


_STATED = ("tech", "species", "tissue", "pmid", "title", "study", "patient", "block")


def from_catalogue(rows: Iterable[Any]) -> list[SlideFacts]:
    """Return the facts of slides from rows of the catalogue (`st1k4m.source.catalogue.Slide`)."""
    return [
        SlideFacts(
            slide=row.slide,
            spots=int(row.spots),
            genes=int(row.genes),
            **{name: str(getattr(row, name, "") or "") for name in _STATED},
        )
        for row in rows
    ]


def from_records(paths: Iterable[str | Path]) -> list[SlideFacts]:
    """Read the facts of slides from their records, ``results/records/{slide}.json``."""
    return [_from_record(read_record(path)) for path in paths]


def _from_record(record: Record) -> SlideFacts:
    return SlideFacts(
        slide=record.slide,
        spots=record.spots.in_counts,
        genes=record.genes_in_file,
        um_per_px=record.um_per_px,
        tier=record.tier,
        flags=",".join(record.flags),
        **{name: str(record.study.get(name) or "") for name in _STATED},
    )
