"""A release's outputs as tables: what its Parquet files hold, a row an entity."""

from typing import Any

import numpy as np
import pyarrow as pa

from features.compute.dataset import Dataset
from features.compute.embeddings import Embeddings
from features.compute.overlaps import SimilarUsers
from features.compute.profiles import Profiles
from features.compute.rows import sparse_row
from features.recommend.lists import MARKET, RankedList
from features.schema.names import AUDIO_NAMES


def _vectors(matrix: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(matrix).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def profile_table(dataset: Dataset, profiles: Profiles) -> pa.Table:
    """A row a listener with a profile: `user_id`, `vector`, and what it rests on."""
    return pa.table(
        {
            "user_id": [dataset.users[int(user)] for user in profiles.users],
            "vector": _vectors(profiles.vectors),
            "confidence": profiles.confidence,
            "track_count": profiles.track_count,
            "history_days": profiles.history_days,
        }
    )


def embedding_table(dataset: Dataset, embeddings: Embeddings, vectors: np.ndarray, history_days: int) -> pa.Table:
    """A row a track: `track_id`, `vector` (float32, as turned onto the reference), and what it rests on."""
    tracks = len(dataset.tracks)
    return pa.table(
        {
            "track_id": dataset.tracks.ids(),
            "vector": _vectors(vectors),
            "confidence": embeddings.confidence,
            "listeners": embeddings.listeners,
            "track_count": np.full(tracks, tracks, np.int64),
            "history_days": np.full(tracks, history_days, np.int64),
        }
    )


def similarity_table(dataset: Dataset, profiles: Profiles, similar: SimilarUsers) -> pa.Table:
    """A row for everyone with a profile, with no neighbours where there are none, so that old ones don't linger."""
    rows = []
    for user in profiles.users:
        filled = similar.neighbors[user] >= 0
        rows.append(
            [
                {
                    "user_id": dataset.users[int(other)],
                    "common_tracks": int(common),
                    "jaccard": float(jaccard),
                }
                for other, common, jaccard in zip(
                    similar.neighbors[user][filled],
                    similar.common[user][filled],
                    similar.jaccard[user][filled],
                    strict=True,
                )
            ]
        )
    neighbor = pa.struct([("user_id", pa.string()), ("common_tracks", pa.int32()), ("jaccard", pa.float64())])
    return pa.table(
        {
            "user_id": [dataset.users[int(user)] for user in profiles.users],
            "neighbors": pa.array(rows, pa.list_(neighbor)),
            "confidence": profiles.confidence,
            "track_count": profiles.track_count,
            "history_days": profiles.history_days,
        }
    )


def recommendation_table(dataset: Dataset, lists: list[RankedList], spent_ms: list[float]) -> pa.Table:
    """A row a listener and strategy, best track first; `spent_ms` is the only thing in it that is measured."""
    ids = dataset.tracks.ids()
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("strategy", pa.string()),
            ("track_ids", pa.list_(pa.string())),
            ("scores", pa.list_(pa.float64())),
            ("reasons", pa.list_(pa.list_(pa.string()))),
            ("seeds", pa.list_(pa.string())),
            ("confidence", pa.float64()),
            ("basis", pa.string()),
            ("market", pa.string()),
            ("explored", pa.list_(pa.string())),
            ("generation_ms", pa.float64()),
        ]
    )
    columns: dict[str, Any] = {
        "user_id": [dataset.users[entry.user] for entry in lists],
        "strategy": [entry.strategy for entry in lists],
        "track_ids": [[ids[track] for track in entry.tracks] for entry in lists],
        "scores": [entry.scores for entry in lists],
        "reasons": [entry.reasons for entry in lists],
        "seeds": [[ids[track] for track in entry.seeds] for entry in lists],
        "confidence": [entry.confidence for entry in lists],
        "basis": [entry.basis for entry in lists],
        "market": [dataset.country[entry.user] if entry.basis == MARKET else None for entry in lists],
        "explored": [[ids[track] for track in entry.explored] for entry in lists],
        "generation_ms": spent_ms,
    }
    return pa.table(columns, schema=schema)


def track_table(dataset: Dataset) -> pa.Table:
    """What documents and readers say of a track: names, genres, audio features."""
    catalog = dataset.catalog
    genres = [
        [catalog.genre_names[genre] for genre in sparse_row(catalog.genres, track)[0]]
        for track in range(len(dataset.tracks))
    ]
    audio = {
        name: pa.array(catalog.audio[:, column], pa.float64(), from_pandas=True)
        for column, name in enumerate(AUDIO_NAMES)
    }
    return pa.table(
        {
            "track_id": dataset.tracks.ids(),
            "name": pa.array(catalog.names.tolist(), pa.string()),
            "artists": pa.array(
                [None if names is None else list(names) for names in catalog.artists], pa.list_(pa.string())
            ),
            "album": pa.array(catalog.albums.tolist(), pa.string()),
            "genres": pa.array(genres, pa.list_(pa.string())),
            **audio,
        }
    )
