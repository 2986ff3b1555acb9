"""The data sets, out of a folder that is given; where they come from and what stands for what."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.quality.cases import (
    Case,
    Listens,
    TrackTable,
    first_listens_case,
    next_plays_case,
    pair_case,
    warm_and_cold,
)
from benchmarks.quality.splits import neutral
from features.compute.dataset import Catalog, StatedTaste
from features.compute.weights import SKIPPED
from features.schema.names import AUDIO_NAMES
from features.sources.sample import SampleSpec, make_sample

NAMES = ("hetrec", "jodie", "jodie-repeats", "playlists-warm", "playlists-cold", "ml-100k", "sample")
NEED_DATA = NAMES[:5]
RECBOLE = "recbole==1.2.1"
"""A wheel that holds MovieLens-100k."""
EPOCH_MS = 1_700_000_000_000
"""Where seconds since the first play begin; any moment would do."""
SAMPLE = SampleSpec(users=10_000, tracks=5_000, days=90, seed=7)
SAMPLE_END = datetime(2026, 11, 1, tzinfo=UTC)
MIN_TAGGED = 5
"""Artists a tag needs to be a genre; most tags are one person's."""


def cases(names: tuple[str, ...], data: Path | None, cache: Path) -> Iterator[Case]:
    """The cases of those names that can be had, in the order of `NAMES`; says which can't.

    Args:
        names: of `NAMES`.
        data: the folder of data sets, None for only those that need none.
        cache: where what is fetched is kept.
    """
    for name in NAMES:
        if name not in names:
            continue
        if name in NEED_DATA and data is None:
            print(f"{name}: left out, no data folder was given; name one with DATA=folder")
            continue
        yield load(name, data or Path(), cache)


def load(name: str, data: Path, cache: Path) -> Case:
    """One case by its name."""
    match name:
        case "hetrec":
            return pair_case(name, "HetRec Last.fm 2k, artists, a random fifth", hetrec(data))
        case "jodie":
            return first_listens_case(name, "JODIE Last.fm, first listens, the last fifth", jodie(data))
        case "jodie-repeats":
            return next_plays_case(name, "JODIE Last.fm, next plays with repeats, the last fifth", jodie(data))
        case "playlists-warm" | "playlists-cold":
            both = warm_and_cold(pair_case("playlists", "Spotify playlists, a random fifth", playlists(data)))
            return both[name == "playlists-cold"]
        case "ml-100k":
            return pair_case(name, "MovieLens-100k, ratings from 4, the last fifth", movielens(cache))
        case "sample":
            return first_listens_case(name, "our sample, 10,000 users, first listens, the last fifth", sample())
    raise ValueError(name)


def hetrec(data: Path) -> Listens:
    """Users and artists with play counts; tags stand for genres.

    A count of 352,698 plays can't be written out; its square root can, and halves the logarithm alike for all.

    What a user tagged of their own held-out artists is left out: it would tell that they know them.
    """
    folder = data / "hetrec2011_lastfm_2k"
    pairs = pd.read_parquet(folder / "user_artists.parquet")
    user_ids, user = np.unique(pairs["user_id"], return_inverse=True)
    item, item_ids = neutral(pairs["artist_id"].to_numpy())
    number_of = pd.Series(np.arange(len(item_ids)), index=item_ids)
    names = pd.read_parquet(folder / "artists.parquet").set_index("artist_id")["name"].reindex(item_ids)
    tags = pd.read_parquet(folder / "tag_events.parquet").merge(pd.read_parquet(folder / "tags.parquet"), on="tag_id")
    tags = tags[tags["artist_id"].isin(item_ids) & tags["user_id"].isin(user_ids)]
    tagged = number_of[tags["artist_id"]].to_numpy()
    tagger = np.searchsorted(user_ids, tags["user_id"])
    words = tags["tag"].to_numpy()
    every = tagger * len(item_ids) + tagged
    listened = user * len(item_ids) + item

    def catalog_of(learned: np.ndarray) -> Catalog:
        hidden = np.isin(every, np.setdiff1d(listened, listened[learned]))
        said = pd.DataFrame({"artist": tagged[~hidden], "tag": words[~hidden]}).drop_duplicates()
        common = said[said.groupby("tag")["artist"].transform("size") >= MIN_TAGGED]
        genres = common.groupby("artist")["tag"].agg(list).reindex(range(len(item_ids)))
        return TrackTable({"name": names.to_list()}).catalog(names.to_list(), _lists(genres))

    return Listens(user, item, np.sqrt(pairs["plays"].to_numpy(np.float64)), None, len(item_ids), catalog_of)


def jodie(data: Path) -> Listens:
    """Plays with seconds since the first; nothing is known of tracks."""
    plays = pd.read_parquet(data / "lastfm_jodie10" / "plays.parquet")
    user = np.unique(plays["user_id"], return_inverse=True)[1]
    item, item_ids = neutral(plays["item_id"].to_numpy())
    at = EPOCH_MS + 1000 * plays["t_s"].to_numpy(np.int64)
    return Listens(user, item, np.ones(len(plays)), at, len(item_ids))


