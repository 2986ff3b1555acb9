"""A Parquet file written a row group at a time, whatever the tables it comes in: the whole is never in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.storage import translated_storage_errors

Add = Callable[[pa.Table], None]
"""Appends some rows, of the file's schema."""


@contextmanager
def row_groups(path: Path, schema: pa.Schema, rows: int) -> Iterator[Add]:
    """A file that is filled inside the block; each row group but the last has as many rows as asked for.

    The bytes are the same for any cut of the rows that are added, and those of a table that is written at once.

    Raises:
        StorageError: it can't be written; what is there of it stays, for the caller to remove with its folder.
    """
    waiting: list[pa.Table] = []

    with translated_storage_errors(path.parent), pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def add(table: pa.Table) -> None:
            waiting.append(table)
            held = sum(part.num_rows for part in waiting)
            if held < rows:
                return
            together = pa.concat_tables(waiting)
            whole = held - held % rows
            for start in range(0, whole, rows):
                writer.write_table(together.slice(start, rows).combine_chunks(), row_group_size=rows)
            waiting[:] = [together.slice(whole)] if held > whole else []

        yield add
        rest = pa.concat_tables([schema.empty_table(), *waiting])
        if rest.num_rows:
            writer.write_table(rest.combine_chunks(), row_group_size=rows)
