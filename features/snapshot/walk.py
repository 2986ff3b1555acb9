"""One walk over the bytes of BSON documents: where each wanted field lies, or its value. Numba, a batch at a time.

The idea: a snapshot wants a dozen fields of known types, so nothing needs to be decoded. The walk steps from element
to element by their types' sizes and notes numbers, dates and the places of texts. It takes nothing but what is just
as expected: a document with any other type at a wanted field, a field twice, text that is not UTF-8 or a size that
does not fit is marked as odd, for the careful reader, which decodes it (`read.py`). So the walk need not know what to
make of an oddity, only that it is one, and may err on the safe side.

It costs about a nanosecond a byte. The format: https://bsonspec.org/spec.html
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from features.snapshot.fields import Source

DOUBLE, TEXT, OBJECT, ARRAY, OBJECT_ID, DATE, NULL, INT32, INT64 = 1, 2, 3, 4, 7, 9, 10, 16, 18
MISSING, AN_OBJECT_ID = -1, -12
"""In place of a text's length: there is no value, or it is an ObjectId's twelve bytes."""
OWN_ID, ID, A_TEXT, NUMBER, A_DATE, TEXTS, CONTAINER = range(7)
KINDS = {"id": ID, "text": A_TEXT, "number": NUMBER, "date": A_DATE, "texts": TEXTS}
TOP = -1
Names: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Found: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]

# FNV-1a: a name's hash, taken while its end is looked for
FNV_BASIS = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)

# bytes of a value by its type; below zero for what has to be looked at, and 0x7F stands for MinKey (0xFF) too
TEXT_LIKE, DOCUMENT_LIKE, BINARY, REGEX, POINTER, UNKNOWN = -1, -2, -3, -4, -5, -6
_SIZES = {
    0x01: 8,
    0x02: TEXT_LIKE,
    0x03: DOCUMENT_LIKE,
    0x04: DOCUMENT_LIKE,
    0x05: BINARY,
    0x06: 0,
    0x07: 12,
    0x08: 1,
    0x09: 8,
    0x0A: 0,
    0x0B: REGEX,
    0x0C: POINTER,
    0x0D: TEXT_LIKE,
    0x0E: TEXT_LIKE,
    0x0F: DOCUMENT_LIKE,
    0x10: 4,
    0x11: 8,
    0x12: 8,
    0x13: 16,
    0x7F: 0,
}
SIZES = np.array([_SIZES.get(kind, UNKNOWN) for kind in range(128)])


@dataclass(frozen=True)
class Walked:
    """What a walk found of n documents; a row of `values` and `sizes` a field, the document's own `_id` first.

    Attributes:
        starts: (n + 1,) int64, where each document begins, and where the last one ends.
        values: (fields, n) int64: milliseconds of a date, the place of a text, an id or a list's items, the bits of a
            number.
        sizes: (fields, n) int32: bytes of a text, items of a list, 0 for a number or date; `MISSING` or
            `AN_OBJECT_ID`.
        odd: (n,) bool: to be read carefully; what the other arrays have of it means nothing.
    """

    starts: np.ndarray
    values: np.ndarray
    sizes: np.ndarray
    odd: np.ndarray


def walk(raw: np.ndarray, source: Source) -> Walked:
    """Walks over documents, one after the other.

    Args:
        raw: (bytes,) uint8.
        source: whose fields are wanted, each at most one level deep and of one of `KINDS`.

    Raises:
        ValueError: the bytes are no whole documents.
    """
    starts = _starts(raw)
    if starts[-1] != len(raw):
        raise ValueError(f"a batch of {len(raw):,} bytes from the database ends within a document")
    count, fields = len(starts) - 1, len(source.fields) + 1
    values = np.zeros((fields, count), np.int64)
    sizes = np.full((fields, count), MISSING, np.int32)
    odd = np.zeros(count, np.bool_)
    _walk(raw, starts, _names(source), SIZES, (values, values.view(np.float64), sizes), odd)
    return Walked(starts, values, sizes, odd | (sizes[0] == MISSING))


@cache
def _names(source: Source) -> Names:
    """The wanted names as arrays: hash, place and length of its bytes, container it is in, kind, row; and the bytes.

    Containers, sub-documents with wanted fields, come first, so that a container's row is its number.
    """
    containers = list(dict.fromkeys(field.path.split(".")[0] for field in source.fields if "." in field.path))
    wanted = [(name, TOP, CONTAINER, number) for number, name in enumerate(containers)]
    wanted.append(("_id", TOP, OWN_ID, 0))
    for row, field in enumerate(source.fields, start=1):
        parent, _, name = field.path.rpartition(".")
        wanted.append((name, containers.index(parent) if parent else TOP, KINDS[field.kind], row))
    encoded = [name.encode() for name, *_ in wanted]
    lengths = np.array([len(name) for name in encoded])
    hashes = np.array([_hash(np.frombuffer(name, np.uint8)) for name in encoded], np.uint64)
    containers_of, kinds, rows = (np.array([entry[position] for entry in wanted]) for position in (1, 2, 3))
    letters = np.frombuffer(b"".join(encoded), np.uint8)
    return hashes, np.cumsum(lengths) - lengths, lengths, containers_of, kinds, rows, letters


@njit(nogil=True, cache=True)
def _hash(name: np.ndarray) -> Any:
    found = FNV_BASIS
    for byte in name:
        found = (found ^ np.uint64(byte)) * FNV_PRIME
    return found


@njit(nogil=True, cache=True)
def _int32(raw: np.ndarray, at: int) -> Any:
    value = np.int64(raw[at]) | np.int64(raw[at + 1]) << 8 | np.int64(raw[at + 2]) << 16 | np.int64(raw[at + 3]) << 24
    return value - ((value & 0x80000000) << 1)


@njit(nogil=True, cache=True)
def _int64(raw: np.ndarray, at: int) -> Any:
    value = np.uint64(0)
    for position in range(8):
        value |= np.uint64(raw[at + position]) << np.uint64(8 * position)
    return np.int64(value)


@njit(nogil=True, cache=True)
def _starts(raw: np.ndarray) -> Any:
    """Where documents begin, and where the last whole one ends."""
    starts = np.empty(len(raw) // 5 + 1, np.int64)
    count = at = 0
    while at + 5 <= len(raw):
        size = _int32(raw, at)
        if size < 5 or at + size > len(raw):
            break
        starts[count] = at
        count += 1
        at += size
    starts[count] = at
    return starts[: count + 1].copy()


@njit(nogil=True, cache=True)
def _size(raw: np.ndarray, at: int, end: int, kind: int, sizes: np.ndarray) -> Any:
    """Bytes of the value at a place, of that type; more than there are for what has no such place or type."""
    beyond = end - at + 1
    known = sizes[0x7F] if kind == 0xFF else sizes[kind] if kind < 0x80 else UNKNOWN
    if known >= 0:
        return known
    if known == REGEX:  # two names
        length = names = 0
        while names < 2 and at + length < end:
            names += raw[at + length] == 0
            length += 1
        return length if names == 2 else beyond
    length = _int32(raw, at) if known != UNKNOWN and at + 4 <= end else -1
    if length < (5 if known == DOCUMENT_LIKE else 0):
        return beyond
    return length + (0 if known == DOCUMENT_LIKE else 4 if known == TEXT_LIKE else 5 if known == BINARY else 16)


@njit(nogil=True, cache=True)
def _is_utf8(raw: np.ndarray, at: int, end: int) -> bool:
    """Whether bytes are UTF-8: no surrogates, nothing longer than need be (Unicode 16, table 3-7)."""
    while at < end:
        first = raw[at]
        if first < 0x80:
            at += 1
            continue
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
        elif 0xF0 <= first <= 0xF4:
            more = 3
        else:
            return False
        if at + more >= end:
            return False
        low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        if not low <= raw[at + 1] <= high:
            return False
        for position in range(at + 2, at + more + 1):
            if raw[position] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@njit(nogil=True, cache=True)
def _is_text(raw: np.ndarray, at: int, size: int) -> bool:
    """Whether a text value, `size` bytes from its length on, ends in NUL and is UTF-8."""
    return size >= 5 and raw[at + size - 1] == 0 and _is_utf8(raw, at + 4, at + size - 1)


@njit(nogil=True, cache=True)
def _texts(raw: np.ndarray, at: int, size: int) -> Any:
    """How many texts an array holds; below zero where it holds anything else."""
    end, at, count = at + size - 1, at + 4, 0
    while at < end:
        if raw[at] != TEXT:
            return -1
        while at < end and raw[at] != 0:
            at += 1
        at += 1
        if at + 4 > end:
            return -1
        length = _int32(raw, at) + 4
        if length < 5 or at + length > end or not _is_text(raw, at, length):
            return -1
        at += length
        count += 1
    return count if raw[end] == 0 else -1


@njit(nogil=True, cache=True)
def _wanted(raw: np.ndarray, begin: int, length: int, hashed: Any, container: int, names: Names) -> int:
    """Which wanted name stands at a place, in that container; -1 for none."""
    hashes, at, lengths, containers, _, _, letters = names
    for name in range(len(hashes)):
        if hashes[name] == hashed and containers[name] == container and lengths[name] == length:
            same = True
            for position in range(length):
                same &= letters[at[name] + position] == raw[begin + position]
            if same:
                return name
    return -1


@njit(nogil=True, cache=True)
def _take(  # noqa: PLR0911 - a way out a type
    raw: np.ndarray, at: int, size: int, kind: int, wanted: int, found: Found, row: int, document: int
) -> bool:
    """Notes a value where a field of the kind `wanted` is; False where it is none."""
    values, floats, sizes = found
    if sizes[row, document] != MISSING:
        return False
    if kind == NULL:
        return wanted != OWN_ID
    sizes[row, document] = 0
    if wanted == NUMBER:
        if kind == INT32:
            floats[row, document] = _int32(raw, at)
        elif kind == INT64:
            floats[row, document] = _int64(raw, at)
        elif kind == DOUBLE:
            values[row, document] = _int64(raw, at)
        return kind in {DOUBLE, INT32, INT64}
    if wanted == A_DATE:
        values[row, document] = _int64(raw, at) if kind == DATE else 0
        return kind == DATE
    if wanted == TEXTS:
        values[row, document] = at
        items = _texts(raw, at, size) if kind == ARRAY else MISSING
        sizes[row, document] = items
        return bool(items >= 0)
    if kind == TEXT:
        values[row, document] = at + 4
        sizes[row, document] = size - 5
        return wanted != OWN_ID and _is_text(raw, at, size)
    values[row, document] = at
    sizes[row, document] = AN_OBJECT_ID
    return kind == OBJECT_ID and wanted != A_TEXT


@njit(nogil=True, cache=True)
def _walk(raw: np.ndarray, starts: np.ndarray, names: Names, sizes: np.ndarray, found: Found, odd: np.ndarray) -> None:
    """Fills `found`: values, another view of them, and sizes; and `odd`."""
    kinds, rows = names[4], names[5]
    entered = np.full(len(kinds), -1, np.int64)  # by container: the last document that had it
    for document in range(len(starts) - 1):
        at, end, outer_end, container = starts[document] + 4, starts[document + 1] - 1, 0, TOP
        fine = raw[end] == 0
        while fine and (at < end or container != TOP):
            if at == end:  # of a container
                at, end, container = end + 1, outer_end, TOP
                continue
            kind = raw[at]
            begin, hashed = at + 1, FNV_BASIS
            at = begin
            while at < end and raw[at] != 0:
                hashed = (hashed ^ np.uint64(raw[at])) * FNV_PRIME
                at += 1
            length = at - begin
            at += 1
            size = _size(raw, at, end, kind, sizes)
            if at + size > end:
                fine = False
                break
            name = _wanted(raw, begin, length, hashed, container, names)
            if name >= 0 and kinds[name] == CONTAINER and kind == OBJECT:
                fine = entered[name] != document and raw[at + size - 1] == 0
                entered[name] = document
                outer_end, end, at, container = end, at + size - 1, at + 4, name
                continue
            if name >= 0 and kinds[name] == CONTAINER:
                fine = kind == NULL and entered[name] != document
            elif name >= 0:
                fine = _take(raw, at, size, kind, kinds[name], found, rows[name], document)
            at += size
        odd[document] = not fine


@njit(nogil=True, cache=True)
def texts_of_lists(raw: np.ndarray, places: np.ndarray, counts: np.ndarray, at: np.ndarray, sizes: np.ndarray) -> None:
    """The places and bytes of the texts in some lists, one list after the other.

    Args:
        raw: the documents.
        places: (n,) int64, where each list is.
        counts: (n,) int32, its items, or `MISSING`.
        at: (sum of the items,) int64, filled.
        sizes: (sum of the items,) int32, filled.
    """
    item = 0
    for row in range(len(places)):
        place = places[row] + 4
        for _ in range(counts[row]):
            while raw[place] != 0:
                place += 1
            size = _int32(raw, place + 1)
            at[item], sizes[item] = place + 5, size - 1
            item += 1
            place += 5 + size


@njit(nogil=True, cache=True)
def copy_texts(raw: np.ndarray, at: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None:
    """Copies texts one after the other.

    Args:
        raw: where they are.
        at: (n,) int64, the place of each.
        offsets: (n + 1,) int32, where each goes in `out`.
        out: (offsets[n],) uint8, filled.
    """
    for row in range(len(at)):
        for position in range(offsets[row + 1] - offsets[row]):
            out[offsets[row] + position] = raw[at[row] + position]


@njit(nogil=True, cache=True)
def begins_with(raw: np.ndarray, at: np.ndarray, sizes: np.ndarray, prefix: np.ndarray) -> Any:
    """(n,) bool: which texts begin so; no ObjectId and no missing one does."""
    found = np.zeros(len(at), np.bool_)
    for row in range(len(at)):
        if sizes[row] >= len(prefix):
            found[row] = True
            for position in range(len(prefix)):
                if raw[at[row] + position] != prefix[position]:
                    found[row] = False
    return found


@njit(nogil=True, cache=True)
def copy_ids(
    raw: np.ndarray,
    at: np.ndarray,
    sizes: np.ndarray,
    offsets: np.ndarray,
    tags: tuple[np.ndarray, np.ndarray],
    digits: np.ndarray,
    out: np.ndarray,
) -> None:
    """Copies ids as their tagged text: ObjectIds as a tag and digits, texts with a tag where they have room for it.

    Args:
        raw: where they are.
        at: (n,) int64, the place of each.
        sizes: (n,) int32, the bytes of a text; `AN_OBJECT_ID`.
        offsets: (n + 1,) int32, where each goes in `out`.
        tags: of ObjectIds, and of texts that look tagged.
        digits: (16,) uint8.
        out: (offsets[n],) uint8, filled.
    """
    for row in range(len(at)):
        to, length = offsets[row], offsets[row + 1] - offsets[row]
        if sizes[row] == AN_OBJECT_ID:
            for position in range(len(tags[0])):
                out[to + position] = tags[0][position]
            to += len(tags[0])
            for position in range(12):
                byte = raw[at[row] + position]
                out[to + 2 * position], out[to + 2 * position + 1] = digits[byte >> 4], digits[byte & 15]
        elif length:
            if length > sizes[row]:
                for position in range(len(tags[1])):
                    out[to + position] = tags[1][position]
                to += len(tags[1])
            for position in range(sizes[row]):
                out[to + position] = raw[at[row] + position]
