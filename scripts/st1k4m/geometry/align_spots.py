"""Where every spot really is, and how large a pixel is.

The dataset gives a centre and a radius in pixels, and no micrometres. The lattice of the spots has
a known pitch, so fitting it gives the position of every spot on the array, the micrometres per
pixel, and a check of the radius. ``alignment`` checks that centres and image belong together.
"""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.geometry import correction as correct
from st1k4m.geometry import placement
from st1k4m.geometry.arrays import (
    RESOLUTION,
    Array,
    Measured,
    collect_clues,
    measure,
    misfit,
    read_arrays,
)
from st1k4m.geometry.barcodes import ArrayIds, read_positions
from st1k4m.geometry.coordinates import Coordinates, read_coordinates
from st1k4m.geometry.correction import Correction, override_row, read_override
from st1k4m.geometry.own_positions import find_contradiction, read_own_spots
from st1k4m.geometry.spot_table import read_spots, write_spots
from st1k4m.geometry.verdict import Verdict, judge
from st1k4m.run.provenance import Made

log = logging.getLogger(__name__)

# Where files in archives are unpacked for a moment, below the working directory.
UNPACKED = "work/unpacked"

__all__ = ["FLAGS", "align_spots", "read_coordinates", "read_spots"]

# Upper ends of the tiers in um/px, as other tools draw the lines.
TIERS = ((1.15, "high"), (2.4, "medium"), (np.inf, "low"))

# Of what is fitted, in pixels, micrometres and degrees: beyond them it holds noise, which differs
# from one processor to the next.
DECIMALS = 9

# An image up to this many pixels is looked at without a doubt where ids do not tell a mirror image:
# it is decoded within a second.
CURIOUS = 2**25

FLAGS = {
    "corrected": "a correction of the coordinates was found beyond doubt, and applied",
    "override": "a correction of the coordinates was stated by hand, and applied",
    "correction_proposed": "a correction of the coordinates is likely, and was not applied",
    "outside_image": "some spots lie outside the image",
    "lattice_unsure": "positions on the array, or the size of a pixel, could not be told",
    "stray_spots": "some spots stand off the lattice",
    "squeezed": "pixels are not square",
    "radius_inconsistent": "radius and pitch contradict each other",
    "radius_varies": "the radius differs between spots; the first one cuts",
    "orientation_unsure": "which way round the array lies in the image is in doubt",
    "in_corner": "all spots lie in the quarter of the image at its origin",
    "off_tissue": "most spots lie beside the tissue",
    "um_per_px_contradicts": "what the files state of the size of a pixel contradicts the spots",
    "featureless_image": "the image does not tell where the tissue is",
}


