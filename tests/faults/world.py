"""The state every point starts from, kept as files to copy, and the state it must end in, by undisturbed twins."""

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from bson import ObjectId
from pymongo.database import Database

from faults import job
from faults.server import Server
from faults.steps import Moment
from faults.watch import answers, documents_of, fingerprint
from features.errors import BusyError
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.documents import OUTPUTS
from features.release.events import append_events
from features.release.ledger import hold_lease, read_pointer
from features.release.manifest import Manifest, release_folder
from features.release.publish import switch, upload, verify
from features.release.store import FeatureStore
from features.schema import plan
from features.schema.ids import content_object_id, decode_id
from features.schema.names import (
    EVENTS,
    FEATURE_STORE,
    LISTENING_HISTORY,
    RECOMMENDATIONS,
    RECOMMENDATIONS_CACHE,
    RELEASES,
    USER_FEEDBACK,
)
from features.snapshot.take import take_snapshot
from features.sources.sample import Sample, SampleSpec, make_sample, write_sample
from features.storage import write_json

DATABASE = "echotune_faults"
SAMPLE = SampleSpec(users=30, tracks=120, days=21, seed=3)
OLD_NIGHTS = 3
"""Releases before the disturbed night: the oldest expires in it."""
OTHER_WORDS = ["--set", "recommendations.k=7"]
"""Of a run that makes another release of the same night."""


@dataclass(frozen=True)
class Base:
    """A stopped server's storage and a data folder: some nights done, and new plays for the next."""

    folder: Path
    as_of: str
    old: str
    """The live release."""
    writes_at: datetime
    """When the plays of the app that goes on writing are known: after the night's bound."""

    def copy_to(self, folder: Path) -> None:
        for name in ("db", "home"):
            shutil.copytree(self.folder / name, folder / name)


@dataclass(frozen=True)
class Twin:
    """What an undisturbed night came to."""

    release: str
    said: Mapping[Any, str]
    documents: Mapping[str, Mapping[ObjectId, bytes]]
    state: Mapping[str, Any]
    seconds: float
    moments: tuple[Moment, ...]
    traffic: int
    """Bytes between job and server."""


def make_base(folder: Path, now: datetime) -> Base:
    """Makes the state that every point is a copy of."""
    job.make_small()
    server = Server(folder / "db")
    server.storage.mkdir(parents=True)
    midnight = datetime.combine(now.date(), time(), UTC)
    try:
        server.start()
        with server.client() as client:
            database = client[DATABASE]
            plan.apply(database)
            first, second = _nights(make_sample(SAMPLE, end=midnight), midnight - timedelta(days=1), now)
            write_sample(database, first, home=folder / "home", now=now)
            releases = _old_nights(database, folder / "home", now)
            write_sample(database, second, home=folder / "home", now=now)
            _answer(database, [made.id for made in releases[-2:]], now)
    finally:
        server.stop()
    as_of = f"{midnight - timedelta(days=1):%Y-%m-%d}"
    return Base(folder, as_of, releases[-1].id, now + timedelta(hours=6))


def _nights(sample: Sample, cut: datetime, now: datetime) -> tuple[Sample, Sample]:
    """The sample up to the last day, and that day's plays and feedback, known half a day ago."""

    def part(table: pa.Table, column: str, *, later: bool) -> pa.Table:
        is_later = pc.greater_equal(table[column], pa.scalar(cut, table[column].type))
        return table.filter(is_later if later else pc.invert(is_later))

    plays = part(sample.plays, "played_at", later=True)
    known = pa.array([now - timedelta(hours=12)] * plays.num_rows, plays["imported_at"].type)
    plays = plays.set_column(plays.column_names.index("imported_at"), "imported_at", known)
    feedback = part(sample.feedback, "created_at", later=True)
    before = replace(
        sample,
        plays=part(sample.plays, "played_at", later=False),
        feedback=part(sample.feedback, "created_at", later=False),
        tracks=sample.tracks.slice(1),
    )
    return before, Sample(plays, feedback, sample.tracks.slice(0, 1), sample.users.slice(0, 0))


def _old_nights(database: Database[Any], home: Path, now: datetime) -> list[Manifest]:
    """Some releases published, one a night, and one that an interrupted night began to upload."""
    bound = now - timedelta(hours=20)
    midnight = datetime.combine(bound.date(), time(), UTC)
    snapshot = take_snapshot(database, home, bound)
    made = []
    for back in range(OLD_NIGHTS, -1, -1):
        built = build_release(snapshot, home, NightlyParameters(), midnight - timedelta(days=back))
        manifest = replace(built, built_at=(now - timedelta(days=back + 1)).replace(microsecond=0))
        write_json(release_folder(home, manifest.id) / "manifest.json", manifest.to_json())
        made.append(manifest)
    abandoned = made.pop(0)  # the oldest, so that no client takes it for the newest
    with hold_lease(database) as token:
        for manifest in made:
            verify(database, manifest, upload(database, home, manifest, token))
            append_events(database, home, manifest)
            switch(database, manifest, token)
            long_ago = {"$set": {"retiredAt": manifest.built_at}}
            database[RELEASES].update_many({"state": "retired"}, long_ago)
            database[RELEASES].update_one({"_id": manifest.id}, {"$set": {"liveFrom": [manifest.built_at]}})
        with contextlib.suppress(BusyError):
            upload(database, home, abandoned, token, progress=_break_off)
    return made


