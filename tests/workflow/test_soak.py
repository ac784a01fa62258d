"""A run that is killed again and again completes, with the same products as a clean run."""

import os
import random
import re
import shutil
import signal
import subprocess

import pytest
import runs
from faults import table
from st1k4m.collection import build_manifest
from st1k4m.demo import dataset as demo

SMALL = {"spots": 60, "genes": 40, "um_per_px": 8.0}


def make_dataset(folder, sound, damaged):
    """Write undamaged slides, and one slide for each kind of damage."""
    rows = [demo.make_slide(folder, f"Soak_{n:03}", seed=n, **SMALL) for n in range(sound)]
    for fault in damaged:
        rows.append(demo.make_slide(folder, fault.slide, annotated=True, **SMALL))
        fault.damage(table.place(folder, fault.slide, fault.file))
    demo.write_meta(folder, rows)


def kill_until_done(words, seconds):
    """Repeat a run, killed after some seconds, until it ends; return it and the number of kills.

    In turn the whole run is killed, as in a power failure, or only its driver; its jobs continue.
    """
    for kills, patience in enumerate(seconds):
        process = runs.start(words)
        try:
            output, _ = process.communicate(timeout=patience)
            return subprocess.CompletedProcess(words, process.returncode, output), kills
        except subprocess.TimeoutExpired:
            (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
            process.stdout.close()  # jobs that continue have its other end open
            process.wait()
        unlocked = runs.run([*words, "--unlock"])
        assert unlocked.returncode == 0, unlocked.stdout
    pytest.fail(f"{kills + 1} kills, and the run has not got through")


def soak(tmp_path, sound, damaged, seconds, cores=2):
    dataset = tmp_path / "dataset"
    make_dataset(dataset, sound, damaged)
    clean, killed = (
        runs.command(tmp_path / name, "--config", f"dataset={dataset}", cores=cores)
        for name in ("clean", "killed")
    )
    reference = runs.run(clean, timeout=7200)
    done, kills = kill_until_done(killed, seconds)

    assert done.returncode == reference.returncode
    assert bool(done.returncode) == bool(damaged)
    assert "Traceback" not in done.stdout
    assert f"Slides: {sound} done, {len(damaged)} failed" in done.stdout
    rows = build_manifest.read_manifest(tmp_path / "killed/results/manifest.tsv")
    by_slide = {row["slide"]: row for row in rows}
    for fault in damaged:
        assert re.fullmatch(fault.stage, by_slide[fault.slide]["stage"])
        assert re.search(fault.says, by_slide[fault.slide]["reason"])
    assert runs.leftovers(tmp_path / "killed") == []
    assert runs.digests(tmp_path / "killed") == runs.digests(tmp_path / "clean")
    return kills


@pytest.mark.slow
def test_run_killed_again_and_again_gets_through(tmp_path):
    damaged = [fault for fault in table.WORKFLOW if fault.name in ("cut in a line", "bomb")][:2]
    kills = soak(tmp_path, 3, damaged, seconds=[3, 5, 7, 9, 600])
    assert kills >= 2


@pytest.mark.slow
@pytest.mark.skipif("SOAK_SLIDES" not in os.environ, reason="SOAK_SLIDES=200 asks for an hour")
def test_soak(tmp_path):
    """One tenth of the slides are damaged."""
    slides = int(os.environ["SOAK_SLIDES"])
    damaged = [fault for fault in table.WORKFLOW if fault.name != "forbidden"][: slides // 10]
    chance = random.Random(0)
    seconds = (chance.uniform(8, 40) for _ in range(1000))
    kills = soak(tmp_path, slides - len(damaged), damaged, seconds, cores=os.cpu_count())
    shutil.rmtree(tmp_path)
    assert kills >= slides // 20
