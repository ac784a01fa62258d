"""Complete outputs, useful logs, recorded failures."""

import errno
import json
import subprocess
import sys

import pytest
from places import REPOSITORY
from st1k4m.errors import SlideError
from st1k4m.run.outputs import atomic, require
from st1k4m.run.steps import PRODUCTS

SLIDE = "Demo_v1.2+crop"
LOG = f"logs/cut_tiles/{SLIDE}.log"


@pytest.fixture
def run_job(tmp_path):
    """Return a function that runs code as a job in a new process; it returns that process."""

    def run(work, step="cut_tiles", attempt=1, before=(), **environment):
        body = "\n".join(f"    {line}" for line in work.splitlines())
        code = (
            "from st1k4m.run import job\nfrom st1k4m.errors import SlideError\n"
            f"with job.run({step!r}, {SLIDE!r}, {LOG!r}, attempt={attempt}):\n{body}\n"
        )
        return subprocess.run(
            [*before, sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(REPOSITORY / "scripts"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_atomic_output_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        raise RuntimeError
    assert list(path.parent.iterdir()) == []

    with atomic(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_atomic_output_removes_what_a_killed_job_left_of_it_and_nothing_else(tmp_path):
    left = tmp_path / ".a.h5.0123abcd.17.tmp"
    other = tmp_path / ".a.h5ad.0123abcd.17.tmp"
    left.touch(), other.touch()
    with atomic(tmp_path / "a.h5") as temporary:
        temporary.touch()
    assert not left.exists()
    assert other.exists()


def test_log_has_output_warnings_end_and_memory(run_job, tmp_path):
    done = run_job("import warnings\nprint('seen')\nwarnings.warn('odd')")
    log = (tmp_path / LOG).read_text()

    assert done.returncode == 0
    assert done.stdout == done.stderr == ""
    assert "seen" in log
    assert "odd" in log
    assert "done in" in log.splitlines()[-1]
    assert "peak memory" in log.splitlines()[-1]


def test_log_has_output_where_standard_output_is_closed(run_job, tmp_path):
    done = run_job("print('seen')", before=["/bin/sh", "-c", 'exec "$@" >&-', "sh"])
    assert done.returncode == 0
    assert "seen" in (tmp_path / LOG).read_text()


def test_import_error_is_in_the_log_and_one_line_on_the_terminal(run_job, tmp_path):
    done = run_job("import no_such_library")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in (tmp_path / LOG).read_text()
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"FAILED {SLIDE} at cut_tiles: unexpected ModuleNotFoundError")
    assert LOG in done.stderr


def test_bad_data_is_recorded_and_a_retry_ends_at_once(run_job, tmp_path):
    bad = f"raise SlideError({SLIDE!r}, 'image is broken', 'fetch it again')"
    assert run_job(bad).returncode == 1
    record = json.loads((tmp_path / f"work/failed/cut_tiles/{SLIDE}.json").read_text())
    assert record == {
        "slide": SLIDE,
        "stage": "cut_tiles",
        "reason": "image is broken",
        "hint": "fetch it again",
        "final": True,
    }

    retried = run_job("open('worked', 'w')", attempt=2)
    assert retried.returncode == 1
    assert "image is broken" in retried.stderr
    assert not (tmp_path / "worked").exists()

    assert run_job("pass").returncode == 0
    assert not (tmp_path / f"work/failed/cut_tiles/{SLIDE}.json").exists()


def test_a_step_removes_what_it_makes_stale(run_job, tmp_path):
    for products in PRODUCTS.values():
        for product in products:
            path = tmp_path / product.format(slide=SLIDE)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    run_job("pass", step="cut_tiles")

    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    earlier = {f"work/expression/{SLIDE}.h5ad", f"work/spots/{SLIDE}.parquet"}
    assert files == {LOG, LOG.replace(".log", ".json"), *earlier}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space is left on the disk: results/x"),
        (errno.EACCES, "permission was denied: results/x"),
        (errno.EROFS, "the file system is read-only: results/x"),
        (
            errno.EFBIG,
            "a file grew larger than the file system or the limit of the user allows: results/x",
        ),
    ],
)
def test_trouble_with_the_disk_is_named_and_may_be_retried(run_job, tmp_path, number, words):
    done = run_job(f"raise OSError({number}, 'strerror', 'results/x')")
    record = json.loads((tmp_path / f"work/failed/cut_tiles/{SLIDE}.json").read_text())

    assert done.returncode == 1
    assert record["reason"] == words
    assert record["final"] is False
    assert run_job("pass", attempt=2).returncode == 0


def test_missing_file_is_a_slide_error_that_names_it(tmp_path):
    with pytest.raises(SlideError, match=r"the image is missing: .*gone.png"):
        require(SLIDE, "image", str(tmp_path / "gone.png"))


@pytest.mark.parametrize(("home", "elsewhere"), [("/proc/1", True), (".", False)])
def test_a_home_that_cannot_be_written_holds_no_cache(run_job, tmp_path, home, elsewhere):
    """Numba fails at import if it has no folder for its cache."""
    run_job("import os\nprint('cache', os.environ.get('NUMBA_CACHE_DIR'))", HOME=home)
    cache = tmp_path / ".snakemake/numba" if elsewhere else None
    assert f"cache {cache}\n" in (tmp_path / LOG).read_text()


def test_a_job_whose_run_is_over_removes_nothing_it_meets(run_job, tmp_path):
    """Earlier, such a job removed a product of the next run, with other options, as stale."""
    product = tmp_path / "work/product"
    product.parent.mkdir()
    product.touch()
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/st1k4m_run").write_text("mine")
    done = run_job(
        "from pathlib import Path\nfrom st1k4m.errors import StaleProductError\n"
        "Path('.snakemake/st1k4m_run').write_text('another')\n"
        f"raise StaleProductError({SLIDE!r}, 'work/product', 'was made with other options')",
        ST1K4M_RUN="mine",
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert product.exists()
    assert not (tmp_path / "work/failed").exists()
