"""One model on one split: fitted, lists made, figures for each user and for all."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.quality.cases import Split
from features.compute.topk import top_k
from features.evaluate.metrics import (
    average_precision_at_k,
    coverage_at_k,
    ndcg_at_k,
    novelty_at_k,
    recall_at_k,
)

LIST = 100
SCREEN = 20
BLOCK_CELLS = 8_000_000
RESAMPLES, RESAMPLE_SEED = 2_000, 7


class Scorer(Protocol):
    """What is left of a model once it is fitted."""

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks): the higher the better."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Lists for the users of a split, and what it took to learn how to make them.

    Attributes:
        lists: (users asked, 100) int32, best first; -1 for an empty slot.
        fit_s: CPU seconds, in one thread: those of the wall depend on what else runs.
    """

    lists: np.ndarray
    fit_s: float


Answering = Callable[[Split, Mapping[str, Any]], Answer]
"""A model as the harness sees it: a split and parameters in, lists out."""


def answering(model: Callable[..., Any]) -> Answering:
    """A model class with `fit(history)` and `scores(users)`, as the harness sees it."""

    def answer(split: Split, parameters: Mapping[str, Any]) -> Answer:
        with threadpool_limits(1):
            begin = time.process_time()
            fitted = model(**parameters).fit(split.history)
            fit_s = time.process_time() - begin
            return Answer(lists_of(fitted, split), fit_s)

    return answer


def lists_of(fitted: Scorer, split: Split) -> np.ndarray:
    """(users asked, 100) int32: the candidates by score, heard ones left out where the split says so."""
    step = max(1, BLOCK_CELLS // len(split.candidates))
    blocks = []
    for start in range(0, len(split.users), step):
        users = split.users[start : start + step]
        scores = np.array(fitted.scores(users), np.float32)
        scores[:, ~split.candidates] = -np.inf
        if split.mask_heard:
            heard = split.history.weights[users]
            scores[np.repeat(np.arange(len(users)), np.diff(heard.indptr)), heard.indices] = -np.inf
        blocks.append(top_k(scores, LIST))
    return np.concatenate(blocks)


def validation_figure(answer: Answer, split: Split) -> float:
    """What the search maximizes: mean nDCG@100."""
    return float(ndcg_at_k(answer.lists, split.asked[split.users], LIST).mean())


@dataclass(frozen=True, eq=False)
class Figures:
    """A model's figures on a test split.

    Attributes:
        ndcg100: (users asked,) float64, as are `ndcg10`, `recall20` (hits over the most there could be) and `map100`.
        coverage: share of the candidates that are on some list's first 20 places.
        novelty: bits: mean over users of -log2 of the share of listeners, over the first 20 places.
        fit_s: CPU seconds.
    """

    ndcg100: np.ndarray
    ndcg10: np.ndarray
    recall20: np.ndarray
    map100: np.ndarray
    coverage: float
    novelty: float
    fit_s: float


def figures(answer: Answer, split: Split) -> Figures:
    """All figures of an answer."""
    relevant = split.asked[split.users]
    history = split.history
    novelty = novelty_at_k(answer.lists, history.listeners, len(history.degree), SCREEN)
    return Figures(
        ndcg_at_k(answer.lists, relevant, LIST),
        ndcg_at_k(answer.lists, relevant, 10),
        recall_at_k(answer.lists, relevant, SCREEN),
        average_precision_at_k(answer.lists, relevant, LIST),
        coverage_at_k(answer.lists, SCREEN, int(split.candidates.sum())),
        float(np.nanmean(novelty)) if not np.isnan(novelty).all() else np.nan,
        answer.fit_s,
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    """The bootstrap's 95 % interval of a mean over users, by percentiles; of a paired difference give differences.

    Source:
        Efron & Tibshirani (1993), "An introduction to the bootstrap", chapter 13.
    """
    rng = np.random.default_rng(RESAMPLE_SEED)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
