"""How well tracks fit what newcomers stated, compiled: each track is looked at once, its few words while at hand."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def fit_to_words(
    genre_begin: np.ndarray,
    genre: np.ndarray,
    artist_begin: np.ndarray,
    artist: np.ndarray,
    wanted: np.ndarray,
    track_genre_begin: np.ndarray,
    track_genre: np.ndarray,
    track_artist: np.ndarray,
    audio: np.ndarray,
    familiar: np.ndarray,
    shares: tuple[float, float, float, float],
    close: float,
    genres: int,
    artists: int,
    scores: np.ndarray,
) -> None:
    """The sum, by `shares`, of a named artist, a named genre, closeness in sound and how well known a track is.

    Args:
        genre_begin: (n + 1,) where each user's named genres begin in `genre`.
        genre: their numbers.
        artist_begin: likewise of artists.
        artist: likewise.
        wanted: (n, f) float64, the sound asked for; NaN for what was not.
        track_genre_begin: (tracks + 1,) where each track's genres begin in `track_genre`.
        track_genre: their numbers.
        track_artist: (tracks,) int, -1 unknown.
        audio: (tracks, f) float64, NaN unknown.
        familiar: (tracks,) float64.
        shares: of artist, genre, sound and `familiar`.
        close: mean distance in sound up to which a track fits whoever named neither artist nor genre.
        genres: how many there are.
        artists: likewise.
        scores: (n, tracks) float64, written; -inf where nothing that was stated fits.
    """
    is_genre, is_artist = np.zeros(genres, np.bool_), np.zeros(artists + 1, np.bool_)  # the last for unknown ones
    of_artist, of_genre, of_sound, of_fame = shares
    for row in range(len(wanted)):
        own_genres, own_artists = (
            genre[genre_begin[row] : genre_begin[row + 1]],
            artist[artist_begin[row] : artist_begin[row + 1]],
        )
        is_genre[own_genres], is_artist[own_artists] = True, True
        words = len(own_genres) + len(own_artists) > 0
        for track in range(len(familiar)):
            by_genre, by_artist = False, is_artist[track_artist[track]]
            for place in range(track_genre_begin[track], track_genre_begin[track + 1]):
                by_genre |= is_genre[track_genre[place]]
            total, count = 0.0, 0
            for feature in range(wanted.shape[1]):
                apart = abs(audio[track, feature] - wanted[row, feature])
                if not np.isnan(apart):
                    total += apart
                    count += 1
            distance = total / count if count else np.inf
            if (by_genre or by_artist) if words else distance <= close:
                fits = of_artist * by_artist + of_genre * by_genre + of_sound * (1.0 - distance if count else 0.0)
                scores[row, track] = fits + of_fame * familiar[track]
            else:
                scores[row, track] = -np.inf
        is_genre[own_genres], is_artist[own_artists] = False, False
