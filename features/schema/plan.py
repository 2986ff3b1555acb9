"""What a database lacks of the contract, and making it so. Twice is once: a second plan is empty."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.database import DUPLICATE_KEY, UNAUTHORIZED, Document, translated_errors
from features.errors import DatabaseError
from features.schema.collections import COLLECTIONS, HISTORY_TTL_INDEX, LISTENING_HISTORY, SECONDS_A_DAY
from features.schema.shapes import Collection, Index

Action = Literal["create collection", "set validator", "create index", "replace index", "change TTL", "drop index"]
Validation = Literal["error", "warn"]
VALIDATION_LEVEL = "moderate"  # documents that broke the rules before are not refused on update
NAMESPACE_EXISTS = 48
PLAIN_OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression")
SIGNS: dict[Action, str] = {"replace index": "-/+", "set validator": "~", "change TTL": "~", "drop index": "-"}
"""As Terraform marks them; what is made anew has a plus."""


@dataclass(frozen=True)
class Choices:
    """What an operator may decide. None leaves it as the database has it, so that a nightly run undoes no choice.

    Attributes:
        validation: what the server does with a document that breaks its validator; "error" on a new collection.
        history_retention_days: plays older than this are removed by the database; 0 keeps them for good.
        drop_extra: whether indexes that the contract doesn't know are dropped.
    """

    validation: Validation | None = None
    history_retention_days: int | None = None
    drop_extra: bool = False


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
        return f"{SIGNS.get(self.action, '+')} {self.action} {self.collection}.{self.subject}{was}"


@dataclass(frozen=True)
class Refused:
    """A change that the documents stand in the way of."""

    change: Change
    reason: str

    def __str__(self) -> str:
        return f"! {self.change.action} {self.change.collection}.{self.change.subject}: {self.reason}"


@dataclass(frozen=True)
class Applied:
    """What `apply` did, and what it could not do."""

    made: list[Change] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def plan(
    database: Database[Document],
    choices: Choices = Choices(),
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
            for change in _collection_changes(database, collection, present.get(collection.name), choices)
        ]


def extra_indexes(
    database: Database[Document], collections: Sequence[Collection] = COLLECTIONS
) -> list[tuple[str, str]]:
    """Indexes that the contract doesn't know, as (collection, name); they stay unless told otherwise."""
    with translated_errors():
        there = set(database.list_collection_names())
        return [
            (collection.name, str(entry["name"]))
            for collection in collections
            if collection.name in there
            for entry in _extra(collection, _indexes(database, collection))
        ]


def apply(
    database: Database[Document],
    choices: Choices = Choices(),
    collections: Sequence[Collection] = COLLECTIONS,
) -> Applied:
    """Makes the database keep the contract. Drops no document, and no unknown index unless told to.

    A unique index over documents that repeat a value is made without being unique, or an old one in its place is
    left; the rest is done, and the refused change is in the result.

    Raises:
        DatabaseError: the database refuses a step, or this account may not take it.
    """
    changes = plan(database, choices, collections)
    by_name = {collection.name: collection for collection in collections}
    applied = Applied()
    with translated_errors():
        for change in changes:
            collection = by_name[change.collection]
            try:
                repeated = _apply_change(database, collection, change, choices)
            except OperationFailure as error:
                if error.code != UNAUTHORIZED:
                    raise
                # what an administrator could not do either is no reason to stop
                repeated = _in_the_way(database, collection, change)
                if not repeated:
                    raise DatabaseError(
                        f"the database differs from the contract in {len(changes)} places and this account may not "
                        "change that; let an administrator run `echotune schema apply`"
                    ) from None
            if repeated:
                applied.refused.append(Refused(change, repeated))
            else:
                applied.made.append(change)
    return applied


def _collection_changes(
    database: Database[Document], collection: Collection, present: Any, choices: Choices
) -> Iterator[Change]:
    if present is None:
        yield Change("create collection", collection.name, "*")
        for index in collection.indexes:
            yield Change("create index", collection.name, _chosen(collection, index, [], choices).name)
        return
    options = present.get("options", {})
    different = [name for name, value in _rules(collection, options, choices).items() if options.get(name) != value]
    if different:
        was = f"other {different[0]}" if options.get("validator") else "none"
        yield Change("set validator", collection.name, "*", was=was)
    found = _indexes(database, collection)
    for index in collection.indexes:
        yield from _index_changes(collection, _chosen(collection, index, found, choices), found)
    if choices.drop_extra:
        for entry in _extra(collection, found):
            yield Change("drop index", collection.name, entry["name"], was=str(_options(entry) or "plain"))


def _rules(collection: Collection, options: Document, choices: Choices) -> dict[str, Any]:
    as_found = options.get("validationAction", "error") if options.get("validator") else "error"
    return {
        "validator": collection.validator,
        "validationLevel": VALIDATION_LEVEL,
        "validationAction": choices.validation or as_found,
    }


