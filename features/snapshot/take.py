"""Taking a snapshot: each collection up to the bound into Parquet parts, then the manifest in one rename.

On disk, under `$ECHOTUNE_HOME/snapshot/<database>/`: `plays/<bound>-0000.parquet` and so on for each table,
`set_aside/<table>-<bound>.parquet`, and `manifest.json`, which names the parts that count. A part the manifest
does not name does not exist for a reader, so an interrupted run leaves the former snapshot as it was.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pymongo import ReadPreference
from pymongo.database import Database

from features.database import Document, translated_errors
from features.errors import StorageError
from features.progress import Progress, silent
from features.snapshot.digest import RowDigest
from features.snapshot.fields import SOURCES, Source
from features.snapshot.read import SET_ASIDE_SCHEMA, read_batches
from features.snapshot.rules import split
from features.storage import translated_storage_errors, write_json, write_parquet

FORMAT = 1
STAMP = "%Y%m%dT%H%M%S%fZ"
PART_ROWS = 1_000_000
BATCH_DOCUMENTS = 20_000
"""Documents a server batch: large enough for Arrow, small enough that one bad document costs little."""


@dataclass(frozen=True)
class TableSummary:
    """What became of one collection: read = used + set aside."""

    read: int
    used: int
    set_aside: int
    reasons: dict[str, int]
    digest: str
    """Identifies the used rows whatever their order: equal content, equal digest."""
    parts: list[str]


@dataclass(frozen=True)
class Snapshot:
    """Everything known up to `bound`, on disk."""

    folder: Path
    bound: datetime
    tables: dict[str, TableSummary]

    @property
    def digest(self) -> str:
        """Identifies the content of all tables together."""
        text = json.dumps({name: table.digest for name, table in sorted(self.tables.items())})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One table as Arrow, the parts one after the other.

        Raises:
            StorageError: a part is gone or damaged.
        """
        parts = [str(self.folder / part) for part in self.tables[name].parts]
        try:
            return ds.dataset(parts, format="parquet").to_table(columns=columns)
        except (OSError, pa.ArrowException) as error:
            what = str(error).splitlines()[0]
            raise StorageError(f"{name} of {self.folder} can't be read ({what}); take a new snapshot") from error


def take_snapshot(database: Database[Document], home: Path, bound: datetime, progress: Progress = silent) -> Snapshot:
    """Reads every input collection up to `bound` and returns the new snapshot.

    Args:
        database: where to read; a secondary serves when the deployment has one.
        home: `$ECHOTUNE_HOME`.
        bound: aware; plays and feedback known later are left for the next snapshot.
        progress: called after each batch.

    Raises:
        DatabaseError: the database can't be read.
        StorageError: the folder can't be written; the former snapshot stays as it was.
    """
    folder = home / "snapshot" / database.name
    tables = {source.table: _take_table(database, source, folder, bound, progress) for source in SOURCES}
    snapshot = Snapshot(folder, bound, tables)
    write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            "bound": bound.isoformat(),
            "tables": {name: asdict(table) for name, table in tables.items()},
        },
    )
    _remove_strays(snapshot)
    return snapshot


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


def _from_manifest(folder: Path, manifest: Any) -> Snapshot:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, not {FORMAT}")
    tables = {source.table: TableSummary(**manifest["tables"][source.table]) for source in SOURCES}
    return Snapshot(folder, datetime.fromisoformat(manifest["bound"]), tables)


def _take_table(
    database: Database[Document], source: Source, folder: Path, bound: datetime, progress: Progress
) -> TableSummary:
    stamp = bound.astimezone(UTC).strftime(STAMP)
    what = f"reading {source.collection}"
    reader = database.get_collection(source.collection, read_preference=ReadPreference.SECONDARY_PREFERRED)
    query = _known_up_to(source, bound)
    with translated_errors():
        # an estimate costs nothing; an exact count would walk the index once more
        total = reader.estimated_document_count()
        cursor = reader.find_raw_batches(query, source.projection, batch_size=BATCH_DOCUMENTS)
        rows: list[pa.Table] = []
        parts: list[str] = []
        aside: list[pa.Table] = []
        digest, used, read = RowDigest(leave_out=("known_at",)), 0, 0
        progress(what, 0, total)
        for batch in read_batches(cursor, source):
            good, bad = split(batch.rows, source.table, bound)
            aside += [table for table in (batch.set_aside, bad) if table.num_rows]
            good, later = _known_by(good, bound)
            read += batch.rows.num_rows + batch.set_aside.num_rows - later
            used += good.num_rows
            digest.add(good)
            rows.append(good)
            progress(what, read, max(total, read))
            if sum(table.num_rows for table in rows) >= PART_ROWS:
                parts.append(_write_part(folder, source.table, stamp, len(parts), rows))
                rows = []
        if rows or not parts:
            empty, _ = split(source.raw_schema.empty_table(), source.table, bound)
            parts.append(_write_part(folder, source.table, stamp, len(parts), rows or [empty]))
    set_aside = pa.concat_tables([SET_ASIDE_SCHEMA.empty_table(), *aside])
    if set_aside.num_rows:
        write_parquet(folder / "set_aside" / f"{source.table}-{stamp}.parquet", set_aside)
    reasons = dict(Counter(set_aside["reason"].to_pylist()).most_common())
    return TableSummary(read, used, set_aside.num_rows, reasons, digest.hex(), parts)


def _known_up_to(source: Source, bound: datetime) -> dict[str, Any]:
    """Documents known by the bound; one without that date is read too, and judged by its other dates."""
    if source.of_type is not None:
        return {"type": source.of_type}
    if not source.known_at:
        return {}
    path = next(field.path for field in source.fields if field.column == source.known_at)
    return {"$or": [{path: {"$lte": bound}}, {path: {"$not": {"$type": "date"}}}]}


def _known_by(rows: pa.Table, bound: datetime) -> tuple[pa.Table, int]:
    """The rows known by the bound, and how many are left for the next snapshot."""
    if "known_at" not in rows.column_names:
        return rows, 0
    late = pc.greater(rows["known_at"], pa.scalar(bound, rows["known_at"].type))
    known = rows.filter(pc.invert(pc.fill_null(late, fill_value=False)))
    return known, rows.num_rows - known.num_rows


def _write_part(folder: Path, table: str, stamp: str, number: int, rows: list[pa.Table]) -> str:
    name = f"{table}/{stamp}-{number:04d}.parquet"
    write_parquet(folder / name, pa.concat_tables(rows))
    return name


def _remove_strays(snapshot: Snapshot) -> None:
    """Removes what is not of this snapshot: parts and set-aside files of former ones, scratch of killed runs."""
    stamp = snapshot.bound.astimezone(UTC).strftime(STAMP)
    tables = snapshot.tables
    kept = {f"set_aside/{name}-{stamp}.parquet" for name, table in tables.items() if table.set_aside}
    kept |= {part for table in tables.values() for part in table.parts}
    with translated_storage_errors(snapshot.folder):
        for path in snapshot.folder.glob("*/*.parquet*"):
            if path.relative_to(snapshot.folder).as_posix() not in kept:
                path.unlink(missing_ok=True)
