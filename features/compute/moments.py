"""When pairs of user and track began and were last confirmed, and how recent each is beside the user's others.

Both go row by row of a sparse matrix of pairs, so that nothing as long as all plays is sorted or copied.
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
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
) -> None:
    """Lowers `first` and raises `last` to the moments of events.

    Args:
        indptr: (users + 1,) of the matrix of pairs.
        indices: (pairs,) its columns, ascending in each row.
        user: (n,) of the events, in any order; those of no pair of the matrix don't count.
        track: (n,)
        at: (n,) ms.
        completion: (n,) what is below `skipped` doesn't count; NaN is below nothing.
        skipped: as above.
        first: (pairs,) written to.
        last: (pairs,) likewise.
    """
    for event in range(len(user)):
        if completion[event] < skipped:
            continue
        low, high = indptr[user[event]], indptr[user[event] + 1]
        end = high
        while low < high:
            middle = (low + high) >> 1
            if indices[middle] < track[event]:
                low = middle + 1
            else:
                high = middle
        if low < end and indices[low] == track[event]:
            first[low] = min(first[low], at[event])
            last[low] = max(last[low], at[event])


def later_in_row(indptr: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(pairs,) int32: how many entries of the same row have a later moment. Entries of one moment have the same."""
    return _beside_in_row(indptr, at, later=True)


def earlier_in_row(indptr: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(pairs,) int32: how many entries of the same row have an earlier moment; likewise."""
    return _beside_in_row(indptr, at, later=False)


@numba.njit(nogil=True, cache=True)
def _beside_in_row(indptr: np.ndarray, at: np.ndarray, later: bool) -> np.ndarray:
    count = np.empty(len(at), np.int32)
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        in_order = np.sort(at[start:stop])
        for entry in range(start, stop):
            if later:
                count[entry] = stop - start - np.searchsorted(in_order, at[entry], side="right")
            else:
                count[entry] = np.searchsorted(in_order, at[entry])
    return count
