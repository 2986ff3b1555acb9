"""Values of a few columns of each row, beside the dense rows they are taken from."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from features.compute import gather
from features.compute.best_sums import best_sums
from features.compute.gather import entries_at, likeness_at, products_at, sums_at
from features.compute.topk import top_k

seeds = st.integers(0, 2**32 - 1)


def matrix(rng: np.random.Generator, rows: int, columns: int, density: float = 0.2) -> sp.csr_matrix:
    made = sp.random_array((rows, columns), density=density, format="csr", dtype=np.float32, rng=rng)
    made.data = rng.integers(-2, 6, made.nnz).astype(np.float32) / 4  # with ties
    made = sp.csr_matrix(made)
    made.sort_indices()
    return made


def choice(rng: np.random.Generator, rows: int, columns: int, width: int) -> np.ndarray:
    return rng.integers(-1, columns, (rows, width)).astype(np.int32)


def distinct_choice(rng: np.random.Generator, rows: int, columns: int, width: int) -> np.ndarray:
    chosen = np.sort([rng.permutation(columns)[:width] for _ in range(rows)], axis=1).astype(np.int32)
    return np.where(rng.random(chosen.shape) < 0.2, -1, chosen).astype(np.int32)


def at(dense: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.where(columns < 0, 0, np.take_along_axis(dense, np.maximum(columns, 0), axis=1))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(gather, "ROWS_A_SHARD", 3)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_entries_are_those_of_the_dense_rows(seed):
    rng = np.random.default_rng(seed)
    made, rows = matrix(rng, 12, 30), rng.integers(0, 12, 10)
    columns = choice(rng, 10, 30, 7)
    found = entries_at(made, rows, columns)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, at(made.toarray()[rows], columns))


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 20))
def test_products_are_those_of_the_factors(seed, size):
    rng = np.random.default_rng(seed)
    left, right = (rng.integers(-3, 4, (n, size)).astype(np.float32) for n in (9, 25))  # small integers: exact sums
    rows, columns = rng.integers(0, 9, 8), choice(rng, 8, 25, 6)
    np.testing.assert_array_equal(products_at(left, right, rows, columns), at((left @ right.T)[rows], columns))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_sums_are_those_of_the_product_bit_by_bit(seed):
    rng = np.random.default_rng(seed)
    left, right = matrix(rng, 10, 15, 0.4), matrix(rng, 15, 25)
    left.data, right.data = (rng.random(m.nnz).astype(np.float32) for m in (left, right))
    rows, columns = rng.integers(0, 10, 11), distinct_choice(rng, 11, 25, 9)
    np.testing.assert_array_equal(sums_at(left, right, rows, columns), at((left @ right).toarray()[rows], columns))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_likeness_is_the_product_of_sparse_rows(seed):
    rng = np.random.default_rng(seed)
    left, right = matrix(rng, 9, 20, 0.4), matrix(rng, 25, 20, 0.3)  # of quarters: exact sums
    rows, columns = rng.integers(0, 9, 8), choice(rng, 8, 25, 6)
    expected = at((left @ right.T).toarray()[rows], columns)
    np.testing.assert_array_equal(likeness_at(left, right, rows, columns), expected)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 30), st.booleans())
def test_the_best_are_the_highest_above_nothing_of_equal_ones_the_lower(seed, k, leaves_out):
    rng = np.random.default_rng(seed)
    left, right = matrix(rng, 10, 15, 0.4), matrix(rng, 15, 25)
    rows = rng.integers(0, 10, 11)
    without = matrix(rng, 10, 25) != 0 if leaves_out else None
    dense = (left @ right).toarray()[rows]
    able = dense > 0 if without is None else (dense > 0) & ~without.toarray()[rows]
    expected = top_k(np.where(able, dense, -np.inf), k)
    found = best_sums(left, right, rows, k, without)
    assert found.shape == (11, k)
    for ours, theirs in zip(found, expected, strict=True):
        assert sorted(ours[ours >= 0].tolist()) == sorted(theirs[theirs >= 0].tolist())
        filled = int((ours >= 0).sum())
        assert (ours[:filled] >= 0).all()


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 30))
def test_the_best_of_three_matrices_are_those_of_their_product(seed, k):
    rng = np.random.default_rng(seed)
    left, through, right = matrix(rng, 10, 15, 0.4), matrix(rng, 15, 6, 0.3), matrix(rng, 6, 25)
    rows, without = rng.integers(0, 10, 11), matrix(rng, 10, 25) != 0
    between = (left @ through).tocsr()
    between.sort_indices()
    expected, found = best_sums(between, right, rows, k, without), best_sums(left, right, rows, k, without, through)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(expected, axis=1))


def test_what_stands_between_may_be_nothing_at_all():
    left = sp.csr_matrix(np.ones((3, 4), np.float32))
    nothing, empty = sp.csr_matrix((4, 0), dtype=np.float32), sp.csr_matrix((0, 4), dtype=np.float32)
    assert (best_sums(left, empty, np.arange(3), 2, None, nothing) == -1).all()
