"""The walk over bytes that no database would send: it marks a document as odd, or finds what decoding finds."""

import bson
import numpy as np
import pytest
from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.code import Code
from documents import BOUND
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.snapshot import read
from features.snapshot.digest import row_hashes
from features.snapshot.fields import PLAYS
from features.snapshot.walk import SIZES, _is_utf8, _size, walk

WHOLE = {
    "_id": ObjectId("64b000000000000000000001"),
    "userId": "ann",
    "trackId": "träck",
    "playedAt": BOUND,
    "playDuration": 12,
    "genres": ["pop", "röck"],
    "context": {"source": "radio", "shuffle": True},
    "audioFeatures": {"energy": 0.25, "key": 3},
    "importedAt": BOUND,
}


@given(st.one_of(st.binary(max_size=6), st.text(max_size=4).map(str.encode)))
@example("\ud7ff\ue000\U0010ffff".encode())
@example(b"\xed\xa0\x80")  # a surrogate
@example(b"\xc0\x80")  # longer than need be
@example(b"\xe0\x9f\xbf")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xf4\x90\x80\x80")  # beyond the last
@example(b"\xe2\x82")  # ends within
@settings(deadline=None)
def test_what_python_decodes_is_utf_8_and_nothing_else(text):
    try:
        text.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert _is_utf8(np.frombuffer(text, np.uint8), 0, len(text)) == expected


@given(st.integers(0, len(bson.encode(WHOLE)) - 5), st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_a_document_with_a_damaged_byte_is_marked_or_read_as_decoding_reads_it(position, change):
    raw = bytearray(bson.encode(WHOLE))
    raw[4 + position] ^= change
    if walk(np.frombuffer(bytes(raw), np.uint8), PLAYS).odd[0]:
        return
    try:
        careful = read._read_carefully([bytes(raw)], PLAYS)
    except bson.errors.BSONError:
        return  # what no field of ours holds is not looked at
    # by hashes: Python has no dates beyond the year 9999
    assert row_hashes(read.read_batch(bytes(raw), PLAYS).rows).tolist() == row_hashes(careful.rows).tolist()


@pytest.mark.parametrize(
    "value",
    [
        *(
            1.5,
            "text",
            {"a": 1},
            [1],
            b"bytes",
            ObjectId("5f0000000000000000000001"),
            True,
            BOUND,
            None,
            Regex("a", "i"),
            Code("x"),
        ),
        *(Code("x", {"a": 1}), 1, Timestamp(1, 1), Int64(1), Decimal128("1"), MinKey(), MaxKey(), DBRef("c", 1), ""),
    ],
    ids=repr,
)
def test_the_size_of_a_value_of_each_type_is_known(value):
    raw = bson.encode({"a": value})
    assert _size(np.frombuffer(raw, np.uint8), 7, len(raw) - 1, raw[4], SIZES) == len(raw) - 8
    aside = bson.encode({"other": value, **WHOLE})
    assert not walk(np.frombuffer(aside, np.uint8), PLAYS).odd.any()


def test_a_batch_that_ends_within_a_document_is_refused():
    raw = bson.encode(WHOLE)
    with pytest.raises(ValueError, match="ends within a document"):
        walk(np.frombuffer(raw + raw[:-1], np.uint8), PLAYS)
