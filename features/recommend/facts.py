"""What can be said of listeners and tracks, counted once for a release: what reasons name as their evidence."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from features.compute.interactions import MS_A_DAY, Plays
from features.compute.profiles import scaled_audio
from features.compute.rows import sparse_row
from features.recommend.evidence import Evidence
from features.recommend.models.content import album_rows, artist_rows

LATELY_DAYS = 60
"""How far back from the newest play of all "lately" reaches."""
SOON = 10
"""Of the tracks that a listener first played after another, so many came soon after it."""
LIKINGS = ("love", "like", "save", "replay")
"""What may draw a user to a track they have not played, strongest first."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, eq=False)
class Facts:
    """Counts behind reasons. A play counts where it was not skipped; what is unknown of a track counts for nothing.

    Attributes:
        evidence: what they are counted from.
    """

    evidence: Evidence

    @cached_property
    def heard(self) -> sp.csr_matrix:
        """(users, tracks) int32 CSR: plays."""
        return self._by_pair(np.ones(len(self._plays), np.int32))

    @cached_property
    def last_at(self) -> np.ndarray:
        """(pairs of `heard`,) int64 ms: the last play of each, in its order."""
        width = self.heard.shape[1]
        owner = np.repeat(np.arange(self.heard.shape[0], dtype=np.int64), np.diff(self.heard.indptr))
        pairs = owner * width + self.heard.indices
        last = np.full(len(pairs), np.iinfo(np.int64).min)
        place = np.searchsorted(pairs, self._plays.user.astype(np.int64) * width + self._plays.track)
        np.maximum.at(last, place, self._plays.played_at)
        return last

    @cached_property
    def days_lately(self) -> sp.csr_matrix:
        """(users, tracks) int32 CSR: days, in UTC, of the last 60 before the newest play of all, with a play."""
        plays = self._plays
        late = plays.played_at > plays.played_at.max(initial=0) - LATELY_DAYS * MS_A_DAY
        width = self.heard.shape[1]
        pair = plays.user[late].astype(np.int64) * width + plays.track[late]
        day = plays.played_at[late] // MS_A_DAY
        distinct = np.unique(np.stack([pair, day]), axis=1)[0] if late.any() else np.zeros(0, np.int64)
        return _counted(distinct // width, distinct % width, self.heard.shape)

    @cached_property
    def by_artist(self) -> sp.csr_matrix:
        """(users, artists) CSR: plays."""
        return (self.heard @ artist_rows(self.evidence.dataset.catalog).T).tocsr()

    @cached_property
    def album(self) -> np.ndarray:
        """(tracks,) int: number of the album; -1 unknown."""
        rows = album_rows(self.evidence.dataset.catalog).tocoo()
        number = np.full(rows.shape[1], -1, np.int64)
        number[rows.col] = rows.row
        return number

    @cached_property
    def by_album(self) -> sp.csr_matrix:
        """(users, albums) CSR: different tracks played."""
        return (_pattern(self.heard) @ album_rows(self.evidence.dataset.catalog).T).tocsr()

    @cached_property
    def plays(self) -> np.ndarray:
        """(users,) int64: plays in all."""
        return np.asarray(self.heard.sum(axis=1)).ravel().astype(np.int64)

    @cached_property
    def by_genre(self) -> sp.csr_matrix:
        """(users, genres) CSR: plays of tracks of the genre."""
        return (self.heard @ self.evidence.dataset.catalog.genres.astype(np.int64)).tocsr()

    @cached_property
    def genres(self) -> np.ndarray:
        """(tracks, most) int: numbers of each track's genres, ascending; the number of genres fills up."""
        genres = self.evidence.dataset.catalog.genres.tocsr().sorted_indices()
        length = np.diff(genres.indptr)
        table = np.full((genres.shape[0], max(int(length.max(initial=0)), 1)), genres.shape[1], np.int64)
        row = np.repeat(np.arange(genres.shape[0]), length)
        table[row, np.arange(len(row)) - genres.indptr[row]] = genres.indices
        return table

    @cached_property
    def audio(self) -> np.ndarray:
        """(tracks, 12) float64: scaled features, NaN where missing."""
        return scaled_audio(self.evidence.dataset.catalog.audio)

    @cached_property
    def usual_audio(self) -> np.ndarray:
        """(users, 12) float64: mean of the scaled features over plays; NaN where nothing is known."""
        known = ~np.isnan(self.audio)
        with np.errstate(invalid="ignore", divide="ignore"):
            usual: np.ndarray = (self.heard @ np.where(known, self.audio, 0.0)) / (self.heard @ known.astype(np.int64))
        return usual

    @cached_property
    def soon_after(self) -> sp.csr_matrix:
        """(tracks, tracks) int32 CSR: listeners who first played the second among their next ten new tracks.

        Strictly later: tracks first played at one moment do not follow one another.
        """
        plays = self._plays
        order = np.lexsort((plays.track, plays.played_at, plays.user))
        user, track, at = plays.user[order], plays.track[order].astype(np.int64), plays.played_at[order]
        width = self.heard.shape[1]
        _, first = np.unique(user.astype(np.int64) * width + track, return_index=True)
        first.sort()
        user, track, at = user[first], track[first], at[first]
        total = sp.csr_matrix((width, width), dtype=np.int32)
        for gap in range(1, SOON + 1):
            follows = (user[gap:] == user[:-gap]) & (at[gap:] > at[:-gap])
            total = total + _counted(track[:-gap][follows], track[gap:][follows], (width, width))
        total.sort_indices()
        return total.tocsr()

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

    def neighbors_who_play(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the user's similar users: (tracks,) how many play each, (tracks,) the least any of those has in common."""
        count, least = (np.zeros(self.heard.shape[1], np.int64) for _ in range(2))
        others, common = self.evidence.neighbors[user], self.evidence.common[user]
        filled = np.flatnonzero(others >= 0)
        for place in filled[np.argsort(-common[filled], kind="stable")].tolist():
            tracks, _ = sparse_row(self.heard, int(others[place]))
            count[tracks] += 1
            least[tracks] = common[place]  # in descending order, so the last is the least
        return count, least

    @property
    def _plays(self) -> Plays:
        return self.evidence.history.plays

    def _by_pair(self, values: np.ndarray) -> sp.csr_matrix:
        shape = self.evidence.history.weights.shape
        matrix = sp.csr_matrix((values, (self._plays.user, self._plays.track)), shape=shape)
        matrix.sum_duplicates()
        matrix.sort_indices()
        return matrix


def filled(matrix: sp.csr_matrix, row: int) -> np.ndarray:
    """(columns + 1,) int64: one row, and a zero behind it for the number -1."""
    full = np.zeros(matrix.shape[1] + 1, np.int64)
    columns, values = sparse_row(matrix, row)
    full[columns] = values
    return full


def day_in_words(at_ms: int) -> str:
    """The day of a moment in UTC, such as `20 November 2026`."""
    day = np.datetime64(at_ms, "ms").astype("datetime64[D]").item()
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _pattern(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(matrix.nnz, np.int64), matrix.indices, matrix.indptr), shape=matrix.shape)


def _counted(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    matrix = sp.csr_matrix((np.ones(len(row), np.int32), (row, column)), shape=shape)
    matrix.sum_duplicates()
    return matrix
