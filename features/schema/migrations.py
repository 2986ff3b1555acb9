"""The migrations, from old forms to the contract's, and the books that are kept of them (`docs/migrations.md`).

Each counts what there is to do, does it, and counts again. What a document gets depends on nothing but what is stored,
so a run after one that was killed goes on with it and ends in the same bytes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from bson import Decimal128, ObjectId
from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.database import Document, translated_errors
from features.errors import InputError
from features.keys import HASH_DIGITS, HASH_KEY, TOKEN_KEY, key_id, keyed_hash, read_key
from features.progress import Progress, silent
from features.schema import names
from features.schema.addresses import client_address
from features.schema.collections import SUPERSEDED
from features.schema.mending import LENIENT, Counts, Judgement, Mending, Note, value_at
from features.schema.names import AUDIO_FEATURES, MAX_PLAY_MS
from features.schema.shapes import Index
from features.schema.tokens import TOKEN_FIELDS, can_be_bound_to, encrypt_token, looks_encrypted
from features.settings import Settings

BATCH_DOCUMENTS = 1_000
LOOKUP_KEYS = 500
"""The longest `$in` list, on the built-in server as on a replica set."""
SHOWN_IDS = 3
INDEX_NOT_FOUND = 27


# --- indexes


class SupersededIndexes:
    """Work on indexes that another one serves as well; one with options of its own is somebody's choice and stays."""

    def count(self, database: Database[Document], _batch: int, note: Note) -> Counts:
        """How many there are, of all indexes of their collections."""
        found = [entry for name in SUPERSEDED for entry in database[name].list_indexes()]
        superseded = [entry for _, entry in _superseded(database)]
        chosen = sum(map(_has_options, superseded))
        note(len(found), len(found))
        left = {"has options of its own": chosen} if chosen else {}
        return Counts(len(found), len(superseded) - chosen, left)

    def change(self, database: Database[Document], _key: bytes, _batch: int, note: Note) -> list[Any]:
        """Makes the index that serves, where there is none, and only then drops the other."""
        plain = [(name, entry) for name, entry in _superseded(database) if not _has_options(entry)]
        for done, (name, entry) in enumerate(plain, 1):
            serving = Index(tuple((field, -direction) for field, direction in _keys(entry)))
            there = [one for one in database[name].list_indexes() if _keys(one) == serving.keys]
            if not any("partialFilterExpression" not in one and not one.get("sparse") for one in there):
                database[name].create_index(list(serving.keys), name=serving.name)
            try:
                database[name].drop_index(entry["name"])
            except OperationFailure as error:
                if error.code != INDEX_NOT_FOUND:  # another run was faster
                    raise
            note(done, len(plain))
        return []


def _superseded(database: Database[Document]) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (name, entry)
        for name, indexes in SUPERSEDED.items()
        for entry in database[name].list_indexes()
        if _keys(entry) in {index.keys for index in indexes}
    ]


