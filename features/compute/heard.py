"""What listeners heard, how often, when last and on how many days of late: one walk over plays that are in order."""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.events import event_ranges, note_places
from features.compute.interactions import MS_A_DAY, Plays
from features.compute.shards import over_shards
from features.compute.weights import SKIPPED


@dataclass(frozen=True, eq=False)
class Heard:
    """Pairs of user and track with a play that was not skipped.

    Attributes:
        plays: (users, tracks) int32 CSR, how many such plays; indices sorted.
        first_at: (pairs,) int64 ms, the first of them.
        last_day: (pairs,) int32 days since 1970 in UTC, of the last.
        days_lately: (pairs,) uint8, days in UTC, since the moment asked, with one.
    """

    plays: sp.csr_matrix
    first_at: np.ndarray
    last_day: np.ndarray
    days_lately: np.ndarray


def heard_of(events: Plays, played: sp.csr_matrix, *, lately_ms: int, threads: int | None = None) -> Heard:
    """Counts.

    Args:
        events: by user and time; skipped ones don't count.
        played: (users, tracks) CSR with an entry for every pair of the events, indices sorted.
        lately_ms: how far back from the newest play of all "lately" reaches; less than 250 days.
        threads: to use, those of numba by default; they change nothing.
    """
    threads = numba.get_num_threads() if threads is None else threads
    ranges = event_ranges(events.user, threads)
    skip = np.float32(SKIPPED)
    counts, days = np.zeros(played.nnz, np.int32), np.zeros(played.nnz, np.uint8)
    first, last = np.zeros(played.nnz, np.int64), np.zeros(played.nnz, np.int32)
    newest = over_shards(
        lambda start, stop: _newest(events.played_at[start:stop], events.completion[start:stop], skip), ranges, threads
    )
    since = max(newest) - lately_ms

    def shard(start: int, stop: int) -> None:
        _note(
            *(start, stop, played.indptr, played.indices),
            *(events.user, events.track, events.played_at, events.completion),
            *(skip, since),
            *(np.empty(played.shape[1], np.int64), counts, first, last, days),
        )

    over_shards(shard, ranges, threads)
    kept = counts > 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[played.indptr].astype(played.indptr.dtype)
    # one after the other, so that there are never two of all
    first = first[kept]
    last = last[kept]
    days = days[kept]
    plays = sp.csr_matrix((counts[kept], played.indices[kept], indptr), shape=played.shape)
    return Heard(plays, first, last, days)


@numba.njit(nogil=True, cache=True)
def _newest(played_at: np.ndarray, completion: np.ndarray, skip: np.floating) -> int:
    """The moment of the last play that was not skipped; 0 without any."""
    newest = 0
    for event in range(len(played_at)):
        if not completion[event] < skip:  # NaN is below nothing
            newest = max(newest, played_at[event])
    return newest


@numba.njit(nogil=True, cache=True)
def _note(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    user: np.ndarray,
    track: np.ndarray,
    played_at: np.ndarray,
    completion: np.ndarray,
    skip: np.floating,
    since: int,
    place: np.ndarray,
    counts: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    days: np.ndarray,
) -> None:
    who = -1
    for event in range(start, stop):
        if completion[event] < skip:
            continue
        if user[event] != who:
            who = user[event]
            note_places(indices, indptr[who], indptr[who + 1], place)
        low = place[np.uint64(track[event])]
        at = played_at[event]
        # in the order of time, so a new day is one that the last play was not on
        if at > since and (days[low] == 0 or at // MS_A_DAY != last[low]):
            days[low] += 1
        if counts[low] == 0:
            first[low] = at
        counts[low] += 1
        last[low] = at // MS_A_DAY
