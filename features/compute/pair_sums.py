"""Events summed by user and track, exact in any order, without sorting them and without a copy of all.

The obvious way is a matrix of coordinates turned into rows: every event is written twice, each row sorted and merged.
Here users are taken a range at a time. Its events are put in order of users by counting; then each user's are added up
in a table with a slot for every track, of which two levels of bits remember what was touched, so that tracks come out
in order without being compared. Sums are integers of 2^-24, so neither the order of events nor ranges nor threads
change a thing.

Cost: a few nanoseconds an event, most of it waiting for memory; one more look at every event's user for each range.
Memory beside inputs and result: 8 bytes an event of the range, and 13 bytes a track, for each thread; while ranges are
joined, up to half the result.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from features.compute.bits import LANES, lowest_bit
from features.compute.shards import even_ranges, over_shards

FIXED_POINT = float(1 << 24)
"""What events are worth is summed as integers of this unit: a sum of integers is the same in any order."""
WORTH_BELOW = 128
"""So that one event's worth fits 32 bits."""
SHARD_EVENTS = 1 << 25
"""Events of a range, about: 256 MB."""
BLOCK = 1 << 16
"""Events whose worth is computed at a time: half a megabyte, which stays near the processor until it is placed."""
KINDS = (np.int32, np.int64, np.int32)
"""Of tracks, sums and counts of pairs."""
U = np.uint64

Chosen = slice | np.ndarray
"""Which events: a slice, or (n,) int64 positions that ascend."""


class PairSums(NamedTuple):
    """Sums by user and track as the parts of CSR matrices: tracks of a user ascend, each stands once.

    Attributes:
        indptr: (users + 1,) int64.
        indices: (pairs,) int32.
        sums: (pairs,) int64, in units of 1 / FIXED_POINT; may be 0.
        counts: (pairs,) int32, events of the pair.
    """

    indptr: np.ndarray
    indices: np.ndarray
    sums: np.ndarray
    counts: np.ndarray


def pair_sums(
    user: np.ndarray,
    track: np.ndarray,
    worth: Callable[[Chosen], np.ndarray],
    shape: tuple[int, int],
    *,
    threads: int = 1,
    shard_events: int = SHARD_EVENTS,
) -> PairSums:
    """What events are worth, summed by user and track, and how many they are.

    Args:
        user: (n,) int32, in any order.
        track: (n,) int32.
        worth: gives (m,) float64, each within ±WORTH_BELOW, for the events asked for; asked once for each event.
        shape: (users, tracks).
        threads: one or more.
        shard_events: of a range of users; a user's events stay together.

    Raises:
        ValueError: a number is out of `shape`, or an event's worth out of bounds or not a number.
    """
    users, tracks = shape
    user, track = np.ascontiguousarray(user), np.ascontiguousarray(track)
    for name, numbers, end in (("users", user, users), ("tracks", track, tracks)):
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < end):
            raise ValueError(f"numbers of {name} go from {numbers.min()} to {numbers.max()}, not within 0 to {end - 1}")
    events = np.zeros(users, np.int64)
    _count(user, events)

    def summed(start: int, stop: int) -> PairSums:
        total = int(events[start:stop].sum())
        ranges = [(start + a, start + b) for a, b in even_ranges(events[start:stop], -(-total // shard_events) or 1)]
        # as many pairs as events at most; what is not written to takes no memory
        indptr, out = np.zeros(stop - start + 1, np.int64), [np.empty(total, kind) for kind in KINDS]
        placed = np.empty(max((int(events[a:b].sum()) for a, b in ranges), default=0), np.int64)
        pairs = 0
        for first, last in ranges:
            begins = np.concatenate(([0], np.cumsum(events[first:last])))
            _by_user(user, track, worth, first, last, begins, placed)
            pairs = _sum_up(begins, placed, tracks, pairs, indptr[first - start : last - start + 1], *out)
        return PairSums(indptr, *(column[:pairs] for column in out))

    return _joined(over_shards(summed, even_ranges(events, threads), threads))


def _by_user(
    user: np.ndarray,
    track: np.ndarray,
    worth: Callable[[Chosen], np.ndarray],
    start: int,
    stop: int,
    begins: np.ndarray,
    placed: np.ndarray,
) -> None:
    """Events of users [start, stop) into `placed`, int64, by user: worth in the high half, track in the low one.

    Each user's begin where `begins` (stop - start + 1,) says.
    """
    free = begins[:-1].copy()
    chosen = np.empty(BLOCK, np.int64)
    for first in range(0, len(user), BLOCK):
        last = min(first + BLOCK, len(user))
        which: Chosen = slice(first, last)
        if begins[-1] < len(user):
            which = chosen[: _choose(user, first, last, start, stop, chosen)]
        worths = worth(which)
        bad = _place(user[which], track[which], worths, start, free, placed)
        if bad >= 0:
            raise ValueError(f"an event is worth {worths[bad]}, not within ±{WORTH_BELOW}")


def _joined(parts: list[PairSums]) -> PairSums:
    """Parts that follow each other, as one. They are let go of on the way, so that there are never two of all."""
    if len(parts) == 1:
        return parts[0]
    indptr = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.indptr) for part in parts)]).cumsum()
    columns = [[part[column] for part in parts] for column in (1, 2, 3)]
    parts.clear()
    return PairSums(indptr, *(np.concatenate([*columns.pop(0), np.empty(0, kind)]) for kind in KINDS))


