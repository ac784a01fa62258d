"""Whatever ends a run, nothing is half-written and the same command goes on."""

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
    """A copy of a finished run."""
    return shutil.copytree(sound_run.workdir, tmp_path / "run", symlinks=True)


def states(workdir):
    rows = build_manifest.read_manifest(workdir / "results/manifest.tsv")
    return {row["slide"]: (row["status"], row["stage"]) for row in rows}


def test_job_killed_at_each_step_costs_its_slide_and_the_same_command_goes_on(sound_run, tmp_path):
    """As the system does when memory runs out: no step can clean up after itself."""
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
    # The engine looks for jobs a second after it started one; an interrupt at that moment is lost.
    time.sleep(1.5)
    (os.killpg if to_all else os.kill)(process.pid, number)
    if not to_all:
        (markers / f"{ST}.parquet").unlink()
    ended = runs.finish(process)
    assert ended.returncode != 0

    # SIGTERM and SIGINT wait for the job, which then ends well.
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
    """SIGKILL or SIGHUP of the driver alone leaves its job at work."""
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
    runs.finish(process)  # its output is a pipe, which ends with the job
    assert runs.leftovers(workdir) == []
    assert not list(workdir.glob("work/failed/*/*"))
    assert runs.digests(workdir)[SPOTS] == runs.digests(sound_run.workdir)[SPOTS]
