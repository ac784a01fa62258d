"""Write the data of the report's page of the collection: related slides, splits, panels."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from st1k4m.collection import relations, tables
from st1k4m.collection.groups import connect
from st1k4m.collection.relations import Relation
from st1k4m.report.build_report import script_json
from st1k4m.run.outputs import write_text

#: Columns of slides.tsv whose values are counted for each part of a split.
COUNTED = ("tissue", "tech", "species")
#: Largest number of pairs that are listed for a group of slides; further pairs are only counted.
LISTED = 30


def draw_collection(
    slides: str | Path,
    relations_table: str | Path,
    splits: Iterable[str | Path],
    panels: Iterable[str | Path],
    out: str | Path,
) -> None:
    """Write the data of the page.

    Parameters
    ----------
    slides, relations_table
        ``slides.tsv`` and ``relations.tsv``.
    splits, panels
        Tables of the splits and of the panels; each file has the name of its split or panel.
    out
        Where to write, a script that calls ``collection`` with the data.
    """
    _, rows = tables.read_table(slides)
    found = relations.read_relations(relations_table)
    data = {
        "groups": group_related(rows, found),
        "also_in": [
            [row.slide_a, row.slide_b, row.confidence, row.evidence]
            for row in found
            if row.relation == relations.ALSO_IN
        ],
        "splits": [describe_split(path, rows) for path in splits],
        "panels": [describe_panel(path) for path in panels],
    }
    write_text(out, f"collection({script_json(data)});\n")


def group_related(
    slides: Sequence[Mapping[str, str]], found: Sequence[Relation]
) -> list[dict[str, object]]:
    """Group slides of one patient, block or section, and slides that may be one section.

    Returns
    -------
    list of dict
        Groups with the closest relation first. Keys: ``slides``; ``closest``, a relation;
        ``links``, at most `LISTED` lists of slide, slide, relation, confidence and evidence;
        ``more``, the number of other links.
    """
    close = relations.KINDS[:3]
    kept = [
        row
        for row in found
        if row.relation in close
        and (row.relation == close[0] or relations.at_least(row.confidence, "likely"))
    ]
    names = [row["slide"] for row in slides]
    group = connect(names, ((row.slide_a, row.slide_b) for row in kept))
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[group[name]].append(name)
    links: dict[str, list[Relation]] = defaultdict(list)
    for row in kept:
        links[group[row.slide_a]].append(row)
    grouped = []
    for first, inside in links.items():
        inside.sort(key=lambda row: (close.index(row.relation), row.slide_a, row.slide_b))
        grouped.append(
            {
                "slides": members[first],
                "closest": inside[0].relation,
                "links": [
                    [row.slide_a, row.slide_b, row.relation, row.confidence, row.evidence]
                    for row in inside[:LISTED]
                ],
                "more": max(0, len(inside) - LISTED),
            }
        )
    return sorted(grouped, key=lambda one: (close.index(one["closest"]), one["slides"]))


def describe_split(path: str | Path, slides: Sequence[Mapping[str, str]]) -> dict[str, object]:
    """Return a split's head, and for each part slides, spots, studies and `COUNTED` values."""
    head, rows = tables.read_table(path)
    part = {row["slide"]: row["part"] for row in rows}
    inside: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in slides:
        inside[part[row["slide"]]].append(row)
    parts = [
        {
            "part": name,
            "slides": len(inside[name]),
            "spots": sum(int(row["spots"] or 0) for row in inside[name]),
            "studies": len({row["study"] for row in inside[name]}),
            **{key: dict(Counter(row[key] for row in inside[name])) for key in COUNTED},
        }
        for name in sorted(inside)
    ]
    return {"name": Path(path).stem, "head": head, "parts": parts}


def describe_panel(path: str | Path) -> dict[str, object]:
    """Return a panel's head, and every gene with the number of slides that print it."""
    head, rows = tables.read_table(path)
    genes = [[row.get("gene", ""), row.get("slides", "")] for row in rows]
    return {"name": Path(path).stem, "head": head, "genes": genes}
