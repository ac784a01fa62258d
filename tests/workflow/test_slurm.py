"""Runs on a real Slurm: bytes of a local run, more memory after a kill, bad slides, restart."""

import os
import re
import signal
import time

import pytest
import runs
import slurm
from hub import REPO, LoopbackHub
from st1k4m.collection import build_manifest

pytestmark = pytest.mark.slow

A, ST = "Sound_1.0+A", "Sound_ST"
PROFILE = runs.REPOSITORY / "profiles/slurm"
STEPS = ("count_expression", "align_spots", "cut_tiles", "build_anndata")
STEPS += ("fingerprint_slide", "draw_slide")


@pytest.fixture(scope="module")
def cluster():
    """Return a Slurm of one node on this machine, for the tests of this file."""
    try:
        with slurm.Slurm() as running:
            yield running
    except slurm.Missing as reason:
        pytest.skip(str(reason))


def command(workdir, *arguments):
    words = runs.command(workdir, "--profile", PROFILE, *slurm.HURRY, *arguments)
    del words[words.index("--cores") :][:2]
    return words


def states(workdir):
    rows = build_manifest.read_manifest(workdir / "results/manifest.tsv")
    return {row["slide"]: (row["status"], row["stage"]) for row in rows}


def submitted(output):
    """Count the cluster jobs of a run, from its terminal output."""
    return len(re.findall(r"submitted with SLURM jobid \d+", output))


def ended(cluster, workdir):
    """Return state and memory (MB) of the cluster jobs of a working directory, in order."""
    jobs = cluster.ask("squeue", "--states=all", "--noheader", "--sort=i", "--format=%T %m %Z")
    found = [line.split() for line in jobs.splitlines()]
    return [(state, memory) for state, memory, folder in found if folder == str(workdir)]


def test_the_demo_comes_out_as_in_a_local_run(cluster, demo_run, tmp_path):
    done = runs.run(command(tmp_path, "--config", "dataset=demo"))
    assert done.returncode == 0, done.stdout
    assert runs.digests(tmp_path) == runs.digests(demo_run)
    assert len(states(tmp_path)) == 4
    # One job per slide, and relate_slides and choose_panel over all slides.
    assert submitted(done.stdout) == 4 + 2
    assert {status for status, _ in states(tmp_path).values()} == {"done"}
    # The logs of Slurm are kept only for failed jobs.
    assert list((tmp_path / "logs/slurm").rglob("*.log")) == []


def test_transfers_run_where_the_run_was_started(cluster, make_dataset, tmp_path, monkeypatch):
    with LoopbackHub() as hub:
        hub.commit(make_dataset([{"slide": "Small", "spots": 60, "genes": 40, "um_per_px": 8.0}]))
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        done = runs.run(command(tmp_path / "run", "--config", f"dataset=hf://datasets/{REPO}@main"))
    assert done.returncode == 0, done.stdout
    assert submitted(done.stdout) == 1 + 1  # the slide, and relate_slides
    assert states(tmp_path / "run") == {"Small": ("done", "")}


def test_a_job_killed_for_memory_gets_more(cluster, sound_run, tmp_path):
    # Two steps of the group can run at once. In the first try they have too little memory.
    memory = [f"{step}:mem_mb=100 * 10 ** (attempt - 1)" for step in STEPS]
    done = runs.run(
        command(
            tmp_path,
            f"results/anndata/{A}.h5ad",
            *("--set-resources", *memory, "--config", f"dataset={sound_run.dataset}"),
        )
    )
    assert done.returncode == 0, done.stdout
    assert ended(cluster, tmp_path) == [("FAILED", "200M"), ("COMPLETED", "2000M")]
    for path, digest in runs.digests(tmp_path).items():
        assert digest == runs.digests(sound_run.workdir)[path]


def test_a_bad_slide_leaves_the_others_and_runs_alone_when_mended(cluster, make_dataset, tmp_path):
    small = {"spots": 60, "genes": 40, "um_per_px": 8.0}
    folder = make_dataset([{"slide": "Bad"} | small, {"slide": "Good", "seed": 1} | small])
    image = folder / "Visium/image/Bad.png"
    sound = image.read_bytes()
    image.write_bytes(sound[: len(sound) // 2])
    words = command(tmp_path / "run", "--config", f"dataset={folder}")

    failed = runs.run(words)
    assert failed.returncode != 0
    assert {slide: status for slide, (status, _) in states(tmp_path / "run").items()} == {
        "Bad": "failed",
        "Good": "done",
    }
    assert "Slides: 1 done, 1 failed" in failed.stdout
    assert submitted(failed.stdout) == 1 + 3  # with the profile's two retries

    image.write_bytes(sound)
    repaired = runs.run(words)
    assert repaired.returncode == 0, repaired.stdout
    assert submitted(repaired.stdout) == 1 + 1  # the slide, and relate_slides
    assert {status for status, _ in states(tmp_path / "run").values()} == {"done"}


def test_a_driver_that_was_killed_goes_on(cluster, sound_run, tmp_path):
    words = command(tmp_path, "--config", f"dataset={sound_run.dataset}")
    driver = runs.start(words)
    until = time.monotonic() + 120
    while not any("RUNNING" in line for line in cluster.queue()):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < until, "no job began"
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()

    unlocked = runs.run([*words, "--unlock"])
    assert unlocked.returncode == 0, unlocked.stdout
    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    assert {slide: status for slide, (status, _) in states(tmp_path).items()} == {
        A: "done",
        ST: "done",
    }
    assert runs.digests(tmp_path) == runs.digests(sound_run.workdir)
