"""Upload, verify, switch, roll back: from Parquet files to what readers follow, and back."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from features.database import DUPLICATE_KEY, Document, split_documents, translated_errors
from features.errors import DatabaseError, NotFoundError
from features.progress import Progress, silent
from features.release.documents import OUTPUTS, ReleaseDocuments, document_digest
from features.release.ledger import (
    LIVE,
    Pointer,
    all_releases,
    check_lease,
    find_release,
    move_pointer,
    read_pointer,
    record,
    releases,
    update,
)
from features.release.manifest import Manifest, release_folder
from features.release.mirror import remove_from_cache
from features.schema.names import FEATURE_STORE, RECOMMENDATIONS

KEPT_RELEASES = 3


def upload(
    database: Database[Document],
    home: Path,
    manifest: Manifest,
    token: int,
    vectors: str = "double",
    progress: Progress = silent,
) -> dict[str, str]:
    """Writes a release's documents chunk by chunk, going on where an earlier run stopped.

    Returns:
        For each output the digest of its documents as they were sent, for `verify`.

    Raises:
        DatabaseError: the database refuses a document or is lost; what was written is in the ledger.
        BusyError: a newer run has taken over.
    """
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest, vectors)
    _finish_withdrawal(database, token)
    found = find_release_or_none(database, manifest.id)
    if found and _must_start_over(database, found, documents):
        update(database, manifest.id, token, {"$set": {"token": token}})  # nothing is removed by a stale run
        withdraw(database, found)
        update(database, manifest.id, token, {"$set": {"ledger": {}}, "$unset": {"expired": ""}})
    ledger = record(database, manifest, token, "uploading").get("ledger", {})
    digests = {}
    for output, collection in OUTPUTS.items():
        chunks = documents.chunks(output)
        total = 0
        for number in range(chunks):
            noted = ledger.get(output, {}).get(str(number))
            if noted is None:
                chunk = documents.chunk(output, number)
                check_lease(database, token)
                _insert(database, collection, chunk)
                noted = f"{_digest(bytes(document.raw) for document in chunk):016x}"
                update(database, manifest.id, token, {"$set": {f"ledger.{output}.{number}": noted}})
            total += int(noted, 16)
            progress(f"writing {output}", number + 1, chunks)
        digests[output] = f"{total % (1 << 64):016x}"
    return digests


def _must_start_over(database: Database[Document], found: Document, documents: ReleaseDocuments) -> bool:
    """Whether what an earlier run wrote is no part of this release, or not whole though it was all sent."""
    manifest, ledger = documents.manifest, found["ledger"]
    if found.get("expired") or found["builtAt"] != manifest.built_at or found["counts"] != manifest.counts:
        return True  # expired, built again after its folder was lost, or somebody was erased from it since
    sent = all(len(ledger.get(output, {})) == documents.chunks(output) for output in OUTPUTS)
    return sent and any(
        _stored(database, output, manifest)
        != (manifest.counts[output], sum(int(noted, 16) for noted in ledger.get(output, {}).values()) % (1 << 64))
        for output in OUTPUTS
    )


def _stored(
    database: Database[Document], output: str, manifest: Manifest, progress: Progress = silent
) -> tuple[int, int]:
    """How many documents of an output the database holds, and their digest."""
    collection, query = _of_release(output, manifest.id)
    count, total = 0, 0
    with translated_errors():
        for batch in database[collection].find_raw_batches(query):
            found = split_documents(batch)
            count += len(found)
            total += _digest(found)
            progress(f"verifying {output}", count, manifest.counts[output])
    return count, total % (1 << 64)


def verify(
    database: Database[Document], manifest: Manifest, digests: dict[str, str], progress: Progress = silent
) -> None:
    """Reads a release back and compares counts and digests with what was built.

    Raises:
        DatabaseError: something is missing, too much or other than it was sent; the pointer stays where it is.
    """
    for output, digest in digests.items():
        count, total = _stored(database, output, manifest, progress)
        stored = f"{total:016x}"
        if count != manifest.counts[output] or stored != digest:
            raise DatabaseError(
                f"release {manifest.id} is not whole in {OUTPUTS[output]}: {count:,} {output} documents of "
                f"{manifest.counts[output]:,}, digest {stored} for {digest}; readers keep the live release, "
                "run the job again"
            )


def switch(database: Database[Document], manifest: Manifest, token: int) -> Pointer:
    """Points readers at an uploaded and verified release, then retires what it replaces.

    Raises:
        BusyError: a newer run has taken over or moved the pointer.
    """
    before = read_pointer(database)
    done = before is not None and before.release == manifest.id
    previous = before.release if before else None
    pointer = before if done else move_pointer(database, manifest.id, before, token, previous=previous)
    assert pointer is not None
    update(database, manifest.id, token, {"$set": {"state": "live"}})
    for entry in all_releases(database):
        replaced = entry["_id"] == pointer.previous or entry["state"] == "live"
        if replaced and entry["_id"] != manifest.id:
            update(database, entry["_id"], token, {"$set": {"state": "retired"}})
    expire_old(database, pointer, token)
    _remove_abandoned(database, token)
    return pointer


def rollback(database: Database[Document], token: int) -> tuple[str, str]:
    """Points readers at the release before the live one, in one write, then removes the withdrawn documents.

    Returns:
        The release withdrawn and the one now live.

    Raises:
        NotFoundError: there is no release to go back to.
        BusyError: a newer run has moved the pointer.
    """
    _finish_withdrawal(database, token)
    live = read_pointer(database)
    if live is None:
        raise NotFoundError("nothing is live yet; run `echotune nightly` first")
    target = live.previous
    if target is None or not _is_whole(database, target):
        raise NotFoundError(f"there is no release before {live.release} to go back to")
    # not the withdrawn release: going back twice goes further back
    older = _newest_before(database, find_release(database, target))
    move_pointer(database, target, live, token, previous=older, withdraw=live.release)
    update(database, target, token, {"$set": {"state": "live"}})
    _finish_withdrawal(database, token)
    return live.release, target


def _finish_withdrawal(database: Database[Document], token: int) -> None:
    """Removes the documents of the release that was rolled back, perhaps by a run that was killed while at it."""
    pointer = read_pointer(database)
    if pointer is None or pointer.withdraw is None:
        return
    update(database, pointer.withdraw, token, {"$set": {"state": "retired", "ledger": {}, "expired": True}})
    withdraw(database, find_release(database, pointer.withdraw))
    with translated_errors():
        releases(database).update_one({"_id": LIVE, "token": {"$lte": token}}, {"$set": {"withdraw": None}})


def withdraw(database: Database[Document], release: Document) -> int:
    """Removes a release's documents, so that clients who don't know the pointer don't meet them; returns how many."""
    removed = 0
    with translated_errors():
        collection, query = _of_release("recommendations", release["_id"])
        remove_from_cache(database, database[collection].find(query, {"userId": 1, "strategy": 1, "release": 1}))
        for output in OUTPUTS:
            collection, query = _of_release(output, release["_id"])
            removed += database[collection].delete_many(query).deleted_count
    return removed


