"""What every model keeps, whichever it is."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from features.recommend.history import History
from features.recommend.models import MODELS
from tests.recommend.models.histories import random_history

pytestmark = pytest.mark.parametrize("name", sorted(MODELS))


def test_scores_are_finite_and_float32(name):
    history = random_history(1)
    scores = MODELS[name]().fit(history).scores(np.arange(5))
    assert scores.shape == (5, history.weights.shape[1])
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_a_row_is_the_same_whoever_else_is_asked_for(name):
    model = MODELS[name]().fit(random_history(2))
    together = model.scores(np.arange(12))
    alone = np.vstack([model.scores(np.array([user])) for user in range(12)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)


def test_fitting_twice_is_fitting_once_in_any_number_of_threads(name):
    with threadpool_limits(1):
        first = MODELS[name]().fit(random_history(3)).scores(np.arange(20))
    second = MODELS[name]().fit(random_history(3)).scores(np.arange(20))
    np.testing.assert_allclose(first, second, rtol=2e-3, atol=1e-5)
    with threadpool_limits(1):
        third = MODELS[name]().fit(random_history(3)).scores(np.arange(20))
    np.testing.assert_array_equal(first, third)


def test_the_history_is_not_written_to(name):
    history = random_history(4)
    before = [array.copy() for array in _arrays(history)]
    model = MODELS[name]().fit(history)
    model.scores(np.arange(3))[:] = 7.0
    for array, was in zip(_arrays(history), before, strict=True):
        np.testing.assert_array_equal(array, was)
    assert not (model.scores(np.arange(3)) == 7.0).all()


def test_influence_has_a_value_for_each_track_of_the_history(name):
    history = random_history(5)
    model = MODELS[name]().fit(history)
    for user in range(4):
        influence = model.influence(user, np.array([1, 3, 5]))
        assert influence.shape == (history.degree[user],)
        assert np.isfinite(influence).all()


def test_someone_without_a_history_gets_scores_too(name):
    history = random_history(6, silent=2)
    scores = MODELS[name]().fit(history).scores(np.array([0, 1, 2]))
    assert np.isfinite(scores).all()
    assert MODELS[name]().fit(history).influence(0, np.array([0, 1])).shape == (0,)


def test_names_of_the_search_space_are_parameters(name):
    model = MODELS[name]()
    for parameter in model.space:
        assert hasattr(model, parameter)


def _arrays(history: History) -> list[np.ndarray]:
    weights = history.weights
    return [weights.data, weights.indices, weights.indptr, history.first_at, history.last_at, history.plays.user]
