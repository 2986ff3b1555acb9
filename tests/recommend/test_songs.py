"""Releases of one song: told together, heard together, and never twice in one list."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import SMALL, dataset_of, evidence_of, lists_of, play, said, tables, track

from features.parameters import RecommendationParameters
from features.recommend.evidence import fit_ranker
from features.recommend.songs import ALONE, only_best, other_releases, songs

SEEDS = st.integers(0, 10_000)


def together(*rows, plays=()) -> list[set[str]]:
    """Songs of several releases, by ids of tracks."""
    dataset = dataset_of(plays=plays, tracks=rows)
    number, ids = songs(dataset.catalog), np.array(dataset.tracks.ids(), object)
    assert number.dtype == np.int32
    assert sorted(set(number[number != ALONE].tolist())) == list(range(number.max(initial=-1) + 1))
    return [set(ids[number == song]) for song in range(number.max(initial=-1) + 1)]


def test_one_title_by_one_artist_is_one_song_case_and_accents_aside():
    assert together(
        track("single", "Beyoncé", name="Halo"),
        track("album", "BEYONCE", name=" halo "),
        track("live", "Beyoncé", name="Halo (Live)"),
        track("by another", "Ane Brun", name="Halo"),
        track("nameless", "Beyoncé", name=None),
        track("nameless too", "Beyoncé", name=""),
        track("whose", None, name="Halo"),
        track("whose else", None, name="Halo"),
    ) == [{"single", "album"}]


def test_only_the_first_artist_counts():
    duet = [{"id": None, "name": name, "genres": []} for name in ("A", "B")]
    assert together(track("a", "A", name="Song"), {**track("b", name="Song"), "artists": duet}) == [{"a", "b"}]
    assert together(track("a", "B", name="Song"), {**track("b", name="Song"), "artists": duet}) == []


def test_plays_say_what_the_catalogue_does_not():
    heard = play("u", "unlisted", artist_name="A", track_name="Song")
    assert together(track("listed", "A", name="SONG"), plays=[heard]) == [{"listed", "unlisted"}]


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_other_releases_are_those_of_what_is_heard_but_not_heard_themselves(seed):
    rng = np.random.default_rng(seed)
    heard, song = rng.random((5, 12)) < 0.3, rng.integers(-1, 5, 12).astype(np.int32)
    found = other_releases(sp.csr_matrix(heard), song)
    assert found.dtype == bool
    assert found.has_sorted_indices
    assert found.data.all()
    for user, row in enumerate(found.toarray()):
        known = set(song[heard[user] & (song >= 0)])
        assert row.tolist() == [not heard[user, t] and song[t] in known for t in range(12)]


@given(SEEDS, st.booleans())
@settings(max_examples=50, deadline=None)
def test_of_each_song_the_best_release_stays(seed, own_columns):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (4, 10)).astype(float)
    values[rng.random(values.shape) < 0.2] = -np.inf
    song = rng.integers(-1, 4, values.shape if own_columns else 10).astype(np.int32)
    before = values.copy()
    found = only_best(values, song)
    np.testing.assert_array_equal(values, before)
    for row, numbers in zip(range(4), np.broadcast_to(song, values.shape), strict=True):
        for column in range(10):
            rivals = np.flatnonzero(numbers == numbers[column]) if numbers[column] >= 0 else np.array([column])
            wins = column == rivals[np.argmax(values[row, rivals])]
            assert found[row, column] == (values[row, column] if wins else -np.inf)


RELEASES = [track(f"{letter}{n}", "A", ["rock"], name=f"Song {letter}") for letter in "abcdef" for n in (1, 2)]
PLAYS = [play(user, f"{letter}1") for user, heard in (("u", "ab"), ("v", "abcd"), ("w", "cdef")) for letter in heard]


@pytest.mark.parametrize("how", [{}, {"diversity": 0.4}, {"exploration": 0.5}, {"max_per_artist": 1}], ids=str)
def test_a_list_holds_one_release_of_a_song_and_none_of_what_was_heard(how):
    evidence = evidence_of(tables(plays=PLAYS, tracks=RELEASES))
    ids = evidence.dataset.tracks.ids()
    for entry in lists_of(evidence, k=12, **how):
        letters = [ids[t][0] for t in entry.tracks]
        assert letters
        assert len(set(letters)) == len(letters)
        user = evidence.dataset.users[entry.user]
        assert not set(letters) & {p["track_id"][0] for p in PLAYS if p["user_id"] == user}


def test_where_heard_tracks_come_in_another_release_of_one_is_not_new_and_one_of_a_disliked_stays_out():
    world = tables(plays=PLAYS, feedback=[said("u", "c1", "dislike")], tracks=RELEASES)
    evidence = evidence_of(world)
    ids, new = evidence.dataset.tracks.ids(), {"u": set("def"), "v": set("ef"), "w": set("ab")}
    for entry in lists_of(evidence, k=4, include_heard=True, discovery=0.5):
        letters, user = [ids[t][0] for t in entry.tracks], evidence.dataset.users[entry.user]
        assert len(set(letters)) == len(letters)
        if entry.strategy != "content-based":  # to which nothing else is like what they hear
            assert sum(letter in new[user] for letter in letters) >= 2
        assert user != "u" or "c" not in letters


def test_where_releases_are_not_told_together_each_is_a_track_of_its_own():
    world = tables(plays=PLAYS, tracks=RELEASES)
    evidence = evidence_of(world)
    apart = replace(evidence, same_song=False)
    assert (apart.filters.song == ALONE).all()
    assert apart.filters.known_otherwise.nnz == apart.filters.disliked_otherwise.nnz == 0
    lists = lists_of(apart, k=12)
    ids = evidence.dataset.tracks.ids()
    held = [[ids[t][0] for t in entry.tracks] for entry in lists]
    assert any(len(set(letters)) < len(letters) for letters in held)
    parameters = SMALL.model_copy(update={"recommendations": RecommendationParameters(same_song=False)})
    ranker = fit_ranker(evidence.dataset, evidence.interactions, evidence.recipes, parameters)
    assert not ranker.same_song
    assert fit_ranker(evidence.dataset, evidence.interactions, evidence.recipes, SMALL).same_song
