"""Find the leaks in any split: related slides in different parts."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from st1k4m.collection import facts, relate_slides, relations, tables
from st1k4m.collection.fingerprint import read_fingerprint
from st1k4m.collection.groups import LEVELS, connect
from st1k4m.collection.relations import Relation
from st1k4m.collection.slide_lists import LISTED, NOT_LISTED, Names, SlideList, read_slide_list
from st1k4m.errors import ConfigError
from st1k4m.source import catalogue

log = logging.getLogger(__name__)

COLUMNS = ("slide_a", "part_a", "slide_b", "part_b", "relation", "evidence", "confidence")
#: Slide -> the slides that it is related to, with the relation.
Near = dict[str, list[tuple[str, Relation]]]
#: The relation of a slide, or of one sample under two names, that is in two parts.
SAME_SLIDE = "same_slide"
#: Number of pairs of each relation that are printed; the table has all.
PRINTED = 10


@dataclass(frozen=True, order=True)
class Leak:
    """Two related slides in different parts."""

    relation: str
    slide_a: str
    part_a: str
    slide_b: str
    part_b: str
    evidence: str
    confidence: str


@dataclass(frozen=True)
class Leaks:
    """The leaks, the closest relation first, the list of slides, and how it was checked."""

    leaks: list[Leak]
    listed: SlideList
    level: str
    confidence: str

    def describe(self) -> list[str]:
        """Return the result in sentences: the first pairs of each relation, and totals."""
        parts = ", ".join(
            f"{part} {len(set(slides))}" for part, slides in sorted(self.listed.parts.items())
        )
        lines = [f"Read {self.listed.source}. Slides by part: {parts}."]
        if self.listed.unknown:
            unknown = list(dict.fromkeys(self.listed.unknown))
            lines.append(
                f"{len(unknown)} names are not in the catalogue: {', '.join(unknown[:5])}"
                + (" ..." if len(unknown) > 5 else "")
            )
        kinds = Counter(leak.relation for leak in self.leaks)
        for kind in (SAME_SLIDE, *relations.KINDS):
            found = [leak for leak in self.leaks if leak.relation == kind]
            if found:
                lines.append(f"{kind}: {kinds[kind]} pairs in different parts")
            lines += [
                f"  {leak.slide_a} ({leak.part_a}) and {leak.slide_b} ({leak.part_b}), "
                f"{leak.confidence}: {leak.evidence}"
                for leak in found[:PRINTED]
            ]
            if len(found) > PRINTED:
                lines.append(f"  and {len(found) - PRINTED} more")
        checked = f"relations up to {self.level}, {self.confidence} or surer"
        lines.append(
            f"{len(self.leaks)} leaks ({checked})." if self.leaks else f"No leak ({checked})."
        )
        return lines


def check_file(
    catalogue_path: str | Path,
    fingerprints: str | Path,
    out: str | Path,
    *,
    tables: Sequence[str | Path],
    also_in: Sequence[str | Path],
    file: str,
    slide: str = "",
    part: str = "",
    by: str = "",
    confidence: str = "likely",
) -> Leaks:
    """Find the leaks in a file. Slides are compared whether or not they are built.

    Parameters
    ----------
    catalogue_path
        The catalogue of all slides that the file may name.
    fingerprints
        Folder of fingerprints. A slide without one is related by its facts alone.
    out
        Where to write the table of all leaks, `COLUMNS`.
    tables, also_in
        Tables of relations and of other collections, see `relate_slides`.
    file, slide, part, by, confidence
        See `find_leaks`; ``file`` is its ``path``.

    Raises
    ------
    ConfigError
        No file is given, it cannot be read, or it names no slide.
    """
    if not file:
        raise ConfigError(
            "leaks: no file is given. To check a table or list of slides, run: "
            "snakemake --cores 1 leaks --config leaks=FILE"
        )
    slides = facts.from_catalogue(catalogue.read(catalogue_path).slides.values())
    paths = [Path(fingerprints, f"{one.slide}.npz") for one in slides]
    prints = [read_fingerprint(path) for path in paths if path.is_file()]
    log.info("%d of %d slides are compared by content", len(prints), len(slides))
    related = relate_slides.relate(slides, {one.slide: one for one in prints}, tables, also_in)
    found = find_leaks(
        file,
        [one.slide for one in slides],
        related.relations,
        slide=slide,
        part=part,
        by=by,
        confidence=confidence,
    )
    write_leaks(out, found)
    for line in found.describe():
        log.info("%s", line)
    return found


def find_leaks(
    path: str | Path,
    slides: Iterable[str],
    found: Sequence[Relation],
    *,
    slide: str = "",
    part: str = "",
    by: str = "",
    confidence: str = "likely",
) -> Leaks:
    """Find the leaks in a file.

    Parameters
    ----------
    path
        A table, list or folder; see `slide_lists.read_slide_list`.
    slides
        Names of all slides of the collection.
    found
        The relations of these slides.
    slide, part
        Columns of the table; if empty, `read_slide_list` finds them.
    by
        The most distant relation that is a leak, a key of `LEVELS`. If empty: what the head of a
        file of `make_splits` guarantees, and ``study`` for any other file.
    confidence
        The lowest confidence of a relation that is a leak. If the file names a slide by its id in
        another collection, that identity counts at any confidence.

    Raises
    ------
    ConfigError
        The file cannot be read or names no slide.
    """
    known = sorted(slides)
    ids: dict[str, list[Relation]] = defaultdict(list)
    for row in found:
        if row.relation == relations.ALSO_IN:
            ids[row.slide_b.partition(":")[2]].append(row)
    listed = read_slide_list(path, Names(known, ids), slide, part)
    level = by or _promised(path)
    parts, stand_for = _part_by_slide(listed, ids)
    if set(listed.parts) == {LISTED}:
        for one in known:
            if one not in parts:
                parts[one] = {NOT_LISTED: one}
    leaks = _repeated(parts, stand_for)
    leaks += _related(parts, known, found, level, confidence)
    order = (SAME_SLIDE, *relations.KINDS)
    leaks.sort(key=lambda leak: (order.index(leak.relation), leak.slide_a, leak.slide_b, leak))
    return Leaks(leaks, listed, level, confidence)


def write_leaks(path: str | Path, found: Leaks) -> None:
    """Write all leaks as a table with `COLUMNS`; its head states what was read and checked."""
    rows = ({name: getattr(leak, name) for name in COLUMNS} for leak in found.leaks)
    head = [found.describe()[0], found.describe()[-1]]
    tables.write_table(path, COLUMNS, rows, head)


def _promised(path: str | Path) -> str:
    """Read the level that a file of `make_splits` guarantees; ``study`` for any other file."""
    if Path(path).is_file():
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.startswith("#"):
                    break
                for level, kept in LEVELS.items():
                    if kept and f"that are {' or '.join(kept)} with" in line:
                        return level
    return "study"


def _part_by_slide(listed: SlideList, ids: Mapping[str, Sequence[Relation]]):
    """Return slide -> part -> name in the file, and the relations by which ids were resolved."""
    parts: dict[str, dict[str, str]] = defaultdict(dict)
    stand_for: dict[tuple[str, str], Relation] = {}
    for part, members in listed.parts.items():
        for one in members:
            if one in ids:
                for row in ids[one]:
                    parts[row.slide_a].setdefault(part, row.slide_b)
                    stand_for[row.slide_a, row.slide_b] = row
            else:
                parts[one][part] = one
    return dict(parts), stand_for


def _repeated(parts, stand_for) -> list[Leak]:
    """Find slides that are in several parts."""
    leaks = []
    for slide, places in parts.items():
        for (part, name), (other_part, other_name) in combinations(sorted(places.items()), 2):
            rows = [
                stand_for[key] for key in ((slide, name), (slide, other_name)) if key in stand_for
            ]
            weakest = min(
                (row.confidence for row in rows),
                default="certain",
                key=relations.CONFIDENCES.index,
            )
            evidence = "; ".join(f"{row.slide_a} is {row.slide_b}: {row.evidence}" for row in rows)
            leaks.append(
                Leak(
                    SAME_SLIDE,
                    name,
                    part,
                    other_name,
                    other_part,
                    evidence or "the slide is in both parts",
                    weakest,
                )
            )
    return leaks


def _related(parts, known, found, level: str, confidence: str) -> list[Leak]:
    """Find pairs of related slides in different parts, related directly or through others."""
    kept = [
        row
        for row in found
        if row.relation in LEVELS[level] and relations.at_least(row.confidence, confidence)
    ]
    leaks, reported = [], set()
    for count in range(1, len(LEVELS[level]) + 1):
        kinds = LEVELS[level][:count]
        pairs = {}
        for row in kept:
            if row.relation in kinds:
                pairs.setdefault((row.slide_a, row.slide_b), row)
        component = connect(known, pairs)
        near: Near = defaultdict(list)
        for (first, second), row in pairs.items():
            near[first].append((second, row))
            near[second].append((first, row))
        members: dict[str, list[str]] = defaultdict(list)
        for one in sorted(parts):
            if one in component:
                members[component[one]].append(one)
        for group in members.values():
            for one, other in combinations(group, 2):
                if (one, other) in reported or not _apart(parts[one], parts[other]):
                    continue
                reported.add((one, other))
                leaks.append(_leak(one, other, parts, pairs.get((one, other)), kinds, near))
    return leaks


def _apart(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return any(part != other_part for part in one for other_part in other)


def _leak(one, other, parts, row: Relation | None, kinds, near: Near) -> Leak:
    part, other_part = next(
        (part, other_part)
        for part in sorted(parts[one])
        for other_part in sorted(parts[other])
        if part != other_part
    )
    name, other_name = parts[one][part], parts[other][other_part]
    if row:
        return Leak(row.relation, name, part, other_name, other_part, row.evidence, row.confidence)
    path = _path(one, other, near)
    weakest = min((step.confidence for step in path), key=relations.CONFIDENCES.index)
    furthest = max((step.relation for step in path), key=kinds.index)
    through = [
        step.slide_b if step.slide_a == at else step.slide_a
        for step, at in zip(path, _nodes(one, path), strict=False)
    ]
    evidence = f"through {', '.join(through[:-1])}: " + "; ".join(step.evidence for step in path)
    return Leak(furthest, name, part, other_name, other_part, evidence, weakest)


def _nodes(start: str, path: Sequence[Relation]) -> list[str]:
    nodes = [start]
    for step in path:
        nodes.append(step.slide_b if step.slide_a == nodes[-1] else step.slide_a)
    return nodes


def _path(one: str, other: str, near: Near) -> list[Relation]:
    """Find the shortest chain of relations between two slides of one component."""
    came: dict[str, tuple[str, Relation]] = {}
    ring = [one]
    while ring and other not in came:
        following = []
        for at in ring:
            for to, row in near[at]:
                if to != one and to not in came:
                    came[to] = at, row
                    following.append(to)
        ring = following
    path = []
    while other != one:
        other, row = came[other]
        path.append(row)
    return path[::-1]
