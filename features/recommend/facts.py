"""What can be said of listeners and tracks, counted once for a release: what reasons name as their evidence."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import scipy.sparse as sp

from features.compute.heard import Heard, heard_of
from features.compute.interactions import MS_A_DAY, Plays
from features.compute.profiles import scaled_audio
from features.compute.sequences import followers, in_sequence
from features.recommend.evidence import Evidence
from features.recommend.fact_kernels import count_neighbors, count_own, places_of
from features.recommend.listed import Listed
from features.schema.names import AUDIO_NAMES

LATELY_DAYS = 60
"""How far back from the newest play of all "lately" reaches."""
SOON = 10
"""Of the tracks that a listener first played after another, so many came soon after it."""
MOST_FOLLOWERS = 64
"""Tracks that listeners went on to, of each track: of a hundred million plays all of them would be gigabytes."""
SOON_LISTENERS = 3
"""Listeners who went from one track to another, from which on they are a reason."""
LIKINGS = ("love", "like", "save", "replay")
"""What may draw a user to a track they have not played, strongest first."""
FEATURE_WORDS = {
    "energy": "energy",
    "tempo": "tempo",
    "valence": "mood",
    "danceability": "danceability",
    "acousticness": "acousticness",
    "instrumentalness": "instrumentalness",
    "loudness": "loudness",
}
"""The features that reasons speak of, and what they are called there."""
SOUND = [AUDIO_NAMES.index(name) for name in FEATURE_WORDS]
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, eq=False)
class Offer:
    """What can be said to users of pairs of listed tracks, whatever the strategy.

    Attributes:
        own: (p,) int64, plays of the track itself.
        own_place: (p,) int64, where those are in `Facts.heard`; -1 without any.
        neighbors: (p,) how many similar users play it.
        least: (p,) the least that any of those has in common with the user.
        artist: (p,) plays of its artist.
        album: (p,) other tracks of its album that were played.
        genre: (p,) the user's most played of its genres; -1 without one.
        genre_share: (p,) float64, that genre's share of their plays; 0 for none.
    """

    own: np.ndarray
    own_place: np.ndarray
    neighbors: np.ndarray
    least: np.ndarray
    artist: np.ndarray
    album: np.ndarray
    genre: np.ndarray
    genre_share: np.ndarray


@dataclass(frozen=True, eq=False)
class Counts:
    """What plays say of pairs of listener and track, in the little that reasons need: plays need not be kept for it.

    Attributes:
        heard: (users, tracks) int32 CSR: plays that were not skipped.
        last_day: (pairs of `heard`,) int32: the day of the last play of each, in UTC since 1970, in its order.
        days_lately: (users, tracks) uint8 CSR: days, in UTC, of the last 60 before the newest play of all, with a play.
        soon_after: (tracks, tracks) int32 CSR: listeners who first played the second among their next ten new tracks.
            Strictly later: tracks first played at one moment do not follow one another. Of each first track the 64
            that most went on to.
    """

    heard: sp.csr_matrix
    last_day: np.ndarray
    days_lately: sp.csr_matrix
    soon_after: sp.csr_matrix

    @classmethod
    def of(cls, heard: Heard, *, least: int = SOON_LISTENERS) -> Self:
        """Of what `heard_of` found; of tracks that fewer than the least went on to after another, nothing is kept."""
        plays = heard.plays
        days = sp.csr_matrix((heard.days_lately, plays.indices, plays.indptr), shape=plays.shape)
        sequences = in_sequence(plays, heard.first_at)
        soon = followers(sequences, plays.shape[1], reach=SOON, least=least, most=MOST_FOLLOWERS)
        return cls(plays, heard.last_day, days, soon)


def heard_lately(events: Plays, played: sp.csr_matrix) -> Heard:
    """What `Counts` are made of; arguments as of `heard_of`."""
    return heard_of(events, played, lately_ms=LATELY_DAYS * MS_A_DAY)


@dataclass(frozen=True, eq=False)
class Facts:
    """What reasons can name. A play counts where it was not skipped; what is unknown of a track counts for nothing.

    Attributes:
        evidence: what ranks; its plays are not asked.
        counts: of plays.
    """

    evidence: Evidence
    counts: Counts

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """The facts of evidence that has its plays."""
        return cls(evidence, Counts.of(heard_lately(evidence.history.events, evidence.interactions.plays)))

    @property
    def heard(self) -> sp.csr_matrix:
        """(users, tracks) int32 CSR: plays."""
        return self.counts.heard

    @cached_property
    def sound(self) -> np.ndarray:
        """(tracks, 7) float64: scaled features in the order of `SOUND`, NaN where missing."""
        return np.ascontiguousarray(scaled_audio(self.evidence.dataset.catalog.audio)[:, SOUND])

    @cached_property
    def has_sound(self) -> np.ndarray:
        """(tracks,) bool: whether any of those is known."""
        return ~np.isnan(self.sound).all(axis=1)

    @cached_property
    def genres(self) -> sp.csr_matrix:
        """(tracks, genres) bool CSR, each track's genres ascending."""
        return self.evidence.dataset.catalog.genres.sorted_indices()

    @cached_property
    def artist_names(self) -> list[str]:
        """By the artist's number."""
        return self.evidence.dataset.catalog.artist_names.ids()

    @cached_property
    def genre_names(self) -> list[str]:
        """By the genre's number."""
        return self.evidence.dataset.catalog.genre_names.ids()

    def usual_sound(self, users: np.ndarray) -> np.ndarray:
        """(n, 7) float64: mean of the scaled features over plays of each of these; NaN where nothing is known."""
        heard, (told, known) = self.heard[users], self._told_sound
        with np.errstate(invalid="ignore", divide="ignore"):
            usual: np.ndarray = (heard @ told) / (heard @ known)
        return usual

    @cached_property
    def _told_sound(self) -> tuple[np.ndarray, np.ndarray]:
        """(tracks, 7) float64 scaled features, 0 where unknown; and (tracks, 7) int64, 1 where known."""
        known = ~np.isnan(self.sound)
        return np.where(known, self.sound, 0.0), known.astype(np.int64)

    @cached_property
    def _likings(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int64 pairs of user and track, ascending, and (n,) the strongest of `LIKINGS` said of each."""
        said = self.evidence.dataset.feedback
        rank = np.full(len(said), len(LIKINGS))
        for place, signal in enumerate(LIKINGS):
            rank[said.signal == signal] = place
        pair = said.user.astype(np.int64) * self.heard.shape[1] + said.track
        order = np.lexsort((rank, pair))
        order = order[rank[order] < len(LIKINGS)]
        pairs, first = np.unique(pair[order], return_index=True)
        return pairs, rank[order][first]

    def liking(self, user: int, track: int) -> str | None:
        """The strongest of `LIKINGS` that a user said of a track."""
        pairs, rank = self._likings
        pair = user * self.heard.shape[1] + track
        place = int(np.searchsorted(pairs, pair))
        return LIKINGS[int(rank[place])] if place < len(pairs) and pairs[place] == pair else None

    @cached_property
    def labels(self) -> list[str]:
        """Each track as a person would name it; by its id where nothing better is known."""
        catalog, ids = self.evidence.dataset.catalog, self.evidence.dataset.tracks.ids()
        return [
            f"track {track_id}" if name is None else f"“{name}” by {artists[0]}" if artists else f"“{name}”"
            for track_id, name, artists in zip(ids, catalog.names, catalog.artists, strict=True)
        ]

    def offer(self, listed: Listed) -> "Offer":
        """What can be said of listed tracks."""
        pairs, heard, catalog = len(listed.track), self.heard, self.evidence.dataset.catalog
        own, by_artist, by_album, genre_plays, count, least = (np.zeros(pairs, np.int64) for _ in range(6))
        own_place, genre = (np.full(pairs, -1, np.int64) for _ in range(2))
        total = np.zeros(len(listed.users), np.int64)
        lists = (0, len(listed.users), listed.users, listed.begin, listed.track)
        genres = self.genres
        sizes = np.array(
            [heard.shape[1], len(catalog.artist_names), int(catalog.album.max(initial=-1)) + 1, genres.shape[1]]
        )
        count_own(
            *lists,
            *(heard.indptr, heard.indices, heard.data),
            *(catalog.artist, catalog.album, genres.indptr, genres.indices, sizes),
            *(own, own_place, by_artist, by_album, genre, genre_plays, total),
        )
        neighbors, common = self.evidence.neighbors, self.evidence.common
        count_neighbors(*lists, heard.indptr, heard.indices, neighbors, common, heard.shape[1], count, least)
        share = genre_plays / np.maximum(total, 1)[listed.row]
        return Offer(own, own_place, count, least, by_artist, by_album, genre, share)

    def plays_of(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(a,) int64: plays of tracks by users, pair by pair."""
        return entries_of(self.heard, users, tracks)


def entries_of(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(a,) of the matrix's type: single entries of a matrix with sorted indices; 0 where nothing is stored."""
    place = np.full(len(rows), -1, np.int64)
    places_of(matrix.indptr, matrix.indices, rows, columns, place)
    return np.where(place >= 0, matrix.data[place], 0) if matrix.nnz else np.zeros(len(rows), matrix.dtype)


def day_in_words(at_ms: int) -> str:
    """The day of a moment in UTC, such as `20 November 2026`."""
    day = np.datetime64(at_ms, "ms").astype("datetime64[D]").item()
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
