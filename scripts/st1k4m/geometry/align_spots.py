"""The geometry step: find the position of every spot, and the micrometres per pixel.

The dataset states centres and radius in pixels, but no micrometres. The pitch of the spots' lattice
is known. A fit of the lattice therefore gives the position of every spot on the array, the
micrometres per pixel, and a check of the radius. `verdict` checks that centres and image match.
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

# Where files in archives are unpacked temporarily, below the working directory.
UNPACKED = "work/unpacked"

# Without known positions only the image can reveal mirroring. Images up to this many pixels are
# then decoded even if no check failed, because that takes less than a second.
SMALL_IMAGE = 2**25


@dataclass(frozen=True)
class Inputs:
    """The contents of a slide's files.

    Attributes
    ----------
    spots, barcodes, ids
        Centres, ids without the slide's name, and known positions on the array.
    unplaced
        Why no table of barcodes gives positions; empty if one does, or if none is used.
    judged
        (spots,) bool: whether the spot is used to check the fit of spots and image.
    size, image_format
        Width and height of the image in pixels, and its format.
    own
        Data that only the user's own slides have; None for other slides.
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
    """Write the positions of a slide's spots, in pixels of its image and on their array.

    Parameters
    ----------
    coord
        ``<slide>_coord.csv``.
    image
        The image. Its header is read; a reduced copy is decoded only if a check failed.
    out
        The spots file, see `st1k4m.formats.spots.read_spots`: the corrected table in the order of
        the coordinate file, and the facts. Positions on the array are relative if neither the ids
        nor a table of barcodes state them.
    slide, tech
        Name and technology of the slide.
    geometry
        The rows of ``config/geometry.tsv`` that apply to the slide, see
        `st1k4m.run.settings.rows_for`.
    override
        The slide's row of ``config/overrides.tsv``, if it has one.
    options
        The arguments of `AlignOptions`.
    max_pixels
        An image with more pixels is refused.
    layout
        The layout of the user's own slide, see `st1k4m.source.catalogue.Catalogue.layout`. Its
        parts ``coord`` and ``image`` then state what is read, the table has the additional column
        ``selected``, and only spots in tissue are used to check the fit of spots and image.
    made
        What the file is made from; stored in the file.

    Raises
    ------
    SlideError
        The coordinate file or the override is faulty; all spots lie at one point; the image cannot
        be opened; or more than ``max_outside`` of the spots lie outside the image and no correction
        is certain.
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
    """Return the verdict that the user states in the overrides table."""
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
    """Decode a reduced copy of the image if that is useful; return its tissue and the reason."""
    looked = "; ".join(clues.doubts())
    known = given.ids is not None and (given.ids.source == "ids" or measured.known_by)
    if not looked and not known and given.size[0] * given.size[1] <= SMALL_IMAGE:
        looked = "only the tissue shows a mirror image here"
    if not looked:
        return None, ""
    return placement.look(image, slide, given.size, max_pixels), looked


def _settle(verdict: Verdict, auto_correct: bool) -> Verdict:
    """Flag a correction; without ``auto_correct``, make it a proposal."""
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

    The radius is scaled with the centres, because both are in pixels of the same image. The
    exception is a radius that fits the lattice only if it is not scaled: it is in pixels of this
    image already.
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
    """Make the error for too many spots outside the image, with possible corrections."""
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
        f"candidate corrections: {listed}. Look at the image and add the right one to the "
        f"overrides table. The line for the first one is (fields separated by tabs): {line}",
    )
