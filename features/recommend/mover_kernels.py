"""What models' `influences` say, of all lists of a block of users at once: what of a history moved each score most.

The models' own methods are asked a user at a time and fill whole arrays, which takes longer than what is computed.
Each kernel takes a range of users and writes only what belongs to those; histories and tracks are ascending.
"""

import numpy as np
from numba import njit

from features.compute.members import clear, has, members, put


@njit(nogil=True, cache=True)
def moved_by_near(
    start: int,
    stop: int,
    users: np.ndarray,
    begin: np.ndarray,
    track: np.ndarray,
    weights: np.ndarray,
    level: np.ndarray,
    scored_begin: np.ndarray,
    scored_track: np.ndarray,
    scored: np.ndarray,
    near_begin: np.ndarray,
    near_track: np.ndarray,
    near: np.ndarray,
    tracks: int,
    history_begin: np.ndarray,
    strongest: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Of a model whose scores are sums of what is near to the history (`NearTracks`).

    Args:
        start: first of the users.
        stop: behind the last.
        users: (n,) numbers.
        begin: (n + 1,) where each user's tracks begin in `track`.
        track: (a,) whose scores, each user's ascending.
        weights: (a, s) float64: what each score counts, in each of s sums.
        level: (n,) bool: whose scores count by the most that anything of the history gives any.
        scored_begin: (users + 1,) of the CSR matrix of histories as they count.
        scored_track: its columns, ascending.
        scored: its values; those above 0 are the history.
        near_begin: (tracks + 1,) of the CSR matrix of what is near to what.
        near_track: its columns.
        near: its values.
        tracks: how many there are.
        history_begin: (n + 1,) where each user's history begins in `sums`.
        strongest: (a,) int64, written: the track that adds most, another than the scored one, of equals the lower; -1
            where none adds anything.
        sums: (h, s) float64, added to.
    """
    place, among = np.empty(tracks, np.int32), members(tracks)  # most that is near is not listed
    most = np.zeros(len(track))
    for row in range(start, stop):
        first, last = begin[row], begin[row + 1]
        if first == last:
            continue
        for at in range(first, last):
            place[track[at]] = at
            put(among, np.uint64(track[at]))
            strongest[at] = -1
        base, history = history_begin[row], history_begin[row + 1] - history_begin[row]
        added = np.zeros((history, weights.shape[1]))
        own, largest = 0, 0.0
        for entry in range(scored_begin[users[row]], scored_begin[users[row] + 1]):
            if scored[entry] <= 0:  # what the user is put off by is no history
                continue
            source = scored_track[entry]
            for other in range(near_begin[source], near_begin[source + 1]):
                listed = np.uint64(near_track[other])
                if has(among, listed):
                    at = place[listed]
                    value = np.float64(scored[entry]) * np.float64(near[other])
                    largest = max(largest, abs(value))
                    _keep(value, source, track[at], at, most, strongest)
                    for number in range(weights.shape[1]):
                        added[own, number] += value * weights[at, number]
            own += 1
        _add(added, level[row], largest, sums[base : base + history])
        for at in range(first, last):
            clear(among, np.uint64(track[at]))


@njit(nogil=True, cache=True)
def moved_by_factors(
    start: int,
    stop: int,
    users: np.ndarray,
    begin: np.ndarray,
    track: np.ndarray,
    weights: np.ndarray,
    level: np.ndarray,
    scored_begin: np.ndarray,
    scored_track: np.ndarray,
    scored: np.ndarray,
    factors: np.ndarray,
    scale: np.ndarray,
    gram: np.ndarray,
    ridge: np.ndarray,
    history_begin: np.ndarray,
    strongest: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Of a model whose scores are products of factors, a user's being linear in the history; in single precision.

    That is worth · (f · M^-1 g) · scale, of a track with factors f in the history and a scored one with g: M the
    identity, or gram + sum of worth f f' over the history + ridge, the least squares solution.

    Args:
        start: as of `moved_by_near`, like all that is not named here.
        stop: likewise.
        users: likewise.
        begin: likewise.
        track: likewise.
        weights: likewise.
        level: likewise.
        scored_begin: likewise.
        scored_track: likewise.
        scored: likewise.
        factors: (tracks, d) float.
        scale: (tracks,) float64.
        gram: (d, d) float64; (0, 0) where M is the identity.
        ridge: (most tracks of a history + 1,) float64, by how many there are.
        history_begin: likewise.
        strongest: likewise.
        sums: likewise.
    """
    size, base_matrix = factors.shape[1], gram.astype(np.float32)
    for row in range(start, stop):
        first, last = begin[row], begin[row + 1]
        base, history = history_begin[row], history_begin[row + 1] - history_begin[row]
        if first == last:
            continue
        strongest[first:last] = -1
        if history == 0:
            continue
        source, worth = np.empty(history, np.int64), np.empty(history, np.float32)
        own, wanted = np.empty((history, size), np.float32), np.empty((last - first, size), np.float32)
        count = 0
        for entry in range(scored_begin[users[row]], scored_begin[users[row] + 1]):
            if scored[entry] > 0:  # what the user is put off by is no history
                source[count], worth[count] = scored_track[entry], scored[entry]
                own[count] = factors[scored_track[entry]]
                count += 1
        for at in range(first, last):
            wanted[at - first] = factors[track[at]]
            wanted[at - first] *= np.float32(scale[track[at]])
        weighed = own * worth.reshape(-1, 1)
        if len(gram):
            matrix = np.dot(weighed.T, own) + base_matrix
            for place in range(size):
                matrix[place, place] += np.float32(ridge[history])
            if history < last - first:
                weighed = np.ascontiguousarray(np.linalg.solve(matrix, np.ascontiguousarray(weighed.T)).T)
            else:
                wanted = np.ascontiguousarray(np.linalg.solve(matrix, np.ascontiguousarray(wanted.T)).T)
        given = np.dot(weighed, wanted.T)
        largest = np.abs(given).max() if level[row] else 0.0
        added = np.dot(weighed, np.dot(wanted.T, weights[first:last].astype(np.float32)))
        _add(added, level[row], largest, sums[base : base + history])
        _strongest(given, source, track[first:last], strongest[first:last])


@njit(nogil=True, cache=True)
def _strongest(given: np.ndarray, source: np.ndarray, track: np.ndarray, strongest: np.ndarray) -> None:
    """Of (h, n) `given`, which is changed, the row with the most above 0 in each column: first what, then where."""
    most = np.zeros(len(track), np.float32)
    place = 0
    for own in range(len(source)):
        while place < len(track) and track[place] < source[own]:
            place += 1
        if place < len(track) and track[place] == source[own]:
            given[own, place] = np.float32(0.0)  # a track is no reason for itself
        _raise(most, given[own])
    for own in range(len(source)):
        for place in range(len(track)):
            if given[own, place] == most[place] and strongest[place] < 0 and most[place] > 0:
                strongest[place] = source[own]


@njit(nogil=True, cache=True)
def _raise(most: np.ndarray, values: np.ndarray) -> None:
    for place in range(len(values)):
        most[place] = max(most[place], values[place])


@njit(nogil=True, cache=True)
def _keep(value: float, source: int, track: int, at: int, most: np.ndarray, strongest: np.ndarray) -> None:
    if value > most[at] and source != track:
        most[at] = value
        strongest[at] = source


@njit(nogil=True, cache=True)
def _add(added: np.ndarray, level: bool, largest: float, sums: np.ndarray) -> None:
    """Adds to `sums`; where all that may be shown is equal, what is owed to the history is of one size."""
    scale = 1.0 / max(largest, 1e-300) if level else 1.0
    for own in range(len(added)):
        for number in range(added.shape[1]):
            sums[own, number] += added[own, number] * scale
