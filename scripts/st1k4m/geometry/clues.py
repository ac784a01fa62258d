"""Collect what is known about a slide's placement without decoding its image."""

from dataclasses import dataclass

import numpy as np

from st1k4m.geometry.arrays import Measured, misfit
from st1k4m.geometry.coordinates import Coordinates
from st1k4m.geometry.correction import SWAP, SYMMETRIES, Correction, outside
from st1k4m.geometry.lattice import Lattice, spacing
from st1k4m.geometry.placement import RESOLUTION
from st1k4m.technologies import technology


@dataclass(frozen=True)
class Clues:
    """What is known about a slide's spots without decoding its image.

    Attributes
    ----------
    spacing
        Distance of neighbouring spots, pixels.
    leaves
        Whether more than ``max_outside`` of the spots lie outside the image.
    in_corner
        Whether all spots lie in the quarter of the image at its origin.
    mirrored
        Whether known positions are a mirror image of the technology's usual ones; None if no
        positions are known.
    rotated
        Whether known positions are rotated by 90 or 180 degrees against the usual ones.
    turned
        Whether a hexagonal lattice lies along the y axis of the image; None if unknown.
    usual
        The correction that gives rows and columns their usual directions; None if they have these
        directions already, or if no correction does so.
    radius_scale
        The factor that makes the centres fit the radius; None if they do not contradict.
    """

    spacing: float
    leaves: bool
    in_corner: bool
    mirrored: bool | None = None
    rotated: bool = False
    turned: bool | None = None
    usual: Correction | None = None
    radius_scale: float | None = None

    def doubts(self) -> list[str]:
        """Return the reasons to doubt the coordinates, as sentences; empty if there are none."""
        table = (
            (self.leaves, "spots lie outside the image"),
            (self.mirrored, "the positions in the spot ids run the other way round"),
            (self.rotated, "the positions in the spot ids are turned"),
            (self.turned, "the lattice lies along the other axis"),
            (self.radius_scale, "radius and pitch contradict each other"),
            (self.in_corner, "all spots lie in the quarter at the origin"),
        )
        return [text for doubt, text in table if doubt]


def collect_clues(
    spots: Coordinates,
    judged: np.ndarray,
    measured: Measured,
    size: tuple[int, int],
    tech: str,
    max_outside: float,
) -> Clues:
    """Check the coordinates against the image's size, the lattice, the ids and the radius.

    Parameters
    ----------
    spots
        The spots as they are in the file.
    judged
        (spots,) bool: whether the spot is used to check the fit of spots and image.
    measured
        The array as measured from the spots.
    size
        Width and height of the image, pixels.
    tech
        Technology, by its name in `st1k4m.technologies`.
    max_outside
        Largest share of the spots that may lie outside the image.
    """
    lattice = measured.lattice
    x, y = spots.x[judged], spots.y[judged]
    clues = {
        "spacing": lattice.pitch if lattice else spacing(spots.x, spots.y),
        "leaves": bool(outside(x, y, size).mean() > max_outside),
        "in_corner": bool(x.max() < size[0] / 2 and y.max() < size[1] / 2),
    }
    if lattice is None:
        return Clues(**clues)
    if misfit(spots.r[0], measured) > np.log(RESOLUTION):
        clues["radius_scale"] = float(2 * spots.r[0] / measured.diameters()[-1])
    # The ids of barcoded technologies state no positions. known_by is "ids" only if Space Ranger's
    # positions file states them, together with the pixels; then any orientation is right.
    stated_together = technology(tech).barcoded and measured.known_by == "ids"
    directions = technology(tech).directions
    if measured.known_by and directions and not stated_together:
        usual = _restore(lattice, np.array(directions))
        clues["mirrored"] = bool(lattice.mirrored != (np.linalg.det(directions) < 0))
        clues["rotated"] = usual is not None and not clues["mirrored"]
        clues["usual"] = usual
    elif not measured.known_by and lattice.kind == "hexagonal":
        # number_spots numbers along the x axis unless the lattice lies along the y axis.
        clues["turned"] = bool(abs(np.sin(np.radians(lattice.rotation))) > np.sqrt(0.5))
        clues["usual"] = SWAP if clues["turned"] else None
    return Clues(**clues)


def _restore(lattice: Lattice, usual: np.ndarray) -> Correction | None:
    """Return the correction that gives columns and rows their usual directions.

    None if they have these directions already, or lie halfway between two directions.
    """
    angle = np.radians(lattice.rotation)
    column = np.array([np.cos(angle), np.sin(angle)])
    row = np.array([-column[1], column[0]]) * (-1 if lattice.mirrored else 1)
    for choice in (Correction(), *SYMMETRIES):
        turned = [np.array(choice.apply(*direction, (0, 0))) for direction in (column, row)]
        if all(turned[i] @ usual[i] > np.sqrt(0.5) for i in (0, 1)):
            return choice if choice in SYMMETRIES else None
    return None
