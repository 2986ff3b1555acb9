"""Which of many columns are among a few, a bit each: a few thousand bytes, which stay in the processor's nearest cache.

For kernels that go through long lists of columns of which few are asked for. Columns are unsigned: of a signed place
numba asks whether it counts from the end of an array.
"""

import numpy as np
from numba import njit

ONE, SIX, LOW = np.uint64(1), np.uint64(6), np.uint64(63)


@njit(nogil=True, cache=True)
def members(width: int) -> np.ndarray:
    """Room for `width` columns, none of which is in."""
    return np.zeros((width >> 6) + 1, np.uint64)


@njit(nogil=True, cache=True)
def put(among: np.ndarray, column: np.uint64) -> None:
    """Takes a column in."""
    among[column >> SIX] |= ONE << (column & LOW)


@njit(nogil=True, cache=True)
def has(among: np.ndarray, column: np.uint64) -> bool:
    """Whether a column is in."""
    return bool((among[column >> SIX] >> (column & LOW)) & ONE)


@njit(nogil=True, cache=True)
def clear(among: np.ndarray, column: np.uint64) -> None:
    """Takes a column out, and some of those beside it: for who takes all out."""
    among[column >> SIX] = np.uint64(0)
