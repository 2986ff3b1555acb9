"""The fast reader and the careful one must not differ: the same documents give the same rows."""

from typing import Any

import bson
import pyarrow as pa
import pytest
from bson import Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from documents import BOUND
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.snapshot import read
from features.snapshot.fields import FEEDBACK, PLAYS, SOURCES, Source
from features.snapshot.rules import split

NAN = float("nan")
NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.sampled_from([Decimal128("0.5"), Decimal128("NaN"), Decimal128("-Infinity"), Decimal128("1E+6000")]),
)
TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(["oid:x", "str:", "like", "context", "genres"]))
DATES = st.integers(-(2**63), 2**63 - 1).map(DatetimeMS)
ODDITIES = st.sampled_from(
    [
        None,
        True,
        False,
        b"x",
        Regex("a"),
        Code("x"),
        Timestamp(1, 1),
        [],
        {},
        [None],
        ["a", 1],
        [["a"]],
        {"a": {"b": 1}},
    ]
)
OIDS = st.binary(min_size=12, max_size=12).map(ObjectId)
ANYTHING = st.one_of(NUMBERS, TEXTS, DATES, OIDS, ODDITIES)
GENRES = st.lists(TEXTS, max_size=3)
LIKELY = {
    "id": st.one_of(TEXTS, OIDS),
    "text": TEXTS,
    "number": NUMBERS,
    "date": DATES,
    "texts": GENRES,
}


@st.composite
def documents_of(draw: st.DrawFn, source: Source) -> dict[str, Any]:
    """Mostly fields of their type, some of another, some missing; sub-documents that are none; fields of no concern."""
    document: dict[str, Any] = {
        "_id": draw(st.one_of(OIDS, OIDS, OIDS, ANYTHING.filter(lambda v: not isinstance(v, list | Regex))))
    }
    for field in source.fields:
        choice = draw(st.integers(0, 9))
        if choice < 2:
            continue
        value = draw(ANYTHING if choice == 9 else LIKELY[field.kind])
        parent, _, name = field.path.partition(".")
        if not name:
            document[parent] = value
        elif isinstance(document.setdefault(parent, {}), dict):
            document[parent][name] = value
    if draw(st.integers(0, 19)) == 0:
        document[draw(st.sampled_from(["context", "audioFeatures", "other"]))] = draw(ANYTHING)
    return document


def carefully(documents: list[bytes], source: Source) -> read.Batch:
    return read._read_carefully(documents, source)


def in_bulk(documents: list[bytes], source: Source) -> read.Batch:
    """Through the door that a snapshot uses, the groups of id types put back into one."""
    batches = list(read.read_batches([b"".join(documents)], source))
    if not batches:
        return carefully([], source)
    return read.Batch(
        pa.concat_tables([batch.rows for batch in batches]), pa.concat_tables([batch.set_aside for batch in batches])
    )


def in_order(table: pa.Table) -> list[str]:
    # dates as numbers: those that BSON can hold reach beyond what Python's can
    dates = [pa.types.is_timestamp(column.type) for column in table.columns]
    plain = [
        column.cast(pa.int64()) if is_date else column for column, is_date in zip(table.columns, dates, strict=True)
    ]
    return sorted(repr(row) for row in pa.table(plain, names=table.column_names).to_pylist())


def assert_same(documents: list[dict[str, Any]], source: Source) -> None:
    encoded = [bson.encode(document) for document in documents]
    fast, slow = in_bulk(encoded, source), carefully(encoded, source)
    assert fast.rows.schema == slow.rows.schema == source.raw_schema
    assert in_order(fast.rows) == in_order(slow.rows)
    assert in_order(fast.set_aside) == in_order(slow.set_aside)
    assert fast.rows.num_rows + fast.set_aside.num_rows == len(documents)


@pytest.mark.parametrize("source", [PLAYS, FEEDBACK], ids=lambda source: source.table)
def test_random_documents_read_the_same_in_bulk_and_carefully(source):
    @settings(deadline=None, max_examples=60)
    @given(st.lists(documents_of(source), max_size=6))
    @example([{"_id": ObjectId(), "userId": "u", "genres": "pop"}])
    @example([{"_id": ObjectId(), "userId": "u", "genres": ["pop", None]}])
    @example([{"_id": ObjectId(), "userId": "u", "completionRate": NAN}])
    @example([{"_id": ObjectId(), "userId": "u", "trackName": NAN}])
    @example([{"_id": ObjectId(), "userId": "u", "strength": True}])
    @example([{"_id": ObjectId(), "userId": "u", "context": "context"}])
    @example([{"_id": ObjectId(), "userId": "u", "context": {"source": "radio"}}, {"_id": ObjectId(), "context": 1}])
    @example([{"_id": None, "userId": "u"}])
    def check(documents):
        assert_same(documents, source)

    check()


def test_a_wholesome_batch_never_takes_the_slow_path(monkeypatch):
    monkeypatch.setattr(read, "_read_carefully", lambda *_: pytest.fail("read carefully"))
    documents = [
        {
            "_id": ObjectId(),
            "userId": ObjectId() if number % 2 else "ann",
            "trackId": "t",
            "playedAt": BOUND,
            "completionRate": 1 if number % 3 else 0.5,
            "genres": [] if number % 5 else ["pop"],
            # names of fields as values
            "context": None if number % 7 == 0 else {"source": "genres", "repeat": "context", "shuffle": True},
            "audioFeatures": {"energy": 0.5, "tempo": 1e300} if number % 4 else None,
            "importedAt": BOUND,
        }
        for number in range(300)
    ]
    batch = in_bulk([bson.encode(document) for document in documents], PLAYS)
    assert (batch.rows.num_rows, batch.set_aside.num_rows) == (300, 0)


def test_text_that_is_not_utf_8_is_read_with_the_bad_bytes_replaced():
    raw = bson.encode({"_id": ObjectId(), "userId": "u", "trackId": "XX"}).replace(b"XX", b"\xff\xfe")
    batch = in_bulk([raw, bson.encode({"_id": ObjectId(), "userId": "u", "trackId": "t"})], PLAYS)
    assert sorted(batch.rows["track_id"].to_pylist()) == ["t", "\ufffd\ufffd"]


def test_a_batch_of_object_id_users_is_tagged_without_a_python_object_each():
    users = [ObjectId() for _ in range(100)]
    encoded = [bson.encode({"_id": ObjectId(), "userId": user}) for user in users]
    rows = in_bulk(encoded, PLAYS).rows
    assert rows["user_id"].to_pylist() == [f"oid:{user}" for user in users]


def test_the_same_rules_hold_on_both_paths():
    raw = bson.encode({"_id": ObjectId(), "userId": "u", "trackId": "t", "playedAt": BOUND, "completionRate": 2})
    fast, slow = in_bulk([raw], PLAYS), carefully([raw], PLAYS)
    for batch in (fast, slow):
        good, bad = split(batch.rows, "plays", BOUND)
        assert good["completion"].to_pylist() == [1.0]
        assert bad.num_rows == 0


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.table)
def test_an_empty_batch_has_the_columns_of_a_full_one(source):
    batch = carefully([], source)
    assert batch.rows.schema == source.raw_schema
    assert batch.rows.num_rows == batch.set_aside.num_rows == 0
    assert list(read.read_batches([], source)) == []


def test_a_raw_batch_may_be_a_document_of_pymongos_own():
    document = RawBSONDocument(bson.encode({"_id": 1, "userId": "u"}))
    assert carefully([document.raw], PLAYS).rows["user_id"].to_pylist() == ["u"]
