"""Whether coordinates fit their image, and if not, which single correction makes them fit.

What can be known: the image's size and the array positions in spot ids (or the direction of a
hexagonal lattice) are free. They show swapped axes and mirror images of arrays with ids, and
coordinates that leave the image. A picture of the image is decoded only where these leave doubt. It
shows how well the area under the spots and the tissue have the same shape, which tells corrections
apart unless everything, or nothing, is tissue.

What cannot: a lattice without ids looks the same mirrored or turned by half a turn, so only the
shape of the tissue tells. Spots that cover a small part of the tissue fit it in many places. The
picture gives a factor to about one per cent, which is too coarse to place spots by; it is applied
only where it is a simple one (1/n or n), and stated otherwise. A shift is never applied.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from st1k4m.geometry.correction import FLIP_X, FLIP_Y, SWAP, Correction, outside
from st1k4m.geometry.placement import SPEAKS, Picture, Placement

# A correction is believed from this likeness and share of spots on tissue (right: 0.88 and more)...
LIKE, ON_TISSUE = 0.6, 0.8
# ... if both exceed those without it by this much (real sections, swapped or mirrored: 0.17 and
# 0.16 or more), and the likeness that of every other correction by this.
MORE_LIKE, MORE_ON_TISSUE, RIVAL = 0.15, 0.1, 0.1
# A measured factor is applied from this likeness (right: 0.92), unless the radius asks for it too:
# one of a continuum fits by chance more easily than one of a few choices.
MEASURED = 0.8
# Off the tissue: fewer than half of the spots on it.
OFF_TISSUE = 0.5
# How far a factor read from picture or radius may lie from a simple one (real sections: 0.7 %).
SIMPLE = 0.015
# Factors this close (logarithm) say the same: radii are drawn 0.65 to 0.70 of a pitch.
AGREE = 0.15
# The largest n of a simple factor n or 1/n: their neighbours are 3 % apart there.
LARGEST = 32


@dataclass(frozen=True)
class Clues:
    """What is known of a slide's spots without looking at its image.

    Attributes
    ----------
    spacing
        Distance of neighbouring spots, pixels.
    mirrored
        Whether the positions in the ids run the other way round than the technology's do; None
        where ids hold no positions.
    turned
        Whether a hexagonal lattice lies along the y axis of the image; None where that is unknown.
    usual
        The correction that gives rows and columns their usual directions, where they have others
        and there is one.
    radius_scale
        The factor that makes the centres fit the radius, where these contradict each other.
    """

    spacing: float
    mirrored: bool | None = None
    turned: bool | None = None
    usual: Correction | None = None
    radius_scale: float | None = None


@dataclass
class Verdict:
    """What is made of the coordinates.

    Attributes
    ----------
    correction, why
        What to apply, None for nothing, and the reason.
    candidates
        Corrections worth a thought, each with what speaks for it.
    looked
        Why the image was decoded; empty if it was not.
    on_tissue
        Share of the spots on tissue as they come; None if unknown.
    told_by_tissue
        Whether the shape of the tissue excludes a mirror image.
    flags
        Code of what remains in doubt, and a sentence where there is more to say.
    """

    correction: Correction | None = None
    why: str = ""
    candidates: list[tuple[Correction, str]] = field(default_factory=list)
    looked: str = ""
    on_tissue: float | None = None
    told_by_tissue: bool = False
    flags: dict[str, str] = field(default_factory=dict)


def judge(
    x: np.ndarray,
    y: np.ndarray,
    size: tuple[int, int],
    clues: Clues,
    look: Callable[[], Picture | None],
    *,
    curious: bool,
    max_outside: float,
) -> Verdict:
    """Decide whether coordinates fit their image, and which single correction they need if not.

    Parameters
    ----------
    x, y
        Centres, pixels.
    size
        Width and height of the image, pixels.
    clues
        What is known without the image.
    look
        Gives the picture; called at most once, and only where there is doubt.
    curious
        Look without a doubt too.
    max_outside
        Share of centres outside the image that is tolerated.

    Returns
    -------
    Verdict
        Its correction is beyond doubt: it is the only one after which the spots are inside and fit
        the tissue, clearly better than without it; or, where the picture says nothing, two clues
        agree on it.
    """
    leaves = bool(outside(x, y, size).mean() > max_outside)
    in_corner = bool(x.max() < size[0] / 2 and y.max() < size[1] / 2)
    doubts = [
        text
        for doubt, text in (
            (leaves, "spots lie outside the image"),
            (clues.mirrored, "the positions in the spot ids run the other way round"),
            (clues.turned, "the lattice lies along the other axis"),
            (clues.radius_scale, "radius and pitch contradict each other"),
            (in_corner, "all spots lie in the quarter at the origin"),
        )
        if doubt
    ]
    if not doubts and not curious:
        return Verdict()
    picture = look()
    before = picture.place(x, y, clues.spacing) if picture else None
    choices = [SWAP, FLIP_X, FLIP_Y] if clues.mirrored is not False else []
    if clues.turned is False:
        choices.remove(SWAP)
    if clues.mirrored is not True and (leaves or in_corner or clues.radius_scale):
        choices += _scales(x, y, size, clues, picture)
    if leaves or (before and doubts and before.on_tissue < OFF_TISSUE):
        choices += _shifts(x, y, size, clues, picture)
    choices = [c for c in choices if outside(*c.apply(x, y, size), size).mean() <= max_outside]
    placed = {
        choice: picture.place(*choice.apply(x, y, size), clues.spacing * choice.scale)
        for choice in choices
        if picture
    }
    if not before or max(p.likeness for p in (before, *placed.values())) < SPEAKS:
        verdict = _decide_blind(choices, clues, leaves)
        if before is None or doubts:
            verdict.flags["featureless_image"] = ""
    else:
        verdict = _decide(before, placed, clues, leaves)
    if in_corner and verdict.on_tissue is None and not verdict.correction:
        verdict.flags["in_corner"] = "if they are those of another resolution, a factor is missing"
    lost = leaves or (in_corner and (verdict.on_tissue or 0.0) < OFF_TISSUE)
    largest = _largest_scale(x, y, size)
    if lost and not clues.mirrored and largest and all(c.scale == 1 for c in choices):
        most = Correction(scale=float(f"{0.995 * largest:.3g}"))
        verdict.candidates.append((most, "or less: all spots would lie in the image"))
    verdict.looked = "; ".join(doubts) or "only the tissue shows a mirror image here"
    return verdict


def _scales(
    x: np.ndarray, y: np.ndarray, size: tuple[int, int], clues: Clues, picture: Picture | None
) -> list[Correction]:
    """List the factors that picture and radius suggest, as simple ones where that is certain."""
    largest = _largest_scale(x, y, size)
    if not largest:
        return []
    asked = clues.radius_scale
    seen = picture.find_scale(x, y, clues.spacing, largest) if picture else None
    if seen and abs(np.log(seen)) < 0.1:  # it changes nothing
        seen = None
    if seen and asked and abs(np.log(asked / seen)) < AGREE:
        # They mean the same, and the radius is the finer ruler: what it leaves open stays open.
        factors = [_simple(asked)] if _simple(asked) else [seen, asked]
    else:
        factors = [_simple(factor) or factor for factor in (seen, asked) if factor]
    whole = [factor if _simple(factor) == factor else float(f"{factor:.3g}") for factor in factors]
    return [Correction(scale=factor) for factor in dict.fromkeys(whole)]


def _largest_scale(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> float | None:
    """Return the factor below which all spots lie inside; None if none does."""
    if x.min() < 0 or y.min() < 0 or not (x.max() > 0 and y.max() > 0):
        return None
    return float(min(size[0] / x.max(), size[1] / y.max()))


def _shifts(
    x: np.ndarray, y: np.ndarray, size: tuple[int, int], clues: Clues, picture: Picture | None
) -> list[Correction]:
    """List the shift that fits the tissue best, or the least one that brings all spots inside."""
    if picture:
        found = picture.find_shift(x, y, clues.spacing)
    elif np.ptp(x) < size[0] and np.ptp(y) < size[1]:
        found = tuple(
            float(np.ceil(max(-axis.min(), 0)) + np.floor(min(side - 1 - axis.max(), 0)))
            for axis, side in zip((x, y), size, strict=True)
        )
    else:
        found = None
    return [Correction(shift_x=found[0], shift_y=found[1])] if found and any(found) else []


def _simple(factor: float) -> float | None:
    """Return n or 1/n for a whole n where ``factor`` is one as far as it is known."""
    n = round(max(factor, 1 / factor))
    simple = float(n) if factor > 1 else 1 / n
    return simple if 2 <= n <= LARGEST and abs(factor / simple - 1) <= SIMPLE else None


def _worth(choice: Correction, placement: Placement) -> str:
    """Say what speaks for a correction."""
    text = f"{placement.on_tissue:.0%} of the spots would lie on tissue"
    n = round(max(choice.scale, 1 / choice.scale))
    if n > 1 and not _certain(choice) and not (choice.shift_x or choice.shift_y):
        text += f"; it is measured to a few per cent, near {n if choice.scale > 1 else f'1/{n}'}"
    return text


def _certain(correction: Correction) -> bool:
    """Tell whether a correction can be applied as it stands: a simple factor, and no shift."""
    measured = correction.scale != 1 and _simple(correction.scale) != correction.scale
    return not (measured or correction.shift_x or correction.shift_y)


def _decide(
    before: Placement, placed: dict[Correction, Placement], clues: Clues, leaves: bool
) -> Verdict:
    """Decide by the picture, which tells tissue from background."""
    verdict = Verdict(on_tissue=before.on_tissue)
    ranked = sorted(placed, key=lambda choice: -placed[choice].likeness)
    best = ranked[0] if ranked else None
    # Where tissue looks much the same mirrored, the usual direction of the array decides.
    if clues.usual in placed and placed[clues.usual].likeness > placed[best].likeness - RIVAL:
        best = clues.usual
    verdict.candidates = [
        (choice, _worth(choice, placed[choice]))
        for choice in ranked
        if leaves or choice == clues.usual or placed[choice].likeness > before.likeness + RIVAL
    ]
    if best and _is_clear(best, before, placed, best == clues.usual):
        gain = f"{_worth(best, placed[best])}, {before.on_tissue:.0%} do without it"
        verdict.candidates = [(best, gain)]
        measured = best.scale != 1 and not _fits_radius(best, clues)
        if _certain(best) and not (measured and placed[best].likeness < MEASURED):
            return replace(verdict, correction=best, why=gain, told_by_tissue=True)
        verdict.flags["correction_proposed"] = f"{best}: {gain}"
    agreed = _agreed(list(placed), clues)
    needed = max(OFF_TISSUE, before.on_tissue + MORE_ON_TISSUE)
    if agreed and placed[agreed].on_tissue >= needed and (leaves or before.on_tissue < OFF_TISSUE):
        return replace(verdict, correction=agreed, why=_TWO_CLUES, flags={})
    turns = {c: p.likeness for c, p in placed.items() if c in (SWAP, FLIP_X, FLIP_Y)}
    better = max(turns, key=turns.get, default=None)
    verdict.told_by_tissue = bool(better) and turns[better] < before.likeness - RIVAL
    if (clues.mirrored or clues.turned) and not verdict.told_by_tissue:
        verdict.flags["orientation_unsure"] = _unusual(clues)
    elif better and turns[better] > before.likeness + RIVAL:
        verdict.flags["orientation_unsure"] = f"to {better} would fit the tissue better"
    if before.on_tissue < OFF_TISSUE:
        verdict.flags["off_tissue"] = f"only {before.on_tissue:.0%} of the spots lie on tissue"
    return verdict


def _decide_blind(choices: list[Correction], clues: Clues, leaves: bool) -> Verdict:
    """Decide without a picture: only where spots leave the image, and a second clue agrees."""
    verdict = Verdict()
    verdict.candidates = [
        (choice, "all spots would lie in the image")
        for choice in choices
        if leaves or choice == clues.usual or choice.scale != 1
    ]
    agreed = _agreed(choices, clues)
    if agreed and leaves:
        return replace(verdict, correction=agreed, why=_TWO_CLUES)
    if clues.mirrored or clues.turned:
        verdict.flags["orientation_unsure"] = _unusual(clues)
    return verdict


_TWO_CLUES = "it brings the spots into place, and the array's direction or the radius asks for it"


def _unusual(clues: Clues) -> str:
    """Say what is unusual about the direction of the array."""
    what = (
        "the positions in the spot ids run the other way round than in other slides"
        if clues.mirrored
        else "the lattice lies along the other axis than in other slides"
    )
    return what + (f"; to {clues.usual} would mend that" if clues.usual else "")


def _is_clear(
    best: Correction, before: Placement, placed: dict[Correction, Placement], usual: bool
) -> bool:
    """Tell whether one correction alone makes the spots fit the tissue."""
    there = placed[best]
    rivals = [p.likeness for choice, p in placed.items() if choice != best]
    # What the array's direction asks for needs less of a gain, and no lead over what it does not.
    part = 1 / 3 if usual else 1.0
    return (
        there.likeness >= max(LIKE, before.likeness + part * MORE_LIKE)
        and there.on_tissue >= max(ON_TISSUE, before.on_tissue + part * MORE_ON_TISSUE)
        and (usual or there.likeness >= max(rivals, default=0) + RIVAL)
    )


def _agreed(choices: list[Correction], clues: Clues) -> Correction | None:
    """Return the correction that a clue other than the image's size asks for, if it is one."""
    asked = [c for c in choices if c == clues.usual or _fits_radius(c, clues)]
    return asked[0] if len(asked) == 1 else None


def _fits_radius(correction: Correction, clues: Clues) -> bool:
    """Tell whether the radius asks for the factor of a correction."""
    asked = clues.radius_scale
    return bool(asked and _simple(asked) == correction.scale)
