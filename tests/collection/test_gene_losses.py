"""Which slides cost genes, against an exhaustive count."""

import itertools
import math

import numpy as np
import pytest
from st1k4m.collection.gene_losses import find_losses


def kept(had, columns, share):
    return int((had[:, columns].sum(axis=1) >= max(1, math.ceil(share * len(columns)))).sum())


@pytest.mark.parametrize("share", [1.0, 0.75, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_what_each_slide_costs_is_what_its_absence_gains(seed, share):
    random = np.random.default_rng(seed)
    had = random.random((60, 5)) < [0.9, 0.8, 0.95, 0.4, 0.9]
    had[:, 4] = had[:, 0]  # two slides with the same genes are one case
    names = [f"S{number}" for number in range(5)]
    losses = find_losses(had, names, share)

    every = list(range(5))
    assert losses.kept == kept(had, every, share)
    assert losses.every == int(had.any(axis=1).sum())
    expected = {}
    for gone in ((0, 4), (1,), (2,), (3,)):
        left = [column for column in every if column not in gone]
        gain = kept(had, left, share) - losses.kept
        if gain > 0:
            expected[tuple(names[column] for column in gone)] = gain
    assert {loss.slides: loss.removed for loss in losses.single} == expected
    assert [loss.removed for loss in losses.single] == sorted(expected.values(), reverse=True)


def test_what_to_leave_out_together():
    """Two small panels: neither helps alone, and both are named, with what is left then."""
    had = np.ones((100, 5), bool)
    had[:98, 3] = False
    had[2:, 4] = False
    losses = find_losses(had, list("ABCDE"), 1.0)
    assert losses.kept == 0
    best = max(
        kept(had, [c for c in range(5) if c not in gone], 1.0)
        for gone in itertools.combinations(range(5), 2)
    )
    (first, _), (second, left) = losses.together[:2]
    assert {*first.slides, *second.slides} == {"D", "E"}
    assert left == best == 100


def test_nothing_is_asked_of_a_list():
    assert find_losses(None, [], 1.0) is None
