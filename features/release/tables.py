"""All documents of one type as an Arrow table; ids of users as text, as `encode_id` writes them."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from features.database import Document
from features.release.online import decode_vector
from features.schema.ids import encode_id

PAIRS = pa.schema(
    [("user_id", pa.string()), ("neighbor_id", pa.string()), ("common_tracks", pa.int64()), ("jaccard", pa.float64())]
)
CANDIDATES = pa.schema(
    [
        ("user_id", pa.string()),
        ("strategy", pa.string()),
        ("rank", pa.int64()),
        ("track_id", pa.string()),
        ("score", pa.float64()),
        ("reasons", pa.list_(pa.string())),
    ]
)


def profile_table(documents: Iterable[Document], dimensions: Sequence[str]) -> pa.Table:
    """A row a user: a column a dimension, NaN where it is undefined, and `confidence`."""
    rows = list(documents)
    matrix = np.array([decode_vector(row["features"]["vector"]) for row in rows]).reshape(len(rows), len(dimensions))
    columns = {name: matrix[:, position] for position, name in enumerate(dimensions)}
    users = pa.array([encode_id(row["userId"]) for row in rows], pa.string())
    confidence = pa.array([row["metadata"]["confidence"] for row in rows], pa.float64())
    return pa.table({"user_id": users, **columns, "confidence": confidence})


def pair_table(documents: Iterable[Document]) -> pa.Table:
    """A row a pair of similar users."""
    rows = [
        {
            "user_id": encode_id(document["userId"]),
            "neighbor_id": encode_id(entry["userId"]),
            "common_tracks": entry["commonTracks"],
            "jaccard": entry["jaccard"],
        }
        for document in documents
        for entry in document["features"]["neighbors"]
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def candidate_table(documents: Iterable[Document]) -> pa.Table:
    """A row a recommended track, of all lists."""
    rows = [
        {
            "user_id": encode_id(document["userId"]),
            "strategy": document["strategy"],
            "rank": entry["rank"],
            "track_id": entry["trackId"],
            "score": entry["score"],
            "reasons": entry["reasons"],
        }
        for document in documents
        for entry in document["candidates"]
    ]
    return pa.Table.from_pylist(rows, schema=CANDIDATES)
