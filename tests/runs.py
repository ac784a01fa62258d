"""Start the workflow as a user does, and disturb it: signals, full disks, killed jobs."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import REPOSITORY
from st1k4m.run.products import read_made, read_origins

INTERRUPT = Path(__file__).parent / "faults" / "interrupt"

# Root ignores file permissions. Without these two capabilities they apply to root too.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []


@contextlib.contextmanager
def shared_folder(tmp_path_factory, name):
    """Yield a folder that all workers of the session share; one worker at a time has it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield base / name


def command(workdir, *arguments, cores=2):
    """Return the command line of a run, as a list of words."""
    words = [sys.executable, "-m", "snakemake", "-s", REPOSITORY / "Snakefile"]
    words += ["--directory", workdir, "--cores", cores, *arguments]
    return [str(word) for word in words]


def start(words, *, markers=None, interruptions=None, **environment):
    """Start a process in a new session, with its output on a pipe.

    ``interruptions`` gives the interruption of each product, and ``markers`` the folder of the
    marker files: see faults/interrupt.
    """
    # The folder of the interpreter is first, so jobs find the same environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, **environment}
    if interruptions:
        markers.mkdir(parents=True, exist_ok=True)
        environment["PYTHONPATH"] = str(INTERRUPT)
        environment["INTERRUPT"] = json.dumps(
            {"markers": str(markers), "interruptions": interruptions}
        )
    return subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_signals,
    )


def _hear_signals():
    # Processes that nohup or a background script started ignore these signals.
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def finish(process, timeout=900):
    """Wait for a process; return the same as `subprocess.run`."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"the run did not end within {timeout} s:\n{output}")
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def run(words, *, timeout=900, **how):
    """Start a process and wait for it."""
    return finish(start(words, **how), timeout)


def shared_run(tmp_path_factory, name, *arguments):
    """Return the working directory of a finished run, which the first worker makes."""
    with shared_folder(tmp_path_factory, name) as folder:
        finished = folder.with_suffix(".finished")
        if not finished.exists():
            done = run(command(folder, *arguments))
            assert done.returncode == 0, done.stdout
            finished.touch()
    return folder


def wait_for(path, process, timeout=120):
    """Wait until a process has made a file."""
    until = time.monotonic() + timeout
    while not path.exists():
        if process.poll() is not None or time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{path.name} did not come:\n{process.communicate()[0]}")
        time.sleep(0.02)


def mounted(mounts, words):
    """Return the words that run ``words`` with mounts that no other process sees.

    ``mounts`` are arguments of mount(8), one line each.
    """
    script = " && ".join([*(f"mount {mount}" for mount in mounts), 'exec "$@"'])
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *words]


def need_mounts(folder):
    """Skip the test if no file system can be mounted."""
    if not shutil.which("unshare"):
        pytest.skip("unshare(1) is not installed")
    tried = run(mounted([f"-t tmpfs -o size=64k none {folder}"], ["true"]))
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stdout.strip()}")


def need_permissions():
    """Skip the test if file permissions do not apply to the process and cannot be made to."""
    if AS_USER and (not shutil.which("setpriv") or run([*AS_USER, "true"]).returncode):
        pytest.skip("root, who passes every permission, and setpriv(1) cannot change that here")


def hash_files(folder):
    """Return the sha256 of every file below a folder, by path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def hash_products(workdir):
    """Return the sha256 of every file in ``results`` and ``work``, by path."""
    return {
        f"{part}/{path}": digest
        for part in ("results", "work")
        for path, digest in hash_files(workdir / part).items()
    }


def digests(workdir):
    """Return the sha256 of every file that steps hand on or users keep, by path.

    The report's page on the run is left out, because it has the times of the jobs.
    """
    return {
        path: digest
        for path, digest in hash_products(workdir).items()
        if Path(path).name != "run.js"
    }


def products_of(workdir, slides):
    """Return the digests of the products of some slides."""
    return {
        path: digest
        for path, digest in digests(workdir).items()
        if Path(path).stem in slides and not path.startswith("work/failed")
    }


def leftovers(workdir):
    """Return the temporary files that jobs left."""
    return [path for path in digests(workdir) if path.endswith(".tmp")]


def assert_that_products_match_the_record(workdir, slide):
    """Check that a slide's products and its record state the same origins; return these by step."""
    record = workdir / f"results/records/{slide}.json"
    origins = {made.step: made for made in read_origins(record)}
    for step, product in (
        ("count_expression", f"work/expression/{slide}.h5ad"),
        ("align_spots", f"work/spots/{slide}.parquet"),
        ("cut_tiles", f"results/tiles/{slide}.h5"),
        ("build_anndata", f"results/anndata/{slide}.h5ad"),
        ("build_anndata", f"results/ledger/{slide}.parquet"),
    ):
        assert read_made(workdir / product) == origins[step]
    return origins
