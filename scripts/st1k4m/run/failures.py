"""Failures of a slide's job: the failure record, its reason and its hint."""

import errno
import json
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from st1k4m.errors import ConfigError, SlideError, StaleProductError
from st1k4m.run.outputs import ensure_run_is_on, remove, write_text
from st1k4m.run.products import is_damaged
from st1k4m.run.steps import PRODUCTS, STALE_AFTER
from st1k4m.run.text import escape

log = logging.getLogger(__name__)

_DISK = {
    errno.ENOSPC: ("no space is left on the disk", "free some space, then run the same command"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then run the same command"),
    errno.EACCES: ("permission was denied", "make the file readable, or its folder writable"),
    errno.EPERM: ("permission was denied", "make the file readable, or its folder writable"),
    errno.EROFS: ("the file system is read-only", "choose another --directory"),
    errno.ENOENT: ("a file vanished while it was used", "bring the file back, then run again"),
    errno.EFBIG: (
        "a file grew larger than the file system or the limit of the user allows",
        "raise the limit (ulimit -f), or choose another --directory",
    ),
    errno.EIO: ("the disk could not be read or written", "check the disk, then run again"),
    errno.ESTALE: ("the file server lost the file", "run the same command again"),
}


def failure_path(step: str, slide: str) -> Path:
    """Return the path of the failure record of ``slide`` at ``step``.

    It is not an output of the job, because Snakemake removes the outputs of a failed job.
    """
    return Path("work/failed") / step / f"{slide}.json"


def read_failure(slide: str) -> dict[str, Any] | None:
    """Return the record of the first step in the chain that failed for ``slide``, if any.

    Returns
    -------
    dict or None
        ``slide``, ``stage``, ``reason``, ``hint``, ``final``.
    """
    for step in PRODUCTS:
        if failure := _read(failure_path(step, slide)):
            return failure
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """Read one record. A damaged one (after a power failure) is removed, with a warning."""
    try:
        failure = json.loads(path.read_text(encoding="utf-8"))
        return {
            "slide": path.name.removesuffix(".json"),
            **{key: failure[key] for key in ("stage", "reason", "hint")},
            "final": bool(failure.get("final")),
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        log.warning("%s is damaged, so it is ignored and removed", path)
        path.unlink(missing_ok=True)
        return None


def end_if_final(failure: Path, attempt: int) -> None:
    """Raise the recorded failure again in a retry if it is final: bad data is not tried twice."""
    known = _read(failure) if attempt > 1 else None
    if known and known["final"]:
        raise SlideError(known["slide"], known["reason"], known["hint"])


def remove_stale_products(step: str, slide: str) -> None:
    """Remove the slide's products of this step and of all later ones.

    Raises
    ------
    RunOverError
        Another run began, perhaps while this process was stopped. The remaining products belong
        to that run.
    """
    for stale in (step, *STALE_AFTER[step]):
        for product in PRODUCTS[stale]:
            path = product.format(slide=slide)
            if os.path.lexists(path):
                ensure_run_is_on()
                remove(path)


def forget_failures(step: str, slide: str) -> None:
    """Remove the failure records of this step and of all steps before it: they succeeded."""
    for earlier in PRODUCTS:
        if earlier == step or step in STALE_AFTER[earlier]:
            failure_path(earlier, slide).unlink(missing_ok=True)


def explain(error: BaseException, log_file: str, reads: Iterable[str] = ()) -> tuple[str, str]:
    """Return the reason and the hint of a failure; log the traceback of an unexpected error.

    ``reads`` are the products that the job reads. If one of them is damaged, it is the reason. It
    is removed, and the same command then makes it again.
    """
    if isinstance(error, SlideError):
        log.error("%s", escape(str(error)))
        if isinstance(error, StaleProductError):
            Path(error.path).unlink(missing_ok=True)
        return error.what, error.hint
    if isinstance(error, ConfigError):
        log.error("%s", escape(str(error)))
        return str(error), "correct it and run the same command again"
    log.error("unexpected error", exc_info=error)
    if damaged := [path for path in reads if is_damaged(path)]:
        for path in damaged:
            Path(path).unlink(missing_ok=True)
        return (
            f"damaged, because it cannot be opened: {', '.join(damaged)}",
            "it was removed: run the same command again",
        )
    if isinstance(error, MemoryError):
        hint = "run fewer jobs at once: --resources mem_mb=TOTAL, or fewer --cores"
        return "the job ran out of memory", hint
    if (number := _system_error(error)) in _DISK:
        what, hint = _DISK[number]
        named = re.search(r"\bname = '([^']+)'", str(error))  # in the message of HDF5
        where = getattr(error, "filename", None) or (named[1] if named else error)
        return f"{what}: {where}", hint
    return (
        f"unexpected {type(error).__name__}: {error}".splitlines()[0],
        f"read {log_file}; if the data is correct, report the error with this log",
    )


def _system_error(error: BaseException) -> int | None:
    """Return the system's error number.

    HDF5 often gives it only in the message. Arrow gives only the type of the exception.
    """
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, FileNotFoundError):
        return errno.ENOENT
    found = re.search(r"\berrno = (\d+)", str(error))
    return int(found[1]) if found else None


def record_failure(path: Path, slide: str, step: str, reason: str, hint: str, final: bool) -> None:
    """Write the failure record of a slide's job."""
    record = {"slide": slide, "stage": step, "reason": reason, "hint": hint, "final": final}
    try:
        write_text(path, json.dumps(record, indent=1))
    except OSError as error:  # a full disk: the terminal and the exit status still show the failure
        log.error("the failure could not be recorded: %s", error)
