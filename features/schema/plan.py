"""What a database lacks of the contract, and making it so. Twice is once: a second plan is empty."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.database import Document, translated_errors
from features.schema.collections import COLLECTIONS, Collection, Index

Action = Literal["create collection", "set validator", "create index", "replace index", "change TTL"]
Validation = Literal["error", "warn"]
VALIDATION_LEVEL = "moderate"  # documents that broke the rules before are not refused on update
NAMESPACE_EXISTS = 48
PLAIN_OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression")


@dataclass(frozen=True)
class Change:
    """One step from the database as it is to the contract."""

    action: Action
    collection: str
    subject: str
    """The index's name, or what of the collection changes."""
    was: str = ""
    replaces: str = ""
    """The name of the index to drop first."""

    def __str__(self) -> str:
        was = f" (was: {self.was})" if self.was else ""
        return f"{self.action} {self.collection}.{self.subject}{was}"


def plan(
    database: Database[Document],
    validation: Validation = "error",
    collections: Sequence[Collection] = COLLECTIONS,
) -> list[Change]:
    """The changes that `apply` would make, in its order; empty when the database keeps the contract.

    Raises:
        DatabaseError: the database can't be asked.
    """
    with translated_errors():
        present = {str(info["name"]): info for info in database.list_collections()}
        return [
            change
            for collection in collections
            for change in _collection_changes(database, collection, present.get(collection.name), validation)
        ]


def apply(
    database: Database[Document],
    validation: Validation = "error",
    collections: Sequence[Collection] = COLLECTIONS,
) -> list[Change]:
    """Makes the database keep the contract and returns what it changed. Drops no data and no unknown index.

    Raises:
        DatabaseError: the database refuses a step, such as a unique index over documents that repeat a value.
    """
    changes = plan(database, validation, collections)
    by_name = {collection.name: collection for collection in collections}
    with translated_errors():
        for change in changes:
            _apply_change(database, by_name[change.collection], change, validation)
    return changes


def _collection_changes(
    database: Database[Document], collection: Collection, present: Any, validation: Validation
) -> Iterator[Change]:
    if present is None:
        yield Change("create collection", collection.name, "*")
        yield from (Change("create index", collection.name, index.name) for index in collection.indexes)
        return
    options = present.get("options", {})
    wanted = {
        "validator": collection.validator,
        "validationLevel": VALIDATION_LEVEL,
        "validationAction": validation,
    }
    different = [name for name, value in wanted.items() if options.get(name) != value]
    if different:
        yield Change("set validator", collection.name, "*", was="none" if not options else f"other {different[0]}")
    found = [dict(entry) for entry in database[collection.name].list_indexes()]
    for index in collection.indexes:
        yield from _index_changes(collection, index, found)


def _index_changes(collection: Collection, index: Index, found: list[Document]) -> Iterator[Change]:
    # a direction may also be a word, such as "text"
    rivals = [e for e in found if tuple(e["key"].items()) == index.keys or e["name"] == index.name]
    # by name first: a server may hold the same keys twice, with and without an option
    entry = next((e for e in rivals if e["name"] == index.name), rivals[0] if rivals else None)
    if entry is None:
        yield Change("create index", collection.name, index.name)
        return
    options = {name: entry[name] for name in PLAIN_OPTIONS if entry.get(name) is not None and entry[name] is not False}
    same = entry["name"] == index.name and tuple(entry["key"].items()) == index.keys
    if same and options == index.options:
        return
    was = f"{entry['name']} {options}"
    differing = [name for name in options if options[name] != index.options.get(name)]
    if same and options.keys() == index.options.keys() and differing == ["expireAfterSeconds"]:
        yield Change("change TTL", collection.name, index.name, was=was)
    else:
        yield Change("replace index", collection.name, index.name, was=was, replaces=entry["name"])


def _apply_change(database: Database[Document], collection: Collection, change: Change, validation: Validation) -> None:
    name = collection.name
    rules: dict[str, Any] = {
        "validator": collection.validator,
        "validationLevel": VALIDATION_LEVEL,
        "validationAction": validation,
    }
    if change.action == "create collection":
        try:
            database.create_collection(name, check_exists=False, **rules)
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
            # another run was faster
            database.command("collMod", name, **rules)
    elif change.action == "set validator":
        database.command("collMod", name, **rules)
    else:
        _apply_index(database, collection, change)


def _apply_index(database: Database[Document], collection: Collection, change: Change) -> None:
    index = next(index for index in collection.indexes if index.name == change.subject)
    if change.action == "change TTL":
        ttl = {"name": index.name, "expireAfterSeconds": index.ttl_seconds}
        database.command("collMod", collection.name, index=ttl)
        return
    if change.action == "replace index":
        database[collection.name].drop_index(change.replaces)
    database[collection.name].create_index(list(index.keys), name=index.name, **index.options)
