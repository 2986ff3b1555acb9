"""The best entries of each row of a product of sparse matrices, without the product.

A row is added up in an array as wide as the product, noting what was touched (Gustavson 1978). Which of that is best is
found by counting: positive floats are in the order of their bits, and the leading ones tell apart a few thousand sizes.
All sizes above the one that holds the last place are in whole; only of that one the best are picked, in a heap.
Two walks over what was touched, and nothing is sorted.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.gather import arrays, over_rows
from features.compute.nearest import offer

REST = np.int32(18)
"""Bits of a float32 that sizes leave out: 13 are left beside the sign, five of them of the mantissa."""
SIZES = 1 << (31 - int(REST))


def best_sums(
    left: sp.csr_matrix,
    right: sp.csr_matrix,
    rows: np.ndarray,
    k: int,
    without: sp.csr_matrix | None = None,
    through: sp.csr_matrix | None = None,
) -> np.ndarray:
    """(n, k) int32: the columns of the k highest entries above 0 of rows of the product, -1 for fewer; in no order.

    Of equal ones the lower column is in. Entries of `without`, of the shape of the product, are left out.

    Args:
        left: float32 CSR.
        right: likewise.
        rows: (n,) of the product.
        k: how many at most.
        without: bool CSR; None for nothing.
        through: float32 CSR that stands between the two, so that it is `left` @ `through` @ `right`; None for nothing.
    """
    out = np.full((len(rows), k), -1, np.int32)
    if without is None:
        without = sp.csr_matrix((left.shape[0], right.shape[1]), dtype=bool)
    between = sp.csr_matrix((0, 0), dtype=np.float32) if through is None else through

    def shard(start: int, stop: int) -> None:
        _best(
            *(*arrays(left), *arrays(right), right.shape[1]),
            *(*arrays(between), between.shape[1], without.indptr, without.indices),
            *(rows[start:stop], out[start:stop]),
        )

    if k and right.shape[0]:  # of nothing nothing comes, and the kernel takes no middles for no matrix between
        over_rows(len(rows), shard)
    return out


@njit(nogil=True, cache=True)
def _through(
    sources: np.ndarray,
    worth: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    sums: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The entries of one row of a product, ascending; `sums` are zeros, and so again in the end."""
    size = 0
    for source in sources:
        size += indptr[source + 1] - indptr[source]
    columns = np.empty(size + 1, sources.dtype)
    size = 0
    for at in range(len(sources)):
        for place in range(indptr[sources[at]], indptr[sources[at] + 1]):
            columns[size] = indices[place]
            size += 1 if sums[indices[place]] == 0 else 0  # most of what was met before
            sums[indices[place]] += worth[at] * data[place]
    columns = columns[:size]
    columns.sort()
    kept, values = 0, np.empty(size, np.float32)
    for at in range(size):
        if kept == 0 or columns[at] != columns[kept - 1]:
            columns[kept], values[kept] = columns[at], sums[columns[at]]
            kept += 1
    sums[columns[:kept]] = np.float32(0.0)
    return columns[:kept], values[:kept]


@njit(nogil=True, cache=True)
def _best(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    right_indptr: np.ndarray,
    right_indices: np.ndarray,
    right_data: np.ndarray,
    width: int,
    through_indptr: np.ndarray,
    through_indices: np.ndarray,
    through_data: np.ndarray,
    middles: int,
    without_indptr: np.ndarray,
    without_indices: np.ndarray,
    rows: np.ndarray,
    out: np.ndarray,
) -> None:
    sums = np.zeros(width, np.float32)
    seen = np.zeros(width, np.uint8)
    touched = np.empty(width + 1, np.int32)
    of_size = np.zeros(SIZES, np.int32)
    values = np.empty(out.shape[1], np.float32)
    between = np.zeros(middles, np.float32)
    for row in range(len(rows)):
        count = 0
        sources, worth = (
            indices[indptr[rows[row]] : indptr[rows[row] + 1]],
            data[indptr[rows[row]] : indptr[rows[row] + 1]],
        )
        if middles > 0:
            sources, worth = _through(sources, worth, through_indptr, through_indices, through_data, between)
        for at in range(len(sources)):
            value, source = worth[at], sources[at]
            for place in range(right_indptr[source], right_indptr[source + 1]):
                column = right_indices[place]
                sums[column] += value * right_data[place]
                touched[count] = column  # a branch here would be guessed wrong half the time
                count += 1 - seen[column]
                seen[column] = 1
        for at in range(without_indptr[rows[row]], without_indptr[rows[row] + 1]):
            sums[without_indices[at]] = np.float32(0.0)
        _keep_best(touched[:count], sums, of_size, values, out[row])
        seen[touched[:count]] = 0


@njit(nogil=True, cache=True)
def _keep_best(
    touched: np.ndarray, sums: np.ndarray, of_size: np.ndarray, values: np.ndarray, best: np.ndarray
) -> None:
    """Writes the best of the touched; `sums` and `of_size` are zeros in the end."""
    bits = sums.view(np.int32)
    for column in touched:
        of_size[max(bits[column], 0) >> REST] += 1
    last, above = SIZES - 1, 0
    while last > 0 and above + of_size[last] <= len(best):
        above += of_size[last]
        last -= 1
    filled, held = 0, 0
    for column in touched:
        size = max(bits[column], 0) >> REST
        if size > last:
            best[filled] = column
            filled += 1
        elif size == last and above < len(best) and sums[column] > 0:
            held = offer(best[above:], values[above:], held, column, sums[column])
        of_size[size] = 0
        sums[column] = np.float32(0.0)
