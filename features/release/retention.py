"""Which releases stay: what expires in the database, what goes from the disk, and what readers hold on to."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pymongo
from pymongo.database import Database
from pymongo.errors import PyMongoError

from features.database import Document, translated_errors
from features.errors import StorageError
from features.progress import Progress, silent
from features.release.documents import OUTPUTS
from features.release.ledger import LIVE, Pointer, all_releases, check_lease, read_pointer, under_lease, update
from features.release.manifest import Manifest, read_manifest, release_folder, releases_on_disk
from features.release.mirror import remove_from_cache
from features.schema.names import FEATURE_STORE, RECOMMENDATIONS, RELEASES
from features.schema.queries import IN_LIST
from features.storage import translated_storage_errors

PIN_LIFE = timedelta(hours=1)
"""So long after a reader pinned a release, or could last have found it live, it is left alone."""
PIN_STEP = timedelta(minutes=1)
"""A pin is not written again before that: who opens a store for each request writes one a minute."""
PIN_PATIENCE_S = 1.0
NIGHTLY = "nightly"
KILLED = "left by a run that was killed"
FAILED_KEPT = 3
"""Failed releases that stay on disk for `show` and `diff`."""


@dataclass(frozen=True)
class Removal:
    """Something that a pruning takes away, or would.

    Attributes:
        release: whose.
        what: "documents" that expire or are removed, a "folder", a "scratch folder" or a "scratch file".
        why: for a person.
        documents: how many; 0 for a folder.
        bytes: on disk; 0 for documents.
    """

    release: str
    what: str
    why: str
    documents: int = 0
    bytes: int = 0


def pin(database: Database[Document], release: str, now: datetime) -> None:
    """Notes that a reader has pinned a release, so that no pruning takes it away within the hour.

    A note that can't be written is left out: a reader's account may be read-only, and reading goes on without. Who
    followed the pointer is served an hour after the next switch all the same.
    """
    not_lately = {"$not": {"$gt": now - PIN_STEP}}
    with contextlib.suppress(PyMongoError), pymongo.timeout(PIN_PATIENCE_S):
        database[RELEASES].update_one({"_id": release, "pinnedAt": not_lately}, {"$max": {"pinnedAt": now}})


def of_release(output: str, release: str) -> tuple[str, dict[str, Any]]:
    """Where an output's documents are, and a query for them that an index serves."""
    if output == "recommendations":
        return RECOMMENDATIONS, {"release": release}
    return FEATURE_STORE, {"featureType": output, "features.version": release}


def withdraw(database: Database[Document], release: str, token: int, progress: Progress = silent) -> int:
    """Removes a release's documents, so that clients who don't know the pointer don't meet them; returns how many.

    Raises:
        BusyError: a newer run has taken the lease.
    """
    removed = 0
    for collection, batch in _batches(database, release):
        with under_lease(database, token):
            if collection == RECOMMENDATIONS:
                remove_from_cache(database, batch)
            ids = [document["_id"] for document in batch]
            removed += database[collection].delete_many({"_id": {"$in": ids}}).deleted_count
        progress(f"removing {release}", removed, None)
    return removed


def expire(database: Database[Document], release: str, token: int, now: datetime, progress: Progress = silent) -> None:
    """Lets a release's documents expire now. Where a run was killed at it, the next pruning goes on.

    Raises:
        BusyError: a newer run has taken the lease.
    """
    update(database, release, token, {"$set": {"expired": True}})  # from here on nobody goes back to it
    count = 0
    for collection, batch in _batches(database, release):
        ids = [document["_id"] for document in batch]
        with under_lease(database, token):
            database[collection].update_many({"_id": {"$in": ids}}, {"$set": {"expiresAt": now}})
        count += len(batch)
        progress(f"expiring {release}", count, None)
    update(database, release, token, {"$set": {"ledger": {}}})  # all is done; the rest stays as the story


