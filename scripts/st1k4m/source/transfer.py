"""Fetch one file from the hub: resumed where it stopped, verified, with patience.

The hub's client resumes within one call only and does not check bodies over plain HTTP, so the
body comes by requests of our own through the client's session (its endpoint, token, proxies).
"""

import contextlib
import fcntl
import glob
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from st1k4m.errors import TransferError

log = logging.getLogger(__name__)

#: Answers that another try may change: the server is busy, or a gateway before it is.
PASSING = {408, 425, 429, 500, 502, 503, 504}
#: Longest wait in seconds before another try; the hub counts requests in windows of 300 s.
LONGEST_WAIT = 600


class BadBody(Exception):
    """What arrived is not the file."""


class WrongBody(BadBody):
    """All bytes arrived and are not the file's: nothing of them can be continued."""


@dataclass(frozen=True)
class Remote:
    """A file of a dataset repository: ``OWNER/NAME``, commit, path within, bytes.

    ``sha256`` is known of large files, ``oid``, git's name of the content, of the others; or ''.
    """

    repo: str
    commit: str
    path: str
    bytes: int
    sha256: str = ""
    oid: str = ""

    @property
    def url(self) -> str:
        """Where the hub's client looks for it."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.path, repo_type="dataset", revision=self.commit)

    @property
    def identity(self) -> str:
        """Says which content is meant: its checksum, or, where none is told, the commit."""
        return self.sha256 or self.oid or self.commit


def download(
    remote: Remote,
    out: str | os.PathLike,
    *,
    tries: int = 5,
    timeout: float = 60,
    pause: float = 2,
    moved: Callable[[int, int], None] = lambda got, have: None,
) -> None:
    """Bring a file here, whole and verified, or raise.

    The bytes gather in a hidden file beside ``out``, which a later call, in this process or
    another one, continues. Two calls at once for the same file wait for each other.

    Parameters
    ----------
    remote
        What to fetch.
    out
        Where it goes; replaced at the end.
    tries
        How many tries in a row may fail without a new byte, those that ended with a wrong body
        counting throughout.
    timeout
        Seconds without a byte after which a try counts as stalled.
    pause
        Seconds before the second try, doubled for each further one, unless the server names them.
    moved
        Told after each piece of the body: bytes just received, bytes there in all.

    Raises
    ------
    TransferError
        It is not on the hub, access is refused, the disk is too small, or all tries failed.
    """
    from huggingface_hub.errors import HTTPError  # the base of the session's own errors too

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _partial(remote, out) as part:
        if part is None:
            return
        most, failed, wrong = _size(part), 0, 0
        _check_disk(out.parent, remote.bytes - most)
        while True:
            try:
                _continue(remote, part, timeout, moved)
                _verify(part, remote)
                break
            except (HTTPError, BadBody) as error:
                _refuse_what_stays(error, remote)
                wrong += isinstance(error, WrongBody)
                failed = wrong + 1 if _size(part) > most else failed + 1
                most = 0 if isinstance(error, WrongBody) else max(most, _size(part))
                if failed >= tries:
                    raise TransferError(
                        f"{remote.path}: {_explain(error, timeout)}",
                        "run the same command again; what has arrived is kept",
                    ) from error
                wait = _wait(error, pause * 2 ** (failed - 1))
                log.warning("%s; try %d in %.0f s", _explain(error, timeout), failed + 1, wait)
                time.sleep(wait)
        part.flush()
        os.fsync(part.fileno())
        os.replace(part.name, out)


def verify(path: str | os.PathLike, remote: Remote) -> None:
    """Hold a file to its size and to the checksum that the hub tells: sha256 or git's.

    Raises
    ------
    BadBody
        They differ; the message names what was expected and found.
    """
    with open(path, "rb") as file:
        _check(file, remote)


def _check(file: BinaryIO, remote: Remote) -> None:
    found = _size(file)
    if found != remote.bytes:
        raise BadBody(f"bytes expected {remote.bytes} found {found}")
    if remote.sha256:
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != remote.sha256:
            raise BadBody(f"sha256 expected {remote.sha256} found {digest}")
    elif remote.oid:
        file.seek(0)
        blob = hashlib.sha1(b"blob %d\0" % found, usedforsecurity=False)
        digest = hashlib.file_digest(file, lambda: blob).hexdigest()
        if digest != remote.oid:
            raise BadBody(f"git blob expected {remote.oid} found {digest}")


@contextlib.contextmanager
def _partial(remote: Remote, out: Path) -> Iterator[BinaryIO | None]:
    """Open the partial file, locked; None if another process ended this very transfer meanwhile.

    Its name tells the content, so that another revision's bytes are never continued.
    """
    prefix = f".{out.name}."
    place = out.with_name(f"{prefix}{remote.identity[:16]}.part")
    for leftover in out.parent.glob(f"{glob.escape(prefix)}*.part"):
        if leftover != place:
            leftover.unlink(missing_ok=True)
    while True:
        with open(place, "ab+") as part:
            waited = _lock(part, place)
            if place.exists() and os.path.samestat(os.fstat(part.fileno()), place.stat()):
                yield part
                return
        if waited and out.exists():
            yield None
            return


def _lock(part: BinaryIO, place: Path) -> bool:
    """Wait for the only other process that may hold the file: one left by a killed run."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        log.warning("another process is fetching %s; waiting for it", place)
        fcntl.flock(part, fcntl.LOCK_EX)
        return True
    except OSError as error:  # file systems without locks
        log.info("%s cannot be locked: %s", place, error)
        return False


