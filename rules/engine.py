"""Where Snakemake 9 itself limits a run over many slides: seven of its functions are replaced.

Each replacement checks first that Snakemake still has the function that it was written for: its
name, its parameters, and the attributes that the replacement uses. Where one of them differs, that
function is left alone and the log says so once: the run is then slower, or ends at the first lost
input, but is as correct as before.

All that is done here holds for the whole process. A workflow that takes this one in with ``module``
keeps its Snakemake as it is: rules/common.smk loads this file only where ours is the main workflow.

Tried with Snakemake 9.14.0 and 9.27.1. ``tests/benchmarks/bench_engine.py`` measures what each is
worth; docs/upstream.md reports them to Snakemake.
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
    """Let an input that vanished since the run began fail its own job, which names it.

    Snakemake would end the whole run, without calling ``onerror``. Its waiting stays as it is.
    Worth: one image lost during a run over two slides costs that slide; without the replacement the
    run ends, the other slide is not built, and there is neither manifest nor report.
    """

    @functools.wraps(wait_for_files)
    async def wait(files, *positional, **options):
        try:
            await wait_for_files(files, *positional, **options)
        except OSError:
            # Snakemake gives the first of these for inputs alone, the second for outputs alone.
            if "consider_local" not in options or "ignore_pipe_or_service" in options:
                raise

    return wait


def schedule_once(schedule_later: Callable) -> Callable:
    """Keep one timer for the scheduler's next pass instead of one more after every pass.

    After each pass Snakemake starts a timer for the next one. Every job that ends adds a pass, and
    so one more timer that never stops: passes per second grow with the jobs that have ended.
    Worth: the driver of 400 chains of two jobs used 5.5 CPU seconds without it, 4.5 with it.
    """

    @functools.wraps(schedule_later)
    def later(scheduler, delay):
        due = time.monotonic() + delay
        if due >= getattr(scheduler, "_next_pass", math.inf):
            return  # the timer that is running ends no later
        scheduler._next_pass = due

        def wake():
            scheduler._next_pass = math.inf  # first: a request from now on needs its own timer
            scheduler._open_jobs.release()

        threading.Timer(delay, wake).start()

    return later


def ask_sizes_once(update_input_sizes: Callable) -> Callable:
    """Ask for the size of each input once instead of in every pass of the scheduler.

    The scheduler prefers jobs with large inputs. In every pass Snakemake asks the file system for
    every input of every job that is ready.
    Worth: 5.4 CPU seconds without it, 4.5 with it, on the same chains; 7.0 without both.
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
    """Date what was made after what was read, where the clock of a file server runs ahead.

    Snakemake dates every output now, and then fails the job whose input is dated later.
    Worth: a file dated 90 s in the future fails its slide in every run.
    """

    @functools.wraps(check_output_mtime)
    async def check(dag, job, expanded_output):
        dates = [os.stat(path).st_mtime_ns for path in job.input if os.path.exists(path)]
        for path in expanded_output:
            stamp = os.path.join(path, ".snakemake_timestamp")  # the date of a folder
            dated = stamp if os.path.exists(stamp) else path
            if dates and os.path.exists(dated) and os.stat(dated).st_mtime_ns < max(dates):
                os.utime(dated, ns=(max(dates), max(dates)))
        await check_output_mtime(dag, job, expanded_output)

    return check


def keep_files_of_other_runs(remove: Callable) -> Callable:
    """Let a process of an earlier run remove no outputs, which by now can be those of another run.

    Snakemake removes a job's outputs before it starts and, within a job on a cluster, if it failed.
    Worth: cluster jobs that outlive a killed driver would remove products of the run after it.
    """
    from st1k4m.run.outputs import run_is_on

    @functools.wraps(remove)
    async def keep(job, *positional, **options):
        if run_is_on():
            await remove(job, *positional, **options)

    return keep


