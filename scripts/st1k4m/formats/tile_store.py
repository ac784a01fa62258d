"""The tile store of a slide, ``results/tiles/{slide}.h5``.

``img``, ``coords``, ``barcode`` and the attributes are as HEST's and TRIDENT's readers expect them.
In addition the store has the results of reading the image that the AnnData and the report need.
"""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made

IMG, COORDS, BARCODE = "img", "coords", "barcode"
INSIDE, TISSUE = "inside", "tissue"
PICTURES, HIRES, LOWRES = "pictures", "hires", "lowres"
DROPPED, SPOT, REASON = "dropped", "spot", "reason"
FACTS = "facts"
SIDE, SIZE, DOWNSAMPLE = "patch_size_src", "patch_size_target", "downsample"
PIXEL_SIZE, NAME = "pixel_size", "name"

_CHUNK_BYTES = 128 * 2**10


@dataclass(frozen=True)
class Places:
    """The spots and squares of a store's tiles, in its order.

    Attributes
    ----------
    slide
        Name of the slide.
    barcodes
        The spots' ids, (n,) object: the AnnData's ``obs_names``.
    coords
        (x, y) of each square's top left corner in the image, (n, 2) int64.
    inside
        Share of each square that lies in the image, (n,) float32.
    side, size
        Side of a square in pixels of the image, and side of a tile in pixels.
    um_per_px
        Micrometres per pixel of the image; NaN if unknown.
    """

    slide: str
    barcodes: np.ndarray
    coords: np.ndarray
    inside: np.ndarray
    side: int
    size: int
    um_per_px: float

    def __len__(self) -> int:
        return len(self.barcodes)

    @property
    def attributes(self) -> dict[str, Any]:
        """The scalar values, under the names that HEST's and TRIDENT's readers use."""
        return {
            SIDE: self.side,
            SIZE: self.size,
            DOWNSAMPLE: self.side / self.size,
            PIXEL_SIZE: self.um_per_px,
            NAME: self.slide,
        }

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        """Height, width and colours of a tile."""
        return self.size, self.size, 3

    def select(self, keep: np.ndarray) -> "Places":
        """Return the places that the mask ``keep``, (n,) bool, selects."""
        parts = self.barcodes[keep], self.coords[keep], self.inside[keep]
        return Places(self.slide, *parts, self.side, self.size, self.um_per_px)


@dataclass(frozen=True)
class StoreFacts:
    """The contents of a tile store without its pixels.

    Attributes
    ----------
    tissue
        Share of tissue in each tile's square, (n,) float32, in the store's order; NaN if unknown.
    inside
        Share of the square inside the image, (n,) float32, in the store's order.
    dropped
        Reasons by id for the spots inside the image that ``cut_tiles`` dropped.
    pictures
        ``hires`` and ``lowres``, (h, w, 3) uint8 RGB.
    facts
        Facts of the step.
    """

    tissue: np.ndarray
    inside: np.ndarray
    dropped: dict[str, str]
    pictures: dict[str, np.ndarray]
    facts: dict[str, Any]


class TileStore:
    """Read the tiles of one slide.

    The file is opened on first use in each process, so a store can be handed to worker processes.

    Parameters
    ----------
    path
        The file that ``cut_tiles`` wrote, with any ``format`` except ``none``.

    Attributes
    ----------
    barcodes : list of str
        The spots' ids: the AnnData's ``obs_names``.
    coords : numpy.ndarray
        ``(n, 2)`` int64, (x, y) of each square's top left corner in the image.

    Raises
    ------
    ValueError
        The store has no tiles.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._opened: tuple[int, h5py.Dataset] | None = None
        with h5py.File(self.path) as file:
            if IMG not in file:
                raise ValueError(f"{path} has no tiles: it was made with tiles.format: none")
            self.barcodes = _read_barcodes(file)
            self.coords: np.ndarray = file[COORDS][:]

    def __len__(self) -> int:
        return len(self.barcodes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return tile ``index``, ``(h, w, 3)`` uint8 RGB."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        tile: np.ndarray = self._open()[index]
        return tile

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read several tiles; each is read once, in the order of the file.

        Parameters
        ----------
        indices
            ``(n,)`` whole numbers, in any order; negative ones count from the end.

        Returns
        -------
        numpy.ndarray
            ``(n, h, w, 3)`` uint8 RGB, in the order of ``indices``.

        Raises
        ------
        IndexError
            An index is not a whole number, or the store has no such tile.
        """
        asked = np.asarray(indices)
        if asked.ndim != 1 or (len(asked) and asked.dtype.kind not in "iu"):
            raise IndexError("tiles are read by a list of whole numbers")
        asked = asked.astype(np.int64)
        if wrong := asked[(asked < -len(self)) | (asked >= len(self))].tolist():
            raise IndexError(f"tile {wrong[0]} of {len(self)}")
        rows, place = np.unique(asked % max(len(self), 1), return_inverse=True)
        stored = self._open()
        tiles = np.empty((len(rows), *stored.shape[1:]), np.uint8)
        edges = [0, *(np.flatnonzero(np.diff(rows) > 1) + 1).tolist(), len(rows)]
        for begin, end in pairwise(edges):  # one read for each run of adjacent rows
            if end > begin:
                tiles[begin:end] = stored[rows[begin] : rows[end - 1] + 1]
        return tiles if np.array_equal(rows, asked) else tiles[place]

    def _open(self) -> h5py.Dataset:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), h5py.File(self.path)[IMG])
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


