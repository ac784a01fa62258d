"""Baselines in the workflow: their products, and the jobs that run again after a change."""

import csv
import json

import pytest
import runs
import yaml

pytestmark = pytest.mark.slow

pytest.importorskip("sklearn")

ENCODER = "python:st1k4m_test_encoder:{}"
CODE = """
def embed(tiles):
    return tiles.reshape(len(tiles), -1, 3).{}(axis=1)
"""
CONFIG = {
    "splits": {"study": {"by": "study", "folds": 3}},
    "panels": {"few": {"method": "mean", "n": 8}},
    "baselines": {
        "small": {
            "split": "study",
            "panel": "few",
            "encoders": [ENCODER.format("embed")],
            "tasks": ["probe", "clusters"],
            "hest_genes": 10,
        }
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function that runs the workflow over three small studies, and its output."""
    folder = tmp_path_factory.mktemp("baseline")
    from st1k4m.demo import dataset as demo

    demo.make_dataset(
        folder / "dataset",
        [
            {"slide": f"GSE{900 + number}_GSM{number}", "pmid": str(7000 + number)}
            | {"spots": 60, "genes": 60, "um_per_px": 8.0, "seed": number, "annotated": True}
            | {"tissue": tissue}  # in the title: slides with equal titles are one study
            for number, tissue in enumerate(("breast", "colon", "skin"))
        ],
    )

    def go(workdir="run", config=CONFIG, code="mean", fails=False):
        (folder / "st1k4m_test_encoder.py").write_text(CODE.format(code))
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = runs.command(
            folder / workdir,
            *("--configfile", str(folder / "config.yaml")),
            *("--config", f"dataset={folder / 'dataset'}"),
        )
        done = runs.run(command, PYTHONPATH=str(folder))
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    go.folder = folder
    go.first = go()
    return go


def test_a_baseline_makes_its_table_its_numbers_and_its_page(run):
    results = run.folder / "run/results"
    lines = (results / "baseline/small.tsv").read_text().splitlines()
    rows = list(csv.DictReader([line for line in lines if line[0] != "#"], delimiter="\t"))
    encoders = {row["encoder"] for row in rows}
    assert encoders == {"pixels", "training_mean", ENCODER.format("embed")}
    protocols = {row["protocol"] for row in rows}
    assert {"hest", "clean", "authors", "held_out_studies"} <= protocols
    numbers = json.loads((results / "baseline/small.json").read_text())
    assert numbers["options"]["split"] == "study" and len(numbers["encoders"]) == 3
    page = (results / "report/baseline/small.html").read_text()
    assert "Expression, clean" in page and "data:image/png" in page and "<script" not in page


def test_nothing_runs_again_where_nothing_changed(run):
    assert "Nothing to be done" in run()


def test_a_changed_encoder_makes_its_own_features_again_and_no_others(run, jobs_of):
    jobs = jobs_of(run(code="std"))
    embedded = {name for rule, name in jobs if rule == "embed_tiles"}
    folder = ENCODER.format("embed").replace(":", "--")
    assert embedded == {f"{folder}/GSE{900 + number}_GSM{number}" for number in range(3)}
    fitted = {name for rule, name in jobs if rule == "fit_ridge"}
    assert fitted == {f"small/{folder}"}
    run()  # restored for the other tests


def test_a_changed_split_makes_no_features_again(run, jobs_of):
    parts = {"by": "study", "fractions": {"train": 0.7, "test": 0.3}}
    small = CONFIG["baselines"]["small"] | {"split": "parts"}
    config = CONFIG | {"splits": {"parts": parts}, "baselines": {"small": small}}
    rules = {rule for rule, _ in jobs_of(run(config=config))}
    assert "collect_targets" in rules and "fit_ridge" in rules
    assert not rules & {"embed_tiles", "cut_tiles", "build_anndata", "count_expression"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"split": "other"}, "baselines.small.split: 'other' is not under splits, which has study"),
        ({"panel": "other"}, "baselines.small.panel: 'other' is not under panels, which has few"),
        ({"encoders": ["resnet50"]}, "baselines.small.encoder 'resnet50': expected one of pixels"),
        ({"encoder": []}, "baselines.small.encoder: no such option"),
        (
            {"contrastive": {"image": "pixels"}},
            "baselines.small.contrastive.image: 'pixels' has no",
        ),
        ({"contrastive": {}}, "baselines.small.contrastive: panel few must be chosen from"),
    ],
)
def test_a_wrong_option_ends_the_run_before_it_begins(run, changed, sentence):
    small = CONFIG["baselines"]["small"] | changed
    output = run(config=CONFIG | {"baselines": {"small": small}}, fails=True)
    assert sentence in " ".join(output.split()) and "Traceback" not in output
