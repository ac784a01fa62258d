"""Find the groups of slides that a split must keep together."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from st1k4m.collection import relations
from st1k4m.collection.relations import Relation

Node = TypeVar("Node", bound=Hashable)

#: The levels of a split, from the finest, and the relations that each level keeps together.
LEVELS = {
    "slide": (),
    "section": relations.KINDS[:1],
    "block": relations.KINDS[:2],
    "patient": relations.KINDS[:3],
    "study": relations.KINDS,
}


def connect(nodes: Sequence[Node], pairs: Iterable[tuple[Node, Node]]) -> dict[Node, Node]:
    """Find the connected components of a graph.

    Parameters
    ----------
    nodes
        All nodes. The first node of a component in this order represents it.
    pairs
        Edges; an edge with a node that is not in ``nodes`` is ignored.

    Returns
    -------
    dict
        node -> the first node of its component.
    """
    position = {node: index for index, node in enumerate(nodes)}
    parent = list(range(len(position)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in pairs:
        if one in position and other in position:
            low, high = sorted((root(position[one]), root(position[other])))
            parent[high] = low
    return {node: nodes[root(index)] for node, index in position.items()}


def group_slides(
    slides: Sequence[Mapping[str, str]],
    found: Iterable[Relation],
    by: str,
    confidence: str = "likely",
) -> dict[str, str]:
    """Find the groups of slides that a split must keep together.

    Parameters
    ----------
    slides
        Rows of ``slides.tsv``: ``slide``, and if ``by`` is ``block``, ``patient`` or ``study`` also
        the columns ``study``, ``patient`` and ``block``.
    found
        Rows of ``relations.tsv``.
    by
        A key of `LEVELS`. The relations of that level and of all finer levels are kept together.
        A slide of unknown block or patient may share it with any slide of its study. So it stays
        with all slides of the study, except those with which a known patient or block differs. By
        study, slides of unknown study stay together, because they may be of one study.
    confidence
        The lowest confidence of a relation that is kept, of `relations.CONFIDENCES`.

    Returns
    -------
    dict
        slide -> its group. A group has the name of its first slide in alphabetical order.
    """
    rows = {row["slide"]: row for row in slides}
    keep = LEVELS[by]
    pairs = []
    for row in found:
        if row.relation not in relations.KINDS or not relations.at_least(
            row.confidence, confidence
        ):
            continue
        if row.slide_a not in rows or row.slide_b not in rows:
            continue
        if row.relation in keep or (
            by in ("block", "patient") and not _divided(rows[row.slide_a], rows[row.slide_b], by)
        ):
            pairs.append((row.slide_a, row.slide_b))
    if by in ("block", "patient", "study"):
        pairs += _same_column(rows, by)
    return connect(sorted(rows), pairs)


def _divided(one: Mapping[str, str], other: Mapping[str, str], by: str) -> bool:
    """Return whether known columns show that two slides of one study differ at this level."""
    for column in ("patient", "block") if by == "block" else ("patient",):
        first, second = one.get(column, ""), other.get(column, "")
        if first and second and first != second:
            return True
    return False


def _same_column(rows: Mapping[str, Mapping[str, str]], by: str) -> list[tuple[str, str]]:
    """Return the pairs that the columns of slides.tsv imply, also those not in relations.tsv."""
    pairs = []
    groups: dict[str, list[str]] = defaultdict(list)
    for slide in sorted(rows):
        groups[rows[slide].get("study", "")].append(slide)
    for members in groups.values():
        if by == "study":
            pairs += [(members[0], other) for other in members[1:]]
            continue
        unknown = [slide for slide in members if not rows[slide].get(by, "")]
        for slide in unknown:
            pairs += [
                (slide, other) for other in members if not _divided(rows[slide], rows[other], by)
            ]
    if by != "study":
        known: dict[str, list[str]] = defaultdict(list)
        for slide in sorted(rows):
            if rows[slide].get(by, ""):
                known[rows[slide][by]].append(slide)
        for members in known.values():
            pairs += [(members[0], other) for other in members[1:]]
    return pairs
