"""A database that has lived for years before any validator or index of ours: both drafts' shapes, and every twentieth
document broken in one way, which is known.

`KINDS` is the one table of what is broken how and what is expected of it.
"""

import base64
import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, NamedTuple

import bson
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import PyMongoError

from features.schema import names
from features.schema.names import AUDIO_FEATURES, MAX_ID_BYTES, MAX_PLAY_MS

Document = dict[str, Any]

SHARES = {
    names.USERS: 1_500,
    names.USER_SETTINGS: 800,
    names.TRACKS: 4_000,
    names.RECOMMENDATIONS: 1_500,
    names.RECOMMENDATIONS_CACHE: 1_200,
    names.LISTENING_HISTORY: 62_000,
    names.USER_FEEDBACK: 12_000,
    names.CHAT_SESSIONS: 3_000,
    names.EVENTS: 14_000,
}
"""Documents of a hundred thousand, in the order in which they are made."""
WHOLE = sum(SHARES.values())
BROKEN_ONE_IN = 20
BATCH_DOCUMENTS = 5_000
YEARS_DAYS = 3 * 365
MAX_EVENT_DAYS = 80
"""The contract's TTL takes events after 90 days; none may go while a test runs."""
MAX_ENDED_DAYS = 20
"""Likewise sessions, 30 days after their end."""

ACCEPT = "recommendation.accept"
ENCRYPTED = "U2FsdGVkX1"
"""How base64 of OpenSSL's `Salted__` begins, and with it everything that CryptoJS encrypts."""
FIRST_DRAFT_AUDIO = tuple(f.field for f in AUDIO_FEATURES if f.field != "timeSignature")
SECOND_DRAFT_AUDIO = tuple(name for name in FIRST_DRAFT_AUDIO if name not in {"key", "mode"})


# ---- what is broken -------------------------------------------------------------------------------------------------

GONE = object()
"""For a value: the field is taken away."""
PARTNERS = object()
"""For a value: the same as a sound document of the collection has."""
Numbered = Callable[[int], Any]
"""For a value: another one for each document, made from its number."""
BENT_MARK, BENT_BYTES = "\x1a\x1a", b"\xff\xfe"
"""What stands in a text until it is encoded, and what takes its place: bytes that no UTF-8 has."""


@dataclass(frozen=True)
class Kind:
    """One way to be broken, and what is expected of such a document.

    Attributes:
        collection: where.
        name: what is wrong, in words.
        changes: what makes a sound document broken: value, `GONE`, `PARTNERS` or a `Numbered`, by dotted path.
        reason: why a snapshot sets it aside; None where it uses the document all the same, or never reads it.
        breaks_validator: whether MongoDB, asked to keep the contract's validator, refuses it.
        passes_built_in: whether the built-in server lets it pass all the same.
        unique: the unique index that it stands in the way of.
        is_read: whether a snapshot asks the server for it.
    """

    collection: str
    name: str
    changes: Mapping[str, Any]
    reason: str | None = None
    breaks_validator: bool = True
    passes_built_in: bool = False
    unique: str = ""
    is_read: bool = True

    @property
    def title(self) -> str:
        return f"{self.collection}: {self.name}"

    @property
    def at_least(self) -> int:
        """How many it takes to stand in the way: one value nobody else has is unique, nothing included."""
        return 2 if self.unique and PARTNERS not in self.changes.values() else 1

    @property
    def is_bent(self) -> bool:
        return any(isinstance(value, str) and BENT_MARK in value for value in self.changes.values())


NAN = float("nan")
YEAR_3000 = datetime(3000, 1, 1, tzinfo=UTC)
YEAR_20000 = DatetimeMS(568_971_820_800_000)
YEAR_1960 = datetime(1960, 1, 1, tzinfo=UTC)
THREE_DAYS_MS = 3 * 86_400_000
TOO_LONG = "u" * (MAX_ID_BYTES + 1)
DURATION_RANGE = f"is outside 0..{MAX_PLAY_MS:g}"


def _advice(**more: Any) -> list[Document]:
    """A session's recommendations: one, accepted."""
    return [{"messageId": "m-1", "trackIds": ["track-a", "track-b"], "strategy": "hybrid", "accepted": True} | more]


def _candidates(**more: Any) -> list[Document]:
    metadata = {"artist": "Artist", "trackName": "Song", "genres": ["pop"], "audioFeatures": None}
    one = {"trackId": "track-a", "score": 0.9, "rank": 1, "reasons": ["By an artist you play"], "metadata": metadata}
    return [one | more]


_play = partial(Kind, names.LISTENING_HISTORY)
_said = partial(Kind, names.USER_FEEDBACK)
_track = partial(Kind, names.TRACKS)
_user = partial(Kind, names.USERS)
_setting = partial(Kind, names.USER_SETTINGS)
_session = partial(Kind, names.CHAT_SESSIONS)
_accept = partial(Kind, names.EVENTS)  # a broken event is an acceptance if nothing else is said
_list = partial(Kind, names.RECOMMENDATIONS, is_read=False)
_cached = partial(Kind, names.RECOMMENDATIONS_CACHE, is_read=False)

