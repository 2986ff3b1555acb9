"""Recommendations that were accepted, in chats of either draft and in events: rows, or set aside with a reason."""

from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import BOUND, TWIN, days_ago

from features.snapshot.take import Snapshot, take_snapshot

OID = ObjectId("64b0000000000000000000aa")


def session(number: int = 1, **fields) -> dict:
    return {"_id": f"s-{number}", "sessionId": f"s-{number}", "userId": "ann", "lastMessageAt": days_ago(1), **fields}


def accept(number: int = 1, **fields) -> dict:
    event = {"type": "recommendation.accept", "userId": "ann", "data": {"trackIds": ["t1"]}, "timestamp": days_ago(1)}
    return {"_id": f"e-{number}", **event, **fields}


def rows_of(snapshot: Snapshot, table: str) -> dict[str, dict]:
    return {row["document_id"]: row for row in snapshot.table(table).to_pylist()}


def reasons_of(snapshot: Snapshot, table: str) -> dict[str, str]:
    (file,) = (snapshot.folder / "set_aside").glob(f"{table}-*.parquet")
    return {row["document_id"]: row["reason"] for row in pq.read_table(file).to_pylist()}


@pytest.mark.parametrize(
    ("recommendations", "tracks"),
    [
        ([{"trackIds": ["t1", "t2"], "accepted": True}, {"trackIds": ["t3"], "accepted": False}], ["t1", "t2"]),
        ([{"trackIds": ["t1"], "accepted": True}, {"trackIds": ["t2"], "accepted": True}], ["t1", "t2"]),
        ([{"trackIds": ["t1"]}, {"trackIds": ["t2"], "accepted": None}], []),
        ([{"accepted": True}, {"trackIds": None, "accepted": True}], []),
        ([OID, {"trackIds": ["t1"], "accepted": True}], ["t1"]),
        ([OID], []),
        ([], []),
        (None, None),
    ],
)
def test_only_what_was_accepted_counts_in_either_drafts_shape(db, tmp_path, recommendations, tracks):
    db.chat_sessions.insert_one(session(recommendations=recommendations))
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert rows_of(snapshot, "sessions")["s-1"]["track_ids"] == tracks
    assert snapshot.tables["sessions"].set_aside == 0


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ({"lastMessageAt": days_ago(2), "endedAt": days_ago(1), "startedAt": days_ago(4)}, 2),
        ({"lastMessageAt": None, "endedAt": days_ago(3), "startedAt": days_ago(4)}, 3),
        ({"lastMessageAt": None, "startedAt": days_ago(4), "createdAt": days_ago(5)}, 4),
        ({"lastMessageAt": None, "createdAt": days_ago(5)}, 5),
    ],
)
def test_a_session_is_of_its_last_known_moment(db, tmp_path, fields, days):
    db.chat_sessions.insert_one(session(recommendations=[{"trackIds": ["t"], "accepted": True}], **fields))
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert rows_of(snapshot, "sessions")["s-1"]["accepted_at"] == days_ago(days)


def test_sessions_that_cannot_be_used_are_set_aside_with_the_reason(db, tmp_path):
    accepted = [{"trackIds": ["t"], "accepted": True}]
    broken = [
        ({"userId": None}, "user_id is missing"),
        ({"userId": 7}, "userId is of type int"),
        ({"recommendations": "t1"}, "recommendations is of type string"),
        ({"recommendations": [5]}, "recommendations is of type array"),
        ({"recommendations": [{"trackIds": "t1", "accepted": True}]}, "recommendations is of type array"),
        ({"recommendations": [{"trackIds": ["t1"], "accepted": "yes"}]}, "recommendations is of type array"),
        ({"recommendations": accepted, "lastMessageAt": "today"}, "lastMessageAt is of type string"),
        ({"recommendations": accepted, "lastMessageAt": None}, "accepted_at is missing"),
        ({"recommendations": accepted, "lastMessageAt": BOUND + timedelta(days=1)}, "accepted_at is in the future"),
    ]
    db.chat_sessions.insert_many([session(n, **fields) for n, (fields, _) in enumerate(broken)])
    db.chat_sessions.insert_one(session(99, lastMessageAt=None))  # nothing accepted: no date is needed
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert reasons_of(snapshot, "sessions") == {f"s-{n}": reason for n, (_, reason) in enumerate(broken)}
    assert (snapshot.tables["sessions"].read, snapshot.tables["sessions"].used) == (len(broken) + 1, 1)


def test_an_event_of_an_acceptance_names_one_track_or_several(db, tmp_path):
    db.events.insert_many(
        [
            accept(1),
            accept(2, userId=TWIN, data={"trackId": "t2", "strategy": "hybrid"}),
            {"type": "chat.message", "userId": "ann", "timestamp": days_ago(1), "data": {"trackId": "never"}},
            {"type": "recommendation.request", "timestamp": days_ago(1)},
        ]
    )
    snapshot = take_snapshot(db, tmp_path, BOUND)
    rows = rows_of(snapshot, "acceptances")
    assert {key: (row["user_id"], row["track_ids"]) for key, row in rows.items()} == {
        "e-1": ("ann", ["t1"]),
        "e-2": (f"oid:{TWIN}", ["t2"]),
    }
    assert rows["e-1"]["accepted_at"] == days_ago(1)
    assert snapshot.tables["acceptances"].read == 2


def test_acceptances_that_cannot_be_used_are_set_aside_with_the_reason(db, tmp_path):
    broken = [
        ({"userId": None}, "user_id is missing"),
        ({"data": "t1"}, "data is not an object"),
        ({"data": {}}, "track_ids is missing"),
        ({"data": None}, "track_ids is missing"),
        ({"data": {"trackIds": [1]}}, "data.trackIds is of type array"),
        ({"data": {"trackId": 1}}, "data.trackId is of type int"),
        ({"timestamp": "today"}, "timestamp is of type string"),
        ({"timestamp": None}, "accepted_at is missing"),
        ({"timestamp": BOUND + timedelta(days=1)}, "accepted_at is in the future"),
    ]
    db.events.insert_many([accept(n, **fields) for n, (fields, _) in enumerate(broken)])
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert reasons_of(snapshot, "acceptances") == {f"e-{n}": reason for n, (_, reason) in enumerate(broken)}


def test_what_was_accepted_after_the_bound_is_left_for_the_next_snapshot(db, tmp_path):
    later = BOUND + timedelta(minutes=1)
    db.events.insert_many([accept(1), accept(2, timestamp=later)])
    db.chat_sessions.insert_one(session(recommendations=[{"trackIds": ["t"], "accepted": True}], lastMessageAt=later))
    now = take_snapshot(db, tmp_path, BOUND)
    assert (now.tables["acceptances"].read, now.tables["sessions"].read) == (1, 0)
    following = take_snapshot(db, tmp_path, later)
    assert (following.tables["acceptances"].used, following.tables["sessions"].used) == (2, 1)


def test_what_was_said_in_a_chat_is_never_asked_for(db, tmp_path):
    db.chat_sessions.insert_one(session(messages=[{"role": "user", "content": "MARKER"}], summary="MARKER"))
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert "MARKER" not in repr(snapshot.table("sessions").to_pylist())
    from features.snapshot.fields import SESSIONS

    assert not {"messages", "summary", "title", "context"} & SESSIONS.projection.keys()
