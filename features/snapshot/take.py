"""Taking a snapshot: what has become known since the last one into Parquet parts, then the manifest in one rename.

Plays are kept in spans of their import dates (`spans.py`), and only what lies behind the last span is read: late
plays are there, whatever their `playedAt`, since it is the import that counts. Everything else, settings, tracks
and feedback, changes in place and is read whole.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import SecretStr
from pymongo import ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database

from features.database import Document, translated_errors
from features.erasure.tombstones import ERASED, Tombstones, read_tombstones
from features.errors import StorageError
from features.progress import Progress, silent
from features.schema.ids import OBJECT_ID_PREFIX, STRING_PREFIX, decode_id
from features.schema.names import RELEASES
from features.snapshot.fields import SOURCES, Source
from features.snapshot.read import SET_ASIDE_SCHEMA, read_batches, set_aside
from features.snapshot.rules import FAR_AHEAD, split
from features.snapshot.spans import PART_ROWS, SpanCutter, joined
from features.snapshot.stored import (
    Part,
    Snapshot,
    Span,
    TableSummary,
    damage,
    open_snapshot,
    remove_strays,
    set_aside_name,
    write_manifest,
    write_part,
)
from features.storage import write_parquet

BATCH_DOCUMENTS = 20_000
"""Documents a server batch: large enough for Arrow, small enough that one bad document costs little."""
SAFETY_LAG = timedelta(minutes=10)
"""What was imported so shortly before a snapshot is read again by the next: an importer stamps documents before it
writes them, so some of that time may have come after the reading."""
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
IN_LIST = 500


@dataclass
class _Books:
    """One collection at work: where parts go, and what has been read so far."""

    database: Database[Document]
    source: Source
    folder: Path
    number: int
    bound: datetime
    erased: Tombstones
    progress: Progress
    aside: list[pa.Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    documents: int = 0
    bytes: int = 0
    written: int = 0

    @property
    def reader(self) -> Collection[Document]:
        """A secondary serves when the deployment has one."""
        return self.database.get_collection(self.source.collection, read_preference=ReadPreference.SECONDARY_PREFERRED)

    def write(self, rows: pa.Table) -> Part:
        """Writes the next part."""
        name = f"{self.source.table}/{self.number:06d}-{self.written:04d}.parquet"
        self.written += 1
        return write_part(self.folder, name, rows)

    def read(self, query: Mapping[str, Any], sort: str | None = None) -> Iterator[tuple[pa.Table, pa.Table]]:
        """The documents that meet a query, a batch at a time: usable rows, and those set aside."""
        cursor = self.reader.find_raw_batches(query, self.source.projection, batch_size=BATCH_DOCUMENTS)
        if sort is not None:
            cursor.sort(sort, 1)
        for batch in read_batches(self._counted(cursor), self.source):
            good, bad = split(batch.rows, self.source.table, self.bound)
            good, gone = _without_erased(good, self.erased)
            good = _known_by(good, self.bound)
            self.documents += batch.rows.num_rows + batch.set_aside.num_rows
            self.progress(f"reading {self.source.collection}", self.documents, None)
            yield good, pa.concat_tables([batch.set_aside, bad, gone])

    def _counted(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            self.bytes += len(batch)
            yield batch


def take_snapshot(
    database: Database[Document],
    home: Path,
    bound: datetime,
    progress: Progress = silent,
    hash_key: SecretStr | None = None,
    *,
    whole: bool = False,
) -> Snapshot:
    """Reads what has become known since the last snapshot, up to `bound`, and returns the new one.

    Plays that were changed in place since they were read are not noticed; `whole` reads them all again, and so does
    the next snapshot after a migration. Plays that were removed are noticed by their number.

    Args:
        database: where to read; a secondary serves when the deployment has one.
        home: `$ECHOTUNE_HOME`.
        bound: aware; plays and feedback known later are left for the next snapshot.
        progress: called after each batch.
        hash_key: by which erased persons are known; needed once there are any.
        whole: read everything, whatever is there.

    Raises:
        InputError: there are erased persons, and the key is missing or another.
        DatabaseError: the database can't be read.
        StorageError: the folder can't be written; the former snapshot stays as it was.
    """
    folder = home / "snapshot" / database.name
    bound = bound.replace(microsecond=bound.microsecond // 1000 * 1000)  # as the database keeps dates
    erased = read_tombstones(database, hash_key)
    conditions = _migrations(database)
    former, notes = (None, []) if whole else _former(home, database.name, conditions)
    number = _next_number(folder)
    tables: dict[str, TableSummary] = {}
    for source in SOURCES:
        books = _Books(database, source, folder, number, bound, erased, progress)
        with translated_errors():
            if source.in_spans:
                tables[source.table] = _take_spans(books, former.tables[source.table] if former else None)
            else:
                tables[source.table] = _take_whole(books)
        notes += books.notes
    snapshot = Snapshot(folder, bound, tables, number, conditions, tuple(notes))
    write_manifest(snapshot)
    remove_strays(snapshot)
    return snapshot


def _former(home: Path, database_name: str, conditions: tuple[str, ...]) -> tuple[Snapshot | None, list[str]]:
    """The last snapshot, to go on from; or None, and why not where a person should know."""
    if not (home / "snapshot" / database_name / "manifest.json").exists():
        return None, []
    try:
        former = open_snapshot(home, database_name)
    except StorageError as error:
        return None, [str(error)]
    if former.conditions != conditions:
        return None, ["a migration has run since the last snapshot: all plays are read anew"]
    return former, []


def _next_number(folder: Path) -> int:
    """Higher than that of any part there, so that nothing is written over."""
    numbers = [path.stem.partition("-")[0] for path in folder.glob("*/[0-9]*.parquet")]
    return max((int(text) for text in numbers if text.isdigit()), default=0) + 1


def _migrations(database: Database[Document]) -> tuple[str, ...]:
    """The migrations that have changed documents: which, and when."""
    with translated_errors():
        found = database[RELEASES].find(
            {"_id": {"$gte": "migration:", "$lt": "migration;"}}, {"startedAt": 1, "finishedAt": 1}
        )
        return tuple(sorted(f"{e['_id']} {e.get('startedAt')} {e.get('finishedAt')}" for e in found.hint("_id_")))


def _take_whole(books: _Books) -> TableSummary:
    loose = _write_all(books, _known_up_to(books.source, books.bound))
    books.progress(f"reading {books.source.collection}", books.documents, books.documents)
    return _summary(books, loose)


def _known_up_to(source: Source, bound: datetime) -> dict[str, Any]:
    """Documents known by the bound; one without that date, or with one that can't be true, is read to be judged."""
    if source.of_type is not None:
        return {"type": source.of_type}
    if not source.known_at:
        return {}
    path = source.known_path
    return {"$or": [{path: {"$lte": bound}}, {path: {"$gt": bound + FAR_AHEAD}}, {path: {"$not": {"$type": "date"}}}]}


