"""The order of an epoch: every pair is counted."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from st1k4m.training import order

sizes = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(any)


@given(sizes, st.integers(0, 5), st.integers(0, 5), st.integers(1, 20), st.integers(1, 64))
def test_every_pair_comes_once(slides, seed, epoch, block, window):
    found = order.shuffle_pairs(slides, seed, epoch, block, window)
    assert sorted(found.tolist()) == list(range(sum(slides)))


@given(sizes, st.integers(0, 5))
def test_every_slide_is_drawn_equally_often(slides, seed):
    drawn = order.draw_pairs(slides, np.arange(len(slides)), seed, 0)
    slide = np.searchsorted(np.cumsum(slides), drawn, side="right")
    numbers = Counter(slide.tolist())
    assert set(numbers) <= set(np.flatnonzero(slides).tolist())
    assert len(drawn) == sum(slides)
    each = [numbers[number] for number in np.flatnonzero(slides).tolist()]
    assert max(each) - min(each) <= 1
    for number in numbers:  # within a slide, a pair is drawn again only after all others
        pairs = Counter(drawn[slide == number].tolist())
        least = min(pairs.values()) if len(pairs) == slides[number] else 0
        assert max(pairs.values()) - least <= 1


def test_studies_are_drawn_equally_often_however_many_slides_they_have():
    slides, studies = [300, 300, 300, 90, 10], [0, 0, 0, 1, 2]
    drawn = order.draw_pairs(slides, studies, 0, 0)
    slide = np.searchsorted(np.cumsum(slides), drawn, side="right")
    by_study = Counter(np.array(studies)[slide].tolist())
    assert sorted(by_study.values()) == [333, 333, 334]
    assert Counter(slide.tolist())[4] == by_study[2]


@given(st.integers(1, 500), st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_ranks_share_an_epoch_out_and_take_equally_many_steps(pairs, world, size, drop_last):
    steps = order.count_batches(pairs, size, world, drop_last)
    parts = [order.part_of_rank(pairs, rank, world) for rank in range(world)]
    assert np.concatenate([np.arange(pairs)[part] for part in parts]).tolist() == list(range(pairs))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1
    edges = [order.cut_batches(length, size, steps) for length in lengths]
    for edge, length in zip(edges, lengths, strict=True):
        batches = np.diff(edge)
        assert len(batches) == steps
        assert (batches <= size).all()
        if drop_last:
            assert (batches == size).all()
            assert length - edge[-1] < size + 1
        else:
            assert edge[-1] == length
            if size > 1 and pairs >= world:
                assert (batches > 0).all()


def test_the_order_depends_on_seed_and_epoch():
    orders = {
        (seed, epoch): tuple(order.shuffle_pairs([50, 70], seed, epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == tuple(order.shuffle_pairs([50, 70], 1, 2).tolist())


@pytest.mark.parametrize("slides", [[1000] * 20, [2000] * 1149])
def test_batches_mix_slides_as_a_perfect_shuffle_does(slides):
    """Compare the number of distinct slides in a batch of 256 with a perfect shuffle."""

    def distinct(block):
        found = order.shuffle_pairs(slides, 0, 0, block) // slides[0]
        batches = found[: len(found) // 256 * 256].reshape(-1, 256)[:500]
        return np.mean([len(set(batch.tolist())) for batch in batches])

    assert distinct(order.BLOCK) / distinct(1) > 0.97


def test_blocks_come_within_one_window():
    found = order.shuffle_pairs([5000] * 10, 0, 0, 8, 1000)
    window = np.empty(50_000, int)
    window[found] = np.arange(50_000) // 1000
    together = np.mean(window[1:] == window[:-1])
    assert together > 0.85  # 7 of 8 neighbours, except in blocks at the edge of a window
