"""One collection at work: its documents as rows, a batch at a time, and the parts and figures that come of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pymongo import ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database

from features.ahead import in_order
from features.cluster.database import WorkerDatabase
from features.compute.runner import Runner
from features.database import Document, translated_errors
from features.erasure.tombstones import ERASED, Tombstones
from features.progress import Progress
from features.snapshot.fields import Source
from features.snapshot.read import SET_ASIDE_SCHEMA, read_batch, set_aside
from features.snapshot.rules import split
from features.snapshot.spans import PART_ROWS
from features.snapshot.stored import Part, TableSummary, part_name, set_aside_name, write_part
from features.storage import write_parquet

BATCH_DOCUMENTS = 20_000
"""Documents a server batch: large enough for Arrow, small enough that some of them fit into memory."""
READERS = 2
"""Threads that read: while one waits for the server, the other makes rows. More gain nothing where the server or this
process has two cores."""
AHEAD = 8
"""Batches that each of them may be ahead, some 50 MB of plays: as many as are read while a part is written."""
MOST_DOCUMENTS = 1_000_000
"""Of what a worker reads at once: it and this process each hold them, some 300 MB of plays."""

Rows = tuple[int, pa.Table, pa.Table]
"""A batch as its bytes, rows that can be used, and those set aside."""


@dataclass
class Books:
    """One collection while a snapshot reads it.

    Attributes:
        database: where it is.
        source: which, and what of it.
        folder: the snapshot's.
        number: the snapshot's, and that of each part written now.
        bound: what became known later is left for the next snapshot.
        erased: who is let into no part.
        progress: called after each batch.
        readers: threads that read; what comes of it is the same for any number.
        runner: reads where there are several stretches to be read, to the same end; None for nobody.
        aside: documents that can't be used.
        notes: lines for a person.
        documents: how many the server was asked for.
        bytes: of these.
        written: how many parts.
    """

    database: Database[Document]
    source: Source
    folder: Path
    number: int
    bound: datetime
    erased: Tombstones
    progress: Progress
    readers: int = READERS
    runner: Runner | None = None
    aside: list[pa.Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    documents: int = 0
    bytes: int = 0
    written: int = 0

    @property
    def reader(self) -> Collection[Document]:
        """The collection, as it is read."""
        return _to_read(self.database, self.source)

    def no_rows(self) -> pa.Table:
        """An empty table with the columns of the rows."""
        return split(self.source.raw_schema.empty_table(), self.source.table, self.bound)[0]

    def write(self, rows: pa.Table) -> Part:
        """Writes the next part."""
        part = write_part(self.folder, part_name(self.source.table, self.number, self.written), rows)
        self.written += 1
        return part

    def read(self, *queries: Mapping[str, Any], sort: str | None = None) -> Iterator[tuple[pa.Table, pa.Table]]:
        """The documents that meet each query in turn, a batch at a time: usable rows, and those set aside."""
        by_workers = self.runner is not None and len(queries) > 1
        found = self._by_workers(queries, sort) if by_workers else self._by_threads(queries, sort)
        for size, good, bad in found:
            usable, gone = _without_erased(good, self.erased)
            self.bytes += size
            self.documents += good.num_rows + bad.num_rows
            self.progress(f"reading {self.source.collection}", self.documents, None)
            yield _known_by(usable, self.bound), pa.concat_tables([bad, gone])

    def _by_threads(self, queries: Sequence[Mapping[str, Any]], sort: str | None) -> Iterator[Rows]:
        return in_order([partial(self._batches, query, sort) for query in queries], self.readers, AHEAD)

    def _by_workers(self, queries: Sequence[Mapping[str, Any]], sort: str | None) -> Iterator[Rows]:
        """A stretch that is too much for one is read here: nobody but this process takes it batch by batch."""
        assert self.runner is not None
        how = [self.runner.share(WorkerDatabase(self.database)), self.source, self.bound, sort, MOST_DOCUMENTS]
        stretches = self.runner.ordered(read_stretch, how, queries, self.runner.workers + 1)
        for query, stretch in zip(queries, stretches, strict=True):
            yield from self._batches(query, sort) if stretch is None else stretch

    def _batches(self, query: Mapping[str, Any], sort: str | None) -> Iterator[Rows]:
        return _batches(self.reader, self.source, self.bound, query, sort)

    def write_all(self, query: Mapping[str, Any]) -> list[Part]:
        """All documents that meet a query, as parts; those set aside into the books."""
        rows: list[pa.Table] = []
        parts: list[Part] = []
        for good, aside in self.read(query):
            rows.append(good)
            self.aside.append(aside)
            if sum(table.num_rows for table in rows) >= PART_ROWS:
                parts.append(self.write(pa.concat_tables(rows)))
                rows = []
        if any(table.num_rows for table in rows):
            parts.append(self.write(pa.concat_tables(rows)))
        return parts

    def summary(self, loose: list[Part], **of_spans: Any) -> TableSummary:
        """What is known of the collection now, with the parts that hold it; writes what was set aside."""
        self.progress(f"reading {self.source.collection}", self.documents, self.documents)
        aside = pa.concat_tables([SET_ASIDE_SCHEMA.empty_table(), *self.aside])
        if aside.num_rows:
            write_parquet(self.folder / set_aside_name(self.source.table, self.number), aside)
        counted = Counter(aside["reason"].to_pylist())
        reasons = dict(sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])))
        of_parts = [part for span in of_spans.get("spans", ()) for part in span.parts]
        if not loose and not of_parts:
            loose = [self.write(self.no_rows())]  # for the columns
        used = sum(part.rows for part in (*loose, *of_parts))
        fetched = (self.documents, self.bytes)
        return TableSummary(used + aside.num_rows, used, aside.num_rows, reasons, loose, fetched=fetched, **of_spans)


def read_stretch(
    where: WorkerDatabase, source: Source, bound: datetime, sort: str | None, most: int, query: Mapping[str, Any]
) -> list[Rows] | None:
    """The batches of one query, read from wherever this runs; None where they have more than so many documents."""
    documents, found = 0, []
    with translated_errors():
        for batch in _batches(_to_read(where.get(), source), source, bound, query, sort):
            found.append(batch)
            documents += batch[1].num_rows + batch[2].num_rows
            if documents > most:
                return None
    return found


def _batches(
    collection: Collection[Document], source: Source, bound: datetime, query: Mapping[str, Any], sort: str | None
) -> Iterator[Rows]:
    cursor = collection.find_raw_batches(query, source.projection, batch_size=BATCH_DOCUMENTS)
    with closing(cursor):
        for raw in cursor.sort(sort, 1) if sort is not None else cursor:
            batch = read_batch(raw, source)
            good, bad = split(batch.rows, source.table, bound)
            yield len(raw), good, pa.concat_tables([batch.set_aside, bad])


def _to_read(database: Database[Document], source: Source) -> Collection[Document]:
    """A secondary serves when the deployment has one."""
    return database.get_collection(source.collection, read_preference=ReadPreference.SECONDARY_PREFERRED)


def _without_erased(rows: pa.Table, erased: Tombstones) -> tuple[pa.Table, pa.Table]:
    """The rows of people who may be known, and those of others as set aside."""
    if not erased.hashes or "user_id" not in rows.column_names:
        return rows, SET_ASIDE_SCHEMA.empty_table()
    theirs = pa.array(erased.mask(rows["user_id"]))
    gone = rows.filter(theirs)
    known = gone["known_at"] if "known_at" in gone.column_names else None
    return rows.filter(pc.invert(theirs)), set_aside(gone["document_id"], ERASED, known)


def _known_by(rows: pa.Table, bound: datetime) -> pa.Table:
    """The rows known by the bound; the others are left for the next snapshot."""
    if "known_at" not in rows.column_names:
        return rows
    late = pc.greater(rows["known_at"], pa.scalar(bound, rows["known_at"].type))
    return rows.filter(pc.invert(pc.fill_null(late, fill_value=False)))
