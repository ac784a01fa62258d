"""The lattice of an array, fitted to centres whose positions on it are known.

Distances between neighbours are a biased ruler (jitter makes the nearest one shorter), so the pitch
always comes from a least-squares fit of all centres on their integer positions.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kind:
    """A kind of lattice.

    ``step`` is the distance of neighbouring columns and rows in units of the pitch. Where ``even``,
    column plus row is even (or always odd) at every spot. ``fold`` is how many neighbours stand
    around a spot.
    """

    step: tuple[float, float]
    even: bool
    fold: int


# Columns and rows as in 10x's tissue_positions: on a hexagonal lattice columns step by two on a
# row. Staggered: a square lattice turned by 45 degrees, numbered along the image's axes.
KINDS = {
    "hexagonal": Kind((0.5, np.sqrt(3) / 2), True, 6),
    "square": Kind((1.0, 1.0), False, 4),
    "staggered": Kind((1 / np.sqrt(2), 1 / np.sqrt(2)), True, 4),
}

# Positions of one parity that are no accident: 2**-9 on a square lattice.
PARITY = 10
# A spot further from its node than this many pitches belongs to none; half way is 0.5.
STRAY = 0.35
# Pixels count as squeezed from this ratio of their sides: above what scanners and fits differ by
# (her2st: 0.9 %), far below the 11 % of the squeezed slide that is known.
SQUEEZED = 0.03
# A fit with more jitter or shear than this, in pitches, is no lattice.
LOOSE = 0.2


@dataclass(frozen=True)
class Lattice:
    """A lattice fitted to centres; everything in pixels of the image the centres are in.

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
        Whether the two differ beyond doubt.
    rotation
        Direction in which columns increase: degrees from the image's x axis towards its y axis,
        which is clockwise as one sees it; above -180 to 180.
    mirrored
        Rows increase anticlockwise of columns.
    jitter
        Root mean square distance of a spot from its node, per axis.
    strays
        bool, per spot: further from its node than jitter explains.
    doubts
        Why the fit is not to be believed; empty where it is.
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
    """Tell the kind of lattice from known positions, among those the technology can have.

    Where column plus row has one parity nearly throughout, it is one that has only half the nodes
    of its rows and columns. None where the positions fit no kind, or are too few to tell two apart.
    """
    one_parity = not 0.05 < ((row + col) % 2).mean() < 0.95
    fitting = [kind for kind in kinds if one_parity or not KINDS[kind].even]
    if len(fitting) > 1 and len(row) < PARITY:
        return None
    return max(fitting, key=lambda kind: KINDS[kind].even, default=None)


def fit_lattice(
    x: np.ndarray, y: np.ndarray, row: np.ndarray, col: np.ndarray, kind: str
) -> Lattice | None:
    """Fit a lattice to centres whose positions are known, by least squares without the strays.

    Each axis of the image has a scale of its own, as images may be squeezed. The pitch is their
    geometric mean.

    Parameters
    ----------
    x, y
        Centres, pixels.
    row, col
        Positions; spots where either is negative are left out.
    kind
        Key of ``KINDS``.

    Returns
    -------
    Lattice or None
        None where fewer than four spots are known or all stand on one line.
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
    """Return the median distance to the nearest neighbour, pixels: a rough pitch."""
    from scipy.spatial import cKDTree

    points = np.stack([x, y], axis=1)
    if len(points) < 2:
        return 0.0
    sample = points[:: max(1, len(points) // 20_000)]
    return float(np.median(cKDTree(points).query(sample, k=2)[0][:, 1]))


def _fit_affine(
    centres: np.ndarray, nodes: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit centres = affine @ nodes + origin, leaving out what lies far off, until that settles.

    Returns the 2 x 2 matrix (pixels per pitch), the residuals of all spots, and the spots used.
    """
    design = np.column_stack([nodes, np.ones(len(nodes))])
    kept = known
    for _ in range(20):
        solution, *_ = np.linalg.lstsq(design[kept], centres[kept], rcond=None)
        off = centres - design @ solution
        distance = np.hypot(*off.T)
        # The median distance of a two-dimensional normal distribution is 1.18 deviations. Half of
        # a tenth of the pitch is the floor, or exact lattices would shed spots to rounding.
        pitch = np.sqrt(abs(np.linalg.det(solution[:2])))
        limit = max(4 / 1.18 * np.median(distance[known]), 0.05 * pitch)
        closer = known & (distance <= limit)
        if closer.sum() < 4 or (closer == kept).all():
            break
        kept = closer
    return solution[:2].T, off, kept


def _doubts(jitter: float, strays: float, along: np.ndarray, squeeze: float) -> list[str]:
    """Say why a fit is not a lattice; lengths in pitches, ``squeeze`` as a logarithm."""
    doubts = []
    if jitter > LOOSE:
        doubts.append(f"spots lie {jitter:.0%} of the pitch off their places on the array")
    if strays > 0.1:
        doubts.append(f"{strays:.0%} of the spots lie far off their places on the array")
    if abs(along[0] @ along[1]) > LOOSE or squeeze > np.log(1.5):
        doubts.append("rows and columns are not at right angles, or differ by half in distance")
    return doubts
