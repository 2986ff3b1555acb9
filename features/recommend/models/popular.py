"""Popularity: the same list for everyone, and what ties and empty scores of other models fall back on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from features.recommend.history import History
from features.recommend.models.contract import Range

TIE = 1e-5
"""Popularity's share in other models' scores: it orders what they leave equal and moves nothing else."""


@dataclass(eq=False)
class Popular:
    """Scores are numbers of listeners."""

    space: ClassVar[Mapping[str, Range]] = {}

    def fit(self, history: History) -> Self:
        """Counts listeners."""
        self.listeners_ = history.listeners.astype(np.float32)
        self.degree_ = history.degree
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: listeners of each track, in every row."""
        return np.tile(self.listeners_, (len(users), 1))

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) zeros: the history is not asked."""
        del tracks
        return np.zeros(self.degree_[user])


def popularity_behind(scores: np.ndarray, listeners: np.ndarray) -> np.ndarray:
    """Adds to each row at most `TIE` of its highest score, by popularity; in place, and returned."""
    if scores.size:
        share = listeners / max(listeners.max(initial=0), 1)
        scores += (TIE * np.abs(scores).max(axis=1, keepdims=True)) * share[None, :].astype(scores.dtype)
        # who scores nothing at all gets what is popular
        scores[~scores.any(axis=1)] += share.astype(scores.dtype)
    return scores
