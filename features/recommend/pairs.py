"""Of single pairs of user and track, whether they may be listed: for candidates, where users × tracks is too much."""

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.gather import place_of
from features.recommend.filters import Filters


def forbidden_pairs(filters: Filters, users: np.ndarray, tracks: np.ndarray, *, include_heard: bool) -> np.ndarray:
    """(n,) bool: what `Filters.forbidden` says of each pair.

    Args:
        filters: of everybody.
        users: (n,) int.
        tracks: (n,) int, none below 0.
        include_heard: True lets in what the user knows.
    """
    actions, dataset = filters.interactions, filters.dataset
    found = holds(actions.disliked, users, tracks)
    if include_heard:
        found |= holds(filters.disliked_otherwise, users, tracks)
    else:
        found |= holds(actions.known, users, tracks)
        found |= holds(filters.known_otherwise, users, tracks)
    found |= ~dataset.explicit_allowed[users] & dataset.catalog.explicit[tracks]
    blocked, row = filters.blocked
    found |= blocked[row[users], tracks]
    return found


def usable(filters: Filters, users: np.ndarray, tracks: np.ndarray | None = None, *, include_heard: bool) -> np.ndarray:
    """(n, tracks) bool: what may be listed.

    Args:
        filters: of everybody.
        users: (n,) who.
        tracks: what the columns stand for (`columns`); nothing may be listed at empty places.
        include_heard: True lets in what the user knows.
    """
    if tracks is None:
        return ~filters.forbidden(users, include_heard=include_heard)
    may = tracks >= 0
    owner = np.repeat(users, may.sum(axis=1))
    may[may] = ~forbidden_pairs(filters, owner, tracks[may], include_heard=include_heard)
    return may


def holds(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a sparse matrix stores an entry at each place."""
    matrix = matrix if matrix.has_sorted_indices else matrix.sorted_indices()
    return np.asarray(_holds(matrix.indptr, matrix.indices, rows, columns))


@numba.njit(nogil=True, cache=True)
def _holds(indptr: np.ndarray, indices: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    found = np.zeros(len(rows), np.bool_)
    for place in range(len(rows)):
        row = rows[place]
        found[place] = place_of(indices, indptr[row], indptr[row + 1], columns[place]) >= 0
    return found
