"""The whole workflow from a hub: the files that it transfers, and failed transfers."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hub import REPO, Fault, LoopbackHub

ADDRESS = f"hf://datasets/{REPO}"
SLIDES = [
    {"slide": "Small_1.0+A", "spots": 60, "genes": 40, "um_per_px": 8.0},
    {"slide": "Small_ST", "tech": "ST", "spots": 60, "genes": 40, "um_per_px": 12.0}
    | {"annotated": True, "seed": 1},
]
IMAGE = "ST/image/Small_ST.png"


@pytest.fixture
def loopback(tmp_path, monkeypatch):
    """Return a hub that the processes of the workflow use, with their own cache."""
    with LoopbackHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Return a dataset of two small slides: read only."""
    from st1k4m.demo import dataset as demo

    folder = tmp_path_factory.mktemp("small") / "dataset"
    demo.make_dataset(folder, [dict(arguments) for arguments in SLIDES])
    return folder


@pytest.fixture
def run(tmp_path, run_workflow):
    """Return a function that runs from the hub in one folder; it returns the finished process."""

    def start(*settings, revision="main", target=()):
        config = [f"dataset={ADDRESS}@{revision}", *settings]
        return run_workflow(tmp_path / "run", "--config", *config, "--", *target)

    return start


def manifest(tmp_path):
    with open(tmp_path / "run/results/manifest.tsv", newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file, delimiter="\t")}


def fetched(server):
    """Return the files transferred since the last call, without those of the catalogue."""
    paths = {path for path in server.served if not path.startswith(("meta/", "annotation/"))}
    server.served.clear()
    return paths


def downloads(tmp_path):
    """Return the count files and images that are in the working directory."""
    files = tmp_path / "run/resources/files"
    return {path.name for path in [*files.glob("counts/*.csv"), *files.glob("image/*.png")]}


@pytest.mark.slow
def test_demo_from_the_hub_is_the_demo(loopback, demo_folder, demo_run, run, tmp_path, digests):
    loopback.commit(demo_folder)
    done = run()
    assert done.returncode == 0, done.stdout
    assert "fetched 4 of 4 slides" in done.stdout
    # Only the demo has a panel.
    without = ("human.tsv", "human.h5ad", "related.js")
    here, there = (digests(folder, without=without) for folder in (tmp_path / "run", demo_run))
    assert here.keys() == there.keys()
    # Records and AnnData have the SHA-256 of the files, which a folder does not state.
    differ = ("results/records", "results/anndata", "results/report", "results/summary.json")
    assert not [path for path in here if here[path] != there[path] and not path.startswith(differ)]
    assert len(list((tmp_path / "run/results/anndata").glob("*.h5ad"))) == 4
    asked = len(loopback.requests)
    again = run()
    assert again.returncode == 0, again.stdout
    assert "Nothing to be done" in again.stdout
    assert len(loopback.requests) == asked


@pytest.mark.slow
def test_wrong_body_fails_its_slide_alone_and_is_fetched_again(
    loopback, dataset, run, tmp_path, jobs_of
):
    loopback.commit(dataset)
    loopback.faults[IMAGE] = [Fault(wrong=True), ...]
    done = run("fetch={tries: 2}")
    assert done.returncode != 0
    body = (dataset / IMAGE).read_bytes()
    expected = hashlib.sha256(body).hexdigest()
    found = hashlib.sha256(bytes(255 - byte for byte in body)).hexdigest()
    rows = manifest(tmp_path)
    assert rows["Small_1.0+A"]["status"] == "done"
    assert (rows["Small_ST"]["status"], rows["Small_ST"]["stage"]) == ("failed", "fetch_image")
    assert f"sha256 expected {expected} found {found}" in rows["Small_ST"]["reason"]

    loopback.faults.clear()
    fetched(loopback)
    done = run("fetch={tries: 2}")
    assert done.returncode == 0, done.stdout
    assert fetched(loopback) == {IMAGE}
    assert {slide for rule, slide in jobs_of(done.stdout) if rule.startswith("fetch")} == {
        "Small_ST"
    }