def _answer(database: Database[Any], releases: list[str], now: datetime) -> None:
    """Listeners play what the last two releases recommended, some of it named, some of it liked, some of it skipped."""
    plays, opinions = [], []
    for back, release in enumerate(reversed(releases)):
        at = now - timedelta(days=back, hours=6)
        lists = list(database[RECOMMENDATIONS].find({"release": release}).sort("_id", 1))
        for number, found in enumerate(lists):
            tracks = [entry["trackId"] for entry in found["candidates"]]
            named = {"context": {"recommendationId": found["_id"] if number % 7 else ObjectId(f"{number:024x}")}}
            play = {"userId": found["userId"], "playedAt": at, "importedAt": at}
            plays.append({**play, "trackId": tracks[0], "completionRate": number % 3 / 2, **named})
            plays.append({**play, "trackId": tracks[number % len(tracks)]})
            if number % 4 == 0:
                signal = ("like", "dislike", "skip")[number % 3]
                opinions.append({"userId": found["userId"], "trackId": tracks[1], "signal": signal, "createdAt": at})
    for collection, documents in ((LISTENING_HISTORY, plays), (USER_FEEDBACK, opinions)):
        named_by = [{"_id": content_object_id(collection, n), **entry} for n, entry in enumerate(documents)]
        database[collection].insert_many(named_by)


def _break_off(what: str, done: int, _total: int | None) -> None:
    if what == "writing similarity" and done == 2:
        raise BusyError("made to end")


def state_of(database: Database[Any], home: Path, ignore: frozenset[str] = frozenset()) -> dict[str, Any]:
    """All that a finished night leaves, but for what was measured: to be compared with another's.

    Args:
        database: the database.
        home: the data folder.
        ignore: releases that may be in any state, so long as no document of theirs is left.
    """
    pointer = read_pointer(database)
    assert pointer is not None
    followed = [pointer.release, *([pointer.previous] if pointer.previous else [])]
    entries = {entry["_id"]: entry for entry in database[RELEASES].find()}
    now = {"$match": {"expiresAt": {"$gt": datetime.now(UTC)}}}
    feature_versions = database[FEATURE_STORE].aggregate([now, {"$group": {"_id": "$features.version"}}])
    list_versions = database[RECOMMENDATIONS].aggregate([now, {"$group": {"_id": "$release"}}])
    told = (event["eventId"] for event in database[EVENTS].find({"type": "recommendation.generate"}))
    return {
        "pointer": (pointer.release, pointer.previous, pointer.withdraw),
        "lease": entries["lease"]["owner"],
        "states": {
            name: (entry["state"], bool(entry.get("expired")))
            for name, entry in entries.items()
            if "state" in entry and name not in ignore
        },
        "documents": {release: documents_of(database, release) for release in followed},
        "scorecards": {
            n: entry["scorecard"] for n, entry in entries.items() if "scorecard" in entry and n not in ignore
        },
        "releases with features": sorted(row["_id"] for row in feature_versions),
        "releases with lists": sorted(row["_id"] for row in list_versions),
        "cache": {entry["_id"]: fingerprint(entry) for entry in database[RECOMMENDATIONS_CACHE].find()},
        "events": sorted(e for e in told if e.split()[0] not in ignore),
        "folders": sorted(path.name for path in (home / "releases").iterdir() if path.name not in ignore),
        "scratch": sorted(path.name for path in (home / "snapshot").rglob(".*")),
    }


def said_of(database: Database[Any], release: str) -> dict[Any, str]:
    """What applications are told of each user of a release."""
    store = FeatureStore(database, release)
    users = [decode_id(user) for user in store.table("user_profile")["user_id"].to_pylist()]
    return {user: answers(store, user) for user in users}


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, in words."""
    problems = []
    for name, value in expected.items():
        if name == "documents":
            for release in value.keys() | found[name].keys():
                theirs, ours = found[name].get(release, {}), value.get(release, {})
                problems += [_wrong(f"{o} documents of {release}", theirs.get(o, {}), ours.get(o, {})) for o in OUTPUTS]
        elif name == "cache":
            problems.append(_wrong("lists in the cache", found[name], value))
        elif found[name] != value:
            problems.append(f"{name}: {found[name]} instead of {value}")
    return [problem for problem in problems if problem]


def _wrong(what: str, found: Mapping[Any, bytes], expected: Mapping[Any, bytes]) -> str | None:
    """How many documents differ; None where none does."""
    wrong = sum(found.get(key) != expected.get(key) for key in found.keys() | expected.keys())
    return f"{wrong} {what} are not those of an undisturbed run" if wrong else None
