"""What was listened to and what was said of it, as one set of matrices."""

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.pair_sums import FIXED_POINT, PairSums

BLOCK = 1 << 20
"""Pairs whose logarithm is taken at a time."""


def united(
    heard: sp.csr_matrix, said: PairSums, disliked: sp.csr_matrix
) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    """Weights, and what else there is to know of each pair that was listened to or spoken of.

    Args:
        heard: float64 CSR (users, tracks), canonical: what was listened to, from 0 on; zeros are stored.
        said: the worth of feedback by pair; holds every disliked pair.
        disliked: bool CSR (users, tracks).

    Returns:
        Weights: heard + said, where that is above zero and the pair not disliked. What is known: all pairs. Aversion:
        how far that is below zero, 1 at most, and 1 where disliked. See `Interactions`.
    """
    shape = heard.shape
    users = np.repeat(np.arange(shape[0]), np.diff(said.indptr))
    opinions = said.sums / FIXED_POINT
    _add_heard(heard.indptr, heard.indices, heard.data, users, said.indices, opinions)
    averse = np.isin(users * shape[1] + said.indices, _keys(disliked))
    aversion = np.where(averse, 1.0, np.clip(-opinions, 0.0, 1.0))
    put_off = aversion > 0.0
    opinions[averse] = 0.0
    parts = (heard.indptr, heard.indices, heard.data, said.indptr, said.indices, opinions)
    known_begin, drawn_begin = np.zeros(shape[0] + 1, np.int64), np.zeros(shape[0] + 1, np.int64)
    _measure(*parts, known_begin, drawn_begin)
    known, drawn = np.empty(known_begin[-1], np.int32), np.empty(drawn_begin[-1], np.int32)
    weights = np.empty(drawn_begin[-1])
    _merge(*parts, known, drawn, weights)
    return (
        csr(weights, drawn, drawn_begin, shape),
        csr(np.ones(len(known), bool), known, known_begin, shape),
        sp.csr_matrix((aversion[put_off], (users[put_off], said.indices[put_off])), shape=shape),
    )


def logarithms(sums: np.ndarray) -> np.ndarray:
    """(pairs,) float64: log2(1 + sum) of sums in units of 1 / FIXED_POINT, 0 for those below zero."""
    logs = np.empty(len(sums))
    for start in range(0, len(sums), BLOCK):
        block = sums[start : start + BLOCK] / FIXED_POINT
        logs[start : start + BLOCK] = np.log2(1.0 + np.maximum(block, 0.0))
    return logs


def csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """A matrix of its parts, with indices as narrow as they can be."""
    kind = np.int32 if len(data) <= np.iinfo(np.int32).max else np.int64
    return sp.csr_matrix((data, indices.astype(kind, copy=False), indptr.astype(kind)), shape=shape)


def _keys(matrix: sp.csr_matrix) -> np.ndarray:
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.asarray(users * matrix.shape[1] + matrix.indices)


@njit(nogil=True, cache=True)
def _add_heard(
    indptr: np.ndarray,
    indices: np.ndarray,
    heard: np.ndarray,
    users: np.ndarray,
    tracks: np.ndarray,
    opinions: np.ndarray,
) -> None:
    """Adds to the opinion of each pair (users, tracks) what was heard of it."""
    for pair in range(len(users)):
        first, last = indptr[users[pair]], indptr[users[pair] + 1]
        at = first + np.searchsorted(indices[first:last], tracks[pair])
        if at < last and indices[at] == tracks[pair]:
            opinions[pair] += heard[at]


@njit(nogil=True, cache=True)
def _measure(
    heard_begin: np.ndarray,
    heard_tracks: np.ndarray,
    heard: np.ndarray,
    said_begin: np.ndarray,
    said_tracks: np.ndarray,
    said: np.ndarray,
    known_begin: np.ndarray,
    drawn_begin: np.ndarray,
) -> None:
    """Where each user's pairs begin among all, and among those with weight, in `known_begin` and `drawn_begin`."""
    for user in range(len(heard_begin) - 1):
        a, b = heard_begin[user], said_begin[user]
        pairs = drawn = 0
        while a < heard_begin[user + 1] or b < said_begin[user + 1]:
            a, b, _, weight = _next(
                heard_tracks, heard, said_tracks, said, a, heard_begin[user + 1], b, said_begin[user + 1]
            )
            pairs += 1
            drawn += weight > 0.0
        known_begin[user + 1] = known_begin[user] + pairs
        drawn_begin[user + 1] = drawn_begin[user] + drawn


@njit(nogil=True, cache=True)
def _merge(
    heard_begin: np.ndarray,
    heard_tracks: np.ndarray,
    heard: np.ndarray,
    said_begin: np.ndarray,
    said_tracks: np.ndarray,
    said: np.ndarray,
    known: np.ndarray,
    drawn: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Writes the tracks of all pairs into `known`, those with weight into `drawn`, and their weights."""
    pairs = with_weight = 0
    for user in range(len(heard_begin) - 1):
        a, b = heard_begin[user], said_begin[user]
        while a < heard_begin[user + 1] or b < said_begin[user + 1]:
            a, b, track, weight = _next(
                heard_tracks, heard, said_tracks, said, a, heard_begin[user + 1], b, said_begin[user + 1]
            )
            known[pairs] = track
            pairs += 1
            if weight > 0.0:
                drawn[with_weight], weights[with_weight] = track, weight
                with_weight += 1


@njit(nogil=True, cache=True)
def _next(
    heard_tracks: np.ndarray,
    heard: np.ndarray,
    said_tracks: np.ndarray,
    said: np.ndarray,
    a: int,
    a_end: int,
    b: int,
    b_end: int,
) -> tuple[int, int, int, float]:
    """The next pair of two sorted rows: where to go on in each, its track and weight. What was said includes heard."""
    if b == b_end or (a < a_end and heard_tracks[a] < said_tracks[b]):
        return a + 1, b, heard_tracks[a], heard[a]
    if a < a_end and heard_tracks[a] == said_tracks[b]:
        return a + 1, b + 1, said_tracks[b], said[b]
    return a, b + 1, said_tracks[b], said[b]
