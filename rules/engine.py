"""Replace seven functions of Snakemake 9 that limit a run over many slides.

A function is replaced only if it is the one that the replacement was written for: its name, its
parameters, and the attributes that the replacement uses must be equal. Otherwise the function is
not changed, and the log states this once. The run is then slower, or ends at the first lost input,
but its results are the same.

The replacements change the whole process. A workflow that imports this one with ``module`` keeps
its Snakemake as it is: rules/common.smk loads this file only if this workflow is the main one.

Tested with Snakemake 9.14.0 and 9.27.1. ``tests/benchmarks/bench_engine.py`` measures the gain of
each replacement; docs/upstream.md has the reports for Snakemake.
"""

import asyncio
import contextlib
import functools
import inspect
import logging
import math
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import snakemake.api  # first: its modules import each other
import snakemake.jobs
import snakemake.persistence
from snakemake.dag import DAG
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake_interface_logger_plugins.common import LogEvent


def leave_missing_inputs_to_their_jobs(wait_for_files: Callable) -> Callable:
    """Let a missing input fail only its own job, which names the input.

    If an input disappears during a run, Snakemake ends the whole run and does not call ``onerror``.
    Snakemake's waiting for files is not changed.
    Gain: if one image disappears during a run over two slides, only that slide fails. Without the
    replacement the run ends, the other slide is not built, and manifest and report are not written.
    """

    @functools.wraps(wait_for_files)
    async def wait(files, *positional, **options):
        try:
            await wait_for_files(files, *positional, **options)
        except OSError:
            # Snakemake passes the first option only for inputs, the second only for outputs.
            if "consider_local" not in options or "ignore_pipe_or_service" in options:
                raise

    return wait


def schedule_once(schedule_later: Callable) -> Callable:
    """Keep one timer for the scheduler's next pass.

    After each pass Snakemake starts a timer for the next one. Each job that ends adds a pass, and
    its chain of timers never ends. So passes per second grow with the number of ended jobs.
    Gain: the main process of 400 chains of two jobs used 5.5 CPU seconds without it, 4.5 with it.
    """

    @functools.wraps(schedule_later)
    def later(scheduler, delay):
        due = time.monotonic() + delay
        if due >= getattr(scheduler, "_next_pass", math.inf):
            return  # the running timer ends no later
        scheduler._next_pass = due

        def wake():
            scheduler._next_pass = math.inf  # before release: a new request needs a new timer
            scheduler._open_jobs.release()

        threading.Timer(delay, wake).start()

    return later


def ask_sizes_once(update_input_sizes: Callable) -> Callable:
    """Read the size of each input once, not in every pass of the scheduler.

    The scheduler prefers jobs with large inputs. In every pass Snakemake reads the size of every
    input of every ready job from the file system.
    Gain: 5.4 CPU seconds without it, 4.5 with it, on the same chains; 7.0 without both.
    """

    @functools.wraps(update_input_sizes)
    async def update(scheduler, jobs):
        async def size_of(path):
            return path, await path.size() if await path.exists() else None

        sizes = scheduler._input_sizes
        unknown = {path for job in jobs for path in job.input if sizes.get(path) is None}
        sizes.update(await asyncio.gather(*map(size_of, unknown)))

    return update


def date_after_inputs(check_output_mtime: Callable) -> Callable:
    """Set the time stamps of outputs to at least those of their inputs.

    The clock of a file server may be ahead. Snakemake gives outputs the current time, then fails
    a job whose input has a later time stamp.
    Gain: without it, a file dated 90 s in the future fails its slide in every run.
    """

    @functools.wraps(check_output_mtime)
    async def check(dag, job, expanded_output):
        dates = [os.stat(path).st_mtime_ns for path in job.input if os.path.exists(path)]
        for path in expanded_output:
            stamp = os.path.join(path, ".snakemake_timestamp")  # time stamp of a folder
            dated = stamp if os.path.exists(stamp) else path
            if dates and os.path.exists(dated) and os.stat(dated).st_mtime_ns < max(dates):
                os.utime(dated, ns=(max(dates), max(dates)))
        await check_output_mtime(dag, job, expanded_output)

    return check


