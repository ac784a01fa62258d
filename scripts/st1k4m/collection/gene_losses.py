"""Count how many genes each slide removes from a panel.

One slide with few genes makes an intersection small: with a targeted panel of 1,186 genes, at most
1,186 of 36,601 genes are common to all slides. Slides with the same genes are counted as one set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Loss:
    """The cost of slides with the same genes.

    Attributes
    ----------
    slides
        Names of these slides.
    had
        Number of genes that they have.
    removed
        Number of genes that would reach the share of slides if these slides were left out.
    """

    slides: tuple[str, ...]
    had: int
    removed: int


@dataclass(frozen=True)
class Losses:
    """The cost of all slides.

    Attributes
    ----------
    kept
        Number of genes that enough slides have.
    every
        Number of genes that at least one slide has.
    single
        Cost of each set of slides alone, the largest first. Sets that cost nothing are left out.
    together
        At most five sets of slides to leave out, one after the other, to gain most genes. Each with
        the number of genes that are kept then.
    """

    kept: int
    every: int
    single: list[Loss]
    together: list[tuple[Loss, int]]


def find_losses(had: np.ndarray | None, slides: Sequence[str], share: float) -> Losses | None:
    """Count how many genes each slide removes.

    Parameters
    ----------
    had
        (genes, slides) bool: which slide has which gene; None if a method does not need it.
    slides
        Names of the slides.
    share
        Share of the slides that must have a gene, 0 to 1.

    Returns
    -------
    Losses or None
        None if ``had`` is None.
    """
    if had is None:
        return None
    sets = _group_equal(had)
    profiles = np.stack([had[:, members[0]] for members in sets], axis=1)
    sizes = np.array([len(members) for members in sets])
    slide_names = [tuple(slides[member] for member in members) for members in sets]
    counts = profiles.astype(np.int64) @ sizes
    left = np.ones(len(sets), bool)
    kept = int((counts >= _needed(share, sizes.sum())).sum())
    gains = _gains(profiles, counts, sizes, left, share, kept)
    single = [
        Loss(slide_names[place], int(profiles[:, place].sum()), int(gains[place]))
        for place in np.argsort(-gains, kind="stable")
        if gains[place] > 0
    ]
    together: list[tuple[Loss, int]] = []
    now = kept
    while left.sum() > 1 and len(together) < 5:
        gains = _gains(profiles, counts, sizes, left, share, now)
        # If no set helps alone, take the one with the fewest genes: it may help with the next.
        order = np.lexsort((profiles.sum(axis=0), -gains))
        place = next(number for number in order if left[number])
        left[place] = False
        counts = counts - sizes[place] * profiles[:, place]
        now = int((counts >= _needed(share, sizes[left].sum())).sum())
        loss = Loss(slide_names[place], int(profiles[:, place].sum()), int(gains[place]))
        together.append((loss, now))
    return Losses(kept, int(had.any(axis=1).sum()), single, together)


def _needed(share: float, slides: int) -> int:
    return max(1, math.ceil(share * slides - 1e-9))


def _gains(
    profiles: np.ndarray,
    counts: np.ndarray,
    sizes: np.ndarray,
    left: np.ndarray,
    share: float,
    kept: int,
) -> np.ndarray:
    """Return how many more genes are kept without each set; very negative for sets left out."""
    gains = np.full(len(sizes), np.iinfo(np.int64).min // 2)
    for place in np.flatnonzero(left):
        rest = int(sizes[left].sum() - sizes[place])
        if rest:
            without = counts - sizes[place] * profiles[:, place]
            gains[place] = int((without >= _needed(share, rest)).sum()) - kept
    return gains


def _group_equal(had: np.ndarray) -> list[list[int]]:
    groups: dict[bytes, list[int]] = {}
    for column in range(had.shape[1]):
        groups.setdefault(np.packbits(had[:, column]).tobytes(), []).append(column)
    return list(groups.values())
