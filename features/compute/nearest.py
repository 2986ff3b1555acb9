"""Nearest rows of sparse matrices by a damped cosine: exact, without the matrix of all pairs.

A row's products with all others are added up over what it holds (Gustavson 1978), in one array that is as wide as there
are others; those that got anything are looked at, and a heap keeps the k best. The cost is the sum over columns of
entries², as of the product itself, but nothing of it is stored nor sorted, which was nine tenths of the time at 10,000
by 20,000. Sums are added in the order of the rows' entries, so that neither shards nor threads change a bit.

Source:
    Gustavson (1978), "Two fast algorithms for sparse matrices: multiplication and permuted transposition".
"""

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.shards import even_ranges, over_shards

LEAST = 1e-12
SHARDS_A_THREAD = 16


def nearest(
    rows: sp.csr_matrix,
    others: sp.csr_matrix,
    k: int,
    *,
    shrink: float,
    asymmetry: float,
    threads: int | None = None,
    shards: int | None = None,
) -> sp.csr_matrix:
    """For each row the k most similar of the others, but the one of its own number.

    The similarity of x and y is x·y / (|x|^2a |y|^2(1-a) + shrink); what is not above 0 is left out, and ties go to the
    lower number.

    Args:
        rows: (n, d) float32 CSR.
        others: (m, d) float32 CSR.
        k: how many at most.
        shrink: added below.
        asymmetry: a.
        threads: to use, those of numba by default; changes nothing.
        shards: cuts of the rows; changes nothing.

    Returns:
        (n, m) float32 CSR, indices sorted.
    """
    threads = numba.get_num_threads() if threads is None else threads
    columns = others.T.tocsr()
    width = min(k, others.shape[0])
    own = _squares(rows) ** asymmetry
    theirs = _squares(others) ** (1.0 - asymmetry)
    found = np.full((rows.shape[0], width), -1, np.int32)
    similar = np.zeros((rows.shape[0], width), np.float32)

    def shard(start: int, stop: int) -> None:
        _nearest(
            *(start, stop, rows.indptr, rows.indices, rows.data, columns.indptr, columns.indices, columns.data),
            *(own, theirs, shrink, found, similar),
        )

    length = np.diff(columns.indptr)
    cost = 1.0 + np.add.reduceat(np.append(length[rows.indices], 0), rows.indptr[:-1]) if len(own) else own
    cost[np.diff(rows.indptr) == 0] = 1.0  # reduceat gives the next entry for a row without any
    over_shards(shard, even_ranges(cost, shards or threads * SHARDS_A_THREAD), threads)
    return compressed(found, similar, others.shape[0])


def strongest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest positive entries of each row, ties to the lower column; a new CSR with sorted indices."""
    longest = int(np.diff(matrix.indptr).max(initial=0))
    width = min(k, longest)
    found = np.full((matrix.shape[0], width), -1, np.int32)
    values = np.zeros((matrix.shape[0], width), matrix.dtype)
    if width:
        _strongest(matrix.indptr, matrix.indices, matrix.data, found, values)
    return compressed(found, values, matrix.shape[1])


def keep_strongest(matrix: sp.csr_matrix, k: int) -> None:
    """Leaves in each row no more than the k largest entries, ties to the lower column, in place and with little room.

    Args:
        matrix: CSR, sorted, of positive entries.
        k: one or more.
    """
    _blank_weakest(matrix.indptr, matrix.data, k)
    matrix.eliminate_zeros()


def _squares(matrix: sp.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel().astype(np.float64)


def compressed(found: np.ndarray, values: np.ndarray, width: int) -> sp.csr_matrix:
    """What is filled, by a number not below 0, of (n, k) columns and values: (n, width) CSR, indices sorted."""
    filled = found >= 0
    indptr = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    result = sp.csr_matrix((values[filled], found[filled], indptr), shape=(len(found), width))
    result.sort_indices()
    return result


@numba.njit(nogil=True, cache=True)
def _worse(column: int, value: np.floating, other_column: int, other_value: np.floating) -> bool:
    return value < other_value or (value == other_value and column > other_column)


@numba.njit(nogil=True, cache=True)
def offer(columns: np.ndarray, values: np.ndarray, held: int, column: int, value: np.floating) -> int:
    """Keeps a candidate if it is among the best so far, in a heap with the worst on top; how many are held then."""
    if held < len(columns):
        place = held
        held += 1
        while place > 0:
            above = (place - 1) >> 1
            if not _worse(column, value, columns[above], values[above]):
                break
            columns[place], values[place] = columns[above], values[above]
            place = above
    else:
        if not _worse(columns[0], values[0], column, value):
            return held
        place = 0
        while 2 * place + 1 < held:
            below = 2 * place + 1
            if below + 1 < held and _worse(columns[below + 1], values[below + 1], columns[below], values[below]):
                below += 1
            if not _worse(columns[below], values[below], column, value):
                break
            columns[place], values[place] = columns[below], values[below]
            place = below
    columns[place], values[place] = column, value
    return held


@numba.njit(nogil=True, cache=True)
def _nearest(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    column_ptr: np.ndarray,
    column_rows: np.ndarray,
    column_data: np.ndarray,
    own: np.ndarray,
    theirs: np.ndarray,
    shrink: float,
    found: np.ndarray,
    similar: np.ndarray,
) -> None:
    """Fills `found` and `similar` for rows [start, stop)."""
    total = np.zeros(len(theirs), np.float32)
    touched = np.empty(len(theirs), np.int32)
    met = np.zeros(len(theirs), np.bool_)
    for row in range(start, stop):
        count = 0
        for entry in range(indptr[row], indptr[row + 1]):
            column, value = indices[entry], data[entry]
            for place in range(column_ptr[column], column_ptr[column + 1]):
                other = column_rows[place]
                if not met[other]:
                    met[other] = True
                    touched[count] = other
                    count += 1
                total[other] += value * column_data[place]
        held = 0
        for place in range(count):
            other = touched[place]
            if total[other] > 0 and other != row:
                similarity = np.float32(total[other] / max(own[row] * theirs[other] + shrink, LEAST))
                if similarity > 0:
                    held = offer(found[row], similar[row], held, other, similarity)
            total[other] = 0.0
            met[other] = False


@numba.njit(nogil=True, cache=True)
def _blank_weakest(indptr: np.ndarray, data: np.ndarray, k: int) -> None:
    for row in range(len(indptr) - 1):
        values = data[indptr[row] : indptr[row + 1]]
        if len(values) <= k:
            continue
        last = np.partition(values, len(values) - k)[len(values) - k]
        room = k - np.sum(values > last)
        for place in range(len(values)):
            if values[place] < last or (values[place] == last and room == 0):
                values[place] = 0
            elif values[place] == last:
                room -= 1


@numba.njit(nogil=True, cache=True)
def _strongest(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, found: np.ndarray, values: np.ndarray
) -> None:
    for row in range(len(indptr) - 1):
        held = 0
        for entry in range(indptr[row], indptr[row + 1]):
            if data[entry] > 0:
                held = offer(found[row], values[row], held, indices[entry], data[entry])
