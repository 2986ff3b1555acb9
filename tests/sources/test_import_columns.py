"""The checks of columns, without a database."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from bson import ObjectId

from features.sources.documents import to_documents
from features.sources.kinds import KINDS, parse_chunk
from features.sources.tables import Chunk

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GOOD: dict[str, dict[str, Any]] = {
    "plays": {"user_id": "u", "track_id": "t", "played_at": "2026-11-01T10:00:00Z"},
    "feedback": {"user_id": "u", "track_id": "t", "signal": "like", "created_at": "2026-11-01T10:00:00Z"},
    "tracks": {"track_id": "t"},
    "users": {"user_id": "u", "email": "u@example.org"},
}


def parse(kind: Any, columns: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Documents of the good rows, and every row's reason."""
    size = len(next(iter(columns.values())))
    every = {**{name: [value] * size for name, value in GOOD[kind].items()}, **columns}
    chunk = Chunk(np.arange(size), every, row=lambda i: i, reached=size)
    parsed, faults = parse_chunk(kind, chunk, {name: name for name in every}, NOW)
    good = ~faults.bad
    documents = to_documents(kind, {n: v[good] for n, v in parsed.items()}, NOW) if good.any() else []
    return documents, list(faults.reasons)


def of_one(kind: Any, column: str, value: Any) -> tuple[dict[str, Any] | None, str | None]:
    documents, (reason,) = parse(kind, {column: value if isinstance(value, pa.Array) else [value]})
    return (documents[0] if documents else None), reason


@pytest.mark.parametrize(
    ("kind", "column", "value", "reason"),
    [
        ("plays", "user_id", None, "user_id is missing"),
        ("plays", "user_id", "  ", "user_id is missing"),
        ("plays", "user_id", float("nan"), "user_id is missing"),
        ("plays", "user_id", 1.5, "user_id is not text or a whole number"),
        ("plays", "user_id", 2.0**60, "user_id is not text or a whole number"),
        ("plays", "user_id", True, "user_id is not text or a whole number"),
        ("plays", "user_id", {"id": 1}, "user_id is not text or a whole number"),
        ("plays", "track_id", "é" * 129, "track_id is longer than 256 bytes"),
        ("plays", "track_id", "a\x00b", "track_id holds a NUL character"),
        ("plays", "played_at", None, "played_at is missing"),
        ("plays", "played_at", "", "played_at is missing"),
        ("plays", "played_at", "yesterday", "played_at is not a time"),
        ("plays", "played_at", "2026-02-30", "played_at is not a time"),
        ("plays", "played_at", "2026-05", "played_at is not a time"),
        ("plays", "played_at", 42, "played_at is not a time"),
        ("plays", "played_at", -1e9, "played_at is not a time"),
        ("plays", "played_at", float("inf"), "played_at is not a time"),
        ("plays", "played_at", True, "played_at is not a time"),
        ("plays", "played_at", "1969-12-31T23:59:59Z", "played_at is before 1970"),
        ("plays", "played_at", "2026-11-22T12:05:01Z", "played_at is in the future"),
        ("plays", "imported_at", "2027-01-01", "imported_at is in the future"),
        ("plays", "play_ms", -1, "play_ms is negative"),
        ("plays", "play_ms", 86_400_001, "play_ms is longer than 24 h"),
        ("plays", "play_ms", "long", "play_ms is not a number"),
        ("plays", "play_ms", "nan", "play_ms is not a number"),
        ("plays", "play_ms", float("nan"), "play_ms is not a number"),
        ("plays", "play_ms", float("inf"), "play_ms is not a finite number"),
        ("plays", "play_ms", "1e999", "play_ms is not a finite number"),
        ("plays", "play_ms", True, "play_ms is not a number"),
        ("plays", "play_ms", [1], "play_ms is not a number"),
        ("plays", "completion", 1.01, "completion outside 0..1"),
        ("plays", "completion", -0.01, "completion outside 0..1"),
        ("plays", "shuffle", "maybe", "shuffle is not true or false"),
        ("plays", "shuffle", 2, "shuffle is not true or false"),
        ("plays", "track_name", 1.5, "track_name is not text"),
        ("plays", "track_name", "x" * 10_001, "track_name is longer than 10,000 characters"),
        ("feedback", "signal", "adore", "unknown signal"),
        ("feedback", "signal", None, "signal is missing"),
        ("feedback", "strength", 0, "strength outside 1..5"),
        ("feedback", "strength", 6, "strength outside 1..5"),
        ("feedback", "platform", "toaster", "unknown platform"),
        ("tracks", "energy", 7, "energy outside 0..1"),
        ("tracks", "loudness", 30, "loudness outside -100..20"),
        ("tracks", "key", 2.5, "key is not a whole number"),
        ("tracks", "mode", 2, "mode outside 0..1"),
        ("tracks", "popularity", 101, "popularity outside 0..100"),
        ("tracks", "release_date", "0000", "release_date is not a date"),
        ("tracks", "release_date", "2026-13", "release_date is not a date"),
        ("tracks", "genres", 5, "genres is not a list of words"),
        ("tracks", "genres", [5], "genres is not a list of words"),
        ("tracks", "genres", "x" * 300, "genres is longer than 1,000 words of 256"),
        ("users", "email", "u@example", "email is not an e-mail address"),
        ("users", "email", "u@example.org\nbcc: x", "email is not an e-mail address"),
        ("users", "email", "", "email is missing"),
    ],
)
def test_a_faulty_value_is_set_aside_with_its_reason(kind, column, value, reason):
    assert of_one(kind, column, value) == (None, reason)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("alice", "alice"),
        (" alice ", "alice"),
        ("oid:64b000000000000000000001", ObjectId("64b000000000000000000001")),
        ("64b000000000000000000001", "64b000000000000000000001"),
        (12, "12"),
        (-3, "-3"),
        (12.0, "12"),
        ("12.0", "12"),  # what pandas makes of 12 in a CSV file when another row has none
        ("007", "007"),
        (pa.array([12], pa.uint64()), "12"),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array([b"a"]), None),
    ],
)
def test_ids_are_text_or_object_ids(value, found):
    document, reason = of_one("plays", "user_id", value)
    assert (document and document["userId"]) == found
    assert (reason is None) == (found is not None)


