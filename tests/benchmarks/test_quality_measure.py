from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality.cases import pair_case
from benchmarks.quality.measure import Answer, answering, figures, interval, lists_of
from benchmarks.quality.peers import EASE, ItemKNN, Popularity, RP3beta, UserKNN
from features.recommend.history import history_of
from tests.benchmarks.listens import by_chance

CASE = pair_case("a", "A", by_chance(seed=5, users=30, items=60, rows=900, times=False))


class Fixed:
    def __init__(self, scores):
        self._scores = scores

    def scores(self, users):
        return self._scores[users]


def random_history(users, tracks, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, (users, tracks)) * (rng.random((users, tracks)) < 0.4)
    counts[np.arange(max(users, tracks)) % users, np.arange(max(users, tracks)) % tracks] = (
        1  # nobody and nothing alone
    )
    return history_of(sp.csr_matrix(counts))


def test_lists_hold_neither_what_was_heard_nor_what_is_no_candidate():
    split = replace(CASE.test, candidates=~np.isin(np.arange(60), [3, 7]))
    lists = lists_of(Fixed(np.random.default_rng(0).random(split.history.weights.shape)), split)
    for user, row in zip(split.users, lists, strict=True):
        shown = set(row[row >= 0].tolist())
        assert not shown & (set(split.history.weights[user].indices.tolist()) | {3, 7})
        assert len(shown) == 60 - len(set(split.history.weights[user].indices.tolist()) | {3, 7})


def test_a_model_that_knows_the_answer_scores_one_and_one_that_is_wrong_scores_nothing():
    split = CASE.test
    truth = split.relevant.toarray().astype(float)
    right = figures(Answer(lists_of(Fixed(truth), split), 0.0), split)
    assert np.concatenate([right.ndcg100, right.ndcg10, right.recall20, right.map100]) == pytest.approx(1.0)
    wrong = Answer(np.full((len(split.users), 100), -1, np.int32), 0.0)
    assert figures(wrong, split).map100.sum() == 0.0


def test_popularity_is_the_least_novel_and_covers_least():
    popular, near = (figures(answering(model)(CASE.test, {}), CASE.test) for model in (Popularity, ItemKNN))
    assert popular.novelty < near.novelty
    assert popular.coverage <= near.coverage


def test_an_interval_holds_the_mean_narrows_with_users_and_is_the_same_again():
    values = np.random.default_rng(1).normal(0.3, 0.1, 400)
    low, high = interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert interval(values) == (low, high)


@pytest.mark.parametrize(("users", "tracks"), [(8, 20), (20, 8)])
def test_ease_is_its_closed_form_whichever_side_is_inverted(users, tracks):
    history = random_history(users, tracks)
    X = history.values(1.0).toarray().astype(float)
    P = np.linalg.inv(X.T @ X + 7.0 * np.eye(tracks))
    B = -P / np.diag(P)[None, :]
    np.fill_diagonal(B, 0.0)
    got = EASE(l2=7.0, weight_power=1.0).fit(history).scores(np.arange(users))
    assert got == pytest.approx(X @ B, abs=1e-4)


def test_item_knn_is_a_shrunk_cosine_of_the_nearest():
    history = random_history(12, 9)
    X = history.values(0.0).toarray()
    norm = np.linalg.norm(X, axis=0)
    S = X.T @ X / (np.outer(norm, norm) + 2.0)
    np.fill_diagonal(S, 0.0)
    for row in S:  # of each track the three nearest
        row[np.argsort(-row, kind="stable")[3:]] = 0.0
    got = ItemKNN(neighbors=3, shrink=2.0).fit(history).scores(np.arange(12))
    assert got == pytest.approx(X @ S.T, abs=1e-4)


def test_user_knn_is_a_shrunk_cosine_of_the_nearest():
    history = random_history(12, 9)
    X = history.values(0.0).toarray()
    norm = np.linalg.norm(X, axis=1)
    S = X @ X.T / (np.outer(norm, norm) + 2.0)
    np.fill_diagonal(S, 0.0)
    for row in S:
        row[np.argsort(-row, kind="stable")[4:]] = 0.0
    got = UserKNN(neighbors=4, shrink=2.0, power=2.0).fit(history).scores(np.arange(12))
    assert got == pytest.approx(S**2 @ X, abs=1e-3)


def test_rp3beta_is_a_walk_of_three_steps_damped_by_popularity():
    history = random_history(12, 9)
    X = history.values(0.0).toarray().astype(float)
    walk = (X / X.sum(axis=0)).T ** 0.8 @ (X / X.sum(axis=1, keepdims=True)) ** 0.8 / X.sum(axis=0) ** 0.4
    np.fill_diagonal(walk, 0.0)
    got = RP3beta(neighbors=9, alpha=0.8, beta=0.4, normalized=0).fit(history).scores(np.arange(12))
    assert got == pytest.approx(X @ walk, abs=1e-4)
