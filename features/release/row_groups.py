"""A Parquet file written a row group at a time, whatever the tables it comes in: the whole is never in memory.

Texts that come in dictionaries, inside lists, are written as they are: a page of distinct texts and their places. That
takes two thirds of the CPU time that texts of their own take, for which Parquet makes the same pages. Whoever reads the
file gets plain texts. Numbers in lists are distinct as a rule, and a dictionary would be tried in vain; byte by byte,
all first ones first, they are smaller. The highest and lowest value are kept of users alone: nobody looks for others.

Tables are written by a thread, in the order in which they are added, while the next one is made: no more than one is on
its way.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.compute.dictionaries import compacted
from features.storage import translated_storage_errors

Add = Callable[[pa.Table], None]
"""Appends some rows, of the file's schema; what they are made of is not to be written to any more."""
MOST_DICTIONARY_BYTES = 1 << 26
"""Far above what the texts of a row group come to: beyond it they would be written one by one."""


@contextmanager
def row_groups(path: Path, schema: pa.Schema, rows: int) -> Iterator[Add]:
    """A file that is filled inside the block; each row group but the last has as many rows as asked for.

    The bytes are the same for any cut of the rows that are added, and those of a table that is written at once.

    Args:
        path: where.
        schema: of the tables that are added. Dictionaries of texts are for lists, whose entries are not null; no text
            may stand in one twice. They are read back as plain texts.
        rows: of a row group.

    Raises:
        StorageError: it can't be written, which is noticed when the next table is added or at the end; what is there of
            it stays, for the caller to remove with its folder.
    """
    waiting: list[pa.Table] = []
    under_way: list[Future[None]] = []
    how = _for_dictionaries(schema) if any(_coded(field.type) for field in schema) else {}

    with (
        translated_storage_errors(path.parent),
        pq.ParquetWriter(path, schema, compression="zstd", **how) as writer,
        ThreadPoolExecutor(1) as behind,
    ):

        def write(group: pa.Table) -> None:
            writer.write_table(_compact(group), row_group_size=rows)

        def take(table: pa.Table) -> None:
            waiting.append(table)
            held = sum(part.num_rows for part in waiting)
            if held < rows:
                return
            together = pa.concat_tables(waiting)
            whole = held - held % rows
            for start in range(0, whole, rows):
                write(together.slice(start, rows))
            waiting[:] = [together.slice(whole)] if held > whole else []

        def settle() -> None:
            while under_way:
                under_way.pop().result()

        def add(table: pa.Table) -> None:
            settle()
            under_way.append(behind.submit(take, table))

        yield add
        settle()
        rest = pa.concat_tables([schema.empty_table(), *waiting])
        waiting.clear()  # who still holds `add` shall not hold what the last rows were cut from
        if rest.num_rows:
            write(rest)


def _coded(kind: pa.DataType) -> bool:
    """Whether it is a list, of lists or not, of texts in a dictionary."""
    return pa.types.is_list(kind) and (pa.types.is_dictionary(kind.value_type) or _coded(kind.value_type))


def _compact(group: pa.Table) -> pa.Table:
    """In one chunk, each dictionary with the group's own texts, and in their order."""
    columns = [
        # chunk by chunk, so that what is put together are small dictionaries
        pa.chunked_array([_compact_list(chunk) for chunk in column.chunks], column.type)
        if _coded(column.type)
        else column
        for column in group.itercolumns()
    ]
    return pa.table(columns, schema=group.schema).combine_chunks()


def _compact_list(lists: pa.ListArray) -> pa.ListArray:
    values, begin = lists.flatten(), lists.offsets.to_numpy()
    inner = compacted(values) if pa.types.is_dictionary(values.type) else _compact_list(values)
    return pa.ListArray.from_arrays(pa.array(begin - begin[0]), inner, type=lists.type)


def _for_dictionaries(schema: pa.Schema) -> dict[str, Any]:
    """How the columns are written, by the names that Parquet has for what is in lists."""
    leaves = dict(_leaf(field.name, field.type) for field in schema)
    numbers = [path for path, kind in leaves.items() if pa.types.is_floating(kind) and path not in schema.names]
    return {
        "store_schema": False,
        "use_dictionary": [path for path in leaves if path not in numbers],
        "use_byte_stream_split": numbers,
        "dictionary_pagesize_limit": MOST_DICTIONARY_BYTES,
        "write_statistics": [name for name in schema.names if name == "user_id"],
    }


def _leaf(path: str, kind: pa.DataType) -> tuple[str, pa.DataType]:
    return _leaf(f"{path}.list.element", kind.value_type) if pa.types.is_list(kind) else (path, kind)
