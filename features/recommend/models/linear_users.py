"""The EASE family's users' side: each user as a linear function of the others, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.compute.gram import gram
from features.compute.rows import dense_block
from features.recommend.history import History, liked_row
from features.recommend.models.contract import Range
from features.recommend.models.neighbors import RECENCY, shared_influence, shared_influences
from features.recommend.models.ridge import LEAST, inverted

BLOCK_CELLS = 8_000_000


@dataclass(eq=False)
class UserEase:
    """EASE turned round: each user as a linear function of the others, on rows scaled by both degrees.

    A user's weights for the others are K (K' + L)^-1 without the user's own column, exactly as if the system had been
    solved without them; K compares the recent history with what others hear.

    Args:
        ridge: relative to the mean diagonal of the users' Gram matrix.
        dropout: as of `Ease`.
        degree_power: rows are divided by degree to it.
        popularity_power: columns likewise, when users are compared.
        output_power: columns are divided by popularity to it, when scores are summed.
        weight_power: of the weights.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "ridge": Range(0.02, 20, log=True),
        "dropout": Range(0.0, 0.8, also=(0.0,)),
        "degree_power": Range(0.0, 0.6),
        "popularity_power": Range(0.0, 0.6),
        "output_power": Range(-0.1, 0.3),
        "weight_power": Range(0.0, 1.0, also=(0.0,)),
        **RECENCY,
    }

    ridge: float = 7.0
    dropout: float = 0.25
    degree_power: float = 0.2
    popularity_power: float = 0.2
    output_power: float = 0.2
    weight_power: float = 0.0
    half_life: float = 13.0
    floor: float = 0.05
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Inverts the users' side."""
        values = history.values(self.weight_power)
        popularity = np.maximum(history.listeners, 1).astype(np.float64)
        rows, columns = (
            sp.diags(np.maximum(history.degree, 1.0) ** -self.degree_power),
            popularity**-self.popularity_power,
        )
        scaled = (rows @ values @ sp.diags(columns)).tocsr()
        alike = gram(scaled)
        own = alike.diagonal().copy()
        mean = own[history.degree > 0].mean() if history.weights.nnz else 1.0
        alike[np.diag_indices_from(alike)] += self.ridge * mean + LEAST + self.dropout / (1.0 - self.dropout) * own
        self.inverse_ = inverted(alike).astype(np.float32)
        self.between_: np.ndarray | None = None
        self.others_ = scaled.T.tocsr()
        recent = history.recent(self.half_life, self.floor, self.strength)
        self.scored_ = (rows @ recent @ sp.diags(columns)).tocsr()
        self.scored_.sort_indices()  # in the order of the history, which a product does not keep
        self.outputs_ = (values @ sp.diags(popularity**-self.output_power)).T.tocsr().astype(np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: what others hear, by how they predict the user."""
        return np.ascontiguousarray((self.outputs_ @ self._between(users).T).T)

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: each other user's part, shared out over what both have in common."""
        given = self._between(np.array([user]))[0] * np.asarray(self.outputs_[tracks].sum(axis=0)).ravel()
        history, worth = liked_row(self.scored_, user)
        return shared_influence(worth, self.others_[history], given)

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        if self.between_ is None:  # all at once: one after another, the whole inverse would be read for each
            self.between_ = np.empty(self.inverse_.shape, np.float32)
            step = max(1, BLOCK_CELLS // max(len(self.inverse_), 1))
            for start in range(0, len(self.inverse_), step):
                users = np.arange(start, min(len(self.inverse_), start + step))
                self.between_[users] = self._between(users)
        history, worth = liked_row(self.scored_, user)
        theirs = dense_block(self.others_, history, np.arange(len(self.inverse_)))
        return shared_influences(worth, theirs, self.between_[user].astype(np.float64), self.outputs_[tracks])

    def _between(self, users: np.ndarray) -> np.ndarray:
        """(n, users) float32: how others predict each of these."""
        place = np.arange(len(users))
        alike = (self.scored_[users] @ self.others_).toarray().astype(np.float32)
        alike[place, users] = 0.0
        through = alike @ self.inverse_
        through -= (through[place, users] / self.inverse_[users, users])[:, None] * self.inverse_[users]
        through[place, users] = 0.0  # a user must not predict themselves
        return through
