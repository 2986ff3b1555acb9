"""Columns of a file, checked and parsed whole: a value of no use is a fault, an empty one is missing.

A column comes as an Arrow array or as a list of Python values (JSON lines). Each parser returns one value
a row, empty (None, NaN or NaT) where the row has none or a faulty one, and never
raises for what is in the data.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.schema.ids import id_fault

Objects = NDArray[np.object_]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Part: TypeAlias = Any
"""Values of one type: an Arrow array, or a list of Python objects that are neither text nor numbers."""

MAX_EXACT = 2.0**53
"""Above it a double no longer holds every whole number, so an id read as one may be another's."""
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
MAX_TEXT = 10_000
"""Characters; a longer name is a fault of the file, and could make a document larger than MongoDB takes."""


class Faults:
    """The first fault found in each row."""

    def __init__(self, size: int) -> None:
        self.bad: Mask = np.zeros(size, dtype=bool)
        self.reasons: Objects = np.full(size, None, dtype=object)

    def add(self, mask: Mask, reason: str) -> None:
        """Notes the reason for the rows of the mask that have none yet."""
        self.reasons[mask & ~self.bad] = reason
        self.bad |= mask


def parts(column: Any) -> Iterator[tuple[slice | NDArray[np.intp], Part]]:
    """The column in parts of one type, and the rows each is for; a row without a value may be in none."""
    if isinstance(column, pa.Array):
        column = plain(column)
    if isinstance(column, pa.Array):
        yield slice(None), column
        return
    by_type: dict[type, list[int]] = {}
    for i, value in enumerate(column):
        by_type.setdefault(type(value), []).append(i)
    for kind, rows in by_type.items():
        if kind is type(None):
            continue
        values = [column[i] for i in rows] if len(by_type) > 1 else column
        yield np.array(rows, dtype=np.intp), _arrow(kind, values)


def _arrow(kind: type, values: list[Any]) -> Part:
    arrow_type = {str: pa.large_string(), bool: pa.bool_(), float: pa.float64(), int: pa.int64()}.get(kind)
    if arrow_type is None:
        return values
    try:
        return pa.array(values, arrow_type)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits
        return pa.array([float(value) if abs(value) < 2**1000 else np.inf for value in values], pa.float64())


def plain(array: pa.Array) -> Part:
    """An Arrow array without encodings: large_string for all text, Python objects for lists and bytes."""
    if pa.types.is_dictionary(array.type) or pa.types.is_run_end_encoded(array.type):
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else pc.run_end_decode(array)
    if pa.types.is_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if pa.types.is_large_string(array.type):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:  # Parquet readers take text on trust; bytes that are no UTF-8 stay bytes
            return [_text_or_bytes(value) for value in array.cast(pa.large_binary()).to_pylist()]
        return array
    if _is_nested(array.type):
        return list(array.to_pylist())
    if pa.types.is_decimal(array.type):
        return array.cast(pa.float64(), safe=False) if array.type.scale else array.cast(pa.large_string())
    return array


def _is_nested(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_nested(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def present(part: Part) -> Mask:
    """True where the part has a value."""
    if isinstance(part, list):
        return np.array([value is not None for value in part], dtype=np.bool_)
    return np.asarray(part.is_valid().to_numpy(zero_copy_only=False), dtype=bool)


def is_text(part: Part) -> bool:
    """True for an Arrow array of text."""
    return not isinstance(part, list) and pa.types.is_large_string(part.type)


def is_number(part: Part) -> bool:
    """True for an Arrow array of integers or floats."""
    return not isinstance(part, list) and (pa.types.is_integer(part.type) or pa.types.is_floating(part.type))


def objects(array: pa.Array) -> Objects:
    """An Arrow array as Python objects."""
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)


def trimmed(array: pa.Array) -> pa.Array:
    """Text without the blanks around it; null where nothing is left."""
    array = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.equal(pc.binary_length(array), 0), pa.scalar(None, array.type), array)


def matches(array: pa.Array, pattern: str) -> Mask:
    """True where the text has the pattern; false where it is null."""
    return np.asarray(pc.fill_null(pc.match_substring_regex(array, pattern), False).to_numpy(zero_copy_only=False))


def gather(
    column: Any, empty: Any, dtype: Any, convert: Callable[[Part], tuple[NDArray[Any], Mask]]
) -> tuple[NDArray[Any], Mask]:
    """Converts a column part by part: the values, and where they were of no use."""
    values = np.full(len(column), empty, dtype=dtype)
    wrong = np.zeros(len(column), dtype=bool)
    for rows, part in parts(column):
        values[rows], wrong[rows] = convert(part)
    return values, wrong


