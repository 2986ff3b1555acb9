"""The EASE family against plain inverses of dense matrices."""

import numpy as np
import pytest

from features.recommend.history import History
from features.recommend.models.linear import Cease, Ease, LocalEase
from features.recommend.models.ridge import inverted
from features.recommend.models.track_features import side_rows
from tests.recommend.models.histories import random_history

SETTINGS = [
    {"ridge": 20.0, "ridge_power": 0.0, "dropout": 0.0, "degree_power": 0.0, "exponent": 1.0},
    {"ridge": 5.0, "ridge_power": 0.7, "dropout": 0.4, "degree_power": 0.5, "exponent": 0.6, "weight_power": 0.5},
]
FEW_USERS = {"users": 24, "tracks": 50}
FEW_TRACKS = {"users": 60, "tracks": 20}
SIDES = pytest.mark.parametrize("size", [FEW_USERS, FEW_TRACKS, {"users": 30, "tracks": 30}], ids=str)
HOW = pytest.mark.parametrize("how", SETTINGS, ids=("plain", "weighed"))


def plain_rows(history: History, model: Ease | LocalEase) -> np.ndarray:
    """(users, tracks) what is fitted on: rows weighed by a power of degree, with as many squares in all."""
    values = history.values(model.weight_power).toarray().astype(np.float64)
    degree = (values > 0).sum(axis=1)
    weight = (np.maximum(degree, 1) / degree.mean()) ** -model.degree_power
    weight *= degree.sum() / (weight * degree).sum()
    return np.sqrt(weight)[:, None] * values


def plain_inverse(history: History, model: Ease | LocalEase, rows: np.ndarray) -> np.ndarray:
    square = (history.values(model.weight_power).toarray().astype(np.float64) ** 2).sum(axis=0)
    each = model.ridge * (np.maximum(square, 0.5) / square[square > 0].mean()) ** model.ridge_power
    each += model.dropout / (1 - model.dropout) * square
    return np.linalg.inv(rows.T @ rows + np.diag(each))


def plain_weights(inverse: np.ndarray, exponent: float) -> np.ndarray:
    """(tracks, tracks): how much the track of a row says for the track of a column."""
    weights = -inverse / np.diag(inverse)[None, :] ** exponent
    np.fill_diagonal(weights, 0.0)
    return weights


def recent(history: History, model) -> np.ndarray:
    return history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)


@SIDES
@HOW
def test_ease_is_a_plain_inverse_with_its_diagonal_left_out(size, how):
    history = random_history(1, silent=2, refused=20, **size)
    model = Ease(**how).fit(history)
    expected = recent(history, model) @ plain_weights(
        plain_inverse(history, model, plain_rows(history, model)), model.exponent
    )
    np.testing.assert_allclose(model.scores(np.arange(size["users"])), expected, atol=1e-6)
    assert np.abs(expected).max() > 0.1


def test_the_smaller_side_is_inverted(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        "features.recommend.models.ridge.inverted", lambda matrix: sizes.append(matrix.shape) or inverted(matrix)
    )
    Ease().fit(random_history(1, **FEW_USERS))
    Ease().fit(random_history(1, silent=3, **FEW_USERS))
    Ease().fit(random_history(1, **FEW_TRACKS))
    assert sizes == [(24, 24), (21, 21), (20, 20)]


