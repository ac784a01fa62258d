"""A job that continues after its driver was killed never changes products of a later run.

Each case starts a run, kills its driver while a job of one step works, and starts another run with
the options of the reference. The job is stopped and continues after that run, or it is slow and
ends during that run. Usually each step is tried in one way; OUTLIVING=all tries all 36 cases, which
takes some 15 minutes.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import runs
from st1k4m.run.steps import PRODUCTS, STALE_AFTER

pytestmark = pytest.mark.slow

ST = "Sound_ST"
PNG = "tiles={format: png}"
OTHER_TILES = "tiles={format: png, size: 20}"
# By step: the product that it puts in place last, and other options that change this product.
STEPS = {
    "count_expression": (f"work/expression/{ST}.h5ad", [PNG, "expression={min_genes: 3}"]),
    "align_spots": (f"work/spots/{ST}.parquet", [PNG, "geometry={max_outside: 0.4}"]),
    "cut_tiles": (f"results/tiles/{ST}.h5", [OTHER_TILES]),
    "pack_tiles": (f"results/tiles/{ST}.tar", ["tiles={format: webdataset}"]),
    "build_anndata": (f"results/records/{ST}.json", [PNG, "expression={min_genes: 3}"]),
    "draw_slide": (f"results/report/slides/{ST}.js", [OTHER_TILES]),
}


@pytest.fixture(scope="session")
def reference(sound_run, tmp_path_factory):
    """Return the folder of a finished run over one slide with all steps of a slide: read only."""
    return runs.shared_run(tmp_path_factory, "chain", "--config", *of_one_slide(sound_run), PNG)


@pytest.fixture
def workdir(reference, tmp_path):
    """Return a copy of the finished run."""
    return shutil.copytree(reference, tmp_path / "run", symlinks=True)


def of_one_slide(sound_run):
    return [f"dataset={sound_run.dataset}", f"select={{slides: [{ST}]}}"]


def wait_for_job(step, workdir, driver, timeout=120):
    """Return the process of a step's job after it has removed the stale products."""
    stale = [
        workdir / path.format(slide=ST) for name in STALE_AFTER[step] for path in PRODUCTS[name]
    ]
    log = workdir / f"logs/{step}/{ST}.log"
    until = time.monotonic() + timeout
    while time.monotonic() < until and driver.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                if (
                    f".{step}.py".encode() in words
                    and b"-c\0" not in words  # the shell that started it
                    and (folder / "cwd").readlink() == workdir.resolve()
                    and log.exists()
                    and f"{step} {ST}" in log.read_text()
                    and not any(path.exists() for path in stale)
                ):
                    return int(folder.name)
        time.sleep(0.005)
    os.killpg(driver.pid, signal.SIGKILL)
    pytest.fail(f"no job of {step} began:\n{driver.communicate()[0]}")


@contextlib.contextmanager
def slowed(process):
    """Let a process run for a tenth of the time, as on a busy machine."""
    stop = threading.Event()

    def slow_down():
        with contextlib.suppress(ProcessLookupError):
            while not stop.is_set():
                os.kill(process, signal.SIGSTOP)
                time.sleep(0.09)
                os.kill(process, signal.SIGCONT)
                time.sleep(0.01)

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def outliving(how, step, words, workdir, markers):
    """Start a run and kill its driver; its job of ``step`` continues in or after the block."""
    product = STEPS[step][0]
    (workdir / f"logs/{step}/{ST}.log").unlink()
    interruptions = {product: "wait"} if how == "stopped at the end" else None
    driver = runs.start(words, interruptions=interruptions, markers=markers)
    with contextlib.ExitStack() as stack:
        if how == "stopped at the end":
            runs.wait_for(markers / os.path.basename(product), driver)
            stack.callback((markers / os.path.basename(product)).unlink)
        else:
            job = wait_for_job(step, workdir, driver)
            if how == "stopped at work":
                os.kill(job, signal.SIGSTOP)
                stack.callback(os.kill, job, signal.SIGCONT)
            else:
                stack.enter_context(slowed(job))
        os.kill(driver.pid, signal.SIGKILL)
        yield
    runs.finish(driver)  # its output is a pipe, which the job closes when it ends


