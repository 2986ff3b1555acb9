"""Migrations: what each mends and leaves, that twice is once, that nothing is clobbered, refused or told in silence."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from commands import echotune
from documents import BOUND, account, play, song
from legacy import fill_legacy_database
from pymongo import MongoClient, monitoring
from pymongo.database import Database

from features.database import split_documents
from features.errors import DatabaseError, InputError
from features.keys import key_id, keyed_hash
from features.release.ledger import all_releases
from features.schema import migrations, names, plan
from features.schema.collections import COLLECTIONS, SUPERSEDED
from features.schema.mending import STATEMENT_DOCUMENTS, Counts
from features.schema.migrations import MIGRATIONS, Report, migrate
from features.schema.tokens import decrypt_token, looks_encrypted
from features.settings import Settings
from features.snapshot.fields import PLAYS
from features.snapshot.read import read_batches
from features.snapshot.rules import split

Document = dict[str, Any]

KEY, TOKEN_KEY = bytes(range(32)), bytes(range(32, 64))
NO_KEYS = Settings(_env_file=None)
KEYS = {
    "ECHOTUNE_HASH_KEY": base64.b64encode(KEY).decode(),
    "ECHOTUNE_TOKEN_KEY": base64.b64encode(TOKEN_KEY).decode(),
}
WITH_KEYS = Settings(_env_file=None, **{name.lower(): value for name, value in KEYS.items()})
NAMES = ["indexes", "completion", "audio-features", "client-addresses", "tokens"]
NOT_EXPIRED = datetime(2100, 1, 1, tzinfo=UTC)
NAN = float("nan")


def contents(database: Database, *, without_times: bool = False) -> dict[str, list[bytes]]:
    """Every document and every index, byte for byte, by collection; the order in which they are stored is left out."""
    found = {}
    for name in sorted(database.list_collection_names()):
        documents = [raw for batch in database[name].find_raw_batches() for raw in split_documents(batch)]
        if name == names.RELEASES and without_times:
            documents = [bson.encode(untimed(bson.decode(raw))) for raw in documents]
        indexes = [bson.encode({"index": dict(entry)}) for entry in database[name].list_indexes()]
        found[name] = sorted(documents) + sorted(indexes)
    return found


def untimed(record: Document) -> Document:
    """A migration's record without its times, but for whether it has ended."""
    return record | {"startedAt": None, "finishedAt": record["finishedAt"] is not None}


def run_all(database: Database, *only: str, settings: Settings = WITH_KEYS, **options: Any) -> dict[str, Report]:
    return {report.migration: report for report in migrate(database, settings, only, **options)}


def records(database: Database) -> dict[str, Document]:
    return {found["migration"]: found for found in database.releases.find({"migration": {"$exists": True}})}


def event(ip: Any, **more: Any) -> Document:
    return {"type": "user.login", "timestamp": NOT_EXPIRED, "metadata": {"source": "api", "ip": ip}, **more}


