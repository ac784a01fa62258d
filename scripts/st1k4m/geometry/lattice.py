"""Fit the lattice of an array to centres whose positions on it are known.

Distances between nearest neighbours give a biased pitch, because jitter makes the nearest one
shorter. The pitch therefore comes from a least-squares fit of all centres to their integer
positions.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kind:
    """A kind of lattice.

    ``step`` is the distance of neighbouring columns and rows in units of the pitch. If ``even``,
    column plus row has the same parity at every spot. ``fold`` is the number of nearest neighbours
    of a spot.
    """

    step: tuple[float, float]
    even: bool
    fold: int


# Columns and rows as in 10x's tissue_positions: in a row of a hexagonal lattice, columns increase
# by two. Staggered: a square lattice rotated by 45 degrees, numbered along the image's axes.
KINDS = {
    "hexagonal": Kind((0.5, np.sqrt(3) / 2), True, 6),
    "square": Kind((1.0, 1.0), False, 4),
    "staggered": Kind((1 / np.sqrt(2), 1 / np.sqrt(2)), True, 4),
}

# Number of spots from which one parity is not chance: its probability on a square lattice is 2**-9.
PARITY = 10
# A spot further from its node than this many pitches has no node; 0.5 is halfway to the next one.
STRAY = 0.35
# Pixels count as squeezed if their sides differ by more than this fraction. Scanners and fits
# differ by less (her2st: 0.9 %); the known squeezed slide differs by 11 %.
SQUEEZED = 0.03
# A fit with more jitter or shear than this, in pitches, is not a lattice.
LOOSE = 0.2


@dataclass(frozen=True)
class Lattice:
    """A lattice fitted to centres; lengths are in the pixels of the centres.

    Attributes
    ----------
    kind
        Key of ``KINDS``.
    pitch, pitch_se
        Distance of neighbouring spots and its standard error; geometric mean over both axes.
    pitch_xy, ratio_se
        Pixels per pitch along the image's x and y axis, and the relative standard error of their
        ratio.
    squeezed
        Whether the two values of ``pitch_xy`` differ significantly, and by more than `SQUEEZED`.
    rotation
        Direction in which columns increase: degrees from the image's x axis towards its y axis
        (clockwise on the screen), above -180 up to 180.
    mirrored
        Whether the direction of rows is anticlockwise of the direction of columns.
    jitter
        Root mean square distance of a spot from its node, per axis.
    strays
        (spots,) bool: whether the spot is further from its node than jitter explains.
    doubts
        Reasons why the fit is not reliable, as sentences; empty if it is.
    """

    kind: str
    pitch: float
    pitch_se: float
    pitch_xy: tuple[float, float]
    ratio_se: float
    squeezed: bool
    rotation: float
    mirrored: bool
    jitter: float
    strays: np.ndarray
    doubts: list[str]


def tell_kind(row: np.ndarray, col: np.ndarray, kinds: list[str]) -> str | None:
    """Find the kind of lattice from known positions, among ``kinds``.

    If column plus row has the same parity at nearly all spots, the lattice is of a kind that has
    only every second node. Return None if the positions fit no kind, or if two kinds fit and the
    positions are too few to distinguish them.
    """
    one_parity = not 0.05 < ((row + col) % 2).mean() < 0.95
    fitting = [kind for kind in kinds if one_parity or not KINDS[kind].even]
    if len(fitting) > 1 and len(row) < PARITY:
        return None
    return max(fitting, key=lambda kind: KINDS[kind].even, default=None)


def fit_lattice(
    x: np.ndarray, y: np.ndarray, row: np.ndarray, col: np.ndarray, kind: str
) -> Lattice | None:
    """Fit a lattice by least squares to centres whose positions are known, without the strays.

    Each axis of the image has its own scale, because images may be squeezed. The pitch is the
    geometric mean over both axes.

    Parameters
    ----------
    x, y
        Centres, (spots,) float64, pixels.
    row, col
        Positions, (spots,) integers; spots with a negative one are left out.
    kind
        Key of ``KINDS``.

    Returns
    -------
    Lattice or None
        None if fewer than four positions are known, or if all of them are on one line.
    """
    known = (row >= 0) & (col >= 0)
    nodes = np.stack([col, row], axis=1) * np.array(KINDS[kind].step)
    centres = np.stack([x, y], axis=1)
    if known.sum() < 4 or np.linalg.matrix_rank(nodes[known] - nodes[known].mean(axis=0)) < 2:
        return None
    affine, off, kept = _fit_affine(centres, nodes, known)
    step = np.sqrt(abs(np.linalg.det(affine)))
    if not (step > 0 and np.isfinite(step)):
        return None
    pitch_xy = np.linalg.norm(affine, axis=1)
    spread = nodes[kept] - nodes[kept].mean(axis=0)
    inverse = np.linalg.inv(spread.T @ spread)
    freedom = max(int(kept.sum()) - 3, 1)
    noise = np.sqrt((off[kept] ** 2).sum(axis=0) / freedom)
    along = affine / pitch_xy[:, None]
    relative = noise * np.sqrt(np.einsum("ai,ij,aj->a", along, inverse, along)) / pitch_xy
    ratio_se = float(np.hypot(*relative))
    logarithm = abs(np.log(pitch_xy[0] / pitch_xy[1]))
    squeezed = bool(logarithm > max(np.log1p(SQUEEZED), 4 * ratio_se))
    pitch = float(np.sqrt(pitch_xy.prod()))
    distance = np.hypot(*off.T)
    jitter = float(np.sqrt((off[kept] ** 2).mean()))
    strays = known & (distance > max(6 * jitter, STRAY * pitch))
    return Lattice(
        kind=kind,
        pitch=pitch,
        pitch_se=pitch * ratio_se / 2,
        pitch_xy=(float(pitch_xy[0]), float(pitch_xy[1])),
        ratio_se=ratio_se,
        squeezed=squeezed,
        rotation=float(np.degrees(np.arctan2(along[1, 0], along[0, 0]))),
        mirrored=bool(np.linalg.det(affine) < 0),
        jitter=jitter,
        strays=strays,
        doubts=_doubts(jitter / step, float(strays.sum() / known.sum()), along, logarithm),
    )


def spacing(x: np.ndarray, y: np.ndarray) -> float:
    """Return the median distance to the nearest neighbour, an approximate pitch, in pixels."""
    from scipy.spatial import cKDTree

    points = np.stack([x, y], axis=1)
    if len(points) < 2:
        return 0.0
    sample = points[:: max(1, len(points) // 20_000)]
    return float(np.median(cKDTree(points).query(sample, k=2)[0][:, 1]))


def _fit_affine(
    centres: np.ndarray, nodes: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit centres = affine @ nodes + origin, without outliers; repeat until these do not change.

    Return the 2 x 2 matrix (pixels per pitch), the residuals of all spots, and the spots used.
    """
    design = np.column_stack([nodes, np.ones(len(nodes))])
    kept = known
    for _ in range(20):
        solution, *_ = np.linalg.lstsq(design[kept], centres[kept], rcond=None)
        off = centres - design @ solution
        distance = np.hypot(*off.T)
        # The median distance of a two-dimensional normal distribution is 1.18 standard deviations.
        # The limit is at least 0.05 pitches: on exact lattices rounding would exclude spots.
        pitch = np.sqrt(abs(np.linalg.det(solution[:2])))
        limit = max(4 / 1.18 * np.median(distance[known]), 0.05 * pitch)
        closer = known & (distance <= limit)
        if closer.sum() < 4 or (closer == kept).all():
            break
        kept = closer
    return solution[:2].T, off, kept


def _doubts(jitter: float, strays: float, along: np.ndarray, squeeze: float) -> list[str]:
    """Return reasons why a fit is not a lattice; lengths in pitches, ``squeeze`` a logarithm."""
    doubts = []
    if jitter > LOOSE:
        doubts.append(f"spots lie {jitter:.0%} of the pitch off their places on the array")
    if strays > 0.1:
        doubts.append(f"{strays:.0%} of the spots lie far off their places on the array")
    if abs(along[0] @ along[1]) > LOOSE or squeeze > np.log(1.5):
        doubts.append("rows and columns are not at right angles, or differ by half in distance")
    return doubts
