"""Documents of every shape the two drafts allow, and those that can't be used, read back from a real server."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from documents import BOUND, TWIN, TWIN_TEXT, days_ago, play, said, song

from features.schema import names
from features.schema.names import AUDIO_NAMES, MAX_PLAY_MS
from features.snapshot.take import Snapshot, take_snapshot

NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
def read(db, tmp_path):
    """Puts documents into a collection and takes a snapshot."""

    def put_and_read(collection: str, *documents) -> Snapshot:
        db[collection].insert_many([dict(document) for document in documents])
        return take_snapshot(db, tmp_path, BOUND)

    return put_and_read


def set_aside(snapshot: Snapshot, table: str) -> dict[str, str]:
    """Reason by document id, as the Parquet file beside the parts has it."""
    import pyarrow.parquet as pq

    (file,) = (snapshot.folder / "set_aside").glob(f"{table}-*.parquet")
    rows = pq.read_table(file).to_pylist()
    return {row["document_id"]: row["reason"] for row in rows}


def only_row(snapshot: Snapshot, table: str) -> dict:
    (row,) = snapshot.table(table).to_pylist()
    return row


@pytest.mark.parametrize(
    ("fields", "completion"),
    [
        ({"completionRate": 0.25}, 0.25),
        ({"completionRate": 0.25, "playedPercentage": 90, "playDuration": 1, "trackDuration": 2}, 0.25),
        ({"playedPercentage": 90, "playDuration": 1, "trackDuration": 2}, 0.9),
        ({"completionRate": None, "playedPercentage": 90}, 0.9),
        ({"playDuration": 50_000, "trackDuration": 200_000}, 0.25),
        ({"completionRate": None, "playedPercentage": None, "playDuration": 1, "trackDuration": 4}, 0.25),
        ({}, None),
        ({"playDuration": 50_000}, None),
        ({"trackDuration": 200_000}, None),
        ({"playDuration": 0, "trackDuration": 0}, None),
        ({"playDuration": 50_000, "trackDuration": 0}, None),
        ({"playDuration": 0, "trackDuration": 200_000}, 0.0),
        ({"completionRate": 0}, 0.0),
        ({"completionRate": 1.7}, 1.0),
        ({"completionRate": -0.5}, 0.0),
        ({"playedPercentage": 250}, 1.0),
        ({"playDuration": 300_000, "trackDuration": 200_000}, 1.0),
        ({"completionRate": Int64(1)}, 1.0),
        ({"completionRate": Decimal128("0.25")}, 0.25),
        ({"playedPercentage": Decimal128("50")}, 0.5),
        ({"playDuration": Int64(100), "trackDuration": 400.0}, 0.25),
    ],
)
def test_completion_is_the_first_that_is_known_clipped_to_one(read, fields, completion):
    row = only_row(read(names.LISTENING_HISTORY, play(**fields)), "plays")
    assert row["completion"] == (None if completion is None else pytest.approx(completion))


def test_a_play_of_the_first_draft_becomes_a_row(read):
    document = play(
        "ann",
        trackName="Song",
        artistName="Artist",
        albumName="Album",
        playDuration=100,
        trackDuration=200,
        completionRate=0.5,
        context={"source": "album", "uri": "u", "shuffle": False, "repeat": "off"},
        audioFeatures={"energy": 1, "key": Int64(7), "mode": 0, "tempo": 90.5},
        _id=ObjectId("64b0000000000000000000aa"),
    )
    row = only_row(read(names.LISTENING_HISTORY, document), "plays")
    audio = dict.fromkeys(AUDIO_NAMES) | {"energy": 1.0, "key": 7.0, "mode": 0.0, "tempo": 90.5}
    assert row == audio | {
        "document_id": "oid:64b0000000000000000000aa",
        "user_id": "ann",
        "track_id": "track-01",
        "played_at": days_ago(2),
        "known_at": days_ago(1),
        "completion": 0.5,
        "play_ms": 100.0,
        "track_name": "Song",
        "artist_name": "Artist",
        "genres": None,
        "source": "album",
    }


def test_a_play_of_the_second_draft_becomes_a_row(read):
    document = {
        "userId": TWIN,
        "spotifyUserId": "s",
        "trackId": "t",
        "genres": ["pop", "rock"],
        "playedAt": days_ago(2),
        "playedPercentage": 50,
        "context": {"source": "recommendation", "recommendationId": ObjectId(), "sessionId": "s"},
        "audioFeatures": None,
        "createdAt": days_ago(1),
    }
    row = only_row(read(names.LISTENING_HISTORY, document), "plays")
    assert row["user_id"] == f"oid:{TWIN_TEXT}"
    assert row["genres"] == ["pop", "rock"]
    assert row["source"] == "recommendation"
    assert row["completion"] == 0.5
    assert row["known_at"] == days_ago(1)
    assert all(row[name] is None for name in AUDIO_NAMES)


@pytest.mark.parametrize("context", [None, {}, {"source": None}])
@pytest.mark.parametrize("audio", [None, {}, {"energy": None}])
def test_a_sub_document_may_be_null_empty_or_full_of_nulls(read, context, audio):
    row = only_row(read(names.LISTENING_HISTORY, play(context=context, audioFeatures=audio)), "plays")
    assert row["source"] is None
    assert row["energy"] is None


def test_any_source_is_kept_as_it_is(read):
    snapshot = read(names.LISTENING_HISTORY, *(play(context={"source": s}) for s in ("radio", "my car", "")))
    assert sorted(snapshot.table("plays")["source"].to_pylist()) == ["", "my car", "radio"]


def test_text_and_object_id_users_stand_side_by_side_and_stay_apart(read):
    users = ["ann", TWIN, TWIN_TEXT, f"oid:{TWIN_TEXT}", "str:x", TWIN]
    snapshot = read(names.LISTENING_HISTORY, *(play(user) for user in users))
    assert sorted(snapshot.table("plays")["user_id"].to_pylist()) == sorted(
        ["ann", f"oid:{TWIN_TEXT}", f"oid:{TWIN_TEXT}", TWIN_TEXT, f"str:oid:{TWIN_TEXT}", "str:str:x"]
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [("play-1", "play-1"), ("oid:x", "str:oid:x"), (7, "int:7"), ({"a": 1}, "dict:{'a': 1}"), (NAN, "float:nan")],
)
def test_a_document_may_have_an_id_of_any_type(read, given, told):
    row = only_row(read(names.LISTENING_HISTORY, play(_id=given)), "plays")
    assert row["document_id"] == told


BAD_PLAYS = [
    ({"userId": None}, "user_id is missing"),
    ({"userId": "  "}, "user_id is missing"),
    ({"userId": 7}, "userId is of type int"),
    ({"userId": "x" * 257}, "user_id is longer than 256 bytes"),
    ({"userId": "ü" * 129}, "user_id is longer than 256 bytes"),
    ({"userId": "a\x00b"}, "user_id holds a NUL character"),
    ({"trackId": None}, "track_id is missing"),
    ({"trackId": ObjectId()}, "trackId is of type ObjectId"),
    ({"trackId": "x" * 257}, "track_id is longer than 256 bytes"),
    ({"playedAt": None}, "played_at is missing"),
    ({"playedAt": "2026-01-01"}, "playedAt is of type string"),
    ({"playedAt": NAN}, "playedAt is of type float"),
    ({"playedAt": BOUND + timedelta(minutes=6)}, "played_at is in the future"),
    ({"playedAt": DatetimeMS(2**62)}, "played_at is in the future"),
    ({"playedAt": datetime(1969, 12, 31, tzinfo=UTC)}, "played_at is before 1970"),
    ({"playedAt": DatetimeMS(-(2**62))}, "played_at is before 1970"),
    ({"playDuration": -1}, f"play_ms is outside 0..{MAX_PLAY_MS:g}"),
    ({"playDuration": MAX_PLAY_MS + 1}, f"play_ms is outside 0..{MAX_PLAY_MS:g}"),
    ({"playDuration": Int64(2**60)}, f"play_ms is outside 0..{MAX_PLAY_MS:g}"),
    ({"playDuration": NAN}, "play_ms is not a finite number"),
    ({"playDuration": "100"}, "playDuration is of type string"),
    ({"trackDuration": INFINITY}, "duration_ms is not a finite number"),
    ({"trackDuration": Decimal128("1E+6000")}, "duration_ms is not a finite number"),
    ({"completionRate": NAN}, "completion_rate is not a finite number"),
    ({"completionRate": -INFINITY}, "completion_rate is not a finite number"),
    ({"completionRate": Decimal128("NaN")}, "completion_rate is not a finite number"),
    ({"completionRate": True}, "completionRate is of type bool"),
    ({"playedPercentage": "90"}, "playedPercentage is of type string"),
    ({"playedPercentage": NAN}, "played_percentage is not a finite number"),
    ({"audioFeatures": {"energy": 7}}, "energy is outside 0..1"),
    ({"audioFeatures": {"energy": NAN}}, "energy is not a finite number"),
    ({"audioFeatures": {"energy": "high"}}, "audioFeatures.energy is of type string"),
    ({"audioFeatures": {"mode": True}}, "audioFeatures.mode is of type bool"),
    ({"audioFeatures": {"key": 12}}, "key is outside -1..11"),
    ({"audioFeatures": "none"}, "audioFeatures is not an object"),
    ({"audioFeatures": [1]}, "audioFeatures is not an object"),
    ({"context": "radio"}, "context is not an object"),
    ({"context": {"source": 7}}, "context.source is of type int"),
    ({"genres": "pop"}, "genres is of type string"),
    ({"genres": {"a": "pop"}}, "genres is of type object"),
    ({"genres": ["pop", None]}, "genres is of type array"),
    ({"genres": ["pop", 7]}, "genres is of type array"),
    ({"trackName": 7}, "trackName is of type int"),
    ({"trackName": NAN}, "trackName is of type float"),
    ({"importedAt": "yesterday"}, "importedAt is of type string"),
    ({"createdAt": 1_700_000_000_000}, "createdAt is of type Int64"),
]


@pytest.mark.parametrize(
    ("fields", "reason"), BAD_PLAYS, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(BAD_PLAYS)]
)
def test_a_play_that_cannot_be_used_is_set_aside_with_its_reason(read, fields, reason):
    good, bad = play("bob", _id=ObjectId()), play(_id=ObjectId()) | fields
    snapshot = read(names.LISTENING_HISTORY, good, bad)
    summary = snapshot.tables["plays"]
    assert (summary.read, summary.used, summary.set_aside) == (2, 1, 1)
    assert summary.reasons == {reason: 1}
    assert set_aside(snapshot, "plays") == {f"oid:{bad['_id']}": reason}
    assert snapshot.table("plays")["user_id"].to_pylist() == ["bob"]


def test_a_missing_required_field_reads_as_a_null_one(read):
    documents = [
        {name: value for name, value in play().items() if name != lost} for lost in ("userId", "trackId", "playedAt")
    ]
    summary = read(names.LISTENING_HISTORY, *documents).tables["plays"]
    assert summary.reasons == {"user_id is missing": 1, "track_id is missing": 1, "played_at is missing": 1}


def test_a_clock_a_few_minutes_ahead_is_forgiven(read):
    assert read(names.LISTENING_HISTORY, play(playedAt=BOUND + timedelta(minutes=4))).tables["plays"].used == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"signal": "meh"}, "unknown signal"),
        ({"signal": "Like"}, "unknown signal"),
        ({"signal": None}, "signal is missing"),
        ({"signal": 1}, "signal is of type int"),
        ({"strength": 9}, "strength is outside 1..5"),
        ({"strength": 0}, "strength is outside 1..5"),
        ({"strength": NAN}, "strength is not a finite number"),
        ({"strength": "5"}, "strength is of type string"),
        ({"strength": True}, "strength is of type bool"),
        ({"trackId": ""}, "track_id is missing"),
        ({"createdAt": None}, "created_at is missing"),
        ({"createdAt": "now"}, "createdAt is of type string"),
        ({"createdAt": datetime(1960, 1, 1, tzinfo=UTC)}, "created_at is before 1970"),
    ],
)
def test_feedback_that_cannot_be_used_is_set_aside_with_its_reason(read, fields, reason):
    bad = said(_id="bad") | fields
    snapshot = read(names.USER_FEEDBACK, said("bob", strength=5), bad)
    summary = snapshot.tables["feedback"]
    assert (summary.read, summary.used, summary.set_aside) == (2, 1, 1)
    assert set_aside(snapshot, "feedback") == {"bad": reason}


@pytest.mark.parametrize("strength", [None, 1, 5, 2.5, Int64(3), Decimal128("4")])
@pytest.mark.parametrize("user", ["ann", TWIN])
def test_feedback_of_every_legal_shape_becomes_a_row(read, strength, user):
    row = only_row(read(names.USER_FEEDBACK, said(user, strength=strength, _id="f")), "feedback")
    expected = None if strength is None else float(str(strength))
    assert row == {
        "document_id": "f",
        "user_id": "ann" if user == "ann" else f"oid:{TWIN_TEXT}",
        "track_id": "track-01",
        "signal": "like",
        "strength": expected,
        "created_at": days_ago(1),
        "known_at": days_ago(1),
    }


def test_a_whole_track_becomes_a_row(read):
    document = song(
        1,
        _id="t",
        album={"id": "b", "name": "B", "releaseDate": datetime(1965, 8, 6, tzinfo=UTC), "images": [{}]},
        markets=["DE", "US"],
        artists=[{"id": "a", "name": "A", "genres": ["pop"]}, {"name": "B"}, {"name": None, "genres": None}],
        audioFeatures={"energy": Decimal128("0.5"), "timeSignature": 4},
    )
    row = only_row(read(names.TRACKS, document), "tracks")
    assert row == dict.fromkeys(AUDIO_NAMES) | {
        "document_id": "t",
        "track_id": "track-01",
        "name": "Song 1",
        "artists": [
            {"id": "a", "name": "A", "genres": ["pop"]},
            {"id": None, "name": "B", "genres": None},
            {"id": None, "name": None, "genres": None},
        ],
        "album_id": "b",
        "album": "B",
        "released_at": datetime(1965, 8, 6, tzinfo=UTC),
        "duration_ms": 200_000.0,
        "popularity": 10.0,
        "explicit": False,
        "markets": ["DE", "US"],
        "energy": 0.5,
        "time_signature": 4.0,
    }


@pytest.mark.parametrize("released", [DatetimeMS(-(2**62)), DatetimeMS(2**62), datetime(1, 1, 1, tzinfo=UTC)])
def test_an_album_may_be_from_any_time(read, released):
    snapshot = read(names.TRACKS, song(1, album={"releaseDate": released}))
    assert snapshot.tables["tracks"].used == 1
    assert snapshot.table("tracks").num_rows == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"spotifyId": None}, "track_id is missing"),
        ({"spotifyId": 7}, "spotifyId is of type int"),
        ({"artists": "A"}, "artists is of type string"),
        ({"artists": ["A"]}, "artists is of type array"),
        ({"artists": [{"name": 7}]}, "artists is of type array"),
        ({"artists": [{"genres": "pop"}]}, "artists is of type array"),
        ({"album": "B"}, "album is not an object"),
        ({"explicit": "no"}, "explicit is of type string"),
        ({"explicit": 0}, "explicit is of type int"),
        ({"popularity": 101}, "popularity is outside 0..100"),
        ({"duration": -1}, f"duration_ms is outside 0..{MAX_PLAY_MS:g}"),
        ({"markets": "DE"}, "markets is of type string"),
        ({"audioFeatures": {"loudness": -500}}, "loudness is outside -100..20"),
    ],
)
def test_a_track_that_cannot_be_used_is_set_aside_with_its_reason(read, fields, reason):
    snapshot = read(names.TRACKS, song(2), song(1, _id="bad") | fields)
    summary = snapshot.tables["tracks"]
    assert (summary.read, summary.used, summary.set_aside) == (2, 1, 1)
    assert set_aside(snapshot, "tracks") == {"bad": reason}


def test_users_and_settings_of_both_shapes_become_rows(db, tmp_path):
    db.users.insert_many(
        [
            {"_id": 1, "userId": "ann", "email": "a@b.io", "country": "DE"},
            {"_id": 2, "userId": TWIN, "preferences": {"explicitContent": False, "favoriteGenres": ["pop"]}},
            {"_id": 3, "userId": 7},
            {"_id": 4, "userId": "cat", "preferences": {"explicitContent": "no"}},
        ]
    )
    db.user_settings.insert_many(
        [
            {"_id": 1, "userId": "ann", "preferences": {"music": {"genres": ["jazz"], "energy": 1}}},
            {"_id": 2, "userId": TWIN, "preferences": None},
            {"_id": 3, "userId": "cat", "preferences": {"music": {"energy": 2}}},
            {"_id": 4, "userId": "dan", "preferences": {"music": "loud"}},
        ]
    )
    snapshot = take_snapshot(db, tmp_path, BOUND)
    users = {row["user_id"]: row for row in snapshot.table("users").to_pylist()}
    assert users["ann"]["country"] == "DE"
    assert users[f"oid:{TWIN_TEXT}"]["explicit_content"] is False
    assert users[f"oid:{TWIN_TEXT}"]["favorite_genres"] == ["pop"]
    assert snapshot.tables["users"].reasons == {
        "userId is of type int": 1,
        "preferences.explicitContent is of type string": 1,
    }
    settings = {row["user_id"]: row for row in snapshot.table("settings").to_pylist()}
    assert (settings["ann"]["genres"], settings["ann"]["energy"]) == (["jazz"], 1.0)
    assert snapshot.tables["settings"].used == 2
    assert snapshot.tables["settings"].reasons == {
        "energy is outside 0..1": 1,
        "preferences.music is not an object": 1,
    }


@pytest.mark.parametrize("spoilt", [{"genres": "pop"}, {"completionRate": NAN}, {"userId": 7}, {"audioFeatures": 1}])
def test_one_bad_document_among_many_costs_only_itself(db, tmp_path, spoilt):
    documents = [play(f"user-{n % 7}" if n % 3 else ObjectId(), f"t-{n}", completionRate=0.5) for n in range(700)]
    documents[432] |= spoilt
    db.listening_history.insert_many(documents)
    summary = take_snapshot(db, tmp_path, BOUND).tables["plays"]
    assert (summary.read, summary.used, summary.set_aside) == (700, 699, 1)


def test_all_kinds_of_faults_at_once_are_each_counted(db, tmp_path):
    db.listening_history.insert_many([play(_id=n) | fields for n, (fields, _) in enumerate(BAD_PLAYS)])
    db.listening_history.insert_many([play(f"user-{n}") for n in range(200)])
    snapshot = take_snapshot(db, tmp_path, BOUND)
    assert set_aside(snapshot, "plays") == {f"int:{n}": reason for n, (_, reason) in enumerate(BAD_PLAYS)}
    summary = snapshot.tables["plays"]
    assert (summary.read, summary.used) == (200 + len(BAD_PLAYS), 200)
    assert sum(summary.reasons.values()) == summary.set_aside == len(BAD_PLAYS)
