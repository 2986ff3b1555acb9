"""Ridge regression of each track on all others, by one inverse: of the tracks' side or the rows', the smaller."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from features.compute.gram import gram, mirror

BLOCK_CELLS = 8_000_000
KEPT_CELLS = 128_000_000
"""Cells up to which what is between tracks is made at once, or what is between rows and tracks kept, 512 MB."""
LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Solution:
    """P = (R'R + L)^-1: what each track says of each other; what it says of itself is kept apart.

    Where P does not fit, it is L^-1 - L^-1 R' C R L^-1 with C = (1 + R L^-1 R')^-1.

    Attributes:
        rows: (m, tracks) float32 CSR, R.
        ridge: (tracks,) float64, L.
        diagonal: (tracks,) float64, of P.
        between: (tracks, tracks) float32, P with an empty diagonal; None where it does not fit.
        inverse: (m, m) float32, C; None where P is there.
    """

    rows: sp.csr_matrix
    ridge: np.ndarray
    diagonal: np.ndarray
    between: np.ndarray | None
    inverse: np.ndarray | None = None

    def times(self, left: sp.csr_matrix) -> np.ndarray:
        """(n, tracks) float32: `left` (n, tracks) CSR times P without its diagonal."""
        left = left.astype(np.float32)
        if self.between is not None:
            return left @ self.between
        scaled = left.multiply(1.0 / self.ridge[None, :].astype(np.float32)).tocsr()
        through = (scaled @ self.rows.T).toarray() @ self.inverse
        found = np.ascontiguousarray((self.rows.T @ through.T).T) / -self.ridge[None, :].astype(np.float32)
        owner = np.repeat(np.arange(left.shape[0]), np.diff(left.indptr))
        found[owner, left.indices] += left.data * (1.0 / self.ridge - self.diagonal)[left.indices].astype(np.float32)
        return found

    def columns(self, chosen: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: the chosen rows of P, which is symmetric, likewise."""
        ones, rows = np.ones(len(chosen)), np.arange(len(chosen))
        found = self.times(sp.csr_matrix((ones, (rows, chosen)), shape=(len(chosen), len(self.ridge))))
        found[rows, chosen] = 0.0  # where P does not fit, but for rounding
        return found

    def block(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(l, r): P of some tracks by others, likewise."""
        if self.between is not None:
            return self.between[np.ix_(left, right)]
        through = self._through[right] if self._through is not None else self._of_track[right] @ self.inverse
        between = self._of_track[left] @ np.ascontiguousarray(through.T)
        found: np.ndarray = -between / (self.ridge[left][:, None] * self.ridge[right][None, :])
        found[left[:, None] == right[None, :]] = 0.0
        return found

    @cached_property
    def _of_track(self) -> sp.csr_matrix:
        """(tracks, m) CSR: R'."""
        return self.rows.T.tocsr()

    @cached_property
    def _through(self) -> np.ndarray | None:
        """(tracks, m) float32: R' C, where it fits."""
        if self.rows.shape[0] * self.rows.shape[1] > KEPT_CELLS:
            return None
        kept = np.empty(self._of_track.shape, np.float32)
        step = max(1, BLOCK_CELLS // max(self.rows.shape[0], 1))
        for start in range(0, len(kept), step):
            kept[start : start + step] = self._of_track[start : start + step] @ self.inverse
        return kept


def solve(rows: sp.csr_matrix, each: np.ndarray) -> Solution:
    """Inverts the smaller side.

    Args:
        rows: (m, tracks) CSR, R; empty ones don't count.
        each: (tracks,) float64, L, above 0.
    """
    rows = rows[np.diff(rows.indptr) > 0]
    return _by_tracks(rows, each) if rows.shape[0] >= rows.shape[1] else _by_rows(rows, each)


def _by_tracks(rows: sp.csr_matrix, each: np.ndarray) -> Solution:
    matrix = gram(rows.T.tocsr())
    matrix[np.diag_indices_from(matrix)] += each
    inverse = inverted(matrix)
    diagonal = np.maximum(inverse.diagonal(), LEAST)
    np.fill_diagonal(inverse, 0.0)
    return Solution(rows, each, diagonal, inverse.astype(np.float32))


def _by_rows(rows: sp.csr_matrix, each: np.ndarray) -> Solution:
    matrix = gram((rows.astype(np.float64) @ sp.diags(1.0 / np.sqrt(each))).tocsr())
    matrix[np.diag_indices_from(matrix)] += 1.0
    inverse = inverted(matrix)
    columns, tracks = rows.T.tocsr(), rows.shape[1]
    double, ridge = columns.astype(np.float64), each.astype(np.float32)
    diagonal = np.empty(tracks)
    between = np.empty((tracks, tracks), np.float32) if tracks**2 <= KEPT_CELLS else None
    step = max(1, BLOCK_CELLS // max(tracks, 1))
    for start in range(0, tracks, step):
        some = slice(start, start + step)
        through = double[some] @ inverse  # C is symmetric
        own = np.asarray(double[some].multiply(through).sum(axis=1)).ravel()
        diagonal[some] = np.maximum(1.0 / each[some] - own / each[some] ** 2, LEAST)
        if between is not None:
            below = columns[start:] @ np.ascontiguousarray(through.T, np.float32)
            below /= -ridge[start:, None]
            below /= ridge[None, some]
            between[start:, some] = below
    if between is None:
        return Solution(rows, each, diagonal, None, inverse.astype(np.float32))
    mirror(between)
    np.fill_diagonal(between, 0.0)
    return Solution(rows, each, diagonal, between)


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, which is overwritten."""
    if not len(matrix):
        return matrix
    # below its diagonal is above that of its transpose, which is laid out as the library wants it: nothing is copied
    factor, failed = scipy.linalg.lapack.dpotrf(matrix.T, lower=0, overwrite_a=1)
    assert failed == 0, "the ridge keeps the matrix positive definite"
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=0, overwrite_c=1)
    below: np.ndarray = inverse.T
    mirror(below)
    return below
