"""The arrays that technologies use, and what the spots of a slide say about theirs."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.geometry import correction
from st1k4m.geometry.barcodes import ArrayIds
from st1k4m.geometry.coordinates import Coordinates
from st1k4m.geometry.correction import Correction
from st1k4m.geometry.lattice import KINDS, Lattice, fit_lattice, number_spots, spacing, tell_kind
from st1k4m.geometry.verdict import Clues

# A contradiction between radius and pitch up to this factor is a matter of the radius alone: 55 um
# for 65 um, or the 0.67 of an estimate. Images of another resolution differ by more.
RESOLUTION = 1.3
# No array is a metre wide; micrometres.
LONGEST = 1e6

# Unit steps of columns and rows in the image. ST ids are column x row; in the VisiumHD files seen
# so far, columns run from right to left.
DIRECTIONS = {
    "ST": np.array([[1.0, 0.0], [0.0, 1.0]]),
    "VisiumHD": np.array([[-1.0, 0.0], [0.0, 1.0]]),
}


@dataclass(frozen=True)
class Array:
    """An array as ``config/geometry.tsv`` describes it; lengths in micrometres."""

    lattice: str
    pitch_um: float
    spot_um: float
    drawn_um: float
    source: str


@dataclass(frozen=True)
class Measured:
    """What the spots say about their array: positions (int32, -1 unknown), lattice, doubts."""

    row: np.ndarray
    col: np.ndarray
    lattice: Lattice | None
    array: Array | None
    doubts: list[str]

    @property
    def um_per_px(self) -> float | None:
        """Micrometres per pixel; None where lattice or array are unknown."""
        return self.array.pitch_um / self.lattice.pitch if self.lattice and self.array else None

    def diameters(self) -> list[float]:
        """Return the diameters in pixels that a radius may stand for; empty where unknown."""
        if not self.um_per_px:
            return []
        return [self.array.spot_um / self.um_per_px, self.array.drawn_um / self.um_per_px]


def read_arrays(rows: list[dict], slide: str) -> dict[str, Array]:
    """Read the arrays that a slide can have, by kind of lattice, from rows of the table."""
    arrays = {}
    for row in rows:
        try:
            lengths = [float(row[key]) for key in ("pitch_um", "spot_um", "drawn_um")]
            sound = row["lattice"] in KINDS and all(0 < length < LONGEST for length in lengths)
        except ValueError:
            sound = False
        if not sound or row["lattice"] in arrays:
            raise SlideError(
                slide,
                f"the geometry table cannot be used: {row}",
                f"lattice is one of {', '.join(KINDS)}, once for {row['applies_to']}, and the "
                f"lengths are numbers above 0 and below {LONGEST:g}",
            )
        arrays[row["lattice"]] = Array(row["lattice"], *lengths, row["source"])
    return arrays


def measure(spots: Coordinates, ids: ArrayIds | None, arrays: dict[str, Array]) -> Measured:
    """Tell positions and lattice of spots, from the ids where they hold positions.

    Positions that ids state are kept where the centres contradict them, with a doubt.
    """
    unknown = np.full(len(spots.x), -1, np.int32)
    kinds = list(arrays)
    if not kinds:
        return Measured(unknown, unknown, None, None, ["the geometry table holds no array for it"])
    if ids:
        row, col = ids.row, ids.col
        kind, doubts = tell_kind(row, col, kinds), []
        if kind is None:
            doubts = [f"the positions in the ids tell no lattice that is {' or '.join(kinds)}"]
    else:
        kind, numbering = number_spots(spots.x, spots.y, kinds)
        row, col, doubts = numbering.row, numbering.col, numbering.doubts
    lattice = fit_lattice(spots.x, spots.y, row, col, kind) if kind else None
    if lattice and lattice.doubts:
        lattice, doubts = None, doubts + lattice.doubts
    if lattice is None:
        doubts = doubts or ["the spots are too few to show a lattice, or stand on one line"]
        return Measured(*((row, col) if ids else (unknown, unknown)), None, None, doubts)
    array = arrays[kind]
    if ids and ids.bin_um:  # adjoining bins: their number is pitch and size
        array = dataclasses.replace(
            array, pitch_um=ids.bin_um, spot_um=ids.bin_um, drawn_um=ids.bin_um
        )
    return Measured(row, col, lattice, array, doubts)


def collect_clues(spots: Coordinates, measured: Measured, ids: ArrayIds | None, tech: str) -> Clues:
    """Collect what lattice, ids and radius say about the coordinates."""
    lattice = measured.lattice
    if lattice is None:
        return Clues(spacing(spots.x, spots.y))
    clues = {"spacing": lattice.pitch}
    if misfit(spots.r[0], measured) > np.log(RESOLUTION):
        clues["radius_scale"] = float(2 * spots.r[0] / measured.diameters()[-1])
    if ids and tech in DIRECTIONS:
        usual = DIRECTIONS[tech]
        clues["mirrored"] = bool(lattice.mirrored != (np.linalg.det(usual) < 0))
        if clues["mirrored"]:
            clues["usual"] = _restore(lattice, usual)
    elif not ids and lattice.kind == "hexagonal":
        # Centres alone are numbered along the x axis unless the lattice lies along the other one.
        clues["turned"] = bool(abs(np.sin(np.radians(lattice.rotation))) > np.sqrt(0.5))
        clues["usual"] = correction.SWAP if clues["turned"] else None
    return Clues(**clues)


def _restore(lattice: Lattice, usual: np.ndarray) -> Correction | None:
    """Return the correction that gives columns and rows their usual directions, if one does."""
    angle = np.radians(lattice.rotation)
    column = np.array([np.cos(angle), np.sin(angle)])
    row = np.array([-column[1], column[0]]) * (-1 if lattice.mirrored else 1)
    for choice in (correction.SWAP, correction.FLIP_X, correction.FLIP_Y):
        turned = [np.array(choice.apply(*direction, (0, 0))) for direction in (column, row)]
        if all(turned[i] @ usual[i] > np.sqrt(0.5) for i in (0, 1)):
            return choice
    return None


def misfit(radius: float, measured: Measured) -> float | None:
    """Return the logarithm by which a radius misses the nearest diameter it may stand for."""
    misfits = [abs(np.log(2 * radius / diameter)) for diameter in measured.diameters()]
    return float(min(misfits)) if misfits else None