def test_text_that_is_not_utf8_in_a_parquet_column_is_set_aside():
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ab", b"\xff"]).buffers())
    documents, reasons = parse("plays", {"track_id": bad})
    assert reasons == [None, "track_id is not text or a whole number"]
    assert documents[0]["trackId"] == "ab"


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-01T10:00:00.123Z",
        "2026-11-01 10:00:00.123",
        "2026-11-01T10:00:00.123999",
        "2026-11-01T12:00:00.123+02:00",
        "2026-11-01T12:00:00.123456789+0200",
        "2026-11-01 10:00:00.123 UTC",
        " 2026-11-01T10:00:00,123z ",
        1_793_527_200.123,
        1_793_527_200_123,
        1_793_527_200_123.0,
        "1793527200.123",
        "1793527200123",
        pa.array([1_793_527_200_123_999], pa.timestamp("us", tz="Europe/Berlin")),
        pa.array([1_793_527_200_123_999_999], pa.timestamp("ns")),
    ],
)
def test_every_form_of_a_time_is_the_same_millisecond(value):
    document, reason = of_one("plays", "played_at", value)
    assert reason is None
    assert document["playedAt"] == datetime(2026, 11, 1, 10, 0, 0, 123_000)  # noqa: DTZ001


def test_a_fraction_of_a_second_that_no_double_holds_is_not_cut_a_millisecond_short():
    document, _ = of_one("plays", "played_at", 1080000000.001)
    assert document["playedAt"].microsecond == 1_000


@pytest.mark.parametrize("value", ["2026-11-01", pa.array([date(2026, 11, 1)]), 1_793_491_200, "1793491200"])
def test_a_date_is_its_midnight(value):
    document, _ = of_one("plays", "played_at", value)
    assert document["playedAt"] == datetime(2026, 11, 1)  # noqa: DTZ001  BSON dates come without a zone


def test_one_time_with_nine_digits_leaves_a_year_after_2262_readable():
    documents, reasons = parse("tracks", {"release_date": ["2001-01-01T00:00:00.123456789", "2400-01-01"]})
    assert reasons == [None, None]
    assert documents[1]["album"]["releaseDate"].year == 2400


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1971", (1971, 1, 1)),
        ("1967-06", (1967, 6, 1)),
        ("1967-06-02", (1967, 6, 2)),
        (1971, (1971, 1, 1)),
        (1971.0, (1971, 1, 1)),
        (pa.array([date(1931, 2, 3)]), (1931, 2, 3)),
    ],
)
def test_a_release_date_has_three_precisions_and_may_be_old(value, found):
    document, reason = of_one("tracks", "release_date", value)
    assert reason is None
    assert document["album"]["releaseDate"] == datetime(*found)  # noqa: DTZ001