def playlists(data: Path) -> Listens:
    """Playlists as listeners; the genre and subgenre of a playlist is what its owner says of their own taste.

    Genres are the artists', as in our data model: those of the training playlists that hold a track of theirs. An
    artist whom no training playlist holds has none.
    """
    rows = pd.read_parquet(data / "tidytuesday_spotify_songs" / "playlist_tracks.parquet")
    rows = rows.drop_duplicates(["playlist_id", "track_id"]).reset_index(drop=True)
    user = np.unique(rows["playlist_id"], return_inverse=True)[1]
    item, item_ids = neutral(rows["track_id"].to_numpy(str))
    tracks = rows.assign(number=item).drop_duplicates("number").sort_values("number")
    columns = {
        "name": tracks["track_name"].to_list(),
        "album": tracks["track_album_name"].to_list(),
        "album_id": tracks["track_album_id"].to_list(),
        "released_at": _dates(tracks["track_album_release_date"]),
        "duration_ms": tracks["duration_ms"].to_numpy(np.float64),
        "popularity": tracks["track_popularity"].to_numpy(np.float64),
        **{name: tracks[name].to_numpy(np.float64) for name in AUDIO_NAMES if name in tracks},
    }
    artist = [name or None for name in tracks["track_artist"].fillna("")]

    def catalog_of(learned: np.ndarray) -> Catalog:
        held = rows.iloc[learned]
        told = pd.concat(
            [held[["track_artist", column]].set_axis(["artist", "genre"], axis=1) for column in _GENRE_COLUMNS]
        ).drop_duplicates()
        genres = told.groupby("artist")["genre"].agg(list)
        return TrackTable(columns).catalog(artist, _lists(genres.reindex(tracks["track_artist"])))

    def stated_of(catalog: Catalog) -> StatedTaste:
        first = rows.assign(user=user).drop_duplicates("user").sort_values("user")
        shape = (len(first), len(catalog.genre_names))
        genres = sp.lil_matrix(shape, dtype=bool)
        for column in _GENRE_COLUMNS:
            number = catalog.genre_names.numbers(first[column].str.strip().str.lower())
            known = np.flatnonzero(number >= 0)
            genres[known, number[known]] = True
        nobody = sp.csr_matrix((len(first), len(catalog.artist_names)), dtype=bool)
        return StatedTaste(genres.tocsr(), nobody, np.full((len(first), 3), np.nan))

    return Listens(user, item, np.ones(len(rows)), None, len(item_ids), catalog_of, stated_of)


_GENRE_COLUMNS = ("playlist_genre", "playlist_subgenre")


def movielens(cache: Path) -> Listens:
    """Films rated 4 or 5, each at its time; genres and year are known."""
    with zipfile.ZipFile(recbole_wheel(cache)) as wheel:
        ratings, films = (
            pd.read_csv(io.BytesIO(wheel.read(f"recbole/dataset_example/ml-100k/ml-100k.{kind}")), sep="\t")
            for kind in ("inter", "item")
        )
    ratings.columns, films.columns = (
        frame.columns.str.partition(":").get_level_values(0) for frame in (ratings, films)
    )
    liked = ratings[ratings["rating"] >= 4]
    user = np.unique(liked["user_id"], return_inverse=True)[1]
    item, item_ids = neutral(liked["item_id"].to_numpy())
    films = films.set_index("item_id").reindex(item_ids)
    genres = [str(words).split() if isinstance(words, str) else [] for words in films["class"]]
    columns = {"name": _texts(films["movie_title"]), "released_at": _dates(films["release_year"])}
    catalog = TrackTable(columns).catalog([None] * len(films), genres)
    at = 1000 * liked["timestamp"].to_numpy(np.int64)
    return Listens(user, item, np.ones(len(liked)), at, len(item_ids), lambda _: catalog)


def recbole_wheel(cache: Path) -> Path:
    """The wheel, fetched into `cache` if it is not there."""
    if not list(cache.glob("recbole-*.whl")):
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), RECBOLE]
        subprocess.run(command, check=True)
    return next(cache.glob("recbole-*.whl"))


def sample() -> Listens:
    """Our generator's plays that were not skipped, and its catalogue."""
    made = make_sample(SAMPLE, end=SAMPLE_END)
    plays = made.plays.select(["user_id", "track_id", "played_at", "play_ms", "duration_ms"]).to_pandas()
    plays = plays[~(plays["play_ms"] / plays["duration_ms"] < SKIPPED)]
    user = np.unique(plays["user_id"], return_inverse=True)[1]
    item, item_ids = neutral(plays["track_id"].to_numpy(str))
    tracks = made.tracks.to_pandas().set_index("track_id").reindex(item_ids)
    columns = {
        "name": _texts(tracks["name"]),
        "album": _texts(tracks["album"]),
        "album_id": _texts(tracks["album_id"]),
        "released_at": _dates(tracks["release_date"]),
        **{name: tracks[name].to_numpy(np.float64) for name in ("duration_ms", "popularity", *AUDIO_NAMES)},
    }
    genres = [list(words) if isinstance(words, np.ndarray) else [] for words in tracks["genres"]]
    catalog = TrackTable(columns).catalog(_texts(tracks["artist"]), genres)
    at = plays["played_at"].astype("datetime64[ms, UTC]").astype(np.int64).to_numpy()
    return Listens(user, item, np.ones(len(plays)), at, len(item_ids), lambda _: catalog)


def _texts(column: pd.Series) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in column]


def _lists(column: pd.Series) -> list[list[str]]:
    return [value if isinstance(value, list) else [] for value in column]


def _dates(column: pd.Series) -> list[datetime | None]:
    """Dates of one to three parts; a year is its first day."""
    texts = [str(value).partition(".")[0] for value in column]
    return [
        datetime(*map(int, [*text.split("-"), "1", "1"][:3]), tzinfo=UTC) if text[:4].isdigit() else None
        for text in texts
    ]
