"""What is wrong with a database: documents, references, secrets, indexes, plans. Reads, and changes nothing.

Collections are walked in batches. What is kept of them are counts, three `_id`s a finding, and the distinct ids that
others refer to.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from bson import ObjectId
from pymongo import ReadPreference
from pymongo.collection import Collection as Documents
from pymongo.database import Database

from features.database import Document, translated_errors
from features.progress import Progress, silent
from features.schema import names, plan
from features.schema.addresses import looks_like_address
from features.schema.collections import COLLECTIONS
from features.schema.ids import encode_id
from features.schema.mending import LENIENT, value_at
from features.schema.queries import COLLSCAN, IN_LIST, explain
from features.schema.query_list import QUERIES
from features.schema.shapes import Collection
from features.schema.tokens import TOKEN_FIELDS, looks_encrypted
from features.schema.validate import compile_validator

State = Literal["ok", "note", "wrong"]
Id = str | ObjectId
SHOWN = 3
BATCH_DOCUMENTS = 5_000
SECRETS = "spotifyTokens"
"""Read by nobody but the check and the migration of tokens."""
NOT_AN_OBJECT = {SECRETS: {"$exists": True, "$not": {"$type": ["object", "null"]}}}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        check: what kind of thing.
        subject: where.
        state: a note is worth knowing and no fault.
        count: documents, or whatever `what` tells of.
        ids: the first `_id`s. One that is a text may be an e-mail address or a user's id, and is not told.
        what: what is found, in words without values.
        do: the remedy.
    """

    check: str
    subject: str
    state: State = "ok"
    count: int = 0
    ids: tuple[str, ...] = ()
    what: str = ""
    do: str = ""


class Reference(NamedTuple):
    """A field that holds an id of another collection."""

    collection: str
    path: str
    target: str
    key: str

    def __str__(self) -> str:
        return f"{self.collection}.{self.path} → {self.target}"


REFERENCES = (
    Reference(names.LISTENING_HISTORY, "userId", names.USERS, "userId"),
    Reference(names.LISTENING_HISTORY, "trackId", names.TRACKS, "spotifyId"),
    Reference(names.LISTENING_HISTORY, "context.recommendationId", names.RECOMMENDATIONS, "_id"),
    Reference(names.USER_FEEDBACK, "userId", names.USERS, "userId"),
    Reference(names.USER_FEEDBACK, "trackId", names.TRACKS, "spotifyId"),
    Reference(names.USER_FEEDBACK, "context.recommendationId", names.RECOMMENDATIONS, "_id"),
    Reference(names.RECOMMENDATIONS, "userId", names.USERS, "userId"),
    Reference(names.CHAT_SESSIONS, "userId", names.USERS, "userId"),
    Reference(names.USER_SETTINGS, "userId", names.USERS, "userId"),
)


MAY_BE_GONE = {
    names.RECOMMENDATIONS: "nothing; lists of old releases are removed by design",
    names.TRACKS: "nothing, `tracks` is a cache; import those that are missing to know more of them",
}
"""References that may point nowhere, and what to do about it."""


def check(database: Database[Document], progress: Progress = silent) -> Iterator[Finding]:
    """Everything that can be wrong, a finding a thing looked at, those that are well included.

    Raises:
        DatabaseError: the database can't be asked.
    """
    with translated_errors():
        infos = {str(info["name"]): info for info in database.list_collections()}
        present = [collection for collection in COLLECTIONS if collection.name in infos]
        yield from _schema(database, [c.name for c in present if _only_warns(infos[c.name])])
        yield _plans(database, infos.keys())
        for collection in present:
            yield _documents(database, collection, progress)
            yield from _asked_of_the_server(database, collection, progress)
        yield from _references(database, infos.keys(), progress)
        if names.USERS in infos:
            yield _tokens(database, progress)
        if names.EVENTS in infos:
            yield _addresses(database, progress)


# --- collections, validators, indexes, plans


def _schema(database: Database[Document], warning: Sequence[str]) -> Iterator[Finding]:
    changes = plan.plan(database)
    do = "run `echotune schema apply`" if changes else ""
    yield _told("schema", "collections, validators, indexes", "wrong", [_change(change) for change in changes], do)
    extra = [f"{collection}.{name}" for collection, name in plan.extra_indexes(database)]
    keep = "keep them, or run `echotune schema apply --drop-extra`" if extra else ""
    yield _told("schema", "indexes beyond the contract", "note", extra, keep)
    refuse = "run `echotune schema apply --validation error` once no document is wrong" if warning else ""
    yield _told("schema", "validators that only warn", "note", warning, refuse)


