"""Which tracks sound alike, compiled: of a history the nearest to a listed track, and the features that are close."""

import numpy as np
from numba import njit

FAR = 1.0
"""What a feature that one of two tracks lacks counts as, beside distances on scales of 0 to 1."""


@njit(nogil=True, cache=True)
def nearest_in_sound(
    start: int,
    stop: int,
    owner: np.ndarray,
    listed: np.ndarray,
    begin: np.ndarray,
    history: np.ndarray,
    audio: np.ndarray,
    nearest: np.ndarray,
) -> None:
    """Of each listener's history the track that sounds most like a listed one.

    A history's features are laid out side by side once for all that its listener asks, so that distances to the whole
    of it are had some at a time.

    Args:
        start: first of the asked.
        stop: behind the last.
        owner: (a,) row in `begin` of who asks; those of one listener follow each other.
        listed: (a,) which track.
        begin: (users + 1,) of the CSR matrix of histories.
        history: its columns, ascending.
        audio: (tracks, features) scaled features, NaN where missing.
        nearest: (a,), written: the track with the least sum of distances, of equals the lower, another than the
            listed one; -1 without one. What either lacks is far.
    """
    most = 0
    for asked in range(start, stop):
        most = max(most, begin[owner[asked] + 1] - begin[owner[asked]])
    sound, apart = np.empty((audio.shape[1], most)), np.empty(most)
    laid_out = -1
    for asked in range(start, stop):
        first, size = begin[owner[asked]], begin[owner[asked] + 1] - begin[owner[asked]]
        if owner[asked] != laid_out:
            laid_out = owner[asked]
            for place in range(size):
                sound[:, place] = audio[history[first + place]]
        apart[:size] = 0.0
        for feature in range(len(sound)):
            _add_distances(audio[listed[asked], feature], sound[feature, :size], apart[:size])
        nearest[asked], best = -1, np.inf
        for place in range(size):
            if apart[place] < best and history[first + place] != listed[asked]:
                nearest[asked], best = history[first + place], apart[place]


@njit(nogil=True, cache=True)
def _add_distances(own: float, others: np.ndarray, apart: np.ndarray) -> None:
    for place in range(len(others)):
        distance = abs(own - others[place])
        apart[place] += distance if distance == distance else FAR  # noqa: PLR0124 - NaN is no equal of itself


@njit(nogil=True, cache=True)
def closest_in_sound(
    listed: np.ndarray,
    like: np.ndarray,
    owner: np.ndarray,
    audio: np.ndarray,
    usual: np.ndarray,
    close: float,
    features: np.ndarray,
    near: np.ndarray,
) -> None:
    """In what tracks are closest to others: to one of the history where two features are close, else to what is usual.

    Args:
        listed: (a,) which tracks.
        like: (a,) tracks of the history; -1 for none, written where two features are not close.
        owner: (a,) row in `usual`.
        audio: (tracks, features) scaled features, NaN where missing.
        usual: (users, features) likewise.
        close: how far apart is close.
        features: (a, 2) int8, written: the two with the least distance, of equals the earlier; what is missing is last.
        near: (a, 2) bool, written: whether they are close.
    """
    for asked in range(len(listed)):
        own = audio[listed[asked]]
        if like[asked] >= 0:
            _two_closest(own, audio[like[asked]], close, features[asked], near[asked])
        if like[asked] < 0 or not near[asked, 1]:
            like[asked] = -1
            _two_closest(own, usual[owner[asked]], close, features[asked], near[asked])


@njit(nogil=True, cache=True)
def _two_closest(own: np.ndarray, other: np.ndarray, close: float, features: np.ndarray, near: np.ndarray) -> None:
    for place in range(2):
        best, least = -1, np.inf
        for feature in range(len(own)):
            distance = abs(own[feature] - other[feature])
            apart = distance if distance == distance else np.inf  # noqa: PLR0124 - NaN is no equal of itself
            if (place == 0 or feature != features[0]) and (best < 0 or apart < least):
                best, least = feature, apart
        features[place], near[place] = best, least <= close
