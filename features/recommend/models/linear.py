"""The EASE family: each track as a linear function of the others, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.compute.nearest import strongest
from features.recommend.history import History, liked_row
from features.recommend.models.contract import Range
from features.recommend.models.neighbors import RECENCY, NearTracks
from features.recommend.models.proximity import PROXIMITY, proximity
from features.recommend.models.ridge import LEAST, Solution, inverted, solve
from features.recommend.models.track_features import side_rows

BLOCK_CELLS = 8_000_000


@dataclass(eq=False)
class Ease:
    """Each track as a linear function of the others: ridge regression in closed form, a track never predicting itself.

    With the Gram matrix G of the training rows and the ridge L, P = (G + L)^-1 and a user's score of track j is
    -sum_i x_i P_ij / P_jj^`exponent`. The ridge of a track is `ridge` · (n / mean n)^`ridge_power` plus
    `dropout` / (1 - `dropout`) · n, n its sum of squares. Rows are weighed by degree^-`degree_power`. With fewer rows
    than tracks, P is had from a rows × rows inverse (Woodbury), exactly.

    Args:
        ridge: in squares of weights.
        ridge_power: how far the ridge follows popularity.
        dropout: share of each user's tracks that the model should do without.
        degree_power: how much less the very busy count.
        exponent: of 1 / P_jj; 1 is EASE itself, less favours the popular.
        weight_power: of the weights it is fitted on.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.

    Source:
        Steck (2019), "Embarrassingly shallow autoencoders for sparse data"; Steck (2020), "Autoencoders that don't
        overfit towards the identity" for the dropout.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "ridge": Range(3, 1000, log=True),
        "ridge_power": Range(0.0, 1.0, also=(0.0,)),
        "dropout": Range(0.0, 0.8, also=(0.0,)),
        "degree_power": Range(0.0, 0.9, also=(0.0,)),
        "exponent": Range(0.2, 1.2, also=(1.0,)),
        "weight_power": Range(0.0, 1.0, also=(0.0,)),
        **RECENCY,
    }

    ridge: float = 250.0
    ridge_power: float = 0.4
    dropout: float = 0.35
    degree_power: float = 0.5
    exponent: float = 0.5
    weight_power: float = 0.0
    half_life: float = 10.0
    floor: float = 0.2
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Inverts the smaller side."""
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        self.solution_ = self._solved(history, _rows(history, self.weight_power, self.degree_power))
        self.scale_ = self.solution_.diagonal**-self.exponent
        return self

    def _solved(self, history: History, rows: sp.csr_matrix) -> Solution:
        square = _squares(history.values(self.weight_power))
        return solve(rows, _ridge(square, self.ridge, self.ridge_power, self.dropout))

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: the history's part in each track."""
        raw = self.solution_.times(self.scored_[users])  # what a track says of itself is not knowledge
        raw *= -self.scale_[None, :].astype(np.float32)
        return raw

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: exact, since scores are linear in the history."""
        history, worth = liked_row(self.scored_, user)
        weights = np.zeros(len(self.scale_))
        weights[tracks] = self.scale_[tracks]
        # P is symmetric: one row times it instead of one for each track of the history
        return -worth * self.solution_.times(sp.csr_matrix(weights[None, :]))[0, history]

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        history, worth = liked_row(self.scored_, user)
        return -worth[:, None] * self.solution_.block(history, tracks) * self.scale_[tracks][None, :]


@dataclass(eq=False)
class Cease(Ease):
    """EASE with what tracks are stacked under what users hear: artist, album and genres, each a row like a user's.

    So two tracks of one artist predict each other as if many had heard both, and a track that few have heard leans on
    its artist's.

    Args:
        content: weight of the rows of side information beside the users'.
        artist_share: of artists' rows; albums' and genres' are as named.
        album_share: of albums' rows.
        genre_share: of genres' rows, less for common ones.

    Source:
        Jeunen, Van Balen & Goethals (2020), "Closed-form models for collaborative filtering with side-information".
    """

    space: ClassVar[Mapping[str, Range]] = {
        **Ease.space,
        "content": Range(0.1, 5.0, log=True),
        "album_share": Range(0.0, 1.0, also=(0.0,)),
        "genre_share": Range(0.05, 1.0, log=True, also=(0.0,)),
    }

    content: float = 1.0
    artist_share: float = 1.0
    album_share: float = 0.3
    genre_share: float = 0.3

    def fit(self, history: History) -> Self:
        """Inverts the smaller side, side information included."""
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        rows = _rows(history, self.weight_power, self.degree_power)
        if history.catalog is not None:
            beside = side_rows(history.catalog, self.artist_share, self.album_share, self.genre_share)
            rows = sp.vstack([rows, beside * np.float32(self.content)], format="csr")
        self.solution_ = self._solved(history, rows)
        self.scale_ = self.solution_.diagonal**-self.exponent
        return self


@dataclass(eq=False)
class LocalEase(NearTracks):
    """EASE of which each track keeps only its strongest sources, to a power: for listening that repeats itself.

    Args:
        neighbors: sources kept a track.
        power: of their weights; above 1 the strongest decide.
        ridge: as of `Ease`, as are the others.
    """

    space: ClassVar[Mapping[str, Range]] = {
        **Ease.space,
        "neighbors": Range(5, 600, log=True, whole=True),
        "power": Range(0.6, 3.5),
    }

    neighbors: int = 290
    power: float = 1.8
    ridge: float = 200.0
    ridge_power: float = 0.5
    dropout: float = 0.4
    degree_power: float = 0.44
    exponent: float = 0.67
    weight_power: float = 0.0
    half_life: float = 10.0
    floor: float = 0.05
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Solves for all pairs of tracks and keeps the strongest."""
        self.listeners_ = history.listeners
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        square = _squares(history.values(self.weight_power))
        each = _ridge(square, self.ridge, self.ridge_power, self.dropout)
        solution = solve(_rows(history, self.weight_power, self.degree_power), each)
        tracks = len(history.listeners)
        scale = solution.diagonal**-self.exponent
        blocks = []
        step = max(1, BLOCK_CELLS // max(tracks, 1))
        for start in range(0, tracks, step):
            targets = np.arange(start, min(tracks, start + step))
            weights = -solution.columns(targets) * scale[targets, None]
            blocks.append(strongest(sp.csr_matrix(np.maximum(weights, 0.0).astype(np.float32)), self.neighbors))
        kept = sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix((0, 0), dtype=np.float32)
        kept.data = kept.data ** np.float32(self.power)
        self.similarity_ = kept.T.tocsr()
        return self


@dataclass(eq=False)
class ProximityEase(NearTracks):
    """EASE on how close tracks stand in listeners' lives, instead of on whether they are there at all.

    The Gram matrix is that of `proximity` and its transpose, positive definite as a sum of decaying kernels.

    Args:
        neighbors: sources kept a track, the strongest.
        power: of their weights.
        gap_half_life: in tracks, as of `ProximityKNN`.
        ridge: as of `Ease`, as are the others.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(15, 500, log=True, whole=True),
        "power": Range(0.7, 2.2),
        "ridge": Range(10, 500, log=True),
        "ridge_power": Range(0.0, 1.0),
        "dropout": Range(0.0, 0.6),
        "exponent": Range(0.2, 1.1),
        **PROXIMITY,
        **RECENCY,
    }

    neighbors: int = 150
    power: float = 1.4
    gap_half_life: float = 45.0
    ridge: float = 300.0
    ridge_power: float = 0.4
    dropout: float = 0.25
    exponent: float = 0.45
    degree_power: float = 0.05
    weight_power: float = 0.0
    half_life: float = 12.0
    floor: float = 0.0
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Inverts the tracks' side and keeps each track's strongest sources."""
        self.listeners_ = history.listeners
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        near, own = proximity(history, self.gap_half_life, self.degree_power, self.weight_power)
        gram = (near + near.T).toarray()
        gram[np.diag_indices_from(gram)] = own + _ridge(own, self.ridge, self.ridge_power, self.dropout)
        inverse = inverted(gram)
        weights = -inverse * np.maximum(inverse.diagonal(), LEAST) ** -self.exponent
        np.fill_diagonal(weights, 0.0)
        kept = strongest(sp.csr_matrix(np.maximum(weights.T, 0.0).astype(np.float32)), self.neighbors)
        kept.data **= np.float32(self.power)
        self.similarity_ = kept.T.tocsr()
        return self


def _rows(history: History, weight_power: float, degree_power: float) -> sp.csr_matrix:
    """(users, tracks) float32 CSR: training rows, weighed down by degree, as much in all as without."""
    values = history.values(weight_power)
    degree = np.maximum(history.degree, 1) / max(history.degree.mean(), LEAST)
    weight = degree**-degree_power
    total = (weight * history.degree).sum()
    weight *= values.nnz / total if total > 0 else 1.0
    return (sp.diags(np.sqrt(weight)) @ values).tocsr().astype(np.float32)


def _squares(values: sp.csr_matrix) -> np.ndarray:
    """(tracks,) float64: each column's sum of squares."""
    return np.asarray(values.multiply(values).sum(axis=0)).ravel().astype(np.float64)


def _ridge(square: np.ndarray, ridge: float, ridge_power: float, dropout: float) -> np.ndarray:
    """(tracks,) float64: the ridge of each track."""
    mean = square[square > 0].mean() if square.any() else 1.0
    each: np.ndarray = ridge * (np.maximum(square, 0.5) / mean) ** ridge_power + dropout / (1.0 - dropout) * square
    return each
