"""What listeners did in a window of time, out of the database into columns."""

import math
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from pymongo.database import Database

from features.attribution import parse
from features.attribution.join import NOWHERE
from features.attribution.parse import Parse, Said, UnusableError
from features.database import Document, translated_errors
from features.dates import epoch_ms
from features.erasure.tombstones import ERASED, Tombstones
from features.progress import Progress, silent
from features.schema.ids import UserId
from features.schema.names import CHAT_SESSIONS, EVENTS, LISTENING_HISTORY, USER_FEEDBACK
from features.snapshot.read import CAREFUL_CODEC, id_text

RESPONSES_AT_ONCE = 5_000_000
"""Some fifty bytes each: 250 MB. Of more, a part of the users is taken at a time."""
PROGRESS_STEP = 10_000


@dataclass(frozen=True)
class Source:
    """A collection as attribution reads it: the filter of a window of time, fields, and how a document is parsed."""

    name: str
    collection: str
    dated: str | None
    fields: tuple[str, ...]
    parse: Parse
    of_type: str | None = None

    def query(self, since: datetime, until: datetime) -> Document:
        """Documents of a window; all where no one field bears the date."""
        kind = {"type": self.of_type} if self.of_type else {}
        return kind | ({self.dated: {"$gte": since, "$lte": until}} if self.dated else {})


SOURCES = (
    Source(
        "plays",
        LISTENING_HISTORY,
        "playedAt",
        (
            *("userId", "trackId", "playedAt", "completionRate", "playedPercentage", "playDuration", "trackDuration"),
            "context",
        ),
        parse.play,
    ),
    Source(
        "feedback",
        USER_FEEDBACK,
        "createdAt",
        ("userId", "trackId", "signal", "strength", "createdAt", "context"),
        parse.feedback,
    ),
    Source(
        "acceptances",
        EVENTS,
        "timestamp",
        ("userId", "data", "timestamp"),
        parse.acceptance,
        of_type="recommendation.accept",
    ),
    Source(
        "chats",
        CHAT_SESSIONS,
        None,
        ("userId", "recommendations", "lastMessageAt", "endedAt", "startedAt", "createdAt"),
        parse.session,
    ),
)


@dataclass(frozen=True)
class Part:
    """Some of the users, by a hash of their ids' text: part `number` of `of`."""

    number: int = 0
    of: int = 1

    def holds(self, user: str) -> bool:
        """Whether a user belongs to it."""
        return self.of == 1 or zlib.crc32(user.encode()) % self.of == self.number


@dataclass
class Tally:
    """What was read by source, what can't be used by reason, and of each reason the first one's id.

    That is the `_id` of the document, or the recommendation that it names where something is wrong with that.
    """

    read: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def aside(self, reason: str, found_id: str | None, count: int = 1) -> None:
        """Counts what is set aside for a reason."""
        self.set_aside[reason] += count
        if found_id is not None:
            self.first.setdefault(reason, found_id)


_CODES = {
    "user": "i",
    "track": "i",
    "at": "q",
    "kind": "b",
    "completion": "f",
    "play_ms": "d",
    "named": "i",
    "place": "b",
}
"""Columns as `array` keeps them, which numpy then reads in place."""


class Columns:
    """Responses in columns as they were read, ids as numbers.

    Attributes:
        users, tracks: the number of each id.
        names: the number of each recommendation that is referred to, by the id as it is written there.
    """

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.tracks: dict[str, int] = {}
        self.names: dict[UserId, int] = {}
        self._columns: dict[str, array[Any]] = {name: array(code) for name, code in _CODES.items()}

    def __len__(self) -> int:
        return len(self._columns["user"])

    def __getitem__(self, name: str) -> np.ndarray:
        return np.frombuffer(self._columns[name], dtype=_CODES[name])

    def add(self, user: str, said: Said) -> None:
        """Takes one response."""
        named = NOWHERE if said.named is None else self.names.setdefault(said.named, len(self.names))
        numbers = (self.users.setdefault(user, len(self.users)), self.tracks.setdefault(said.track, len(self.tracks)))
        values = (*numbers, said.at, said.kind, said.completion, said.play_ms, named, said.place)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)


def parts_of(database: Database[Document], since: datetime, until: datetime) -> list[Part]:
    """As many parts of the users as it takes to hold the responses of each in memory, by the number of plays."""
    with translated_errors():
        plays = database[LISTENING_HISTORY].count_documents(SOURCES[0].query(since, until))
    of = max(1, math.ceil(plays / RESPONSES_AT_ONCE))
    return [Part(number, of) for number in range(of)]


def read_columns(
    database: Database[Document],
    since: datetime,
    until: datetime,
    part: Part,
    erased: Tombstones,
    tally: Tally,
    progress: Progress = silent,
) -> Columns:
    """Everything that a part of the users did in a window of time, both ends included.

    What can't be used is counted in the tally, and so is what has come in of erased users. Of a document without a
    user only the first part takes note.

    Raises:
        DatabaseError: the database can't be read.
    """
    reader = _Reader(epoch_ms(since), epoch_ms(until), part, erased, tally)
    for source in SOURCES:
        collection = database[source.collection].with_options(codec_options=CAREFUL_CODEC)
        wanted = dict.fromkeys(source.fields, 1)
        with translated_errors():
            for number, document in enumerate(collection.find(source.query(since, until), wanted), start=1):
                reader.take(document, source)
                if number % PROGRESS_STEP == 0:
                    progress(f"reading {source.name}", number, None)
    return reader.columns


class _Reader:
    """Takes documents into columns, one by one."""

    def __init__(self, since_ms: int, until_ms: int, part: Part, erased: Tombstones, tally: Tally) -> None:
        self.columns = Columns()
        self._window = range(since_ms, until_ms + 1)
        self._part, self._tally = part, tally
        self._is_erased = cache(erased.cover)

    def take(self, document: Mapping[str, Any], source: Source) -> None:
        user, fault = _user_or_fault(document)
        if not self._part.holds(user) if user is not None else self._part.number:
            return
        for said in _all_said(document, source):
            if isinstance(said, Said) and said.at not in self._window:
                continue  # of a chat, whose date may be in several fields
            self._tally.read[source.name] += 1
            reason = fault or (said if isinstance(said, UnusableError) else None)
            if reason is not None:
                self._tally.aside(str(reason), id_text(document.get("_id")))
            elif user is not None and self._is_erased(user):
                self._tally.aside(ERASED, None)
            elif user is not None and isinstance(said, Said):
                self.columns.add(user, said)


def _user_or_fault(document: Mapping[str, Any]) -> tuple[str | None, UnusableError | None]:
    try:
        return parse.user_of(document), None
    except UnusableError as error:
        return None, error


def _all_said(document: Mapping[str, Any], source: Source) -> Iterator[Said | UnusableError]:
    try:
        yield from source.parse(document)
    except UnusableError as error:
        yield error
