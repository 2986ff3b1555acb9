"""Where pymongoarrow reads a value as another without a word, found out from the BSON it read."""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.snapshot.fields import ARROW_TYPES, Source

OBJECT, ARRAY, NULL = 0x03, 0x04, 0x0A
BSON_TYPES = (*range(0x01, 0x14), 0x7F, 0xFF)


def was_bent(raw: bytes, rows: pa.Table, source: Source) -> bool:
    """Whether a value may have been read as another: a guess that errs on the safe side.

    NaN is read as null anywhere, true as 1.0, and what should be a list or a sub-document and is not as an empty one.

    Args:
        raw: the documents, one after the other.
        rows: what pymongoarrow made of them, in the source's raw schema.
        source: what was read.
    """
    patterns = _patterns(source)
    if patterns.boolean.search(raw) or patterns.nan.search(raw):
        return True
    for name, pattern in patterns.containers.items():
        columns = [rows[field.column] for field in source.fields if field.path.split(".")[0] == name]
        if any(_holds_null_items(column) for column in columns):
            return True
        # rows with any value in the container were read well; only where there are others is it worth a search
        if np.logical_and.reduce([_is_nothing(column) for column in columns]).any() and pattern.search(raw):
            return True
    return False


def _is_nothing(column: pa.ChunkedArray) -> np.ndarray:
    nothing = pc.equal(pc.list_value_length(column), 0) if pa.types.is_list(column.type) else pc.is_null(column)
    return np.asarray(pc.fill_null(nothing, fill_value=True).to_numpy())


def _holds_null_items(column: pa.ChunkedArray) -> bool:
    return pa.types.is_list(column.type) and any(chunk.flatten().null_count for chunk in column.chunks)


@dataclass(frozen=True)
class _Patterns:
    boolean: re.Pattern[bytes]
    """A boolean where a number is wanted."""
    nan: re.Pattern[bytes]
    containers: dict[str, re.Pattern[bytes]]
    """By name of the list or sub-document: it, with a value of another type."""


@cache
def _patterns(source: Source) -> _Patterns:
    """In BSON a value follows its type, one byte, and its name, which ends in NUL; 1 is a double, 8 a boolean.

    Each pattern begins with fixed bytes, so that `re` skips to them: ten times as fast as one for everything.
    """
    numbers = _any_of({field.path.rpartition(".")[2] for field in source.fields if field.kind == "number"})
    containers = {field.path.partition(".")[0]: OBJECT for field in source.fields if "." in field.path}
    containers |= {field.path: ARRAY for field in source.fields if ARROW_TYPES[field.kind].num_fields}
    return _Patterns(
        re.compile(rb"\x08(?:%b)\x00" % numbers),
        re.compile(rb"\x01\w+\x00.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL),  # all bits of the exponent set
        {
            # the name first, then a look back at the type before it
            name: re.compile(rb"%b\x00(?<=%b%b\x00)" % (_any_of({name}), _types(*others), _any_of({name})))
            for name, kind in containers.items()
            for others in [[other for other in BSON_TYPES if other not in {kind, NULL}]]
        },
    )


def _types(*types: int) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % kind for kind in types) + b"]"


def _any_of(names: set[str]) -> bytes:
    return b"|".join(sorted(re.escape(name.encode()) for name in names))