def align_spots(
    coord: str | Path,
    image: str | Path,
    out: str | Path,
    *,
    slide: str,
    tech: str,
    geometry: list[dict],
    override: dict | None,
    options: dict,
    max_pixels: float | None = None,
    layout: dict | None = None,
    made: Made | None = None,
) -> None:
    """Write where the spots of a slide are, in pixels of its image, and on their array.

    Parameters
    ----------
    coord
        ``<slide>_coord.csv``.
    image
        The image; its header is read, and a reduced copy decoded only where there is doubt.
    out
        Parquet, one row a spot in the order of the coordinate file: ``spot``, ``barcode``, ``x``,
        ``y`` and ``r`` (float64, pixels of the image, corrected), ``array_row`` and ``array_col``
        (int32, -1 unknown; relative where the ids do not state them), ``outside`` (bool, centre
        outside the image). Its metadata hold the facts, see ``read_spots``.
    slide, tech
        Name and technology.
    geometry
        The rows of ``config/geometry.tsv`` that speak of the slide, see ``settings.rows_for``.
    override
        The slide's row of ``config/overrides.tsv``, if it has one.
    options
        ``radius`` (``file``, ``lattice``), ``radius_tolerance``, ``auto_correct``, ``max_outside``.
    max_pixels
        An image that declares more is refused; None for the limit of ``images``.
    layout
        Of a slide of one's own, see `st1k4m.source.catalogue.Catalogue.layout`; its parts ``coord``
        and ``image`` then say what is read. The table has a column ``selected`` more, and whether
        spots and image fit is judged by those in tissue.

    made
        What the file is made from; it carries that.

    Raises
    ------
    SlideError
        The coordinate file or the override is faulty; the image cannot be opened; or more than
        ``max_outside`` of the spots lie outside the image and no correction is beyond doubt.
    """
    from st1k4m.image.decode import MAX_PIXELS, read_header

    max_pixels = max_pixels or MAX_PIXELS
    header = read_header(image, slide=slide, max_pixels=max_pixels)
    size = header.width, header.height
    arrays = read_arrays(geometry, slide)
    own = None
    if layout:
        own = read_own_spots(
            slide, layout, image, size, arrays, max_outside=options["max_outside"], folder=UNPACKED
        )
    given = own.coordinates if own else read_coordinates(coord)
    barcodes = [spot.removeprefix(f"{slide}_") for spot in given.spots]
    ids = own.ids if own and own.ids else read_positions(barcodes)
    selected = own.selected if own and own.selected.any() else np.ones(len(barcodes), bool)
    measured = measure(given, ids, arrays)
    if override:
        correction = read_override(override, slide)
        verdict = Verdict(
            correction, "stated in the overrides", flags={"override": str(correction)}
        )
    else:
        verdict = judge(
            given.x[selected],
            given.y[selected],
            size,
            collect_clues(given, measured, ids, tech),
            lambda: placement.look(image, slide, size, max_pixels),
            curious=ids is None and header.width * header.height <= CURIOUS,
            max_outside=options["max_outside"],
        )
        _settle(verdict, options["auto_correct"])
    placed = given
    if verdict.correction:
        placed, measured = _correct(given, verdict.correction, size, ids, arrays)
    outside = correct.outside(placed.x, placed.y, size)
    if outside[selected].mean() > options["max_outside"]:
        raise _leaves_image(slide, coord, placed, outside, size, verdict, options, override)
    facts = {
        "width": header.width,
        "height": header.height,
        "image_format": header.format,
        **_describe(
            placed,
            ids,
            measured,
            outside & selected,
            verdict,
            options,
            by_hand=bool(override),
            more=find_contradiction(own, measured) if own else {},
        ),
        **(own.facts if own else {}),
    }
    log.info(
        "%s: %d spots, lattice %s, %s um/px",
        slide,
        len(barcodes),
        facts["lattice"],
        facts["um_per_px"],
    )
    for warning in facts["warnings"]:
        log.warning("%s: %s", slide, warning)
    write_spots(
        out,
        placed,
        barcodes,
        measured,
        outside,
        facts,
        selected=own.selected if own else None,
        made=made,
    )


def _settle(verdict: Verdict, auto_correct: bool) -> None:
    """Turn a correction into a proposal where the user wants none applied."""
    if verdict.correction is None:
        return
    sentence = f"{verdict.correction}: {verdict.why}"
    if auto_correct:
        verdict.flags["corrected"] = sentence
    else:
        verdict.flags["correction_proposed"] = sentence
        verdict.candidates = [(verdict.correction, verdict.why)]
        verdict.correction = None


def _correct(
    spots: Coordinates,
    correction: Correction,
    size: tuple[int, int],
    ids: ArrayIds | None,
    arrays: dict[str, Array],
) -> tuple[Coordinates, Measured]:
    """Apply a correction, and measure again.

    The radius is scaled with the centres, for both are in the pixels of one image, unless it fits
    the lattice only as it stands: then it was in pixels of this image all along.
    """
    x, y = correction.apply(spots.x, spots.y, size)
    placed = Coordinates(spots.spots, x, y, spots.r * correction.scale)
    measured = measure(placed, ids, arrays)
    as_it_stands = misfit(spots.r[0], measured)
    scaled = misfit(placed.r[0], measured)
    if as_it_stands is not None and as_it_stands < np.log(RESOLUTION) < scaled:
        placed = dataclasses.replace(placed, r=spots.r)
    return placed, measured


def _leaves_image(
    slide: str,
    coord: str | Path,
    spots: Coordinates,
    outside: np.ndarray,
    size: tuple[int, int],
    verdict: Verdict,
    options: dict,
    override: dict | None,
) -> SlideError:
    """Say that too many spots lie outside, and what could be done about it."""
    after = " after the correction in the overrides" if override else ""
    what = (
        f"{coord}: {outside.sum()} of {len(outside)} spots lie outside the image{after}, more than "
        f"max_outside ({options['max_outside']:.0%}); the image has {size[0]} x {size[1]} pixels, "
        f"x runs from {spots.x.min():.6g} to {spots.x.max():.6g}, "
        f"y from {spots.y.min():.6g} to {spots.y.max():.6g}"
    )
    if override:
        return SlideError(slide, what, "change the slide's line in the overrides table")
    if not verdict.candidates:
        return SlideError(
            slide,
            what,
            "no single swap, factor or shift brings them inside; check that coordinates and image "
            "belong together, or state a correction in the overrides table",
        )
    listed = "; ".join(f"{correction} ({reason})" for correction, reason in verdict.candidates)
    line = override_row(verdict.candidates[0][0], slide)
    return SlideError(
        slide,
        what,
        f"candidate corrections: {listed}. Look at the image, then put the right one into the "
        f"overrides table, the first one as the line (fields separated by tabs): {line}",
    )


