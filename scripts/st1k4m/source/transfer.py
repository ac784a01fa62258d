"""Download one file from the hub: resume where it stopped, verify it, try again after failures.

The hub's client resumes within one call only and does not verify bodies over plain HTTP. Therefore
this module requests the body itself, through the client's session (its endpoint, token, proxies).
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

#: HTTP statuses that may pass: the server is busy, or a gateway in front of it.
PASSING = {408, 425, 429, 500, 502, 503, 504}
#: Longest wait in seconds before another try; the hub counts requests in windows of 300 s.
LONGEST_WAIT = 600


class BadBody(Exception):
    """The bytes that arrived are not the file."""


class WrongBody(BadBody):
    """As many bytes arrived as expected, but the content is wrong: the transfer starts again."""


@dataclass(frozen=True)
class Remote:
    """A file of a dataset repository: ``OWNER/NAME``, commit, path in the repository, bytes.

    ``sha256`` is known for large files, ``oid`` (git's object id) for other files; else empty.
    """

    repo: str
    commit: str
    path: str
    bytes: int
    sha256: str = ""
    oid: str = ""

    @property
    def url(self) -> str:
        """The address from which the hub's client downloads the file."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.path, repo_type="dataset", revision=self.commit)

    @property
    def identity(self) -> str:
        """The identity of the content: its checksum or, if none is known, the commit."""
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
    """Download a file, complete and verified, or raise.

    The bytes are appended to a hidden file in the folder of ``out``; a later call resumes it, in
    this process or another one. Of two calls for the same file one waits for the other.

    Parameters
    ----------
    remote
        The file.
    out
        Its path on this machine; replaced at the end.
    tries
        Number of failed tries in a row, without a new byte, after which the download fails. A try
        that ends with a wrong checksum always counts.
    timeout
        Seconds without a byte after which a try fails.
    pause
        Seconds before the second try, doubled for each further try, unless the server states them.
    moved
        Called after each piece of the body with the bytes just received and all bytes present.

    Raises
    ------
    TransferError
        The file is not on the hub, access is refused, the disk is too small, or all tries failed.
    """
    from huggingface_hub.errors import HTTPError  # also a base class of the session's errors

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
                        "run the same command again; the bytes that arrived are kept",
                    ) from error
                wait = _wait(error, pause * 2 ** (failed - 1))
                log.warning("%s; try %d in %.0f s", _explain(error, timeout), failed + 1, wait)
                time.sleep(wait)
        part.flush()
        os.fsync(part.fileno())
        os.replace(part.name, out)


def verify(path: str | os.PathLike, remote: Remote) -> None:
    """Check a file's size and the checksum that the hub states: sha256 or git's.

    Raises
    ------
    BadBody
        They differ; the message states the expected and the found value.
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
    """Open the partial file, locked; yield None if another process finished the same transfer.

    The file's name contains the identity of the content, so bytes of another revision are never
    resumed.
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
    """Lock the partial file; wait for another process that has it, as one left by a killed run.

    Returns
    -------
    bool
        Whether it had to wait.
    """
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        log.warning("another process is fetching %s; waiting for it", place)
        fcntl.flock(part, fcntl.LOCK_EX)
        return True
    except OSError as error:  # the file system has no locks
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
    """Check the partial file; empty it if it has the full length and a wrong content."""
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
            f"{missing / 1e9:.3f} GB are left to download, but {folder} has {free / 1e9:.3f} GB "
            "free",
            "free some space, choose another --directory, or run with keep_downloads=false",
        )


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _refuse_what_stays(error: Exception, remote: Remote) -> None:
    """Raise TransferError for an answer that another try will not change."""
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
            "choose a revision that has it (with refresh=true), or list the slide under exclude",
        ) from error
    raise TransferError(
        f"{remote.path}: the hub answers HTTP {status}", "check that the hub works, then run again"
    ) from error


def _explain(error: Exception, timeout: float) -> str:
    if isinstance(error, BadBody):
        return str(error)
    if status := _status(error):
        return f"the hub answers HTTP {status}"
    if "Timeout" in type(error).__name__:
        return f"timeout: no byte in {timeout:g} s"
    return f"the transfer broke: {type(error).__name__} {error}".rstrip()


def _wait(error: Exception, otherwise: float) -> float:
    """Return the seconds to wait: as the server asks, or ``otherwise``; at most `LONGEST_WAIT`."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked = re.fullmatch(r"(\d+)", headers.get("Retry-After", ""))
    if not asked and _status(error) == 429:  # the hub's own form: "api";r=0;t=55
        asked = re.search(r";\s*t=(\d+)", headers.get("RateLimit", ""))
    return min(LONGEST_WAIT, int(asked[1]) if asked else otherwise)