def say_that_no_lock_can_be_had(lock: Callable) -> Callable:
    """Say in a sentence that the working directory cannot be locked, where the disk is full.

    Worth: without it a full disk ends in a traceback.
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
        The module or class that holds the function.
    name
        Its name there.
    parameters
        The names of its parameters, as they must be.
    uses
        Attributes that ``owner.__init__`` must set, for the replacement uses them.
    replace
        Takes the function, returns its replacement.
    without
        What the log says is the case where the function is left alone.
    """

    owner: Any
    name: str
    parameters: tuple[str, ...]
    uses: tuple[str, ...]
    replace: Callable[[Callable], Callable]
    without: str

    def fits(self) -> bool:
        """Whether Snakemake has the function that the replacement was written for."""
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
        # the first is Snakemake 9.27's
        owner=getattr(snakemake.persistence, "PersistenceBase", None)
        or snakemake.persistence.Persistence,
        name="lock",
        parameters=("self",),
        uses=(),
        replace=say_that_no_lock_can_be_had,
        without="a full disk ends in a traceback",
    ),
)

_replaced: set[Callable] = set()


def adapt(seams: tuple[Seam, ...] = SEAMS, say: Callable[[str], None] = logger.warning) -> None:
    """Replace the functions of Snakemake that are the ones known here; say which are not.

    Calling it again changes nothing.

    Parameters
    ----------
    seams
        The functions to replace.
    say
        Called with one line for each function that is left alone.
    """
    for seam in seams:
        function = getattr(seam.owner, seam.name, None)
        if function in _replaced:
            continue
        if not seam.fits():
            say(
                f"Snakemake {snakemake.__version__} has another {seam.name} than the one known to "
                f"rules/engine.py, which leaves it alone: {seam.without}."
            )
            continue
        replacement = seam.replace(function)
        _replaced.add(replacement)
        setattr(seam.owner, seam.name, replacement)


def force(workflow: Any, paths: set[str], say: Callable[[str], None]) -> None:
    """Let this run make some files again, as ``--forcerun`` does."""

    def add():
        workflow.dag_settings.forcerun = frozenset(workflow.dag_settings.forcerun) | paths

    if not before_jobs_are_chosen(workflow, add):
        say(f"Run it once with --forcerun {' '.join(sorted(paths))}")


def before_jobs_are_chosen(workflow: Any, act: Callable[[], None]) -> bool:
    """Call ``act`` when the options of the command are known, before the graph of jobs is made.

    Snakemake sets its options after it has read the rules.

    Returns
    -------
    bool
        Whether this Snakemake lets us: else ``act`` is never called.
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
"""Files of a job that terminal and log list in full; of more only the first three."""


def shorten_lists(record: logging.LogRecord) -> bool:
    """Shorten the long lists of files in what Snakemake says of a job: a filter of its logger.

    The job `all` of 1,149 slides would print each of 5,745 paths twice, `build_manifest` 2,298.
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
    """Let jobs start where the path of Python has a space, for Snakemake does not quote it.

    It puts ``sys.executable`` unquoted into the shell commands that start its scripts.
    """
    if not sys.executable.startswith("'"):
        sys.executable = shlex.quote(sys.executable)


def keep_logs_off_the_display(record: logging.LogRecord) -> bool:
    """Let the progress display not print the log of a job that failed: a filter of the logger.

    It would print whole logs, and a traceback of its own for one that is not there: that of a step
    which its group on a cluster did not reach. What failed, why and which log says so is in the
    line of the job itself, and again in the summary.
    """
    if getattr(record, "event", None) == LogEvent.JOB_INFO:
        record.log = []
    return True


def show_lines_of_jobs_above_the_bars() -> None:
    """Print what jobs write to the terminal through the progress display, which redraws its bars.

    Jobs inherit standard error; a line that they write themselves is cut by the next redrawing. So
    they get a pipe, and a thread hands each line to ``sys.stderr``, which the display watches.
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
