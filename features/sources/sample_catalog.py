"""The sample's tracks: genres, scenes within them, artists, albums, audio features that follow the genre."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.schema.names import AUDIO_FEATURES, AUDIO_NAMES
from features.sources.sample_words import ALBUM_PATTERNS, ARTIST_PATTERNS, TRACK_PATTERNS, base62_id, phrases

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Genre(NamedTuple):
    """A genre's share of artists, its share of explicit tracks, and the middle of its audio features."""

    name: str
    share: float
    explicit: float
    danceability: float
    energy: float
    loudness: float
    speechiness: float
    acousticness: float
    instrumentalness: float
    liveness: float
    valence: float
    tempo: float


GENRES = (
    Genre("indie rock", 0.13, 0.08, 0.50, 0.70, -7.0, 0.05, 0.18, 0.08, 0.18, 0.48, 126),
    Genre("pop", 0.14, 0.10, 0.66, 0.66, -5.8, 0.07, 0.20, 0.01, 0.15, 0.55, 118),
    Genre("hip hop", 0.12, 0.55, 0.74, 0.64, -6.8, 0.24, 0.16, 0.02, 0.18, 0.48, 108),
    Genre("techno", 0.08, 0.02, 0.72, 0.80, -8.5, 0.06, 0.04, 0.72, 0.12, 0.32, 129),
    Genre("ambient", 0.07, 0.00, 0.24, 0.16, -20.0, 0.04, 0.84, 0.86, 0.11, 0.14, 92),
    Genre("jazz", 0.08, 0.01, 0.52, 0.34, -13.5, 0.05, 0.70, 0.48, 0.16, 0.50, 112),
    Genre("folk", 0.09, 0.02, 0.48, 0.32, -12.0, 0.04, 0.76, 0.06, 0.14, 0.42, 114),
    Genre("metal", 0.07, 0.22, 0.38, 0.92, -5.0, 0.09, 0.02, 0.24, 0.22, 0.28, 136),
    Genre("soul", 0.07, 0.06, 0.63, 0.50, -9.0, 0.06, 0.42, 0.03, 0.17, 0.62, 104),
    Genre("classical", 0.06, 0.00, 0.26, 0.14, -22.0, 0.04, 0.94, 0.82, 0.12, 0.22, 98),
    Genre("latin", 0.05, 0.10, 0.76, 0.74, -5.6, 0.08, 0.22, 0.01, 0.16, 0.74, 110),
    Genre("punk", 0.04, 0.20, 0.42, 0.88, -5.2, 0.08, 0.05, 0.04, 0.26, 0.56, 158),
)
COUNTRIES = ("DE", "GB", "SE")
FIRST_RELEASE_YEAR = 1965


@dataclass(frozen=True)
class Catalog:
    """Tracks as arrays, in the order of scene and artist, so that a scene and an artist are each a range."""

    scene_genre: Ints
    """(n_scenes,) the genre of each scene."""
    artist_scene: Ints
    """(n_artists,) ascending."""
    artist_weight: Floats
    track_artist: Ints
    """(n_tracks,) ascending."""
    track_weight: Floats
    """How readily a track is come upon: long-tailed, 0 for the few that nobody is to find."""
    duration_ms: Ints
    table: pa.Table
    """The tracks as an import takes them, without `popularity`, which follows the plays."""


