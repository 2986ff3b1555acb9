"""Popularity: the same list for everyone, and what ties and empty scores of other models fall back on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from features.compute.sequences import in_sequence, summed_places
from features.recommend.columns import each
from features.recommend.history import History
from features.recommend.models.contract import Range

TIE = 1e-5
"""Popularity's share in other models' scores: it orders what they leave equal and moves nothing else."""
FEW = 5.0
"""Listeners at which a mean place is half believed."""


@dataclass(eq=False)
class Popular:
    """Scores are logarithms of numbers of listeners."""

    space: ClassVar[Mapping[str, Range]] = {}

    def fit(self, history: History) -> Self:
        """Counts listeners."""
        self.score_ = np.log1p(history.listeners).astype(np.float32)
        self.degree_ = history.degree
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: the same in every row."""
        return np.tile(self.score_, (len(users), 1))

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:  # noqa: ARG002 -- the same for all
        """(n, m) float32: likewise of each one's choice."""
        return self.score_[np.maximum(tracks, 0)]

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) zeros: the history is not asked."""
        del tracks
        return np.zeros(self.degree_[user])

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) zeros."""
        return np.zeros((self.degree_[user], len(tracks)))


@dataclass(eq=False)
class Late(Popular):
    """How late in listeners' histories a track is reached: what is met early is often left out by who comes later.

    Scores are mean places of the first listen, from 0 for the first to 1 for the last, drawn to the middle where few
    have heard a track. Tracks that began at one moment share the middle of their places.
    """

    def fit(self, history: History) -> Self:
        """Averages places."""
        total = summed_places(in_sequence(history.weights, history.first_at), history.weights.shape[1])
        self.score_ = ((total + 0.5 * FEW) / (history.listeners + FEW)).astype(np.float32)
        self.degree_ = history.degree
        return self


def popularity_behind(scores: np.ndarray, listeners: np.ndarray, tracks: np.ndarray | None = None) -> np.ndarray:
    """Adds to each row at most `TIE` of its highest score, by popularity; in place, and returned.

    Args:
        scores: (n, tracks), or (n, m) of `tracks`.
        listeners: (tracks,) int.
        tracks: (n, m) int32, which ones; None for all.
    """
    if scores.size:
        share = each((listeners / max(listeners.max(initial=0), 1)).astype(scores.dtype), tracks)
        scores += (TIE * np.abs(scores).max(axis=1, keepdims=True)) * share
        # who scores nothing at all gets what is popular
        silent = ~scores.any(axis=1)
        scores[silent] += share if tracks is None else share[silent]
    return scores
