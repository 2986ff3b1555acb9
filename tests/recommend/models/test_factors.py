"""Factor models against dense decompositions and normal equations solved row by row."""

import numpy as np
import pytest

from features.recommend.history import History
from features.recommend.models import factors
from features.recommend.models.factors import IALS, ScaledSVD, SideIALS
from features.recommend.models.track_features import side_rows
from tests.recommend.models.histories import random_history


def plain_svd(history: History, model: ScaledSVD, rank: int) -> np.ndarray:
    """(users, tracks): the recent history, divided by popularity as the rest, as the first dimensions have it."""
    values = history.values(model.weight_power).toarray().astype(np.float64)
    degree, popularity = (np.maximum((values > 0).sum(axis=axis), 1) for axis in (1, 0))
    scaled = values / degree[:, None] ** model.degree_power / popularity[None, :] ** model.popularity_power
    right = np.linalg.svd(scaled)[2][:rank]
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    product = recent / popularity[None, :] ** model.popularity_power @ right.T @ right
    return product * popularity[None, :] ** model.output_power


@pytest.mark.parametrize("size", [{"users": 30, "tracks": 60}, {"users": 60, "tracks": 30}], ids=str)
@pytest.mark.parametrize("exact", [True, False])
def test_svd_is_the_product_of_the_first_dimensions(size, exact, monkeypatch):
    if not exact:
        monkeypatch.setattr(factors, "SMALL", 0)
    history = random_history(1, plays=600, refused=20, **size)
    model = ScaledSVD(dimensions=6, degree_power=0.4, popularity_power=0.2, output_power=0.5, weight_power=0.5).fit(
        history
    )
    made = model.scores(np.arange(size["users"]))
    np.testing.assert_allclose(made, plain_svd(history, model, 6), atol=1e-5 if exact else 1e-3)
    assert np.abs(made).max() > 0.5


def test_svd_keeps_half_of_what_there_is_at_most():
    history = random_history(2, users=9, tracks=20, plays=80)
    model = ScaledSVD(dimensions=64).fit(history)
    assert model.factors_.shape == (20, 5)
    np.testing.assert_allclose(model.scores(np.arange(9)), plain_svd(history, model, 5), atol=1e-5)


SMALL = {"dimensions": 5, "unobserved": 0.1, "regularization": 0.05, "frequency_power": 0.7, "weight_power": 0.5}


def solved_slowly(values: np.ndarray, other: np.ndarray, model: IALS) -> np.ndarray:
    rows = []
    for row in values:
        heard = np.flatnonzero(row)
        if not len(heard):
            rows.append(np.zeros(model.dimensions))
            continue
        matrix = model.unobserved * other.T @ other
        for track in heard:
            matrix += row[track] * np.outer(other[track], other[track])
        ridge = model.regularization * (len(heard) + model.unobserved * len(row)) ** model.frequency_power
        rows.append(np.linalg.solve(matrix + ridge * np.eye(model.dimensions), row[heard] @ other[heard]))
    return np.array(rows)


@pytest.fixture
def solved_to_the_end(monkeypatch):
    monkeypatch.setattr(factors, "SWEEP", factors.FINE)


@pytest.mark.parametrize("dimensions", [1, 5, 30])  # fewer than any row has tracks, as many as some, more than all
@pytest.mark.usefixtures("solved_to_the_end")
def test_ials_solves_each_rows_normal_equations(dimensions):
    history = random_history(3, silent=2, refused=20)
    assert 1 < history.degree[2:].min() < 15 < history.degree.max() < 30
    model = IALS(**SMALL | {"dimensions": dimensions}, iterations=3).fit(history)
    values = history.values(0.5).toarray().astype(np.float64)
    tracks = np.random.default_rng(model.seed).normal(0.0, 0.1 / np.sqrt(dimensions), (40, dimensions))
    for _ in range(3):
        users = solved_slowly(values, tracks, model)
        tracks = solved_slowly(values.T, users, model)
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    users = solved_slowly(np.maximum(recent, 0.0), tracks, model)  # what one is put off by has no place in squares
    np.testing.assert_allclose(model.scores(np.arange(30)), users @ tracks.T, atol=1e-3)
    assert 0.5 < (users @ tracks.T).max() < 2