def _write_all(books: _Books, query: Mapping[str, Any]) -> list[Part]:
    """All documents that meet a query, as parts; those set aside into the books."""
    rows: list[pa.Table] = []
    parts: list[Part] = []
    for good, aside in books.read(query):
        rows.append(good)
        books.aside.append(aside)
        if sum(table.num_rows for table in rows) >= PART_ROWS:
            parts.append(books.write(pa.concat_tables(rows)))
            rows = []
    if any(table.num_rows for table in rows):
        parts.append(books.write(pa.concat_tables(rows)))
    return parts


def _no_rows(books: _Books) -> pa.Table:
    return split(books.source.raw_schema.empty_table(), books.source.table, books.bound)[0]


def _summary(books: _Books, loose: list[Part], **of_spans: Any) -> TableSummary:
    aside = pa.concat_tables([SET_ASIDE_SCHEMA.empty_table(), *books.aside])
    if aside.num_rows:
        write_parquet(books.folder / set_aside_name(books.source.table, books.number), aside)
    counted = Counter(aside["reason"].to_pylist())
    reasons = dict(sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])))
    spans: tuple[Span, ...] = of_spans.get("spans", ())
    if not loose and not any(span.parts for span in spans):
        loose = [books.write(_no_rows(books))]  # for the columns
    used = sum(part.rows for part in (*loose, *(part for span in spans for part in span.parts)))
    fetched = (books.documents, books.bytes)
    return TableSummary(used + aside.num_rows, used, aside.num_rows, reasons, loose, fetched=fetched, **of_spans)


