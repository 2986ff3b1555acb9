"""The first right singular vectors of a large sparse matrix, by products on threads.

The obvious way is `numpy.linalg.svd` of the dense matrix, or scikit-learn's `randomized_svd`. This is the latter's
method with what it spends most on changed: sparse × dense runs on threads over ranges of rows, and between products
only the narrow side is brought back to even lengths, by its small Gram matrix; it is orthogonal in the end. Every sum
is in a fixed order, so shards and threads change nothing.

Cost: 2 · iterations + 2 products of entries × columns. Memory: the transposed matrix, one block of rows × columns and
three of the matrix's columns × columns.

Source:
    Halko, Martinsson & Tropp (2011), "Finding structure with randomness", algorithm 4.4; Demmel, Grigori, Hoemmen &
    Langou (2012) for the QR decomposition in blocks of rows.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.shards import even_ranges, over_shards

OVERSAMPLING, ITERATIONS = 20, 6
RANGES_A_THREAD = 8
FAINTEST = 1e-14
"""Beside the largest: directions are not lengthened beyond it, where there is nothing but rounding."""
QR_ROWS = 65_536


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
    transposed = matrix.T.tocsr()
    basis = np.random.default_rng(seed).normal(size=(matrix.shape[1], columns))
    for _ in range(ITERATIONS):
        basis = _evened(times(transposed, times(matrix, basis, threads=threads), threads=threads))
    basis = np.linalg.qr(basis)[0]
    _, values, turn = np.linalg.svd(_triangle(times(matrix, basis, threads=threads)))
    return values[:rank], turn[:rank] @ basis.T


def times(matrix: sp.csr_matrix, dense: np.ndarray, *, threads: int = 1, shards: int | None = None) -> np.ndarray:
    """(n, k) float64: sparse times dense, each row's entries in their order.

    Args:
        matrix: (n, m) CSR.
        dense: (m, k) float64.
        threads: to use.
        shards: ranges of rows; eight for each thread where not given.
    """
    made = np.zeros((matrix.shape[0], dense.shape[1]))
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False)
    data, dense = matrix.data.astype(np.float64, copy=False), np.ascontiguousarray(dense, np.float64)
    ranges = even_ranges(np.diff(indptr) + 1, shards or RANGES_A_THREAD * threads)
    over_shards(lambda start, stop: _times(start, stop, indptr, indices, data, dense, made), ranges, threads)
    return made


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
    """Adds the products of the rows from `start` up to `stop` to `made`."""
    for row in range(start, stop):
        for entry in range(indptr[row], indptr[row + 1]):
            column, value = indices[entry], data[entry]
            for k in range(dense.shape[1]):
                made[row, k] += value * dense[column, k]


def _evened(basis: np.ndarray) -> np.ndarray:
    """(m, k): the same span, its directions at right angles and of even length but for the faintest."""
    squares, axes = np.linalg.eigh(basis.T @ basis)
    return np.asarray(basis @ (axes / np.sqrt(np.maximum(squares, max(squares[-1] * FAINTEST, np.finfo(float).tiny)))))


def _triangle(tall: np.ndarray) -> np.ndarray:
    """(k, k) or less: R of a QR decomposition, in blocks of rows, so that nothing tall is copied whole."""
    parts = [np.linalg.qr(tall[start : start + QR_ROWS], mode="r") for start in range(0, len(tall), QR_ROWS)]
    return np.asarray(np.linalg.qr(np.vstack(parts), mode="r"))
