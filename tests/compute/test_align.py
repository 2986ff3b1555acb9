"""Alignment of embeddings: the rotation is found, nothing but the rotation happens, and what can't be is left alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from features.compute.align import Alignment, align
from features.compute.embeddings import unit_rows

SEEDS = st.integers(0, 10_000)


def some_vectors(rng: np.random.Generator, rows: int, width: int, zeros: float = 0.1) -> np.ndarray:
    return unit_rows(rng.standard_normal((rows, width)) * (rng.random((rows, 1)) >= zeros)).astype(np.float32)


def some_ids(rng: np.random.Generator, rows: int) -> list[str]:
    return [f"t{number:02d}" for number in rng.permutation(60)[:rows]]


def any_rotation(rng: np.random.Generator, width: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((width, width)))[0]


def aligned(*arguments: object) -> Alignment:
    with threadpool_limits(1, "blas"):
        return align(*arguments)


def same(one: Alignment, other: Alignment) -> bool:
    figures = [[entry.tracks, entry.before, entry.after] for entry in (one, other)]
    return one.vectors.tobytes() == other.vectors.tobytes() and np.array_equal(*figures, equal_nan=True)


def test_a_quarter_turn_is_turned_back():
    new = np.array([[0.0, 1.0], [-1.0, 0.0], [0.6, 0.8], [0.0, 0.0]], np.float32)
    old = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], np.float32)
    made = align(new, ["a", "b", "new", "blank"], old, ["b", "a", "blank"])
    np.testing.assert_allclose(made.vectors, [[1, 0], [0, 1], [0.8, -0.6], [0, 0]], atol=1e-7)
    assert (made.tracks, made.before) == (2, 0.0)
    assert made.after == pytest.approx(1.0)


def test_a_mirrored_dimension_is_mirrored_back():
    rng = np.random.default_rng(3)
    old, ids = some_vectors(rng, 30, 5), some_ids(rng, 30)
    made = align(old * np.array([1, -1, 1, 1, -1], np.float32), ids, old, ids)
    np.testing.assert_allclose(made.vectors, old, atol=1e-6)
    assert made.before < 0.7 < made.after


@given(SEEDS, st.integers(1, 6))
def test_vectors_that_were_only_rotated_come_back_whoever_came_and_went(seed, width):
    rng = np.random.default_rng(seed)
    old, ids = some_vectors(rng, 50, width), some_ids(rng, 50)
    made = aligned((old @ any_rotation(rng, width))[:45], ids[:45], old[5:], ids[5:])
    np.testing.assert_allclose(made.vectors, old[:45], atol=1e-5)
    assert made.tracks == old[5:45].any(axis=1).sum()
    assert made.after == pytest.approx(1.0)


@given(SEEDS, st.integers(0, 40), st.integers(1, 8), st.integers(1, 8))
def test_inner_products_stay_and_the_fit_gets_no_worse(seed, rows, width, reference_width):
    rng = np.random.default_rng(seed)
    new, old = some_vectors(rng, rows, width), some_vectors(rng, 20, reference_width)
    kept = new.copy(), old.copy()
    made = aligned(new, some_ids(rng, rows), old, some_ids(rng, 20))
    np.testing.assert_allclose(made.vectors @ made.vectors.T, new @ new.T, atol=1e-6)
    assert made.vectors.dtype == np.float32
    assert np.array_equal(made.vectors.any(axis=1), new.any(axis=1))
    assert math.isnan(made.before) == math.isnan(made.after) == (made.tracks == 0)
    assert made.tracks == 0 or made.after >= made.before - 1e-7
    assert np.array_equal(new, kept[0])
    assert np.array_equal(old, kept[1])


@given(SEEDS, st.integers(1, 40))
def test_any_order_of_rows_on_either_side_makes_the_same_bits(seed, rows):
    rng = np.random.default_rng(seed)
    new, old, ids, old_ids = (
        some_vectors(rng, rows, 6),
        some_vectors(rng, 30, 6),
        some_ids(rng, rows),
        some_ids(rng, 30),
    )
    one = aligned(new, ids, old, old_ids)
    order, old_order = rng.permutation(rows), rng.permutation(30)
    other = aligned(new[order], [ids[i] for i in order], old[old_order], [old_ids[i] for i in old_order])
    assert same(Alignment(one.vectors[order], one.tracks, one.before, one.after), other)


def test_no_rotation_of_many_tried_fits_better():
    rng = np.random.default_rng(5)
    new, old, ids = some_vectors(rng, 20, 3, zeros=0), some_vectors(rng, 20, 3, zeros=0), some_ids(rng, 20)
    best = max(np.einsum("ij,ij->i", new @ any_rotation(rng, 3), old).mean() for _ in range(3000))
    assert best - 1e-6 <= align(new, ids, old, ids).after < best + 0.05


def test_a_narrower_reference_counts_as_zero_where_it_has_no_dimension():
    rng = np.random.default_rng(8)
    narrow, ids = some_vectors(rng, 40, 4), some_ids(rng, 40)
    padded = np.hstack([narrow, np.zeros((40, 3), np.float32)])
    made = align(padded @ any_rotation(rng, 7), ids, narrow, ids)
    np.testing.assert_allclose(made.vectors, padded, atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "reference_ids"),
    [
        (np.eye(3), ["a", "b", "c"]),  # wider
        (np.eye(2), ["x", "y"]),  # nothing shared
        (np.array([[0.0, 0.0], [1.0, 0.0]]), ["a", "x"]),  # nothing known of what is shared
        (np.zeros((0, 2)), []),
    ],
)
def test_what_no_rotation_can_reach_stays_as_it_was(reference, reference_ids):
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
    made = align(vectors, ["a", "b"], reference, reference_ids)
    assert made.vectors.tobytes() == vectors.tobytes()
    assert made.tracks == 0
    assert np.isnan([made.before, made.after]).all()


@given(SEEDS)
def test_where_shared_tracks_say_nothing_the_rotation_is_the_least_one(seed):
    # two shared tracks span four of six dimensions, before and after together: the other two have no reason to turn
    rng = np.random.default_rng(seed)
    axes = any_rotation(rng, 6)
    new, old = (any_rotation(rng, 4)[:2] @ axes[:4] for _ in range(2))
    made = align(np.vstack([new, axes[4:]]), ["a", "b", "c", "d"], old, ["a", "b"])
    np.testing.assert_allclose(made.vectors, np.vstack([old, axes[4:]]), atol=1e-4)


def test_an_alignment_can_be_read():
    assert repr(Alignment(np.eye(2), 1200, 0.5, 0.75)) == (
        "Alignment(1,200 shared tracks, mean cosine 0.500 before, 0.750 after)"
    )
