"""A snapshot as it would have been taken earlier: only what was known by a moment.

What happened is dated twice, when it happened and when it became known; here the second date cuts. Tracks, accounts
and settings bear no such date and are as they are now.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.dates import epoch_ms, to_millisecond
from features.snapshot.digest import digest_text, row_hashes
from features.snapshot.stored import NOT_IN_DIGEST, Snapshot, digest_of_tables, open_snapshot

KNOWN_AT = "known_at"


class Inputs(Protocol):
    """What a release is built from: a snapshot, or what of it was known by a moment."""

    @property
    def known_at(self) -> datetime:
        """Nothing that became known later is in it."""

    @property
    def digest(self) -> str:
        """Identifies the content of all tables together."""

    def counts(self) -> dict[str, dict[str, Any]]:
        """For each table what became of its documents: read = used + set aside."""

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One table as Arrow."""

    def blocks(self, name: str, columns: Sequence[str], coded: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Some columns a row group at a time, for who need not hold them all; texts of `coded` in dictionaries."""


@dataclass(frozen=True)
class KnownBy:
    """What of a snapshot was known by a moment.

    Attributes:
        snapshot: the whole of it.
        known_at: the moment, included.
        digests: of the rows known by then, for each table that has dates.
    """

    snapshot: Snapshot
    known_at: datetime
    digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Of what was known then: the same whatever has become known since."""
        return digest_of_tables(
            {name: table.digest for name, table in self.snapshot.tables.items()} | dict(self.digests)
        )

    def counts(self) -> dict[str, dict[str, Any]]:
        """As for a snapshot; `known_later` counts the rows left out. What was set aside bears no date."""
        counts = self.snapshot.counts()
        for name, digest in self.digests.items():
            used = int(digest.rpartition("-")[2])
            left_out = counts[name]["used"] - used
            counts[name] |= {"read": counts[name]["read"] - left_out, "used": used, "known_later": left_out}
        return counts

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One table as Arrow, only the rows known by then."""
        if name not in self.digests:
            return self.snapshot.table(name, columns)
        known = (pc.field(KNOWN_AT) <= self._moment) | pc.field(KNOWN_AT).is_null()
        return self.snapshot.table(name, columns, known)

    def blocks(self, name: str, columns: Sequence[str], coded: Sequence[str] = ()) -> Iterator[pa.Table]:
        """The same a row group at a time."""
        if name not in self.digests:
            yield from self.snapshot.blocks(name, columns, coded)
            return
        for block in self.snapshot.blocks(name, list(dict.fromkeys([*columns, KNOWN_AT])), coded):
            later = pc.greater(block[KNOWN_AT], self._moment)
            yield block.filter(pc.invert(pc.fill_null(later, fill_value=False))).select(list(columns))

    @property
    def _moment(self) -> pa.Scalar:
        return pa.scalar(self.known_at, pa.timestamp("ms", tz="UTC"))


@dataclass(frozen=True, eq=False)
class _Dated:
    """One table's rows in the order in which they became known.

    Attributes:
        known_at: (n,) int64 ascending, milliseconds since 1970.
        hashes: (n + 1,) uint64, the sum of the first so many rows' hashes modulo 2^64.
    """

    known_at: np.ndarray
    hashes: np.ndarray


class Clock:
    """Looks at one snapshot as of many moments: each costs a look-up, after one walk over its rows.

    Holds sixteen bytes for each play, piece of feedback and acceptance, and a part of the rows at a time.

    Raises:
        StorageError: a part is gone or damaged.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._dated = {name: dated for name in snapshot.tables if (dated := _dated(snapshot.pieces(name)))}

    def known_by(self, moment: datetime) -> KnownBy:
        """What was known by a moment, included; an aware one, cut to the millisecond as the database keeps dates."""
        moment = to_millisecond(moment)
        digests = {}
        for name, dated in self._dated.items():
            rows = int(np.searchsorted(dated.known_at, epoch_ms(moment), side="right"))
            digests[name] = digest_text(int(dated.hashes[rows]), rows)
        return KnownBy(self.snapshot, moment, digests)


def open_inputs(home: Path, database_name: str, known_at: datetime | None = None) -> Inputs:
    """The last snapshot taken of the database, or what of it was known by a moment.

    Raises:
        StorageError: there is none, or it can't be read.
    """
    snapshot = open_snapshot(home, database_name)
    if known_at is None:
        return snapshot
    return _clock(home, database_name, snapshot.number, snapshot.digest).known_by(known_at)


@lru_cache(maxsize=1)
def _clock(home: Path, database_name: str, _number: int, _digest: str) -> Clock:
    """Kept, since a backfill asks for many moments of one snapshot; an erasure leaves the number and not the digest."""
    return Clock(open_snapshot(home, database_name))


def _dated(pieces: Iterable[pa.Table]) -> _Dated | None:
    """Of one table; None where it bears no dates."""
    known_at, hashes = [], []
    for rows in pieces:
        if KNOWN_AT not in rows.column_names:
            return None
        # what bears no date at all, such as a chat without any, is known since ever
        known_at.append(pc.fill_null(rows[KNOWN_AT].cast(pa.int64()), np.iinfo(np.int64).min).to_numpy())
        hashes.append(row_hashes(rows, NOT_IN_DIGEST))
    moments = np.concatenate(known_at)
    order = np.argsort(moments, kind="stable")
    sums = np.cumsum(np.concatenate([np.zeros(1, np.uint64), np.concatenate(hashes)[order]]), dtype=np.uint64)
    return _Dated(moments[order], sums)