@pytest.mark.parametrize(
    "value",
    [
        "jazz;indie rock",
        "jazz| indie rock ",
        ["jazz", "indie rock"],
        '["jazz", "indie rock"]',
        ["jazz", None, "indie rock", "jazz"],
    ],
)
def test_genres_come_as_a_list_or_as_separated_text(value):
    document, _ = of_one("tracks", "genres", value)
    assert document["artists"] == [{"genres": ["jazz", "indie rock"]}]


def test_completion_is_given_or_derived_or_absent_but_never_made_up():
    documents, _ = parse(
        "plays",
        {
            "completion": [0.25, None, None, None, None],
            "play_ms": [None, 50, 300, 50, None],
            "duration_ms": [200, 200, 200, 0, 200],
        },
    )
    assert [document.get("completionRate") for document in documents] == [0.25, 0.25, 1.0, None, None]
    assert "completionRate" not in documents[4]


def test_values_of_several_types_in_one_json_column_are_each_judged_alone():
    documents, reasons = parse("plays", {"track_id": ["a", 7, 7.0, 7.5, None, ["x"], 10**30]})
    assert [document["trackId"] for document in documents] == ["a", "7", "7"]
    assert [reason is None for reason in reasons] == [True, True, True, False, False, False, False]


def test_the_first_fault_in_the_order_of_our_columns_is_the_reason():
    _, reasons = parse("plays", {"play_ms": [-1], "user_id": [None], "played_at": ["x"]})
    assert reasons == ["user_id is missing"]


def test_a_play_has_every_field_of_the_contract():
    (document,), _ = parse(
        "plays",
        {
            "play_ms": [1000],
            "duration_ms": ["2000"],
            "imported_at": ["2026-11-02T02:00:00Z"],
            "source": ["playlist"],
            "shuffle": ["yes"],
            "track_name": ["Dawn"],
            "artist_name": [1999],
            "album_name": [""],
            "genres": ["jazz"],
            "recommendation_id": ["64b000000000000000000001"],
        },
    )
    assert isinstance(document.pop("_id"), ObjectId)
    assert document == {
        "userId": "u",
        "trackId": "t",
        "trackName": "Dawn",
        "artistName": "1999",
        "genres": ["jazz"],
        "playedAt": datetime(2026, 11, 1, 10),  # noqa: DTZ001
        "playDuration": 1000,
        "trackDuration": 2000,
        "completionRate": 0.5,
        "context": {
            "source": "playlist",
            "shuffle": True,
            "recommendationId": ObjectId("64b000000000000000000001"),
        },
        "importedAt": datetime(2026, 11, 2, 2),  # noqa: DTZ001
    }


def test_a_track_has_its_genres_with_its_first_artist():
    (document,), _ = parse(
        "tracks",
        {
            "artist": ["Ada; Bo"],
            "artist_id": ["a1"],
            "genres": ["jazz"],
            "album": ["Sea"],
            "markets": ["DE|SE"],
            "energy": [1],
            "key": ["-1"],
        },
    )
    del document["_id"]
    assert document == {
        "spotifyId": "t",
        "artists": [{"name": "Ada", "id": "a1", "genres": ["jazz"]}, {"name": "Bo"}],
        "album": {"name": "Sea"},
        "markets": ["DE", "SE"],
        "audioFeatures": {"energy": 1.0, "key": -1},
    }
    assert isinstance(document["audioFeatures"]["energy"], float)
    assert isinstance(document["audioFeatures"]["key"], int)


def test_ids_of_the_same_play_are_the_same_whatever_its_other_values():
    one, _ = of_one("plays", "play_ms", 5)
    other, _ = of_one("plays", "play_ms", 6)
    text, _ = of_one("plays", "user_id", "64b000000000000000000001")
    tagged, _ = of_one("plays", "user_id", "oid:64b000000000000000000001")
    assert one["_id"] == other["_id"]
    assert text["_id"] != tagged["_id"]


def test_every_column_of_every_kind_takes_an_empty_one():
    for kind, columns in KINDS.items():
        optional = {name: pa.nulls(2) for name, column in columns.items() if not column.required}
        documents, reasons = parse(kind, optional)
        assert reasons == [None, None]
        assert set(documents[0]) <= {
            "_id",
            "userId",
            "trackId",
            "playedAt",
            "importedAt",
            "signal",
            "createdAt",
            "spotifyId",
            "email",
        }
