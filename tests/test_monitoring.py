"""What doctor finds: each finding on both sides of its threshold, and a profiler that is always switched back."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from documents import play, song
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from features import monitoring
from features.database import UNAUTHORIZED
from features.errors import DatabaseError
from features.monitoring import (
    GB,
    Finding,
    Thresholds,
    bytes_in,
    database_space_finding,
    examine,
    index_use_finding,
    operation_row,
    set_aside_finding,
    sizes_finding,
    slow_operations,
    space_finding,
)
from features.release import freshness
from features.release.freshness import LiveRelease, NewestPlay, lag, newest_import, newest_play, newest_within, windows
from features.schema import plan

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LONG_AGO = NOW - timedelta(days=30)


@pytest.fixture
def ready(db: Database) -> Database:
    """Every collection and index, and none of their validators' strictness in the way."""
    plan.apply(db)
    return db


@pytest.fixture
def is_built_in(db: Database) -> bool:
    return "secantusVersion" in db.command("buildInfo")


def found_of(findings: list[Finding], what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def look(db: Database, home: Path, what: str, **thresholds: float) -> Finding:
    return found_of(examine(db, home, NOW, Thresholds(**thresholds)), what)


# --- schema and releases


def test_a_schema_that_differs_is_told_until_it_is_applied(db: Database, tmp_path: Path) -> None:
    before = look(db, tmp_path, "schema")
    assert not before.ok
    assert before.found == f"{len(plan.plan(db))} differences"
    assert "schema plan" in before.do
    plan.apply(db)
    assert look(db, tmp_path, "schema").ok
    db.listening_history.drop_index("playedAt_1")
    assert look(db, tmp_path, "schema").found == "1 difference"


def test_without_a_live_release_there_is_something_to_do(ready: Database, tmp_path: Path) -> None:
    finding = look(ready, tmp_path, "live release")
    assert (finding.ok, finding.found) == (False, "none")
    assert "echotune nightly" in finding.do


def test_a_database_with_nothing_in_it_can_be_examined(db: Database, tmp_path: Path) -> None:
    findings = examine(db, tmp_path / "not" / "there", NOW)
    assert [finding.what for finding in findings if not finding.ok] == ["schema", "live release"]
    assert list(db.list_collection_names()) == []


def test_a_finding_as_json_has_details_only_where_there_can_be_some() -> None:
    assert Finding("age", ok=True, found="young").to_dict() == {
        "what": "age",
        "ok": True,
        "found": "young",
        "threshold": "",
        "do": "",
    }
    assert Finding("sizes", ok=True, found="", details=[]).to_dict()["details"] == []


# --- the newest play


def test_the_newest_play_is_the_last_one_that_is_not_in_the_future(ready: Database) -> None:
    assert newest_play(ready, NOW) is None
    plays = [
        play(track=f"t{hours}") | {"playedAt": NOW - hours * HOUR, "importedAt": NOW - HOUR}
        for hours in (-30, 9, 70, 4000)
    ]
    ready.listening_history.insert_many(plays)
    found = newest_play(ready, NOW)
    assert found == NewestPlay(NOW - 9 * HOUR, NOW - HOUR)
    assert newest_play(ready, NOW - 100 * HOUR).played_at == NOW - 4000 * HOUR


def test_a_play_is_known_since_its_import_else_its_creation_else_since_it_was_played(ready: Database) -> None:
    for number, dates in enumerate([{}, {"createdAt": NOW - 2 * HOUR}, {"importedAt": NOW + HOUR}]):
        document = {"userId": "ann", "trackId": "t", "playedAt": NOW - (9 - number) * HOUR, **dates}
        ready.listening_history.insert_one(document)
        known_at = newest_play(ready, NOW).known_at
        assert known_at == [NOW - 9 * HOUR, NOW - 2 * HOUR, NOW][number]


def test_the_newest_import_is_looked_for_after_a_moment_only(ready: Database) -> None:
    for days in (1, 3, 8):
        ready.listening_history.insert_one(play(track=f"t{days}") | {"importedAt": NOW - timedelta(days=days)})
    ready.listening_history.insert_one(play(track="later") | {"importedAt": NOW + HOUR})
    assert newest_import(ready, NOW - timedelta(days=9), NOW) == NOW - timedelta(days=1)
    assert newest_import(ready, NOW - timedelta(days=9), NOW - timedelta(days=2)) == NOW - timedelta(days=3)
    assert newest_import(ready, NOW - timedelta(days=1), NOW) is None


@pytest.mark.parametrize("hours", [0, 1, 2.25])
def test_a_play_on_the_edge_between_two_windows_is_found(ready: Database, hours: float) -> None:
    edge = NOW - hours * HOUR
    assert edge in {until for _, until in windows(freshness.EPOCH, NOW)}
    ready.listening_history.insert_one(play() | {"playedAt": edge, "importedAt": edge})
    assert newest_play(ready, NOW) == NewestPlay(edge, edge)
    assert newest_import(ready, freshness.EPOCH, NOW) == edge


@given(st.integers(0, 60 * 365 * 24 * 60))
def test_windows_leave_no_gap_and_begin_narrow(minutes: int) -> None:
    since = NOW - timedelta(minutes=minutes)
    spans = list(windows(since, NOW))
    assert len(spans) < 60
    edges = [NOW, *(after for after, _ in spans)]
    assert [until for _, until in spans] == edges[:-1]
    assert edges[-1] == since
    assert all(until - after <= HOUR for after, until in spans[:1])


def stages(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "stage" in value:
            yield value["stage"]
        for content in value.values():
            yield from stages(content)
    elif isinstance(value, list):
        for content in value:
            yield from stages(content)


@pytest.mark.parametrize("field", ["playedAt", "importedAt"])
def test_the_newest_is_found_by_its_index_and_few_documents_are_read(ready: Database, field: str) -> None:
    newest = NOW - 5 * HOUR
    ready.listening_history.insert_many(
        {"userId": "ann", "trackId": f"t{n}", "playedAt": newest - n * HOUR, "importedAt": newest - n * HOUR}
        for n in range(2000)
    )
    read = 0
    for after, until in windows(freshness.EPOCH, NOW):
        cursor = newest_within(ready, field, after, until)
        told = cursor.explain()
        plan_stages = list(stages(told["queryPlanner"]["winningPlan"]))
        assert "IXSCAN" in plan_stages
        assert not {"COLLSCAN", "SORT"} & set(plan_stages)
        assert f"'indexName': '{field}_1'" in str(told["queryPlanner"]["winningPlan"])
        read += told["executionStats"]["totalDocsExamined"]
        if found := list(newest_within(ready, field, after, until)):
            break
    assert found[0][field] == newest
    assert read < 10


def test_without_its_index_the_newest_play_is_not_looked_for(ready: Database) -> None:
    assert freshness.lacking_indexes(ready) == []
    ready.listening_history.drop_index("importedAt_1")
    assert freshness.lacking_indexes(ready) == ["importedAt"]
    ready.listening_history.drop_index("playedAt_1")
    assert freshness.lacking_indexes(ready) == ["playedAt", "importedAt"]
    ready.listening_history.drop()
    assert freshness.lacking_indexes(ready) == ["playedAt", "importedAt"]


# --- age and lag


LIVE = LiveRelease("2026-04-30-abcdef", as_of=NOW, known_at=NOW - 9 * HOUR, built_at=NOW - 8 * HOUR)


def test_the_age_of_a_release_is_that_of_its_making() -> None:
    assert monitoring.age_finding(LIVE, NOW, 8).ok
    late = monitoring.age_finding(LIVE, NOW, 7.9)
    assert (late.ok, late.found, late.threshold) == (False, f"{LIVE.id}, 8.0 h old", "7.9 h")
    assert late.do


@pytest.mark.parametrize(
    ("played", "known", "imported", "hours"),
    [
        (-20, -10, None, 0),  # all of it was known
        (-20, -10, -2, 7),  # old plays came in after the bound
        (-20, -3, None, 6),  # the newest play has no import date
        (-5, -5, -4, 5),
        (3, -10, None, 3),  # known, and left out by an --as-of in the past
    ],
)
def test_lag_counts_from_the_bound_of_what_was_known_and_from_as_of(
    played: int, known: int, imported: int | None, hours: int
) -> None:
    newest = NewestPlay(NOW + played * HOUR, NOW + known * HOUR)
    imported_at = None if imported is None else NOW + imported * HOUR
    assert lag(LIVE, newest, imported_at) == hours * HOUR
    assert monitoring.lag_finding(LIVE, newest, imported_at, hours).ok
    if hours:
        late = monitoring.lag_finding(LIVE, newest, imported_at, hours - 0.1)
        assert not late.ok
        assert late.found == f"{hours}.0 h behind, newest play {newest.played_at:%Y-%m-%d %H:%M} UTC"


def test_no_plays_are_no_lag() -> None:
    assert lag(LIVE, None, None) == timedelta(0)
    assert monitoring.lag_finding(LIVE, None, None, 0).found == "0.0 h behind, no play"


# --- what was set aside


def test_the_largest_share_set_aside_counts() -> None:
    inputs = {
        "plays": {"read": 1000, "set_aside": 1, "reasons": {"user_id is missing": 1}},
        "tracks": {"read": 50, "set_aside": 3, "reasons": {"track_id is missing": 2, "tempo is outside 0..1000": 1}},
        "users": {"read": 0, "set_aside": 0, "reasons": {}},
    }
    assert set_aside_finding(inputs, 6).ok
    finding = set_aside_finding(inputs, 5.9)
    assert not finding.ok
    assert finding.found == "2 inputs, at most 6.0 %"
    assert [(row["input"], row["percent"]) for row in finding.details] == [("plays", 0.1), ("tracks", 6.0)]
    assert finding.details[1]["reasons"] == "2 track_id is missing; 1 tempo is outside 0..1000"
    assert set_aside_finding({"users": inputs["users"]}, 0).found == "none"


# --- sizes and space


def test_sizes_are_those_of_the_documents_and_their_indexes(ready: Database, tmp_path: Path) -> None:
    ready.tracks.insert_many([song(number) for number in range(1, 17)])
    finding = look(ready, tmp_path, "sizes")
    rows = {row["collection"]: row for row in finding.details}
    assert rows["tracks"]["documents"] == 16
    assert rows["tracks"]["data_bytes"] == sum(len(bson.encode(document)) for document in ready.tracks.find())
    assert rows["tracks"]["index_bytes"] > 0
    assert rows["users"]["documents"] == 0
    assert finding.ok
    assert finding.threshold == ""


def test_a_limit_on_the_size_is_crossed_by_what_is_stored_and_its_indexes(ready: Database, tmp_path: Path) -> None:
    ready.tracks.insert_many([song(number) for number in range(1, 17)])
    rows = look(ready, tmp_path, "sizes").details
    stored = sum(row["stored_bytes"] + row["index_bytes"] for row in rows)
    assert look(ready, tmp_path, "sizes", max_size_gb=stored / GB).ok
    full = look(ready, tmp_path, "sizes", max_size_gb=(stored - 1) / GB)
    assert not full.ok
    assert full.do


def test_a_missing_collection_has_no_size_and_is_no_error(db: Database, tmp_path: Path) -> None:
    finding = look(db, tmp_path, "sizes")
    assert (finding.ok, finding.details) == (True, [])
    db.tracks.insert_one(song())
    assert [row["collection"] for row in look(db, tmp_path, "sizes").details] == ["tracks"]


def test_the_built_in_server_is_not_asked_to_read_a_large_collection_for_its_size(
    ready: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_built_in: bool
) -> None:
    if not is_built_in:
        pytest.skip("a server that knows its sizes is always asked")
    ready.tracks.insert_many([song(number) for number in range(1, 6)])
    monkeypatch.setattr(monitoring, "SIZED_DOCUMENTS", 4)
    finding = look(ready, tmp_path, "sizes")
    row = next(row for row in finding.details if row["collection"] == "tracks")
    assert (row["documents"], row["data_bytes"], row["index_bytes"]) == (5, None, None)
    assert "5 documents, at least 0 B" in finding.found


def test_sizes_are_bytes_whatever_scale_a_server_answers_in() -> None:
    parts = [{"size": 3, "scaleFactor": 1024}, {"size": 5}]
    assert monitoring._bytes(parts, "size") == 3 * 1024 + 5
    row = {"collection": "tracks", "documents": 2, "data_bytes": 1, "stored_bytes": 2_000_000, "index_bytes": 500_000}
    assert sizes_finding([row, row], None).found == "4 documents, 5.0 MB stored"


def test_space_must_hold_the_minimum_and_two_more_nights() -> None:
    assert space_finding("disk", free=2 * GB, min_gb=2).ok
    assert not space_finding("disk", free=2 * GB - 1, min_gb=2).ok
    assert space_finding("disk", free=6 * GB, min_gb=2, taken=3 * GB).ok
    short = space_finding("disk", free=6 * GB - 1, min_gb=2, taken=3 * GB)
    assert (short.ok, short.threshold) == (False, "6.0 GB")
    assert short.found == "6.0 GB free, last snapshot and release 3.0 GB"
    assert short.do


def test_the_disk_of_a_home_that_is_not_there_yet_is_that_of_its_parent(ready: Database, tmp_path: Path) -> None:
    what = "space left, ECHOTUNE_HOME"
    assert look(ready, tmp_path / "a" / "b", what, min_free_gb=0).ok
    assert not look(ready, tmp_path / "a" / "b", what, min_free_gb=1e9).ok
    assert not (tmp_path / "a").exists()


def test_what_a_snapshot_takes_is_asked_for_twice(ready: Database, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot" / ready.name / "plays"
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(b"x" * 5_000)
    (tmp_path / "snapshot" / ready.name / "manifest.json").write_bytes(b"x" * 250)
    assert bytes_in(tmp_path / "snapshot") == 5_250
    assert bytes_in(tmp_path / "nowhere") == 0
    assert look(ready, tmp_path, "space left, ECHOTUNE_HOME", min_free_gb=0).threshold == "10.5 kB"


def test_a_server_that_tells_of_its_disk_is_held_to_the_same_minimum() -> None:
    stats = {"fsTotalSize": 10 * GB, "fsUsedSize": 7 * GB}
    assert database_space_finding(stats, 3).ok
    short = database_space_finding(stats, 3.1)
    assert (short.ok, short.found) == (False, "3.0 GB free")
    assert "database" in short.do
    assert database_space_finding({"fsTotalSize": 10_000, "fsUsedSize": 7_000, "scaleFactor": 1024}, 0).found == (
        "3.1 MB free"
    )


def test_a_server_that_does_not_tell_of_its_disk_is_well(ready: Database, tmp_path: Path, is_built_in: bool) -> None:
    assert database_space_finding({"dataSize": 5}, 3) == Finding(
        "space left, database", ok=True, found="not reported by this server"
    )
    finding = look(ready, tmp_path, "space left, database", min_free_gb=0)
    assert finding.ok
    assert ("not reported" in finding.found) == is_built_in


@pytest.mark.parametrize(("code", "word"), [(UNAUTHORIZED, "this account may not"), (59, "code 59")])
def test_a_statistic_that_is_refused_is_a_note_unless_a_threshold_hangs_on_it(code: int, word: str) -> None:
    def ask() -> Finding:
        raise OperationFailure("no, mongodb://ann:secret@host", code)

    finding = monitoring._asked("sizes", ask)
    assert finding.ok
    assert word in finding.found
    assert "secret" not in str(finding)
    assert not monitoring._asked("sizes", ask, needed=5.0).ok


# --- indexes


def entry(name: str, ops: int, since: datetime | None = LONG_AGO, **spec: Any) -> dict[str, Any]:
    return {"name": name, "accesses": {"ops": ops, "since": since}, "spec": spec}


def unused(*entries: tuple[str, dict[str, Any]]) -> list[str]:
    return [row["index"] for row in index_use_finding(entries, NOW).details]


def test_an_index_nobody_asked_for_is_a_note() -> None:
    finding = index_use_finding(
        [("tracks", entry("album.id_1", 0)), ("tracks", entry("mood_1", 0)), ("users", entry("lastLoginAt_1", 4))], NOW
    )
    assert finding.ok
    assert finding.found == "2 of 3 not asked for"
    assert finding.do
    assert [(row["index"], row["in_contract"]) for row in finding.details] == [("album.id_1", True), ("mood_1", False)]


def test_an_index_that_works_without_being_asked_is_not_called_unused() -> None:
    asked = ("users", entry("lastLoginAt_1", 4))
    assert unused(asked, ("users", entry("x_1", 0))) == ["x_1"]
    assert unused(asked, ("users", entry("_id_", 0)), ("users", entry("email_1", 0))) == []
    assert unused(asked, ("feature_store", entry("expiresAt_1", 0))) == []
    assert (
        unused(asked, ("users", entry("x_1", 0, unique=True)), ("users", entry("y_1", 0, expireAfterSeconds=0))) == []
    )


def test_a_count_that_is_younger_than_a_week_says_nothing() -> None:
    week = timedelta(days=7)
    asked = ("users", entry("lastLoginAt_1", 4, NOW - week))
    assert unused(asked, ("users", entry("x_1", 0, NOW - week))) == ["x_1"]
    assert unused(asked, ("users", entry("x_1", 0, NOW - week + HOUR))) == []
    young = index_use_finding([("users", entry("lastLoginAt_1", 4, NOW - 12 * HOUR))], NOW)
    assert young.found == "counted for 0.5 days, which is too short to tell"


def test_an_index_asked_for_on_any_server_of_several_is_used() -> None:
    asked = ("users", entry("lastLoginAt_1", 4))
    assert unused(asked, ("users", entry("x_1", 0)), ("users", entry("x_1", 1))) == []
    assert unused(asked, ("users", entry("x_1", 0)), ("users", entry("x_1", 0, NOW - HOUR))) == []


def test_a_server_on_which_no_index_was_ever_asked_for_does_not_count() -> None:
    assert index_use_finding([("users", entry("x_1", 0))], NOW).found == "not counted by this server"
    assert index_use_finding([("users", entry("x_1", 0, None))], NOW).found == "not counted by this server"
    assert index_use_finding([], NOW).found == "not counted by this server"


def test_index_use_of_the_server_at_hand_is_never_more_than_a_note(
    ready: Database, tmp_path: Path, is_built_in: bool
) -> None:
    finding = look(ready, tmp_path, "index use")
    assert (finding.ok, finding.details) == (True, [])
    if is_built_in:
        assert finding.found == "not counted by this server"


# --- slow operations


def profiler(db: Database) -> tuple[int, int, float]:
    found = db.command("profile", -1)
    return found["was"], found["slowms"], found["sampleRate"]


@pytest.fixture
def quiet(ready: Database) -> Iterator[Database]:
    """A database whose profiler is off, with settings that are nobody's defaults; off again after the test."""
    before = profiler(ready)
    ready.command("profile", 0, slowms=250, sampleRate=0.5)
    ready.tracks.insert_many([song(number) for number in range(1, 17)])
    yield ready
    ready.command("profile", 0, slowms=before[1], sampleRate=before[2])


def work(db: Database) -> Callable[[float], None]:
    """Instead of waiting, reads and writes with values that nobody must see."""

    def run(_seconds: float) -> None:
        assert profiler(db)[0] == 1
        list(db.tracks.find({"name": "secret-name", "popularity": {"$gt": 987654}}).sort("duration", -1))
        list(db.tracks.aggregate([{"$match": {"name": {"$in": ["secret-name", "secret-other"]}}}, {"$count": "n"}]))
        db.tracks.update_one({"name": "secret-name"}, {"$set": {"name": "secret-new"}})
        db.tracks.delete_one({"spotifyId": "secret-id"})
        db.tracks.insert_one({"spotifyId": f"secret-{ObjectId()}"})

    return run


def test_slow_operations_are_shown_by_shape_and_never_by_value(quiet: Database) -> None:
    finding = slow_operations(quiet, 3, work(quiet), slow_ms=0)
    assert not finding.ok
    assert finding.do
    assert finding.threshold == "none of 0 ms or more"
    assert f"{len(finding.details)} in 3 s" in finding.found
    shapes = {row["shape"] for row in finding.details}
    assert "find filter {name: ?, popularity: {$gt: ?}} sort {duration: ?}" in shapes
    assert any("pipeline [{$match: {name: {$in: [?]}}}, " in shape for shape in shapes)
    assert f"{quiet.name}.tracks" in {row["ns"] for row in finding.details}
    assert "secret" not in str(finding)
    assert "987654" not in str(finding)


def test_the_slowest_ten_come_first_and_all_are_counted(quiet: Database) -> None:
    def run(_seconds: float) -> None:
        for number in range(25):
            quiet.tracks.find_one({"name": str(number)})

    finding = slow_operations(quiet, 3, run, slow_ms=0)
    assert int(finding.found.split()[0]) >= 25  # a server may count the command that switched the profiler on
    assert len(finding.details) == monitoring.SHOWN_OPERATIONS
    times = [row["millis"] for row in finding.details]
    assert times == sorted(times, reverse=True)
    assert f"the slowest {times[0]:,} ms" in finding.found


def test_operations_that_are_fast_enough_or_earlier_are_not_shown(quiet: Database) -> None:
    assert not slow_operations(quiet, 3, work(quiet), slow_ms=0).ok
    time.sleep(0.01)  # the server dates to the millisecond
    again = slow_operations(quiet, 3, lambda _: None, slow_ms=0)
    assert "tracks" not in str(again.details)
    none = slow_operations(quiet, 3, work(quiet), slow_ms=600_000)
    assert (none.ok, none.found, none.details) == (True, "0 in 3 s", [])


def test_the_profiler_is_switched_back_to_level_slowms_and_sample_rate(quiet: Database) -> None:
    before = profiler(quiet)
    assert before[:2] == (0, 250)
    during = []
    slow_operations(quiet, 3, lambda _: during.append(profiler(quiet)))
    assert during == [(1, 100, 1.0)]
    assert profiler(quiet) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_profiler_is_switched_back_after_an_error_or_interrupt(quiet: Database, error: type[BaseException]) -> None:
    before = profiler(quiet)

    def fail(_seconds: float) -> None:
        assert profiler(quiet)[0] == 1
        raise error

    with pytest.raises(error):
        slow_operations(quiet, 3, fail)
    assert profiler(quiet) == before


@pytest.mark.parametrize(("code", "word"), [(UNAUTHORIZED, "this account may not profile"), (59, "code 59")])
def test_what_the_server_refuses_is_one_line_and_the_profiler_is_switched_back(
    quiet: Database, code: int, word: str
) -> None:
    before = profiler(quiet)

    def refuse(_seconds: float) -> None:
        raise OperationFailure("not for mongodb://ann:secret@host", code)

    finding = slow_operations(quiet, 3, refuse)
    assert not finding.ok
    assert word in finding.found
    assert finding.do
    assert "secret" not in str(finding)
    assert profiler(quiet) == before


@pytest.mark.parametrize("level", [1, 2])
def test_a_profiler_that_is_on_already_is_left_and_read(quiet: Database, level: int) -> None:
    quiet.command("profile", level, slowms=0, sampleRate=1.0)

    def run(_seconds: float) -> None:
        assert profiler(quiet) == (level, 0, 1.0)
        quiet.tracks.find_one({"name": "x"})

    finding = slow_operations(quiet, 3, run, slow_ms=0)
    assert "find filter {name: ?}" in [row["shape"] for row in finding.details]
    assert f"the profiler was on already, level {level}" in finding.found
    assert profiler(quiet) == (level, 0, 1.0)


def test_a_profiler_that_can_not_be_switched_back_is_told_with_what_to_do(quiet: Database, server_uri: str) -> None:
    with MongoClient(server_uri, tz_aware=True) as client:

        def lose(_seconds: float) -> None:
            client.close()

        with pytest.raises(DatabaseError, match=r"db\.setProfilingLevel\(0, \{slowms: 250, sampleRate: 0\.5\}\)"):
            slow_operations(client[quiet.name], 3, lose)
    assert profiler(quiet)[0] == 1  # so the message is needed; the fixture follows it


def test_a_write_as_mongodb_records_it_and_a_cursor_that_goes_on_have_shapes_too() -> None:
    write = {"q": {"userId": "ann"}, "u": {"$set": {"a.b": 1}}, "multi": False, "upsert": True}
    row = operation_row({"millis": 5, "op": "update", "ns": "d.c", "command": write, "planSummary": "COLLSCAN"})
    assert row["shape"] == "q {userId: ?} u {$set: {a.b: ?}}"
    assert row["plan"] == "COLLSCAN"
    more = {"getMore": 5, "collection": "c"}
    first = {"find": "c", "filter": {"x": 1}}
    row = operation_row({"millis": 5, "command": more, "originatingCommand": first})
    assert row["shape"] == "find filter {x: ?}"
    assert operation_row({"millis": 5})["shape"] == ""
    cut = {"millis": 5, "command": {"$truncated": "{ find: 'secret' }"}}
    assert operation_row(cut)["shape"] == "$truncated"


@pytest.mark.parametrize(
    "key", ["ann.lee@example.com", "64b000000000000000000001", "listener-0001", "4uLU6hMCjMI75M1A2t"]
)
def test_a_key_that_looks_like_a_value_is_not_shown(key: str) -> None:
    assert key not in monitoring.shape({"scores": {key: 1}, f"scores.{key}": 2})
    assert monitoring.shape({"scores": {key: 1}}) == "{scores: {?: ?}}"


values = st.recursive(
    st.one_of(st.integers(), st.text(), st.dates(), st.binary(), st.none(), st.just(ObjectId())),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "$in", "b.c"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(values)
def test_a_shape_is_made_of_names_and_signs_alone(value: Any) -> None:
    left = monitoring.shape(value)
    for name in ("a", "$in", "b.c"):
        left = left.replace(f"{name}: ", "")
    assert set(left) <= set("{}[]?, ")