def fill(database: Database, count: int = 40) -> None:
    """Something to do for every migration, something that is done, and something that can't be; the same each time.

    `_id`s are of three types.
    """

    def number(kind: int, n: int) -> Any:
        return (ObjectId(f"{kind:08x}{n:016x}"), f"{kind}-{n}", 1_000_000 * kind + n)[n % 3]

    database.listening_history.create_index([("playedAt", -1)], name="newest first")
    database.tracks.insert_many([song(n, _id=number(1, n)) for n in range(1, 17)])
    database.listening_history.insert_many(
        [
            play(
                track=f"track-{n % 18:02d}",
                _id=number(2, n),
                **({"completionRate": 0.5}, {"playedPercentage": n % 130}, {"playDuration": n, "trackDuration": count})[
                    n % 3
                ],
                **({}, {"audioFeatures": {}}, {"audioFeatures": {"energy": 0.1}})[n % 5 % 3],
            )
            for n in range(count)
        ]
    )
    ips = ("192.0.2.{}", "2001:DB8::{:x}", "nowhere {}", "[2001:db8::{:x}]:443", f"{'0' * 30}{{:02x}}")
    database.events.insert_many([event(ips[n % 5].format(n % 200), _id=number(3, n)) for n in range(count // 2)])
    database.users.insert_many(
        [
            account(
                ("user-{}", "64b0000000000000000000{:02x}")[n % 2].format(n) if n % 3 else ObjectId(f"{n:024x}"),
                _id=number(4, n),
                email=f"{n}@example.com",
                spotifyTokens={"accessToken": f"BQ-access-{n}", "refreshToken": f"AQ-refresh-{n}", "scope": "read"},
            )
            for n in range(count // 2)
        ]
    )


# ---- all of them


def test_the_five_run_in_their_order_whatever_the_order_they_are_named_in(db):
    assert [migration.name for migration in MIGRATIONS] == NAMES
    assert list(run_all(db)) == NAMES
    assert list(run_all(db, "tokens", "indexes", "completion")) == ["indexes", "completion", "tokens"]


def test_a_name_that_is_none_is_told_with_those_there_are(db):
    fill(db)
    with pytest.raises(InputError, match=r"no migration token; there are indexes, .*, tokens"):
        run_all(db, "indexes", "token")
    assert records(db) == {}


def test_all_that_can_be_mended_is_and_a_second_run_changes_nothing(db):
    plan.apply(db)
    fill(db)
    first = run_all(db)
    assert all(report.before.to_do > 0 for report in first.values())
    assert all(report.changed == report.before.to_do for report in first.values())
    assert [(report.after.to_do, list(report.refused)) for report in first.values()] == [(0, [])] * 5
    after = contents(db)
    second = run_all(db, settings=NO_KEYS)
    assert contents(db) == after
    assert [report.changed for report in second.values()] == [0] * 5
    assert [report.after.left for report in second.values()] == [report.after.left for report in first.values()]


def test_nothing_of_a_document_changes_but_what_is_mended(db):
    fill(db)
    before = {name: {d["_id"]: d for d in db[name].find()} for name in db.list_collection_names()}
    run_all(db)
    mended = {
        names.LISTENING_HISTORY: {"completionRate", "audioFeatures"},
        names.EVENTS: {"metadata.ip"},
        names.USERS: {"spotifyTokens.accessToken", "spotifyTokens.refreshToken"},
        names.TRACKS: set(),
    }
    for name, documents in before.items():
        for document in db[name].find():
            changed = {path for path, _ in differing(documents[document["_id"]], document)}
            assert changed <= mended[name], name


def differing(before: Any, after: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict) and path != "audioFeatures":
        return [
            found
            for name in {*before, *after}
            for found in differing(before.get(name), after.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if before == after else [(path, after)]


def test_a_dry_run_writes_nothing_needs_no_key_and_counts_what_a_real_one_does(db):
    fill(db)
    before = contents(db)
    dry = run_all(db, settings=NO_KEYS, dry_run=True)
    assert contents(db) == before
    assert [report.changed for report in dry.values()] == [0] * 5
    assert [report.before for report in dry.values()] == [report.before for report in run_all(db).values()]


def test_an_empty_database_needs_no_key_and_stays_empty(db):
    assert [report.before for report in run_all(db, settings=NO_KEYS).values()] == [Counts(0, 0)] * 5
    assert db.list_collection_names() == []


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_no_document_is_passed_over_or_done_twice_however_long_a_batch_is(db, batch):
    db.listening_history.insert_many(
        [
            play(_id=(ObjectId(), f"play {n}", n, Int64(2**40 + n), {"n": n})[n % 5], playedPercentage=n % 101)
            for n in range(600)
        ]
    )
    [report] = run_all(db, "completion", batch=batch).values()
    assert (report.before, report.after) == (Counts(600, 600), Counts(0, 0))
    wrong = [d for d in db.listening_history.find() if d["completionRate"] != d["playedPercentage"] / 100]
    assert wrong == []


def test_progress_is_told_of_each_batch(db):
    fill(db)
    told = []
    run_all(db, batch=10, progress=lambda what, done, total: told.append((what, done, total)))
    mending = [done for what, done, _ in told if what == "client-addresses: mending"]
    assert mending == [10, 20]
    assert {what.split(": ")[0] for what, _, _ in told} == set(NAMES)


# ---- the books


def test_each_run_is_recorded_and_the_validator_takes_the_record(db):
    plan.apply(db)
    fill(db)
    started = datetime.now(UTC) - timedelta(milliseconds=1)
    reports = run_all(db)
    kept = records(db)
    assert list(kept) == NAMES
    for name, record in kept.items():
        assert record["_id"] == f"migration:{name}"
        assert started <= record["startedAt"] <= record["finishedAt"] <= datetime.now(UTC)
        assert record["before"] == {"toDo": reports[name].before.to_do, "left": dict(reports[name].before.left)}
        assert record["after"] == {"toDo": 0, "left": dict(reports[name].after.left)}
    assert {name: record.get("keyId") for name, record in kept.items() if "keyId" in record} == {
        "client-addresses": key_id(KEY),
        "tokens": key_id(TOKEN_KEY),
    }
    assert all_releases(db) == []  # none of them is taken for a release


def test_new_work_after_a_finished_run_makes_a_new_record(db):
    db.listening_history.insert_one(play(playedPercentage=10))
    run_all(db, "completion")
    first = records(db)["completion"]
    db.listening_history.insert_many([play(playedPercentage=10), play(playedPercentage=101)])
    run_all(db, "completion")
    second = records(db)["completion"]
    assert (first["before"]["toDo"], second["before"]) == (
        1,
        {"toDo": 1, "left": {"playedPercentage can't be used": 1}},
    )
    assert second["startedAt"] > first["finishedAt"]


def test_a_run_that_died_before_it_closed_its_record_is_closed_by_the_next_which_keeps_its_beginning(db):
    db.listening_history.insert_one(play(playedPercentage=10))
    run_all(db, "completion")
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    db.releases.update_one({}, {"$set": {"finishedAt": None, "startedAt": begun, "before.toDo": 77}})
    dry = contents(db)
    run_all(db, "completion", dry_run=True)
    assert contents(db) == dry
    run_all(db, "completion")
    record = records(db)["completion"]
    assert (record["startedAt"], record["before"]["toDo"], record["after"]["toDo"]) == (begun, 77, 0)
    assert record["finishedAt"] is not None


# ---- keys


@pytest.mark.parametrize(
    ("missing", "stops", "done"),
    [("ECHOTUNE_HASH_KEY", "client-addresses", NAMES[:3]), ("ECHOTUNE_TOKEN_KEY", "tokens", NAMES[:4])],
)
def test_a_missing_key_stops_its_migration_before_it_writes_and_keeps_what_was_done(db, missing, stops, done):
    fill(db)
    kept = {name.lower(): value for name, value in KEYS.items() if name != missing}
    touched = {"client-addresses": db.events, "tokens": db.users}[stops]
    before = list(touched.find())
    ended = []
    with pytest.raises(InputError, match=f"environment variable {missing} is not set"):
        ended.extend(migrate(db, Settings(_env_file=None, **kept)))
    assert list(touched.find()) == before
    assert [report.migration for report in ended] == list(records(db)) == done
    assert all(record["finishedAt"] for record in records(db).values())


def test_a_run_that_was_interrupted_is_gone_on_with_under_its_own_key_only(db):
    fill(db)
    run_all(db, "client-addresses")
    db.releases.update_one({}, {"$set": {"finishedAt": None}})
    db.events.insert_one(event("192.0.2.77"))
    before = contents(db)
    other = Settings(_env_file=None, echotune_hash_key=base64.b64encode(bytes(32)).decode())
    with pytest.raises(InputError, match=f"interrupted; it began with the key of id {key_id(KEY)}"):
        run_all(db, "client-addresses", settings=other)
    assert contents(db) == before
    assert run_all(db, "client-addresses")["client-addresses"].changed == 1


# ---- indexes


@pytest.mark.parametrize("name", ["playedAt_-1", "by date"])
def test_an_index_that_another_serves_is_dropped_whatever_its_name_after_the_other_is_there(db, name):
    db.listening_history.create_index([("playedAt", -1)], name=name)
    db.listening_history.create_index([("userId", 1), ("playedAt", -1)])
    [report] = run_all(db, "indexes").values()
    assert (report.before, report.after) == (Counts(3, 1), Counts(3, 0))
    assert set(db.listening_history.index_information()) == {"_id_", "playedAt_1", "userId_1_playedAt_-1"}


def test_an_index_that_another_run_has_dropped_meanwhile_is_no_fault(db, monkeypatch):
    db.listening_history.create_index([("playedAt", -1)])
    found = migrations._superseded(db)
    monkeypatch.setattr(migrations, "_superseded", lambda _database: found)
    for _run in ("the faster", "the slower"):
        migrations.SupersededIndexes().change(db, b"", 1, lambda _done, _total: None)
    assert set(db.listening_history.index_information()) == {"_id_", "playedAt_1"}


def test_every_superseded_index_has_one_in_the_contract_that_runs_the_other_way():
    declared = {collection.name: {index.keys for index in collection.indexes} for collection in COLLECTIONS}
    for name, indexes in SUPERSEDED.items():
        for index in indexes:
            assert tuple((key, -direction) for key, direction in index.keys) in declared[name]
            assert index.keys not in declared[name]


def test_an_index_that_serves_and_has_a_ttl_or_another_name_is_left_as_it_is(db):
    db.listening_history.create_index([("playedAt", -1)])
    db.listening_history.create_index("playedAt", name="history", expireAfterSeconds=10**9)
    run_all(db, "indexes")
    left = db.listening_history.index_information()
    assert set(left) == {"_id_", "history"}
    assert left["history"]["expireAfterSeconds"] == 10**9


def test_a_superseded_index_with_options_of_its_own_is_somebodys_choice(db):
    db.listening_history.create_index([("playedAt", -1)], expireAfterSeconds=10**9)
    before = contents(db)
    [report] = run_all(db, "indexes").values()
    assert (report.before.to_do, report.before.left) == (0, {"has options of its own": 1})
    assert contents(db) == before


# ---- completion

UNKNOWN = "how far it was played is not known"
BAD_PERCENTAGE, BAD_DURATION = "playedPercentage can't be used", "playDuration or trackDuration can't be used"


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        ({"playedPercentage": 25}, 0.25),
        ({"playedPercentage": 0}, 0.0),
        ({"playedPercentage": 100}, 1.0),
        ({"playedPercentage": 33.3, "playDuration": 1, "trackDuration": 2}, 33.3 / 100),
        ({"playedPercentage": Int64(50)}, 0.5),
        ({"playedPercentage": Decimal128("12.5")}, 0.125),
        ({"playedPercentage": None, "playDuration": 50_000, "trackDuration": 200_000}, 0.25),
        ({"playDuration": Int64(3), "trackDuration": Decimal128("4")}, 0.75),
        ({"playDuration": 0, "trackDuration": 4.5}, 0.0),
        ({"playDuration": 300_000, "trackDuration": 200_000}, 1.0),
        ({"completionRate": None, "playedPercentage": 75}, 0.75),
    ],
)
def test_completion_comes_from_the_percentage_else_from_the_durations(db, found, rate):
    db.listening_history.insert_one(play(**found))
    [report] = run_all(db, "completion").values()
    assert (report.before, report.after) == (Counts(1, 1), Counts(0, 0))
    [document] = db.listening_history.find()
    assert document["completionRate"] == rate
    assert type(document["completionRate"]) is float


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, UNKNOWN),
        ({"completionRate": None}, UNKNOWN),
        ({"playDuration": 5}, UNKNOWN),
        ({"trackDuration": 5}, UNKNOWN),
        ({"playDuration": 5, "trackDuration": 0}, UNKNOWN),
        ({"playDuration": 0, "trackDuration": 0}, UNKNOWN),
        ({"playedPercentage": NAN, "playDuration": 1, "trackDuration": 2}, BAD_PERCENTAGE),
        ({"playedPercentage": float("inf")}, BAD_PERCENTAGE),
        ({"playedPercentage": -1}, BAD_PERCENTAGE),
        ({"playedPercentage": 100.5}, BAD_PERCENTAGE),
        ({"playedPercentage": "50"}, BAD_PERCENTAGE),
        ({"playedPercentage": True}, BAD_PERCENTAGE),
        ({"playedPercentage": [50]}, BAD_PERCENTAGE),
        ({"playedPercentage": Decimal128("NaN")}, BAD_PERCENTAGE),
        ({"playedPercentage": Decimal128("sNaN")}, BAD_PERCENTAGE),
        ({"playedPercentage": Decimal128("1E+6000")}, BAD_PERCENTAGE),
        ({"playDuration": -5, "trackDuration": 10}, BAD_DURATION),
        ({"playDuration": 5, "trackDuration": -10}, BAD_DURATION),
        ({"playDuration": 5, "trackDuration": NAN}, BAD_DURATION),
        ({"playDuration": "5", "trackDuration": 10}, BAD_DURATION),
        ({"playDuration": 86_400_001, "trackDuration": 10}, BAD_DURATION),
        ({"playDuration": 5, "trackDuration": False}, BAD_DURATION),
    ],
)
def test_what_is_unknown_stays_unknown_and_is_counted(db, found, reason):
    db.listening_history.insert_one(play(**found))
    before = contents(db)
    [report] = run_all(db, "completion").values()
    assert report.before == Counts(1, 0, {reason: 1})
    assert contents(db) == before


@pytest.mark.parametrize(
    "rate", [0, 0.5, Int64(1), 1.7, NAN, "0.5", False, [], [None], {}, Decimal128("0.1")], ids=repr
)
def test_a_completion_of_any_kind_is_left_alone(db, rate):
    db.listening_history.insert_one(play(completionRate=rate, playedPercentage=50))
    before = contents(db)
    [report] = run_all(db, "completion").values()
    assert (report.before.to_do, report.before.left) == (0, {})
    assert contents(db) == before


def test_a_snapshot_reads_the_same_completion_before_and_after(db):
    rng = Random(5)
    numbers = (None, 0, 1, 33, 50.0, 99.9, 100, Int64(70), Decimal128("12.34"), Decimal128("0.1"), 180_000, 241_037.5)
    db.listening_history.insert_many(
        [
            play(**{name: rng.choice(numbers) for name in ("playedPercentage", "playDuration", "trackDuration")})
            for _ in range(400)
        ]
        + [play(playedPercentage=share) for share in (NAN, -3, 101, 250, "50", float("-inf"))]
    )
    before = completions(db)
    [report] = run_all(db, "completion").values()
    assert completions(db) == before
    derived = {_id for _id, completion in before.items() if completion is not None}
    rated = {f"oid:{d['_id']}" for d in db.listening_history.find({"completionRate": {"$gte": 0}})}
    beyond = {f"oid:{d['_id']}" for d in db.listening_history.find({"playedPercentage": {"$gt": 100}})}
    below = {f"oid:{d['_id']}" for d in db.listening_history.find({"playedPercentage": {"$lt": 0}})}
    assert rated == derived - beyond - below  # a snapshot clips those; stored they would pass for known
    assert len(rated) == report.changed > 100


def completions(database: Database) -> dict[str, float | None]:
    """By document, what a snapshot makes of it."""
    found: dict[str, float | None] = {}
    for batch in read_batches(database.listening_history.find_raw_batches({}, PLAYS.projection), PLAYS):
        rows, _ = split(batch.rows, "plays", BOUND)
        found.update(zip(rows["document_id"].to_pylist(), rows["completion"].to_pylist(), strict=True))
    return found


# ---- audio features

HEARD = {"danceability": 0.5, "energy": 1, "key": Int64(-1), "mode": 0, "tempo": Decimal128("120.5")}


@pytest.mark.parametrize("bare", [{}, {"audioFeatures": None}, {"audioFeatures": {}}], ids=["missing", "null", "empty"])
def test_a_play_without_audio_features_gets_its_tracks_as_they_are_stored(db, bare):
    db.tracks.insert_one({"spotifyId": "t", "audioFeatures": HEARD})
    db.listening_history.insert_one(play(track="t", **bare))
    [report] = run_all(db, "audio-features").values()
    assert (report.before, report.after) == (Counts(1, 1), Counts(0, 0))
    [document] = db.listening_history.find()
    assert bson.encode(document["audioFeatures"]) == bson.encode(HEARD)


def test_only_known_features_with_values_in_their_range_are_copied(db):
    bad = {"energy": 1.5, "valence": "0.5", "key": 12, "mode": 0.5, "tempo": NAN, "liveness": None, "mood": 1}
    db.tracks.insert_one({"spotifyId": "t", "audioFeatures": {**bad, "speechiness": 0.25, "loudness": -60}})
    db.listening_history.insert_one(play(track="t"))
    run_all(db, "audio-features")
    assert db.listening_history.find_one()["audioFeatures"] == {"loudness": -60, "speechiness": 0.25}


@pytest.mark.parametrize(
    ("track", "of_track", "reason"),
    [
        ("other", {"energy": 0.5}, "its track is not in tracks"),
        (7, {"energy": 0.5}, "its track is not in tracks"),
        (None, {"energy": 0.5}, "its track is not in tracks"),
        ("t", {}, "its track has no features that can be used"),
        ("t", None, "its track has no features that can be used"),
        ("t", "none", "its track has no features that can be used"),
        ("t", {"energy": 7, "mode": True}, "its track has no features that can be used"),
    ],
)
def test_a_play_whose_track_tells_nothing_is_left_and_counted(db, track, of_track, reason):
    db.tracks.insert_many([{"spotifyId": "t", "audioFeatures": of_track}, {"spotifyId": None}])
    db.listening_history.insert_one(play(track=track))
    before = contents(db)
    [report] = run_all(db, "audio-features").values()
    assert report.before == Counts(1, 0, {reason: 1})
    assert contents(db) == before


@pytest.mark.parametrize("features", [{"energy": None}, {"energy": 7}, "none", [], [{}], 0])
def test_audio_features_that_are_there_are_left_alone(db, features):
    db.tracks.insert_one({"spotifyId": "t", "audioFeatures": HEARD})
    db.listening_history.insert_one(play(track="t", audioFeatures=features))
    before = contents(db)
    [report] = run_all(db, "audio-features").values()
    assert (report.before.to_do, report.before.left) == (0, {})
    assert contents(db) == before


def test_of_tracks_with_one_id_the_first_that_has_features_is_copied(db):
    db.tracks.insert_many(
        [
            {"_id": 3, "spotifyId": "t", "audioFeatures": {"energy": 0.3}},
            {"_id": 2, "spotifyId": "t", "audioFeatures": {"energy": 0.2}},
            {"_id": 1, "spotifyId": "t", "audioFeatures": {}},
        ]
    )
    db.listening_history.insert_one(play(track="t"))
    run_all(db, "audio-features")
    assert db.listening_history.find_one()["audioFeatures"] == {"energy": 0.2}


class Overheard(monitoring.CommandListener):
    """What is sent to the server."""

    def __init__(self):
        self.commands: list[Document] = []

    def started(self, event):
        self.commands.append(event.command.to_dict() if hasattr(event.command, "to_dict") else dict(event.command))

    def succeeded(self, event): ...

    def failed(self, event): ...


def overheard(server_uri: str, database: Database, *only: str) -> list[Document]:
    heard = Overheard()
    with MongoClient(server_uri, event_listeners=[heard]) as client:
        run_all(client[database.name], *only)
    return heard.commands


def test_no_more_than_five_hundred_tracks_are_looked_up_at_once(db, server_uri):
    db.tracks.insert_many([{"spotifyId": f"t{n}", "audioFeatures": {"energy": 0.5}} for n in range(1_200)])
    db.listening_history.insert_many([play(track=f"t{n}") for n in range(1_200)])
    asked = [
        len(command["filter"]["spotifyId"]["$in"])
        for command in overheard(server_uri, db, "audio-features")
        if command.get("find") == names.TRACKS
    ]
    assert max(asked) == 500
    assert db.listening_history.count_documents({"audioFeatures.energy": 0.5}) == 1_200


# ---- client addresses


def test_one_address_has_one_hash_however_it_is_written(db):
    ways = ("192.0.2.1", " 192.0.2.1 ", "192.0.2.1:5123", "::ffff:192.0.2.1", "192.0.2.1, 198.51.100.7")
    db.events.insert_many([event(ip) for ip in ways] + [event("2001:db8::1"), event("[2001:0DB8::1]:443")])
    [report] = run_all(db, "client-addresses").values()
    assert (report.before, report.after) == (Counts(7, 7), Counts(7, 0))
    four, six = keyed_hash(KEY, "ip", "192.0.2.1"), keyed_hash(KEY, "ip", "2001:db8::1")
    assert [found["metadata"]["ip"] for found in db.events.find()] == [four] * 5 + [six] * 2
    assert {found["metadata"]["source"] for found in db.events.find()} == {"api"}


def test_hashes_and_what_is_no_text_are_left_alone_and_other_texts_counted(db):
    db.events.insert_many(
        [event(ip) for ip in ("a" * 32, "0123456789ABCDEF" * 4, None, "", "  ", 3221225985, ["192.0.2.1"])]
        + [event("unknown"), event("192.0.2.01")]
        + [{"type": "x", "metadata": metadata} for metadata in (None, "192.0.2.1", [{"ip": "192.0.2.1"}], {})]
    )
    before = contents(db)
    [report] = run_all(db, "client-addresses").values()
    assert report.before == Counts(13, 0, {"metadata.ip is neither an address nor a hash": 2})
    assert contents(db) == before


# ---- tokens


def test_plain_tokens_are_encrypted_for_their_user_and_field(db):
    owner = ObjectId("64b000000000000000000001")
    db.users.insert_many(
        [
            account("ann", spotifyTokens={"accessToken": "BQann", "refreshToken": "AQann", "scope": "read"}),
            account(owner, spotifyTokens={"refreshToken": "AQowner"}),
            account("bob", spotifyTokens=None),
            account("cat"),
        ]
    )
    [report] = run_all(db, "tokens").values()
    assert (report.before, report.after) == (Counts(4, 2), Counts(4, 0))
    ann, other, bob, cat = (user.get("spotifyTokens") for user in db.users.find())
    assert list(ann) == ["accessToken", "refreshToken", "scope"]
    assert decrypt_token(TOKEN_KEY, "ann", "accessToken", ann["accessToken"]) == "BQann"
    assert decrypt_token(TOKEN_KEY, "ann", "refreshToken", ann["refreshToken"]) == "AQann"
    assert list(other) == ["refreshToken"]
    assert decrypt_token(TOKEN_KEY, owner, "refreshToken", other["refreshToken"]) == "AQowner"
    assert (bob, cat) == (None, None)


def test_ciphertext_is_left_alone_even_beside_a_plain_token(db):
    ours = base64.b64encode(b"Salted__" + bytes(24)).decode()
    db.users.insert_one(account("ann", spotifyTokens={"accessToken": ours, "refreshToken": "AQann"}))
    run_all(db, "tokens")
    tokens = db.users.find_one()["spotifyTokens"]
    assert tokens["accessToken"] == ours
    assert looks_encrypted(tokens["refreshToken"])


@pytest.mark.parametrize("user_id", [None, 7, "", "a\x00b"])
def test_a_token_that_can_be_bound_to_nobody_is_left_and_counted(db, user_id):
    db.users.insert_one({"userId": user_id, "spotifyTokens": {"accessToken": "BQann"}})
    before = contents(db)
    [report] = run_all(db, "tokens").values()
    assert report.before == Counts(1, 0, {"userId can't be used": 1})
    assert contents(db) == before


@pytest.mark.parametrize("tokens", ["BQann", {"accessToken": 7}, {"accessToken": ""}, {"accessToken": {"a": 1}}, []])
def test_what_is_no_token_is_left_alone(db, tokens):
    db.users.insert_one(account("ann", spotifyTokens=tokens))
    before = contents(db)
    assert run_all(db, "tokens")["tokens"].before == Counts(1, 0)
    assert contents(db) == before


def test_a_plain_token_beside_a_value_of_another_type_is_encrypted_all_the_same(db):
    db.users.insert_one(account("ann", spotifyTokens={"accessToken": {"a": 1}, "refreshToken": "AQann"}))
    assert run_all(db, "tokens")["tokens"].after == Counts(1, 0)
    tokens = db.users.find_one()["spotifyTokens"]
    assert tokens["accessToken"] == {"a": 1}
    assert looks_encrypted(tokens["refreshToken"])


def test_no_plain_token_or_address_is_sent_to_a_server_that_may_log_it(db, server_uri):
    fill(db)
    sent = repr(overheard(server_uri, db, "client-addresses", "tokens"))
    assert "v1.aes256gcm." in sent
    assert [told for told in ("BQ-access", "AQ-refresh", "192.0.2", "2001:") if told in sent] == []


# ---- documents that change meanwhile, or are refused


@pytest.mark.parametrize(
    ("name", "document", "change"),
    [
        ("completion", play(playedPercentage=50), {"completionRate": 0.1}),
        ("completion", play(playedPercentage=50), {"playedPercentage": 60}),
        ("audio-features", play(track="track-01"), {"audioFeatures": {"energy": 0.9}}),
        ("audio-features", play(track="track-01"), {"trackId": "track-02"}),
        ("client-addresses", event("192.0.2.1"), {"metadata.ip": "192.0.2.7"}),
        ("client-addresses", event("192.0.2.1"), {"metadata.ip": None}),
        ("client-addresses", event("192.0.2.1"), {"metadata": [{"ip": "192.0.2.1"}]}),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), {"spotifyTokens.accessToken": "BQnew"}),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), {"spotifyTokens.refreshToken": "AQnew"}),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), {"spotifyTokens": {"accessToken": {"a": 1}}}),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), {"spotifyTokens": None}),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), {"spotifyTokens": "BQnew"}),
        ("tokens", account(spotifyTokens={"accessToken": "B"}), {"spotifyTokens": "C"}),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), {"userId": "bob"}),
    ],
)
def test_a_document_that_changed_since_it_was_read_is_left_to_the_next_run(db, name, document, change):
    db.tracks.insert_one(song(1))
    [migration] = migrations.chosen([name])
    work = migration.work
    collection = db[work.collection]
    collection.insert_many([document | {"_id": n} for n in range(3)])

    def judge(database, documents):
        """The migration's own, while an app writes to one of the documents."""
        judged = list(work.judge(database, documents))
        database[work.collection].update_one({"_id": 1}, {"$set": change})
        return judged

    assert replace(work, judge=judge).change(db, TOKEN_KEY, 1_000, lambda *_: None) == []
    first, changed, last = collection.find().sort("_id")
    assert changed == expected_after(document | {"_id": 1}, change)
    assert (first | {"_id": 0}) == (last | {"_id": 0})
    assert first != document | {"_id": 0}


