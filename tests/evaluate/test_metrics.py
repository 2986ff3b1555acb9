"""Ranking metrics: figures worked out by hand, and their definitions, slowly."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from features.evaluate.metrics import (
    average_precision_at_k,
    coverage_at_k,
    hits,
    intra_list_diversity_at_k,
    ndcg_at_k,
    novelty_at_k,
    recall_at_k,
)

OF_HITS = (ndcg_at_k, recall_at_k, average_precision_at_k)


def relevant(*rows, tracks=10):
    matrix = np.zeros((len(rows), tracks), bool)
    for number, row in enumerate(rows):
        matrix[number, list(row)] = True
    return sp.csr_matrix(matrix)


def test_a_gain_is_worth_less_the_further_down_it_stands():
    ranked = np.array([[3, 5, 7], [3, 5, 7], [5, 3, 7], [0, 1, 2]])
    made = ndcg_at_k(ranked, relevant({3}, {3, 7}, {3}, {9}), 3)
    ideal = 1 + 1 / math.log2(3)
    assert made.tolist() == pytest.approx([1.0, (1 + 1 / math.log2(4)) / ideal, 1 / math.log2(3), 0.0])


def test_recall_is_of_what_could_be_had():
    ranked = np.array([[3, 5, 7, 9], [3, 5, 7, 9]])
    assert recall_at_k(ranked, relevant({3, 9, 1}, {7}), 4).tolist() == pytest.approx([2 / 3, 1.0])
    assert recall_at_k(ranked, relevant({3, 9, 1}, {7}), 2).tolist() == [0.5, 0.0]


def test_average_precision_is_that_of_the_places_where_hits_stand():
    ranked = np.array([[3, 5, 7, 9], [3, 5, 7, 9], [3, 5, 7, 9]])
    made = average_precision_at_k(ranked, relevant({3, 9, 1}, {7}, {0}), 4)
    assert made.tolist() == pytest.approx([(1 / 1 + 2 / 4) / 3, 1 / 3, 0.0])
    assert average_precision_at_k(ranked[:1], relevant({3, 9, 1}), 2).tolist() == [0.5]


@pytest.mark.parametrize("metric", OF_HITS)
def test_who_took_to_nothing_has_no_figure(metric):
    made = metric(np.array([[1, 2], [1, 2]]), relevant({1}, set()), 2)
    assert made[0] == 1.0
    assert np.isnan(made[1])


@pytest.mark.parametrize("metric", OF_HITS)
def test_an_empty_slot_is_no_hit_and_a_short_list_is_measured_as_what_it_is(metric):
    assert metric(np.array([[-1, -1]]), relevant({9}), 2).tolist() == [0.0]
    assert metric(np.zeros((1, 0), int), relevant({9}), 2).tolist() == [0.0]
    assert 0 < metric(np.array([[1]]), relevant({1, 2}), 5)[0] < 1


@pytest.mark.parametrize("metric", OF_HITS)
def test_of_nobody_there_are_no_figures(metric):
    assert metric(np.zeros((0, 3), int), relevant(tracks=4)[:0], 2).shape == (0,)


def test_hits_are_told_by_place():
    made = hits(np.array([[3, 5, -1], [5, 3, 7]]), relevant({5, 9}, {3, 7}))
    assert made.tolist() == [[False, True, False], [False, True, True]]


@st.composite
def rankings(draw):
    tracks = draw(st.integers(1, 9))
    ranked = [draw(st.permutations(range(tracks))) for _ in range(draw(st.integers(1, 4)))]
    wanted = [draw(st.sets(st.integers(0, tracks - 1))) for _ in ranked]
    return np.array(ranked), wanted, relevant(*wanted, tracks=tracks), draw(st.integers(1, 12))


@given(rankings())
def test_metrics_equal_their_definitions(case):
    ranked, wanted, matrix, k = case
    ndcg, recall, precision = (metric(ranked, matrix, k) for metric in OF_HITS)
    for row, want, gain, share, mean in zip(ranked.tolist(), wanted, ndcg, recall, precision, strict=True):
        if not want:
            assert np.isnan([gain, share, mean]).all()
            continue
        most = min(len(want), k)
        places = [place for place, item in enumerate(row[:k], start=1) if item in want]
        ideal = sum(1 / math.log2(place + 1) for place in range(1, most + 1))
        assert gain == pytest.approx(sum(1 / math.log2(place + 1) for place in places) / ideal)
        assert share == pytest.approx(len(places) / most)
        assert mean == pytest.approx(sum(number / place for number, place in enumerate(places, start=1)) / most)


@given(rankings())
def test_wanted_tracks_first_is_the_best_there_is(case):
    ranked, wanted, matrix, k = case
    sorted_rows = np.array([sorted(row, key=lambda t: t not in want) for row, want in zip(ranked, wanted, strict=True)])
    for metric in OF_HITS:
        best = metric(sorted_rows, matrix, k)
        assert best[~np.isnan(best)] == pytest.approx(1.0)
        assert (np.nan_to_num(metric(ranked, matrix, k)) <= np.nan_to_num(best) + 1e-12).all()


def test_coverage_is_the_share_of_tracks_in_any_list():
    ranked = np.array([[3, 5, -1], [5, 0, 3]])
    assert coverage_at_k(ranked, 3, 10) == pytest.approx(0.3)
    assert coverage_at_k(ranked, 1, 10) == pytest.approx(0.2)
    assert coverage_at_k(np.full((2, 3), -1), 3, 10) == 0.0
    assert coverage_at_k(np.zeros((0, 3), int), 3, 10) == 0.0
    assert np.isnan(coverage_at_k(np.zeros((2, 0), int), 3, 0))


def test_novelty_is_the_surprise_of_a_listener_being_met():
    listeners = np.array([8, 4, 1, 0])
    ranked = np.array([[0, 1], [1, 2], [2, -1], [3, -1], [-1, -1]])
    made = novelty_at_k(ranked, listeners, 8, 2)
    assert made[:4].tolist() == [0.5, 2.0, 3.0, 3.0]  # whom nobody listens to is as new as whom one does
    assert np.isnan(made[4])
    assert novelty_at_k(ranked, listeners, 8, 1)[:2].tolist() == [0.0, 1.0]


def test_diversity_is_one_less_the_cosine_of_pairs():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    ranked = np.array([[0, 3, -1], [0, 1, -1], [0, 2, -1], [0, 4, -1], [0, 1, 3]])
    made = intra_list_diversity_at_k(ranked, vectors, 3)
    assert made.tolist() == pytest.approx([0.0, 1.0, 2.0, 1.0, 2 / 3])


def test_a_list_of_one_or_none_has_no_diversity():
    vectors = np.eye(3)
    assert np.isnan(intra_list_diversity_at_k(np.array([[0, -1], [-1, -1]]), vectors, 2)).all()
    assert np.isnan(intra_list_diversity_at_k(np.array([[0, 1]]), vectors, 1)).all()
    assert np.isnan(intra_list_diversity_at_k(np.zeros((2, 0), int), vectors, 5)).all()


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_coverage_novelty_and_diversity_equal_their_definitions(seed, k):
    rng = np.random.default_rng(seed)
    tracks = int(rng.integers(1, 9))
    vectors = rng.normal(size=(tracks, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(tracks) < 0.2] = 0.0
    listeners = rng.integers(0, 6, tracks)
    ranked = np.array([rng.permutation(tracks) for _ in range(4)])
    for row, filled in zip(ranked, rng.integers(0, tracks + 1, 4), strict=True):
        row[filled:] = -1
    lists = [[int(t) for t in row[:k] if t >= 0] for row in ranked]
    assert coverage_at_k(ranked, k, tracks) == pytest.approx(len({t for row in lists for t in row}) / tracks)
    for row, new, varied in zip(
        lists, novelty_at_k(ranked, listeners, 6, k), intra_list_diversity_at_k(ranked, vectors, k), strict=True
    ):
        if row:
            assert new == pytest.approx(np.mean([-math.log2(max(int(listeners[t]), 1) / 6) for t in row]), abs=1e-12)
        else:
            assert np.isnan(new)
        pairs = [1 - vectors[a] @ vectors[b] for i, a in enumerate(row) for b in row[:i]]
        if pairs:
            assert varied == pytest.approx(np.mean(pairs))
        else:
            assert np.isnan(varied)
