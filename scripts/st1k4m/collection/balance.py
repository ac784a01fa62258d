"""Assign groups to parts: sizes as asked, and each stratum spread evenly over the parts.

The cost of an assignment is a chi-square distance: for every feature (the size, and each stratum),
the sum over parts of (found - wanted)^2 / wanted. Sizes go before strata. Small cases are searched
exhaustively; others by moves and swaps from several starts.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

#: Up to this number of assignments, all of them are tried.
EXHAUSTIVE = 300_000
#: Weights of the size relative to all strata together, used one after another. The strata decide
#: first. Then the sizes become exact by the changes that cost the strata least.
SIZE_WEIGHTS = (1.0, 30.0, 1000.0)
#: Starts of the search. Above `MANY` groups only a quarter of them are used.
STARTS = 8
MANY = 300
#: Smallest gain of a change. Rounding errors are smaller, so they cannot keep the search going.
WORTH = 1e-9


def assign(
    names: Sequence[str],
    sizes: np.ndarray,
    strata: np.ndarray,
    shares: Sequence[float],
    seed: int,
    fixed: np.ndarray | None = None,
) -> np.ndarray:
    """Assign every group to a part.

    Parameters
    ----------
    names
        Name of each group. Names and seed decide between assignments that are equally good.
    sizes
        Size of each group, shape (groups,), not negative.
    strata
        Size of each group within each stratum, shape (groups, strata); ``strata`` may be 0.
    shares
        Share of the total size that each part should have; they sum to 1.
    seed
        Seed of the order of the groups and of the random starts.
    fixed
        Part of each group that must stay in it, -1 for the others, shape (groups,); None if all
        groups are free.

    Returns
    -------
    ndarray
        Index of the part of each group, shape (groups,), int.
    """
    sizes = np.asarray(sizes, dtype=float)
    count, parts = len(sizes), len(shares)
    fixed = np.full(count, -1) if fixed is None else np.asarray(fixed)
    # The search sees groups in an order that depends on their names and the seed alone.
    order = sorted(range(count), key=lambda index: _digest(seed, names[index]))
    features, weights = _features(sizes[order], np.asarray(strata, dtype=float)[order])
    search = _Search(features, weights, np.asarray(shares, dtype=float), fixed[order])
    free = int((fixed < 0).sum())
    if free * np.log(max(parts, 1)) <= np.log(EXHAUSTIVE):
        found = search.try_all()
    else:
        starts = STARTS if free <= MANY else STARTS // 4
        found = search.improve_from(starts, np.random.default_rng(seed))
    result = np.empty(count, dtype=int)
    result[order] = found
    return result


def _digest(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()


def _features(sizes: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return size and strata of each group as shares of their totals, and the features' weights."""
    columns = np.column_stack([sizes, strata.reshape(len(sizes), -1)])
    totals = columns.sum(axis=0)
    kept = totals > 0
    kept[0] = True
    columns, totals = columns[:, kept], totals[kept]
    weights = totals / max(totals[1:].sum(), 1e-300)
    weights[0] = 1.0
    return columns / np.where(totals > 0, totals, 1), weights


