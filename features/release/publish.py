"""Upload, verify, switch, roll back: from Parquet files to what readers follow, and back."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from bson.raw_bson import RawBSONDocument
from pydantic import SecretStr
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from features.ahead import in_order
from features.cluster.database import WorkerDatabase
from features.compute.runner import Runner
from features.database import DUPLICATE_KEY, Document, split_documents, translated_errors
from features.erasure.files import leave_out_erased
from features.erasure.tombstones import read_tombstones
from features.errors import DatabaseError, GateError, InputError, NotFoundError
from features.evaluate.gate import Check, verdict
from features.progress import Progress, silent
from features.release.documents import OUTPUTS, RECOMMENDATION_LIFE, ReleaseDocuments, document_digest
from features.release.events import append_events
from features.release.ledger import (
    Pointer,
    all_releases,
    check_lease,
    find_release,
    move_pointer,
    read_pointer,
    record,
    under_lease,
    update,
)
from features.release.manifest import Manifest, read_manifest, release_folder
from features.release.retention import finish_withdrawal, is_served, of_release, withdraw
from features.storage import write_json

MODULUS = 1 << 64
"""Of sums of digests."""
IN_FLIGHT = 3
"""Chunks at work at once: while the server writes one, the next is made and the last one noted. A chunk is a few MB."""


def publish_release(
    database: Database[Document],
    home: Path,
    release: str,
    token: int,
    hash_key: SecretStr | None = None,
    vectors: str = "double",
    progress: Progress = silent,
    runner: Runner | None = None,
) -> Manifest:
    """Makes a release on disk the live one: without who was erased since, uploaded, verified, told to `events`.

    For the release that is live already, with all its documents there, only the books are set right, should a killed
    run have left them behind.

    Args:
        database: where.
        home: `$ECHOTUNE_HOME`.
        release: its id.
        token: of the lease.
        hash_key: of the tombstones.
        vectors: how they are stored, "double" or "float32".
        progress: called chunk by chunk.
        runner: sends the chunks; threads of this process by default.

    Returns:
        Its manifest.

    Raises:
        NotFoundError: it is not on this disk.
        InputError: it is too old to be served, or somebody was erased and the key is missing.
        DatabaseError: the database refuses, is lost, or has not got all of it; readers keep the live release.
        BusyError: a newer run has taken over.
    """
    if must_be_written(database, release):
        check_lease(database, token)  # files change too
        manifest = leave_out_erased(home, release, read_tombstones(database, hash_key))
        _refuse_run_out(manifest, release_folder(home, release))
        verify(database, manifest, upload(database, home, manifest, token, vectors, progress, runner), progress)
        with under_lease(database, token):
            append_events(database, home, manifest)
    manifest = read_manifest(home, release)
    switch(database, manifest, token)
    return manifest


def must_be_written(database: Database[Document], release: str) -> bool:
    """Whether a release is not live, or some of its documents have been lost since."""
    pointer = read_pointer(database)
    if pointer is None or pointer.release != release:
        return True
    found = find_release_or_none(database, release)
    return found is None or not _all_there(database, found)


def promote(
    database: Database[Document], home: Path, release: str, token: int, *, gate: bool = True, **how: Any
) -> Manifest:
    """Publishes a release that was built before: a backfilled one, an earlier one, or one that the gate stopped.

    Args:
        database: where.
        home: `$ECHOTUNE_HOME`.
        release: its id.
        token: of the lease.
        gate: False publishes it whatever its checks said, which is recorded with it.
        how: the rest of `publish_release`.

    Returns:
        Its manifest.

    Raises:
        GateError: a check of it failed; names the first.
        NotFoundError, InputError, DatabaseError, BusyError: as for `publish_release`.
    """
    manifest = read_manifest(home, release)
    if not manifest.passed:
        if gate:
            line = verdict([Check(**check) for check in manifest.checks])
            raise GateError(
                f"release {release} is not published: {line}; readers keep the live one, see "
                f"`echotune releases show {release}`, or pass --no-gate"
            )
        check_lease(database, token)
        write_json(release_folder(home, release) / "manifest.json", replace(manifest, gate=False).to_json())
    return publish_release(database, home, release, token, **how)


def _refuse_run_out(manifest: Manifest, folder: Path) -> None:
    """A document's life counts from when its release was built, and is part of the document."""
    if manifest.built_at + RECOMMENDATION_LIFE <= datetime.now(UTC):
        raise InputError(
            f"release {manifest.id} was built on {manifest.built_at:%Y-%m-%d}, its lists were to be served for "
            f"{RECOMMENDATION_LIFE.days} days and have run out; remove {folder} and build it again"
        )


