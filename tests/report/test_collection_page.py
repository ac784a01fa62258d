"""The data of the page on the collection is what its tables say."""

import json

from st1k4m.collection import relations, tables
from st1k4m.collection.relate_slides import write_slides
from st1k4m.collection.relations import Relation
from st1k4m.report.draw_collection import draw_collection


def test_page_shows_groups_splits_panels_and_other_collections(tmp_path):
    rows = [
        {
            "slide": name,
            "study": name[0],
            "tech": "ST",
            "species": "human",
            "tissue": "skin",
            "spots": 10,
        }
        for name in ("a1", "a2", "b1", "b2", "c1")
    ]
    write_slides(tmp_path / "slides.tsv", rows)
    found = [
        Relation("a1", "HEST-1k:X1", "also_in", "one paper", "certain"),
        Relation("a1", "a2", "same_patient", "names", "likely"),
        Relation("a1", "b1", "same_study", "one paper", "certain"),
        Relation("b1", "b2", "same_section", "</script> 9 of 9 spots", "possible"),
        Relation("b2", "c1", "same_patient", "names", "possible"),
    ]
    relations.write_relations(tmp_path / "relations.tsv", found)
    part = dict(zip(("a1", "a2", "b1", "b2", "c1"), "00112", strict=True))
    tables.write_table(
        tmp_path / "study.tsv",
        ("slide", "part", "group"),
        [{"slide": slide, "part": label, "group": slide} for slide, label in part.items()],
        ["Guarantee: none."],
    )
    panel = [{"rank": 1, "gene": "ERBB2", "slides": 5}]
    tables.write_table(tmp_path / "mine.tsv", ("rank", "gene", "slides"), panel, ["By hand."])

    draw_collection(
        tmp_path / "slides.tsv",
        tmp_path / "relations.tsv",
        [tmp_path / "study.tsv"],
        [tmp_path / "mine.tsv"],
        tmp_path / "related.js",
    )

    text = (tmp_path / "related.js").read_text()
    assert "</script>" not in text
    data = json.loads(text.removeprefix("collection(").removesuffix(");\n"))
    assert [(one["slides"], one["closest"]) for one in data["groups"]] == [
        (["b1", "b2"], "same_section"),
        (["a1", "a2"], "same_patient"),
    ]
    assert data["groups"][0]["links"] == [
        ["b1", "b2", "same_section", "possible", "</script> 9 of 9 spots"]
    ]
    assert data["also_in"] == [["a1", "HEST-1k:X1", "certain", "one paper"]]
    (split,) = data["splits"]
    assert split["head"] == ["Guarantee: none."]
    assert [(one["part"], one["slides"], one["spots"]) for one in split["parts"]] == [
        ("0", 2, 20),
        ("1", 2, 20),
        ("2", 1, 10),
    ]
    assert split["parts"][1]["tissue"] == {"skin": 2}
    assert data["panels"] == [{"name": "mine", "head": ["By hand."], "genes": [["ERBB2", "5"]]}]
