"""Small worlds for tests: tables as a snapshot holds them, made by hand or by chance, and everything built of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from features.compute.dataset import Dataset, build_dataset
from features.compute.embeddings import build_embeddings
from features.compute.interactions import build_interactions
from features.compute.overlaps import similar_users
from features.parameters import NightlyParameters
from features.recommend.eligibility import eligible, is_large
from features.recommend.evidence import Evidence, fit_ranker
from features.recommend.history import build_history
from features.recommend.lists import recommend
from features.recommend.ranked import RankedList
from features.recommend.rerank import Shaper
from features.recommend.strategies import fixed
from features.schema.names import AUDIO_NAMES

DAY = 86_400_000
AS_OF = 20_000 * DAY
"""The moment every world is looked at from, in ms since 1970."""

SMALL = NightlyParameters.model_validate({"models": {"ials": {"dimensions": 8, "iterations": 4}}})

_MOMENT = pa.timestamp("ms", tz="UTC")
_TEXTS = pa.list_(pa.string())
_AUDIO = [(name, pa.float32()) for name in AUDIO_NAMES]
_ARTISTS = pa.list_(pa.struct([("id", pa.string()), ("name", pa.string()), ("genres", _TEXTS)]))
SCHEMAS = {
    "plays": pa.schema(
        [
            *[(name, pa.string()) for name in ("document_id", "user_id", "track_id")],
            *[("played_at", _MOMENT), ("known_at", _MOMENT), ("completion", pa.float32()), ("play_ms", pa.float64())],
            *[("track_name", pa.string()), ("artist_name", pa.string()), ("genres", _TEXTS), ("source", pa.string())],
            *_AUDIO,
        ]
    ),
    "feedback": pa.schema(
        [
            *[(name, pa.string()) for name in ("document_id", "user_id", "track_id", "signal")],
            *[("strength", pa.float64()), ("created_at", _MOMENT), ("known_at", _MOMENT)],
        ]
    ),
    "tracks": pa.schema(
        [
            *[(name, pa.string()) for name in ("document_id", "track_id", "name", "album_id", "album")],
            *[("artists", _ARTISTS), ("duration_ms", pa.float64()), ("popularity", pa.float64())],
            *[("explicit", pa.bool_()), ("markets", _TEXTS), ("released_at", _MOMENT)],
            *_AUDIO,
        ]
    ),
    "users": pa.schema(
        [
            *[(name, pa.string()) for name in ("document_id", "user_id", "country")],
            *[("explicit_content", pa.bool_()), ("favorite_genres", _TEXTS)],
        ]
    ),
    "settings": pa.schema(
        [
            *[("document_id", pa.string()), ("user_id", pa.string()), ("genres", _TEXTS), ("artists", _TEXTS)],
            *[(name, pa.float64()) for name in ("energy", "valence", "danceability")],
        ]
    ),
    **dict.fromkeys(
        ("sessions", "acceptances"),
        pa.schema(
            [
                *[("document_id", pa.string()), ("user_id", pa.string()), ("track_ids", _TEXTS)],
                *[("accepted_at", _MOMENT), ("known_at", _MOMENT)],
            ]
        ),
    ),
}

Row = dict[str, Any]


def play(user: str, track: str, days_ago: float = 1.0, completion: float | None = 1.0, **more: Any) -> Row:
    return {
        "user_id": user,
        "track_id": track,
        "played_at": AS_OF - round(days_ago * DAY),
        "completion": completion,
        **more,
    }


def said(user: str, track: str, signal: str, days_ago: float = 1.0, strength: float | None = None) -> Row:
    created_at = AS_OF - round(days_ago * DAY)
    return {"user_id": user, "track_id": track, "signal": signal, "strength": strength, "created_at": created_at}


def accepted(user: str, *tracks: str, days_ago: float = 1.0) -> Row:
    return {"user_id": user, "track_ids": list(tracks), "accepted_at": AS_OF - round(days_ago * DAY)}


def track(track_id: str, artist: str | None = None, genres: Iterable[str] = (), **more: Any) -> Row:
    artists = None if artist is None else [{"id": None, "name": artist, "genres": list(genres)}]
    return {"track_id": track_id, "name": f"Song {track_id}", "artists": artists, **more}


def account(user: str, **more: Any) -> Row:
    return {"user_id": user, **more}


def tables(**rows: Iterable[Row]) -> dict[str, pa.Table]:
    """All tables; a row without a `document_id` gets its position for one."""
    return {
        name: pa.Table.from_pylist(
            [{"document_id": f"{number:06d}", **row} for number, row in enumerate(rows.get(name, ()))], schema=schema
        )
        for name, schema in SCHEMAS.items()
    }


def rows_before(world: Mapping[str, pa.Table], name: str) -> list[Row]:
    """Plays or feedback from before the moment, as rows."""
    at = "played_at" if name == "plays" else "created_at"
    return [row for row in world[name].to_pylist() if row[at].timestamp() * 1000 < AS_OF]


def shuffled(world: Mapping[str, pa.Table], seed: int) -> dict[str, pa.Table]:
    rng = np.random.default_rng(seed)
    return {name: table.take(pa.array(rng.permutation(table.num_rows))) for name, table in world.items()}


def dataset_of(as_of_ms: int = AS_OF, **rows: Iterable[Row]) -> Dataset:
    return build_dataset(tables(**rows), as_of_ms=as_of_ms)


def evidence_of(
    world: Mapping[str, pa.Table], *, dimensions: int = 8, min_common: int = 2, parameters: NightlyParameters = SMALL
) -> Evidence:
    """Everything up to the lists; two tracks in common make neighbours, since worlds are small."""
    dataset = build_dataset(world, as_of_ms=AS_OF)
    interactions = build_interactions(
        dataset.plays,
        dataset.feedback,
        (len(dataset.users), len(dataset.tracks)),
        as_of_ms=AS_OF,
        half_life_days=180.0,
    )
    embeddings = build_embeddings(
        interactions.weights, dataset.catalog, dimensions=dimensions, content_dimensions=32, seed=7
    )
    similar = similar_users(interactions.plays, k=3, min_common=min_common)
    history = build_history(dataset, interactions)
    recipes = fixed(eligible(history, parameters, large=is_large(dataset, parameters)))
    ranker = fit_ranker(dataset, interactions, recipes, parameters)
    return Evidence.of(ranker, embeddings, similar.neighbors, similar.common)


def lists_of(evidence: Evidence, *, k: int = 5, **how: Any) -> list[RankedList]:
    """The lists of everyone; `how` is what `recommendations` may say."""
    shaper = Shaper.of(evidence, NightlyParameters.model_validate({"recommendations": {"k": k, **how}}))
    return [entry for block in recommend(evidence, shaper) for entry in block]


GENRES = ("rock", "hip hop", "jazz", "ambient")
COUNTRIES = ("DE", "US", "JP")
SIGNALS = ("love", "like", "save", "replay", "skip", "dislike")


def random_world(seed: int, users: int = 6, tracks: int = 14, plays: int = 60) -> dict[str, pa.Table]:
    """Listeners with accounts or without, of both id types; tracks with gaps of every kind; plays and feedback."""
    rng = np.random.default_rng(seed)
    user_ids = [f"oid:{number:024x}" if number % 3 == 2 else f"user-{number}" for number in range(users)]
    track_ids = [f"track-{number:02d}" for number in range(tracks)]
    return tables(
        plays=[_random_play(rng, user_ids, track_ids) for _ in range(plays)],
        feedback=[
            said(
                str(rng.choice(user_ids)),
                str(rng.choice(track_ids)),
                str(rng.choice(SIGNALS)),
                float(rng.integers(0, 40)),
                rng.choice([None, 1.0, 3.0, 5.0]),
            )
            for _ in range(plays // 4)
        ],
        tracks=[_random_track(rng, track_id) for track_id in track_ids if rng.random() < 0.85],
        users=[
            account(
                user, country=_maybe(rng, 0.7, str(rng.choice(COUNTRIES))), explicit_content=bool(rng.random() < 0.6)
            )
            for user in [*user_ids, "nobody-yet"]
            if rng.random() < 0.8
        ],
    )


def with_few_titles(world: Mapping[str, pa.Table], seed: int, titles: int = 4) -> dict[str, pa.Table]:
    """The same world where tracks share titles, written in several ways: those of one artist are releases of a song."""
    rng = np.random.default_rng(seed)
    ways = ("Élan {}", "ELAN {}", " elan {} ")
    retitled = dict(world)
    for table, column in (("tracks", "name"), ("plays", "track_name")):
        names = world[table][column].to_pylist()
        said = [name and str(rng.choice(ways)).format(rng.integers(0, titles)) for name in names]
        place = world[table].column_names.index(column)
        retitled[table] = world[table].set_column(place, column, pa.array(said, pa.string()))
    return retitled


def _maybe(rng: np.random.Generator, chance: float, value: Any) -> Any:
    return value if rng.random() < chance else None


def _random_audio(rng: np.random.Generator) -> Row:
    audio: Row = {name: _maybe(rng, 0.8, float(rng.random())) for name in AUDIO_NAMES}
    audio["key"], audio["mode"] = float(rng.integers(-1, 12)), float(rng.integers(0, 2))
    audio["tempo"], audio["loudness"] = float(rng.choice([0.0, 90.0, 128.5])), float(-20 * rng.random())
    audio["time_signature"] = float(rng.choice([0.0, 3.0, 4.0]))
    return audio


def _random_play(rng: np.random.Generator, users: list[str], tracks: list[str]) -> Row:
    # some listeners and tracks far busier than others, as in life
    user, number = users[int(len(users) * rng.random() ** 2)], int(len(tracks) * rng.random() ** 2)
    completion = rng.choice([None, 0.05, 0.5, 1.0], p=[0.1, 0.2, 0.2, 0.5])
    more = _random_audio(rng) if rng.random() < 0.3 else {}
    more["artist_name"] = _maybe(rng, 0.5, f"Artist {number % 4}")
    more["track_name"] = _maybe(rng, 0.5, f"Played {number}")
    return play(user, tracks[number], float(rng.integers(0, 200)), completion, **more)


def _random_track(rng: np.random.Generator, track_id: str) -> Row:
    return track(
        track_id,
        _maybe(rng, 0.85, f"Artist {rng.integers(0, 4)}"),
        rng.choice(GENRES, int(rng.integers(0, 3)), replace=False).tolist(),
        explicit=_maybe(rng, 0.8, bool(rng.random() < 0.3)),
        markets=_maybe(rng, 0.5, rng.choice(COUNTRIES, int(rng.integers(1, 3)), replace=False).tolist()),
        popularity=_maybe(rng, 0.8, float(rng.integers(0, 101))),
        **(_random_audio(rng) if rng.random() < 0.8 else {}),
    )
