"""Many documents made after one that is encoded: where they differ only in numbers, the numbers alone are written.

The documents of profiles and embeddings in a chunk are alike to the byte but for their ids, a vector and three numbers.
So the first is encoded as any document is, the places of its values are looked up, and the others are copies
with their own numbers put there by numpy, a column at a time: 4 µs a document of 96 numbers instead of 15. What fields
there are and in which order is written in `documents.py` alone. The format: https://bsonspec.org/spec.html
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import bson
import numpy as np
from bson import ObjectId

from features.schema.ids import UserId

DOUBLE, TEXT, OBJECT, ARRAY, BINARY, OBJECT_ID, DATE, INT32, INT64 = 1, 2, 3, 4, 5, 7, 9, 16, 18
WIDTHS = {DOUBLE: 8, OBJECT_ID: 12, DATE: 8, INT32: 4, INT64: 8}
BEFORE_CONTENT = {TEXT: 4, BINARY: 5}
VECTOR_HEAD = 2
"""Bytes of a BSON vector before its numbers: their type and how many bits are left over."""


@dataclass(frozen=True)
class Place:
    """Where a value stands in a document: its type and its first byte, and the byte behind its last."""

    kind: int
    start: int
    end: int


def places(document: bytes) -> dict[str, Place]:
    """The place of each value of a document by its dotted path, of arrays and sub-documents too.

    Raises:
        KeyError: it has a value of a type that no document of ours has.
    """
    return dict(_places(document, 0, ""))


def _places(document: bytes, begin: int, path: str) -> Iterator[tuple[str, Place]]:
    at = begin + 4
    while document[at]:
        kind, name_end = document[at], document.index(0, at + 1)
        name = path + document[at + 1 : name_end].decode()
        at = name_end + 1
        if kind in {OBJECT, ARRAY}:
            width = int.from_bytes(document[at : at + 4], "little")
            yield from _places(document, at, f"{name}.")
        elif kind in BEFORE_CONTENT:
            width = BEFORE_CONTENT[kind] + int.from_bytes(document[at : at + 4], "little")
        else:
            width = WIDTHS[kind]
        yield name, Place(kind, at, at + width)
        at += width


def after_template(
    first: bytes,
    owner: str,
    ids: Sequence[ObjectId],
    owners: Sequence[UserId],
    numbers: Mapping[str, np.ndarray],
) -> list[bytes] | None:
    """Documents like the first, with other ids, owners and numbers.

    Args:
        first: a document that begins with its `_id` and its owner.
        owner: the owner's field.
        ids: of all n documents, the first's among them.
        owners: theirs, texts or ObjectIds.
        numbers: by path, (n,) float64 or int64 for a number, (n, d) float for a vector, be it an array or a BSON vector
            of float32.

    Returns:
        n documents; None where one would be encoded in another width than the first.
    """
    found = places(first)
    shared = found[owner].end
    rest = np.tile(np.frombuffer(first[shared:], np.uint8), (len(ids), 1))
    for path, values in numbers.items():
        if not _put(rest, found, path, values, shared):
            return None
    width, begin = rest.shape[1], first[4 : found["_id"].start]
    flat, size = rest.tobytes(), 4 + len(begin) + 12 + width
    documents = []
    for row, (own_id, own) in enumerate(zip(ids, owners, strict=True)):
        element = bson.encode({owner: own})[4:-1]
        parts = (
            struct.pack("<i", size + len(element)),
            begin,
            own_id.binary,
            element,
            flat[row * width : row * width + width],
        )
        documents.append(b"".join(parts))
    return documents


def _put(rest: np.ndarray, found: Mapping[str, Place], path: str, values: np.ndarray, shared: int) -> bool:
    """Writes a column's values where they stand; False where they don't fit there."""
    place = found[path]
    at = place.start - shared
    if place.kind == DOUBLE:
        rest[:, at : at + 8] = _bytes(values, "<f8")
    elif place.kind == INT32:
        if len(values) and not -(2**31) <= values.min() <= values.max() < 2**31:
            return False
        rest[:, at : at + 4] = _bytes(values, "<i4")
    elif place.kind == BINARY:
        at += BEFORE_CONTENT[BINARY] + VECTOR_HEAD
        rest[:, at : at + 4 * values.shape[1]] = _bytes(values, "<f4")
    elif place.kind == ARRAY:
        own = values.astype("<f8")
        for column in range(values.shape[1]):
            at = found[f"{path}.{column}"].start - shared
            rest[:, at : at + 8] = _bytes(own[:, column], "<f8")
    else:
        return False
    return True


def _bytes(values: np.ndarray, kind: str) -> np.ndarray:
    """(n, bytes) uint8 of (n,) or (n, d) numbers."""
    own = np.ascontiguousarray(values.astype(kind))
    return own.reshape(len(own), -1).view(np.uint8)
