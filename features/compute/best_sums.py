"""The best entries of each row of a product of sparse matrices, without the product.

A row is added up in an array as wide as the product, noting what was touched (Gustavson 1978). What was not holds -0,
which sums of other numbers never are, so that one look tells. Which of the sums are best is found by counting:
positive floats are in the order of their bits, and the leading ones tell apart a few thousand sizes. All sizes above
the one that holds the last place are in whole; only of that one the best are picked, in a heap. Nothing is sorted.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.gather import arrays, over_rows
from features.compute.nearest import offer

REST = np.int32(19)
"""Bits of a float32 that sizes leave out: 12 are left beside the sign, four of them of the mantissa."""
SIZES = 1 << (31 - int(REST))
UNTOUCHED = np.int32(-(2**31))
"""The bits of -0. No kernel here may be told that signs of zeros do not matter (fastmath's `nsz`)."""


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
            *(*arrays(between), between.shape[1], *arrays(without)[:2]),
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
    """The entries of one row of a product, ascending; `sums` are -0, and so again in the end."""
    size = 0
    for source in sources:
        size += indptr[source + 1] - indptr[source]
    columns = np.empty(size + 1, sources.dtype)
    count = np.uint64(0)
    for at in range(len(sources)):
        count = _added(worth[at], indices, data, indptr[sources[at]], indptr[sources[at] + 1], sums, columns, count)
    columns = columns[:count]
    columns.sort()
    values = sums[columns]
    sums[columns] = np.float32(-0.0)
    return columns, values


@njit(nogil=True, cache=True)
def _added(
    worth: np.float32,
    indices: np.ndarray,
    data: np.ndarray,
    begin: int,
    end: int,
    sums: np.ndarray,
    touched: np.ndarray,
    count: np.uint64,
) -> np.uint64:
    """Adds some entries to `sums`, and puts behind the first `count` of `touched` the columns that are new there."""
    bits, columns, values = sums.view(np.int32), indices[begin:end], data[begin:end]
    for place in range(len(columns)):
        column = np.uint64(columns[place])
        touched[count] = columns[place]  # a branch here would be guessed wrong half the time
        count += np.uint64(bits[column] == UNTOUCHED)
        sums[column] += worth * values[place] + np.float32(0.0)  # a product may be -0, which must not look untouched
    return count


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
    sums, between = np.full(width, np.float32(-0.0)), np.full(middles, np.float32(-0.0))
    bits = sums.view(np.int32)
    touched, sums_of = np.empty(width + 1, np.uint32), np.empty(width + 1, np.int32)
    of_size = np.zeros(SIZES, np.int32)
    values = np.empty(out.shape[1], np.float32)
    for row in range(len(rows)):
        own = slice(indptr[rows[row]], indptr[rows[row] + 1])
        sources, worth = indices[own], data[own]
        if middles > 0:
            sources, worth = _through(sources, worth, through_indptr, through_indices, through_data, between)
        count = np.uint64(0)
        for at in range(len(sources)):
            begin, end = right_indptr[sources[at]], right_indptr[sources[at] + 1]
            count = _added(worth[at], right_indices, right_data, begin, end, sums, touched, count)
        for at in range(without_indptr[rows[row]], without_indptr[rows[row] + 1]):
            column = np.uint64(without_indices[at])
            if bits[column] != UNTOUCHED:
                sums[column] = np.float32(0.0)
        _keep_best(touched[:count], sums, sums_of, of_size, values, out[row])


@njit(nogil=True, cache=True)
def _keep_best(
    touched: np.ndarray,
    sums: np.ndarray,
    sums_of: np.ndarray,
    of_size: np.ndarray,
    values: np.ndarray,
    best: np.ndarray,
) -> None:
    """Writes the best of the touched; in the end `sums` are -0 and `of_size` 0, and `sums_of` means nothing."""
    bits = sums.view(np.int32)
    for at in range(len(touched)):
        column = np.uint64(touched[at])
        sums_of[at] = max(bits[column], 0)
        bits[column] = UNTOUCHED
        of_size[sums_of[at] >> REST] += 1
    last, above = SIZES - 1, 0
    while last > 0 and above + of_size[last] <= len(best):
        above += of_size[last]
        last -= 1
    filled, held, positive = 0, 0, sums_of.view(np.float32)
    for at in range(len(touched)):
        size = sums_of[at] >> REST
        of_size[size] = 0
        if size > last:
            best[filled] = touched[at]
            filled += 1
        elif size == last and above < len(best) and positive[at] > 0:
            held = offer(best[above:], values[above:], held, touched[at], positive[at])