@contextlib.contextmanager
def open_tiles(path: str | Path) -> Iterator[h5py.Dataset | None]:
    """Open the stored tiles, (n, h, w, 3) uint8; None if the store has none."""
    with h5py.File(path) as file:
        yield file.get(IMG)


def read_places(path: str | Path) -> Places:
    """Read the spots and squares of a store's tiles."""
    with h5py.File(path) as file:
        return Places(
            slide=str(file.attrs[NAME]),
            barcodes=np.array(_read_barcodes(file), object),
            coords=file[COORDS][:],
            inside=file[INSIDE][:],
            side=int(file.attrs[SIDE]),
            size=int(file.attrs[SIZE]),
            um_per_px=float(file.attrs[PIXEL_SIZE]),
        )


def read_tissue(path: str | Path) -> np.ndarray:
    """Read the share of tissue in each tile's square, (n,) float32; NaN if unknown."""
    with h5py.File(path) as file:
        tissue: np.ndarray = file[TISSUE][:]
        return tissue


def read_hires(path: str | Path) -> np.ndarray:
    """Read the larger picture of the slide, (h, w, 3) uint8 RGB."""
    with h5py.File(path) as file:
        picture: np.ndarray = file[f"{PICTURES}/{HIRES}"][:]
        return picture


def read_store_facts(path: str | Path) -> StoreFacts:
    """Read the contents of a tile store without its pixels."""
    with h5py.File(path) as file:
        dropped = file[DROPPED]
        return StoreFacts(
            tissue=file[TISSUE][:],
            inside=file[INSIDE][:],
            dropped=dict(zip(dropped[SPOT].asstr()[:], dropped[REASON].asstr()[:], strict=True)),
            pictures={name: file[PICTURES][name][:] for name in (HIRES, LOWRES)},
            facts=json.loads(file.attrs[FACTS]),
        )


class TileWriter:
    """Writer of a store: first of its tiles in any order, then of all other contents."""

    def __init__(
        self, path: Path, places: Places, compression: str | None, raw: "_RawTiles", in_place: bool
    ) -> None:
        self._path, self._places, self._compression = path, places, compression
        self._raw, self._in_place = raw, in_place

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        """Write ``tiles``, (n, size, size, 3) contiguous uint8, at ``rows``, (n,) ascending."""
        self._raw.write(rows, tiles)

    def finish(
        self,
        tissue: np.ndarray,
        pictures: Mapping[str, np.ndarray],
        dropped: Mapping[str, str],
        facts: Mapping[str, Any],
        keep: np.ndarray | None = None,
    ) -> None:
        """Write the values of `StoreFacts`; with ``keep``, (n,) bool, leave out the other tiles.

        ``tissue`` has one value per kept tile.
        """
        if not self._in_place:
            keep = np.ones(len(self._places), bool) if keep is None else keep
            tiles = (self._raw.read(row) for row in np.flatnonzero(keep).tolist())
            _write_store(self._path, self._places.select(keep), self._compression, tiles)
        columns = {SPOT: list(dropped), REASON: list(dropped.values())}
        with h5py.File(self._path, "r+") as file:
            file.create_dataset(TISSUE, data=tissue, track_times=False)
            for name, picture in pictures.items():
                file.create_dataset(f"{PICTURES}/{name}", data=picture, track_times=False)
            for name, values in columns.items():
                text = np.array(values, h5py.string_dtype())
                file.create_dataset(f"{DROPPED}/{name}", data=text, track_times=False)
            file.attrs[FACTS] = json.dumps(facts)


