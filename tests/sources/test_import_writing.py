"""Imports into a real server: what is new, what is there, what changed, what is refused."""

import errno
import json
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from pymongo import monitoring
from pymongo.errors import AutoReconnect

from features.errors import DatabaseError, StorageError
from features.sources.importer import import_table
from features.sources.writing import BATCH_DOCUMENTS, differences

PLAYS = "user_id,track_id,played_at\nann,t1,2026-11-01\nann,t2,2026-11-01\nbob,t1,nonsense\n"


def test_importing_a_file_twice_adds_nothing(write, run, inputs):
    path = write("plays.csv", PLAYS)
    first, second = run("plays", path), run("plays", path)
    assert (first.imported, first.already_there, first.set_aside) == (2, 0, 1)
    assert (second.imported, second.already_there, second.set_aside) == (0, 2, 1)
    assert inputs.listening_history.count_documents({}) == 2


def test_more_rows_than_a_batch_all_arrive(write, run, inputs):
    count = 2 * BATCH_DOCUMENTS + 7
    path = write("plays.csv", "user_id,track_id,played_at\n" + "".join(f"ann,t{i},1700000000\n" for i in range(count)))
    assert run("plays", path).imported == count
    assert run("plays", path).already_there == count


def test_feedback_without_a_strength_has_none(write, run, inputs):
    text = (
        "user_id,track_id,signal,created_at,strength,platform\nann,t1,Love,2026-11-01,,web\nann,t2,skip,2026-11-01,2,\n"
    )
    assert run("feedback", write("f.csv", text)).imported == 2
    love, skip = inputs.user_feedback.find().sort("trackId")
    assert "strength" not in love
    assert (love["signal"], love["metadata"]) == ("love", {"platform": "web"})
    assert skip["strength"] == 2
    assert "metadata" not in skip


def test_a_track_that_is_there_is_changed_only_where_it_differs(write, run, inputs, now):
    there = {
        "_id": ObjectId(),
        "spotifyId": "t1",
        "name": "Dawn",
        "artists": [{"id": "a1", "name": "Ada", "genres": ["jazz"]}],
        "album": None,
        "audioFeatures": {"energy": 0.5, "valence": 0.25},
        "analysis": {"bars": [{"start": 1}]},
        "lastUpdated": now.replace(year=2020),
    }
    inputs.tracks.insert_one(there)
    header = "track_id,name,artist,album,energy\n"
    same = run("tracks", write("same.csv", header + "t1,Dawn,Ada,,0.5\n"))
    assert (same.already_there, inputs.tracks.find_one()) == (1, there)
    changed = run("tracks", write("changed.csv", header + "t1,Dawn,Ada,Sea,0.75\nt2,Dusk,,,\n"))
    assert (changed.updated, changed.imported) == (1, 1)
    assert inputs.tracks.find_one({"spotifyId": "t1"}) == there | {
        "album": {"name": "Sea"},
        "audioFeatures": {"energy": 0.75, "valence": 0.25},
        "lastUpdated": now,
    }
    new = inputs.tracks.find_one({"spotifyId": "t2"})
    assert (new["createdAt"], new["lastUpdated"]) == (now, now)


def test_differences_leave_what_the_file_does_not_say():
    there = {"name": "Dawn", "artists": [{"id": "a", "name": "Ada"}, {"name": "Bo"}], "explicit": 1}
    assert differences({"name": "Dawn", "artists": [{"name": "Bo"}, {"name": "Ada"}]}, there) == {
        "artists": [{"name": "Bo"}, {"id": "a", "name": "Ada"}]
    }
    assert differences({"explicit": True}, there) == {"explicit": True}
    assert differences({}, there) == {}


def test_a_user_of_either_id_type_is_known_again(write, run, inputs):
    path = write(
        "u.csv",
        "user_id,email,created_at\noid:64b000000000000000000001,a@example.org,2020-01-01\n64b000000000000000000001,b@example.org,\n",
    )
    assert run("users", path).imported == 2
    assert run("users", path).already_there == 2
    assert {type(user["userId"]) for user in inputs.users.find()} == {str, ObjectId}