@pytest.mark.parametrize(
    ("name", "document", "field"),
    [
        ("completion", play(playedPercentage=50), "playedPercentage"),
        ("client-addresses", event("192.0.2.1"), "metadata"),
        ("tokens", account(spotifyTokens={"accessToken": "BQold"}), "spotifyTokens"),
    ],
)
def test_what_was_taken_away_since_it_was_read_does_not_come_back(db, name, document, field):
    [migration] = migrations.chosen([name])
    work = migration.work
    collection = db[work.collection]
    collection.insert_one(document | {"_id": 1})

    def judge(database, documents):
        judged = list(work.judge(database, documents))
        database[work.collection].update_one({}, {"$unset": {field: ""}})
        return judged

    replace(work, judge=judge).change(db, TOKEN_KEY, 1_000, lambda *_: None)
    left = dict(document)
    del left[field]
    assert collection.find_one() == expected_after(left | {"_id": 1}, {})


def expected_after(document: Document, change: Document) -> Document:
    """What a `$set` leaves of a document, in the form in which a database gives it back."""
    result: Document = bson.decode(bson.encode(document), bson.CodecOptions(tz_aware=True))
    for path, value in change.items():
        *parents, last = path.split(".")
        inner = result
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return result


def test_documents_that_the_validator_refuses_are_counted_and_the_others_of_their_statement_are_done(db):
    count = STATEMENT_DOCUMENTS + 20
    ids = [ObjectId() for _ in range(count)]
    db.listening_history.insert_many([play(_id=_id, playedPercentage=50) for _id in ids])
    bad = [ids[3], ids[50], ids[STATEMENT_DOCUMENTS - 1], ids[STATEMENT_DOCUMENTS + 5]]
    db.listening_history.update_many({"_id": {"$in": bad}}, {"$set": {"trackName": 5}})
    rules = {"$jsonSchema": {"properties": {"trackName": {"bsonType": "string"}}}}
    db.command("collMod", "listening_history", validator=rules, validationLevel="strict")
    [report] = run_all(db, "completion").values()
    assert report.refused == bad
    assert report.shown_ids == [str(_id) for _id in bad[:3]]
    assert (report.changed, report.after.to_do) == (count - 4, 4)
    assert {d["_id"] for d in db.listening_history.find({"completionRate": None})} == set(bad)
    assert records(db)["completion"]["after"] == {"toDo": 4, "left": {}}


