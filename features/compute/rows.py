"""One row of a sparse matrix as two plain arrays: scipy's own indexing costs a hundred times as much."""

import numpy as np
import scipy.sparse as sp
from numba import njit

LEAP = 16
"""From so many entries for each one wanted on, halving finds it sooner than walking."""


def sparse_row(matrix: sp.csr_matrix, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) column numbers and (n,) values of one row; views, not to be written to."""
    span = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return matrix.indices[span], matrix.data[span]


def dense_block(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(r, c) float64: the entries of some rows and some distinct columns; no entry of `matrix` stands twice."""
    block = np.zeros((len(rows), len(columns)))
    if not matrix.has_sorted_indices:
        matrix = matrix.sorted_indices()
    order = np.argsort(columns, kind="stable")
    _fill(matrix.indptr, matrix.indices, matrix.data, rows, columns[order], order, block)
    return block


@njit(nogil=True, cache=True)
def _fill(
    begin: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    rows: np.ndarray,
    wanted: np.ndarray,
    place: np.ndarray,
    block: np.ndarray,
) -> None:
    """Walks along each row and the wanted columns, both ascending; leaps in the row where that is much the longer."""
    for row in range(len(rows)):
        at, end = begin[rows[row]], begin[rows[row] + 1]
        leaps = end - at > LEAP * len(wanted)
        for number in range(len(wanted)):
            if leaps:
                high = end
                while at < high:
                    middle = (at + high) // 2
                    if column[middle] < wanted[number]:
                        at = middle + 1
                    else:
                        high = middle
            while at < end and column[at] < wanted[number]:
                at += 1
            if at == end:
                break
            if column[at] == wanted[number]:
                block[row, place[number]] = value[at]


def row_entries(matrix: sp.csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) each: of the entries of some rows the place of the row in `rows`, the column and the value."""
    begin, end = matrix.indptr[rows].astype(np.int64), matrix.indptr[rows + 1].astype(np.int64)
    place = spans(begin, end)
    return np.repeat(np.arange(len(rows)), end - begin), matrix.indices[place], matrix.data[place]


def spans(first: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """All whole numbers of (n,) spans, one span behind the other."""
    size = ends - first
    behind = np.cumsum(size)
    return np.arange(int(behind[-1]) if len(behind) else 0) + np.repeat(first - behind + size, size)
