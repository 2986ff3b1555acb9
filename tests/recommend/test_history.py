"""Histories: moments, ages and decays worked out by hand, and what holds in any world."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, DAY, dataset_of, play, random_world, said, shuffled

from features.compute.dataset import Dataset, build_dataset
from features.compute.interactions import Interactions, build_interactions
from features.compute.moments import earlier_in_row, later_in_row
from features.compute.sequences import in_sequence
from features.recommend.history import AVERSION, History, build_history, history_of, liked_row, shortened

SEEDS = st.integers(0, 10_000)


def interactions_of(data: Dataset) -> Interactions:
    shape = (len(data.users), len(data.tracks))
    return build_interactions(data.plays, data.feedback, shape, as_of_ms=AS_OF, half_life_days=180.0)


def history_from(**rows) -> tuple[Dataset, History]:
    data = dataset_of(**rows)
    return data, build_history(data, interactions_of(data))


def by_track(data: Dataset, history: History, values: np.ndarray) -> dict[tuple[str, str], float]:
    """Values of pairs by the ids of user and track."""
    users, tracks = data.users.ids(), data.tracks.ids()
    pairs = zip(history.owner, history.weights.indices, values, strict=True)
    return {(users[user], tracks[track]): float(value) for user, track, value in pairs}


def test_a_pair_lasts_from_its_first_to_its_last_listen_or_liking():
    data, history = history_from(
        plays=[
            play("u", "a", 9),
            play("u", "a", 5),
            play("u", "a", 1, 0.05),  # a skip confirms nothing
            play("u", "b", 4, None),  # what is unknown is no skip
            play("u", "c", 8),
            play("v", "a", 2),
        ],
        feedback=[
            said("u", "b", "love", 6),
            said("u", "c", "skip", 1, 0.3),
            said("u", "d", "save", 7),
            said("v", "a", "replay", 1),
        ],
    )
    days = {
        pair: (AS_OF - first) / DAY for pair, first in by_track(data, history, history.first_at.astype(float)).items()
    }
    assert days == {("u", "a"): 9, ("u", "b"): 6, ("u", "c"): 8, ("u", "d"): 7, ("v", "a"): 2}
    days = {pair: (AS_OF - last) / DAY for pair, last in by_track(data, history, history.last_at.astype(float)).items()}
    assert days == {("u", "a"): 5, ("u", "b"): 4, ("u", "c"): 8, ("u", "d"): 7, ("v", "a"): 1}


def test_plays_are_in_order_of_user_time_and_track_and_skips_are_left_out():
    data, history = history_from(
        plays=[play("v", "a", 3), play("u", "b", 2), play("u", "a", 2), play("u", "c", 5), play("u", "b", 1, 0.1)]
    )
    users, tracks = data.users.ids(), data.tracks.ids()
    rows = zip(history.plays.user, history.plays.track, history.plays.played_at, strict=True)
    assert [(users[u], tracks[t], (AS_OF - at) / DAY) for u, t, at in rows] == [
        ("u", "c", 5),
        ("u", "a", 2),
        ("u", "b", 2),
        ("v", "a", 3),
    ]


def of_moments(last_at: list[list[int]], weights: list[list[float]] | None = None) -> History:
    """A history of users by the last moments of their tracks, 0, 1, ...; every weight 1 where none are given."""
    width = max(map(len, last_at))
    dense = np.zeros((len(last_at), width))
    for user, moments in enumerate(last_at):
        dense[user, : len(moments)] = 1.0 if weights is None else weights[user]
    bare = history_of(sp.csr_matrix(dense))
    moments = np.array([at for row in last_at for at in row], np.int64)
    return History(bare.weights, moments, moments, bare.plays, None)


def test_age_counts_the_tracks_played_later_and_ties_are_as_young():
    history = of_moments([[10, 30, 30, 20], [], [5, 5], [7]])
    assert history.age.tolist() == [3, 0, 0, 2, 0, 0, 0]


@given(st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=4))
def test_age_equals_its_definition(rows):
    if not any(rows):
        rows = [[1]]
    expected = [sum(other > at for other in row) for row in rows for at in row]
    assert of_moments(rows).age.tolist() == expected


def test_a_history_without_time_is_all_of_one_age():
    history = history_of(sp.csr_matrix([[1.0, 2.0, 0.0], [0.0, 0.0, 4.0]]))
    assert history.age.tolist() == [0, 0, 0]
    assert len(history.plays) == 0
    assert repr(history) == "History(2 users × 3 tracks, 3 pairs, 0 plays)"


def test_values_tell_whether_or_how_much():
    history = history_of(sp.csr_matrix([[1.0, 2.0, 0.0], [0.0, 0.0, 6.0]]))  # 3 on average
    assert history.values(0.0).toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(history.values(1.0).toarray(), [[1 / 3, 2 / 3, 0], [0, 0, 2]], rtol=1e-6)
    np.testing.assert_allclose(history.values(0.5).toarray() ** 2, [[1 / 3, 2 / 3, 0], [0, 0, 2]], rtol=1e-6)
    assert history.values(1.0).dtype == np.float32


def test_late_listens_say_more_and_so_do_loved_ones():
    history = of_moments([[10, 30, 20]], [[1.0, 4.0, 1.0]])  # 2 on average
    made = history.recent(half_life=1.0, floor=0.2, strength=0.5).toarray()[0]
    # ages 2, 0 and 1
    expected = [(0.2 + 0.8 / 4) * 0.5**0.5, 1.0 * 2**0.5, (0.2 + 0.8 / 2) * 0.5**0.5]
    np.testing.assert_allclose(made, expected, rtol=1e-6)
    assert history.recent(half_life=1e9, floor=0.0, strength=0.0).toarray().tolist() == [[1, 1, 1]]


def test_long_ago_is_not_never():
    history = of_moments([list(range(3000))])
    made = history.recent(half_life=0.5, floor=0.0, strength=0.3)
    assert made.nnz == 3000
    assert (made.data > 0).all()


def test_what_a_user_is_put_off_by_counts_against_its_like():
    data, history = history_from(
        plays=[play("u", "a", 3), play("u", "b", 2), *[play("u", "skipped", 1, 0.0)] * 2, play("v", "skipped", 1)],
        feedback=[said("u", "hated", "dislike"), said("u", "refused", "skip", 180)],
    )
    made = history.recent(half_life=1.0, floor=0.0, strength=0.0)
    found = {data.tracks[int(track)]: float(value) for track, value in zip(*sparse(made, 0), strict=True)}
    # a skip half a year ago is worth half; plays that were skipped are held against nothing but themselves
    assert found == {"a": 0.5, "b": 1.0, "hated": -AVERSION, "refused": pytest.approx(-AVERSION / 2)}
    assert made.has_sorted_indices
    liked, worth = liked_row(made, 0)
    assert [data.tracks[int(track)] for track in liked] == ["a", "b"]
    assert worth.tolist() == [0.5, 1.0]
    assert sparse(made, 1)[1].tolist() == [1.0]  # another's aversion is their own


def sparse(matrix: sp.csr_matrix, row: int) -> tuple[np.ndarray, np.ndarray]:
    return matrix[row].indices, matrix[row].data


def test_plays_are_worth_half_after_a_half_life_of_other_plays():
    data, history = history_from(
        plays=[
            *[play("u", track, ago) for track, ago in [("a", 9), ("b", 8), ("a", 7), ("c", 6)]],
            play("u", "c", 5, 0.0),  # a skip is no play
            play("v", "b", 1),
        ]
    )
    made = history.decayed_plays(half_life=2.0).toarray()
    a, b, c = (data.tracks.ids().index(track) for track in "abc")
    half = 0.5**0.5
    np.testing.assert_allclose(made[0, [a, b, c]], [half**3 + half, half**2, 1.0], rtol=1e-6)
    np.testing.assert_allclose(made[1, [a, b, c]], [0.0, 1.0, 0.0])
    assert made.dtype == np.float32


def test_of_nothing_there_is_a_history_of_nothing():
    data, history = history_from()
    assert history.weights.shape == (0, 0)
    assert len(data.users) == history.age.size == history.owner.size == history.listeners.size == 0
    assert history.recent(1.0, 0.0, 1.0).shape == (0, 0)
    assert history.decayed_plays(1.0).shape == (0, 0)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_moments_equal_those_looked_up_row_by_row(seed):
    data = build_dataset(random_world(seed), as_of_ms=AS_OF)
    history = build_history(data, interactions_of(data))
    positive = {"love", "like", "save", "replay"}
    for pair, (user, track) in enumerate(zip(history.owner, history.weights.indices, strict=True)):
        played = (data.plays.user == user) & (data.plays.track == track) & ~(data.plays.completion < np.float32(0.15))
        told = (data.feedback.user == user) & (data.feedback.track == track)
        told &= np.isin(data.feedback.signal, sorted(positive))
        moments = [*data.plays.played_at[played], *data.feedback.created_at[told]]
        assert (history.first_at[pair], history.last_at[pair]) == (min(moments), max(moments))
    assert (history.degree.sum(), history.listeners.sum()) == (history.weights.nnz, history.weights.nnz)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_any_order_of_rows_makes_the_same_history(seed):
    world = random_world(seed)
    one, other = (
        build_history(data, interactions_of(data))
        for data in (build_dataset(rows, as_of_ms=AS_OF) for rows in (world, shuffled(world, seed)))
    )
    for name in ("first_at", "last_at", "age", "degree", "listeners"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    for name in ("user", "track", "played_at"):
        assert getattr(one.plays, name).tobytes() == getattr(other.plays, name).tobytes()
    first, second = (history.recent(30.0, 0.2, 0.4) for history in (one, other))
    assert first.data.tobytes() == second.data.tobytes()
    assert one.decayed_plays(9.0).data.tobytes() == other.decayed_plays(9.0).data.tobytes()


def test_a_shortened_history_has_each_users_first_tracks_with_all_their_plays():
    rows = [("u", "a", 9), ("u", "b", 8), ("u", "a", 2), ("u", "c", 1), ("v", "c", 7), ("v", "b", 6), ("w", "a", 5)]
    data, history = history_from(plays=[play(*row) for row in rows])
    short = shortened(history, np.array([2, 1, 9]), 0)
    pairs = by_track(data, short, short.first_at.astype(float))
    assert pairs.keys() == {("u", "a"), ("u", "b"), ("v", "c"), ("w", "a")}
    whole = by_track(data, history, history.last_at.astype(float))
    assert by_track(data, short, short.last_at.astype(float)) == {pair: whole[pair] for pair in pairs}
    assert short.degree.tolist() == [2, 1, 1]
    assert len(short.plays) == 5
    assert len(history.plays) == 7


def test_of_what_began_at_one_moment_chance_decides_which_is_first():
    _, history = history_from(plays=[play("u", f"t{n:02d}") for n in range(30)])
    firsts = {int(shortened(history, np.array([1]), seed).weights.indices[0]) for seed in range(20)}
    assert len(firsts) > 5
    assert (shortened(history, np.array([30]), 0).weights != history.weights).nnz == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=20))
def test_age_counts_the_tracks_of_the_same_user_that_were_played_later(pairs):
    users = np.sort(np.array([user for user, _ in pairs], np.int64))
    at = np.array([moment for _, moment in pairs], np.int64)
    indptr = np.searchsorted(users, np.arange(4))
    expected = [int(((users == user) & (at > moment)).sum()) for user, moment in zip(users, at, strict=True)]
    assert later_in_row(indptr, at).tolist() == expected
    assert earlier_in_row(indptr, -at).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_without_plays_a_history_still_knows_what_came_before_what(seed: int):
    data = build_dataset(random_world(seed, users=12, tracks=15, plays=300), as_of_ms=AS_OF)
    history = build_history(data, interactions_of(data))
    bare = history.without_events().compact()
    assert len(bare.plays) == 0 < len(history.plays)
    assert bare.first_at.dtype == bare.last_at.dtype == np.int32
    np.testing.assert_array_equal(bare.age, history.age)
    np.testing.assert_array_equal(bare.recent(3.0, 0.1, 0.5).toarray(), history.recent(3.0, 0.1, 0.5).toarray())
    worth = history.values(0.0)
    one, other = in_sequence(worth, history.first_at), in_sequence(worth, bare.first_at)
    np.testing.assert_array_equal(one.track, other.track)
    np.testing.assert_array_equal(np.diff(one.at) == 0, np.diff(other.at) == 0)
