"""Parsed columns to MongoDB documents: the room's one place that spells the database's field names."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bson import ObjectId
from numpy.typing import NDArray

from features.dates import to_millisecond
from features.schema import names
from features.schema.ids import content_object_id, decode_id, encode_id
from features.sources.kinds import WHOLE_FEATURES, Kind, Parsed

Document = dict[str, Any]
Values = Sequence[Any]


class Target(NamedTuple):
    """Where a kind of row is written."""

    collection: str
    key: str | None
    """The field that says which document a row is about; None where rows only add documents."""
    reads: tuple[str, ...] = ()
    """All that is read of a document to see whether a row changes it. Never `spotifyTokens`."""
    stamps: tuple[str, ...] = ()
    """Set to the time of the import in a new document; the last of them also in a changed one."""


TARGETS: Mapping[Kind, Target] = {
    "plays": Target(names.LISTENING_HISTORY, None),
    "feedback": Target(names.USER_FEEDBACK, None),
    "tracks": Target(
        names.TRACKS,
        "spotifyId",
        (
            "name",
            "artists",
            "album.id",
            "album.name",
            "album.releaseDate",
            "duration",
            "popularity",
            "explicit",
            "markets",
            *(f"audioFeatures.{feature.field}" for feature in names.AUDIO_FEATURES),
        ),
        ("createdAt", "lastUpdated"),
    ),
    "users": Target(
        names.USERS,
        "userId",
        (
            "email",
            "name",
            "spotifyId",
            "country",
            "createdAt",
            "preferences.explicitContent",
            "preferences.favoriteGenres",
        ),
    ),
}


def to_documents(kind: Kind, parsed: Parsed, now: datetime) -> list[Document]:
    """One document a row, its `_id` made from what the row is about; a missing value is no field."""
    row = _Columns(parsed)
    build = {"plays": _plays, "feedback": _feedback, "tracks": _tracks, "users": _users}[kind]
    return build(row, utc_ms(now))


def utc_ms(moment: datetime) -> datetime:
    """A moment as BSON keeps it: UTC, to the millisecond, and without a zone as numpy's dates are."""
    return to_millisecond(moment.astimezone(UTC).replace(tzinfo=None))


class _Columns:
    """Parsed columns as lists for documents; a column the file hasn't is all None."""

    def __init__(self, parsed: Parsed) -> None:
        self._parsed = parsed
        self._size = len(next(iter(parsed.values())))

    def array(self, name: str) -> NDArray[Any] | None:
        return self._parsed.get(name)

    def __getitem__(self, name: str) -> Values:
        values = self._parsed.get(name)
        if values is None:
            return [None] * self._size
        if values.dtype.kind == "f":
            return _none_for_nan(values, values.astype(object))
        return list(values.tolist())  # datetime64 becomes datetime, NaT None

    def whole(self, name: str) -> Values:
        """Numbers, those without a fraction as integers."""
        values = self._parsed.get(name)
        if values is None:
            return [None] * self._size
        mixed = values.astype(object)
        integral = values == np.floor(values)
        mixed[integral] = values[integral].astype(np.int64)
        return _none_for_nan(values, mixed)

    def ids(self, name: str) -> tuple[Values, Values]:
        """Ids with the type the database is to hold, and the text that stands for them in a hash."""
        codes, texts = pd.factorize(self._parsed[name])
        decoded = [decode_id(text) for text in texts]
        encoded = [encode_id(value) for value in decoded]
        return [decoded[code] for code in codes], [encoded[code] for code in codes]

    def recommendation_ids(self) -> Values:
        """ObjectIds, as `recommendations._id` are, also from their bare 24 digits; other text stays."""
        return [
            None if text is None else ObjectId(text) if ObjectId.is_valid(text) else decode_id(text)
            for text in self["recommendation_id"]
        ]


def _none_for_nan(values: NDArray[Any], as_objects: NDArray[Any]) -> list[Any]:
    as_objects[np.isnan(values)] = None
    return list(as_objects.tolist())


def _documents(fields: Mapping[str, Values]) -> list[Document]:
    """A document a row, without the fields that are None there."""
    there = {key: values.count(None) for key, values in fields.items()}
    size = len(next(iter(fields.values())))
    keys = tuple(key for key, missing in there.items() if missing < size)
    rows = zip(*(fields[key] for key in keys), strict=True)
    if not keys:
        return [{} for _ in range(size)]
    if not any(there[key] for key in keys):  # the usual case, at three times the speed of the other
        return [dict(zip(keys, row, strict=True)) for row in rows]
    return [{key: value for key, value in zip(keys, row, strict=True) if value is not None} for row in rows]


