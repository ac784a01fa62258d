"""The levels of an image are the means of 2 x 2 pixels, however the image is cut into bands."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from st1k4m.export import pyramid


@dataclass
class Recorded:
    """A level that keeps what is written, and which rows each write covers."""

    width: int
    height: int
    side: int
    writes: list = field(default_factory=list)

    def __post_init__(self):
        self.shape = (3, self.height, self.width)
        self.chunks = (3, self.side, self.side)
        self.pixels = np.zeros(self.shape, np.uint8)

    def __setitem__(self, place, values):
        self.pixels[place] = values
        self.writes.append((place[1].start, place[1].stop))


def make_levels(width, height, side, number):
    return [Recorded(width >> level, height >> level, side) for level in range(number)]


def means_of_four(image):
    """Return the means in exact arithmetic, (h // 2, w // 2, 3) float, of an (h, w, 3) image."""
    height, width = (length // 2 * 2 for length in image.shape[:2])
    whole = image[:height, :width].astype(float)
    return (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]) / 4


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    side=st.sampled_from([2, 7, 16, 1024]),
    cuts=st.lists(st.integers(1, 69), max_size=6),
    seed=st.integers(0, 9),
)
def test_levels_are_means_however_the_bands_are_cut(width, height, side, cuts, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    levels = make_levels(width, height, side, pyramid.count_levels(width, height))
    bands = np.split(image, sorted({cut for cut in cuts if cut < height}))
    pyramid.fill_levels(bands, levels)
    above = image
    assert (levels[0].pixels.transpose(1, 2, 0) == image).all()
    for level in levels[1:]:
        found = level.pixels.transpose(1, 2, 0)
        assert np.abs(found - means_of_four(above)).max() <= 0.5
        above = found


def test_each_row_of_chunks_is_written_once_and_whole():
    levels = make_levels(40, 50, 16, 3)
    pyramid.fill_levels(np.split(np.zeros((50, 40, 3), np.uint8), [3, 4, 30]), levels)
    assert levels[0].writes == [(0, 16), (16, 32), (32, 48), (48, 50)]
    assert levels[1].writes == [(0, 16), (16, 25)]
    assert levels[2].writes == [(0, 12)]


@pytest.mark.parametrize("rows", [0, 9, 11, 30])
def test_an_image_of_another_height_is_refused(rows):
    with pytest.raises(ValueError, match="expected 10"):
        pyramid.fill_levels([np.zeros((rows, 4, 3), np.uint8)], make_levels(4, 10, 16, 1))


@pytest.mark.parametrize(
    ("width", "height", "levels"),
    [(1, 900, 1), (2, 2, 2), (3, 900, 2), (15, 16, 4), (16, 16, 5), (40_000, 40_000, 5)],
)
def test_no_level_is_without_pixels(width, height, levels):
    assert pyramid.count_levels(width, height) == levels
    assert min(width, height) >> (levels - 1) >= 1
