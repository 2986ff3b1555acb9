"""Products of sparse rows with each other, against dense ones."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from features.compute import gram as module
from features.compute.gram import gram, mirror


def drawn(seed: int, rows: int, columns: int) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    return sp.csr_matrix(rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 30), st.integers(1, 20), st.integers(1, 4))
def test_it_is_the_dense_product_whatever_the_threads(seed, rows, columns, threads):
    matrix = drawn(seed, rows, columns)
    found = gram(matrix, threads)
    np.testing.assert_allclose(found, (matrix @ matrix.T).toarray(), atol=1e-12)
    np.testing.assert_array_equal(found, gram(matrix, 1))
    np.testing.assert_array_equal(found, found.T)


def test_single_precision_is_summed_in_double():
    matrix = drawn(1, 20, 30).astype(np.float32)
    exact = matrix.toarray().astype(np.float64)
    np.testing.assert_allclose(gram(matrix), exact @ exact.T, rtol=1e-14)


@pytest.mark.parametrize("size", [0, 1, 3, 7, 8])
def test_what_is_below_the_diagonal_is_written_above_it(size, monkeypatch):
    monkeypatch.setattr(module, "TILE", 3)
    matrix = np.random.default_rng(0).normal(size=(size, size))
    below = np.tril(matrix)
    mirror(matrix)
    np.testing.assert_array_equal(matrix, below + np.tril(below, -1).T)
