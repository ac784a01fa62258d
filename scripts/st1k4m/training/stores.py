"""Read tiles of many stores, with few files open, directly into the caller's memory.

An uncompressed ``img`` is contiguous in the file, so its rows are read with ``preadv``. The HDF5
library selects rows one by one, which took 15 to 40 times as long for 256 tiles of 224 px
(bench_training). Compressed stores are read with h5py.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from st1k4m.errors import SlideError
from st1k4m.formats.tile_store import BARCODE, IMG

_MAKE_AGAIN = "run the workflow again, and open the collection again"
_BUFFERS = 512  # rows in one system call; POSIX allows 1,024


@dataclass(frozen=True)
class Store:
    """Facts about a tile store that are needed to read it.

    Attributes
    ----------
    slide
        Name of the slide.
    path
        The file.
    tiles
        Number of tiles.
    side
        Side of a tile in pixels.
    img, barcode
        Offset in bytes of the first row of ``img`` and ``barcode``; None if it is not contiguous.
    barcode_bytes
        Length of a row of ``barcode`` in bytes.
    version
        Device, inode, size in bytes and time of change (ns). It changes if the file is replaced.
    """

    slide: str
    path: str
    tiles: int
    side: int
    img: int | None
    barcode: int | None
    barcode_bytes: int
    version: tuple[int, int, int, int]

    @property
    def tile_bytes(self) -> int:
        """Size of a tile in bytes."""
        return self.side * self.side * 3


def find_store(path: str | Path, slide: str) -> Store:
    """Read the facts about a tile store.

    Raises
    ------
    SlideError
        The file is missing, or is not a tile store of this version.
    """
    path = str(path)
    try:
        # h5py's low-level interface takes half the time, and this is done for every slide
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
        if not h5py.h5o.exists_by_name(file, IMG.encode()):
            raise KeyError("it has no tiles, as with tiles.format: none")
        img, barcode = (h5py.h5d.open(file, name.encode()) for name in (IMG, BARCODE))
        shape, length = img.shape, barcode.dtype.itemsize
        if len(shape) != 4 or shape[1] != shape[2] or barcode.shape != (shape[0], 1):
            raise KeyError(f"img has the shape {shape}, barcode {barcode.shape}")
        version = _version(os.stat(path))
    except FileNotFoundError:
        raise SlideError(slide, f"{path} does not exist", _MAKE_AGAIN) from None
    except (OSError, KeyError) as error:
        what = f"{path} is not a tile store of this version of st1k4m ({_first_line(error)})"
        raise SlideError(slide, what, "run the workflow again with this version") from None
    offsets = _offset(img), _offset(barcode)
    return Store(slide, path, shape[0], shape[1], *offsets, length, version)


class OpenStores:
    """Tile stores that are opened when they are read, at most ``most`` at a time.

    Each process opens its own files, so an instance can be passed to worker processes.

    Parameters
    ----------
    most
        Largest number of open files.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._opened: OrderedDict[str, OpenStore] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict:
        return {"_most": self._most, "_opened": OrderedDict(), "_process": -1}

    def __len__(self) -> int:
        """Return the number of open files."""
        return len(self._opened)

    def open(self, store: Store) -> "OpenStore":
        """Return an open store; it may be closed when another one is opened.

        Raises
        ------
        SlideError
            The file is missing, was replaced or cannot be read.
        """
        if self._process != os.getpid():  # after a fork: the open files belong to the parent
            self._opened.clear()
            self._process = os.getpid()
        file = self._opened.pop(store.path, None)
        if file is None:
            while len(self._opened) >= self._most:
                self._opened.popitem(last=False)[1].close()
            file = OpenStore(store)
        self._opened[store.path] = file
        file.check()
        return file

    def expect(self, store: Store, first: int, count: int) -> None:
        """Announce to the system that these tiles will be read soon."""
        file = self.open(store)
        if store.img is not None and hasattr(os, "posix_fadvise"):
            begin = store.img + first * store.tile_bytes
            os.posix_fadvise(
                file.descriptor, begin, count * store.tile_bytes, os.POSIX_FADV_WILLNEED
            )


