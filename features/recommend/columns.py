"""What the columns of a block of users stand for: all tracks, or a choice of each user's own.

Everything that ranks works on (n, m) arrays, a row a user. Where there are few tracks, the columns are all of them, in
order, and `tracks` is None. Where users × tracks would be too many cells, `tracks` is (n, m) int32: of each user the
candidates, ascending, -1 for empty places at the end. Ascending, so that the tie rule is the same: the lower number.
"""

import numpy as np
import scipy.sparse as sp

from features.compute.gather import entries_at

DENSE_CELLS = 1_000_000
"""Of a block of users where the columns are all tracks; a dozen arrays of that many live at once, 100 MB a thread."""


def users_a_block(width: int, cells: int | None) -> int:
    """How many users are worked on at once, with `cells` that memory allows; None where the columns are all tracks.

    There it is always as many: BLAS rounds a product by the shape of its operands, and neither the memory there is nor
    the number of threads may change a list. What is computed of a choice is the same bits in any block.
    """
    return max(1, (DENSE_CELLS if cells is None else cells) // max(width, 1))


def each(values: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
    """(1, tracks) or (n, m): what `values` (tracks,) says of each column; of an empty place what it says of track 0."""
    return values[None, :] if tracks is None else values[np.maximum(tracks, 0)]


def entries(matrix: sp.csr_matrix, users: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
    """(n, m): entries of a (users, tracks) matrix with sorted indices, 0 at empty places."""
    return matrix[users].toarray() if tracks is None else entries_at(matrix, users, tracks)


def numbers(columns: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
    """(n, k) int32: the tracks at some columns, (n, k), -1 where that is -1."""
    if tracks is None or not columns.size:
        return columns
    return np.where(columns < 0, -1, np.take_along_axis(tracks, np.maximum(columns, 0), axis=1)).astype(np.int32)


def rows_of(tracks: np.ndarray | None, rows: np.ndarray | slice) -> np.ndarray | None:
    """The choice of some of the users."""
    return None if tracks is None else tracks[rows]
