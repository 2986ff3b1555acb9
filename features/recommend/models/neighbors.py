"""Nearest neighbours: tracks by their listeners, listeners by their tracks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.compute.gather import arrays, sums_at
from features.compute.nearest import nearest
from features.compute.rows import dense_block, sparse_row
from features.recommend.history import History, liked_row
from features.recommend.models.contract import Asked, Range
from features.recommend.models.popular import popularity_behind
from features.recommend.mover_kernels import moved_by_near

RECENCY = {
    "half_life": Range(3, 300, log=True, also=(1e9,)),
    "floor": Range(0.01, 1.0, log=True, also=(0.0,)),
    "strength": Range(0.0, 1.5, also=(0.0,)),
}
"""How a history is weighed at scoring, of every model that is linear in it."""


class NearTracks:
    """What models share whose scores are sums of tracks' similarity to the history.

    Attributes:
        listeners_: (tracks,) int.
        scored_: (users, tracks) float32 CSR, the history as it counts.
        similarity_: (tracks, tracks) float32 CSR, from a track of the history to a track that is scored.
    """

    listeners_: np.ndarray
    scored_: sp.csr_matrix
    similarity_: sp.csr_matrix

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: sums of similarities to the history; popularity behind."""
        return popularity_behind((self.scored_[users] @ self.similarity_).toarray(), self.listeners_)

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n, m) float32: likewise of each user's choice."""
        sums = sums_at(self.scored_, self.similarity_, users, tracks)
        return popularity_behind(sums, self.listeners_, tracks)

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: exact, since scores are linear in the history."""
        history, worth = liked_row(self.scored_, user)
        return worth * np.asarray(self.similarity_[history][:, tracks].sum(axis=1)).ravel().astype(np.float64)

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        history, worth = liked_row(self.scored_, user)
        return worth[:, None] * dense_block(self.similarity_, history, tracks)

    def moved(self, asked: Asked) -> None:
        """Likewise, of many users at once."""
        scored, near, (users, begin, track, weights, level, *written) = self.scored_, self.similarity_, asked
        moved_by_near(
            *(0, len(users), users, begin, track, weights, level),
            *(*arrays(scored), *arrays(near), near.shape[1]),
            *written,
        )


@dataclass(eq=False)
class ItemKNN(NearTracks):
    """Item k-nearest neighbours on a damped cosine.

    The similarity of tracks i and j is x_i·x_j / (|x_i|^2a |x_j|^2(1-a) + shrink), to a power; each track keeps its
    `neighbors` nearest. A user's score of a track is the sum over the history, late listens first.

    Args:
        neighbors: kept a track.
        shrink: added below, so that few listeners in common are trusted less.
        power: of the similarity; above 1 the nearest decide.
        asymmetry: a in [0, 1]; 0.5 is the cosine.
        weight_power: of the weights it is fitted on.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.

    Source:
        Deshpande & Karypis (2004), "Item-based top-n recommendation algorithms"; Aiolli (2013) for the asymmetry.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(10, 600, log=True, whole=True),
        "shrink": Range(0.1, 50, log=True, also=(0.0,)),
        "power": Range(0.6, 2.5),
        "asymmetry": Range(0.2, 0.8),
        "weight_power": Range(0.0, 1.0, also=(0.0,)),
        **RECENCY,
    }

    neighbors: int = 60
    shrink: float = 0.6
    power: float = 2.0
    asymmetry: float = 0.5
    weight_power: float = 0.0
    half_life: float = 10.0
    floor: float = 0.05
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Finds each track's nearest."""
        self.listeners_ = history.listeners
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        columns = history.values(self.weight_power).T.tocsr()
        near = nearest(columns, columns, self.neighbors, shrink=self.shrink, asymmetry=self.asymmetry)
        self.similarity_ = _raised(near, self.power).T.tocsr()
        return self


