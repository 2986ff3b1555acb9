"""What is met close to what, counted by a double loop."""

import numpy as np
import pytest
import scipy.sparse as sp

from features.compute.sequences import followers, in_sequence, nearest_sources
from features.recommend.history import History, history_of
from features.recommend.models import proximity as room
from features.recommend.models.linear import ProximityEase
from features.recommend.models.popular import Late
from features.recommend.models.proximity import HALF_LIVES, ProximityKNN, proximity
from tests.recommend.models.histories import random_history


def of_firsts(*rows: dict[int, int]) -> History:
    """A history of users by when they first heard each track."""
    pairs = [(user, track, at) for user, row in enumerate(rows) for track, at in sorted(row.items())]
    user, track, at = (np.array(column) for column in zip(*pairs, strict=True))
    bare = history_of(sp.csr_matrix((np.ones(len(user)), (user, track)), shape=(len(rows), track.max() + 1)))
    return History(bare.weights, at, at, bare.plays, None)


def near_slowly(
    history: History, gap_half_life: float, degree_power: float, weight_power: float
) -> tuple[np.ndarray, np.ndarray]:
    """(tracks, tracks) earlier by later, and each track's own sum."""
    values = history.values(weight_power).toarray().astype(np.float64)
    degree = (values > 0).sum(axis=1)
    scale = (np.maximum(degree, 1) / np.maximum(degree, 1).mean()) ** -degree_power
    scale *= degree.sum() / (scale * degree).sum()
    near = np.zeros((values.shape[1],) * 2)
    for user, row in enumerate(values):
        span = slice(*history.weights.indptr[user : user + 2])
        met = sorted(zip(history.first_at[span].tolist(), history.weights.indices[span].tolist(), strict=True))
        for before, (earlier, source) in enumerate(met):
            for gap, (later, target) in enumerate(met[before + 1 :], start=1):
                if gap > np.ceil(HALF_LIVES * gap_half_life):
                    continue
                worth = scale[user] * row[source] * row[target] * 0.5 ** (gap / gap_half_life)
                if later > earlier:
                    near[source, target] += worth
                else:  # at one moment: half in either direction
                    near[source, target] += worth / 2
                    near[target, source] += worth / 2
    return near, (scale[:, None] * values**2).sum(axis=0)


def test_what_follows_sooner_is_nearer():
    near, own = proximity(of_firsts({2: 10, 0: 20, 1: 30}), 1.0, 0.0, 0.0)
    assert near.toarray().tolist() == [[0, 0.5, 0], [0, 0, 0], [0.5, 0.25, 0]]
    assert own.tolist() == [1, 1, 1]


def test_tracks_that_began_at_one_moment_follow_each_other_half_either_way():
    near, _ = proximity(of_firsts({0: 10, 1: 10, 2: 20}), 1.0, 0.0, 0.0)
    assert near.toarray().tolist() == [[0, 0.25, 0.25], [0.25, 0, 0.5], [0, 0, 0]]


def test_one_users_tracks_do_not_follow_anothers():
    near, _ = proximity(of_firsts({0: 10, 1: 20}, {2: 15, 3: 30}), 5.0, 0.0, 0.0)
    assert {(int(a), int(b)) for a, b in zip(*near.nonzero(), strict=True)} == {(0, 1), (2, 3)}


@pytest.mark.parametrize("gap_half_life", [0.4, 2.0, 45.0])
@pytest.mark.parametrize("at_once", [room.PAIRS_AT_ONCE, 10])
def test_nearness_is_that_of_a_double_loop(gap_half_life, at_once, monkeypatch):
    monkeypatch.setattr(room, "PAIRS_AT_ONCE", at_once)
    history = random_history(1, silent=2)
    near, own = proximity(history, gap_half_life, 0.4, 0.5)
    slow_near, slow_own = near_slowly(history, gap_half_life, 0.4, 0.5)
    np.testing.assert_allclose(near.toarray(), slow_near, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(own, slow_own, rtol=1e-5)


def recent(history: History, model: ProximityKNN | ProximityEase) -> np.ndarray:
    return history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)


def compared(model: ProximityKNN | ProximityEase, history: History, weights: np.ndarray) -> None:
    """Scores are the history's sum of weights, by source and target."""
    model.listeners_ = np.zeros_like(model.listeners_)  # nothing behind
    expected = recent(history, model) @ weights
    known = np.abs(expected).max(axis=1) > 0
    assert known.sum() > 20
    np.testing.assert_allclose(model.scores(np.arange(30))[known], expected[known], rtol=1e-4, atol=1e-5)


def strongest_of(weights: np.ndarray, count: int, power: float) -> np.ndarray:
    kept = np.maximum(weights, 0.0)
    return np.where(kept >= np.sort(kept, axis=0)[-count], kept, 0.0) ** power


def test_neighbors_by_nearness_are_each_tracks_strongest_sources():
    history = random_history(2, silent=2, refused=20)
    how = {"gap_half_life": 5.0, "degree_power": 0.3, "weight_power": 0.5}
    model = ProximityKNN(**how, neighbors=6, power=1.4, backward=0.3, source_power=0.2, target_power=0.6).fit(history)
    near, own = near_slowly(history, *how.values())
    own = np.maximum(own, 0.5)
    both = (near + 0.3 * near.T) / own[:, None] ** 0.2 / own[None, :] ** 0.6
    compared(model, history, strongest_of(both, 6, 1.4))


