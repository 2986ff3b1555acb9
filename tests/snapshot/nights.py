"""Nights of a database in which things happen, and what it means that two snapshots are the same."""

import base64
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import BOUND, TWIN, account, fill_small_world, play, said, song
from pydantic import SecretStr
from pymongo.database import Database

from features.erasure import erase as erasing
from features.erasure import files
from features.snapshot.stored import Snapshot
from features.snapshot.take import SAFETY_LAG

KEY = SecretStr(base64.b64encode(bytes(range(32))).decode())
USERS = ["ann", "bob", TWIN, "cat"]
MINUTE = timedelta(minutes=1)


def rows(snapshot: Snapshot, name: str) -> Counter[str]:
    table = snapshot.table(name)
    columns = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in table.columns]
    return Counter(map(repr, zip(*(column.to_pylist() for column in columns), strict=True)))  # Python has no year 0


def aside(snapshot: Snapshot, name: str) -> Counter[tuple[str, str]]:
    path = snapshot.folder / snapshot.set_aside_name(name)
    found = pq.read_table(path, columns=["document_id", "reason"]).to_pylist() if path.exists() else []
    return Counter((row["document_id"], row["reason"]) for row in found)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    """The same to everyone who reads it: rows, what was set aside and why, totals, digest."""
    for name, table in one.tables.items():
        whole = other.tables[name]
        assert rows(one, name) == rows(other, name), name
        assert aside(one, name) == aside(other, name), name
        assert (table.read, table.used, table.set_aside) == (whole.read, whole.used, whole.set_aside), name
        assert list(table.reasons.items()) == list(whole.reasons.items()), name
        assert table.digest == whole.digest, name
    assert one.digest == other.digest


BROKEN: tuple[dict[str, Any], ...] = (
    {"playDuration": -1},
    {"playedAt": "yesterday"},
    {"userId": None},
    {"audioFeatures": {"energy": 7}},
    {"importedAt": "now"},
)


def known_of(database: Database, user: Any) -> int:
    return sum(database[name].count_documents({"userId": user}) for name in ("listening_history", "users"))


