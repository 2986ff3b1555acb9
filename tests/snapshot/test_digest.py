"""The digest: the same for the same rows, however they come; another for any other rows."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.snapshot.digest import RowDigest

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("other", pa.string()),
        ("number", pa.float64()),
        ("small", pa.float32()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("ms", tz="UTC")),
        ("texts", pa.list_(pa.string())),
        ("nested", pa.list_(pa.struct([("name", pa.string()), ("genres", pa.list_(pa.string()))]))),
    ]
)
TEXTS = st.none() | st.sampled_from(["", "a", "b", "None", "ann", "track-1"])
ROWS = st.fixed_dictionaries(
    {
        "text": TEXTS,
        "other": TEXTS,
        "number": st.none() | st.sampled_from([0.0, 1.0, 0.5, -3.25]),
        "small": st.none() | st.sampled_from([0.0, 1.0, 0.5]),
        "flag": st.none() | st.booleans(),
        "at": st.none() | st.integers(0, 3),
        "texts": st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=2),
        "nested": st.none() | st.lists(st.fixed_dictionaries({"name": TEXTS, "genres": st.none()}), max_size=2),
    }
)


def digest_of(*parts: list[dict[str, Any]], leave_out: tuple[str, ...] = ()) -> str:
    digest = RowDigest(leave_out)
    for part in parts:
        digest.add(pa.Table.from_pylist(part, schema=SCHEMA))
    return digest.hex()


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr([row[name] for name in SCHEMA.names]) for row in rows)


@settings(deadline=None, max_examples=40)
@given(st.lists(ROWS, min_size=1, max_size=6), st.randoms(use_true_random=False), st.data())
def test_order_and_batches_do_not_matter(rows, random, data):
    cut = data.draw(st.integers(0, len(rows)))
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert digest_of(rows) == digest_of(shuffled) == digest_of(rows[:cut], rows[cut:])
    assert digest_of(rows) == digest_of(*[[row] for row in shuffled])


@settings(deadline=None, max_examples=40)
@given(st.lists(ROWS, max_size=4), st.lists(ROWS, max_size=4))
def test_two_digests_are_equal_just_when_the_rows_are(one, other):
    same = in_order(one) == in_order(other)
    assert (digest_of(one) == digest_of(other)) == same


ROW: dict[str, Any] = {
    "text": "a",
    "other": "b",
    "number": 1.0,
    "small": 0.5,
    "flag": True,
    "at": 1,
    "texts": ["a"],
    "nested": [{"name": "a", "genres": ["b"]}],
}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("text", "A"),
        ("text", ""),
        ("text", None),
        ("number", 1.0000000001),
        ("number", 0.0),
        ("number", None),
        ("small", 0.25),
        ("flag", False),
        ("flag", None),
        ("at", 2),
        ("at", None),
        ("texts", ["b"]),
        ("texts", []),
        ("texts", None),
        ("texts", ["a", "a"]),
        ("nested", [{"name": "a", "genres": ["c"]}]),
    ],
)
def test_any_changed_value_changes_the_digest(column, value):
    assert digest_of([ROW]) != digest_of([ROW | {column: value}])
    assert digest_of([ROW, ROW]) != digest_of([ROW, ROW | {column: value}])


def test_two_rows_that_swap_a_value_change_the_digest():
    rows = [{"text": "ann", "other": "track-1"}, {"text": "bob", "other": "track-2"}]
    swapped = [{"text": "ann", "other": "track-2"}, {"text": "bob", "other": "track-1"}]
    assert digest_of(rows) != digest_of(swapped)


def test_two_columns_that_swap_their_values_change_the_digest():
    assert digest_of([{"text": "a", "other": "b"}]) != digest_of([{"text": "b", "other": "a"}])


def test_a_row_twice_is_not_the_row_once():
    assert len({digest_of([]), digest_of([ROW]), digest_of([ROW, ROW])}) == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [("text", ""), ("text", "None"), ("number", 0.0), ("small", 0.0), ("flag", False), ("at", 0), ("texts", [])],
)
def test_null_is_not_nothing(column, value):
    assert digest_of([ROW | {column: None}]) != digest_of([ROW | {column: value}])


def test_a_null_reads_the_same_whatever_stands_beside_it():
    nulls = dict.fromkeys(ROW)
    assert digest_of([nulls], [ROW]) == digest_of([nulls, ROW])


def test_a_column_left_out_does_not_count():
    changed = ROW | {"at": 3}
    assert digest_of([ROW], leave_out=("at",)) == digest_of([changed], leave_out=("at",))
    assert digest_of([ROW], leave_out=("at",)) != digest_of([ROW | {"text": "x"}], leave_out=("at",))
