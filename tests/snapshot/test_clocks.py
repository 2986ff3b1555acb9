"""Two clocks: what was known by a moment is what a snapshot of a database held that knew no more."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from documents import BOUND, SMALL, TWIN, account, play, said, song
from pymongo.database import Database

from features.release.build import build_release
from features.release.manifest import Manifest, release_folder
from features.schema import names
from features.snapshot.clocks import Clock, open_inputs
from features.snapshot.stored import open_snapshot
from features.snapshot.take import take_snapshot

DAY = timedelta(days=1)
DATED = {
    names.LISTENING_HISTORY: "importedAt",
    names.USER_FEEDBACK: "createdAt",
    names.CHAT_SESSIONS: "lastMessageAt",
    names.EVENTS: "timestamp",
}


@pytest.fixture
def history(db: Database) -> Database:
    """Forty days of plays, most known at once, some days later, some since they were played; opinions of all kinds."""
    rng = np.random.default_rng(5)
    users = ["ann", "bob", TWIN, "cat", "dan"]
    plays = []
    for number in range(400):
        played = BOUND - float(rng.uniform(0, 40)) * DAY
        late = float(rng.choice([0.01, 3.0, 20.0], p=[0.7, 0.2, 0.1])) * DAY
        known = {"importedAt": min(played + late, BOUND)} if number % 9 else {"importedAt": None}
        track = f"track-{int(16 * rng.random() ** 2) + 1:02d}"
        plays.append(play(users[int(5 * rng.random() ** 2)], track) | {"playedAt": played, **known})
    db.listening_history.insert_many(plays)
    db.tracks.insert_many([song(number) for number in range(1, 17)])
    db.users.insert_many([account(user) for user in ("ann", "bob")])
    moments = [BOUND - days * DAY for days in (35.5, 12.2, 3.1)]
    db.user_feedback.insert_many([said("ann", f"track-{n:02d}", createdAt=at) for n, at in enumerate(moments, 1)])
    accepted = [{"trackIds": ["track-03"], "accepted": True}]
    db.chat_sessions.insert_many(
        [{"userId": "bob", "recommendations": accepted, "lastMessageAt": at} for at in moments]
    )
    db.events.insert_many(
        [
            {"userId": "cat", "type": "recommendation.accept", "data": {"trackId": "track-04"}, "timestamp": at}
            for at in moments
        ]
    )
    return db


def forget(database: Database, known_at: datetime) -> None:
    """Takes out, document by document, what was not known by a moment: the slow way and the obvious one."""
    for name, path in DATED.items():
        for document in list(database[name].find()):
            if (document.get(path) or document["playedAt"]) > known_at:
                database[name].delete_one({"_id": document["_id"]})


def files(home: Path, manifest: Manifest) -> dict[str, bytes]:
    """Everything in a release but how long its lists took."""
    found = {path.name: path.read_bytes() for path in release_folder(home, manifest.id).glob("*.parquet")}
    lists = pq.read_table(release_folder(home, manifest.id) / "recommendations.parquet").drop_columns("generation_ms")
    return found | {"recommendations.parquet": repr(lists.to_pylist()).encode()}


@pytest.mark.parametrize("days", [30.25, 11.0, 2.5])
def test_a_release_of_the_past_is_byte_for_byte_that_of_who_knew_no_more(history, tmp_path, days):
    moment = (BOUND - days * DAY).replace(microsecond=0)
    snapshot = take_snapshot(history, tmp_path, BOUND)
    inputs = Clock(snapshot).known_by(moment)
    backfilled = build_release(inputs, tmp_path / "a", SMALL, moment)
    for document in list(history.listening_history.find()):  # what happened later leaves too
        if document["playedAt"] >= moment:
            history.listening_history.delete_one({"_id": document["_id"]})
    forget(history, moment)
    ignorant = take_snapshot(history, tmp_path / "then", BOUND)
    then = build_release(ignorant, tmp_path / "b", SMALL, moment)
    assert backfilled.counts == then.counts
    assert 0 < backfilled.counts["plays"] < 400
    assert files(tmp_path / "a", backfilled) == files(tmp_path / "b", then)


@pytest.mark.parametrize("days", [-1, 0, 1.5, 20, 39, 100])
def test_what_is_known_by_a_moment_is_what_a_snapshot_then_would_have_held(history, tmp_path, days):
    moment = (BOUND - days * DAY).replace(microsecond=0)
    view = Clock(take_snapshot(history, tmp_path, BOUND)).known_by(moment)
    forget(history, moment)
    then = take_snapshot(history, tmp_path / "then", BOUND)
    assert view.digest == then.digest
    for name in then.tables:
        assert sorted(view.table(name)["document_id"].to_pylist()) == sorted(
            then.table(name)["document_id"].to_pylist()
        )
    counts = view.counts()
    assert {name: entry["used"] for name, entry in counts.items()} == {
        name: table.used for name, table in then.tables.items()
    }
    assert all(entry["read"] == entry["used"] + entry["set_aside"] for entry in counts.values())


def test_what_becomes_known_later_changes_nothing_that_was_known_before(history, tmp_path):
    moment = BOUND - 5 * DAY
    before = Clock(take_snapshot(history, tmp_path, BOUND)).known_by(moment)
    history.listening_history.insert_many(
        [play("new", days=200, importedAt=moment + timedelta(milliseconds=1)), play("new", importedAt=BOUND + DAY)]
    )
    history.user_feedback.insert_one(said("new", createdAt=BOUND + DAY))
    after = Clock(take_snapshot(history, tmp_path, BOUND + 2 * DAY)).known_by(moment)
    assert after.digest == before.digest
    assert after.counts()["plays"]["known_later"] == before.counts()["plays"]["known_later"] + 2


def test_the_moment_itself_is_included_to_the_millisecond(db, tmp_path):
    at = BOUND - DAY
    db.listening_history.insert_many(
        [play("on", importedAt=at), play("after", importedAt=at + timedelta(milliseconds=1))]
    )
    view = Clock(take_snapshot(db, tmp_path, BOUND)).known_by(at + timedelta(microseconds=900))
    assert view.table("plays")["user_id"].to_pylist() == ["on"]
    assert (view.counts()["plays"]["used"], view.counts()["plays"]["known_later"]) == (1, 1)


def test_inputs_are_opened_as_of_now_or_of_a_moment(history, tmp_path):
    snapshot = take_snapshot(history, tmp_path, BOUND)
    assert open_inputs(tmp_path, history.name) == open_snapshot(tmp_path, history.name) == snapshot
    view = open_inputs(tmp_path, history.name, BOUND - 9 * DAY)
    assert (view.known_at, view.digest) == (BOUND - 9 * DAY, Clock(snapshot).known_by(BOUND - 9 * DAY).digest)
    history.listening_history.delete_many({"userId": "ann"})
    take_snapshot(history, tmp_path, BOUND)
    assert open_inputs(tmp_path, history.name, BOUND - 9 * DAY).digest != view.digest  # nothing stale is kept
