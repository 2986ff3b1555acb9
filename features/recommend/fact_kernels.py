"""What is counted for each pair of a listener and a listed track, one listener after the other, compiled.

Each kernel takes a range of users and writes into arrays that are given, only what belongs to those users: so ranges
may run on threads, and the result does not depend on how they are cut. Cost: the tracks of the listener and of their
similar users, each read once, and what is listed. Working memory: an integer a track, artist, album and genre.
"""

import numpy as np
from numba import njit

from features.compute.members import clear, has, members, put


@njit(nogil=True, cache=True)
def _count(
    heard: int,
    plays: int,
    one: int,
    artist: np.ndarray,
    album: np.ndarray,
    genre_begin: np.ndarray,
    genre: np.ndarray,
    artists: np.ndarray,
    albums: np.ndarray,
    genres: np.ndarray,
) -> None:
    """Adds plays of a track to what is counted by artist and genre, and one track by album; below 0 takes them off."""
    if artist[heard] >= 0:
        artists[artist[heard]] += plays
    if album[heard] >= 0:
        albums[album[heard]] += one
    for entry in range(genre_begin[heard], genre_begin[heard + 1]):
        genres[genre[entry]] += plays


@njit(nogil=True, cache=True)
def count_own(
    start: int,
    stop: int,
    users: np.ndarray,
    begin: np.ndarray,
    track: np.ndarray,
    heard_begin: np.ndarray,
    heard_track: np.ndarray,
    plays: np.ndarray,
    artist: np.ndarray,
    album: np.ndarray,
    genre_begin: np.ndarray,
    genre: np.ndarray,
    sizes: np.ndarray,
    own: np.ndarray,
    own_place: np.ndarray,
    by_artist: np.ndarray,
    by_album: np.ndarray,
    best_genre: np.ndarray,
    genre_plays: np.ndarray,
    total: np.ndarray,
) -> None:
    """Plays of each pair's own track, artist, album and most played genre.

    Args:
        start: first of the `users`.
        stop: behind the last.
        users: (n,) numbers.
        begin: (n + 1,) as of `Listed`.
        track: (p,) likewise.
        heard_begin: (users + 1,) of the CSR matrix of plays.
        heard_track: (pairs,) of it.
        plays: (pairs,) of it.
        artist: (tracks,) numbers, -1 unknown.
        album: likewise.
        genre_begin: (tracks + 1,) of the CSR matrix of tracks' genres.
        genre: its columns, ascending.
        sizes: how many tracks, artists, albums and genres there are.
        own: (p,) plays of the track, written.
        own_place: (p,) where in `plays` that is, written; -1 without.
        by_artist: (p,) plays of its artist, written.
        by_album: (p,) other tracks of its album that were played, written.
        best_genre: (p,) the most played of its genres, of equals the lower, written; -1 without one.
        genre_plays: (p,) plays of that, written.
        total: (n,) plays in all, written.
    """
    place = np.full(sizes[0], -1, np.int64)
    artists, albums, genres = np.zeros(sizes[1], np.int64), np.zeros(sizes[2], np.int64), np.zeros(sizes[3], np.int64)
    for row in range(start, stop):
        first, last = heard_begin[users[row]], heard_begin[users[row] + 1]
        total[row] = 0
        for at in range(first, last):
            place[heard_track[at]] = at
            total[row] += plays[at]
            _count(heard_track[at], plays[at], 1, artist, album, genre_begin, genre, artists, albums, genres)
        for pair in range(begin[row], begin[row + 1]):
            listed = track[pair]
            at = place[listed]
            own_place[pair] = at
            own[pair] = plays[at] if at >= 0 else 0
            by_artist[pair] = artists[artist[listed]] if artist[listed] >= 0 else 0
            by_album[pair] = albums[album[listed]] - (at >= 0) if album[listed] >= 0 else 0
            best_genre[pair], genre_plays[pair] = -1, 0
            for entry in range(genre_begin[listed], genre_begin[listed + 1]):
                if best_genre[pair] < 0 or genres[genre[entry]] > genre_plays[pair]:
                    best_genre[pair], genre_plays[pair] = genre[entry], genres[genre[entry]]
        for at in range(first, last):
            place[heard_track[at]] = -1
            _count(heard_track[at], -plays[at], -1, artist, album, genre_begin, genre, artists, albums, genres)