def keep_files_of_other_runs(remove: Callable) -> Callable:
    """Let only processes of the current run remove outputs.

    Snakemake removes the outputs of a job before the job starts. A job on a cluster also removes
    them if it failed.
    Gain: without it, cluster jobs that continue after their driver was killed remove products of
    the next run.
    """
    from st1k4m.run.outputs import run_is_on

    @functools.wraps(remove)
    async def keep(job, *positional, **options):
        if run_is_on():
            await remove(job, *positional, **options)

    return keep


def explain_a_failed_lock(lock: Callable) -> Callable:
    """Report with one sentence that the working directory cannot be locked, as on a full disk.

    Gain: without it, a full disk ends the run with a traceback.
    """

    @functools.wraps(lock)
    @contextlib.contextmanager
    def locked(persistence):
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock(persistence))
            except OSError as error:
                raise WorkflowError(
                    f"the working directory, {os.getcwd()}, cannot be locked: {error}. Make it "
                    "writable, or free some space; then run the same command again"
                ) from None
            yield

    return locked


@dataclass(frozen=True)
class Seam:
    """A function of Snakemake that is replaced.

    Attributes
    ----------
    owner
        The module or class that has the function.
    name
        Name of the function.
    parameters
        Names that its parameters must have.
    uses
        Attributes that ``owner.__init__`` must set, because the replacement uses them.
    replace
        Takes the function, returns its replacement.
    without
        The effect of not replacing the function, for the log.
    """

    owner: Any
    name: str
    parameters: tuple[str, ...]
    uses: tuple[str, ...]
    replace: Callable[[Callable], Callable]
    without: str

    def fits(self) -> bool:
        """Return whether Snakemake has the function that the replacement was written for."""
        function = getattr(self.owner, self.name, None)
        if not inspect.isfunction(function):
            return False
        sets = self.owner.__init__.__code__.co_names if self.uses else ()
        return tuple(inspect.signature(function).parameters) == self.parameters and all(
            attribute in sets for attribute in self.uses
        )


SEAMS = (
    Seam(
        owner=snakemake.jobs,
        name="wait_for_files",
        parameters=(
            "files",
            "latency_wait",
            "wait_for_local",
            "ignore_pipe_or_service",
            "consider_local",
        ),
        uses=(),
        replace=leave_missing_inputs_to_their_jobs,
        without="an input that vanishes during a run ends the whole run",
    ),
    Seam(
        owner=JobScheduler,
        name="_schedule_reevalutation",  # Snakemake's spelling
        parameters=("self", "delay"),
        uses=("_open_jobs",),
        replace=schedule_once,
        without="the scheduler uses more CPU as more jobs end",
    ),
    Seam(
        owner=JobScheduler,
        name="update_input_sizes",
        parameters=("self", "jobs"),
        uses=("_input_sizes",),
        replace=ask_sizes_once,
        without="the scheduler asks for the sizes of all inputs before every job",
    ),
    Seam(
        owner=DAG,
        name="check_output_mtime",
        parameters=("self", "job", "expanded_output"),
        uses=(),
        replace=date_after_inputs,
        without="a job whose input is dated in the future fails",
    ),
    Seam(
        owner=snakemake.jobs.Job,
        name="remove_existing_output",
        parameters=("self",),
        uses=(),
        replace=keep_files_of_other_runs,
        without="a cluster job that starts after its run removes products of a later run",
    ),
    Seam(
        owner=snakemake.jobs.Job,
        name="cleanup",
        parameters=("self", "skip_outputs"),
        uses=(),
        replace=keep_files_of_other_runs,
        without="a cluster job that ends after its run removes products of a later run",
    ),
    Seam(
        # Snakemake 9.27 has PersistenceBase, 9.14 has Persistence
        owner=getattr(snakemake.persistence, "PersistenceBase", None)
        or snakemake.persistence.Persistence,
        name="lock",
        parameters=("self",),
        uses=(),
        replace=explain_a_failed_lock,
        without="a full disk ends the run with a traceback",
    ),
)

