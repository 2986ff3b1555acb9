"""Sums over listeners' rows that profiles are made of, for chosen users: each walks over their rows once.

The obvious way is sparse products with a matrix for each thing asked. Here what is asked of a track stands side by side
and is added up in one walk, and products of sparse matrices are counted in one array instead of being made. Sums are
added in the order of scipy's products, so the results are the same bits.
"""

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.shards import even_ranges, over_shards


def weighted_sums(
    weights: sp.csr_matrix, users: np.ndarray, said: np.ndarray, shares: sp.csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `weights` times what is said of tracks.

    Args:
        weights: (users, tracks) float64 CSR.
        users: (n,) int32.
        said: (tracks, k) float64.
        shares: (tracks, g) float64 CSR, of so few columns that (n, g) fits dense.

    Returns:
        (n, k) and (n, g) float64.
    """
    sums, shared = np.zeros((len(users), said.shape[1])), np.zeros((len(users), shares.shape[1]))
    _add_weighted(
        *(users, weights.indptr, weights.indices, weights.data, said),
        *(shares.indptr, shares.indices, shares.data, sums, shared),
    )
    return sums, shared


def evenness_sums(
    played: sp.csr_matrix, users: np.ndarray, group: np.ndarray, groups: int, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sums that the entropies of plays by track and by group are made of.

    Args:
        played: (users, tracks) int32 CSR of counts.
        users: (n,) int32.
        group: (tracks,) of each track; -1 for none, which is left out.
        groups: how many.
        logs: by count, up to the most of a user, count · log(count).

    Returns:
        (n,) float64, by track: the sum of count · log(count); (n,) int64 and (n,) float64, by group: the sum of counts,
        and the sum as before.
    """
    size = played.indptr[users + 1] - played.indptr[users]
    by_track, by_group = np.empty(size.sum()), np.empty(size.sum())
    total, met = np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
    _note_logs(
        *(users, played.indptr, played.indices, played.data, group, np.zeros(groups, np.int64)),
        *(logs, by_track, total, met, by_group),
    )
    return row_sums(by_track, size), total, row_sums(by_group, met)


def row_sums(values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n,) float64: sums of values that follow each other, of so many each; what is behind the last is left out."""
    sums, filled = np.zeros(len(size)), np.flatnonzero(size)
    if len(filled):
        begin = np.cumsum(size) - size
        sums[filled] = np.add.reduceat(values[: int(size.sum())], begin[filled])
    return sums


def listeners_of(played: sp.csr_matrix, groups: sp.csr_matrix, threads: int = 1) -> np.ndarray:
    """(groups,) int64: users with a track of each group.

    Args:
        played: (users, tracks) CSR.
        groups: (tracks, groups) CSR: an entry where a track belongs to one.
        threads: one or more; they change nothing.
    """
    parts = over_shards(
        lambda start, stop: _count_listeners(
            *(start, stop, played.indptr, played.indices, groups.indptr, groups.indices), groups.shape[1]
        ),
        even_ranges(np.diff(played.indptr) + 1, 4 * threads),
        threads,
    )
    return np.sum([np.zeros(groups.shape[1], np.int64), *parts], axis=0)


@numba.njit(nogil=True, cache=True)
def counted(numbers: np.ndarray, count: int) -> np.ndarray:
    """(count,) int64: how often each number stands in a column. numpy would write it anew in eight bytes each."""
    found = np.zeros(count, np.int64)
    for row in range(len(numbers)):
        found[numbers[row]] += 1
    return found


@numba.njit(nogil=True, cache=True)
def _add_weighted(
    users: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    said: np.ndarray,
    share_begin: np.ndarray,
    share_column: np.ndarray,
    share: np.ndarray,
    sums: np.ndarray,
    shared: np.ndarray,
) -> None:
    for row in range(len(users)):
        for entry in range(indptr[users[row]], indptr[users[row] + 1]):
            track, weight = np.uint64(indices[entry]), data[entry]
            for k in range(said.shape[1]):
                sums[row, k] += weight * said[track, k]
            for at in range(share_begin[indices[entry]], share_begin[indices[entry] + 1]):
                shared[row, share_column[at]] += weight * share[at]


@numba.njit(nogil=True, cache=True)
def _note_logs(
    users: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    group: np.ndarray,
    counts: np.ndarray,
    logs: np.ndarray,
    by_track: np.ndarray,
    total: np.ndarray,
    met: np.ndarray,
    by_group: np.ndarray,
) -> None:
    """Writes the logs of each user's tracks and groups, one user's after another's, and how many groups each met.

    `counts` are zeros, and are again in the end.
    """
    touched = np.empty(len(counts), np.int32)
    tracks, groups = 0, 0
    for row in range(len(users)):
        held = 0
        for entry in range(indptr[users[row]], indptr[users[row] + 1]):
            by_track[tracks] = logs[data[entry]]
            tracks += 1
            own = group[indices[entry]]
            if own < 0:
                continue
            if counts[own] == 0:
                touched[held] = own
                held += 1
            counts[own] += data[entry]
            total[row] += data[entry]
        touched[:held].sort()  # the order of a product, whose columns ascend when it is summed up
        for place in range(held):
            by_group[groups] = logs[counts[touched[place]]]
            counts[touched[place]] = 0
            groups += 1
        met[row] = held


@numba.njit(nogil=True, cache=True)
def _count_listeners(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    group_begin: np.ndarray,
    group: np.ndarray,
    groups: int,
) -> np.ndarray:
    found, last = np.zeros(groups, np.int64), np.full(groups, -1, np.int64)
    for user in range(start, stop):
        for entry in range(indptr[user], indptr[user + 1]):
            for at in range(group_begin[indices[entry]], group_begin[indices[entry] + 1]):
                if last[group[at]] != user:
                    last[group[at]] = user
                    found[group[at]] += 1
    return found