def finish_withdrawal(database: Database[Document], token: int, progress: Progress = silent) -> None:
    """Removes the documents of the release that was rolled back, perhaps by a run that was killed while at it.

    Raises:
        BusyError: a newer run has taken the lease.
    """
    pointer = read_pointer(database)
    if pointer is None or pointer.withdraw is None:
        return
    moment = pointer.changed_at
    left = {"state": "retired", "ledger": {}, "expired": True, "retiredAt": moment, "withdrawnAt": moment}
    update(database, pointer.withdraw, token, {"$set": left})
    withdraw(database, pointer.withdraw, token, progress)
    update(database, LIVE, token, {"$set": {"withdraw": None}})


def _batches(database: Database[Document], release: str) -> Iterator[tuple[str, list[Document]]]:
    """All documents of a release, some at a time with their collection: ids, and what tells a list's cached twin."""
    for output in OUTPUTS:
        collection, query = of_release(output, release)
        with translated_errors():
            cursor = database[collection].find(query, {"userId": 1, "strategy": 1, "release": 1})
            while batch := list(islice(cursor, IN_LIST)):
                yield collection, batch


@dataclass(frozen=True)
class Books:
    """What the database says of releases, and what follows for those that stay.

    Attributes:
        pointer: the live one and its previous; None before the first.
        entries: the documents of all releases, newest built first.
        keep: how many stay, the live one and its previous among them.
        now: to which a reader's hour is counted.
    """

    pointer: Pointer | None
    entries: list[Document]
    keep: int
    now: datetime

    @property
    def kept(self) -> list[str]:
        """The live release, its previous, then the newest built of those that are whole."""
        named = [self.pointer.release, self.pointer.previous] if self.pointer else []
        first = [name for name in named if name]
        rest = [str(entry["_id"]) for entry in self.entries if is_served(entry) and entry["_id"] not in first]
        return (first + rest)[: max(self.keep, len(first))]

    @property
    def read_lately(self) -> set[str]:
        """Releases that a reader may have pinned within the hour: by name, or while they were live."""
        since = self.now - PIN_LIFE
        moments = {str(e["_id"]): (e.get("pinnedAt"), e.get("retiredAt")) for e in self.entries}
        return {name for name, found in moments.items() if any(moment and moment > since for moment in found)}

    @property
    def oldest_built(self) -> datetime | None:
        """When the oldest of the kept releases was built; None where none is kept."""
        kept = set(self.kept)
        return min((entry["builtAt"] for entry in self.entries if entry["_id"] in kept), default=None)


def was_published(entry: Document) -> bool:
    """Whether a release is or was live."""
    return entry["state"] in {"live", "retired"} or "retiredAt" in entry


def is_served(entry: Document) -> bool:
    """Whether a release is or was live and its documents have not been let go."""
    return was_published(entry) and not entry.get("expired")


def prune(
    database: Database[Document],
    home: Path,
    token: int,
    keep: int,
    now: datetime,
    *,
    dry_run: bool = False,
    backfills: bool = False,
    progress: Progress = silent,
) -> list[Removal]:
    """Lets go of releases beyond the newest `keep`, and of what killed runs left; returns what went and why.

    Never touched are the live release, the one before it, and those that a reader may have pinned within the hour.
    Documents expire, or are removed where they were never live. A release's document in `releases` stays.

    Args:
        database: where.
        home: `$ECHOTUNE_HOME`.
        token: of the lease, which must be held: nothing else may be building.
        keep: at least 2: the live release and the one before it.
        now: documents expire then.
        dry_run: only tells.
        backfills: releases built for the offline store only go too.
        progress: told of documents.

    Raises:
        BusyError: a newer run has taken the lease.
        DatabaseError, StorageError: run again when that is mended.
    """
    if not dry_run:
        finish_withdrawal(database, token, progress)
    books = Books(read_pointer(database), all_releases(database), keep, now)
    planned = [*_of_database(database, token, books, progress), *_of_disk(home, books, backfills=backfills)]
    for _, remove in planned if not dry_run else []:
        check_lease(database, token)
        remove()
    return [removal for removal, _ in planned]


Planned = tuple[Removal, Callable[[], object]]


