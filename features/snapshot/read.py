"""Raw BSON batches to Arrow: in bulk where a document is as expected, carefully where it is not.

A walk over the bytes (`walk.py`) takes the documents whose fields are all of the expected types, and marks the others
as odd. Those are decoded one by one, so that just the documents at fault are set aside, with their reason, and nothing
is asked of the server twice. The careful way alone would give the same rows: it is what the tests hold the walk to.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import numpy as np
import pyarrow as pa
from bson import Code, ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from features.database import split_documents
from features.schema.ids import encode_id
from features.snapshot.columns import table_of
from features.snapshot.fields import Field, Source
from features.snapshot.walk import walk

SET_ASIDE_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("reason", pa.string()), ("imported_at", pa.timestamp("ms", tz="UTC"))]
)
"""What is kept of a document that can't be used; `imported_at` only of plays that have one."""

# Dates outside year 1..9999 come as plain milliseconds instead of an error that would lose the whole batch.
CAREFUL_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
OTHER_ID = (
    "^(int|Int64|float|bool|NoneType|bytes|Binary|Code|DBRef|DatetimeMS|Decimal128|MaxKey|MinKey|Regex|Timestamp|dict):"
)
"""How the text begins of an `_id` that is neither text nor ObjectId; text that begins so is taken for one."""


@dataclass(frozen=True)
class Batch:
    """One batch as read: rows in the source's raw schema, and the documents that could not be rows."""

    rows: pa.Table
    set_aside: pa.Table


def read_batches(raw_batches: Iterable[Any], source: Source) -> Iterator[Batch]:
    """Raw BSON batches as Arrow, one for one; see `read_batch`."""
    return (read_batch(raw, source) for raw in raw_batches)


def read_batch(raw: Any, source: Source) -> Batch:
    """One raw BSON batch as Arrow; read = rows + set aside.

    Rows keep their order, but for those of documents that had to be read carefully, which come last.
    """
    if not source.in_bulk:
        return _read_carefully(split_documents(raw), source)
    raw = np.frombuffer(raw, np.uint8)
    walked = walk(raw, source)
    if not walked.odd.any():
        return Batch(table_of(raw, walked.values, walked.sizes, source), SET_ASIDE_SCHEMA.empty_table())
    starts, even = walked.starts, np.flatnonzero(~walked.odd)
    rows = table_of(raw, walked.values.take(even, axis=1), walked.sizes.take(even, axis=1), source)
    odd = [raw[starts[row] : starts[row + 1]].tobytes() for row in np.flatnonzero(walked.odd)]
    careful = _read_carefully(odd, source)
    return Batch(pa.concat_tables([rows, careful.rows]).combine_chunks(), careful.set_aside)


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
