"""The map of an array that slides teach is the true one, slides that contradict it are named."""

import numpy as np
import pytest
from st1k4m.collection.calibrate_arrays import SlideArray, learn_arrays
from st1k4m.geometry.numbering import number_spots

TURNS = {
    "mirrored in x": lambda x, y: (-x, y),
    "mirrored in y": lambda x, y: (x, -y),
    "turned by 180 degrees": lambda x, y: (-x, -y),
}


class TrueArray:
    """An array with random barcodes at its nodes."""

    def __init__(self, rows=78, cols=128, seed=0):
        rng = np.random.default_rng([seed, 99])
        row, col = np.mgrid[:rows, :cols]
        even = (row + col) % 2 == 0
        self.row, self.col = row[even], col[even]
        letters = rng.choice(list("ACGT"), (len(self.row), 16))
        self.bases = ["".join(word) for word in letters]
        assert len(set(self.bases)) == len(self.bases)
        self.rows, self.cols = rows, cols

    def slide(self, name, seed, turn="", keep=0.7, share=0.6, corrected=""):
        """A slide of the array: a round piece of tissue, spots missing, numbered from centres."""
        rng = np.random.default_rng([seed, 1])
        x, y = self.col * 0.5, self.row * np.sqrt(0.75)
        middle = rng.uniform(0.25, 0.75, 2) * (x.max(), y.max())
        inside = np.hypot(x - middle[0], y - middle[1]) < share * max(x.max(), y.max())
        some = np.flatnonzero(inside & (rng.random(len(x)) < keep))
        some = rng.permutation(some)
        angle = np.radians(rng.uniform(-5, 5))
        x, y = (
            x[some] * np.cos(angle) - y[some] * np.sin(angle),
            (x[some] * np.sin(angle) + y[some] * np.cos(angle)),
        )
        if turn:
            x, y = TURNS[turn](x, y)
        _, found = number_spots(x * 20, y * 20, ["hexagonal"])
        known = found.row >= 0
        assert known.mean() > 0.99
        bases = [self.bases[i] for i in some[known]]
        return SlideArray(
            name,
            bases,
            found.row[known].astype(np.int64),
            found.col[known].astype(np.int64),
            corrected,
        )

    def truth(self):
        return dict(
            zip(self.bases, zip(self.row.tolist(), self.col.tolist(), strict=True), strict=True)
        )


def learnt(found):
    return dict(
        zip(found.bases, zip(found.row.tolist(), found.col.tolist(), strict=True), strict=True)
    )


@pytest.fixture(scope="module")
def collection():
    array, other = TrueArray(), TrueArray(128, 224, seed=1)
    wrong = {
        11: "mirrored in x",
        23: "mirrored in y",
        37: "turned by 180 degrees",
        52: "mirrored in x",
        71: "turned by 180 degrees",
    }
    slides = [array.slide(f"S{i:02d}", i, wrong.get(i, "")) for i in range(77)]
    slides += [other.slide(f"T{i}", 100 + i, share=0.9) for i in range(3)]
    return array, other, {f"S{i:02d}": turn for i, turn in wrong.items()}, slides


def test_the_map_is_exact_and_kinds_are_told_apart(collection):
    array, other, _, slides = collection
    maps, _ = learn_arrays(slides)
    assert [found.slides for found in maps] == [77, 3]
    for found, truth in zip(maps, (array.truth(), other.truth()), strict=True):
        seen = {b for slide in slides for b in slide.bases if b in truth}
        assert set(found.bases) == seen
        assert {b: truth[b] for b in seen} == learnt(found)
        assert not found.disagreements.any()
    assert len(maps[0].bases) == len(array.bases)


def test_slides_that_lie_otherwise_are_named_and_no_others(collection):
    *_, wrong, slides = collection
    _, opinions = learn_arrays(slides)
    named = {o.slide: o.symmetry for o in opinions if o.verdict != "agrees"}
    assert named == wrong
    assert {o.kind for o in opinions if o.slide.startswith("T")} == {"visium_2"}


