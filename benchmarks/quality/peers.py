"""What is known and plain, by the book: each in the form of our models, so that one search and one table serve all."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from features.recommend.history import History
from features.recommend.models.contract import Range
from features.recommend.models.popular import popularity_behind

WEIGHT_POWER = Range(0.0, 1.0, also=(0.0,))
"""Of the weights learned from: 0 for whether somebody listened, 1 for the logarithm of how often."""


@dataclass(eq=False)
class Popularity:
    """The number of listeners, the same list for all."""

    space: ClassVar[Mapping[str, Range]] = {}

    def fit(self, history: History) -> Self:
        """Counts."""
        self.listeners_ = history.listeners.astype(np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32."""
        return np.tile(self.listeners_, (len(users), 1))


@dataclass(eq=False)
class EASE:
    """Steck (2019), "Embarrassingly shallow autoencoders for sparse data": B = I - P / diag(P), P = (X'X + l2)^-1.

    Where there are fewer users than tracks the inverse is taken on their side, by Woodbury's identity, exactly:
    X P = (XX' + l2)^-1 X, and P_jj = (1 - x_j' (XX' + l2)^-1 x_j) / l2.
    """

    space: ClassVar[Mapping[str, Range]] = {"l2": Range(3, 3000, log=True), "weight_power": WEIGHT_POWER}

    l2: float = 300.0
    weight_power: float = 0.0

    def fit(self, history: History) -> Self:
        """Inverts the smaller side."""
        self.values_ = history.values(self.weight_power)
        users, tracks = self.values_.shape
        if users < tracks:
            inverse = _inverse((self.values_ @ self.values_.T).toarray(), self.l2)
            self.projected_ = (self.values_.T @ inverse).T.astype(np.float32)
            captured = np.asarray(self.values_.multiply(self.projected_).sum(axis=0)).ravel()
            self.diagonal_ = (1.0 - captured) / self.l2
        else:
            inverse = _inverse((self.values_.T @ self.values_).toarray(), self.l2)
            self.projected_ = (self.values_ @ inverse).astype(np.float32)
            self.diagonal_ = np.diag(inverse)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: X B."""
        own = self.values_[users].toarray()  # a track must not predict itself
        return (own - self.projected_[users] / self.diagonal_[None, :]).astype(np.float32)


@dataclass(eq=False)
class RP3beta:
    """Paudel et al. (2017), "Updatable, accurate, diverse, and scalable recommendations for interactive applications".

    Random walks of three steps, transitions to the power alpha, the last step damped by popularity to the power beta.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(20, 1000, log=True, whole=True),
        "alpha": Range(0.3, 2.0),
        "beta": Range(0.0, 1.0),
        "normalized": Range(0, 1, whole=True),
        "weight_power": WEIGHT_POWER,
    }

    neighbors: int = 100
    alpha: float = 1.0
    beta: float = 0.6
    normalized: int = 1
    weight_power: float = 0.0

    def fit(self, history: History) -> Self:
        """Walks from track to track."""
        self.values_, self.listeners_ = history.values(self.weight_power), history.listeners
        to_track, to_user = _shares(self.values_), _shares(self.values_.T.tocsr())
        to_track.data **= np.float32(self.alpha)
        to_user.data **= np.float32(self.alpha)
        damped = sp.diags_array(np.maximum(self.listeners_, 1) ** -self.beta)
        self.similarity_ = _nearest(to_user, (to_track @ damped).tocsr(), self.neighbors)
        if self.normalized:
            self.similarity_ = _shares(self.similarity_)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32."""
        return popularity_behind((self.values_[users] @ self.similarity_).toarray(), self.listeners_)


@dataclass(eq=False)
class _CosineKNN:
    """Cosine of rows with shrinkage, the nearest of each, likeness to a power."""

    neighbors: int = 100
    shrink: float = 5.0
    power: float = 1.0
    weight_power: float = 0.0

    def fit(self, history: History) -> Self:
        """Finds the nearest."""
        self.values_, self.listeners_ = history.values(self.weight_power), history.listeners
        self.near_ = _cosine_nearest(self._alike(self.values_), self.neighbors, self.shrink, self.power)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32."""
        return popularity_behind(self._summed(users).toarray(), self.listeners_)

    def _alike(self, values: sp.csr_matrix) -> sp.csr_matrix:
        """What is compared, a row each."""
        raise NotImplementedError

    def _summed(self, users: np.ndarray) -> sp.csr_matrix:
        """(n, tracks) float32 CSR."""
        raise NotImplementedError


@dataclass(eq=False)
class ItemKNN(_CosineKNN):
    """Sarwar et al. (2001), "Item-based collaborative filtering": a track by the nearest of each track heard."""

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(10, 600, log=True, whole=True),
        "shrink": Range(0.1, 50, log=True, also=(0.0,)),
        "power": Range(0.6, 2.5),
        "weight_power": WEIGHT_POWER,
    }

    def _alike(self, values: sp.csr_matrix) -> sp.csr_matrix:
        return values.T.tocsr()

    def _summed(self, users: np.ndarray) -> sp.csr_matrix:
        return self.values_[users] @ self.near_.T


