"""What is met close to what, of all histories: without the matrix of all pairs of tracks.

For each track its listeners' histories are walked from where they met it, earlier and later, and what stands there is
added up in one array as wide as there are tracks; a heap keeps the most. The cost is the sum over histories of length
times window, and nothing of it is stored: at 25,000 histories of 100,000 tracks the matrix took six gigabytes. Sums are
added in the order of users and places, so that neither shards nor threads change a bit.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.near_kernels import add_up_nearest, windows_of
from features.compute.nearest import SHARDS_A_THREAD, compressed, offer
from features.compute.numbering import grouped, sort_each
from features.compute.shards import even_ranges, over_shards

FIRST = np.int64(np.iinfo(np.int64).min)
"""The sign marks where a history begins."""
AT_ONCE = 32
"""Listeners of a track whose next ones are looked at together: a few kB."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Histories in the order in which tracks were first met, of one moment by number.

    Attributes:
        starts: (users + 1,) where each history begins, and the last one ends.
        track: (n,) int32.
        at: (n,) int32 or int64: moments, or whatever else tells earlier from later.
        worth: (n,) float32.
    """

    starts: np.ndarray
    track: np.ndarray
    at: np.ndarray
    worth: np.ndarray


def in_sequence(worth: sp.csr_matrix, at: np.ndarray, threads: int | None = None) -> Sequences:
    """The rows of (users, tracks) float32 CSR in the order of (pairs,) moments. Nothing given is changed.

    On so many threads, numba's by default; they change nothing.
    """
    threads = numba.get_num_threads() if threads is None else threads
    track, moment, value = np.empty(worth.nnz, np.int32), np.empty_like(at), np.empty(worth.nnz, np.float32)
    starts = worth.indptr.astype(np.int64)

    def shard(start: int, stop: int) -> None:
        own = slice(starts[start], starts[stop])
        track[own], moment[own], value[own] = worth.indices[own], at[own], worth.data[own]
        sort_each(starts[start : stop + 1], track, moment, value)

    over_shards(shard, even_ranges(np.diff(starts) + 1, threads * SHARDS_A_THREAD), threads)
    return Sequences(starts, track, moment, value)


def summed_places(of: Sequences, tracks: int) -> np.ndarray:
    """(tracks,) float64: the sum over listeners of how far on in a history a track is met, 0 for first and 1 for last.

    Those met at one moment share the middle of their places.
    """
    total = np.zeros(tracks)
    _add_places(of.starts, of.track, of.at, total)
    return total


def nearest_sources(
    of: Sequences,
    k: int,
    *,
    scale: np.ndarray,
    decay: np.ndarray,
    backward: float,
    source: np.ndarray,
    target: np.ndarray,
    threads: int | None = None,
    shards: int | None = None,
) -> sp.csr_matrix:
    """For each track the k others that are met closest to it.

    A pair g places apart in user u's history adds scale[u] · decay[g] · the worths of both; as much times `backward`
    where the source is met later, and half of both where they are met at one moment. The sum is multiplied with
    `source` and `target` of the two.

    Args:
        of: all histories.
        k: how many at most; of equals those with the lower number.
        scale: (users,) float64; taken in single precision.
        decay: (g + 1,) float64 by gap; beyond, nothing is added. The first is not used.
        backward: as above.
        source: (tracks,) float64 factor of what is met before.
        target: (tracks,) float64 factor of what is met after.
        threads: to use, those of numba by default; changes nothing.
        shards: cuts of the tracks; changes nothing.

    Returns:
        (tracks, tracks) float32 CSR, target by source, positive, indices sorted.
    """
    threads = numba.get_num_threads() if threads is None else threads
    tracks = len(source)
    places, met = _places_of(of, tracks)
    window = windows_of(of.starts, of.at, len(decay) - 1)
    own = np.repeat(scale.astype(np.float32), np.diff(of.starts)) * of.worth
    worth = np.zeros(0, np.float32) if (of.worth == 1.0).all() else of.worth
    decays = np.outer([1.0, (1.0 + backward) / 2.0, backward], decay)
    width = min(k, max(tracks - 1, 0))
    found = np.full((tracks, width), -1, np.int32)
    values = np.zeros((tracks, width), np.float32)

    def shard(start: int, stop: int) -> None:
        add_up_nearest(
            *(start, stop, places, met, window, own, of.track, worth),
            *(decays, source, target, found, values),
        )

    if width:
        cost = _reached(of.starts, of.track, 2 * len(decay), tracks) + 1.0
        over_shards(shard, even_ranges(cost, shards or threads * SHARDS_A_THREAD), threads)
    return compressed(found, values, tracks)


def followers(
    of: Sequences, tracks: int, *, reach: int, least: int, most: int, threads: int | None = None
) -> sp.csr_matrix:
    """(tracks, tracks) int32 CSR: how many listeners met the second among the next few tracks after the first.

    Strictly later: tracks met at one moment do not follow one another.

    Args:
        of: all histories.
        tracks: how many there are.
        reach: how many places on is still soon.
        least: listeners; pairs of fewer are left out.
        most: followers kept of a track, those whom most met; of equals those with the lower number.
        threads: to use, those of numba by default; changes nothing.
    """
    threads = numba.get_num_threads() if threads is None else threads
    places, met = _places_of(of, tracks)
    packed = np.full(len(of.track) + reach, FIRST, np.int64)  # behind the last history there seems to be another
    users = even_ranges(np.diff(of.starts) + 1, threads * SHARDS_A_THREAD)
    over_shards(lambda start, stop: _pack(start, stop, of.starts, of.track, of.at, packed), users, threads)
    width = min(most, max(tracks - 1, 0))
    found, values = np.full((tracks, width), -1, np.int32), np.zeros((tracks, width), np.int32)

    def shard(start: int, stop: int) -> None:
        _followers(start, stop, places, met, packed, reach, least, found, values)

    if width:
        over_shards(shard, even_ranges(np.diff(places) + 1.0, threads * SHARDS_A_THREAD), threads)
    return compressed(found, values, tracks)


def squares(of: Sequences, scale: np.ndarray, tracks: int) -> np.ndarray:
    """(tracks,) float64: the sum over listeners of scale · worth²; scale is (users,) float64."""
    total = np.zeros(tracks)
    _add_squares(of.starts, of.track, of.worth, scale, total)
    return total


def _places_of(of: Sequences, tracks: int) -> tuple[np.ndarray, np.ndarray]:
    """(tracks + 1,) where each track's listeners begin in (n,): where in the histories each of them met it."""
    places = np.concatenate([[0], np.cumsum(np.bincount(of.track, minlength=tracks))])
    rows = np.arange(len(of.track), dtype=np.int32 if len(of.track) < 2**31 else np.int64)
    return places, grouped(rows, of.track, places[:-1].copy())


