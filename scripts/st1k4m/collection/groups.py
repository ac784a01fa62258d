"""Which slides a split must keep together."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from st1k4m.collection import relations
from st1k4m.collection.relations import Relation

Node = TypeVar("Node", bound=Hashable)

#: What a split may be by, from the finest, and the relations that it keeps.
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
        All nodes, in the order that decides which one stands for a component: the first.
    pairs
        Edges; those with a node that is not in ``nodes`` are left out.

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
    """Find the groups of slides that a split must not part.

    Parameters
    ----------
    slides
        Rows of ``slides.tsv``: ``slide``, and for ``by`` of ``block`` or more ``study``,
        ``patient`` and ``block``.
    found
        Rows of ``relations.tsv``.
    by
        A key of `LEVELS`. The relations of that level are kept together, and those of all finer
        ones. Where a slide's block or patient is not known, it may be that of any other slide of
        its study, so it stays with all of these from which nothing that is known divides it. By
        study, slides of no known study stay together, for they may be of one.
    confidence
        The weakest that counts, of `relations.CONFIDENCES`.

    Returns
    -------
    dict
        slide -> its group, which is named after its first slide in the order of text.
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
    """Whether what is known of two slides of one study says that they are apart at this level."""
    for column in ("patient", "block") if by == "block" else ("patient",):
        first, second = one.get(column, ""), other.get(column, "")
        if first and second and first != second:
            return True
    return False


def _same_column(rows: Mapping[str, Mapping[str, str]], by: str) -> list[tuple[str, str]]:
    """Pair slides as the columns of slides.tsv imply, whether or not relations.tsv has the pair."""
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
