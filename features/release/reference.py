"""The release that a new one's embeddings are turned onto, so that vectors stay comparable from night to night."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymongo.database import Database

from features.database import Document
from features.errors import NotFoundError, StorageError
from features.release.manifest import read_manifest, release_folder, releases_on_disk
from features.release.store import FeatureStore


@dataclass(frozen=True, eq=False)
class Reference:
    """An earlier release's embeddings.

    Attributes:
        release: its id; part of the id of what is turned onto it.
        tracks: (m,) ids.
        vectors: (m, dimensions) float32, unit length or zero.
    """

    release: str
    tracks: list[str]
    vectors: np.ndarray


def read_reference(home: Path, release: str) -> Reference:
    """A release on disk.

    Raises:
        NotFoundError: it is not there.
        StorageError: its embeddings can't be read.
    """
    read_manifest(home, release)
    path = release_folder(home, release) / "track_embedding.parquet"
    try:
        return _reference(release, pq.read_table(path, columns=["track_id", "vector"]))
    except (OSError, ValueError, pa.ArrowException) as error:
        what = str(error).splitlines()[0]
        raise StorageError(f"{path} can't be read ({what}); remove the folder and build the release again") from error


def find_reference(database: Database[Document], home: Path, release: str) -> Reference | None:
    """A release from disk or, where its folder is on another machine or damaged, from the database; None if nowhere."""
    try:
        return read_reference(home, release)
    except (NotFoundError, StorageError):
        table = FeatureStore(database, release).table("track_embedding")
        return _reference(release, table) if table.num_rows else None


def last_backfill(home: Path, before: datetime) -> str | None:
    """The newest of the releases that were backfilled as of an earlier moment; None before the first."""
    manifests = [read_manifest(home, release) for release in releases_on_disk(home)]
    earlier = [m for m in manifests if m.origin == "backfill" and m.as_of < before]
    return max(earlier, key=lambda m: (m.as_of, m.known_at, m.built_at)).id if earlier else None


def _reference(release: str, table: pa.Table) -> Reference:
    vectors = table["vector"].combine_chunks()
    width = vectors.type.list_size
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)
    return Reference(release, table["track_id"].to_pylist(), matrix)
