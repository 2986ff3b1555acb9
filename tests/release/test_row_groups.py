"""A file written table by table is the file of all rows at once, byte for byte."""

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
