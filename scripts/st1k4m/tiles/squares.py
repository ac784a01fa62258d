"""Place every spot's square on the image, and measure the tissue in it."""

from dataclasses import dataclass

import cv2
import numpy as np

from st1k4m import codes
from st1k4m.errors import SlideError
from st1k4m.formats.spots import SpotTable
from st1k4m.tiles.options import TileOptions


@dataclass(frozen=True)
class Squares:
    """The squares to cut, in the order of the store.

    Attributes
    ----------
    spots
        Ids, (n,) object.
    left, top
        Corner in the image, (n,) int64; negative if the square begins outside the image.
    side
        Side of a square, pixels of the image.
    size
        Side of a tile, pixels.
    inside
        Share of each square that lies in the image, (n,) float32.
    """

    spots: np.ndarray
    left: np.ndarray
    top: np.ndarray
    side: int
    size: int
    inside: np.ndarray

    def __len__(self) -> int:
        return len(self.spots)

    def select(self, keep: np.ndarray) -> "Squares":
        """Return the squares that the mask ``keep``, (n,) bool, selects."""
        parts = (self.spots[keep], self.left[keep], self.top[keep])
        return Squares(*parts, self.side, self.size, self.inside[keep])


def place_squares(
    slide: str,
    table: SpotTable,
    facts: dict,
    kept: list[str],
    width: int,
    height: int,
    options: TileOptions,
) -> tuple[Squares, dict[str, str]]:
    """Place the squares of the kept spots.

    The corner is that of the dataset authors' crop: ``round(x - r)`` and ``round(y - r)``, half to
    even. The side is ``max(1, round(2 r))``, with one r for the slide.

    Parameters
    ----------
    slide
        Name of the slide.
    table, facts
        Results of ``align_spots``: the spots; the ``radius`` in pixels; ``um_per_px``, or None.
    kept
        Ids in the order of the store. Spots outside the image get no square.
    width, height
        Size of the image, pixels.
    options
        Options of the step.

    Returns
    -------
    squares
        The squares in the order of ``kept``.
    dropped
        For spots inside the image without a square: the reason by id.

    Raises
    ------
    SlideError
        The extent is in micrometres, but micrometres per pixel are unknown; tiles would be
        enlarged, and ``upsample`` is ``refuse``; the square is far larger than the image; or a
        kept spot has no coordinates.
    """
    radius = _radius(slide, facts, options)
    side = max(1, round(2 * radius))
    if side > 2 * max(width, height):
        raise SlideError(
            slide,
            f"a tile of {side} px on an image of {width} x {height} px",
            "check the radius in the coordinate file, or tiles.extent",
        )
    size = side if options.size == "native" else options.size
    if size > side and options.upsample == "refuse":
        raise SlideError(
            slide,
            f"too coarse: tiles of {side} px would be enlarged to {size} px",
            "lower tiles.size, widen tiles.extent, or set tiles.upsample: flag",
        )
    row = {spot: number for number, spot in enumerate(table.spot)}
    lost = [spot for spot in kept if spot not in row]
    if lost:
        raise SlideError(
            slide,
            f"{len(lost)} spots with counts have no coordinates, the first is {lost[0]}",
            "remove the slide's files below work/expression and work/spots, and run again",
        )
    rows = np.array([row[spot] for spot in kept], np.int64)
    within = ~table.outside[rows]
    rows, names = rows[within], np.array(kept, object)[within]
    left = np.rint(table.x[rows] - radius).astype(np.int64)
    top = np.rint(table.y[rows] - radius).astype(np.int64)
    across = np.minimum(left + side, width) - np.maximum(left, 0)
    down = np.minimum(top + side, height) - np.maximum(top, 0)
    inside = (across.clip(0) * down.clip(0) / side**2).astype(np.float32)
    squares = Squares(names, left, top, side, size, inside)
    if options.edge == "pad":
        return squares, {}
    partly = inside < 1
    return squares.select(~partly), dict.fromkeys(
        names[partly].tolist(), codes.PARTLY_OUTSIDE_IMAGE
    )


def _radius(slide: str, facts: dict, options: TileOptions) -> float:
    if options.micrometres is None:
        return facts["radius"]
    if not facts["um_per_px"]:
        raise SlideError(
            slide,
            f"tiles.extent is {options.extent}, but the slide has no micrometres per pixel",
            "give its array a row in geometry.table, or use tiles.extent: spot",
        )
    return options.micrometres / facts["um_per_px"] / 2


def tissue_share(mask: np.ndarray | None, squares: Squares, width: int, height: int) -> np.ndarray:
    """Return the share of tissue in each square.

    Parameters
    ----------
    mask
        ``(h, w)`` bool on a reduced copy of the whole image; None if the tissue is unknown.
    squares
        Squares on the image of ``width`` by ``height`` pixels.
    width, height
        Size of the image, pixels.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float32, in [0, 1]; pixels outside the image are not tissue. NaN without a mask.
    """
    if mask is None:
        return np.full(len(squares), np.nan, np.float32)
    h, w = mask.shape
    total = cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F)

    def above_and_left(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the tissue above and left of points of the image, interpolated in the mask."""
        x, y = (x * (w / width)).clip(0, w), (y * (h / height)).clip(0, h)
        i, j = np.minimum(y.astype(int), h - 1), np.minimum(x.astype(int), w - 1)
        y, x = y - i, x - j
        upper = total[i, j] * (1 - x) + total[i, j + 1] * x
        lower = total[i + 1, j] * (1 - x) + total[i + 1, j + 1] * x
        return upper * (1 - y) + lower * y

    left, top = squares.left, squares.top
    right, bottom = left + squares.side, top + squares.side
    tissue = above_and_left(right, bottom) - above_and_left(left, bottom)
    tissue += above_and_left(left, top) - above_and_left(right, top)
    area = squares.side**2 * (w / width) * (h / height)
    return (tissue / area).clip(0, 1).astype(np.float32)
