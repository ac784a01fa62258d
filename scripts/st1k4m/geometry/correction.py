"""Corrections of coordinates, and the table in which a user states them."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from st1k4m.errors import SlideError

# Images of one slide do not differ more in resolution; no image has FARTHEST_SHIFT pixels per side.
SCALES = (1e-4, 1e4)
FARTHEST_SHIFT = 1e7
# A measured factor counts as a simple one (n or 1/n) if its relative difference is at most SIMPLE
# (real sections: 0.7 %) and n is at most LARGEST. Neighbouring larger factors are less than 3 %
# apart.
SIMPLE, LARGEST = 0.015, 32


@dataclass(frozen=True)
class Correction:
    """A change of coordinates; its parts are applied in the order of the fields.

    ``swap`` exchanges x and y; ``scale`` multiplies both; ``flip`` (``x``, ``y`` or ``xy``) mirrors
    about the middle of the image; the shifts, in pixels of the image, are added.
    """

    swap: bool = False
    scale: float = 1.0
    flip: str = ""
    shift_x: float = 0.0
    shift_y: float = 0.0

    def apply(
        self, x: np.ndarray, y: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return corrected centres, ``(n,)`` float64 pixels; ``size`` is the image's, in pixels."""
        if self.swap:
            x, y = y, x
        x, y = x * self.scale, y * self.scale
        if "x" in self.flip:
            x = size[0] - x
        if "y" in self.flip:
            y = size[1] - y
        return x + self.shift_x, y + self.shift_y

    def then(self, other: "Correction", size: tuple[int, int]) -> "Correction":
        """Return the correction that equals this one followed by ``other``."""
        probe = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        x, y = other.apply(*self.apply(*probe, size), size)
        (left, along_x, along_y), top = x, y[0]
        swap = abs(along_y - left) > abs(along_x - left)
        across, down = (along_y - left, y[1] - top) if swap else (along_x - left, y[2] - top)
        return Correction(
            swap=bool(swap),
            scale=float(abs(across)),
            flip="x" * bool(across < 0) + "y" * bool(down < 0),
            shift_x=float(left - (size[0] if across < 0 else 0)),
            shift_y=float(top - (size[1] if down < 0 else 0)),
        )

    def __str__(self) -> str:
        parts = []
        if self.swap:
            parts.append("swap x and y")
        if self.scale != 1:
            parts.append(f"scale by {self.scale:.6g}")
        if self.flip:
            parts.append(f"flip {' and '.join(self.flip)}")
        if self.shift_x or self.shift_y:
            parts.append(f"shift by ({self.shift_x:.6g}, {self.shift_y:.6g}) px")
        return ", ".join(parts) or "nothing"


SWAP, FLIP_X, FLIP_Y = Correction(swap=True), Correction(flip="x"), Correction(flip="y")
HALF_TURN = Correction(flip="xy")
# The seven rotations and mirror images of a rectangle, without the identity.
SYMMETRIES = tuple(
    Correction(swap=swap, flip=flip)
    for swap, flip in product((False, True), ("", "x", "y", "xy"))
    if swap or flip
)


def outside(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which centres lie outside an image of ``size`` (width, height), (n,) bool."""
    return (x < 0) | (y < 0) | (x >= size[0]) | (y >= size[1])


def simple_factor(factor: float) -> float | None:
    """Return n or 1/n (n whole, 2 to `LARGEST`) if ``factor`` is within `SIMPLE` of it."""
    n = round(max(factor, 1 / factor))
    simple = float(n) if factor > 1 else 1 / n
    return simple if 2 <= n <= LARGEST and abs(factor / simple - 1) <= SIMPLE else None


def read_override(row: dict, slide: str) -> Correction:
    """Read the correction that a user states for a slide.

    Parameters
    ----------
    row
        ``swap`` (yes, no), ``scale``, ``flip`` (no, x, y, xy), ``shift_x``, ``shift_y``, as text;
        empty fields change nothing.

    Raises
    ------
    SlideError
        A field has another value, a scale is outside `SCALES`, or a shift exceeds
        `FARTHEST_SHIFT`.
    """
    given = {key: str(row.get(key) or "").strip() for key in ("swap", "scale", "flip")}
    given |= {key: str(row.get(key) or "").strip() for key in ("shift_x", "shift_y")}
    swap = {"yes": True, "no": False, "": False}.get(given["swap"])
    flip = {"no": "", "": "", "x": "x", "y": "y", "xy": "xy"}.get(given["flip"])
    scale = _number(given["scale"], 1.0, *SCALES)
    shifts = [
        _number(given[key], 0.0, -FARTHEST_SHIFT, FARTHEST_SHIFT) for key in ("shift_x", "shift_y")
    ]
    read = dict(zip(given, (swap, scale, flip, *shifts), strict=True))
    wrong = [f"{name} {given[name]!r}" for name, value in read.items() if value is None]
    if wrong:
        raise SlideError(
            slide,
            f"the override cannot be read: {', '.join(wrong)}",
            "swap is yes or no; flip is no, x, y or xy; scale is from "
            f"{SCALES[0]:g} to {SCALES[1]:g}; the shifts are pixels, up to {FARTHEST_SHIFT:g}",
        )
    return Correction(swap, scale, flip, *shifts)


def override_row(correction: Correction, slide: str) -> str:
    """Return the line of ``config/overrides.tsv`` that states a correction."""
    values = (
        slide,
        "yes" if correction.swap else "no",
        f"{correction.scale:.8g}",
        correction.flip or "no",
        f"{correction.shift_x:.8g}",
        f"{correction.shift_y:.8g}",
    )
    return "\t".join(values)


def _number(text: str, otherwise: float, least: float, most: float) -> float | None:
    """Return the number in ``text``, ``otherwise`` if empty; None if there is none in bounds."""
    try:
        value = float(text) if text else otherwise
    except ValueError:
        return None
    return value if least <= value <= most else None
