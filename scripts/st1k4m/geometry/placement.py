"""Measure how the spots of a slide fit its tissue, and whether another placement fits better.

All measurements use a mask of the tissue, a few hundred pixels wide. Two numbers describe a
placement: the share of spots on tissue, and the likeness, which is the correlation of the area
under the spots and the tissue. `survey` measures the current placement and its rivals; `weigh`
compares them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from st1k4m import codes
from st1k4m.geometry.correction import (
    SYMMETRIES,
    Correction,
    outside,
    override_row,
    simple_factor,
)
from st1k4m.geometry.lattice import spacing as find_spacing

# Longest side of the picture, pixels: about four pixels per spot of the finest full array. One
# comparison takes a few milliseconds.
PICTURE = 500
# Longest side, in pixels, of the mask on which shifts and factors are searched. The best ones are
# then measured on the full mask.
SEARCHED = 160
# The area under the spots: centres dilated by REACH, then eroded by BACK, both in pitches. This
# closes the gap of a missing spot and leaves 0.6 pitches around each spot.
REACH, BACK = 1.1, 0.5
# If no placement has at least this likeness, the picture is ignored. On whole real sections, right
# placements have 0.78 or more, and wrong ones up to 0.82.
SPEAKS = 0.35
# A slide with a smaller share of spots on tissue is flagged as off tissue.
OFF_TISSUE = 0.5
# More spots than this are first grouped by the mask's pixels, so that measuring a placement of a
# large slide takes no longer than of a small one.
GATHERED = 20_000

# A rival is better if its likeness is at least LEAST and exceeds that of the current placement by
# GAIN, and if the share of spots on tissue grows by GAIN_ON_TISSUE and by FEWEST spots. A rival
# that rotates and shifts has more ways to fit by chance and needs GAIN_OF_TWO. The values were
# chosen on generated tissue of ten shapes with faint parts, dirt and parts without spots
# (tests/benchmarks/bench_placement.py). 1 % of the correct slides are flagged (up to half of those
# whose files have the whole array). 0.3 % of the wrong slides that the tissue can reveal are not
# flagged. On real sections, the right correction gains 0.11 (likeness) and 0.08 (share) or more.
LEAST, GAIN, GAIN_OF_TWO, GAIN_ON_TISSUE, FEWEST = 0.5, 0.08, 0.15, 0.05, 3
# A rival cannot be excluded if its likeness is less than this below that of the current placement.
ALIKE = 0.05
# Of the rivals whose likeness is this close to the best, the simplest is preferred.
SIMPLER = 0.03
# Logarithms of factors. A factor nearer to 1 than SAME is not a rival. One nearer to 1 than
# NEAR_ONE needs GAIN_OF_TWO: if spots cover more than the tissue, smaller distances fit better.
SAME, NEAR_ONE = 0.05, 0.15
# A shift of fewer pitches than this is not a rival.
FARTHER = 2.0
# If radius and pitch contradict each other by up to this factor, only the radius is wrong: 55 um
# instead of 65 um, or an estimate of 0.67 pitches. Images of another resolution differ by more.
RESOLUTION = 1.3
# Largest share of the spots that a rival may place outside the image.
MAX_OUTSIDE = 0.05


@dataclass(frozen=True)
class Placement:
    """The fit of spots and tissue: ``on_tissue``, the share of spots on tissue, and ``likeness``.

    Likeness is the correlation, over all pixels, of the area under the spots and the tissue.
    """

    on_tissue: float
    likeness: float


class TissueMap:
    """The tissue of an image, on a reduced copy of it.

    Parameters
    ----------
    mask
        ``(h, w)`` bool, true on tissue, over the whole image.
    size
        Width and height of the image, pixels.
    """

    def __init__(self, mask: np.ndarray, size: tuple[int, int]) -> None:
        self.mask = mask
        self.size = size
        self.shrink = mask.shape[1] / size[0]

    def reduced(self, longest: int) -> "TissueMap":
        """Return the map with a longest side of at most ``longest`` pixels."""
        from st1k4m.image.shrink import shrink

        if max(self.mask.shape) <= longest:
            return self
        return TissueMap(shrink(self.mask.astype(np.uint8) * 255, longest) > 127, self.size)

    def place(
        self,
        x: np.ndarray,
        y: np.ndarray,
        spacing: float,
        weight: np.ndarray | None = None,
    ) -> Placement:
        """Compare the area under spots with the tissue.

        Parameters
        ----------
        x, y
            Centres, ``(n,)`` float, pixels of the image.
        spacing
            Distance of neighbouring spots, pixels of the image.
        weight
            Number of spots that each centre represents, ``(n,)`` int; None for one each.
        """
        column, row = np.floor(x * self.shrink), np.floor(y * self.shrink)
        height, width = self.mask.shape
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        column, row = column[inside].astype(np.int64), row[inside].astype(np.int64)
        there = self.mask[row, column]
        if weight is None:
            on_tissue = float(there.sum() / len(x))
        else:
            on_tissue = float(weight[inside][there].sum() / weight.sum())
        area = _area(column, row, (height, width), spacing * self.shrink)
        return Placement(on_tissue, _correlate(area, self.mask))

    def find_scale(
        self, x: np.ndarray, y: np.ndarray, spacing: float, largest: float
    ) -> float | None:
        """Find the factor from ``largest / 8`` to ``largest`` that fits the tissue best.

        Parameters
        ----------
        x, y
            Centres, ``(n,)`` float, pixels of the image.
        spacing
            Distance of neighbouring spots, pixels of the image.
        largest
            The factor above which spots leave the image.

        Returns
        -------
        float or None
            None if no factor fits well, or if the best is the largest. That one is not reliable:
            spots on a part of the tissue fit better the more of it they cover.
        """

        def likeness(factor: float) -> float:
            return self.place(x * factor, y * factor, spacing * factor).likeness

        coarse = largest * np.exp(np.linspace(-np.log(8), 0, 40))
        best = coarse[np.argmax([likeness(factor) for factor in coarse])]
        fine = best * np.exp(np.linspace(-0.055, 0.055, 23))
        values = np.array([likeness(factor) for factor in fine])
        if values.max() < SPEAKS or fine[np.argmax(values)] > 0.97 * largest:
            return None
        # The mean of all factors that are nearly as good is more stable than the best one.
        return float(fine[values > values.max() - 0.01].mean())

    def find_shift(
        self, x: np.ndarray, y: np.ndarray, spacing: float
    ) -> tuple[float, float] | None:
        """Find the shift that covers the tissue best among those that bring all spots inside.

        Parameters
        ----------
        x, y
            Centres, ``(n,)`` float, pixels of the image.
        spacing
            Distance of neighbouring spots, pixels of the image.

        Returns
        -------
        tuple of float, or None
            Whole pixels of the image to add to x and y; None if the spots cover more than the
            image.
        """
        if np.ptp(x) >= self.size[0] or np.ptp(y) >= self.size[1]:
            return None
        column, row = (np.floor((a - a.min()) * self.shrink).astype(np.int64) for a in (x, y))
        height, width = self.mask.shape
        shape = min(int(row.max()) + 1, height), min(int(column.max()) + 1, width)
        within = (row < shape[0]) & (column < shape[1])
        area = _area(column[within], row[within], shape, spacing * self.shrink)
        # A circular correlation, of which only the shifts without wrap-around are used.
        tissue = np.fft.rfft2(self.mask - self.mask.mean())
        both = np.fft.irfft2(tissue * np.fft.rfft2(area, (height, width)).conj(), (height, width))
        fitting = both[: height - shape[0] + 1, : width - shape[1] + 1]
        # If several shifts fit equally well, use the one in their middle, so that the choice does
        # not depend on rounding.
        equal = np.argwhere(fitting > fitting.max() - 1e-6 * max(1.0, area.sum()))
        middle = np.argmin(((equal - equal.mean(axis=0)) ** 2).sum(axis=1))
        top, left = equal[middle].tolist()
        return float(round(left / self.shrink - x.min())), float(round(top / self.shrink - y.min()))


@dataclass(frozen=True)
class Survey:
    """The current placement of a slide, its rivals (best first), and the number of spots."""

    as_is: Placement
    rivals: tuple[tuple[Correction, Placement], ...]
    spots: int


def look(
    image: str | Path, slide: str, size: tuple[int, int], max_pixels: float
) -> TissueMap | None:
    """Map the tissue on a reduced copy of an image; None if tissue and background look the same.

    Parameters
    ----------
    image, slide
        Path of the image, and name of the slide for messages.
    size
        Width and height of the image, pixels.
    max_pixels
        An image with more pixels is refused.
    """
    from st1k4m.image.decode import thumbnail
    from st1k4m.image.tissue_mask import tissue_mask

    return map_tissue(
        tissue_mask(thumbnail(image, PICTURE, slide=slide, max_pixels=max_pixels)), size
    )


def map_tissue(mask: np.ndarray | None, size: tuple[int, int]) -> TissueMap | None:
    """Return the map of a tissue mask; None if (nearly) everything or nothing is tissue."""
    if mask is None or not 0.005 < mask.mean() < 0.98:
        return None
    return TissueMap(mask, size)


def survey(
    tissue: TissueMap,
    x: np.ndarray,
    y: np.ndarray,
    spacing: float,
    radius_scale: float | None = None,
) -> Survey:
    """Measure the current placement of spots and its rivals.

    The rivals are the seven other symmetries of the image; the best shift of the current placement
    and of each symmetry; and factors: the best one, the largest whole one that keeps the spots
    inside, and the one that the radius implies. Rivals outside the image are left out.

    Parameters
    ----------
    tissue
        Map of the tissue.
    x, y
        Centres, ``(n,)`` float, pixels of the image.
    spacing
        Distance of neighbouring spots, pixels of the image.
    radius_scale
        The factor that makes the centres fit the radius; None if they do not contradict.
    """
    spots = len(x)
    x, y, weight = _gather(tissue, x, y)
    size = tissue.size
    rivals = {}

    def measure(correction: Correction) -> None:
        there = correction.apply(x, y, size)
        if outside(*there, size).mean() <= MAX_OUTSIDE:
            rivals[correction] = tissue.place(*there, spacing * correction.scale, weight)

    for correction in SYMMETRIES:
        measure(correction)
    coarse = tissue.reduced(SEARCHED)
    for correction in (Correction(), *SYMMETRIES):
        map_used = coarse if correction in SYMMETRIES else tissue
        shift = map_used.find_shift(*correction.apply(x, y, size), spacing)
        if shift and max(map(abs, shift)) > max(FARTHER * spacing, 2 / coarse.shrink):
            measure(Correction(correction.swap, 1.0, correction.flip, *shift))
    for correction in _factors(coarse, x, y, spacing, radius_scale):
        measure(correction)
    ranked = sorted(rivals.items(), key=lambda rival: -rival[1].likeness)
    return Survey(tissue.place(x, y, spacing, weight), tuple(ranked), spots)


def _gather(
    tissue: TissueMap, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Group many centres by the pixels of the map; return x, y and the spots in each group."""
    if len(x) <= GATHERED:
        return x, y, None
    column, row = np.floor(x * tissue.shrink), np.floor(y * tissue.shrink)
    width = int(np.ptp(column)) + 1
    key = (row - row.min()).astype(np.int64) * width + (column - column.min()).astype(np.int64)
    pixel, weight = np.unique(key, return_counts=True)
    x = (pixel % width + column.min() + 0.5) / tissue.shrink
    y = (pixel // width + row.min() + 0.5) / tissue.shrink
    return x, y, weight


def largest_scale(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> float | None:
    """Return the factor below which all spots lie inside the image; None if there is none."""
    if x.min() < 0 or y.min() < 0 or not (x.max() > 0 and y.max() > 0):
        return None
    return float(min(size[0] / x.max(), size[1] / y.max()))


def _factors(
    tissue: TissueMap, x: np.ndarray, y: np.ndarray, spacing: float, asked: float | None
) -> Iterator[Correction]:
    """Yield the factors to compare.

    These are the one that fits the tissue best, the largest whole one that keeps the spots inside,
    and the one that the radius implies.
    """
    largest = largest_scale(x, y, tissue.size)
    seen = tissue.find_scale(x, y, spacing, largest) if largest else None
    if seen and abs(np.log(seen)) < SAME:
        seen = None
    whole = float(int(1.02 * largest)) if largest and 1.02 * largest >= 2 else None
    found = (f and (simple_factor(f) or float(f"{f:.3g}")) for f in (seen, whole, asked))
    for factor in dict.fromkeys(found):
        if factor:
            yield Correction(scale=factor)


@dataclass(frozen=True)
class Opinion:
    """The result of comparing a slide's placement with its rivals.

    Attributes
    ----------
    verdict
        ``fits``: the placement is better than every rival. ``alike``: some rivals fit about as
        well, so the tissue cannot exclude them. ``misplaced``: a rival fits better. ``unknown``:
        the tissue cannot decide.
    rivals
        For ``alike`` the rivals that cannot be excluded, for ``misplaced`` the rivals that fit
        better. The preferred one is the first.
    """

    verdict: str
    rivals: tuple[tuple[Correction, Placement], ...] = ()


def weigh(seen: Survey) -> Opinion:
    """Decide whether the current placement or a rival fits the tissue better."""
    as_is = seen.as_is
    if max([as_is.likeness, *(there.likeness for _, there in seen.rivals)]) < SPEAKS:
        return Opinion(codes.UNKNOWN)
    needed = max(GAIN_ON_TISSUE, FEWEST / seen.spots)
    better = [
        (correction, there)
        for correction, there in seen.rivals
        if there.likeness >= max(LEAST, as_is.likeness + _gain(correction))
        and there.on_tissue >= as_is.on_tissue + needed
    ]
    if better:
        top = better[0][1].likeness - SIMPLER
        first = min(
            (rival for rival in better if rival[1].likeness >= top), key=lambda r: _parts(r[0])
        )
        return Opinion(codes.MISPLACED, (first, *(rival for rival in better if rival != first)))
    alike = tuple(
        (correction, there)
        for correction, there in seen.rivals
        if there.likeness > as_is.likeness - ALIKE
    )
    return Opinion(codes.ALIKE, alike) if alike else Opinion(codes.FITS)


def examine(
    mask: np.ndarray | None,
    size: tuple[int, int],
    x: np.ndarray,
    y: np.ndarray,
    facts: dict,
    slide: str,
) -> tuple[dict, dict[str, str]]:
    """Examine the placement of a slide's spots, for its record.

    Parameters
    ----------
    mask
        ``(h, w)`` bool, true on tissue, over the whole image; None if the tissue is unknown.
    size
        Width and height of the image, pixels.
    x, y
        Centres of the slide's spots, ``(n,)`` float, pixels of the image.
    facts
        The facts of `align_spots`, see `st1k4m.formats.spots.read_spots`.
    slide
        Name of the slide.

    Returns
    -------
    dict
        ``verdict`` (see `Opinion`), ``on_tissue`` and ``likeness`` of the current placement (None
        if the tissue is unknown), ``believed`` (the rival that fits better: in words, and the
        fields of `Correction`; None if no rival does), ``alike`` (the rivals that cannot be
        excluded, in words), and ``rivals``: for each its ``correction``, ``on_tissue``,
        ``likeness``, and ``override``, the line of the overrides table that states it.
    dict
        Flags, with a sentence each. Empty if the user stated the placement.
    """
    tissue = map_tissue(mask, size)
    if tissue is None or not len(x):
        nothing = {"on_tissue": None, "likeness": None, "believed": None, "alike": [], "rivals": []}
        return {"verdict": codes.UNKNOWN, **nothing}, {}
    applied = _applied(facts)
    pitch = facts.get("pitch_px") or find_spacing(x, y)
    seen = survey(tissue, x, y, pitch, _radius_scale(facts))
    opinion = weigh(seen)
    believed = opinion.rivals[0][0] if opinion.verdict == codes.MISPLACED else None
    rivals = [
        {
            "correction": str(correction),
            **_numbers(there),
            "override": override_row(applied.then(correction, size), slide),
        }
        for correction, there in seen.rivals
    ]
    placement = {
        "verdict": opinion.verdict,
        **_numbers(seen.as_is),
        "believed": believed and {"correction": str(believed), **asdict(believed)},
        "alike": [str(c) for c, _ in opinion.rivals] if opinion.verdict == codes.ALIKE else [],
        "rivals": rivals,
    }
    by_hand = (facts.get("correction") or {}).get("by") == "override"
    by_hand = by_hand or codes.OVERRIDE in facts.get("flags", [])
    if by_hand:
        return placement, {}
    if believed:
        there = opinion.rivals[0][1]
        return placement, {
            codes.MISPLACED: f"to {believed} would put {there.on_tissue:.0%} of the spots on "
            f"tissue instead of {seen.as_is.on_tissue:.0%} (likeness {there.likeness:.2f} instead "
            f"of {seen.as_is.likeness:.2f}); compare the two on the slide's page. To apply it, put "
            f"this line into the table of geometry.overrides (fields separated by tabs): "
            f"{override_row(applied.then(believed, size), slide)}; if the spots are right as they "
            f"are, this one: {override_row(applied, slide)}"
        }
    if seen.as_is.on_tissue < OFF_TISSUE and codes.OFF_TISSUE not in facts.get("flags", []):
        return placement, {
            codes.OFF_TISSUE: f"only {seen.as_is.on_tissue:.0%} of the spots lie on tissue"
        }
    return placement, {}


def _numbers(there: Placement) -> dict[str, float]:
    """Return the two numbers of a placement, without the noise of their last digits."""
    return {"on_tissue": round(there.on_tissue, 4), "likeness": round(there.likeness, 4)}


def _applied(facts: dict) -> Correction:
    """Return the correction that `align_spots` applied."""
    given = facts.get("correction") or {}
    names = ("swap", "scale", "flip", "shift_x", "shift_y")
    return Correction(**{name: given[name] for name in names if name in given})


def _radius_scale(facts: dict) -> float | None:
    """Return the factor that makes the centres fit the radius; None if they do not contradict."""
    of_file, of_lattice = facts.get("radius_file"), facts.get("radius_lattice")
    if not of_lattice or abs(np.log(of_file / of_lattice)) < np.log(RESOLUTION):
        return None
    return of_file / of_lattice


def _gain(correction: Correction) -> float:
    """Return by how much the likeness after a correction must exceed that without it."""
    near = correction.scale != 1 and abs(np.log(correction.scale)) < NEAR_ONE
    return GAIN_OF_TWO if near or _parts(correction)[0] > 1 else GAIN


def _parts(correction: Correction) -> tuple[int, int]:
    """Return a rank of simplicity: the number of changes, then whether one of them is a shift."""
    shifted = bool(correction.shift_x or correction.shift_y)
    turned = bool(correction.swap or correction.flip)
    return shifted + turned + (correction.scale != 1), int(shifted)


def _area(column: np.ndarray, row: np.ndarray, shape: tuple[int, int], pitch: float) -> np.ndarray:
    """Return the area under the spots, with the gaps of single spots closed, ``shape`` bool."""
    import cv2

    pitch = min(pitch, max(shape))
    margin = int(REACH * pitch) + 2
    apart = np.ones((shape[0] + 2 * margin, shape[1] + 2 * margin), np.uint8)
    apart[row + margin, column + margin] = 0
    if not len(row):
        return np.zeros(shape, bool)
    near = cv2.distanceTransform(apart, cv2.DIST_L2, 3) <= REACH * pitch
    covered = cv2.distanceTransform(near.astype(np.uint8), cv2.DIST_L2, 3) > BACK * pitch
    return covered[margin:-margin, margin:-margin]


def _correlate(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two areas (bool) over all pixels; 0 if one is full or empty."""
    a, b, both = one.mean(), other.mean(), (one & other).mean()
    spread = a * (1 - a) * b * (1 - b)
    return float((both - a * b) / np.sqrt(spread)) if spread else 0.0
