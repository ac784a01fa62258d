"""Read files in folders and archives, gzipped or not. Standard library only.

A *place* names a file: its path, or ``ARCHIVE!/MEMBER`` for a member of a tar or zip file; a member
may be an archive too. Nothing is written to the folders of the input: if a reader needs a member as
a file, it gets a copy in a temporary folder, which is removed afterwards.
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

#: Separates an archive from its member.
INSIDE = "!/"
#: Depth of folders that is searched, and number of files: an `outs` folder has about 150.
DEEPEST, MOST = 6, 20_000
#: Number of first bytes that are enough to recognise a file.
FIRST = 4096
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def is_archive(path: str) -> bool:
    """Return whether a file's name is the name of an archive."""
    return path.lower().endswith(_ARCHIVES)


def split(place: str) -> tuple[str, list[str]]:
    """Split a place into the path of a file on disk and the members to open in it, in order."""
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

    Archives in a folder are listed as well, and so are archives in archives. Hidden files and
    broken links are left out.

    Parameters
    ----------
    root
        A folder, or an archive.
    prefix
        Keep only files whose path below ``root`` has a part with this prefix.

    Returns
    -------
    dict
        Size by place, in sorted order of places. The size of a compressed file is its compressed
        size; the size of an archive's member is its size in the archive.

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
            if real in seen:  # a link to a folder that was already listed
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
                    raise ValueError(f"{root} has more than {MOST:,} files")
    else:
        found[root] = os.path.getsize(root)

    def wanted(place: str) -> bool:
        parts = place[len(root) :].replace(INSIDE, "/").split("/")
        return any(part.startswith(prefix) for part in parts if part)

    for path in [path for path in found if is_archive(path)]:
        # The prefix is in the name of the archive, or in the names of its members.
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
        raise ValueError(f"{path} cannot be read as an archive: it is truncated") from error
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
        raise ValueError(f"{place} has more than {MOST:,} files")
    if is_archive(name) and place.count(INSIDE) < 2:
        with opened() as file:
            _list_members(file, inner, found)


@contextlib.contextmanager
def open_place(place: str, unzip: bool = True) -> Iterator[BinaryIO]:
    """Open a file for reading from its beginning to its end; decompress a gzipped file.

    A gzipped file is recognised by its first bytes, not by its name.

    Parameters
    ----------
    place
        The file, see the module.
    unzip
        False to read the bytes as they are stored.

    Yields
    ------
    BinaryIO
        A stream that may not be able to seek.

    Raises
    ------
    FileNotFoundError
        There is no such file or member.
    ValueError
        An archive or the gzipped file is broken.
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
            raise ValueError(f"{place} is truncated") from error


class _Member(io.RawIOBase):
    """A member of a tar file that is read as a stream, as a raw stream that cannot seek."""

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
    with tarfile.open(fileobj=file, mode="r|*") as archive:  # reads up to the member, once
        for member in archive:
            if member.name == name and member.isfile():
                yield io.BufferedReader(_Member(archive.extractfile(member)))
                return
    raise FileNotFoundError(f"the archive has no member {name}")


def _peek(file: BinaryIO) -> bytes:
    """Return the next bytes without moving the position; every stream here has ``peek``."""
    return file.peek(8)[:8]


def first_bytes(place: str, count: int = FIRST) -> bytes:
    """Return the first ``count`` bytes of a file's content, fewer if it is shorter."""
    with open_place(place) as file:
        return file.read(count)


@contextlib.contextmanager
def at_hand(slide: str, place: str, folder: str | os.PathLike) -> Iterator[Path]:
    """Provide a path from which a file's content can be read with random access.

    It is the path of the file itself, or of a copy in a new folder below ``folder`` if the file is
    gzipped or inside an archive. The copy is removed afterwards.

    Raises
    ------
    SlideError
        The file is missing, or its archive is broken.
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
    """Return the error for a file that existed when the catalogue was made and is now missing."""
    return SlideError(
        slide,
        f"there is no file {place}",
        "put it back, or, if files were moved, run with refresh=true",
    )
