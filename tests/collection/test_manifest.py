"""Every slide of the catalogue in the manifest, and totals declared beside found."""

import json
import os
import shutil

import pytest
import yaml
from st1k4m.collection import build_manifest
from st1k4m.run.failures import failure_path
from st1k4m.run.outputs import write_text
from st1k4m.run.steps import PRODUCTS
from st1k4m.source import catalogue

RECORD = {
    "spots": {
        "in_counts": 10,
        "in_coord": 11,
        "total": 11,
        "kept": 9,
        "dropped": {"no_counts": 2},
    },
    "expression": {"genes": 5},
    "geometry": {"um_per_px": 0.5, "tier": "high"},
    "flags": ["upsampled"],
    "warnings": ["one\ttwo\nthree", "four"],
}


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """Make a working directory with the given slides finished; the current one."""
    monkeypatch.chdir(tmp_path)

    def make(slides, finished=()):
        table = catalogue.Catalogue("/data", "", {slide.slide: slide for slide in slides})
        catalogue.write(table, "resources/catalogue.tsv")
        for name in finished:
            for products in PRODUCTS.values():
                for product in products:
                    write_text(product.format(slide=name), json.dumps(RECORD))
        return tmp_path

    return make


def build(status):
    build_manifest.build_manifest(
        "resources/catalogue.tsv",
        status,
        "results/manifest.tsv",
        "results/summary.json",
        "results/citations.bib",
    )
    with open("results/summary.json", encoding="utf-8") as file:
        totals = json.load(file)
    rows = build_manifest.read_manifest("results/manifest.tsv")
    return {row["slide"]: row for row in rows}, totals


def closing_lines(status):
    table = catalogue.read("resources/catalogue.tsv")
    rows = build_manifest.list_slides(table, status)
    return build_manifest.describe(rows, "results", [], failed=True)


def slide(name, **facts):
    return catalogue.Slide(name, **({"tech": "ST", "species": "human", "tissue": "skin"} | facts))


def test_each_slide_has_one_row_and_its_state(run_folder):
    run_folder([slide(name) for name in "ABCDE"], finished="A")
    write_text(
        failure_path("cut_tiles", "B"),
        json.dumps({"stage": "cut_tiles", "reason": "broken", "hint": "fix it", "final": True}),
    )
    selected = ("selected", "")
    rows, totals = build(
        {
            "A": selected,
            "B": selected,
            "C": ("excluded", "folded"),
            "D": ("not_selected", "tissue not among those selected"),
            "E": selected,
        }
    )
    assert {name: row["status"] for name, row in rows.items()} == {
        "A": "done",
        "B": "failed",
        "C": "excluded",
        "D": "not_selected",
        "E": "failed",
    }
    assert (rows["B"]["stage"], rows["B"]["reason"], rows["B"]["hint"]) == (
        "cut_tiles",
        "broken",
        "fix it",
    )
    assert rows["C"]["reason"] == "folded"
    assert rows["E"]["stage"] == "count_expression"
    assert [rows[name]["cause"] for name in "ABE"] == ["", "bad_data", "not_reached"]
    assert totals["states"] == {"done": 1, "failed": 2, "excluded": 1, "not_selected": 1}


def test_first_step_that_failed_is_the_one_reported(run_folder):
    run_folder([slide("A")], finished="A")
    for step in ("cut_tiles", "count_expression"):
        write_text(
            failure_path(step, "A"),
            json.dumps({"stage": step, "reason": "r", "hint": "h", "final": True}),
        )
    rows, _ = build({"A": ("selected", "")})
    assert rows["A"]["stage"] == "count_expression"


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_slide_whose_record_is_damaged_is_listed_as_failed(run_folder, text):
    run_folder([slide("A"), slide("B")], finished="AB")
    write_text("results/records/A.json", text)
    rows, _ = build({"A": ("selected", ""), "B": ("selected", "")})
    assert (rows["A"]["status"], rows["B"]["status"]) == ("failed", "done")
    assert "records/A.json: it cannot be read" in rows["A"]["reason"]
    assert rows["A"]["cause"] == "error"


def test_totals_declared_beside_found(run_folder):
    run_folder(
        [
            slide("A", spots=10),
            slide("B", spots=20, tech="Visium", species="mouse", tissue="brain"),
            slide("C", spots=5, tech="Visium", tissue="brain"),
        ],
        finished="A",
    )
    _, totals = build({"A": ("selected", ""), "B": ("selected", ""), "C": ("excluded", "x")})
    assert (totals["declared"]["slides"], totals["declared"]["pairs"]) == (3, 35)
    assert (totals["selected"]["slides"], totals["selected"]["pairs"]) == (2, 30)
    assert (totals["found"]["slides"], totals["found"]["pairs"]) == (1, 9)
    assert totals["declared"]["tech"] == {
        "ST": {"slides": 1, "pairs": 10},
        "Visium": {"slides": 2, "pairs": 25},
    }
    assert totals["found"]["tissue"] == {"skin": {"slides": 1, "pairs": 9}}


