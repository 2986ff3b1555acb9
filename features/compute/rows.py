"""One row of a sparse matrix as two plain arrays: scipy's own indexing costs a hundred times as much."""

import numpy as np
import scipy.sparse as sp


def sparse_row(matrix: sp.csr_matrix, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) column numbers and (n,) values of one row; views, not to be written to."""
    span = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return matrix.indices[span], matrix.data[span]
