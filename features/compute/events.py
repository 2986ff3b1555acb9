"""Events by user, cut into ranges that share no user, and where their pairs stand: what walks over all plays needs.

The obvious way to the pair of an event is a search in the user's row of a sparse matrix. Events of one user follow each
other, so the places of the row's tracks are written down once, in a table with room for every track, and looked up: a
tenth of the time.
"""

import numba
import numpy as np

from features.compute.shards import Range

RANGES_A_THREAD = 4
RANGE_EVENTS = 1 << 16
"""Fewer are not worth a thread."""


def by_user(user: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Events by user: the (n,) columns as they are where users ascend, else copies, each user's in the order given."""
    if _ascends(user):
        return user, *columns
    order = np.argsort(user, kind="stable")
    return tuple(column[order] for column in (user, *columns))


def event_ranges(user: np.ndarray, threads: int) -> list[Range]:
    """Ranges over all events, of about even length, such that no user has events in two; one range of none.

    Args:
        user: (n,) of each event, ascending.
        threads: that the ranges are for.
    """
    wanted = max(min(threads * RANGES_A_THREAD, len(user) // RANGE_EVENTS), 1)
    begins = sorted({0, *(int(np.searchsorted(user, user[len(user) * part // wanted])) for part in range(1, wanted))})
    return list(zip(begins, [*begins[1:], len(user)], strict=True))


@numba.njit(nogil=True, cache=True)
def note_places(indices: np.ndarray, begin: int, end: int, place: np.ndarray) -> None:
    """Writes where each track of `indices[begin:end]` stands into `place`, by track; others are left as they are."""
    for entry in range(begin, end):
        place[np.uint64(indices[entry])] = entry


@numba.njit(nogil=True, cache=True)
def _ascends(user: np.ndarray) -> bool:
    descents = 0
    for row in range(1, len(user)):
        descents += user[row] < user[row - 1]
    return descents == 0
