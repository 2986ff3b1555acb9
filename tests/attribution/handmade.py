"""Releases made by hand, of a few lists each, published at moments of a test's choice; and what is in them after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pymongo.database import Database

from features.attribution.attribute import Attributed, attribute_feedback
from features.release.documents import EMPTY_FEEDBACK, recommendation_id
from features.release.ledger import find_release, hold_lease, read_pointer, update
from features.release.manifest import Manifest, release_folder
from features.release.publish import switch, upload, verify
from features.schema.ids import UserId, encode_id
from features.schema.names import AUDIO_NAMES, RECOMMENDATIONS, RELEASES
from features.storage import write_json

NOW = datetime.now(UTC).replace(microsecond=0)
FIRST, SECOND, THIRD = (f"2026-02-{day:02d}-00000{day}" for day in (1, 2, 3))
Lists = Mapping[tuple[UserId, str], Sequence[str]]

_TEXTS = pa.list_(pa.string())
_OF_USERS = [("user_id", pa.string()), ("confidence", pa.float64()), ("track_count", pa.int64())]
_EMPTY = {
    "user_profile": pa.schema([*_OF_USERS, ("history_days", pa.int64()), ("vector", pa.list_(pa.float64(), 1))]),
    "track_embedding": pa.schema([("track_id", pa.string()), ("vector", pa.list_(pa.float64(), 1))]),
    "similarity": pa.schema([*_OF_USERS, ("neighbors", pa.list_(pa.struct([("user_id", pa.string())])))]),
}
_LIST = pa.schema(
    [
        *[("user_id", pa.string()), ("strategy", pa.string()), ("track_ids", _TEXTS)],
        *[("scores", pa.list_(pa.float64())), ("reasons", pa.list_(_TEXTS)), ("seeds", _TEXTS)],
        *[("confidence", pa.float64()), ("generation_ms", pa.float64())],
    ]
)
_TRACK = pa.schema(
    [
        *[("track_id", pa.string()), ("name", pa.string()), ("artists", _TEXTS), ("genres", _TEXTS)],
        *[(name, pa.float64()) for name in AUDIO_NAMES],
    ]
)


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def write_release(home: Path, release: str, lists: Lists, built_at: datetime) -> Manifest:
    """A release on disk with these lists and nothing else, two lists a chunk."""
    folder = release_folder(home, release)
    folder.mkdir(parents=True)
    rows = [
        {
            "user_id": encode_id(user),
            "strategy": strategy,
            "track_ids": list(tracks),
            "scores": [0.5] * len(tracks),
            "reasons": [["Made by hand"]] * len(tracks),
            "seeds": [],
            "confidence": 0.5,
            "generation_ms": 2.0,
        }
        for (user, strategy), tracks in lists.items()
    ]
    catalog = [{"track_id": track} for track in sorted({t for tracks in lists.values() for t in tracks})]
    tables = {name: schema.empty_table() for name, schema in _EMPTY.items()}
    tables["recommendations"] = pa.Table.from_pylist(rows, schema=_LIST)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=2)
    pq.write_table(pa.Table.from_pylist(catalog, schema=_TRACK), folder / "tracks.parquet")
    counts = {"users": 1, "tracks": 1, "plays": 1, **{name: table.num_rows for name, table in tables.items()}}
    made = Manifest(release, built_at, built_at, built_at, {}, "snapshot", "code", [], counts, {}, [])
    write_json(folder / "manifest.json", made.to_json())
    return made


@dataclass
class World:
    """A database and a data folder with releases in them."""

    db: Database
    home: Path

    def publish(self, release: str, lists: Lists, built: float, live: float) -> Manifest:
        """Makes a release and makes it live; both so many hours ago."""
        manifest = write_release(self.home, release, lists, hours_ago(built))
        with hold_lease(self.db) as token:
            verify(self.db, manifest, upload(self.db, self.home, manifest, token))
            moment = switch(self.db, manifest, token).changed_at
        told = {"$set": {"liveFrom": [hours_ago(live)]}}
        assert self.db[RELEASES].update_one({"_id": release, "liveFrom": [moment]}, told).modified_count == 1
        self.db[RELEASES].update_one({"_id": "live"}, {"$set": {"changedAt": hours_ago(live)}})
        return manifest

    def attribute(self, now: datetime = NOW, **more: Any) -> Attributed:
        with hold_lease(self.db) as token:
            done = attribute_feedback(self.db, self.home, token, now, **more)
        told = done.explicit + done.inferred + done.unrelated + sum(done.set_aside.values())
        assert sum(done.read.values()) == told  # always
        assert read_pointer(self.db) is not None or told == 0
        return done

    def feedback(self, user: UserId = "ann", strategy: str = "hybrid", release: str = FIRST) -> dict[str, Any]:
        return self.db[RECOMMENDATIONS].find_one({"_id": self.id_of(user, strategy, release)})["feedback"]

    def answered(self) -> dict[tuple[str, UserId, str], dict[str, Any]]:
        """The feedback of all lists that have any, by release, user and strategy."""
        return {
            (found["release"], found["userId"], found["strategy"]): found["feedback"]
            for found in self.db[RECOMMENDATIONS].find()
            if found.get("feedback", EMPTY_FEEDBACK) != EMPTY_FEEDBACK
        }

    def scorecard(self, release: str = FIRST) -> dict[str, dict[str, Any]]:
        """By strategy."""
        return {entry["strategy"]: entry for entry in find_release(self.db, release)["scorecard"]["strategies"]}

    def note(self, release: str, change: Mapping[str, Any]) -> None:
        """Changes a release's document by hand."""
        with hold_lease(self.db) as token:
            update(self.db, release, token, change)

    @staticmethod
    def id_of(user: UserId = "ann", strategy: str = "hybrid", release: str = FIRST) -> Any:
        return recommendation_id(release, encode_id(user), strategy)


def play(track: str, hours: float = 1, user: UserId = "ann", named: Any = None, **more: Any) -> dict[str, Any]:
    context = {} if named is None else {"context": {"recommendationId": named, "source": "recommendation"}}
    return {"userId": user, "trackId": track, "playedAt": hours_ago(hours), "completionRate": 1.0, **context, **more}


def said(
    track: str, signal: str, hours: float = 1, user: UserId = "ann", named: Any = None, **more: Any
) -> dict[str, Any]:
    context = {} if named is None else {"context": {"recommendationId": named}}
    return {"userId": user, "trackId": track, "signal": signal, "createdAt": hours_ago(hours), **context, **more}


def answer(
    played: Sequence[str] = (), liked: Sequence[str] = (), skipped: Sequence[str] = (), rating: float | None = None
) -> dict[str, Any]:
    """What a list's feedback should be."""
    return {
        "tracksPlayed": [*played],
        "tracksLiked": [*liked],
        "tracksSkipped": [*skipped],
        "overallRating": rating,
    }