def _of_database(database: Database[Document], token: int, books: Books, progress: Progress) -> Iterator[Planned]:
    stay = {*books.kept, *books.read_lately}
    for entry in books.entries:
        name = str(entry["_id"])
        documents = sum(entry["counts"].get(output, 0) for output in OUTPUTS)
        expiring = partial(expire, database, name, token, books.now, progress)
        if name in stay:
            continue
        if is_served(entry):
            yield Removal(name, "documents", f"beyond the {books.keep} that are kept", documents), expiring
        elif entry.get("expired") and entry.get("ledger"):
            yield Removal(name, "documents", "an expiry that was cut short", documents), expiring
        elif entry["state"] == "uploading":
            abandoning = partial(_abandon, database, name, token, progress)
            yield Removal(name, "documents", "an upload that was cut short", documents), abandoning


def _abandon(database: Database[Document], release: str, token: int, progress: Progress) -> None:
    """Removes what an interrupted upload left; nobody reads it, and it would lie there for months."""
    update(database, release, token, {"$set": {"ledger": {}}})
    withdraw(database, release, token, progress)
    update(database, release, token, {"$set": {"state": "built"}})


def _of_disk(home: Path, books: Books, *, backfills: bool) -> Iterator[Planned]:
    for release, scratch in scratch_folders(home):
        yield _folder(scratch, release, "scratch folder", KILLED)
    for path in sorted((home / "releases").glob("[!.]*/.*")):
        removal = Removal(path.parent.name, "scratch file", KILLED, bytes=path.stat().st_size)
        yield removal, partial(path.unlink, missing_ok=True)
    manifests = [manifest for name in releases_on_disk(home) if (manifest := _readable(home, name))]
    manifests.sort(key=lambda manifest: manifest.built_at, reverse=True)
    entries = {str(entry["_id"]): entry for entry in books.entries}
    stay = {*books.kept, *books.read_lately}
    shared = sum(1 for _ in (home / "snapshot").glob("*/")) > 1  # the folder serves several databases
    failed = 0
    for manifest in manifests:
        if manifest.id in stay:
            continue
        entry = entries.get(manifest.id)
        failed += has_failed(entry, manifest)
        why = _why_not_on_disk(manifest, entry, books, failed=failed, shared=shared, backfills=backfills)
        if why:
            yield _folder(release_folder(home, manifest.id), manifest.id, "folder", why)


def scratch_folders(home: Path) -> list[tuple[str, Path]]:
    """Releases being built, or left half-built or half-removed by a run that was killed, with their folders."""
    return [(path.name[1:].rpartition(".")[0], path) for path in sorted((home / "releases").glob(".*/"))]


def has_failed(entry: Document | None, manifest: Manifest) -> bool:
    """Whether the gate stopped a release, or would have: a run may end between its build and its record."""
    if manifest.origin != NIGHTLY:
        return False
    return entry["state"] == "failed" if entry else manifest.gate and not manifest.passed


def _why_not_on_disk(
    manifest: Manifest, entry: Document | None, books: Books, *, failed: int, shared: bool, backfills: bool
) -> str | None:
    """Why a folder goes; None where it stays. `failed` is its place among the failed ones, newest first."""
    if manifest.origin != NIGHTLY:
        return "a backfill" if backfills else None
    if has_failed(entry, manifest):
        return f"beyond the {FAILED_KEPT} failed ones that are kept" if failed > FAILED_KEPT else None
    if entry and was_published(entry) and "withdrawnAt" not in entry:
        return f"beyond the {books.keep} that are kept"
    if shared and entry is None:
        return None  # perhaps of another database
    oldest = books.oldest_built
    return "not live, and older than those that are kept" if oldest and manifest.built_at < oldest else None


def _readable(home: Path, release: str) -> Manifest | None:
    """A manifest; None for one that can't be read, whose folder is left for a person to look at."""
    try:
        return read_manifest(home, release)
    except StorageError:
        return None


def _folder(path: Path, release: str, what: str, why: str) -> Planned:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Removal(release, what, why, bytes=size), partial(_remove, path)


def _remove(folder: Path) -> None:
    """Takes the folder's name away first: nobody meets half of a release, and a killed removal leaves a scratch one."""
    with translated_storage_errors(folder):
        if not folder.name.startswith("."):
            folder = folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}"))
        shutil.rmtree(folder)
