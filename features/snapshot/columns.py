"""Documents that were walked over as Arrow columns, in the source's raw schema: their bytes are copied once."""

import numpy as np
import pyarrow as pa

from features.schema.ids import OBJECT_ID_PREFIX, STRING_PREFIX
from features.snapshot import walk
from features.snapshot.fields import ARROW_TYPES, Source
from features.snapshot.walk import AN_OBJECT_ID, MISSING

DATE = ARROW_TYPES["date"]
DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
TAGS = (np.frombuffer(OBJECT_ID_PREFIX.encode(), np.uint8), np.frombuffer(STRING_PREFIX.encode(), np.uint8))
OBJECT_ID_BYTES = len(OBJECT_ID_PREFIX) + 24


def table_of(raw: np.ndarray, values: np.ndarray, sizes: np.ndarray, source: Source) -> pa.Table:
    """The rows of some documents.

    Args:
        raw: (bytes,) uint8, the documents.
        values: (fields, n) int64, C-contiguous, as a walk found them; of documents that are not odd.
        sizes: (fields, n) int32, likewise.
        source: what was read.
    """
    columns = [_ids(raw, values[0], sizes[0])]
    for field, at, size in zip(source.fields, values[1:], sizes[1:], strict=True):
        if field.kind == "id":
            columns.append(_ids(raw, at, size))
        elif field.kind == "text":
            columns.append(_texts(raw, at, size))
        elif field.kind == "texts":
            columns.append(_lists(raw, at, size))
        else:
            kind = ARROW_TYPES[field.kind]
            columns.append(pa.Array.from_buffers(kind, len(at), [_validity(size), pa.py_buffer(at)]))
    return pa.table(columns, schema=source.raw_schema)


def _validity(sizes: np.ndarray) -> pa.Buffer | None:
    """Arrow's bitmap of the values that are there; None where all are."""
    there = sizes != MISSING
    return None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))


def _offsets(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _texts(raw: np.ndarray, at: np.ndarray, sizes: np.ndarray) -> pa.Array:
    offsets = _offsets(np.maximum(sizes, 0))
    data = np.empty(offsets[-1], np.uint8)
    walk.copy_texts(raw, at, offsets, data)
    return _strings(sizes, offsets, data)


def _strings(sizes: np.ndarray, offsets: np.ndarray, data: np.ndarray) -> pa.Array:
    buffers = [_validity(sizes), pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(sizes), buffers)


def _ids(raw: np.ndarray, at: np.ndarray, sizes: np.ndarray) -> pa.Array:
    """Ids of either type as `encode_id` writes them, without a Python object each."""
    looks_tagged = walk.begins_with(raw, at, sizes, TAGS[0]) | walk.begins_with(raw, at, sizes, TAGS[1])
    lengths = np.where(sizes == AN_OBJECT_ID, OBJECT_ID_BYTES, np.maximum(sizes, 0))
    offsets = _offsets(lengths + np.where(looks_tagged, len(STRING_PREFIX), 0))
    data = np.empty(offsets[-1], np.uint8)
    walk.copy_ids(raw, at, sizes, offsets, TAGS, DIGITS, data)
    return _strings(sizes, offsets, data)


def _lists(raw: np.ndarray, at: np.ndarray, counts: np.ndarray) -> pa.Array:
    offsets = _offsets(np.maximum(counts, 0))
    places, sizes = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int32)
    walk.texts_of_lists(raw, at, counts, places, sizes)
    items = _texts(raw, places, sizes)
    buffers = [_validity(counts), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(pa.list_(pa.string()), len(counts), buffers, children=[items])
