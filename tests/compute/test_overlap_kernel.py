"""The kernel of similar users against the matrix product, on worlds with lists and rows of bits, many and few."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_overlaps import similar_users_plain

from features.compute.overlap_index import MOST_TRACKS, TILE, overlap_index
from features.compute.overlap_kernel import most_similar
from features.compute.overlaps import similar_users


def world_of(seed: int, users: int, tracks: int, pairs: int, whales: int = 0) -> sp.csr_matrix:
    """Popular and rare tracks, listeners of a few and of many; the first `whales` listeners know most tracks."""
    rng = np.random.default_rng(seed)
    user = (rng.random(pairs) ** 2 * users).astype(np.int64)
    track = (rng.random(pairs) ** 3 * tracks).astype(np.int64)
    everything = np.flatnonzero(rng.random(whales * tracks) < 0.9)
    user, track = np.concatenate((user, everything // tracks)), np.concatenate((track, everything % tracks))
    world = sp.csr_matrix((np.ones(len(user), np.int32), (user, track)), shape=(users, tracks))
    world.sum_duplicates()
    return world


def assert_same(found: object, expected: object) -> None:
    for name in ("neighbors", "common", "jaccard"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype


@given(
    st.integers(0, 2**32),
    st.integers(2, 700),
    st.integers(1, 400),
    st.integers(0, 9000),
    st.integers(0, 3),
    st.integers(1, 60),
    st.integers(1, 8),
    st.integers(1, 800),
)
@settings(max_examples=60)
def test_threads_shards_and_what_is_popular_change_nothing(
    seed, users, tracks, pairs, whales, k, min_common, shard_users
):
    world = world_of(seed, users, tracks, pairs, min(whales, users))
    expected = similar_users_plain(world, k=k, min_common=min_common)
    for threads in (1, 2, 4):
        found = similar_users(world, k=k, min_common=min_common, threads=threads, shard_users=shard_users)
        assert_same(found, expected)
    if world.nnz:
        for popular in (1, 10, 1 << 20):
            index = overlap_index(world, min_common=min_common, popular=popular)
            width = expected.neighbors.shape[1]
            numbers, common = most_similar(index, 0, users, k=width, min_common=min_common)
            np.testing.assert_array_equal(numbers, expected.neighbors)
            np.testing.assert_array_equal(common, expected.common)


@pytest.mark.parametrize("popular", [20, 1 << 20])
def test_what_is_needed_rises_from_one_chunk_of_words_to_the_next_and_nobody_is_lost(popular):
    world = world_of(3, 6_000, 300, 60_000)
    rows = np.random.default_rng(3).choice(6_000, 50, replace=False)
    index = overlap_index(world, min_common=2, popular=popular)
    held = (world > 0).astype(np.int64)
    sizes = held.sum(axis=1).A1
    for row in rows:
        common = (held[row] @ held.T).toarray()[0]
        common[row] = 0
        jaccard = common / np.maximum(sizes[row] + sizes - common, 1)
        best = np.lexsort((np.arange(len(sizes)), -jaccard))
        best = best[common[best] >= 2][:10]
        numbers, found = most_similar(index, row, row + 1, k=10, min_common=2)
        assert numbers[0][: len(best)].tolist() == best.tolist()
        assert found[0][: len(best)].tolist() == common[best].tolist()


def test_listeners_of_more_than_a_byte_of_tracks_in_common_are_counted_whole():
    world = world_of(1, 40, 900, 2000, whales=5)
    expected = similar_users_plain(world, k=10, min_common=2)
    assert expected.common.max() > 256
    for popular in (1, 150):
        index = overlap_index(world, min_common=2, popular=popular)
        np.testing.assert_array_equal(most_similar(index, 0, 40, k=10, min_common=2)[1], expected.common)


def test_more_than_two_bytes_of_tracks_in_common_are_counted_whole():
    world = sp.csr_matrix(np.ones((3, 70_000), np.int8))
    assert similar_users(world, k=2, min_common=1).common.tolist() == [[70_000, 70_000]] * 3


@pytest.mark.parametrize("seed", [1, 2])
def test_users_of_several_tiles_are_compared_across_them(seed):
    users = 2 * TILE + 5000
    world = world_of(seed, users, 3000, 400_000)
    found = similar_users(world, k=8, min_common=2, threads=2)
    some = np.random.default_rng(seed).choice(users, 60, replace=False)
    sizes = np.diff(world.indptr)
    for user in some:
        counts = (world[user].astype(bool).astype(np.int32) @ world.astype(bool).T.astype(np.int32)).toarray()[0]
        counts[user] = 0
        share = np.where(counts >= 2, counts / np.maximum(sizes[user] + sizes - counts, 1), 0)
        best = np.lexsort((np.arange(users), -share))[:8]
        best = best[share[best] > 0]
        np.testing.assert_array_equal(found.neighbors[user, : len(best)], best)
        np.testing.assert_array_equal(found.jaccard[user, : len(best)], share[best])
        assert (found.neighbors[user, len(best) :] == -1).all()


def test_the_only_two_listeners_of_a_track_find_each_other_from_tile_to_tile():
    pairs = 64
    users = TILE + pairs
    tracks = np.arange(users * 4).reshape(users, 4)  # everybody's own
    tracks[-pairs:, :3] = tracks[:pairs, :3]
    world = sp.csr_matrix((np.ones(users * 4, np.int32), tracks.ravel(), np.arange(users + 1) * 4))
    found = similar_users(world, k=2, min_common=3)
    expected = np.full((users, 2), -1)
    expected[:pairs, 0], expected[-pairs:, 0] = np.arange(users - pairs, users), np.arange(pairs)
    np.testing.assert_array_equal(found.neighbors, expected)
    assert found.common[:pairs, 0].tolist() == [3] * pairs
    # where beginnings of lists need more than four bytes
    index = overlap_index(world, min_common=3)
    wide = index._replace(begins=index.begins.astype(np.int64))
    np.testing.assert_array_equal(most_similar(wide, 0, pairs, k=2, min_common=3)[0], expected[:pairs])


def test_of_more_tracks_than_shares_are_exact_of_nobody_is_compared(monkeypatch):
    monkeypatch.setattr("features.compute.overlap_index.MOST_TRACKS", 5)
    overlap_index(sp.csr_matrix(np.ones((2, 4), np.int8)), min_common=1)
    with pytest.raises(ValueError, match="user number 0 has 5 tracks"):
        overlap_index(sp.csr_matrix(np.ones((2, 5), np.int8)), min_common=1)


def test_shares_are_in_the_order_of_fractions_up_to_the_most_tracks():
    """Neighbours among fractions of 2^26 and less, the closest there are, stay apart in float64."""
    whole = 2 * MOST_TRACKS - np.arange(1, 100)
    for taken in (1, 2, 3, 7):
        lower = (whole[:, None] - taken) / whole[:, None]
        higher = (whole[None, :] - taken) / whole[None, :]
        exact = (whole[:, None] - taken) * whole[None, :] - (whole[None, :] - taken) * whole[:, None]
        np.testing.assert_array_equal(np.sign(lower - higher), np.sign(exact))
