"""What each listener did when, counted in one walk over the plays: no column as long as the plays is made of them."""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.events import RANGES_A_THREAD, by_user, event_ranges, note_places
from features.compute.interactions import MS_A_DAY, Plays
from features.compute.shards import even_ranges, over_shards
from features.compute.weights import SKIPPED

HOURS, WEEKDAYS = 24, 7
FIXED_POINT = float(1 << 24)
"""Completions are summed as integers of this unit: the same in any order."""


@dataclass(frozen=True, eq=False)
class Activity:
    """Counts by user number.

    Attributes:
        by_hour: (users, 24) int64 plays, in UTC.
        by_weekday: (users, 7) int64, Monday first.
        known: (users,) int64, plays whose completion is known.
        skipped: (users,) int64, of those, the skipped ones.
        completion: (users,) int64, their completions summed, in units of 1 / `FIXED_POINT`.
        recent: (users, windows) int64, plays of the last so many days.
        first_at: (users,) int64 ms of the first play; the largest number there is without one.
    """

    by_hour: np.ndarray
    by_weekday: np.ndarray
    known: np.ndarray
    skipped: np.ndarray
    completion: np.ndarray
    recent: np.ndarray
    first_at: np.ndarray


def count_activity(
    plays: Plays, users: int, *, as_of_ms: int, windows_days: tuple[int, ...], threads: int = 1
) -> Activity:
    """Counts.

    Args:
        plays: in any order; no copy is made of those that are by user.
        users: how many; all numbers are below.
        as_of_ms: the moment that windows are counted back from.
        windows_days: how long each is.
        threads: one or more; they change nothing.
    """
    counts = Activity(
        np.zeros((users, HOURS), np.int64),
        np.zeros((users, WEEKDAYS), np.int64),
        np.zeros(users, np.int64),
        np.zeros(users, np.int64),
        np.zeros(users, np.int64),
        np.zeros((users, len(windows_days)), np.int64),
        np.full(users, np.iinfo(np.int64).max),
    )
    since = np.array([as_of_ms - days * MS_A_DAY for days in windows_days], np.int64)

    user, played_at, completion = by_user(plays.user, plays.played_at, plays.completion)

    def shard(start: int, stop: int) -> None:
        _count(
            *(start, stop, user, played_at, completion, np.float32(SKIPPED), since),
            *(counts.by_hour, counts.by_weekday, counts.known, counts.skipped, counts.completion),
            *(counts.recent, counts.first_at),
        )

    over_shards(shard, event_ranges(user, threads), threads)
    return counts


def recent_and_fresh(
    plays: Plays, played: sp.csr_matrix, cut_ms: int, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(users,) int64 each: distinct tracks a user played at or after the cut, and of those the ones not before it.

    Args:
        plays: in any order; no copy is made of those that are by user.
        played: (users, tracks) CSR with an entry for each pair that is played; indices sorted.
        cut_ms: since 1970.
        threads: one or more; they change nothing.
    """
    when = np.zeros(played.nnz, np.uint8)
    recent, fresh = (np.zeros(played.shape[0], np.int64) for _ in range(2))
    user, track, played_at = by_user(plays.user, plays.track, plays.played_at)

    def shard(start: int, stop: int) -> None:
        place = np.empty(played.shape[1], np.int64)
        _mark(start, stop, played.indptr, played.indices, user, track, played_at, cut_ms, place, when)

    over_shards(shard, event_ranges(user, threads), threads)
    over_shards(
        lambda start, stop: _tally(start, stop, played.indptr, when, recent, fresh),
        even_ranges(np.diff(played.indptr) + 1, threads * RANGES_A_THREAD),
        threads,
    )
    return recent, fresh


@numba.njit(nogil=True, cache=True)
def _count(
    start: int,
    stop: int,
    user: np.ndarray,
    played_at: np.ndarray,
    completion: np.ndarray,
    skip: np.floating,
    since: np.ndarray,
    by_hour: np.ndarray,
    by_weekday: np.ndarray,
    known: np.ndarray,
    skipped: np.ndarray,
    total: np.ndarray,
    recent: np.ndarray,
    first_at: np.ndarray,
) -> None:
    for row in range(start, stop):
        who, at, part = user[row], played_at[row], completion[row]
        by_hour[who, at // 3_600_000 % HOURS] += 1
        by_weekday[who, (at // MS_A_DAY + 3) % WEEKDAYS] += 1  # 1970 began on a Thursday
        if not np.isnan(part):
            known[who] += 1
            total[who] += np.int64(np.rint(np.float64(part) * FIXED_POINT))
            if part < skip:
                skipped[who] += 1
        for window in range(len(since)):
            if at >= since[window]:
                recent[who, window] += 1
        first_at[who] = min(first_at[who], at)


@numba.njit(nogil=True, cache=True)
def _mark(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    user: np.ndarray,
    track: np.ndarray,
    played_at: np.ndarray,
    cut: int,
    place: np.ndarray,
    when: np.ndarray,
) -> None:
    """Notes of each pair whether there is a play from the cut on, 1, and before it, 2."""
    who = -1
    for row in range(start, stop):
        if user[row] != who:
            who = user[row]
            note_places(indices, indptr[who], indptr[who + 1], place)
        when[place[np.uint64(track[row])]] |= 1 if played_at[row] >= cut else 2


@numba.njit(nogil=True, cache=True)
def _tally(start: int, stop: int, indptr: np.ndarray, when: np.ndarray, recent: np.ndarray, fresh: np.ndarray) -> None:
    """Counts marks of users [start, stop)."""
    for who in range(start, stop):
        for pair in range(indptr[who], indptr[who + 1]):
            recent[who] += when[pair] & 1
            fresh[who] += when[pair] == 1
