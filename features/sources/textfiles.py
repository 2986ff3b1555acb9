"""CSV, TSV and JSON lines, plain or gzipped: a checking pass, then chunks with each row's first line."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa

from features.errors import InputError
from features.sources import tables
from features.sources.tables import Chunk, Malformed, to_json

TEXT_FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson")
BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20
"""A longer line is not one row: it is a JSON array, or a file without line ends."""
MAX_RECORD_LINES = 50
"""A CSV row over more lines than this is a quote that was never closed."""


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            yield cast("IO[bytes]", stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}); compress it again") from None


@contextmanager
def _lines(path: Path) -> Iterator[io.TextIOWrapper]:
    with _opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        yield text


def count_lines(path: Path) -> int:
    """Lines in a text file, after checking that it is UTF-8 in lines of a sane length."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, offset, unbroken, last = 0, 0, 0, b""
    with _opened(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                at = error.start - pending
                line = lines + 1 + block.count(b"\n", 0, max(at, 0))
                raise InputError(
                    f"{path}, line {line} (byte {offset + at + 1}): not UTF-8; save the file as UTF-8"
                ) from None
            lines += block.count(b"\n")
            end = max(block.rfind(b"\n"), block.rfind(b"\r"))
            unbroken = unbroken + len(block) if end < 0 else len(block) - end - 1
            if unbroken > MAX_LINE_BYTES:
                raise InputError(
                    f"{path}, line {lines + 1}: longer than {MAX_LINE_BYTES >> 20} MB; write one row a line"
                )
            offset, last = offset + len(block), block[-1:]
    if decoder.getstate()[0]:
        raise InputError(f"{path}, line {lines + 1}: ends inside a character; the file is cut short")
    return lines + (last not in (b"", b"\n"))


class _NeverClosedError(Exception):
    pass


class _RecordLines:
    """Lines for `csv.reader`, with those of the record being read kept.

    A quote that is never closed would swallow the rows after it. With the lines at hand, only the row that
    has the quote is lost: the others are read again.
    """

    def __init__(self, stream: Iterator[str]) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.record: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._stream, None)
        if line is None:
            if self.record:
                raise _NeverClosedError
            raise StopIteration
        self.number += 1
        self.record.append(line)
        if len(self.record) > MAX_RECORD_LINES:
            raise _NeverClosedError
        return line

    def take_back(self) -> None:
        """Has all lines of the record but the first read again."""
        self._again.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1
        del self.record[1:]


class CsvTable:
    """A file of separated fields with a header line; quoting as in RFC 4180."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path = path
        self._delimiter = delimiter
        self.total = count_lines(path)
        with _lines(path) as text:
            header = _header(path, text, delimiter)
            rows = any(line.strip() for line in text)
        # pandas writes its index under an empty name
        self.columns = [name.strip() or f"column {i}" for i, name in enumerate(header, start=1)]
        if not rows:
            raise InputError(f"{path} holds no rows; it needs a header line and at least one row")

    def chunks(self) -> Iterator[Chunk]:
        """The rows; one with a wrong number of fields or a quote that is never closed is malformed."""
        with _lines(self.path) as text:
            rows: list[list[str]] = []
            lines: list[int] = []
            malformed: list[Malformed] = []
            header = True
            for line, record in self._records(_RecordLines(iter(text))):
                if header:
                    header = False
                elif isinstance(record, Malformed):
                    malformed.append(record)
                else:
                    rows.append(record)
                    lines.append(line)
                if len(rows) + len(malformed) >= tables.CHUNK_ROWS:
                    yield self._chunk(rows, lines, malformed, line)
                    rows, lines, malformed = [], [], []
            if rows or malformed:
                yield self._chunk(rows, lines, malformed, self.total)

    def _records(self, source: _RecordLines) -> Iterator[tuple[int, list[str] | Malformed]]:
        reader = csv.reader(source, delimiter=self._delimiter)
        width = len(self.columns)
        while True:
            source.record.clear()
            line = source.number + 1
            try:
                fields = next(reader)
                if not fields:
                    continue  # a blank line is no row
                fault = "wrong number of fields" if len(fields) != width else None
                if fault and len(source.record) > 1:
                    fault = "a quote that is never closed"
            except StopIteration:
                return
            except _NeverClosedError:
                fault = "a quote that is never closed"
            except csv.Error:
                fault = "a field that is too long"
            if fault:
                source.take_back()
                yield line, Malformed(line, fault, to_json(source.record[0].rstrip("\r\n")))
            else:
                yield line, fields

    def _chunk(self, rows: list[list[str]], lines: list[int], malformed: list[Malformed], reached: int) -> Chunk:
        by_column = zip(*rows, strict=True) if rows else [[] for _ in self.columns]
        arrays = [pa.array(values, pa.large_string()) for values in by_column]
        return Chunk(
            lines=np.array(lines, dtype=np.int64),
            columns=dict(zip(self.columns, arrays, strict=True)),
            row=lambda i: dict(zip(self.columns, rows[i], strict=True)),
            reached=reached,
            malformed=malformed,
        )


def _header(path: Path, text: Iterator[str], delimiter: str) -> list[str]:
    reader = csv.reader(_RecordLines(text), delimiter=delimiter)
    try:
        return next((fields for fields in reader if fields), [])
    except (_NeverClosedError, csv.Error):
        raise InputError(f"{path}: the header line can't be read; is a quote in it never closed?") from None


class JsonLinesTable:
    """A file of one JSON object a line; its columns are the keys of all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = count_lines(path)
        keys: dict[str, None] = {}
        any_row = any_object = False
        for _, row in self._rows():
            any_row = True
            if isinstance(row, dict):
                any_object = True
                keys.update(dict.fromkeys(row))
        if not any_row:
            raise InputError(f"{path} holds no rows; it needs one JSON object a line")
        if not any_object:
            raise InputError(f"{path} holds no JSON object; it needs one a line, with column names as keys")
        self.columns = list(keys)

    def chunks(self) -> Iterator[Chunk]:
        """The rows; a line that is not a JSON object is malformed."""
        rows: list[dict[str, Any]] = []
        lines: list[int] = []
        malformed: list[Malformed] = []
        for line, row in self._rows():
            if isinstance(row, Malformed):
                malformed.append(row)
            else:
                rows.append(row)
                lines.append(line)
            if len(rows) + len(malformed) >= tables.CHUNK_ROWS:
                yield self._chunk(rows, lines, malformed, line)
                rows, lines, malformed = [], [], []
        if rows or malformed:
            yield self._chunk(rows, lines, malformed, self.total)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any] | Malformed]]:
        with _lines(self.path) as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield number, _json_object(line, number)

    def _chunk(self, rows: list[dict[str, Any]], lines: list[int], malformed: list[Malformed], reached: int) -> Chunk:
        return Chunk(
            lines=np.array(lines, dtype=np.int64),
            columns={name: [row.get(name) for row in rows] for name in self.columns},
            row=lambda i: rows[i],
            reached=reached,
            malformed=malformed,
        )


def _json_object(line: str, number: int) -> dict[str, Any] | Malformed:
    fault = "not a JSON object"
    try:
        row = json.loads(line)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except UnicodeEncodeError:
        fault = "an escape that is half a character"
    except (ValueError, RecursionError):
        fault = "not readable as JSON"
    else:
        if isinstance(row, dict):
            return row
    return Malformed(number, fault, to_json(line.strip()))
