"""Ids: numbers inside, one text for both of the database's types at the border."""

import doctest

import numpy as np
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

import features.compute.interactions
import features.schema.ids
from features.compute.ids import Vocabulary
from features.schema.ids import content_object_id, decode_id, encode_id, id_fault

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OBJECT_IDS = st.binary(min_size=12, max_size=12).map(ObjectId)
LOOKALIKES = st.builds(str.__add__, st.sampled_from(["oid:", "str:", "str:oid:", "oid:str:"]), TEXTS)
ANY_ID = TEXTS | LOOKALIKES | OBJECT_IDS | OBJECT_IDS.map(str) | OBJECT_IDS.map("oid:{}".format)
PARTS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4), min_size=1)


def test_numbers_follow_the_order_of_the_ids_and_not_of_the_rows():
    first = Vocabulary.of(["b", "a"], ["c", "a"])
    second = Vocabulary.of(["c"], ["a", "b", "b"])
    assert first.ids() == second.ids() == ["a", "b", "c"]
    assert first[1] == "b"
    assert len(first) == 3


def test_an_unknown_id_and_a_null_are_minus_one():
    numbers = Vocabulary.of(["a", "b"]).numbers(["b", "z", None, "a"])
    assert numbers.tolist() == [1, -1, -1, 0]
    assert numbers.dtype == np.int32


def test_nulls_are_not_ids():
    assert Vocabulary.of(["a", None], [None]).ids() == ["a"]
    assert Vocabulary.of([None], []).ids() == []
    assert Vocabulary.of().numbers([None, "a"]).tolist() == [-1, -1]
    assert Vocabulary.of(["a"]).numbers([]).tolist() == []


def test_ids_that_differ_in_case_or_accent_or_space_are_different():
    ids = ["a", "A", "a ", "\u00e4", "a\u0308", "10", "9"]
    assert Vocabulary.of(ids).ids() == sorted(ids)


def test_a_vocabulary_says_how_large_it_is():
    assert repr(Vocabulary.of(str(number) for number in range(1234))) == "Vocabulary(1,234 ids)"


@given(st.lists(TEXTS), st.randoms(use_true_random=False))
def test_every_id_has_one_number_in_any_order_of_rows(ids, random):
    vocabulary = Vocabulary.of(ids)
    random.shuffle(ids)
    assert Vocabulary.of(ids[: len(ids) // 2], ids[len(ids) // 2 :]).ids() == vocabulary.ids()
    assert vocabulary.numbers(vocabulary.ids()).tolist() == list(range(len(set(ids))))
    assert [vocabulary[number] for number in vocabulary.numbers(ids)] == ids


@given(ANY_ID)
def test_an_id_comes_back_from_its_text_with_its_type(value):
    back = decode_id(encode_id(value))
    assert back == value
    assert type(back) is type(value)


@given(ANY_ID, ANY_ID)
def test_no_two_ids_share_a_text(one, other):
    assert (encode_id(one) == encode_id(other)) == (type(one) is type(other) and one == other)


def test_the_string_and_the_object_id_of_the_same_digits_are_two_ids():
    digits = "64b000000000000000000001"
    texts = {encode_id(digits), encode_id(ObjectId(digits)), encode_id(f"oid:{digits}"), encode_id(f"str:{digits}")}
    assert len(texts) == 4


@given(PARTS, PARTS)
def test_different_parts_make_different_object_ids(one, other):
    assert (content_object_id(*one) == content_object_id(*other)) == (one == other)


def test_parts_do_not_run_into_each_other():
    assert content_object_id("ab", "c") != content_object_id("a", "bc")
    assert content_object_id("a", "") != content_object_id("a")
    assert content_object_id("a", "b") == content_object_id("a", "b")


def test_what_is_no_id_is_told_why():
    assert id_fault("alice") is None
    assert id_fault(None) == id_fault("  ") == "is missing"
    assert id_fault("a\x00b") == "holds a NUL character"
    assert id_fault("ä" * 129) == "is longer than 256 bytes"
    assert id_fault("ä" * 128) is None


def test_the_examples_in_the_docstrings_hold():
    for module in (features.schema.ids, features.compute.interactions):
        outcome = doctest.testmod(module)
        assert outcome.attempted > 0
        assert outcome.failed == 0
