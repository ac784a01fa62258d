"""A bad slide fails alone; after a correction the same command completes it."""

import csv
import json
import re

import pytest

BAD, GOOD = "Demo_A", "Demo_B+1.0"


def manifest(workdir):
    with open(workdir / "results/manifest.tsv", newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(
        [
            {"slide": BAD, "spots": 60, "genes": 80},
            {"slide": GOOD, "spots": 60, "genes": 80, "seed": 1},
        ]
    )


def test_bad_slide_fails_alone_and_the_same_command_retries_it_alone(
    dataset, tmp_path, run_workflow, jobs_of
):
    workdir = tmp_path / "run"
    counts = dataset / f"Visium/gene_exp/{BAD}_count.csv"
    sound = counts.read_bytes()
    counts.write_bytes(sound[: len(sound) // 2])
    begin = counts.stat().st_mtime

    failed = run_workflow(workdir, "--config", f"dataset={dataset}")
    assert failed.returncode != 0
    rows = manifest(workdir)
    assert rows[GOOD]["status"] == "done"
    assert rows[BAD]["status"] == "failed"
    assert rows[BAD]["stage"] == "count_expression"
    assert f"{BAD}_count.csv" in rows[BAD]["reason"]
    assert (workdir / f"results/anndata/{GOOD}.h5ad").exists()
    assert not (workdir / f"results/anndata/{BAD}.h5ad").exists()
    assert f"FAILED {BAD} at count_expression" in failed.stdout
    assert re.search(r"^Slides: 1 done, 1 failed\b", failed.stdout, re.MULTILINE)
    assert (workdir / "results/report/index.html").exists()
    for name in (
        "manifest.tsv",
        "summary.json",
        "report/index.html",
    ):  # with time stamps of now, so no cleanup of old files removes them
        assert (workdir / "results" / name).stat().st_mtime >= begin

    again = run_workflow(workdir, "--config", f"dataset={dataset}")
    assert again.returncode != 0
    assert {slide for _, slide in jobs_of(again.stdout)} == {BAD}

    counts.write_bytes(sound)
    built = run_workflow(workdir, f"results/anndata/{BAD}.h5ad", "--config", f"dataset={dataset}")
    assert built.returncode == 0, built.stdout
    assert "FAILED" not in built.stdout
    assert "0 failed" in built.stdout.splitlines()[-2]
    repaired = run_workflow(workdir, "--config", f"dataset={dataset}")
    assert repaired.returncode == 0, repaired.stdout
    assert GOOD not in {slide for _, slide in jobs_of(repaired.stdout)}
    assert {row["status"] for row in manifest(workdir).values()} == {"done"}
    assert json.loads((workdir / "results/summary.json").read_text())["states"]["done"] == 2


def test_bad_image_ends_its_retries_alone(make_dataset, tmp_path, run_workflow):
    """A retry of cut_tiles reads the needed memory from the header of the image."""
    small = {"tech": "ST", "spots": 60, "genes": 80}
    dataset = make_dataset([{"slide": BAD} | small, {"slide": GOOD, "seed": 1} | small])
    image = dataset / f"ST/image/{BAD}.png"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])

    failed = run_workflow(tmp_path / "run", "--config", f"dataset={dataset}", "--retries", 1)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    assert failed.stdout.count("\nlocalrule cut_tiles:") == 3
    rows = manifest(tmp_path / "run")
    assert (rows[BAD]["status"], rows[BAD]["stage"]) == ("failed", "cut_tiles")
    assert rows[GOOD]["status"] == "done"


def test_excluded_bad_slide_lets_the_run_end_well(dataset, tmp_path, run_workflow):
    workdir = tmp_path / "run"
    (dataset / f"Visium/image/{BAD}.png").unlink()
    failed = run_workflow(workdir, "--config", f"dataset={dataset}")
    assert failed.returncode != 0
    assert "the image is missing: " in manifest(workdir)[BAD]["reason"]

    done = run_workflow(
        workdir, "--config", f"dataset={dataset}", f"exclude={{{BAD}: image is lost}}"
    )
    assert done.returncode == 0, done.stdout
    row = manifest(workdir)[BAD]
    assert (row["status"], row["reason"]) == ("excluded", "image is lost")
    assert manifest(workdir)[GOOD]["status"] == "done"


@pytest.mark.slow
def test_failure_takes_the_slides_later_products_with_it(dataset, tmp_path, run_workflow):
    workdir = tmp_path / "run"
    done = run_workflow(workdir, "--config", f"dataset={dataset}")
    assert done.returncode == 0, done.stdout
    (dataset / f"Visium/coord/{BAD}_coord.csv").write_text(",yaxis,xaxis,r\n")

    failed = run_workflow(workdir, "--config", f"dataset={dataset}")
    assert failed.returncode != 0
    left = {
        path.relative_to(workdir / "results").parts[0]
        for path in (workdir / "results").rglob(f"{BAD}*")
    }
    assert left == set()
    assert manifest(workdir)[BAD]["status"] == "failed"
    assert manifest(workdir)[GOOD]["status"] == "done"
