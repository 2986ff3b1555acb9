"""What is counted at once for a block of lists is what is counted one by one from the plays."""

from collections import Counter

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import evidence_of, random_world

from features.compute.rows import dense_block
from features.recommend.facts import Facts, entries_of
from features.recommend.listed import Listed
from features.recommend.sound_kernels import closest_in_sound, nearest_in_sound


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_what_is_counted_at_once_is_what_is_counted_one_by_one(seed, users):
    evidence = evidence_of(random_world(seed, plays=120))
    facts, catalog = Facts.of(evidence), evidence.dataset.catalog
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(len(evidence.dataset.users), users, replace=False))
    tracks = len(evidence.dataset.tracks)
    lists = {
        name: np.array([rng.permutation(tracks)[:6] for _ in some], np.int32) for name in ("collaborative", "hybrid")
    }
    lists["hybrid"][:, 3:] = -1
    listed = Listed.of(some, lists, tracks)
    offer = facts.offer(listed)
    plays = [Counter(evidence.history.plays.track[evidence.history.plays.user == user].tolist()) for user in some]
    for pair, (row, track) in enumerate(zip(listed.row.tolist(), listed.track.tolist(), strict=True)):
        mine = plays[row]
        assert offer.own[pair] == mine[track]
        assert offer.own[pair] == (facts.heard.data[offer.own_place[pair]] if offer.own_place[pair] >= 0 else 0)
        artist, album = catalog.artist[track], catalog.album[track]
        assert offer.artist[pair] == sum(n for t, n in mine.items() if catalog.artist[t] == artist >= 0)
        assert offer.album[pair] == sum(catalog.album[t] == album >= 0 for t in mine if t != track)
        genres = catalog.genres.toarray()
        by_genre = {g: sum(n for t, n in mine.items() if genres[t, g]) for g in np.flatnonzero(genres[track])}
        best = max(by_genre, key=lambda g: (by_genre[g], -g), default=-1)
        assert offer.genre[pair] == best
        assert offer.genre_share[pair] == by_genre.get(best, 0) / max(sum(mine.values()), 1)
        others = zip(evidence.neighbors[some[row]], evidence.common[some[row]], strict=True)
        theirs = [shared for other, shared in others if other >= 0 and facts.heard[other, track]]
        assert (offer.neighbors[pair], offer.least[pair]) == (len(theirs), min(theirs, default=0))


def test_lists_are_found_again_in_their_flat_form():
    lists = {
        "a": np.array([[4, 1, -1], [-1, -1, -1], [2, 0, 4]]),
        "b": np.array([[1, 5, 0], [3, -1, -1], [-1, -1, -1]]),
    }
    listed = Listed.of(np.array([7, 8, 9]), lists, 6)
    for number, (name, rows) in enumerate(lists.items()):
        assert listed.strategies[number] == name
        for row, tracks in enumerate(rows):
            entries = slice(*listed.bounds[number, row : row + 2])
            assert listed.track[listed.pair[entries]].tolist() == tracks[tracks >= 0].tolist()
            assert set(listed.owner[entries].tolist()) <= {row}
            assert set(listed.strategy[entries].tolist()) <= {number}
    assert list(zip(listed.row.tolist(), listed.track.tolist(), strict=True)) == [
        *((0, 0), (0, 1), (0, 4), (0, 5)),
        (1, 3),
        *((2, 0), (2, 2), (2, 4)),
    ]
    nobody = Listed.of(np.zeros(0, np.int64), {"a": np.zeros((0, 3), np.int32)}, 6)
    assert (len(nobody.pair), nobody.entries(0)) == (0, slice(0, 0))


def test_listed_tracks_are_found_in_each_users_choice():
    lists = {"a": np.array([[4, 1], [9, -1], [-1, -1], [7, 2]])}
    choice = np.array([[1, 3, 4], [0, 9, -1], [-1, -1, -1], [2, 5, 7]], np.int32)
    listed = Listed.of(np.array([1, 2, 3, 4]), lists, 10)
    assert choice[listed.row, listed.columns(choice)].tolist() == listed.track.tolist() == [1, 4, 9, 2, 7]