@njit(nogil=True, cache=True)
def _count(user: np.ndarray, events: np.ndarray) -> None:
    for at in range(len(user)):
        events[U(user[at])] += 1


@njit(nogil=True, cache=True)
def _choose(user: np.ndarray, first: int, last: int, start: int, stop: int, chosen: np.ndarray) -> int:
    """Positions in [first, last) of the events of users [start, stop); returns how many."""
    found = 0
    for at in range(U(first), U(last)):
        chosen[found] = at
        found += (start <= user[at]) & (user[at] < stop)
    return found


@njit(nogil=True, cache=True)
def _place(
    user: np.ndarray, track: np.ndarray, worth: np.ndarray, start: int, free: np.ndarray, placed: np.ndarray
) -> np.int64:
    """Puts events behind those of their users; `free` (users of the range,) is the next place of each.

    Returns:
        The position of an event whose worth is out of bounds or not a number, where that ended it; else -1.
    """
    for at in range(U(0), U(len(user))):
        fixed = np.rint(worth[at] * FIXED_POINT)
        if not abs(fixed) < WORTH_BELOW * FIXED_POINT:
            return np.int64(at)
        row = U(user[at] - start)
        placed[U(free[row])] = (np.int64(fixed) << 32) | track[at]  # one write: most of the time is waiting for it
        free[row] += 1
    return np.int64(-1)


@njit(nogil=True, cache=True)
def _sum_up(
    begins: np.ndarray,
    placed: np.ndarray,
    tracks: int,
    pairs: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    out_sums: np.ndarray,
    out_counts: np.ndarray,
) -> int:
    """Writes the pairs of users whose events are `placed` into the last four, behind `pairs`; returns how many then."""
    sums, counts = np.zeros(tracks, np.int64), np.zeros(tracks, np.int32)
    touched = np.zeros(tracks // LANES + 1, np.uint64)  # a bit a track
    words = np.zeros(len(touched) // LANES + 1, np.uint64)  # a bit a word of those
    out = U(pairs)
    indptr[0] = out
    for user in range(len(begins) - 1):
        for at in range(U(begins[user]), U(begins[user + 1])):
            track = U(placed[at]) & U(0xFFFFFFFF)
            sums[track] += placed[at] >> 32
            counts[track] += 1
            word = track >> U(6)
            touched[word] |= U(1) << (track & U(63))
            words[word >> U(6)] |= U(1) << (word & U(63))
        for high in range(U(0), U(len(words))):
            marked = words[high]
            words[high] = U(0)
            while marked != U(0):
                word = (high << U(6)) | U(lowest_bit(marked))
                marked &= marked - U(1)
                bits = touched[word]
                touched[word] = U(0)
                while bits != U(0):
                    track = (word << U(6)) | U(lowest_bit(bits))
                    bits &= bits - U(1)
                    indices[out], out_sums[out], out_counts[out] = track, sums[track], counts[track]
                    sums[track], counts[track] = 0, 0
                    out += U(1)
        indptr[user + 1] = out
    return int(out)
