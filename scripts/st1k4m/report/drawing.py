"""Draw pictures of a slide: its spots on the tissue, a sheet of its tiles. RGB, uint8."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made

# Green is visible on eosin, on haematoxylin and on glass; a dropped spot also differs in shape.
KEPT = (0, 150, 70)
DROPPED = (213, 94, 0)
INK = (20, 20, 20)
PAPER = (255, 255, 255)

# Below these radii, in pixels of the drawing, outlines would hide the tissue, so the covered area
# is tinted. The radius is larger for square bins, because they touch.
SMALLEST_DISC, SMALLEST_SQUARE = 2.5, 8.0
DISC_TINT, SQUARE_TINT = 0.55, 0.25


def write_jpeg(
    path: str | Path, image: np.ndarray, quality: int = 82, made: Made | None = None
) -> None:
    """Write an RGB picture, (h, w, 3) uint8, as JPEG; ``made`` is stored in the file."""
    import cv2

    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    with atomic(path, made) as whole:
        whole.write_bytes(data.tobytes())


def draw_spots(
    image: np.ndarray,
    centres: np.ndarray,
    radius: float,
    *,
    square: bool,
    dropped: np.ndarray | None = None,
    strength: float = 1.0,
) -> np.ndarray:
    """Draw spots at their true size.

    Parameters
    ----------
    image
        (h, w, 3) uint8; not changed.
    centres
        (n, 2): x, y of the spots in pixels of ``image``; the corner of the first pixel is 0, 0.
    radius
        Radius of a spot, or half the side of a square spot, in the same pixels.
    square
        Whether spots are squares (VisiumHD's bins) rather than discs.
    dropped
        (m, 2): the spots that are not in the AnnData, drawn as crosses.
    strength
        Opacity of the outlines.

    Returns
    -------
    numpy.ndarray
        The picture with outlines; with a tinted area if the spots are too small for outlines.
    """
    import cv2

    drawn = image.copy()
    if radius < (SMALLEST_SQUARE if square else SMALLEST_DISC):
        covered = cover(image.shape[:2], centres, radius, square=square)
        tint = SQUARE_TINT if square else DISC_TINT
        drawn[covered] = (image[covered] * (1 - tint) + np.array(KEPT) * tint).astype(np.uint8)
        if square:  # bins form one area, so draw its border
            ways = cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            borders, _ = cv2.findContours(covered.astype(np.uint8), *ways)
            cv2.drawContours(drawn, borders, -1, KEPT, 1)
    else:
        line = max(1, round(min(radius / 5, max(image.shape) / 800)))
        for x, y in _sixteenths(centres):
            _outline(drawn, x, y, round(radius * 16), square, line)
    if strength < 1:
        drawn = cv2.addWeighted(drawn, strength, image, 1 - strength, 0)
    arm = round(max(radius, 3.0) * 16 * 0.7)
    for x, y in _sixteenths(dropped if dropped is not None else np.empty((0, 2))):
        for rise in (-arm, arm):
            ends = (x - arm, y - rise), (x + arm, y + rise)
            cv2.line(drawn, *ends, DROPPED, 1, cv2.LINE_AA, 4)
    return drawn


def cover(size: tuple[int, int], centres: np.ndarray, radius: float, *, square: bool) -> np.ndarray:
    """Return the pixels that spots of a small radius cover, to the nearest pixel, (h, w) bool."""
    import cv2

    covered = np.zeros(size, np.uint8)
    pixel = np.floor(centres).astype(int)
    inside = ((pixel >= 0) & (pixel < size[::-1])).all(axis=1)
    covered[pixel[inside, 1], pixel[inside, 0]] = 1
    side = 2 * math.ceil(radius - 0.5) + 1
    if side > 1:
        shape = cv2.MORPH_RECT if square else cv2.MORPH_ELLIPSE
        covered = cv2.dilate(covered, cv2.getStructuringElement(shape, (side, side)))
    return covered.astype(bool)


def _sixteenths(centres: np.ndarray) -> list[list[int]]:
    """Convert positions to the fixed-point numbers of OpenCV's drawing (4 fractional bits).

    In OpenCV the centre of a pixel is at whole numbers, here at halves.
    """
    return np.round((np.asarray(centres) - 0.5) * 16).astype(int).tolist()


def _outline(image: np.ndarray, x: int, y: int, radius: int, square: bool, line: int) -> None:
    import cv2

    if square:
        corners = (x - radius, y - radius), (x + radius, y + radius)
        cv2.rectangle(image, *corners, KEPT, line, cv2.LINE_AA, 4)
    else:
        cv2.circle(image, (x, y), radius, KEPT, line, cv2.LINE_AA, 4)


def draw_scale(image: np.ndarray, um_per_px: float) -> None:
    """Draw a scale bar of round length, about a fifth of the width, into the lower left corner."""
    import cv2

    height, width = image.shape[:2]
    unit = max(1, round(max(image.shape) / 700))
    length = round_length(width * um_per_px / 5)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} um"
    left, bottom = 12 * unit, height - 12 * unit
    ends = (left, bottom), (left + round(length / um_per_px), bottom)
    place, font = (left, bottom - 7 * unit), cv2.FONT_HERSHEY_SIMPLEX
    for extra, colour in ((2 * unit, PAPER), (0, INK)):
        cv2.line(image, *ends, colour, 3 * unit + extra)
        cv2.putText(image, label, place, font, 0.5 * unit, colour, unit + extra, cv2.LINE_AA)


def write_title(image: np.ndarray, title: str) -> np.ndarray:
    """Return the picture with a title in its upper left corner."""
    import cv2

    drawn = image.copy()
    unit = max(1, round(max(image.shape) / 700))
    place, font = (12 * unit, 24 * unit), cv2.FONT_HERSHEY_SIMPLEX
    for extra, colour in ((2 * unit, PAPER), (0, INK)):
        cv2.putText(drawn, title, place, font, 0.6 * unit, colour, unit + extra, cv2.LINE_AA)
    return drawn


def round_length(um: float) -> float:
    """Return the largest length of 1, 2 or 5 times a power of ten that is not above ``um``."""
    power = 10 ** math.floor(math.log10(um))
    return max(step * power for step in (1, 2, 5) if step * power <= um)


def make_sheet(tiles: Sequence[np.ndarray], side: int, columns: int) -> np.ndarray:
    """Make a sheet of tiles, row by row, each resized to a cell of ``side`` pixels.

    Pixels of enlarged tiles stay visible. An empty sequence gives one row of empty cells.
    """
    import cv2

    rows = max(1, math.ceil(len(tiles) / columns))
    gap = 4
    sheet = np.full((rows * (side + gap), columns * (side + gap), 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        way = cv2.INTER_AREA if tile.shape[0] > side else cv2.INTER_NEAREST
        top, left = (gap // 2 + index * (side + gap) for index in divmod(place, columns))
        sheet[top : top + side, left : left + side] = cv2.resize(
            tile, (side, side), interpolation=way
        )
    return sheet
