"""Rows solved by conjugate gradients, against each row's normal equations."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from features.recommend.models.ials_solver import solved

EXACTLY = {"tolerance": 1e-6, "most_steps": 200}


def drawn(seed: int, rows: int, items: int, dimensions: int) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    heard = rng.random((rows, items)) < rng.choice([0.0, 0.1, 0.5, 0.9], (rows, 1))
    values = sp.csr_matrix((rng.uniform(0.2, 3.0, (rows, items)) * heard).astype(np.float32))
    return values, rng.normal(size=(items, dimensions)).astype(np.float32), rng.uniform(0.5, 5.0, rows)


def equations(
    values: sp.csr_matrix, other: np.ndarray, ridge: np.ndarray, unobserved: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    shared = unobserved * other.T.astype(np.float64) @ other
    made = []
    for row, own in zip(values.toarray().astype(np.float64), ridge, strict=True):
        matrix = shared + own * np.eye(other.shape[1])
        for item in np.flatnonzero(row):
            matrix += row[item] * np.outer(other[item], other[item])
        made.append((matrix, row @ other))
    return made


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 12), st.integers(1, 40), st.integers(1, 20), st.booleans())
def test_each_row_solves_its_normal_equations(seed, rows, items, dimensions, warm):
    values, other, ridge = drawn(seed, rows, items, dimensions)
    start = np.ones((rows, dimensions), np.float32) if warm else None
    made = solved(values, other, ridge, 0.1, start=start, **EXACTLY)
    expected = np.array([np.linalg.solve(*row) for row in equations(values, other, ridge, 0.1)])
    np.testing.assert_allclose(made, expected, atol=2e-4)
    assert made.dtype == np.float32
    if warm:
        assert (start == 1.0).all()


def test_a_row_without_entries_has_no_factors_wherever_it_starts():
    values, other, ridge = drawn(1, 6, 9, 4)
    values = sp.csr_matrix(values.toarray() * np.array([1, 0, 1, 1, 0, 1], np.float32)[:, None])
    made = solved(values, other, ridge, 0.1, start=np.ones((6, 4), np.float32), **EXACTLY)
    assert not made[[1, 4]].any()
    assert made[np.diff(values.indptr) > 0].any(axis=1).all()


def test_others_without_factors_leave_none_and_no_warning():
    values, other, ridge = drawn(2, 6, 9, 4)
    made = solved(values, np.zeros_like(other), ridge, 0.1, start=np.ones((6, 4), np.float32), **EXACTLY)
    assert np.abs(made).max() < 1e-6


def test_going_on_when_nothing_is_left_spoils_nothing():
    values, other, ridge = drawn(6, 30, 40, 8)
    made = solved(values, other, ridge, 0.1, tolerance=0.0, most_steps=300)
    np.testing.assert_allclose(made, solved(values, other, ridge, 0.1, **EXACTLY), atol=1e-4)


@pytest.mark.parametrize("dimensions", [3, 32, 50])
def test_neither_threads_nor_shards_change_a_bit(dimensions):
    values, other, ridge = drawn(3, 70, 50, dimensions)
    start = np.full((70, dimensions), 0.1, np.float32)
    plain = solved(values, other, ridge, 0.2, start=start, tolerance=1e-2, most_steps=3)
    for threads, shards in ((1, 70), (2, None), (4, 5), (4, 33)):
        again = solved(
            values, other, ridge, 0.2, start=start, tolerance=1e-2, most_steps=3, threads=threads, shards=shards
        )
        assert again.tobytes() == plain.tobytes()


def residuals(made: np.ndarray, rows: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.array(
        [
            np.sqrt(((right - matrix @ x) ** 2 / np.diag(matrix)).sum() / (right**2 / np.diag(matrix)).sum())
            for x, (matrix, right) in zip(made, rows, strict=True)
        ]
    )


def test_rows_are_left_when_what_is_left_of_them_is_as_small_as_asked():
    values, _, ridge = drawn(4, 40, 60, 16)
    values = values[np.diff(values.indptr) > 0]
    other = np.random.default_rng(4).normal(0.3, 1.0, (60, 16)).astype(np.float32)
    other *= np.geomspace(0.05, 2.0, 16).astype(np.float32)
    rows = equations(values, other, ridge[: values.shape[0]], 0.05)
    at = {
        tolerance: residuals(
            solved(values, other, ridge[: values.shape[0]], 0.05, tolerance=tolerance, most_steps=100), rows
        ).max()
        for tolerance in (0.3, 0.01, 1e-4)
    }
    # along the axes in which it is scaled, which are not those of this measure: the same within a factor
    assert all(0.02 * tolerance < found < 5 * tolerance for tolerance, found in at.items()), at
    few = [
        residuals(solved(values, other, ridge[: values.shape[0]], 0.05, tolerance=0.0, most_steps=steps), rows).max()
        for steps in (0, 1, 3, 6)
    ]
    assert few[0] == 1.0
    assert (np.diff(few) < 0).all()