def test_a_track_is_kept_as_a_source_of_its_strongest_targets():
    history = random_history(2, silent=2, refused=20)
    every, few = (ProximityKNN(neighbors=12, targets=targets).fit(history).similarity_.toarray() for targets in (0, 3))
    for all_of_it, kept in zip(every, few, strict=True):
        assert (kept > 0).sum() == min(3, (all_of_it > 0).sum())
        assert sorted(kept[kept > 0]) == sorted(all_of_it)[-(kept > 0).sum() :] or not kept.any()
    assert (every > 0).sum(axis=1).max() > 3


def test_ease_by_nearness_is_a_plain_inverse():
    history = random_history(3, silent=2, refused=20)
    how = {"gap_half_life": 8.0, "degree_power": 0.2, "weight_power": 0.5}
    model = ProximityEase(**how, neighbors=7, power=1.2, ridge=6.0, ridge_power=0.5, dropout=0.2, exponent=0.6).fit(
        history
    )
    near, own = near_slowly(history, *how.values())
    each = 6.0 * (np.maximum(own, 0.5) / own[own > 0].mean()) ** 0.5 + 0.25 * own
    gram = near + near.T
    np.fill_diagonal(gram, own)
    assert np.linalg.eigvalsh(gram).min() > -1e-9
    inverse = np.linalg.inv(gram + np.diag(each))
    weights = -inverse / np.diag(inverse)[None, :] ** 0.6
    np.fill_diagonal(weights, 0.0)
    compared(model, history, strongest_of(weights, 7, 1.2))


def test_what_is_met_late_in_listeners_lives_scores_high_and_few_listeners_are_half_believed():
    history = of_firsts({0: 10, 1: 20}, {1: 5, 2: 6, 3: 7, 0: 9})
    # places: 0 at 1/4 and 7/8, 1 at 3/4 and 1/8, 2 at 3/8, 3 at 5/8; five listeners at 1/2 beside them
    expected = [(0.25 + 0.875 + 2.5) / 7, (0.75 + 0.125 + 2.5) / 7, (0.375 + 2.5) / 6, (0.625 + 2.5) / 6]
    made = Late().fit(history).scores(np.array([1, 0]))
    np.testing.assert_allclose(made, [expected] * 2, rtol=1e-6)


def test_tracks_that_began_at_one_moment_are_equally_late():
    made = Late().fit(of_firsts({0: 10, 1: 10, 2: 10, 3: 40})).scores(np.array([0]))[0]
    # three share the middle of the first three of four places
    assert made.tolist() == pytest.approx([(1.5 / 4 + 2.5) / 6] * 3 + [(3.5 / 4 + 2.5) / 6])


@pytest.mark.parametrize("gap_half_life", [0.4, 3.0, 45.0])
def test_shards_and_threads_find_the_same_sources(gap_half_life):
    history = random_history(4, silent=2)
    sequences, scale = room.weighed_sequences(history, 0.4, 0.5)
    decay = 2.0 ** (-np.arange(int(6 * gap_half_life) + 2) / gap_half_life)
    own = np.linspace(0.5, 1.5, history.weights.shape[1])
    how = {"scale": scale, "decay": decay, "backward": 0.3, "source": own, "target": own[::-1].copy()}
    whole = nearest_sources(sequences, 5, **how, threads=1, shards=1)
    assert whole.nnz
    for threads, shards in ((1, 7), (2, 3), (4, 1000)):
        parts = nearest_sources(sequences, 5, **how, threads=threads, shards=shards)
        assert (parts.data.tobytes(), parts.indices.tobytes()) == (whole.data.tobytes(), whole.indices.tobytes())


def test_sequences_are_in_order_of_moments_and_numbers_and_nothing_is_changed():
    worth = sp.csr_matrix(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [4.0, 5.0, 0.0]], np.float32))
    at = np.array([7, 5, 5, 2, 1])
    found = in_sequence(worth, at)
    assert found.track.tolist() == [1, 2, 0, 1, 0]
    assert found.at.tolist() == [5, 5, 7, 1, 2]
    assert found.worth.tolist() == [2, 3, 1, 5, 4]
    assert at.tolist() == [7, 5, 5, 2, 1]
    assert worth.indices.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (3, 3), (3, 1)])
def test_of_nothing_nothing_is_close(shape):
    model = ProximityKNN().fit(history_of(sp.csr_matrix(shape)))
    assert model.similarity_.shape == (shape[1], shape[1])
    assert not model.similarity_.nnz
    assert Late().fit(history_of(sp.csr_matrix(shape))).score_.tolist() == [0.5] * shape[1]


@pytest.mark.parametrize("least", [1, 2, 3])
def test_followers_are_counted_as_by_a_double_loop(least):
    history = random_history(6, silent=2)
    tracks = history.weights.shape[1]
    expected = np.zeros((tracks, tracks), int)
    for user in range(history.weights.shape[0]):
        span = slice(*history.weights.indptr[user : user + 2])
        met = sorted(zip(history.first_at[span].tolist(), history.weights.indices[span].tolist(), strict=True))
        for place, (earlier, first) in enumerate(met):
            for later, second in met[place + 1 : place + 5]:
                expected[first, second] += later > earlier
    found = followers(in_sequence(history.weights, history.first_at), tracks, reach=4, least=least, most=tracks)
    assert (expected >= 3).any()
    assert found.toarray().tolist() == np.where(expected >= least, expected, 0).tolist()
    assert found.has_sorted_indices
