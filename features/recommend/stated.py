"""Lists for who has said what they like and played nothing yet: scores and reasons from their own words."""

import numpy as np

from features.compute.dataset import STATED_AUDIO
from features.compute.gather import entries_at
from features.compute.rows import row_entries
from features.recommend.blend import LOWEST, standard_scores, standardized
from features.recommend.evidence import Evidence
from features.recommend.stated_kernels import fit_to_words
from features.recommend.texts import Sentences, distinct_texts
from features.schema.names import AUDIO_NAMES

COLUMNS = [AUDIO_NAMES.index(name) for name in STATED_AUDIO]
WORDS = ("energy", "mood", "danceability")
ARTIST, GENRE, AUDIO = 1.0, 1.0, 0.5
"""An artist or genre that was named weighs the same; how a track sounds decides within them."""
POPULARITY = 0.1
"""What is well known goes first among what fits alike: a stranger's first list should hold something familiar."""
CLOSE = 0.1
"""A feature no further than this from the one asked for is called close."""


def has_stated(evidence: Evidence, users: np.ndarray) -> np.ndarray:
    """(users,) bool: who named a genre or artist that some track has, or asked for a sound."""
    stated = evidence.dataset.stated
    named = np.diff(stated.genres.indptr)[users] + np.diff(stated.artists.indptr)[users]
    return (named > 0) | ~np.isnan(stated.audio[users]).all(axis=1)


def stated_scores(evidence: Evidence, users: np.ndarray) -> np.ndarray:
    """(users, tracks) float64: how well a track fits what each user stated; -inf where nothing stated fits.

    One for a named artist, one for a named genre, up to a half for closeness to the energy, mood and danceability
    asked for; by closeness alone a track enters only where no artist or genre was named and it is close. Where an
    artist was named, the content model's likeness counts as much as all that, both as standard scores: it knows whose
    listeners are alike, and which of the artist's tracks are most so.
    """
    stated, catalog = evidence.dataset.stated, evidence.dataset.catalog
    genres, artists = stated.genres[users], stated.artists[users]
    familiar = np.log1p(evidence.listeners) / max(np.log1p(evidence.listeners.max(initial=0)), 1.0)
    scores = np.empty((len(users), len(catalog.artist)))
    fit_to_words(
        *(genres.indptr, genres.indices, artists.indptr, artists.indices, stated.audio[users]),
        *(catalog.genres.indptr, catalog.genres.indices, catalog.artist, catalog.audio[:, COLUMNS], familiar),
        *((ARTIST, GENRE, AUDIO, POPULARITY), CLOSE, len(catalog.genre_names), len(catalog.artist_names), scores),
    )
    return _with_likeness(evidence, users, scores)


def _with_likeness(evidence: Evidence, users: np.ndarray, scores: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(np.diff(evidence.dataset.stated.artists.indptr)[users] > 0)
    model = evidence.models.get("content")
    if model is None or not len(rows):
        return scores
    everything = np.ones((len(rows), scores.shape[1]), bool)
    alike = standard_scores("content", model, users[rows], everything, evidence.listeners)
    scores[rows] = standardized(scores[rows]) + np.maximum(alike, LOWEST)
    return scores


def stated_reasons(evidence: Evidence, users: np.ndarray, owner: np.ndarray, tracks: np.ndarray) -> Sentences:
    """One to three reasons for each entry of lists made by `stated_scores`.

    Args:
        evidence: whose.
        users: (n,) of the lists.
        owner: (m,) the list of each entry.
        tracks: (m,) its track.
    """
    stated, catalog = evidence.dataset.stated, evidence.dataset.catalog
    artists, genres = (matrix[users].sorted_indices() for matrix in (stated.artists, stated.genres))
    artist = catalog.artist[tracks]
    named = np.flatnonzero(entries_at(artists, owner, artist[:, None])[:, 0])
    entry, genre, _ = row_entries(catalog.genres, tracks)
    shared = entries_at(genres, owner[entry], genre[:, None])[:, 0]
    lowest = np.full(len(tracks), len(catalog.genre_names), np.int64)
    np.minimum.at(lowest, entry[shared], genre[shared])
    of_genre = np.flatnonzero(lowest < len(catalog.genre_names))
    with np.errstate(invalid="ignore"):
        near = np.abs(catalog.audio[tracks][:, COLUMNS] - stated.audio[users][owner]) <= CLOSE
    sounds = np.flatnonzero(near.any(axis=1))
    by_artist = distinct_texts(lambda one: f"By {catalog.artist_names[one]}, an artist you named", artist[named])
    by_genre = distinct_texts(
        lambda one: f"{catalog.genre_names[one].capitalize()} is among the genres you named", lowest[of_genre]
    )
    by_sound = distinct_texts(_close_in_words, *near[sounds].T)
    return Sentences.in_turn(len(tracks), [(named, by_artist), (of_genre, by_genre), (sounds, by_sound)])


def _close_in_words(*near: int) -> str:
    close = " and ".join(word for word, is_near in zip(WORDS, near, strict=True) if is_near)
    return f"Close in {close} to what you asked for"