_ALL = (
    _play("userId missing", {"userId": GONE}, "user_id is missing"),
    _play("userId null", {"userId": None}, "user_id is missing"),
    _play("userId a number", {"userId": 4711}, "userId is of type int"),
    _play("userId empty", {"userId": ""}, "user_id is missing", breaks_validator=False),
    _play("userId blank", {"userId": " \t"}, "user_id is missing", breaks_validator=False),
    _play("userId too long", {"userId": TOO_LONG}, "user_id is longer than 256 bytes", breaks_validator=False),
    _play("trackId missing", {"trackId": GONE}, "track_id is missing"),
    _play("trackId a number", {"trackId": 12}, "trackId is of type int"),
    _play("trackId an ObjectId", {"trackId": ObjectId("64c0" * 6)}, "trackId is of type ObjectId"),
    _play("trackId empty", {"trackId": ""}, "track_id is missing", breaks_validator=False),
    _play("trackId with a NUL", {"trackId": "abc\0def"}, "track_id holds a NUL character", breaks_validator=False),
    _play("trackId not UTF-8", {"trackId": f"abc{BENT_MARK}def"}, "track_id is not UTF-8", breaks_validator=False),
    _play("playedAt missing", {"playedAt": GONE}, "played_at is missing"),
    _play("playedAt a string", {"playedAt": "2025-03-01T12:00:00Z"}, "playedAt is of type string"),
    _play("playedAt a number", {"playedAt": Int64(1_740_830_400_000)}, "playedAt is of type Int64"),
    _play("playedAt in 3000", {"playedAt": YEAR_3000}, "played_at is in the future", breaks_validator=False),
    _play("playedAt in 20000", {"playedAt": YEAR_20000}, "played_at is in the future", breaks_validator=False),
    _play("playedAt in 1960", {"playedAt": YEAR_1960}, "played_at is before 1970", breaks_validator=False),
    _play("importedAt a string", {"importedAt": "yesterday"}, "importedAt is of type string"),
    _play("importedAt in 3000", {"importedAt": YEAR_3000}, "imported_at is in the future", breaks_validator=False),
    _play("playDuration negative", {"playDuration": -1}, f"play_ms {DURATION_RANGE}"),
    _play("playDuration a string", {"playDuration": "215000"}, "playDuration is of type string"),
    _play("playDuration three days", {"playDuration": THREE_DAYS_MS}, f"play_ms {DURATION_RANGE}"),
    _play("trackDuration three days", {"trackDuration": THREE_DAYS_MS}, f"duration_ms {DURATION_RANGE}"),
    _play("completionRate a string", {"completionRate": "0.5"}, "completionRate is of type string"),
    _play(
        "completionRate NaN", {"completionRate": NAN}, "completion_rate is not a finite number", passes_built_in=True
    ),
    _play("completionRate 1.7", {"completionRate": 1.7}),
    _play("playedPercentage 250", {"playedPercentage": 250}),
    _play("audioFeatures a string", {"audioFeatures": "none"}, "audioFeatures is not an object"),
    _play("energy a string", {"audioFeatures.energy": "0.5"}, "audioFeatures.energy is of type string"),
    _play("energy 7", {"audioFeatures.energy": 7}, "energy is outside 0..1"),
    _play("energy true", {"audioFeatures.energy": True}, "audioFeatures.energy is of type bool"),
    _play("context an array", {"context": [{"source": "radio"}]}, "context is not an object"),
    _play("source a number", {"context.source": 3}, "context.source is of type int"),
    _play("repeat unknown", {"context.repeat": "sometimes"}),
    _play("genres a string", {"genres": "pop"}, "genres is of type string"),
    _play("genres with a number", {"genres": ["pop", 7]}, "genres is of type array"),
    _play("trackName a number", {"trackName": 1999}, "trackName is of type int"),
    _said("signal unknown", {"signal": "meh"}, "unknown signal"),
    _said("signal in capitals", {"signal": "LIKE"}, "unknown signal"),
    _said("signal null", {"signal": None}, "signal is missing"),
    _said("strength 0", {"strength": 0}, "strength is outside 1..5"),
    _said("strength 9", {"strength": 9}, "strength is outside 1..5"),
    _said("strength a string", {"strength": "5"}, "strength is of type string"),
    _said("trackId null", {"trackId": None}, "track_id is missing"),
    _said("userId missing", {"userId": GONE}, "user_id is missing"),
    _said("createdAt missing", {"createdAt": GONE}, "created_at is missing"),
    _said("createdAt a string", {"createdAt": "2025-03-01"}, "createdAt is of type string"),
    _said("createdAt in 3000", {"createdAt": YEAR_3000}, "created_at is in the future", breaks_validator=False),
    _said("platform unknown", {"metadata.platform": "fridge"}),
    _track("spotifyId missing", {"spotifyId": GONE}, "track_id is missing", unique="spotifyId_1"),
    _track("spotifyId a number", {"spotifyId": int}, "spotifyId is of type int"),
    _track("spotifyId repeated", {"spotifyId": PARTNERS}, breaks_validator=False, unique="spotifyId_1"),
    _track("artists a string", {"artists": "Somebody"}, "artists is of type string"),
    _track("artists with a string", {"artists": [{"name": "A"}, "B"]}, "artists is of type array"),
    _track("album a string", {"album": "Best of"}, "album is not an object"),
    _track("releaseDate a string", {"album.releaseDate": "1984"}, "album.releaseDate is of type string"),
    _track("popularity 900", {"popularity": 900}, "popularity is outside 0..100"),
    _track("duration negative", {"duration": -200_000}, f"duration_ms {DURATION_RANGE}"),
    _track("markets a string", {"markets": "DE"}, "markets is of type string"),
    _track("explicit a string", {"explicit": "yes"}, "explicit is of type string"),
    _track("analysis a string", {"analysis": "pending"}),
    _user("userId missing", {"userId": GONE}, "user_id is missing", unique="userId_1"),
    _user("userId repeated", {"userId": PARTNERS}, breaks_validator=False, unique="userId_1"),
    _user("email missing", {"email": GONE}, unique="email_1"),
    _user("email without @", {"email": "nobody-{}.example.com".format}),
    _user("email repeated", {"email": PARTNERS}, breaks_validator=False, unique="email_1"),
    _user("spotifyId null", {"spotifyId": None}, unique="spotifyId_1"),
    _user("spotifyId repeated", {"spotifyId": PARTNERS}, breaks_validator=False, unique="spotifyId_1"),
    _user("preferences a string", {"preferences": "loud"}, "preferences is not an object"),
    _user("country a number", {"country": 49}, "country is of type int"),
    _user("createdAt a string", {"createdAt": "2023-01-01"}),
    _setting("userId missing", {"userId": GONE}, "user_id is missing", unique="userId_1"),
    _setting("userId repeated", {"userId": PARTNERS}, breaks_validator=False, unique="userId_1"),
    _setting("energy 7", {"preferences.music.energy": 7}, "energy is outside 0..1"),
    _setting("genres numbers", {"preferences.music.genres": [1, 2]}, "preferences.music.genres is of type array"),
    _setting("theme unknown", {"preferences.interface.theme": "neon"}),
    _session("userId missing", {"userId": GONE}, "user_id is missing"),
    _session("userId a number", {"userId": 4711}, "userId is of type int"),
    _session("sessionId missing", {"sessionId": GONE}, unique="sessionId_1"),
    _session("sessionId repeated", {"sessionId": PARTNERS}, breaks_validator=False, unique="sessionId_1"),
    _session("recommendations a string", {"recommendations": "none"}, "recommendations is of type string"),
    _session("recommendation a number", {"recommendations": [7]}, "recommendations is of type array"),
    _session("trackIds a string", {"recommendations": _advice(trackIds="a")}, "recommendations is of type array"),
    _session("accepted a string", {"recommendations": _advice(accepted="yes")}, "recommendations is of type array"),
    _session("startedAt a string", {"startedAt": "today"}, "startedAt is of type string"),
    _session(
        "accepted at no time",
        {"recommendations": _advice(), "lastMessageAt": GONE, "endedAt": GONE, "startedAt": GONE, "createdAt": GONE},
        "accepted_at is missing",
        breaks_validator=False,
    ),
    _session(
        "accepted in 3000",
        {"recommendations": _advice(), "lastMessageAt": YEAR_3000},
        "accepted_at is in the future",
        breaks_validator=False,
    ),
    _session("role unknown", {"messages": [{"role": "robot", "content": "Hello"}]}),
    _accept("timestamp missing", {"timestamp": GONE}, "accepted_at is missing"),
    _accept("timestamp a string", {"timestamp": "today"}, "timestamp is of type string"),
    _accept("timestamp in 3000", {"timestamp": YEAR_3000}, "accepted_at is in the future", breaks_validator=False),
    _accept("data missing", {"data": GONE}, "track_ids is missing", breaks_validator=False),
    _accept("data without tracks", {"data": {"page": 1}}, "track_ids is missing", breaks_validator=False),
    _accept("data a string", {"data": "track-a"}, "data is not an object"),
    _accept("trackId a number", {"data": {"trackId": 7}}, "data.trackId is of type int", breaks_validator=False),
    _accept("trackIds numbers", {"data": {"trackIds": [1]}}, "data.trackIds is of type array", breaks_validator=False),
    _accept("userId missing", {"userId": GONE}, "user_id is missing", breaks_validator=False),
    _accept("source unknown", {"metadata.source": "fridge"}),
    _accept("timestamp missing, a login", {"type": "user.login", "data": None, "timestamp": GONE}, is_read=False),
    _accept("type missing", {"type": GONE}, is_read=False),
    _list("candidates missing", {"candidates": GONE}),
    _list("strategy unknown", {"strategy": "horoscope"}),
    _list("score 7", {"candidates": _candidates(score=7)}),
    _cached("strategy unknown", {"strategy": "horoscope"}),
    _cached("score 7", {"recommendations": [{"trackId": "track-a", "score": 7}]}),
    _cached("generatedAt missing", {"generatedAt": GONE}),
)
KINDS = {kind.title: kind for kind in _ALL}
"""By title. What is not here is sound."""


