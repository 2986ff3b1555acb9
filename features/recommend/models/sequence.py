"""What follows what: tracks that are first heard soon after one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.recommend.history import History, liked_row
from features.recommend.models.contract import Range
from features.recommend.models.neighbors import RECENCY
from features.recommend.models.popular import popularity_behind


@dataclass(eq=False)
class SequenceKNN:
    """Directed neighbours: j is near i if listeners met j soon after i, and less so if before.

    Where a user's tracks began at one moment, they do not follow one another.

    Args:
        reach: tracks ahead that count.
        gap_half_life: in tracks, how fast a follower's worth falls.
        backward: worth of the opposite direction.
        source_power: transitions are divided by the popularity of i to it.
        target_power: and of j.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "reach": Range(2, 60, log=True, whole=True),
        "gap_half_life": Range(1, 60, log=True),
        "backward": Range(0.1, 1.0, log=True),
        "source_power": Range(0.0, 0.6),
        "target_power": Range(0.0, 0.6),
        **RECENCY,
    }

    reach: int = 20
    gap_half_life: float = 8.0
    backward: float = 0.4
    source_power: float = 0.3
    target_power: float = 0.3
    half_life: float = 50.0
    floor: float = 0.1
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Counts followers."""
        self.listeners_ = history.listeners
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        order = np.lexsort((history.weights.indices, history.first_at, history.owner))
        owner, track = history.owner[order], history.weights.indices[order]
        at = history.first_at[order]
        tracks = history.weights.shape[1]
        total = sp.csr_matrix((tracks, tracks), dtype=np.float64)
        for gap in range(1, self.reach + 1):
            follows = (owner[gap:] == owner[:-gap]) & (at[gap:] > at[:-gap])
            before, after = track[:-gap][follows], track[gap:][follows]
            worth = np.full(len(before), 2.0 ** (-(gap - 1) / self.gap_half_life))
            forward = sp.csr_matrix((worth, (before, after)), shape=total.shape)
            total = total + forward + forward.T * self.backward
        popularity = np.maximum(history.listeners, 1).astype(np.float64)
        scaled = sp.diags(popularity**-self.source_power) @ total @ sp.diags(popularity**-self.target_power)
        self.similarity_ = scaled.tocsr().astype(np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: what follows the history, late listens first; popularity behind."""
        return popularity_behind((self.scored_[users] @ self.similarity_).toarray(), self.listeners_)

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: exact, since scores are linear in the history."""
        history, worth = liked_row(self.scored_, user)
        return worth * np.asarray(self.similarity_[history][:, tracks].sum(axis=1)).ravel().astype(np.float64)
