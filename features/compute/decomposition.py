"""The first right singular vectors of a large sparse matrix, by products on threads.

The obvious way is `numpy.linalg.svd` of the dense matrix, or scikit-learn's `randomized_svd`. This is the latter's
method with what it spends most on changed:

- The matrix and its transpose are multiplied in one walk over rows: what a row comes to is handed back to its columns
  while it is at hand. Neither the transpose nor anything as tall as the matrix is made.
- Where there are many entries, passes are in single precision, which halves what is waited for of memory. Rounding is
  far less than what six passes leave unfound, and what shares no row does not mix. The last product is in double.
- Each pass takes off the square as much as is known to lie below what is looked for, which tells directions of
  nearly even length apart sooner: six such passes with sixteen directions to spare find more than six plain ones with
  twenty (of what a hundred thousand listeners' best 48 directions hold they lack 0.5 % instead of 0.8 %).
- Between passes only the narrow side is brought back to even lengths, by its small Gram matrix; it is orthogonal in
  the end.

Every sum is in a fixed order, in shards that hang on nothing but the matrix, so threads change nothing.

Cost: 2 · iterations + 1 products of entries × columns. Memory: five times the matrix's columns × columns, and a block
of rows × columns for each thread.

Source:
    Halko, Martinsson & Tropp (2011), "Finding structure with randomness", algorithm 4.4; Feng, Yu & Xie (2022), "Pass-
    efficient randomized SVD with boosted accuracy", for the shifts; Demmel, Grigori, Hoemmen & Langou (2012) for the QR
    decomposition in blocks of rows.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.shards import Range, even_ranges, over_shards

OVERSAMPLING, ITERATIONS = 16, 6
SHARDS = 4
"""Of the rows in a walk there and back, each with sums of its own: more of them take more threads, and more memory."""
SINGLE_ENTRIES = 1 << 20
"""From so many on, passes are in single precision."""
FAINTEST = 1e-14
"""Beside the largest: directions are not lengthened beyond it, where there is nothing but rounding."""
BLOCK_ROWS = 65_536
"""Of tall and narrow matrices, worked on at once by a thread."""
LINE = 64
"""Bytes of the processor's cache lines: rows that begin with one take no more of them than they must."""


