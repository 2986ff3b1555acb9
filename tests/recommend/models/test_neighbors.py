"""Neighbours against plain cosines."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from features.recommend.models.neighbors import ItemKNN, UserKNN
from tests.recommend.models.histories import random_history

PLAIN = {"shrink": 0.0, "power": 1.0, "asymmetry": 0.5, "weight_power": 1.0}


def without_self(similarity: np.ndarray) -> np.ndarray:
    similarity = similarity.copy()
    np.fill_diagonal(similarity, 0.0)
    return similarity


def nothing_behind(model):
    model.listeners_ = np.zeros_like(model.listeners_)
    return model


def test_item_neighbors_are_by_the_cosine_of_their_listeners():
    history = random_history(1, refused=20)
    model = nothing_behind(ItemKNN(**PLAIN, neighbors=1000, half_life=1e9).fit(history))
    cosine = without_self(cosine_similarity(history.values(1.0).toarray().T.astype(np.float64)))
    np.testing.assert_allclose(model.similarity_.toarray(), cosine, atol=1e-6)
    expected = history.recent(1e9, model.floor, model.strength).toarray() @ cosine
    np.testing.assert_allclose(model.scores(np.arange(30)), expected, atol=1e-5)


def test_user_neighbors_are_by_the_cosine_of_the_recent_history_with_all_that_others_hear():
    history = random_history(2, refused=20)
    model = nothing_behind(UserKNN(**PLAIN, popularity_power=0.0, neighbors=1000).fit(history))
    values = history.values(1.0).toarray().astype(np.float64)
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    cosine = np.maximum(without_self(cosine_similarity(recent, values)), 0.0)
    np.testing.assert_allclose(model.similarity_.toarray(), cosine, atol=1e-6)
    np.testing.assert_allclose(model.scores(np.arange(30)), cosine @ values, atol=1e-5)


def test_users_are_compared_by_what_is_not_popular():
    history = random_history(2)
    model = UserKNN(**PLAIN, popularity_power=0.5, neighbors=1000).fit(history)
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    others = history.values(1.0).toarray() / np.maximum(history.listeners, 1) ** 0.5
    np.testing.assert_allclose(model.similarity_.toarray(), without_self(cosine_similarity(recent, others)), atol=1e-6)


def test_shrinkage_asymmetry_and_power_are_as_written():
    history = random_history(3, silent=1)
    how = {"neighbors": 1000, "shrink": 3.0, "power": 1.6, "asymmetry": 0.8, "weight_power": 0.5}
    values = history.values(0.5).toarray().astype(np.float64)
    user = UserKNN(**how, popularity_power=0.0).fit(history)
    recent = history.recent(user.half_life, user.floor, user.strength).toarray().astype(np.float64)
    # what is scored stands in the row: an item's own neighbours speak for it
    for found, rows, others in (
        (ItemKNN(**how).fit(history).similarity_.toarray().T, values.T, values.T),
        (user.similarity_.toarray(), recent, values),
    ):
        square, their_square = ((matrix**2).sum(axis=1) for matrix in (rows, others))
        below = square[:, None] ** 0.8 * their_square[None, :] ** 0.2 + 3.0
        np.testing.assert_allclose(found, without_self((rows @ others.T / below) ** 1.6), atol=1e-6)


@pytest.mark.parametrize("model", [ItemKNN, UserKNN])
def test_each_keeps_its_nearest(model):
    history = random_history(4)
    few, all_of_them = (model(neighbors=count).fit(history).similarity_.toarray() for count in (4, 1000))
    if model is ItemKNN:
        few, all_of_them = few.T, all_of_them.T
    assert ((few > 0).sum(axis=1) == np.minimum((all_of_them > 0).sum(axis=1), 4)).all()
    for kept, row in zip(few, all_of_them, strict=True):
        np.testing.assert_array_equal(np.sort(kept)[-4:], np.sort(row)[-4:])
        np.testing.assert_array_equal(kept[kept > 0], row[kept > 0])
