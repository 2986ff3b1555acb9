"""Values of a few columns of each row, where the whole rows would be too many cells.

Functions take `rows` (n,) and `columns` (n, m): for each row a choice of its own, -1 for an empty place. They
give (n, m) values, 0 at empty places. The plain way is to make the dense rows and to index them; here the cost is that
of what is asked for. Sparse sums are added in the order of scipy's products, so the results are the same bits; those of
dense rows in an order that depends on nothing but how long they are.
"""

from collections.abc import Callable

import numba
import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.members import clear, has, members, put
from features.compute.shards import over_shards

ROWS_A_SHARD = 1024


def entries_at(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, m) entries of a CSR matrix with sorted indices, of its type; 0 for what is not stored."""
    out = np.zeros(columns.shape, matrix.dtype)
    over_rows(
        len(rows),
        lambda start, stop: _entries(
            matrix.indptr, matrix.indices, matrix.data, rows[start:stop], columns[start:stop], out[start:stop]
        ),
    )
    return out


def products_at(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, m) float32 products of rows of `left` (·, d) and rows of `right` (·, d), both C-contiguous."""
    out = np.zeros(columns.shape, np.float32)
    over_rows(
        len(rows),
        lambda start, stop: _products(left, right, rows[start:stop], columns[start:stop], out[start:stop]),
    )
    return out


def likeness_at(left: sp.csr_matrix, right: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, m) float32 products of rows of `left` (·, d) and rows of `right` (·, d), float32 CSR matrices."""
    out = np.zeros(columns.shape, np.float32)

    def shard(start: int, stop: int) -> None:
        _likeness(
            *(*arrays(left), *arrays(right), right.shape[1]), rows[start:stop], columns[start:stop], out[start:stop]
        )

    over_rows(len(rows), shard)
    return out


def sums_at(left: sp.csr_matrix, right: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, m) float32 entries of the product of two float32 CSR matrices, which is not made.

    The columns of a row must be distinct. Most of what the product adds to is not asked for: a bit for each column
    tells what is, and these bits stay in the processor's nearest cache, where sums of all columns would not.
    """
    out = np.zeros(columns.shape, np.float32)

    def shard(start: int, stop: int) -> None:
        _sums(*arrays(left), *arrays(right), right.shape[1], rows[start:stop], columns[start:stop], out[start:stop])

    over_rows(len(rows), shard)
    return out


def arrays(matrix: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CSR matrix as compiled functions take it: where rows begin, columns as uint32, values.

    Of a signed index numba asks at each look whether it counts from the end, which takes as long as the look.
    """
    return matrix.indptr, matrix.indices.astype(np.int32, copy=False).view(np.uint32), matrix.data


def over_rows(count: int, shard: Callable[[int, int], None]) -> None:
    """Runs `shard(start, stop)` over so many rows, a thousand at a time, on the threads there are."""
    ranges = [(start, min(start + ROWS_A_SHARD, count)) for start in range(0, count, ROWS_A_SHARD)]
    over_shards(shard, ranges, numba.get_num_threads())


@njit(nogil=True, cache=True)
def place_of(indices: np.ndarray, begin: int, end: int, column: int) -> int:
    """Where a column stands among ascending ones from `begin` up to, not including, `end`; -1 for nowhere."""
    low, high = begin, end
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < column:
            low = middle + 1
        else:
            high = middle
    return low if low < end and indices[low] == column else -1


@njit(nogil=True, cache=True)
def _entries(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray
) -> None:
    for row in range(len(rows)):
        begin, end = indptr[rows[row]], indptr[rows[row] + 1]
        for place in range(columns.shape[1]):
            column = columns[row, place]
            if column < 0:
                continue
            at = place_of(indices, begin, end, column)
            if at >= 0:
                out[row, place] = data[at]


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def product(one: np.ndarray, other: np.ndarray) -> np.float32:
    """The product of two float32 vectors of one length; in any order of adding, so that it is done by eights."""
    total = np.float32(0.0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


@njit(nogil=True, cache=True)
def _products(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    for row in range(len(rows)):
        own = left[rows[row]]
        for place in range(columns.shape[1]):
            if columns[row, place] >= 0:
                out[row, place] = product(own, right[columns[row, place]])


@njit(nogil=True, cache=True)
def _likeness(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    right_indptr: np.ndarray,
    right_indices: np.ndarray,
    right_data: np.ndarray,
    width: int,
    rows: np.ndarray,
    columns: np.ndarray,
    out: np.ndarray,
) -> None:
    own = np.zeros(width, np.float32)
    for row in range(len(rows)):
        begin, end = indptr[rows[row]], indptr[rows[row] + 1]
        for at in range(begin, end):
            own[indices[at]] = data[at]
        for place in range(columns.shape[1]):
            column = columns[row, place]
            if column < 0:
                continue
            total = np.float32(0.0)
            for at in range(right_indptr[column], right_indptr[column + 1]):
                total += own[right_indices[at]] * right_data[at]
            out[row, place] = total
        for at in range(begin, end):
            own[indices[at]] = np.float32(0.0)


@njit(nogil=True, cache=True)
def _sums(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    right_indptr: np.ndarray,
    right_indices: np.ndarray,
    right_data: np.ndarray,
    width: int,
    rows: np.ndarray,
    columns: np.ndarray,
    out: np.ndarray,
) -> None:
    place, among = np.empty(width, np.uint32), members(width)
    for row in range(len(rows)):
        own = out[row]
        for at in range(columns.shape[1]):
            column = columns[row, at]
            if column >= 0:
                place[column] = at
                put(among, np.uint64(column))
        for at in range(indptr[rows[row]], indptr[rows[row] + 1]):
            value, source = data[at], indices[at]
            for near in range(right_indptr[source], right_indptr[source + 1]):
                column = np.uint64(right_indices[near])
                if has(among, column):
                    own[place[column]] += value * right_data[near]
        for at in range(columns.shape[1]):
            if columns[row, at] >= 0:
                clear(among, np.uint64(columns[row, at]))
