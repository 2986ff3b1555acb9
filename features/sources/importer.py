"""Tables of plays, feedback, tracks or users into MongoDB; what can't be used is set aside, with why."""

import gc
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import SecretStr
from pymongo.database import Database

from features.erasure.tombstones import ERASED, Tombstones, read_tombstones
from features.errors import InputError
from features.progress import Progress, silent
from features.schema.ids import decode_id, encode_id
from features.sources.columns import Faults
from features.sources.documents import TARGETS, Document, to_documents, utc_ms
from features.sources.header import match_columns, parse_mapping
from features.sources.kinds import Kind, Parsed, parse_chunk
from features.sources.rejected import RejectedRows, rejected_rows
from features.sources.tables import Chunk, Malformed, Table, open_table, to_json
from features.sources.writing import write_documents

__all__ = ["ImportTotals", "Kind", "import_rows", "import_table", "parse_mapping"]

NOTHING = "null"
"""Kept of an erased person's row: JSON for nothing."""
Reshape = Callable[[list[Document], Chunk, NDArray[np.intp]], None]
"""Changes documents in place before they are written, given their chunk and the row in it of each."""


@dataclass(frozen=True)
class ImportTotals:
    """What became of a table's rows: `read == imported + already_there + updated + set_aside`, always."""

    kind: Kind
    path: Path
    read: int
    imported: int
    already_there: int
    updated: int
    set_aside: int
    reasons: dict[str, int] = field(default_factory=dict)
    """Rows set aside by reason, most frequent first."""
    rejected_path: Path | None = None
    """The Parquet file of the rows set aside: `line`, `reason` and `row` (as JSON)."""


def import_table(
    database: Database[Document],
    kind: Kind,
    path: Path,
    *,
    home: Path,
    now: datetime,
    mapping: Mapping[str, str] | None = None,
    progress: Progress = silent,
    hash_key: SecretStr | None = None,
) -> ImportTotals:
    """Imports a Parquet, CSV, TSV or JSON-lines file; the same file again adds nothing.

    Rows that can't be used are set aside in `home/rejected`, never lost. Memory is bounded by the
    chunk, and by 8 bytes a row to know repeats.

    Args:
        database: where to.
        kind: what the rows are.
        path: the file; its extension says the format.
        home: the data folder.
        now: written as `importedAt` where a row has none; a row later than it is set aside.
        mapping: from the file's column names to ours, `-` to leave one out (`parse_mapping`).
        progress: called after each chunk, in rows (Parquet) or lines.
        hash_key: by which erased persons are known; needed once there are any.

    Raises:
        InputError: the file as a whole can't be used, or `hash_key`; nothing was written.
        DatabaseError: the database was lost or refuses to be written to; run again to go on.
        StorageError: the rows set aside can't be written.
    """
    table = open_table(path)
    theirs = match_columns(kind, table.columns, mapping or {}, path)
    return import_rows(database, kind, table, theirs, path, home=home, now=now, progress=progress, hash_key=hash_key)


def import_rows(
    database: Database[Document],
    kind: Kind,
    table: Table,
    theirs: Mapping[str, str],
    path: Path,
    *,
    home: Path,
    now: datetime,
    progress: Progress = silent,
    reshape: Reshape | None = None,
    hash_key: SecretStr | None = None,
) -> ImportTotals:
    """Imports an open table whose columns are matched; see `import_table`."""
    read = imported = already_there = updated = 0
    seen = SeenIds()
    with rejected_rows(home, kind, path) as rejected, _collector_paused():
        for chunk in _readable(table, path):
            erased = read_tombstones(database, hash_key)  # each time: somebody may be erased meanwhile
            parsed, faults = parse_chunk(kind, chunk, theirs, now)
            _set_erased_aside(erased, parsed, faults)
            good = np.flatnonzero(~faults.bad)
            documents = _documents(kind, parsed, good, now)
            first = seen.add(documents)
            faults.reasons[good[~first]] = "duplicate of an earlier row"
            good, documents = good[first], [documents[i] for i in np.flatnonzero(first)]
            if reshape is not None:
                reshape(documents, chunk, good)
            outcome = write_documents(database, TARGETS[kind], documents, utc_ms(now))
            for position, reason in outcome.refused:
                faults.reasons[good[position]] = reason
            _set_aside(rejected, chunk, faults.reasons, erased)
            read += len(chunk.lines) + len(chunk.malformed)
            imported += outcome.imported
            already_there += outcome.already_there
            updated += outcome.updated
            progress(f"importing {kind}", chunk.reached, table.total)
    return ImportTotals(
        kind=kind,
        path=path,
        read=read,
        imported=imported,
        already_there=already_there,
        updated=updated,
        set_aside=rejected.reasons.total(),
        reasons=dict(sorted(rejected.reasons.items(), key=lambda item: (-item[1], item[0]))),
        rejected_path=rejected.path,
    )


