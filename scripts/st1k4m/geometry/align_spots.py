"""Where every spot really is, and how large a pixel is.

The dataset gives a centre and a radius in pixels, and no micrometres. The lattice of the spots has
a known pitch, so fitting it gives the position of every spot on the array, the micrometres per
pixel, and a check of the radius. `verdict` checks that centres and image belong together.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from st1k4m import codes
from st1k4m.errors import SlideError
from st1k4m.formats.spots import SpotTable, write_spots
from st1k4m.geometry import placement
from st1k4m.geometry.arrays import Array, Measured, measure, misfit, read_arrays
from st1k4m.geometry.barcodes import ArrayIds, find_positions, read_positions, read_tables
from st1k4m.geometry.clues import Clues, collect_clues
from st1k4m.geometry.coordinates import Coordinates, read_coordinates
from st1k4m.geometry.correction import Correction, outside, override_row, read_override
from st1k4m.geometry.facts import describe
from st1k4m.geometry.options import AlignOptions
from st1k4m.geometry.own_positions import OwnSpots, find_contradiction, read_own_spots
from st1k4m.geometry.placement import RESOLUTION, TissueMap
from st1k4m.geometry.verdict import Verdict, judge
from st1k4m.image.decode import MAX_PIXELS, read_header
from st1k4m.run.provenance import Made
from st1k4m.technologies import technology

log = logging.getLogger(__name__)

# Where files in archives are unpacked for a moment, below the working directory.
UNPACKED = "work/unpacked"

# Images up to this many pixels are decoded even if nothing looks wrong, when no known positions can
# reveal mirroring: that takes less than a second.
SMALL_IMAGE = 2**25


@dataclass(frozen=True)
class Inputs:
    """What the files of a slide say.

    Attributes
    ----------
    spots, barcodes, ids
        Centres, ids without the slide's name, and known positions on the array.
    unplaced
        Why a table of barcodes places none of them; empty where it does, or is not asked.
    judged
        bool, per spot: whether the fit of spots and image is judged by it.
    size, image_format
        Of the image, pixels.
    own
        What only a slide of one's own has.
    """

    spots: Coordinates
    barcodes: list[str]
    ids: ArrayIds | None
    unplaced: str
    judged: np.ndarray
    size: tuple[int, int]
    image_format: str
    own: OwnSpots | None


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
    max_pixels: float = MAX_PIXELS,
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
        The spots file: the table, corrected, in the order of the coordinate file (positions on the
        array are relative where neither the ids nor a table of barcodes state them), and the facts;
        see `read_spots`.
    slide, tech
        Name and technology.
    geometry
        The rows of ``config/geometry.tsv`` that speak of the slide, see ``settings.rows_for``.
    override
        The slide's row of ``config/overrides.tsv``, if it has one.
    options
        The arguments of `AlignOptions`.
    max_pixels
        An image that declares more is refused.
    layout
        Of a slide of one's own, see `st1k4m.source.catalogue.Catalogue.layout`; its parts ``coord``
        and ``image`` then say what is read. The table has a column ``selected`` more, and whether
        spots and image fit is judged by those in tissue.

    made
        What the file is made from; it carries that.

    Raises
    ------
    SlideError
        The coordinate file or the override is faulty; all spots lie at one point; the image cannot
        be opened; or more than ``max_outside`` of the spots lie outside the image and no correction
        is beyond doubt.
    ConfigError
        The table of barcodes cannot be read.
    """
    chosen = AlignOptions.of_section(options)
    arrays = read_arrays(geometry, slide)
    given = _read(coord, image, slide, tech, arrays, chosen, max_pixels, layout)
    _refuse_one_point(slide, coord, given.spots)
    measured = measure(given.spots, given.ids, arrays)
    if override:
        verdict = _state(override, slide)
    else:
        clues = collect_clues(
            given.spots, given.judged, measured, given.size, tech, chosen.max_outside
        )
        tissue, looked = _look(image, slide, given, measured, clues, max_pixels)
        verdict = judge(
            given.spots.x[given.judged],
            given.spots.y[given.judged],
            given.size,
            clues,
            tissue,
            looked=looked,
            max_outside=chosen.max_outside,
        )
        verdict = _settle(verdict, chosen.auto_correct)
    placed, measured = _place(given, verdict.correction, measured, arrays)
    off = outside(placed.x, placed.y, given.size)
    if off[given.judged].mean() > chosen.max_outside:
        raise _leaves_image(slide, coord, placed, off, given.size, verdict, chosen, override)
    facts = describe(
        placed,
        given.size,
        given.image_format,
        measured,
        off & given.judged,
        verdict,
        chosen,
        unplaced=given.unplaced,
        by_hand=bool(override),
        more=find_contradiction(given.own, measured) if given.own else {},
    ) | (given.own.facts if given.own else {})
    log.info(
        "%s: %d spots, lattice %s, %s um/px",
        slide,
        len(given.barcodes),
        facts["lattice"],
        facts["um_per_px"],
    )
    for warning in facts["warnings"]:
        log.warning("%s: %s", slide, warning)
    by_lattice = facts["radius"] != facts["radius_file"]
    table = SpotTable(
        placed.spots,
        given.barcodes,
        placed.x,
        placed.y,
        np.full(len(placed.r), facts["radius"]) if by_lattice else placed.r,
        measured.row,
        measured.col,
        off,
        given.own.selected if given.own else None,
    )
    write_spots(out, table, facts, made)


