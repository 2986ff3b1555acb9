"""The one top-k and the one tie rule: higher score first, then the lower number."""

import numpy as np
from numba import njit

RUN = 8
"""Entries that are sorted by insertion before runs are merged."""


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The columns of the k highest scores of each row.

    Args:
        scores: (n_rows, n) float; -inf (or NaN) marks what may not be chosen. Not changed.
        k: how many at most.

    Returns:
        (n_rows, min(k, n)) int32, best first; ties go to the lower column; -1 marks an empty slot.
    """
    best = np.full((len(scores), min(k, scores.shape[1])), -1, np.int32)
    if best.size:
        _top_k(np.ascontiguousarray(scores), best)
    return best


@njit(nogil=True, cache=True)
def _top_k(scores: np.ndarray, best: np.ndarray) -> None:
    """Keeps what is no worse than the k-th, found by partition, and sorts that alone."""
    width, most = scores.shape[1], best.shape[1]
    values, columns = np.empty(width), np.empty(width, np.int32)
    merged, merged_columns = np.empty(most), np.empty(most, np.int32)
    for row in range(len(scores)):
        count = 0
        for column in range(width):
            value = np.float64(scores[row, column])
            values[count], columns[count] = value, column
            count += 1 if value > -np.inf else 0  # so is no NaN
        if count > most:
            count = _keep_best(values, columns, count, most)
        _sort(values, columns, merged, merged_columns, count)
        best[row, :count] = columns[:count]


@njit(nogil=True, cache=True)
def _keep_best(values: np.ndarray, columns: np.ndarray, count: int, most: int) -> int:
    """Moves the `most` best of the first `count` to the front, in their order; how many those are."""
    last = np.partition(values[:count], count - most)[count - most]
    room = most - int(np.sum(values[:count] > last))
    kept = 0
    for place in range(count):
        value = values[place]
        if value > last or (value == last and room > 0):
            room -= 1 if value == last else 0
            values[kept], columns[kept] = value, columns[place]
            kept += 1
    return kept


@njit(nogil=True, cache=True)
def _sort(values: np.ndarray, columns: np.ndarray, merged: np.ndarray, merged_columns: np.ndarray, count: int) -> None:
    """Sorts the first `count` by falling value, keeping the order of equals: runs by insertion, then merged."""
    for start in range(0, count, RUN):
        for at in range(start + 1, min(start + RUN, count)):
            value, column, place = values[at], columns[at], at
            while place > start and values[place - 1] < value:
                values[place], columns[place] = values[place - 1], columns[place - 1]
                place -= 1
            values[place], columns[place] = value, column
    size = RUN
    while size < count:
        for start in range(0, count, 2 * size):
            middle, stop = min(start + size, count), min(start + 2 * size, count)
            one, other = start, middle
            for place in range(start, stop):
                if one < middle and (other >= stop or values[one] >= values[other]):
                    merged[place], merged_columns[place] = values[one], columns[one]
                    one += 1
                else:
                    merged[place], merged_columns[place] = values[other], columns[other]
                    other += 1
        values[:count], columns[:count] = merged[:count], merged_columns[:count]
        size *= 2