@dataclass(eq=False)
class UserKNN:
    """User k-nearest neighbours on a damped cosine: what those with the nearest taste listen to.

    A user's recent history is compared with all that others hear.

    Args:
        neighbors: kept a user.
        shrink: added below.
        power: of the similarity.
        asymmetry: as of `ItemKNN`.
        popularity_power: columns are divided by popularity to it, when users are compared.
        weight_power: of the weights.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(20, 800, log=True, whole=True),
        "shrink": Range(0.1, 50, log=True, also=(0.0,)),
        "power": Range(0.6, 3.0),
        "asymmetry": Range(0.1, 0.9),
        "popularity_power": Range(0.0, 0.6, also=(0.0,)),
        "weight_power": Range(0.0, 1.0, also=(0.0,)),
        **RECENCY,
    }

    neighbors: int = 100
    shrink: float = 8.0
    power: float = 2.2
    asymmetry: float = 0.25
    popularity_power: float = 0.1
    weight_power: float = 0.0
    half_life: float = 8.0
    floor: float = 0.05
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Finds each user's nearest."""
        self.listeners_ = history.listeners
        self.values_ = history.values(self.weight_power)
        columns = sp.diags(np.maximum(history.listeners, 1.0) ** -self.popularity_power)
        recent = history.recent(self.half_life, self.floor, self.strength)
        others = (self.values_ @ columns).tocsr().astype(np.float32)
        near = nearest(recent, others, self.neighbors, shrink=self.shrink, asymmetry=self.asymmetry)
        self.similarity_ = _raised(near, self.power)
        self.scored_, self.others_ = recent, others
        self.others_by_track_, self.values_by_track_ = others.T.tocsr(), self.values_.T.tocsr()
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: the neighbours' weights by similarity; popularity behind."""
        return popularity_behind((self.similarity_[users] @ self.values_).toarray(), self.listeners_)

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: each neighbour's part, shared out over what both have in common."""
        neighbors, similarity = sparse_row(self.similarity_, user)
        given = similarity * np.asarray(self.values_[neighbors][:, tracks].sum(axis=1)).ravel()
        history, worth = liked_row(self.scored_, user)
        return shared_influence(worth, self.others_[neighbors][:, history].T, given)

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        history, worth = liked_row(self.scored_, user)
        neighbors, similarity = sparse_row(self.similarity_, user)
        theirs = dense_block(self.others_by_track_, history, neighbors)
        given = dense_block(self.values_by_track_, tracks, neighbors)
        return shared_influences(worth, theirs, similarity, given)


def shared_influence(worth: np.ndarray, theirs: sp.csr_matrix, given: np.ndarray) -> np.ndarray:
    """(h,) float64: what other users give a score, by the share each track has in what makes them alike.

    What is given by those who have nothing in common with the user is nobody's.

    Args:
        worth: (h,) float64, of each track of the history when users are compared.
        theirs: (h, m) sparse, what it is worth to each of the others.
        given: (m,) float, each one's part in the score.
    """
    common = sp.diags(worth) @ theirs.astype(np.float64)
    total = np.asarray(common.sum(axis=0)).ravel()
    share = np.divide(given, total, out=np.zeros(len(given)), where=total > 0)
    return np.asarray(common @ share).ravel()


def shared_influences(
    worth: np.ndarray, theirs: np.ndarray, similarity: np.ndarray, given: np.ndarray | sp.csr_matrix
) -> np.ndarray:
    """(h, n) float64: the same for each of some scores.

    Args:
        worth: (h,) float64, of each track of the history when users are compared.
        theirs: (h, m) float64, what it is worth to each of the others.
        similarity: (m,) float, of each of them to the user.
        given: (n, m), what they give each score, by similarity.
    """
    common = worth[:, None] * theirs
    total = common.sum(axis=0)
    common *= np.divide(similarity, total, out=np.zeros(len(total)), where=total > 0)[None, :]
    return np.ascontiguousarray((given @ common.T).T)


def _raised(matrix: sp.csr_matrix, power: float) -> sp.csr_matrix:
    matrix.data = matrix.data ** np.float32(power)
    return matrix