_replaced: set[Callable] = set()


def adapt(seams: tuple[Seam, ...] = SEAMS, say: Callable[[str], None] = logger.warning) -> None:
    """Replace the functions of Snakemake that fit, and report the others.

    A second call changes nothing.

    Parameters
    ----------
    seams
        The functions to replace.
    say
        Called with one line for each function that is not replaced.
    """
    for seam in seams:
        function = getattr(seam.owner, seam.name, None)
        if function in _replaced:
            continue
        if not seam.fits():
            say(
                f"Snakemake {snakemake.__version__}: {seam.name} differs from the function that "
                f"rules/engine.py can replace, so it is not replaced: {seam.without}."
            )
            continue
        replacement = seam.replace(function)
        _replaced.add(replacement)
        setattr(seam.owner, seam.name, replacement)


def force(workflow: Any, paths: set[str], say: Callable[[str], None]) -> None:
    """Make this run build some files again, as ``--forcerun`` does."""

    def add():
        workflow.dag_settings.forcerun = frozenset(workflow.dag_settings.forcerun) | paths

    if not before_jobs_are_chosen(workflow, add):
        say(f"Run snakemake once with --forcerun {' '.join(sorted(paths))}")


def before_jobs_are_chosen(workflow: Any, act: Callable[[], None]) -> bool:
    """Call ``act`` when the options of the command are known, before the graph of jobs is made.

    Snakemake sets its options after it has read the rules.

    Returns
    -------
    bool
        Whether this version of Snakemake allows it. If not, ``act`` is never called.
    """
    prepare = getattr(workflow, "_prepare_dag", None)
    if prepare is None:
        return False

    @functools.wraps(prepare)
    def prepare_after(*positional, **options):
        act()
        return prepare(*positional, **options)

    workflow._prepare_dag = prepare_after
    return True


LISTED = 10
"""Largest number of files of a job that are all listed; of more files, the first three are."""


def shorten_lists(record: logging.LogRecord) -> bool:
    """Shorten long lists of files in Snakemake's messages about jobs: a filter of its logger.

    For 1,149 slides the job `all` would print each of 5,745 paths twice, `build_manifest` 2,298.
    """
    for name in ("input", "output"):
        files = getattr(record, name, None)
        if isinstance(files, list):
            setattr(record, name, _shorten(files))
    reason = getattr(record, "reason", None)
    if isinstance(reason, str):
        # as in "Missing output files: a, b; Input files updated by another job: c, d"
        record.reason = "; ".join(
            ", ".join(_shorten(part.split(", "))) for part in reason.split("; ")
        )
    return True


def _shorten(names: list[str]) -> list[str]:
    if len(names) <= LISTED:
        return names
    return [*names[:3], f"and {len(names) - 3:,} more"]


def quote_interpreter() -> None:
    """Quote ``sys.executable``, so jobs start even if the path of Python has a space.

    Snakemake puts it unquoted into the shell commands that start its scripts.
    """
    if not sys.executable.startswith("'"):
        sys.executable = shlex.quote(sys.executable)


def keep_logs_off_the_display(record: logging.LogRecord) -> bool:
    """Keep logs of failed jobs out of the progress display: a filter of the logger.

    The display would print whole logs. For a log that does not exist, because a group on a cluster
    did not reach its step, it would print a traceback. The line of the job and the summary already
    state the failure, its reason and the log.
    """
    if getattr(record, "event", None) == LogEvent.JOB_INFO:
        record.log = []
    return True


def show_lines_of_jobs_above_the_bars() -> None:
    """Print lines that jobs write to standard error above the bars of the progress display.

    Jobs inherit standard error, and the display would overwrite their lines when it redraws its
    bars. So jobs get a pipe. A thread writes their lines to ``sys.stderr``, where the display shows
    them.
    """
    terminal = os.dup(2)
    sys.stderr = open(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    source, target = os.pipe()
    os.dup2(target, 2)
    os.close(target)

    def show():
        with open(source, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                sys.stderr.write(line)

    threading.Thread(target=show, daemon=True).start()