def _documents(kind: Kind, parsed: Parsed, good: NDArray[np.intp], now: datetime) -> list[Document]:
    if not len(good):
        return []
    return to_documents(kind, {name: values[good] for name, values in parsed.items()}, now)


def _set_erased_aside(erased: Tombstones, parsed: Parsed, faults: Faults) -> None:
    """Gives rows of erased persons that reason whatever else is wrong with them: they are not to be kept anywhere."""
    if erased.hashes and "user_id" in parsed:
        # as it will be stored: str:ann is ann
        texts = [user and encode_id(decode_id(user)) for user in parsed["user_id"].tolist()]
        users = pa.chunked_array([pa.array(texts, pa.string())])
        theirs = erased.mask(users)
        faults.bad |= theirs
        faults.reasons[theirs] = ERASED


def _unless_erased(row: Malformed, erased: Tombstones) -> Malformed:
    """A row that could not be taken apart, or nothing of it where a word of it is an erased person's id."""
    if any(erased.cover(word) for word in set(re.split(r"[^\w:.@-]+", row.row)) if erased.hashes):
        return Malformed(row.line, ERASED, NOTHING)
    return row


def _set_aside(rejected: RejectedRows, chunk: Chunk, reasons: NDArray[np.object_], erased: Tombstones) -> None:
    rows = np.flatnonzero(reasons != None)  # noqa: E711  elementwise
    rejected.add(
        [
            *(_unless_erased(row, erased) for row in chunk.malformed),
            *(
                Malformed(
                    int(chunk.lines[i]), reasons[i], NOTHING if reasons[i] == ERASED else to_json(chunk.row(int(i)))
                )
                for i in rows
            ),
        ]
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No cycle collection: walking a chunk's small documents again and again took a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _readable(table: Table, path: Path) -> Iterator[Chunk]:
    try:
        yield from table.chunks()
    except OSError as error:
        raise InputError(f"{path} can't be read any more ({error.strerror or error}); check the file") from None


class SeenIds:
    """The `_id`s of a file so far, 8 bytes each, in sorted runs that are merged when they are of a size.

    The first 64 bits of a hash stand for the `_id`: among 10 million rows the chance that two different ones
    share them is 1 in 370,000.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, documents: list[Document]) -> NDArray[np.bool_]:
        """Notes the documents; true for each whose `_id` was not there before."""
        if not documents:
            return np.zeros(0, dtype=bool)
        together = b"".join(document["_id"].binary for document in documents)
        parts = np.frombuffer(together, dtype=np.uint8).reshape(-1, 12)[:, :8]
        keys = np.ascontiguousarray(parts).view(np.uint64).ravel()
        first = np.zeros(len(keys), dtype=bool)
        unique, where = np.unique(keys, return_index=True)
        known = np.zeros(len(unique), dtype=bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, unique), len(run) - 1)
            known |= run[at] == unique
        first[where[~known]] = True
        if not known.all():
            self._merge(unique[~known])
        return first

    def _merge(self, run: NDArray[np.uint64]) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
