"""Files of rows, read in bounded chunks with each row's place; text formats are in `textfiles.py`."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.errors import InputError

CHUNK_ROWS = 50_000
"""Rows held at once: large enough for vectorised checks to pay, small enough to need some ten megabytes."""


@dataclass(frozen=True)
class Malformed:
    """A row that could not be taken apart into columns."""

    line: int
    reason: str
    row: str
    """The row as JSON: its text, or its fields."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a file, by column; a column is an Arrow array or a list of Python values."""

    lines: NDArray[np.int64]
    """1-based: the line a row begins on in a text file, the row's number in a Parquet file."""
    columns: Mapping[str, Any]
    row: Callable[[int], Any]
    """The i-th row as it was in the file."""
    reached: int
    """How far into the file this chunk reaches, in the unit of the file's `total`."""
    malformed: list[Malformed] = field(default_factory=list)


class Table(Protocol):
    """A file of rows that was found to be whole."""

    @property
    def columns(self) -> list[str]:
        """The columns' names, as in the file."""

    @property
    def total(self) -> int:
        """Rows (Parquet) or lines (text formats) in the file."""

    def chunks(self) -> Iterator[Chunk]:
        """The rows, some `CHUNK_ROWS` at a time."""


def open_table(path: Path) -> Table:
    """The table in a file, by its extension, after one pass that finds what makes it useless as a whole.

    Raises:
        InputError: no such file, a folder, an extension that isn't known, no rows, not UTF-8, a corrupt file.
    """
    from features.sources.textfiles import TEXT_FORMATS, CsvTable, JsonLinesTable

    names = path.name.lower().removesuffix(".gz").rsplit(".", maxsplit=1)
    extension = names[1] if len(names) > 1 else ""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name one file of rows in it")
        if not path.exists():
            raise InputError(f"{path}: no such file; check the path")
        if not path.is_file():  # a pipe can't be read twice
            raise InputError(f"{path} is no regular file; save its rows in one first")
        if extension == "parquet" and not path.name.lower().endswith(".gz"):
            return ParquetTable(path)
        if extension in ("csv", "tsv"):
            return CsvTable(path, delimiter="," if extension == "csv" else "\t")
        if extension in ("jsonl", "ndjson"):
            return JsonLinesTable(path)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}); check the file") from None
    known = ", ".join([".parquet", *TEXT_FORMATS])
    raise InputError(
        f"{path}: no format known by the extension {path.suffix!r}; convert it to one of {known} "
        "(the text formats also with .gz)"
    )


class ParquetTable:
    """A Parquet file, read by batches. Opening it decodes every page once, so that a corrupt one shows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self.columns: list[str] = list(file.schema_arrow.names)
                self.total: int = file.metadata.num_rows
                for _ in file.iter_batches(batch_size=CHUNK_ROWS):
                    pass
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0][:160]
            raise InputError(f"{path} is not a whole Parquet file ({reason}); write it again") from None
        if not self.total:
            raise InputError(f"{path} holds no rows; nothing to import")

    def chunks(self) -> Iterator[Chunk]:
        """The rows, numbered from 1."""
        before = 0
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                yield chunk_of_batch(batch, before)
                before += batch.num_rows


def chunk_of_batch(batch: pa.RecordBatch, before: int) -> Chunk:
    """A record batch as a chunk, `before` rows into its table."""
    return Chunk(
        lines=np.arange(before + 1, before + batch.num_rows + 1, dtype=np.int64),
        columns=dict(zip(batch.schema.names, batch.columns, strict=True)),
        row=lambda i: _python_row(batch, i),
        reached=before + batch.num_rows,
    )


def _python_row(batch: pa.RecordBatch, i: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[i].as_py()
        except (ValueError, OverflowError):  # text that isn't UTF-8, a time no Python date reaches
            row[name] = repr(column[i])
    return row


def to_json(row: Any) -> str:
    """A row as JSON, whatever is in it: dates as ISO text, bytes and the rest by their repr."""

    def default(value: Any) -> str:
        return str(value.isoformat()) if hasattr(value, "isoformat") else repr(value)

    return json.dumps(row, ensure_ascii=False, default=default)
