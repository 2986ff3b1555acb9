"""A snapshot on disk: which Parquet parts count, what is in each, and what was set aside.

Under `$ECHOTUNE_HOME/snapshot/<database>/`: `plays/000007-0000.parquet` and so on for each table, by the number of
the snapshot that wrote the part; `set_aside/<table>-000007.parquet`; and `manifest.json`, which names the parts that
count. A part that it does not name does not exist for a reader, and no snapshot writes over a part of another, so
an interrupted run leaves the former snapshot as it was.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from features.ahead import in_order
from features.errors import StorageError
from features.snapshot.digest import RowDigest, sum_of_digests
from features.snapshot.fields import SOURCES
from features.storage import translated_storage_errors, write_json, write_parquet

FORMAT = 2
READ_AHEAD = 2
"""Parts that are decoded at once while their rows are worked on; of each at most two row groups are in memory."""
NOT_IN_DIGEST = ("known_at",)
"""When a row became known does not change what it says."""


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table.

    Attributes:
        name: relative to the snapshot's folder.
        rows: how many.
        digest: of the rows, whatever their order.
        checksum: of the file's bytes.
    """

    name: str
    rows: int
    digest: str
    checksum: str


@dataclass(frozen=True)
class Span:
    """The plays imported after one moment and up to another, which are read again only when others are found there.

    Attributes:
        after: imported later than this.
        until: imported by this; the next span begins here.
        documents: how many the database held, those set aside included.
        dates: the sum of their import dates, by `sum_of_dates`.
        parts: the rows that could be used when it was read.
    """

    after: datetime
    until: datetime
    documents: int
    dates: int
    parts: list[Part]


@dataclass(frozen=True)
class TableSummary:
    """What is known of one collection: read = used + set aside.

    Attributes:
        read: documents known, whenever they were read.
        used: rows of the table.
        set_aside: documents that could not be used.
        reasons: why, most frequent first, ties by text.
        loose: parts that the next snapshot reads anew.
        spans: of plays, what it does not read again; without gaps, oldest first.
        apart: of plays, the part with the documents of those spans that are judged anew each time: they were set
            aside when their span was read. Ids and import dates, no rows.
        fetched: documents that the server was asked for this time, and their bytes.
    """

    read: int
    used: int
    set_aside: int
    reasons: dict[str, int]
    loose: list[Part]
    spans: tuple[Span, ...] = ()
    apart: Part | None = None
    fetched: tuple[int, int] = (0, 0)

    @property
    def files(self) -> list[Part]:
        """All parts with rows, those of spans first."""
        return [part for span in self.spans for part in span.parts] + self.loose

    @property
    def parts(self) -> list[str]:
        """Their names."""
        return [part.name for part in self.files]

    @property
    def digest(self) -> str:
        """Identifies the used rows whatever their order and parts: equal content, equal digest."""
        return sum_of_digests(part.digest for part in self.files)


