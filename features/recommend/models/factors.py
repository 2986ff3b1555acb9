"""Factor models: popularity-scaled SVD and implicit ALS. They fit at any scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.decomposition import leading
from features.compute.gather import products_at
from features.recommend.history import History, liked_row
from features.recommend.models.contract import Asked, Range
from features.recommend.models.ials_solver import solved
from features.recommend.models.neighbors import RECENCY
from features.recommend.models.track_features import side_rows
from features.recommend.mover_kernels import moved_by_factors

SWEEP = {"tolerance": 3e-3, "most_steps": 10}
"""How far a sweep solves: the next one goes on from there, and the loss in the end is that of exact solutions but for
some ten-thousandths."""
FINE = {"tolerance": 1e-5, "most_steps": 100}
"""How far users' factors are solved in the end, which reasons are had from."""
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

    def fit(self, history: History, threads: int | None = None) -> Self:
        """Decomposes, on so many threads, numba's by default; they change nothing."""
        threads = threads or numba.get_num_threads()
        popularity = np.maximum(history.listeners, 1).astype(np.float64)
        scaled = sp.diags(np.maximum(history.degree, 1.0) ** -self.degree_power) @ history.values(self.weight_power)
        scaled = (scaled @ sp.diags(popularity**-self.popularity_power)).tocsr()
        rank = min(self.dimensions, (min(scaled.shape) + 1) // 2)
        if rank == 0 or scaled.nnz == 0:
            right = np.zeros((0, scaled.shape[1]))
        elif scaled.shape[0] * scaled.shape[1] <= SMALL:
            right = np.linalg.svd(scaled.toarray(), full_matrices=False)[2][:rank]
        else:
            right = leading(scaled, rank, seed=self.seed, threads=threads)[1]
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

    def moved(self, asked: Asked) -> None:
        """Likewise, of many users at once."""
        _moved(asked, self.scored_, self.factors_, self.popularity_, np.zeros((0, 0)), np.zeros(0))


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

    def fit(self, history: History, threads: int | None = None) -> Self:
        """Alternates; ends with the users, so that their factors belong to the tracks'. Threads as of `ScaledSVD`."""
        threads = threads or numba.get_num_threads()
        values = self._rows(history)
        tracks = values.shape[1]
        rng = np.random.default_rng(self.seed)
        # float32 halves the time; the normal equations are well conditioned by the regularisation
        factors = rng.normal(0.0, 0.1 / np.sqrt(self.dimensions), (tracks, self.dimensions)).astype(np.float32)
        own, transposed = None, values.T.tocsr()
        for _ in range(self.iterations):
            own = self._solved(values, factors, start=own, threads=threads, **SWEEP)
            factors = self._solved(transposed, own, start=factors, threads=threads, **SWEEP)
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        if (self.scored_.data <= 0.0).any():  # squares have no place for what one is put off by
            self.scored_.data = np.maximum(self.scored_.data, 0.0)
            self.scored_ = self.scored_.copy()  # its columns may be the history's
            self.scored_.eliminate_zeros()
        self.track_factors_ = factors
        start = None if own is None else own[: self.scored_.shape[0]]
        self.user_factors_ = self._solved(self.scored_, factors, start=start, threads=threads, **FINE)
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

    def moved(self, asked: Asked) -> None:
        """Likewise, of many users at once."""
        ridge = self._ridge(np.arange(1 + int(np.diff(self.scored_.indptr).max(initial=0))))
        scale = np.ones(len(self.track_factors_))
        _moved(asked, self.scored_, self.track_factors_, scale, self.unobserved * self.gram_, ridge)

    def _ridge(self, observed: np.ndarray) -> np.ndarray:
        """(n,) float64: of users with so many tracks of history."""
        ridge: np.ndarray = self.regularization * (observed + self.unobserved * self.possible_) ** self.frequency_power
        return ridge

    def _moved(self, user: int, directions: np.ndarray) -> np.ndarray:
        """(h, n) float64: what each track of the history adds to the user's factors along (d, n) directions."""
        history, weight = liked_row(self.scored_, user)
        if not len(history):
            return np.zeros((0, directions.shape[1]))
        own = self.track_factors_[history].astype(np.float64)
        matrix = (own * weight[:, None]).T @ own + self.unobserved * self.gram_
        matrix += self._ridge(np.array(len(history))) * np.eye(own.shape[1])
        moved: np.ndarray = weight[:, None] * (own @ np.linalg.solve(matrix, directions))
        return moved

    def _rows(self, history: History) -> sp.csr_matrix:
        """(n, tracks) float32 CSR: what factors are learned from."""
        return history.values(self.weight_power)

    def _solved(self, values: sp.csr_matrix, other: np.ndarray, **how: Any) -> np.ndarray:
        """(n, d) float32: the least squares solution of each row, given the other side's factors."""
        ridge = self.regularization * (np.diff(values.indptr) + self.unobserved * len(other)) ** self.frequency_power
        return solved(values, other, ridge, self.unobserved, **how)


def _moved(
    asked: Asked, scored: sp.csr_matrix, factors: np.ndarray, scale: np.ndarray, gram: np.ndarray, ridge: np.ndarray
) -> None:
    users, begin, track, weights, level, *written = asked
    moved_by_factors(
        *(0, len(users), users, begin, track, weights, level, scored.indptr, scored.indices, scored.data),
        *(np.ascontiguousarray(factors), scale, gram, ridge, *written),
    )


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
