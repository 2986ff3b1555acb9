"""Products of sparse rows with each other, dense: what closed forms invert.

A product of sparse matrices is made sparse, sorted and then laid out, and both of its halves are added up. Here a row
of the result is filled where it stands, from the inverted lists of columns, up to the diagonal; the rest is mirrored.
Sums are added in the order of the rows' entries, so neither threads nor shards change a bit.

Cost: half of the sum over columns of entries², and two walks over the result.

Source:
    Gustavson (1978), "Two fast algorithms for sparse matrices: multiplication and permuted transposition".
"""

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.shards import even_ranges, over_shards

SHARDS_A_THREAD = 16
TILE = 256
"""Rows and columns that are mirrored at a time: half a megabyte, read and written before it leaves the cache."""


def gram(rows: sp.csr_matrix, threads: int | None = None) -> np.ndarray:
    """(n, n) float64: the products of the rows of an (n, d) CSR matrix with each other.

    Args:
        rows: of which no entry stands twice.
        threads: to use, those of numba by default; changes nothing.
    """
    threads = numba.get_num_threads() if threads is None else threads
    rows = rows.astype(np.float64)
    columns = rows.T.tocsr()
    found = np.zeros((rows.shape[0], rows.shape[0]))

    def shard(start: int, stop: int) -> None:
        _below(
            *(start, stop, rows.indptr, rows.indices, rows.data, columns.indptr, columns.indices, columns.data),
            found,
        )

    length = np.diff(columns.indptr)[rows.indices]
    reached = np.concatenate(([0], np.cumsum(length)))
    cost = 1.0 + reached[rows.indptr[1:]] - reached[rows.indptr[:-1]]
    over_shards(shard, even_ranges(cost * np.arange(1, len(cost) + 1), threads * SHARDS_A_THREAD), threads)
    mirror(found)
    return found


def mirror(matrix: np.ndarray) -> None:
    """Writes what is below the diagonal of a square matrix above it."""
    for start in range(0, len(matrix), TILE):
        stop = min(start + TILE, len(matrix))
        for left in range(0, start, TILE):
            matrix[left : left + TILE, start:stop] = matrix[start:stop, left : left + TILE].T
        own = matrix[start:stop, start:stop]
        above = np.triu_indices(stop - start, 1)
        own[above] = own.T[above]


@numba.njit(cache=True, nogil=True)
def _below(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    column_indptr: np.ndarray,
    column_indices: np.ndarray,
    column_data: np.ndarray,
    found: np.ndarray,
) -> None:
    for row in range(start, stop):
        sums = found[row]
        for entry in range(indptr[row], indptr[row + 1]):
            column, value = indices[entry], data[entry]
            for other in range(column_indptr[column], column_indptr[column + 1]):
                if column_indices[other] > row:
                    break
                sums[column_indices[other]] += value * column_data[other]
