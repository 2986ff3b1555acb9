import zipfile

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality.__main__ import _fitting, _named
from benchmarks.quality.datasets import NAMES, cases, load
from benchmarks.quality.measure import answering
from benchmarks.quality.models import CONTENT, Competitor, competitors
from benchmarks.quality.peers import EASE, Popularity
from benchmarks.quality.search import BUDGET, Tuned
from features.schema.names import AUDIO_NAMES

RNG = np.random.default_rng(2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as the real one is, with a few rows in each file."""
    folder = tmp_path_factory.mktemp("data")
    write_hetrec(folder / "hetrec2011_lastfm_2k")
    plays = pd.DataFrame({"user_id": RNG.integers(0, 6, 600), "item_id": RNG.integers(0, 30, 600), "t_s": range(600)})
    write(folder / "lastfm_jodie10" / "plays.parquet", plays)
    write_playlists(folder / "tidytuesday_spotify_songs")
    write_movielens(folder)
    return folder


def write(path, frame):
    path.parent.mkdir(exist_ok=True)
    frame.to_parquet(path)


def write_hetrec(folder):
    pairs = [
        (user, artist, 10 * artist + 1) for user in range(1, 9) for artist in RNG.permutation(np.arange(100, 120))[:12]
    ]
    write(folder / "user_artists.parquet", pd.DataFrame(pairs, columns=["user_id", "artist_id", "plays"]))
    artists = pd.DataFrame({"artist_id": range(100, 120), "name": [f"artist {n}" for n in range(100, 120)]})
    write(folder / "artists.parquet", artists)
    events = [(user, artist, user) for user, artist, _ in pairs]  # each user has a tag of their own, on all they know
    write(folder / "tag_events.parquet", pd.DataFrame(events, columns=["user_id", "artist_id", "tag_id"]))
    write(folder / "tags.parquet", pd.DataFrame({"tag_id": range(1, 9), "tag": [f"tag of {n}" for n in range(1, 9)]}))


def write_playlists(folder):
    rows = [
        {
            "playlist_id": f"list{number}",
            "track_id": f"track{track:02d}",
            "track_name": None if track == 3 else f"Song {track}",
            "track_artist": f"artist {track // 2}",
            "track_album_id": f"album{track // 4}",
            "track_album_name": f"Album {track // 4}",
            "track_album_release_date": ("1999", "2001-04", "2010-12-31")[track % 3],
            "track_popularity": track,
            "playlist_genre": f"genre {number % 3}",
            "playlist_subgenre": f"kind {number}",
            "duration_ms": 1000 * track,
            "energy": 0.5,
            "tempo": 0.0 if track % 5 == 0 else 120.0,
        }
        for number in range(9)
        for track in RNG.permutation(60)[:15]
    ]
    write(folder / "playlist_tracks.parquet", pd.DataFrame([*rows, rows[0]]))


def write_movielens(folder):
    ratings = pd.DataFrame(
        [(user, film, 3 + (user + film) % 3, 1000 * film) for user in range(8) for film in range(20)],
        columns=["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
    )
    films = pd.DataFrame(
        {
            "item_id:token": range(20),
            "movie_title:token_seq": [f"Film {n}" for n in range(20)],
            "release_year:token": [1980 + n for n in range(20)],
            "class:token_seq": ["Drama Comedy" if n % 2 else "War" for n in range(20)],
        }
    )
    with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        for kind, frame in (("inter", ratings), ("item", films)):
            wheel.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{kind}", frame.to_csv(sep="\t", index=False))


def test_each_case_has_a_budget():
    assert set(BUDGET) == set(NAMES)


def test_without_a_folder_cases_that_need_one_are_left_out_and_said_so(data, capsys):
    assert [case.name for case in cases(("jodie", "ml-100k"), None, data)] == ["ml-100k"]
    assert "jodie: left out, no data folder" in capsys.readouterr().out


def test_what_a_user_tagged_of_their_own_held_out_artists_is_no_genre(data):
    case = load("hetrec", data, data)
    catalog = case.test.history.catalog
    assert len(catalog.genre_names) == 8
    for user in range(8):
        tagged = np.flatnonzero(catalog.genres[:, catalog.genre_names.numbers([f"tag of {user + 1}"])[0]].toarray())
        assert set(tagged.tolist()) == set(case.test.history.weights[user].indices.tolist())


def test_counts_of_listens_count_by_the_logarithm_of_their_root(data):
    history = load("hetrec", data, data).test.history
    artist = int(history.catalog.names[history.weights.indices[0]].split()[1])
    assert history.weights.data[0] == pytest.approx(np.log2(1 + round(np.sqrt(10 * artist + 1))))


def test_films_count_from_a_rating_of_four_and_have_genres_and_a_year(data):
    history = load("ml-100k", data, data).test.history
    catalog = history.catalog
    for user, film in zip(history.owner, history.weights.indices, strict=True):
        assert (user + int(catalog.names[film].split()[1])) % 3 > 0
    for number, name in enumerate(catalog.names):
        film = int(name.split()[1])
        words = [catalog.genre_names[genre] for genre in catalog.genres[number].indices]
        assert words == (["comedy", "drama"] if film % 2 else ["war"])
        assert catalog.year[number] == 1980 + film


def test_a_playlist_counts_a_track_once_and_what_is_unknown_stays_so(data):
    split = load("playlists-warm", data, data).test
    catalog = split.history.catalog
    assert split.history.weights.nnz + split.relevant.nnz == 9 * 15
    by_name = {name: number for number, name in enumerate(catalog.names) if name is not None}
    for song, number in by_name.items():
        known = {name for name, value in zip(AUDIO_NAMES, catalog.audio[number], strict=True) if not np.isnan(value)}
        assert known == ({"energy"} if int(song.split()[1]) % 5 == 0 else {"energy", "tempo"})
    assert [int(catalog.year[by_name[f"Song {n}"]]) for n in (6, 7, 8) if f"Song {n}" in by_name] == [1999, 2001, 2010]


def test_genres_of_an_artist_are_those_of_training_playlists_alone(data):
    split = load("playlists-cold", data, data).test
    catalog, stated = split.history.catalog, split.dataset.stated
    for track in range(len(catalog.names)):
        same = catalog.artist == catalog.artist[track]
        holders = np.flatnonzero(split.history.weights[:, same].sum(axis=1))
        told = set(catalog.genres[track].indices.tolist())
        assert told == set(stated.genres[holders].indices.tolist())


def test_who_says_nothing_of_unheard_tracks_is_not_tuned_for_them(data):
    cold, warm = (competitors(load(f"playlists-{kind}", data, data)) for kind in ("cold", "warm"))
    assert {name for name, entry in cold.items() if entry.space} == {name for name in cold if name in CONTENT}
    assert "EASE" in {name for name, entry in warm.items() if entry.space}


def test_without_a_catalogue_nobody_goes_by_content(data):
    assert not CONTENT & set(competitors(load("jodie", data, data)))


def test_parameters_that_a_model_no_longer_has_are_left_aside():
    there = {"EASE": Competitor(answering(EASE), EASE.space, ours=False)}
    good = Tuned({"l2": 3.0, "weight_power": 0.0}, 0.1, 5, 1, 0.1, 2)
    assert _fitting({"EASE": good, "gone": good}, there) == {"EASE": good}
    assert _fitting({"EASE": Tuned({"l2": 3.0}, 0.1, 5, 1, 0.1, 2)}, there) == {}


def test_models_are_chosen_by_name_or_side_and_popularity_stays():
    peer, own = (Competitor(answering(Popularity), {}, ours=ours) for ours in (False, True))
    found = {"popularity": peer, "EASE": peer, "ours: ease": own}
    assert list(_named(found, "ours")) == ["popularity", "ours: ease"]
    assert list(_named(found, "peers")) == ["popularity", "EASE"]
    assert list(_named(found, "EASE, nobody")) == ["popularity", "EASE"]
    assert _named(found, None) == found
