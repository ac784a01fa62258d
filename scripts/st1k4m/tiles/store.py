"""The tiles of a slide in one HDF5 file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from st1k4m.tiles.squares import Squares


class TileStore:
    """Read the tiles of one slide.

    The file is opened on first use in each process, so a store can be handed to worker processes.

    Parameters
    ----------
    path
        What :func:`cut_tiles` wrote with any ``format`` but ``none``.

    Attributes
    ----------
    barcodes : list of str
        The spots' ids: the AnnData's ``obs_names``.
    coords : numpy.ndarray
        ``(n, 2)`` int64, (x, y) of each square's top left corner in the image.

    Raises
    ------
    ValueError
        The store holds no tiles.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._opened: tuple[int, h5py.Dataset] | None = None
        with h5py.File(self.path) as file:
            if "img" not in file:
                raise ValueError(f"{path} holds no tiles: it was made with tiles.format: none")
            self.barcodes = [name.decode() for name in file["barcode"][:, 0]]
            self.coords = file["coords"][:]

    def __len__(self) -> int:
        return len(self.barcodes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return tile ``index``, ``(h, w, 3)`` uint8 RGB."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), h5py.File(self.path)["img"])
        return self._opened[1][index]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None}


class _RawTiles:
    """Tiles one after the other in a file, from ``offset`` on."""

    def __init__(self, file: BinaryIO, offset: int, squares: Squares) -> None:
        self._descriptor, self._offset = file.fileno(), offset
        self._shape, self._bytes = squares.tile_shape, squares.tile_bytes

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        """Put ``tiles`` at ``rows``; neighbours go in one piece."""
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        positions = (self._offset + rows[starts] * self._bytes).tolist()
        edges = (np.append(starts, len(rows)) * self._bytes).tolist()
        content = memoryview(tiles).cast("B")
        for position, begin, end in zip(positions, edges[:-1], edges[1:], strict=True):
            while begin < end:  # a write may stop short of a large piece
                written = os.pwrite(self._descriptor, content[begin:end], position)
                begin, position = begin + written, position + written

    def read(self, row: int) -> np.ndarray:
        data = os.pread(self._descriptor, self._bytes, self._offset + int(row) * self._bytes)
        return np.frombuffer(data, np.uint8).reshape(self._shape)


@dataclass
class StoreFacts:
    """What a tile store says beside its pixels.

    Attributes
    ----------
    tissue
        Share of tissue in each tile's square, float32, in the store's order.
    inside
        Share of the square inside the image, float32, likewise.
    dropped
        Reason by id of the spots that ``cut_tiles`` was given and left out, for another reason
        than lying outside the image.
    pictures
        ``hires`` and ``lowres``, uint8 RGB.
    facts
        Of the step.
    """

    tissue: np.ndarray
    inside: np.ndarray
    dropped: dict[str, str]
    pictures: dict[str, np.ndarray]
    facts: dict


def read_tiles(tiles: str | Path) -> StoreFacts:
    """Read what a tile store says beside its pixels."""
    with h5py.File(tiles) as file:
        dropped = file["dropped"]
        return StoreFacts(
            tissue=file["tissue"][:],
            inside=file["inside"][:],
            dropped=dict(
                zip(dropped["spot"].asstr()[:], dropped["reason"].asstr()[:], strict=True)
            ),
            pictures={name: file["pictures"][name][:] for name in ("hires", "lowres")},
            facts=json.loads(file.attrs["facts"]),
        )
