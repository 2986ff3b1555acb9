"""The best tracks of every user by the product of factors, out of all tracks, exact, without a users × tracks matrix.

The obvious way is `top_k(users @ tracks.T)`. This one never has that product whole, and differs in one thing: what is
compared are not the float32 products of BLAS, whose last bits depend on the shapes of its blocks and on the machine,
but sums in float64 in a fixed order. BLAS only says which few are worth summing up:

1. Tracks are laid out by the length of their factors, longest first. The good ones come early, and as soon as
   |user| · |track| is below a user's n-th best score, no later track can enter (Cauchy & Schwarz): the user is done.
2. A block of users times a block of tracks is one float32 matrix product that stays in the cache; what was heard is
   written over with -inf.
3. One pass over it passes over, a chunk at a time, what is below the user's n-th best score by more than float32 can
   be wrong, d · 2^-24 · |user| · |track| (Higham 2002, section 3.1), whatever the order of its sums. The first block is
   wide, and the bar in it is what n of its products reach, by the maxima of groups.
4. What is left, little more than n tracks, is summed up in float64 and goes through a heap of the n best under a total
   order: the higher score, then the lower number.

So the result depends neither on blocks, shards and threads nor on the BLAS. Cost: that of the matrix product and half
as much again; less where tracks' lengths differ. Memory: a copy of the tracks' factors and, each thread, a block of
products.

Source:
    Teflioudi, Gemulla & Mykytiuk (2015), "LEMP: fast retrieval of large entries in a matrix product", for the bound by
    length.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.shards import over_shards

USER_BLOCK, TRACK_BLOCK = 1024, 576
"""A block of products takes two megabytes: it is read where it was written, in the cache. Rows of it are no power of
two apart, or they would crowd into the same lines of the cache."""
CHUNK = 64
"""Products that are passed over together where none is high enough."""
GROUP, SEED_GROUPS = 8, 4
"""Products of which the highest is taken for the first bar, and of those groups how many for each place in the list."""
ROUNDING = 2.0**-24
"""Of float32, relative."""
TINY = 2.0**-120
"""More than float32 loses where products are too small for it."""
LARGEST = 1e30
"""Of a score's bound: float32 ends at 3e38, and a product of blocks must not get there on the way."""


@dataclass(frozen=True, eq=False)
class TopN:
    """The best tracks of users, best first.

    Attributes:
        tracks: (users, n) int32; ties go to the lower number; -1 marks an empty slot.
        scores: (users, n) float32, products of factors, -inf in an empty slot.
    """

    tracks: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class TracksByLength:
    """Tracks' factors in the order in which they are tried.

    Attributes:
        factors: (tracks, d) float32, longest first.
        numbers: (tracks,) int32: of the tracks; among those of one length the lower comes first.
        places: (tracks,) int32: where each number stands.
        lengths: (tracks,) float64, of `factors`, falling.
    """

    factors: np.ndarray
    numbers: np.ndarray
    places: np.ndarray
    lengths: np.ndarray


def by_length(factors: np.ndarray) -> TracksByLength:
    """Lays tracks out.

    Args:
        factors: (tracks, d) float32.

    Raises:
        ValueError: a factor is not finite.
    """
    lengths = _lengths(factors, "tracks")
    order = np.argsort(-lengths, kind="stable")
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    laid_out = np.ascontiguousarray(factors[order], np.float32)
    return TracksByLength(laid_out, order.astype(np.int32), places, lengths[order])


def top_n(
    users: np.ndarray, tracks: np.ndarray, heard: sp.csr_matrix, n: int, *, threads: int = 1, rows: int = 2048
) -> TopN:
    """The n tracks of the highest products with each user that the user has not heard.

    Args:
        users: (users, d) float32.
        tracks: (tracks, d) float32.
        heard: (users, tracks) CSR, indices sorted: its pairs are left out, whatever their values.
        n: how many at most.
        threads: to use; BLAS should be held to one (threadpoolctl), or they stand in each other's way.
        rows: users of a shard.

    Returns:
        `min(n, tracks)` columns; the same for any number of threads and rows.

    Raises:
        ValueError: a factor is not finite, or so large that float32 could not hold a score.
    """
    laid_out = by_length(tracks)
    ranges = [(start, min(start + rows, len(users))) for start in range(0, len(users), rows)]
    parts = over_shards(
        lambda start, stop: top_n_of(users[start:stop], laid_out, heard[start:stop], n), ranges, threads
    )
    width = min(n, len(tracks))
    return TopN(
        np.concatenate([np.zeros((0, width), np.int32), *(part.tracks for part in parts)]),
        np.concatenate([np.zeros((0, width), np.float32), *(part.scores for part in parts)]),
    )


