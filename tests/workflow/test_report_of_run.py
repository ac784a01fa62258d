"""The report of a run."""

import json
import re

SLIDES = ("Demo_Brain_Visium", "Demo_Breast_ST", "Demo_Colon_VisiumHD", "Demo_v1.2+crop_Visium")
STEPS = ["count_expression", "align_spots", "cut_tiles", "build_anndata"]
STEPS += ["fingerprint_slide", "draw_slide"]


def read_calls(path):
    calls = re.findall(r"^(\w+)\((.*)\);$", path.read_text(), re.MULTILINE)
    return {name: json.loads(value) for name, value in calls}


def test_every_slide_has_a_card_pictures_and_a_page(demo_run):
    results = demo_run / "results"
    table = read_calls(results / "report/cards.js")["cards"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [(row["slide"], row["status"]) for row in rows] == [(slide, "done") for slide in SLIDES]
    for slide in SLIDES:
        drawn = [results / f"overlay/{slide}.jpg", results / f"report/slides/{slide}.js"]
        drawn += [results / f"report/{kind}/{slide}.jpg" for kind in ("thumbs", "tiles", "tissue")]
        assert all(path.stat().st_size > 1000 for path in drawn)


def test_time_and_memory_of_every_step_are_told(demo_run):
    steps = read_calls(demo_run / "results/report/run.js")["run"]
    assert [step["step"] for step in steps] == STEPS
    assert all(step["jobs"] == len(SLIDES) and step["largest"][0] > 10 for step in steps)


def test_snakemakes_own_report_explains_its_files(demo_copy, run_workflow):
    done = run_workflow(demo_copy, "--report", "report.html")
    assert done.returncode == 0, done.stdout
    html = (demo_copy / "report.html").read_text()
    for caption in (
        "One row for each slide of the catalogue",
        "Totals that the dataset declares",
    ):
        assert caption in html
    assert html.count("on its tissue, at their true size") == len(SLIDES)