def test_where_tracks_by_tracks_do_not_fit_the_strongest_sources_are_the_same(monkeypatch):
    history = random_history(4, silent=2, refused=20, **FEW_USERS)
    whole = LocalEase(neighbors=5).fit(history).similarity_.toarray()
    monkeypatch.setattr("features.recommend.models.ridge.KEPT_CELLS", 0)
    found = LocalEase(neighbors=5).fit(history).similarity_.toarray()
    assert not found.diagonal().any()
    np.testing.assert_allclose(found, whole, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("cells", [0, 24 * 40], ids=["nothing is kept", "rows by tracks are kept"])
def test_where_tracks_by_tracks_do_not_fit_scores_and_influences_are_the_same(cells, monkeypatch):
    history = random_history(1, silent=2, refused=20, **FEW_USERS)
    whole = Ease().fit(history)
    monkeypatch.setattr("features.recommend.models.ridge.KEPT_CELLS", cells)
    model, tracks = Ease().fit(history), np.array([0, 3, 7, 21])
    assert (whole.solution_.between is None, model.solution_.between is None) == (False, True)
    np.testing.assert_allclose(model.scores(np.arange(24)), whole.scores(np.arange(24)), atol=1e-6)
    for user in range(24):
        np.testing.assert_allclose(model.influence(user, tracks), whole.influence(user, tracks), atol=1e-6)
        np.testing.assert_allclose(model.influences(user, tracks), whole.influences(user, tracks), atol=1e-6)
    own = model.solution_.columns(np.arange(40))
    assert (own.diagonal() == 0).all()


@SIDES
@pytest.mark.parametrize("model", [Ease, LocalEase])
def test_small_blocks_make_the_same_scores(size, model, monkeypatch):
    history = random_history(1, silent=2, **size)
    whole = model().fit(history).scores(np.arange(size["users"]))
    for module in ("linear", "ridge"):
        monkeypatch.setattr(f"features.recommend.models.{module}.BLOCK_CELLS", 3 * size["tracks"])
    np.testing.assert_allclose(model().fit(history).scores(np.arange(size["users"])), whole, atol=1e-6)


def test_ease_predicts_each_track_from_the_others_as_well_as_any_weights_could():
    history = random_history(2, **FEW_TRACKS)
    model = Ease(**SETTINGS[0], half_life=1e9, floor=1.0, strength=0.0).fit(history)
    values = history.values(0.0).toarray().astype(np.float64)
    predicted = model.scores(np.arange(60))
    for target in range(20):
        others = np.delete(values, target, axis=1)
        best = np.linalg.solve(others.T @ others + 20.0 * np.eye(19), others.T @ values[:, target])
        np.testing.assert_allclose(predicted[:, target], others @ best, atol=1e-6)


@SIDES
@HOW
def test_cease_is_ease_with_what_tracks_are_stacked_under_the_listeners(size, how):
    history = random_history(3, silent=2, refused=20, **size)
    model = Cease(**how, content=0.7, artist_share=1.0, album_share=0.5, genre_share=0.4).fit(history)
    catalog = history.catalog
    listed = catalog.genres.toarray()
    genres = listed * np.log(len(listed) / listed.sum(axis=0))  # each track's at a length of 1, rare ones more of it
    albums = list(zip(catalog.albums, catalog.artist, strict=True))
    beside = [
        *[1.0 * (catalog.artist == artist) for artist in range(len(catalog.artist_names))],
        *[0.5 * np.array([other == album for other in albums]) for album in sorted(set(albums))],
        *(0.4 * genres / np.maximum(np.linalg.norm(genres, axis=1, keepdims=True), 1e-9)).T,
    ]
    stacked = np.array([row for row in beside if (row > 0).sum() > 1])
    assert side_rows(history.catalog, 1.0, 0.5, 0.4).shape[0] == len(stacked) > 15
    rows = np.vstack([plain_rows(history, model), 0.7 * stacked])
    expected = recent(history, model) @ plain_weights(plain_inverse(history, model, rows), model.exponent)
    np.testing.assert_allclose(model.scores(np.arange(size["users"])), expected, atol=1e-6)
    without = Ease(**how).fit(history).scores(np.arange(size["users"]))
    assert np.abs(without - expected).max() > 1e-3


def test_kinds_without_a_share_have_no_rows():
    history = random_history(3)
    artists = side_rows(history.catalog, 1.0, 0.0, 0.0)
    assert artists.shape == (7, 40)
    assert (artists.sum(axis=0) == 1).all()


@SIDES
@HOW
def test_local_ease_keeps_each_tracks_strongest_sources(size, how):
    history = random_history(4, silent=2, refused=20, **size)
    model = LocalEase(**how, neighbors=3, power=1.7).fit(history)
    model.listeners_ = np.zeros_like(model.listeners_)  # nothing behind
    weights = plain_weights(plain_inverse(history, model, plain_rows(history, model)), model.exponent)
    for target in range(size["tracks"]):
        column = np.maximum(weights[:, target], 0.0)
        weights[:, target] = np.where(column >= np.sort(column)[-3], column, 0.0) ** 1.7
    assert ((weights > 0).sum(axis=0) <= 3).all()
    assert ((weights > 0).sum(axis=0) == 3).sum() > size["tracks"] // 2
    expected = recent(history, model) @ weights
    known = np.abs(expected).max(axis=1) > 0  # others get what is popular
    np.testing.assert_allclose(model.scores(np.arange(size["users"]))[known], expected[known], atol=1e-6)