def _continue(
    remote: Remote, part: BinaryIO, timeout: float, moved: Callable[[int, int], None]
) -> None:
    """Request what is missing and append it."""
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers

    have = _size(part)
    if have > remote.bytes:
        have = part.truncate(0)
    if have == remote.bytes:
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", remote.url, headers=headers, timeout=timeout) as response:
        if response.status_code == 416:
            raise BadBody(f"bytes expected {remote.bytes} found {have} on the hub")
        hf_raise_for_status(response)
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", "bytes 0-"))
        if response.status_code != 206 or not start or int(start[1]) != have:
            have = part.truncate(0)
        for piece in response.iter_bytes():
            part.write(piece)
            part.flush()
            have += len(piece)
            moved(len(piece), have)
            if have > remote.bytes:
                break


def _verify(part: BinaryIO, remote: Remote) -> None:
    """Check the partial file; a body of full length that is wrong cannot be continued."""
    try:
        _check(part, remote)
    except BadBody as error:
        if _size(part) < remote.bytes:
            raise
        part.truncate(0)
        raise WrongBody(*error.args) from None


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _check_disk(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise TransferError(
            f"{missing / 1e9:.3f} GB are to come and {free / 1e9:.3f} GB are free in {folder}",
            "free some space, choose another --directory, or give keep_downloads=false",
        )


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _refuse_what_stays(error: Exception, remote: Remote) -> None:
    """Raise for an answer that no other try will change."""
    status = _status(error)
    if status is None or status in PASSING:
        return
    if status in (401, 403):
        raise TransferError(
            f"{remote.path}: the hub refuses access (HTTP {status})",
            "accept the dataset's terms on the hub and set HF_TOKEN",
        ) from error
    if status == 404:
        raise TransferError(
            f"{remote.path}: the hub has no such file at {remote.commit}",
            "take a revision that has it (and refresh=true), or list the slide under exclude",
        ) from error
    raise TransferError(
        f"{remote.path}: the hub answers HTTP {status}", "see whether the hub works, then run again"
    ) from error


def _explain(error: Exception, timeout: float) -> str:
    if isinstance(error, BadBody):
        return str(error)
    if status := _status(error):
        return f"the hub answers HTTP {status}"
    if "Timeout" in type(error).__name__:
        return f"stalled: no byte in {timeout:g} s"
    return f"the transfer broke: {type(error).__name__} {error}".rstrip()


def _wait(error: Exception, otherwise: float) -> float:
    """Seconds to wait: what the server asks for, if it does."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked = re.fullmatch(r"(\d+)", headers.get("Retry-After", ""))
    if not asked and _status(error) == 429:  # the hub's own way: "api";r=0;t=55
        asked = re.search(r";\s*t=(\d+)", headers.get("RateLimit", ""))
    return min(LONGEST_WAIT, int(asked[1]) if asked else otherwise)
