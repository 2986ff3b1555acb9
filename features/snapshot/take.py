"""Taking a snapshot: what has become known since the last one into Parquet parts, then the manifest in one rename.

Of the plays only what is new is read (`plays.py`). Everything else, settings, tracks and feedback, changes in place
and is read whole.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pymongo.database import Database

from features.compute.runner import Runner
from features.database import Document, translated_errors
from features.dates import to_millisecond
from features.erasure.tombstones import Tombstones, read_tombstones
from features.errors import StorageError
from features.progress import Progress, silent
from features.snapshot.books import READERS, Books
from features.snapshot.conditions import conditions_of, difference, hash_of
from features.snapshot.fields import SOURCES, Source
from features.snapshot.plays import take_plays
from features.snapshot.rules import FAR_AHEAD
from features.snapshot.stored import (
    Snapshot,
    TableSummary,
    next_number,
    open_snapshot,
    remove_strays,
    write_manifest,
)

SAFETY_LAG = timedelta(minutes=10)
"""What was imported so shortly before a snapshot is read again by the next: an importer stamps documents before it
writes them, so some of that time may have come after the reading."""


def take_snapshot(
    database: Database[Document],
    home: Path,
    bound: datetime,
    progress: Progress = silent,
    hash_key: SecretStr | None = None,
    *,
    whole: bool = False,
    readers: int = READERS,
    runner: Runner | None = None,
) -> Snapshot:
    """Reads what has become known since the last snapshot, up to `bound`, and returns the new one.

    Plays that were changed in place since they were read are not noticed; `whole` reads them all again, and so does
    the next snapshot after a migration, after a change of the code that reads them, and for an earlier bound. Plays
    that were removed are noticed by their number.

    Args:
        database: where to read; a secondary serves when the deployment has one.
        home: `$ECHOTUNE_HOME`.
        bound: aware; plays and feedback known later are left for the next snapshot.
        progress: called after each batch.
        hash_key: by which erased persons are known; needed once there are any.
        whole: read everything, whatever is there.
        readers: threads that read; the snapshot is the same for any number.
        runner: reads a whole history of plays, a stretch at a time, to the same files; these threads by default.

    Raises:
        InputError: there are erased persons, and the key is missing or another.
        DatabaseError: the database can't be read.
        StorageError: the folder can't be written; the former snapshot stays as it was.
    """
    folder = home / "snapshot" / database.name
    bound = to_millisecond(bound)
    erased = read_tombstones(database, hash_key)
    conditions = conditions_of(database)
    former, notes = (None, []) if whole else _former(home, database.name, bound, conditions)
    number = next_number(folder)
    tables: dict[str, TableSummary] = {}
    for source in SOURCES:
        books = Books(database, source, folder, number, bound, erased, progress, readers, runner)
        with translated_errors():
            if source.in_spans:
                tables[source.table] = _take_plays(books, former)
            else:
                tables[source.table] = _take_whole(books)
        notes += books.notes
    snapshot = Snapshot(folder, bound, tables, number, conditions, tuple(notes), hash_of(erased))
    write_manifest(snapshot)
    remove_strays(snapshot)
    return snapshot


def _former(
    home: Path, database_name: str, bound: datetime, conditions: tuple[str, ...]
) -> tuple[Snapshot | None, list[str]]:
    """The last snapshot, to go on from; or None, and why not where a person should know."""
    if not (home / "snapshot" / database_name / "manifest.json").exists():
        return None, []
    try:
        former = open_snapshot(home, database_name)
    except StorageError as error:
        return None, [str(error)]
    if former.conditions != conditions:
        return None, [difference(former.conditions, conditions)]
    if former.bound > bound:  # what was played by then may lie in the future now
        return None, [
            f"the last snapshot was of a later moment, {former.bound:%Y-%m-%d %H:%M}: all plays are read anew"
        ]
    return former, []


def _take_plays(books: Books, former: Snapshot | None) -> TableSummary:
    settled = books.bound - SAFETY_LAG
    if former is None:
        return take_plays(books, settled, None, Tombstones())
    erased_since = Tombstones() if former.erased == hash_of(books.erased) else books.erased
    return take_plays(books, settled, former.tables[books.source.table], erased_since)


def _take_whole(books: Books) -> TableSummary:
    return books.summary(books.write_all(_known_up_to(books.source, books.bound)))


def _known_up_to(source: Source, bound: datetime) -> dict[str, Any]:
    """Documents known by the bound; one without that date, or with one that can't be true, is read to be judged."""
    if source.of_type is not None:
        return {"type": source.of_type}
    if not source.known_at:
        return {}
    path = source.known_path
    return {"$or": [{path: {"$lte": bound}}, {path: {"$gt": bound + FAR_AHEAD}}, {path: {"$not": {"$type": "date"}}}]}