@numba.njit(nogil=True, cache=True)
def _reached(starts: np.ndarray, track: np.ndarray, most: int, tracks: int) -> np.ndarray:
    """(tracks,) float64: the lengths of the histories in which each stands, each no longer than the most."""
    total = np.zeros(tracks)
    for user in range(len(starts) - 1):
        length = min(starts[user + 1] - starts[user], most)
        for row in range(starts[user], starts[user + 1]):
            total[track[row]] += length
    return total


@numba.njit(nogil=True, cache=True)
def _add_squares(
    starts: np.ndarray, track: np.ndarray, worth: np.ndarray, scale: np.ndarray, total: np.ndarray
) -> None:
    for user in range(len(starts) - 1):
        for row in range(starts[user], starts[user + 1]):
            total[track[row]] += scale[user] * np.float64(worth[row]) ** 2


@numba.njit(nogil=True, cache=True)
def _add_places(starts: np.ndarray, track: np.ndarray, at: np.ndarray, total: np.ndarray) -> None:
    for user in range(len(starts) - 1):
        first, stop = starts[user], starts[user + 1]
        begin = first
        while begin < stop:
            end = begin + 1
            while end < stop and at[end] == at[begin]:
                end += 1
            place = (begin - first + (end - begin) / 2.0) / (stop - first)
            for row in range(begin, end):
                total[track[row]] += place
            begin = end


@numba.njit(nogil=True, cache=True)
def _pack(start: int, stop: int, starts: np.ndarray, track: np.ndarray, at: np.ndarray, packed: np.ndarray) -> None:
    """Histories [start, stop) as single numbers: the track, above it which moment of the history it is, and `FIRST`.

    What is met together stands together, so that to look at it is to wait for memory once.
    """
    for user in range(start, stop):
        moment = np.int64(0)
        for row in range(starts[user], starts[user + 1]):
            if row == starts[user]:
                packed[row] = FIRST | track[row]
            else:
                moment += at[row] != at[row - 1]
                packed[row] = (moment << 32) | track[row]


@numba.njit(nogil=True, cache=True)
def _count_later(near: np.ndarray, count: np.ndarray, touched: np.ndarray, held: int) -> int:
    """Counts what stands behind the first of each row and was met later; returns how many tracks are touched then."""
    for own in range(len(near)):
        moment = (near[own, 0] & ~FIRST) >> 32
        for step in range(1, near.shape[1]):
            other = near[own, step]
            if other < 0:  # another history begins
                break
            if other >> 32 > moment:
                follower = other & 0xFFFFFFFF
                if count[follower] == 0:
                    touched[held] = follower
                    held += 1
                count[follower] += 1
    return held


@numba.njit(nogil=True, cache=True)
def _followers(
    start: int,
    stop: int,
    places: np.ndarray,
    met: np.ndarray,
    packed: np.ndarray,
    reach: int,
    least: int,
    found: np.ndarray,
    values: np.ndarray,
) -> None:
    """Fills `found` and `values` for tracks [start, stop).

    Some listeners' rows are copied before the first is looked at: a processor waits for many at once then.
    """
    count = np.zeros(len(places) - 1, np.int32)
    touched = np.empty(len(count), np.int32)
    near = np.empty((AT_ONCE, reach + 1), np.int64)
    for number in range(start, stop):
        held = 0
        for begin in range(places[number], places[number + 1], AT_ONCE):
            size = min(places[number + 1] - begin, AT_ONCE)
            for own in range(size):
                row = np.uint64(met[begin + own])
                for step in range(reach + 1):
                    near[own, step] = packed[row + np.uint64(step)]
            held = _count_later(near[:size], count, touched, held)
        kept = 0
        for place in range(held):
            follower = touched[place]
            if count[follower] >= least:
                kept = offer(found[number], values[number], kept, follower, count[follower])
            count[follower] = 0
