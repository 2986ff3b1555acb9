"""Ids at the border, and the lists that are spelled once."""

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from features.schema import names
from features.schema.ids import content_object_id, decode_id, encode_id, id_fault, meant_ids

OID = ObjectId("64b000000000000000000001")
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["oid:", "str:", "str:oid:", "oid:nonsense", f"oid:{OID}", f"str:oid:{OID}", str(OID)]),
)
IDS = st.one_of(TEXTS, st.binary(min_size=12, max_size=12).map(ObjectId))


def test_an_object_id_is_tagged_and_a_text_stays_as_it_is():
    assert encode_id(OID) == "oid:64b000000000000000000001"
    assert encode_id("64b000000000000000000001") == "64b000000000000000000001"
    assert encode_id("oid:64b000000000000000000001") == "str:oid:64b000000000000000000001"


@given(IDS)
def test_decoding_gives_back_the_id_with_its_type(value):
    decoded = decode_id(encode_id(value))
    assert decoded == value
    assert type(decoded) is type(value)


@given(IDS, IDS)
def test_no_two_ids_share_a_text(one, other):
    assert (encode_id(one) == encode_id(other)) == (one == other and type(one) is type(other))


def test_a_written_id_is_first_taken_as_it_stands():
    assert meant_ids(OID) == meant_ids(f"oid:{OID}") == [OID]
    assert meant_ids(str(OID)) == [str(OID), OID]
    assert meant_ids(f"str:{OID}") == [str(OID)]
    assert meant_ids("oid:nonsense") == ["oid:nonsense"]


@given(IDS)
def test_an_encoded_id_means_first_the_id_it_was_made_from(value):
    assert meant_ids(encode_id(value))[0] == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "is missing"),
        ("", "is missing"),
        (" \t", "is missing"),
        ("x" * 256, None),
        ("x" * 257, "is longer than 256 bytes"),
        ("ü" * 129, "is longer than 256 bytes"),
        ("a\x00b", "holds a NUL character"),
        ("spotify:track:4uLU6hMCjMI75M1A2tKUQC", None),
    ],
)
def test_a_text_that_can_be_no_id_says_why(text, fault):
    assert id_fault(text) == fault


def test_content_ids_depend_on_every_part_and_on_where_it_ends():
    ids = {content_object_id("r", "t", "ab"), content_object_id("r", "ta", "b"), content_object_id("r", "t", "ac")}
    assert len(ids) == 3
    assert content_object_id("r", "t", "ab") in ids  # the same again, wherever it is made


def test_the_closed_lists_are_the_contracts():
    assert set(names.SIGNALS) == {"love", "like", "save", "replay", "skip", "dislike"}
    assert set(names.STRATEGIES) == {"collaborative", "content-based", "hybrid", "popular"}
    assert set(names.FEATURE_TYPES) == {"user_profile", "track_embedding", "similarity"}
    assert len(names.AUDIO_FEATURES) == 12
    assert {f.name: f.field for f in names.AUDIO_FEATURES}["time_signature"] == "timeSignature"
