"""How the spots of a slide lie on its tissue, as far as a reduced copy of the image tells."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Longest side of the picture, pixels: some four pixels a spot of the finest full array, a few
# milliseconds a comparison.
PICTURE = 500
# The area under the spots, in pitches: all that is within the one of a centre, less the other from
# its edge. That closes the gap of a missing spot and leaves 0.6 of a pitch around each.
REACH, BACK = 1.1, 0.5
# A picture in which no placement is this much like the tissue says nothing. Right placements of
# whole real sections have a likeness of 0.92 or more, wrong ones of the same sections up to 0.75.
SPEAKS = 0.35


@dataclass(frozen=True)
class Placement:
    """How spots lie on a picture: share of them on tissue, and likeness of the two areas.

    Likeness is the correlation, over all pixels, of the area under the spots and the tissue.
    """

    on_tissue: float
    likeness: float


class Picture:
    """The tissue of an image, seen on a reduced copy."""

    def __init__(self, mask: np.ndarray, size: tuple[int, int]) -> None:
        """Take the tissue ``mask`` (h, w) of an image of ``size`` (width, height) in pixels."""
        self.mask = mask
        self.size = size
        self.shrink = mask.shape[1] / size[0]

    def place(self, x: np.ndarray, y: np.ndarray, spacing: float) -> Placement:
        """Compare the area under spots with the tissue."""
        column, row = np.floor(x * self.shrink), np.floor(y * self.shrink)
        height, width = self.mask.shape
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        column, row = column[inside].astype(np.int64), row[inside].astype(np.int64)
        on_tissue = float(self.mask[row, column].sum() / len(x))
        area = _area(column, row, (height, width), spacing * self.shrink)
        return Placement(on_tissue, _correlate(area, self.mask))

    def find_scale(
        self, x: np.ndarray, y: np.ndarray, spacing: float, largest: float
    ) -> float | None:
        """Find the factor that fits the tissue best, between an eighth of ``largest`` and it.

        None where nothing fits well, or the best is the largest itself: spots on a part of the
        tissue fit the better the more of it they cover.
        """

        def likeness(factor: float) -> float:
            return self.place(x * factor, y * factor, spacing * factor).likeness

        coarse = largest * np.exp(np.linspace(-np.log(8), 0, 40))
        best = coarse[np.argmax([likeness(factor) for factor in coarse])]
        fine = best * np.exp(np.linspace(-0.055, 0.055, 23))
        values = np.array([likeness(factor) for factor in fine])
        if values.max() < SPEAKS or fine[np.argmax(values)] > 0.97 * largest:
            return None
        # The middle of what is nearly as good is steadier than the single best.
        return float(fine[values > values.max() - 0.01].mean())

    def find_shift(
        self, x: np.ndarray, y: np.ndarray, spacing: float
    ) -> tuple[float, float] | None:
        """Find the shift that covers the tissue best among those that bring all spots inside."""
        from scipy.signal import fftconvolve

        if np.ptp(x) >= self.size[0] or np.ptp(y) >= self.size[1]:
            return None
        column, row = (np.floor((a - a.min()) * self.shrink).astype(np.int64) for a in (x, y))
        shape = (int(row.max()) + 1, int(column.max()) + 1)
        area = _area(column, row, shape, spacing * self.shrink)
        tissue = self.mask - self.mask.mean()
        top, left = np.unravel_index(
            np.argmax(fftconvolve(tissue, area[::-1, ::-1].astype(float), mode="valid")),
            np.subtract(self.mask.shape, shape) + 1,
        )
        return float(round(left / self.shrink - x.min())), float(round(top / self.shrink - y.min()))


def look(image: str | Path, slide: str, size: tuple[int, int], max_pixels: float) -> Picture | None:
    """Decode a reduced copy of an image; None where it cannot tell tissue from background."""
    from st1k4m.image.decode import thumbnail
    from st1k4m.image.tissue_mask import tissue_mask

    mask = tissue_mask(thumbnail(image, PICTURE, slide=slide, max_pixels=max_pixels))
    if mask is None or not 0.005 < mask.mean() < 0.98:
        return None
    return Picture(mask, size)


def _area(column: np.ndarray, row: np.ndarray, shape: tuple[int, int], pitch: float) -> np.ndarray:
    """Return the pixels that spots cover together, with the gaps of single spots closed; bool."""
    import cv2

    pitch = min(pitch, max(shape))
    margin = int(REACH * pitch) + 2
    apart = np.ones((shape[0] + 2 * margin, shape[1] + 2 * margin), np.uint8)
    apart[row + margin, column + margin] = 0
    if not len(row):
        return np.zeros(shape, bool)
    near = cv2.distanceTransform(apart, cv2.DIST_L2, 3) <= REACH * pitch
    covered = cv2.distanceTransform(near.astype(np.uint8), cv2.DIST_L2, 3) > BACK * pitch
    return covered[margin:-margin, margin:-margin]


def _correlate(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two areas (bool) over all pixels, 0 where one is all or nothing."""
    a, b, both = one.mean(), other.mean(), (one & other).mean()
    spread = a * (1 - a) * b * (1 - b)
    return float((both - a * b) / np.sqrt(spread)) if spread else 0.0
