"""A painted section with spots on it, which the tests of the geometry perturb.

The tissue has one straight side, one round side and a notch, so no rotation or mirror image looks
like the original. Background surrounds it. The lattices are those of ``st1k4m.demo.tissue``.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from places import DEFAULTS, REPOSITORY
from st1k4m.demo import dataset as demo
from st1k4m.demo import tissue as demo_tissue
from st1k4m.formats.spots import read_spots
from st1k4m.geometry.align_spots import align_spots
from st1k4m.run import settings

GEOMETRY = settings.read_table(REPOSITORY / "config" / "geometry.tsv")
OPTIONS = DEFAULTS["geometry"]
TECH = {"ST": "ST", "ST2K": "ST", "Visium": "Visium", "VisiumHD": "VisiumHD"}
UM_PER_PX = {"ST": 40.0, "ST2K": 30.0, "Visium": 20.0, "VisiumHD": 2.0}


@dataclass(frozen=True)
class Section:
    """Spots (names without the slide's, x, y, r in pixels), their true positions, and the image."""

    slide: str
    tech: str
    names: list[str]
    x: np.ndarray
    y: np.ndarray
    r: np.ndarray
    row: np.ndarray
    col: np.ndarray
    image: np.ndarray

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]

    def but(self, **changes) -> "Section":
        """Return the section with other centres, radii or image."""
        return dataclasses.replace(self, **changes)

    def align(self, folder: Path, *, geometry=GEOMETRY, override=None, **options):
        """Write the files and align; return the table as numpy columns, and the facts."""
        coord, image = folder / f"{self.slide}_coord.csv", folder / f"{self.slide}.png"
        lines = [
            f"{self.slide}_{name},{y!r},{x!r},{r!r}"
            for name, y, x, r in zip(
                self.names, self.y.tolist(), self.x.tolist(), self.r.tolist(), strict=True
            )
        ]
        coord.write_text("\n".join([",yaxis,xaxis,r", *lines, ""]))
        cv2.imwrite(str(image), self.image[..., ::-1])
        return align(
            coord, image, self.slide, self.tech, geometry=geometry, override=override, **options
        )


def align(
    coord,
    image,
    slide,
    tech,
    *,
    out=None,
    geometry=GEOMETRY,
    override=None,
    max_pixels=1e9,
    **options,
):
    """Run ``align_spots`` with the default options; return numpy columns and facts."""
    out = out or Path(coord).with_name(f"{slide}.parquet")
    align_spots(
        coord,
        image,
        out,
        slide=slide,
        tech=tech,
        geometry=settings.rows_for(geometry, slide, tech),
        override=override,
        options={**OPTIONS, **options},
        max_pixels=max_pixels,
    )
    table, facts = read_spots(out)
    columns = {name: values for name, values in vars(table).items() if values is not None}
    return {name: np.array(values) for name, values in columns.items()}, facts


def make_section(
    array: str = "Visium",
    spots: int = 700,
    *,
    rotation: float = 0.0,
    missing: float = 0.0,
    jitter: float | None = None,
    place: tuple[float, float, float] = (0.5, 0.5, 0.3),
    colour: tuple[int, int, int] = (178, 110, 176),
    seed: int = 0,
) -> Section:
    """Paint a section and lay spots over its tissue.

    ``place`` is the centre of the tissue and its half height, as fractions of the image; the tissue
    can be far to one side. ``missing`` is the fraction of spots that are left out at random.
    """
    x, y, r = place
    area = np.pi * r * r * 0.7
    lattice, size = demo_tissue.lay_spots(
        array,
        int(spots / area / (1 - missing)),
        um_per_px=UM_PER_PX[array],
        rotation=rotation,
        jitter=jitter,
        spread=1.0,
        seed=seed,
    )
    height, width = size
    across, down = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    tissue = (np.hypot((across - x) / 0.8, down - y) < r) & (down > y - 0.7 * r)
    tissue &= ~((across > x) & (np.abs(down - y - 0.2 * r) < 0.2 * r))
    rng = np.random.default_rng(seed)
    image = np.where(tissue[..., None], colour, (243, 242, 244))
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    kept = demo_tissue.at_spots(tissue, lattice) & (rng.random(len(lattice)) >= missing)
    lattice = lattice[np.flatnonzero(kept)]
    return Section(
        slide=f"Section_{array}",
        tech=TECH[array],
        names=demo.name_spots(array, lattice, seed),
        x=lattice.x,
        y=lattice.y,
        r=np.full(len(lattice), lattice.r),
        row=lattice.row,
        col=lattice.col,
        image=image,
    )
