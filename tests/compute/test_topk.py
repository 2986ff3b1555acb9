"""The one top-k and the one tie rule, against sorting everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from features.compute.topk import top_k

VALUES = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 1.0, 2.0]) | st.floats(-10, 10)
SCORES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9), elements=VALUES)


def by_sorting(scores: np.ndarray, k: int) -> list[list[int]]:
    rows = []
    for row in scores:
        usable = [(-value, column) for column, value in enumerate(row) if not np.isnan(value) and value != -np.inf]
        best = [column for _, column in sorted(usable)][:k]
        rows.append(best + [-1] * (min(k, scores.shape[1]) - len(best)))
    return rows


def test_best_first_and_ties_to_the_lower_column():
    scores = np.array([[0.1, 0.9, 0.5, 0.9], [1.0, 1.0, 1.0, 1.0]])
    assert top_k(scores, 3).tolist() == [[1, 3, 2], [0, 1, 2]]


def test_what_may_not_be_chosen_leaves_its_slot_empty():
    scores = np.array([[-np.inf, 0.2, np.nan], [-np.inf, -np.inf, np.nan]])
    assert top_k(scores, 2).tolist() == [[1, -1], [-1, -1]]
    assert top_k(scores, 3).tolist() == [[1, -1, -1], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("shape", "k", "expected"), [((2, 3), 0, (2, 0)), ((0, 3), 2, (0, 2)), ((2, 0), 4, (2, 0)), ((2, 3), 9, (2, 3))]
)
def test_shapes_at_the_edges(shape, k, expected):
    best = top_k(np.zeros(shape), k)
    assert best.shape == expected
    assert best.dtype == np.int32


def test_whole_numbers_and_single_precision_rank_as_well():
    assert top_k(np.array([[3, 1, 3]]), 2).tolist() == [[0, 2]]
    assert top_k(np.array([[3, 1, 3]], np.float32), 2).tolist() == [[0, 2]]


@given(SCORES, st.integers(0, 12))
def test_it_is_what_sorting_everything_says(scores, k):
    assert top_k(scores, k).tolist() == by_sorting(scores, k)


@given(SCORES, st.integers(0, 9), st.integers(0, 9))
def test_a_shorter_list_is_a_prefix_of_a_longer_one(scores, one, other):
    short, long = top_k(scores, min(one, other)), top_k(scores, max(one, other))
    np.testing.assert_array_equal(short, long[:, : short.shape[1]])


@given(SCORES, st.integers(0, 9))
def test_the_scores_are_not_changed(scores, k):
    before = scores.copy()
    top_k(scores, k)
    np.testing.assert_array_equal(scores, before)
