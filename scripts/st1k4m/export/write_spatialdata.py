"""Write one slide as a SpatialData store, with the names that spatialdata-io uses for Visium.

The library `spatialdata` checks and writes every element, except the pixels of the full image: it
would need the image in memory, or decode it many times. The store is therefore made with empty
levels, and `pyramid` fills them in one pass.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from st1k4m import codes
from st1k4m.collection.tables import read_table
from st1k4m.errors import SlideError
from st1k4m.export.names import element_name, renamed
from st1k4m.formats.record import Record, read_record
from st1k4m.formats.slide_anndata import (
    HIRES,
    HIRES_SCALE,
    IMAGES,
    LOWRES,
    LOWRES_SCALE,
    RECORD,
    SCALES,
    SPATIAL,
    TILE,
)
from st1k4m.formats.spots import DIAMETER
from st1k4m.formats.tile_store import read_places
from st1k4m.run import outputs
from st1k4m.run.provenance import KEY, Made
from st1k4m.technologies import technology

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData
    from spatialdata.transformations import BaseTransformation
    from xarray import DataArray, DataTree

    from st1k4m.image.decode import Header

log = logging.getLogger(__name__)

MICRONS = "microns"
"""The coordinate system in micrometres; sopa uses the same name."""

REGION, INSTANCE = "region", "spot_id"
"""Columns of the table: a spot's element and its index there, as in spatialdata-io."""


@dataclass(frozen=True)
class Collected:
    """The rows of one slide in the collection's tables.

    Attributes
    ----------
    relations
        Its rows of ``relations.tsv``.
    splits
        Its row of each ``splits/{name}.tsv``, by the name of the split.
    """

    relations: list[dict[str, str]] = field(default_factory=list)
    splits: dict[str, dict[str, str]] = field(default_factory=dict)


def read_collected(
    slide: str, relations: str | Path, splits: Mapping[str, str | Path]
) -> Collected:
    """Read the rows of one slide in the collection's tables.

    Parameters
    ----------
    slide
        Name of the slide.
    relations
        Path of ``relations.tsv``.
    splits
        Paths of the splits, by name.
    """
    _, related = read_table(relations, ("slide_a", "slide_b"))
    parts = {}
    for name, path in splits.items():
        _, rows = read_table(path, ("slide", "part"))
        parts[name] = next((row for row in rows if row["slide"] == slide), None)
    return Collected(
        [row for row in related if slide in (row["slide_a"], row["slide_b"])],
        {name: row for name, row in parts.items() if row},
    )


@dataclass(frozen=True)
class Frame:
    """The coordinate systems of a slide.

    Attributes
    ----------
    name
        Name of the slide's elements, and of the system in pixels of the full image.
    hires, lowres
        Pixels of the hires and the lowres image per pixel of the full image.
    um_per_px
        Micrometres per pixel of the full image, (x, y); None if unknown.
    """

    name: str
    hires: float
    lowres: float
    um_per_px: tuple[float, float] | None

    def of_pixels(self, per_pixel: float = 1.0) -> "dict[str, BaseTransformation]":
        """Return the transformations of an element in pixels of the full or of a shrunk image.

        Parameters
        ----------
        per_pixel
            The element's units per pixel of the full image: 1, or a shrunk image's scale factor.
        """
        from spatialdata.transformations import Identity, Scale

        def scale(x: float, y: float) -> "BaseTransformation":
            return Identity() if x == y == 1 else Scale([y, x], axes=("y", "x"))

        systems = {self.name: scale(1 / per_pixel, 1 / per_pixel)}
        if self.um_per_px:
            x, y = self.um_per_px
            systems[MICRONS] = scale(x / per_pixel, y / per_pixel)
        return systems