def upload(
    database: Database[Document],
    home: Path,
    manifest: Manifest,
    token: int,
    vectors: str = "double",
    progress: Progress = silent,
    runner: Runner | None = None,
) -> dict[str, str]:
    """Writes a release's documents chunk by chunk, going on where an earlier run stopped.

    Chunks are encoded and sent by threads of this process, or by whoever the runner has; the ledger is kept here.

    Returns:
        For each output the digest of its documents as they were sent, for `verify`.

    Raises:
        DatabaseError: the database refuses a document or is lost; what was written is in the ledger.
        BusyError: a newer run has taken over.
    """
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest, vectors)
    finish_withdrawal(database, token)
    found = find_release_or_none(database, manifest.id)
    if found and _must_start_over(database, found, documents):
        # not whole from here on, whoever looks; and nothing is removed by a stale run
        update(database, manifest.id, token, {"$set": {"state": "uploading", "expired": True, "ledger": {}}})
        withdraw(database, manifest.id, token, progress)
        past = dict.fromkeys(("expired", "retiredAt", "withdrawnAt"), "")
        update(database, manifest.id, token, {"$unset": past})
    ledger = record(database, manifest, token, "uploading", vectors=vectors)["ledger"]
    digests = {}
    send = _on_threads(database, documents, token) if runner is None else _elsewhere(database, documents, token, runner)
    for output in OUTPUTS:
        chunks = documents.chunks(output)
        sent, total = _noted(ledger, output)
        for number, digest in enumerate(send(output, range(sent, chunks)), start=sent):
            total = (total + digest) % MODULUS
            update(database, manifest.id, token, {"$set": {f"ledger.{output}": {str(number): f"{total:016x}"}}})
            progress(f"writing {output}", number + 1, chunks)
        digests[output] = f"{total:016x}"
    return digests


Send = Callable[[str, range], Iterator[int]]
"""Sends some chunks of an output; gives the digest of each one's documents, in order, when they are written."""


def _on_threads(database: Database[Document], documents: ReleaseDocuments, token: int) -> Send:
    def one(output: str, number: int) -> Iterator[int]:
        yield _sent(database, documents.chunk(output, number), output, token)

    def send(output: str, numbers: range) -> Iterator[int]:
        return in_order([partial(one, output, number) for number in numbers], IN_FLIGHT, ahead=1)

    return send


def _elsewhere(database: Database[Document], documents: ReleaseDocuments, token: int, runner: Runner) -> Send:
    """The rows go to a worker, which makes documents of them and writes them itself."""
    where, maker = runner.share(WorkerDatabase(database)), runner.share(documents)

    def send(output: str, numbers: range) -> Iterator[int]:
        rows = (documents.rows(output, number) for number in numbers)
        return runner.ordered(send_rows, [where, maker, output, token], rows)

    return send


def send_rows(where: WorkerDatabase, maker: ReleaseDocuments, output: str, token: int, rows: pa.Table) -> int:
    """Writes one chunk from wherever this runs. Twice is as good as once: the documents are the same."""
    return _sent(where.get(), maker.encoded(output, rows), output, token)


def _sent(database: Database[Document], chunk: list[RawBSONDocument], output: str, token: int) -> int:
    """Sends one chunk; the digest of its documents."""
    digest = _digest(bytes(document.raw) for document in chunk)
    with under_lease(database, token):
        _insert(database, OUTPUTS[output], chunk)
    return digest


def _noted(ledger: Mapping[str, Mapping[str, str]], output: str) -> tuple[int, int]:
    """How many chunks of an output were sent, and the digest of their documents together.

    Chunks go in order, so that the last one's number and the sum so far tell all; the ledger stays small.
    """
    noted = ledger.get(output, {})
    return max(map(int, noted), default=-1) + 1, sum(int(digest, 16) for digest in noted.values()) % MODULUS