class _Search:
    """The search for the best assignment; ``values`` (groups, features), ``shares`` (parts,)."""

    def __init__(self, values, weights, shares, fixed):
        self.values = values
        self.weights = weights
        self.shares = shares
        self.fixed = fixed
        self.free = np.flatnonzero(fixed < 0)
        self.targets = np.tile(shares[:, None], (1, values.shape[1]))

    def cost(self, part: np.ndarray) -> tuple[float, float]:
        """Compute the cost of the sizes and the cost of the strata."""
        found = np.zeros_like(self.targets)
        np.add.at(found, part, self.values)
        costs = self.weights * (found - self.targets) ** 2 / self.shares[:, None]
        size = ((found[:, 0] - self.targets[:, 0]) ** 2).sum()
        return round(float(size), 12), round(float(costs[:, 1:].sum()), 12)

    def try_all(self) -> np.ndarray:
        """Try all assignments and return the best."""
        parts, free = len(self.shares), len(self.free)
        start = np.zeros_like(self.targets)
        held = self.fixed >= 0
        np.add.at(start, self.fixed[held], self.values[held])
        number = parts**free
        codes = np.arange(number)
        digits = np.empty((number, free), dtype=np.int8)
        for column in range(free):
            codes, digits[:, column] = np.divmod(codes, parts)
        sizes = np.zeros(number)
        for part in range(parts):
            found = start[part, 0] + (digits == part) @ self.values[self.free, 0]
            sizes += (found - self.shares[part]) ** 2
        best = np.flatnonzero(sizes <= sizes.min() + 1e-12)
        strata = np.zeros(len(best))
        for part in range(parts):
            found = start[part, 1:] + (digits[best] == part) @ self.values[self.free, 1:]
            gap = (found - self.shares[part]) ** 2 / self.shares[part]
            strata += gap @ self.weights[1:]
        chosen = best[np.flatnonzero(strata <= strata.min() + 1e-12)[0]]
        result = self.fixed.copy()
        result[self.free] = digits[chosen]
        return result

    def improve_from(self, starts: int, random: np.random.Generator) -> np.ndarray:
        """Search from several starts and return the best result."""
        found = []
        for number in range(starts):
            part = self._start(random if number else None)
            for weight in SIZE_WEIGHTS:
                part = self._improve(part, weight)
            found.append((self.cost(part), number, part))
        return min(found, key=lambda one: one[:2])[2]

    def _start(self, random: np.random.Generator | None) -> np.ndarray:
        """Put each group, the largest first, into the part where it costs least."""
        part = self.fixed.copy()
        state = np.zeros_like(self.targets)
        held = part >= 0
        np.add.at(state, part[held], self.values[held])
        weights = self.weights[None] / self.shares[:, None]
        size = self.values[self.free, 0]
        if random is not None:
            size = size * random.uniform(0.5, 1.5, len(size))
        for group in self.free[np.argsort(-size, kind="stable")]:
            value = self.values[group]
            gap = state - self.targets
            added = (weights * (2 * gap * value + value**2)).sum(axis=1)
            part[group] = int(np.argmin(added))
            state[part[group]] += value
        return part

    def _improve(self, part: np.ndarray, size_weight: float) -> np.ndarray:
        """Move one group, or swap two, as long as that lowers the cost."""
        part = part.copy()
        scale = self.weights.copy()
        scale[0] *= size_weight
        values = self.values[self.free]
        weights = scale[None] / self.shares[:, None]
        squares = (values**2) @ weights.T
        alike = (values * scale) @ values.T
        state = np.zeros_like(self.targets)
        np.add.at(state, part, self.values)
        rows = np.arange(len(self.free))
        for _ in range(20 * len(self.free) + 100):
            at = part[self.free]
            gain = values @ (weights * (state - self.targets)).T
            leave = -2 * gain[rows, at] + squares[rows, at]
            change = 2 * gain + squares + leave[:, None]
            change[rows, at] = 0
            group, to = divmod(int(np.argmin(change)), len(self.shares))
            if change[group, to] < -WORTH:
                moves = [(group, to)]
            else:
                pair = self._best_swap(change, alike, at)
                if pair is None:
                    break
                moves = [(pair[0], at[pair[1]]), (pair[1], at[pair[0]])]
            for index, new in moves:
                state[part[self.free[index]]] -= values[index]
                state[new] += values[index]
                part[self.free[index]] = new
        return part

    def _best_swap(self, change, alike, at) -> tuple[int, int] | None:
        """Find the two groups whose swap lowers the cost most; None if no swap lowers it."""
        inverse = 1 / self.shares
        both = change[:, at] + change[:, at].T
        both -= 2 * alike * (inverse[at][:, None] + inverse[at][None])
        both[at[:, None] == at[None]] = 0
        one, other = divmod(int(np.argmin(both)), len(at)) if len(at) else (0, 0)
        return (one, other) if len(at) and both[one, other] < -WORTH else None