class OpenStore:
    """An open tile store; `OpenStores` makes it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._h5: h5py.File | None = None
        try:
            self.descriptor = os.open(store.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise self._error(error.strerror) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)
        if self._h5 is not None:
            self._h5.close()

    def check(self) -> None:
        """Refuse a file that was removed or replaced after `find_store`.

        Raises
        ------
        SlideError
            It was removed or replaced.
        """
        try:
            version = _version(os.stat(self._store.path))
        except OSError as error:
            raise self._error(error.strerror) from None
        if version != self._store.version:
            raise self._error("it was replaced after the collection was opened")

    def read_tiles(self, rows: np.ndarray, out: Sequence[np.ndarray]) -> None:
        """Read tiles.

        Parameters
        ----------
        rows
            (n,) int, ascending; a row may be repeated.
        out
            Destinations: n arrays of ``(side, side, 3)`` uint8, each contiguous.

        Raises
        ------
        SlideError
            The file cannot be read.
        """
        if self._store.img is None:
            self._read_through_h5py(IMG, rows, out)
        else:
            buffers = [memoryview(tile).cast("B") for tile in out]
            self._read(self._store.img, self._store.tile_bytes, rows, buffers)

    def read_barcodes(self, rows: np.ndarray) -> list[str]:
        """Read the ids of spots; ``rows`` and errors are those of `read_tiles`."""
        names = np.empty(len(rows), f"S{self._store.barcode_bytes}")
        if self._store.barcode is None:
            self._read_through_h5py(BARCODE, rows, names.reshape(-1, 1))
        else:
            size = self._store.barcode_bytes
            content = memoryview(names).cast("B")
            buffers = [content[begin : begin + size] for begin in range(0, len(content), size)]
            self._read(self._store.barcode, size, rows, buffers)
        return [name.decode() for name in names.tolist()]

    def _read(self, offset: int, size: int, rows: np.ndarray, buffers: list[memoryview]) -> None:
        """Read rows of ``size`` bytes; one call reads consecutive rows."""
        rows, begin = rows.tolist(), 0
        for end in range(1, len(rows) + 1):
            alone = end == len(rows) or rows[end] != rows[end - 1] + 1
            if alone or end - begin == _BUFFERS:
                self._read_whole(buffers[begin:end], offset + rows[begin] * size, size)
                begin = end

    def _read_whole(self, buffers: list[memoryview], position: int, size: int) -> None:
        wanted = len(buffers) * size
        try:
            count = os.preadv(self.descriptor, buffers, position)
            while 0 < count < wanted:  # a read may stop short of a large piece
                whole, part = divmod(count, size)
                rest = [buffers[whole][part:], *buffers[whole + 1 :]]
                more = os.preadv(self.descriptor, rest, position + count)
                count = count + more if more else 0
        except OSError as error:
            raise self._error(error.strerror) from None
        if count == 0 and wanted:
            raise self._error("it ends before its last tile")

    def _read_through_h5py(self, name: str, rows: np.ndarray, out: Sequence[np.ndarray]) -> None:
        try:
            if self._h5 is None:
                self._h5 = h5py.File(self._store.path)
            dataset = self._h5[name]
            for place, row in zip(out, np.asarray(rows).tolist(), strict=True):
                dataset.read_direct(place, np.s_[row])
        except (OSError, KeyError) as error:
            raise self._error(_first_line(error)) from None

    def _error(self, why: str) -> SlideError:
        store = self._store
        return SlideError(store.slide, f"{store.path} cannot be read: {why}", _MAKE_AGAIN)


def _offset(dataset: h5py.h5d.DatasetID) -> int | None:
    """Return the offset of a dataset in its file, in bytes; None if it is chunked."""
    if dataset.get_create_plist().get_layout() == h5py.h5d.CHUNKED:
        return None
    return dataset.get_offset() or 0  # a dataset without rows has no offset


def _version(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _first_line(error: BaseException) -> str:
    return str(error.args[0] if error.args else error).splitlines()[0]
