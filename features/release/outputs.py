"""A release's outputs as tables: what its Parquet files hold, a row an entity."""

import numpy as np
import pyarrow as pa

from features.compute.dataset import Dataset
from features.compute.dictionaries import compacted
from features.compute.embeddings import Embeddings
from features.compute.overlaps import SimilarUsers
from features.compute.profiles import Profiles
from features.compute.rows import sparse_row
from features.recommend.ranked import BASES, LISTED, MARKET, RankedLists
from features.schema.names import AUDIO_NAMES

NEIGHBORS = pa.list_(pa.struct([("user_id", pa.string()), ("common_tracks", pa.int32()), ("jaccard", pa.float64())]))
SIMILAR = pa.schema(
    [
        ("user_id", pa.string()),
        ("neighbors", NEIGHBORS),
        ("confidence", pa.float64()),
        ("track_count", pa.int64()),
        ("history_days", pa.int64()),
    ]
)
CODED = pa.dictionary(pa.int32(), pa.string())
LISTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("strategy", pa.string()),
        ("track_ids", pa.list_(CODED)),
        ("scores", pa.list_(pa.float64())),
        ("reasons", pa.list_(pa.list_(CODED))),
        ("seeds", pa.list_(CODED)),
        ("confidence", pa.float64()),
        ("basis", pa.string()),
        ("market", pa.string()),
        ("explored", pa.list_(CODED)),
        ("generation_ms", pa.float64()),
    ]
)
"""As they are made: what stands in many lists is a text once, and its place. Whoever reads the file gets texts."""


def _vectors(matrix: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(matrix).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def profile_table(dataset: Dataset, profiles: Profiles, rows: slice) -> pa.Table:
    """A row a listener with a profile, some of them: `user_id`, `vector`, and what it rests on."""
    return pa.table(
        {
            "user_id": dataset.users.texts.take(pa.array(profiles.users[rows])),
            "vector": _vectors(profiles.vectors[rows]),
            "confidence": profiles.confidence[rows],
            "track_count": profiles.track_count[rows],
            "history_days": profiles.history_days[rows],
        }
    )


def embedding_table(dataset: Dataset, embeddings: Embeddings, vectors: np.ndarray, history_days: int) -> pa.Table:
    """A row a track: `track_id`, `vector` (float32, as turned onto the reference), and what it rests on."""
    tracks = len(dataset.tracks)
    return pa.table(
        {
            "track_id": dataset.tracks.texts,
            "vector": _vectors(vectors),
            "confidence": embeddings.confidence,
            "listeners": embeddings.listeners,
            "track_count": np.full(tracks, tracks, np.int64),
            "history_days": np.full(tracks, history_days, np.int64),
        }
    )


def similarity_table(dataset: Dataset, profiles: Profiles, similar: SimilarUsers, rows: slice) -> pa.Table:
    """A row for everyone with a profile, with no neighbours where there are none, so that old ones don't linger.

    Args:
        dataset: whose users they are.
        profiles: of all.
        similar: likewise.
        rows: of the profiles, those that are wanted.
    """
    users = profiles.users[rows]
    neighbors = similar.neighbors[users]
    filled = neighbors >= 0
    columns = [
        dataset.users.texts.take(pa.array(neighbors[filled])),
        pa.array(similar.common[users][filled], pa.int32()),
        pa.array(similar.jaccard[users][filled], pa.float64()),
    ]
    entries = pa.StructArray.from_arrays(columns, fields=list(NEIGHBORS.value_type))
    return pa.table(
        {
            "user_id": dataset.users.texts.take(pa.array(users)),
            "neighbors": pa.ListArray.from_arrays(_offsets(filled.sum(axis=1)), entries),
            "confidence": profiles.confidence[rows],
            "track_count": profiles.track_count[rows],
            "history_days": profiles.history_days[rows],
        },
        schema=SIMILAR,
    )


def recommendation_table(dataset: Dataset, lists: RankedLists, spent_ms: float) -> pa.Table:
    """A row a listener and strategy, best track first; `spent_ms`, of each, is all in it that is measured."""
    of_lists, owner = _offsets(lists.size), np.repeat(np.arange(len(lists)), lists.size)
    seeded, said = lists.seeds >= 0, lists.reasons.places >= 0
    reasons = pa.DictionaryArray.from_arrays(pa.array(lists.reasons.places[said]), lists.reasons.texts)
    explored = np.bincount(owner[lists.explored], minlength=len(lists))
    markets = np.where(lists.basis == BASES.index(MARKET), dataset.country[lists.users], None)
    columns = {
        "user_id": dataset.users.texts.take(pa.array(lists.users)),
        "strategy": pa.array(LISTED).take(pa.array(lists.strategy)),
        "track_ids": pa.ListArray.from_arrays(of_lists, _ids(dataset, lists.tracks)),
        "scores": pa.ListArray.from_arrays(of_lists, pa.array(lists.scores)),
        "reasons": pa.ListArray.from_arrays(of_lists, pa.ListArray.from_arrays(_offsets(said.sum(axis=1)), reasons)),
        "seeds": pa.ListArray.from_arrays(_offsets(seeded.sum(axis=1)), _ids(dataset, lists.seeds[seeded])),
        "confidence": lists.confidence,
        "basis": pa.array(BASES).take(pa.array(lists.basis)),
        "market": pa.array(markets, pa.string()),
        "explored": pa.ListArray.from_arrays(_offsets(explored), _ids(dataset, lists.tracks[lists.explored])),
        "generation_ms": np.full(len(lists), spent_ms),
    }
    return pa.table(columns, schema=LISTS)


def _ids(dataset: Dataset, tracks: np.ndarray) -> pa.DictionaryArray:
    """Of (n,) numbers of tracks, in a dictionary of those alone that are among them."""
    return compacted(pa.DictionaryArray.from_arrays(pa.array(tracks, pa.int32()), dataset.tracks.texts))


def _offsets(lengths: np.ndarray) -> pa.Array:
    """(n + 1,) int32: where each of the lists begins, and the last one ends."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return pa.array(np.concatenate([[0], ends]).astype(np.int32))


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
