"""Ridge regression of each track on all others, by one inverse: of the tracks' side or the rows', the smaller."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

BLOCK_CELLS = 8_000_000
KEPT_CELLS = 128_000_000
"""Cells up to which what is between rows and tracks is kept once it is asked for, 512 MB."""
LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Solution:
    """P = (R'R + L)^-1, by itself or as L^-1 - L^-1 R' C R L^-1 with C = (1 + R L^-1 R')^-1.

    Attributes:
        rows: (m, tracks) CSR, R.
        ridge: (tracks,) float64, L.
        inverse: (tracks, tracks) float64, P; or (m, m), C.
        diagonal: (tracks,) float64, of P.
        by_rows: whether it is C.
    """

    rows: sp.csr_matrix
    ridge: np.ndarray
    inverse: np.ndarray
    diagonal: np.ndarray
    by_rows: bool

    def times(self, left: sp.csr_matrix) -> np.ndarray:
        """(n, tracks) float64: `left` (n, tracks) CSR times P."""
        if not self.by_rows:
            return left @ self.inverse
        scaled = left.multiply(1.0 / self.ridge[None, :]).tocsr()
        through = (scaled @ self.rows.T).toarray() @ self.inverse
        return scaled.toarray() - (self.rows.T @ through.T).T / self.ridge[None, :]

    def columns(self, chosen: np.ndarray) -> np.ndarray:
        """(n, tracks) float64: the chosen rows of P, which is symmetric."""
        ones = np.ones(len(chosen))
        return self.times(sp.csr_matrix((ones, (np.arange(len(chosen)), chosen)), shape=(len(chosen), len(self.ridge))))

    def block(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(l, r) float64: P of some tracks by others."""
        if not self.by_rows:
            return self.inverse[np.ix_(left, right)]
        if self._between is not None:
            between = self._between[np.ix_(left, right)]
        else:
            through = self._through[right] if self._through is not None else self._of_track[right] @ self.inverse
            between = self._of_track[left] @ np.ascontiguousarray(through.T)
        own = np.where(left[:, None] == right[None, :], 1.0 / self.ridge[left][:, None], 0.0)
        found: np.ndarray = own - between / (self.ridge[left][:, None] * self.ridge[right][None, :])
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

    @cached_property
    def _between(self) -> np.ndarray | None:
        """(tracks, tracks) float32: R' C R, where it fits."""
        if self._through is None or self.rows.shape[1] ** 2 > KEPT_CELLS:
            return None
        kept = np.empty((len(self._through), len(self._through)), np.float32)
        step = max(1, BLOCK_CELLS // max(len(kept), 1))
        for start in range(0, len(kept), step):
            part = np.ascontiguousarray(self._through[start : start + step].T)
            kept[start : start + step] = (self._of_track @ part).T
        return kept


def solve(rows: sp.csr_matrix, each: np.ndarray) -> Solution:
    """Inverts the smaller side.

    Args:
        rows: (m, tracks) CSR, R; empty ones don't count.
        each: (tracks,) float64, L, above 0.
    """
    rows = rows[np.diff(rows.indptr) > 0].astype(np.float64)
    if rows.shape[0] >= rows.shape[1]:
        gram = (rows.T @ rows).toarray()
        gram[np.diag_indices_from(gram)] += each
        inverse = inverted(gram)
        return Solution(rows, each, inverse, np.maximum(inverse.diagonal(), LEAST), by_rows=False)
    scaled = (rows @ sp.diags(1.0 / np.sqrt(each))).tocsr()
    gram = (scaled @ scaled.T).toarray()
    gram[np.diag_indices_from(gram)] += 1.0
    inverse = inverted(gram)
    columns = rows.tocsc()
    diagonal = np.empty(rows.shape[1])
    step = max(1, BLOCK_CELLS // max(rows.shape[0], 1))
    for start in range(0, rows.shape[1], step):
        block = columns[:, start : start + step]
        through = (block.T @ inverse).T  # C is symmetric
        diagonal[start : start + step] = np.asarray(block.multiply(through).sum(axis=0)).ravel()
    return Solution(rows, each, inverse, np.maximum(1.0 / each - diagonal / each**2, LEAST), by_rows=True)


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, which is overwritten."""
    if not len(matrix):
        return matrix
    factor, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, overwrite_a=1)
    assert failed == 0, "the ridge keeps the matrix positive definite"
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(inverse)
    return lower + np.tril(lower, -1).T
