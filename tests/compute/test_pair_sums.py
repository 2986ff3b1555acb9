"""Sums by user and track against a matrix of coordinates, for any ranges of users, blocks and threads."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from features.compute import pair_sums as module
from features.compute.pair_sums import FIXED_POINT, PairSums, pair_sums


def events_of(seed: int, count: int, users: int, tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    user = (rng.random(count) ** 2 * users).astype(np.int32)
    track = (rng.random(count) ** 3 * tracks).astype(np.int32)
    return user, track, np.rint(rng.normal(0, 20, count).clip(-127, 127) * 8) / 8  # some sums are 0


def assert_sums(
    found: PairSums, user: np.ndarray, track: np.ndarray, worth: np.ndarray, shape: tuple[int, int]
) -> None:
    for values, part in ((np.rint(worth * FIXED_POINT), found.sums), (np.ones(len(user)), found.counts)):
        plain = sp.coo_matrix((values, (user, track)), shape=shape).tocsr()
        plain.sum_duplicates()
        np.testing.assert_array_equal(found.indptr, plain.indptr)
        np.testing.assert_array_equal(found.indices, plain.indices)
        np.testing.assert_array_equal(part, plain.data)


@given(
    st.integers(0, 2**32),
    st.integers(0, 3000),
    st.integers(1, 300),
    st.sampled_from([1, 63, 64, 65, 4095, 4096, 4097, 9000]),
    st.integers(1, 4000),
    st.integers(1, 700),
)
@settings(max_examples=60)
def test_ranges_blocks_and_threads_change_nothing(seed, count, users, tracks, shard_events, block):
    user, track, worth = events_of(seed, count, users, tracks)
    asked = []

    def worth_of(chosen: slice | np.ndarray) -> np.ndarray:
        asked.append(np.arange(count)[chosen])
        return worth[chosen]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        for threads in (1, 2, 4):
            asked.clear()
            found = pair_sums(user, track, worth_of, (users, tracks), threads=threads, shard_events=shard_events)
            assert_sums(found, user, track, worth, (users, tracks))
            assert sorted(np.concatenate([np.empty(0, int), *asked]).tolist()) == list(range(count))


def test_sums_go_beyond_what_one_event_may_be_worth():
    count = 100_000
    user, track = np.zeros(count, np.int32), np.full(count, 2, np.int32)
    found = pair_sums(user, track, lambda chosen: np.full(count, -127.5)[chosen], (1, 3))
    assert found.sums.tolist() == [-127.5 * FIXED_POINT * count]
    assert found.counts.tolist() == [count]


@pytest.mark.parametrize("worth", [128.0, -128.0, np.nan, np.inf])
def test_a_worth_that_does_not_fit_is_refused(worth):
    user = track = np.zeros(2, np.int32)
    with pytest.raises(ValueError, match=f"worth {worth}"):
        pair_sums(user, track, lambda chosen: np.array([1.0, worth])[chosen], (1, 1))


@pytest.mark.parametrize(
    ("user", "track", "whose"), [(3, 0, "users"), (-1, 0, "users"), (0, 4, "tracks"), (0, -1, "tracks")]
)
def test_a_number_out_of_shape_is_refused(user, track, whose):
    with pytest.raises(ValueError, match=f"numbers of {whose} go from"):
        pair_sums(np.array([user], np.int32), np.array([track], np.int32), lambda _: np.ones(1), (3, 4))


def test_nothing_sums_up_to_nothing():
    none = np.empty(0, np.int32)
    for users in (0, 3):
        found = pair_sums(none, none, lambda _: np.empty(0), (users, 4), threads=2)
        assert found.indptr.tolist() == [0] * (users + 1)
        assert len(found.indices) == len(found.sums) == len(found.counts) == 0
