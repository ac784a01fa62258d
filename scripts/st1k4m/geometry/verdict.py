"""Decide whether coordinates fit their image, and which single correction they need if not.

What can be known: the image's size and the array positions in spot ids (or the direction of a
hexagonal lattice) need no decoding. They reveal swapped axes, rotated and mirrored arrays with ids,
and coordinates outside the image. A reduced picture of the image is decoded only if these checks
leave doubt. It shows how similar the area under the spots and the tissue are. This distinguishes
corrections unless everything, or nothing, is tissue.

What cannot be known: a lattice without ids looks the same after mirroring or rotation by 180
degrees, so only the shape of the tissue can decide. Spots that cover a small part of the tissue fit
it in many places. The picture gives a factor to about one per cent, which is not precise enough to
place spots. A factor is applied only if it is simple (1/n or n); other factors are listed as
candidates. A shift is never applied.

The procedure: `list_corrections` lists the possible corrections, `_score` computes the scores of
each, and `_choose` decides by a table of conditions.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from st1k4m import codes
from st1k4m.geometry.clues import Clues
from st1k4m.geometry.correction import (
    FLIP_X,
    FLIP_Y,
    HALF_TURN,
    SIMPLE,
    SWAP,
    SYMMETRIES,
    Correction,
    outside,
    simple_factor,
)
from st1k4m.geometry.placement import (
    OFF_TISSUE,
    SPEAKS,
    Placement,
    TissueMap,
    largest_scale,
)

# A correction is clear if likeness and share of spots on tissue have at least these values (right
# ones have 0.88 or more),
LIKE, ON_TISSUE = 0.6, 0.8
# if both exceed the values without it by MORE_LIKE and MORE_ON_TISSUE (real sections, swapped or
# mirrored: 0.17 and 0.16 or more), and the likeness exceeds that of other corrections by RIVAL.
MORE_LIKE, MORE_ON_TISSUE, RIVAL = 0.15, 0.1, 0.1
# A correction that restores the array's usual direction needs this fraction of both gains.
USUAL_PART = 1 / 3
# A measured factor needs at least this likeness (right ones: 0.92), unless the radius implies it
# too. A continuous factor fits by chance more easily than one of a few discrete corrections.
MEASURED = 0.8
# Factors whose logarithms differ by less agree: radii are drawn as 0.65 to 0.70 pitches.
AGREE = 0.15
# Longest sides of the reduced pictures that Space Ranger makes, pixels. Coordinates in pixels of
# such a picture are the most frequent reason for a factor. A simple factor within SIMPLE of the
# factor of such a picture is not certain.
REDUCED = (2000, 600)
# The three rotations of a rectangle, and the four symmetries that exchange its axes.
TURNS = (HALF_TURN, Correction(swap=True, flip="x"), Correction(swap=True, flip="y"))
QUARTERS = tuple(correction for correction in SYMMETRIES if correction.swap)

_TWO_CLUES = "it brings the spots into place, and the array's direction or the radius asks for it"


@dataclass(frozen=True)
class Verdict:
    """The decision about the coordinates.

    Attributes
    ----------
    correction, why
        The correction to apply, None for none, and the reason.
    candidates
        Possible corrections, each with the evidence for it.
    looked
        Why the image was decoded; empty if it was not.
    on_tissue
        Share of the uncorrected spots on tissue; None if unknown.
    shown_by_tissue
        Whether the shape of the tissue excludes that the array is mirrored or rotated.
    flags
        Codes of remaining doubts, each with a sentence or an empty text.
    """

    correction: Correction | None = None
    why: str = ""
    candidates: tuple[tuple[Correction, str], ...] = ()
    looked: str = ""
    on_tissue: float | None = None
    shown_by_tissue: bool = False
    flags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The evidence for one correction.

    Attributes
    ----------
    correction
        The correction.
    there
        The placement after it; None if the image cannot decide.
    usual
        Whether it gives the array its usual direction. Centres alone show only the axis of the
        array; then this is true for all four corrections that exchange the axes.
    by_radius
        Whether it is the simple factor that the radius implies.
    exact
        Whether it is precise enough to be applied: no factor or a simple one, and no shift.
    """

    correction: Correction
    there: Placement | None
    usual: bool
    by_radius: bool
    exact: bool

    @property
    def likeness(self) -> float:
        """Likeness of the spots' area and the tissue after the correction."""
        return self.there.likeness if self.there else 0.0

    def reason(self) -> str:
        """Return the evidence for the correction as a text."""
        if self.there is None:
            return "all spots would lie in the image"
        text = f"{self.there.on_tissue:.0%} of the spots would lie on tissue"
        scale = self.correction.scale
        n = round(max(scale, 1 / scale))
        if n > 1 and not self.exact and not _shifts_by(self.correction):
            near = n if scale > 1 else f"1/{n}"
            text += f"; it is measured to a few per cent, near {near}"
        return text


