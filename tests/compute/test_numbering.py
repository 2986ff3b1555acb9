"""Plays read a piece at a time: whatever the pieces, the dataset is the one read at once, and plays are in order."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import AS_OF, Row, play, random_world, shuffled, tables, track

from features.compute.dataset import Dataset, build_dataset
from features.compute.newest import Wanted, newest_words
from features.compute.numbering import Numbering, Pieces, _moved, _place, in_order, renumber

COLUMNS = ("user", "track", "played_at", "completion")


def in_pieces(table: pa.Table, size: int, *, coded: bool = False) -> Pieces:
    """A table cut into pieces of so many rows; with ids in dictionaries, as Parquet can give them."""

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        for start in range(0, table.num_rows, size):
            piece = table.slice(start, size).select(columns)
            for name in ("user_id", "track_id", "track_name", "artist_name") if coded else ():
                if name in columns:
                    column = table[name].dictionary_encode().slice(start, size)  # of the whole, as a slice has it
                    piece = piece.set_column(columns.index(name), name, column)
            yield piece

    return Pieces(table.num_rows, read)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.users.ids() == other.users.ids()
    assert one.tracks.ids() == other.tracks.ids()
    assert one.later == other.later
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one.plays, name), getattr(other.plays, name))
        assert getattr(one.plays, name).dtype == getattr(other.plays, name).dtype
    for name in ("names", "artists", "artist"):
        assert getattr(one.catalog, name).tolist() == getattr(other.catalog, name).tolist()
    np.testing.assert_array_equal(one.catalog.audio, other.catalog.audio)
    assert (one.catalog.genres != other.catalog.genres).nnz == 0


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_pieces_of_any_size_make_the_same_dataset(size: int, coded: bool):
    world = random_world(4)
    whole = build_dataset(world, as_of_ms=AS_OF)
    mixed = shuffled(world, 9)
    assert_same(whole, build_dataset(mixed, in_pieces(mixed["plays"], size, coded=coded), as_of_ms=AS_OF))


def test_an_id_that_only_a_dictionary_holds_is_nobody():
    world = tables(plays=[play("ann", "t"), play("zoe", "u", days_ago=-1)])
    data = build_dataset(world, in_pieces(world["plays"], 10, coded=True), as_of_ms=AS_OF)
    assert data.users.ids() == ["ann"]
    assert data.tracks.ids() == ["t"]


@pytest.mark.parametrize("size", [1, 10])
def test_of_two_pieces_the_newest_word_counts_and_at_one_moment_the_later_document(size: int):
    plays: list[Row] = [
        play("a", "t", 2, track_name="old", document_id="9"),
        play("a", "t", 1, track_name="new", document_id="1"),
        play("b", "t", 1, track_name="newest", document_id="2"),
        play("b", "t", 1, document_id="3"),
        play("a", "t", 3, energy=0.5, document_id="8"),
    ]
    world = tables(plays=plays)
    data = build_dataset(world, in_pieces(world["plays"], size), as_of_ms=AS_OF)
    assert data.catalog.names.tolist() == ["newest"]
    assert data.catalog.audio[0].tolist().count(0.5) == 1


@pytest.mark.parametrize("plays", [2, 4])
def test_words_of_other_plays_than_those_numbered_are_refused(plays: int):
    pieces = in_pieces(tables(plays=[play("a", "t", day, energy=0.5) for day in range(3)])["plays"], 2)
    with pytest.raises(ValueError, match="3 plays were read where there are numbers of"):
        newest_words(pieces, np.zeros(plays, np.int32), [Wanted("track_name", np.array([True]))])


def test_what_nobody_lacks_is_not_read():
    asked: list[Sequence[str]] = []
    said = newest_words(
        Pieces(0, lambda columns: iter(asked.append(columns) or [])),
        np.zeros(0, np.int32),
        [Wanted("track_name", np.array([False, True])), Wanted("genres", np.array([False, False]))],
    )
    assert asked == [["played_at", "document_id", "track_name"]]
    assert {name: [part.tolist() for part in parts] for name, parts in said.items()} == {
        "track_name": [[], []],
        "genres": [[], []],
    }


def test_how_long_a_play_was_tells_what_was_heard_of_tracks_in_the_catalogue():
    world = tables(
        plays=[play("a", "t", 1, None, play_ms=50.0), play("a", "u", 2, None, play_ms=50.0), play("a", "t", 3, 0.25)],
        tracks=[track("t", duration_ms=100.0, document_id="2"), track("t", duration_ms=200.0, document_id="1")],
    )
    data = build_dataset(world, in_pieces(world["plays"], 2), as_of_ms=AS_OF)
    np.testing.assert_array_equal(data.plays.completion, np.array([0.25, np.nan, 0.5], np.float32))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 3), st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0, float("nan")])
        ),
        max_size=100,
    )
)
def test_plays_are_in_order_of_user_time_track_and_completion(rows: list[tuple[int, int, int, float]]):
    user, track_, at, part = (np.array([row[place] for row in rows]) for place in range(4))
    columns = {
        "user": user.astype(np.int32),
        "track": track_.astype(np.int32),
        "played_at": at.astype(np.int64),
        "completion": part.astype(np.float32),
    }
    order = np.lexsort((part, track_, at, user)) if rows else np.zeros(0, np.int64)
    expected = {name: column[order] for name, column in columns.items()}
    plays = in_order(columns, 4)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(plays, name), expected[name])


def test_many_plays_of_one_moment_are_sorted_as_well():
    rng = np.random.default_rng(5)
    track_ = rng.integers(0, 1000, 200_000).astype(np.int32)
    nothing = np.zeros(len(track_), np.int64)
    columns = {"user": nothing.astype(np.int32), "track": track_, "played_at": nothing}
    plays = in_order(columns | {"completion": np.ones(len(track_), np.float32)}, 1)
    np.testing.assert_array_equal(plays.track, np.sort(track_))


def test_where_plays_go_is_the_same_written_over_users_and_in_wider_numbers():
    user = np.random.default_rng(3).integers(0, 9, 200, np.int32)
    starts = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=9))])[:-1]
    wide, written_over = np.empty(200, np.int64), user.copy()
    _place(user, starts.copy(), wide)
    _place(written_over, starts.copy(), written_over)
    assert wide.tolist() == written_over.tolist() == np.argsort(np.argsort(user, kind="stable")).tolist()
    np.testing.assert_array_equal(_moved(user, wide), np.sort(user))


def test_numbers_are_given_as_ids_are_met_and_ordered_in_the_end():
    met = Numbering()
    met.numbers(pa.chunked_array([["b"]]))
    column = pa.chunked_array([["c", "b"], ["ä", "a", "c"]])
    numbers = met.numbers(column)
    assert numbers.tolist() == [1, 0, 2, 3, 1]
    vocabulary, rank = met.finished()
    renumber(numbers, rank)
    assert vocabulary.ids() == ["a", "b", "c", "ä"]
    assert [vocabulary[int(number)] for number in numbers] == column.to_pylist()


def test_a_column_is_numbered_chunk_by_chunk_and_what_is_unknown_is_minus_one():
    world = build_dataset(tables(plays=[play("a", "t"), play("b", "u")]), as_of_ms=AS_OF)
    plain = pa.chunked_array([["b", None], ["z", "a"]], pa.string())
    assert world.users.numbers_of(plain).tolist() == [1, -1, -1, 0]
    assert world.users.numbers_of(plain.dictionary_encode()).tolist() == [1, -1, -1, 0]
    assert world.users.texts.to_pylist() == ["a", "b"]
