"""After an erasure nothing is left of a person but a keyed hash, everybody else's data is whole, and nobody returns."""

import json
import os
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import BOUND, SMALL, fill_small_world, play
from persons import ANN, KEY, NOW, Lived, add_person, publish
from pydantic import SecretStr
from pymongo.database import Database

from features.erasure import erase as module
from features.erasure import files, records
from features.erasure.erase import erase, resolve_user
from features.erasure.files import leave_out_erased, names
from features.erasure.records import OWNED, count_records
from features.erasure.tombstones import ERASED, Tombstones, hash_of, read_tombstones
from features.erasure.traces import find_traces
from features.errors import BusyError, InputError, NotFoundError, StorageError
from features.keys import read_key
from features.release.build import build_release
from features.release.ledger import hold_lease, read_pointer
from features.release.manifest import read_manifest, release_folder
from features.release.publish import _is_whole, rollback, switch, upload, verify
from features.release.store import FeatureStore
from features.schema import plan
from features.schema.ids import encode_id
from features.snapshot.take import open_snapshot, take_snapshot
from features.sources import tables
from features.sources.importer import import_table

KEY_BYTES = read_key(KEY, "ECHOTUNE_HASH_KEY")


def erased(lived: Lived, **how) -> dict[str, int]:
    return erase(lived.db, lived.home, KEY, lived.person, NOW, **how).counts


