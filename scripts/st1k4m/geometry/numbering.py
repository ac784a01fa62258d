"""Find the integer positions of spots on their lattice from their centres alone."""

from dataclasses import dataclass

import numpy as np

from st1k4m.geometry.lattice import KINDS, STRAY

# Number of spots from which centres alone can show a lattice.
FEWEST = 20
# |mean of exp(i fold angle)| over neighbours: 1 on a perfect lattice, about 0.9 with the 6 %
# jitter of her2st, 0.2 or less for random points.
CLEAR = 0.5
# Mean share of a spot's neighbouring nodes that have a spot: 0.7 if 30 % of the spots are missing,
# 0.36 or more in the smallest and most broken pieces tried. Below this share, the nearest spot may
# not be a lattice neighbour.
CROWDED = 0.3
# Largest distance of a neighbour, in units of the nearest: between the first (1) and the second
# shell of the lattice (1.73 for fold 6, 1.41 for fold 4), with tolerance for a squeezed image.
REACH = {6: 1.35, 4: 1.2}
# A predicted node is used if the standard deviation of the prediction is below this many pitches.
PREDICTED = 0.06
# If no direction of a hexagonal lattice is within this many degrees of the image's x axis, one is
# along its y axis: the image, or the lattice in it, is rotated by 90 degrees.
TURNED = 20.0


@dataclass(frozen=True)
class Numbering:
    """Integer positions of spots, (spots,) int32, -1 if unknown, and reasons to doubt them."""

    row: np.ndarray
    col: np.ndarray
    doubts: list[str]


def number_spots(x: np.ndarray, y: np.ndarray, kinds: list[str]) -> tuple[str, Numbering]:
    """Find integer positions of spots from their centres alone.

    The basis comes from the directions of neighbours. Numbering starts where spots are densest. It
    spreads only to nodes that the current fit predicts well. It therefore crosses small gaps
    between pieces of tissue; spots behind larger gaps are not numbered, and a doubt states this.

    Rows and columns are relative, because centres do not show where the array begins: the smallest
    of each is 0 (or 1 if the lattice has only every second node). Columns increase along the
    lattice direction that is nearest to the image's x axis. If a hexagonal lattice has no direction
    within `TURNED` degrees of it, the image is assumed to be rotated by 90 degrees, and columns
    increase down the image. A lattice rotated by 180 degrees looks the same, so neither such a
    rotation nor a mirror image can be detected.

    Parameters
    ----------
    x, y
        Centres, (spots,) float64, pixels.
    kinds
        Kinds of lattice that the technology can have.

    Returns
    -------
    str
        The kind of the lattice.
    Numbering
        All positions are -1 if there are doubts, unless these concern single spots only.
    """
    from scipy.spatial import cKDTree

    points = np.stack([x, y], axis=1)
    if len(x) < FEWEST:
        unknown = np.full(len(x), -1, np.int32)
        few = f"{len(x)} spots are too few to show a lattice (at least {FEWEST})"
        return kinds[0], Numbering(unknown, unknown, [few])
    tree = cKDTree(points)
    folds = dict.fromkeys(KINDS[kind].fold for kind in kinds)
    tried = [_number(tree, [k for k in kinds if KINDS[k].fold == fold]) for fold in folds]
    return min(tried, key=lambda attempt: len(attempt[1].doubts))


