"""The least squares of iALS: each row's factors, given the other side's, by conjugate gradients on threads.

The obvious way is to form and solve d × d normal equations for each row: for rows of m entries m · d² + d³ / 3
multiplications. Conjugate gradients need 2 · m · d for each step and few steps, for two reasons. Factors are first
turned so that what all rows share, the weight of pairs that nobody heard, is diagonal: it costs d and not d² a step.
And steps are scaled by the diagonal of the row's own matrix, which after the turn is most of it. They start from the
row's factors of the sweep before and go on until the residual is as small as asked; what is left is known, so no row
is solved worse than that.

Each row is solved by itself, its sums in the order of its entries: shards and threads change nothing.

Source:
    Takács, Pilászy & Tikk (2011), "Applications of the conjugate gradient method for implicit feedback collaborative
    filtering"; Hestenes & Stiefel (1952); Rendle, Krichene, Zhang & Koren (2021) for the loss.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.shards import even_ranges, over_shards

RANGES_A_THREAD = 8
"""Rows' costs are guessed; what one range takes longer, the other threads make up for."""
COST_OF_A_ROW = 8
"""In entries: what a row costs beside them."""
NOTHING = np.float32(1e-36)
"""A residual's square below it is gone, or soon nothing would be divided by nothing."""
IN_VECTORS = njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
"""Sums over the dimensions are in an order that vectors like, always the same one on a machine."""


def solved(
    values: sp.csr_matrix,
    other: np.ndarray,
    ridge: np.ndarray,
    unobserved: float,
    *,
    start: np.ndarray | None = None,
    tolerance: float,
    most_steps: int,
    threads: int = 1,
    shards: int | None = None,
) -> np.ndarray:
    """(n, d) float32: x of each row, least in the sum over entries c (1 - x·q)² + ridge |x|² + unobserved · (x·q)².

    The last is summed over all q.

    Args:
        values: (n, m) float32 CSR, c, positive.
        other: (m, d) float32, q.
        ridge: (n,) positive.
        unobserved: weight of all m, entries or not.
        start: (n, d) float32 to start from; zeros where not given.
        tolerance: length of the residual beside that of the right side, both scaled by the matrix's diagonal, at which
            a row is left.
        most_steps: of a row.
        threads: to use.
        shards: ranges of rows; eight for each thread where not given.

    Returns:
        Zeros for a row without entries.
    """
    shared, axes = np.linalg.eigh(unobserved * (other.T.astype(np.float64) @ other))
    shared, axes = np.maximum(shared, 0.0).astype(np.float32), axes.astype(np.float32)
    turned = np.ascontiguousarray(other @ axes)
    made = np.zeros((values.shape[0], other.shape[1]), np.float32) if start is None else start @ axes
    indptr, indices = values.indptr.astype(np.int64), values.indices.astype(np.int32, copy=False)
    data, ridge = values.data.astype(np.float32, copy=False), ridge.astype(np.float32)

    def solve(first: int, stop: int) -> None:
        _solve(first, stop, indptr, indices, data, turned, shared, ridge, tolerance, most_steps, made)

    ranges = even_ranges(np.diff(indptr) + COST_OF_A_ROW, shards or RANGES_A_THREAD * threads)
    over_shards(solve, ranges, threads)
    return made @ axes.T


@IN_VECTORS
def _solve(
    first: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    turned: np.ndarray,
    shared: np.ndarray,
    ridge: np.ndarray,
    tolerance: float,
    most_steps: int,
    made: np.ndarray,
) -> None:
    """Solves the rows from `first` up to `stop`, from what is in `made`, in place."""
    d = len(shared)
    x, base, diagonal = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    residual, direction, image = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    for row in range(first, stop):
        begin, end = indptr[row], indptr[row + 1]
        for k in range(d):
            x[k] = made[row, k] if begin < end else np.float32(0.0)
            base[k] = shared[k] + ridge[row]
        goal = _begin(begin, end, indices, data, turned, base, x, diagonal, residual) * np.float32(tolerance**2)
        size = np.float32(0.0)
        for k in range(d):
            direction[k] = residual[k] / diagonal[k]
            size += residual[k] * direction[k]
        for _ in range(most_steps):
            if size <= max(goal, NOTHING):
                break
            length, before = size / _apply(begin, end, indices, data, turned, base, direction, image), size
            size = np.float32(0.0)
            for k in range(d):
                x[k] += length * direction[k]
                residual[k] -= length * image[k]
                size += residual[k] * residual[k] / diagonal[k]
            for k in range(d):
                direction[k] = residual[k] / diagonal[k] + size / before * direction[k]
        for k in range(d):
            made[row, k] = x[k]


