"""Learn the position of every barcode of a Visium array from all slides together.

A barcode has one fixed position on every array of its kind. The lattice of a slide shows the
positions of its own barcodes, except for a shift, a rotation and a mirroring. Slides that share
barcodes can therefore be aligned with each other. The positions on which most of them agree are the
map of their kind.

- A slide joins a kind if exactly one symmetry of the lattice brings nearly all shared barcodes to
  the same positions.
- Kinds separate without a further rule, because no slide has barcodes of two kinds.
- A position needs more than half of the votes, a direction more than half of the slides, and a map
  at least three slides. Otherwise it is unknown.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np

from st1k4m import codes
from st1k4m.formats.ledger import read_positions
from st1k4m.formats.record import Record, read_record
from st1k4m.geometry.barcodes import bases_of
from st1k4m.geometry.correction import Correction
from st1k4m.run.outputs import write_text
from st1k4m.technologies import technology

log = logging.getLogger(__name__)

# Fewest slides that make a map. Between two slides that contradict each other there is no majority.
FEWEST_SLIDES = 3
# Fewest barcodes that two slides must share to be compared; least share of these that the right
# symmetry brings together; largest share for the second best (spots of one row fit two symmetries).
SHARED, AGREE, OTHERWISE = 6, 0.9, 0.7
# Below this share of agreeing barcodes a slide is reported even if its symmetry is clear: part of
# its lattice is shifted, or some barcodes are exchanged.
WHOLE = 0.99
# A slide that fits no kind contradicts a kind whose map has at least this share of its barcodes.
BELONGS = 0.5

_FAR = 1 << 32  # larger than any step on the lattice
# The twelve symmetries of a hexagonal lattice, as operations on the three cube coordinates of a
# node: a permutation and a sign.
_CUBE = [(order, sign) for sign in (1, -1) for order in permutations(range(3))]


@dataclass(frozen=True)
class SlideArray:
    """The barcodes of a slide and their positions on its lattice.

    Attributes
    ----------
    slide
        Name.
    bases
        Distinct barcodes without the library number (``-1``).
    row, col
        Positions, int64 ``(n,)``; only their differences count.
    corrected
        How the workflow rotated or mirrored its coordinates; empty if it did not.
    """

    slide: str
    bases: list[str]
    row: np.ndarray
    col: np.ndarray
    corrected: str = ""


@dataclass(frozen=True)
class SlideOpinion:
    """How a slide agrees with the map of its kind.

    ``kind`` is empty if the slide belongs to none. ``symmetry`` is its orientation relative to most
    slides of the kind (empty: the same). ``shared`` barcodes were compared; ``agree`` of them have
    the map's positions. ``verdict`` is ``agrees``, ``corrected`` (agrees after the workflow rotated
    or mirrored its coordinates), ``contradicts``, or ``unknown``.
    """

    slide: str
    kind: str
    spots: int
    shared: int
    agree: int
    symmetry: str
    verdict: str
    why: str


@dataclass(frozen=True)
class ArrayMap:
    """The map of one kind of array: int64 rows and columns, and votes for and against each."""

    kind: str
    slides: int
    bases: list[str]
    row: np.ndarray
    col: np.ndarray
    votes: np.ndarray
    disagreements: np.ndarray


@dataclass
class _Cluster:
    """Aligned slides: positions (cube q, r) by barcode in the first slide's frame."""

    place: dict[str, tuple[int, int]] = field(default_factory=dict)
    members: dict[str, tuple[tuple, np.ndarray]] = field(default_factory=dict)


def calibrate_arrays(
    ledgers: Iterable[str | Path], records: Iterable[str | Path], out: str | Path
) -> None:
    """Write the maps of all kinds of arrays, and how each slide agrees with its map.

    Parameters
    ----------
    ledgers, records
        The slides' products, in the same order. Slides without Visium barcodes are left out.
    out
        A folder; tables of an earlier run in it are removed. ``{kind}.tsv`` has ``barcode``,
        ``array_row``, ``array_col``, ``votes``, ``disagreements``; its head states the number of
        slides. ``slides.tsv`` has one row per slide with the fields of `SlideOpinion`.
    """
    slides = [
        found
        for ledger, record in zip(ledgers, records, strict=True)
        if (found := read_slide(ledger, record)) is not None
    ]
    maps, opinions = learn_arrays(slides)
    out = Path(out)
    texts = {f"{found.kind}.tsv": _map_text(found) for found in maps}
    texts["slides.tsv"] = _opinions_text(opinions)
    for name, text in texts.items():
        write_text(out / name, text)
    for old in out.glob("*.tsv"):  # from an earlier run
        if old.name not in texts:
            old.unlink()
    for opinion in opinions:
        if opinion.verdict in (codes.CONTRADICTS, codes.CORRECTED):
            log.warning("%s: %s", opinion.slide, opinion.why)