NO_TIME = {"half_life": 1e9, "floor": 1.0, "strength": 0.5}
"""Users at scoring are as they were when the tracks' factors were solved."""


def loss(history: History, model: IALS) -> float:
    values = history.values(model.weight_power).toarray().astype(np.float64)
    users, tracks = model.user_factors_.astype(np.float64), model.track_factors_.astype(np.float64)
    product = users @ tracks.T
    total = (values * (1 - product) ** 2).sum() + model.unobserved * (product**2).sum()
    for matrix, own in ((values, users), (values.T, tracks)):
        count = (matrix > 0).sum(axis=1) + model.unobserved * matrix.shape[1]
        total += model.regularization * (count**model.frequency_power * (own**2).sum(axis=1)).sum()
    return float(total)


def test_the_loss_of_ials_falls_with_every_iteration():
    history = random_history(4)
    losses = [loss(history, IALS(**SMALL, **NO_TIME, iterations=count).fit(history)) for count in range(1, 9)]
    assert (np.diff(losses) < 1e-3).all()
    assert losses[-1] < 0.9 * losses[0]


def test_no_other_factors_of_a_user_have_less_loss():
    history = random_history(5)
    model = IALS(**SMALL, **NO_TIME).fit(history)
    least = loss(history, model)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = IALS(**SMALL, **NO_TIME).fit(history)
        other.user_factors_ = model.user_factors_ + rng.normal(0, 0.05, model.user_factors_.shape).astype(np.float32)
        assert loss(history, other) > least


@pytest.mark.usefixtures("solved_to_the_end")
def test_with_what_tracks_are_beside_it_stands_below_the_listeners_rows():
    history = random_history(7, users=12, tracks=40, plays=40)
    how = {**SMALL, "iterations": 3, "seed": 4}
    model = SideIALS(**how, content=0.7, album_share=0.4, genre_share=0.3).fit(history)
    beside = 0.7 * side_rows(history.catalog, 1.0, 0.4, 0.3).toarray().astype(np.float64)
    values = np.vstack([history.values(0.5).toarray(), beside])
    tracks = np.random.default_rng(4).normal(0.0, 0.1 / np.sqrt(5), (40, 5))
    for _ in range(3):
        tracks = solved_slowly(values.T, solved_slowly(values, tracks, model), model)
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    np.testing.assert_allclose(model.scores(np.arange(12)), solved_slowly(recent, tracks, model) @ tracks.T, atol=1e-3)
    unheard = history.listeners == 0
    assert unheard.sum() > 5
    assert (np.abs(model.track_factors_[unheard]).max(axis=1) > 0.01).all()
    assert not IALS(**how).fit(history).track_factors_[unheard].any()


def test_solving_in_part_reaches_the_loss_of_solving_to_the_end(monkeypatch):
    history = random_history(8, users=80, tracks=60, plays=1500)
    how = {**SMALL, **NO_TIME, "dimensions": 12, "iterations": 8}
    in_part = loss(history, IALS(**how).fit(history))
    monkeypatch.setattr(factors, "SWEEP", factors.FINE)
    assert in_part == pytest.approx(loss(history, IALS(**how).fit(history)), rel=2e-3)


@pytest.mark.parametrize("kind", [IALS, SideIALS])
def test_threads_change_no_bit_of_ials(kind):
    history = random_history(9)
    one, other = (kind(dimensions=9, iterations=3).fit(history, threads=threads) for threads in (1, 4))
    assert one.user_factors_.tobytes() == other.user_factors_.tobytes()
    assert one.track_factors_.tobytes() == other.track_factors_.tobytes()


def test_another_seed_is_another_start():
    history = random_history(6)
    one, other = (IALS(**SMALL, iterations=1, seed=seed).fit(history).scores(np.arange(5)) for seed in (1, 2))
    assert np.abs(one - other).max() > 1e-3
