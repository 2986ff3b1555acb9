"""Steps of making lists of scores that look at one user's tracks at a time, compiled."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def best_new(
    values: np.ndarray,
    new: np.ndarray,
    artist: np.ndarray,
    of: np.ndarray,
    most: int,
    best: np.ndarray,
) -> None:
    """The best of each user's new tracks that stand in the better half and are within the limit on artists.

    Args:
        values: (n, m) float; -inf for what must not be listed.
        new: (n, m) bool.
        artist: (tracks,) int, number of the first artist; -1 unknown.
        of: (n, m) int32, what the columns stand for; (0, 0) where they are the tracks.
        most: of an artist's tracks that may stand above, and it itself; 0 for any.
        best: (n, count) int32 columns, written: best first, ties to the lower; -1 for none.
    """
    width, count = values.shape[1], best.shape[1]
    for row in range(len(values)):
        best[row] = -1
        finite, too_low = 0, -np.inf
        for column in range(width):
            finite += values[row, column] > -np.inf
        for column in range(width):
            value = values[row, column]
            if not new[row, column] or value <= too_low:
                continue
            place = count
            while place > 0 and (best[row, place - 1] < 0 or values[row, best[row, place - 1]] < value):
                place -= 1
            if place == count:
                continue
            above, alike = _above(values[row], column, artist, of, row)
            if 2 * above >= finite:
                too_low = value  # and so is all that is lower
            elif most == 0 or alike < most:
                best[row, place + 1 :] = best[row, place : count - 1].copy()
                best[row, place] = column


@njit(nogil=True, cache=True)
def _above(values: np.ndarray, column: int, artist: np.ndarray, of: np.ndarray, row: int) -> tuple[int, int]:
    """How many are better than a column; and how many of the same artist stand before it."""
    own = artist[of[row, column] if len(of) else column]
    above, alike = 0, 0
    for other in range(len(values)):
        if values[other] > values[column] or (values[other] == values[column] and other < column):
            above += values[other] > values[column]
            alike += own >= 0 and artist[of[row, other] if len(of) else other] == own
    return above, alike


@njit(nogil=True, cache=True)
def hold_back(tracks: np.ndarray, artist: np.ndarray, most: int, stood: np.ndarray, levels: np.ndarray) -> None:
    """Level 1 for what `most` of its artist's stand before.

    Args:
        tracks: (n, c) int32, best first; -1 for empty slots.
        artist: (tracks,) int, number of the first artist; -1 unknown.
        most: above 0.
        stood: (artists,) int32, zeros; they are so again in the end.
        levels: (n, c) int8, written where it applies.
    """
    for row in range(len(tracks)):
        for place in range(tracks.shape[1]):
            if tracks[row, place] >= 0 and artist[tracks[row, place]] >= 0:
                own = artist[tracks[row, place]]
                if stood[own] >= most:
                    levels[row, place] = 1
                stood[own] += 1
        for place in range(tracks.shape[1]):
            if tracks[row, place] >= 0 and artist[tracks[row, place]] >= 0:
                stood[artist[tracks[row, place]]] = 0
