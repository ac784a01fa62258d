"""Write files and folders whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from st1k4m.errors import RunOverError, SlideError
from st1k4m.run.products import stamp
from st1k4m.run.provenance import Made

#: File with the token of the run that began last in this working directory.
RUN_FILE = Path(".snakemake/st1k4m_run")
#: Environment variable with the token of the run that a job belongs to. Local jobs and Slurm jobs
#: inherit the environment of the command that started them.
RUN_VARIABLE = "ST1K4M_RUN"
#: Files up to this size in bytes are flushed to the disk before they are put in place, which takes
#: milliseconds. Otherwise a power failure could leave them empty.
DURABLE = 1 << 20


def begin_run() -> None:
    """Begin a run in this folder: jobs of earlier runs put no more files in place."""
    token = uuid.uuid4().hex
    os.environ.pop(RUN_VARIABLE, None)
    write_text(RUN_FILE, token)
    os.environ[RUN_VARIABLE] = token


def join_run() -> None:
    """Let this process belong to the run that started it, else to the current run.

    Raises
    ------
    RunOverError
        Another run began after the run that started this process.
    """
    if token := _current_run():
        os.environ.setdefault(RUN_VARIABLE, token)
    ensure_run_is_on()


def ensure_run_is_on() -> None:
    """Raise `RunOverError` if another run began here after the one that this process belongs to."""
    if not run_is_on():
        raise RunOverError(
            "another run began in this folder after the run that started this job, so the result "
            "of this job is not used"
        )


def run_is_on() -> bool:
    """Return whether no other run began here after the one that this process belongs to."""
    mine, current = os.environ.get(RUN_VARIABLE), _current_run()
    return not (mine and current) or mine == current


def _current_run() -> str:
    try:
        return RUN_FILE.read_text(encoding="utf-8")
    except OSError:
        return ""


@contextlib.contextmanager
def atomic(path: str | Path, made: Made | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` if no error was raised.

    No other process uses the temporary name. Temporary files of ``path`` that killed processes
    left are removed. A process that still runs on this host, because only its driver was killed,
    keeps its temporary file.

    Parameters
    ----------
    path
        Path of the complete file; its folder is made.
    made
        What the file was made from. It is written into the file, which is HDF5 or JPEG.

    Yields
    ------
    Path
        The temporary path, in the same folder because the rename must be atomic.

    Raises
    ------
    RunOverError
        Another run began meanwhile; the file is not put in place.
    """
    path = Path(path)
    temporary = _name_beside(path)
    try:
        yield temporary
        if made:
            stamp(temporary, path.suffix, made)
        _make_durable(temporary)
        ensure_run_is_on()
        try:
            os.replace(temporary, path)
        except FileNotFoundError:
            ensure_run_is_on()  # a job of a later run has removed it
            raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a folder; rename it to ``path`` if no error was raised.

    It works like `atomic`, but a folder cannot be replaced in one call. The old folder is renamed
    first, so for a moment the folder may be missing. It is never a mix of old and new files.

    Parameters
    ----------
    path
        Path of the complete folder; its parent is made.

    Yields
    ------
    Path
        The temporary path, which does not exist yet.

    Raises
    ------
    RunOverError
        Another run began meanwhile; the folder is not put in place.
    """
    path = Path(path)
    temporary = _name_beside(path)
    old = temporary.with_name(f"{temporary.name.removesuffix('.tmp')}.old.tmp")
    try:
        yield temporary
        ensure_run_is_on()
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
    finally:
        for folder in (temporary, old):
            remove(folder)


def remove(path: str | Path) -> None:
    """Remove a file, or a folder with its content. A missing path is not an error."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _name_beside(path: Path) -> Path:
    """Return a path in the same folder that no other process uses; remove those of killed ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    host_here = _short_host()
    for leftover in os.scandir(path.parent):
        if leftover.name.startswith(prefix) and leftover.name.endswith(".tmp"):
            owner = leftover.name[len(prefix) : -len(".tmp")].removesuffix(".old")
            host, process, run = (*owner.split("."), "", "")[:3]
            # A job of another run must not put its file in place after this.
            if host != host_here or run != _own_run() or not _is_running(process):
                remove(leftover.path)
    return path.with_name(f"{prefix}{host_here}.{os.getpid()}.{_own_run()}.tmp")


def _own_run() -> str:
    return os.environ.get(RUN_VARIABLE, "")[:8]


def _short_host() -> str:
    """Return a short name of this host, because a file name has the slide's name too."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _make_durable(path: Path) -> None:
    if path.stat().st_size <= DURABLE:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:  # a process of another user
        return True
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require(slide: str, kind: str, path: str) -> Path:
    """Return ``path`` if the file exists.

    Raises
    ------
    SlideError
        The dataset does not have the file, or it was removed.
    """
    if not os.path.isfile(path):
        raise SlideError(
            slide,
            f"the {kind} is missing: {path}",
            "put the file there and run again, or list the slide under exclude",
        )
    return Path(path)
