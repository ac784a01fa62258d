"""Find relations from names, publications and tables, without the content of the slides."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from st1k4m.collection import relations, tables
from st1k4m.collection.facts import SlideFacts
from st1k4m.collection.relations import Relation, relate
from st1k4m.errors import ConfigError

PATTERN_COLUMNS = ("slides", "relation", "name", "confidence", "source")
OVERLAP_COLUMNS = ("slide", "collection", "ids", "patient", "confidence", "evidence")
#: The id of a sample whose id in the other collection is unknown.
UNKNOWN_ID = "unknown"
#: Shortest title, in characters, that identifies a publication.
SHORTEST_TITLE = 20


@dataclass(frozen=True, slots=True)
class Pattern:
    """A row of a table of relations; ``slides`` must match a whole name."""

    slides: re.Pattern[str]
    relation: str
    name: str
    confidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """A slide that is in another collection too; ``ids`` are candidates, empty if unknown."""

    slide: str
    collection: str
    ids: tuple[str, ...]
    patient: str
    confidence: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Name:
    """A name that a slide has under one relation; slides with the same name are related."""

    name: str
    confidence: str
    source: str


def read_patterns(paths: Iterable[str | Path]) -> list[Pattern]:
    """Read tables of relations, ``config/relations.tsv`` and the user's own, in order.

    Raises
    ------
    ConfigError
        A table cannot be read, a regular expression is invalid, a name uses a group that the
        expression does not have, or a relation or confidence is unknown.
    """
    patterns = []
    for path in paths:
        for row in tables.read_table(path, PATTERN_COLUMNS)[1]:
            where = f"{path}, row {row['slides']!r}"
            try:
                expression = re.compile(row["slides"])
                _check_template(expression, row["name"])
            except (re.error, IndexError) as error:
                raise ConfigError(
                    f"{where}: slides must be a regular expression, and name a text that may use "
                    f"its groups: {error}"
                ) from None
            if row["relation"] not in relations.KINDS:
                raise ConfigError(
                    f"{where}: relation {row['relation']!r} must be one of "
                    f"{', '.join(relations.KINDS)}"
                )
            _check_confidence(where, row["confidence"])
            if not row["name"].strip():
                raise ConfigError(
                    f"{where}: name is empty; give a name that related slides have in common"
                )
            patterns.append(
                Pattern(expression, row["relation"], row["name"], row["confidence"], row["source"])
            )
    return patterns


def read_overlaps(paths: Iterable[str | Path]) -> list[Overlap]:
    """Read tables of slides that are in other collections too, such as ``config/also_in.tsv``.

    Raises
    ------
    ConfigError
        A table cannot be read, or a confidence is unknown.
    """
    overlaps = []
    for path in paths:
        for row in tables.read_table(path, OVERLAP_COLUMNS)[1]:
            _check_confidence(f"{path}, {row['slide']}", row["confidence"])
            ids = tuple(part.strip() for part in row["ids"].split(";") if part.strip())
            overlaps.append(
                Overlap(
                    row["slide"],
                    row["collection"],
                    ids,
                    row["patient"].strip(),
                    row["confidence"],
                    row["evidence"],
                )
            )
    return overlaps


def name_slides(
    slides: Sequence[SlideFacts], patterns: Sequence[Pattern], overlaps: Sequence[Overlap]
) -> dict[str, dict[str, list[Name]]]:
    """Return the names by which slides are related.

    Parameters
    ----------
    slides
        Facts of the slides.
    patterns
        Rows of the tables of relations.
    overlaps
        Rows of the tables of other collections; their patients are used.

    Returns
    -------
    dict
        relation -> slide -> names. The first name is used in ``slides.tsv``: a name that the
        slide's owner states, then names from the tables in their order, then from other
        collections.
    """
    named: dict[str, dict[str, list[Name]]] = {kind: defaultdict(list) for kind in relations.KINDS}
    for facts in slides:
        if facts.study:
            named["same_study"][facts.slide].append(
                Name(facts.study, "certain", "stated for the slide")
            )
        for pattern in patterns:
            match = pattern.slides.fullmatch(facts.slide)
            if match:
                named[pattern.relation][facts.slide].append(
                    Name(match.expand(pattern.name), pattern.confidence, pattern.source)
                )
        # Two laboratories may both have a patient 1, so such names are valid within one study only.
        study = next((name.name for name in named["same_study"][facts.slide]), "")
        for kind, value in (("same_patient", facts.patient), ("same_block", facts.block)):
            if value:
                scope = facts.patient if kind == "same_block" and facts.patient else ""
                whole = ": ".join(part for part in (study, scope, value) if part)
                named[kind][facts.slide].insert(0, Name(whole, "certain", "stated for the slide"))
    for overlap in overlaps:
        studies = named["same_study"].get(overlap.slide, [])
        if overlap.patient and studies:
            named["same_patient"][overlap.slide].append(
                Name(
                    f"{studies[0].name}: {overlap.patient}",
                    min(overlap.confidence, "likely", key=relations.CONFIDENCES.index),
                    f"metadata of {overlap.collection}",
                )
            )
    return named


def relate_by_names(named: Mapping[str, Mapping[str, Sequence[Name]]]) -> list[Relation]:
    """Relate all slides that have a name in common; ``named`` comes from `name_slides`."""
    found = []
    for kind, slides in named.items():
        groups: dict[str, dict[str, Name]] = defaultdict(dict)
        for slide, names in slides.items():
            for name in names:
                groups[name.name].setdefault(slide, name)
        for group, members in groups.items():
            for one, other in combinations(sorted(members), 2):
                weaker = min(
                    (members[one], members[other]),
                    key=lambda name: relations.CONFIDENCES.index(name.confidence),
                )
                evidence = f"both are of {group} ({weaker.source})"
                found.append(relate(one, other, kind, evidence, weaker.confidence))
    return found


def relate_by_publication(slides: Sequence[SlideFacts]) -> list[Relation]:
    """Relate slides of one publication: with a common PubMed id, or else a common title."""
    found = []
    by_pmid: dict[str, list[str]] = defaultdict(list)
    by_title: dict[str, list[str]] = defaultdict(list)
    for facts in slides:
        for pmid in read_pmids(facts.pmid):
            by_pmid[pmid].append(facts.slide)
        for title in read_titles(facts.title):
            by_title[title].append(facts.slide)
    for pmid, members in by_pmid.items():
        for one, other in combinations(members, 2):
            found.append(relate(one, other, "same_study", f"both name PubMed id {pmid}", "certain"))
    known = {(row.slide_a, row.slide_b) for row in found}
    for members in by_title.values():
        for one, other in combinations(members, 2):
            row = relate(one, other, "same_study", "both name the same title", "likely")
            if (row.slide_a, row.slide_b) not in known:
                found.append(row)
    return found


def read_pmids(text: str) -> list[str]:
    """Return the PubMed ids in a cell: one or several, with or without a prefix, or as floats.

    >>> read_pmids("32579974,38037084"), read_pmids("PMID: 33558695"), read_pmids("34650042.0")
    (['32579974', '38037084'], ['33558695'], ['34650042'])
    """
    words = re.split(r"[\s,;|/+&]+", re.sub(r"(?i)pmid\s*:?", " ", text))
    found = (re.fullmatch(r"([1-9]\d{3,8})(?:\.0)?", word) for word in words)
    return list(dict.fromkeys(match[1] for match in found if match))


def read_titles(text: str) -> list[str]:
    """Return the titles in a cell (``Title 1: ... Title 2: ...``), lower case, no punctuation."""
    titles = (" ".join(re.findall(r"\w+", part.lower())) for part in re.split(r"Title \d+:", text))
    return list(dict.fromkeys(title for title in titles if len(title) >= SHORTEST_TITLE))


def relate_by_numbers(
    slides: Sequence[SlideFacts],
    named: Mapping[str, Mapping[str, Sequence[Name]]],
    same_publication: Iterable[Relation],
) -> list[Relation]:
    """Relate slides with equal numbers of spots and of genes: they may be the same section.

    The confidence is ``possible``, because most such pairs of published slides are chance. It is
    ``likely`` if the slides are of one publication and of two accessions. Then several slides may
    have the same numbers; the evidence states how many.
    """
    publications = {
        (row.slide_a, row.slide_b) for row in same_publication if row.relation == "same_study"
    }
    study = {slide: names[0].name for slide, names in named["same_study"].items() if names}
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for facts in slides:
        if facts.spots > 0 and facts.genes > 0:
            groups[facts.spots, facts.genes].append(facts.slide)
    found = []
    for (spots, genes), members in groups.items():
        for one, other in combinations(sorted(members), 2):
            evidence = f"equal numbers: {spots} spots and {genes} genes"
            confidence = "possible"
            two_accessions = study.get(one, "") != study.get(other, "")
            if (one, other) in publications and two_accessions:
                alike = [slide for slide in members if study.get(slide) == study.get(other)]
                evidence += ", one publication under two accessions"
                evidence += f", one of {len(alike)} such slides" if len(alike) > 1 else ""
                confidence = "likely"
            found.append(relate(one, other, "same_section", evidence, confidence))
    return found


def relate_to_collections(slides: Iterable[str], overlaps: Sequence[Overlap]) -> list[Relation]:
    """Relate slides to their ids in other collections, and slides with the same id there."""
    known = set(slides)
    found = []
    by_id: dict[str, list[Overlap]] = defaultdict(list)
    for overlap in overlaps:
        if overlap.slide not in known:
            continue
        for sample in overlap.ids or (UNKNOWN_ID,):
            several = f"; one of {len(overlap.ids)} ids" if len(overlap.ids) > 1 else ""
            found.append(
                Relation(
                    overlap.slide,
                    f"{overlap.collection}:{sample}",
                    relations.ALSO_IN,
                    overlap.evidence + several,
                    overlap.confidence,
                )
            )
        if len(overlap.ids) == 1:
            by_id[f"{overlap.collection}:{overlap.ids[0]}"].append(overlap)
    for sample, members in by_id.items():
        for one, other in combinations(members, 2):
            confidence = min(one.confidence, other.confidence, key=relations.CONFIDENCES.index)
            found.append(
                relate(one.slide, other.slide, "same_section", f"both are {sample}", confidence)
            )
    return found


def _check_template(expression: re.Pattern[str], name: str) -> None:
    """Raise if a name uses a group that its regular expression does not have."""
    for group in re.findall(r"\\(\d+)", name):
        if int(group) > expression.groups:
            raise IndexError(f"there is no group {group}")
    for group in re.findall(r"\\g<(\w+)>", name):
        if not group.isdigit() and group not in expression.groupindex:
            raise IndexError(f"there is no group {group}")


def _check_confidence(where: str, confidence: str) -> None:
    if confidence not in relations.CONFIDENCES:
        raise ConfigError(
            f"{where}: confidence {confidence!r} must be one of {', '.join(relations.CONFIDENCES)}"
        )
