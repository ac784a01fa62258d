"""What every job does: its log, whole outputs, and a record of its failure.

All paths of the products are relative to the working directory of the run.
"""

import contextlib
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from st1k4m.errors import SlideError
from st1k4m.run.failures import (
    end_if_final,
    explain,
    failure_path,
    forget_failures,
    record_failure,
    remove_stale_products,
)
from st1k4m.run.text import escape

log = logging.getLogger(__name__)


@contextlib.contextmanager
def run(
    step: str, slide: str, log_file: str, attempt: int = 1, threads: int = 1
) -> Iterator[TextIO]:
    """Surround the work of one job.

    Opens the log before anything heavy is imported and sends all output there, caps thread pools,
    removes the step's own old products and those of later steps (they no longer belong to what this
    step makes), and, when the work fails, writes the failure record and says so on the terminal.

    Parameters
    ----------
    step
        Name of the rule.
    slide
        Name of the slide; empty for a job over all slides.
    log_file
        The job's log; written anew.
    attempt
        Which try this is. A :class:`SlideError` is final: a later try ends at once with it.
    threads
        Cores this job may use.

    Yields
    ------
    TextIO
        The terminal that the process had.

    Raises
    ------
    SystemExit
        With status 1 when the work failed.
    """
    begin = time.monotonic()
    terminal = _send_output_to(log_file)
    _cap_threads(threads)
    log.info("%s %s", step, slide)
    failure = failure_path(step, slide) if slide else None
    try:
        if slide:
            end_if_final(failure, attempt)
            failure.unlink(missing_ok=True)
            remove_stale_products(step, slide)
        yield terminal
        if slide:
            forget_failures(step, slide)
        log.info("done in %.1f s, peak memory %.0f MB", time.monotonic() - begin, _peak_mb())
    except Exception as error:
        reason, hint = map(escape, explain(error, log_file))
        log.error("failed after %.1f s, peak memory %.0f MB", time.monotonic() - begin, _peak_mb())
        if failure:  # first, for the terminal may be gone
            record_failure(failure, slide, step, reason, hint, isinstance(error, SlideError))
        print(
            f"FAILED {slide or 'all slides'} at {step}: {reason}\n"
            f"  what to do: {hint}\n  log: {log_file}",
            file=terminal,
            flush=True,
        )
        sys.exit(1)


def _send_output_to(log_file: str) -> TextIO:
    """Make the log file the process's output, and return the terminal it had."""
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    terminal = os.fdopen(os.dup(2), "w")
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
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


def _peak_mb() -> float:
    """Peak resident memory in MB (2**20 bytes).

    Not ``ru_maxrss`` where Linux tells it otherwise: that counts what the parent had before.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_script(step: str, job) -> contextlib.AbstractContextManager[TextIO]:
    """Surround the work of a rule's script; see `run`.

    Parameters
    ----------
    step
        Name of the rule in this workflow; one that takes it in may have given it another.
    job
        What the engine gives the script: wildcards, log, resources, threads.
    """
    return run(
        step,
        job.wildcards.get("slide", ""),
        job.log[0],
        job.resources.get("attempt", 1),
        job.threads,
    )
