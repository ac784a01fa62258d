"""Cut squares out of an image that passes in bands of rows."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided

from st1k4m.tiles.squares import Squares

_BATCH_BYTES = 4 * 2**20
_WINDOW_BYTES = 32 * 2**20


class Window:
    """The last rows of the image, from which squares are cut as soon as they are complete.

    Parameters
    ----------
    squares
        The squares to cut.
    width, height
        Size of the image, pixels.
    fill
        RGB colour outside the image, 0 to 255.
    """

    def __init__(self, squares: Squares, width: int, height: int, fill: Sequence[int]) -> None:
        self._squares = squares
        self._order = np.argsort(squares.top, kind="stable")
        self._bottom = np.minimum(squares.top[self._order] + squares.side, height)
        self._cut = 0  # number of squares cut so far, in that order
        self._rows = np.empty((0, width, 3), np.uint8)
        self._first = self._end = 0  # the image rows held
        self._fill = np.array(fill, np.uint8)

    def feed(self, band: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Add rows of the image, (h, width, 3) uint8; yield the squares that they complete.

        Yields
        ------
        rows
            Rows of the store.
        tiles
            ``(n, size, size, 3)`` uint8.
        """
        self._append(band)
        complete = np.searchsorted(self._bottom, self._end, side="right")
        batch = max(1, _BATCH_BYTES // (self._squares.side**2 * 3))
        for begin in range(self._cut, complete, batch):
            rows = self._order[begin : min(begin + batch, complete)]
            yield rows, self._take(rows)
        self._cut = complete

    def _append(self, band: np.ndarray) -> None:
        held = self._end - self._first
        if held + len(band) > len(self._rows):
            needed = self._end
            if self._cut < len(self._order):
                needed = max(self._squares.top[self._order[self._cut]], self._first)
            still = max(0, self._end - needed)
            kept = self._rows[held - still : held]
            if still + len(band) > len(self._rows):
                room = _WINDOW_BYTES // band[0].nbytes
                self._rows = np.empty((max(still + len(band), room), *band.shape[1:]), np.uint8)
            self._rows[:still] = kept
            self._first, held = self._end - still, still
        self._rows[held : held + len(band)] = band
        self._end += len(band)

    def _take(self, rows: np.ndarray) -> np.ndarray:
        squares, side = self._squares, self._squares.side
        top, left = squares.top[rows] - self._first, squares.left[rows]
        partly = np.flatnonzero(squares.inside[rows] < 1)
        if len(partly) < len(rows):
            # a view of every possible square: one indexed copy is faster than many slices
            height, width, _ = self._rows.shape
            shape = (height - side + 1, width - side + 1, side, side * 3)
            line = width * 3
            squares_here = as_strided(self._rows, shape, (line, 3, line, 1), writeable=False)
            tiles = squares_here[top.clip(0, shape[0] - 1), left.clip(0, shape[1] - 1)]
            tiles = tiles.reshape(-1, side, side, 3)
        else:
            tiles = np.empty((len(rows), side, side, 3), np.uint8)
        for index in partly:
            self._take_partly(tiles[index], top[index], left[index])
        return tiles if squares.size == side else _resize(tiles, squares.size)

    def _take_partly(self, tile: np.ndarray, top: int, left: int) -> None:
        height, width = self._end - self._first, self._rows.shape[1]
        tile[:] = self._fill
        rows = slice(max(top, 0), min(top + len(tile), height))
        columns = slice(max(left, 0), min(left + len(tile), width))
        if rows.start < rows.stop and columns.start < columns.stop:
            tile[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
                self._rows[rows, columns]
            )


def _resize(tiles: np.ndarray, size: int) -> np.ndarray:
    """Resize square tiles: by area average to shrink, by cubic interpolation to enlarge."""
    how = cv2.INTER_AREA if size < tiles.shape[1] else cv2.INTER_CUBIC
    out = np.empty((len(tiles), size, size, 3), np.uint8)
    for source, target in zip(tiles, out, strict=True):
        cv2.resize(source, (size, size), dst=target, interpolation=how)
    return out
