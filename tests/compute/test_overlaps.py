"""Similar users, against counting every pair with sets."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_overlaps import similar_users_plain

from features.compute.overlaps import SimilarUsers, similar_users

WORLDS = st.lists(st.sets(st.integers(0, 11)), max_size=9)


def matrix_of(worlds: list[set[int]]) -> sp.csr_matrix:
    indices = [track for tracks in worlds for track in sorted(tracks)]
    indptr = np.cumsum([0, *map(len, worlds)])
    counts = np.arange(1, len(indices) + 1, dtype=np.int32)  # how often says nothing
    return sp.csr_matrix((counts, indices, indptr), shape=(len(worlds), 12))


def by_sets(worlds: list[set[int]], k: int, min_common: int) -> list[list[tuple[int, int, float]]]:
    rows = []
    for user, mine in enumerate(worlds):
        pairs = [
            (-len(mine & theirs) / len(mine | theirs), other, len(mine & theirs))
            for other, theirs in enumerate(worlds)
            if other != user and len(mine & theirs) >= min_common
        ]
        rows.append([(other, common, -share) for share, other, common in sorted(pairs)[:k]])
    return rows


def as_rows(found: SimilarUsers) -> list[list[tuple[int, int, float]]]:
    return [
        [entry for entry in zip(*row, strict=True) if entry[0] >= 0]
        for row in zip(found.neighbors.tolist(), found.common.tolist(), found.jaccard.tolist(), strict=True)
    ]


def test_overlap_is_tracks_in_common_by_tracks_of_either():
    found = similar_users(matrix_of([{0, 1, 2}, {1, 2, 3, 4}, {2}, {9}]), k=2, min_common=1)
    assert as_rows(found) == [
        [(1, 2, 0.4), (2, 1, 1 / 3)],
        [(0, 2, 0.4), (2, 1, 0.25)],
        [(0, 1, 1 / 3), (1, 1, 0.25)],
        [],
    ]
    assert found.neighbors[3].tolist() == [-1, -1]
    assert found.common[3].tolist() == [0, 0]
    assert found.jaccard[3].tolist() == [0.0, 0.0]


def test_fewer_tracks_in_common_than_asked_for_do_not_count():
    worlds = [{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4, 5}, {0, 1, 2, 3}]
    assert as_rows(similar_users(matrix_of(worlds), k=5, min_common=5)) == [[(1, 5, 5 / 6)], [(0, 5, 5 / 6)], []]


def test_equals_stand_by_number_even_over_different_fractions():
    worlds = [{0, 1}, {0, 1, 2, 3}, {0}, {1}]  # one half with each: 2 of 4, 1 of 2, 1 of 2
    assert [entry[0] for entry in as_rows(similar_users(matrix_of(worlds), k=3, min_common=1))[0]] == [1, 2, 3]


@pytest.mark.parametrize("users", [0, 1])
def test_alone_there_is_nobody_to_be_similar_to(users):
    found = similar_users(matrix_of([{0, 1}] * users), k=5, min_common=1)
    assert found.neighbors.shape == found.common.shape == found.jaccard.shape == (users, 0)


def test_no_more_slots_than_other_users():
    assert similar_users(matrix_of([{0}, {0}, {0}]), k=50, min_common=1).neighbors.shape == (3, 2)


@given(WORLDS, st.integers(1, 12), st.integers(1, 6))
@settings(deadline=None)
def test_it_is_what_counting_with_sets_says_whatever_the_shard(worlds, k, min_common):
    expected = by_sets(worlds, k, min_common)
    matrix = matrix_of(worlds)
    before = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    for shard_users in (1, 2, 5, 1000):
        assert as_rows(similar_users(matrix, k=k, min_common=min_common, shard_users=shard_users)) == expected
    for part, copy in zip((matrix.data, matrix.indices, matrix.indptr), before, strict=True):
        np.testing.assert_array_equal(part, copy)
    assert as_rows(similar_users_plain(matrix, k=k, min_common=min_common)) == expected


@given(WORLDS)
@settings(deadline=None)
def test_similarity_goes_both_ways_when_there_is_room(worlds):
    rows = as_rows(similar_users(matrix_of(worlds), k=20, min_common=1))
    pairs = {(user, other, share) for user, row in enumerate(rows) for other, _, share in row}
    assert {(other, user, share) for user, other, share in pairs} == pairs
