"""A person's records in the database: finding them, deleting them, and keeping the releases whole without them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import bson
import numpy as np
from bson.binary import Binary, BinaryVectorDtype
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from features.database import Document, split_documents, translated_errors
from features.release.documents import document_digest
from features.release.ledger import all_releases, update
from features.release.online import decode_vector
from features.schema.collections import COLLECTIONS
from features.schema.ids import UserId, encode_id
from features.schema.names import (
    FEATURE_STORE,
    RECOMMENDATIONS,
    RELEASES,
    TRACKS,
    USERS,
)
from features.snapshot.read import id_text

OWNED = tuple(collection.name for collection in COLLECTIONS if collection.name not in {TRACKS, RELEASES})
"""Collections whose documents belong to a user."""
PLAIN: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """Who is to be erased, and by what else set-aside files may name them.

    Attributes:
        user: the id, of the type the database has.
        aliases: e-mail address and Spotify id of the account, if there is one.
    """

    user: UserId
    aliases: frozenset[str] = field(default_factory=frozenset)

    @property
    def text(self) -> str:
        """The id as tables and files have it."""
        return encode_id(self.user)

    def __repr__(self) -> str:
        return "Person(…)"  # not in a log, not in a traceback


def find_person(database: Database[Document], user: UserId) -> Person:
    """A user with what their account says; never reads tokens."""
    with translated_errors():
        accounts = list(database[USERS].find({"userId": user}, {"email": 1, "spotifyId": 1}))
    named = {account.get(name) for account in accounts for name in ("email", "spotifyId")}
    return Person(user, frozenset(name for name in named if isinstance(name, str) and name))


def count_records(database: Database[Document], user: UserId) -> dict[str, int]:
    """How many documents of each collection belong to a user, and in how many lists of others they stand."""
    with translated_errors():
        counts = {name: database[name].count_documents({"userId": user}) for name in OWNED}
    counts["neighbour lists"] = sum(1 for _ in _lists_naming(database, user))
    return counts


def delete_records(
    database: Database[Document], user: UserId, token: int, marker: str
) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Deletes a user's documents, but for the account, and takes them out of others' lists, releases staying whole.

    The ledger and counts of each release are set right first, once, under a marker: a run killed half-way and run
    again neither does that twice nor leaves out a document.

    Args:
        database: where.
        user: whose.
        token: of the lease.
        marker: the hash that stands for the user.

    Returns:
        How many documents of each collection were deleted or changed, and the ids of all that were theirs, as text.
    """
    for release in all_releases(database):
        _set_ledger_right(database, release["_id"], user, token, marker)
    counts: dict[str, int] = {}
    ids: dict[str, set[str]] = {}
    with translated_errors():
        changed = 0
        for raw in _lists_naming(database, user):
            old = bson.decode(raw, PLAIN)
            database[FEATURE_STORE].replace_one({"_id": old["_id"]}, RawBSONDocument(bson.encode(_without(old, user))))
            changed += 1
        counts["neighbour lists"] = changed
        for name in OWNED:
            ids[name] = {id_text(entry["_id"]) for entry in database[name].find({"userId": user}, {"_id": 1})}
            if name != USERS:
                counts[name] = database[name].delete_many({"userId": user}).deleted_count
    return counts, ids


def delete_account(database: Database[Document], user: UserId) -> int:
    """Deletes what `users` has of a person; returns how many documents that were."""
    with translated_errors():
        return database[USERS].delete_many({"userId": user}).deleted_count


def sweep(database: Database[Document], user: UserId) -> None:
    """Deletes what an import or the app wrote of a user while the erasure was at work."""
    with translated_errors():
        for name in OWNED:
            database[name].delete_many({"userId": user})


def _set_ledger_right(database: Database[Document], release: str, user: UserId, token: int, marker: str) -> None:
    with translated_errors():
        document = database[RELEASES].find_one({"_id": release}) or {}
    if marker in document.get("erased", {}) or not document.get("ledger"):
        return
    if document["state"] == "uploading":  # by a run that is gone; the next sends each chunk again
        update(database, release, token, {"$set": {"ledger": {}}})
        return
    digests: dict[str, int] = {}
    counts: dict[str, int] = {}
    for output, raw in _own_outputs(database, release, user):
        digests[output] = digests.get(output, 0) - document_digest(raw)
        counts[output] = counts.get(output, 0) - 1
    for raw in _lists_naming(database, user, [release]):
        old = bson.decode(raw, PLAIN)
        if old["userId"] != user:
            change = document_digest(bson.encode(_without(old, user))) - document_digest(raw)
            digests["similarity"] = digests.get("similarity", 0) + change
    changes: dict[str, Any] = {f"erased.{marker}": datetime.now(UTC)}
    for output, change in digests.items():
        noted = document["ledger"].get(output, {})
        if noted:  # which chunk carries the change does not matter: only their sum is compared
            first = min(noted, key=int)
            changes[f"ledger.{output}.{first}"] = f"{(int(noted[first], 16) + change) % (1 << 64):016x}"
    changes |= {f"counts.{output}": document["counts"][output] + change for output, change in counts.items()}
    update(database, release, token, {"$set": changes})


def _own_outputs(database: Database[Document], release: str, user: UserId) -> Iterator[tuple[str, bytes]]:
    """A user's own documents of a release as the server has them, each with its output's name."""
    theirs = {"$match": {"userId": user}}
    queries = (
        (FEATURE_STORE, {"features.version": release}),
        (RECOMMENDATIONS, {"release": release}),
    )
    with translated_errors():
        for collection, of_release in queries:
            # in two stages: with a second condition the built-in server scans the collection
            for batch in database[collection].aggregate_raw_batches([theirs, {"$match": of_release}]):
                for raw in split_documents(batch):
                    yield bson.decode(raw, PLAIN).get("featureType", "recommendations"), raw


def _lists_naming(database: Database[Document], user: UserId, versions: Sequence[str] | None = None) -> Iterator[bytes]:
    """Raw similarity documents in whose neighbour lists a user stands, of some releases or of all."""
    versions = versions or [entry["_id"] for entry in all_releases(database)]
    naming = {"$match": {"features.neighbors.userId": user}}
    with translated_errors():
        for version in versions:
            lists = {"$match": {"featureType": "similarity", "features.version": version}}
            for batch in database[FEATURE_STORE].aggregate_raw_batches([lists, naming]):
                yield from split_documents(batch)


def _without(document: Document, user: UserId) -> Document:
    """A similarity document without one neighbour: list, vector and dimensions shrink alike."""
    features = document["features"]
    kept = [position for position, entry in enumerate(features["neighbors"]) if entry["userId"] != user]
    values = decode_vector(features["vector"])[kept]
    vector: Any = values.tolist()
    if isinstance(features["vector"], Binary):
        vector = Binary.from_vector(np.asarray(values, np.float32).tolist(), BinaryVectorDtype.FLOAT32)
    shrunk = {"vector": vector, "dimensions": len(kept), "neighbors": [features["neighbors"][p] for p in kept]}
    return {**document, "features": {**features, **shrunk}}
