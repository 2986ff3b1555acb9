"""What is known of each track: the catalogue first, what plays carry second, and missing stays missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, dataset_of, play, random_world, rows_before, shuffled, tables, track

from features.compute.dataset import build_dataset
from features.schema.names import AUDIO_NAMES


def audio_of(data, track_id: str, name: str) -> float:
    return data.catalog.audio[int(data.tracks.numbers([track_id])[0]), AUDIO_NAMES.index(name)]


def genres_of(data, track_id: str) -> list[str]:
    row = data.catalog.genres[int(data.tracks.numbers([track_id])[0])]
    return [data.catalog.genre_names[int(genre)] for genre in row.indices]


def test_audio_comes_from_the_catalogue_first_and_from_the_play_second():
    data = dataset_of(
        tracks=[track("t", energy=0.25)],
        plays=[play("u", "t", energy=0.75, valence=0.5, track_name="Ours", artist_name="Them")],
    )
    assert audio_of(data, "t", "energy") == 0.25
    assert audio_of(data, "t", "valence") == 0.5
    assert np.isnan(audio_of(data, "t", "tempo"))
    assert data.catalog.names[0] == "Song t"
    assert data.catalog.artists[0] == ("Them",)


def test_a_track_outside_the_catalogue_is_what_its_plays_say():
    data = dataset_of(plays=[play("u", "t", energy=0.75, track_name="N", artist_name="A", genres=["Rock", "pop"])])
    assert (data.catalog.names[0], data.catalog.artists[0]) == ("N", ("A",))
    assert genres_of(data, "t") == ["pop", "rock"]
    assert audio_of(data, "t", "energy") == 0.75
    assert data.catalog.markets[0] is None
    assert np.isnan(data.catalog.popularity[0])
    assert not data.catalog.explicit[0]


def test_the_newest_play_that_says_a_thing_is_believed_of_it():
    data = dataset_of(
        plays=[
            play("u", "t", 3, energy=0.25, valence=0.125, track_name="Old"),
            play("u", "t", 1, energy=0.75),
            play("u", "t", 2, energy=0.5, track_name="New"),
        ]
    )
    assert audio_of(data, "t", "energy") == 0.75
    assert audio_of(data, "t", "valence") == 0.125
    assert data.catalog.names[0] == "New"


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_plays_at_one_moment_the_later_document_is_believed(order):
    rows = [play("u", "t", document_id="a", energy=0.25), play("v", "t", document_id="b", energy=0.5)]
    data = dataset_of(plays=[rows[i] for i in order])
    assert audio_of(data, "t", "energy") == 0.5


@pytest.mark.parametrize(("name", "not_found", "found"), [("key", -1, 5), ("tempo", 0, 128), ("time_signature", 0, 4)])
def test_what_spotify_did_not_find_is_missing(name, not_found, found):
    data = dataset_of(
        tracks=[
            track("none", **{name: not_found}),
            track("filled", **{name: not_found}),
            track("found", **{name: found}),
        ],
        plays=[
            play("u", "filled", 2, **{name: found}),
            play("u", "filled", 1, **{name: not_found}),
            play("u", "played", **{name: not_found}),
        ],
    )
    assert np.isnan(audio_of(data, "none", name))
    assert np.isnan(audio_of(data, "played", name))
    assert audio_of(data, "filled", name) == found
    assert audio_of(data, "found", name) == found


def test_a_zero_that_is_a_measurement_stays_a_zero():
    zeros = dict.fromkeys(["energy", "key", "mode", "loudness", "valence"], 0.0)
    data = dataset_of(tracks=[track("t", **zeros)])
    assert [audio_of(data, "t", name) for name in zeros] == [0.0] * 5


def test_what_nobody_says_stays_missing():
    data = dataset_of(plays=[play("u", "t")])
    assert np.isnan(data.catalog.audio).all()
    assert data.catalog.names[0] is data.catalog.artists[0] is None
    assert data.catalog.artist.tolist() == [-1]
    assert genres_of(data, "t") == []


def test_empty_names_say_nothing():
    data = dataset_of(
        tracks=[track("t", "", ["", " "]) | {"name": ""}],
        plays=[
            play("u", "t", 1, track_name="", artist_name="", genres=[]),
            play("u", "t", 2, track_name="N", artist_name="A"),
        ],
    )
    assert data.catalog.names[0] == "N"
    assert data.catalog.artists[0] == ("A",)
    assert len(data.catalog.genre_names) == 0


def test_an_artist_with_a_comma_in_the_name_is_one_artist():
    data = dataset_of(
        tracks=[track("a", "Earth, Wind & Fire")], plays=[play("u", "b", artist_name="Earth, Wind & Fire")]
    )
    assert data.catalog.artists.tolist() == [("Earth, Wind & Fire",)] * 2
    assert data.catalog.artist_names.ids() == ["Earth, Wind & Fire"]
    assert data.catalog.artist.tolist() == [0, 0]


def test_the_first_artist_with_a_name_stands_for_the_track_and_all_give_genres():
    entry = [
        {"id": "1", "name": None, "genres": ["dub"]},
        {"id": "2", "name": "Second", "genres": None},
        {"id": "3", "name": "Third", "genres": ["Rock "]},
    ]
    data = dataset_of(tracks=[track("t") | {"artists": entry}])
    assert data.catalog.artists[0] == ("Second", "Third")
    assert data.catalog.artist_names.ids() == ["Second"]
    assert genres_of(data, "t") == ["dub", "rock"]


def test_genres_are_lower_case_trimmed_and_counted_once_a_track():
    data = dataset_of(
        tracks=[track("t", "A", ["Rock", "rock ", "ROCK", "Jazz"]), track("u", "B", ["jazz"]), track("v")]
    )
    assert data.catalog.genre_names.ids() == ["jazz", "rock"]
    assert data.catalog.genres.toarray().tolist() == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_rows_of_one_track_the_later_document_wins_whole(order):
    rows = [
        track("t", "Old", ["rock"], document_id="1", popularity=10.0, markets=["DE"]) | {"name": "Old name"},
        track("t", "New", document_id="2", explicit=True) | {"name": "New name"},
    ]
    data = dataset_of(tracks=[rows[i] for i in order])
    assert len(data.tracks) == 1
    catalog = data.catalog
    assert (catalog.names[0], catalog.artists[0], catalog.explicit[0]) == ("New name", ("New",), True)
    assert catalog.markets[0] is None
    assert np.isnan(catalog.popularity[0])
    assert genres_of(data, "t") == []


def test_markets_are_a_set_or_unknown():
    data = dataset_of(tracks=[track("a", markets=["DE", "US", "DE"]), track("b")])
    assert data.catalog.markets.tolist() == [frozenset({"DE", "US"}), None]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_slow_obvious_catalogue_is_the_same_in_any_order_of_rows(seed):
    world = random_world(seed, users=4, tracks=8, plays=30)
    data = build_dataset(shuffled(world, seed), as_of_ms=AS_OF)
    plays = sorted(rows_before(world, "plays"), key=lambda row: (row["played_at"], row["document_id"]), reverse=True)
    known = {row["track_id"]: row for row in world["tracks"].to_pylist()}
    missing = {"key": -1, "tempo": 0, "time_signature": 0}
    for number, track_id in enumerate(data.tracks.ids()):
        said = [known.get(track_id, {}), *[row for row in plays if row["track_id"] == track_id]]
        for column, name in enumerate(AUDIO_NAMES):
            values = [row.get(name) for row in said]
            expected = next((v for v in values if v is not None and v != missing.get(name)), np.nan)
            np.testing.assert_equal(data.catalog.audio[number, column], expected)
        names = [known.get(track_id, {}).get("name"), *[row["track_name"] for row in said[1:]]]
        assert data.catalog.names[number] == next((name for name in names if name), None)
        listed = [a["name"] for a in known.get(track_id, {}).get("artists") or []]
        artists = [*listed, *[row["artist_name"] for row in said[1:]]]
        first = data.catalog.artists[number]
        assert (first and first[0]) == next((name for name in artists if name), None)


def test_genres_a_play_lists_as_null_are_left_out():
    data = build_dataset(tables(plays=[play("u", "t", genres=["rock", None])]), as_of_ms=AS_OF)
    assert data.catalog.genre_names.ids() == ["rock"]


def test_albums_are_told_apart_by_id_and_without_one_by_name_and_first_artist():
    data = dataset_of(
        plays=[play("u", "a")],
        tracks=[
            track("a", "Abba", album="Gold", album_id="1"),
            track("b", "Abba", album="Gold", album_id="2"),
            track("c", "Queen", album="Golden", album_id="1"),
            track("d", "Abba", album="Gold"),
            track("e", "Abba", album="Gold"),
            track("f", "Queen", album="Gold"),
            track("g", "Queen"),
        ],
    )
    first, second, third, *others = data.catalog.album.tolist()
    assert first == third != second
    assert others == [others[0], others[0], others[2], -1]
    assert len({first, second, others[0], others[2], -1}) == 5