def test_missing_file_fails_its_slide_alone(loopback, dataset, run, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "lacking")
    (folder / IMAGE).unlink()
    loopback.commit(folder)
    done = run()
    assert done.returncode != 0
    rows = manifest(tmp_path)
    assert rows["Small_1.0+A"]["status"] == "done"
    assert rows["Small_ST"]["stage"] == "fetch_image"
    assert f"the dataset has no {IMAGE}" in rows["Small_ST"]["reason"]


@pytest.mark.slow
def test_downloads_that_are_not_kept_are_fetched_as_needed(
    loopback, dataset, run, tmp_path, jobs_of
):
    loopback.commit(dataset)
    done = run("keep_downloads=false")
    assert done.returncode == 0, done.stdout
    assert len(fetched(loopback)) == 6
    assert downloads(tmp_path) == set()
    done = run("keep_downloads=false")
    assert "Nothing to be done" in done.stdout, done.stdout
    done = run("keep_downloads=false", "tiles={size: 32}")
    assert done.returncode == 0, done.stdout
    assert fetched(loopback) == {IMAGE, "Visium/image/Small_1.0+A.png"}
    assert {"align_spots", "count_expression"}.isdisjoint(rule for rule, _ in jobs_of(done.stdout))
    done = run("keep_downloads=false", "tiles={size: 32}", "geometry={max_outside: 0.2}")
    assert done.returncode == 0, done.stdout
    assert fetched(loopback) == {IMAGE, "Visium/image/Small_1.0+A.png"}
    assert "align_spots" in {rule for rule, _ in jobs_of(done.stdout)}
    assert downloads(tmp_path) == set()


@pytest.mark.slow
def test_a_revision_that_moved_is_taken_on_refresh_and_only_what_differs(
    loopback, dataset, run, tmp_path, jobs_of
):
    old = loopback.commit(dataset)
    done = run()
    assert done.returncode == 0, done.stdout
    fetched(loopback)
    folder = shutil.copytree(dataset, tmp_path / "moved")
    path = "ST/coord/Small_ST_coord.csv"
    (folder / path).write_text("".join((folder / path).read_text().splitlines(True)[:-1]))
    new = loopback.commit(folder)

    done = run()
    assert "Nothing to be done" in done.stdout, done.stdout
    done = run("refresh=true")
    assert done.returncode == 0, done.stdout
    assert fetched(loopback) == {path}
    assert {slide for _, slide in jobs_of(done.stdout) if slide.startswith("Small")} == {"Small_ST"}
    done = run(revision=new)
    assert "Nothing to be done" in done.stdout, done.stdout
    done = run(revision=old)
    assert done.returncode != 0
    assert "refresh=true" in done.stdout


def test_a_killed_run_goes_on_where_the_transfer_stopped(loopback, demo_folder, run, tmp_path):
    image = "ST/image/Demo_Breast_ST.png"
    size = (demo_folder / image).stat().st_size
    loopback.commit(demo_folder)
    loopback.faults[image] = [Fault(slow=0.05)]
    words = [sys.executable, "-m", "snakemake", "-s", "Snakefile", "--cores", "1", "--directory"]
    words += [tmp_path / "run", "--config", f"dataset={ADDRESS}@main", "--"]
    process = subprocess.Popen(
        [*words, "resources/files/image/Demo_Breast_ST.png"],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while loopback.served[image] < 1_000_000:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert loopback.served[image] < size
    subprocess.run([*words[:-1], "--unlock"], check=True, capture_output=True)
    done = run(target=["resources/files/image/Demo_Breast_ST.png"])
    assert done.returncode == 0, done.stdout
    here = tmp_path / "run/resources/files/image/Demo_Breast_ST.png"
    assert here.read_bytes() == (demo_folder / image).read_bytes()
    # Data that was being sent when the process was killed is sent again: one or two pieces.
    assert loopback.served[image] <= size + 2 * (1 << 16)