@dataclass(frozen=True)
class Snapshot:
    """Everything known up to `bound`, on disk.

    Attributes:
        folder: where.
        bound: what was known later is not in it.
        tables: by name.
        number: one higher than the snapshot's before.
        conditions: what the parts rest on besides their documents; others make the next snapshot a whole one.
        notes: lines for a person: what was found damaged or gone, and read anew.
        erased: a hash of the tombstones there were: none of those persons is in the parts.
    """

    folder: Path
    bound: datetime
    tables: dict[str, TableSummary]
    number: int = 0
    conditions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    erased: str = ""

    @property
    def digest(self) -> str:
        """Identifies the content of all tables together."""
        return digest_of_tables({name: table.digest for name, table in self.tables.items()})

    @property
    def known_at(self) -> datetime:
        """Its bound: nothing that became known later is in it."""
        return self.bound

    def counts(self) -> dict[str, dict[str, Any]]:
        """For each table what became of its documents: read = used + set aside, and the reasons."""
        return {
            name: {"read": table.read, "used": table.used, "set_aside": table.set_aside, "reasons": table.reasons}
            for name, table in self.tables.items()
        }

    def set_aside_name(self, name: str) -> str:
        """Where the documents set aside from a table are, relative to the folder; there may be none."""
        return set_aside_name(name, self.number)

    def table(self, name: str, columns: list[str] | None = None, condition: pc.Expression | None = None) -> pa.Table:
        """One table as Arrow, the parts one after the other; only the rows that meet a condition.

        Raises:
            StorageError: a part is gone or damaged.
        """
        return self._read(name, self.tables[name].parts, columns, condition)

    def pieces(self, name: str) -> Iterator[pa.Table]:
        """The same a part at a time, for who need not hold them all."""
        return (self._read(name, [part]) for part in self.tables[name].parts)

    def blocks(self, name: str, columns: Sequence[str], coded: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Some columns a row group at a time, about a million rows, read ahead on threads.

        Args:
            name: of the table.
            columns: which.
            coded: of those, texts that are wanted in dictionaries: each distinct one is in memory once.

        Raises:
            StorageError: a part is gone or damaged.
        """
        parts = [partial(self._row_groups, name, part, columns, coded) for part in self.tables[name].parts]
        return in_order(parts, READ_AHEAD, ahead=1)

    def _row_groups(self, name: str, part: str, columns: Sequence[str], coded: Sequence[str]) -> Iterator[pa.Table]:
        with self._readable(name), pq.ParquetFile(self.folder / part, read_dictionary=list(coded)) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=list(columns), use_threads=False).select(list(columns))

    def _read(
        self, name: str, parts: list[str], columns: list[str] | None = None, condition: pc.Expression | None = None
    ) -> pa.Table:
        paths = [str(self.folder / part) for part in parts]
        with self._readable(name):
            return ds.dataset(paths, format="parquet").to_table(columns=columns, filter=condition)

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            what = str(error).splitlines()[0]
            raise StorageError(f"{name} of {self.folder} can't be read ({what}); take a new snapshot") from error


def set_aside_name(table: str, number: int) -> str:
    """The file of the documents that the so-manieth snapshot set aside from a table."""
    return f"set_aside/{table}-{number:06d}.parquet"


def part_name(table: str, number: int, position: int = 0) -> str:
    """The file of one part of a table, by the number of the snapshot that writes it."""
    return f"{table}/{number:06d}-{position:04d}.parquet"


def next_number(folder: Path) -> int:
    """Higher than that of any part there, so that nothing is written over."""
    numbers = [path.stem.partition("-")[0] for path in folder.glob("*/[0-9]*.parquet")]
    return max((int(text) for text in numbers if text.isdigit()), default=0) + 1


def digest_of_tables(digests: dict[str, str]) -> str:
    """One digest for the digests of all tables by name."""
    text = json.dumps(dict(sorted(digests.items())))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_part(folder: Path, name: str, rows: pa.Table) -> Part:
    """Writes one part, whole or not at all.

    Raises:
        StorageError: it can't be written.
    """
    write_parquet(folder / name, rows)
    digest = RowDigest(NOT_IN_DIGEST)
    digest.add(rows)
    with translated_storage_errors(folder / name):
        return Part(name, rows.num_rows, digest.hex(), _checksum(folder / name))


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def damage(folder: Path, part: Part) -> str | None:
    """What is wrong with a part's file; None when it is as it was written."""
    try:
        return None if _checksum(folder / part.name) == part.checksum else "is damaged"
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"can't be read ({error.strerror})"


def write_manifest(snapshot: Snapshot) -> None:
    """Makes a snapshot's parts the ones that count, in one rename.

    Raises:
        StorageError: it can't be written; the former manifest stays.
    """
    content = {
        "format": FORMAT,
        "number": snapshot.number,
        "bound": snapshot.bound.isoformat(),
        "conditions": list(snapshot.conditions),
        "notes": list(snapshot.notes),
        "erased": snapshot.erased,
        "tables": {name: _table_to_json(table) for name, table in snapshot.tables.items()},
    }
    write_json(snapshot.folder / "manifest.json", content)


def open_snapshot(home: Path, database_name: str) -> Snapshot:
    """The last snapshot taken of the database.

    Raises:
        StorageError: there is none, or its manifest can't be read.
    """
    path = home / "snapshot" / database_name / "manifest.json"
    try:
        return _from_manifest(path.parent, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise StorageError(f"no snapshot at {path.parent}; take one with `echotune nightly`") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StorageError(f"{path} can't be read ({error}); `echotune nightly` takes a new one") from None


def remove_strays(snapshot: Snapshot) -> None:
    """Removes what is not of this snapshot: parts and set-aside files of former ones, scratch of killed runs."""
    tables = snapshot.tables
    kept = {snapshot.set_aside_name(name) for name, table in tables.items() if table.set_aside}
    kept |= {part for table in tables.values() for part in table.parts}
    kept |= {table.apart.name for table in tables.values() if table.apart}
    with translated_storage_errors(snapshot.folder):
        for path in snapshot.folder.glob("*/*.parquet*"):
            if path.relative_to(snapshot.folder).as_posix() not in kept:
                path.unlink(missing_ok=True)
        for scratch in snapshot.folder.glob(".manifest.json.*"):
            scratch.unlink(missing_ok=True)


def _table_to_json(table: TableSummary) -> dict[str, Any]:
    spans = [{**asdict(span), "after": span.after.isoformat(), "until": span.until.isoformat()} for span in table.spans]
    return asdict(replace(table, spans=())) | {"spans": spans, "fetched": list(table.fetched)}


def _table_from_json(value: dict[str, Any]) -> TableSummary:
    spans = tuple(
        Span(
            datetime.fromisoformat(span["after"]),
            datetime.fromisoformat(span["until"]),
            span["documents"],
            span["dates"],
            [Part(**part) for part in span["parts"]],
        )
        for span in value["spans"]
    )
    fetched, size = value["fetched"]
    return TableSummary(
        **(
            value
            | {
                "loose": [Part(**part) for part in value["loose"]],
                "apart": Part(**value["apart"]) if value["apart"] else None,
                "spans": spans,
                "fetched": (int(fetched), int(size)),
            }
        )
    )


def _from_manifest(folder: Path, manifest: Any) -> Snapshot:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, not {FORMAT}")
    return Snapshot(
        folder,
        datetime.fromisoformat(manifest["bound"]),
        {source.table: _table_from_json(manifest["tables"][source.table]) for source in SOURCES},
        int(manifest["number"]),
        tuple(manifest["conditions"]),
        tuple(manifest["notes"]),
        manifest["erased"],
    )