def top_n_of(users: np.ndarray, tracks: TracksByLength, heard: sp.csr_matrix, n: int) -> TopN:
    """`top_n` of some users, on this thread.

    Args:
        users: (rows, d) float32.
        tracks: laid out.
        heard: (rows, tracks) CSR of these users, indices sorted.
        n: how many at most.
    """
    users = np.ascontiguousarray(users, np.float32)
    lengths = _lengths(users, "users")
    if len(lengths) and len(tracks.lengths) and lengths.max() * tracks.lengths[0] > LARGEST:
        raise ValueError(
            f"a user's factors times a track's may reach {lengths.max() * tracks.lengths[0]:.0e}; float32 can't hold "
            f"their products beyond {LARGEST:.0e}, divide factors by what makes them smaller"
        )
    shape = (len(users), min(n, len(tracks.numbers)))
    best, numbers = np.full(shape, -np.inf), np.full(shape, -1, np.int32)  # heaps that anything may enter
    if best.size:
        begins, columns = heard.indptr.astype(np.int64), heard.indices.astype(np.int32, copy=False)
        no_taste = lengths == 0.0
        bounds = _track_blocks(len(tracks.numbers), shape[1])
        hidden, next_hidden = _places(columns, begins, tracks.places), begins[:-1].copy()
        room = np.empty(USER_BLOCK * max(end - first for first, end in bounds), np.float32)
        for start in range(0, len(users), USER_BLOCK):
            rows = start + np.flatnonzero(~no_taste[start : start + USER_BLOCK])
            factors = users[rows]
            for first, end in bounds:
                bound = lengths[rows] * tracks.lengths[first]
                going_on = ~(best[rows, 0] > bound * (1.0 + 1e-9))  # the worst stands in front
                if not going_on.all():
                    rows, bound = rows[going_on], bound[going_on]
                    factors = users[rows]
                if not len(rows):
                    break
                made = room[: len(rows) * (end - first)].reshape(len(rows), end - first)
                np.matmul(factors, tracks.factors[first:end].T, out=made)
                _hide(made, first, rows, hidden, next_hidden, begins)
                wrong = 2.0 * (users.shape[1] + 2) * ROUNDING * bound + TINY
                _offer(made, first, rows, wrong, users, tracks.factors, tracks.numbers, best, numbers)
        _put_in_order(best, numbers)
        _first_unheard(np.flatnonzero(no_taste), begins, columns, len(tracks.numbers), best, numbers)
    return TopN(numbers, best.astype(np.float32))


def _track_blocks(tracks: int, n: int) -> list[tuple[int, int]]:
    """Blocks of tracks; the first is wide enough that its groups' maxima say much of the n-th best score."""
    wide = max(TRACK_BLOCK, SEED_GROUPS * GROUP * n)
    bounds = [0, *range(min(wide, tracks), tracks, TRACK_BLOCK), tracks]
    return list(pairwise(bounds))


def _lengths(factors: np.ndarray, whose: str) -> np.ndarray:
    """(rows,) float64: Euclidean, of float32 factors that must be finite."""
    lengths = np.sqrt(np.einsum("ij,ij->i", factors, factors, dtype=np.float64))
    if not np.isfinite(lengths).all():
        culprit = int(np.flatnonzero(~np.isfinite(lengths))[0])
        raise ValueError(
            f"{int((~np.isfinite(lengths)).sum())} of the {whose} have factors that are not finite, first number "
            f"{culprit}; fit the model anew or leave them out"
        )
    return np.asarray(lengths)


