"""Who listens to which track, laid out for counting what users have in common: lists, and bits for popular tracks.

Users are put in places by how many tracks they have, fewest first, and places in tiles of 32,768. So those who stand
together are of like size, and one bound on the overlap does for all of them. In each tile a track has either the list
of its listeners' places there, two bytes each, or, if it has many, a row of bits, one a place.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.bits import LANES

TILE = 1 << 15
"""Places of a tile: counters of a byte each fill what is nearest to the processor, and a place takes two bytes."""
WORDS = TILE // LANES
MOST_TRACKS = 1 << 25
"""A user must have fewer tracks than this."""
POPULAR = 400
"""Listeners in a tile from which a track is a row of bits there: about where both cost the same."""


class OverlapIndex(NamedTuple):
    """Arrays that any number of threads read, and that can be sent to another process.

    Users by number, tracks renumbered by popularity:
        starts: (users + 1,) int64, where each user's tracks begin.
        tracks: (pairs,) int32, each user's most popular first.
        place_of: (users,) int32, -1 for who has too few tracks to be anybody's neighbour.

    Places, by number of tracks, then by user:
        placed: (places, 2) int32, the user and how many tracks they have, which are asked for together.

    Listeners of tracks, by tile:
        begins: (tiles, tracks + 1) uint32, or int64 beyond: where each track's list begins in `listeners`.
        listeners: (listed pairs,) uint16, places within the tile.
        row_of: (tiles, n) int32, rows of bits of the n most popular tracks, 0 for who has a list; others have lists.
        bits: (rows * WORDS,) uint64, one row after the other; row 0 is nobody's.
    """

    starts: np.ndarray
    tracks: np.ndarray
    place_of: np.ndarray
    placed: np.ndarray
    begins: np.ndarray
    listeners: np.ndarray
    row_of: np.ndarray
    bits: np.ndarray


def overlap_index(tracks: sp.csr_matrix, *, min_common: int, popular: int = POPULAR) -> OverlapIndex:
    """Lays out a matrix for `overlap_kernel`; what it takes is about 8 bytes a pair and 4 KB a row of bits.

    Args:
        tracks: (users, tracks) CSR; what is stored counts, whatever its value, and is stored once.
        min_common: users with fewer tracks have no place.
        popular: listeners in a tile from which a track is a row of bits.

    Raises:
        ValueError: somebody has 2^25 tracks or more, beyond which shares would not be exact.
    """
    starts = tracks.indptr.astype(np.int64)
    every = np.diff(starts)
    if every.max(initial=0) >= MOST_TRACKS:
        raise ValueError(
            f"user number {every.argmax()} has {every.max():,} tracks, and of {MOST_TRACKS:,} or more overlaps would "
            "be inexact; leave that user out"
        )
    every = every.astype(np.int32)
    counts = np.bincount(tracks.indices, minlength=tracks.shape[1])
    number = np.empty(tracks.shape[1], np.int32)
    number[np.argsort(-counts, kind="stable")] = np.arange(tracks.shape[1], dtype=np.int32)
    renumbered = number[tracks.indices]
    _sort_rows(starts, renumbered)

    order = np.argsort(every, kind="stable")
    user_at = order[np.searchsorted(every[order], min_common) :].astype(np.int32)
    place_of = np.full(len(every), -1, np.int32)
    place_of[user_at] = np.arange(len(user_at), dtype=np.int32)

    tiles = -(-len(user_at) // TILE)
    listed = np.zeros((tiles, tracks.shape[1]), np.int64)
    _count(starts, renumbered, place_of, listed)
    is_row = listed >= popular
    ranked = np.flatnonzero(is_row.any(axis=0))
    row_of = np.zeros((tiles, ranked[-1] + 1 if len(ranked) else 0), np.int32)
    row_of[is_row[:, : row_of.shape[1]]] = np.arange(1, is_row.sum() + 1)
    listed[is_row] = 0
    ends = np.cumsum(listed, out=listed.reshape(-1)).reshape(listed.shape)
    pairs = ends[-1, -1] if ends.size else 0
    begins = np.zeros((tiles, tracks.shape[1] + 1), np.uint32 if pairs < 1 << 32 else np.int64)
    begins[:, 1:] = ends
    begins[1:, 0] = ends[:-1, -1] if tracks.shape[1] else 0
    listeners = np.empty(pairs, np.uint16)
    bits = np.zeros((is_row.sum() + 1) * WORDS, np.uint64)
    _fill(starts, renumbered, place_of, begins[:, :-1].copy(), listeners, row_of, bits)
    return OverlapIndex(
        starts,
        renumbered,
        place_of,
        np.stack([user_at, every[user_at]], axis=1),
        begins,
        listeners,
        row_of,
        bits,
    )


@njit(nogil=True, cache=True)
def _sort_rows(starts: np.ndarray, tracks: np.ndarray) -> None:
    for user in range(len(starts) - 1):
        tracks[starts[user] : starts[user + 1]].sort()


@njit(nogil=True, cache=True)
def _count(starts: np.ndarray, tracks: np.ndarray, place_of: np.ndarray, listed: np.ndarray) -> None:
    """Adds up `listed` (tiles, tracks): listeners of each track in each tile."""
    for user in range(len(starts) - 1):
        if place_of[user] >= 0:
            tile = place_of[user] // TILE
            for at in range(starts[user], starts[user + 1]):
                listed[tile, tracks[at]] += 1


@njit(nogil=True, cache=True)
def _fill(
    starts: np.ndarray,
    tracks: np.ndarray,
    place_of: np.ndarray,
    free: np.ndarray,
    listeners: np.ndarray,
    row_of: np.ndarray,
    bits: np.ndarray,
) -> None:
    """Writes `listeners` and `bits`; `free` (tiles, tracks) is the next place of each list."""
    for user in range(len(starts) - 1):
        if place_of[user] < 0:
            continue
        tile, local = place_of[user] // TILE, place_of[user] % TILE
        for at in range(starts[user], starts[user + 1]):
            track = tracks[at]
            row = row_of[tile, track] if track < row_of.shape[1] else 0
            if row > 0:
                bits[row * WORDS + local // LANES] |= np.uint64(1) << np.uint64(local % LANES)
            else:
                listeners[free[tile, track]] = local
                free[tile, track] += 1
