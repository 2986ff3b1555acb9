"""The `releases` collection: one document a release, the lease of the one run that may write, the live pointer.

A run takes the lease and with it a token one higher than the last, which is put on the pointer and on every
release at once. Every write it makes here carries its token and fails where there is a higher one: a run that was
asleep while its lease ran out can't undo its successor. Writes to other collections are made `under_lease`.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo import WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from features.database import Document, translated_errors
from features.dates import to_millisecond
from features.errors import BusyError, DatabaseError, NotFoundError, UnreachableError
from features.release.manifest import Manifest
from features.schema.names import RELEASE_STATES, RELEASES

LIVE, LEASE = "live", "lease"
LEASE_LIFE = timedelta(seconds=60)
"""How long a lease outlives its holder's last heartbeat; three heartbeats fit in."""
ANY_RELEASE = {"state": {"$in": list(RELEASE_STATES)}}
"""Neither the pointer nor the lease nor what else stands in the collection."""


@dataclass(frozen=True)
class Pointer:
    """Which release readers follow, and the one before it."""

    release: str
    previous: str | None
    changed_at: datetime
    withdraw: str | None = None
    """A release that was rolled back and whose documents are still to be removed."""


def releases(database: Database[Document]) -> Collection[Document]:
    """The collection, written so that a majority has every acknowledged change."""
    return database.get_collection(RELEASES, write_concern=WriteConcern("majority"))


def read_pointer(database: Database[Document]) -> Pointer | None:
    """The live pointer; None before the first release."""
    with translated_errors():
        found = releases(database).find_one({"_id": LIVE})
    if found is None or found["release"] is None:
        return None
    return Pointer(found["release"], found["previous"], found["changedAt"], found.get("withdraw"))


@contextmanager
def hold_lease(database: Database[Document]) -> Iterator[int]:
    """Holds the lease for the block, renewing it from a thread, and yields the fencing token.

    A lease whose holder was a process of this host that is gone is taken over at once; any other is waited out
    by trying again later.

    Raises:
        BusyError: another run holds it; names the holder and when the lease would end.
    """
    collection = releases(database)
    owner = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
    token = _take_lease(collection, owner)
    done = threading.Event()
    beat = threading.Thread(target=_renew, args=(collection, token, done), daemon=True, name="lease")
    beat.start()
    try:
        yield token
    finally:
        done.set()
        beat.join()
        # where the database is lost, the lease runs out by itself; the block's own outcome is what counts
        with contextlib.suppress(PyMongoError):
            collection.update_one({"_id": LEASE, "token": token}, {"$set": {"owner": None, "expiresAt": _now()}})


def _take_lease(collection: Collection[Document], owner: str) -> int:
    with translated_errors():
        found = collection.find_one({"_id": LEASE})
        if found is None:
            found = {"_id": LEASE, "owner": None, "token": 0, "expiresAt": _now()}
            try:
                collection.insert_one(found)
            except DuplicateKeyError:
                found = collection.find_one({"_id": LEASE}) or found
        if found["owner"] is not None and found["expiresAt"] > _now() and not _is_gone(found["owner"]):
            raise BusyError(_busy(found))
        token = int(found["token"]) + 1
        seen = {name: found[name] for name in ("token", "owner", "expiresAt")}  # not renewed meanwhile either
        taken = collection.update_one(
            {"_id": LEASE, **seen}, {"$set": {"owner": owner, "token": token, "expiresAt": _now() + LEASE_LIFE}}
        )
        if taken.matched_count != 1:
            raise BusyError("another run took the lease at the same moment; it is building the release now")
        # From here on a run with an older token can't move the pointer, not even to the very first release.
        nothing = {"release": None, "previous": None, "changedAt": _now()}
        collection.update_one({"_id": LIVE}, {"$max": {"token": token}, "$setOnInsert": nothing}, upsert=True)
        collection.update_many(ANY_RELEASE, {"$max": {"token": token}})  # nor change any release
        return token