def test_an_id_that_is_a_text_is_not_told():
    report = Report("tokens", Counts(1, 1), Counts(1, 1), ["ann@example.com", ObjectId("64b0" * 6), 7])
    assert report.shown_ids == ["an _id of type str", "64b0" * 6, "7"]


def test_any_other_refusal_ends_the_run_and_the_next_one_goes_on(db):
    db.listening_history.insert_many([play(playedPercentage=50), play(playedPercentage=50)])
    db.listening_history.create_index("completionRate", unique=True, partialFilterExpression={"completionRate": 0.5})
    with pytest.raises(DatabaseError, match="documents repeat a value that must be unique"):
        run_all(db, "completion")
    assert records(db)["completion"]["finishedAt"] is None
    db.listening_history.drop_indexes()
    assert run_all(db, "completion")["completion"].after == Counts(0, 0)
    assert records(db)["completion"]["finishedAt"] is not None


# ---- a database that has lived for years


@pytest.mark.parametrize("keeps_contract", [False, True], ids=["as found", "after schema apply"])
def test_an_old_database_is_mended_once_and_for_all(db, keeps_contract):
    legacy = fill_legacy_database(db, 3_000)
    if keeps_contract:
        plan.apply(db)
    first = run_all(db)
    assert first["indexes"].changed == 1
    assert first["completion"].changed > 100
    assert first["audio-features"].changed > 100
    assert first["tokens"].changed + sum(first["tokens"].after.left.values()) == len(legacy.plain_tokens)
    assert first["client-addresses"].changed == len(legacy.raw_addresses)
    assert {report.after.to_do for report in first.values()} == {0}
    after = contents(db)
    run_all(db, settings=NO_KEYS)
    assert contents(db) == after


