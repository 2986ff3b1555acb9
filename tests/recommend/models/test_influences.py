"""What each track of a history adds to each score: column by column what it adds in all, and where scores are linear,
what is lost without it."""

import numpy as np
import pytest

from features.recommend.models import MODELS, content, ridge
from features.recommend.models.contract import Asked
from tests.recommend.models.histories import random_history

TRACKS = np.array([0, 3, 7, 8, 21, 39])
BY_HISTORY = ("item_knn", "svd", "ease", "local_ease", "cease", "proximity", "proximity_ease")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_influences_sum_to_the_influence(name):
    history = random_history(1, silent=1, refused=25)
    model = MODELS[name]().fit(history)
    moved = 0.0
    for user in range(30):
        each = model.influences(user, TRACKS)
        assert each.shape == (history.degree[user], len(TRACKS))
        np.testing.assert_allclose(each.sum(axis=1), model.influence(user, TRACKS), rtol=1e-4, atol=1e-6)
        alone = [model.influence(user, TRACKS[place : place + 1]) for place in range(len(TRACKS))]
        np.testing.assert_allclose(each, np.stack(alone, axis=1), rtol=1e-3, atol=1e-5)
        moved += np.abs(each).sum()
    assert (moved > 0) == (name not in {"popular", "late"})


@pytest.mark.parametrize("name", BY_HISTORY)
@pytest.mark.parametrize("users", [12, 60], ids=["fewer listeners", "more listeners"])
def test_influences_are_what_scores_lose_without_a_track(name, users):
    history = random_history(2, users=users, refused=25)
    model = MODELS[name]().fit(history)
    if hasattr(model, "listeners_"):
        model.listeners_ = np.zeros_like(model.listeners_)  # nothing behind
    for user in range(8):
        each = model.influences(user, TRACKS)
        whole = model.scores(np.array([user]))[0, TRACKS].astype(np.float64)
        for place, track in enumerate(history.weights[user].indices):
            rows, kept = model.scored_, model.scored_.data.copy()
            rows.data[rows.indptr[user] + int(np.flatnonzero(rows[user].indices == track)[0])] = 0.0
            without = model.scores(np.array([user]))[0, TRACKS]
            rows.data[:] = kept
            np.testing.assert_allclose(each[place], whole - without, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("cells", [0, 400, 10**9], ids=["nothing is kept", "one side is kept", "all is kept"])
@pytest.mark.parametrize("name", ["ease", "cease"])
def test_what_is_kept_between_tracks_changes_no_influence(name, cells, monkeypatch):
    history = random_history(3, users=12)
    monkeypatch.setattr(ridge, "KEPT_CELLS", 0)
    plain = MODELS[name]().fit(history)
    monkeypatch.setattr(ridge, "KEPT_CELLS", 12 * 40 if cells == 400 else cells)
    model = MODELS[name]().fit(history)
    for user in range(12):
        rows = plain.solution_.columns(history.weights[user].indices)[:, TRACKS]
        found = model.solution_.block(history.weights[user].indices, TRACKS)
        np.testing.assert_allclose(found, rows, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("smoothed", [True, False])
def test_content_is_taken_apart_by_what_tracks_have_in_common(smoothed):
    history = random_history(4, refused=25)
    model = content.Content(lift=0.0, cold_lift=0.0, smoothed_users=6000 if smoothed else 0).fit(history)
    assert (model.smoothing_ is not None) == smoothed
    for user in range(8):
        scores = model.scores(np.array([user]))[0].astype(np.float64)
        parts = model.parts(user, TRACKS)
        assert set(parts) == {"artist", "album", "genre", "title", "audio", "age", "popularity"}
        np.testing.assert_allclose(sum(parts.values()), scores[TRACKS] - scores.mean(), rtol=1e-3, atol=1e-4)


def test_what_has_no_share_in_content_has_no_part():
    only = dict.fromkeys(("album", "genre", "title", "audio", "age", "popularity"), 0.0)
    parts = content.Content(artist=1.0, **only).fit(random_history(5)).parts(0, TRACKS)
    assert np.abs(parts["artist"]).max() > 1e-3
    assert all(np.abs(part).max() == 0.0 for kind, part in parts.items() if kind != "artist")


@pytest.mark.parametrize("name", ["item_knn", "proximity", "svd", "ials", "side_ials"])
def test_what_moved_many_scores_is_what_influences_say_of_each_user(name):
    history = random_history(6, refused=25)
    model = MODELS[name]().fit(history)
    rng = np.random.default_rng(7)
    users = np.array([3, 0, 29, 11, 8])
    chosen = [np.sort(rng.choice(40, size, replace=False)).astype(np.int32) for size in (5, 0, 40, 1, 12)]
    begin = np.cumsum([0, *map(len, chosen)])
    history_begin = np.cumsum([0, *history.degree[users]])
    weights, level = rng.normal(size=(begin[-1], 2)), np.array([False, True, False, True, True])
    strongest, sums = np.full(begin[-1], 99), np.ones((history_begin[-1], 2))
    model.moved(Asked(users, begin, np.concatenate(chosen), weights, level, history_begin, strongest, sums))
    expected, added, named = [], np.ones_like(sums), 0
    for row, (user, tracks) in enumerate(zip(users, chosen, strict=True)):
        given, own = model.influences(user, tracks), history.weights[user].indices
        counts = weights[begin[row] : begin[row + 1]]
        added[history_begin[row] : history_begin[row + 1]] += (
            given @ counts / (np.abs(given).max(initial=1e-300) if level[row] else 1.0)
        )
        others = np.where(own[:, None] == tracks[None, :], -np.inf, given)
        found = np.where(others.max(axis=0, initial=-np.inf) > 0, own[others.argmax(axis=0)], -1)
        expected += found.tolist()
        named += (found >= 0).sum()
    assert strongest.tolist() == expected
    assert named > 20
    np.testing.assert_allclose(sums, added, rtol=1e-5, atol=1e-6)
