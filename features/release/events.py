"""What a run tells the app's `events`: that recommendations were generated, for whom how many."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from features.database import DUPLICATE_KEY, Document, translated_errors
from features.release.manifest import Manifest, release_folder
from features.schema.ids import content_object_id
from features.schema.names import EVENTS

BATCH_LISTS = 10_000
"""Lists that one event tells of: a million users make some three hundred events a night."""


def generation_events(manifest: Manifest, lists: Iterator[tuple[int, dict[str, int]]]) -> Iterator[Document]:
    """One event for the run and one for each batch of users; the same each time for the same release.

    Args:
        manifest: of the release.
        lists: for each batch the number of users and of lists by strategy.
    """
    yield _event(manifest, "run", {"counts": manifest.counts, "parameters": manifest.parameters})
    for number, (users, strategies) in enumerate(lists):
        data = {"batch": number, "users": users, "lists": sum(strategies.values()), "strategies": strategies}
        yield _event(manifest, f"batch {number}", data)


def append_events(database: Database[Document], home: Path, manifest: Manifest) -> int:
    """Writes the events of a release on disk; those that are there already are left. Returns how many there are.

    Raises:
        DatabaseError: the database refuses or is lost.
    """
    path = release_folder(home, manifest.id) / "recommendations.parquet"
    events = list(generation_events(manifest, _batches(path)))
    with translated_errors():
        try:
            database[EVENTS].insert_many(events, ordered=False)
        except BulkWriteError as error:
            if any(entry["code"] != DUPLICATE_KEY for entry in error.details["writeErrors"]):
                raise
    return len(events)


def _batches(path: Path) -> Iterator[tuple[int, dict[str, int]]]:
    for batch in pq.ParquetFile(path).iter_batches(BATCH_LISTS, columns=["user_id", "strategy"]):
        strategies = batch["strategy"].value_counts()
        counts = dict(zip(strategies.field(0).to_pylist(), strategies.field(1).to_pylist(), strict=True))
        yield pc.count_distinct(batch["user_id"]).as_py(), dict(sorted(counts.items()))


def _event(manifest: Manifest, part: str, data: dict[str, Any]) -> Document:
    return {
        "_id": content_object_id("event", manifest.id, part),
        "eventId": f"{manifest.id} {part}",
        "type": "recommendation.generate",
        "category": "recommendation",
        "data": {"release": manifest.id, **data},
        "metadata": {"source": "system", "version": manifest.code},
        "timestamp": manifest.built_at,
        "processedAt": None,
    }