# ---- the command


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """`echotune schema migrate` with both keys set."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return partial(echotune, "schema", "migrate")


def test_the_command_shows_a_line_for_each_migration_and_why_documents_are_left(run, db):
    fill(db)
    status, out, err = run()
    assert (status, err) == (0, "")
    rows = [line for line in out.splitlines() if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == NAMES
    assert "client-addresses: 4 left: metadata.ip is neither an address nor a hash\n" in out
    assert "dry run" not in out
    assert "192.0.2" not in out
    assert run()[0] == 0


def test_the_command_as_json(run, db):
    fill(db)
    status, out, _ = run("--json", "--only", "tokens", "--only", "indexes", "--dry-run")
    assert status == 0
    found = json.loads(out)
    assert found["dry run"] is True
    assert found["migrations"] == [
        {
            "migration": name,
            "read": read,
            "to do before": to_do,
            "changed": 0,
            "left": 0,
            "refused": 0,
            "to do after": to_do,
            "reasons": {},
            "refused ids": [],
        }
        for name, read, to_do in (("indexes", 2, 1), ("tokens", 20, 20))
    ]


def test_a_dry_run_says_so(run, db):
    fill(db)
    before = contents(db)
    status, out, _ = run("--dry-run")
    assert status == 0
    assert out.endswith("dry run: nothing was written\n")
    assert contents(db) == before


def test_a_missing_key_is_one_line_after_the_table_of_what_was_done(run, db, monkeypatch):
    fill(db)
    monkeypatch.delenv("ECHOTUNE_TOKEN_KEY")
    status, out, err = run()
    assert status == 2
    assert err.startswith("error: environment variable ECHOTUNE_TOKEN_KEY is not set; ")
    assert err.count("\n") == 1
    assert [name for name in NAMES if f"│ {name} " in out] == NAMES[:4]


def test_a_name_that_is_none_is_one_line(run):
    status, out, err = run("--only", "nothing")
    assert (status, out) == (2, "")
    assert err.startswith("error: there is no migration nothing; ")


def test_refused_documents_make_the_status_one_and_are_named(run, db):
    broken = db.listening_history.insert_one(play(playedPercentage=50, trackName=5)).inserted_id
    rules = {"$jsonSchema": {"properties": {"trackName": {"bsonType": "string"}}}}
    db.command("collMod", "listening_history", validator=rules, validationLevel="strict")
    status, out, err = run("--only", "completion")
    assert (status, err) == (1, "")
    assert f"completion: 1 refused by the collection's validator, first {broken}\n" in out