def _must_start_over(database: Database[Document], found: Document, documents: ReleaseDocuments) -> bool:
    """Whether what an earlier run wrote is no part of this release, or not whole though it was all sent."""
    manifest, ledger = documents.manifest, found["ledger"]
    if found.get("expired") or found["builtAt"] != manifest.built_at or found["counts"] != manifest.counts:
        return True  # expired, built again after its folder was lost, or somebody was erased from it since
    if (found.get("vectors") or documents.vectors) != documents.vectors:
        return True  # half of them would be stored one way, half the other
    noted = {output: _noted(ledger, output) for output in OUTPUTS}
    return all(noted[output][0] == documents.chunks(output) for output in OUTPUTS) and any(
        _stored(database, output, manifest) != (manifest.counts[output], noted[output][1]) for output in OUTPUTS
    )


def _stored(
    database: Database[Document], output: str, manifest: Manifest, progress: Progress = silent
) -> tuple[int, int]:
    """How many documents of an output the database holds, and their digest."""
    collection, query = of_release(output, manifest.id)
    count, total = 0, 0
    with translated_errors():
        # the server has the next batch ready while the digest of the last one is taken
        for batch in in_order([lambda: iter(database[collection].find_raw_batches(query))], threads=1, ahead=2):
            found = split_documents(batch)
            count += len(found)
            total += _digest(found)
            progress(f"verifying {output}", count, manifest.counts[output])
    return count, total % MODULUS


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
    _set_live(database, pointer, token)
    for entry in all_releases(database):
        replaced = entry["_id"] == pointer.previous or entry["state"] == "live"
        if replaced and entry["_id"] != manifest.id:
            retired = {"state": "retired", "retiredAt": pointer.changed_at}
            update(database, entry["_id"], token, {"$set": retired})
    return pointer


def _set_live(database: Database[Document], pointer: Pointer, token: int) -> None:
    change = {"$set": {"state": "live"}, "$unset": {"retiredAt": ""}, "$addToSet": {"liveFrom": pointer.changed_at}}
    update(database, pointer.release, token, change)


def rollback(database: Database[Document], token: int, progress: Progress = silent) -> tuple[str, str]:
    """Points readers at the release before the live one, in one write, then removes the withdrawn documents.

    Returns:
        The release withdrawn and the one now live.

    Raises:
        NotFoundError: there is no release to go back to.
        BusyError: a newer run has moved the pointer.
    """
    finish_withdrawal(database, token, progress)
    live = read_pointer(database)
    if live is None:
        raise NotFoundError("nothing is live yet; run `echotune nightly` first")
    target = live.previous
    if target is None or not _is_whole(database, target):
        raise NotFoundError(f"there is no release before {live.release} to go back to")
    # not the withdrawn release: going back twice goes further back
    older = _newest_before(database, find_release(database, target))
    pointer = move_pointer(database, target, live, token, previous=older, withdraw=live.release)
    _set_live(database, pointer, token)
    finish_withdrawal(database, token, progress)
    return live.release, target


def find_release_or_none(database: Database[Document], release: str) -> Document | None:
    """One release's document, or None."""
    try:
        return find_release(database, release)
    except NotFoundError:
        return None


def _is_whole(database: Database[Document], release: str) -> bool:
    """Whether all documents of a release are there and none has expired: its books, and a count by the index."""
    found = find_release_or_none(database, release)
    return found is not None and _may_be_whole(found) and _all_there(database, found)


def _all_there(database: Database[Document], release: Document) -> bool:
    """Whether as many documents of each output are there as its books say."""
    with translated_errors():
        for output in OUTPUTS:
            collection, query = of_release(output, release["_id"])
            if database[collection].count_documents(query) != release["counts"][output]:
                return False
    return True


def _may_be_whole(release: Document) -> bool:
    """Whether a release was published, and nothing has let its documents go: no expiry, and not their age."""
    return is_served(release) and release["builtAt"] + RECOMMENDATION_LIFE > datetime.now(UTC)


def _newest_before(database: Database[Document], release: Document) -> str | None:
    """The newest release built before this one that one can go back to by the books; going there looks closer."""
    for entry in all_releases(database):
        if entry["builtAt"] < release["builtAt"] and _may_be_whole(entry):
            return str(entry["_id"])
    return None


def _insert(database: Database[Document], collection: str, chunk: list[RawBSONDocument]) -> None:
    """Inserts what is not there yet. A document with the same `_id` is the same document: it is left."""
    if not chunk:
        return  # a release of one listener who knows every track has no lists
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
