"""Plays, from night to night: spans still as they were are kept, what lies between and behind them is read.

It is the import that counts: a late play is behind the last span, whatever its `playedAt`.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.erasure.tombstones import Tombstones
from features.schema.ids import decode_id
from features.snapshot.books import Books
from features.snapshot.read import OTHER_ID, SET_ASIDE_SCHEMA
from features.snapshot.rules import FAR_AHEAD
from features.snapshot.spans import DATES_MODULO, SpanCutter, joined
from features.snapshot.stored import Part, Span, TableSummary, damage, part_name, write_part

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
IN_LIST = 500
STRETCHED_DOCUMENTS = 200_000
"""Of fewer, a whole reading is one query for all."""
WEEK, DAY = timedelta(weeks=1), timedelta(days=1)
WEEKS, DAYS = 150, 1050
MANY_DOCUMENTS = 50_000_000
"""Of more, stretches are days: in a week there would be more than a worker should hold."""
ASKED_FOR = 50_000
"""The newest spans, up to so many documents or as many as are new, are looked at each time."""


def take_plays(books: Books, settled: datetime, former: TableSummary | None, erased_since: Tombstones) -> TableSummary:
    """Plays: spans that are still as they were, spans read now, and what no span can hold.

    Args:
        books: of the plays.
        settled: the end of the spans; what was imported later is read again by the next snapshot.
        former: what the last one has of them; None where they are all to be read.
        erased_since: who may be in its parts and is to be in none.
    """
    kept = _undamaged(books, former, settled, erased_since)
    fresh, apart = _read_spans(books, kept, settled)
    loose = [
        *books.write_all(_imported(books, settled, books.bound)),
        *books.write_all({books.source.known_path: {"$gt": books.bound + FAR_AHEAD}}),
    ]
    listed = _has_undated(books.aside)
    before = books.documents
    loose += books.write_all({books.source.known_path: None})
    others = _documents(fresh) + books.documents - before
    suspected = former is not None and _has_odd(books, former)
    still, odd = _unchanged(books, kept, others, settled, suspected=suspected)
    more, more_apart = _read_spans(books, [*still, *fresh], settled)
    listed = listed or _has_undated(more_apart)
    # a number counts a play with a list of dates twice, so it can hide an odd one
    loose += _read_odd(books) if odd is None and listed else odd or []
    again, known_apart = _judge_again(books, former, still)
    loose += again
    found = sorted([*still, *fresh, *more], key=lambda span: span.until)
    if listed:
        return _without_spans(books, loose, found)
    return books.summary(
        loose,
        spans=joined(found, lambda parts: _join(books, parts)),
        apart=_write_apart(books, [*known_apart, *apart, *more_apart]),
    )


# --- what is kept of the last snapshot


def _undamaged(books: Books, former: TableSummary | None, settled: datetime, erased_since: Tombstones) -> list[Span]:
    """The former spans that can be gone on with; of the others a note, where a person should know."""
    if former is None:
        return []
    if former.apart and (what := damage(books.folder, former.apart)):
        books.notes.append(f"snapshot file {former.apart.name} {what}: all plays are read anew")
        return []
    unasked = _imported_when(_not_to_be_asked_for(_apart(books, former)))
    kept = []
    for span in former.spans:
        faults = [f"{part.name} {what}" for part in span.parts if (what := damage(books.folder, part))]
        if faults:
            books.notes.append(f"snapshot file {faults[0]}: {_named(span)} are read anew")
        elif (
            span.until <= settled
            and not any(span.after < moment <= span.until for moment in unasked)
            and not any(_holds(books, part, erased_since) for part in span.parts)
        ):
            kept.append(span)
    return kept


def _apart(books: Books, former: TableSummary) -> pa.Table:
    if former.apart is None:
        return SET_ASIDE_SCHEMA.empty_table()
    return pq.read_table(books.folder / former.apart.name, schema=SET_ASIDE_SCHEMA)


def _not_to_be_asked_for(apart: pa.Table) -> pa.Table:
    """Of the documents to be judged again those whose `_id`, neither text nor ObjectId, can't be had from its text."""
    return apart.filter(pc.match_substring_regex(apart["document_id"], OTHER_ID))