def judge(
    x: np.ndarray,
    y: np.ndarray,
    size: tuple[int, int],
    clues: Clues,
    tissue: TissueMap | None,
    *,
    looked: str,
    max_outside: float,
) -> Verdict:
    """Decide whether coordinates fit their image, and which single correction they need if not.

    Parameters
    ----------
    x, y
        Centres, ``(n,)`` float, pixels.
    size
        Width and height of the image, pixels.
    clues
        What is known without decoding the image.
    tissue
        Map of the tissue; None if it is unknown or the image was not decoded.
    looked
        Why the image was decoded; empty if it was not.
    max_outside
        Largest share of the centres that may lie outside the image.

    Returns
    -------
    Verdict
        Its correction, if any, is certain: either it alone brings the spots inside and makes them
        fit the tissue clearly better than without it; or two clues agree on it.
    """
    if not looked:
        return Verdict()
    before = tissue.place(x, y, clues.spacing) if tissue else None
    corrections = [
        correction
        for correction in list_corrections(x, y, size, clues, tissue, before)
        if outside(*correction.apply(x, y, size), size).mean() <= max_outside
    ]
    scores = [_score(correction, x, y, size, clues, tissue) for correction in corrections]
    speaks = before and max([before.likeness, *(s.likeness for s in scores)]) >= SPEAKS
    if speaks:
        verdict = _choose(before, scores, clues)
    else:
        verdict = _choose_blind([replace(s, there=None) for s in scores], clues)
    flags = dict(verdict.flags)
    if not speaks and (before is None or clues.doubts()):
        flags[codes.FEATURELESS_IMAGE] = ""
    if clues.in_corner and verdict.on_tissue is None and not verdict.correction:
        flags[codes.IN_CORNER] = "if they are those of another resolution, a factor is missing"
    candidates = (*verdict.candidates, *_largest(x, y, size, clues, verdict, corrections))
    return replace(verdict, looked=looked, flags=flags, candidates=candidates)


def list_corrections(
    x: np.ndarray,
    y: np.ndarray,
    size: tuple[int, int],
    clues: Clues,
    tissue: TissueMap | None,
    before: Placement | None,
) -> list[Correction]:
    """List the corrections that the clues do not exclude."""
    if clues.rotated:
        found = list(TURNS)
    elif clues.mirrored is False:
        found = []
    else:
        found = [SWAP, FLIP_X, FLIP_Y]
        if clues.turned is False:
            found = [FLIP_X, FLIP_Y, HALF_TURN]
        elif clues.mirrored is None:
            found += [HALF_TURN, *(QUARTERS[1:] if clues.turned else ())]
        if clues.usual and clues.usual not in found:
            found.append(clues.usual)
    if clues.mirrored is not True and (clues.leaves or clues.in_corner or clues.radius_scale):
        found += _scales(x, y, size, clues, tissue)
    off = before and clues.doubts() and before.on_tissue < OFF_TISSUE
    if clues.leaves or off:
        found += _shifts(x, y, size, clues, tissue)
    return found


def _scales(
    x: np.ndarray, y: np.ndarray, size: tuple[int, int], clues: Clues, tissue: TissueMap | None
) -> list[Correction]:
    """List the factors that picture and radius suggest, rounded to simple ones if close to them."""
    largest = largest_scale(x, y, size)
    if not largest:
        return []
    asked = clues.radius_scale
    seen = tissue.find_scale(x, y, clues.spacing, largest) if tissue else None
    if seen and abs(np.log(seen)) < 0.1:  # it changes nothing
        seen = None
    if seen and asked and abs(np.log(asked / seen)) < AGREE:
        # Both estimates agree and the radius is more precise. If it gives no simple factor, keep
        # both.
        factors = [simple_factor(asked)] if simple_factor(asked) else [seen, asked]
    else:
        factors = [simple_factor(factor) or factor for factor in (seen, asked) if factor]
    whole = [
        factor if simple_factor(factor) == factor else float(f"{factor:.3g}") for factor in factors
    ]
    return [Correction(scale=factor) for factor in dict.fromkeys(whole)]


