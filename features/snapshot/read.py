"""Raw BSON batches to Arrow: in bulk where every document is as expected, carefully around those that are not.

pymongoarrow refuses a batch in which a field has an unexpected type, or silently makes something else of the
value, which `was_bent` finds out. Such a batch is halved until the few documents around the fault are left, which
are decoded one by one, so that just those at fault are set aside, with their reason, and nothing is asked of the
server twice.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bson import Code, ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from pymongoarrow.context import PyMongoArrowContext
from pymongoarrow.schema import Schema
from pymongoarrow.types import ObjectIdType

from features.database import split_documents
from features.schema.ids import OBJECT_ID_PREFIX, STRING_PREFIX, encode_id
from features.snapshot.bent import was_bent
from features.snapshot.fields import ARROW_TYPES, Field, Source

SET_ASIDE_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("reason", pa.string()), ("imported_at", pa.timestamp("ms", tz="UTC"))]
)
"""What is kept of a document that can't be used; `imported_at` only of plays that have one."""

# Dates outside year 1..9999 come as plain milliseconds instead of an error that would lose the whole batch.
CAREFUL_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
OBJECT_ID_USER = b"\x07userId\x00"  # BSON: type 7, ObjectId, and the field's name
CAREFUL_DOCUMENTS = 64
OTHER_ID = (
    "^(int|Int64|float|bool|NoneType|bytes|Binary|Code|DBRef|DatetimeMS|Decimal128|MaxKey|MinKey|Regex|Timestamp|dict):"
)
"""How the text begins of an `_id` that is neither text nor ObjectId; text that begins so is taken for one."""
HEX_PAIRS = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)


@dataclass(frozen=True)
class Batch:
    """One batch as read: rows in the source's raw schema, and the documents that could not be rows."""

    rows: pa.Table
    set_aside: pa.Table


def read_batches(raw_batches: Iterable[Any], source: Source) -> Iterator[Batch]:
    """Raw BSON batches as Arrow, one for one; read = rows + set aside for each. Rows keep their order an id type."""
    for raw in raw_batches:
        slivers = list(_read_batch(split_documents(raw), source))
        # joined: what follows costs a batch about the same, however few its rows
        rows = [source.raw_schema.empty_table(), *(sliver.rows for sliver in slivers)]
        aside = [SET_ASIDE_SCHEMA.empty_table(), *(sliver.set_aside for sliver in slivers)]
        yield Batch(pa.concat_tables(rows).combine_chunks(), pa.concat_tables(aside))


def _read_batch(documents: list[bytes], source: Source) -> Iterator[Batch]:
    if not source.in_bulk:
        yield _read_carefully(documents, source)
    else:
        # Only a hint, so a search of the bytes will do: a wrong guess is found out by the types.
        by_object_id = [OBJECT_ID_USER in document for document in documents]
        for id_type in (pa.string(), ObjectIdType()):
            wanted = id_type != pa.string()
            yield from _read_group(
                [d for d, found in zip(documents, by_object_id, strict=True) if found == wanted],
                source,
                id_type,
            )


def _read_group(documents: list[bytes], source: Source, id_type: pa.DataType) -> Iterator[Batch]:
    """Documents in bulk; where Arrow refuses them, each half by itself, down to a few read carefully."""
    if not documents:
        return
    rows = _read_in_bulk(b"".join(documents), source, id_type)
    if rows is not None:
        yield Batch(rows, SET_ASIDE_SCHEMA.empty_table())
    elif len(documents) <= CAREFUL_DOCUMENTS:
        yield _read_carefully(documents, source)
    else:
        middle = len(documents) // 2
        yield from _read_group(documents[:middle], source, id_type)
        yield from _read_group(documents[middle:], source, id_type)


def _read_in_bulk(raw: bytes, source: Source, id_type: pa.DataType) -> pa.Table | None:
    """Documents through pymongoarrow, whose user ids are all of one type; None when it refuses or bends one."""
    context = PyMongoArrowContext(Schema(_nested_types(source.fields, id_type)))
    try:
        context.process_bson_stream(raw)
        table = context.finish()
        table.validate(full=True)  # text that is not UTF-8 would raise much later
    except (TypeError, ValueError, OverflowError, pa.ArrowException, bson.errors.BSONError):
        return None
    if table["_id"].null_count:
        return None
    rows = _flatten(table, source, tagged=id_type != pa.string())
    return None if was_bent(raw, rows, source) else rows


def _nested_types(fields: Sequence[Field], id_type: pa.DataType) -> dict[str, Any]:
    """Field paths as pymongoarrow wants them: sub-documents as structs."""
    types: dict[str, Any] = {"_id": ObjectIdType()}
    inner: dict[str, list[tuple[str, pa.DataType]]] = {}
    for field in fields:
        # pymongoarrow reads dates without a zone; they are UTC by definition of BSON
        kind = pa.timestamp("ms") if field.kind == "date" else ARROW_TYPES[field.kind]
        kind = id_type if field.kind == "id" else kind
        parent, _, name = field.path.partition(".")
        if name:
            inner.setdefault(parent, []).append((name, kind))
        else:
            types[parent] = kind
    return types | {parent: pa.struct(children) for parent, children in inner.items()}


def _flatten(table: pa.Table, source: Source, *, tagged: bool) -> pa.Table:
    columns = [_hex(table["_id"])]
    for field in source.fields:
        parent, _, name = field.path.partition(".")
        column = pc.struct_field(table[parent], name) if name else table[parent]
        if field.kind == "id":
            column = _hex(column) if tagged else _escape(column)
        columns.append(column.cast(ARROW_TYPES[field.kind]))
    return pa.table(columns, schema=source.raw_schema)