def _imported_when(aside: pa.Table) -> list[datetime]:
    return list(aside["imported_at"].unique().to_pylist())


def _named(span: Span) -> str:
    return f"the {span.documents:,} plays imported up to {span.until:%Y-%m-%d %H:%M}"


def _holds(books: Books, part: Part, erased: Tombstones) -> bool:
    """Whether a part has rows of someone erased, as on a machine that the erasure did not reach."""
    if not erased.hashes:
        return False
    return bool(erased.mask(pq.read_table(books.folder / part.name, columns=["user_id"])["user_id"]).any())


def _unchanged(
    books: Books, kept: list[Span], others: int, settled: datetime, *, suspected: bool
) -> tuple[list[Span], list[Part] | None]:
    """Those of the kept spans that have the documents in the database that they had when they were read.

    To ask is a walk over a span's index entries. The newest, to which a slow import may still have added, are asked
    for each time; the older ones only where the collection's number tells that one of them has changed. Nor is it asked
    otherwise for odd documents, which have something else in the place of their import date and which a simple planner
    looks for in all of the collection. The number does not tell where as many plays were removed from the older ones
    as were added to them, or came as the first odd ones.

    Args:
        books: of the plays.
        kept: the spans in question, oldest first.
        others: how many documents are in no kept span and were known before the safety lag, or bear no date.
        settled: the end of the spans.
        suspected: whether there were odd documents the last time.

    Returns:
        The spans, and parts with what can be used of the odd documents; None where these were not asked for.
    """
    newest = _newest(kept, max(others, ASKED_FOR))
    older = kept[: len(kept) - len(newest)]
    still, now = _as_they_were(books, newest)
    if kept and not suspected and _add_up(books, _documents(older) + now + others, settled):
        return [*older, *still], None
    before = books.documents
    odd = _read_odd(books)
    others += books.documents - before
    other_number = suspected or books.documents > before
    if kept and other_number and _add_up(books, _documents(older) + now + others, settled):
        return [*older, *still], odd
    return [*_as_they_were(books, older)[0], *still], odd


def _read_odd(books: Books) -> list[Part]:
    return books.write_all({books.source.known_path: {"$not": {"$gt": EARLIEST}, "$ne": None}})


def _add_up(books: Books, documents: int, settled: datetime) -> bool:
    """Whether so many documents, and those known after the spans' end, are all that the collection has."""
    unsettled = {books.source.known_path: {"$gt": settled}}
    # an import may be at work: the number of all is between those before and after it
    least = books.reader.count_documents(unsettled)
    behind = books.reader.estimated_document_count() - documents
    return least <= behind <= books.reader.count_documents(unsettled)


def _has_odd(books: Books, former: TableSummary) -> bool:
    return any(reason.startswith(f"{books.source.known_path} is of type") for reason in former.reasons)


def _newest(kept: list[Span], documents: int) -> list[Span]:
    """The last spans, as many as hold no more than so many documents together."""
    for position in range(len(kept) - 1, -1, -1):
        documents -= kept[position].documents
        if documents < 0:
            return kept[position + 1 :]
    return kept


def _as_they_were(books: Books, kept: Sequence[Span]) -> tuple[list[Span], int]:
    """Those of some spans that are, with a note for each other; and how many documents all of them have now."""
    still, total = [], 0
    for span in kept:
        now, dates = _state(books, span)
        total += now
        if (now, dates) == (span.documents, span.dates):
            still.append(span)
        else:
            more = now - span.documents
            what = f"{-more:,} fewer" if more < 0 else f"{more:,} more" if more else "others"
            books.notes.append(f"of {_named(span)} there are {what} now: they are read anew")
    return still, total


def _state(books: Books, span: Span) -> tuple[int, int]:
    """How many documents the database has in a span, and the sum of their dates."""
    path = books.source.known_path
    found = books.reader.aggregate(
        [
            {"$match": _imported(books, span.after, span.until)},
            {"$group": {"_id": None, "documents": {"$sum": 1}, "dates": {"$sum": _remainder(path)}}},
        ]
    )
    return next(((int(entry["documents"]), int(entry["dates"])) for entry in found), (0, 0))