def leading(matrix: sp.csr_matrix, rank: int, *, seed: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The largest singular values and their right singular vectors.

    Args:
        matrix: (n, m) CSR.
        rank: how many, at most `min(n, m)`.
        seed: of the directions that it begins with.
        threads: to use.

    Returns:
        (rank,) float64, falling, and (rank, m) float64, orthonormal rows. Signs are as they come.
    """
    columns = min(rank + OVERSAMPLING, *matrix.shape)
    kind = np.float32 if matrix.nnz >= SINGLE_ENTRIES else np.float64
    data, shift = matrix.data.astype(kind), 0.0
    basis = _lines(matrix.shape[1], columns, kind)
    basis[:] = np.random.default_rng(seed).normal(size=basis.shape)
    for step in range(ITERATIONS):
        squared = there_and_back(matrix, data, basis, threads)
        shortest = _even(squared, basis, shift, threads)
        # only an orthonormal basis tells: what is taken off stays below the square of the last value, which is not lost
        shift = max(shift, (shift + shortest) / 2) if step else 0.0
    del squared, data
    orthonormal = _orthonormal(basis.astype(np.float64), threads)
    _, values, turn = np.linalg.svd(_triangle(matrix, orthonormal, threads))
    return values[:rank], turn[:rank] @ orthonormal.T


@njit(nogil=True, cache=True, fastmath={"contract"})
def _times(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    dense: np.ndarray,
    made: np.ndarray,
) -> None:
    """Adds the products of the rows from `start` up to `stop` to the first rows of `made`."""
    for row in range(start, stop):
        for entry in range(indptr[row], indptr[row + 1]):
            column, value = np.uint64(indices[entry]), data[entry]
            for k in range(dense.shape[1]):
                made[row - start, k] += value * dense[column, k]


def there_and_back(matrix: sp.csr_matrix, data: np.ndarray, basis: np.ndarray, threads: int) -> np.ndarray:
    """(m, k) of the type of `basis`: the transposed matrix times the matrix times `basis`, in one walk.

    Args:
        matrix: (n, m) CSR.
        data: its values, of the type of `basis`.
        basis: (m, k) float32 or float64, C-contiguous.
        threads: to use; they change nothing.
    """

    def shard(start: int, stop: int) -> np.ndarray:
        total = _lines(basis.shape[0], basis.shape[1], basis.dtype)
        _add_there_and_back(start, stop, matrix.indptr, matrix.indices, data, basis, total)
        return total

    first, *others = over_shards(shard, even_ranges(np.diff(matrix.indptr) + 1, SHARDS), threads)
    for other in others:
        first += other
    return first


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_there_and_back(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    basis: np.ndarray,
    total: np.ndarray,
) -> None:
    """Adds to `total` what the rows from `start` up to `stop` hand back."""
    own = np.empty(basis.shape[1], basis.dtype)
    for row in range(start, stop):
        own[:] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            column, value = np.uint64(indices[entry]), data[entry]
            for k in range(basis.shape[1]):
                own[k] += value * basis[column, k]
        for entry in range(indptr[row], indptr[row + 1]):
            column, value = np.uint64(indices[entry]), data[entry]
            for k in range(basis.shape[1]):
                total[column, k] += value * own[k]


def _lines(rows: int, columns: int, kind: type[np.floating] | np.dtype) -> np.ndarray:
    """(rows, columns) zeros that begin with a cache line."""
    size = rows * columns * np.dtype(kind).itemsize
    room = np.zeros(size + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    return room[begin : begin + size].view(kind).reshape(rows, columns)


def _blocks(rows: int) -> list[Range]:
    return [(start, min(start + BLOCK_ROWS, rows)) for start in range(0, rows, BLOCK_ROWS)]


def _even(squared: np.ndarray, basis: np.ndarray, shift: float, threads: int) -> float:
    """Gives `basis` the span of `squared` less `shift` times `basis`: at right angles, of even length but the faintest.

    Returns:
        The shortest length before.
    """

    def less(start: int, stop: int) -> np.ndarray:
        return np.asarray(squared[start:stop].astype(np.float64) - shift * basis[start:stop])

    def inner(start: int, stop: int) -> np.ndarray:
        some = less(start, stop)
        return np.asarray(some.T @ some)

    def turned(start: int, stop: int) -> None:
        basis[start:stop] = less(start, stop) @ turn

    ranges = _blocks(len(basis))
    squares, axes = np.linalg.eigh(np.sum(over_shards(inner, ranges, threads), axis=0))
    turn = axes / np.sqrt(np.maximum(squares, max(squares[-1] * FAINTEST, np.finfo(float).tiny)))
    over_shards(turned, ranges, threads)
    return float(np.sqrt(max(squares[0], 0.0)))


def _orthonormal(tall: np.ndarray, threads: int) -> np.ndarray:
    """(m, k): Q of a QR decomposition, in blocks of rows; `tall` is written over."""
    ranges = _blocks(len(tall))
    if len(ranges) == 1 or len(tall) - ranges[-1][0] < tall.shape[1]:
        return np.asarray(np.linalg.qr(tall)[0])

    def apart(start: int, stop: int) -> np.ndarray:
        tall[start:stop], triangle = np.linalg.qr(tall[start:stop])
        return triangle

    triangles = over_shards(apart, ranges, threads)
    turns = np.split(np.linalg.qr(np.vstack(triangles))[0], len(triangles))

    def together(start: int, stop: int) -> None:
        tall[start:stop] = tall[start:stop] @ turns[start // BLOCK_ROWS]

    over_shards(together, ranges, threads)
    return tall


def _triangle(matrix: sp.csr_matrix, dense: np.ndarray, threads: int) -> np.ndarray:
    """(k, k) or less: R of a QR decomposition of the product, in blocks of rows, so that it is never there whole."""

    def block(start: int, stop: int) -> np.ndarray:
        made = np.zeros((stop - start, dense.shape[1]))
        _times(start, stop, matrix.indptr, matrix.indices, matrix.data, dense, made)
        return np.asarray(np.linalg.qr(made, mode="r"))

    return np.asarray(np.linalg.qr(np.vstack(over_shards(block, _blocks(matrix.shape[0]), threads)), mode="r"))