def write_spatialdata(
    anndata: str | Path,
    tiles: str | Path,
    record: str | Path,
    store: str | Path,
    *,
    slide: str,
    collected: Collected | None = None,
    image: str | Path | None = None,
    threads: int = 1,
    made: Made | None = None,
) -> None:
    """Write a slide's SpatialData store, a folder, whole or not at all.

    Parameters
    ----------
    anndata, tiles, record
        The slide's products.
    store
        The folder to write, ``{slide}.zarr``.
    slide
        Name of the slide.
    collected
        The slide's rows in the collection's tables, for the store's attributes.
    image
        The slide's image, to be stored in full resolution; None to leave it out.
    threads
        Number of cores to use.
    made
        What the store is made from, for its attributes.

    Raises
    ------
    SlideError
        spatialdata is not installed; or the size of the image differs from the record.

    Notes
    -----
    Images ``{slide}_full_image`` (if configured, with levels), ``{slide}_hires_image``,
    ``{slide}_lowres_image``: uint8, channels r, g, b. Shapes ``{slide}``: circles with the diameter
    ``spot_diameter_fullres``, for binned technologies squares, indexed by ``spot_id``; and
    ``{slide}_tiles``: the squares of the tiles, indexed by their row in the tile store. Table
    ``table``: the AnnData, without images. Coordinate systems ``{slide}`` (pixels of the full
    image), ``{slide}_downscaled_hires``, ``{slide}_downscaled_lowres`` and ``microns``.

    Coordinates refer to the corners of pixels: (0, 0) is the corner of the first pixel and
    (0.5, 0.5) its centre, both in the dataset and in SpatialData.
    """
    _require_spatialdata(slide)
    import anndata as ad
    import dask
    import zarr

    known = read_record(record)
    table = ad.read_h5ad(anndata)
    name = element_name(slide)
    with (
        dask.config.set(scheduler="threads", num_workers=threads),
        zarr.config.set({"threading.max_workers": threads}),
        outputs.atomic_folder(store) as whole,
    ):
        size = known.size if image else None
        header = _read_header(image, slide, size) if image and size else None
        data = make_spatialdata(table, tiles, known, collected=collected, full_image=size)
        if made:
            data.attrs["st1k4m"][KEY] = asdict(made)
        data.write(whole)
        if image and header:
            _fill_full_image(whole, f"{name}_full_image", image, header, slide, threads)


def make_spatialdata(
    table: "AnnData",
    tiles: str | Path,
    record: Record,
    *,
    collected: Collected | None = None,
    full_image: tuple[int, int] | None = None,
) -> "SpatialData":
    """Return a slide as SpatialData; see `write_spatialdata` for its elements.

    Parameters
    ----------
    table
        The slide's AnnData. It is not changed.
    tiles
        Path of the slide's tile store.
    record
        The slide's record.
    collected
        The slide's rows in the collection's tables.
    full_image
        Width and height in pixels of the full image. The result has its levels, which are black.
    """
    import spatialdata

    slide = record.slide
    name = element_name(slide)
    spatial = table.uns[SPATIAL][slide]
    scale = spatial[SCALES]
    frame = Frame(
        name,
        float(scale[HIRES_SCALE]),
        float(scale[LOWRES_SCALE]),
        micrometres_per_pixel(record),
    )
    if frame.um_per_px is None:
        log.warning("no coordinate system in micrometres: micrometres per pixel are not known")
    images = _pictures(spatial[IMAGES], frame)
    if full_image:
        images[f"{name}_full_image"] = _empty_levels(*full_image, frame)
    shapes, tables, changed = {}, {}, {}
    if table.n_obs:
        shapes[name] = _spots(table, scale[DIAMETER], record, frame)
        tables["table"], changed = _make_table(table, name)
        squares = _tile_squares(tiles, table, frame)
        if len(squares):
            shapes[f"{name}_tiles"] = squares
    else:
        log.warning("the slide has no spots: the store has its images only")
    data = spatialdata.SpatialData(images=images, shapes=shapes, tables=tables)
    data.attrs.update(_attributes(record, collected or Collected(), images, tables, changed))
    return data


