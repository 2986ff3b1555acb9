"""Leading singular vectors and sparse products, against dense ones."""

import numpy as np
import pytest
import scipy.sparse as sp

from features.compute import decomposition
from features.compute.decomposition import leading, there_and_back


def drawn(seed: int, rows: int, columns: int) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(rows, 9)) @ (rng.normal(size=(9, columns)) * 0.6 ** np.arange(9)[:, None])
    return sp.csr_matrix(np.where(rng.random((rows, columns)) < 0.5, dense, 0.0))


@pytest.mark.parametrize("single", [0, 1 << 20])
@pytest.mark.parametrize("shape", [(300, 80), (80, 300), (40, 1), (1, 40), (7, 5)])
def test_they_are_those_of_the_dense_decomposition(shape, single, monkeypatch):
    monkeypatch.setattr(decomposition, "BLOCK_ROWS", 64)
    monkeypatch.setattr(decomposition, "SINGLE_ENTRIES", single)
    matrix, rank = drawn(1, *shape), min(4, *shape)
    values, right = leading(matrix, rank, seed=1)
    _, expected, vectors = np.linalg.svd(matrix.toarray(), full_matrices=False)
    np.testing.assert_allclose(values, expected[:rank], rtol=1e-6)
    np.testing.assert_allclose(np.abs((right * vectors[:rank]).sum(axis=1)), 1.0, atol=1e-5)
    np.testing.assert_allclose(right @ right.T, np.eye(rank), atol=1e-12)


def test_beyond_the_rank_of_the_matrix_there_is_nothing():
    rng = np.random.default_rng(2)
    matrix = sp.csr_matrix(rng.normal(size=(60, 3)) @ rng.normal(size=(3, 50)))
    values, right = leading(matrix, 8, seed=1)
    assert (values[3:] < 1e-12 * values[0]).all()
    expected = np.linalg.svd(matrix.toarray())[2][:3]
    np.testing.assert_allclose(np.abs(right[:3] @ expected.T), np.eye(3), atol=1e-9)


def test_far_apart_values_are_found_too():
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(size, 6)))[0] for size in (90, 70))
    values, _ = leading(sp.csr_matrix(left * np.geomspace(1.0, 1e-6, 6) @ right.T), 6, seed=1)
    np.testing.assert_allclose(values, np.geomspace(1.0, 1e-6, 6), rtol=1e-6)


@pytest.mark.parametrize("single", [0, 1 << 20])
def test_neither_threads_nor_shards_change_a_bit(single, monkeypatch):
    monkeypatch.setattr(decomposition, "BLOCK_ROWS", 64)
    monkeypatch.setattr(decomposition, "SINGLE_ENTRIES", single)
    matrix, dense = drawn(4, 300, 80), np.random.default_rng(4).normal(size=(80, 21))
    plain = there_and_back(matrix, matrix.data, dense, 1)
    np.testing.assert_allclose(plain, matrix.toarray().T @ (matrix.toarray() @ dense), atol=1e-11)
    for threads in (2, 4):
        assert there_and_back(matrix, matrix.data, dense, threads).tobytes() == plain.tobytes()
    one, other = (leading(matrix, 5, seed=2, threads=threads) for threads in (1, 4))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_a_walk_there_and_back_over_nothing_is_nothing():
    for shape in ((4, 2), (3, 1)):
        matrix = sp.csr_matrix(shape)
        assert not there_and_back(matrix, matrix.data, np.ones((shape[1], 3)), 1).any()