def test_the_nearest_in_sound_is_another_track_and_what_is_missing_is_far():
    audio = np.array([[0.5, 0.5], [0.5, np.nan], [0.4, 0.6], [0.6, 0.4], [np.nan, np.nan]])
    begin, history = np.array([0, 4, 5]), np.array([0, 1, 2, 3, 4])
    found = np.empty(4, np.int64)
    nearest_in_sound(0, 4, np.array([0, 0, 1, 1]), np.array([0, 4, 0, 4]), begin, history, audio, found)
    assert found.tolist() == [2, 0, 4, -1]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_tracks_are_compared_with_one_of_the_history_where_two_features_are_close_else_with_what_is_usual(seed):
    rng = np.random.default_rng(seed)
    audio, usual = (np.where(rng.random((9, 4)) < 0.2, np.nan, rng.integers(0, 6, (9, 4)) / 8) for _ in range(2))
    listed, like, owner = rng.integers(0, 9, 30), rng.integers(-1, 9, 30), rng.integers(0, 9, 30)
    features, near, named = np.empty((30, 2), np.int8), np.empty((30, 2), bool), like.copy()
    closest_in_sound(listed, named, owner, audio, usual, 0.2, features, near)
    for place in range(30):
        to_track, to_usual = (
            np.abs(audio[listed[place]] - other)
            for other in (audio[like[place]] if like[place] >= 0 else np.full(4, np.nan), usual[owner[place]])
        )
        by_track = like[place] >= 0 and np.sort(to_track)[1] <= 0.2
        apart = to_track if by_track else to_usual
        two = np.argsort(apart, kind="stable")[:2]
        assert features[place].tolist() == two.tolist()
        assert near[place].tolist() == (apart[two] <= 0.2).tolist()
        assert named[place] == (like[place] if by_track else -1)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_nearest_in_sound_is_that_of_all_distances(seed):
    rng = np.random.default_rng(seed)
    audio = np.where(rng.random((12, 3)) < 0.2, np.nan, rng.integers(0, 9, (12, 3)) / 8)
    histories = [np.sort(rng.choice(12, rng.integers(0, 6), replace=False)) for _ in range(4)]
    begin, history = np.cumsum([0, *map(len, histories)]), np.concatenate(histories)
    owner, listed = np.sort(rng.integers(0, 4, 20)), rng.integers(0, 12, 20)
    found, cut = np.empty(20, np.int64), np.empty(20, np.int64)
    nearest_in_sound(0, 20, owner, listed, begin, history, audio, found)
    for start, stop in ((0, 7), (7, 20)):
        nearest_in_sound(start, stop, owner, listed, begin, history, audio, cut)
    np.testing.assert_array_equal(cut, found)
    for who, track, nearest in zip(owner, listed, found, strict=True):
        apart = np.nan_to_num(np.abs(audio[histories[who]] - audio[track]), nan=1.0).sum(axis=1)
        apart[histories[who] == track] = np.inf
        able = np.isfinite(apart).any()
        assert nearest == (histories[who][np.argmin(apart)] if able else -1)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_block_and_single_entries_are_those_of_the_matrix(seed):
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 5, (6, 90)) * (rng.random((6, 90)) < rng.random())
    matrix = sp.csr_matrix(dense)
    rows, columns = rng.integers(0, 6, 4), rng.permutation(90)[: rng.integers(0, 90)]
    np.testing.assert_array_equal(dense_block(matrix, rows, columns), dense[np.ix_(rows, columns)])
    row, column = rng.integers(0, 6, 50), rng.integers(0, 90, 50)
    np.testing.assert_array_equal(entries_of(matrix, row, column), dense[row, column])