def micrometres_per_pixel(record: Record) -> tuple[float, float] | None:
    """Return the micrometres per pixel of the full image, (x, y); None if unknown.

    The record states one number, and one for each axis. The two axes differ by chance too, so they
    are used only if the slide has the flag ``squeezed``: the lattice is then so much wider along
    one axis that the image's pixels are not square.
    """
    if codes.SQUEEZED in record.flags:
        return record.um_per_px_xy
    return (float(record.um_per_px),) * 2 if record.um_per_px else None


def _require_spatialdata(slide: str) -> None:
    try:
        import spatialdata  # noqa: F401
    except ImportError as error:
        raise SlideError(
            slide,
            f"spatialdata cannot be imported: {error}",
            "run pip install '.[spatialdata]' in the clone, or set spatialdata: false",
        ) from None


def _pictures(pictures: dict[str, np.ndarray], frame: Frame) -> "dict[str, DataArray | DataTree]":
    """Return the shrunk images as elements, each in its own system and in the slide's systems."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Identity

    images = {}
    for which, factor in ((HIRES, frame.hires), (LOWRES, frame.lowres)):
        systems = {f"{frame.name}_downscaled_{which}": Identity(), **frame.of_pixels(factor)}
        images[f"{frame.name}_{which}_image"] = Image2DModel.parse(
            np.ascontiguousarray(pictures[which].transpose(2, 0, 1)),
            dims=("c", "y", "x"),
            c_coords=["r", "g", "b"],
            transformations=systems,
        )
    return images


def _empty_levels(width: int, height: int, frame: Frame) -> "DataTree":
    """Return a black image with all its levels; black chunks are not stored."""
    import dask.array
    from spatialdata.models import Image2DModel

    from st1k4m.export import pyramid

    chunks = (3, pyramid.CHUNK, pyramid.CHUNK)
    return Image2DModel.parse(
        dask.array.zeros((3, height, width), dtype=np.uint8, chunks=chunks),
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        scale_factors=[2] * (pyramid.count_levels(width, height) - 1),
        chunks=chunks,
        transformations=frame.of_pixels(),
    )


def _systems_of_shapes(frame: Frame) -> "dict[str, BaseTransformation]":
    from spatialdata.transformations import Scale

    return {
        **frame.of_pixels(),
        f"{frame.name}_downscaled_hires": Scale([frame.hires] * 2, axes=("y", "x")),
        f"{frame.name}_downscaled_lowres": Scale([frame.lowres] * 2, axes=("y", "x")),
    }


def _spots(table: "AnnData", diameter: float, record: Record, frame: Frame) -> "GeoDataFrame":
    """Return the spots as circles; as squares for a binned technology."""
    import pandas as pd
    from spatialdata.models import ShapesModel

    centres = np.asarray(table.obsm[SPATIAL], np.float64)
    index = pd.RangeIndex(table.n_obs, name=INSTANCE)
    systems = _systems_of_shapes(frame)
    if technology(record.tech).binned:
        return _squares(centres - diameter / 2, diameter, index, systems)
    return ShapesModel.parse(
        centres, geometry=0, radius=diameter / 2, index=pd.Index(index), transformations=systems
    )


def _tile_squares(tiles: str | Path, table: "AnnData", frame: Frame) -> "GeoDataFrame":
    """Return the square of each tile; column ``spot_id`` is its spot, -1 for none."""
    import pandas as pd

    places = read_places(tiles)
    corners, side = places.coords.astype(np.float64), float(places.side)
    row = table.obs[TILE].to_numpy()
    spot = np.full(len(corners), -1, np.int64)
    spot[row[row >= 0]] = np.flatnonzero(row >= 0)
    index = pd.RangeIndex(len(corners), name="tile")
    return _squares(corners, side, index, _systems_of_shapes(frame), **{INSTANCE: spot})


def _squares(
    corners: np.ndarray,
    side: float,
    index,
    systems: "dict[str, BaseTransformation]",
    **columns: np.ndarray,
) -> "GeoDataFrame":
    """Return squares from their top left corners, (n, 2) as (x, y), in pixels of the full image."""
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel

    x, y = corners.T
    boxes = shapely.box(x, y, x + side, y + side)
    frame = geopandas.GeoDataFrame(columns, geometry=boxes, index=index)
    return ShapesModel.parse(frame, transformations=systems) if len(frame) else frame


def _make_table(table: "AnnData", region: str) -> "tuple[AnnData, dict[str, dict[str, str]]]":
    """Return the AnnData as a table of SpatialData, and new names by old names of each part.

    Images and record are left out: the images are elements, and the record is an attribute of the
    store (in a table's ``uns`` it would be 250 files). SpatialData has rules for the names of
    columns, layers and other parts, but not for the names of spots and genes.
    """
    import anndata as ad
    from spatialdata.models import TableModel

    def fit(part: str) -> dict:
        # from anndata 0.13 on, the layers include X, with the key None
        values = {key: value for key, value in getattr(table, part).items() if key is not None}
        new = renamed(values)
        if new:
            changed[part] = new
        return {new.get(key, key): value for key, value in values.items()}

    changed: dict[str, dict[str, str]] = {}
    frames = {}
    for axis in ("obs", "var"):
        columns = getattr(table, axis)
        if new := renamed(columns):
            changed[axis] = new
            columns = columns.rename(columns=new)
        frames[axis] = columns.copy()
    frames["obs"][REGION] = region
    frames["obs"][REGION] = frames["obs"][REGION].astype("category")
    frames["obs"][INSTANCE] = np.arange(table.n_obs)
    others = {part: fit(part) for part in ("uns", "obsm", "varm", "obsp", "varp", "layers")}
    for elsewhere in (SPATIAL, RECORD):  # elements, and attributes of the store
        others["uns"].pop(elsewhere, None)
    for part, names in changed.items():
        log.warning("%s: renamed for SpatialData: %s", part, names)
    made = ad.AnnData(X=table.X, **frames, **others)
    return TableModel.parse(made, region=region, region_key=REGION, instance_key=INSTANCE), changed


def _attributes(
    record: Record, collected: Collected, images: dict, tables: dict, changed: dict
) -> dict:
    """Return the store's attributes: plain values for JSON."""
    name = element_name(record.slide)
    tissue = next(key for which in ("full", HIRES) if (key := f"{name}_{which}_image") in images)
    attributes = {
        "st1k4m": {
            "slide": record.slide,
            "annotation": record.annotation,
            "record": record.content,
            **asdict(collected),
            "renamed": changed,
        },
        # sopa reads the names of its images and its table here
        "cell_segmentation_image": tissue,
        "tissue_segmentation_image": tissue,
    }
    if tables and technology(record.tech).binned:
        attributes["bins_table"] = "table"
    return attributes


def _read_header(image: str | Path, slide: str, size: tuple[int, int]) -> "Header":
    from st1k4m.image import decode

    header = decode.read_header(image, slide=slide, max_pixels=math.inf)
    if (header.width, header.height) != size:
        raise SlideError(
            slide,
            f"{image}: {header.width} x {header.height} pixels, but the slide's record states "
            f"{size[0]} x {size[1]}",
            "the image was replaced after the slide was built: run with --forcerun align_spots",
        )
    return header


def _fill_full_image(
    store: Path, element: str, image: str | Path, header: "Header", slide: str, threads: int
) -> None:
    """Write the pixels of the image to the empty levels of the store."""
    import zarr

    from st1k4m.export import pyramid
    from st1k4m.image import decode

    group = zarr.open_group(store / "images" / element, mode="r+")
    attributes = group.attrs.asdict()
    multiscales = attributes.get("ome", attributes)["multiscales"]
    levels = [group[level["path"]] for level in multiscales[0]["datasets"]]
    pyramid.fill_levels(decode.Bands(image, header, slide=slide, threads=threads), levels)