def _shifts(
    x: np.ndarray, y: np.ndarray, size: tuple[int, int], clues: Clues, tissue: TissueMap | None
) -> list[Correction]:
    """List the shift that fits the tissue best, or the smallest that brings all spots inside."""
    found = None
    if tissue:
        found = tissue.find_shift(x, y, clues.spacing)
    elif np.ptp(x) < size[0] and np.ptp(y) < size[1]:
        found = tuple(
            float(np.ceil(max(-axis.min(), 0)) + np.floor(min(side - 1 - axis.max(), 0)))
            for axis, side in zip((x, y), size, strict=True)
        )
    return [Correction(shift_x=found[0], shift_y=found[1])] if found and any(found) else []


def _largest(
    x: np.ndarray,
    y: np.ndarray,
    size: tuple[int, int],
    clues: Clues,
    verdict: Verdict,
    corrections: list[Correction],
) -> list[tuple[Correction, str]]:
    """Return the largest factor that keeps the spots inside, if no other factor was found."""
    lost = clues.leaves or (clues.in_corner and (verdict.on_tissue or 0.0) < OFF_TISSUE)
    largest = largest_scale(x, y, size)
    if not lost or clues.mirrored or not largest or any(c.scale != 1 for c in corrections):
        return []
    most = Correction(scale=float(f"{0.995 * largest:.3g}"))
    return [(most, "or less: all spots would lie in the image")]


def _score(
    correction: Correction,
    x: np.ndarray,
    y: np.ndarray,
    size: tuple[int, int],
    clues: Clues,
    tissue: TissueMap | None,
) -> Score:
    """Compute the scores of a correction."""
    there = None
    if tissue:
        spacing = clues.spacing * correction.scale
        there = tissue.place(*correction.apply(x, y, size), spacing)
    asked = clues.radius_scale
    simple = correction.scale == 1 or (
        simple_factor(correction.scale) == correction.scale
        and not _near_reduced(correction.scale, max(size))
    )
    return Score(
        correction,
        there,
        usual=correction in QUARTERS if clues.turned else correction == clues.usual,
        by_radius=bool(asked and simple_factor(asked) == correction.scale),
        exact=simple and not _shifts_by(correction),
    )


def _near_reduced(factor: float, longest: int) -> bool:
    """Return whether a factor is close to that of a reduced picture, but not equal to it."""
    misfits = [abs(factor * side / longest - 1) for side in REDUCED]
    return any(1e-6 < misfit <= SIMPLE for misfit in misfits)


def _shifts_by(correction: Correction) -> bool:
    return bool(correction.shift_x or correction.shift_y)


def _choose(before: Placement, scores: list[Score], clues: Clues) -> Verdict:
    """Decide by the picture; the first row of the table that applies decides.

    ====================================================================  =========================
    the best correction is clear, and exact; a measured factor fits well  apply it
    two clues agree on one, and it brings spots onto the tissue           apply it
    the best correction is clear, but not exact                           propose it
    otherwise                                                             keep, and name candidates
    ====================================================================  =========================
    """
    ranked = sorted(scores, key=lambda score: -score.likeness)
    best = _best(ranked)
    clear = best is not None and _is_clear(best, before, ranked)
    gain = f"{best.reason()}, {before.on_tissue:.0%} do without it" if best else ""
    kept = Verdict(
        on_tissue=before.on_tissue,
        candidates=((best.correction, gain),)
        if clear
        else tuple(
            (score.correction, score.reason())
            for score in ranked
            if clues.leaves or score.usual or score.likeness > before.likeness + RIVAL
        ),
    )
    measured = clear and best.correction.scale != 1 and not best.by_radius
    if clear and best.exact and not (measured and best.likeness < MEASURED):
        return replace(kept, correction=best.correction, why=gain, shown_by_tissue=True)
    agreed, doubts = _agreed(scores, clues)
    needed = max(OFF_TISSUE, before.on_tissue + MORE_ON_TISSUE)
    off = clues.leaves or before.on_tissue < OFF_TISSUE
    if agreed and off and agreed.there.on_tissue >= needed:
        return replace(kept, correction=agreed.correction, why=_TWO_CLUES, flags=doubts)
    shown, flags = _find_orientation(before, ranked, clues)
    if clear:
        flags = {codes.CORRECTION_PROPOSED: f"{best.correction}: {gain}"} | flags
    if before.on_tissue < OFF_TISSUE:
        flags[codes.OFF_TISSUE] = f"only {before.on_tissue:.0%} of the spots lie on tissue"
    return replace(kept, shown_by_tissue=shown, flags=flags)


