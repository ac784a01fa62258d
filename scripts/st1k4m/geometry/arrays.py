"""The arrays of the technologies, and the array of a slide as measured from its spots."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.geometry.barcodes import ArrayIds
from st1k4m.geometry.coordinates import Coordinates
from st1k4m.geometry.lattice import Lattice, fit_lattice, tell_kind
from st1k4m.geometry.numbering import number_spots
from st1k4m.run.settings import array_faults


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
    """The array as measured from the spots.

    Attributes
    ----------
    row, col
        Positions on the array, (spots,) int32, -1 if unknown.
    lattice, array
        None if unknown.
    doubts
        Reasons why something is unknown, as sentences.
    known_by
        The source of the positions: ``ids``, ``barcodes``, or empty if they come from the centres.
    """

    row: np.ndarray
    col: np.ndarray
    lattice: Lattice | None
    array: Array | None
    doubts: list[str]
    known_by: str = ""

    @property
    def um_per_px(self) -> float | None:
        """Micrometres per pixel; None if lattice or array is unknown."""
        return self.array.pitch_um / self.lattice.pitch if self.lattice and self.array else None

    def diameters(self) -> list[float]:
        """Return the two spot diameters, real and as drawn, in pixels; empty if unknown."""
        if not self.um_per_px:
            return []
        return [self.array.spot_um / self.um_per_px, self.array.drawn_um / self.um_per_px]


def read_arrays(rows: list[dict], slide: str) -> dict[str, Array]:
    """Read the arrays that a slide can have, by kind of lattice, from rows of the geometry table.

    Raises
    ------
    SlideError
        A row is invalid, or two rows state the same kind of lattice.
    """
    arrays = {}
    for row in rows:
        faults = array_faults(row)
        if row["lattice"] in arrays:
            faults.append(f"a second {row['lattice']} array for {row['applies_to']}")
        if faults:
            raise SlideError(
                slide,
                f"the geometry table cannot be used: {'; '.join(faults)}",
                "correct the row in geometry.table",
            )
        lengths = (float(row[key]) for key in ("pitch_um", "spot_um", "drawn_um"))
        arrays[row["lattice"]] = Array(row["lattice"], *lengths, row["source"])
    return arrays


def measure(spots: Coordinates, ids: ArrayIds | None, arrays: dict[str, Array]) -> Measured:
    """Find positions and lattice of spots from known positions, or from the centres alone.

    If the centres contradict the positions in the ids, these positions are kept, with a doubt. If
    the centres contradict the positions from a table of barcodes, only the centres are used.

    Parameters
    ----------
    spots
        Centres.
    ids
        Known positions of the spots; None if no positions are known.
    arrays
        The arrays that the slide can have, by kind of lattice.
    """
    unknown = np.full(len(spots.x), -1, np.int32)
    kinds = list(arrays)
    if not kinds:
        doubts = ["the geometry table holds no array for it"]
        return Measured(unknown, unknown, None, None, doubts)
    if ids is None:
        kind, numbering = number_spots(spots.x, spots.y, kinds)
        return _fit(spots, numbering.row, numbering.col, kind, numbering.doubts, arrays, None)
    known = ids.row >= 0
    kind = tell_kind(ids.row[known], ids.col[known], kinds) if known.any() else None
    doubts = []
    if kind is None:
        doubts = [f"the positions in the ids tell no lattice that is {' or '.join(kinds)}"]
    found = _fit(spots, ids.row, ids.col, kind, doubts, arrays, ids)
    if found.lattice is None and ids.source == "barcodes":
        alone = measure(spots, None, arrays)
        reason = "; ".join(found.doubts)
        doubt = f"the positions of the barcodes do not fit the centres ({reason})"
        return dataclasses.replace(alone, doubts=[*alone.doubts, doubt])
    return found


def _fit(
    spots: Coordinates,
    row: np.ndarray,
    col: np.ndarray,
    kind: str | None,
    doubts: list[str],
    arrays: dict[str, Array],
    ids: ArrayIds | None,
) -> Measured:
    """Fit the lattice to positions, and choose the array it belongs to."""
    source = ids.source if ids else ""
    lattice = fit_lattice(spots.x, spots.y, row, col, kind) if kind else None
    if lattice and lattice.doubts:
        lattice, doubts = None, [*doubts, *lattice.doubts]
    if lattice is None:
        doubts = doubts or ["the spots are too few to show a lattice, or stand on one line"]
        if ids is None:
            row = col = np.full(len(spots.x), -1, np.int32)
        return Measured(row, col, None, None, doubts, source)
    array = arrays[kind]
    if ids and ids.bin_um:  # bins touch, so the side of a bin is both pitch and size
        array = dataclasses.replace(
            array, pitch_um=ids.bin_um, spot_um=ids.bin_um, drawn_um=ids.bin_um
        )
    return Measured(row, col, lattice, array, doubts, source)


def misfit(radius: float, measured: Measured) -> float | None:
    """Return |log(ratio)| of a radius and the nearest diameter of the array; None if unknown."""
    misfits = [abs(np.log(2 * radius / diameter)) for diameter in measured.diameters()]
    return float(min(misfits)) if misfits else None
