"""Sentences are kept once and spoken of by places; what is read back is what lists of texts would be."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.recommend.texts import MOST_REASONS, Sentences, Texts, distinct_texts, joined

WORDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
ENTRIES = st.lists(st.lists(WORDS, max_size=MOST_REASONS, unique=True), max_size=6)


def said(entries: Sequence[Sequence[str]]) -> Sentences:
    """Each text as often as it stands there."""
    rows = [(row, place, text) for row, entry in enumerate(entries) for place, text in enumerate(entry)]
    about, places = (np.array([row[column] for row in rows], np.int64) for column in (0, 1))
    return Sentences.of(len(entries), [(about, places, texts_of([text for *_, text in rows]))])


def texts_of(texts: Sequence[str], place: Sequence[int] | None = None) -> Texts:
    return Texts(pa.array(texts, pa.string()), np.array(range(len(texts)) if place is None else place, np.int64))


def read(sentences: Sentences) -> list[list[str]]:
    texts = sentences.texts.to_pylist()
    return [[texts[place] for place in row if place >= 0] for row in sentences.places.tolist()]


@given(ENTRIES)
def test_what_is_said_is_read_back_and_once_no_text_is_kept_twice(entries):
    sentences = said(entries)
    assert read(sentences) == read(sentences.once()) == entries
    assert sorted(sentences.once().texts.to_pylist()) == sorted({text for entry in entries for text in entry})


@given(st.lists(ENTRIES, min_size=1, max_size=3))
def test_parts_together_say_what_each_says(parts):
    assert read(Sentences.together([said(part) for part in parts])) == [entry for part in parts for entry in part]


@given(ENTRIES, st.data())
def test_what_leads_takes_the_place_of_the_same_further_back_or_of_the_last(entries, data):
    leads = {row: data.draw(WORDS) for row in range(len(entries)) if data.draw(st.booleans())}
    texts = sorted(set(leads.values()))
    led = said(entries).led_by(
        np.array(list(leads), np.int64), texts_of(texts, [texts.index(text) for text in leads.values()])
    )
    assert read(led) == [
        [leads[row], *(text for text in entry if text != leads[row])][:MOST_REASONS] if row in leads else entry
        for row, entry in enumerate(entries)
    ]


def test_texts_follow_one_another_where_they_are_about_an_entry():
    about = [(np.array([1, 2]), texts_of(["x", "y"])), (np.arange(3), texts_of(["z"], [0, 0, 0]))]
    assert read(Sentences.in_turn(3, about)) == [["z"], ["x", "z"], ["y", "z"]]


def test_an_empty_text_says_nothing():
    assert said([["a"], [""], [], ["", "a"]]).any.tolist() == [True, False, False, True]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3), st.sampled_from([0, 2**40])), max_size=20))
def test_each_row_has_its_own_text_and_equal_rows_share_one(rows):
    columns = np.array(rows, np.int64).reshape(len(rows), 3).T
    made = distinct_texts(lambda *row: str(row), *columns)
    assert made.texts.take(pa.array(made.place)).to_pylist() == [str(row) for row in rows]
    assert len(made.texts) == len(set(rows))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=20))
def test_two_texts_are_joined_and_equal_pairs_share_one(pairs):
    head, tail = (np.array([pair[column] for pair in pairs], np.int64) for column in (0, 1))
    made = joined(texts_of(["a", "b", "c"], head), texts_of(["1", "2", "3", "4"], tail))
    assert made.texts.take(pa.array(made.place)).to_pylist() == ["abc"[one] + "1234"[other] for one, other in pairs]
    assert len(made.texts) == len(set(pairs))
