"""Compute correlations, means over groups, and intervals over groups."""

import numpy as np

#: A column varies if its range exceeds this fraction of its largest value: more than rounding.
_ROUNDING = 1e-12


def varies(values: np.ndarray) -> np.ndarray:
    """Return which columns of ``(n, genes)`` values are not constant; bool ``(genes,)``."""
    if not len(values):
        return np.zeros(values.shape[1], bool)
    low, high = values.min(axis=0), values.max(axis=0)
    return high - low > _ROUNDING * np.maximum(np.abs(low), np.abs(high))


def correlate(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Correlate (Pearson) each column of two arrays.

    Parameters
    ----------
    measured, predicted
        ``(n, genes)`` floats. A column of NaN was not measured.

    Returns
    -------
    numpy.ndarray
        float64 ``(genes,)``; NaN where either column is constant or not measured.
    """
    measured, predicted = (np.asarray(values, np.float64) for values in (measured, predicted))
    found = np.full(measured.shape[1], np.nan)
    defined = varies(measured) & varies(predicted)
    one, other = measured[:, defined], predicted[:, defined]
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    lengths = np.sqrt((one * one).sum(axis=0) * (other * other).sum(axis=0))
    found[defined] = (one * other).sum(axis=0) / lengths
    return found


def mean_of(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def mean_over_groups(values: np.ndarray, groups: list[str]) -> dict[str, float]:
    """Return the mean of each group's values; groups with NaN only are left out.

    Parameters
    ----------
    values
        ``(n,)``, one value per slide.
    groups
        The group of each slide: a patient or a study.
    """
    labels = np.array(groups, dtype=object)
    means = {group: mean_of(values[labels == group]) for group in sorted(set(groups))}
    return {group: value for group, value in means.items() if not np.isnan(value)}


def interval(means: list[float], draws: int, seed: int) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over groups.

    Groups are drawn with replacement, because spots of a slide and slides of a patient are not
    independent. With few groups the plain percentiles are too narrow (with five groups they cover
    80 % instead of 95 %). Therefore they are widened with Student's t: the expanded percentile
    interval (Hesterberg, The American Statistician 69:371, 2015).

    Parameters
    ----------
    means
        One value per group.
    draws
        Number of draws.
    seed
        Seed of the draws.

    Returns
    -------
    tuple of float
        Low and high; NaN with fewer than two groups, because one group does not show how groups
        differ.
    """
    number = len(means)
    if number < 2:
        return float("nan"), float("nan")
    from scipy import stats

    rng = np.random.default_rng(seed)
    values = np.asarray(means, np.float64)
    drawn = values[rng.integers(0, number, (draws, number))].mean(axis=1)
    tail = stats.norm.cdf(np.sqrt(number / (number - 1)) * stats.t.ppf(0.025, number - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
