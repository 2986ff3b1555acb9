"""What is met close to a track, summed over its listeners: the walk of `sequences.nearest_sources`, compiled.

Where a track was met is somewhere else in memory for each listener, and to fetch that takes longer than to add up what
stands there. So all that a place needs to know is laid side by side beforehand, in one walk over the histories: how far
its window reaches either way, how far the tracks reach that were met at the same moment, and what the listener counts.
What a sum has not been added to holds -0, which sums of other numbers never are: one look tells.
"""

import numpy as np
from numba import njit

from features.compute.nearest import offer

UNTOUCHED = np.int64(-(2**63))
"""The bits of -0. No kernel here may be told that signs of zeros do not matter (fastmath's `nsz`)."""
U = np.uint64
"""numba looks for negative places before the end of an array unless a place is unsigned."""
EARLIER, TIED_EARLIER, TIED_LATER, LATER = range(4)


def windows_of(starts: np.ndarray, at: np.ndarray, reach: int) -> np.ndarray:
    """How far the window of each place reaches within its history, and how far what was met at the same moment.

    Args:
        starts: (users + 1,) where each history begins, and the last one ends.
        at: (n,) moments, ascending in each history.
        reach: places at most.

    Returns:
        (n, 4) unsigned, as small as `reach` allows: how many places are within reach earlier, those of one moment with
        this among them; how many of these there are; how many of one moment are behind; how many within reach behind.
    """
    window = np.empty((len(at), 4), np.min_scalar_type(reach))
    _fill_windows(starts, at, reach, window)
    return window


@njit(nogil=True, cache=True)
def _fill_windows(starts: np.ndarray, at: np.ndarray, reach: int, window: np.ndarray) -> None:
    for user in range(len(starts) - 1):
        first, stop = starts[user], starts[user + 1]
        begin = first
        while begin < stop:
            end = begin + 1
            while end < stop and at[end] == at[begin]:
                end += 1
            for row in range(begin, end):
                window[row, EARLIER] = min(reach, row - first)
                window[row, TIED_EARLIER] = min(reach, row - begin)
                window[row, TIED_LATER] = min(reach, end - 1 - row)
                window[row, LATER] = min(reach, stop - 1 - row)
            begin = end


@njit(nogil=True, cache=True)
def add_up_nearest(
    start: int,
    stop: int,
    places: np.ndarray,
    met: np.ndarray,
    window: np.ndarray,
    own: np.ndarray,
    track: np.ndarray,
    worth: np.ndarray,
    decay: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    found: np.ndarray,
    values: np.ndarray,
) -> None:
    """Fills `found` and `values` for tracks [start, stop).

    Args:
        start: of the tracks.
        stop: of the tracks.
        places: (tracks + 1,) where each track's listeners begin in `met`.
        met: (n,) where in the histories each of them met it.
        window: (n, 4) as of `windows_of`.
        own: (n,) float32, what each place counts.
        track: (n,) int32, what was met there.
        worth: (n,) float32, what it is worth to others; (0,) for 1 everywhere.
        decay: (3, g + 1) float64 by gap: of what was met earlier, at one moment, later.
        source: (tracks,) float64 factor of what is met before.
        target: (tracks,) float64 factor of what is met after.
        found: (tracks, k) int32, -1 at first, written in the order of a heap.
        values: (tracks, k) float32, likewise.
    """
    total = np.full(len(source), -0.0)
    bits = total.view(np.int64)
    touched = np.empty(len(source) + 1, np.uint32)
    for number in range(start, stop):
        count = U(0)
        for place in range(places[number], places[number + 1]):
            row = int(met[place])
            first, tied = row - window[row, EARLIER], row - window[row, TIED_EARLIER]
            tied_end, end = row + 1 + window[row, TIED_LATER], row + 1 + window[row, LATER]
            count = _add(track, worth, first, tied, row, own[row], decay[0], total, touched, count)
            if tied < row or tied_end > row + 1:
                count = _add(track, worth, tied, row, row, own[row], decay[1], total, touched, count)
                count = _add(track, worth, row + 1, tied_end, row, own[row], decay[1], total, touched, count)
            count = _add(track, worth, tied_end, end, row, own[row], decay[2], total, touched, count)
        held = 0
        for place in range(count):
            near = U(touched[place])
            value = np.float32(total[near] * source[near] * target[number])
            if value > 0:
                held = offer(found[number], values[number], held, touched[place], value)
            bits[near] = UNTOUCHED


@njit(nogil=True, cache=True)
def _add(
    track: np.ndarray,
    worth: np.ndarray,
    first: int,
    end: int,
    row: int,
    own: float,
    decay: np.ndarray,
    total: np.ndarray,
    touched: np.ndarray,
    count: np.uint64,
) -> np.uint64:
    """Adds places [first, end), and puts behind the first `count` of `touched` the tracks that are new there."""
    bits, tracks = total.view(np.int64), track[first:end]
    for at in range(len(tracks)):
        near = U(tracks[at])
        touched[count] = near  # a branch here would be guessed wrong half the time
        count += U(bits[near] == UNTOUCHED)
        value = own * decay[abs(row - first - at)]
        if len(worth):
            value *= worth[first + at]
        total[near] += value + 0.0  # a product may be -0, which must not look untouched
    return count