def make_catalog(seed: int, tracks: int, start: datetime) -> Catalog:
    """A catalog of tracks released before `start`."""
    rng = np.random.default_rng([seed, 1])
    scenes_a_genre = int(np.clip(round(np.sqrt(tracks) / 12), 2, 12))
    scene_genre = np.repeat(np.arange(len(GENRES)), scenes_a_genre)
    artists = max(1, tracks // 8)
    scene_share = np.array([GENRES[genre].share for genre in scene_genre])
    artist_scene = np.sort(rng.choice(len(scene_genre), artists, p=scene_share / scene_share.sum()))
    artist_weight = np.power(rng.permutation(artists) + 4.0, -0.7, dtype=np.float64)
    size = rng.lognormal(0, 0.7, artists)
    own = rng.choice(artists, tracks - artists, p=size / size.sum())
    track_artist = np.sort(np.concatenate([np.arange(artists), own]))
    rank = np.arange(tracks) - np.searchsorted(track_artist, track_artist)
    weight = artist_weight[track_artist] * np.power(rank + 1.0, -0.5) * rng.lognormal(0, 0.4, tracks)
    weight[rng.random(tracks) < 0.03] = 0.0
    if not weight.any():
        weight[0] = 1.0
    genre = scene_genre[artist_scene[track_artist]]
    duration_ms = np.clip(rng.lognormal(np.log(215_000), 0.28, tracks), 60_000, 900_000).astype(np.int64)
    columns = {
        "track_id": [base62_id("track", seed, i) for i in range(tracks)],
        "name": phrases(rng, tracks, TRACK_PATTERNS),
        **_artist_columns(rng, seed, track_artist, scene_genre[artist_scene]),
        **_album_columns(rng, seed, track_artist, rank, start),
        "duration_ms": duration_ms,
        "explicit": rng.random(tracks) < np.array([GENRES[g].explicit for g in genre]),
        "markets": _markets(rng, tracks),
        **_audio(rng, genre, track_artist, artists),
    }
    return Catalog(scene_genre, artist_scene, artist_weight, track_artist, weight, duration_ms, pa.table(columns))


def _artist_columns(rng: np.random.Generator, seed: int, track_artist: Ints, artist_genre: Ints) -> dict[str, pa.Array]:
    artists = len(artist_genre)
    names = np.array(phrases(rng, artists, ARTIST_PATTERNS), dtype=object)
    ids = np.array([base62_id("artist", seed, i) for i in range(artists)], dtype=object)
    second = np.where(rng.random(artists) < 0.3, rng.integers(0, len(GENRES), artists), artist_genre)
    genres = [
        list(dict.fromkeys((GENRES[first].name, GENRES[other].name)))
        for first, other in zip(artist_genre, second, strict=True)
    ]
    return {
        "artist": pa.array(names[track_artist]),
        "artist_id": pa.array(ids[track_artist]),
        "genres": pa.array([genres[i] for i in track_artist], pa.list_(pa.string())),
    }


def _album_columns(
    rng: np.random.Generator, seed: int, track_artist: Ints, rank: Ints, start: datetime
) -> dict[str, pa.Array]:
    """Albums of up to ten tracks, each with one release date in one of Spotify's three precisions."""
    _, album = np.unique(track_artist * 100_000 + rank // 10, return_inverse=True)
    albums = int(album.max()) + 1
    names = np.array(phrases(rng, albums, ALBUM_PATTERNS), dtype=object)
    ids = np.array([base62_id("album", seed, i) for i in range(albums)], dtype=object)
    first = np.datetime64(f"{FIRST_RELEASE_YEAR}-01-01", "D")
    span = (np.datetime64(start.date(), "D") - first).astype(int)
    days = first + (span * (1 - rng.random(albums) ** 2.2)).astype(np.int64)  # most of them recent
    precision = rng.choice([10, 7, 4], albums, p=[0.7, 0.15, 0.15])
    dates = np.array([str(day)[:length] for day, length in zip(days, precision, strict=True)], dtype=object)
    return {
        "album": pa.array(names[album]),
        "album_id": pa.array(ids[album]),
        "release_date": pa.array(dates[album]),
    }


def _markets(rng: np.random.Generator, tracks: int) -> pa.Array:
    """Where a track may be played: nothing known of most, one or two countries for the others."""
    limited, chosen = rng.random(tracks) < 0.06, rng.integers(0, len(COUNTRIES), (tracks, 2))
    markets = [sorted({COUNTRIES[i] for i in pair}) if few else None for few, pair in zip(limited, chosen, strict=True)]
    return pa.array(markets, pa.list_(pa.string()))


def _audio(rng: np.random.Generator, genre: Ints, track_artist: Ints, artists: int) -> dict[str, pa.Array]:
    """The twelve features: around the genre's middle, moved by artist, then by track; 4 % have none."""
    tracks = len(genre)
    none = rng.random(tracks) < 0.04
    columns: dict[str, Floats] = {}
    for feature in AUDIO_FEATURES:
        if feature.name == "key":
            columns["key"] = rng.integers(-1, 12, tracks).astype(np.float64)
        elif feature.name == "mode":
            columns["mode"] = (rng.random(tracks) < 0.62).astype(np.float64)
        elif feature.name == "time_signature":
            columns["time_signature"] = rng.choice([3.0, 4.0, 5.0], tracks, p=[0.08, 0.89, 0.03])
        else:
            middle = np.array([getattr(GENRES[g], feature.name) for g in range(len(GENRES))])[genre]
            step = 0.6 * rng.normal(0, 1, artists)[track_artist] + 0.5 * rng.normal(0, 1, tracks)
            if feature.name == "tempo":
                values = np.clip(middle + 14 * step, 50, 220)
            elif feature.name == "loudness":
                values = np.clip(middle + 2.5 * step, -45, 0)
            else:  # a step on the logit scale keeps a ratio between 0 and 1
                values = 1 / (1 + np.exp(-(np.log(middle / (1 - middle)) + 0.8 * step)))
            columns[feature.name] = np.round(values, 3)
    return {name: pa.array(columns[name], mask=none) for name in AUDIO_NAMES}