def bytes_under(folder: Path) -> bytes:
    """Everything in a folder, Parquet files both as they are and decoded."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            parts.append(path.read_bytes())
            if ".parquet" in path.name:
                parts.append(repr(pq.read_table(path).to_pylist()).encode())
    return b"\n".join(parts)


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dump(database: Database) -> dict[str, list[str]]:
    return {
        name: sorted(repr(document) for document in database[name].find({}))
        for name in sorted(database.list_collection_names())
    }


def others(database: Database, person: str | ObjectId) -> dict[str, list[str]]:
    """All that is not about the person, of everything but the books and the lists of neighbours."""
    return {
        name: sorted(
            repr(document)
            for document in database[name].find({"featureType": {"$ne": "similarity"}})
            if document.get("userId") != person
        )
        for name in database.list_collection_names()
        if name != "releases"
    }


def test_the_person_was_everywhere_before(lived):
    found = {trace.where for trace in find_traces(lived.db, lived.home, lived.person)}
    collections = {where.removeprefix("collection ") for where in found if where.startswith("collection")}
    assert collections == set(OWNED)
    assert {where.split("/")[0] for where in found if not where.startswith("collection")} == {
        "releases",
        "snapshot",
        "rejected",
    }
    assert count_records(lived.db, lived.person)["neighbour lists"] > 1


def test_a_byte_search_finds_nothing_but_the_hash(lived):
    counts = erased(lived)
    text = str(lived.person).encode()
    everything = bytes_under(lived.home) + repr(dump(lived.db)).encode()
    assert text not in everything
    assert find_traces(lived.db, lived.home, lived.person) == []
    assert hash_of(KEY_BYTES, encode_id(lived.person)).encode() in everything
    assert counts["listening_history"] == 9
    assert counts["users"] == counts["user_settings"] == counts["chat_sessions"] == counts["events"] == 1
    assert counts["set-aside rows"] == 4
    if not isinstance(lived.person, ObjectId):
        assert f"{ANN}@example.org".encode() not in everything


def test_nobody_else_loses_anything(lived):
    before = others(lived.db, lived.person)
    rejected = bytes_under(lived.home / "rejected")
    erased(lived)
    after = others(lived.db, lived.person)
    assert after == before
    left = bytes_under(lived.home / "rejected")
    assert b"bob@example.org" in rejected
    assert b"bob@example.org" in left
    assert left.count(b"'line'") == rejected.count(b"'line'") - 4


def test_neighbour_lists_shrink_and_keep_their_order(lived):
    before = {d["_id"]: d for d in lived.db.feature_store.find({"featureType": "similarity"})}
    erased(lived)
    changed = 0
    for document in lived.db.feature_store.find({"featureType": "similarity"}):
        old = before[document["_id"]]["features"]
        neighbors = [entry for entry in old["neighbors"] if entry["userId"] != lived.person]
        assert document["features"]["neighbors"] == neighbors
        assert document["features"]["vector"] == [entry["score"] for entry in neighbors]
        assert document["features"]["dimensions"] == len(neighbors)
        changed += len(neighbors) < len(old["neighbors"])
    assert changed > 1


def test_the_releases_stay_whole_on_disk_and_in_the_database(lived):
    erased(lived)
    for release in lived.releases:
        manifest = read_manifest(lived.home, release.id)
        assert manifest.counts["user_profile"] == release.counts["user_profile"] - 1
        assert manifest.counts["recommendations"] < release.counts["recommendations"]
        assert lived.db.releases.find_one({"_id": release.id})["counts"] == manifest.counts
        assert _is_whole(lived.db, release.id)
        with hold_lease(lived.db) as token:
            digests = upload(lived.db, lived.home, manifest, token)  # goes by the ledger, sends nothing
            verify(lived.db, manifest, digests)
            switch(lived.db, manifest, token)


def test_a_release_sent_again_from_disk_is_the_one_in_the_database(lived):
    """Chunks still are the same chunks: what is on disk encodes to what the server has, byte for byte."""
    erased(lived)
    before = dump(lived.db)["feature_store"]
    manifest = read_manifest(lived.home, lived.releases[1].id)
    lived.db.feature_store.delete_many({"features.version": manifest.id})
    lived.db.recommendations.delete_many({"release": manifest.id})
    lived.db.releases.update_one({"_id": manifest.id}, {"$set": {"ledger": {}}})
    with hold_lease(lived.db) as token:
        verify(lived.db, manifest, upload(lived.db, lived.home, manifest, token))
    assert dump(lived.db)["feature_store"] == before


def test_a_rollback_does_not_bring_the_person_back(lived):
    erased(lived)
    with hold_lease(lived.db) as token:
        rollback(lived.db, token)
    assert read_pointer(lived.db).release == lived.releases[0].id
    assert find_traces(lived.db, lived.home, lived.person) == []
    with pytest.raises(NotFoundError):
        FeatureStore(lived.db).profile(lived.person)


def test_twice_is_once(lived):
    first = erase(lived.db, lived.home, KEY, lived.person, NOW)
    state = dump(lived.db) | files_under(lived.home)
    lease = lived.db.releases.find_one({"_id": "lease"})
    second = erase(lived.db, lived.home, KEY, lived.person, NOW.replace(year=2027))
    assert second == first
    assert lived.db.releases.find_one({"_id": "lease"})["token"] == lease["token"] + 1
    again = dump(lived.db) | files_under(lived.home)
    state.pop("releases"), again.pop("releases")  # the lease was taken
    assert again == state


@pytest.mark.parametrize(
    "step", ["_set_ledger_right", "_without", "delete_records", "erase_from_files", "delete_account"]
)
def test_an_erasure_that_is_interrupted_is_finished_by_the_next(lived, monkeypatch, step):
    owner = records if hasattr(records, step) and step.startswith("_") else module
    whole, calls = getattr(owner, step), []

    def interrupted(*args):
        calls.append(1)
        if step.startswith("_") and len(calls) < 2:
            return whole(*args)
        if not step.startswith("_"):
            whole(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        erased(lived)
    monkeypatch.undo()
    erased(lived)
    assert find_traces(lived.db, lived.home, lived.person) == []
    for release in lived.releases:
        manifest = read_manifest(lived.home, release.id)
        assert lived.db.releases.find_one({"_id": release.id})["counts"] == manifest.counts
        with hold_lease(lived.db) as token:
            verify(lived.db, manifest, upload(lived.db, lived.home, manifest, token))


def test_the_next_snapshot_equals_the_one_that_was_gone_through(lived):
    erased(lived)
    left = open_snapshot(lived.home, lived.db.name)
    fresh = take_snapshot(lived.db, lived.home.parent / "fresh", BOUND, hash_key=KEY)
    assert left.digest == fresh.digest
    for name, table in fresh.tables.items():
        mine = left.tables[name]
        assert (mine.read, mine.used, mine.set_aside, mine.reasons) == (
            table.read,
            table.used,
            table.set_aside,
            table.reasons,
        )


def test_who_comes_back_through_the_app_is_set_aside_by_the_snapshot(lived):
    erased(lived)
    lived.db.listening_history.insert_one(play(lived.person, "track-03"))
    snapshot = take_snapshot(lived.db, lived.home, BOUND, hash_key=KEY)
    assert snapshot.tables["plays"].reasons == {ERASED: 1}
    assert encode_id(lived.person) not in snapshot.table("plays")["user_id"].to_pylist()
    manifest = build_release(snapshot, lived.home, SMALL, BOUND)
    assert encode_id(lived.person).encode() not in bytes_under(release_folder(lived.home, manifest.id))


def test_importers_set_the_person_aside_and_keep_nothing_of_the_row(lived, tmp_path):
    erased(lived)
    path = tmp_path / "plays.csv"
    user = encode_id(lived.person)
    path.write_text(
        f"user_id,track_id,played_at\n{user},track-09,2026-02-01T10:00\nbob,track-09,2026-02-01T10:00\n"
        f"{user},,2026-02-01T10:00\n"
    )
    totals = import_table(lived.db, "plays", path, home=lived.home, now=NOW, hash_key=KEY)
    assert (totals.imported, totals.set_aside, totals.reasons) == (1, 2, {ERASED: 2})
    assert find_traces(lived.db, lived.home, lived.person) == []
    assert {row["row"] for row in pq.read_table(totals.rejected_path).to_pylist()} == {"null"}


def test_who_is_erased_while_an_import_is_at_work_is_set_aside_from_its_next_chunk_on(lived, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 2)
    path = tmp_path / "plays.csv"
    user = encode_id(lived.person)
    rows = [f"{user},track-0{n},2026-02-0{n}T10:00" for n in range(1, 9)]
    path.write_text("user_id,track_id,played_at\n" + "\n".join(rows) + "\n")
    chunks: list[int] = []

    def progress(_what: str, done: int, _total: int | None) -> None:
        chunks.append(done)
        if len(chunks) == 2:
            erased(lived)

    totals = import_table(lived.db, "plays", path, home=lived.home, now=NOW, hash_key=KEY, progress=progress)
    assert (totals.imported, totals.reasons) == (4, {ERASED: 4})
    assert find_traces(lived.db, lived.home, lived.person) == []


def test_an_upload_cut_short_is_finished_without_the_person(lived):
    manifest = lived.releases[1]
    ledger = lived.db.releases.find_one({"_id": manifest.id})["ledger"]
    del ledger["recommendations"]
    lived.db.releases.update_one({"_id": manifest.id}, {"$set": {"state": "uploading", "ledger": ledger}})
    erased(lived)
    left = read_manifest(lived.home, manifest.id)
    with hold_lease(lived.db) as token:
        verify(lived.db, left, upload(lived.db, lived.home, left, token))
    assert find_traces(lived.db, lived.home, lived.person) == []


def test_without_the_right_key_nobody_is_let_in_unrecognised(lived, tmp_path):
    erased(lived)
    other = SecretStr("MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=")
    for key, text in ((None, "ECHOTUNE_HASH_KEY is not set"), (other, "not the key that erased persons")):
        with pytest.raises(InputError, match=text):
            take_snapshot(lived.db, lived.home, BOUND, hash_key=key)
        path = tmp_path / "plays.csv"
        path.write_text("user_id,track_id,played_at\nbob,t,2026-02-01T10:00\n")
        with pytest.raises(InputError, match=text):
            import_table(lived.db, "plays", path, home=lived.home, now=NOW, hash_key=key)


def test_a_run_at_work_is_waited_for_and_what_it_publishes_is_gone_through(lived):
    started, go_on = threading.Event(), threading.Event()
    snapshot = take_snapshot(lived.db, lived.home, BOUND)  # before the erasure: the person is in it
    manifest = build_release(
        snapshot, lived.home, SMALL.model_copy(update={"recommendations": SMALL.recommendations}), BOUND.replace(hour=1)
    )

    def nightly() -> None:
        with hold_lease(lived.db) as token:
            started.set()
            go_on.wait(30)
            verify(lived.db, manifest, upload(lived.db, lived.home, manifest, token))
            switch(lived.db, manifest, token)

    run = threading.Thread(target=nightly)
    run.start()
    started.wait(30)
    told: list[str] = []

    def progress(what: str, _done: int, _total: int | None) -> None:
        told.append(what)
        go_on.set()

    erased(lived, progress=progress)
    run.join()
    assert told == ["waiting for the run at work"] * len(told)
    assert told
    assert read_pointer(lived.db).release == manifest.id
    assert find_traces(lived.db, lived.home, lived.person) == []


def test_a_run_that_does_not_end_is_told_and_the_tombstone_stays(lived):
    with hold_lease(lived.db), pytest.raises(BusyError):
        erased(lived, wait_s=0.0)
    assert read_tombstones(lived.db, KEY).cover(encode_id(lived.person))


def test_a_release_built_before_on_another_machine_is_published_without_the_person(lived, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    snapshot = take_snapshot(lived.db, elsewhere, BOUND)
    manifest = build_release(snapshot, elsewhere, SMALL, BOUND.replace(hour=1))
    erased(lived)
    assert find_traces(lived.db, elsewhere, lived.person) != []
    left = leave_out_erased(elsewhere, manifest.id, read_tombstones(lived.db, KEY))
    assert left.counts["user_profile"] == manifest.counts["user_profile"] - 1
    with hold_lease(lived.db) as token:
        verify(lived.db, left, upload(lived.db, elsewhere, left, token))
        switch(lived.db, left, token)
    assert [t for t in find_traces(lived.db, elsewhere, lived.person) if not t.where.startswith("snapshot")] == []


def test_a_slip_of_the_keyboard_is_told_and_leaves_no_tombstone(lived):
    with pytest.raises(NotFoundError, match="nothing is known"):
        erase(lived.db, lived.home, KEY, "nobody-of-that-name", NOW)
    assert read_tombstones(lived.db, KEY) == Tombstones()


@pytest.mark.parametrize("word", ["track-01", "meh", ""])
def test_a_word_that_is_nobodys_id_takes_no_row_along(lived, word):
    before = files_under(lived.home / "rejected")
    with pytest.raises((NotFoundError, InputError)):
        erase(lived.db, lived.home, KEY, resolve_user(lived.db, word, Tombstones()), NOW)
    assert files_under(lived.home / "rejected") == before


def test_what_killed_runs_left_goes_and_what_a_living_import_writes_stays(lived):
    rejected, release = lived.home / "rejected", release_folder(lived.home, lived.releases[0].id)
    scratch = [
        rejected / ".plays-x.parquet.999999",
        release / ".user_profile.parquet.abcd",
        lived.home / "releases" / ".2026-01-01-abcdef.12345678" / "user_profile.parquet",
    ]
    for path in scratch:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    living = rejected / f".plays-y.parquet.{os.getpid()}"
    living.write_bytes(b"half")
    erased(lived)
    assert [path for path in scratch if path.exists()] == []
    assert living.exists()


@pytest.mark.parametrize("writer", ["write_json", "write_manifest"])
def test_counts_are_made_good_after_a_run_cut_short_before_it_wrote_them(lived, monkeypatch, writer):
    def full(*_: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr(files, writer, full)
    with pytest.raises(StorageError):
        erased(lived)
    monkeypatch.undo()
    counts = erased(lived)
    assert counts["listening_history"] == 9
    for release in lived.releases:
        manifest = read_manifest(lived.home, release.id)
        assert lived.db.releases.find_one({"_id": release.id})["counts"] == manifest.counts
    fresh = take_snapshot(lived.db, lived.home.parent / "fresh", BOUND, hash_key=KEY)
    assert open_snapshot(lived.home, lived.db.name).digest == fresh.digest


def test_files_keep_their_permissions(lived):
    (path,) = (lived.home / "rejected").glob("feedback-*")
    erased(lived)
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_key_nothing_is_erased(lived):
    before = count_records(lived.db, lived.person)
    with pytest.raises(InputError, match="openssl rand"):
        erase(lived.db, lived.home, None, lived.person, NOW)
    assert count_records(lived.db, lived.person) == before


def test_the_receipt_tells_how_much_of_what_and_not_who(lived):
    receipt = erase(lived.db, lived.home, KEY, lived.person, NOW)
    (path,) = (lived.home / "erasures").iterdir()
    assert json.loads(path.read_text()) == receipt.__dict__
    assert receipt.user == hash_of(KEY_BYTES, encode_id(lived.person)) == path.stem
    tombstone = lived.db.releases.find_one({"_id": f"erased:{receipt.user}"})
    assert tombstone["counts"] == receipt.counts
    assert tombstone["erasedAt"] == NOW


def test_a_string_and_an_objectid_that_read_the_same_are_two_people(db, tmp_path):
    plan.apply(db)
    text = "64b0000000000000000000ff"
    fill_small_world(db)
    add_person(db, text)
    assert resolve_user(db, text, Tombstones()) == text
    add_person_without_account(db, ObjectId(text))
    with pytest.raises(InputError, match=f"write str:{text} or oid:{text}"):
        resolve_user(db, text, Tombstones())
    assert resolve_user(db, f"oid:{text}", Tombstones()) == ObjectId(text)
    assert resolve_user(db, f"str:{text}", Tombstones()) == text
    publish(db, tmp_path / "home", 0)
    erase(db, tmp_path / "home", KEY, text, NOW)
    assert count_records(db, ObjectId(text))["listening_history"] == 1
    assert FeatureStore(db).profile(ObjectId(text))


def add_person_without_account(database: Database, user: ObjectId) -> None:
    database.listening_history.insert_one(play(user, "track-01"))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ('{"user_id": "u1"}', True),
        ('{"user_id": "u12"}', False),
        ('{"a": {"b": ["x", "u1"]}}', True),
        ('{"u1": "key"}', False),
        ('"u1,t,x"', True),
        ('"xu1,t"', False),
        ('"u1@example.org"', False),
        ('{"text": "no friend of u1, nor u2"}', True),
        ('{"text": "no friend of u1x"}', False),
        ('{"uri": "spotify:user:U1"}', True),
        ('{"data": {"u1": 3}}', True),
        ("null", False),
        ('{"n": 7}', False),
    ],
)
def test_a_row_set_aside_names_a_person_by_a_whole_value_or_word(row, found):
    assert names(row, frozenset({"u1"})) is found
