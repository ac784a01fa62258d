"""Files and folders that appear whole or not at all."""

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

#: Holds the token of the run that began last in this working directory.
RUN_FILE = Path(".snakemake/st1k4m_run")
#: Where a job finds the token of the run that it belongs to. Local jobs and those of Slurm take
#: over the environment of the command that started them.
RUN_VARIABLE = "ST1K4M_RUN"
#: Files up to this size in bytes are written through to the disk before they are put in place, so
#: that a power failure cannot leave them empty: it takes milliseconds.
DURABLE = 1 << 20


def begin_run() -> None:
    """Begin a run: from now on jobs of earlier runs put no file in place here."""
    token = uuid.uuid4().hex
    os.environ.pop(RUN_VARIABLE, None)
    write_text(RUN_FILE, token)
    os.environ[RUN_VARIABLE] = token


def join_run() -> None:
    """Let this process belong to the run that started it; without such, to the one that is on."""
    if token := _current_run():
        os.environ.setdefault(RUN_VARIABLE, token)
    ensure_run_is_on()


def ensure_run_is_on() -> None:
    """Raise `RunOverError` if another run began here after the one that this process belongs to."""
    if not run_is_on():
        raise RunOverError(
            "another run began in this folder after the one that started this job, which leaves "
            "its result out"
        )


def run_is_on() -> bool:
    """Whether no other run began here after the one that this process belongs to."""
    mine, current = os.environ.get(RUN_VARIABLE), _current_run()
    return not (mine and current) or mine == current


def _current_run() -> str:
    try:
        return RUN_FILE.read_text(encoding="utf-8")
    except OSError:
        return ""


@contextlib.contextmanager
def atomic(path: str | Path, made: Made | None = None) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and put the file in place when all went well.

    The name is one no other process uses. What a killed process left beside ``path`` is removed;
    one that still runs on this host, because its driver alone was killed, keeps its own.

    Parameters
    ----------
    path
        Where the whole file shall appear; its folder is made.
    made
        What it was made from, to be written into an HDF5 file or a JPEG.

    Yields
    ------
    Path
        Where to write. The same folder, so that the final rename is atomic.

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
    """Give a path beside ``path`` for a folder, and put the folder in place when all went well.

    As `atomic`, but a folder cannot be replaced in one call: an old one is moved aside first. So
    for a moment there may be none, and never one that is half old, or half written.

    Parameters
    ----------
    path
        Where the whole folder shall appear; its parent is made.

    Yields
    ------
    Path
        Where to make the folder; nothing is there yet.

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
    """Remove a file, or a folder with all it holds; what is not there is no error."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _name_beside(path: Path) -> Path:
    """Return a name beside ``path`` that no other process uses; remove what killed ones left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    host_here = _short_host()
    for leftover in os.scandir(path.parent):
        if leftover.name.startswith(prefix) and leftover.name.endswith(".tmp"):
            owner = leftover.name[len(prefix) : -len(".tmp")].removesuffix(".old")
            host, process, run = (*owner.split("."), "", "")[:3]
            # What a job of another run is about to put in place must not get there after this.
            if host != host_here or run != _own_run() or not _is_running(process):
                remove(leftover.path)
    return path.with_name(f"{prefix}{host_here}.{os.getpid()}.{_own_run()}.tmp")


def _own_run() -> str:
    return os.environ.get(RUN_VARIABLE, "")[:8]


def _short_host() -> str:
    """Return a name of this host that is short: it stands beside a slide's name in a file name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _make_durable(path: Path) -> None:
    if path.stat().st_size <= DURABLE:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


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
