"""Read the spots of the user's own slides, in pixels of the image that is used.

Space Ranger states positions in pixels of the full-resolution image, but does not store that image.
The images that it stores, hires and lowres, are smaller by the factors in
``scalefactors_json.json``.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from st1k4m import codes
from st1k4m.errors import SlideError
from st1k4m.geometry.arrays import Array, Measured
from st1k4m.geometry.barcodes import ArrayIds
from st1k4m.geometry.coordinates import Coordinates
from st1k4m.geometry.lattice import fit_lattice, tell_kind
from st1k4m.source import places
from st1k4m.source.positions import Positions, read_positions

# Relative difference of stated and fitted micrometres per pixel above which they contradict. Both
# are fits of the same lattice; for Space Ranger's outputs they differ by less than 0.1 %.
CONTRADICTION = 0.01
# Diameter of a spot, in pixels, below which its tile shows no detail.
FEWEST_PIXELS = 2.0
# Images in an AnnData file with their scale factors, the larger image first.
INSIDE = (("hires", "tissue_hires_scalef"), ("lowres", "tissue_lowres_scalef"))
_KEYS = {"hires": "tissue_hires_scalef", "lowres": "tissue_lowres_scalef"}


@dataclass(frozen=True)
class OwnSpots:
    """The spots of the user's own slide, in the form that `align_spots` needs.

    Attributes
    ----------
    coordinates
        Centres and radius in pixels of the image that is used.
    ids
        Positions on the array; None if the file has none.
    selected
        (spots,) bool: whether the file states that the spot is in tissue.
    um_per_px
        Micrometres per pixel of the image as the scale factors state it; None if they do not.
    facts
        Facts for the record: ``image_used``, ``image_scale``, ``positions_format``,
        ``um_per_px_stated``, ``radius_by``.
    flags
        Flags by code, with a sentence each.
    """

    coordinates: Coordinates
    ids: ArrayIds | None
    selected: np.ndarray
    um_per_px: float | None
    facts: dict
    flags: dict[str, str] = field(default_factory=dict)


def read_own_spots(
    slide: str,
    layout: dict,
    image: str | Path,
    size: tuple[int, int],
    arrays: dict[str, Array],
    *,
    max_outside: float,
    folder: str | Path,
) -> OwnSpots:
    """Read the spots of the user's own slide.

    Parameters
    ----------
    slide
        Name of the slide: ids become ``<slide>_<barcode>``.
    layout
        The slide's ``coord`` and ``image`` parts, see `st1k4m.source.own_layout.Recognised`.
    image
        Path of the image that is used.
    size
        Width and height of the image in pixels.
    arrays
        The arrays that the slide can have, by kind of lattice.
    max_outside
        Share of the spots in tissue outside the image above which a scale factor does not fit.
    folder
        Folder where other images may be unpacked temporarily.

    Raises
    ------
    SlideError
        A file cannot be read; scale factors are missing or do not fit the image; or neither a file
        nor the lattice gives the radius.
    """
    positions = read_positions(slide, layout["coord"])
    factors = _read_factors(slide, layout["coord"])
    scale, used = _find_scale(slide, layout, Path(image), size, factors, folder)
    x, y = positions.x * scale, positions.y * scale
    _refuse_misfit(slide, layout["image"]["image"], size, scale, used, positions, max_outside)
    flags: dict[str, str] = {}
    bin_um = factors.get("bin_size_um") or layout["coord"].get("bin_um")
    stated = layout["coord"].get("bin_um")
    if stated and factors.get("bin_size_um") and stated != factors["bin_size_um"]:
        flags[codes.UM_PER_PX_CONTRADICTS] = (
            f"the folder speaks of bins of {stated} um, bin_size_um is {factors['bin_size_um']:g}"
        )
    ids = None
    if positions.row is not None:
        ids = ArrayIds(positions.row, positions.col, float(bin_um) if bin_um else None)
    diameter = factors.get("spot_diameter_fullres") or positions.diameter
    radius = diameter * scale / 2 if diameter else _radius_of_lattice(slide, x, y, ids, arrays)
    if not 0 < radius < 1e9:
        raise SlideError(
            slide,
            f"spot_diameter_fullres is {diameter:g}, expected pixels above 0",
            "correct the scale factors, or take them from the Space Ranger run again",
        )
    if 2 * radius < FEWEST_PIXELS:
        flags[codes.COARSER_THAN_SPOTS] = (
            f"a spot is {2 * radius:.2g} px wide in the {used} image; name the full-resolution "
            "image in column image, or take larger bins"
        )
    stated_um = factors.get("microns_per_pixel")
    return OwnSpots(
        Coordinates(
            [f"{slide}_{barcode}" for barcode in positions.barcodes],
            x,
            y,
            np.full(len(x), float(radius)),
        ),
        ids,
        positions.selected,
        stated_um / scale if stated_um else None,
        {
            "image_used": used,
            "image_scale": scale,
            "positions_format": layout["coord"]["format"],
            "um_per_px_stated": stated_um / scale if stated_um else None,
            "radius_by": "file" if diameter else "lattice",
        },
        flags,
    )


def find_contradiction(spots: OwnSpots, measured: Measured) -> dict[str, str]:
    """Compare the fitted micrometres per pixel with the stated ones; return the spots' flags."""
    flags = dict(spots.flags)
    stated, fitted = spots.um_per_px, measured.um_per_px
    if stated and fitted and abs(fitted / stated - 1) > CONTRADICTION:
        flags[codes.UM_PER_PX_CONTRADICTS] = (
            f"the lattice implies {fitted:.4g} um/px, microns_per_pixel and the scale of the image "
            f"state {stated:.4g}"
        )
    return flags