@contextlib.contextmanager
def create(
    path: str | Path,
    places: Places,
    compression: str | None,
    *,
    all_stay: bool = True,
    made: Made | None = None,
) -> Iterator[TileWriter]:
    """Create a tile store; call `TileWriter.write` for the tiles, then `TileWriter.finish`.

    Parameters
    ----------
    path
        The store to write; it appears only if the block ends without an error.
    places
        The spots and squares of the tiles.
    compression
        ``none``, ``lzf`` or ``gzip``; None for a store that has places but no tiles.
    all_stay
        Whether `TileWriter.finish` will keep all tiles. If so, and without compression, each tile
        is written directly to its place in the store. Otherwise tiles are first written to a
        temporary file.
    made
        What the store is made from; stored in it.
    """
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(atomic(path, made))
        in_place = compression == "none" and all_stay
        if in_place:
            offset = _write_store(whole, places, compression)
            file = stack.enter_context(open(whole, "r+b"))
        else:
            offset, file = 0, stack.enter_context(tempfile.TemporaryFile(dir=whole.parent))
        raw = _RawTiles(file, offset, places.tile_shape)
        yield TileWriter(whole, places, compression, raw, in_place)


class _RawTiles:
    """Contiguous uncompressed tiles in a file, from byte ``offset`` on."""

    def __init__(self, file: BinaryIO, offset: int, shape: tuple[int, int, int]) -> None:
        self._descriptor, self._offset = file.fileno(), offset
        self._shape, self._bytes = shape, math.prod(shape)

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        """Write ``tiles`` at ``rows``, with one write for each run of adjacent rows."""
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        positions = (self._offset + rows[starts] * self._bytes).tolist()
        edges = (np.append(starts, len(rows)) * self._bytes).tolist()
        content = tiles.ravel().data
        for position, begin, end in zip(positions, edges[:-1], edges[1:], strict=True):
            while begin < end:  # pwrite may write only a part of a large piece
                written = os.pwrite(self._descriptor, content[begin:end], position)
                begin, position = begin + written, position + written

    def read(self, row: int) -> np.ndarray:
        data = os.pread(self._descriptor, self._bytes, self._offset + row * self._bytes)
        return np.frombuffer(data, np.uint8).reshape(self._shape)


def _read_barcodes(file: h5py.File) -> list[str]:
    return [name.decode() for name in file[BARCODE][:, 0]]


def _write_store(
    path: Path, places: Places, compression: str | None, tiles: Iterable[np.ndarray] = ()
) -> int:
    """Write a store; if ``compression`` is None, it has no tiles.

    Returns
    -------
    int
        The byte where uncompressed tiles begin, at which they can be written later.
    """
    names = [spot.encode() for spot in places.barcodes]
    longest = max(map(len, names), default=1)
    with h5py.File(path, "w") as file:
        offset = 0
        if compression:
            img = _create_img(file, places, compression)
            offset = img.id.get_offset() or 0
            for row, tile in enumerate(tiles):
                img[row] = tile
        file.create_dataset(COORDS, data=places.coords, track_times=False)
        barcode = np.array(names, f"S{longest}").reshape(-1, 1)
        file.create_dataset(BARCODE, data=barcode, track_times=False)
        file.create_dataset(INSIDE, data=places.inside, track_times=False)
        # HEST's readers read these attributes from the tiles, TRIDENT's from the corners
        for place in [file, *(file[name] for name in (IMG, COORDS) if name in file)]:
            place.attrs.update(places.attributes)
    return offset


def _create_img(file: h5py.File, places: Places, compression: str) -> h5py.Dataset:
    shape = (len(places), *places.tile_shape)
    if compression != "none" and len(places):
        tiles = max(1, min(len(places), _CHUNK_BYTES // math.prod(places.tile_shape)))
        chunks = (tiles, *places.tile_shape)
        return file.create_dataset(
            IMG, shape, np.uint8, chunks=chunks, compression=compression, track_times=False
        )
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # so that its place in the file is known
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    return h5py.Dataset(h5py.h5d.create(file.id, IMG.encode(), h5py.h5t.STD_U8LE, space, plist))