# --- plays, in spans


def _take_spans(books: _Books, former: TableSummary | None) -> TableSummary:
    """Plays: spans that are still as they were, spans read now, and what no span can hold."""
    settled = books.bound - SAFETY_LAG
    kept = _undamaged(books, former, settled)
    fresh, apart = _read_spans(books, _gaps(kept, settled))
    loose = [
        *_write_all(books, _imported(books, settled, books.bound)),
        *_write_all(books, {books.source.known_path: {"$not": {"$gt": EARLIEST}}}),
        *_write_all(books, {books.source.known_path: {"$gt": books.bound + FAR_AHEAD}}),
    ]
    still = _of_the_same_number(books, kept, books.documents + _documents(kept))
    more, more_apart = _read_spans(books, _gaps([*still, *fresh], settled))
    spans = sorted([*still, *fresh, *more], key=lambda span: span.until)
    again, known_apart = _judge_again(books, former, still)
    books.progress(f"reading {books.source.collection}", books.documents, books.documents)
    return _summary(
        books,
        [*loose, *again],
        spans=joined(spans, lambda parts: _join(books, parts)),
        apart=_write_apart(books, [*known_apart, *apart, *more_apart]),
    )


def _undamaged(books: _Books, former: TableSummary | None, settled: datetime) -> list[Span]:
    """The former spans that can be gone on with; of the others a note, where a person should know."""
    if former is None:
        return []
    if former.apart and (what := damage(books.folder, former.apart)):
        books.notes.append(f"snapshot file {former.apart.name} {what}: all plays are read anew")
        return []
    unasked = _imported_when(_not_to_be_asked_for(books, former))
    kept = []
    for span in former.spans:
        faults = [f"{part.name} {what}" for part in span.parts if (what := damage(books.folder, part))]
        if faults:
            books.notes.append(f"snapshot file {faults[0]}: {_named(span)} are read anew")
        elif (
            span.until <= settled
            and not any(_holds_erased(books, part) for part in span.parts)
            and not any(span.after < moment <= span.until for moment in unasked)
        ):
            kept.append(span)
    return kept


def _apart(books: _Books, former: TableSummary) -> pa.Table:
    if former.apart is None:
        return SET_ASIDE_SCHEMA.empty_table()
    return pq.read_table(books.folder / former.apart.name, schema=SET_ASIDE_SCHEMA)


def _not_to_be_asked_for(books: _Books, former: TableSummary) -> pa.Table:
    """Of the documents to be judged again those whose `_id`, neither text nor ObjectId, can't be had from its text."""
    apart = _apart(books, former)
    tagged = pc.or_(
        pc.starts_with(apart["document_id"], OBJECT_ID_PREFIX), pc.starts_with(apart["document_id"], STRING_PREFIX)
    )
    return apart.filter(pc.and_(pc.match_substring_regex(apart["document_id"], r"^\w+:"), pc.invert(tagged)))


def _imported_when(aside: pa.Table) -> list[datetime]:
    return list(aside["imported_at"].unique().to_pylist())


def _named(span: Span) -> str:
    return f"the {span.documents:,} plays imported up to {span.until:%Y-%m-%d %H:%M}"


def _holds_erased(books: _Books, part: Part) -> bool:
    """Whether a part has rows of a person erased since, as on a machine that the erasure did not reach."""
    if not books.erased.hashes:
        return False
    return bool(books.erased.mask(pq.read_table(books.folder / part.name, columns=["user_id"])["user_id"]).any())


def _gaps(spans: Iterable[Span], settled: datetime) -> list[tuple[datetime, datetime]]:
    """What lies between the spans, from the earliest moment to the settled one."""
    gaps, after = [], EARLIEST
    for span in sorted(spans, key=lambda span: span.until):
        if span.after > after:
            gaps.append((after, span.after))
        after = span.until
    return [*gaps, (after, settled)] if settled > after else gaps


