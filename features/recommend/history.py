"""What models learn from: who is drawn to which track, since when and until when, and in which order."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Catalog, Dataset, StatedTaste
from features.compute.interactions import Interactions, Plays, no_plays
from features.compute.moments import earlier_in_row, later_in_row, note_moments
from features.compute.numbering import ordered
from features.compute.rows import sparse_row
from features.compute.weights import SIGNAL_WEIGHTS, SKIPPED

AVERSION = np.float32(0.5)
LEAST = np.float32(1e-30)
VALUES_AT_ONCE = 1 << 22
"""Of weights raised to a power: in double precision all of them would be as much again as what is made."""


@dataclass(frozen=True, eq=False)
class History:
    """Taste and its order in time.

    Attributes:
        weights: (users, tracks) float64 CSR, positive, indices sorted: how much a user is drawn to a track.
        first_at: (pairs,) int64 ms: when each pair of `weights` began, in its order. All alike where time is unknown.
            Or int32, which tells earlier from later within a user's history.
        last_at: likewise: when it was last confirmed, by a play or by liking it.
        events: plays, by user, time and track, skipped ones among them. Empty where only weights are known.
        catalog: by track number; None where nothing is known of tracks.
        aversion: (users, tracks) float64 CSR in (0, 1]: what users are put off by; None for nothing.
        stated: what users said they like, None for nothing.
    """

    weights: sp.csr_matrix
    first_at: np.ndarray
    last_at: np.ndarray
    events: Plays
    catalog: Catalog | None
    aversion: sp.csr_matrix | None = None
    stated: StatedTaste | None = None

    def __repr__(self) -> str:
        users, tracks = self.weights.shape
        return f"History({users:,} users × {tracks:,} tracks, {self.weights.nnz:,} pairs, {len(self.plays):,} plays)"

    @cached_property
    def plays(self) -> Plays:
        """Those that were not skipped, in the same order; where none was, no copy."""
        events = self.events
        heard = ~(events.completion < np.float32(SKIPPED))  # NaN is below nothing: unknown is no skip
        if heard.all():
            return events
        return Plays(events.user[heard], events.track[heard], events.played_at[heard], events.completion[heard])

    def without_events(self) -> "History":
        """The same without plays, which `decayed_plays` alone asks, and which are by far the largest part."""
        return replace(self, events=no_plays())

    def compact(self) -> "History":
        """The same with what comes before what within each user's history instead of moments, in half the room."""
        first_at = earlier_in_row(self.weights.indptr, self.first_at)
        return replace(self, first_at=first_at, last_at=-self.age)

    def pattern(self) -> "History":
        """The same with of weights no more than which there are, and without moments: all that lists ask of it."""
        held, none = self.weights, np.zeros(0, np.int32)
        pairs = sp.csr_matrix((np.ones(held.nnz, bool), held.indices, held.indptr), shape=held.shape)
        return replace(self, weights=pairs, first_at=none, last_at=none)

    @cached_property
    def degree(self) -> np.ndarray:
        """(users,) int64: tracks of each user."""
        return np.diff(self.weights.indptr).astype(np.int64)

    @cached_property
    def listeners(self) -> np.ndarray:
        """(tracks,) int64: users of each track."""
        return np.bincount(self.weights.indices, minlength=self.weights.shape[1])

    @cached_property
    def owner(self) -> np.ndarray:
        """(pairs,) int64: the user of each pair."""
        return np.repeat(np.arange(len(self.degree)), self.degree)

    @cached_property
    def age(self) -> np.ndarray:
        """(pairs,) int32: how many of the user's tracks were last played later; 0 for the latest. Ties are as young."""
        return later_in_row(self.weights.indptr, self.last_at)

    def values(self, power: float) -> sp.csr_matrix:
        """(users, tracks) float32 CSR: weights over their mean, to a power; 0 tells only whether, 1 how much.

        Its columns are those of `weights`, not a copy: values may be written to, which are stored may not.
        """
        data = np.ones(self.weights.nnz, np.float32)
        if power:
            mean = self.weights.data.mean() if self.weights.nnz else 1.0
            for start in range(0, len(data), VALUES_AT_ONCE):
                some = slice(start, start + VALUES_AT_ONCE)
                data[some] = (self.weights.data[some] / mean) ** power
        return sp.csr_matrix((data, self.weights.indices, self.weights.indptr), shape=self.weights.shape)

    def recent(self, half_life: float, floor: float, strength: float) -> sp.csr_matrix:
        """(users, tracks) float32 CSR: (floor + (1 - floor) · 2^(-age / half_life)) · (weight / mean)^strength.

        What scores are made from where models are linear in a user's history: of late listens more is repeated, and
        what is loved says more. The age is in tracks played since. What a user is put off by counts against its like:
        half as much as a track of mean weight counts for it, at most.
        """
        matrix = self.values(strength)
        ages = np.arange(int(self.age.max(initial=0)) + 1)
        matrix.data *= (floor + (1.0 - floor) * np.exp2(-ages / half_life)).astype(np.float32)[self.age]
        np.maximum(matrix.data, LEAST, out=matrix.data)  # long ago is not never
        if self.aversion is not None and self.aversion.nnz:
            matrix = (matrix - AVERSION * self.aversion.astype(np.float32)).tocsr()
            matrix.sort_indices()
        return matrix

    def decayed_plays(self, half_life: float) -> sp.csr_matrix:
        """(users, tracks) float32 CSR: plays, each worth 2^(-plays since / half_life)."""
        user = self.plays.user
        ends = np.searchsorted(user, user, side="right")
        worth = np.exp2(-(ends - 1 - np.arange(len(user))) / half_life)
        matrix = sp.csr_matrix((worth, (user, self.plays.track)), shape=self.weights.shape)
        matrix.sum_duplicates()
        return matrix.astype(np.float32)


