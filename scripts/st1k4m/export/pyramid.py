"""Fill the levels of a multiscale image from bands, in one pass and in bounded memory."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import cv2
import numpy as np

CHUNK = 1024
"""Side of a chunk in pixels. A row of chunks of an image 40,000 pixels wide is 123 MB, and all
levels together need twice as much; with 512 the store would have four times as many files."""

MOST_LEVELS = 5
"""The full image and four halved levels, as in spatialdata-io's reader of Visium."""


class Level(Protocol):
    """An array of shape (3, height, width), uint8, that is written by slices, such as zarr's."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]

    def __setitem__(self, place: tuple[slice, ...], values: np.ndarray) -> None: ...


def count_levels(width: int, height: int) -> int:
    """Return the number of levels of an image: `MOST_LEVELS`, fewer if a side would become 0."""
    return min(MOST_LEVELS, int(min(width, height)).bit_length())


def fill_levels(bands: Iterable[np.ndarray], levels: Sequence[Level]) -> None:
    """Write an image and its halved levels.

    Parameters
    ----------
    bands
        The rows of the image from top to bottom: ``(rows, width, 3)`` uint8 RGB each.
    levels
        The array of the full image, then one array per halved level. Width and height of a level
        are half of those of the previous level; if odd, the last row or column is left out.

    Raises
    ------
    ValueError
        The bands have more or fewer rows than the first level.

    Notes
    -----
    A pixel of a level is the mean of four pixels of the previous level, rounded. One row of chunks
    per level is in memory.
    """
    writers = [_Writer(level) for level in levels]
    rows = 0
    for band in bands:
        rows += len(band)
        if rows > levels[0].shape[1]:
            break
        _feed(writers, band)
    if rows != levels[0].shape[1]:
        raise ValueError(f"the image has {rows} rows or more, expected {levels[0].shape[1]}")


def halve(block: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels: ``(h // 2, w // 2, 3)`` uint8 of ``(h, w, 3)`` uint8."""
    height, width = block.shape[0] // 2, block.shape[1] // 2
    if not height or not width:
        return np.empty((height, width, 3), np.uint8)
    even = np.ascontiguousarray(block[: 2 * height, : 2 * width])
    return cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)


class _Writer:
    """A buffer that collects rows until they fill a row of chunks; each chunk is written once."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._height, width = level.shape[1:]
        # an even number, because blocks are halved one by one
        self._rows = max(2, level.chunks[1] // 2 * 2)
        self._block = np.empty((min(self._rows, self._height), width, 3), np.uint8)
        self._top = self._filled = 0

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Add rows; return the remaining rows, and the block if it is complete and written."""
        taken = min(len(rows), len(self._block) - self._filled)
        self._block[self._filled : self._filled + taken] = rows[:taken]
        self._filled += taken
        complete = self._filled == len(self._block) or self._top + self._filled == self._height
        return rows[taken:], self._write() if complete else None

    def _write(self) -> np.ndarray:
        block = self._block[: self._filled]
        bottom = self._top + self._filled
        self._level[:, self._top : bottom, :] = np.ascontiguousarray(block.transpose(2, 0, 1))
        self._top, self._filled = bottom, 0
        return block


def _feed(writers: Sequence[_Writer], rows: np.ndarray) -> None:
    first, *others = writers
    while len(rows):
        rows, block = first.take(rows)
        if block is not None and others:
            _feed(others, halve(block))
