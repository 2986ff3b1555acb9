"""When pairs of user and track began and were last confirmed, and how recent each is beside the user's others.

Both go row by row of a sparse matrix of pairs, so that nothing as long as all plays is sorted or copied.
"""

import numba
import numpy as np

from features.compute.events import RANGES_A_THREAD, by_user, event_ranges, note_places
from features.compute.shards import even_ranges, over_shards

PACKED_MOMENTS, PACKED_ENTRIES = float(1 << 41), 1 << 20
"""Milliseconds that a row may span, and entries it may have, to be sorted as single numbers: 70 years, a million."""


def note_moments(
    indptr: np.ndarray,
    indices: np.ndarray,
    user: np.ndarray,
    track: np.ndarray,
    at: np.ndarray,
    completion: np.ndarray,
    skipped: np.floating,
    first: np.ndarray,
    last: np.ndarray,
    threads: int | None = None,
) -> None:
    """Lowers `first` and raises `last` to the moments of events.

    Args:
        indptr: (users + 1,) of the matrix of pairs.
        indices: (pairs,) its columns, ascending in each row.
        user: (n,) of the events, in any order; by user they are not copied. Those of no pair don't count.
        track: (n,)
        at: (n,) ms.
        completion: (n,) what is below `skipped` doesn't count; NaN is below nothing.
        skipped: as above.
        first: (pairs,) written to.
        last: (pairs,) likewise.
        threads: to use, those of numba by default; they change nothing.
    """
    threads = numba.get_num_threads() if threads is None else threads
    user, track, at, completion = by_user(user, track, at, completion)
    tracks = int(max(indices.max(initial=-1), track.max(initial=-1))) + 1

    def shard(start: int, stop: int) -> None:
        place = np.full(tracks, -1, np.int64)
        _note(start, stop, indptr, indices, user, track, at, completion, skipped, place, first, last)

    over_shards(shard, event_ranges(user, threads), threads)


@numba.njit(nogil=True, cache=True)
def _note(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    user: np.ndarray,
    track: np.ndarray,
    at: np.ndarray,
    completion: np.ndarray,
    skipped: np.floating,
    place: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> None:
    who = -1
    for event in range(start, stop):
        if completion[event] < skipped:
            continue
        if user[event] != who:
            who = user[event]
            note_places(indices, indptr[who], indptr[who + 1], place)
        low = place[np.uint64(track[event])]
        if low >= indptr[who]:  # else it is another user's before, or nobody's
            first[low] = min(first[low], at[event])
            last[low] = max(last[low], at[event])


def later_in_row(indptr: np.ndarray, at: np.ndarray, threads: int | None = None) -> np.ndarray:
    """(pairs,) int32: how many entries of the same row have a later moment. Entries of one moment have the same.

    On so many threads, numba's by default; they change nothing.
    """
    return _beside_in_row(indptr, at, threads, later=True)


def earlier_in_row(indptr: np.ndarray, at: np.ndarray, threads: int | None = None) -> np.ndarray:
    """(pairs,) int32: how many entries of the same row have an earlier moment; likewise."""
    return _beside_in_row(indptr, at, threads, later=False)


def _beside_in_row(indptr: np.ndarray, at: np.ndarray, threads: int | None, *, later: bool) -> np.ndarray:
    threads = numba.get_num_threads() if threads is None else threads
    count = np.empty(len(at), np.int32)
    ranges = even_ranges(np.diff(indptr) + 1, threads * RANGES_A_THREAD)
    over_shards(lambda start, stop: _count_beside(start, stop, indptr, at, later, count), ranges, threads)
    return count


@numba.njit(nogil=True, cache=True)
def _count_beside(start: int, stop: int, indptr: np.ndarray, at: np.ndarray, later: bool, count: np.ndarray) -> None:
    """Fills `count` of the rows [start, stop).

    A moment and its place in the row are sorted as one number, so that the places need not be looked for again.
    """
    for row in range(start, stop):
        first, size = indptr[row], indptr[row + 1] - indptr[row]
        if size == 0:
            continue
        own = at[first : first + size]
        least = own.min()
        if size > PACKED_ENTRIES or np.float64(own.max()) - np.float64(least) > PACKED_MOMENTS:
            _search_beside(own, later, count[first : first + size])
            continue
        packed = np.empty(size, np.int64)
        for entry in range(size):
            packed[entry] = (np.int64(own[entry] - least) * PACKED_ENTRIES) | entry
        packed.sort()
        begin = 0
        while begin < size:
            end = begin + 1
            while end < size and packed[end] // PACKED_ENTRIES == packed[begin] // PACKED_ENTRIES:
                end += 1
            for place in range(begin, end):
                count[first + packed[place] % PACKED_ENTRIES] = size - end if later else begin
            begin = end


@numba.njit(nogil=True, cache=True)
def _search_beside(own: np.ndarray, later: bool, count: np.ndarray) -> None:
    """The same of one row, whatever its moments."""
    in_order = np.sort(own)
    for entry in range(len(own)):
        if later:
            count[entry] = len(own) - np.searchsorted(in_order, own[entry], side="right")
        else:
            count[entry] = np.searchsorted(in_order, own[entry])
