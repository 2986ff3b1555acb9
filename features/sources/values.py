"""Columns of times, lists of words, closed sets and e-mail addresses; plainer ones are in `columns.py`."""

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.dates import epoch_ms
from features.schema.collections import USERS
from features.sources.columns import (
    MAX_TEXT,
    NUMBER,
    Faults,
    Floats,
    Mask,
    Objects,
    Part,
    gather,
    is_number,
    is_text,
    matches,
    objects,
    plain,
    present,
    text,
    trimmed,
)

Times = NDArray[np.datetime64]
NO_TIME = np.iinfo(np.int64).min  # numpy's NaT
SECONDS_FROM, MILLIS_FROM, MILLIS_TO = 1e8, 1e11, 1e14
"""Epoch seconds from 1973 to 5138 and milliseconds from 1973 to 5138: the ranges do not overlap."""
FUTURE_TOLERANCE_MS = 5 * 60_000
"""A clock may be this much ahead of ours."""
FIRST_MS, LAST_MS = (
    epoch_ms(datetime(year, 1, 1, tzinfo=UTC)) for year in (1, 9999)
)  # what a Python date, and so every reader, can hold
EMAIL = USERS.validator["$jsonSchema"]["properties"]["email"]["pattern"]
MAX_EMAIL = 254
MAX_WORDS, MAX_WORD = 1_000, 256


def times(column: Any, name: str, faults: Faults, now: datetime, *, required: bool = False) -> Times:
    """Moments, datetime64[ms] in UTC, cut to the millisecond; NaT where missing.

    Taken are ISO 8601 (without a zone: UTC), Arrow timestamps and dates, epoch seconds and milliseconds.
    """
    values, wrong = gather(column, NO_TIME, np.int64, _times)
    faults.add(wrong, f"{name} is not a time")
    missing = values == NO_TIME
    if required:
        faults.add(missing, f"{name} is missing")
    latest = epoch_ms(now) + FUTURE_TOLERANCE_MS
    faults.add(~missing & (values < 0), f"{name} is before 1970")
    faults.add(values > latest, f"{name} is in the future")
    return values.astype("datetime64[ms]")


def dates(column: Any, name: str, faults: Faults) -> Times:
    """Dates of release, `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or any time: the first moment of what is known."""
    values, wrong = gather(column, NO_TIME, np.int64, _dates)
    faults.add(wrong, f"{name} is not a date")
    return values.astype("datetime64[ms]")


def _dates(part: Part) -> tuple[NDArray[np.int64], Mask]:
    if is_text(part):
        part = pc.replace_substring_regex(trimmed(part), r"^([0-9]{4})$", r"\1-01-01")
        return _times(pc.replace_substring_regex(part, r"^([0-9]{4}-[0-9]{2})$", r"\1-01"))
    if is_number(part):
        assert not isinstance(part, list)
        numbers = part.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        year = (numbers >= 1000) & (numbers <= 9999) & (numbers == np.floor(numbers))
        values, wrong = _times(part)
        years = np.where(year, numbers, 1970).astype(np.int64) - 1970
        moments = years.astype("datetime64[Y]").astype("datetime64[ms]").astype(np.int64)
        return np.where(year, moments, values), wrong & ~year
    return _times(part)


def _times(part: Part) -> tuple[NDArray[np.int64], Mask]:
    if is_text(part):
        values = _times_of_text(trimmed(part))
        there = present(trimmed(part))
    elif is_number(part):
        assert not isinstance(part, list)
        there = present(part)
        values = _times_of_integers(part) if pa.types.is_integer(part.type) else _times_of_floats(part)
    elif not isinstance(part, list) and (pa.types.is_timestamp(part.type) or pa.types.is_date(part.type)):
        values, there = _times_of_timestamps(part), present(part)
    else:
        values, there = np.full(len(part), NO_TIME, dtype=np.int64), present(part)
    values[(values < FIRST_MS) | (values >= LAST_MS)] = NO_TIME
    return values, there & (values == NO_TIME)


def _times_of_text(array: pa.Array) -> NDArray[np.int64]:
    values = np.full(len(array), NO_TIME, dtype=np.int64)
    numeric = matches(array, NUMBER)
    values[numeric] = _epoch(objects(array)[numeric].astype(np.float64))
    iso = matches(array, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}") | matches(array, r"^[0-9]{8}T")
    # cut to the millisecond as text: nine digits in one row make pandas refuse years after 2262 in all
    shortened = pc.replace_substring_regex(array, r"[.,]([0-9]{1,3})[0-9]*", r".\1")
    zoned = objects(pc.replace_substring_regex(shortened, r"\s*([zZ]|UTC)$", "Z"))
    if iso.any():
        parsed = pd.to_datetime(pd.Index(zoned[iso]), format="ISO8601", utc=True, errors="coerce")
        values[iso] = parsed.as_unit("ms").asi8
    return values


