"""Documents in old forms, mended in batches: each is judged by itself, and written only if it is as it was read."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import UpdateMany
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, WriteError

from features.database import VALIDATION, Document

STATEMENT_DOCUMENTS = 100
"""Documents that one statement changes. The built-in server syncs its log once a statement, so that one for each
document is an eighth as fast; and a longer one costs more in searching its lists than it saves."""
TOLD_CHARACTERS = 12
LENIENT: CodecOptions[Document] = CodecOptions(
    document_class=dict,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    unicode_decode_error_handler="replace",
)
"""One document that can't be decoded must not end the run."""

Item = TypeVar("Item")
Note = Callable[[int, int | None], None]
"""Progress without its name: how much is done, and how much there is (None: not known)."""
Judgement = Document | str | None
"""Of one document: the values it gets, by path and not yet sealed; why it stays in its old form; or nothing to do."""
Change = tuple[Document, Document]
"""A document as it was read, and the values it gets, as they are stored."""


@dataclass(frozen=True)
class Counts:
    """What there is, as a migration sees it.

    Attributes:
        read: documents looked at, or indexes.
        to_do: those in the old form that can be mended.
        left: those that can't, by reason.
    """

    read: int
    to_do: int
    left: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Mending:
    """Work on the documents of one collection.

    Attributes:
        collection: its name.
        reads: paths of what is judged. A document in which one of them changes meanwhile is left to the next run.
        sets: the field that is set, or in which fields are; a judgement's paths are it or in it.
        judge: a judgement for each document of a batch.
        where: narrows what is read, by what is cheap to compare.
        seal: makes what is stored, of key, document, path and value. What is sealed is a secret.
    """

    collection: str
    reads: tuple[str, ...]
    sets: str
    judge: Callable[[Database[Document], Sequence[Document]], Iterable[Judgement]]
    where: Document = field(default_factory=dict)
    seal: Callable[[bytes, Document, str, Any], Any] | None = None

    def count(self, database: Database[Document], batch: int, note: Note) -> Counts:
        """What there is to do, by reading all that may be in the old form."""
        read, to_do = 0, 0
        left: Counter[str] = Counter()
        for judged in self._judged(database, batch):
            read += len(judged)
            to_do += sum(isinstance(judgement, dict) for _, judgement in judged)
            left.update(judgement for _, judgement in judged if isinstance(judgement, str))
            note(read, None)
        return Counts(read, to_do, left)

    def change(self, database: Database[Document], key: bytes, batch: int, note: Note) -> list[Any]:
        """Does it batch by batch; the `_id`s of documents that the collection's validator refused."""
        refused: list[Any] = []
        read = 0
        for judged in self._judged(database, batch):
            changes = [(document, self._stored(key, document, v)) for document, v in judged if isinstance(v, dict)]
            refused += self._write(database[self.collection], changes)
            read += len(judged)
            note(read, None)
        return refused

    def _judged(self, database: Database[Document], batch: int) -> Iterator[list[tuple[Document, Judgement]]]:
        """One walk with one cursor; `_id`s are of several types, and `$gt` doesn't go from one to the next.

        No update moves a document, so the cursor meets none twice and passes none over.
        """
        collection = database.get_collection(self.collection, codec_options=LENIENT)
        with collection.find(self.where, dict.fromkeys(("_id", *self.reads), 1), batch_size=batch) as found:
            for documents in _batches(found, batch):
                yield list(zip(documents, self.judge(database, documents), strict=True))

    def _stored(self, key: bytes, document: Document, values: Document) -> Document:
        if self.seal is None:
            return values
        return {path: self.seal(key, document, path, value) for path, value in values.items()}

    def _write(self, collection: Collection[Document], changes: Sequence[Change]) -> list[Any]:
        """Many changes to a statement; those of a statement that was refused once more, one by one."""
        groups = list(_batches(changes, STATEMENT_DOCUMENTS))
        again = [change for place in _refused(collection, map(self._update, groups)) for change in groups[place]]
        return [again[place][0]["_id"] for place in _refused(collection, (self._update([change]) for change in again))]

    def _update(self, changes: Sequence[Change]) -> UpdateMany:
        """Sets each document's values if what was read of it is still there, else leaves it as it is.

        The filter has `_id`s and nothing else: with any other condition beside them, the built-in server reads the
        whole collection. So values, and what was read, are lists, in the order of the `_id`s.
        """
        ids = [document["_id"] for document, _ in changes]
        now, then = zip(*(self._seen(path, [document for document, _ in changes]) for path in self.reads), strict=True)
        unchanged = {"$eq": [list(now), _here([list(seen) for seen in zip(*then, strict=True)])]}
        found = {"place": {"$indexOfArray": [{"$literal": ids}, "$_id"]}}
        chosen = {"$cond": [unchanged, self._mended([values for _, values in changes]), f"${self.sets}"]}
        return UpdateMany({"_id": {"$in": ids}}, [{"$set": {self.sets: {"$let": {"vars": found, "in": chosen}}}}])

    def _mended(self, changes: Sequence[Document]) -> Document:
        """The field's new value. It is always set whole: a `$set` in a field that is gone makes an empty object."""
        if all(self.sets in values for values in changes):
            return _here([values[self.sets] for values in changes])
        inner = [{path.removeprefix(f"{self.sets}."): value for path, value in v.items()} for v in changes]
        return {"$mergeObjects": [f"${self.sets}", _here(inner)]}

    def _seen(self, path: str, documents: Sequence[Document]) -> tuple[Any, list[Any]]:
        """What tells whether a path has changed: an expression, and what it was in each document.

        Of a secret, that is its latter half, at most twelve characters: servers log what they are sent.
        """
        values = [value_at(document, path) for document in documents]
        if self.seal is None or not path.startswith(f"{self.sets}."):
            return f"${path}", values
        texts = [value if isinstance(value, str) else "" for value in values]
        starts = [max(len(text) - TOLD_CHARACTERS, len(text) // 2) for text in texts]
        ending = {"$substrCP": [f"${path}", _here(starts), 2**31 - 1]}
        is_text = {"$eq": [{"$type": f"${path}"}, "string"]}
        return {"$cond": [is_text, ending, ""]}, [text[start:] for text, start in zip(texts, starts, strict=True)]


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; None where nothing does."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _here(values: list[Any]) -> Document:
    """The one of the values that is this document's."""
    return {"$arrayElemAt": [{"$literal": values}, "$$place"]}


def _refused(collection: Collection[Document], statements: Iterable[UpdateMany]) -> list[int]:
    """Sends statements and tells which of them the collection's validator refused, by position."""
    requests = list(statements)
    if not requests:
        return []
    try:
        collection.bulk_write(requests, ordered=False)
    except BulkWriteError as error:
        errors = error.details["writeErrors"]
        others = [found for found in errors if found["code"] != VALIDATION]
        if others:
            raise WriteError(others[0]["errmsg"], others[0]["code"], others[0]) from None
        if error.details.get("writeConcernErrors"):
            raise
        return sorted(found["index"] for found in errors)
    return []


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
