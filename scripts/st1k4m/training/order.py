"""The order of pairs in an epoch. It depends only on the seed and the epoch."""

from collections.abc import Sequence

import numpy as np

WEIGHTS = ("pair", "slide", "study")

BLOCK = 4
"""Number of consecutive pairs of a store that are drawn within one `WINDOW`."""

WINDOW = 16384
"""Number of pairs that are shuffled together. Batches then have as many slides as in a perfect
shuffle (bench_training measures it), but a disk reads whole blocks."""


def shuffle_pairs(
    slides: Sequence[int], seed: int, epoch: int, block: int = BLOCK, window: int = WINDOW
) -> np.ndarray:
    """Put all pairs in random order.

    Blocks of ``block`` neighbours are put in random order, then the pairs within each ``window``.

    Parameters
    ----------
    slides
        Number of pairs of each slide; pairs are numbered slide by slide.
    seed, epoch
        Together they determine the order.
    block
        Number of neighbours that stay within one window; 1 is a perfect shuffle.
    window
        Number of pairs that are shuffled together.

    Returns
    -------
    numpy.ndarray
        (pairs,) int64, every number below the number of pairs once.
    """
    rng = np.random.default_rng([seed, epoch])
    total = int(np.sum(slides))
    if block == 1:
        return rng.permutation(total)
    first, count = _cut_blocks(np.asarray(slides, np.int64), block, rng)
    chosen = rng.permutation(len(first))
    order = _spread(first[chosen], count[chosen])
    whole = total // window * window
    order[:whole] = rng.permuted(order[:whole].reshape(-1, window), axis=1).ravel()
    order[whole:] = rng.permutation(order[whole:])
    return order


def draw_pairs(slides: Sequence[int], groups: Sequence[int], seed: int, epoch: int) -> np.ndarray:
    """Draw as many pairs as there are, every group of slides equally often.

    The numbers of draws of two groups differ by at most one. Within a group the same holds for the
    pairs: a pair is drawn again only after all others of the group.

    Parameters
    ----------
    slides
        Number of pairs of each slide; pairs are numbered slide by slide.
    groups
        Group of each slide, as a number: the slide itself, or its study.
    seed, epoch
        Together they determine the draws.

    Returns
    -------
    numpy.ndarray
        (pairs,) int64, in random order.
    """
    rng = np.random.default_rng([seed, epoch, 1])
    slides = np.asarray(slides, np.int64)
    starts = np.cumsum(slides) - slides
    kept = np.flatnonzero(slides)
    members: dict[int, list[int]] = {}
    for slide in kept.tolist():
        members.setdefault(int(groups[slide]), []).append(slide)
    total = int(slides.sum())
    draws = np.full(len(members), total // len(members))
    draws[rng.permutation(len(members))[: total % len(members)]] += 1
    drawn = []
    for number, those in zip(draws.tolist(), members.values(), strict=True):
        pairs = _spread(starts[those], slides[those])
        again, rest = divmod(number, len(pairs))
        drawn += [np.tile(pairs, again), rng.choice(pairs, rest, replace=False, shuffle=False)]
    return rng.permutation(np.concatenate(drawn))


def part_of_rank(pairs: int, rank: int, world: int) -> slice:
    """Return a rank's stretch of an epoch's order; sizes differ by at most one."""
    size, more = divmod(pairs, world)
    begin = rank * size + min(rank, more)
    return slice(begin, begin + size + (rank < more))


def count_batches(pairs: int, batch_size: int, world: int, drop_last: bool) -> int:
    """Return the number of batches of an epoch, the same on all ranks."""
    if drop_last:
        return pairs // world // batch_size
    return -(-pairs // (world * batch_size))


def cut_batches(pairs: int, batch_size: int, batches: int) -> np.ndarray:
    """Return where each batch of a rank begins, and where the last one ends.

    A rank with one pair less than another may have no pair left for the last batch. That batch then
    gets the last pair of the batch before it, because all ranks must take the same number of steps.

    Parameters
    ----------
    pairs
        Number of pairs of the rank.
    batch_size
        Number of pairs in a batch.
    batches
        Number of batches, from `count_batches`.

    Returns
    -------
    numpy.ndarray
        (batches + 1,) int64.
    """
    edges = np.minimum(np.arange(batches + 1) * batch_size, pairs)
    if batches > 1 and batch_size > 1 and edges[-2] == pairs:
        edges[-2] -= 1
    return edges


def _cut_blocks(
    slides: np.ndarray, block: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut every slide into blocks. A random size of its first block varies the neighbours."""
    slides_starts = np.cumsum(slides) - slides
    phase = rng.integers(0, block, len(slides))
    numbers = -(-(slides + phase) // block) * (slides > 0)
    slide = np.repeat(np.arange(len(slides)), numbers)
    within = np.arange(len(slide)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    begin = np.maximum(within * block - phase[slide], 0)
    end = np.minimum((within + 1) * block - phase[slide], slides[slide])
    return slides_starts[slide] + begin, end - begin


def _spread(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return all numbers of the runs: ``first, first + 1, ...``, ``count`` numbers of each."""
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(int(count.sum()))