def test_the_order_of_the_slides_does_not_matter(collection):
    *_, slides = collection
    slides = slides[:12]
    maps, opinions = learn_arrays(slides[::-1])
    again, same = learn_arrays(slides)
    assert [learnt(m) for m in maps] == [learnt(m) for m in again]
    assert opinions == same


def test_a_minority_does_not_win_and_votes_are_counted():
    array = TrueArray(30, 40)
    slides = [array.slide(f"S{i}", i, keep=1.0, share=2.0) for i in range(5)]
    bases = list(slides[4].bases)
    bases[:10] = bases[1:10] + bases[:1]  # ten barcodes at each other's places
    slides[4] = SlideArray("S4", bases, slides[4].row, slides[4].col)
    [found], opinions = learn_arrays(slides)
    assert learnt(found) == array.truth()
    assert sorted(set(zip(found.votes.tolist(), found.disagreements.tolist(), strict=True))) == [
        (4, 1),
        (5, 0),
    ]
    assert [o.agree for o in opinions] == [600, 600, 600, 600, 590]
    assert [o.verdict for o in opinions] == ["agrees"] * 4 + ["contradicts"]


def test_two_slides_are_no_consensus():
    array = TrueArray(30, 40)
    maps, opinions = learn_arrays([array.slide("A", 0), array.slide("B", 1)])
    assert maps == []
    assert [(o.verdict, o.kind) for o in opinions] == [("unknown", "")] * 2
    assert "fewer than 3 slides" in opinions[0].why


def test_half_against_half_is_no_direction():
    array = TrueArray(30, 40)
    slides = [array.slide(f"S{i}", i, "mirrored in x" if i < 2 else "") for i in range(4)]
    maps, opinions = learn_arrays(slides)
    assert maps == []
    assert {o.verdict for o in opinions} == {"unknown"}


def test_a_slide_whose_barcodes_are_shuffled_is_named():
    array = TrueArray(30, 40)
    slides = [array.slide(f"S{i}", i) for i in range(4)]
    bases = np.random.default_rng(0).permutation(slides[3].bases).tolist()
    slides[3] = SlideArray("S3", bases, slides[3].row, slides[3].col)
    [found], opinions = learn_arrays(slides)
    assert found.slides == 3
    assert [o.verdict for o in opinions] == ["agrees"] * 3 + ["contradicts"]
    assert "no symmetry" in opinions[3].why


def test_a_slide_with_a_part_shifted_is_named():
    array = TrueArray(40, 60)
    slides = [array.slide(f"S{i}", i, keep=1.0, share=2.0) for i in range(4)]
    last = slides[3]
    shifted = np.where(last.row > 36, last.col + 2, last.col)
    slides[3] = SlideArray("S3", last.bases, last.row, shifted)
    [found], opinions = learn_arrays(slides)
    assert learnt(found) == array.truth()
    assert [o.verdict for o in opinions] == ["agrees"] * 3 + ["contradicts"]
    assert "barcodes stand elsewhere" in opinions[3].why


def test_a_corrected_slide_is_said_to_be_one():
    array = TrueArray(30, 40)
    slides = [array.slide(f"S{i}", i, corrected="flip x" if i == 2 else "") for i in range(4)]
    _, opinions = learn_arrays(slides)
    assert [o.verdict for o in opinions] == ["agrees", "agrees", "corrected", "agrees"]


def test_small_slides_join_a_kind_that_large_ones_show():
    array = TrueArray()
    slides = [array.slide(f"L{i}", i, share=0.9) for i in range(3)]
    slides += [array.slide(f"S{i}", 10 + i, share=0.07, keep=0.9) for i in range(5)]
    assert max(len(slide.bases) for slide in slides[3:]) < 150
    [found], opinions = learn_arrays(slides)
    assert found.slides == 8
    assert {o.verdict for o in opinions} == {"agrees"}