def _imported(books: _Books, after: datetime, until: datetime) -> dict[str, Any]:
    return {books.source.known_path: {"$gt": after, "$lte": until}}


def _read_spans(books: _Books, gaps: Iterable[tuple[datetime, datetime]]) -> tuple[list[Span], list[pa.Table]]:
    """The spans of some stretches of time, and the documents of them that were set aside."""
    spans: list[Span] = []
    apart: list[pa.Table] = []
    for after, until in gaps:
        cutter = SpanCutter(after, books.write, _no_rows(books))
        for good, aside in books.read(_imported(books, after, until), sort=books.source.known_path):
            cutter.add(good, aside)
            apart.append(aside)
        spans += cutter.finish(until)
    books.aside += apart
    return spans, apart


def _documents(spans: Iterable[Span]) -> int:
    return sum(span.documents for span in spans)


def _of_the_same_number(books: _Books, kept: list[Span], known: int) -> list[Span]:
    """Those of the kept spans that have as many documents in the database as when they were read.

    Counting each costs a walk over its index entries, so the whole collection's number is looked at first. Where
    as many plays were removed as came in behind the safety lag, between two snapshots, it would not tell.
    """
    if not kept:
        return []
    path = books.source.known_path
    later = {path: {"$gt": books.bound, "$lte": books.bound + FAR_AHEAD}}
    if books.reader.estimated_document_count() == known + books.reader.count_documents(later):
        return kept
    still = []
    for span in kept:
        now = books.reader.count_documents(_imported(books, span.after, span.until))
        if now == span.documents:
            still.append(span)
        else:
            what = f"{span.documents - now:,} fewer" if now < span.documents else f"{now - span.documents:,} more"
            books.notes.append(f"of {_named(span)} there are {what} now: they are read anew")
    return still


def _judge_again(books: _Books, former: TableSummary | None, still: list[Span]) -> tuple[list[Part], list[pa.Table]]:
    """What was set aside when its span was read, judged once more: mended meanwhile, or no longer in the future.

    Returns:
        The part of those that can be used now, and all of them, for the next snapshot.
    """
    if former is None or not still:
        return [], []
    table = _apart(books, former)
    moments = table["imported_at"]
    mine = [
        table.filter(pc.and_(pc.greater(moments, _scalar(span.after)), pc.less_equal(moments, _scalar(span.until))))
        for span in still
    ]
    apart = pa.concat_tables([SET_ASIDE_SCHEMA.empty_table(), *mine])
    ids = [decode_id(text) for text in apart["document_id"].to_pylist()]
    usable, aside = [_no_rows(books)], [SET_ASIDE_SCHEMA.empty_table()]
    for start in range(0, len(ids), IN_LIST):
        for good, bad in books.read({"_id": {"$in": ids[start : start + IN_LIST]}}):
            usable.append(good)
            aside.append(bad)
    good = _imported_as_noted(pa.concat_tables(usable), "known_at", apart)
    bad = _imported_as_noted(pa.concat_tables(aside), "imported_at", apart)
    books.aside.append(bad)
    return [books.write(good)] if good.num_rows else [], [apart]


def _imported_as_noted(rows: pa.Table, column: str, apart: pa.Table) -> pa.Table:
    """Rows of documents that still have the import date they were noted with; others are in another span now."""
    noted = apart["imported_at"].take(pc.index_in(rows["document_id"], apart["document_id"].combine_chunks()))
    return rows.filter(pc.fill_null(pc.equal(rows[column], noted), fill_value=False))


def _write_apart(books: _Books, apart: Sequence[pa.Table]) -> Part | None:
    together = pa.concat_tables([SET_ASIDE_SCHEMA.empty_table(), *apart])
    if not together.num_rows:
        return None
    return write_part(books.folder, f"apart/{books.source.table}-{books.number:06d}.parquet", together)


def _join(books: _Books, parts: list[Part]) -> list[Part]:
    if len(parts) < 2:
        return parts
    rows = pa.concat_tables([pq.read_table(books.folder / part.name) for part in parts])
    return [books.write(rows)]


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, SET_ASIDE_SCHEMA.field("imported_at").type)


# --- rows


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
