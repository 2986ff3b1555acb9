"""Factor models: popularity-scaled SVD and implicit ALS. They fit at any scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from features.compute.gather import products_at
from features.recommend.history import History, liked_row
from features.recommend.models.content import side_rows
from features.recommend.models.contract import Range
from features.recommend.models.neighbors import RECENCY

BATCH_CELLS = 16_000_000
SMALL = 4_000_000
"""Cells up to which the exact decomposition is as fast as the randomized one."""


@dataclass(eq=False)
class ScaledSVD:
    """Truncated SVD of weights divided by powers of both degrees; popularity comes back with a power of its own.

    Args:
        dimensions: kept, at most.
        degree_power: rows are divided by degree to it.
        popularity_power: columns likewise.
        output_power: scores are multiplied by popularity to it.
        weight_power: of the weights.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
        seed: of the randomized decomposition.

    Source:
        Cremonesi, Koren & Turrin (2010), PureSVD; Halko, Martinsson & Tropp (2011) for the decomposition.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "dimensions": Range(8, 400, log=True, whole=True),
        "degree_power": Range(0.0, 0.6),
        "popularity_power": Range(0.0, 0.6),
        "output_power": Range(-0.1, 0.6),
        "weight_power": Range(0.0, 1.0, also=(0.0,)),
        **RECENCY,
    }

    dimensions: int = 32
    degree_power: float = 0.35
    popularity_power: float = 0.25
    output_power: float = 0.4
    weight_power: float = 0.0
    half_life: float = 8.0
    floor: float = 0.05
    strength: float = 0.3
    seed: int = 20_260_101

    def fit(self, history: History) -> Self:
        """Decomposes."""
        popularity = np.maximum(history.listeners, 1).astype(np.float64)
        scaled = sp.diags(np.maximum(history.degree, 1.0) ** -self.degree_power) @ history.values(self.weight_power)
        scaled = (scaled @ sp.diags(popularity**-self.popularity_power)).tocsr()
        rank = min(self.dimensions, (min(scaled.shape) + 1) // 2)
        if rank == 0 or scaled.nnz == 0:
            right = np.zeros((0, scaled.shape[1]))
        elif scaled.shape[0] * scaled.shape[1] <= SMALL:
            right = np.linalg.svd(scaled.toarray(), full_matrices=False)[2][:rank]
        else:
            right = randomized_svd(scaled, rank, n_oversamples=20, n_iter=6, random_state=self.seed)[2]
        recent = history.recent(self.half_life, self.floor, self.strength)
        self.scored_ = (recent @ sp.diags(popularity**-self.popularity_power)).tocsr()
        self.scored_.sort_indices()  # in the order of the history, which a product does not keep
        self.factors_ = right.T
        self.popularity_ = popularity**self.output_power
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: the rows as the first dimensions have them."""
        raw = (self.scored_[users] @ self.factors_) @ self.factors_.T
        return (raw * self.popularity_[None, :]).astype(np.float32)

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n, m) float32: likewise of each user's choice."""
        own = (self.scored_[users] @ self.factors_).astype(np.float32)
        raw = products_at(own, self.factors_.astype(np.float32), np.arange(len(users)), tracks)
        return raw * self.popularity_.astype(np.float32)[np.maximum(tracks, 0)]

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: exact, since scores are linear in the history."""
        history, worth = liked_row(self.scored_, user)
        return worth * (self.factors_[history] @ (self.popularity_[tracks] @ self.factors_[tracks]))

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        history, worth = liked_row(self.scored_, user)
        products = self.factors_[history] @ self.factors_[tracks].T
        return worth[:, None] * products * self.popularity_[tracks][None, :]


@dataclass(eq=False)
class IALS:
    """Implicit alternating least squares with all unobserved pairs at a low weight and frequency-scaled regularisation.

    Minimizes sum over observed c (1 - p·q)² + `unobserved` sum over all (p·q)² + sum over users and tracks of
    `regularization` · (n + `unobserved` · m)^`frequency_power` |p|², n what is observed and m what could be.

    Args:
        dimensions: of the factors.
        unobserved: weight of each pair, heard or not, beside 1 for a heard one.
        regularization: as above.
        frequency_power: as above; 1 regularises by frequency, 0 all alike.
        iterations: each solves for users, then for tracks.
        weight_power: of the weights c.
        half_life: of the history from which users' factors are had in the end, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
        seed: of the first factors.

    Source:
        Hu, Koren & Volinsky (2008); Rendle, Krichene, Zhang & Koren (2021), "Revisiting the performance of iALS on
        item recommendation benchmarks".
    """

    space: ClassVar[Mapping[str, Range]] = {
        "dimensions": Range(16, 256, log=True, whole=True),
        "unobserved": Range(0.003, 1.0, log=True),
        "regularization": Range(0.003, 0.5, log=True),
        "frequency_power": Range(0.0, 1.0),
        "iterations": Range(5, 16, whole=True),
        "weight_power": Range(0.0, 1.0, also=(0.0,)),
        **RECENCY,
    }

    dimensions: int = 64
    unobserved: float = 0.15
    regularization: float = 0.11
    frequency_power: float = 0.6
    iterations: int = 8
    weight_power: float = 0.0
    half_life: float = 12.0
    floor: float = 0.1
    strength: float = 0.3
    seed: int = 20_260_101

    def fit(self, history: History) -> Self:
        """Alternates; ends with the users, so that their factors belong to the tracks'."""
        values = self._rows(history)
        rows, tracks = values.shape
        rng = np.random.default_rng(self.seed)
        # float32 halves the time; the normal equations are well conditioned by the regularisation
        factors = rng.normal(0.0, 0.1 / np.sqrt(self.dimensions), (tracks, self.dimensions)).astype(np.float32)
        transposed = values.T.tocsr()
        for _ in range(self.iterations):
            own = self._solved(values, factors, tracks)
            factors = self._solved(transposed, own, rows)
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        self.scored_.data = np.maximum(self.scored_.data, 0.0)  # squares have no place for what one is put off by
        self.scored_.eliminate_zeros()
        self.track_factors_ = factors
        self.user_factors_ = self._solved(self.scored_, factors, tracks)
        self.gram_ = factors.T.astype(np.float64) @ factors
        self.possible_ = tracks
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: products of factors."""
        return self.user_factors_[users] @ self.track_factors_.T

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n, m) float32: likewise of each user's choice."""
        return products_at(self.user_factors_, self.track_factors_, users, tracks)

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: exact for the tracks' factors as they are, since the user's are linear in the history."""
        return self._moved(user, self.track_factors_[tracks].astype(np.float64).sum(axis=0)[:, None])[:, 0]

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        return self._moved(user, self.track_factors_[tracks].astype(np.float64).T)

    def _moved(self, user: int, directions: np.ndarray) -> np.ndarray:
        """(h, n) float64: what each track of the history adds to the user's factors along (d, n) directions."""
        history, weight = liked_row(self.scored_, user)
        if not len(history):
            return np.zeros((0, directions.shape[1]))
        own = self.track_factors_[history].astype(np.float64)
        ridge = self.regularization * (len(history) + self.unobserved * self.possible_) ** self.frequency_power
        matrix = (own * weight[:, None]).T @ own + self.unobserved * self.gram_ + ridge * np.eye(own.shape[1])
        moved: np.ndarray = weight[:, None] * (own @ np.linalg.solve(matrix, directions))
        return moved

    def _rows(self, history: History) -> sp.csr_matrix:
        """(n, tracks) float32 CSR: what factors are learned from."""
        return history.values(self.weight_power)

    def _solved(self, values: sp.csr_matrix, other: np.ndarray, possible: int) -> np.ndarray:
        """(n, d) float32: the least squares solution of each row, given the other side's factors.

        Rows are taken by length, a batch at a time, and padded to the batch's longest: a batch is then a few products
        of three-dimensional arrays. Of rows shorter than d the system of the row's own size is solved instead of d × d:
        turned so that what all rows share is diagonal, one is as exact as the other (Woodbury).
        """
        dimensions = other.shape[1]
        shared, axes = np.linalg.eigh(self.unobserved * (other.T.astype(np.float64) @ other))
        shared, axes = np.maximum(shared, 0.0).astype(np.float32), axes.astype(np.float32)
        turned = np.vstack([other @ axes, np.zeros((1, dimensions), np.float32)])  # the last row pads
        length = np.diff(values.indptr)
        result = np.zeros((values.shape[0], dimensions), np.float32)
        order = np.argsort(length, kind="stable")
        order = order[length[order] > 0]
        start = 0
        while start < len(order):
            count = max(1, BATCH_CELLS // (max(int(length[order[start]]), dimensions) * dimensions))
            rows = order[start : start + count]
            rows = rows[length[rows] <= 2 * length[rows[0]] + 8]  # little padding
            inside = np.arange(int(length[rows].max())) < length[rows][:, None]
            place = np.where(inside, values.indptr[rows][:, None] + np.arange(inside.shape[1]), 0)
            root = np.sqrt(np.where(inside, values.data[place], np.float32(0.0)))
            factors = turned[np.where(inside, values.indices[place], len(other))] * root[:, :, None]
            ridge = self.regularization * (length[rows] + self.unobserved * possible) ** self.frequency_power
            diagonal = shared[None, :] + ridge[:, None].astype(np.float32)
            result[rows] = _shorter(factors, root, diagonal)
            start += len(rows)
        return result @ axes.T


@dataclass(eq=False)
class SideIALS(IALS):
    """iALS with what tracks are stacked under what users hear: artists, albums and genres as further users.

    A track that few have heard gets its factors from its like; one nobody has, too. The regularisation is to be lower
    than without, since such rows count in a track's frequency.

    Args:
        content: weight of the rows of side information beside the users'.
        artist_share: of artists' rows; albums' and genres' are as named.
        album_share: of albums' rows.
        genre_share: of genres' rows, more for rare ones.
    """

    space: ClassVar[Mapping[str, Range]] = {
        **IALS.space,
        "content": Range(0.3, 8.0, log=True),
        "album_share": Range(0.0, 1.0, also=(0.0,)),
        "genre_share": Range(0.1, 1.0, log=True, also=(0.0,)),
    }

    unobserved: float = 0.15
    regularization: float = 0.06
    frequency_power: float = 0.6
    content: float = 2.0
    artist_share: float = 1.0
    album_share: float = 0.5
    genre_share: float = 1.0

    def _rows(self, history: History) -> sp.csr_matrix:
        values = history.values(self.weight_power)
        if history.catalog is None:
            return values
        beside = side_rows(history.catalog, self.artist_share, self.album_share, self.genre_share)
        return sp.vstack([values, beside * np.float32(self.content)], format="csr")


def _shorter(factors: np.ndarray, target: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """(b, d): each x of (F'F + D) x = F't, by whichever of F'F and FF' is smaller.

    Args:
        factors: (b, m, d), F.
        target: (b, m), t.
        diagonal: (b, d), D, positive.
    """
    batch, rows, dimensions = factors.shape
    if rows >= dimensions:
        matrix = np.matmul(factors.transpose(0, 2, 1), factors)
        matrix[:, np.arange(dimensions), np.arange(dimensions)] += diagonal
        right = np.matmul(target[:, None, :], factors).reshape(batch, dimensions, 1)
        return np.linalg.solve(matrix, right)[:, :, 0]
    scaled = factors / diagonal[:, None, :]
    matrix = np.matmul(scaled, factors.transpose(0, 2, 1))
    matrix[:, np.arange(rows), np.arange(rows)] += np.float32(1.0)
    dual = np.linalg.solve(matrix, target[:, :, None])
    return np.matmul(dual.transpose(0, 2, 1), scaled)[:, 0, :]
