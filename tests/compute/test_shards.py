"""Ranges of even cost, and a function over them."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.compute.shards import even_ranges, over_shards


def test_rows_of_equal_cost_are_cut_in_equal_parts():
    assert even_ranges(np.ones(8), 4) == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_a_row_that_costs_as_much_as_all_others_has_a_range_to_itself():
    assert even_ranges(np.array([6, 1, 1, 1, 1, 1, 1]), 2) == [(0, 1), (1, 7)]


def test_there_are_no_empty_ranges():
    assert even_ranges(np.array([0, 0, 9, 0]), 3) == [(0, 3), (3, 4)]
    assert even_ranges(np.zeros(3), 2) == [(0, 1), (1, 3)]
    assert even_ranges(np.ones(2), 10) == [(0, 1), (1, 2)]
    assert even_ranges(np.ones(0), 3) == []


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 9))
def test_ranges_cover_each_row_once_and_are_over_by_no_more_than_their_last_row(costs, shards):
    ranges = even_ranges(np.array(costs), shards)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(len(costs)))
    assert len(ranges) <= shards
    assert all(sum(costs[start : stop - 1]) <= sum(costs) / shards + 1e-9 for start, stop in ranges)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_the_order_of_the_ranges(threads):
    ranges = [(start, start + 3) for start in range(0, 60, 3)]
    assert over_shards(lambda start, stop: (start, stop), ranges, threads) == ranges
    assert over_shards(lambda start, stop: (start, stop), [], threads) == []


def test_two_threads_are_at_work_at_once():
    both = threading.Barrier(2)
    over_shards(lambda *_: both.wait(timeout=60), [(0, 1), (1, 2)], 2)  # one alone would wait in vain


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_range_raises_is_raised_and_the_others_are_left(threads):
    done = []

    def fails_at_once(start: int, stop: int) -> None:
        if start == 0:
            raise ValueError("row 0 is no good")
        done.append(start)

    with pytest.raises(ValueError, match="row 0"):
        over_shards(fails_at_once, [(start, start + 1) for start in range(100_000)], threads)
    assert len(done) < 99_999


def test_without_shards_or_threads_nothing_can_be_done():
    with pytest.raises(ValueError, match="0 shards"):
        even_ranges(np.ones(3), 0)
    with pytest.raises(ValueError, match="0 threads"):
        over_shards(lambda *_: None, [(0, 1)], 0)