def _chosen(collection: Collection, index: Index, found: Sequence[Document], choices: Choices) -> Index:
    """The index as it should be: the history's may be a TTL, by choice now or by one made before."""
    if collection.name != LISTENING_HISTORY.name or index.keys != HISTORY_TTL_INDEX.keys:
        return index
    days = choices.history_retention_days
    if days is not None:
        return Index(index.keys, ttl_seconds=days * SECONDS_A_DAY or None)
    here = next((entry for entry in found if tuple(entry["key"].items()) == index.keys), {})
    seconds = here.get("expireAfterSeconds")
    return index if seconds is None else Index(index.keys, ttl_seconds=int(seconds))


def _indexes(database: Database[Document], collection: Collection) -> list[Document]:
    return [dict(entry) for entry in database[collection.name].list_indexes()]


def _extra(collection: Collection, found: Sequence[Document]) -> list[Document]:
    """Indexes by names the contract doesn't have; one that a planned change replaces is not among them."""
    known = {index.name for index in collection.indexes}
    replaced = {
        change.replaces
        for index in collection.indexes
        for change in _index_changes(collection, index, list(found))
        if change.replaces
    }
    return [entry for entry in found if entry["name"] not in {"_id_", *known, *replaced}]


def _options(entry: Document) -> Document:
    return {name: entry[name] for name in PLAIN_OPTIONS if entry.get(name) is not None and entry[name] is not False}


def _index_changes(collection: Collection, index: Index, found: Sequence[Document]) -> Iterator[Change]:
    # a direction may also be a word, such as "text"
    rivals = [e for e in found if tuple(e["key"].items()) == index.keys or e["name"] == index.name]
    # by name first: a server may hold the same keys twice, with and without an option
    entry = next((e for e in rivals if e["name"] == index.name), rivals[0] if rivals else None)
    if entry is None:
        yield Change("create index", collection.name, index.name)
        return
    options = _options(entry)
    same = entry["name"] == index.name and tuple(entry["key"].items()) == index.keys
    if same and options == index.options:
        return
    was = f"{entry['name']} {options}"
    differing = [name for name in options if options[name] != index.options.get(name)]
    if same and options.keys() == index.options.keys() and differing == ["expireAfterSeconds"]:
        yield Change("change TTL", collection.name, index.name, was=was)
    else:
        yield Change("replace index", collection.name, index.name, was=was, replaces=entry["name"])


def _apply_change(database: Database[Document], collection: Collection, change: Change, choices: Choices) -> str:
    """Takes one step; why not, where documents stand in the way of it, and an empty text where it was taken."""
    name = collection.name
    if change.action == "create collection":
        try:
            database.create_collection(name, check_exists=False, **_rules(collection, {}, choices))
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
            # another run was faster
            database.command("collMod", name, **_rules(collection, {}, choices))
    elif change.action == "set validator":
        options = next(iter(database.list_collections(filter={"name": name})))["options"]
        database.command("collMod", name, **_rules(collection, options, choices))
    elif change.action == "drop index":
        database[name].drop_index(change.subject)
    else:
        return _apply_index(database, collection, change, choices)
    return ""


def _apply_index(database: Database[Document], collection: Collection, change: Change, choices: Choices) -> str:
    documents = database[collection.name]
    declared = next(index for index in collection.indexes if index.name == change.subject)
    index = _chosen(collection, declared, _indexes(database, collection), choices)
    if change.action == "change TTL":
        ttl = {"name": index.name, "expireAfterSeconds": index.ttl_seconds}
        database.command("collMod", collection.name, index=ttl)
        return ""
    if change.action == "replace index":
        if index.unique and (repeated := _repeated(database, collection, index)):
            return repeated  # before anything is dropped
        documents.drop_index(change.replaces)
    try:
        documents.create_index(list(index.keys), name=index.name, **index.options)
    except OperationFailure as error:
        if error.code != DUPLICATE_KEY:
            raise
        plain = {name: value for name, value in index.options.items() if name != "unique"}
        documents.create_index(list(index.keys), name=index.name, **plain)  # queries need it whatever repeats
        return _repeated(database, collection, index) or "documents repeat a value that must be unique"
    return ""


def _in_the_way(database: Database[Document], collection: Collection, change: Change) -> str:
    """Why an index can't be made by anybody, in words; empty where it can."""
    index = next((entry for entry in collection.indexes if entry.name == change.subject), None)
    return _repeated(database, collection, index) if index is not None and index.unique else ""


def _repeated(database: Database[Document], collection: Collection, index: Index) -> str:
    """How many values are repeated that a unique index allows once, in words without the values."""
    fields = [name for name, _ in index.keys]
    present = {name: {"$exists": True} for name in fields} if index.sparse else {}
    found = database[collection.name].aggregate(
        [
            {"$match": present},
            {"$group": {"_id": [f"${name}" for name in fields], "documents": {"$sum": 1}}},
            {"$match": {"documents": {"$gt": 1}}},
            {"$group": {"_id": None, "values": {"$sum": 1}, "documents": {"$sum": "$documents"}}},
        ],
        allowDiskUse=True,
    )
    for total in found:
        return (
            f"{total['documents']:,} documents share {total['values']:,} values of {', '.join(fields)}, which must be "
            "unique; until all but one of each are mended or removed, the index is a plain one"
        )
    return ""