def _choose_blind(scores: list[Score], clues: Clues) -> Verdict:
    """Decide without a picture; correct only if spots lie outside and a second clue agrees."""
    kept = Verdict(
        candidates=tuple(
            (score.correction, score.reason())
            for score in scores
            if clues.leaves or score.usual or score.correction.scale != 1
        )
    )
    agreed, doubts = _agreed(scores, clues)
    if agreed and clues.leaves:
        return replace(kept, correction=agreed.correction, why=_TWO_CLUES, flags=doubts)
    if clues.mirrored or clues.turned or clues.rotated:
        return replace(kept, flags={codes.ORIENTATION_UNSURE: _unusual(clues)})
    return kept


def _best(ranked: list[Score]) -> Score | None:
    """Return the best of the corrections, which are ranked by likeness.

    If the tissue looks similar after rotation or mirroring, the array's usual direction decides.
    """
    usual = next((score for score in ranked if score.usual), None)
    if usual and usual.likeness > ranked[0].likeness - RIVAL:
        return usual
    return ranked[0] if ranked else None


def _is_clear(best: Score, before: Placement, ranked: list[Score]) -> bool:
    """Return whether only this correction makes the spots fit the tissue.

    A correction that restores the array's usual direction needs a third of the improvement. It must
    be better only than others that also restore this direction.
    """
    part = USUAL_PART if best.usual else 1.0
    rivals = [s.likeness for s in ranked if s is not best and (s.usual or not best.usual)]
    return (
        best.likeness >= max(LIKE, before.likeness + part * MORE_LIKE)
        and best.there.on_tissue >= max(ON_TISSUE, before.on_tissue + part * MORE_ON_TISSUE)
        and best.likeness >= max(rivals, default=0) + RIVAL
    )


def _agreed(scores: list[Score], clues: Clues) -> tuple[Score | None, dict[str, str]]:
    """Return the correction that direction or radius implies, if there is exactly one.

    Of those that exchange the axes, it is the one without a flip, by far the most frequent mistake.
    It has a flag if the tissue does not exclude the others.
    """
    asked = [score for score in scores if score.usual or score.by_radius]
    if len(asked) == 1:
        return asked[0], {}
    plain = next((score for score in asked if score.correction == SWAP), None)
    if not clues.turned or plain is None or any(score.by_radius for score in asked):
        return None, {}
    others = [
        str(score.correction)
        for score in asked
        if score is not plain and score.likeness > plain.likeness - RIVAL
    ]
    if not others:
        return plain, {}
    return plain, {codes.ORIENTATION_UNSURE: f"instead it could be: {'; '.join(others)}"}


def _find_orientation(
    before: Placement, ranked: list[Score], clues: Clues
) -> tuple[bool, dict[str, str]]:
    """Return whether the tissue excludes other orientations, and flags for doubts."""
    turns = [score for score in ranked if score.correction in SYMMETRIES]
    shown = bool(turns) and turns[0].likeness < before.likeness - RIVAL
    if (clues.mirrored or clues.turned or clues.rotated) and not shown:
        return shown, {codes.ORIENTATION_UNSURE: _unusual(clues)}
    if turns and turns[0].likeness > before.likeness + RIVAL:
        sentence = f"to {turns[0].correction} would fit the tissue better"
        return shown, {codes.ORIENTATION_UNSURE: sentence}
    return shown, {}


def _unusual(clues: Clues) -> str:
    """Return a sentence about the unusual direction of the array."""
    if clues.mirrored:
        what = "the positions in the spot ids run the other way round than in other slides"
    elif clues.rotated:
        what = "the positions in the spot ids are turned against those in other slides"
    else:
        what = "the lattice lies along the other axis than in other slides"
    return what + (f"; to {clues.usual} would restore the usual direction" if clues.usual else "")
