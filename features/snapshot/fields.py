"""What a snapshot reads of each collection: one list of fields, from which projection and both readers follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from features.schema import names
from features.schema.names import AUDIO_FEATURES

Kind = Literal["id", "text", "number", "date", "flag", "texts", "artists", "accepted"]

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "id": pa.string(),
    "text": pa.string(),
    "number": pa.float64(),
    "date": pa.timestamp("ms", tz="UTC"),
    "flag": pa.bool_(),
    "texts": pa.list_(pa.string()),
    "accepted": pa.list_(pa.string()),
    "artists": pa.list_(pa.struct([("id", pa.string()), ("name", pa.string()), ("genres", pa.list_(pa.string()))])),
}


@dataclass(frozen=True)
class Field:
    """One field: our column, the database's dotted path, what it may hold, and whether a document needs it."""

    column: str
    path: str
    kind: Kind
    required: bool = False


@dataclass(frozen=True)
class Source:
    """A collection as a snapshot reads it.

    `known_at` names the column that says since when a document is known; without one, the collection is read
    as it is now. `in_bulk` lets the Arrow reader try first. `in_spans` is for a collection that only grows, but for
    what is removed: what was known at the last snapshot is not read again.
    """

    table: str
    collection: str
    fields: tuple[Field, ...]
    known_at: str | None = None
    in_bulk: bool = False
    in_spans: bool = False
    of_type: str | None = None
    """For a collection of many things: the only `type` that is read."""

    @property
    def known_path(self) -> str:
        """The database's path of `known_at`."""
        return next(field.path for field in self.fields if field.column == self.known_at)

    @property
    def projection(self) -> dict[str, Any]:
        """The fields asked of the server, and no other: tokens, e-mails and addresses stay where they are.

        Sub-documents are asked for whole: a server spends more on picking twelve fields out than on sending them.
        """
        return {"_id": 1} | {field.path.split(".")[0]: 1 for field in self.fields}

    @property
    def raw_schema(self) -> pa.Schema:
        """Columns as either reader returns them, before any rule is applied."""
        return pa.schema(
            [
                ("document_id", pa.string()),
                *((field.column, ARROW_TYPES[field.kind]) for field in self.fields),
            ]
        )


def _audio() -> tuple[Field, ...]:
    return tuple(Field(f.name, f"audioFeatures.{f.field}", "number") for f in AUDIO_FEATURES)


PLAYS = Source(
    "plays",
    names.LISTENING_HISTORY,
    (
        Field("user_id", "userId", "id", required=True),
        Field("track_id", "trackId", "text", required=True),
        Field("played_at", "playedAt", "date", required=True),
        Field("completion_rate", "completionRate", "number"),
        Field("played_percentage", "playedPercentage", "number"),
        Field("play_ms", "playDuration", "number"),
        Field("duration_ms", "trackDuration", "number"),
        Field("track_name", "trackName", "text"),
        Field("artist_name", "artistName", "text"),
        Field("genres", "genres", "texts"),
        Field("source", "context.source", "text"),
        *_audio(),
        Field("imported_at", "importedAt", "date"),
        Field("created_at", "createdAt", "date"),
    ),
    known_at="imported_at",
    in_bulk=True,
    in_spans=True,
)

FEEDBACK = Source(
    "feedback",
    names.USER_FEEDBACK,
    (
        Field("user_id", "userId", "id", required=True),
        Field("track_id", "trackId", "text", required=True),
        Field("signal", "signal", "text", required=True),
        Field("strength", "strength", "number"),
        Field("created_at", "createdAt", "date", required=True),
    ),
    known_at="created_at",
    in_bulk=True,
)

TRACKS = Source(
    "tracks",
    names.TRACKS,
    (
        Field("track_id", "spotifyId", "text", required=True),
        Field("name", "name", "text"),
        Field("artists", "artists", "artists"),
        Field("album_id", "album.id", "text"),
        Field("album", "album.name", "text"),
        Field("released_at", "album.releaseDate", "date"),
        Field("duration_ms", "duration", "number"),
        Field("popularity", "popularity", "number"),
        Field("explicit", "explicit", "flag"),
        Field("markets", "markets", "texts"),
        *_audio(),
    ),
)

USERS = Source(
    "users",
    names.USERS,
    (
        Field("user_id", "userId", "id", required=True),
        Field("country", "country", "text"),
        Field("explicit_content", "preferences.explicitContent", "flag"),
        Field("favorite_genres", "preferences.favoriteGenres", "texts"),
    ),
)

SETTINGS = Source(
    "settings",
    names.USER_SETTINGS,
    (
        Field("user_id", "userId", "id", required=True),
        Field("genres", "preferences.music.genres", "texts"),
        Field("artists", "preferences.music.artists", "texts"),
        Field("energy", "preferences.music.energy", "number"),
        Field("valence", "preferences.music.valence", "number"),
        Field("danceability", "preferences.music.danceability", "number"),
    ),
)

SESSIONS = Source(
    "sessions",
    names.CHAT_SESSIONS,
    (
        Field("user_id", "userId", "id", required=True),
        Field("track_ids", "recommendations", "accepted"),
        Field("last_message_at", "lastMessageAt", "date"),
        Field("ended_at", "endedAt", "date"),
        Field("started_at", "startedAt", "date"),
        Field("created_at", "createdAt", "date"),
    ),
)

ACCEPTANCES = Source(
    "acceptances",
    names.EVENTS,
    (
        Field("user_id", "userId", "id", required=True),
        Field("track_id", "data.trackId", "text"),
        Field("track_ids", "data.trackIds", "texts"),
        Field("accepted_at", "timestamp", "date", required=True),
    ),
    of_type="recommendation.accept",
)

SOURCES = (PLAYS, FEEDBACK, TRACKS, USERS, SETTINGS, SESSIONS, ACCEPTANCES)
