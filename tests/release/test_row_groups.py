"""A file written table by table is the file of all rows at once, byte for byte."""

import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.release.row_groups import row_groups

TABLE = pa.table({"number": np.arange(25), "text": [f"text {number}" for number in range(25)]})


@pytest.mark.parametrize("size", [1, 3, 10, 11, 100])
def test_any_cut_of_the_rows_makes_the_same_file(tmp_path, size):
    with row_groups(tmp_path / "cut.parquet", TABLE.schema, 10) as add:
        for start in range(0, TABLE.num_rows, size):
            add(TABLE.slice(start, size))
    pq.write_table(TABLE, tmp_path / "whole.parquet", compression="zstd", row_group_size=10)
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    metadata = pq.read_metadata(tmp_path / "cut.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [10, 10, 5]


@pytest.mark.parametrize("rows", [0, 10])
def test_a_file_of_nothing_or_of_whole_groups_has_no_empty_group_more(tmp_path, rows):
    with row_groups(tmp_path / "some.parquet", TABLE.schema, 10) as add:
        add(TABLE.slice(0, rows))
    assert pq.read_table(tmp_path / "some.parquet").equals(TABLE.slice(0, rows))
    assert pq.read_metadata(tmp_path / "some.parquet").num_row_groups == rows // 10


LISTS = [[["a", "b"], ["c"]], [], [["c"], ["a"], ["d", "e", "f"]], [["b"]], [[], ["g", "a"]]]
IDS = [["x", "y"], [], ["z", "x", "y"], ["u"], ["y", "w"]]
SCORES = [[0.5, 0.25], [], [1.0, 0.5, 0.1], [0.3], [0.2, 0.1]]
CODED = pa.dictionary(pa.int32(), pa.string())


def lists(times: int = 6) -> tuple[pa.Table, pa.Table]:
    """With texts in dictionaries, and as plain texts."""
    rows = {"user_id": [f"user {n}" for n in range(times * len(IDS))]}
    rows |= {"said": LISTS * times, "ids": IDS * times, "scores": SCORES * times}
    made = []
    for text in (CODED, pa.string()):
        schema = {"user_id": pa.string(), "said": pa.list_(pa.list_(text)), "ids": pa.list_(text)}
        made.append(pa.table(rows, schema=pa.schema({**schema, "scores": pa.list_(pa.float64())})))
    return made[0], made[1]


@pytest.mark.parametrize("size", [1, 3, 7, 12, 13, 100])
def test_texts_in_dictionaries_are_read_as_texts_and_any_cut_makes_the_same_file(tmp_path, size):
    coded, plain = lists()
    for name, cut in (("cut", size), ("whole", len(coded))):
        with row_groups(tmp_path / f"{name}.parquet", coded.schema, 7) as add:
            for start in range(0, len(coded), cut):
                part = coded.slice(start, cut)
                # whoever adds it has a dictionary of its own
                add(pa.Table.from_pylist(part.to_pylist(), schema=coded.schema) if cut == size else part)
    found = pq.read_table(tmp_path / "cut.parquet")
    assert found.schema.equals(plain.schema)
    assert found.equals(plain)
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    group = pq.read_metadata(tmp_path / "cut.parquet").row_group(0)
    assert all(group.column(column).has_dictionary_page for column in range(3))


def test_a_row_group_holds_no_texts_but_its_own(tmp_path):
    coded, _ = lists(1)
    with row_groups(tmp_path / "some.parquet", coded.schema, 1) as add:
        add(coded)
    with pq.ParquetFile(tmp_path / "some.parquet", read_dictionary=["ids.list.element"]) as file:
        ids = [file.read_row_group(n)["ids"].combine_chunks().flatten().dictionary.to_pylist() for n in range(5)]
    assert ids == [["x", "y"], [], ["z", "x", "y"], ["u"], ["y", "w"]]


OTHER = pa.table({"number": ["of another type"], "text": ["text"]})


def filled(path, *tables: pa.Table) -> list[int]:
    """The numbers of the tables that were added before an error was raised."""
    added: list[int] = []

    def fill() -> None:
        with row_groups(path, TABLE.schema, 1) as add:
            for number, table in enumerate(tables):
                add(table)
                added.append(number)

    with pytest.raises(ValueError, match="schema"):
        fill()
    return added


def test_what_went_wrong_with_a_table_is_raised_with_the_next_one_or_at_the_end(tmp_path):
    assert filled(tmp_path / "last.parquet", TABLE, OTHER) == [0, 1]
    assert filled(tmp_path / "first.parquet", OTHER, TABLE) == [0]


def failing(path) -> None:
    with row_groups(path, TABLE.schema, 1) as add:
        add(TABLE)
        raise KeyError


def test_a_caller_that_fails_is_heard_even_while_a_table_is_written(tmp_path):
    with pytest.raises(KeyError):
        failing(tmp_path / "failed.parquet")


def test_who_keeps_the_way_to_add_does_not_keep_what_was_added(tmp_path):
    numbers = np.arange(25.0)
    gone = weakref.ref(numbers)
    table = pa.table({"number": numbers})
    with row_groups(tmp_path / "some.parquet", table.schema, 10) as add:
        add(table)
        del table, numbers
    assert callable(add)
    assert gone() is None
