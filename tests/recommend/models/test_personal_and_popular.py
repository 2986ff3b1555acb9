"""Own favourites and what is popular, by hand."""

import numpy as np
from worlds import AS_OF, dataset_of, play

from features.compute.interactions import build_interactions
from features.recommend.history import History, build_history
from features.recommend.models.personal import Personal
from features.recommend.models.popular import TIE, Popular, popularity_behind
from tests.recommend.models.histories import random_history


def history_from(**rows) -> History:
    data = dataset_of(**rows)
    shape = (len(data.users), len(data.tracks))
    made = build_interactions(data.plays, data.feedback, shape, as_of_ms=AS_OF, half_life_days=180.0)
    return build_history(data, made)


def test_own_plays_count_under_two_decays():
    history = history_from(
        plays=[play("u", "a", 5), play("u", "b", 4), play("u", "a", 3), play("u", "c", 2), play("v", "b", 1)]
    )
    model = Personal(short=1.0, long=2.0, short_power=1.0, long_power=0.5, long_share=3.0).fit(history)
    model.listeners_ = np.zeros_like(model.listeners_)  # nothing behind
    short = np.array([0.5**3 + 0.5, 0.5**2, 1.0])
    long = np.array([0.5**1.5 + 0.5**0.5, 0.5**1.0, 1.0])
    np.testing.assert_allclose(model.scores(np.array([0]))[0], short + 3 * long**0.5, rtol=1e-6)
    np.testing.assert_allclose(model.scores(np.array([1]))[0], [0, 4, 0], rtol=1e-6)


def test_a_favourite_stands_before_what_was_heard_once_lately_and_the_unheard_by_popularity():
    plays = [play("u", "loved", 30 - number) for number in range(9)] + [play("u", "once", 1)]
    plays += [play(f"v{number}", "hit") for number in range(5)] + [play("v0", "miss")]
    history = history_from(plays=plays)
    scores = Personal(long_share=3.0).fit(history).scores(np.array([0]))[0]
    assert np.argsort(-scores).tolist() == [1, 3, 0, 2]  # loved, once, hit, miss


def test_popularity_counts_listeners_not_plays():
    history = history_from(plays=[*[play("u", "a", ago) for ago in range(1, 9)], play("u", "b"), play("v", "b")])
    np.testing.assert_allclose(Popular().fit(history).scores(np.array([1, 0, 1])), np.log([[2, 3]] * 3), rtol=1e-6)


def test_popularity_orders_what_is_equal_and_moves_nothing_else():
    scores = np.array([[1.0, 0.5, 0.5, 0.0, 0.0, 0.999]], np.float32)
    made = popularity_behind(scores.copy(), np.array([0, 1, 9, 4, 8, 9]))
    assert np.argsort(-made[0]).tolist() == [0, 5, 2, 1, 4, 3]
    assert (np.abs(made - scores) <= 1.01 * TIE).all()


def test_who_scores_nothing_gets_what_is_popular():
    made = popularity_behind(np.zeros((2, 3), np.float32), np.array([1, 4, 2]))
    assert made.tolist() == [[0.25, 1.0, 0.5]] * 2
    assert popularity_behind(np.zeros((2, 3), np.float32), np.zeros(3)).tolist() == [[0.0] * 3] * 2
    assert popularity_behind(np.zeros((0, 3), np.float32), np.zeros(3)).shape == (0, 3)


def test_a_model_asked_about_someone_silent_answers_with_what_is_popular():
    history = random_history(1, silent=1)
    scores = Personal().fit(history).scores(np.array([0]))[0]
    np.testing.assert_allclose(scores, history.listeners / history.listeners.max(), rtol=1e-6)
