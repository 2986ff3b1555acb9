"""The four kinds of table that can be imported: their columns, and how each column is checked."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.schema import names
from features.sources import columns, values
from features.sources.columns import Faults
from features.sources.tables import Chunk

Kind = Literal["plays", "feedback", "tracks", "users"]
Parse = Callable[[Any, str, Faults, datetime], NDArray[Any]]
Parsed = dict[str, NDArray[Any]]
"""A value a row for each column the file has, by our name."""


class Column(NamedTuple):
    """How a column is parsed, and whether a table must have it."""

    parse: Parse
    required: bool = False


def _id(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return columns.ids(column, name, faults)


def _optional_id(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return columns.optional_ids(column, name, faults)


def _text(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return columns.text(column, name, faults)


def _flag(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return columns.flags(column, name, faults)


def _words(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return values.words(column, name, faults)


def _artists(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return values.words(column, name, faults, separators=";")


def _email(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return values.emails(column, name, faults)


def _date(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    return values.dates(column, name, faults)


def _time(column: Any, name: str, faults: Faults, now: datetime) -> NDArray[Any]:
    return values.times(column, name, faults, now)


def _required_time(column: Any, name: str, faults: Faults, now: datetime) -> NDArray[Any]:
    return values.times(column, name, faults, now, required=True)


def _number(low: float, high: float, *, whole: bool = False) -> Parse:
    return lambda column, name, faults, _: columns.numbers(column, name, faults, low, high, whole=whole)


def _one_of(allowed: tuple[str, ...], *, required: bool = False) -> Parse:
    return lambda column, name, faults, _: values.one_of(column, name, faults, allowed, required=required)


def _duration(column: Any, name: str, faults: Faults, _: datetime) -> NDArray[Any]:
    found = columns.numbers(column, name, faults, -np.inf, np.inf)
    faults.add(found < 0, f"{name} is negative")
    faults.add(found > names.MAX_PLAY_MS, f"{name} is longer than 24 h")
    return np.round(found)


WHOLE_FEATURES = frozenset({"key", "mode", "time_signature"})

KINDS: Mapping[Kind, Mapping[str, Column]] = {
    "plays": {
        "user_id": Column(_id, required=True),
        "track_id": Column(_id, required=True),
        "played_at": Column(_required_time, required=True),
        "play_ms": Column(_duration),
        "duration_ms": Column(_duration),
        "completion": Column(_number(0, 1)),
        "imported_at": Column(_time),
        "source": Column(_text),
        "shuffle": Column(_flag),
        "track_name": Column(_text),
        "artist_name": Column(_text),
        "album_name": Column(_text),
        "genres": Column(_words),
        "recommendation_id": Column(_optional_id),
    },
    "feedback": {
        "user_id": Column(_id, required=True),
        "track_id": Column(_id, required=True),
        "signal": Column(_one_of(names.SIGNALS, required=True), required=True),
        "created_at": Column(_required_time, required=True),
        "strength": Column(_number(1, 5)),
        "recommendation_id": Column(_optional_id),
        "play_ms": Column(_duration),
        "duration_ms": Column(_duration),
        "source": Column(_text),
        "platform": Column(_one_of(names.PLATFORMS)),
    },
    "tracks": {
        "track_id": Column(_id, required=True),
        "name": Column(_text),
        "artist": Column(_artists),
        "artist_id": Column(_optional_id),
        "album": Column(_text),
        "album_id": Column(_optional_id),
        "release_date": Column(_date),
        "genres": Column(_words),
        "duration_ms": Column(_duration),
        "popularity": Column(_number(0, 100)),
        "explicit": Column(_flag),
        "markets": Column(_words),
        **{
            feature.name: Column(_number(feature.low, feature.high, whole=feature.name in WHOLE_FEATURES))
            for feature in names.AUDIO_FEATURES
        },
    },
    "users": {
        "user_id": Column(_id, required=True),
        "email": Column(_email, required=True),
        "name": Column(_text),
        "spotify_id": Column(_optional_id),
        "country": Column(_text),
        "explicit_content": Column(_flag),
        "favorite_genres": Column(_words),
        "created_at": Column(_time),
    },
}


def parse_chunk(kind: Kind, chunk: Chunk, theirs: Mapping[str, str], now: datetime) -> tuple[Parsed, Faults]:
    """A chunk's columns, parsed, and its unusable rows; `theirs` names the file's column for each of ours."""
    faults = Faults(len(chunk.lines))
    parsed = {
        ours: column.parse(chunk.columns[theirs[ours]], ours, faults, now)
        for ours, column in KINDS[kind].items()  # in our order, so that a row's reason is the same in any file
        if ours in theirs
    }
    return parsed, faults