def _nested(fields: Mapping[str, Values]) -> list[Document | None]:
    return [document or None for document in _documents(fields)]


def _millis(times: NDArray[Any]) -> list[int]:
    return list(times.astype(np.int64).tolist())


def _plays(row: _Columns, now: datetime) -> list[Document]:
    users, user_texts = row.ids("user_id")
    played_at = row.array("played_at")
    assert played_at is not None
    keys = zip(user_texts, row["track_id"], _millis(played_at), strict=True)
    return _documents(
        {
            "_id": [content_object_id("play", *key) for key in keys],
            "userId": users,
            "trackId": row["track_id"],
            "trackName": row["track_name"],
            "artistName": row["artist_name"],
            "albumName": row["album_name"],
            "genres": row["genres"],
            "playedAt": row["played_at"],
            "playDuration": row.whole("play_ms"),
            "trackDuration": row.whole("duration_ms"),
            "completionRate": _completion(row),
            "context": _nested(
                {
                    "source": row["source"],
                    "shuffle": row["shuffle"],
                    "recommendationId": row.recommendation_ids(),
                }
            ),
            "importedAt": [moment or now for moment in row["imported_at"]],
        }
    )


def _completion(row: _Columns) -> Values:
    """The completion given, else the played share of the track, else None: unknown is not zero."""
    given, play_ms, duration_ms = (row.array(name) for name in ("completion", "play_ms", "duration_ms"))
    if play_ms is None or duration_ms is None:
        return row["completion"]
    with np.errstate(divide="ignore", invalid="ignore"):
        derived = np.where(duration_ms > 0, np.clip(play_ms / duration_ms, 0, 1), np.nan)
    values = derived if given is None else np.where(np.isnan(given), derived, given)
    return _none_for_nan(values, values.astype(object))


def _feedback(row: _Columns, _: datetime) -> list[Document]:
    users, user_texts = row.ids("user_id")
    created_at = row.array("created_at")
    assert created_at is not None
    keys = zip(user_texts, row["track_id"], row["signal"], _millis(created_at), strict=True)
    return _documents(
        {
            "_id": [content_object_id("feedback", *key) for key in keys],
            "userId": users,
            "trackId": row["track_id"],
            "signal": row["signal"],
            "strength": row.whole("strength"),
            "context": _nested(
                {
                    "source": row["source"],
                    "recommendationId": row.recommendation_ids(),
                    "playDuration": row.whole("play_ms"),
                    "totalDuration": row.whole("duration_ms"),
                }
            ),
            "metadata": _nested({"platform": row["platform"]}),
            "createdAt": row["created_at"],
        }
    )


def _tracks(row: _Columns, _: datetime) -> list[Document]:
    audio = {
        feature.field: row.whole(feature.name) if feature.name in WHOLE_FEATURES else row[feature.name]
        for feature in names.AUDIO_FEATURES
    }
    album = {"id": row["album_id"], "name": row["album"], "releaseDate": row["release_date"]}
    return _documents(
        {
            "_id": [content_object_id("track", track) for track in row["track_id"]],
            "spotifyId": row["track_id"],
            "name": row["name"],
            "artists": [_artists(*track) for track in zip(row["artist"], row["artist_id"], row["genres"], strict=True)],
            "album": _nested(album),
            "duration": row.whole("duration_ms"),
            "popularity": row.whole("popularity"),
            "explicit": row["explicit"],
            "markets": row["markets"],
            "audioFeatures": _nested(audio),
        }
    )


def _artists(artist_names: list[str] | None, artist_id: str | None, genres: list[str] | None) -> list[Document] | None:
    """A track's artists; id and genres go to the first, since the model keeps genres with artists only."""
    artists: list[Document] = [{"name": name} for name in artist_names or ()]
    first = {key: value for key, value in (("id", artist_id), ("genres", genres)) if value is not None}
    if first and not artists:
        artists = [{}]
    if artists:
        artists[0].update(first)
    return artists or None


def _users(row: _Columns, _: datetime) -> list[Document]:
    users, user_texts = row.ids("user_id")
    preferences = {"explicitContent": row["explicit_content"], "favoriteGenres": row["favorite_genres"]}
    return _documents(
        {
            "_id": [content_object_id("user", user) for user in user_texts],
            "userId": users,
            "email": row["email"],
            "name": row["name"],
            "spotifyId": row["spotify_id"],
            "country": row["country"],
            "createdAt": row["created_at"],
            "preferences": _nested(preferences),
        }
    )
