"""Texts numbered as they are met, beside a dict."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.compute.text_kernels import MIX, hash_of
from features.compute.text_table import TextTable, numbers_by_chunk

TEXTS = st.lists(st.one_of(st.text(max_size=20), st.text("ab", max_size=9)), max_size=60)


@given(st.lists(TEXTS, max_size=6), st.integers(0, 3))
def test_texts_have_the_numbers_that_a_dict_would_give_them(pieces, skipped):
    table, known = TextTable(), {}
    for piece in pieces:
        expected = [known.setdefault(text, len(known)) for text in piece[skipped:]]
        assert table.numbers(pa.array(piece, pa.string())[skipped:]).tolist() == expected
    assert len(table) == len(known)
    assert table.texts().equals(pa.array(list(known), pa.string()))


def test_a_table_grows_and_texts_that_meet_in_it_are_told_apart():
    texts = [f"id{number:05d}" for number in range(50_000)]
    table = TextTable()
    assert table.numbers(pa.array(texts[:100])).tolist() == list(range(100))
    assert table.numbers(pa.array(texts)).tolist() == list(range(50_000))
    assert table.numbers(pa.array(texts[::-1])).tolist() == list(range(49_999, -1, -1))
    assert table.texts().to_pylist() == texts


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_of_nothing_there_are_no_numbers(kind):
    table = TextTable()
    assert table.numbers(pa.array([], kind)).tolist() == []
    assert table.texts().to_pylist() == []
    assert table.numbers(pa.array(["", "a", ""], kind)).tolist() == [0, 1, 0]


def test_texts_that_differ_in_one_byte_are_told_apart():
    texts = ["a" * size for size in range(34)]
    texts += ["a" * place + "b" + "a" * (size - place - 1) for size in range(34) for place in range(size)]
    table = TextTable()
    assert table.numbers(pa.array(texts)).tolist() == list(range(len(texts)))
    assert table.known(pa.array(texts[::-1])).tolist() == list(range(len(texts)))[::-1]


@pytest.mark.parametrize("word", [0, 1, 2])
def test_texts_of_one_slot_and_one_tag_are_told_apart(word):
    texts = ["one of the twenty-four b", twin("one of the twenty-four b", word)]
    for first, second in (texts, texts[::-1]):
        table = TextTable()
        assert table.numbers(pa.array([first])).tolist() == [0]
        assert table.known(pa.array([second, first])).tolist() == [-1, 0]
        assert table.numbers(pa.array([first, second, first, second])).tolist() == [0, 1, 0, 1]
        assert table.numbers(pa.array([second, first])).tolist() == [1, 0]


def twin(text: str, word: int) -> str:
    """Another text of 24 ASCII bytes that differs in one word, not in its first and last byte, and whose hash differs
    in no bit that a small table looks at: the hash taken back step by step."""
    letters = np.frombuffer(text.encode(), np.uint8)
    words, inverse = letters.view(np.uint64), np.uint64(pow(int(MIX), -1, 2**64))
    wanted = np.uint64(hash_of(letters, 0, 24)) ^ (np.arange(1, 1 << 19, dtype=np.uint64) << np.uint64(12))
    state = (wanted ^ wanted >> np.uint64(32)) * inverse
    for later in words[:word:-1]:
        state ^= later
        state = (state ^ state >> np.uint64(29) ^ state >> np.uint64(58)) * inverse
    before = np.array([24], np.uint64) * MIX
    for earlier in words[:word]:
        before = (before ^ earlier) * MIX
        before ^= before >> np.uint64(29)
    found = np.repeat(letters[np.newaxis], len(state), axis=0)
    found[:, 8 * word : 8 * word + 8] = (state ^ before).view(np.uint8).reshape(-1, 8)
    fits = (found < 128).all(axis=1) & (found[:, 0] == letters[0]) & (found[:, 23] == letters[23])
    return found[np.flatnonzero(fits)[0]].tobytes().decode()


@given(TEXTS, TEXTS)
def test_what_is_known_is_found_and_nothing_else_and_nothing_is_kept(met, asked):
    table, known = TextTable(), {}
    for text in met:
        known.setdefault(text, len(known))
    table.numbers(pa.array(met, pa.string()))
    asked = [*asked, *met, None]
    assert table.known(pa.array(asked, pa.string())).tolist() == [known.get(text, -1) for text in asked]
    assert len(table) == len(known)


def test_a_table_of_distinct_texts_has_them_in_their_order():
    texts = pa.array(["b", "a", "", "long " * 50])
    table = TextTable.of(texts)
    assert table.texts().equals(texts)
    assert table.known(texts).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("coded", [False, True])
def test_a_column_is_numbered_chunk_by_chunk(coded):
    column = pa.chunked_array([["b", None, "a"], [], ["new", "b"]], pa.string())
    table = TextTable.of(pa.array(["a", "b"]))
    column = column.dictionary_encode() if coded else column
    assert numbers_by_chunk(column, table.known).tolist() == [1, -1, 0, -1, 1]
    assert numbers_by_chunk(column.slice(0, 0), table.known).tolist() == []


def test_what_only_a_dictionary_holds_gets_no_number():
    table = TextTable()
    chunk = pa.DictionaryArray.from_arrays(pa.array([1, 1, None], pa.int8()), pa.array(["nobody", "a"]))
    assert numbers_by_chunk(pa.chunked_array([chunk]), table.numbers).tolist() == [0, 0, -1]
    assert table.texts().to_pylist() == ["a"]
