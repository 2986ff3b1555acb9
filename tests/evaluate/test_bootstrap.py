"""Intervals of means: by hand where they can be, by their properties where not."""

import numpy as np
import pytest

from features.evaluate import bootstrap as module
from features.evaluate.bootstrap import bootstrap


def columns(*values):
    return np.array(values, float).T


def test_means_are_over_those_for_whom_a_figure_is_defined():
    made = bootstrap(columns([1, 2, np.nan, 3], [np.nan] * 4, [np.nan, np.nan, 5, np.nan]), seed=1)
    assert made.mean.tolist()[0] == 2.0
    assert np.isnan(made.mean[1])
    assert made.mean[2] == 5.0
    assert made.users.tolist() == [3, 0, 1]


def test_the_mean_of_one_has_no_interval_and_of_none_neither():
    made = bootstrap(columns([np.nan, 5], [np.nan, np.nan], [4, 5]), seed=1)
    assert np.isnan([made.low[0], made.high[0], made.low[1], made.high[1]]).all()
    assert (made.low[2], made.high[2]) == (4.0, 5.0)
    none = bootstrap(np.zeros((0, 2)), seed=1)
    assert np.isnan([*none.mean, *none.low, *none.high]).all()


def test_what_is_alike_for_all_is_sure():
    made = bootstrap(columns([0.25] * 9), seed=1)
    assert (made.low[0], made.mean[0], made.high[0]) == (0.25, 0.25, 0.25)


def test_an_interval_is_about_two_standard_errors_to_either_side():
    values = np.random.default_rng(5).normal(3.0, 2.0, 900)
    made = bootstrap(columns(values), seed=2)
    error = values.std(ddof=1) / 30
    assert made.low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert made.high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_two_columns_see_the_same_draws_so_a_constant_lead_is_sure():
    values = np.random.default_rng(6).normal(size=50)
    made = bootstrap(columns(values, values + 0.5, (values + 0.5) - values), seed=3)
    assert made.low[1] - made.low[0] == pytest.approx(0.5)
    assert (made.low[2], made.high[2]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_draws_follow_the_seed_alone(monkeypatch):
    values = np.random.default_rng(7).normal(size=(40, 3))
    first, other = bootstrap(values, seed=1), bootstrap(values, seed=2)
    assert first.low.tolist() != other.low.tolist()
    monkeypatch.setattr(module, "BLOCK_CELLS", 100)  # two resamples at a time
    blocked = bootstrap(values, seed=1)
    turned = bootstrap(values[:, ::-1], seed=1)
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(getattr(blocked, name), getattr(first, name), rtol=1e-12)
        np.testing.assert_allclose(getattr(turned, name)[::-1], getattr(first, name), rtol=1e-12)
