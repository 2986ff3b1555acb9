"""Texts numbered as they are met, beside a dict."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.compute.text_table import TextTable

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
