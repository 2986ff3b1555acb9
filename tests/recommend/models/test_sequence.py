"""What follows what, counted by a double loop."""

import numpy as np
import pytest
import scipy.sparse as sp

from features.recommend.history import History, history_of
from features.recommend.models.sequence import SequenceKNN
from tests.recommend.models.histories import random_history

BARE = {"source_power": 0.0, "target_power": 0.0}


def counted_slowly(history: History, model: SequenceKNN) -> np.ndarray:
    tracks = history.weights.shape[1]
    total = np.zeros((tracks, tracks))
    for user in range(history.weights.shape[0]):
        span = slice(*history.weights.indptr[user : user + 2])
        met = sorted(zip(history.first_at[span].tolist(), history.weights.indices[span].tolist(), strict=True))
        for before, (earlier, source) in enumerate(met):
            for gap, (later, target) in enumerate(met[before + 1 :], start=1):
                if gap <= model.reach and later > earlier:
                    worth = 0.5 ** ((gap - 1) / model.gap_half_life)
                    total[source, target] += worth
                    total[target, source] += model.backward * worth
    popularity = np.maximum(history.listeners, 1)
    return total / popularity[:, None] ** model.source_power / popularity[None, :] ** model.target_power


def of_firsts(*rows: dict[int, int]) -> History:
    """A history of users by when they first heard each track."""
    pairs = [(user, track, at) for user, row in enumerate(rows) for track, at in sorted(row.items())]
    user, track, at = (np.array(column) for column in zip(*pairs, strict=True))
    bare = history_of(sp.csr_matrix((np.ones(len(user)), (user, track)), shape=(len(rows), track.max() + 1)))
    return History(bare.weights, at, at, bare.plays, None)


def test_what_is_heard_soon_after_is_near_and_what_was_heard_before_less_so():
    model = SequenceKNN(reach=2, gap_half_life=1.0, backward=0.25, **BARE).fit(of_firsts({2: 10, 0: 20, 1: 30, 3: 40}))
    assert model.similarity_.toarray().tolist() == [
        [0, 1, 0.25, 0.5],
        [0.25, 0, 0.125, 1],
        [1, 0.5, 0, 0],  # of four tracks the fourth is out of reach
        [0.125, 0.25, 0, 0],
    ]


def test_tracks_that_began_at_one_moment_do_not_follow_one_another():
    model = SequenceKNN(reach=5, gap_half_life=1.0, backward=0.5, **BARE).fit(of_firsts({0: 10, 1: 10, 2: 20}))
    assert model.similarity_.toarray().tolist() == [[0, 0, 0.5], [0, 0, 1], [0.25, 0.5, 0]]


def test_one_users_tracks_do_not_follow_anothers():
    model = SequenceKNN(**BARE).fit(of_firsts({0: 10, 1: 20}, {2: 15, 3: 30}))
    found = sp.csr_matrix(model.similarity_)
    assert {(int(a), int(b)) for a, b in zip(*found.nonzero(), strict=True)} == {(0, 1), (1, 0), (2, 3), (3, 2)}


@pytest.mark.parametrize("reach", [1, 4, 60])
def test_followers_are_those_of_a_double_loop(reach):
    history = random_history(1, silent=2, refused=20)
    model = SequenceKNN(reach=reach, gap_half_life=3.0, backward=0.3, source_power=0.2, target_power=0.5).fit(history)
    expected = counted_slowly(history, model)
    np.testing.assert_allclose(model.similarity_.toarray(), expected, atol=1e-5)
    model.listeners_ = np.zeros_like(model.listeners_)  # nothing behind
    scores = history.recent(model.half_life, model.floor, model.strength).toarray() @ expected
    known = np.abs(scores).max(axis=1) > 0
    assert known.sum() > 20
    np.testing.assert_allclose(model.scores(np.arange(30))[known], scores[known], atol=1e-5)
