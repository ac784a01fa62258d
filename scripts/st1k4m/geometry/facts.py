"""Collect the facts of a slide's geometry for its record, and their flags."""

import dataclasses

import numpy as np

from st1k4m import codes
from st1k4m.formats.spots import DIAMETER
from st1k4m.geometry.arrays import Measured
from st1k4m.geometry.coordinates import Coordinates
from st1k4m.geometry.options import AlignOptions
from st1k4m.geometry.verdict import Verdict

# Upper limits of the tiers in um/px, as in other tools.
TIERS = ((1.15, "high"), (2.4, "medium"), (np.inf, "low"))

# Decimals of fitted values, in pixels, micrometres and degrees. Further decimals are noise that
# differs between processors.
DECIMALS = 9


def describe(
    spots: Coordinates,
    size: tuple[int, int],
    image_format: str,
    measured: Measured,
    outside: np.ndarray,
    verdict: Verdict,
    options: AlignOptions,
    *,
    unplaced: str,
    by_hand: bool,
    more: dict[str, str],
) -> dict:
    """Collect the facts of a slide, and flag what is wrong or unusual.

    Parameters
    ----------
    spots
        The spots after the correction.
    size, image_format
        Width and height of the image in pixels, and its format.
    measured, verdict, options
        The array as measured, the decision about the coordinates, and the options of the step.
    outside
        (spots,) bool: whether the spot lies outside the image.
    unplaced
        Why no table of barcodes gives positions; empty if one does, or if none is used.
    by_hand
        Whether the user stated the verdict.
    more
        Further flags, with a sentence each.

    Returns
    -------
    dict
        The facts as plain values, see `st1k4m.formats.spots.read_spots`.
    """
    lattice, array, um_per_px = measured.lattice, measured.array, measured.um_per_px
    radius = _choose_radius(spots, measured, options)
    strays = _count_strays(measured)
    sides = [_round(array.pitch_um / pitch) for pitch in lattice.pitch_xy] if lattice else None
    flags = (
        verdict.flags
        | more
        | _find_flags(spots, measured, outside, options, radius, strays, sides, unplaced)
    )
    correction = verdict.correction and {
        **dataclasses.asdict(verdict.correction),
        "by": "override" if by_hand else "workflow",
        "why": verdict.why,
    }
    return {
        "width": size[0],
        "height": size[1],
        "image_format": image_format,
        "um_per_px": um_per_px and _round(um_per_px),
        "um_per_px_se": um_per_px and _round(um_per_px * lattice.pitch_se / lattice.pitch),
        "um_per_px_xy": sides,
        "um_per_px_source": um_per_px
        and f"{array.pitch_um:g} um pitch of the {array.lattice} lattice ({array.source})",
        "tier": next(tier for top, tier in TIERS if um_per_px <= top) if um_per_px else "unknown",
        "lattice": lattice and lattice.kind,
        "positions": measured.known_by or ("centres" if lattice else "unknown"),
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
        "orientation": _orientation_source(measured, verdict, by_hand=by_hand),
        "looked": verdict.looked,
        "on_tissue": verdict.on_tissue,
        "flags": list(flags),
        "warnings": [
            f"{codes.FLAGS[code]}: {sentence}" if sentence else codes.FLAGS[code]
            for code, sentence in flags.items()
        ],
    }


def _find_flags(
    spots: Coordinates,
    measured: Measured,
    outside: np.ndarray,
    options: AlignOptions,
    radius: dict,
    strays: int,
    sides: list[float] | None,
    unplaced: str,
) -> dict[str, str]:
    """Return flags for what is wrong or unusual about the placed spots, with a sentence each."""
    flags = {}
    if outside.any():
        flags[codes.OUTSIDE_IMAGE] = f"{int(outside.sum())} spots lie outside the image"
    doubts = list(measured.doubts)
    if options.radius == "lattice" and radius["radius_lattice"] is None:
        doubts.append("the radius that cuts is the file's")
    if doubts:
        flags[codes.LATTICE_UNSURE] = "; ".join(doubts)
    if unplaced:
        flags[codes.BARCODES_UNKNOWN] = unplaced
    if strays:
        flags[codes.STRAY_SPOTS] = f"{strays} spots stand off the lattice"
    if measured.lattice and measured.lattice.squeezed:
        flags[codes.SQUEEZED] = f"a pixel is {sides[0]:.4g} um wide and {sides[1]:.4g} um high"
    of_file = radius["radius_file"]
    if not np.allclose(spots.r, of_file, rtol=1e-6, atol=0):
        flags[codes.RADIUS_VARIES] = f"from {spots.r.min():.6g} to {spots.r.max():.6g} px"
    off = [abs(2 * of_file / diameter - 1) for diameter in measured.diameters()]
    if off and min(off) > options.radius_tolerance:
        flags[codes.RADIUS_INCONSISTENT] = (
            f"the file says {of_file:.6g} px, which is a diameter of "
            f"{2 * of_file * measured.um_per_px:.4g} um; the lattice implies "
            f"{radius['radius_lattice']:.6g} px"
        )
    return flags


def _round(fitted: float) -> float:
    return round(float(fitted), DECIMALS) + 0.0  # never -0.0


def _orientation_source(measured: Measured, verdict: Verdict, *, by_hand: bool) -> str:
    """Return the source of information that excludes a mirror image."""
    if by_hand:
        return "override"
    if codes.ORIENTATION_UNSURE in verdict.flags:
        return "unknown"
    if verdict.shown_by_tissue:
        return "tissue"
    return measured.known_by or "unknown"


def _count_strays(measured: Measured) -> int:
    """Count spots off the lattice: far from the position in their id, or without a position."""
    if measured.lattice is None:
        return 0
    return int(measured.lattice.strays.sum() + (measured.row < 0).sum())


def _choose_radius(spots: Coordinates, measured: Measured, options: AlignOptions) -> dict:
    """Choose the radius with which tiles are cut; all lengths in pixels."""
    of_file = float(spots.r[0])
    diameters = measured.diameters()
    of_lattice = _round(diameters[-1] / 2) if diameters else None
    chosen = of_lattice if options.radius == "lattice" and of_lattice else of_file
    return {
        "radius": chosen,
        "radius_file": of_file,
        "radius_lattice": of_lattice,
        DIAMETER: 2 * chosen,
    }
