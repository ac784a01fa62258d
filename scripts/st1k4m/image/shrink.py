"""Shrink an image that is read in bands, by area averages."""

import cv2
import numpy as np


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """Return a copy of ``image`` whose longer side is at most ``longest`` pixels, area-averaged."""
    import cv2

    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image.copy()
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


class Shrinker:
    """Shrink an image, given band by band, to a longest side of at most ``longest`` pixels.

    Area averages, exact except for the final rounding: a source pixel that overlaps two target
    pixels counts for each with its fraction.
    """

    _FLUSH_ROWS = 8

    def __init__(self, width: int, height: int, longest: int) -> None:
        scale = min(1.0, longest / max(width, height))
        self.width = max(1, round(width * scale))
        self.height = max(1, round(height * scale))
        self._source = (width, height)
        self._picture = np.empty((self.height, self.width, 3), np.uint8)
        self._row = 0  # next source row
        self._target = 0  # target row being summed
        self._sum = np.zeros((1, width * 3), np.float32)
        self._done: list[np.ndarray] = []

    def feed(self, band: np.ndarray) -> None:
        """Add the next rows, ``(rows, width, 3)`` uint8."""
        height = self._source[1]
        if (self.width, self.height) == self._source:
            self._picture[self._row : self._row + len(band)] = band
            self._row += len(band)
            return
        for row in band.reshape(len(band), 1, -1):
            # the target row ends `part / self.height` below the top of source row `end`
            end, part = divmod((self._target + 1) * height, self.height)
            if self._row < end:
                cv2.accumulate(row, self._sum)
            elif part:
                above = row * np.float32(part / self.height)
                self._finish(self._sum + above)
                self._sum = row - above
            else:
                self._finish(self._sum)
                self._sum = row.astype(np.float32)
            self._row += 1
        if self._row == height:
            self._finish(self._sum)
            self._flush()

    def picture(self) -> np.ndarray:
        """Return the shrunk image, ``(h, w, 3)`` uint8; valid after all rows were added."""
        return self._picture

    def _finish(self, total: np.ndarray) -> None:
        self._done.append(total)
        self._target += 1
        if len(self._done) == self._FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._done:
            return
        width, height = self._source
        rows = np.concatenate(self._done).reshape(-1, width, 3)
        rows *= np.float32(self.height / height)
        small = cv2.resize(rows, (self.width, len(rows)), interpolation=cv2.INTER_AREA)
        self._picture[self._target - len(rows) : self._target] = np.rint(small)
        self._done.clear()