# ---- what comes out -------------------------------------------------------------------------------------------------


class Broken(NamedTuple):
    """A broken document: where, which, and its kind's title."""

    collection: str
    document_id: Any
    kind: str


@dataclass(frozen=True)
class Legacy:
    """What is in the database.

    Attributes:
        now: the moment that the history leads up to.
        counts: documents by collection, broken ones included.
        broken: every broken document.
        acceptances: events of the type that a snapshot reads, broken ones included.
        plain_tokens: `_id`s of users with a Spotify token that anybody can read.
        raw_addresses: `_id`s of events with an IP address that anybody can read.
    """

    now: datetime
    counts: Mapping[str, int]
    broken: tuple[Broken, ...]
    acceptances: int
    plain_tokens: tuple[Any, ...]
    raw_addresses: tuple[Any, ...]

    def kinds_in(self, collection: str) -> dict[Any, Kind]:
        """The kind of each broken document of a collection, by `_id`."""
        return {entry.document_id: KINDS[entry.kind] for entry in self.broken if entry.collection == collection}

    def breaking_validator(self, collection: str, *, built_in: bool) -> int:
        """How many documents of a collection its validator refuses, on the built-in server or on MongoDB."""
        kinds = self.kinds_in(collection).values()
        return sum(kind.breaks_validator and not (built_in and kind.passes_built_in) for kind in kinds)


def holds_plain_token(user: Document) -> bool:
    tokens = user.get("spotifyTokens") or {}
    kept = (tokens.get("accessToken"), tokens.get("refreshToken"))
    return any(token is not None and not token.startswith(ENCRYPTED) for token in kept)


def holds_raw_address(event: Document) -> bool:
    address = (event.get("metadata") or {}).get("ip")
    return address is not None and ("." in address or ":" in address)


def fill_legacy_database(
    database: Database[Document], documents: int = WHOLE, seed: int = 11, now: datetime | None = None
) -> Legacy:
    """Fills nine collections, puts an old application's indexes on them and a validator on one.

    Same seed, `now` and server, same documents. (A server that refuses text that is not UTF-8 gets none of that kind.)

    Args:
        database: empty.
        documents: altogether; a twentieth is broken.
        seed: for everything that is left to chance.
        now: aware; everything is older, but for what expires, which is a few weeks ahead. Now if not given: a server
            with TTL indexes goes by its own clock.

    Raises:
        ValueError: too few documents for every kind to be there.
    """
    world = _World.of(seed, now or datetime.now(UTC), _counts(documents))
    kinds = [kind for kind in KINDS.values() if not kind.is_bent or _takes_bent_text(database)]
    shares = _broken_shares(world.counts, kinds)
    notes: dict[str, list[Any]] = {"broken": [], "acceptances": [], "plain_tokens": [], "raw_addresses": []}
    for collection, count in world.counts.items():
        slots = _slots(world, [kind for kind in kinds if kind.collection == collection], count, shares[collection])
        for first in range(0, count, BATCH_DOCUMENTS):
            made = _make(world, collection, first, slots[first : first + BATCH_DOCUMENTS])
            _note(notes, collection, made)
            database[collection].insert_many([_insertable(kind, document) for kind, document in made], ordered=False)
    _put_old_rules(database)
    return Legacy(
        world.now,
        world.counts,
        tuple(notes["broken"]),
        len(notes["acceptances"]),
        tuple(notes["plain_tokens"]),
        tuple(notes["raw_addresses"]),
    )


