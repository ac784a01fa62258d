"""Correlations, means and intervals, against scipy, pandas and simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from st1k4m.baseline.scores import correlate, interval, mean_of, mean_over_groups


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    measured, predicted = rng.normal(5, 2, (50, 7)), rng.normal(0, 1, (50, 7))
    expected = [stats.pearsonr(measured[:, i], predicted[:, i])[0] for i in range(7)]
    np.testing.assert_allclose(correlate(measured, predicted), expected, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, np.nan])
def test_a_constant_or_absent_gene_has_no_correlation(value):
    rng = np.random.default_rng(0)
    other = rng.normal(size=(20, 2))
    constant = np.stack([np.full(20, value), other[:, 0]], axis=1)
    assert np.isnan(correlate(constant, other)).tolist() == [True, False]
    assert np.isnan(correlate(other, constant)).tolist() == [True, False]


def test_a_prediction_that_differs_by_rounding_alone_is_constant():
    wobble = np.full((10, 1), 0.3)
    wobble[::2] += 1e-17
    wobble[1::2] = 0.1 + 0.2
    assert np.isnan(correlate(np.arange(10.0)[:, None], wobble)).all()


def test_groups_weigh_the_same_and_those_without_a_value_are_left_out():
    values = np.array([1.0, 3.0, 10.0, np.nan, np.nan])
    groups = ["a", "a", "b", "b", "c"]
    expected = pd.Series(values).groupby(groups).mean().dropna().to_dict()
    assert mean_over_groups(values, groups) == expected == {"a": 2.0, "b": 10.0}
    assert np.isnan(mean_of([np.nan]))


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        low, high = interval(rng.normal(0.3, 0.1, 8).tolist(), 1000, seed)
        held += low <= 0.3 <= high
    assert 0.90 <= held / 300 <= 0.99


def test_one_group_says_nothing_of_how_groups_differ():
    assert np.isnan(interval([0.5], 100, 0)).all()


def test_the_same_seed_draws_the_same_groups():
    means = [0.1, 0.4, 0.2, 0.35]
    assert interval(means, 500, 3) == interval(means, 500, 3) != interval(means, 500, 4)