def shortened(history: History, most: np.ndarray, seed: int) -> History:
    """The history with only each user's first tracks, in order of the first listen.

    Args:
        history: not changed.
        most: (users,) int, tracks at most.
        seed: of the order of tracks that began at one moment.
    """
    chance = np.random.default_rng(seed).permutation(len(history.owner))
    order = np.lexsort((chance, history.first_at, history.owner))
    kept = np.empty(len(order), bool)
    kept[order] = np.arange(len(order)) - history.weights.indptr[history.owner[order]] < most[history.owner[order]]
    shape = history.weights.shape
    pairs = (history.owner[kept], history.weights.indices[kept])
    weights = sp.csr_matrix((history.weights.data[kept], pairs), shape=shape)
    plays = history.events
    still = np.isin(plays.user.astype(np.int64) * shape[1] + plays.track, pairs[0] * shape[1] + pairs[1])
    left = Plays(plays.user[still], plays.track[still], plays.played_at[still], plays.completion[still])
    first_at, last_at = history.first_at[kept], history.last_at[kept]
    return replace(history, weights=weights, first_at=first_at, last_at=last_at, events=left)


def liked_row(scored: sp.csr_matrix, user: int) -> tuple[np.ndarray, np.ndarray]:
    """(h,) tracks and (h,) float64 worth of the history in a row of `recent`, without what the user is put off by."""
    tracks, worth = sparse_row(scored, user)
    return tracks[worth > 0], worth[worth > 0].astype(np.float64)


def build_history(dataset: Dataset, interactions: Interactions) -> History:
    """The history of a dataset.

    Args:
        dataset: whose plays and feedback the interactions were made of.
        interactions: the weights; a pair's moments are those of its plays that were not skipped and its likings.
    """
    plays, said = ordered(dataset.plays, interactions.weights.shape[0]), dataset.feedback
    liked = np.array([SIGNAL_WEIGHTS[signal] > 0 for signal in said.signal], bool)
    first_at, last_at = _moments(
        interactions.weights, plays, said.user[liked], said.track[liked], said.created_at[liked]
    )
    return History(
        interactions.weights, first_at, last_at, plays, dataset.catalog, interactions.aversion, dataset.stated
    )


def history_of(weights: sp.csr_matrix, catalog: Catalog | None = None) -> History:
    """A history of weights alone, where nothing is known of time."""
    weights = weights.astype(np.float64).tocsr()
    weights.sort_indices()
    always = np.zeros(weights.nnz, np.int64)
    return History(weights, always, always, no_plays(), catalog)


def _moments(
    weights: sp.csr_matrix, plays: Plays, user: np.ndarray, track: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last moment of each pair of `weights`, (pairs,) int64 each, in its order.

    Args:
        weights: CSR, indices sorted.
        plays: in any order; skipped ones don't count.
        user: (n,) of what else counts.
        track: likewise.
        at: likewise, ms.
    """
    first = np.full(weights.nnz, np.iinfo(np.int64).max)
    last = np.full(weights.nnz, np.iinfo(np.int64).min)
    whole = np.ones(len(user), np.float32)
    for events in (plays, Plays(user, track, at, whole)):
        note_moments(
            *(weights.indptr, weights.indices, events.user, events.track, events.played_at, events.completion),
            *(np.float32(SKIPPED), first, last),
        )
    return first, last