def _number(tree, kinds: list[str]) -> tuple[str, Numbering]:
    """Find the positions for kinds of the same fold, which differ by a rotation only."""
    points = tree.data
    unknown = np.full(len(points), -1, np.int32)
    basis, nearest, clearness = _find_basis(tree, points, KINDS[kinds[0]].fold)
    kind = _kind_by_direction(basis, kinds)
    if not clearness >= CLEAR:
        return kind, Numbering(unknown, unknown, ["neighbouring spots have no common directions"])
    nodes, known, unreached = _spread(tree, points, basis, nearest)
    if known.mean() < 0.9:
        doubt = (
            f"{int(unreached.sum())} spots stand too far from the others to be numbered"
            if unreached.sum() > (~known).sum() / 2
            else f"only {known.mean():.0%} of the spots stand on a common lattice"
        )
        return kind, Numbering(unknown, unknown, [doubt])
    row, col = _label(nodes, basis, kind)
    row, col = row - row[known].min(), col - col[known].min()
    if KINDS[kind].even and ((row + col)[known] % 2).any():
        col = col + 1
    row, col = (np.where(known, axis, -1).astype(np.int32) for axis in (row, col))
    doubts = []
    if unreached.any():
        doubts.append(f"{int(unreached.sum())} spots stand too far from the others to be numbered")
    return kind, Numbering(row, col, doubts)