def _counts(documents: int) -> dict[str, int]:
    """Each collection's share; what is left over by rounding are plays."""
    counts = {collection: share * documents // WHOLE for collection, share in SHARES.items()}
    counts[names.LISTENING_HISTORY] += documents - sum(counts.values())
    return counts


def _broken_shares(counts: Mapping[str, int], kinds: list[Kind]) -> dict[str, int]:
    """How many documents of each collection are broken: a twentieth, and enough for each kind; plays even it out."""
    least = dict.fromkeys(counts, 0)
    for kind in kinds:
        least[kind.collection] += kind.at_least
    shares = {collection: max(least[collection], count // BROKEN_ONE_IN) for collection, count in counts.items()}
    others = sum(share for collection, share in shares.items() if collection != names.LISTENING_HISTORY)
    shares[names.LISTENING_HISTORY] = sum(counts.values()) // BROKEN_ONE_IN - others
    if shares[names.LISTENING_HISTORY] < least[names.LISTENING_HISTORY]:
        raise ValueError(f"{sum(counts.values()):,} documents are too few for {len(kinds)} kinds of broken ones")
    return shares


def _slots(world: "_World", kinds: list[Kind], count: int, share: int) -> list[Kind | None]:
    """For each document of a collection, how it is broken, or None."""
    least = [kind for kind in kinds for _ in range(kind.at_least)]
    chosen = itertools.islice(itertools.chain(least, itertools.cycle(kinds)), share)
    slots: list[Kind | None] = [None] * count
    for position, kind in zip(world.rng.sample(range(count), share), chosen, strict=True):
        slots[position] = kind
    return slots


def _make(world: "_World", collection: str, first: int, kinds: list[Kind | None]) -> list[tuple[Kind | None, Document]]:
    """Documents from number `first` on, each sound or broken in its way."""
    made = [_MAKERS[collection](world, first + place, kind) for place, kind in enumerate(kinds)]
    sound = [document for document, kind in zip(made, kinds, strict=True) if kind is None]
    for place, kind in enumerate(kinds):
        if kind is not None:
            shared = [path for path, value in kind.changes.items() if value is PARTNERS]
            partners = [document for document in sound if all(path in document for path in shared)] if shared else sound
            _spoil(made[place], kind, first + place, world.rng.choice(partners))
    return list(zip(kinds, made, strict=True))


def _spoil(document: Document, kind: Kind, number: int, partner: Document) -> None:
    for path, value in kind.changes.items():
        if value is PARTNERS:
            _put(document, path, partner[path])
        else:
            _put(document, path, value(number) if callable(value) else value)


def _put(document: Document, path: str, value: Any) -> None:
    name, _, rest = path.partition(".")
    if rest:
        document[name] = dict(document.get(name) or {})  # a copy: documents share sub-documents
        _put(document[name], rest, value)
    elif value is GONE:
        document.pop(name, None)
    else:
        document[name] = value


def _insertable(kind: Kind | None, document: Document) -> Document | RawBSONDocument:
    if kind is None or not kind.is_bent:
        return document
    return RawBSONDocument(bson.encode(document).replace(BENT_MARK.encode(), BENT_BYTES))


def _takes_bent_text(database: Database[Document]) -> bool:
    """Whether the server keeps text that is not UTF-8, as MongoDB does."""
    raw = bson.encode({"_id": 1, "text": BENT_MARK}).replace(BENT_MARK.encode(), BENT_BYTES)
    try:
        database["legacy_probe"].insert_one(RawBSONDocument(raw))
    except PyMongoError:
        return False
    finally:
        database.drop_collection("legacy_probe")
    return True


def _note(notes: Mapping[str, list[Any]], collection: str, made: list[tuple[Kind | None, Document]]) -> None:
    notes["broken"] += [Broken(collection, document["_id"], kind.title) for kind, document in made if kind]
    ids = [(document["_id"], document) for _, document in made]
    if collection == names.USERS:
        notes["plain_tokens"] += [document_id for document_id, document in ids if holds_plain_token(document)]
    if collection == names.EVENTS:
        notes["acceptances"] += [document_id for document_id, document in ids if document.get("type") == ACCEPT]
        notes["raw_addresses"] += [document_id for document_id, document in ids if holds_raw_address(document)]


# ---- indexes and a validator from before ----------------------------------------------------------------------------

OLD_INDEXES: tuple[tuple[str, Mapping[str, int], Mapping[str, Any]], ...] = (
    # as the contract has them
    (names.LISTENING_HISTORY, {"userId": 1, "playedAt": -1}, {}),
    (names.USER_FEEDBACK, {"trackId": 1, "signal": 1}, {}),
    (names.RECOMMENDATIONS, {"userId": 1, "createdAt": -1}, {}),
    # superseded, in the way of a TTL, not unique, of another TTL
    (names.LISTENING_HISTORY, {"playedAt": -1}, {}),
    (names.EVENTS, {"timestamp": 1}, {}),
    (names.CHAT_SESSIONS, {"endedAt": 1}, {}),
    (names.USERS, {"spotifyId": 1}, {}),
    (names.RECOMMENDATIONS, {"expiresAt": 1}, {}),
    (names.RECOMMENDATIONS_CACHE, {"expiresAt": 1}, {"expireAfterSeconds": 7 * 86_400}),
    # the same keys under another name
    (names.TRACKS, {"album.id": 1}, {"name": "album_lookup"}),
    (names.CHAT_SESSIONS, {"userId": 1, "startedAt": -1}, {"name": "sessions of a user"}),
    # not in the contract
    (names.LISTENING_HISTORY, {"context.source": 1}, {"name": "by_source"}),
    (names.TRACKS, {"name": 1}, {"sparse": True}),
)
"""Collection, keys, options; MongoDB gives the name where there is none."""

OLD_VALIDATOR: Document = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["spotifyId", "email", "name"],
        "properties": {
            "spotifyId": {"bsonType": "string"},
            # as it stands in the second draft, where JavaScript swallows the backslash
            "email": {"bsonType": "string", "pattern": "^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+.[a-zA-Z]{2,}$"},
            "name": {"bsonType": "string"},
        },
    }
}
"""The second draft's, on users; it only warns."""


def _put_old_rules(database: Database[Document]) -> None:
    for collection, keys, options in OLD_INDEXES:
        database[collection].create_index(list(keys.items()), **options)
    database.command("collMod", names.USERS, validator=OLD_VALIDATOR, validationLevel="strict", validationAction="warn")


# ---- what the documents are about -----------------------------------------------------------------------------------

GENRES = ("pop", "rock", "jazz", "metal", "ambient", "hip hop", "folk", "techno")
COUNTRIES = ("DE", "US", "JP", "BR", "GB")
SOURCES = ("playlist", "album", "radio", "search", "recommendation")
UNKNOWN_SOURCES = ("my car", "queue", "", "Playlist")
PROPER_STRATEGIES = ("collaborative", "content-based", "hybrid")
MOODS = ("calm", "happy", "sad", "wild")
EVENT_TYPES = (
    *("user.login", "user.logout", "user.register"),
    *("spotify.connect", "spotify.disconnect", "spotify.sync"),
    *("chat.start", "chat.message", "chat.end"),
    *("recommendation.request", "recommendation.generate", ACCEPT, ACCEPT, ACCEPT),
    *("playlist.create", "playlist.update", "playlist.delete"),
    *("error.api", "error.auth", "error.system"),
)
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class _Track(NamedTuple):
    id: str
    name: str
    artist: int
    genres: list[str]
    duration_ms: int
    audio: Mapping[str, float]


class _List(NamedTuple):
    """A recommendation document that plays, feedback, sessions and events refer to."""

    id: Any
    user: str | ObjectId
    tracks: list[str]


@dataclass
class _World:
    rng: Random
    now: datetime
    counts: Mapping[str, int]
    users: list[str | ObjectId]
    """Those with an account first, then some without."""
    tracks: list[_Track]
    """Those in the catalogue first, then some that were only played."""
    lists: list[_List] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int, now: datetime, counts: Mapping[str, int]) -> "_World":
        rng = Random(seed)
        users = _user_ids(rng, counts[names.USERS] * 11 // 10)
        tracks = [_a_track(rng, number) for number in range(counts[names.TRACKS] * 21 // 20)]
        return cls(rng, now, counts, users, tracks)

    def ago(self, most_days: float, least_days: float = 0.1) -> datetime:
        return self.now - timedelta(days=least_days + (most_days - least_days) * self.rng.random())

    def soon_after(self, moment: datetime, most_hours: float) -> datetime:
        """Some time later, and before now."""
        return min(moment + timedelta(hours=most_hours * self.rng.random()), self.now - timedelta(hours=1))

    def a_user(self) -> str | ObjectId:
        """Some are far busier than others."""
        return self.users[int(len(self.users) * self.rng.random() ** 1.5)]

    def a_track(self) -> _Track:
        return self.tracks[int(len(self.tracks) * self.rng.random() ** 2)]

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def number(self, value: float) -> Any:
        """A number in any type that a number may have."""
        dice = self.rng.random()
        if isinstance(value, float):
            return Decimal128(f"{value:.6f}") if dice < 0.04 else int(value) if value in {0.0, 1.0} else value
        return Decimal128(str(value)) if dice < 0.04 else self.count(value)

    def count(self, value: int) -> Any:
        """A whole number in any type but Decimal128, which counts don't have."""
        dice = self.rng.random()
        return value if dice > 0.1 else Int64(value) if dice > 0.04 else float(value)

    def object_id(self, moment: datetime) -> ObjectId:
        """As a driver would have made it at that moment."""
        return ObjectId(int(moment.timestamp()).to_bytes(4, "big") + self.rng.randbytes(8))

    def document_id(self, moment: datetime, kind: str, number: int) -> Any:
        """An ObjectId, but for what was imported with ids of its own."""
        dice = self.rng.random()
        return self.object_id(moment) if dice > 0.05 else f"{kind}-{number:06d}" if dice > 0.02 else number

    def thin(self, document: Document, *optional: str) -> Document:
        """Takes some optional fields away and makes some null."""
        for name in optional:
            dice = self.rng.random()
            if dice < 0.03:
                document.pop(name, None)
            elif dice < 0.05:
                document[name] = None
        return document


def _user_ids(rng: Random, count: int) -> list[str | ObjectId]:
    """Strings and ObjectIds; of twenty, one string reads like another's ObjectId, and one as we would tag that."""
    users: list[str | ObjectId] = []
    for number in range(count):
        place = number % 20
        if place in {1, 2}:
            users.append(str(users[-1]) if place == 1 else f"oid:{users[-1]}")
        elif place % 2:
            users.append(f"user-{number:06d}")
        else:
            users.append(ObjectId((1_640_000_000 + 60_000 * number).to_bytes(4, "big") + rng.randbytes(8)))
    return users


def _a_track(rng: Random, number: int) -> _Track:
    audio: dict[str, float] = {f.field: round(rng.random(), 4) for f in AUDIO_FEATURES}
    audio |= {"key": rng.randrange(-1, 12), "mode": rng.randrange(2), "timeSignature": rng.choice((3, 4, 4, 4, 5))}
    audio |= {"loudness": round(-60 * rng.random() ** 2, 3), "tempo": round(60 + 120 * rng.random(), 3)}
    genres = rng.sample(GENRES, rng.choice((0, 1, 1, 2)))
    name = f"Song {number}"
    return _Track("".join(rng.choices(LETTERS, k=22)), name, number // 8, genres, rng.randrange(90_000, 420_000), audio)


def _email(number: int) -> str:
    host = ("example.com", "mail.example.org", "EXAMPLE.net")[number % 3]
    return f"listener{'+' if number % 7 == 0 else '.'}{number}@{host}"


def _session_id(number: int) -> str:
    return f"session-{number:06d}"


def _some_session(world: _World) -> str:
    return _session_id(world.rng.randrange(world.counts[names.CHAT_SESSIONS]))


def _audio(world: _World, track: _Track, fields: tuple[str, ...]) -> Document | None:
    """A copy of a track's audio features; sometimes null, empty, with gaps, or in other types of numbers."""
    dice = world.rng.random()
    if dice < 0.05:
        return None
    if dice < 0.08:
        return {}
    if dice < 0.12:
        return {name: track.audio[name] if world.chance(0.7) else None for name in fields}
    if dice < 0.25:
        return {name: world.number(track.audio[name]) for name in fields}
    return {name: track.audio[name] for name in fields}


# ---- documents, sound ones ------------------------------------------------------------------------------------------


def _make_user(world: _World, number: int, _kind: Kind | None) -> Document:
    user, created = world.users[number], world.ago(YEARS_DAYS)
    document = {
        "_id": world.document_id(created, "account", number),
        "userId": user,
        "email": _email(number),
        "spotifyId": f"spotify-{number:06d}",
        "country": world.rng.choice(COUNTRIES),
        "createdAt": created,
        "lastLoginAt": world.soon_after(created, 24 * YEARS_DAYS),
        "isActive": world.chance(0.9),
    }
    if world.chance(0.2 if isinstance(user, str) else 0.8):
        document |= {"name": f"Listener {number}", "preferences": {"favoriteGenres": world.rng.sample(GENRES, 2)}}
    else:
        document |= {
            "displayName": f"Listener {number}",
            "profileImage": f"https://example.com/{number}.png",
            "spotifyConnected": True,
            "preferences": {
                "explicitContent": world.chance(0.7),
                "audioQuality": world.rng.choice(names.AUDIO_QUALITIES),
                "notifications": True,
            },
        }
    if world.chance(0.7):
        document["spotifyTokens"] = _tokens(world)
    if number % 10 == 9:
        del document["spotifyId"]  # and not null: a sparse index has nulls in it
    return world.thin(document, "country", "createdAt", "lastLoginAt", "isActive", "preferences", "spotifyTokens")


def _tokens(world: _World) -> Document:
    def token() -> str:
        if not encrypted:
            return "BQ" + base64.urlsafe_b64encode(world.rng.randbytes(96)).decode()
        return base64.b64encode(b"Salted__" + world.rng.randbytes(8 + 16 * 7)).decode()

    encrypted = world.chance(0.5)
    tokens: Document = {"accessToken": token(), "refreshToken": token(), "expiresAt": world.ago(30)}
    tokens["scope"] = "user-read-recently-played user-library-read"
    return world.thin(tokens, "refreshToken", "expiresAt", "scope")


def _make_settings(world: _World, number: int, _kind: Kind | None) -> Document:
    updated = world.ago(YEARS_DAYS)
    music = {
        "genres": world.rng.sample(GENRES, 3),
        "moods": [world.rng.choice(MOODS)],
        "activities": ["running"],
        "artists": [f"Artist {number % 50}"],
        "energy": world.number(world.rng.random()),
        "valence": world.number(world.rng.random()),
        "danceability": world.number(world.rng.random()),
    }
    chat = {"provider": "local", "model": "small", "creativity": world.number(0.5), "context": world.number(4096)}
    look = {"theme": world.rng.choice(names.THEMES), "density": "compact", "animations": True, "sounds": False}
    preferences = {"music": world.thin(music, *music), "ai": world.thin(chat, *chat), "interface": look}
    document = {
        "_id": world.document_id(updated, "settings", number),
        "userId": world.users[number],
        "preferences": world.thin(preferences, *preferences),
        "updatedAt": updated,
        "version": world.count(1 + number % 9),
    }
    return world.thin(document, "preferences", "updatedAt")


def _make_track(world: _World, number: int, _kind: Kind | None) -> Document:
    track, created = world.tracks[number], world.ago(YEARS_DAYS)
    artist = {"id": f"artist-{track.artist}", "name": f"Artist {track.artist}", "genres": track.genres}
    document = {
        "_id": world.document_id(created, "track", number),
        "spotifyId": track.id,
        "name": track.name,
        "artists": [world.thin(artist, "id", "genres")] + [{"name": "A guest"}] * world.chance(0.2),
        "album": {
            "id": f"album-{number // 10}",
            "name": f"Album {number // 10}",
            "releaseDate": world.ago(60 * 365),
            "images": [{"url": "https://example.com/cover.jpg", "width": 640}],
        },
        "duration": world.number(track.duration_ms),
        "popularity": world.number(world.rng.randrange(101)),
        "explicit": world.chance(0.2),
        "markets": world.rng.sample(COUNTRIES, world.rng.randrange(1, 6)),
        "audioFeatures": _audio(world, track, tuple(track.audio)),
        "lastUpdated": world.soon_after(created, 24 * YEARS_DAYS),
        "createdAt": created,
    }
    if world.chance(0.1):
        document["analysis"] = {"bars": [{"start": 0.5, "duration": 2.1}], "beats": []}
    optional = ("artists", "album", "duration", "popularity", "explicit", "markets", "audioFeatures", "lastUpdated")
    return world.thin(document, *optional)


def _make_list(world: _World, number: int, _kind: Kind | None) -> Document:
    created, user = world.ago(15), world.a_user()
    strategy = world.rng.choice(PROPER_STRATEGIES)
    tracks = world.rng.sample(world.tracks, 5)
    document_id = world.object_id(created) if world.chance(0.9) else f"list-{number:06d}"
    world.lists.append(_List(document_id, user, [track.id for track in tracks]))
    document = {
        "_id": document_id,
        "userId": user,
        "sessionId": _some_session(world),
        "strategy": strategy,
        "candidates": [_candidate(world, track, rank) for rank, track in enumerate(tracks, start=1)],
        "context": {"seeds": [world.a_track().id], "userQuery": "something new", "mood": world.rng.choice(MOODS)},
        "performance": {
            "generationTime": world.count(800 + number % 500),
            "candidateCount": world.count(len(tracks)),
            "strategy": strategy,
            "confidence": world.number(world.rng.random()),
        },
        "feedback": {"tracksPlayed": [], "tracksLiked": [], "tracksSkipped": [], "overallRating": world.number(4)},
        "createdAt": created,
        "expiresAt": world.now + timedelta(days=5 + 20 * world.rng.random()),
    }
    return world.thin(document, "sessionId", "context", "feedback")


def _candidate(world: _World, track: _Track, rank: int) -> Document:
    return {
        "trackId": track.id,
        "score": world.number(round(1 - rank / 10, 2)),
        "rank": rank,
        "reasons": [f"You play Artist {track.artist}"],
        "metadata": {
            "artist": f"Artist {track.artist}",
            "trackName": track.name,
            "genres": track.genres,
            "audioFeatures": _audio(world, track, SECOND_DRAFT_AUDIO),
        },
    }


def _make_cached(world: _World, number: int, _kind: Kind | None) -> Document:
    generated = world.ago(15)
    document = {
        "_id": world.document_id(generated, "cache", number),
        "userId": world.a_user(),
        "sessionId": _some_session(world),
        "strategy": world.rng.choice(PROPER_STRATEGIES),
        "prompt": "music for a long drive",
        "context": {"mood": world.rng.choice(MOODS), "genres": ["pop"], "timeOfDay": "evening", "weather": None},
        "recommendations": [_cached_track(world, track) for track in world.rng.sample(world.tracks, 3)],
        "metadata": {"provider": "local", "processingTime": world.number(900), "confidence": world.number(0.75)},
        "generatedAt": generated,
        "expiresAt": world.now + timedelta(days=5 + 20 * world.rng.random()),
        "accessed": world.count(number % 12),
        "lastAccessedAt": world.soon_after(generated, 100),
    }
    return world.thin(document, "sessionId", "prompt", "context", "metadata", "lastAccessedAt")


def _cached_track(world: _World, track: _Track) -> Document:
    return {
        "trackId": track.id,
        "trackName": track.name,
        "artistName": f"Artist {track.artist}",
        "albumName": None,
        "score": world.number(round(world.rng.random(), 3)),
        "reasons": ["Popular this week"],
        "audioFeatures": _audio(world, track, FIRST_DRAFT_AUDIO),
        "spotifyUrl": f"spotify:track:{track.id}",
    }


def _make_play(world: _World, number: int, _kind: Kind | None) -> Document:
    played, track = world.ago(YEARS_DAYS), world.a_track()
    document = {
        "_id": world.document_id(played, "play", number),
        "userId": world.a_user(),
        "trackId": track.id,
        "playedAt": played,
    }
    draft = world.rng.random()
    if draft < 0.1:
        return document  # what both drafts need, and no more
    document |= {"trackName": track.name, "artistName": f"Artist {track.artist}", "albumName": f"Album {number % 99}"}
    document |= _heard(world, track, "completionRate" if draft < 0.55 else "playedPercentage")
    if world.chance(0.8):
        document["context"] = _play_context(world, document, first_draft=draft < 0.55)
    if world.chance(0.5):
        document["audioFeatures"] = _audio(world, track, FIRST_DRAFT_AUDIO if draft < 0.55 else SECOND_DRAFT_AUDIO)
    if draft < 0.55:
        document["importedAt"] = world.soon_after(played, 48)
    else:
        document |= {"genres": track.genres, "createdAt": world.soon_after(played, 1)}
        document |= {"spotifyUserId": f"spotify-{number % 500:06d}"} if world.chance(0.5) else {}
    return world.thin(document, "trackName", "artistName", "albumName", "genres", "createdAt")


def _heard(world: _World, track: _Track, own_field: str) -> Document:
    """How far a play went: in a field of its own, by durations only, or not told."""
    dice = world.rng.random()
    if dice < 0.1:
        return {}
    completion = min(1.0, world.rng.random() * 1.6)
    durations = {
        "playDuration": world.number(int(track.duration_ms * completion)),
        "trackDuration": world.number(track.duration_ms),
    }
    if dice < 0.25:
        return durations
    share = completion if own_field == "completionRate" else round(100 * completion, 2)
    if dice < 0.4:
        return {own_field: world.number(share)}
    return world.thin(durations | {own_field: world.number(share)}, "playDuration", "trackDuration", own_field)


def _play_context(world: _World, play: Document, *, first_draft: bool) -> Document | None:
    dice = world.rng.random()
    if dice < 0.06:
        return None if dice < 0.03 else {}
    source = world.rng.choice(SOURCES) if dice < 0.9 else world.rng.choice(UNKNOWN_SOURCES)
    if first_draft:
        context = {"source": source, "uri": f"spotify:playlist:{int(dice * 1e6)}", "shuffle": dice < 0.4}
        context["repeat"] = world.rng.choice(names.REPEAT_MODES)
        return world.thin(context, "source", "uri", "shuffle", "repeat")
    context = {"source": source, "sessionId": _some_session(world)}
    if source == "recommendation":
        context["recommendationId"] = _followed(world, play)
    return world.thin(context, "source", "sessionId")


def _followed(world: _World, document: Document) -> Any:
    """The list that a play or feedback came from, whose user and track it then has; an ObjectId or a string."""
    if world.chance(0.4):  # of one that has expired
        gone = world.object_id(world.now - timedelta(days=400))
        return gone if world.chance(0.5) else str(gone)
    followed = world.rng.choice(world.lists)
    document |= {"userId": followed.user, "trackId": world.rng.choice(followed.tracks)}
    return str(followed.id) if world.chance(0.3) else followed.id


def _make_feedback(world: _World, number: int, _kind: Kind | None) -> Document:
    created, track = world.ago(YEARS_DAYS), world.a_track()
    document = {
        "_id": world.document_id(created, "feedback", number),
        "userId": world.a_user(),
        "trackId": track.id,
        "signal": world.rng.choice(names.SIGNALS),
        "strength": world.number(world.rng.randrange(1, 6)),
        "metadata": {"timestamp": created, "platform": world.rng.choice(names.PLATFORMS), "userAgent": "Mozilla/5.0"},
        "createdAt": created,
    }
    source = world.rng.choice(SOURCES)
    context = {"source": source, "playDuration": world.number(30_000), "totalDuration": world.number(track.duration_ms)}
    if source == "recommendation":
        context["recommendationId"] = _followed(world, document)
    document["context"] = world.thin(context, *context)
    return world.thin(document, "strength", "context", "metadata")


def _make_session(world: _World, number: int, _kind: Kind | None) -> Document:
    first_draft = world.chance(0.6)
    started = world.ago(YEARS_DAYS if first_draft else MAX_ENDED_DAYS)
    document = {
        "_id": world.document_id(started, "session", number),
        "sessionId": _session_id(number),
        "userId": world.a_user(),
        "messages": [_message(world, started, first_draft=first_draft, turn=turn) for turn in range(2)],
        "context": {"musicPreferences": {"genres": ["jazz"]}, "currentMood": world.rng.choice(MOODS)},
        "startedAt": started,
    }
    if first_draft:
        document |= {"title": f"Chat {number}", "summary": None, "isActive": world.chance(0.2)}
        document |= {"lastMessageAt": world.soon_after(started, 3), "recommendations": _advised(world)}
        return world.thin(document, "messages", "context", "recommendations", "isActive")
    document |= {"createdAt": started, "recommendations": _referred(world)}
    document["context"]["recentTracks"] = [world.a_track().id]
    if world.chance(0.8):
        document["endedAt"] = world.soon_after(started, 3)
    return world.thin(document, "messages", "context", "recommendations", "endedAt", "startedAt")


def _message(world: _World, started: datetime, *, first_draft: bool, turn: int) -> Document:
    message = {"role": names.ROLES[turn], "content": ("Something calm?", "Try these.")[turn], "timestamp": started}
    about = {"model": "small", "provider": "local"}
    if not first_draft:
        return message | {"metadata": about | {"tokenCount": world.number(40), "latency": world.number(300)}}
    about |= {"tokens": world.number(40), "cost": world.number(0.0004), "processingTime": world.number(300)}
    return message | {"messageId": f"m-{turn}", "metadata": world.thin(about, *about)}


def _advised(world: _World) -> list[Document]:
    """The first draft's sub-documents; accepted, refused, or not answered: null or absent."""
    advice = [
        {
            "messageId": "m-1",
            "trackIds": [world.a_track().id for _ in range(world.rng.randrange(4))],
            "strategy": world.rng.choice(PROPER_STRATEGIES),
            "accepted": world.rng.choice((True, True, False, None, GONE)),
        }
        for _ in range(world.rng.randrange(4))
    ]
    return [
        {
            name: value
            for name, value in world.thin(entry, "messageId", "trackIds", "strategy").items()
            if value is not GONE
        }
        for entry in advice
    ]


def _referred(world: _World) -> list[ObjectId]:
    """The second draft's references."""
    chosen = [world.rng.choice(world.lists).id for _ in range(world.rng.randrange(4))]
    return [list_id if isinstance(list_id, ObjectId) else world.object_id(world.now) for list_id in chosen]


def _make_event(world: _World, number: int, kind: Kind | None) -> Document:
    """One of any type; one that is to be broken is an acceptance, since a snapshot reads no other."""
    happened = world.ago(MAX_EVENT_DAYS)
    type_ = world.rng.choice(EVENT_TYPES) if kind is None else ACCEPT
    document = {
        "_id": world.document_id(happened, "event", number),
        "eventId": f"event-{number:08d}",
        "type": type_,
        "category": type_.partition(".")[0],
        "userId": world.a_user(),
        "sessionId": _some_session(world),
        "data": {"detail": f"{type_} {number}", "count": world.number(number)},
        "metadata": _event_metadata(world),
        "timestamp": happened,
        "processedAt": world.soon_after(happened, 0.01),
    }
    optional = ["eventId", "category", "sessionId", "processedAt"]
    if type_ == ACCEPT:
        document |= _acceptance(world)
    else:
        optional += ["userId", "data", "metadata"]
    return world.thin(document, *optional)


def _acceptance(world: _World) -> Document:
    """Of one track or some, by a list or by hand."""
    if world.chance(0.6):
        user, tracks = world.a_user(), [world.a_track().id for _ in range(1 + world.rng.randrange(3))]
        data: Document = {"strategy": world.rng.choice(PROPER_STRATEGIES)}
    else:
        accepted = world.rng.choice(world.lists)
        user, tracks, data = accepted.user, accepted.tracks[:2], {"recommendationId": accepted.id}
    data |= {"trackId": tracks[0]} if world.chance(0.5) else {"trackIds": tracks}
    return {"userId": user, "data": data}


def _event_metadata(world: _World) -> Document:
    metadata = {
        "source": world.rng.choice(names.EVENT_SOURCES),
        "version": "1.4.2",
        "userAgent": "Mozilla/5.0",
        "ip": _address(world),
        "country": world.rng.choice(COUNTRIES),
        "city": "Anytown",
    }
    return world.thin(metadata, *metadata)


def _address(world: _World) -> str:
    """Raw, of either version and from the ranges set apart for documentation, or hashed."""
    low, dice = world.rng.randrange(1, 255), world.rng.random()
    if dice < 0.3:
        return f"203.0.113.{low}"
    if dice < 0.4:
        return f"2001:db8::{low:x}"
    if dice < 0.45:
        return f"2001:0db8:0000:0000:0000:ff00:0042:{low:04x}"
    return hashlib.sha256(f"198.51.100.{low}".encode()).hexdigest()


_MAKERS: Mapping[str, Callable[[_World, int, Kind | None], Document]] = {
    names.USERS: _make_user,
    names.USER_SETTINGS: _make_settings,
    names.TRACKS: _make_track,
    names.RECOMMENDATIONS: _make_list,
    names.RECOMMENDATIONS_CACHE: _make_cached,
    names.LISTENING_HISTORY: _make_play,
    names.USER_FEEDBACK: _make_feedback,
    names.CHAT_SESSIONS: _make_session,
    names.EVENTS: _make_event,
}