def _read_factors(slide: str, part: dict) -> dict[str, float]:
    """Read the scale factors; empty for a layout without such a file."""
    place = part.get("scalefactors", "")
    if not place:
        return _factors_inside(part["positions"]) if part["format"] == "h5ad" else {}
    try:
        with places.open_place(place) as file:
            read = json.loads(file.read(1 << 20))
        factors = {key: float(value) for key, value in read.items()}
    except FileNotFoundError as error:
        raise places.missing(slide, place) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SlideError(
            slide,
            f"{place} is not a JSON object of numbers ({error})",
            "copy the scalefactors_json.json of the run again",
        ) from error
    wrong = [key for key, value in factors.items() if not 0 < value < 1e9]
    if wrong:
        raise SlideError(
            slide,
            f"{place}: {wrong[0]} is {factors[wrong[0]]:g}, expected a number above 0",
            "copy the scalefactors_json.json of the run again",
        )
    return factors


def _factors_inside(path: str) -> dict[str, float]:
    import h5py

    with h5py.File(path) as file:
        for library in file.get("uns/spatial", {}).values():
            if "scalefactors" in library:
                found = {key: item[()] for key, item in library["scalefactors"].items()}
                return {k: float(v) for k, v in found.items() if isinstance(v, np.number)}
    return {}


def _find_scale(
    slide: str,
    layout: dict,
    image: Path,
    size: tuple[int, int],
    factors: dict[str, float],
    folder: str | Path,
) -> tuple[float, str]:
    """Return the scale from pixels of the positions to pixels of the image, and its kind."""
    part = layout["image"]
    used, name = part["which"], part["image"]
    if used == "inside":
        used = image.stem if image.stem in _KEYS else "hires"
    others = {
        which: _size_of(slide, part[which], folder)
        for which in ("hires", "lowres")
        if which in part
    }
    if used in _KEYS:
        key = _KEYS[used]
        if key not in factors:
            raise SlideError(
                slide,
                f"there is no {key} in the scale factors, which {name} needs",
                "copy the scalefactors_json.json of the run again, or name the full-resolution "
                "image in column image",
            )
        for which, other in others.items():
            if _KEYS[which] in factors:
                _compare(slide, used, size, factors[key], which, other, factors[_KEYS[which]])
        return factors[key], used
    if "scale" in part:
        return part["scale"], "given"
    for which, other in others.items():
        if other == size and _KEYS[which] in factors:  # the given image is one of the run's images
            return factors[_KEYS[which]], which
    for which, other in others.items():
        key = _KEYS[which]
        if key in factors and not _agree(size, 1.0, other, factors[key]):
            full = " x ".join(f"{side / factors[key]:.0f}" for side in other)
            turned = _agree(size[::-1], 1.0, other, factors[key])
            share = size[0] * factors[key] / other[0]
            hint = f"rotate the image by 90 degrees, so that it looks like the {which} image"
            if not turned:
                hint = (
                    "give the image that was given to Space Ranger, or state in column scale the "
                    "size of the given image relative to the full-resolution one "
                    f"({share:.6g} by the widths)"
                )
            raise SlideError(
                slide,
                f"{name} has {size[0]} x {size[1]} pixels, but {key} {factors[key]:g} and the "
                f"{which} image of {other[0]} x {other[1]} imply {full}",
                hint,
            )
    return 1.0, "full"