def _busy(lease: Mapping[str, Any]) -> str:
    return (
        f"another run holds the lease ({_process(lease['owner'])}, until {lease['expiresAt']:%H:%M:%S} UTC unless "
        "renewed); wait for it to end"
    )


def _process(owner: str) -> str:
    host, pid, _ = owner.split(":")
    return f"process {pid} on {host}"


def run_at_work(database: Database[Document]) -> str | None:
    """Who holds the lease, such as "process 17 on night-1"; None when nobody does, or its holder is gone."""
    with translated_errors():
        lease = releases(database).find_one({"_id": LEASE})
    if lease is None or lease["owner"] is None or lease["expiresAt"] <= _now() or _is_gone(lease["owner"]):
        return None
    return _process(lease["owner"])


def _is_gone(owner: str) -> bool:
    """Whether the holder was a process of this host that does not exist any more."""
    host, pid, _ = owner.split(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _renew(collection: Collection[Document], token: int, done: threading.Event) -> None:
    """Beats until the block is done or the lease is another's, which the run's next guarded write will tell it."""
    beat_s = LEASE_LIFE.total_seconds() / 4
    held = True
    while held and not done.wait(beat_s):
        # the next beat tries again; writes are guarded by the token, not by this thread
        with contextlib.suppress(PyMongoError), pymongo.timeout(beat_s):
            held = _extend(collection, token)


def _extend(collection: Collection[Document], token: int) -> bool:
    """Gives the lease its full life again; False when it is another's."""
    change = {"$set": {"expiresAt": _now() + LEASE_LIFE}}
    return collection.update_one({"_id": LEASE, "token": token}, change).matched_count == 1


FIELDS = {
    "asOf": "as_of",
    "knownAt": "known_at",
    "builtAt": "built_at",
    "parameters": "parameters",
    "codeVersion": "code",
    "snapshot": "snapshot",
    "dimensions": "dimensions",
    "counts": "counts",
    "checks": "checks",
    "timings": "timings",
    "peakMemory": "peak_memory",
    "alignedTo": "aligned_to",
    "alignment": "alignment",
    "metrics": "metrics",
    "strategies": "strategies",
    "chosenAsOf": "chosen_as_of",
    "inputs": "inputs",
    "gate": "gate",
}
"""What a release's document has of its manifest."""
OLD_DOCUMENT: Document = {"inputs": {}, "timings": {}, "dimensions": [], "code": "", "snapshot": "", "checks": []}
"""What documents may lack that were written before there was a field for it, or by hand."""


def record(database: Database[Document], manifest: Manifest, token: int, state: str, **more: Any) -> Document:
    """Writes a release's document in `state` and returns it; the ledger of an earlier, interrupted run is kept.

    Args:
        database: where.
        manifest: the release's.
        token: of the lease.
        state: its new one.
        more: fields of the document that the manifest does not have.

    Raises:
        BusyError: a newer run has written to it, or holds the lease.
    """
    check_lease(database, token)  # a document that is not there yet has no token to guard it
    document = {field: getattr(manifest, name) for field, name in FIELDS.items()} | more
    with translated_errors():
        collection = releases(database)
        try:
            collection.update_one(
                {"_id": manifest.id, "token": {"$lte": token}},
                {"$set": {"state": state, "token": token, **document}, "$setOnInsert": {"ledger": {}}},
                upsert=True,
            )
        except DuplicateKeyError:
            raise BusyError(f"a newer run has taken over release {manifest.id}") from None
        return collection.find_one({"_id": manifest.id}) or {}


def manifest_of(document: Mapping[str, Any]) -> Manifest:
    """The manifest that a release's document was written from, but for its origin."""
    known = {name: document[field] for field, name in FIELDS.items() if document.get(field) is not None}
    return Manifest(**({"id": document["_id"], **OLD_DOCUMENT} | known))


def update(database: Database[Document], release: str, token: int, change: Mapping[str, Any]) -> None:
    """Applies an update to a release's document under the token.

    Raises:
        BusyError: a newer run has written to it.
    """
    with translated_errors():
        result = releases(database).update_one({"_id": release, "token": {"$lte": token}}, change)
    if result.matched_count != 1:
        raise BusyError(f"a newer run has taken over release {release}; this one ends here")


def check_lease(database: Database[Document], token: int) -> datetime | None:
    """Makes sure that no newer run has taken the lease, before something is written that its token can't guard.

    Returns:
        When the lease ends unless renewed; None where there is none.

    Raises:
        BusyError: one has: this one slept through the end of its lease.
    """
    with translated_errors():
        lease = releases(database).find_one({"_id": LEASE})
    if lease is not None and lease["token"] > token:
        raise BusyError("a newer run holds the lease; this one ends here")
    return lease["expiresAt"] if lease else None


@contextmanager
def under_lease(database: Database[Document], token: int) -> Iterator[None]:
    """For a write to another collection, of a second or so: made while the lease is held, or not at all.

    The lease is made sure of first. Should the process be stopped between that and the write, the driver finds the
    lease's time used up when it goes on, and sends nothing.

    Raises:
        BusyError: a newer run has taken the lease.
        UnreachableError: it ran out, or the database took longer; what was to be written may be written again.
        DatabaseError: the database refuses.
    """
    ends = check_lease(database, token)
    with translated_errors():
        if ends is None or ends - _now() < LEASE_LIFE / 2:  # several beats were missed
            if not _extend(releases(database), token):
                raise BusyError("a newer run holds the lease; this one ends here")
            ends = _now() + LEASE_LIFE
        try:
            with pymongo.timeout((ends - _now()).total_seconds()):
                yield
        except (PyMongoError, DatabaseError) as error:
            cause = error.__cause__ if isinstance(error, DatabaseError) else error
            if not isinstance(cause, PyMongoError) or not cause.timeout:
                raise
            check_lease(database, token)
            raise UnreachableError(
                "the database did not answer within the life of the lease, or this process was stopped; run the "
                "command again, it goes on where it stopped"
            ) from error


def move_pointer(
    database: Database[Document],
    to: str,
    expected: Pointer | None,
    token: int,
    *,
    previous: str | None,
    withdraw: str | None = None,
) -> Pointer:
    """Points readers at a release, in one write, if the pointer is still what it was seen to be.

    Args:
        database: where.
        to: the release.
        expected: the pointer as it was seen; None for none.
        token: of the lease, which has made the pointer's document.
        previous: which release a rollback would go back to.
        withdraw: a release whose documents are to be removed now.

    Raises:
        BusyError: another run has moved it, or a newer one holds the lease.
    """
    pointer = Pointer(to, previous, _now(), withdraw)
    seen = expected.release if expected else None
    change = {
        "release": to,
        "previous": previous,
        "token": token,
        "changedAt": pointer.changed_at,
        "withdraw": withdraw,
    }
    with translated_errors():
        moved = releases(database).update_one(
            {"_id": LIVE, "release": seen, "token": {"$lte": token}}, {"$set": change}
        )
    if moved.matched_count != 1:
        raise BusyError(f"a newer run holds the lease or has moved the live pointer; {to} is not switched to")
    return pointer


def all_releases(database: Database[Document]) -> list[Document]:
    """The documents of all releases but for their scorecards, newest built first."""
    with translated_errors():
        return list(releases(database).find(ANY_RELEASE, {"scorecard": 0}).sort("builtAt", -1))


def find_release(database: Database[Document], release: str) -> Document:
    """One release's document.

    Raises:
        NotFoundError: there is none of that id; says which there are.
    """
    with translated_errors():
        found = releases(database).find_one({"_id": release})
    if found is None or "state" not in found:  # the pointer, the lease and the like have none
        known = ", ".join(str(document["_id"]) for document in all_releases(database)[:5]) or "none yet"
        raise NotFoundError(f"there is no release {release}; the newest are: {known}")
    return found


def _now() -> datetime:
    return to_millisecond(datetime.now(UTC))
