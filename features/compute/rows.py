"""One row of a sparse matrix as two plain arrays: scipy's own indexing costs a hundred times as much."""

import numpy as np
import scipy.sparse as sp


def sparse_row(matrix: sp.csr_matrix, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) column numbers and (n,) values of one row; views, not to be written to."""
    span = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return matrix.indices[span], matrix.data[span]


def dense_block(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(r, c) float64: the entries of some rows and some distinct columns; no entry of `matrix` stands twice."""
    begin, length = matrix.indptr[rows].astype(np.int64), np.diff(matrix.indptr)[rows].astype(np.int64)
    ends = np.cumsum(length)
    place = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - ends + length, length)
    position = np.full(matrix.shape[1], -1, np.int64)
    position[columns] = np.arange(len(columns))
    column = position[matrix.indices[place]]
    inside = column >= 0
    block = np.zeros((len(rows), len(columns)))
    block[np.repeat(np.arange(len(rows)), length)[inside], column[inside]] = matrix.data[place[inside]]
    return block