def _size_of(slide: str, place: str, folder: str | Path) -> tuple[int, int]:
    from st1k4m.image.decode import read_header

    with places.at_hand(slide, place, folder) as path:
        header = read_header(path, slide=slide)
    return header.width, header.height


def _agree(size: tuple[int, int], scale: float, other: tuple[int, int], other_scale: float) -> bool:
    """Return whether two sizes imply the same image; rounding may change each by a pixel."""
    room = 1 / scale + 1 / other_scale
    pairs = zip(size, other, strict=True)
    return all(abs(a / scale - b / other_scale) <= room + 0.001 * a / scale for a, b in pairs)


def _compare(
    slide: str,
    used: str,
    size: tuple[int, int],
    scale: float,
    which: str,
    other: tuple[int, int],
    other_scale: float,
) -> None:
    """Raise if scale factors contradict the sizes of the two images."""
    if _agree(size, scale, other, other_scale):
        return
    implied = [
        f"{' x '.join(f'{side / s:.0f}' for side in sides)} by {name} "
        f"({sides[0]} x {sides[1]} / {s:g})"
        for name, sides, s in ((used, size, scale), (which, other, other_scale))
    ]
    raise SlideError(
        slide,
        "the scale factors do not fit the images: the full-resolution image would have "
        + " and ".join(implied)
        + " pixels",
        "take images and scalefactors_json.json from one run, or name the full-resolution image in "
        "column image",
    )


def _refuse_misfit(
    slide: str,
    image: str,
    size: tuple[int, int],
    scale: float,
    used: str,
    positions: Positions,
    max_outside: float,
) -> None:
    """Raise if a scale puts too many spots outside the image."""
    some = positions.selected if positions.selected.any() else np.ones(len(positions.x), bool)
    x, y = positions.x[some], positions.y[some]
    outside = (x < 0) | (y < 0) | (x * scale >= size[0]) | (y * scale >= size[1])
    if outside.mean() <= max_outside:
        return
    raise SlideError(
        slide,
        f"with the scale {scale:g} of the {used} image {int(outside.sum()):,} of {len(x):,} spots "
        f"lie outside {image}, more than max_outside ({max_outside:.0%}): it has {size[0]} x "
        f"{size[1]} pixels, which is {size[0] / scale:.0f} x {size[1] / scale:.0f} in units of the "
        f"positions, but x runs from {x.min():.6g} to {x.max():.6g} and y from {y.min():.6g} to "
        f"{y.max():.6g}",
        "give the image that belongs to these positions in column image (with column scale if it "
        "has another size), or raise geometry.max_outside",
    )


def _radius_of_lattice(
    slide: str, x: np.ndarray, y: np.ndarray, ids: ArrayIds | None, arrays: dict[str, Array]
) -> float:
    """Return the radius in pixels that the pitch of the lattice implies."""
    kind = tell_kind(ids.row, ids.col, list(arrays)) if ids else None
    lattice = fit_lattice(x, y, ids.row, ids.col, kind) if kind else None
    if lattice is None or lattice.doubts:
        why = "; ".join(lattice.doubts) if lattice else "the spots show no lattice"
        raise SlideError(
            slide,
            f"the radius of a spot is unknown: no file states it, and {why}",
            "add spot_diameter_fullres to the scale factors, or check the spot file",
        )
    array = arrays[kind]
    diameter = ids.bin_um or array.drawn_um
    return diameter / 2 * lattice.pitch / (ids.bin_um or array.pitch_um)
