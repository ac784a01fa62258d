"""Find all related slides, and write slides.tsv, relations.tsv and genes.tsv."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from st1k4m.collection import content, facts, genes, relations, stated, tables
from st1k4m.collection.facts import SlideFacts
from st1k4m.collection.fingerprint import Fingerprint, read_fingerprint
from st1k4m.collection.groups import connect
from st1k4m.collection.relations import Relation
from st1k4m.run.products import read_made
from st1k4m.run.provenance import check_reads

log = logging.getLogger(__name__)

COLUMNS = (
    "slide",
    "tech",
    "species",
    "tissue",
    "study",
    "patient",
    "patient_source",
    "block",
    "section",
    "spots",
    "genes",
    "um_per_px",
    "tier",
    "flags",
)


@dataclass(frozen=True)
class Related:
    """Slides and their relations.

    ``slides`` are rows with `COLUMNS`, sorted by slide; ``relations`` are merged and sorted.
    """

    slides: list[dict[str, object]]
    relations: list[Relation]


def relate_slides(
    records: Iterable[str | Path],
    fingerprints: Iterable[str | Path],
    slides_table: str | Path,
    relations_table: str | Path,
    genes_table: str | Path,
    *,
    tables: Sequence[str | Path],
    also_in: Sequence[str | Path],
) -> None:
    """Write the three tables of the collection, over all finished slides.

    Parameters
    ----------
    records
        ``results/records/{slide}.json`` of the slides.
    fingerprints
        ``work/fingerprints/{slide}.npz`` of the slides.
    slides_table, relations_table, genes_table
        Where to write the three tables.
    tables
        Tables of relations, such as ``config/relations.tsv``.
    also_in
        Tables of other collections, such as ``config/also_in.tsv``.

    Raises
    ------
    ConfigError
        One of the tables is invalid.
    """
    paths = list(fingerprints)
    prints = {}
    counter = genes.GeneCounter()
    for path in paths:
        one = read_fingerprint(path)
        prints[one.slide] = one
        counter.add(path)
    related = relate(facts.from_records(records), prints, tables, also_in)
    write_slides(slides_table, related.slides)
    relations.write_relations(relations_table, related.relations)
    counter.write(genes_table)


def check_origins(records: Iterable[str | Path], fingerprints: Iterable[str | Path]) -> None:
    """Compare what the record and the fingerprint of each slide were made from.

    Raises
    ------
    StaleProductError
        Record and fingerprint of a slide do not belong together; the message names one to remake.
    """
    for record, fingerprint in zip(records, fingerprints, strict=True):
        made = {
            "build_anndata": (str(record), read_made(record)),
            "fingerprint_slide": (str(fingerprint), read_made(fingerprint)),
        }
        check_reads(Path(record).stem, made)


def relate(
    slides: Sequence[SlideFacts],
    fingerprints: Mapping[str, Fingerprint],
    pattern_tables: Sequence[str | Path],
    overlap_tables: Sequence[str | Path],
) -> Related:
    """Find related slides by their facts, and by their content if they have fingerprints.

    Parameters
    ----------
    slides
        Facts of the slides, from records or from the catalogue.
    fingerprints
        Slide -> fingerprint. Slides without one are related by their facts alone.
    pattern_tables, overlap_tables
        See ``tables`` and ``also_in`` of `relate_slides`.
    """
    slides = sorted(slides, key=lambda one: one.slide)
    overlaps = stated.read_overlaps(overlap_tables)
    known = {one.slide for one in slides}
    named = stated.name_slides(
        slides,
        stated.read_patterns(pattern_tables),
        [overlap for overlap in overlaps if overlap.slide in known],
    )
    by_publication = stated.relate_by_publication(slides)
    by_numbers = stated.relate_by_numbers(slides, named, by_publication)
    compared = content.compare(
        {name: fingerprints[name] for name in sorted(known & fingerprints.keys())}
    )
    kept = [row for row in by_numbers if not compared.refutes(row.slide_a, row.slide_b)]
    if len(kept) < len(by_numbers):
        log.info(
            "%d pairs with equal numbers of spots and genes have different content",
            len(by_numbers) - len(kept),
        )
    found = relations.merge(
        [
            *stated.relate_by_names(named),
            *by_publication,
            *kept,
            *stated.relate_to_collections(known, overlaps),
            *compared.relations,
        ]
    )
    return Related(_describe(slides, named, found), found)


def write_slides(path: str | Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write ``slides.tsv``."""
    tables.write_table(path, COLUMNS, rows)


def _describe(
    slides: Sequence[SlideFacts],
    named: Mapping[str, Mapping[str, Sequence[stated.Name]]],
    found: Sequence[Relation],
) -> list[dict[str, object]]:
    """Make the rows of slides.tsv; an unknown patient or block is taken from a duplicate slide."""
    names = [one.slide for one in slides]
    pairs = [
        (row.slide_a, row.slide_b)
        for row in found
        if row.relation == "same_section" and relations.at_least(row.confidence, "likely")
    ]
    section = connect(names, pairs)
    duplicates: dict[str, list[str]] = defaultdict(list)
    for slide, first in section.items():
        duplicates[first].append(slide)

    def first_name(kind: str, slide: str) -> stated.Name | None:
        return next(iter(named[kind].get(slide, ())), None)

    rows = []
    for one in slides:
        study = first_name("same_study", one.slide)
        patient, source = _own_or_inherited("same_patient", one.slide, duplicates, section, named)
        block, _ = _own_or_inherited("same_block", one.slide, duplicates, section, named)
        rows.append(
            {
                "slide": one.slide,
                "tech": one.tech,
                "species": one.species,
                "tissue": one.tissue,
                "study": study.name if study else "",
                "patient": patient,
                "patient_source": source,
                "block": block,
                "section": section[one.slide],
                "spots": one.spots,
                "genes": one.genes,
                "um_per_px": one.um_per_px,
                "tier": one.tier,
                "flags": one.flags,
            }
        )
    return rows


def _own_or_inherited(kind, slide, duplicates, section, named) -> tuple[str, str]:
    """Return name and source of a slide's patient or block, its own or a duplicate's; or empty."""
    own = named[kind].get(slide)
    if own:
        return own[0].name, own[0].source
    others = [other for other in duplicates[section[slide]] if named[kind].get(other)]
    if len({named[kind][other][0].name for other in others}) == 1:
        return named[kind][others[0]][0].name, f"as {others[0]}, the same section"
    return "", ""