def read_slide(ledger: str | Path, record: str | Path) -> SlideArray | None:
    """Read the barcodes and positions of a slide; None if its ids are not barcodes."""
    known = read_record(record)
    if not technology(known.tech).barcoded:
        return None
    barcodes, row, col = read_positions(ledger)
    bases = [bases_of(barcode or "") for barcode in barcodes]
    seen: dict[str, int] = {}
    for place, barcode in enumerate(bases):
        if barcode and row[place] >= 0 and col[place] >= 0:
            seen.setdefault(barcode, place)
    places = np.array(list(seen.values()), np.int64)
    row, col = _as_in_image(row[places], col[places], known)
    return SlideArray(known.slide, list(seen), row, col, _turned_by(known))


def _as_in_image(row: np.ndarray, col: np.ndarray, record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Turn positions from a table of barcodes into the direction in which the image shows them.

    Positions found from the centres have that direction already, so both are comparable evidence.
    """
    if record.positions != "barcodes":
        return row, col
    back = np.cos(np.radians(record.rotation)) < 0
    return (-row if back != record.mirrored else row), (-col if back else col)


def _turned_by(record: Record) -> str:
    """Return how the workflow rotated or mirrored the slide; empty if it did not."""
    given = record.correction or {}
    if given.get("by") != "workflow" or not (given["swap"] or given["flip"]):
        return ""
    return str(Correction(swap=given["swap"], flip=given["flip"]))


def learn_arrays(slides: list[SlideArray]) -> tuple[list[ArrayMap], list[SlideOpinion]]:
    """Learn the maps of all kinds of arrays, and how each slide agrees with its map.

    Parameters
    ----------
    slides
        In any order; the result does not depend on it.

    Returns
    -------
    list of ArrayMap
        Kinds with at least `FEWEST_SLIDES` slides, most slides first.
    list of SlideOpinion
        One per slide, sorted by name.
    """
    by_size = sorted(slides, key=lambda slide: (-len(slide.bases), slide.slide))
    clusters = _cluster(by_size)
    named = {slide.slide: slide for slide in slides}
    sound = [c for c in clusters if len(c.members) >= FEWEST_SLIDES]
    sound.sort(key=lambda c: (-len(c.members), min(c.members)))
    maps, opinions = [], {}
    for number, cluster in enumerate(sound, start=1):
        kind = f"visium_{number}"
        frame = _common_frame(cluster)
        if frame is None:
            for name in cluster.members:
                opinions[name] = _unknown(
                    named[name], "its kind's slides do not agree on a direction"
                )
            continue
        found, turned = _vote(kind, cluster, frame, named)
        maps.append(found)
        for name in cluster.members:
            opinions[name] = _compare(named[name], found, turned[name])
    for slide in slides:
        if slide.slide not in opinions:
            opinions[slide.slide] = _outsider(slide, maps)
    return maps, [opinions[name] for name in sorted(opinions)]


def _cluster(slides: list[SlideArray]) -> list[_Cluster]:
    """Align slides that share barcodes with each other, until no more can be joined."""
    clusters: list[_Cluster] = []
    waiting = [slide for slide in slides if len(slide.bases) >= SHARED]
    while waiting:
        left = [
            slide for slide in waiting if not any(_join(cluster, slide) for cluster in clusters)
        ]
        if len(left) == len(waiting):  # none fits: the largest starts a new kind
            first = left.pop(0)
            clusters.append(_Cluster())
            cube = _to_cube(first.row, first.col)
            _add(clusters[-1], first, _CUBE[0], np.zeros(3, np.int64), cube)
        waiting = left
    return clusters


def _join(cluster: _Cluster, slide: SlideArray) -> bool:
    """Add a slide to a cluster if exactly one symmetry brings their barcodes together."""
    shared = [i for i, barcode in enumerate(slide.bases) if barcode in cluster.place]
    if len(shared) < SHARED:
        return False
    cube = _to_cube(slide.row, slide.col)
    places = np.array([cluster.place[slide.bases[i]] for i in shared], np.int64)
    there = np.column_stack([places, -places.sum(axis=1)])
    tried = []
    for symmetry in _CUBE:
        steps = there - _turn(cube[shared], symmetry)
        step, votes = np.unique(steps[:, 0] * _FAR + steps[:, 1], return_counts=True)
        tried.append((int(votes.max()), int(step[np.argmax(votes)])))
    order = sorted(range(len(_CUBE)), key=lambda number: -tried[number][0])
    best, second = tried[order[0]], tried[order[1]]
    if best[0] < AGREE * len(shared) or second[0] > OTHERWISE * len(shared):
        return False
    q = round(best[1] / _FAR)
    r = best[1] - q * _FAR
    _add(cluster, slide, _CUBE[order[0]], np.array([q, r, -q - r]), cube)
    return True


def _add(
    cluster: _Cluster, slide: SlideArray, symmetry: tuple, step: np.ndarray, cube: np.ndarray
) -> None:
    """Add a slide to a cluster. The first slide with a barcode sets its position until the vote."""
    moved = _turn(cube, symmetry) + step
    cluster.members[slide.slide] = (symmetry, moved)
    for barcode, (q, r, _) in zip(slide.bases, moved.tolist(), strict=True):
        cluster.place.setdefault(barcode, (q, r))


def _common_frame(cluster: _Cluster) -> tuple | None:
    """Return the symmetry that more than half of the slides have; None if there is none."""
    (frame, count), *_ = Counter(s for s, _ in cluster.members.values()).most_common(1)
    return frame if 2 * count > len(cluster.members) else None


def _vote(
    kind: str, cluster: _Cluster, frame: tuple, named: dict[str, SlideArray]
) -> tuple[ArrayMap, dict[str, tuple[tuple, dict[str, tuple[int, int]]]]]:
    """Count the votes for the position of every barcode, in the orientation of most slides.

    Return the map, and for each slide its symmetry relative to the map and its own positions in the
    map's frame.
    """
    back = _inverse(frame)
    votes: dict[str, Counter] = {}
    own: dict[str, dict[str, tuple[int, int]]] = {}
    for name, (_, moved) in cluster.members.items():
        turned = _turn(moved, back)
        row, col = turned[:, 1], 2 * turned[:, 0] + turned[:, 1]
        places = list(zip(row.tolist(), col.tolist(), strict=True))
        own[name] = dict(zip(named[name].bases, places, strict=True))
        for barcode, place in own[name].items():
            votes.setdefault(barcode, Counter())[place] += 1
    rows = []
    for barcode, counted in votes.items():
        (place, most), *_ = counted.most_common(1)
        total = counted.total()
        if 2 * most > total:
            rows.append((*place, barcode, most, total - most))
    rows.sort()
    row, col, bases, most, against = (list(column) for column in zip(*rows, strict=True))
    row, col = np.array(row, np.int64), np.array(col, np.int64)
    top, left = row.min(), col.min()
    left -= (left + top) % 2  # column plus row is even at every spot
    found = ArrayMap(
        kind,
        len(cluster.members),
        bases,
        row - top,
        col - left,
        np.array(most, np.int64),
        np.array(against, np.int64),
    )
    turned = {
        name: (
            _compose(back, symmetry),
            {b: (r - top, c - left) for b, (r, c) in own[name].items()},
        )
        for name, (symmetry, _) in cluster.members.items()
    }
    return found, turned


def _compare(slide: SlideArray, found: ArrayMap, turned: tuple) -> SlideOpinion:
    """Compare a slide with the map of its kind."""
    symmetry, own = turned
    places = zip(found.row.tolist(), found.col.tolist(), strict=True)
    known = dict(zip(found.bases, places, strict=True))
    shared = [barcode for barcode in own if barcode in known]
    agree = sum(own[barcode] == known[barcode] for barcode in shared)
    name = _describe(symmetry)
    faults = []
    if name:
        faults.append(f"its array lies {name} against most slides of its kind")
    if agree < WHOLE * len(shared):
        faults.append(f"{len(shared) - agree} of {len(shared)} barcodes stand elsewhere")
    verdict = codes.CONTRADICTS if faults else codes.AGREES
    if slide.corrected:
        faults.append(
            f"this is after the workflow's correction of its coordinates: {slide.corrected}"
        )
        verdict = codes.CORRECTED if verdict == codes.AGREES else verdict
    return SlideOpinion(
        slide.slide,
        found.kind,
        len(slide.bases),
        len(shared),
        agree,
        name,
        verdict,
        "; ".join(faults),
    )


def _outsider(slide: SlideArray, maps: list[ArrayMap]) -> SlideOpinion:
    """Find out why a slide belongs to no kind."""
    for found in maps:
        shared = len(set(slide.bases) & set(found.bases))
        if shared >= max(SHARED, BELONGS * len(slide.bases)):
            why = f"{shared} of its {len(slide.bases)} barcodes are of {found.kind}, but no "
            why += "symmetry brings them to the map's positions"
            return SlideOpinion(
                slide.slide, found.kind, len(slide.bases), shared, 0, "", codes.CONTRADICTS, why
            )
    if len(slide.bases) < SHARED:
        return _unknown(slide, "too few spots with a position on the array")
    return _unknown(slide, f"fewer than {FEWEST_SLIDES} slides share its barcodes")


def _unknown(slide: SlideArray, why: str) -> SlideOpinion:
    return SlideOpinion(slide.slide, "", len(slide.bases), 0, 0, "", codes.UNKNOWN, why)


def _to_cube(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Convert rows and columns (column plus row even) to cube coordinates, ``(n, 3)`` int64."""
    row, col = row - row.min(), col - col.min()
    col = col + (row[0] + col[0]) % 2
    q = (col - row) // 2
    return np.column_stack([q, row, -q - row])


def _turn(cube: np.ndarray, symmetry: tuple) -> np.ndarray:
    order, sign = symmetry
    return sign * cube[:, list(order)]


def _inverse(symmetry: tuple) -> tuple:
    order, sign = symmetry
    return tuple(int(place) for place in np.argsort(order)), sign


def _compose(outer: tuple, inner: tuple) -> tuple:
    """Return the symmetry that applies ``inner``, then ``outer``."""
    return tuple(inner[0][place] for place in outer[0]), outer[1] * inner[1]


def _describe(symmetry: tuple) -> str:
    """Describe in words what a symmetry does to rows and columns."""
    cube = np.array([[1, 0, -1], [-1, 2, -1]])  # two columns on, and two rows on (column unchanged)
    q, r, _ = _turn(cube, symmetry).T
    col, row = 2 * q + r, r
    steps = tuple(zip((col * 0.5).tolist(), (row * np.sqrt(0.75)).tolist(), strict=True))
    (column_x, column_y), (row_x, row_y) = steps
    angle = round(np.degrees(np.arctan2(column_y, column_x)))
    if column_x * row_y - column_y * row_x > 0:
        return f"turned by {angle % 360} degrees" if angle else ""
    if angle == 0:
        return "mirrored in y"
    if abs(angle) == 180:
        return "mirrored in x"
    return f"mirrored in y and turned by {angle % 360} degrees"


def _map_text(found: ArrayMap) -> str:
    lines = [
        f"# Positions of {len(found.bases)} barcodes, as {found.slides} slides say. Rows "
        f"{found.row.max() + 1}, columns {found.col.max() + 1}; counted from the first that a "
        "slide shows.",
        "# votes: slides that show the barcode there; disagreements: that show it elsewhere.",
        "barcode\tarray_row\tarray_col\tvotes\tdisagreements",
    ]
    columns = (found.row, found.col, found.votes, found.disagreements)
    for barcode, *numbers in zip(found.bases, *(c.tolist() for c in columns), strict=True):
        lines.append("\t".join([f"{barcode}-1", *map(str, numbers)]))
    return "\n".join(lines) + "\n"


def _opinions_text(opinions: list[SlideOpinion]) -> str:
    names = ("slide", "kind", "spots", "shared", "agree", "symmetry", "verdict", "why")
    lines = ["\t".join(names)]
    for opinion in opinions:
        values = (str(getattr(opinion, name)) for name in names)
        lines.append("\t".join(" ".join(value.split()) for value in values))
    return "\n".join(lines) + "\n"