USUAL = {
    ("stopped at work", "build_anndata", "other"),
    ("stopped at work", "count_expression", "same"),
    ("stopped at the end", "align_spots", "other"),
    ("slow", "cut_tiles", "other"),
    ("stopped at work", "pack_tiles", "other"),
    ("stopped at the end", "draw_slide", "same"),
}
ALL = {
    (how, step, options)
    for step in STEPS
    for how in ("stopped at work", "stopped at the end", "slow")
    for options in ("same", "other")
}
CASES = [
    pytest.param(how, step, options, id=f"{step}, {how}, {options} options")
    for how, step, options in sorted(ALL if os.environ.get("OUTLIVING") == "all" else USUAL)
]


@pytest.mark.parametrize(("how", "step", "options"), CASES)
def test_nothing_of_an_outliving_job_is_left(
    sound_run, reference, workdir, tmp_path, how, step, options
):
    product, other = STEPS[step]
    words = runs.command(workdir, "--config", *of_one_slide(sound_run), PNG)
    (workdir / product).unlink()
    first = runs.command(workdir, product, "--config", *of_one_slide(sound_run))
    first += [PNG] if options == "same" else other
    with outliving(how, step, first, workdir, tmp_path / "markers"):
        assert runs.run([*words, "--unlock"]).returncode == 0
        again = runs.run(words)
        assert again.returncode == 0, again.stdout
        log = (workdir / f"logs/{step}/{ST}.log").read_text()
    assert runs.digests(workdir) == runs.digests(reference)
    assert (workdir / f"logs/{step}/{ST}.log").read_text() == log
    runs.assert_that_products_match_the_record(workdir, ST)
    assert "Nothing to be done" in runs.run([*words, "-n"]).stdout


def cluster_job(words, step):
    """Return the command with which Snakemake runs one job of a step on another machine."""
    job = ["--mode", "subprocess", "--target-jobs", f"{step}:slide={ST}", "--allowed-rules", step]
    return [*words, *job, "--no-hooks", "--nolock", "--ignore-incomplete", "--force"]


def test_a_cluster_job_that_starts_after_its_run_removes_nothing(sound_run, reference, workdir):
    """Earlier, Snakemake in the job removed the outputs before the script of the job started."""
    words = runs.command(workdir, "--config", *of_one_slide(sound_run), PNG)
    assert (workdir / ".snakemake/st1k4m_run").read_text() != "gone"
    done = runs.run(cluster_job(words, "cut_tiles"), ST1K4M_RUN="gone")
    assert done.returncode != 0
    assert f"cut_tiles {ST}: another run began" in done.stdout
    assert runs.digests(workdir) == runs.digests(reference)


def test_a_cluster_job_that_ends_after_its_run_removes_nothing(
    sound_run, reference, workdir, tmp_path
):
    """Earlier, Snakemake in the job removed its outputs, which belonged to the next run."""
    product, markers = STEPS["cut_tiles"][0], tmp_path / "markers"
    words = runs.command(workdir, "--config", *of_one_slide(sound_run), PNG)
    token = (workdir / ".snakemake/st1k4m_run").read_text()
    job = runs.start(
        cluster_job(words, "cut_tiles"),
        interruptions={product: "wait"},
        markers=markers,
        ST1K4M_RUN=token,
    )
    runs.wait_for(markers / os.path.basename(product), job)
    again = runs.run(words)
    assert again.returncode == 0, again.stdout
    (markers / os.path.basename(product)).unlink()
    assert runs.finish(job).returncode != 0
    assert runs.digests(workdir) == runs.digests(reference)
