"""Plays and feedback to one weight a pair: sums by hand, then what must hold for any rows in any order."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_interactions import build_interactions_plain
from worlds import AS_OF, DAY

from features.compute.interactions import Feedback, Interactions, Plays, build_interactions
from features.schema.names import SIGNALS

USERS, TRACKS = 3, 4


def plays_of(*rows: tuple[int, int, float, float]) -> Plays:
    """From (user, track, days ago, completion)."""
    user, track, days_ago, completion = (np.array(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    return Plays(
        np.asarray(user, np.int32),
        np.asarray(track, np.int32),
        AS_OF - np.rint(np.asarray(days_ago, np.float64) * DAY).astype(np.int64),
        np.asarray(completion, np.float32),
    )


def feedback_of(*rows: tuple[int, int, str, float, float]) -> Feedback:
    """From (user, track, signal, days ago, strength)."""
    user, track, signal, days_ago, strength = (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 5
    return Feedback(
        np.array(user, np.int32),
        np.array(track, np.int32),
        np.array(signal, object),
        np.array(strength, np.float64),
        AS_OF - np.rint(np.array(days_ago, np.float64) * DAY).astype(np.int64),
    )


def made_of(plays: Plays, feedback: Feedback, half_life_days: float = 100.0) -> Interactions:
    return build_interactions(plays, feedback, (USERS, TRACKS), as_of_ms=AS_OF, half_life_days=half_life_days)


def test_plays_add_up_under_a_logarithm():
    made = made_of(plays_of((0, 1, 0, 1.0), *[(1, 2, 0, 1.0)] * 3, (2, 0, 0, np.nan)), feedback_of())
    assert made.weights[0, 1] == pytest.approx(1.0)
    assert made.weights[1, 2] == pytest.approx(2.0)
    assert made.weights[2, 0] == pytest.approx(math.log2(1.6), abs=1e-6)
    assert made.weights.nnz == 3
    assert made.plays.toarray().tolist() == [[0, 1, 0, 0], [0, 0, 3, 0], [1, 0, 0, 0]]


def test_old_plays_and_old_feedback_count_less():
    made = made_of(plays_of((0, 0, 100, 1.0), (0, 0, 200, 1.0)), feedback_of((0, 0, "like", 100, 5.0)))
    assert made.weights[0, 0] == pytest.approx(math.log2(1 + 0.5 + 0.25) + 3 * (5 / 3) / 2, abs=1e-6)


def test_a_skip_signal_undoes_one_completed_play_and_no_more():
    made = made_of(
        plays_of((0, 0, 0, 1.0), *[(0, 1, 0, 1.0)] * 3), feedback_of((0, 0, "skip", 0, 3), (0, 1, "skip", 0, 3))
    )
    assert made.weights.toarray()[0].tolist() == pytest.approx([0.0, 1.0, 0.0, 0.0])


def test_skipped_plays_take_weight_away_but_never_below_nothing():
    made = made_of(plays_of((0, 0, 0, 0.0), (0, 1, 0, 1.0), (0, 1, 0, 0.0)), feedback_of((0, 0, "replay", 0, 3)))
    assert made.weights[0, 0] == pytest.approx(1.5)  # a skipped play does not make a replay worth less
    assert made.weights[0, 1] == pytest.approx(math.log2(1.75), abs=1e-6)


def test_a_disliked_pair_has_no_weight_and_is_known():
    made = made_of(plays_of(*[(0, 0, 0, 1.0)] * 9), feedback_of((0, 0, "love", 5, 5), (0, 0, "dislike", 1, 1)))
    assert made.weights.nnz == 0
    assert made.disliked[0, 0]
    assert made.known[0, 0]


@pytest.mark.parametrize("signal", ["love", "like", "save"])
def test_a_later_like_takes_a_dislike_back_whole(signal):
    made = made_of(plays_of(), feedback_of((0, 0, "dislike", 2, 5), (0, 0, signal, 1, 3)))
    without = made_of(plays_of(), feedback_of((0, 0, signal, 1, 3)))
    assert made.disliked.nnz == 0
    assert made.weights[0, 0] == without.weights[0, 0] > 0


@pytest.mark.parametrize("signal", ["replay", "skip"])
def test_a_replay_or_a_skip_does_not_take_a_dislike_back(signal):
    made = made_of(plays_of(), feedback_of((0, 0, "dislike", 2, 3), (0, 0, signal, 1, 3)))
    assert made.disliked[0, 0]
    assert made.weights.nnz == 0


def test_of_a_like_and_a_dislike_at_one_moment_the_dislike_counts():
    for rows in ([("like"), ("dislike")], [("dislike"), ("like")]):
        made = made_of(plays_of(), feedback_of(*[(1, 1, signal, 1, 3) for signal in rows]))
        assert made.disliked[1, 1]


def test_a_dislike_is_of_one_user_and_one_track():
    made = made_of(plays_of((0, 0, 0, 1.0), (0, 1, 0, 1.0), (1, 0, 0, 1.0)), feedback_of((0, 0, "dislike", 0, 3)))
    assert made.disliked.toarray().sum() == 1
    assert made.weights[0, 1] > 0
    assert made.weights[1, 0] > 0


def test_a_skipped_or_rated_track_is_known_without_weight():
    made = made_of(plays_of((0, 0, 0, 0.0)), feedback_of((1, 1, "skip", 0, 3)))
    assert made.weights.nnz == 0
    assert made.known.toarray().tolist() == [[True, False, False, False], [False, True, False, False], [False] * 4]
    assert made.plays.toarray()[0, 0] == 1


def test_a_dislike_is_all_aversion_however_much_was_played_before():
    made = made_of(plays_of(*[(0, 0, 0, 1.0)] * 9), feedback_of((0, 0, "dislike", 50, 1), (1, 2, "dislike", 0, 5)))
    assert made.aversion.toarray().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0] * 4]


def test_skips_that_outweigh_plays_are_aversion_by_what_they_do_so():
    made = made_of(
        plays_of((0, 1, 0, 1.0), (0, 2, 0, 1.0), (1, 0, 0, 0.0)),
        feedback_of(
            (0, 0, "skip", 100, 3),  # half by age
            (0, 1, "skip", 0, 4.5),  # half more than the play
            (0, 2, "skip", 0, 3),  # as much as the play
            (0, 3, "skip", 0, 5),
            (0, 3, "skip", 0, 5),  # more than all there is
        ),
    )
    assert made.aversion.toarray()[0].tolist() == pytest.approx([0.5, 0.5, 0.0, 1.0])
    assert made.aversion.nnz == 3
    assert made.aversion.getrow(1).nnz == 0  # a play that was skipped may have been no opinion
    assert made.weights.nnz == 0


def test_a_dislike_that_was_taken_back_is_no_aversion():
    made = made_of(plays_of(), feedback_of((0, 0, "dislike", 2, 5), (0, 0, "like", 1, 3)))
    assert made.aversion.nnz == 0


def test_a_play_too_old_to_weigh_anything_is_still_a_play():
    made = made_of(plays_of((0, 0, 5000, 1.0)), feedback_of(), half_life_days=1.0)
    assert made.weights.nnz == 0
    assert made.plays[0, 0] == 1
    assert made.known[0, 0]


def test_without_plays_feedback_alone_makes_weights():
    made = made_of(plays_of(), feedback_of((2, 3, "save", 0, 3)))
    assert made.weights[2, 3] == pytest.approx(3.0)
    assert made.plays.nnz == 0


def test_without_anything_every_matrix_is_empty_and_of_the_shape_asked_for():
    made = made_of(plays_of(), feedback_of())
    for matrix in (made.weights, made.plays, made.known, made.disliked, made.aversion):
        assert matrix.shape == (USERS, TRACKS)
        assert matrix.nnz == 0


def test_interactions_say_how_many_they_are():
    assert repr(made_of(plays_of((0, 0, 0, 1.0)), feedback_of())) == "Interactions(3 users × 4 tracks, 1 pairs)"


PLAY = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, TRACKS - 1),
    st.floats(0, 400),
    st.sampled_from([0.0, 0.14, 0.15, 0.3, 0.79, 0.8, 1.0, np.nan]) | st.floats(0, 1, width=32),
)
SAID = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, TRACKS - 1),
    st.sampled_from(SIGNALS),
    st.integers(0, 5).map(float),
    st.sampled_from([1.0, 2.5, 3.0, 5.0, np.nan]),
)


def matrices_of(made: Interactions) -> list[sp.csr_matrix]:
    return [made.weights, made.plays, made.known, made.disliked, made.aversion]


def bytes_of(made: Interactions) -> list[bytes]:
    return [part.tobytes() for m in matrices_of(made) for part in (m.data, m.indices, m.indptr)]


def in_order(order: list[int], *columns: np.ndarray) -> list[np.ndarray]:
    return [column[order] for column in columns]


@given(st.lists(PLAY, max_size=25), st.lists(SAID, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_order_of_rows_makes_the_same_bytes(play_rows, said_rows, random):
    plays, feedback = plays_of(*play_rows), feedback_of(*said_rows)
    one, two = list(range(len(plays))), list(range(len(feedback)))
    random.shuffle(one)
    random.shuffle(two)
    other = made_of(
        Plays(*in_order(one, plays.user, plays.track, plays.played_at, plays.completion)),
        Feedback(
            *in_order(two, feedback.user, feedback.track, feedback.signal, feedback.strength, feedback.created_at)
        ),
    )
    assert bytes_of(made_of(plays, feedback)) == bytes_of(other)


@given(st.lists(PLAY, max_size=40), st.lists(SAID, max_size=20), st.sampled_from([1, 2, 4]))
@settings(deadline=None)
def test_the_matrices_are_those_of_scipy_to_the_byte_for_any_number_of_threads(play_rows, said_rows, threads):
    plays, feedback = plays_of(*play_rows), feedback_of(*said_rows)
    given = {"as_of_ms": AS_OF, "half_life_days": 100.0}
    made = build_interactions(plays, feedback, (USERS, TRACKS), threads=threads, **given)
    plain = build_interactions_plain(plays, feedback, (USERS, TRACKS), **given)
    for one, other in zip(matrices_of(made), matrices_of(plain), strict=True):
        assert [part.dtype for part in (one.data, one.indices, one.indptr)] == [
            part.dtype for part in (other.data, other.indices, other.indptr)
        ]
    assert bytes_of(made) == bytes_of(plain)


@given(st.lists(PLAY, max_size=25), st.lists(SAID, max_size=12))
@settings(deadline=None)
def test_weights_are_positive_and_sorted_and_never_of_a_disliked_pair(play_rows, said_rows):
    plays, feedback = plays_of(*play_rows), feedback_of(*said_rows)
    before = [array.copy() for array in (*vars(plays).values(), *vars(feedback).values())]
    made = made_of(plays, feedback)
    for array, copy in zip((*vars(plays).values(), *vars(feedback).values()), before, strict=True):
        np.testing.assert_array_equal(array, copy)  # inputs are never written to
    weights = made.weights
    assert (weights.data > 0).all()
    assert np.isfinite(weights.data).all()
    for start, stop in zip(weights.indptr[:-1], weights.indptr[1:], strict=True):
        assert (np.diff(weights.indices[start:stop]) > 0).all()
    assert not (weights.toarray() * made.disliked.toarray()).any()
    assert not (weights.toarray() * made.aversion.toarray()).any()
    assert (made.aversion.data > 0).all()
    assert (made.aversion.data <= 1).all()
    assert made.aversion.has_sorted_indices
    assert (made.aversion.toarray()[made.disliked.toarray()] == 1).all()
    assert not ((weights.toarray() > 0) & ~made.known.toarray()).any()
    assert made.plays.sum() == len(plays)
    touched = {(user, track) for user, track, *_ in [*play_rows, *said_rows]}
    assert set(zip(*(axis.tolist() for axis in made.known.nonzero()), strict=True)) == touched


@given(st.lists(PLAY, max_size=25), st.lists(SAID, max_size=12))
@settings(deadline=None)
def test_the_slow_obvious_sum_is_the_same(play_rows, said_rows):
    def worth(completion: float) -> float:
        if math.isnan(completion):
            return 0.6
        if np.float32(completion) < np.float32(0.15):
            return -0.25
        return 0.1 + 0.9 * min(max((completion - 0.15) / 0.65, 0.0), 1.0)

    signals = {"love": 5, "like": 3, "save": 3, "replay": 1.5, "skip": -1, "dislike": 0}
    expected, averse = np.zeros((USERS, TRACKS)), np.zeros((USERS, TRACKS))
    for user in range(USERS):
        for track in range(TRACKS):
            listened = sum(worth(c) * 0.5 ** (days / 100) for u, t, days, c in play_rows if (u, t) == (user, track))
            mine = [
                (days, signal != "dislike", s, signal) for u, t, signal, days, s in said_rows if (u, t) == (user, track)
            ]
            heard = math.log2(1 + max(listened, 0))
            opinion = sum(
                signals[signal] * (1 if math.isnan(s) else s / 3) * 0.5 ** (days / 100) for days, _, s, signal in mine
            )
            opinions = [entry for entry in mine if entry[3] in {"love", "like", "save", "dislike"}]
            disliked = bool(opinions) and min(opinions)[3] == "dislike"
            expected[user, track] = 0 if disliked else max(heard + opinion, 0)
            averse[user, track] = 1 if disliked else min(max(-heard - opinion, 0), 1)
    made = made_of(plays_of(*play_rows), feedback_of(*said_rows))
    np.testing.assert_allclose(made.weights.toarray(), expected, atol=3e-6)
    np.testing.assert_allclose(made.aversion.toarray(), averse, atol=3e-6)
