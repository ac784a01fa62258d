"""Run a job of the workflow: its log, its threads, and the record of its failure.

All paths of products are relative to the working directory of the run.
"""

import contextlib
import io
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from st1k4m.errors import RunOverError, SlideError
from st1k4m.run.failures import (
    end_if_final,
    explain,
    failure_path,
    forget_failures,
    record_failure,
    remove_stale_products,
)
from st1k4m.run.outputs import ensure_run_is_on, join_run, write_text
from st1k4m.run.products import read_made
from st1k4m.run.provenance import Made, check_parameters, check_reads, check_same, plain, sizes
from st1k4m.run.text import escape

log = logging.getLogger(__name__)


@contextlib.contextmanager
def run(
    step: str,
    slide: str,
    log_file: str,
    attempt: int = 1,
    threads: int = 1,
    reads: Sequence[str] = (),
) -> Iterator[TextIO]:
    """Surround the work of one job.

    It opens the log before large libraries are imported, sends all output there, and limits the
    thread pools. It removes the old products of this step and of later steps, because they do not
    belong to the new products. If the work fails, it writes the failure record and prints the
    failure on the terminal.

    Parameters
    ----------
    step
        Name of the rule.
    slide
        Name of the slide; empty for a job over all slides.
    log_file
        The job's log; it replaces an earlier one. The job's time and memory are written to a JSON
        file of the same name.
    attempt
        Number of the try. A :class:`SlideError` is final: a later try fails at once with it.
    threads
        Number of cores that this job may use.
    reads
        Files that the job reads. If the job fails and a product among them is damaged, the failure
        names it.

    Yields
    ------
    TextIO
        The standard error of the process before it was sent to the log.

    Raises
    ------
    SystemExit
        With status 1 if the work failed, or if another run began after the run of this job.
    """
    begin = time.monotonic()
    try:
        join_run()
    except RunOverError as over:  # before a file of the other run is changed
        sys.exit(f"{step} {slide}: {over}")
    terminal = _send_output_to(log_file)
    _cap_threads(threads)
    log.info("%s %s", step, slide)
    usage_path(log_file).unlink(missing_ok=True)
    failure = failure_path(step, slide) if slide else None
    try:
        if failure:
            end_if_final(failure, attempt)
            failure.unlink(missing_ok=True)
            remove_stale_products(step, slide)
        yield terminal
        ensure_run_is_on()
        if slide:
            forget_failures(step, slide)
        seconds, peak = time.monotonic() - begin, _peak_mb()
        usage = {"seconds": round(seconds, 2), "peak_mb": round(peak)}
        write_text(usage_path(log_file), json.dumps(usage))
        log.info("done in %.1f s, peak memory %.0f MB", seconds, peak)
    except RunOverError as over:
        log.warning("%s", over)
        sys.exit(1)
    except Exception as error:
        _leave_if_run_is_over(error)
        reason, hint = map(escape, explain(error, log_file, reads))
        log.error("failed after %.1f s, peak memory %.0f MB", time.monotonic() - begin, _peak_mb())
        if failure:  # first, because the terminal may be closed
            record_failure(failure, slide, step, reason, hint, isinstance(error, SlideError))
        print(
            f"FAILED {slide or 'all slides'} at {step}: {reason}\n"
            f"  what to do: {hint}\n  log: {log_file}",
            file=terminal,
            flush=True,
        )
        sys.exit(1)


def _leave_if_run_is_over(error: Exception) -> None:
    """End a job whose run is over: the files that it would remove belong to another run."""
    try:
        ensure_run_is_on()
    except RunOverError as over:
        log.warning("%s; its error was %r", over, error)
        sys.exit(1)


def usage_path(log_file: str | Path) -> Path:
    """Return the file to which a job that is done writes its time (s) and peak memory (MB)."""
    return Path(f"{str(log_file).removesuffix('.log')}.json")


def _send_output_to(log_file: str) -> TextIO:
    """Send standard output and standard error to the log; return the earlier standard error."""
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    terminal = os.fdopen(os.dup(2), "w")
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if descriptor > 2:  # it is 1 or 2 if that was closed before
        os.close(descriptor)
    if sys.stdout is None:  # standard output was closed when this process started
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        force=True,
    )
    logging.captureWarnings(True)
    return terminal


def _cap_threads(threads: int) -> None:
    for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR"):
        os.environ[f"{pool}_NUM_THREADS"] = str(threads)
    os.environ["VIPS_CONCURRENCY"] = str(threads)
    if not os.access(Path.home(), os.W_OK) and "XDG_CACHE_HOME" not in os.environ:
        # Numba keeps its cache below the home folder, and fails if it cannot write there.
        os.environ.setdefault("NUMBA_CACHE_DIR", os.path.abspath(".snakemake/numba"))


def _peak_mb() -> float:
    """Return the peak resident memory in MB (2**20 bytes).

    Linux has it in ``/proc``. There ``ru_maxrss`` includes the peak of the parent before the fork.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_script(step: str, job: Any) -> contextlib.AbstractContextManager[TextIO]:
    """Surround the work of a rule's script; see `run`.

    Parameters
    ----------
    step
        Name of the rule in this workflow. A workflow that imports this one may have renamed it.
    job
        The ``snakemake`` object of the script: wildcards, log, resources, threads, input.
    """
    return run(
        step,
        job.wildcards.get("slide", ""),
        job.log[0],
        job.resources.get("attempt", 1),
        job.threads,
        [str(path) for path in job.input],
    )


#: Params that do not change the content of a product: the paths of the files, and the facts of the
#: catalogue about the study. The record states these facts; a folder and a hub can differ in them.
PLACES = {"counts", "coord", "image", "annotation", "study"}
#: Params that are not options of the step: `PLACES`, the other fields of `Made`, and the digests of
#: the options that the products it reads must be made with.
NOT_OPTIONS = PLACES | {"revision", "inputs", "made_with"}


def origins(step: str, job: Any, **reads: str | Sequence[str]) -> dict[str, Made]:
    """Return what a job's products are made from, after a comparison of the products it reads.

    Parameters
    ----------
    step
        The step.
    job
        The ``snakemake`` object of the script. All its params except `NOT_OPTIONS` are options.
        ``made_with`` gives by step the digest of the options of the product that this job reads.
    **reads
        By step: its product that this job reads, or several products.

    Returns
    -------
    dict
        By step, this one last: the `Made` of its product.

    Raises
    ------
    StaleProductError
        The products do not belong together.
    """
    slide = job.wildcards.get("slide", "")
    found = {}
    for name, paths in reads.items():
        first, *others = [paths] if isinstance(paths, str) else paths
        found[name] = (first, read_made(first))
        for other in others:
            check_same(slide, first, found[name][1], other, read_made(other))
    digests = check_reads(slide, found)
    for name, digest in job.params.get("made_with", {}).items():
        if name in found:
            check_parameters(slide, *found[name], digest)
    asked = statement(step, dict(job.params.items()), digests)
    return {name: made for name, (_, made) in found.items() if made} | {step: asked}


def statement(step: str, params: Mapping[str, Any], reads: Mapping[str, str]) -> Made:
    """Return what a product of a step is made from, by the params of its rule."""
    parameters = {name: value for name, value in params.items() if name not in NOT_OPTIONS}
    inputs = {kind: sizes(identity) for kind, identity in params.get("inputs", {}).items()}
    return Made(step, params["revision"], plain(parameters), inputs, dict(reads))
