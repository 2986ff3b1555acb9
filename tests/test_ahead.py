"""Iterators that run ahead: their items in order, no more of them than the bound, and no thread left behind."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from features.ahead import in_order


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def numbers(start: int, count: int) -> Callable[[], Iterator[int]]:
    def make() -> Iterator[int]:
        for number in range(start, start + count):
            time.sleep(0.0005 * (number % 3))
            yield number

    return make


SOURCES = [numbers(start, count) for start, count in ((0, 5), (5, 0), (5, 1), (6, 20), (26, 4))]


@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("ahead", [1, 3])
def test_items_come_in_order_for_any_number_of_threads(count, ahead):
    assert list(in_order(SOURCES, count, ahead)) == list(range(30))
    assert threads() == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_items_wait_than_the_bound_allows(count):
    made, taken, most = [], 0, 0

    def endless(start: int) -> Callable[[], Iterator[int]]:
        def make() -> Iterator[int]:
            for number in range(start, start + 40):
                made.append(number)
                yield number

        return make

    for _ in in_order([endless(100 * source) for source in range(4)], count, 3):
        time.sleep(0.002)  # those ahead have time to go too far
        taken += 1
        most = max(most, len(made) - taken)
    assert taken == 160
    # three waiting and one more with each thread
    assert 3 <= most <= 4 * count


def test_an_error_is_raised_when_its_turn_has_come():
    def broken() -> Iterator[int]:
        yield 5
        raise ValueError("lost")

    items = in_order([numbers(0, 5), broken, numbers(6, 9)], 3, 2)
    assert [next(items) for _ in range(6)] == list(range(6))
    with pytest.raises(ValueError, match="lost"):
        next(items)
    assert threads() == 0


def test_who_stops_taking_stops_the_threads_and_closes_what_they_read():
    closed = []

    def kept_open() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    items = in_order([kept_open, kept_open], 2, 2)
    assert next(items) == 0
    assert threads() == 2
    items.close()
    assert threads() == 0
    assert closed == [True, True]