def test_text_of_the_dataset_breaks_no_line_and_no_column(run_folder):
    run_folder([slide("A", tissue='a"b')], finished="A")
    write_text(
        failure_path("cut_tiles", "A"),
        json.dumps({"stage": "cut_tiles", "reason": "x\ty\r\nz\x1b[31m\u2028", "hint": "h"}),
    )
    rows, _ = build({"A": ("selected", "")})
    with open("results/manifest.tsv", encoding="utf-8") as file:
        text = file.read()
    assert rows["A"]["reason"] == "x y z [31m"
    assert rows["A"]["tissue"] == 'a"b'
    assert len(text.splitlines()) == 2


def test_last_lines_tell_how_many_and_which(run_folder):
    run_folder([slide(name) for name in "AB"], finished="A")
    status = {"A": ("selected", ""), "B": ("selected", "")}
    assert "Look at" not in closing_lines(status)  # there is no page yet
    write_text("results/report/index.html", "")
    text = closing_lines(status)
    assert "FAILED B at count_expression: not finished" in text
    assert "1 done, 1 failed (1 of them not finished), 0 excluded, 0 not selected" in text
    assert "results/report/index.html" in text


def test_last_lines_name_bad_slides_before_those_that_were_not_come_to(run_folder):
    run_folder([slide(f"S{number:02}") for number in range(build_manifest.NAMED + 2)])
    failure = {"stage": "cut_tiles", "reason": "broken PNG", "hint": "fetch it again"}
    write_text(failure_path("cut_tiles", "S21"), json.dumps(failure))
    status = {f"S{number:02}": ("selected", "") for number in range(build_manifest.NAMED + 2)}
    text = closing_lines(status)
    assert text.startswith("  FAILED S21 at cut_tiles: broken PNG")
    assert "... and 2 more" in text
    assert "0 done, 22 failed (21 of them not finished)," in text


def test_citations_are_those_of_the_selected_slides(run_folder, tmp_path):
    write_text(
        tmp_path / "data/meta/bib.txt",
        "@article{a, pmid={11111111}, title={A}}\n@article{b, pmid={22222222}, title={B}}\n",
    )
    table = catalogue.Catalogue(
        str(tmp_path / "data"),
        "",
        {"A": slide("A", pmid="11111111"), "B": slide("B", pmid="22222222")},
    )
    run_folder([])
    catalogue.write(table, "resources/catalogue.tsv")
    status = {"A": ("selected", ""), "B": ("excluded", "x")}
    build(status)
    with open("results/citations.bib", encoding="utf-8") as file:
        text = file.read()
    assert "title={A}" in text
    assert "title={B}" not in text


def test_failed_slides_are_left_out_by_a_configuration(run_folder):
    run_folder([slide(name) for name in "ABC"], finished="A")
    failure = {"stage": "cut_tiles", "reason": 'a "quoted": reason', "hint": "h", "final": True}
    write_text(failure_path("cut_tiles", "B"), json.dumps(failure))
    table = catalogue.read("resources/catalogue.tsv")
    rows = build_manifest.list_slides(table, dict.fromkeys("ABC", ("selected", "")))
    build_manifest.write_failed(rows, "results/failed.yaml")
    with open("results/failed.yaml", encoding="utf-8") as file:
        excluded = yaml.safe_load(file)
    assert excluded == {"exclude": {"B": 'cut_tiles: a "quoted": reason'}}  # C was not reached
    build_manifest.write_failed(rows[:1], "results/failed.yaml")
    assert not os.path.exists("results/failed.yaml")


def test_a_damaged_failure_record_counts_as_none(run_folder):
    run_folder([slide("A")], finished="A")
    write_text(failure_path("cut_tiles", "A"), "")
    rows, _ = build({"A": ("selected", "")})
    assert rows["A"]["status"] == "done"
    assert not failure_path("cut_tiles", "A").exists()


def test_only_results_decide_what_is_done(run_folder):
    folder = run_folder([slide("A")], finished="A")
    shutil.rmtree(folder / "work")
    rows, _ = build({"A": ("selected", "")})
    assert rows["A"]["status"] == "done"


def test_leftovers_are_those_of_slides_that_are_not_selected(run_folder):
    run_folder([slide("A"), slide("B.1+x")], finished=["A", "B.1+x"])
    found = build_manifest.find_leftovers({"A"})
    assert list(found) == ["B.1+x"]
    status = {"A": ("selected", ""), "B.1+x": ("excluded", "by hand")}
    rows, _ = build(status)
    assert "remove_leftovers" not in rows["A"]["warnings"]
    assert "remove_leftovers" in rows["B.1+x"]["warnings"]
    assert "results/anndata/B.1+x.h5ad" in found["B.1+x"]
    lines = []
    build_manifest.remove_leftovers(found, lines.append)
    assert "B.1+x: " in lines[0]
    assert build_manifest.find_leftovers({"A"}) == {}
    assert os.path.exists("results/anndata/A.h5ad")
    rows, _ = build(status)
    assert rows["B.1+x"]["warnings"] == ""