@njit(nogil=True, cache=True)
def _places(columns: np.ndarray, begins: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(pairs,) int32: where what was heard stands among the tracks as they are tried, ascending in each row."""
    made = places[columns]
    for row in range(len(begins) - 1):
        made[begins[row] : begins[row + 1]].sort()
    return made


@njit(nogil=True, cache=True)
def _hide(
    products: np.ndarray, first: int, rows: np.ndarray, hidden: np.ndarray, next_hidden: np.ndarray, begins: np.ndarray
) -> None:
    """Writes -inf over the products with what was heard, and moves `next_hidden` on."""
    for line in range(len(rows)):
        row = rows[line]
        while next_hidden[row] < begins[row + 1] and hidden[next_hidden[row]] < first + products.shape[1]:
            products[line, hidden[next_hidden[row]] - first] = -np.inf
            next_hidden[row] += 1


@njit(nogil=True, cache=True)
def _offer(
    products: np.ndarray,
    first: int,
    rows: np.ndarray,
    wrong: np.ndarray,
    users: np.ndarray,
    factors: np.ndarray,
    order: np.ndarray,
    best: np.ndarray,
    numbers: np.ndarray,
) -> None:
    """Offers each row's products with the tracks from `first` on to the row's heap in `best` and `numbers`."""
    n = best.shape[1]
    for line in range(len(rows)):
        row, of_row = rows[line], products[line]
        least = _least(best[row, 0], wrong[line])
        if first == 0 and len(of_row) >= 2 * GROUP * n:
            least = _least(_seed(of_row, n) - wrong[line], wrong[line])
        start = _next_chunk(of_row, 0, least)
        while start < len(of_row):
            for place in range(start, min(start + CHUNK, len(of_row))):
                if of_row[place] < least or of_row[place] == -np.inf:
                    continue
                number, score = order[first + place], _product(users, row, factors, first + place)
                if _is_worse(best[row, 0], numbers[row, 0], score, number):
                    _sink(best, numbers, row, n, score, number)
                    least = max(least, _least(best[row, 0], wrong[line]))
            start = _next_chunk(of_row, start + CHUNK, least)


@njit(nogil=True, cache=True)
def _seed(products: np.ndarray, n: int) -> np.float32:
    """float32 that n products reach: the n-th highest of the maxima of groups, each of every so-manieth product."""
    groups = len(products) // GROUP
    highest = products[:groups].copy()
    for start in range(groups, groups * GROUP, groups):
        some = products[start : start + groups]
        for group in range(groups):
            highest[group] = max(some[group], highest[group])
    return np.partition(highest, groups - n)[groups - n]


@njit(nogil=True, cache=True)
def _next_chunk(products: np.ndarray, start: int, least: np.float32) -> int:
    """Where the first chunk from `start` on begins that has a product of `least` or more; the end if there is none."""
    while start < len(products):
        chunk = products[start : min(start + CHUNK, len(products))]
        count = 0
        for place in range(len(chunk)):  # to the end: a loop that stops early is not done in vectors
            count += chunk[place] >= least
        if count:
            return start
        start += CHUNK
    return len(products)


@njit(nogil=True, cache=True)
def _least(worst: float, wrong: float) -> np.float32:
    """float32 at which a product may stand for a score of `worst` or more."""
    return np.float32(worst - wrong - abs(worst) * 2.0**-22)


@njit(nogil=True, cache=True)
def _product(users: np.ndarray, user: int, factors: np.ndarray, track: int) -> float:
    """float64 sum, every eighth dimension by itself and then those eight; products of float32 are exact in it."""
    a = b = c = d = e = f = g = h = 0.0
    whole = users.shape[1] // 8 * 8
    for k in range(0, whole, 8):
        a += np.float64(users[user, k]) * np.float64(factors[track, k])
        b += np.float64(users[user, k + 1]) * np.float64(factors[track, k + 1])
        c += np.float64(users[user, k + 2]) * np.float64(factors[track, k + 2])
        d += np.float64(users[user, k + 3]) * np.float64(factors[track, k + 3])
        e += np.float64(users[user, k + 4]) * np.float64(factors[track, k + 4])
        f += np.float64(users[user, k + 5]) * np.float64(factors[track, k + 5])
        g += np.float64(users[user, k + 6]) * np.float64(factors[track, k + 6])
        h += np.float64(users[user, k + 7]) * np.float64(factors[track, k + 7])
    rest = 0.0
    for k in range(whole, users.shape[1]):
        rest += np.float64(users[user, k]) * np.float64(factors[track, k])
    return ((a + b) + (c + d)) + ((e + f) + (g + h)) + rest


@njit(nogil=True, cache=True)
def _is_worse(score: float, number: int, other_score: float, other_number: int) -> bool:
    """Whether the first stands below the second: a lower score, or the same and a higher number."""
    return score < other_score or (score == other_score and number > other_number)


@njit(nogil=True, cache=True)
def _sink(best: np.ndarray, numbers: np.ndarray, row: int, size: int, score: float, number: int) -> None:
    """Puts an entry in the place of the worst, which stands in front, of a row's heap of `size`."""
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and _is_worse(
            best[row, below + 1], numbers[row, below + 1], best[row, below], numbers[row, below]
        ):
            below += 1
        if not _is_worse(best[row, below], numbers[row, below], score, number):
            break
        best[row, place], numbers[row, place] = best[row, below], numbers[row, below]
        place = below
    best[row, place], numbers[row, place] = score, number


@njit(nogil=True, cache=True)
def _put_in_order(best: np.ndarray, numbers: np.ndarray) -> None:
    """Turns each row's heap into a list, best first."""
    for row in range(len(best)):
        for last in range(best.shape[1] - 1, 0, -1):
            score, number = best[row, last], numbers[row, last]
            best[row, last], numbers[row, last] = best[row, 0], numbers[row, 0]
            _sink(best, numbers, row, last, score, number)


@njit(nogil=True, cache=True)
def _first_unheard(
    rows: np.ndarray, begins: np.ndarray, columns: np.ndarray, tracks: int, best: np.ndarray, numbers: np.ndarray
) -> None:
    """Fills rows whose every score is 0: ties all over, so that the lowest numbers win."""
    for row in rows:
        heard, end, filled = begins[row], begins[row + 1], 0
        for number in range(tracks):
            if heard < end and columns[heard] == number:
                heard += 1
            elif filled < best.shape[1]:
                best[row, filled], numbers[row, filled] = 0.0, number
                filled += 1
            else:
                break