def _find_basis(tree, points: np.ndarray, fold: int) -> tuple[np.ndarray, float, float]:
    """Find two neighbouring lattice directions.

    Vectors are complex numbers here. The mean of exp(i fold angle) over the vectors to neighbours
    is the bond-orientational order parameter (Nelson & Halperin 1979,
    doi:10.1103/PhysRevB.19.2457). Its phase gives the directions; its absolute value is their
    clearness.

    Return the basis (2 x 2, one vector per column, 60 or 90 degrees apart), the median distance of
    nearest neighbours, and the clearness of the directions (0 to 1).
    """
    sample = points[:: max(1, len(points) // 20_000)]
    distance, index = tree.query(sample, k=min(9, len(points)))
    nearest = float(np.median(distance[:, 1]))
    near = (distance > 0) & (distance < REACH[fold] * nearest)
    across, down = (points[index] - sample[:, None])[near].T
    vectors = across + 1j * down
    if len(vectors) < CROWDED * fold * len(sample):
        return np.eye(2), nearest, 0.0
    phase = np.mean(np.exp(1j * fold * np.angle(vectors)))
    directions = []
    for step in range(fold // 2):
        turn = np.exp(1j * (np.angle(phase) + 2 * np.pi * step) / fold)
        turned = vectors / turn
        turned = np.where(turned.real < 0, -turned, turned)
        close = turned[abs(np.angle(turned)) < 0.6 * np.pi / fold]
        if not len(close):
            return np.eye(2), nearest, 0.0
        directions.append((np.median(close.real) + 1j * np.median(close.imag)) * turn)
    if fold == 6:  # least-squares solution for a and b, from the three directions a, b and b - a
        first, second, third = directions
        directions = [(2 * first + second - third) / 3, (first + 2 * second + third) / 3]
    basis = np.array([[d.real for d in directions], [d.imag for d in directions]])
    return basis, nearest, float(abs(phase))


def _spread(
    tree, points: np.ndarray, basis: np.ndarray, nearest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assign nodes to spots, from the densest region outwards, and fit again after each step.

    Return the nodes (n, 2) int64, which spots have one, and which spots were not reached because
    the fit could not predict their node. Each node belongs to its nearest spot only.
    """
    pitch = np.sqrt(abs(np.linalg.det(basis)))
    starts = points[:: max(1, len(points) // 2_000)]
    crowd = tree.query_ball_point(starts, 5 * nearest, return_length=True)
    origin = starts[np.argmax(crowd)]
    reached = np.hypot(*(points - origin).T) < 2.5 * nearest
    # The first spot may be a stray. The mean phase of its neighbours gives the nodes' position.
    inner = np.linalg.solve(basis, (points[reached] - origin).T)
    phase = np.angle(np.exp(2j * np.pi * inner).mean(axis=1)) / (2 * np.pi)
    origin = origin + basis @ phase
    before = None
    for _ in range(100):
        place = np.linalg.solve(basis, (points - origin).T).T
        nodes = np.rint(place)
        off = np.hypot(*(basis @ (place - nodes).T)) / pitch
        good = reached & (off < STRAY)
        if good.sum() < 4 or (before is not None and (good == before).all()):
            break
        before = good
        basis, origin, deviation = _refit(points, nodes, good, basis, pitch)
        reached = deviation(nodes) < PREDICTED
    jitter = np.sqrt((off[good] ** 2).mean() / 2) if good.any() else 0.0
    good = good & (off < min(STRAY, max(0.1, 6 * jitter)))
    nodes = nodes.astype(np.int64)
    return nodes, _first_at_node(nodes, off, good), ~reached


def _refit(
    points: np.ndarray, nodes: np.ndarray, good: np.ndarray, basis: np.ndarray, pitch: float
):
    """Fit basis and origin to the numbered spots, with the previous basis as a weak prior.

    Return basis, origin, and a function that returns the standard deviation, in pitches, of the
    predicted position of nodes.
    """
    centre = nodes[good].mean(axis=0)
    design = np.column_stack([np.ones(good.sum()), nodes[good] - centre])
    rest = points[good] - (nodes[good] - centre) @ basis.T
    # The first basis has an error of about 5 % of the pitch. The prior matters only in a direction
    # in which no spots are numbered yet.
    noise = 0.05
    for _ in range(2):
        weights = design.T @ design + np.diag([0.0, 1.0, 1.0]) * (noise / 0.05) ** 2
        solution = np.linalg.solve(weights, design.T @ rest)
        off = rest - design @ solution
        noise = max(0.02, float(np.sqrt((off**2).mean())) / pitch)
    covariance = np.linalg.inv(weights) * noise**2

    def deviation(where: np.ndarray) -> np.ndarray:
        steps = np.column_stack([np.ones(len(where)), where - centre])
        return np.sqrt(np.einsum("ni,ij,nj->n", steps, covariance, steps))

    basis = basis + solution[1:].T
    return basis, solution[0] - basis @ centre, deviation


def _first_at_node(nodes: np.ndarray, off: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return which spots keep their node: of several at one node, only the nearest."""
    order = np.flatnonzero(good)
    order = order[np.lexsort((off[order], nodes[order, 1], nodes[order, 0]))]
    again = (np.diff(nodes[order], axis=0) == 0).all(axis=1)
    known = good.copy()
    known[order[1:][again]] = False
    return known


def _kind_by_direction(basis: np.ndarray, kinds: list[str]) -> str:
    """Distinguish square from staggered by the direction of the lattice in the image."""
    if len(kinds) == 1:
        return kinds[0]
    angle = np.degrees(np.arctan2(basis[1, 0], basis[0, 0])) % 90
    return "staggered" if 22.5 < angle < 67.5 else "square"


def _label(nodes: np.ndarray, basis: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert nodes in the basis to rows and columns, by the conventions of `number_spots`."""
    fold = KINDS[kind].fold
    a, b = np.array([1, 0]), np.array([0, 1])
    around = [a, b, b - a, -a, -b, a - b] if fold == 6 else [a, b, -a, -b]
    steps = [basis @ vector for vector in around]
    angles = [np.degrees(np.arctan2(y, x)) for x, y in steps]
    goal = 45.0 if kind == "staggered" else 0.0
    off = [abs(_wrap(angle - goal)) for angle in angles]
    if fold == 6 and min(off) > TURNED:
        off = [abs(_wrap(angle - 90)) for angle in angles]
    first = int(np.argmin(off))
    ahead = [_wrap(angle - angles[first]) for angle in angles]
    second = min((i for i, angle in enumerate(ahead) if angle > 1), key=lambda i: ahead[i])
    along, across = np.rint(np.linalg.solve(np.stack([around[first], around[second]], 1), nodes.T))
    if kind == "hexagonal":
        row, col = across, 2 * along + across
    elif kind == "staggered":
        row, col = along + across, along - across
    else:
        row, col = across, along
    return row.astype(np.int64), col.astype(np.int64)


def _wrap(degrees: float) -> float:
    """Return an angle in the range from -180 to 180 degrees."""
    return (degrees + 180) % 360 - 180