def _read(
    coord: str | Path,
    image: str | Path,
    slide: str,
    tech: str,
    arrays: dict[str, Array],
    options: AlignOptions,
    max_pixels: float,
    layout: dict | None,
) -> Inputs:
    """Read the coordinate file, the image's header, and what the spots' ids state."""
    stated = None if layout else read_coordinates(coord)
    header = read_header(image, slide=slide, max_pixels=max_pixels)
    size = header.width, header.height
    own = None
    if layout:
        own = read_own_spots(
            slide, layout, image, size, arrays, max_outside=options.max_outside, folder=UNPACKED
        )
    spots = own.coordinates if own else stated or read_coordinates(coord)
    barcodes = [spot.removeprefix(f"{slide}_") for spot in spots.spots]
    ids, unplaced = own.ids if own else None, ""
    if ids is None:
        ids = read_positions(barcodes)
    if ids is None and options.barcodes and technology(tech).barcoded:
        ids, unplaced = find_positions(barcodes, read_tables(options.barcodes))
    judged = own.selected if own and own.selected.any() else np.ones(len(barcodes), bool)
    return Inputs(spots, barcodes, ids, unplaced, judged, size, header.format, own)


def _refuse_one_point(slide: str, coord: str | Path, spots: Coordinates) -> None:
    if len(spots.x) > 1 and np.ptp(spots.x) == 0 == np.ptp(spots.y):
        raise SlideError(
            slide,
            f"{coord}: all {len(spots.x):,} spots lie at one point, x {spots.x[0]:g}, "
            f"y {spots.y[0]:g}",
            "fetch or export the coordinate file again",
        )


def _state(override: dict, slide: str) -> Verdict:
    """Return the verdict that the user states."""
    correction = read_override(override, slide)
    return Verdict(correction, "stated in the overrides", flags={codes.OVERRIDE: str(correction)})


def _look(
    image: str | Path,
    slide: str,
    given: Inputs,
    measured: Measured,
    clues: Clues,
    max_pixels: float,
) -> tuple[TissueMap | None, str]:
    """Decode a reduced copy of the image where that can settle something; and say why."""
    looked = "; ".join(clues.doubts())
    known = given.ids is not None and (given.ids.source == "ids" or measured.known_by)
    if not looked and not known and given.size[0] * given.size[1] <= SMALL_IMAGE:
        looked = "only the tissue shows a mirror image here"
    if not looked:
        return None, ""
    return placement.look(image, slide, given.size, max_pixels), looked


def _settle(verdict: Verdict, auto_correct: bool) -> Verdict:
    """Flag a correction, or turn it into a proposal where the user wants none applied."""
    if verdict.correction is None:
        return verdict
    sentence = f"{verdict.correction}: {verdict.why}"
    if auto_correct:
        return replace(verdict, flags=verdict.flags | {codes.CORRECTED: sentence})
    return replace(
        verdict,
        correction=None,
        candidates=((verdict.correction, verdict.why),),
        flags=verdict.flags | {codes.CORRECTION_PROPOSED: sentence},
    )


def _place(
    given: Inputs, correction: Correction | None, measured: Measured, arrays: dict[str, Array]
) -> tuple[Coordinates, Measured]:
    """Apply a correction, and measure again.

    The radius is scaled with the centres, for both are in the pixels of one image, unless it fits
    the lattice only as it stands: then it was in pixels of this image all along.
    """
    spots = given.spots
    if not correction:
        return spots, measured
    x, y = correction.apply(spots.x, spots.y, given.size)
    placed = Coordinates(spots.spots, x, y, spots.r * correction.scale)
    measured = measure(placed, given.ids, arrays)
    as_it_stands = misfit(spots.r[0], measured)
    scaled = misfit(placed.r[0], measured)
    if as_it_stands is not None and as_it_stands < np.log(RESOLUTION) < scaled:
        placed = replace(placed, r=spots.r)
    return placed, measured


def _leaves_image(
    slide: str,
    coord: str | Path,
    spots: Coordinates,
    off: np.ndarray,
    size: tuple[int, int],
    verdict: Verdict,
    options: AlignOptions,
    override: dict | None,
) -> SlideError:
    """Say that too many spots lie outside, and what could be done about it."""
    after = " after the correction in the overrides" if override else ""
    what = (
        f"{coord}: {off.sum()} of {len(off)} spots lie outside the image{after}, more than "
        f"max_outside ({options.max_outside:.0%}); the image has {size[0]} x {size[1]} pixels, "
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