class World:
    """A database in which things happen, night after night; every step is one number drawn by chance."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.home = home
        self.now = BOUND
        self.count = 0
        self.erased: set[Any] = set()
        fill_small_world(database)

    def night(self, minutes: int) -> datetime:
        self.last, self.now = self.now, self.now + timedelta(minutes=minutes)
        return self.now

    def add(self, number: int, **more: Any) -> None:
        """A play that came since the last night, or within the safety lag before it; old or new, of anyone."""
        self.count += 1
        at = min(self.now, self.last - SAFETY_LAG + number % 17 * MINUTE + MINUTE)
        document = play(USERS[number % 4], f"track-{number % 16:02d}", days=number % 400, **{"importedAt": at} | more)
        ids: list[Any] = [f"play-{self.count}", ObjectId(f"{self.count:024x}"), self.count]
        self.database.listening_history.insert_one({"_id": ids[number % 3], **document})

    def broken(self, number: int) -> None:
        self.add(number, **BROKEN[number % len(BROKEN)])

    def ahead(self, number: int) -> None:
        """Played in the future: true some nights later."""
        self.add(number, playedAt=self.now + (number % 50) * MINUTE)

    def undated(self, number: int) -> None:
        self.add(number, importedAt=None)

    def far(self, number: int) -> None:
        self.add(number, importedAt=self.now + timedelta(hours=number % 60))

    def slow(self, number: int) -> None:
        """By an import that stamped it long ago."""
        self.add(number, importedAt=self.now - timedelta(hours=number % 90))

    def any_play(self, number: int) -> dict[str, Any]:
        found = list(self.database.listening_history.find({}, {"_id": 1}).sort("_id", 1))
        return found[number % len(found)] if found else {"_id": None}

    def remove(self, number: int) -> None:
        self.database.listening_history.delete_one(self.any_play(number))

    def replace(self, number: int) -> None:
        """One less and one more: the number of all stays."""
        self.remove(number)
        self.slow(number)

    def retain(self, number: int) -> None:
        """What a TTL index does to the oldest."""
        oldest = BOUND - timedelta(days=number % 100 + 2)
        self.database.listening_history.delete_many({"playedAt": {"$lt": oldest}})

    def move(self, number: int) -> None:
        dates = [None, self.now, self.now - timedelta(days=2), [self.now - timedelta(days=2), self.now]]
        change = {"$set": {"importedAt": dates[number % len(dates)]}}
        self.database.listening_history.update_one(self.any_play(number), change)

    def leave(self, number: int) -> None:
        """A listener goes, with all that was theirs."""
        for name in ("listening_history", "user_feedback", "users", "user_settings"):
            self.database[name].delete_many({"userId": USERS[number % 4]})

    def erase(self, number: int) -> None:
        """A listener is erased on this machine, on another, or here by a run that was killed."""
        user = USERS[number % 4]
        if not known_of(self.database, user):
            return
        self.erased.add(user)
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            if number % 3:
                patch.setattr(erasing, "erase_from_files", killed if number % 3 == 1 else self.half)
            erasing.erase(self.database, self.home, KEY, user, self.now)

    @staticmethod
    def half(*arguments: Any) -> dict[str, int]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "write_manifest", killed)
            return files.erase_from_files(*arguments)

    def mend(self, _number: int) -> None:
        self.database.listening_history.update_many({"playDuration": -1}, {"$unset": {"playDuration": ""}})

    def change(self, number: int) -> None:
        """What may change in place: tracks, settings, feedback, accounts."""
        self.database.tracks.update_one({}, {"$set": {"popularity": number % 120}})
        self.database.tracks.delete_one({"spotifyId": f"track-{number % 16:02d}"})
        self.database.tracks.insert_one(song(20 + number))
        self.database.user_settings.update_one(
            {"userId": "ann"}, {"$set": {"preferences.music.energy": number % 12 / 10}}, upsert=True
        )
        self.database.user_feedback.update_one({}, {"$set": {"strength": 1 + number % 6}})
        self.database.user_feedback.insert_one(said("cat", f"track-{number % 16:02d}"))
        if number % 2:
            self.database.user_feedback.delete_one({})
        self.database.users.insert_one(account(f"new-{self.count}-{number}"))


class Killed(BaseException):
    """As sudden as a kill, as far as Python lets a test go."""


def killed(*_: Any) -> None:
    raise Killed


WITH_PLAYS = (
    *("add", "add", "add", "broken", "ahead", "undated", "far", "slow"),
    *("remove", "replace", "retain", "move", "leave", "mend", "erase"),
)
STEPS = ("add", "add", "add", "broken", "ahead", "undated", "far", "remove", "leave", "mend", "change")


def is_later(document: dict[str, Any], bound: datetime, erased: set[Any]) -> bool:
    """Whether a snapshot leaves a play for the next, by the plain meaning of it."""
    imported = document.get("importedAt")
    if isinstance(imported, datetime):
        return bound < imported <= bound + timedelta(days=1)
    fault = isinstance(document["playedAt"], str) or not document["userId"] or document["userId"] in erased
    unusable = fault or document.get("playDuration", 1) < 0 or "audioFeatures" in document
    return imported is None and not unusable and bound < document["playedAt"] <= bound + timedelta(minutes=5)


def fill(database: Database, days: int, a_day: int = 20) -> None:
    """Plays that were imported day by day up to yesterday."""
    database.listening_history.create_index("importedAt")
    database.listening_history.insert_many(
        play(f"user-{n % 7}", f"track-{n % 5}", importedAt=BOUND - timedelta(days=1 + day, minutes=n))
        for day in range(days)
        for n in range(a_day)
    )