def _describe(
    spots: Coordinates,
    ids: ArrayIds | None,
    measured: Measured,
    outside: np.ndarray,
    verdict: Verdict,
    options: dict,
    *,
    by_hand: bool,
    more: dict[str, str],
) -> dict:
    """Collect the facts of a slide, and flag what is wrong or unusual."""
    flags = verdict.flags | more
    lattice, array, um_per_px = measured.lattice, measured.array, measured.um_per_px
    if outside.any():
        flags["outside_image"] = f"{int(outside.sum())} spots lie outside the image"
    if measured.doubts:
        flags["lattice_unsure"] = "; ".join(measured.doubts)
    strays = _count_strays(measured)
    if strays:
        flags["stray_spots"] = f"{strays} spots stand off the lattice"
    sides = [_round(array.pitch_um / pitch) for pitch in lattice.pitch_xy] if lattice else None
    if lattice and lattice.squeezed:
        flags["squeezed"] = f"a pixel is {sides[0]:.4g} um wide and {sides[1]:.4g} um high"
    radius = _choose_radius(spots, measured, options, flags)
    correction = verdict.correction and {
        **dataclasses.asdict(verdict.correction),
        "by": "override" if by_hand else "workflow",
        "why": verdict.why,
    }
    return {
        "um_per_px": um_per_px and _round(um_per_px),
        "um_per_px_se": um_per_px and _round(um_per_px * lattice.pitch_se / lattice.pitch),
        "um_per_px_xy": sides,
        "um_per_px_source": um_per_px
        and f"{array.pitch_um:g} um pitch of the {array.lattice} lattice ({array.source})",
        "tier": next(tier for top, tier in TIERS if um_per_px <= top) if um_per_px else "unknown",
        "lattice": lattice and lattice.kind,
        "pitch_px": lattice and _round(lattice.pitch),
        "pitch_um": array and array.pitch_um,
        "rotation": lattice and _round(lattice.rotation),
        "mirrored": lattice and lattice.mirrored,
        "jitter_px": lattice and _round(lattice.jitter),
        "strays": strays,
        **radius,
        "correction": correction,
        "candidates": [
            {"correction": str(candidate), "why": why} for candidate, why in verdict.candidates
        ],
        "orientation": _told_by(ids, verdict, by_hand=by_hand),
        "looked": verdict.looked,
        "on_tissue": verdict.on_tissue,
        "flags": list(flags),
        "warnings": [
            f"{FLAGS[code]}: {sentence}" if sentence else FLAGS[code]
            for code, sentence in flags.items()
        ],
    }


def _round(fitted: float) -> float:
    return round(float(fitted), DECIMALS) + 0.0  # never -0.0


def _told_by(ids: ArrayIds | None, verdict: Verdict, *, by_hand: bool) -> str:
    """Say what excludes a mirror image."""
    if by_hand:
        return "override"
    if "orientation_unsure" in verdict.flags:
        return "unknown"
    if verdict.told_by_tissue:
        return "tissue"
    return "ids" if ids else "unknown"


def _count_strays(measured: Measured) -> int:
    """Count spots off the lattice: far from the position in their id, or without a position."""
    if measured.lattice is None:
        return 0
    return int(measured.lattice.strays.sum() + (measured.row < 0).sum())


def _choose_radius(
    spots: Coordinates, measured: Measured, options: dict, flags: dict[str, str]
) -> dict:
    """Choose the radius that cuts, and flag one that the lattice contradicts."""
    of_file = float(spots.r[0])
    if not np.allclose(spots.r, of_file, rtol=1e-6, atol=0):
        flags["radius_varies"] = f"from {spots.r.min():.6g} to {spots.r.max():.6g} px"
    diameters = measured.diameters()
    of_lattice = _round(diameters[-1] / 2) if diameters else None
    off = [abs(2 * of_file / diameter - 1) for diameter in diameters]
    if off and min(off) > options["radius_tolerance"]:
        flags["radius_inconsistent"] = (
            f"the file says {of_file:.6g} px, which is a diameter of "
            f"{2 * of_file * measured.um_per_px:.4g} um; the lattice implies {of_lattice:.6g} px"
        )
    chosen = of_file
    if options["radius"] == "lattice":
        chosen = of_lattice or of_file
        if not of_lattice:
            flags["lattice_unsure"] += "; the radius that cuts is the file's"
    return {
        "radius": chosen,
        "radius_file": of_file,
        "radius_lattice": of_lattice,
        "spot_diameter_fullres": 2 * chosen,
    }