def _remainder(path: str) -> dict[str, Any]:
    """The server's side of `sum_of_dates`, for one date; a list of dates, which is no date, adds nothing."""
    moment = {"$convert": {"input": f"${path}", "to": "long", "onError": 0, "onNull": 0}}
    return {"$mod": [moment, DATES_MODULO]}


def _documents(of: Iterable[Span]) -> int:
    return sum(span.documents for span in of)


# --- what is read


def _gaps(between: Iterable[Span], settled: datetime) -> list[tuple[datetime, datetime]]:
    """What lies between the spans, from the earliest moment to the settled one."""
    gaps, after = [], EARLIEST
    for span in sorted(between, key=lambda span: span.until):
        if span.after > after:
            gaps.append((after, span.after))
        after = span.until
    return [*gaps, (after, settled)] if settled > after else gaps


def _imported(books: Books, after: datetime, until: datetime) -> dict[str, Any]:
    return {books.source.known_path: {"$gt": after, "$lte": until}}


def _read_spans(books: Books, between: Sequence[Span], settled: datetime) -> tuple[list[Span], list[pa.Table]]:
    """What lies between the spans as spans, and the documents of them that were set aside."""
    found: list[Span] = []
    apart: list[pa.Table] = []
    documents = None if between else books.reader.estimated_document_count()
    for after, until in _gaps(between, settled):
        cutter = SpanCutter(after, books.write, books.no_rows())
        bounds = [after, until] if documents is None else _stretches(after, until, documents)
        queries = [_imported(books, *ends) for ends in pairwise(bounds)]
        for good, aside in books.read(*queries, sort=books.source.known_path):
            cutter.add(good, aside.filter(pc.is_valid(aside["imported_at"])))
            apart.append(aside)
        found += cutter.finish(until)
    books.aside += apart
    return found, apart


def _stretches(after: datetime, until: datetime, documents: int) -> list[datetime]:
    """Weeks into which a stretch of time is cut, so that several can be read at once; what is years ago is one.

    Of few documents there is one stretch, of very many each is a day. Otherwise they don't depend on who reads nor on
    what there is: to ask for the first import is a walk over all of the index where the server's planner is a simple
    one, and an empty week costs nothing.

    Returns:
        Moments from the first to the last.
    """
    if documents < STRETCHED_DOCUMENTS:
        return [after, until]
    step, count = (WEEK, WEEKS) if documents < MANY_DOCUMENTS else (DAY, DAYS)
    moments = [until - step * number for number in range(count, 0, -1)]
    return [after, *(moment for moment in moments if moment > after), until]


def _judge_again(books: Books, former: TableSummary | None, still: list[Span]) -> tuple[list[Part], list[pa.Table]]:
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
    usable, aside = [books.no_rows()], [SET_ASIDE_SCHEMA.empty_table()]
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


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, SET_ASIDE_SCHEMA.field("imported_at").type)


# --- what is written


def _write_apart(books: Books, apart: Sequence[pa.Table]) -> Part | None:
    together = pa.concat_tables([SET_ASIDE_SCHEMA.empty_table(), *apart])
    if not together.num_rows:
        return None
    return write_part(books.folder, part_name("apart", books.number), together)


def _join(books: Books, parts: list[Part]) -> list[Part]:
    if len(parts) < 2:
        return parts
    rows = pa.concat_tables([pq.read_table(books.folder / part.name) for part in parts])
    return [books.write(rows)]


def _has_undated(aside: Iterable[pa.Table]) -> bool:
    return any(table["imported_at"].null_count for table in aside)


def _without_spans(books: Books, loose: list[Part], found: Iterable[Span]) -> TableSummary:
    """Where an import date is a list of dates: such a play is of no one span, and a query may meet it twice."""
    books.notes.append("there are plays with a list of import dates: all are read anew each time until that is mended")
    aside = pa.concat_tables(books.aside)
    undated = pc.is_null(aside["imported_at"])
    once = aside.filter(undated).group_by(["document_id", "reason"]).aggregate([])
    none = pa.nulls(once.num_rows, SET_ASIDE_SCHEMA.field("imported_at").type)
    books.aside = [aside.filter(pc.invert(undated)), once.append_column("imported_at", none)]
    return books.summary([*loose, *(part for span in found for part in span.parts)])
