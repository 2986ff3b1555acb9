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
from pydantic import SecretStr
from pymongo import ReadPreference
from pymongo.database import Database

from features.database import Document, translated_errors
from features.erasure.tombstones import ERASED, Tombstones, read_tombstones
from features.errors import StorageError
from features.progress import Progress, silent
from features.snapshot.digest import RowDigest
from features.snapshot.fields import SOURCES, Source
from features.snapshot.read import SET_ASIDE_SCHEMA, read_batches
from features.snapshot.rules import FAR_AHEAD, split
from features.storage import translated_storage_errors, write_json, write_parquet

FORMAT = 1
STAMP = "%Y%m%dT%H%M%S%fZ"
PART_ROWS = 1_000_000
NOT_IN_DIGEST = ("known_at",)
"""When a row became known does not change what it says."""
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

    def set_aside_name(self, name: str) -> str:
        """Where the documents set aside from a table are, relative to the folder; there may be none."""
        return f"set_aside/{name}-{self.bound.astimezone(UTC).strftime(STAMP)}.parquet"

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


def take_snapshot(
    database: Database[Document],
    home: Path,
    bound: datetime,
    progress: Progress = silent,
    hash_key: SecretStr | None = None,
) -> Snapshot:
    """Reads every input collection up to `bound` and returns the new snapshot.

    Args:
        database: where to read; a secondary serves when the deployment has one.
        home: `$ECHOTUNE_HOME`.
        bound: aware; plays and feedback known later are left for the next snapshot.
        progress: called after each batch.
        hash_key: by which erased persons are known; needed once there are any.

    Raises:
        InputError: there are erased persons, and the key is missing or another.
        DatabaseError: the database can't be read.
        StorageError: the folder can't be written; the former snapshot stays as it was.
    """
    folder = home / "snapshot" / database.name
    erased = read_tombstones(database, hash_key)
    tables = {source.table: _take_table(database, source, folder, bound, erased, progress) for source in SOURCES}
    snapshot = Snapshot(folder, bound, tables)
    write_manifest(snapshot)
    remove_strays(snapshot)
    return snapshot


def write_manifest(snapshot: Snapshot) -> None:
    """Makes a snapshot's parts the ones that count, in one rename.

    Raises:
        StorageError: it can't be written; the former manifest stays.
    """
    tables = {name: asdict(table) for name, table in snapshot.tables.items()}
    content = {"format": FORMAT, "bound": snapshot.bound.isoformat(), "tables": tables}
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


def _from_manifest(folder: Path, manifest: Any) -> Snapshot:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, not {FORMAT}")
    tables = {source.table: TableSummary(**manifest["tables"][source.table]) for source in SOURCES}
    return Snapshot(folder, datetime.fromisoformat(manifest["bound"]), tables)


def _take_table(
    database: Database[Document],
    source: Source,
    folder: Path,
    bound: datetime,
    erased: Tombstones,
    progress: Progress,
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
        digest, used, read = RowDigest(NOT_IN_DIGEST), 0, 0
        progress(what, 0, total)
        for batch in read_batches(cursor, source):
            good, bad = split(batch.rows, source.table, bound)
            good, gone = _without_erased(good, erased)
            aside += [table for table in (batch.set_aside, bad, gone) if table.num_rows]
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
    """Documents known by the bound; one without that date, or with one that can't be true, is read to be judged."""
    if source.of_type is not None:
        return {"type": source.of_type}
    if not source.known_at:
        return {}
    path = next(field.path for field in source.fields if field.column == source.known_at)
    return {"$or": [{path: {"$lte": bound}}, {path: {"$gt": bound + FAR_AHEAD}}, {path: {"$not": {"$type": "date"}}}]}


def _without_erased(rows: pa.Table, erased: Tombstones) -> tuple[pa.Table, pa.Table]:
    """The rows of people who may be known, and those of others as set aside."""
    if not erased.hashes or "user_id" not in rows.column_names:
        return rows, SET_ASIDE_SCHEMA.empty_table()
    theirs = pa.array(erased.mask(rows["user_id"]))
    ids = rows["document_id"].filter(theirs)
    gone = pa.table([ids, pa.array([ERASED] * len(ids), pa.string())], schema=SET_ASIDE_SCHEMA)
    return rows.filter(pc.invert(theirs)), gone


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


def remove_strays(snapshot: Snapshot) -> None:
    """Removes what is not of this snapshot: parts and set-aside files of former ones, scratch of killed runs."""
    tables = snapshot.tables
    kept = {snapshot.set_aside_name(name) for name, table in tables.items() if table.set_aside}
    kept |= {part for table in tables.values() for part in table.parts}
    with translated_storage_errors(snapshot.folder):
        for path in snapshot.folder.glob("*/*.parquet*"):
            if path.relative_to(snapshot.folder).as_posix() not in kept:
                path.unlink(missing_ok=True)
