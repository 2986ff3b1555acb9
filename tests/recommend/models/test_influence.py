"""What moved a score: by taking it away, and by counting what listeners share."""

import numpy as np
import pytest

from features.recommend.history import History
from features.recommend.models import MODELS
from features.recommend.models.contract import Model
from features.recommend.models.factors import IALS, SideIALS
from features.recommend.models.linear_users import UserEase
from features.recommend.models.neighbors import UserKNN
from features.recommend.models.personal import Personal
from tests.recommend.models.histories import random_history

OTHERS = {"popular", "late", "ials", "side_ials", "user_knn", "user_ease", "personal", "content", "kernel"}
LINEAR = sorted(set(MODELS) - OTHERS)
"""Models whose scores are linear in the history; of iALS they are so but for the matrix that is solved."""
TRACKS = np.array([0, 3, 7, 8, 21, 39])


def fitted(model: Model, history: History) -> Model:
    model.fit(history)
    if hasattr(model, "listeners_"):
        model.listeners_ = np.zeros_like(model.listeners_)  # nothing behind
    return model


def summed(model: Model, user: int) -> float:
    return float(model.scores(np.array([user]))[0, TRACKS].astype(np.float64).sum())


@pytest.mark.parametrize("name", LINEAR)
def test_influence_is_what_the_scores_lose_with_a_track(name):
    history = random_history(1, refused=25)
    model = fitted(MODELS[name](), history)
    most = max(np.abs(model.influence(user, TRACKS)).max() for user in range(12))
    moved = 0
    for user in range(12):
        tracks = history.weights[user].indices
        influence = model.influence(user, TRACKS)
        with_all = summed(model, user)
        rows = model.scored_
        for track, amount in zip(tracks, influence, strict=True):
            whole = rows.data.copy()
            place = rows.indptr[user] + int(np.flatnonzero(rows[user].indices == track)[0])
            rows.data[place] = 0.0
            assert with_all - summed(model, user) == pytest.approx(amount, rel=1e-3, abs=1e-4 * most)
            rows.data[:] = whole
        moved += int((np.abs(influence) > 0.01 * most).sum())
    assert moved > 40


@pytest.mark.parametrize("name", LINEAR)
def test_influences_sum_to_the_scores_where_nothing_counts_against_them(name):
    history = random_history(2)
    model = fitted(MODELS[name](), history)
    for user in range(12):
        assert model.influence(user, TRACKS).sum() == pytest.approx(summed(model, user), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("kind", [IALS, SideIALS])
def test_influences_under_ials_sum_to_the_scores_and_are_linear_in_what_is_listed(kind):
    history = random_history(3, silent=1)
    model = kind(dimensions=8, weight_power=0.5).fit(history)
    for user in range(12):
        influence = model.influence(user, TRACKS)
        assert influence.sum() == pytest.approx(summed(model, user), rel=1e-2, abs=1e-4)
        each = sum(model.influence(user, np.array([track])) for track in TRACKS)
        np.testing.assert_allclose(each, influence, atol=1e-6)


def shared_slowly(
    similarity: np.ndarray, recent: np.ndarray, compared: np.ndarray, outputs: np.ndarray
) -> tuple[np.ndarray, float]:
    """(tracks,) by the tracks that a user shares with each other, and the part of those they share nothing with."""
    parts, rest = np.zeros(len(recent)), 0.0
    for other in range(len(similarity)):
        given = similarity[other] * outputs[other, TRACKS].sum()
        common = np.maximum(recent, 0.0) * compared[other]
        if common.any():
            parts += given * common / common.sum()
        else:
            rest += given
    return parts, rest


@pytest.mark.parametrize("weight_power", [0.0, 0.7])
@pytest.mark.parametrize("kind", [UserKNN, UserEase])
def test_other_listeners_parts_are_shared_out_over_what_makes_them_alike(kind, weight_power):
    history = random_history(4, silent=1, plays=150, refused=10)
    how = {"output_power": 0.3, "degree_power": 0.4} if kind is UserEase else {"neighbors": 6}
    model = fitted(kind(weight_power=weight_power, popularity_power=0.3, **how), history)
    values = history.values(weight_power).toarray().astype(np.float64)
    popularity = np.maximum(history.listeners, 1)
    compared = values / popularity**0.3
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    if kind is UserEase:
        # both sides of a comparison are divided, and by the other's degree: in shares of a sum the own one is gone
        recent = recent / popularity**0.3
        compared = compared / np.maximum(history.degree, 1)[:, None] ** 0.4
    outputs = values / popularity**0.3 if kind is UserEase else values
    between = influence_between(model)
    shared = 0
    for user in range(20):
        parts, rest = shared_slowly(between[user], recent[user], compared, outputs)
        influence = model.influence(user, TRACKS)
        np.testing.assert_allclose(influence, parts[history.weights[user].indices], rtol=1e-4, atol=1e-7)
        assert influence.sum() + rest == pytest.approx(summed(model, user), rel=1e-3, abs=1e-5)
        shared += int((influence > 0).sum())
    assert shared > 20


def influence_between(model: UserKNN | UserEase) -> np.ndarray:
    """(users, users) how much each other user's weights count in a user's scores, asked of one track at a time."""
    if isinstance(model, UserKNN):
        return model.similarity_.toarray().astype(np.float64)
    scores = model.scores(np.arange(30)).astype(np.float64)
    return scores @ np.linalg.pinv(model.outputs_.toarray().T)


@pytest.mark.parametrize("kind", [UserKNN, UserEase])
def test_a_track_that_nobody_shares_moves_nothing(kind):
    history = random_history(5, plays=120)
    model = fitted(kind(), history)
    alone = shared = 0
    for user in range(30):
        for track, amount in zip(history.weights[user].indices, model.influence(user, TRACKS), strict=True):
            if history.listeners[track] == 1:
                assert amount == 0.0
                alone += 1
            elif amount:
                shared += 1
    assert alone >= 1
    assert shared > 20


def test_of_ones_own_favourites_each_moves_itself_alone():
    history = random_history(6)
    model = fitted(Personal(), history)
    own = model.scores(np.arange(30))
    for user in range(12):
        tracks = history.weights[user].indices
        expected = np.where(np.isin(tracks, TRACKS), own[user, tracks], 0.0)
        np.testing.assert_allclose(model.influence(user, TRACKS), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["popular", "late"])
def test_what_is_said_to_everyone_is_moved_by_no_history(name):
    assert not MODELS[name]().fit(random_history(7)).influence(3, TRACKS).any()
