"""Rows that were set aside, with the reason and the line, in a Parquet file that is whole or not there."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import StorageError
from features.sources.tables import Malformed

SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("row", pa.string())])


def rejected_path(home: Path, kind: str, path: Path) -> Path:
    """Where the rows set aside from a file go: the same for the same file with the same content."""
    content = hashlib.blake2b(str(path.resolve()).encode(), digest_size=4)
    if path.is_file():  # a sample's tables are no files
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
    stem = path.name.removesuffix(".gz").rsplit(".", maxsplit=1)[0][:60]
    return home / "rejected" / f"{kind}-{stem}-{content.hexdigest()}.parquet"


class RejectedRows:
    """Counts rows set aside and writes them as they come; `path` is None until there is one."""

    def __init__(self, home: Path, kind: str, source: Path) -> None:
        self.reasons: Counter[str] = Counter()
        self.path: Path | None = None
        self._home, self._kind, self._source = home, kind, source
        self._writer: Any = None
        self._scratch = Path()

    def add(self, rows: Iterable[Malformed]) -> None:
        """Sets rows aside, in the order of their lines.

        Raises:
            StorageError: the data folder can't be written, or the disk is full.
        """
        ordered = sorted(rows, key=lambda row: row.line)
        if not ordered:
            return
        self.reasons.update(row.reason for row in ordered)
        columns = [[getattr(row, name) for row in ordered] for name in SCHEMA.names]
        with self._storage_errors():
            if self._writer is None:
                self._open()
            self._writer.write_table(pa.table(columns, schema=SCHEMA))

    def finish(self) -> None:
        """Gives the file its name, now that it is whole."""
        if self._writer is not None and self.path is not None:
            with self._storage_errors():
                self._writer.close()
                self._scratch.replace(self.path)
            self._writer = None

    def discard(self) -> None:
        """Leaves no half-written file."""
        if self._writer is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._writer = None
        if self._scratch.name:
            with suppress(OSError):
                self._scratch.unlink(missing_ok=True)

    def _open(self) -> None:
        self.path = rejected_path(self._home, self._kind, self._source)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._writer = pq.ParquetWriter(self._scratch, SCHEMA, compression="zstd")
        self._scratch.chmod(0o600)  # a row may hold an e-mail address

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:160]
            raise StorageError(
                f"{self._home / 'rejected'} can't be written ({reason}); make room there or choose another "
                "ECHOTUNE_HOME, then run the import again: rows that are in the database stay as they are"
            ) from None


@contextmanager
def rejected_rows(home: Path, kind: str, source: Path) -> Iterator[RejectedRows]:
    """Rows set aside in the block; their file gets its name when that ends well, else it is removed."""
    rows = RejectedRows(home, kind, source)
    try:
        yield rows
        rows.finish()
    finally:
        rows.discard()