def test_a_user_is_updated_beside_what_the_app_keeps(write, run, inputs):
    kept = {"spotifyTokens": {"accessToken": "secret"}, "preferences": {"notifications": True}}
    inputs.users.insert_one({"userId": "ann", "email": "ann@example.org", **kept})
    text = "user_id,email,explicit_content,favorite_genres\nann,ann@example.org,no,jazz;folk\n"
    assert run("users", write("u.csv", text)).updated == 1
    ann = inputs.users.find_one()
    assert ann["spotifyTokens"] == kept["spotifyTokens"]
    assert ann["preferences"] == {"notifications": True, "explicitContent": False, "favoriteGenres": ["jazz", "folk"]}


def test_tokens_are_never_read(write, server_uri, inputs, tmp_path, now):
    from pymongo import MongoClient

    class Seen(monitoring.CommandListener):
        finds: ClassVar[list] = []

        def started(self, event):
            if event.command_name == "find":
                self.finds.append(event.command)

        def succeeded(self, event): ...
        def failed(self, event): ...

    path = write("u.csv", "user_id,email\nann,ann@example.org\n")
    with MongoClient(server_uri, event_listeners=[Seen()], tz_aware=True) as client:
        import_table(client[inputs.name], "users", path, home=tmp_path, now=now)
    assert Seen.finds
    for command in Seen.finds:
        assert command["projection"]
        assert not [field for field in command["projection"] if "oken" in field]


def test_an_address_of_somebody_else_is_set_aside_and_in_no_message(write, run, inputs, rejected):
    inputs.users.insert_many(
        [{"userId": "ann", "email": "ann@example.org"}, {"userId": "bob", "email": "bob@example.org"}]
    )
    path = write("u.csv", "user_id,email\ncy,ann@example.org\nbob,ann@example.org\ndi,di@example\ned,ed@example.org\n")
    totals = run("users", path)
    assert totals.imported == 1
    assert rejected(totals) == [
        (2, "another document has the same email"),
        (3, "another document has the same email"),
        (4, "email is not an e-mail address"),
    ]
    assert "example" not in repr(totals)
    assert inputs.users.find_one({"userId": "bob"})["email"] == "bob@example.org"


def test_what_a_stricter_validator_refuses_is_set_aside(write, run, inputs, rejected):
    inputs.command("collMod", "listening_history", validator={"trackId": {"$ne": "t1"}})
    totals = run("plays", write("plays.csv", PLAYS))
    assert totals.imported == 1
    assert rejected(totals) == [
        (2, "refused by the collection's validator"),
        (4, "played_at is not a time"),
    ]


def test_the_rejected_file_holds_the_row_and_keeps_its_name(write, run, tmp_path):
    path = write("plays.csv", PLAYS)
    first, second = run("plays", path), run("plays", path)
    assert first.rejected_path == second.rejected_path
    assert first.rejected_path.name.startswith("plays-plays-")
    (row,) = pq.read_table(first.rejected_path).to_pylist()
    assert json.loads(row["row"]) == {"user_id": "bob", "track_id": "t1", "played_at": "nonsense"}
    assert [found.name for found in (tmp_path / "home" / "rejected").iterdir()] == [first.rejected_path.name]


def test_a_disk_that_is_full_leaves_no_half_written_file(write, run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(StorageError, match="No space left on device") as error:
        run("plays", write("plays.csv", PLAYS))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "home" / "rejected").iterdir())


def test_a_home_that_is_no_folder_is_a_storage_error(write, run, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="can't be written"):
        run("plays", write("plays.csv", PLAYS))


def test_a_lost_connection_is_a_database_error_without_a_half_written_file(write, run, inputs, tmp_path, monkeypatch):
    from pymongo.collection import Collection

    def gone(*_, **__):
        raise AutoReconnect("mongodb://user:secret@host")

    path = write("plays.csv", PLAYS)
    with monkeypatch.context() as patched:
        patched.setattr(Collection, "insert_many", gone)
        with pytest.raises(DatabaseError) as error:
            run("plays", path)
    assert "secret" not in str(error.value)
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home" / "rejected").iterdir())
    assert run("plays", path).imported == 2
