"""Models of the library implicit, as they are."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.quality.peers import WEIGHT_POWER
from features.recommend.history import History
from features.recommend.models.contract import Range
from features.recommend.models.popular import popularity_behind


class _Factors:
    """Scores are products of factors."""

    model_: Any

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32."""
        return np.asarray(self.model_.user_factors)[users] @ np.asarray(self.model_.item_factors).T


@dataclass(eq=False)
class ImplicitALS(_Factors):
    """`implicit.als.AlternatingLeastSquares`."""

    space: ClassVar[Mapping[str, Range]] = {
        "factors": Range(8, 256, log=True, whole=True),
        "alpha": Range(0.3, 150, log=True),
        "regularization": Range(0.01, 300, log=True),
        "iterations": Range(5, 25, whole=True),
        "weight_power": WEIGHT_POWER,
    }

    factors: int = 64
    alpha: float = 10.0
    regularization: float = 1.0
    iterations: int = 15
    weight_power: float = 0.0

    def fit(self, history: History) -> Self:
        """Fits, in one thread and from one seed."""
        from implicit.als import AlternatingLeastSquares

        self.model_ = AlternatingLeastSquares(
            factors=self.factors,
            alpha=self.alpha,
            regularization=self.regularization,
            iterations=self.iterations,
            num_threads=1,
            random_state=0,
            use_gpu=False,
        )
        self.model_.fit(history.values(self.weight_power), show_progress=False)
        return self


@dataclass(eq=False)
class ImplicitBPR(_Factors):
    """`implicit.bpr.BayesianPersonalizedRanking`."""

    space: ClassVar[Mapping[str, Range]] = {
        "factors": Range(8, 128, log=True, whole=True),
        "learning_rate": Range(0.005, 0.15, log=True),
        "regularization": Range(0.001, 0.1, log=True),
        "iterations": Range(50, 600, log=True, whole=True),
    }

    factors: int = 64
    learning_rate: float = 0.05
    regularization: float = 0.01
    iterations: int = 200

    def fit(self, history: History) -> Self:
        """Fits, in one thread and from one seed."""
        from implicit.bpr import BayesianPersonalizedRanking

        self.model_ = BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            iterations=self.iterations,
            num_threads=1,
            random_state=0,
            use_gpu=False,
        )
        self.model_.fit(history.values(0.0), show_progress=False)
        return self


@dataclass(eq=False)
class ImplicitBM25:
    """`implicit.nearest_neighbours.BM25Recommender`; what it leaves equal goes by popularity."""

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(10, 600, log=True, whole=True),
        "k1": Range(0.2, 200, log=True),
        "b": Range(0.0, 1.0),
        "weight_power": WEIGHT_POWER,
    }

    neighbors: int = 100
    k1: float = 1.2
    b: float = 0.75
    weight_power: float = 0.0

    def fit(self, history: History) -> Self:
        """Fits."""
        from implicit.nearest_neighbours import BM25Recommender

        self.listeners_ = history.listeners
        self.values_ = history.values(self.weight_power).astype(np.float64)
        model = BM25Recommender(K=self.neighbors, K1=self.k1, B=self.b, num_threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it hands itself another matrix format than it likes, and says so
            model.fit(self.values_, show_progress=False)
        self.similarity_ = model.similarity.tocsr()
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: as the library's own `recommend` has them."""
        found = (self.values_[users] @ self.similarity_).toarray().astype(np.float32)
        return popularity_behind(found, self.listeners_)
