"""Drift: cases worked out by hand, slow and obvious versions as oracles, and what must hold of any samples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from features.evaluate import drift
from features.evaluate.drift import PRIOR, DimensionDrift, Movement, kept, ks, moved, profile_drift, psi

NAN = math.nan
VALUES = st.one_of(st.sampled_from([0.0, 0.5, 1.0, NAN]), st.floats(-5, 5))
SAMPLES = st.lists(VALUES, min_size=1, max_size=60).map(np.array)
SEEDS = st.integers(0, 10_000)


def slow_psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Value by value: which tenth's upper bound is the first not below it, and is it a value that is several."""
    ordered = sorted(value for value in reference if not math.isnan(value))
    tenths = [ordered[math.ceil(len(ordered) * i / 10) - 1] for i in range(1, 10)] if ordered else []

    def bin_of(value: float) -> object:
        if math.isnan(value):
            return "undefined"
        if tenths.count(value) > 1:
            return "alone", value
        return "up to", next((edge for edge in tenths if edge >= value), None)

    before, after = [bin_of(v) for v in reference], [bin_of(v) for v in current]
    total = 0.0
    for name in {*before, *after}:
        lent = PRIOR * (before.count(name) + after.count(name)) / (len(before) + len(after))
        p = (before.count(name) + lent) / (len(before) + PRIOR)
        q = (after.count(name) + lent) / (len(after) + PRIOR)
        total += (q - p) * math.log(q / p)
    return total


def test_a_psi_by_hand():
    # two bins of 5 and 5 that become 8 and 2; five lent values fall 3.25 and 1.75: from .55 and .45 to .75 and .25
    before, after = np.repeat([0.0, 1.0], [5, 5]), np.repeat([0.0, 1.0], [8, 2])
    assert psi(before, after) == pytest.approx(0.2 * math.log(0.75 / 0.55) - 0.2 * math.log(0.25 / 0.45))


def test_a_value_that_is_the_only_one_has_a_bin_of_its_own_so_that_leaving_it_either_way_shows():
    constant = np.full(100, 0.5)
    for elsewhere in (0.4, 0.6, NAN):
        assert psi(constant, np.full(100, elsewhere)) > 1.0
    assert psi(constant, np.full(7, 0.5)) == 0.0


def test_undefined_values_that_come_or_go_are_a_shift():
    whole = np.arange(100.0)
    half = np.where(np.arange(100) % 2, whole, NAN)
    assert psi(whole, half) > 0.25
    assert psi(half, whole) > 0.25
    assert psi(half, half[::-1]) == 0.0


def test_a_psi_of_emptied_bins_is_finite_and_of_nothing_at_all_undefined():
    assert 1.0 < psi(np.arange(1000.0), np.full(1000, 2000.0)) < 10.0
    assert psi(np.full(3, NAN), np.full(5, NAN)) == 0.0
    assert psi(np.full(30, NAN), np.arange(30.0)) > 1.0
    assert math.isnan(psi(np.array([]), np.arange(3.0)))
    assert math.isnan(psi(np.arange(3.0), np.array([])))


def test_two_samples_of_one_population_differ_by_about_nine_over_each_size():
    rng = np.random.default_rng(1)
    found = np.mean([psi(rng.random(2000), rng.random(1000)) for _ in range(100)])
    assert found == pytest.approx(9 * (1 / 2000 + 1 / 1000), rel=0.2)


@given(SAMPLES, SAMPLES)
def test_a_psi_is_that_of_the_slow_version_and_never_negative(reference, current):
    assert psi(reference, current) == pytest.approx(slow_psi(reference, current), abs=1e-12)
    assert psi(reference, current) >= 0.0


@given(SAMPLES, SAMPLES, SEEDS)
def test_neither_figure_depends_on_the_order_of_rows(reference, current, seed):
    rng = np.random.default_rng(seed)
    for figure in (psi, ks):
        one, other = figure(reference, current), figure(rng.permutation(reference), rng.permutation(current))
        assert np.array_equal(one, other, equal_nan=True)