@dataclass(eq=False)
class UserKNN(_CosineKNN):
    """Herlocker et al. (1999), "An algorithmic framework for collaborative filtering": a track by who hears it."""

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(20, 800, log=True, whole=True),
        "shrink": Range(0.1, 50, log=True, also=(0.0,)),
        "power": Range(0.6, 3.0),
        "weight_power": WEIGHT_POWER,
    }

    def _alike(self, values: sp.csr_matrix) -> sp.csr_matrix:
        return values

    def _summed(self, users: np.ndarray) -> sp.csr_matrix:
        return self.near_[users] @ self.values_


@dataclass(eq=False)
class ContentProfile:
    """Lops et al. (2011), "Content-based recommender systems": the cosine of a track and the sum of what was heard.

    A track is its artist, album and genres, each by rarity, and its standardized audio features.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "artist": Range(0.05, 2.0, log=True),
        "album": Range(0.02, 2.0, log=True, also=(0.0,)),
        "genre": Range(0.02, 2.0, log=True, also=(0.0,)),
        "audio": Range(0.02, 2.0, log=True, also=(0.0,)),
        "rarity": Range(0.0, 1.0),
    }

    artist: float = 1.0
    album: float = 0.5
    genre: float = 0.5
    audio: float = 0.2
    rarity: float = 0.5

    def fit(self, history: History) -> Self:
        """Lays out what tracks are."""
        catalog = history.catalog
        assert catalog is not None
        parts = [
            self.artist * self._by_rarity(_one_hot(catalog.artist, len(catalog.artist_names))),
            self.album * self._by_rarity(_one_hot(catalog.album, int(catalog.album.max(initial=-1)) + 1)),
            self.genre * self._by_rarity(catalog.genres.astype(np.float64)),
            self.audio * sp.csr_matrix(_standardized(catalog.audio)),
        ]
        tracks = sp.hstack(parts, format="csr")
        length = np.sqrt(np.asarray(tracks.multiply(tracks).sum(axis=1)).ravel())
        self.tracks_ = (sp.diags_array(1.0 / np.where(length > 0, length, 1.0)) @ tracks).astype(np.float32).tocsr()
        self.values_, self.listeners_ = history.values(0.0), history.listeners
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32."""
        return popularity_behind(((self.values_[users] @ self.tracks_) @ self.tracks_.T).toarray(), self.listeners_)

    def _by_rarity(self, marks: sp.csr_matrix) -> sp.csr_matrix:
        """Unit rows, each column worth log(tracks / those with it) to a power."""
        having = np.maximum(np.asarray(marks.sum(axis=0)).ravel(), 1.0)
        rare = (marks @ sp.diags_array(np.log1p(marks.shape[0] / having) ** self.rarity)).tocsr()
        length = np.sqrt(np.asarray(rare.multiply(rare).sum(axis=1)).ravel())
        return sp.diags_array(1.0 / np.where(length > 0, length, 1.0)) @ rare


def _one_hot(number: np.ndarray, count: int) -> sp.csr_matrix:
    known = np.flatnonzero(number >= 0)
    return sp.csr_matrix((np.ones(len(known)), (known, number[known])), shape=(len(number), count))


def _standardized(audio: np.ndarray) -> np.ndarray:
    """(tracks, 12) in standard deviations over the square root of 12; what is unknown is average."""
    if np.isnan(audio).all():
        return np.zeros_like(audio)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature that no track has
        spread = np.nanstd(audio, axis=0)
        scaled = (audio - np.nanmean(audio, axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.nan_to_num(scaled) / np.sqrt(audio.shape[1])


def _inverse(gram: np.ndarray, ridge: float) -> np.ndarray:
    gram = gram.astype(np.float64)
    np.fill_diagonal(gram, gram.diagonal() + ridge)
    factor, _ = scipy.linalg.lapack.dpotrf(gram, lower=1, overwrite_a=1)
    lower, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(lower)
    return lower + np.tril(lower, -1).T


def _shares(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Rows that sum to 1; empty ones stay so."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    shares = matrix.astype(np.float32).tocsr(copy=True)
    shares.data /= np.repeat(np.where(total > 0, total, 1.0), np.diff(shares.indptr)).astype(np.float32)
    return shares


def _cosine_nearest(rows: sp.csr_matrix, k: int, shrink: float, power: float) -> sp.csr_matrix:
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel()).astype(np.float32)
    near = _nearest(rows, rows.T.tocsr(), k, lambda value, row, column: value / (norm[row] * norm[column] + shrink))
    near.data **= np.float32(power)
    return near


def _nearest(
    left: sp.csr_matrix,
    right: sp.csr_matrix,
    k: int,
    scaled: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> sp.csr_matrix:
    """The k largest entries off the diagonal of each row of left @ right, as CSR; ties go to the lower column."""
    blocks = []
    step = max(1, 20_000_000 // max(right.shape[1], 1))
    for start in range(0, left.shape[0], step):
        block = (left[start : start + step] @ right).tocsr()
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        column, value = block.indices, block.data.astype(np.float32)
        if scaled is not None:
            value = scaled(value, row + start, column).astype(np.float32)
        other = (column != row + start) & (value > 0)
        row, column, value = row[other], column[other], value[other]
        order = np.lexsort((column, -value, row))
        row, column, value = row[order], column[order], value[order]
        first = np.arange(len(row)) - np.searchsorted(row, row) < k
        blocks.append(sp.csr_matrix((value[first], (row[first], column[first])), shape=block.shape))
    return sp.vstack(blocks, format="csr")
