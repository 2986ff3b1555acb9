"""One row of a sparse matrix as two plain arrays: scipy's own indexing costs a hundred times as much."""

import numpy as np
import scipy.sparse as sp


def sparse_row(matrix: sp.csr_matrix, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) column numbers and (n,) values of one row; views, not to be written to."""
    span = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return matrix.indices[span], matrix.data[span]


def dense_block(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(r, c) float64: the entries of some rows and some distinct columns; no entry of `matrix` stands twice."""
    row, column, value = row_entries(matrix, rows)
    position = np.full(matrix.shape[1], -1, np.int64)
    position[columns] = np.arange(len(columns))
    place = position[column]
    inside = place >= 0
    block = np.zeros((len(rows), len(columns)))
    block[row[inside], place[inside]] = value[inside]
    return block


def row_entries(matrix: sp.csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) each: of the entries of some rows the place of the row in `rows`, the column and the value."""
    begin, end = matrix.indptr[rows].astype(np.int64), matrix.indptr[rows + 1].astype(np.int64)
    length = end - begin
    ends = np.cumsum(length)
    place = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - ends + length, length)
    return np.repeat(np.arange(len(rows)), length), matrix.indices[place], matrix.data[place]