def _keys(entry: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(entry["key"].items())


def _has_options(entry: Mapping[str, Any]) -> bool:
    return any(
        value is not False for name, value in entry.items() if name not in {"v", "key", "name", "ns", "background"}
    )


# --- documents


def _completions(_: Database[Document], plays: Sequence[Document]) -> Iterator[Judgement]:
    return map(_completion, plays)


def _completion(play: Document) -> Judgement:
    """From the percentage, else from the durations, as a snapshot derives it; never made up."""
    percentage, played, duration = (play.get(name) for name in ("playedPercentage", "playDuration", "trackDuration"))
    if play.get("completionRate") is not None:
        return None
    if percentage is not None:
        share = _number(percentage, 0, 100)
        return "playedPercentage can't be used" if share is None else {"completionRate": share / 100}
    if played is None or duration is None:
        return "how far it was played is not known"
    played_ms, duration_ms = _number(played, 0, MAX_PLAY_MS), _number(duration, 0, MAX_PLAY_MS)
    if played_ms is None or duration_ms is None:
        return "playDuration or trackDuration can't be used"
    if duration_ms == 0:
        return "how far it was played is not known"
    return {"completionRate": min(played_ms / duration_ms, 1.0)}


def _number(value: Any, low: float, high: float) -> float | None:
    """A number of any BSON type if it lies in the range; None for one that doesn't and for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        return None
    try:
        number = float(value.to_decimal() if isinstance(value, Decimal128) else value)
    except (OverflowError, ValueError):  # a signalling NaN is no float
        return None
    return number if low <= number <= high else None


def _audio_of_tracks(database: Database[Document], plays: Sequence[Document]) -> Iterator[Judgement]:
    bare = [play for play in plays if play.get("audioFeatures") in (None, {})]
    known = _usable_audio(database, sorted({play["trackId"] for play in bare if isinstance(play.get("trackId"), str)}))
    for play in plays:
        track = play.get("trackId")
        if play.get("audioFeatures") not in (None, {}):
            yield None
        elif not isinstance(track, str) or track not in known:
            yield "its track is not in tracks"
        else:
            yield {"audioFeatures": known[track]} if known[track] else "its track has no features that can be used"


def _usable_audio(database: Database[Document], tracks: Sequence[str]) -> dict[str, Document]:
    """The features of those tracks that are there; of several with one id, the first by `_id` that has some."""
    catalogue = database.get_collection(names.TRACKS, codec_options=LENIENT)
    known: dict[str, Document] = {}
    for start in range(0, len(tracks), LOOKUP_KEYS):
        query = {"spotifyId": {"$in": tracks[start : start + LOOKUP_KEYS]}}
        for track in catalogue.find(query, {"spotifyId": 1, "audioFeatures": 1}).sort("_id"):
            if not known.get(track["spotifyId"]):
                known[track["spotifyId"]] = _features(track.get("audioFeatures"))
    return known


def _features(found: Any) -> Document:
    """The known features within their range, in one order, as they are stored."""
    if not isinstance(found, dict):
        return {}
    numbers = {one: _number(found.get(one.field), one.low, one.high) for one in AUDIO_FEATURES}
    return {
        one.field: found[one.field]
        for one, number in numbers.items()
        if number is not None and (one.field != "mode" or number in {0, 1})
    }


def _addresses(_: Database[Document], events: Sequence[Document]) -> Iterator[Judgement]:
    return map(_address, events)


def _address(event: Document) -> Judgement:
    text = value_at(event, ADDRESS)
    if not isinstance(text, str) or not text.strip() or A_HASH.fullmatch(text):
        return None
    address = client_address(text)
    return "metadata.ip is neither an address nor a hash" if address is None else {ADDRESS: address}


def _seal_address(key: bytes, _event: Document, _path: str, address: str) -> str:
    return keyed_hash(key, "ip", address)


def _tokens(_: Database[Document], users: Sequence[Document]) -> Iterator[Judgement]:
    return map(_plain_tokens, users)


def _plain_tokens(user: Document) -> Judgement:
    found = {path: value_at(user, path) for path in TOKENS}
    plain = {
        p: text for p, text in found.items() if isinstance(text, str) and text.strip() and not looks_encrypted(text)
    }
    if plain and not can_be_bound_to(user.get("userId")):
        return "userId can't be used"
    return plain or None


def _seal_token(key: bytes, user: Document, path: str, token: str) -> str:
    return encrypt_token(key, user["userId"], path.rpartition(".")[2], token)


ADDRESS = "metadata.ip"
A_HASH = re.compile(rf"[0-9a-fA-F]{{{HASH_DIGITS},}}")
"""Ours, or a longer one that an app has made."""
TOKENS = tuple(f"spotifyTokens.{name}" for name in TOKEN_FIELDS)

COMPLETION_FIELDS = ("completionRate", "playedPercentage", "playDuration", "trackDuration")


# --- the five, and running them


class Work(Protocol):
    """What a migration does, and how that is counted."""

    def count(self, database: Database[Document], batch: int, note: Note) -> Counts:
        """What there is to do; writes nothing."""

    def change(self, database: Database[Document], key: bytes, batch: int, note: Note) -> list[Any]:
        """Does it; the `_id`s of documents that were refused."""


@dataclass(frozen=True)
class Migration:
    """A migration: its name, what it does in a sentence, and the variable of the key that it needs."""

    name: str
    purpose: str
    work: Work
    key: str | None = None


INDEXES = Migration("indexes", "Drops indexes that another one serves as well.", SupersededIndexes())
COMPLETION = Migration(
    "completion",
    "Gives plays without a completion rate the one that percentage or durations tell.",
    Mending(names.LISTENING_HISTORY, COMPLETION_FIELDS, "completionRate", _completions, where={"completionRate": None}),
)
AUDIO = Migration(
    "audio-features",
    "Gives plays without audio features a copy of their track's.",
    Mending(
        names.LISTENING_HISTORY,
        ("audioFeatures", "trackId"),
        "audioFeatures",
        _audio_of_tracks,
        where={"audioFeatures": {"$in": [None, {}]}},
    ),
)
ADDRESSES = Migration(
    "client-addresses",
    "Replaces plain client addresses of events by keyed hashes.",
    Mending(names.EVENTS, (ADDRESS,), "metadata", _addresses, seal=_seal_address),
    HASH_KEY,
)
SPOTIFY_TOKENS = Migration(
    "tokens",
    "Encrypts plain Spotify tokens.",
    Mending(names.USERS, ("userId", *TOKENS), "spotifyTokens", _tokens, seal=_seal_token),
    TOKEN_KEY,
)
MIGRATIONS = (INDEXES, COMPLETION, AUDIO, ADDRESSES, SPOTIFY_TOKENS)


@dataclass(frozen=True)
class Report:
    """What became of one migration in one run; in a dry run `after` is `before`.

    `refused` are `_id`s of documents that their validator keeps from any change.
    """

    migration: str
    before: Counts
    after: Counts
    refused: Sequence[Any] = ()

    @property
    def changed(self) -> int:
        """Documents mended, or indexes dropped."""
        return max(0, self.before.to_do - self.after.to_do)

    @property
    def shown_ids(self) -> list[str]:
        """The first `_id`s refused. One that is a text may be an e-mail address or a user's id, and is not told."""
        return [
            str(one) if isinstance(one, ObjectId | int) else f"an _id of type {type(one).__name__}"
            for one in self.refused[:SHOWN_IDS]
        ]


def migrate(
    database: Database[Document],
    settings: Settings,
    only: Iterable[str] = (),
    *,
    dry_run: bool = False,
    batch: int = BATCH_DOCUMENTS,
    progress: Progress = silent,
) -> Iterator[Report]:
    """Runs the migrations one after the other, all or the named ones, and reports each as it ends.

    One with nothing to do writes nothing and asks for no key. Two runs at once do no harm.

    Args:
        database: where.
        settings: hold the keys.
        only: names, in any order; none for all.
        dry_run: counts, and writes nothing.
        batch: documents read, judged and written at a time.
        progress: told of each batch.

    Raises:
        InputError: there is no migration of a name; or a key is missing, or is not the one that an interrupted run
            had. The migration that needs it has written nothing, those before it are done.
        DatabaseError: the database refuses an operation, or is lost.
    """
    for migration in chosen(only):
        with translated_errors():
            report = _run(database, migration, settings, dry_run=dry_run, batch=batch, progress=progress)
        yield report


def chosen(only: Iterable[str]) -> list[Migration]:
    """The migrations of these names, in the order in which they run; all where none is named.

    Raises:
        InputError: there is no migration of a name.
    """
    wanted = set(only)
    known = [migration.name for migration in MIGRATIONS]
    if unknown := sorted(wanted.difference(known)):
        raise InputError(f"there is no migration {unknown[0]}; there are {', '.join(known)}")
    return [migration for migration in MIGRATIONS if not wanted or migration.name in wanted]


def _run(
    database: Database[Document],
    migration: Migration,
    settings: Settings,
    *,
    dry_run: bool,
    batch: int,
    progress: Progress,
) -> Report:
    """Counts, does and counts again. The record is written before the first change and closed after the last."""
    work, books = migration.work, database[names.RELEASES]
    record_id = f"migration:{migration.name}"
    record = books.find_one({"_id": record_id})
    begun = record if record is not None and record.get("finishedAt") is None else None
    before = work.count(database, batch, partial(progress, f"{migration.name}: counting"))
    if dry_run or not (before.to_do or begun):
        return Report(migration.name, before, before)
    refused: list[Any] = []
    if before.to_do:
        key = _key(migration, settings, begun)
        if begun is None:
            books.replace_one({"_id": record_id}, _entry(migration, before, key), upsert=True)
        refused = work.change(database, key, batch, partial(progress, f"{migration.name}: mending"))
    after = work.count(database, batch, partial(progress, f"{migration.name}: counting again"))
    books.update_one({"_id": record_id}, {"$set": {"finishedAt": datetime.now(UTC), "after": _as_document(after)}})
    return Report(migration.name, before, after, refused)


def _key(migration: Migration, settings: Settings, begun: Document | None) -> bytes:
    """The key that the migration needs, no bytes if none; the same one for all of a run, however often interrupted."""
    if migration.key is None:
        return b""
    key = read_key(getattr(settings, migration.key.lower()), migration.key)
    if begun is not None and begun.get("keyId") not in {None, key_id(key)}:
        raise InputError(
            f"migration {migration.name} was interrupted; it began with the key of id {begun['keyId']}, and "
            f"{migration.key} is the one of id {key_id(key)}: set the former and run again"
        )
    return key


def _entry(migration: Migration, before: Counts, key: bytes) -> Document:
    used = {"keyId": key_id(key)} if key else {}
    begun = {"migration": migration.name, "startedAt": datetime.now(UTC), "finishedAt": None}
    return begun | used | {"before": _as_document(before)}


def _as_document(counts: Counts) -> Document:
    return {"toDo": counts.to_do, "left": {reason: counts.left[reason] for reason in sorted(counts.left)}}
