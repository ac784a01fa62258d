"""Find slides that show the same section, by their pictures and by the counts of their spots.

Matrix products compare all pairs at once, for four signs of a common origin:

- spots with the same barcode and equal counts (a copy under another name, or with other spots left
  out);
- spots with equal counts and other barcodes;
- the counts of a spot relative to its neighbours, which hardly depend on the list of genes;
- the pictures, in eight orientations, without coarse shading and finest detail.

Only pairs with one of these signs are compared in full. Equal barcodes are not a sign, because all
arrays of a kind have the same barcodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from st1k4m.collection.fingerprint import Fingerprint
from st1k4m.collection.relations import Relation, relate

#: Side in pixels of the pictures that select pairs; selected pairs are compared at side `PICTURE`.
COARSE = 32
#: Sigmas in pixels of the finest and the coarsest detail of a picture that are compared.
FINE, SHADING = 1.0, 6.0
#: A picture with less detail than this (standard deviation in grey levels) is not compared.
DETAIL = 2.0
#: Correlation from which pictures are compared in full, may be the same, are the same, are copies.
#: Copies at JPEG quality 80, of 0.7 times the size, mirrored, reach 0.99; 300 generated slides of
#: unrelated tissue, all with one stain on white, stay below 0.65.
PICTURE_CANDIDATE, PICTURE_POSSIBLE, PICTURE_SAME, PICTURE_COPY = 0.65, 0.75, 0.88, 0.97

#: Residuals are clipped at this, a factor of e. Otherwise spots off the tissue would dominate.
CLIP = 1.0
#: Fewest common spots whose counts are compared.
FEWEST_SPOTS = 20
#: Correlation of residuals from which pairs are compared in full, likely, certain. Residuals of
#: unrelated sections are not correlated.
RESIDUAL_CANDIDATE, RESIDUAL_LIKELY, RESIDUAL_CERTAIN = 0.25, 0.4, 0.7
#: Standard deviations by which a correlation must exceed 0: of a million pairs some reach 5 by
#: chance.
SIGMAS = 8.0

#: Share of spots with equal counts from which a pair is likely, certain.
EXACT_LIKELY, EXACT_CERTAIN = 0.3, 0.5
#: Spots with fewer counts are not compared: many spots have the same low counts.
FEWEST_COUNTS = 100
#: Counts that more slides than this have do not select pairs.
COMMON = 64
#: Barcodes that more than `DENSE` slides have are compared in dense blocks of `BLOCK` barcodes.
DENSE, BLOCK = 32, 4096
#: Counts shifted by these differences agree only by chance.
SHIFTS = (-3, -2, -1, 1, 2, 3)

#: (transpose, flip left and right, flip up and down): the eight symmetries of a square.
SYMMETRIES = tuple(product((False, True), repeat=3))
NAMES = {
    (False, False, False): "upright",
    (False, True, False): "mirrored left and right",
    (False, False, True): "mirrored up and down",
    (False, True, True): "turned by 180 degrees",
    (True, False, False): "transposed",
    (True, True, False): "turned by 90 degrees clockwise",
    (True, False, True): "turned by 90 degrees anticlockwise",
    (True, True, True): "transposed over the other diagonal",
}


@dataclass(frozen=True)
class Compared:
    """Pairs of slides of the same section, and pairs whose content excludes this."""

    relations: list[Relation]
    _index: dict[str, int]
    _comparable: np.ndarray
    _found: frozenset[tuple[str, str]]

    def refutes(self, one: str, other: str) -> bool:
        """Return whether two slides were compared spot by spot and nothing agrees."""
        first, second = sorted((one, other))
        if first not in self._index or second not in self._index:
            return False
        if (first, second) in self._found:
            return False
        return bool(self._comparable[self._index[first], self._index[second]])


@dataclass(frozen=True)
class Evidence:
    """A sign that two slides are one section: a text with numbers, and its own confidence."""

    text: str
    confidence: str


def compare(fingerprints: Mapping[str, Fingerprint]) -> Compared:
    """Compare the content of slides.

    Parameters
    ----------
    fingerprints
        Slide -> fingerprint.

    Returns
    -------
    Compared
        ``same_section`` relations, with the numbers as evidence.
    """
    names = sorted(fingerprints)
    prints = [fingerprints[name] for name in names]
    if not prints:
        return Compared([], {}, np.zeros((0, 0), bool), frozenset())
    shared, correlation = correlate_residuals(prints)
    candidates = (shared >= FEWEST_SPOTS) & (correlation >= RESIDUAL_CANDIDATE)
    candidates &= _sigmas(correlation, shared) >= SIGMAS
    candidates |= share_counts(prints, keyed=True)
    candidates |= share_counts(prints, keyed=False)
    whole = [sharpen(one.whole) for one in prints]
    frame = [sharpen(one.frame) for one in prints]
    candidates |= resemble(whole)
    candidates |= resemble(frame)
    found = []
    for first, second in np.argwhere(np.triu(candidates, 1)):
        evidence = [
            *_compare_keyed(prints[first], prints[second]),
            *_compare_unkeyed(prints[first], prints[second]),
            *_compare_pictures(prints, whole, frame, first, second),
        ]
        relation = _conclude(names[first], names[second], evidence)
        if relation:
            found.append(relation)
    informative = np.array([_is_informative(one) for one in prints])
    comparable = informative[:, None] & informative[None]
    return Compared(
        found,
        {name: index for index, name in enumerate(names)},
        comparable,
        frozenset((row.slide_a, row.slide_b) for row in found),
    )


def _conclude(one: str, other: str, evidence: Sequence[Evidence]) -> Relation | None:
    """Combine the evidence: a likely sign and a second sign together are certain."""
    if not evidence:
        return None
    grades = [item.confidence for item in evidence]
    sure = "certain" in grades or grades.count("likely") > 1
    sure = sure or ("likely" in grades and "possible" in grades)
    confidence = "certain" if sure else "likely" if "likely" in grades else "possible"
    return relate(one, other, "same_section", "; ".join(item.text for item in evidence), confidence)


# Counts of spots


def correlate_residuals(prints: Sequence[Fingerprint]) -> tuple[np.ndarray, np.ndarray]:
    """Correlate the residuals of all pairs of slides over their common barcodes.

    Returns
    -------
    shared : ndarray
        Number of common barcodes, (slides, slides) float64.
    correlation : ndarray
        Pearson correlation over them, (slides, slides) float64; 0 if a slide is constant.
    """
    count = len(prints)
    slide = np.repeat(np.arange(count), [len(one.keys) for one in prints])
    keys = np.concatenate([one.keys for one in prints])
    values = np.concatenate([_clip(one.residuals) for one in prints])
    _, column, slides = np.unique(keys, return_inverse=True, return_counts=True)
    sums = [np.zeros((count, count)) for _ in range(4)]
    common, rare = slides > DENSE, (slides > 1) & (slides <= DENSE)
    for chosen, width in ((common, BLOCK), (rare, int(rare.sum()) or 1)):
        place = np.cumsum(chosen) - 1
        for start in range(0, int(chosen.sum()), width):
            inside = chosen[column] & (place[column] >= start) & (place[column] < start + width)
            at = slide[inside], place[column[inside]] - start
            shape = count, min(width, int(chosen.sum()) - start)
            has = sparse.csr_matrix((np.ones(len(at[0])), at), shape)
            value = sparse.csr_matrix((values[inside], at), shape)
            if chosen is common:
                has, value = has.toarray(), value.toarray()
            square = value * value if chosen is common else value.multiply(value).tocsr()
            pairs = (has, has), (value, has), (square, has), (value, value)
            for total, (left, right) in zip(sums, pairs, strict=True):
                made = left @ right.T
                total += made if chosen is common else made.toarray()
    shared, total, squares, both = sums
    spread = np.maximum(shared * squares - total**2, 0)
    scale = np.sqrt(spread * spread.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (shared * both - total * total.T) / scale
    return shared, np.where(scale > 1e-6, correlation, 0)


def share_counts(prints: Sequence[Fingerprint], keyed: bool) -> np.ndarray:
    """Find pairs of slides whose spots have equal counts, (slides, slides) bool.

    With ``keyed``, the barcodes must be equal too. Without it, slides with low counts agree by
    chance. They then agree as often when the counts of one slide are shifted a little, so a pair
    must agree more often than that.
    """
    marks = [np.unique(_mark(one, keyed)) for one in prints]
    values, slides = np.unique(np.concatenate(marks), return_counts=True)
    values = values[(slides > 1) & (slides <= COMMON)]
    has = _incidence(marks, values)
    shared = (has @ has.T).toarray()
    sizes = np.array([len(mark) for mark in marks])
    least = np.minimum(sizes[:, None], sizes[None])
    enough = (shared >= FEWEST_SPOTS / 2) & (shared >= EXACT_LIKELY / 3 * least)
    if keyed:
        return enough
    by_chance = np.zeros(shared.shape)
    for shift in SHIFTS:
        moved = _incidence([np.unique(_mark(one, keyed, shift)) for one in prints], values)
        by_chance += (has @ moved.T).toarray() / len(SHIFTS)
    return enough & _beyond_chance(shared, np.maximum(by_chance, by_chance.T))


def _incidence(marks: Sequence[np.ndarray], values: np.ndarray) -> sparse.csr_matrix:
    """Return which of the sorted values each slide has, (slides, values) float32 of 0 and 1."""
    if not len(values):
        return sparse.csr_matrix((len(marks), 1))
    slide, column = [], []
    for index, mark in enumerate(marks):
        place = np.minimum(np.searchsorted(values, mark), len(values) - 1)
        place = place[values[place] == mark]
        column.append(place)
        slide.append(np.full(len(place), index))
    at = np.concatenate(slide), np.concatenate(column)
    return sparse.csr_matrix((np.ones(len(at[0]), np.float32), at), (len(marks), len(values)))


def _beyond_chance(same: np.ndarray | float, by_chance: np.ndarray | float) -> np.ndarray:
    """Return whether more agree than by chance: at least 1.5 times as many, and by `SIGMAS`."""
    return (same > 1.5 * by_chance) & (same > by_chance + SIGMAS * np.sqrt(by_chance + 1))


def _mark(one: Fingerprint, keyed: bool, shift: int = 0) -> np.ndarray:
    """Return one number per spot for its counts and, if ``keyed``, its barcode.

    Spots with too few counts are left out.
    """
    enough = one.totals >= (1 if keyed else FEWEST_COUNTS)
    mark = (one.totals[enough] + shift).astype(np.uint64) * np.uint64(1 << 20)
    mark += one.detected[enough].astype(np.uint64)
    if keyed:
        mark = mark * np.uint64(0x9E3779B97F4A7C15) ^ one.keys[enough]
    return mark


def _compare_keyed(one: Fingerprint, other: Fingerprint) -> list[Evidence]:
    """Compare the counts of spots with the same barcode."""
    _, first, second = np.intersect1d(one.keys, other.keys, return_indices=True)
    shared = len(first)
    if shared < FEWEST_SPOTS / 2:
        return []
    found = []
    left = _counts(one)[first]
    right = _counts(other)[second]
    informative = (one.totals[first] > 0) | (other.totals[second] > 0)
    same = int((left == right)[informative].sum())
    share = same / max(int(informative.sum()), 1)
    by_chance = _agreeing_by_chance(left[informative], right[informative])
    beyond = same > by_chance + SIGMAS * np.sqrt(by_chance + 1)
    if share >= EXACT_LIKELY and same >= FEWEST_SPOTS / 2 and beyond:
        found.append(
            Evidence(
                f"{same} of {shared} spots with one barcode have the same counts",
                "certain" if share >= EXACT_CERTAIN else "likely",
            )
        )
    correlation = _correlate(_clip(one.residuals[first]), _clip(other.residuals[second]))
    found += _judge_residuals(correlation, shared, "with one barcode")
    return found


def _judge_residuals(correlation: float, shared: int, which: str) -> list[Evidence]:
    if shared < FEWEST_SPOTS or _sigmas(correlation, shared) < SIGMAS:
        return []
    if correlation < RESIDUAL_CANDIDATE:
        return []
    confidence = (
        "certain"
        if correlation >= RESIDUAL_CERTAIN
        else "likely"
        if correlation >= RESIDUAL_LIKELY
        else "possible"
    )
    text = f"counts of {shared} spots {which}, relative to their neighbours', correlate by"
    return [Evidence(f"{text} {correlation:.2f}", confidence)]


def _compare_unkeyed(one: Fingerprint, other: Fingerprint) -> list[Evidence]:
    """Compare the counts of all spots, whatever their barcodes."""
    left, right = (
        np.column_stack([part.totals, part.detected])[part.totals >= FEWEST_COUNTS]
        for part in (one, other)
    )
    least = min(len(left), len(right))
    if least < FEWEST_SPOTS or max(one.spots, other.spots) > max(len(one.keys), len(other.keys)):
        return []  # spots are sampled by barcode, so two samples are different spots
    same = _in_common(left, right)
    by_chance = float(np.mean([_in_common(left + np.array([shift, 0]), right) for shift in SHIFTS]))
    share = same / least
    if share < EXACT_LIKELY or not _beyond_chance(same, by_chance):
        return []
    return [
        Evidence(
            f"{same} of {least} spots have the same numbers of counts and genes, where "
            f"{by_chance:.0f} would by chance",
            "certain" if share >= EXACT_CERTAIN else "likely",
        )
    ]


def _in_common(left: np.ndarray, right: np.ndarray) -> int:
    """Return the size of the intersection of two multisets of rows."""
    both = np.concatenate([left, right])
    _, place = np.unique(both, axis=0, return_inverse=True)
    place = place.ravel()
    size = int(place.max()) + 1
    first = np.bincount(place[: len(left)], minlength=size)
    second = np.bincount(place[len(left) :], minlength=size)
    return int(np.minimum(first, second).sum())


def _counts(one: Fingerprint) -> np.ndarray:
    return one.totals * (1 << 20) + one.detected


def _agreeing_by_chance(left: np.ndarray, right: np.ndarray) -> float:
    """Return how many paired values would agree if the pairs were drawn at random."""
    if not len(left):
        return 0.0
    _, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    size = int(place.max()) + 1
    first = np.bincount(place[: len(left)], minlength=size)
    second = np.bincount(place[len(left) :], minlength=size)
    return float((first.astype(float) * second).sum() / len(left))


def _is_informative(one: Fingerprint) -> bool:
    """Return whether a slide has enough counts to exclude that another slide is the same."""
    return int((one.totals >= FEWEST_COUNTS).sum()) >= FEWEST_SPOTS


def _clip(residuals: np.ndarray) -> np.ndarray:
    return np.clip(residuals.astype(float), -CLIP, CLIP)


def _correlate(left: np.ndarray, right: np.ndarray) -> float:
    if len(left) < 3 or left.std() < 1e-6 or right.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def _sigmas(correlation: np.ndarray | float, shared: np.ndarray | float) -> np.ndarray:
    """Return how many standard deviations a correlation is above 0 (Fisher's transformation)."""
    bounded = np.clip(correlation, -1 + 1e-9, 1 - 1e-9)
    return np.arctanh(bounded) * np.sqrt(np.maximum(np.asarray(shared) - 3, 0))


# Pictures


def sharpen(picture: np.ndarray) -> np.ndarray | None:
    """Keep the detail of a picture that survives another size and another format.

    Parameters
    ----------
    picture
        (64, 64) uint8.

    Returns
    -------
    ndarray or None
        (64, 64) float32 with mean 0 and norm 1; None if there is too little detail.
    """
    values = picture.astype(np.float32)
    # Beyond its edge a picture continues with the colour of the edge. A dark border would be a
    # strong detail next to the white background of most slides.
    border = {"borderType": cv2.BORDER_REPLICATE}
    detail = cv2.GaussianBlur(values, (0, 0), FINE, **border)
    detail -= cv2.GaussianBlur(values, (0, 0), SHADING, **border)
    detail -= detail.mean()
    if detail.std() < DETAIL:
        return None
    return detail / np.linalg.norm(detail)


def resemble(pictures: Sequence[np.ndarray | None]) -> np.ndarray:
    """Find pairs of pictures that are similar in any orientation, (slides, slides) bool.

    ``pictures`` come from `sharpen`; None is not similar to any picture.
    """
    count = len(pictures)
    small = np.zeros((count, COARSE, COARSE), np.float32)
    for index, picture in enumerate(pictures):
        if picture is not None:
            shrunk = cv2.resize(picture, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
            shrunk = shrunk - shrunk.mean()
            small[index] = shrunk / np.linalg.norm(shrunk)
    flat = small.reshape(count, -1)
    best = np.full((count, count), -1.0, np.float32)
    for symmetry in SYMMETRIES:
        turned = np.stack([turn(picture, symmetry) for picture in small]).reshape(count, -1)
        np.maximum(best, flat @ turned.T, out=best)
    return best >= PICTURE_CANDIDATE


def turn(picture: np.ndarray, symmetry: tuple[bool, bool, bool]) -> np.ndarray:
    """Apply one of `SYMMETRIES` to a square picture."""
    transpose, left_right, up_down = symmetry
    picture = picture.T if transpose else picture
    picture = picture[:, ::-1] if left_right else picture
    return picture[::-1] if up_down else picture


def turn_places(places: np.ndarray, symmetry: tuple[bool, bool, bool]) -> np.ndarray:
    """Apply to positions, (n, 2) fractions of width and height, what `turn` does to the picture."""
    transpose, left_right, up_down = symmetry
    places = places[:, ::-1] if transpose else places
    return np.abs(np.array([left_right, up_down]) - places)


def match_pictures(
    one: np.ndarray | None, other: np.ndarray | None
) -> tuple[float, tuple[bool, bool, bool]]:
    """Return the best correlation of two pictures and its orientation; -1 if one is None.

    All orientations are tried, each shifted by at most a pixel. The orientation is the symmetry
    that `turn` applies to ``other``.
    """
    if one is None or other is None:
        return -1.0, SYMMETRIES[0]
    symmetry = max(SYMMETRIES, key=lambda symmetry: float((one * turn(other, symmetry)).sum()))
    turned = np.ascontiguousarray(turn(other, symmetry))
    core = np.ascontiguousarray(one[1:-1, 1:-1])
    return float(cv2.matchTemplate(turned, core, cv2.TM_CCOEFF_NORMED).max()), symmetry


def _compare_pictures(prints, whole, frame, first: int, second: int) -> list[Evidence]:
    alike, symmetry = match_pictures(whole[first], whole[second])
    framed, framed_symmetry = match_pictures(frame[first], frame[second])
    if max(alike, framed) < PICTURE_POSSIBLE:
        return []
    if alike >= framed:
        text = f"the images correlate by {alike:.2f}, {NAMES[symmetry]}"
    else:
        text = f"the images around the spots correlate by {framed:.2f}, {NAMES[framed_symmetry]}"
    # Many arrays have the same printed marks around the tissue. So a whole image counts only if the
    # frame of the spots agrees too, or if the images are nearly identical.
    framed_too = framed >= PICTURE_POSSIBLE or frame[first] is None or frame[second] is None
    same = framed >= PICTURE_SAME or alike >= PICTURE_COPY or (alike >= PICTURE_SAME and framed_too)
    found = [Evidence(text, "likely" if same else "possible")]
    if alike >= PICTURE_POSSIBLE:
        found += _compare_places(prints[first], prints[second], symmetry)
    return found


def _compare_places(one: Fingerprint, other: Fingerprint, symmetry) -> list[Evidence]:
    """Compare the counts of spots at the same position of similar pictures."""
    if min(len(one.places), len(other.places)) < FEWEST_SPOTS:
        return []
    tree = cKDTree(one.places)
    apart = np.median(tree.query(one.places, k=2)[0][:, 1])
    distance, nearest = tree.query(turn_places(other.places, symmetry))
    close = distance < apart / 4
    shared = int(close.sum())
    if shared < FEWEST_SPOTS:
        return []
    left = _clip(one.residuals[nearest[close]])
    correlation = _correlate(left, _clip(other.residuals[close]))
    return _judge_residuals(correlation, shared, "at one place of the image")