@njit(nogil=True, cache=True)
def count_neighbors(
    start: int,
    stop: int,
    users: np.ndarray,
    begin: np.ndarray,
    track: np.ndarray,
    heard_begin: np.ndarray,
    heard_track: np.ndarray,
    neighbors: np.ndarray,
    common: np.ndarray,
    tracks: int,
    count: np.ndarray,
    least: np.ndarray,
) -> None:
    """How many similar users play each pair's track, and the least that any of those has in common.

    Args:
        start: first of the `users`.
        stop: behind the last.
        users: (n,) numbers.
        begin: (n + 1,) as of `Listed`.
        track: (p,) likewise.
        heard_begin: (users + 1,) of the CSR matrix of plays.
        heard_track: (pairs,) of it.
        neighbors: (all users, k), -1 for none.
        common: (all users, k), tracks in common with each.
        tracks: how many there are.
        count: (p,), written; 0 for nobody.
        least: (p,), written; 0 for nobody.
    """
    place, among = np.empty(tracks, np.int64), members(tracks)  # most that others play is not listed
    for row in range(start, stop):
        for pair in range(begin[row], begin[row + 1]):
            place[track[pair]] = pair
            put(among, np.uint64(track[pair]))
            count[pair], least[pair] = 0, 0
        user = users[row]
        for number in range(neighbors.shape[1]):
            other = neighbors[user, number]
            if other < 0:
                continue
            for at in range(heard_begin[other], heard_begin[other + 1]):
                heard = np.uint64(heard_track[at])
                if has(among, heard):
                    pair = place[heard]
                    if count[pair] == 0 or common[user, number] < least[pair]:
                        least[pair] = common[user, number]
                    count[pair] += 1
        for pair in range(begin[row], begin[row + 1]):
            clear(among, np.uint64(track[pair]))


@njit(nogil=True, cache=True)
def places_of(
    begin: np.ndarray,
    column: np.ndarray,
    row: np.ndarray,
    wanted: np.ndarray,
    found: np.ndarray,
) -> None:
    """Where a CSR matrix with sorted columns has (a,) `wanted` columns in (a,) rows: (a,) `found`; -1 where nowhere."""
    for asked in range(len(row)):
        low, end = begin[row[asked]], begin[row[asked] + 1]
        high = end
        while low < high:
            middle = (low + high) // 2
            if column[middle] < wanted[asked]:
                low = middle + 1
            else:
                high = middle
        found[asked] = low if low < end and column[low] == wanted[asked] else -1


@njit(nogil=True, cache=True)
def first_kinds(
    entries: np.ndarray,
    amounts: np.ndarray,
    possible: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """The kinds that come first for some entries.

    What moved the track comes first, by how much; then what did not, in the order of the kinds. The first kind, the
    user's own plays of it, is always among the chosen where it is possible.

    Args:
        entries: (a,) which of m.
        amounts: (kinds, m) float64.
        possible: (kinds, m) bool.
        chosen: (m, most) int8, written: numbers of kinds, best first; -1 for none.
    """
    kinds, most = len(amounts), chosen.shape[1]
    worth = np.empty(kinds)
    for entry in entries:
        for kind in range(kinds):
            worth[kind] = -np.inf
            if possible[kind, entry]:
                worth[kind] = amounts[kind, entry] if amounts[kind, entry] > 0 else -1.0 - kind
        for place in range(most):
            best = -1
            for kind in range(kinds):
                if worth[kind] > -np.inf and (best < 0 or worth[kind] > worth[best]):
                    best = kind
            if place == most - 1 and worth[0] > -np.inf:
                best = 0
            chosen[entry, place] = best
            if best >= 0:
                worth[best] = -np.inf


@njit(nogil=True, cache=True)
def strongest_and_sums(
    given: np.ndarray,
    history: np.ndarray,
    tracks: np.ndarray,
    weights: np.ndarray,
    strongest: np.ndarray,
    sums: np.ndarray,
) -> None:
    """What of a history moved each of some scores most, and all of them together.

    Args:
        given: (h, n) float64, what each track of the history adds to each score.
        history: (h,) tracks, ascending.
        tracks: (n,) whose scores.
        weights: (n, s) float64: what each score counts, in each of s sums.
        strongest: (n,), written: the track that adds most, another than the scored one, of equals the lower; -1 where
            none adds anything.
        sums: (h, s) float64, added to.
    """
    most = np.zeros(len(tracks))
    strongest[:] = -1
    for own in range(len(history)):
        for scored in range(len(tracks)):
            value = given[own, scored]
            if value > most[scored] and history[own] != tracks[scored]:
                most[scored] = value
                strongest[scored] = history[own]
            for sum_ in range(weights.shape[1]):
                sums[own, sum_] += value * weights[scored, sum_]


@njit(nogil=True, cache=True)
def most_of_each(
    begin: np.ndarray,
    history: np.ndarray,
    amounts: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """For each user and sum the tracks of the history with the most, those that are above 0.

    Args:
        begin: (n + 1,) where each user's history begins in `history`.
        history: (h,) tracks, each user's ascending.
        amounts: (h, s) float64; changed.
        chosen: (n, s, most) int64, written: best first, ties to the lower track; -1 for none.
    """
    for row in range(len(begin) - 1):
        for sum_ in range(amounts.shape[1]):
            for place in range(chosen.shape[2]):
                best, most = -1, 0.0
                for own in range(begin[row], begin[row + 1]):
                    if amounts[own, sum_] > most:
                        best, most = own, amounts[own, sum_]
                chosen[row, sum_, place] = history[best] if best >= 0 else -1
                if best >= 0:
                    amounts[best, sum_] = 0.0
