"""Documents into a collection: new ones added, known ones left or updated, refused ones told apart."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from features.database import DUPLICATE_KEY, VALIDATION, translated_errors
from features.sources.documents import Document, Target

BATCH_DOCUMENTS = 5_000
LOOKUP_KEYS = 500
"""The longest `$in` list, on the built-in server as on a replica set."""
ROW_FAULTS: Mapping[int, str] = {
    VALIDATION: "refused by the collection's validator",
    2: "holds a value the database refuses",
    28: "would change a field that is not an object",
    10334: "makes too large a document",
    17280: "has a key too long for an index",
}
"""What a server says of one document. Any other code is about the server or account and ends the import."""


@dataclass
class Outcome:
    """What became of a list of documents."""

    imported: int = 0
    already_there: int = 0
    updated: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Position in the list, and why. Never holds a value: it may be an e-mail address."""


def write_documents(
    database: Database[Document], target: Target, documents: Sequence[Document], now: datetime
) -> Outcome:
    """Writes documents in unordered batches; the same ones again change nothing.

    Raises:
        DatabaseError: the database is gone, or refuses to be written to.
    """
    collection = database[target.collection]
    outcome = Outcome()
    with translated_errors():
        for start in range(0, len(documents), BATCH_DOCUMENTS):
            batch = list(enumerate(documents[start : start + BATCH_DOCUMENTS], start))
            if target.key is None:
                _insert(collection, batch, outcome)
            else:
                _insert_or_update(collection, target, batch, now, outcome)
    return outcome


Batch = list[tuple[int, Document]]


def _insert(collection: Collection[Document], batch: Batch, outcome: Outcome) -> None:
    if not batch:
        return
    errors: list[dict[str, Any]] = []
    try:
        collection.insert_many([document for _, document in batch], ordered=False)
    except BulkWriteError as error:
        errors = _row_errors(error)
    for found in errors:
        if found["code"] == DUPLICATE_KEY and _key_field(found) == "_id":
            outcome.already_there += 1
        else:
            outcome.refused.append((batch[found["index"]][0], _reason(found)))
    outcome.imported += len(batch) - len(errors)


def _insert_or_update(
    collection: Collection[Document], target: Target, batch: Batch, now: datetime, outcome: Outcome
) -> None:
    assert target.key is not None
    there = _existing(collection, target, [document[target.key] for _, document in batch])
    new: Batch = []
    positions: list[int] = []
    updates: list[UpdateOne] = []
    for position, document in batch:
        found = there.get(document[target.key])
        if found is None:
            new.append((position, {**document, **dict.fromkeys(target.stamps, now)}))
        elif changes := differences(document, found):
            changes.update(dict.fromkeys(target.stamps[-1:], now))
            positions.append(position)
            updates.append(UpdateOne({"_id": found["_id"]}, {"$set": changes}))
        else:
            outcome.already_there += 1
    _insert(collection, new, outcome)
    if updates:
        errors: list[dict[str, Any]] = []
        try:
            collection.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            errors = _row_errors(error)
        outcome.refused.extend((positions[found["index"]], _reason(found)) for found in errors)
        outcome.updated += len(updates) - len(errors)


def _existing(collection: Collection[Document], target: Target, keys: list[Any]) -> dict[Any, Document]:
    assert target.key is not None
    projection = [target.key, *target.reads]
    found: dict[Any, Document] = {}
    for start in range(0, len(keys), LOOKUP_KEYS):
        query = {target.key: {"$in": keys[start : start + LOOKUP_KEYS]}}
        found.update((document[target.key], document) for document in collection.find(query, projection))
    return found


def differences(document: Document, there: Document) -> Document:
    """What `$set` has to change for `there` to hold all the document holds; other fields are left alone.

    >>> differences({"name": "Dawn", "album": {"name": "Sea"}}, {"album": {"id": "a1", "name": "See"}})
    {'name': 'Dawn', 'album.name': 'Sea'}
    """
    return dict(_differences(document, there, ""))


def _differences(document: Document, there: Document, path: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name == "_id":
            continue
        old = there.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from _differences(value, old, f"{path}{name}.")
        elif name == "artists" and isinstance(old, list):
            merged = [_merged_artist(artist, old) for artist in value]
            if merged != old:
                yield path + name, merged
        elif not _equal(value, old):
            yield path + name, value


def _merged_artist(artist: Document, there: list[Any]) -> Document:
    """The artist with what the database knows of it beyond the file, found by id or else by name."""
    for key in ("id", "name"):
        for old in there:
            if isinstance(old, dict) and key in artist and old.get(key) == artist[key]:
                return {**old, **artist}
    return artist


def _equal(value: Any, old: Any) -> bool:
    if isinstance(old, datetime) and isinstance(value, datetime) and old.tzinfo is not None:
        return old.astimezone(UTC).replace(tzinfo=None) == value
    return bool(value == old) and isinstance(value, bool) == isinstance(old, bool)


def _row_errors(error: BulkWriteError) -> list[dict[str, Any]]:
    """The errors of single documents; anything wider is raised again."""
    details = error.details or {}
    errors: list[dict[str, Any]] = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or any(
        found["code"] != DUPLICATE_KEY and found["code"] not in ROW_FAULTS for found in errors
    ):
        raise error
    return errors


def _reason(found: Mapping[str, Any]) -> str:
    if found["code"] == DUPLICATE_KEY:
        return f"another document has the same {_key_field(found)}"
    return ROW_FAULTS[found["code"]]


def _key_field(found: Mapping[str, Any]) -> str:
    if pattern := found.get("keyPattern"):
        return ", ".join(pattern)
    index = re.search(r"index: (\S+)", found.get("errmsg", ""))  # a server that doesn't name the fields
    return index[1].strip("_").removesuffix("_1") if index and index[1] != "_id_" else "_id"
