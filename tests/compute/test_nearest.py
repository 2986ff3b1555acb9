"""Nearest rows: bit by bit what the product of all pairs, sorted, has, for any shards and threads."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from features.compute.nearest import LEAST, keep_strongest, nearest, strongest

VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
MATRICES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=VALUES)


def obvious(rows: sp.csr_matrix, others: sp.csr_matrix, k: int, shrink: float, asymmetry: float) -> sp.csr_matrix:
    """All pairs by scipy's product, then the best of each row by sorting."""
    square, theirs = (np.asarray(m.multiply(m).sum(axis=1)).ravel().astype(np.float64) for m in (rows, others))
    pairs = (rows @ others.T.tocsr()).tocsr()
    owner = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    below = square[owner] ** asymmetry * theirs[pairs.indices] ** (1.0 - asymmetry) + shrink
    pairs.data = (pairs.data / np.maximum(below, LEAST)).astype(np.float32)
    kept = np.zeros(pairs.shape, np.float32)
    for row in range(pairs.shape[0]):
        span = slice(pairs.indptr[row], pairs.indptr[row + 1])
        columns, values = pairs.indices[span], pairs.data[span]
        usable = (values > 0) & (columns != row)
        best = np.lexsort((columns[usable], -values[usable]))[:k]
        kept[row, columns[usable][best]] = values[usable][best]
    return sp.csr_matrix(kept)


def drawn(seed: int, rows: int, columns: int, *, signed: bool = False) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.exponential(size=(rows, columns)) * (rng.random((rows, columns)) < rng.random(columns) ** 3)
    if signed:
        dense *= rng.choice([-1.0, 1.0], dense.shape, p=[0.2, 0.8])
    dense[rng.random(rows) < 0.1] = 0.0  # some have nothing
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize("seed", range(12))
def test_the_nearest_are_those_of_all_pairs_bit_by_bit(seed: int):
    rows, others = drawn(seed, 40, 30, signed=seed % 2 == 1), drawn(seed + 100, 40, 30)
    k, shrink, asymmetry = (1, 5, 1000)[seed % 3], (0.0, 0.6, 10.0)[seed % 3], (0.5, 0.25)[seed % 2]
    for other in (rows, others):
        expected = obvious(rows, other, k, shrink, asymmetry)
        for threads, shards in ((1, 1), (1, 7), (2, 3), (4, 1000)):
            found = nearest(rows, other, k, shrink=shrink, asymmetry=asymmetry, threads=threads, shards=shards)
            assert found.dtype == np.float32
            assert found.has_sorted_indices
            np.testing.assert_array_equal(found.toarray(), expected.toarray())


def test_of_equals_the_lower_numbers_are_kept():
    rows = sp.csr_matrix(np.ones((6, 2), np.float32))
    found = nearest(rows, rows, 2, shrink=0.0, asymmetry=0.5)
    assert [found[row].indices.tolist() for row in range(6)] == [[1, 2], [0, 2], *[[0, 1]] * 4]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_of_nothing_nothing_is_near(shape: tuple[int, int]):
    nothing = sp.csr_matrix(shape, dtype=np.float32)
    found = nearest(nothing, nothing, 5, shrink=1.0, asymmetry=0.5)
    assert found.shape == (shape[0], shape[0])
    assert not found.nnz


@given(MATRICES, st.integers(1, 7))
def test_the_strongest_of_a_row_are_kept_and_ties_go_to_the_lower_column(dense: np.ndarray, k: int):
    matrix = sp.csr_matrix(dense)
    before = matrix.copy()
    kept = strongest(matrix, k)
    assert (matrix != before).nnz == 0
    expected = np.zeros_like(dense)
    for row, values in enumerate(dense):
        best = sorted((column for column in range(len(values)) if values[column] > 0), key=lambda c: (-values[c], c))
        expected[row, best[:k]] = values[best[:k]]
    np.testing.assert_array_equal(kept.toarray(), expected)
    assert kept.has_sorted_indices
    assert (kept.data > 0).all()
    positive = sp.csr_matrix(np.maximum(dense, 0.0))
    keep_strongest(positive, k)
    np.testing.assert_array_equal(positive.toarray(), expected)
    assert (positive.data > 0).all()
