"""Facts of a slide that need none of its data: from its record, or from the catalogue."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    return [_from_record(json.loads(Path(path).read_text(encoding="utf-8"))) for path in paths]


def _from_record(record: dict[str, Any]) -> SlideFacts:
    study, geometry = record["study"], record["geometry"]
    return SlideFacts(
        slide=record["slide"],
        spots=int(record["spots"]["in_counts"]),
        genes=int(record["expression"]["genes_in_file"]),
        um_per_px=geometry.get("um_per_px"),
        tier=str(geometry.get("tier") or ""),
        flags=",".join(record["flags"]),
        **{name: str(study.get(name) or "") for name in _STATED},
    )