def _change(change: plan.Change) -> str:
    return f"{change.action} {change.collection}.{change.subject}"


def _only_warns(info: Mapping[str, Any]) -> bool:
    return bool(info.get("options", {}).get("validationAction") == "warn")


def _plans(database: Database[Document], present: Iterable[str]) -> Finding:
    here = set(present)
    asked = [query for query in QUERIES if not query.whole and query.collection in here]
    scanning = [f"{query.collection}: {query.name}" for query in asked if explain(database, query) == COLLSCAN]
    do = "run `echotune schema apply`, which makes the indexes, and mend what it refuses" if scanning else ""
    return _told("queries", f"{len(asked)} that need an index", "wrong", scanning, do)


def _told(kind: str, subject: str, state: State, found: Sequence[str], do: str) -> Finding:
    """A finding on things that have names."""
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return Finding(kind, subject, state if found else "ok", len(found), (), ", ".join(found[:SHOWN]) + more, do)


# --- documents


@dataclass
class _Tally:
    """Documents at fault: how many, which first, and what the first one's fault is."""

    count: int = 0
    ids: list[Any] = field(default_factory=list)
    first: str = ""

    def add(self, document_id: Any, fault: str = "") -> None:
        self.count += 1
        self.first = self.first or fault
        if len(self.ids) < SHOWN:
            self.ids.append(document_id)

    def finding(self, kind: str, subject: str, what: str, do: str, state: State = "wrong") -> Finding:
        if not self.count:
            return Finding(kind, subject)
        return Finding(kind, subject, state, self.count, _shown(self.ids), what, do)


def _documents(database: Database[Document], collection: Collection, progress: Progress) -> Finding:
    """Documents that the told part of their validator would refuse."""
    fault_of = compile_validator(collection.validator["$jsonSchema"])
    without = {SECRETS: 0} if collection.name == names.USERS else None
    tally = _Tally()
    for document in _walk(database, collection.name, {}, without, f"checking {collection.name}", progress):
        if (fault := fault_of(document)) is not None:
            tally.add(document["_id"], fault)
    return tally.finding(
        "documents", collection.name, f"break a rule, the first: {tally.first}", _mend(collection.name)
    )


def _asked_of_the_server(database: Database[Document], collection: Collection, progress: Progress) -> Iterator[Finding]:
    """What the walk can't tell: a validator's expressions, and the type of what is not read."""
    rest = {name: value for name, value in collection.validator.items() if name != "$jsonSchema"}
    if rest:
        progress(f"checking {collection.name} by {', '.join(rest)}", 0, None)
        yield _asked(database, collection.name, ", ".join(rest), {"$nor": [rest]})
    if collection.name == names.USERS:
        yield _asked(database, collection.name, SECRETS, NOT_AN_OBJECT)


def _asked(database: Database[Document], collection: str, part: str, wrong: Mapping[str, Any]) -> Finding:
    tally = _Tally()
    for document in _reader(database, collection).find(wrong, {"_id": 1}):
        tally.add(document["_id"])
    return tally.finding("documents", f"{collection}, {part}", f"break the rule on {part}", _mend(collection))


def _mend(collection: str) -> str:
    return f"mend them; docs/data-model.md has the rules of {collection}"


def _walk(
    database: Database[Document],
    collection: str,
    query: Mapping[str, Any],
    projection: Mapping[str, Any] | None,
    what: str,
    progress: Progress,
) -> Iterator[Document]:
    """Documents one by one, however damaged; a date out of range or a bent text ends nothing."""
    reader = _reader(database, collection)
    total = reader.estimated_document_count()
    progress(what, 0, total)
    number = 0
    for number, document in enumerate(reader.find(query, projection, batch_size=BATCH_DOCUMENTS), start=1):
        if number % BATCH_DOCUMENTS == 0:
            progress(what, number, max(number, total))
        yield document
    progress(what, number, number)


def _reader(database: Database[Document], collection: str) -> Documents[Document]:
    return database.get_collection(
        collection, codec_options=LENIENT, read_preference=ReadPreference.SECONDARY_PREFERRED
    )


def _shown(ids: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(i) if isinstance(i, ObjectId | int) else f"an _id of type {type(i).__name__}" for i in ids)


# --- references


def _references(database: Database[Document], present: Iterable[str], progress: Progress) -> Iterator[Finding]:
    here = set(present)
    for target, key in dict.fromkeys((reference.target, reference.key) for reference in REFERENCES):
        missing = _missing(database, target, key, progress)
        for reference in REFERENCES:
            if (reference.target, reference.key) == (target, key) and reference.collection in here:
                yield _dangling(database, reference, missing, progress)