@given(SAMPLES, st.integers(1, 4))
def test_a_sample_has_not_shifted_from_itself_however_often_it_is_there(sample, times):
    assert psi(sample, np.tile(sample, times)) == pytest.approx(0.0, abs=1e-12)
    if not np.isnan(sample).all():
        assert ks(sample, np.tile(sample, times)) == pytest.approx(0.0, abs=1e-12)


def test_a_ks_distance_by_hand():
    assert ks(np.array([1.0, 2.0, 3.0]), np.array([2.0, NAN, 3.0, 4.0])) == pytest.approx(1 / 3)
    assert ks(np.array([1.0]), np.array([2.0])) == 1.0
    assert math.isnan(ks(np.array([NAN]), np.array([1.0])))
    assert math.isnan(ks(np.array([1.0]), np.array([])))


@given(SAMPLES, SAMPLES)
def test_a_ks_distance_is_scipys_and_the_same_both_ways(one, other):
    clean = [values[~np.isnan(values)] for values in (one, other)]
    if min(map(len, clean)) >= 2:
        assert ks(one, other) == pytest.approx(ks_2samp(*clean, method="asymp").statistic, abs=1e-12)
    assert np.array_equal(ks(one, other), ks(other, one), equal_nan=True)


def test_dimensions_are_compared_by_name_and_only_those_of_both_sides():
    before = np.array([[0.0, 5.0, NAN], [1.0, 7.0, NAN]])
    after = np.array([[NAN, 0.5, 1.0], [2.0, 0.5, 0.0], [4.0, 0.5, 1.0]])
    found = profile_drift(["energy", "gone", "never"], before, ["never", "new", "energy"], after)
    assert [entry.name for entry in found] == ["energy", "never"]
    energy, never = found
    assert energy == DimensionDrift(
        "energy", psi(before[:, 0], after[:, 2]), ks(before[:, 0], after[:, 2]), 0.5, pytest.approx(2 / 3)
    )
    assert energy.ks == pytest.approx(1 / 6)
    assert never.mean_after == 3.0
    assert np.isnan([never.ks, never.mean_before]).all()


def test_movements_by_hand_with_zero_rows_left_out():
    before = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 0.0]], np.float32)
    after = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    assert moved(before, after) == Movement(3, 1.0, pytest.approx(1.8), 2.0)
    nothing = moved(before[3:], after[3:])
    assert nothing.compared == 0
    assert np.isnan([nothing.median, nothing.p90, nothing.largest]).all()


@given(SEEDS, st.integers(1, 30))
def test_movements_are_those_of_a_loop(seed, rows):
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((2, rows, 3)) * (rng.random((2, rows, 1)) < 0.8)
    slow = [
        1 - a @ b / math.sqrt((a @ a) * (b @ b)) for a, b in zip(one, other, strict=True) if a.any() and b.any()
    ] or [NAN]
    found = moved(one, other)
    assert [found.median, found.largest] == pytest.approx([np.median(slow), max(slow)], nan_ok=True)


def test_what_is_kept_by_hand():
    old = np.array([[4, 7, 9], [1, 2, -1], [-1, -1, -1], [5, -1, -1]])
    new = np.array([[9, 1], [2, 1], [3, 4], [-1, -1]])
    assert kept(old, new) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert kept(old[:, :1], new[:, :1]) == 0.0
    assert math.isnan(kept(old[2:3], new[2:3]))
    assert math.isnan(kept(old[:0], new[:0]))
    assert kept(old, new[:, :0]) == 0.0


@given(SEEDS, st.integers(1, 6), st.integers(0, 5), st.integers(0, 5))
def test_what_is_kept_is_that_of_sets(seed, rows, width, new_width):
    rng = np.random.default_rng(seed)
    old, new = (
        np.array([np.where(rng.random(w) < 0.8, rng.permutation(6)[:w], -1) for _ in range(rows)]).reshape(rows, w)
        for w in (width, new_width)
    )
    lists = [({*a.tolist()} - {-1}, {*b.tolist()} - {-1}) for a, b in zip(old, new, strict=True)]
    shares = [len(a & b) / len(a) for a, b in lists if a] or [NAN]
    before = old.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "BLOCK", 1 + seed % 4)
        assert kept(old, new) == pytest.approx(np.mean(shares), nan_ok=True)
    assert np.array_equal(old, before)
