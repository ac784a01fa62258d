"""Split the slides into parts, and keep related slides in one part."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from st1k4m.collection import balance, relations, tables
from st1k4m.collection.groups import LEVELS, group_slides
from st1k4m.collection.relations import Relation
from st1k4m.collection.split_options import HELD_OUT, SplitOptions

log = logging.getLogger(__name__)

COLUMNS = ("slide", "part", "group")
#: Prefix of the line of the head with the options.
OPTIONS = "options: "
#: The head reports a part whose size is wrong by more than this share of the total.
UNEVEN = 0.05


@dataclass(frozen=True)
class Split:
    """A split: ``part`` and ``group`` by slide; ``head`` states what is guaranteed and what not."""

    part: dict[str, str]
    group: dict[str, str]
    head: list[str]


def make_splits(
    slides_table: str | Path,
    relations_table: str | Path,
    out: str | Path,
    *,
    name: str,
    options: Mapping[str, Any],
    earlier: str | Path | None = None,
) -> None:
    """Write one split of the slides, ``results/collection/splits/{name}.tsv``.

    Parameters
    ----------
    slides_table, relations_table
        ``slides.tsv`` and ``relations.tsv``.
    out
        Where to write: ``slide, part, group``, one row per slide. Comments at the head state what
        the split guarantees, what could not be balanced, and the options.
    name
        Name of the split.
    options
        Its options: ``splits.<name>`` in the configuration, see `SplitOptions`.
    earlier
        An earlier file of this split. If it was made with the same options, its slides stay in
        their parts, and new slides are added where they balance best.

    Raises
    ------
    ConfigError
        The options or a table are invalid.
    """
    asked = SplitOptions.from_config(name, options)
    _, slides = tables.read_table(slides_table, ("slide", "study", "patient", "block", "spots"))
    found = relations.read_relations(relations_table)
    before = read_earlier(earlier, asked) if earlier and Path(earlier).is_file() else {}
    split = split_slides(slides, found, asked)
    if before and any(before.get(slide, part) != part for slide, part in split.part.items()):
        split = split_slides(slides, found, asked, before)  # otherwise a new split is the same
    head = [f"Split {name!r} of {len(split.part)} slides.", *split.head]
    for line in split.head:
        log.info("%s", line)
    rows = [
        {"slide": slide, "part": split.part[slide], "group": split.group[slide]}
        for slide in sorted(split.part)
    ]
    tables.write_table(out, COLUMNS, rows, head)


def read_earlier(path: str | Path, options: SplitOptions) -> dict[str, str]:
    """Read slide -> part of an earlier split; empty if it was made with other options."""
    head, rows = tables.read_table(path, COLUMNS)
    stated = next((line for line in head if line.startswith(OPTIONS)), "")
    if stated != _format_options(options):
        log.info("%s was made with other options and is not used", path)
        return {}
    return {row["slide"]: row["part"] for row in rows}


def split_slides(
    slides: Sequence[Mapping[str, str]],
    found: Sequence[Relation],
    options: SplitOptions,
    earlier: Mapping[str, str] | None = None,
) -> Split:
    """Split slides into parts.

    Parameters
    ----------
    slides
        Rows of ``slides.tsv``.
    found
        Rows of ``relations.tsv``.
    options
        How to split.
    earlier
        slide -> part of an earlier split with the same options. A group stays in the part that had
        most of it. Only groups without an earlier slide are assigned.

    Returns
    -------
    Split
        The same for the same arguments. If there are fewer groups than parts, some parts are empty;
        the head states this.
    """
    rows = {row["slide"]: row for row in slides}
    group = group_slides(list(rows.values()), found, options.by, options.confidence)
    members: dict[str, list[str]] = defaultdict(list)
    for slide in sorted(group):
        members[group[slide]].append(slide)
    names = list(members)
    weight = {slide: _size(row, options.size) for slide, row in rows.items()}
    held = _held_out(rows, found, options)
    held_groups = {group[slide] for slide in held}
    parts = options.parts
    labels = list(parts)

    fixed = np.full(len(names), -1)
    for index, one in enumerate(names):
        if one in held_groups:
            fixed[index] = labels.index(HELD_OUT) if HELD_OUT in labels else -2
        else:
            fixed[index] = _earlier_part(members[one], earlier or {}, labels, weight)
    counted = np.flatnonzero(fixed != -2)
    sizes = np.array([sum(weight[slide] for slide in members[one]) for one in names])
    strata, strata_names = _strata(rows, members, names, options.stratify, weight)
    part = np.full(len(names), -2)
    if len(counted):
        part[counted] = balance.assign(
            [names[index] for index in counted],
            sizes[counted],
            strata[counted],
            list(parts.values()),
            options.seed,
            fixed[counted],
        )
    label = {
        one: labels[part[index]] if part[index] >= 0 else HELD_OUT
        for index, one in enumerate(names)
    }
    assigned = {slide: label[group[slide]] for slide in rows}
    head = [
        _guarantee(options),
        *_describe_unknown(rows, options.by),
        *_describe_sizes(names, sizes, label, parts, options, held_groups),
        *_describe_strata(strata, strata_names, names, label, parts, options, held_groups),
        *_describe_held_out(held, held_groups, members),
        *(
            [f"{len(set(rows) & set(earlier))} slides stay where an earlier split put their group."]
            if earlier
            else []
        ),
        _format_options(options),
    ]
    return Split(assigned, group, head)


def _format_options(options: SplitOptions) -> str:
    return OPTIONS + json.dumps(asdict(options), sort_keys=True)


def _size(row: Mapping[str, str], size: str) -> float:
    return 1.0 if size == "slides" else float(row.get("spots") or 0)


def _earlier_part(
    slides: Sequence[str],
    earlier: Mapping[str, str],
    labels: Sequence[str],
    weight: Mapping[str, float],
) -> int:
    """Return the index of the part that had most of a group; -1 if no part had any of it."""
    shares: Counter[str] = Counter()
    for slide in slides:
        if earlier.get(slide) in labels:
            shares[earlier[slide]] += max(weight[slide], 1e-9)
    if not shares:
        return -1
    return min(range(len(labels)), key=lambda index: (-shares[labels[index]], index))


def _held_out(
    rows: Mapping[str, Mapping[str, str]], found: Sequence[Relation], options: SplitOptions
) -> set[str]:
    """Find the slides that ``hold_out`` names, without the others of their groups."""
    held = set()
    for key, values in options.hold_out.items():
        wanted = {str(value) for value in values}
        if key == "also_in":
            # At any confidence, because holding out one slide too many is better than a leak.
            named = {
                row.slide_a: row.slide_b.split(":")[0]
                for row in found
                if row.relation == relations.ALSO_IN and row.slide_b.split(":")[0] in wanted
            }
            matched = set(named) & set(rows)
            present = set(named.values())
        else:
            matched = {slide for slide, row in rows.items() if row.get(key) in wanted}
            present = {rows[slide].get(key) for slide in matched}
        for value in sorted(wanted - present):
            log.warning("hold_out: no slide has %s %r; check the value", key, value)
        held |= matched
    return held


def _strata(rows, members, names, stratify, weight):
    """Return the size of each group in each stratum, (groups, strata), and the (column, value)s."""
    keys = sorted({(column, row.get(column, "")) for row in rows.values() for column in stratify})
    place = {key: index for index, key in enumerate(keys)}
    strata = np.zeros((len(names), len(keys)))
    for index, one in enumerate(names):
        for slide in members[one]:
            for column in stratify:
                strata[index, place[column, rows[slide].get(column, "")]] += weight[slide]
    return strata, keys


def _guarantee(options: SplitOptions) -> str:
    kept = LEVELS[options.by]
    if not kept:
        return (
            "No guarantee: each slide is placed by itself. Sections of one block, slides of one "
            "patient, and even one section published twice can be in different parts."
        )
    return (
        f"Guarantee: no two slides that are {' or '.join(kept)} with a confidence of "
        f"{options.confidence} or more are in different parts."
    )


def _describe_unknown(rows: Mapping[str, Mapping[str, str]], by: str) -> list[str]:
    lines = []
    concerned = {"study": 1, "patient": 2, "block": 3}.get(by, 0)
    for column in ("study", "patient", "block")[:concerned]:
        unknown = sum(1 for row in rows.values() if not row.get(column))
        if not unknown:
            continue
        follow = (
            "these slides stay together, because they may be of one study; a row in a table of "
            "relations can name their study"
            if column == "study"
            else "such a slide stays with the slides of its study, unless known facts separate them"
        )
        lines.append(f"Unknown {column} in {unknown} of {len(rows)} slides: {follow}.")
    return lines


def _describe_sizes(names, sizes, label, parts, options, held_groups) -> list[str]:
    apart = set() if HELD_OUT in parts else held_groups
    total = sum(size for one, size in zip(names, sizes, strict=True) if one not in apart)
    lines = []
    for part, share in parts.items():
        inside = [
            (size, one)
            for one, size in zip(names, sizes, strict=True)
            if label[one] == part and one not in apart
        ]
        size = sum(value for value, _ in inside)
        line = (
            f"Part {part}: {size:.0f} {options.size} in {len(inside)} groups; "
            f"the target is {share * total:.1f}."
        )
        if total and abs(size - share * total) > UNEVEN * total:
            largest = max(inside, default=(0, ""))
            line += " Not balanced:" + (
                f" its largest group, {largest[1]}, alone has {largest[0]:.0f}."
                if largest[0] > share * total
                else " the groups allow no better."
            )
        lines.append(line)
    if len([one for one in names if one not in apart]) < len(parts):
        lines.append(
            f"There are fewer groups ({len(names) - len(apart)}) than parts ({len(parts)}): some "
            "are empty."
        )
    return lines


def _describe_strata(strata, keys, names, label, parts, options, held_groups) -> list[str]:
    """List values that come from fewer groups than there are parts, so not every part has them."""
    lines = []
    for column in options.stratify:
        rare = []
        for place, (kind, value) in enumerate(keys):
            if kind != column:
                continue
            inside = [one for index, one in enumerate(names) if strata[index, place] > 0]
            inside = [one for one in inside if HELD_OUT in parts or one not in held_groups]
            if 0 < len(inside) < len(parts):
                where = ", ".join(sorted({label[one] for one in inside}))
                rare.append(f"{value or 'unknown'} ({len(inside)} in {where})")
        if rare:
            lines.append(
                f"Not in every part, because they are in fewer groups than there are parts, "
                f"{column} (groups in parts): {'; '.join(rare)}."
            )
    return lines


def _describe_held_out(held, held_groups, members) -> list[str]:
    if not held:
        return []
    whole = sum(len(members[one]) for one in held_groups)
    return [
        f"Held out as {HELD_OUT}: {len(held)} slides, and {whole - len(held)} more of their groups."
    ]