@IN_VECTORS
def _begin(
    begin: int,
    end: int,
    indices: np.ndarray,
    data: np.ndarray,
    turned: np.ndarray,
    base: np.ndarray,
    x: np.ndarray,
    diagonal: np.ndarray,
    residual: np.ndarray,
) -> np.float32:
    """Writes the matrix's diagonal and what is left of the right side at `x`; returns the whole's scaled square."""
    right = np.zeros(len(base), np.float32)
    for k in range(len(base)):
        diagonal[k] = base[k]
        residual[k] = -base[k] * x[k]
    for entry in range(begin, end, 4):
        i, j, m, n, v, w, y, z = _four(entry, end, indices, data)
        a = b = c = d = np.float32(0.0)
        for k in range(len(base)):
            a += turned[i, k] * x[k]
            b += turned[j, k] * x[k]
            c += turned[m, k] * x[k]
            d += turned[n, k] * x[k]
        a, b, c, d = v - v * a, w - w * b, y - y * c, z - z * d
        for k in range(len(base)):
            p, q, r, s = turned[i, k], turned[j, k], turned[m, k], turned[n, k]
            residual[k] += (a * p + b * q) + (c * r + d * s)
            right[k] += (v * p + w * q) + (y * r + z * s)
            diagonal[k] += (v * p * p + w * q * q) + (y * r * r + z * s * s)
    size = np.float32(0.0)
    for k in range(len(base)):
        size += right[k] * right[k] / diagonal[k]
    return size


@IN_VECTORS
def _apply(
    begin: int,
    end: int,
    indices: np.ndarray,
    data: np.ndarray,
    turned: np.ndarray,
    base: np.ndarray,
    direction: np.ndarray,
    image: np.ndarray,
) -> np.float32:
    """Writes the row's matrix times a direction; returns the direction times that."""
    for k in range(len(base)):
        image[k] = base[k] * direction[k]
    for entry in range(begin, end, 4):
        i, j, m, n, v, w, y, z = _four(entry, end, indices, data)
        a = b = c = d = np.float32(0.0)
        for k in range(len(base)):
            a += turned[i, k] * direction[k]
            b += turned[j, k] * direction[k]
            c += turned[m, k] * direction[k]
            d += turned[n, k] * direction[k]
        a, b, c, d = v * a, w * b, y * c, z * d
        for k in range(len(base)):
            image[k] += (a * turned[i, k] + b * turned[j, k]) + (c * turned[m, k] + d * turned[n, k])
    curvature = np.float32(0.0)
    for k in range(len(base)):
        curvature += direction[k] * image[k]
    return curvature


@IN_VECTORS
def _four(
    entry: int, end: int, indices: np.ndarray, data: np.ndarray
) -> tuple[int, int, int, int, np.float32, np.float32, np.float32, np.float32]:
    """Items and weights of four entries, since of four sums none waits for the others; past the end without weight."""
    last, nothing = end - 1, np.float32(0.0)
    return (
        indices[entry],
        indices[min(entry + 1, last)],
        indices[min(entry + 2, last)],
        indices[min(entry + 3, last)],
        data[entry],
        data[entry + 1] if entry + 1 < end else nothing,
        data[entry + 2] if entry + 2 < end else nothing,
        data[entry + 3] if entry + 3 < end else nothing,
    )