def _hex(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ObjectIds as the tagged text that `encode_id` makes of them, without a Python object each."""
    return pa.chunked_array([_hex_chunk(chunk.storage) for chunk in column.chunks], pa.string())


def _hex_chunk(ids: pa.FixedSizeBinaryArray) -> pa.Array:
    raw = np.frombuffer(ids.buffers()[1], np.uint8)[12 * ids.offset : 12 * (ids.offset + len(ids))]
    text = np.empty((len(ids), len(OBJECT_ID_PREFIX) + 24), np.uint8)
    text[:, : len(OBJECT_ID_PREFIX)] = np.frombuffer(OBJECT_ID_PREFIX.encode(), np.uint8)
    text[:, len(OBJECT_ID_PREFIX) :] = HEX_PAIRS[raw].reshape(len(ids), 24)
    missing = ids.is_null().to_numpy(zero_copy_only=False)
    return pa.array(text.view(f"S{text.shape[1]}").ravel(), mask=missing).cast(pa.string())


def _escape(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings as `encode_id` writes them: one that looks tagged gets a tag of its own."""
    looks_tagged = pc.or_(pc.starts_with(column, OBJECT_ID_PREFIX), pc.starts_with(column, STRING_PREFIX))
    if not pc.any(looks_tagged).as_py():
        return column
    escaped = pc.binary_join_element_wise(pa.scalar(STRING_PREFIX), column, "")
    return pc.if_else(looks_tagged, escaped, column)


def _read_carefully(documents: Iterable[bytes], source: Source) -> Batch:
    rows: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    for raw in documents:
        document = bson.decode(raw, CAREFUL_CODEC)
        row, reason = _row(document, source.fields)
        document_id = id_text(document.get("_id"))
        if reason is None:
            rows.append({"document_id": document_id, **row})
        else:
            known = _date(_at(document, source.known_path)) if source.in_spans else None
            faults.append({"document_id": document_id, "reason": reason, "imported_at": known})
    return Batch(
        pa.Table.from_pylist(rows, schema=source.raw_schema),
        pa.Table.from_pylist(faults, schema=SET_ASIDE_SCHEMA),
    )


def set_aside(ids: pa.ChunkedArray, reason: str | pa.ChunkedArray, imported_at: pa.ChunkedArray | None) -> pa.Table:
    """Documents that can't be used, with the reason of each or one for all."""
    reasons = pa.array([reason] * len(ids), pa.string()) if isinstance(reason, str) else reason
    known = pa.nulls(len(ids), SET_ASIDE_SCHEMA.field("imported_at").type) if imported_at is None else imported_at
    return pa.table([ids, reasons, known], schema=SET_ASIDE_SCHEMA)


def id_text(value: Any) -> str:
    """A document's `_id` as tables have it; one that is neither text nor ObjectId is its type and value."""
    text = _id(value)
    return f"{type(value).__name__}:{value!r}"[:200] if text is None else text


def _row(document: Mapping[str, Any], fields: Sequence[Field]) -> tuple[dict[str, Any], str | None]:
    """A document's fields by column, or the reason why it can't be used: the first field at fault."""
    row: dict[str, Any] = {}
    for field in fields:
        value = _at(document, field.path)
        if isinstance(value, _NotAnObject):
            return row, f"{value.path} is not an object"
        if value is not None:
            parsed = PARSERS[field.kind](value)
            if parsed is None:
                return row, f"{field.path} is of type {_type_name(value)}"
            row[field.column] = parsed
    return row, None


@dataclass(frozen=True)
class _NotAnObject:
    path: str


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    names = path.split(".")
    for depth, name in enumerate(names):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            return _NotAnObject(".".join(names[:depth]))
        value = value.get(name)
    return value


def _type_name(value: Any) -> str:
    return {"str": "string", "dict": "object", "list": "array"}.get(type(value).__name__, type(value).__name__)


def _id(value: Any) -> str | None:
    return encode_id(value) if isinstance(value, ObjectId) or _is_text(value) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Code)  # JavaScript comes as a kind of text


def _text(value: Any) -> str | None:
    return value if _is_text(value) else None


def _number(value: Any) -> float | None:
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except (OverflowError, ValueError):
        return math.inf


def _date(value: Any) -> int | None:
    return int(value) if isinstance(value, DatetimeMS) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and all(map(_is_text, value)) else None


def _artists(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        return None
    artists = []
    for item in value:
        name, artist_id, genres = item.get("name"), item.get("id"), item.get("genres")
        known = all(part is None or isinstance(part, str) for part in (name, artist_id))
        if not known or (genres is not None and _texts(genres) is None):
            return None
        artists.append({"id": artist_id, "name": name, "genres": genres})
    return artists


def _accepted(value: Any) -> list[str] | None:
    """Tracks of the recommendations that were accepted; a bare ObjectId, the second draft's form, tells nothing."""
    if not isinstance(value, list):
        return None
    tracks: list[str] = []
    for item in value:
        if isinstance(item, ObjectId):
            continue
        if not isinstance(item, Mapping):
            return None
        accepted, track_ids = item.get("accepted"), item.get("trackIds")
        if not (accepted is None or isinstance(accepted, bool)) or (
            track_ids is not None and _texts(track_ids) is None
        ):
            return None
        tracks += track_ids or [] if accepted else []
    return tracks


PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "id": _id,
    "text": _text,
    "number": _number,
    "date": _date,
    "flag": _flag,
    "texts": _texts,
    "accepted": _accepted,
    "artists": _artists,
}
