"""Files that appear whole or not at all."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from st1k4m.errors import SlideError


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
