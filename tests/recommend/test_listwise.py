"""Learning a blend from lists, against the same loss written down slowly."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from features.recommend.listwise import fit_listwise


def lists_by_chance(seed: int, users: int = 40, width: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of three features the first tells what is relevant, the second some of it, the third nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(users, width, 3)).astype(np.float32) * np.array([1.0, 3.0, 0.5], np.float32)
    usable = rng.random((users, width)) < 0.9
    score = features @ np.array([2.0, 0.3, 0.0]) + rng.gumbel(size=(users, width))
    relevant = usable & (score >= np.sort(score, axis=1)[:, -2, None])
    return features, usable, relevant


def loss_slowly(weights, features, usable, relevant, prior, ridge):
    fit = total = 0.0
    for row, open_, taken in zip(features.astype(np.float64), usable, relevant, strict=True):
        if taken.any():
            score = row[open_] @ weights
            probability = np.exp(score) / np.exp(score).sum()
            fit -= np.log(probability[taken[open_]]).sum() / np.sqrt(taken.sum())
            total += np.sqrt(taken.sum())
    asked = relevant.any(axis=1)
    spread = features[asked][usable[asked]].std(axis=0)
    return fit / total + ridge * (((weights - prior) * spread) ** 2).sum()


@pytest.mark.parametrize("ridge", [0.001, 0.03, 1.0])
def test_weights_have_the_least_loss(ridge):
    features, usable, relevant = lists_by_chance(1)
    prior = np.array([0.1, 0.2, 0.3])
    made = fit_listwise(features, usable, relevant, prior, ridge=ridge)
    found = minimize(lambda w: loss_slowly(w, features, usable, relevant, prior, ridge), np.zeros(3), tol=1e-10)
    np.testing.assert_allclose(made, found.x, atol=5e-3)


def test_what_tells_has_weight_and_what_tells_nothing_has_little():
    features, usable, relevant = lists_by_chance(2, users=400)
    made = fit_listwise(features, usable, relevant, np.zeros(3), ridge=1e-4)
    assert made[0] == pytest.approx(2.0, rel=0.35)
    assert made[1] == pytest.approx(0.3, rel=0.35)
    assert abs(made[2]) < 0.3


def test_a_great_ridge_leaves_the_prior():
    features, usable, relevant = lists_by_chance(3)
    prior = np.array([0.4, 0.0, 0.1])
    np.testing.assert_allclose(fit_listwise(features, usable, relevant, prior, ridge=1e5), prior, atol=1e-3)


def test_lists_without_a_hit_and_empty_lists_change_nothing():
    features, usable, relevant = lists_by_chance(4)
    prior = np.array([0.1, 0.1, 0.1])
    alone = fit_listwise(features, usable, relevant, prior, ridge=0.03)
    beside = np.concatenate([features, features[:7] * 100])
    empty = np.zeros_like(usable[:7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for open_ in (empty, ~empty):
            made = fit_listwise(
                beside, np.concatenate([usable, open_]), np.concatenate([relevant, empty]), prior, ridge=0.03
            )
            np.testing.assert_array_equal(made, alone)
    assert np.abs(alone - prior).max() > 0.1


def test_where_nothing_is_relevant_the_prior_stays():
    features, usable, _ = lists_by_chance(5)
    prior = np.array([0.5, 0.25, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for width in (9, 0):
            nothing = np.zeros((40, width), bool)
            made = fit_listwise(features[:, :width], usable[:, :width], nothing, prior, ridge=0.03)
            np.testing.assert_array_equal(made, prior)
            assert made is not prior


def test_inputs_are_not_written_to():
    given = lists_by_chance(6)
    before = [array.copy() for array in given]
    prior = np.ones(3)
    fit_listwise(*given, prior, ridge=0.03)
    for array, was in zip((*given, prior), (*before, np.ones(3)), strict=True):
        np.testing.assert_array_equal(array, was)
