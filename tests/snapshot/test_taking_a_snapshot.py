"""Taking a snapshot: what is in it, what is left for the next, what never is, and what an interruption leaves."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import BOUND, TWIN, account, days_ago, fill_small_world, play, said, song
from pymongo.monitoring import CommandListener, CommandStartedEvent

from features.errors import StorageError, UnreachableError
from features.schema import names
from features.settings import Settings
from features.snapshot import books, spans, stored
from features.snapshot.fields import SOURCES, USERS
from features.snapshot.stored import Snapshot, open_snapshot
from features.snapshot.take import take_snapshot

MARKER = "MARKER-that-must-not-leave-the-database"


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def content(snapshot: Snapshot) -> dict[str, list[str]]:
    return {name: sorted(map(repr, snapshot.table(name).to_pylist())) for name in snapshot.tables}


def test_an_empty_database_gives_empty_tables_with_their_columns(db, tmp_path):
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert set(snapshot.tables) == {"plays", "feedback", "tracks", "users", "settings", "sessions", "acceptances"}
    for name, summary in snapshot.tables.items():
        assert (summary.read, summary.used, summary.set_aside, summary.reasons) == (0, 0, 0, {})
        assert snapshot.table(name).num_rows == 0
        assert "document_id" in snapshot.table(name).column_names


def test_full_and_empty_tables_have_the_same_columns(db, tmp_path):
    empty = take_snapshot(db, tmp_path / "empty", BOUND)
    fill_small_world(db)
    full = take_snapshot(db, tmp_path / "full", BOUND)
    for name in ("plays", "feedback", "tracks", "users"):
        assert full.table(name).num_rows > 0
        assert full.table(name).schema == empty.table(name).schema


def test_what_was_read_is_what_is_used_and_what_is_set_aside(db, tmp_path):
    fill_small_world(db)
    db.listening_history.insert_many([play(playDuration=-1), play(track=None), play("x", days=-1)])
    db.user_feedback.insert_many([said(signal="meh"), said(strength=9)])
    db.tracks.insert_one(song(90, popularity=900))
    db.users.insert_one(account("zoe", country=49))
    db.user_settings.insert_one({"userId": "ann", "preferences": {"music": {"energy": 3}}})
    snapshot = take_snapshot(db, tmp_path, BOUND)
    for name, summary in snapshot.tables.items():
        assert summary.read == summary.used + summary.set_aside
        assert summary.used == snapshot.table(name).num_rows
        assert sum(summary.reasons.values()) == summary.set_aside
    assert {name: summary.set_aside for name, summary in snapshot.tables.items()} == {
        "plays": 3,
        "feedback": 2,
        "tracks": 1,
        "users": 1,
        "settings": 1,
        "sessions": 0,
        "acceptances": 0,
    }


def test_a_table_can_be_read_by_columns(db, tmp_path):
    fill_small_world(db)
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert snapshot.table("plays", ["track_id", "user_id"]).column_names == ["track_id", "user_id"]


def test_what_was_imported_after_the_bound_is_left_for_the_next_snapshot(db, tmp_path):
    later = BOUND + timedelta(seconds=1)
    db.listening_history.insert_many(
        [play("early"), play("on-the-dot", importedAt=BOUND), play("late", importedAt=later)]
    )
    db.user_feedback.insert_many([said("early"), said("late", createdAt=later)])
    now = take_snapshot(db, tmp_path, BOUND)
    assert sorted(now.table("plays")["user_id"].to_pylist()) == ["early", "on-the-dot"]
    assert now.table("feedback")["user_id"].to_pylist() == ["early"]
    assert now.tables["plays"].read == 2  # what is left is not counted
    following = take_snapshot(db, tmp_path, later)
    assert following.tables["plays"].used == 3
    assert following.tables["feedback"].used == 2


def test_without_an_import_date_a_play_is_known_since_it_was_made_or_else_played(db, tmp_path):
    later = BOUND + timedelta(minutes=2)
    documents = [
        play("made", importedAt=None, createdAt=days_ago(1)),
        play("played", importedAt=None),
        play("made-later", importedAt=None, createdAt=later),
        play("played-later", importedAt=None, playedAt=later),
        play("imported-though-made-later", createdAt=later),
    ]
    del documents[1]["importedAt"]
    db.listening_history.insert_many(documents)
    snapshot = take_snapshot(db, tmp_path, BOUND)
    known = {row["user_id"]: row["known_at"] for row in snapshot.table("plays").to_pylist()}
    assert known == {"made": days_ago(1), "played": days_ago(2), "imported-though-made-later": days_ago(1)}
    assert snapshot.tables["plays"].read == 3


def test_a_late_play_is_in_the_next_snapshot_however_long_ago_it_was(db, tmp_path):
    db.listening_history.insert_one(play("ann", days=2))
    take_snapshot(db, tmp_path, days_ago(1))
    db.listening_history.insert_one(play("bob", days=3000, importedAt=days_ago(0.5)))
    assert take_snapshot(db, tmp_path, BOUND).tables["plays"].used == 2


def test_tokens_and_addresses_never_reach_the_disk(db, tmp_path):
    secrets = {"accessToken": MARKER, "refreshToken": MARKER, "scope": MARKER}
    db.users.insert_many(
        [
            {"userId": "ann", "email": f"{MARKER}@example.com", "spotifyTokens": secrets, "displayName": MARKER},
            {"userId": 7, "email": f"{MARKER}@example.com", "spotifyTokens": secrets},
            {"userId": "bob", "email": MARKER, "country": 7, "spotifyTokens": MARKER},
        ]
    )
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert (snapshot.tables["users"].used, snapshot.tables["users"].set_aside) == (1, 2)
    files = files_under(tmp_path)
    assert len(files) >= 6
    for file in files:
        assert MARKER.encode() not in file.read_bytes()
        if file.suffix == ".parquet":
            assert MARKER not in repr(pq.read_table(file).to_pydict())  # bytes may be compressed


class Finds(CommandListener):
    def __init__(self) -> None:
        self.projections: dict[str, dict] = {}

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.projections[event.command["find"]] = dict(event.command["projection"])

    def succeeded(self, event) -> None:
        """Of no interest."""

    failed = succeeded


def test_the_server_is_never_asked_for_tokens_or_addresses(db, server_uri, tmp_path):
    from pymongo import MongoClient

    finds = Finds()
    with MongoClient(server_uri, event_listeners=[finds], tz_aware=True) as client:
        take_snapshot(client[db.name], tmp_path, BOUND)
    assert finds.projections.pop(names.RELEASES) == {"startedAt": 1, "finishedAt": 1}  # the migrations
    assert finds.projections.keys() == {source.collection for source in SOURCES}
    for source in SOURCES:
        projection = finds.projections[source.collection]
        assert set(projection.values()) == {1}  # names what is wanted, so nothing else comes
        assert not {"spotifyTokens", "email", "name", "displayName", "metadata"} & projection.keys() or (
            source.collection == names.TRACKS and "name" in projection
        )
    assert finds.projections["users"].keys() == {"_id", "userId", "country", "preferences"} == USERS.projection.keys()


@pytest.mark.parametrize(("batch", "part"), [(1, 7), (3, 1000), (1000, 1)])
def test_the_digest_does_not_depend_on_batches_parts_or_order(db, tmp_path, monkeypatch, batch, part):
    fill_small_world(db)
    expected = take_snapshot(db, tmp_path / "one", BOUND)
    for collection in (names.LISTENING_HISTORY, names.USER_FEEDBACK, names.TRACKS, names.USERS):
        documents = list(db[collection].find())
        db[collection].drop()
        db[collection].insert_many(documents[::-1])
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", batch)
    for module in (books, spans):
        monkeypatch.setattr(module, "PART_ROWS", part)
    snapshot = take_snapshot(db, tmp_path / "other", BOUND)
    assert snapshot.digest == expected.digest
    assert content(snapshot) == content(expected)


@pytest.mark.parametrize(
    ("collection", "change"),
    [
        (names.LISTENING_HISTORY, {"completionRate": 0.123}),
        (names.LISTENING_HISTORY, {"trackId": "another"}),
        (names.LISTENING_HISTORY, {"userId": ObjectId()}),
        (names.LISTENING_HISTORY, {"playedAt": days_ago(99)}),
        (names.USER_FEEDBACK, {"signal": "skip"}),
        (names.USER_FEEDBACK, {"strength": 2}),
        (names.TRACKS, {"audioFeatures.energy": 0.777}),
        (names.TRACKS, {"artists.0.genres": ["polka"]}),
        (names.TRACKS, {"explicit": True}),
        (names.USERS, {"country": "FR"}),
        (names.USERS, {"preferences.explicitContent": False}),
    ],
)
def test_any_changed_value_makes_another_digest(db, tmp_path, collection, change):
    fill_small_world(db)
    before = take_snapshot(db, tmp_path, BOUND).digest
    db[collection].update_one({}, {"$set": change})
    # plays that are changed in place are not noticed until they are read anew
    assert take_snapshot(db, tmp_path, BOUND, whole=collection == names.LISTENING_HISTORY).digest != before


def test_two_plays_that_swap_their_tracks_make_another_digest(db, tmp_path):
    db.listening_history.insert_many([play("ann", "t-1", _id=1), play("bob", "t-2", _id=2)])
    before = take_snapshot(db, tmp_path, BOUND).digest
    db.listening_history.update_one({"_id": 1}, {"$set": {"trackId": "t-2"}})
    db.listening_history.update_one({"_id": 2}, {"$set": {"trackId": "t-1"}})
    assert take_snapshot(db, tmp_path, BOUND, whole=True).digest != before


def test_what_has_no_effect_on_a_release_leaves_the_digest_alone(db, tmp_path):
    fill_small_world(db)
    before = take_snapshot(db, tmp_path, BOUND).digest
    db.users.update_many({}, {"$set": {"lastLoginAt": BOUND, "spotifyTokens.accessToken": "new"}})
    db.listening_history.update_many({}, {"$set": {"context.shuffle": True}})
    assert take_snapshot(db, tmp_path, BOUND + timedelta(days=1)).digest == before


def test_a_table_is_split_into_parts_of_about_that_many_rows(db, tmp_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 10)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 4)
    db.listening_history.insert_many([play(f"user-{n:02d}") for n in range(30)])  # all imported at one moment
    snapshot = take_snapshot(db, tmp_path, BOUND)
    parts = snapshot.tables["plays"].parts
    rows = [pq.read_metadata(snapshot.folder / part).num_rows for part in parts]
    assert sum(rows) == 30
    assert len(parts) == 3
    assert max(rows) < 10 + 4
    assert sorted(snapshot.table("plays")["user_id"].to_pylist()) == [f"user-{n:02d}" for n in range(30)]


def test_an_opened_snapshot_is_the_one_taken(db, tmp_path):
    fill_small_world(db)
    db.listening_history.insert_one(play(playDuration=-1))
    taken = take_snapshot(db, tmp_path, BOUND)
    opened = open_snapshot(tmp_path, db.name)
    assert opened == taken
    assert opened.digest == taken.digest
    assert content(opened) == content(taken)


def test_the_next_snapshot_replaces_the_former_one_on_disk(db, tmp_path):
    fill_small_world(db)
    db.listening_history.insert_one(play(playDuration=-1))
    take_snapshot(db, tmp_path, days_ago(0.5))
    first = files_under(tmp_path)
    taken = take_snapshot(db, tmp_path, BOUND)
    second = files_under(tmp_path)
    assert len(second) == len(first)
    spans = {Path(part.name).name for span in taken.tables["plays"].spans for part in span.parts}
    both = {file for file in first if file in second and (file.parent.name == "plays" or file.suffix == ".json")}
    assert {file.name for file in both} == {"manifest.json", *spans}  # what was read of the plays is read once
    assert content(open_snapshot(tmp_path, db.name)) == content(taken)


def test_two_databases_under_one_home_do_not_meet(db, server_uri, tmp_path):
    from pymongo import MongoClient

    fill_small_world(db)
    mine = take_snapshot(db, tmp_path, BOUND)
    with MongoClient(server_uri, tz_aware=True) as client:
        take_snapshot(client[f"{db.name}_other"], tmp_path, BOUND)
    assert content(open_snapshot(tmp_path, db.name)) == content(mine)


class Interruption(BaseException):
    """As sudden as a kill, as far as Python lets a test go."""


@pytest.mark.parametrize("after", range(6))
def test_an_interrupted_snapshot_leaves_the_former_one_readable(db, tmp_path, monkeypatch, after):
    fill_small_world(db)
    former = take_snapshot(db, tmp_path, days_ago(0.1))
    before = content(former)
    db.listening_history.insert_many([play("new", f"t-{n}") for n in range(20)])
    writes: Iterator[int] = iter(range(100))

    def interrupted(original):
        def write(*arguments):
            if next(writes) == after:
                raise Interruption
            original(*arguments)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(stored, "write_parquet", interrupted(stored.write_parquet))
        patch.setattr(stored, "write_json", interrupted(stored.write_json))
        with pytest.raises(Interruption):
            take_snapshot(db, tmp_path, BOUND)
    still = open_snapshot(tmp_path, db.name)
    assert still == former
    assert content(still) == before
    following = take_snapshot(db, tmp_path, BOUND + timedelta(minutes=1))
    assert following.tables["plays"].used == former.tables["plays"].used + 20
    named = {following.folder / part for table in following.tables.values() for part in table.parts}
    assert {file for file in files_under(tmp_path) if file.suffix == ".parquet"} == named


def test_scratch_of_a_killed_run_is_cleared_away(db, tmp_path):
    folder = tmp_path / "snapshot" / db.name / "plays"
    snapshot = take_snapshot(db, tmp_path, BOUND)
    for name in snapshot.tables["plays"].parts:  # of the same bound, as a run leaves them that is tried again
        (folder / f".{Path(name).name}.1a2b3c4d").write_bytes(b"half")
        (folder / Path(name).name.replace("0000", "0001")).write_bytes(b"of a longer run")
    (folder.parent / ".manifest.json.1a2b3c4d").write_text("{")
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert [path.name for path in folder.parent.iterdir() if path.is_file()] == ["manifest.json"]
    assert [file.name for file in files_under(folder)] == [Path(part).name for part in snapshot.tables["plays"].parts]


def test_without_a_snapshot_opening_says_how_to_get_one(tmp_path):
    with pytest.raises(StorageError, match=r"no snapshot at .*; take one with `echotune nightly`"):
        open_snapshot(tmp_path, "none")


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"format": 1}',
        '{"format": 1, "bound": "2026-01-01T00:00:00+00:00", "tables": []}',
        '{"format": 1, "bound": "yesterday", "tables": {}}',
        '{"format": 1, "bound": "2026-01-01T00:00:00+00:00", "tables": {"plays": {"rows": 1}}}',
        '{"format": 1, "bound": "2026-01-01T00:00:00+00:00", "tables": {"plays": 1}}',
        "\udcff",
    ],
)
def test_a_damaged_manifest_is_one_clear_error(db, tmp_path, damage):
    take_snapshot(db, tmp_path, BOUND)
    path = tmp_path / "snapshot" / db.name / "manifest.json"
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    with pytest.raises(StorageError) as error:
        open_snapshot(tmp_path, db.name)
    message = str(error.value)
    assert message.startswith(f"{path} can't be read (")
    assert message.endswith("`echotune nightly` takes a new one")
    assert "\n" not in message


def test_a_manifest_of_another_format_is_not_guessed_at(db, tmp_path):
    take_snapshot(db, tmp_path, BOUND)
    path = tmp_path / "snapshot" / db.name / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StorageError, match="format 99, not 2"):
        open_snapshot(tmp_path, db.name)


@pytest.mark.parametrize("damage", [None, b"", b"not Parquet at all"])
def test_a_part_that_is_gone_or_damaged_is_one_clear_error(db, tmp_path, damage):
    fill_small_world(db)
    snapshot = take_snapshot(db, tmp_path, BOUND)
    part = snapshot.folder / snapshot.tables["plays"].parts[0]
    part.unlink() if damage is None else part.write_bytes(damage)
    with pytest.raises(StorageError, match=r"^plays of .* can't be read .*; take a new snapshot$") as error:
        snapshot.table("plays")
    assert "\n" not in str(error.value)


def test_a_home_that_cannot_be_written_is_one_clear_error(db, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="set ECHOTUNE_HOME to a folder"):
        take_snapshot(db, tmp_path / "home", BOUND)


def test_a_database_that_is_gone_is_unreachable_and_leaves_the_former_snapshot(db, tmp_path):
    from pymongo import MongoClient

    fill_small_world(db)
    former = take_snapshot(db, tmp_path, days_ago(0.1))
    with MongoClient("mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=100) as client, pytest.raises(UnreachableError):
        take_snapshot(client[db.name], tmp_path, BOUND)
    assert open_snapshot(tmp_path, db.name) == former


def test_progress_is_told_for_every_collection(db, tmp_path):
    fill_small_world(db)
    told: dict[str, tuple[int, int | None]] = {}
    take_snapshot(db, tmp_path, BOUND, lambda what, done, total: told.update({what: (done, total)}))
    assert told["reading listening_history"] == (29, 29)
    assert told.keys() == {f"reading {source.collection}" for source in SOURCES}


def test_settings_and_snapshot_agree_on_the_database_name(settings: Settings, db, tmp_path):
    take_snapshot(db, settings.echotune_home, BOUND)
    assert open_snapshot(settings.echotune_home, settings.mongodb_database).bound == BOUND


def test_the_twin_stays_an_object_id_all_the_way(db, tmp_path):
    db.listening_history.insert_one(play(TWIN))
    db.user_feedback.insert_one(said(TWIN))
    db.users.insert_one(account(TWIN))
    snapshot = take_snapshot(db, tmp_path, BOUND)
    for name in ("plays", "feedback", "users"):
        assert snapshot.table(name)["user_id"].to_pylist() == [f"oid:{TWIN}"]
