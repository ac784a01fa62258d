"""After any kind of end of a run, no file is half-written and the same command continues it."""

import os
import shutil
import signal
import time

import pytest
import runs
from st1k4m.collection import build_manifest
from st1k4m.run.steps import PRODUCTS

A, ST = "Sound_1.0+A", "Sound_ST"
SPOTS = f"work/spots/{ST}.parquet"


@pytest.fixture
def workdir(sound_run, tmp_path):
    """Return a copy of a finished run."""
    return shutil.copytree(sound_run.workdir, tmp_path / "run", symlinks=True)


def states(workdir):
    rows = build_manifest.read_manifest(workdir / "results/manifest.tsv")
    return {row["slide"]: (row["status"], row["stage"]) for row in rows}


@pytest.mark.slow
def test_job_killed_at_each_step_costs_its_slide_and_the_same_command_goes_on(sound_run, tmp_path):
    """The system kills a job like this when memory runs out; the job cannot clean up."""
    workdir, markers = tmp_path / "run", tmp_path / "markers"
    words = runs.command(workdir, "--config", f"dataset={sound_run.dataset}")
    for interruptions, expected in (
        (
            {f"work/expression/{A}.h5ad": "kill", f"work/spots/{ST}.parquet": "kill"},
            {A: ("failed", "count_expression"), ST: ("failed", "align_spots")},
        ),
        (
            {f"results/tiles/{A}.h5": "kill", f"results/anndata/{ST}.h5ad": "kill"},
            {A: ("failed", "cut_tiles"), ST: ("failed", "build_anndata")},
        ),
        (
            {f"results/records/{A}.json": "kill", f"results/report/slides/{ST}.js": "kill"},
            {A: ("failed", "build_anndata"), ST: ("failed", "draw_slide")},
        ),
        ({"results/manifest.tsv": "kill"}, {A: ("done", ""), ST: ("done", "")}),
        ({"results/report/index.html": "kill"}, {A: ("done", ""), ST: ("done", "")}),
    ):
        killed = runs.run(words, interruptions=interruptions, markers=markers)
        assert killed.returncode != 0
        assert "Traceback" not in killed.stdout
        assert {marker.name for marker in markers.iterdir()} >= {
            os.path.basename(path) for path in interruptions
        }
        assert states(workdir) == expected
        for slide, (status, stage) in expected.items():
            if status == "failed":
                assert f"FAILED {slide} at {stage}: not finished" in killed.stdout
                made = [path.format(slide=slide) for path in PRODUCTS[stage]]
                assert [path for path in made if (workdir / path).exists()] == []

    done = runs.run(words)
    assert done.returncode == 0, done.stdout
    assert runs.digests(workdir) == runs.digests(sound_run.workdir)


@pytest.mark.parametrize(
    ("to_all", "number", "unlock"),
    [
        pytest.param(False, signal.SIGTERM, False, id="SIGTERM"),
        pytest.param(False, signal.SIGINT, False, id="SIGINT"),
        pytest.param(True, signal.SIGINT, False, id="Ctrl-C"),
        pytest.param(True, signal.SIGHUP, True, id="closed terminal"),
        pytest.param(True, signal.SIGKILL, True, id="power loss"),
    ],
)
def test_run_ended_by_a_signal_goes_on(sound_run, workdir, tmp_path, to_all, number, unlock):
    (workdir / SPOTS).unlink()
    markers = tmp_path / "markers"
    words = runs.command(workdir, SPOTS, "--config", f"dataset={sound_run.dataset}")
    process = runs.start(words, interruptions={SPOTS: "wait"}, markers=markers)
    runs.wait_for(markers / f"{ST}.parquet", process)
    # Snakemake checks its jobs one second after the start of a job. A signal before that is lost.
    time.sleep(1.5)
    (os.killpg if to_all else os.kill)(process.pid, number)
    if not to_all:
        (markers / f"{ST}.parquet").unlink()
    ended = runs.finish(process)
    assert ended.returncode != 0

    # After SIGTERM and SIGINT the driver waits for the job, which then succeeds.
    assert (workdir / SPOTS).exists() != to_all
    if unlock:
        locked = runs.run(words)
        assert locked.returncode != 0
        assert "--unlock" in locked.stdout
        assert runs.run([*words, "--unlock"]).returncode == 0
    again = runs.run(words)
    assert again.returncode == 0, again.stdout
    assert runs.leftovers(workdir) == []
    assert runs.digests(workdir)[SPOTS] == runs.digests(sound_run.workdir)[SPOTS]


def test_job_that_outlives_its_driver_harms_no_later_run(sound_run, workdir, tmp_path):
    """After SIGKILL or SIGHUP of the driver alone, its job continues."""
    (workdir / SPOTS).unlink()
    markers = tmp_path / "markers"
    words = runs.command(workdir, SPOTS, "--config", f"dataset={sound_run.dataset}")
    process = runs.start(words, interruptions={SPOTS: "wait"}, markers=markers)
    runs.wait_for(markers / f"{ST}.parquet", process)
    os.kill(process.pid, signal.SIGKILL)
    assert runs.run([*words, "--unlock"]).returncode == 0
    again = runs.run(words)
    assert again.returncode == 0, again.stdout

    (markers / f"{ST}.parquet").unlink()
    runs.finish(process)  # its output is a pipe, which the job closes when it ends
    assert runs.leftovers(workdir) == []
    assert not list(workdir.glob("work/failed/*/*"))
    assert runs.digests(workdir)[SPOTS] == runs.digests(sound_run.workdir)[SPOTS]
