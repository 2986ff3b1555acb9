"""Spans of plays: cut while they are read in the order of their import, joined when there are many small ones."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.snapshot.read import SET_ASIDE_SCHEMA
from features.snapshot.stored import Part, Span

Writer = Callable[[pa.Table], Part]
"""Writes some rows as the next part."""
PART_ROWS = 1_000_000
GROWTH = 2
"""A span is joined with the one before when that has at most so many times as many documents. A play is then
written again a number of times that grows with the logarithm of the history, and so does the number of spans."""
DATES_MODULO = 2**31 - 1
"""What is added up of a date is its remainder, so that a server's 64 bits hold the sum of any number of them."""


def sum_of_dates(moments: pa.ChunkedArray) -> int:
    """The sum of dates in milliseconds since 1970, each modulo `DATES_MODULO` with its sign, as `$mod` of MongoDB does.

    Tells plays that were removed and others that were added in their place from plays that stayed.
    """
    return int(np.fmod(moments.cast(pa.int64()).to_numpy(), DATES_MODULO).sum())


class SpanCutter:
    """Cuts plays that come in the order of their import dates into spans of about `PART_ROWS` documents.

    Every document of a moment is in one span, and what could not be used counts among the documents of its span,
    so that the database can be asked later whether a span is still what it was.

    Args:
        after: the first span begins behind this moment.
        write: writes a part.
        no_rows: an empty table of the rows to come.
    """

    def __init__(self, after: datetime, write: Writer, no_rows: pa.Table) -> None:
        self._after = after
        self._write = write
        self._rows = [no_rows]
        self._aside = [SET_ASIDE_SCHEMA.empty_table()]
        self._parts: list[Part] = []
        self._written = self._dates = 0  # of the span at work, what is in its parts already
        self.spans: list[Span] = []

    def add(self, rows: pa.Table, aside: pa.Table) -> None:
        """Takes in a batch.

        Args:
            rows: usable ones, with `known_at`, their import date.
            aside: documents that can't be used, with `imported_at`.
        """
        self._rows.append(rows)
        self._aside.append(aside)
        if _number(self._rows) + _number(self._aside) < PART_ROWS:
            return
        moments = pc.unique(pa.chunked_array([*_chunks(self._rows, "known_at"), *_chunks(self._aside, "imported_at")]))
        if len(moments) > 1:  # the last moment may go on in the next batch
            self._cut(pc.max(moments.filter(pc.not_equal(moments, pc.max(moments)))).as_py())
        elif _number(self._rows) >= PART_ROWS:  # a bulk import: one span however large, in several parts
            self._flush(pa.concat_tables(self._rows))
            self._rows = [self._rows[0].slice(0, 0)]

    def finish(self, until: datetime) -> list[Span]:
        """The last span ends at `until`, if that is later than the one before; returns all of them."""
        if until > self._after:
            self._cut(until)
        return self.spans

    def _cut(self, until: datetime) -> None:
        """Ends the span at work at `until`; what is later is of the next."""
        until = until.astimezone(UTC)
        mine, rest = _divided(self._rows, "known_at", until)
        aside, other = _divided(self._aside, "imported_at", until)
        if mine.num_rows:
            self._flush(mine)
        dates = self._dates + sum_of_dates(aside["imported_at"])
        self.spans.append(Span(self._after, until, self._written + aside.num_rows, dates, self._parts))
        self._after, self._written, self._dates, self._parts = until, 0, 0, []
        self._rows, self._aside = [rest], [other]

    def _flush(self, rows: pa.Table) -> None:
        self._parts.append(self._write(rows))
        self._written += rows.num_rows
        self._dates += sum_of_dates(rows["known_at"])


def _number(tables: Iterable[pa.Table]) -> int:
    return sum(table.num_rows for table in tables)


def _chunks(tables: Iterable[pa.Table], name: str) -> list[pa.Array]:
    return [chunk for table in tables for chunk in table[name].chunks]


def _divided(tables: list[pa.Table], column: str, until: datetime) -> tuple[pa.Table, pa.Table]:
    together = pa.concat_tables(tables)
    earlier = pc.less_equal(together[column], pa.scalar(until, together[column].type))
    return together.filter(earlier), together.filter(pc.invert(earlier))


def joined(spans: Iterable[Span], join: Callable[[list[Part]], list[Part]]) -> tuple[Span, ...]:
    """Neighbouring spans as one wherever the later ones have grown enough, as long as they are small together.

    Args:
        spans: without gaps, oldest first.
        join: the rows of some parts as other parts.
    """
    done: list[Span] = []
    for span in spans:
        done.append(span)
        while len(done) > 1 and _belong_together(done[-2], done[-1]):
            later, earlier = done.pop(), done.pop()
            documents, dates = earlier.documents + later.documents, earlier.dates + later.dates
            parts = join(earlier.parts + later.parts)
            done.append(Span(earlier.after, later.until, documents, dates, parts))
    return tuple(done)


def _belong_together(earlier: Span, later: Span) -> bool:
    small = earlier.documents + later.documents <= PART_ROWS
    return small and earlier.documents <= GROWTH * later.documents