def ids(column: Any, name: str, faults: Faults) -> Objects:
    """Ids as text: whole numbers become their decimal text, also those that pandas made floats (12.0)."""
    values, wrong = gather(column, None, object, _ids)
    faults.add(wrong, f"{name} is not text or a whole number")
    codes, uniques = pd.factorize(values)
    why = np.array([id_fault(text) for text in uniques] + ["is missing"], dtype=object)[codes]
    for reason in set(why[why != None]):  # noqa: E711  elementwise
        faults.add(why == reason, f"{name} {reason}")
    return values


def optional_ids(column: Any, name: str, faults: Faults) -> Objects:
    """Ids that a row may be without."""
    own = Faults(len(column))
    values = ids(column, name, own)
    for reason in {reason for reason in own.reasons if reason and not reason.endswith("is missing")}:
        faults.add(own.reasons == reason, reason)
    return values


def _ids(part: Part) -> tuple[Objects, Mask]:
    if is_text(part):
        text = pc.replace_substring_regex(trimmed(part), r"^(0|[1-9][0-9]*)\.0$", r"\1")
        return objects(text), np.zeros(len(part), dtype=bool)
    if not is_number(part):
        return np.full(len(part), None, dtype=object), present(part)
    assert not isinstance(part, list)
    if pa.types.is_integer(part.type):
        return objects(part.cast(pa.large_string())), np.zeros(len(part), dtype=bool)
    numbers = part.cast(pa.float64()).to_numpy(zero_copy_only=False)
    whole = (np.abs(numbers) <= MAX_EXACT) & (numbers == np.floor(numbers))
    values = np.full(len(part), None, dtype=object)
    values[whole] = numbers[whole].astype(np.int64).astype(str).astype(object)
    return values, ~whole & ~np.isnan(numbers)


def text(column: Any, name: str, faults: Faults) -> Objects:
    """Free text; blank is missing."""
    values, wrong = gather(column, None, object, _text)
    faults.add(wrong, f"{name} is not text")
    lengths = np.fromiter((0 if value is None else len(value) for value in values), np.int64, len(values))
    faults.add(lengths > MAX_TEXT, f"{name} is longer than {MAX_TEXT:,} characters")
    return values


def _text(part: Part) -> tuple[Objects, Mask]:
    if is_text(part):
        return objects(trimmed(part)), np.zeros(len(part), dtype=bool)
    if not isinstance(part, list) and pa.types.is_integer(part.type):
        return objects(part.cast(pa.large_string())), np.zeros(len(part), dtype=bool)
    return np.full(len(part), None, dtype=object), present(part)


def numbers(column: Any, name: str, faults: Faults, low: float, high: float, *, whole: bool = False) -> Floats:
    """Numbers from low to high; NaN where missing."""
    values, wrong = gather(column, np.nan, np.float64, _numbers)
    faults.add(wrong, f"{name} is not a number")
    with np.errstate(invalid="ignore"):
        faults.add(np.isinf(values), f"{name} is not a finite number")
        faults.add((values < low) | (values > high), f"{name} outside {low:g}..{high:g}")
        if whole:
            faults.add((values != np.floor(values)) & ~np.isnan(values), f"{name} is not a whole number")
    return values


def _numbers(part: Part) -> tuple[Floats, Mask]:
    if is_number(part):
        assert not isinstance(part, list)
        values = part.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return values, np.isnan(values) & present(part)  # a NaN that is there says no more than a word would
    values = np.full(len(part), np.nan)
    if not is_text(part):
        return values, present(part)
    stripped = trimmed(part)
    good = matches(stripped, NUMBER)
    values[good] = objects(stripped)[good].astype(np.float64)
    return values, present(stripped) & ~good


TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


def flags(column: Any, name: str, faults: Faults) -> Objects:
    """True, False or None; the usual words and 1/0 count as well."""
    values, wrong = gather(column, None, object, _flags)
    faults.add(wrong, f"{name} is not true or false")
    return values


def _flags(part: Part) -> tuple[Objects, Mask]:
    if not isinstance(part, list) and pa.types.is_boolean(part.type):
        return objects(part), np.zeros(len(part), dtype=bool)
    if is_text(part):
        words = objects(pc.utf8_lower(trimmed(part)))
        yes, no = np.isin(words, TRUE), np.isin(words, FALSE)
        there = words != None  # noqa: E711  elementwise
    elif is_number(part):
        values, _ = _numbers(part)
        yes, no, there = values == 1, values == 0, present(part)
    else:
        yes = no = np.zeros(len(part), dtype=bool)
        there = present(part)
    found = np.full(len(part), None, dtype=object)
    found[yes], found[no] = True, False
    return found, np.asarray(there & ~yes & ~no, dtype=bool)
