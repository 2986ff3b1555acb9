"""Rows in ranges of even cost, and a function run over them on threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")
Range = tuple[int, int]
"""Rows from the first number up to, not including, the second."""


def even_ranges(costs: np.ndarray, shards: int) -> list[Range]:
    """Ranges that follow each other over all rows, each of about the same cost.

    A range is over by no more than its last row costs. Rows that cost nothing go with their neighbours.

    Args:
        costs: (rows,) not negative: what each row takes, in any unit.
        shards: how many ranges at most, one or more; none is empty, so there may be fewer.

    Returns:
        Ranges in order; none where there are no rows.

    Raises:
        ValueError: fewer than one shard.
    """
    if shards < 1:
        raise ValueError(f"{shards} shards asked for; at least one is needed")
    if not len(costs):
        return []
    reached = np.cumsum(costs, dtype=np.float64)
    goals = reached[-1] * np.arange(1, shards) / shards
    bounds = np.unique(np.concatenate(([0], np.searchsorted(reached, goals) + 1, [len(costs)])))
    return [(int(start), int(stop)) for start, stop in pairwise(bounds)]


def over_shards(function: Callable[[int, int], Result], ranges: Sequence[Range], threads: int = 1) -> list[Result]:
    """What `function(start, stop)` returns for each range, in the order of the ranges.

    Threads gain time where the function lets go of the interpreter's lock: numba with `nogil`, numpy, scipy. They take
    range after range, so more ranges than threads even out what was guessed wrong of costs. With one thread
    it is a plain loop.

    Args:
        function: must not depend on other ranges, nor on the order in which they are run.
        ranges: of rows.
        threads: one or more.

    Raises:
        ValueError: fewer than one thread.
        Whatever the function raises, of the first range that failed; ranges not begun by then are left out.
    """
    if threads < 1:
        raise ValueError(f"{threads} threads asked for; at least one is needed")
    if threads == 1 or len(ranges) <= 1:
        return [function(start, stop) for start, stop in ranges]
    with ThreadPoolExecutor(min(threads, len(ranges))) as pool:
        running = [pool.submit(function, start, stop) for start, stop in ranges]
        try:
            return [future.result() for future in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
