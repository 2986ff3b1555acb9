"""A listener's own favourites: for lists that let heard tracks in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from features.compute.gather import entries_at
from features.compute.rows import dense_block, sparse_row
from features.recommend.history import History
from features.recommend.models.contract import Range
from features.recommend.models.popular import popularity_behind


@dataclass(eq=False)
class Personal:
    """Own plays under two decays: of late, and over the long run.

    Args:
        short: half-life of the one, in plays.
        long: of the other.
        short_power: of the decayed sum.
        long_power: likewise.
        long_share: weight of the long run beside the short.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "short": Range(3, 60, log=True),
        "long": Range(60, 2000, log=True),
        "short_power": Range(0.2, 1.0),
        "long_power": Range(0.2, 1.0),
        "long_share": Range(0.03, 3.0, log=True),
    }

    short: float = 20.0
    long: float = 300.0
    short_power: float = 0.5
    long_power: float = 0.5
    long_share: float = 0.5

    def fit(self, history: History) -> Self:
        """Sums decayed plays."""
        self.listeners_ = history.listeners
        short, long = history.decayed_plays(self.short), history.decayed_plays(self.long)
        short.data **= np.float32(self.short_power)
        long.data = np.float32(self.long_share) * long.data ** np.float32(self.long_power)
        self.plays_ = (short + long).tocsr()
        self.plays_.sort_indices()
        self.weights_ = history.weights
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: the decayed sums; popularity behind."""
        return popularity_behind(self.plays_[users].toarray(), self.listeners_)

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n, m) float32: likewise of each user's choice."""
        return popularity_behind(entries_at(self.plays_, users, tracks), self.listeners_, tracks)

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: a track of the history moves itself and no other."""
        history, _ = sparse_row(self.weights_, user)
        own = np.asarray(self.plays_[user].toarray()).ravel()
        return np.where(np.isin(history, tracks), own[history], 0.0).astype(np.float64)

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        history, _ = sparse_row(self.weights_, user)
        own = dense_block(self.plays_, np.array([user]), tracks)
        return np.where(history[:, None] == tracks[None, :], own, 0.0)