def expire_old(database: Database[Document], pointer: Pointer, token: int) -> list[str]:
    """Lets the documents of all but the newest three releases expire now; never the live one or its previous."""
    kept = {pointer.release, pointer.previous}
    expired = []
    whole = [e for e in all_releases(database) if e["state"] in {"live", "retired"} and not e.get("expired")]
    for entry in whole[KEPT_RELEASES:]:
        if entry["_id"] in kept:
            continue
        now = datetime.now(UTC)
        with translated_errors():
            for output in OUTPUTS:
                collection, query = _of_release(output, entry["_id"])
                database[collection].update_many(query, {"$set": {"expiresAt": now}})
        update(database, entry["_id"], token, {"$set": {"expired": True}})
        expired.append(str(entry["_id"]))
    return expired


def _remove_abandoned(database: Database[Document], token: int) -> None:
    """Removes what interrupted uploads of other releases left; nobody reads it, and it would lie there for months."""
    for entry in all_releases(database):
        if entry["state"] == "uploading":
            update(database, entry["_id"], token, {"$set": {"ledger": {}}})
            withdraw(database, entry)
            update(database, entry["_id"], token, {"$set": {"state": "built"}})


def find_release_or_none(database: Database[Document], release: str) -> Document | None:
    """One release's document, or None."""
    try:
        return find_release(database, release)
    except NotFoundError:
        return None


def _is_whole(database: Database[Document], release: str) -> bool:
    """Whether all documents of a release are there and none has expired."""
    found = find_release_or_none(database, release)
    if found is None or found.get("expired"):
        return False
    with translated_errors():
        for output in OUTPUTS:
            collection, query = _of_release(output, release)
            # a stage of its own: with a second condition the built-in server scans the collection
            alive = {"$match": {"expiresAt": {"$gt": datetime.now(UTC)}}}
            counted = list(database[collection].aggregate([{"$match": query}, alive, {"$count": "documents"}]))
            if sum(row["documents"] for row in counted) != found["counts"][output]:
                return False
    return True


def _newest_before(database: Database[Document], release: Document) -> str | None:
    """The newest retired release built before this one whose documents are still all there."""
    for entry in all_releases(database):
        older = entry["builtAt"] < release["builtAt"] and entry["state"] == "retired"
        if older and _is_whole(database, entry["_id"]):
            return str(entry["_id"])
    return None


def _of_release(output: str, release: str) -> tuple[str, dict[str, Any]]:
    """Where an output's documents are, and a query for them that an index serves."""
    if output == "recommendations":
        return RECOMMENDATIONS, {"release": release}
    return FEATURE_STORE, {"featureType": output, "features.version": release}


def _insert(database: Database[Document], collection: str, chunk: list[RawBSONDocument]) -> None:
    """Inserts what is not there yet. A document with the same `_id` is the same document: it is left."""
    if not chunk:
        return  # a release of one listener who knows every track has no lists
    with translated_errors():
        try:
            database[collection].insert_many(chunk, ordered=False)
        except BulkWriteError as error:
            others = [e for e in error.details["writeErrors"] if e["code"] != DUPLICATE_KEY]
            if others:
                raise DatabaseError(
                    f"the database refused {len(others):,} documents of {collection}, first: "
                    f"{str(others[0]['errmsg'])[:150]}; run `echotune schema plan` to see what differs"
                ) from None


def _digest(documents: Iterable[bytes]) -> int:
    return sum(document_digest(document) for document in documents)
