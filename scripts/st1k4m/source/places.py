"""Files where they are: in folders, gzipped, or inside archives. Standard library only.

A *place* names a file: its path, or ``ARCHIVE!/MEMBER`` for a member of a tar or zip file, which
may itself be an archive. Nothing is ever written beside the input: what a reader needs as a file of
its own is copied to a temporary folder and removed afterwards.
"""

import contextlib
import gzip
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from st1k4m.errors import SlideError

#: Stands between an archive and its member.
INSIDE = "!/"
#: Folders below folders that are searched, and files looked at: an `outs` folder has some 150.
DEEPEST, MOST = 6, 20_000
#: Bytes by which a file is recognised.
FIRST = 4096
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def is_archive(path: str) -> bool:
    """Whether a file's name is that of an archive."""
    return path.lower().endswith(_ARCHIVES)


def split(place: str) -> tuple[str, list[str]]:
    """Split a place into the path of a real file and the members to open within it, in order."""
    if INSIDE not in place or os.path.exists(place):
        return place, []
    parts = place.split(INSIDE)
    for count in range(1, len(parts)):
        path = INSIDE.join(parts[:count])
        if os.path.isfile(path):
            return path, parts[count:]
    return parts[0], parts[1:]


def name_of(place: str) -> str:
    """Return the last part of a place, without ``.gz``."""
    name = place.rpartition("/")[2]
    return name[:-3] if name.lower().endswith(".gz") and not is_archive(name) else name


def list_places(root: str, prefix: str = "") -> dict[str, int]:
    """List all files below a folder, or in an archive, with their sizes in bytes.

    Archives in a folder are looked into as well, and so are archives in archives. Hidden files and
    links that lead nowhere are left out.

    Parameters
    ----------
    root
        A folder, or an archive.
    prefix
        Only files that have a part of their path, below ``root``, that begins like this.

    Returns
    -------
    dict
        Size by place, in sorted order of places. Of compressed files it is the compressed size;
        of members of an archive the size in it.

    Raises
    ------
    OSError, ValueError
        It cannot be read; an archive is broken; there are more than `MOST` files.
    """
    found: dict[str, int] = {}
    if os.path.isdir(root):
        seen: set[str] = set()
        for folder, folders, names in os.walk(root, onerror=_raise, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link to a folder above, or to one that was there already
                folders[:] = []
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if folder[len(root) :].count(os.sep) >= DEEPEST:
                folders[:] = []
            for name in names:
                path = os.path.join(folder, name)
                if name.startswith(".") or not os.path.isfile(path):
                    continue
                found[path] = os.path.getsize(path)
                if len(found) > MOST:
                    raise ValueError(f"{root} holds more than {MOST:,} files")
    else:
        found[root] = os.path.getsize(root)

    def wanted(place: str) -> bool:
        parts = place[len(root) :].replace(INSIDE, "/").split("/")
        return any(part.startswith(prefix) for part in parts if part)

    for path in [path for path in found if is_archive(path)]:
        # An archive whose own name has the prefix is that sample's; else its members may have it.
        found |= _list_archive(path)
    return {place: found[place] for place in sorted(found) if not prefix or wanted(place)}


def _raise(error: OSError) -> None:
    raise error


def _list_archive(path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        with open(path, "rb") as file:
            _list_members(file, path, found)
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as an archive ({error})") from error
    except EOFError as error:
        raise ValueError(f"{path} cannot be read as an archive: it is cut off") from error
    return found


def _list_members(file: BinaryIO, place: str, found: dict[str, int]) -> None:
    if _peek(file)[:2] == b"PK":
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                _note_member(
                    place,
                    member.filename,
                    member.file_size,
                    found,
                    lambda m=member: archive.open(m),
                )
        return
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if member.isfile():
                _note_member(
                    place,
                    member.name,
                    member.size,
                    found,
                    lambda m=member: io.BufferedReader(_Member(archive.extractfile(m))),
                )


def _note_member(place: str, name: str, size: int, found: dict[str, int], opened) -> None:
    if name.endswith("/") or any(part.startswith("._") for part in name.split("/")):
        return
    inner = f"{place}{INSIDE}{name}"
    found[inner] = size
    if len(found) > MOST:
        raise ValueError(f"{place} holds more than {MOST:,} files")
    if is_archive(name) and place.count(INSIDE) < 2:
        with opened() as file:
            _list_members(file, inner, found)


@contextlib.contextmanager
def open_place(place: str, unzip: bool = True) -> Iterator[BinaryIO]:
    """Open a file for reading from its beginning to its end; a gzipped one gives its content.

    Whether it is gzipped is decided by its first bytes, not by its name.

    Parameters
    ----------
    place
        See above.
    unzip
        False gives the bytes as they are stored.

    Yields
    ------
    BinaryIO
        It may not be able to seek.

    Raises
    ------
    FileNotFoundError
        There is no such file or member.
    ValueError
        An archive on the way is broken.
    """
    path, members = split(place)
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(open(path, "rb"))
        try:
            for member in members:
                file = stack.enter_context(_open_member(file, member))
            if unzip and _peek(file)[:2] == b"\x1f\x8b":
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            yield file
        except _BROKEN as error:
            raise ValueError(f"{place} cannot be unpacked ({error})") from error
        except EOFError as error:
            raise ValueError(f"{place} is cut off") from error


class _Member(io.RawIOBase):
    """A member of a tar file that is read as a stream; it cannot seek, and says so."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


@contextlib.contextmanager
def _open_member(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    if _peek(file)[:2] == b"PK":
        with zipfile.ZipFile(file) as archive:
            try:
                member = archive.open(name)
            except KeyError:
                raise FileNotFoundError(f"the archive has no member {name}") from None
            with member:
                yield member
        return
    with tarfile.open(fileobj=file, mode="r|*") as archive:  # one pass, up to the member
        for member in archive:
            if member.name == name and member.isfile():
                yield io.BufferedReader(_Member(archive.extractfile(member)))
                return
    raise FileNotFoundError(f"the archive has no member {name}")


def _peek(file: BinaryIO) -> bytes:
    """Return the next bytes without moving on; all that is opened here can do that."""
    return file.peek(8)[:8]


def first_bytes(place: str, count: int = FIRST) -> bytes:
    """Return the first bytes of a file's content, fewer where it is shorter."""
    with open_place(place) as file:
        return file.read(count)


@contextlib.contextmanager
def at_hand(slide: str, place: str, folder: str | os.PathLike) -> Iterator[Path]:
    """Give a path from which a file's content can be read at random.

    That is the file itself, or a copy in a new folder below ``folder`` while it is gzipped or
    inside an archive; the copy is removed afterwards.

    Raises
    ------
    SlideError
        The file is missing, or the archive that holds it is broken.
    """
    with contextlib.ExitStack() as stack:
        try:
            path, members = split(place)
            if not members:
                with open(path, "rb") as file:
                    members = _peek(file)[:2] == b"\x1f\x8b"
            if members:
                os.makedirs(folder, exist_ok=True)
                copies = tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked.")
                path = Path(stack.enter_context(copies), name_of(place))
                with open_place(place) as file, path.open("wb") as out:
                    shutil.copyfileobj(file, out, 1 << 20)
        except FileNotFoundError as error:
            raise missing(slide, place) from error
        except ValueError as error:
            raise SlideError(slide, str(error), "copy or download the file again") from error
        yield Path(path)


def missing(slide: str, place: str) -> SlideError:
    """Return the error for a file that is not where it was when the catalogue was made."""
    return SlideError(
        slide,
        f"there is no file {place}",
        "put it back, or run with refresh=true after files were moved",
    )