def _missing(
    database: Database[Document], target: str, key: str, progress: Progress
) -> Callable[[Sequence[Id]], Iterable[Id]]:
    """A function that tells which of some ids nothing in the target has.

    The keys are held in memory; `_id`s, of which there may be far more than are referred to, are looked up.
    """
    if key == "_id":
        return lambda ids: set(ids).difference(
            document["_id"] for document in _reader(database, target).find({"_id": {"$in": ids}}, {"_id": 1})
        )
    progress(f"reading ids of {target}", 0, None)
    known = {one for one, _ in _ids_in(database, target, key)}
    return lambda ids: [one for one in ids if one not in known]


def _dangling(
    database: Database[Document],
    reference: Reference,
    missing: Callable[[Sequence[Id]], Iterable[Id]],
    progress: Progress,
) -> Finding:
    what = f"checking {reference.collection}.{reference.path}"
    documents, distinct, read = 0, 0, 0
    first: list[Id] = []
    progress(what, 0, None)
    for counts in _batched(_ids_in(database, reference.collection, reference.path)):
        gone = list(missing(list(counts)))
        documents += sum(counts[one] for one in gone)
        distinct += len(gone)
        first = heapq.nsmallest(SHOWN, [*first, *gone], key=encode_id)
        read += len(counts)
        progress(what, read, None)
    if not documents:
        return Finding("references", str(reference))
    query = {reference.path: {"$in": first}}
    found = _reader(database, reference.collection).find(query, {"_id": 1}, limit=SHOWN)
    ids = _shown(document["_id"] for document in found)
    told = f"refer to {distinct:,} ids that are not there"
    if reference.target in MAY_BE_GONE:
        why = MAY_BE_GONE[reference.target]
        return Finding("references", str(reference), "note", documents, ids, told, why)
    do = f"import the {reference.target} that are missing, or remove these documents"
    return Finding("references", str(reference), "wrong", documents, ids, told, do)


def _ids_in(database: Database[Document], collection: str, path: str) -> Iterator[tuple[Id, int]]:
    """Each id that stands at a path, and in how many documents; from an index alone where one leads with the path."""
    reader = _reader(database, collection)
    stages = [{"$group": {"_id": f"${path}", "documents": {"$sum": 1}}}]
    index = _leading(reader, path)
    options: dict[str, Any] = {"hint": index} if index else {}
    for group in reader.aggregate(stages, allowDiskUse=True, **options):
        if isinstance(group["_id"], Id):
            yield group["_id"], group["documents"]


def _leading(documents: Documents[Document], path: str) -> str | None:
    """An index that leads with a path and holds every document; of several the first by name."""
    names_of = [
        str(entry["name"])
        for entry in documents.list_indexes()
        if next(iter(entry["key"])) == path and not entry.get("sparse") and "partialFilterExpression" not in entry
    ]
    return min(names_of, default=None)


def _batched(pairs: Iterable[tuple[Id, int]]) -> Iterator[dict[Id, int]]:
    batch: dict[Id, int] = {}
    for one, count in pairs:
        batch[one] = count
        if len(batch) == IN_LIST:
            yield batch
            batch = {}
    if batch:
        yield batch


# --- what anybody could read


def _tokens(database: Database[Document], progress: Progress) -> Finding:
    tally = _Tally()
    for user in _walk(database, names.USERS, {}, {SECRETS: 1}, "checking tokens", progress):
        kept = user.get(SECRETS)
        texts = [kept] if isinstance(kept, str) else [value_at(user, f"{SECRETS}.{name}") for name in TOKEN_FIELDS]
        if any(isinstance(text, str) and text.strip() and not looks_encrypted(text) for text in texts):
            tally.add(user["_id"])
    do = "run `echotune schema migrate --only tokens`"
    return tally.finding("secrets", f"{names.USERS}.{SECRETS}", "have a token that anybody can read", do)


def _addresses(database: Database[Document], progress: Progress) -> Finding:
    tally = _Tally()
    path = "metadata.ip"
    for event in _walk(database, names.EVENTS, {}, {path: 1}, "checking addresses", progress):
        text = value_at(event, path)
        if isinstance(text, str) and looks_like_address(text):
            tally.add(event["_id"])
    do = "run `echotune schema migrate --only client-addresses`"
    return tally.finding("secrets", f"{names.EVENTS}.{path}", "have a client's address", do)