def _times_of_integers(array: pa.Array) -> NDArray[np.int64]:
    return _epoch(pc.fill_null(array, 0).to_numpy(zero_copy_only=False))


def _times_of_floats(array: pa.Array) -> NDArray[np.int64]:
    return _epoch(array.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _epoch(numbers: Floats | NDArray[np.integer]) -> NDArray[np.int64]:
    """Milliseconds from epoch seconds or milliseconds, told apart by their size."""
    values = np.full(len(numbers), NO_TIME, dtype=np.int64)
    seconds = (numbers >= SECONDS_FROM) & (numbers < MILLIS_FROM)
    millis = (numbers >= MILLIS_FROM) & (numbers < MILLIS_TO)
    if np.issubdtype(numbers.dtype, np.integer):
        values[seconds] = numbers[seconds].astype(np.int64) * 1000
    else:  # 1080000000.001 * 1000 is just below 1080000000001: rounded to the microsecond before it is cut
        values[seconds] = np.floor(np.round(numbers[seconds] * 1e6) / 1e3)
    values[millis] = np.floor(numbers[millis])
    return values


def _times_of_timestamps(array: pa.Array) -> NDArray[np.int64]:
    kind = array.type
    if pa.types.is_date(kind):
        unit, raw = ("D", array.cast(pa.int32())) if pa.types.is_date32(kind) else ("ms", array.cast(pa.int64()))
    else:
        unit, raw = kind.unit, array.cast(pa.int64())
    there = present(array)
    numbers = np.asarray(pc.fill_null(raw, 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    a_second = {"D": 1 / 86_400, "s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    sane = there & (numbers >= FIRST_MS / 1000 * a_second) & (numbers < LAST_MS / 1000 * a_second)
    moments = np.where(sane, numbers, 0).astype(f"datetime64[{unit}]").astype("datetime64[ms]").astype(np.int64)
    return np.where(sane, moments, NO_TIME)


def one_of(column: Any, name: str, faults: Faults, allowed: Collection[str], *, required: bool) -> Objects:
    """A word of a closed list, in lower case whatever the file's."""
    values = text(column, name, faults)
    words = np.array([None if value is None else value.lower() for value in values], dtype=object)
    missing = words == None  # noqa: E711  elementwise
    if required:
        faults.add(missing, f"{name} is missing")
    faults.add(~missing & ~np.isin(words, list(allowed)), f"unknown {name}")
    return words


def emails(column: Any, name: str, faults: Faults) -> Objects:
    """E-mail addresses of the form the `users` validator takes. A fault never shows the address."""
    values = text(column, name, faults)
    faults.add(values == None, f"{name} is missing")  # noqa: E711  elementwise
    good = np.array([v is not None and len(v) <= MAX_EMAIL and re.search(EMAIL, v) is not None for v in values])
    faults.add(~good.astype(bool), f"{name} is not an e-mail address")
    return values


def words(column: Any, name: str, faults: Faults, separators: str = ";|") -> Objects:
    """Lists of words, from lists or separated text; blanks and repeats are dropped, empty is missing."""
    known: dict[str, list[str] | None] = {}
    values = np.full(len(column), None, dtype=object)
    reasons: dict[str, list[int]] = {}
    for i, value in enumerate(objects_of(column)):
        if isinstance(value, str):
            if value not in known:
                known[value] = _split(value, separators)
            found = known[value]
        elif isinstance(value, list) and all(item is None or isinstance(item, str) for item in value):
            found = _tidy(value)
        elif value is None:
            continue
        else:
            reasons.setdefault(f"{name} is not a list of words", []).append(i)
            continue
        if found and (len(found) > MAX_WORDS or max(map(len, found)) > MAX_WORD):
            reasons.setdefault(f"{name} is longer than {MAX_WORDS:,} words of {MAX_WORD}", []).append(i)
        else:
            values[i] = found
    for reason, rows in reasons.items():
        mask = np.zeros(len(column), dtype=bool)
        mask[rows] = True
        faults.add(mask, reason)
    return values


def objects_of(column: Any) -> list[Any]:
    """A column as Python values, bytes where text is not UTF-8."""
    if isinstance(column, list):
        return column
    part = plain(column)
    return part if isinstance(part, list) else list(part.to_pylist())


def _split(value: str, separators: str) -> list[str] | None:
    """`a;b`, `a|b` or a JSON list in text, as CSV files have it."""
    if len(value) > MAX_TEXT * 10:
        return ["x" * (MAX_WORD + 1)]
    if value.lstrip().startswith("["):
        try:
            items = json.loads(value)
        except ValueError:
            items = None
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return _tidy(items)
    return _tidy(re.split(f"[{re.escape(separators)}]", value))


def _tidy(items: list[str | None]) -> list[str] | None:
    kept = dict.fromkeys(item.strip() for item in items if item and item.strip())
    return list(kept) or None
