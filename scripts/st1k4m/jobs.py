"""What every job does: its log, whole outputs, and a record of its failure.

All paths of the products are relative to the working directory of the run.
"""

import contextlib
import errno
import json
import logging
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from st1k4m.errors import SlideError

log = logging.getLogger(__name__)

PRODUCTS = {
    "fetch_counts": (),
    "fetch_coord": (),
    "fetch_image": (),
    "count_expression": ("work/expression/{slide}.h5ad",),
    "align_spots": ("work/spots/{slide}.parquet",),
    "cut_tiles": ("results/tiles/{slide}.h5", "results/tiles/{slide}.tar"),
    "build_anndata": (
        "results/anndata/{slide}.h5ad",
        "results/ledger/{slide}.parquet",
        "results/records/{slide}.json",
    ),
    "draw_slide": (
        "results/report/slides/{slide}.js",
        "results/overlay/{slide}.jpg",
        "results/report/tissue/{slide}.jpg",
        "results/report/thumbs/{slide}.jpg",
        "results/report/tiles/{slide}.jpg",
    ),
}
"""The steps of a slide in the order of the chain, and what each leaves."""

# What a step that runs anew makes stale, by the steps that made it. A fetch may serve one step only
# (the image, when a tile option changed), so it names just what every step leads to.
LATER = {
    "fetch_counts": ("build_anndata", "draw_slide"),
    "fetch_coord": ("build_anndata", "draw_slide"),
    "fetch_image": ("build_anndata", "draw_slide"),
    "count_expression": ("cut_tiles", "build_anndata", "draw_slide"),
    "align_spots": ("cut_tiles", "build_anndata", "draw_slide"),
    "cut_tiles": ("build_anndata", "draw_slide"),
    "build_anndata": ("draw_slide",),
    "draw_slide": (),
}

_DISK = {
    errno.ENOSPC: ("no space is left on the disk", "free some space, then run the same command"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then run the same command"),
    errno.EACCES: ("permission was denied", "make the file readable, or its folder writable"),
    errno.EPERM: ("permission was denied", "make the file readable, or its folder writable"),
    errno.EROFS: ("the file system is read-only", "choose another --directory"),
    errno.ENOENT: ("a file vanished while it was used", "bring the file back, then run again"),
    errno.EIO: ("the disk could not be read or written", "check the disk, then run again"),
    errno.ESTALE: ("the file server lost the file", "run the same command again"),
}


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and put the file in place when all went well.

    The name is one no other process uses. What a killed process left beside ``path`` is removed;
    one that still runs on this host, because its driver alone was killed, keeps its own.

    Parameters
    ----------
    path
        Where the whole file shall appear; its folder is made.

    Yields
    ------
    Path
        Where to write. The same folder, so that the final rename is atomic.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    for leftover in os.scandir(path.parent):
        if leftover.name.startswith(prefix) and leftover.name.endswith(".tmp"):
            host, _, process = leftover.name[len(prefix) : -len(".tmp")].rpartition(".")
            if host != socket.gethostname() or not _is_running(process):
                Path(leftover.path).unlink(missing_ok=True)
    temporary = path.with_name(f"{prefix}{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require(slide: str, kind: str, path: str) -> Path:
    """Return ``path`` if the file is there.

    Raises
    ------
    SlideError
        The dataset does not have the file, or it is gone.
    """
    if not os.path.isfile(path):
        raise SlideError(
            slide,
            f"the {kind} is missing: {path}",
            "put the file there and run again, or list the slide under exclude",
        )
    return Path(path)


@contextlib.contextmanager
def run(step: str, slide: str, log_file: str, attempt: int = 1, threads: int = 1) -> Iterator[None]:
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
            _end_if_final(failure, attempt)
            failure.unlink(missing_ok=True)
            _remove_stale_products(step, slide)
        yield
        if slide:
            _forget_failures(step, slide)
        log.info("done in %.1f s, peak memory %.0f MB", time.monotonic() - begin, _peak_mb())
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason, hint = map(_plain, _explain(error, log_file))
        log.error("failed after %.1f s, peak memory %.0f MB", time.monotonic() - begin, _peak_mb())
        if failure:  # first, for the terminal may be gone
            _record_failure(failure, slide, step, reason, hint, isinstance(error, SlideError))
        print(
            f"FAILED {slide or 'all slides'} at {step}: {reason}\n"
            f"  what to do: {hint}\n  log: {log_file}",
            file=terminal,
            flush=True,
        )
        sys.exit(1)


def failure_path(step: str, slide: str) -> Path:
    """Return where the failure of ``slide`` at ``step`` is recorded: outside the job's outputs."""
    return Path("work/failed") / step / f"{slide}.json"


def read_failure(slide: str) -> dict | None:
    """Return the record of the first step in the chain that failed for ``slide``, if any.

    Returns
    -------
    dict or None
        ``slide``, ``stage``, ``reason``, ``hint``, ``final``.
    """
    for step in PRODUCTS:
        path = failure_path(step, slide)
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def _send_output_to(log_file: str):
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


def _end_if_final(failure: Path, attempt: int) -> None:
    if attempt > 1 and failure.exists():
        known = json.loads(failure.read_text(encoding="utf-8"))
        if known["final"]:
            raise SlideError(known["slide"], known["reason"], known["hint"])


def _remove_stale_products(step: str, slide: str) -> None:
    for stale in (step, *LATER[step]):
        for product in PRODUCTS[stale]:
            Path(product.format(slide=slide)).unlink(missing_ok=True)


def _forget_failures(step: str, slide: str) -> None:
    """Remove the records of this step and of those that led here: it has all they make."""
    for earlier in PRODUCTS:
        if earlier == step or step in LATER[earlier]:
            failure_path(earlier, slide).unlink(missing_ok=True)


def _explain(error: BaseException, log_file: str) -> tuple[str, str]:
    """Return reason and hint for people; an unexpected error leaves its traceback in the log."""
    if isinstance(error, SlideError):
        log.error("%s", _plain(str(error)))
        return error.what, error.hint
    log.error("unexpected error", exc_info=error)
    if isinstance(error, MemoryError):
        hint = "run fewer jobs at once: --resources mem_mb=TOTAL, or fewer --cores"
        return "the job ran out of memory", hint
    if (number := _system_error(error)) in _DISK:
        what, hint = _DISK[number]
        named = re.search(r"\bname = '([^']+)'", str(error))  # by HDF5
        where = getattr(error, "filename", None) or (named[1] if named else error)
        return f"{what}: {where}", hint
    return (
        f"unexpected {type(error).__name__}: {error}".splitlines()[0],
        f"read {log_file}; if the data is sound, report it with this log",
    )


def _plain(text: str) -> str:
    """Cut and escape what the data may say, for it goes to people's terminals."""
    known = "".join(c for c in set(text) if not c.isprintable() and c != "\n")
    escapes = {c: c.encode("unicode_escape").decode() for c in known}
    return text.translate(str.maketrans(escapes))[:2000]


def _system_error(error: BaseException) -> int | None:
    """Return the system's error number; HDF5 often tells it only in its text, Arrow by the type."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, FileNotFoundError):
        return errno.ENOENT
    told = re.search(r"\berrno = (\d+)", str(error))
    return int(told[1]) if told else None


def _record_failure(path: Path, slide: str, step: str, reason: str, hint: str, final: bool) -> None:
    record = {"slide": slide, "stage": step, "reason": reason, "hint": hint, "final": final}
    try:
        write_text(path, json.dumps(record, indent=1))
    except OSError as error:  # a full disk: the terminal and the exit status still tell
        log.error("the failure could not be recorded: %s", error)
