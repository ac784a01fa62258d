"""Paint tissue under the spots of an array, for generated slides.

The output depends only on the arguments and the seed.
"""

from dataclasses import dataclass

import numpy as np

from st1k4m.technologies import ST, VISIUM, VISIUM_HD, Technology


@dataclass(frozen=True)
class DemoArray:
    """A spatial array: its lattice and its sizes in micrometres; jitter as a fraction of the pitch.

    Stated apart from ``config/geometry.tsv``, so that what is found with that table can be compared
    with what was laid. ``cut_um`` is twice the radius in the coordinate file: for Visium that is
    the theoretical 65 um spot of Space Ranger's ``spot_diameter_fullres``, not the printed 55 um.
    ``digits`` is how many a coordinate has behind the point in the published files, None for all;
    ``depth`` how many counts are expected in a spot for each gene.
    """

    tech: Technology
    lattice: str
    pitch_um: float
    cut_um: float
    jitter: float = 0.0
    digits: int | None = None
    depth: float = 0.8


ARRAYS = {
    ST.name: DemoArray(ST, "square", 200.0, 100.0, jitter=0.03, digits=2),
    "ST2K": DemoArray(ST, "staggered", 150.0, 110.0, jitter=0.03, digits=2),
    VISIUM.name: DemoArray(VISIUM, "hexagonal", 100.0, 65.0, digits=0),
    VISIUM_HD.name: DemoArray(VISIUM_HD, "square", 8.0, 8.0, depth=0.2),
}


@dataclass(frozen=True)
class Region:
    """A kind of tissue: RGB colour, nuclei per square millimetre, fractions of fibres and gaps."""

    name: str
    colour: tuple[int, int, int]
    nuclei: float
    fibres: float
    gaps: float


# The first region is the darkest: a test correlates its markers with the colour of tiles.
REGIONS = (
    Region("immune infiltrate", (160, 118, 178), 8000, 0.2, 0.0),
    Region("invasive cancer", (216, 164, 198), 2600, 0.3, 0.04),
    Region("connective tissue", (233, 176, 200), 900, 1.0, 0.03),
    Region("undetermined", (238, 198, 214), 500, 0.6, 0.35),
)
BACKGROUND = (245, 243, 246)
NUCLEUS = (92, 62, 132)


@dataclass(frozen=True)
class LaidSpots:
    """Spots: centres in pixels (float64), true array positions (int64), radius in pixels."""

    x: np.ndarray
    y: np.ndarray
    row: np.ndarray
    col: np.ndarray
    r: float

    def __len__(self) -> int:
        """Return the number of spots."""
        return len(self.x)

    def __getitem__(self, index: np.ndarray) -> "LaidSpots":
        """Return the spots that ``index`` selects, in its order."""
        return LaidSpots(self.x[index], self.y[index], self.row[index], self.col[index], self.r)


def lay_spots(
    array: str,
    count: int,
    *,
    um_per_px: float,
    rotation: float = 0.0,
    jitter: float | None = None,
    spread: float = 1.5,
    seed: int = 0,
) -> tuple[LaidSpots, tuple[int, int]]:
    """Place the lattice of an array on an image that is just large enough for it.

    Parameters
    ----------
    array
        Key of ``ARRAYS``.
    count
        Number of spots wanted; the lattice has at least ``spread`` times as many.
    um_per_px
        Micrometres per pixel.
    rotation
        Degrees by which the lattice is turned, clockwise in the image.
    jitter
        Standard deviation of each coordinate as a fraction of the pitch; None for the array's own.
    spread
        See ``count``.
    seed
        Seed of the jitter.

    Returns
    -------
    LaidSpots
        All nodes of the lattice, row by row.
    tuple of int
        Height and width of the image, pixels.
    """
    rng = np.random.default_rng([seed, 1])
    kind = ARRAYS[array]
    side = int(np.ceil(np.sqrt(count * spread)))
    row, col = (axis.ravel() for axis in np.mgrid[:side, :side])
    if kind.lattice == "hexagonal":  # as in tissue_positions: columns step by two on a row
        col = 2 * col + row % 2
        step = np.array([0.5, np.sqrt(3) / 2])
    elif kind.lattice == "staggered":  # a square lattice turned by 45 degrees
        col = 2 * col + row % 2
        step = np.array([1.0, 1.0]) / np.sqrt(2)
    else:
        step = np.array([1.0, 1.0])
    along_x = int(kind.tech.directions[0][0]) * col
    pitch = kind.pitch_um / um_per_px
    turn = np.deg2rad(rotation)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centres = turned @ (np.stack([along_x, row]) * (step * pitch)[:, None])
    jitter = kind.jitter if jitter is None else jitter
    centres += rng.normal(0, 1, centres.shape) * jitter * pitch
    margin = max(0.75 * pitch, 0.04 * float(np.ptp(centres, axis=1).max()))
    x, y = centres - centres.min(axis=1, keepdims=True) + margin
    size = int(np.ceil(y.max() + margin)), int(np.ceil(x.max() + margin))
    return LaidSpots(x, y, row, col, kind.cut_um / 2 / um_per_px), size


def smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], cells: int, octaves: int = 1
) -> np.ndarray:
    """Return float32 noise (h, w) with mean 0 and standard deviation 1.

    It has about ``cells`` bumps per side. Each further octave adds bumps of a third of the size and
    height, which makes level lines ragged.
    """
    import cv2

    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        bumps = cells * 3**octave + 1
        coarse = rng.normal(0, 3.0**-octave, (bumps, bumps)).astype(np.float32)
        total += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / (total.std() + 1e-6)


def at_spots(field: np.ndarray, spots: LaidSpots) -> np.ndarray:
    """Return the values of ``field`` (h, w) in the pixels under the centres of spots, (n,)."""
    return field[spots.y.astype(int), spots.x.astype(int)]


def shape_tissue(
    lattice: LaidSpots, size: tuple[int, int], count: int, *, missing: float, seed: int
) -> tuple[LaidSpots, np.ndarray]:
    """Make the outline and the regions of the tissue, and choose the spots on it.

    About one spot in eight is on background.

    Returns
    -------
    LaidSpots
        ``count`` spots (fewer if the lattice is smaller), in the lattice's order.
    numpy.ndarray
        int8 (h, w): the index into ``REGIONS`` of each pixel, -1 for background.
    """
    rng = np.random.default_rng([seed, 2])
    height, width = size
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inward = 0.3 * smooth_noise(rng, size, 5, 3) - 2.4 * (x * x + y * y).astype(np.float32)
    order = np.argsort(-at_spots(inward, lattice), kind="stable")
    pool = order[: int(np.ceil(count / (1 - missing)))]
    spots = lattice[np.sort(rng.permutation(pool)[:count])]

    tissue = inward > np.quantile(at_spots(inward, spots), 1 / 8)
    patches, layers = smooth_noise(rng, size, 4, 3), smooth_noise(rng, size, 3, 3)
    regions = np.digitize(layers, np.quantile(at_spots(layers, spots), [0.4, 0.8])) + 1
    regions[patches > np.quantile(at_spots(patches, spots), 0.7)] = 0
    return spots, np.where(tissue, regions, -1).astype(np.int8)


def paint_tissue(regions: np.ndarray, um_per_px: float, *, seed: int) -> np.ndarray:
    """Paint regions, int8 (h, w), as tissue stained with haematoxylin and eosin.

    Returns
    -------
    numpy.ndarray
        uint8 (h, w, 3), RGB.
    """
    import cv2

    rng = np.random.default_rng([seed, 3])
    size = regions.shape
    fibres = smooth_noise(rng, size, min(max(size) // 3, int(max(size) * um_per_px / 12) + 2))
    fibres = cv2.blur(fibres, (1 + 2 * int(8 / um_per_px), 1))
    palette = np.array([*(kind.colour for kind in REGIONS), BACKGROUND], np.float32)
    strength = np.array([*(8 + 14 * kind.fibres for kind in REGIONS), 0], np.float32)
    # Vessels, ducts and fat: background within the tissue, bumps of about 60 um.
    hollow = smooth_noise(rng, size, min(max(size) // 3, int(max(size) * um_per_px / 60) + 2))
    limits = np.array([np.quantile(hollow, 1 - kind.gaps) for kind in REGIONS] + [np.inf])
    regions = np.where(hollow > limits[regions], -1, regions)
    image = palette[regions]
    edge = 1 + 2 * int(4 / um_per_px)
    image = cv2.GaussianBlur(image, (edge, edge), 0)
    image += (fibres * strength[regions])[..., None] * np.array([0.5, 1.0, 0.7], np.float32)
    image += (smooth_noise(rng, size, 8) * (strength[regions] > 0) * 5)[..., None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    draw_nuclei(image, regions, um_per_px, rng)
    grain = rng.normal(0, 2.5, (128, 128, 3))
    grain = np.tile(grain, (size[0] // 128 + 1, size[1] // 128 + 1, 1))[: size[0], : size[1]]
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def draw_nuclei(
    image: np.ndarray, regions: np.ndarray, um_per_px: float, rng: np.random.Generator
) -> None:
    """Draw nuclei into ``image`` with the density of each region."""
    import cv2

    height, width = regions.shape
    densest = max(kind.nuclei for kind in REGIONS)
    # If a nucleus is smaller than a pixel or two, one drawn nucleus replaces several.
    clump = max(1.0, um_per_px / 3)
    number = int(densest * height * width * um_per_px**2 / 1e6 / clump**2)
    x, y = rng.random(number) * width, rng.random(number) * height
    density = np.array([*(kind.nuclei for kind in REGIONS), 0.0])
    there = rng.random(number) * densest < density[regions[y.astype(int), x.astype(int)]]
    x, y, number = x[there], y[there], int(there.sum())
    # Half axes of 2.2 to 4.2 um in sixteenths of a pixel.
    axes = np.maximum(rng.uniform(2.2, 4.2, (number, 2)) * clump / um_per_px * 16, 8).astype(int)
    centres = (np.stack([x, y], axis=1) * 16).astype(int)
    angles = rng.uniform(0, 180, number)
    shades = np.clip(NUCLEUS + rng.normal(0, 14, (number, 1)), 0, 255)
    for centre, axis, angle, shade in zip(centres, axes, angles, shades, strict=True):
        cv2.ellipse(
            image, centre.tolist(), axis.tolist(), angle, 0, 360, shade.tolist(), -1, cv2.LINE_AA, 4
        )
