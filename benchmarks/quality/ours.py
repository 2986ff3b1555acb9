"""Our strategies as a nightly run makes them: models and shares chosen within the training part, then fitted on it."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.quality.cases import Split
from benchmarks.quality.measure import BLOCK_CELLS, LIST, Answer
from features.compute.interactions import build_interactions
from features.compute.topk import top_k
from features.parameters import NightlyParameters, RecommendationParameters
from features.recommend.evidence import Ranker, fit_ranker
from features.recommend.songs import only_best
from features.recommend.strategies import choose


def strategies(split: Split, models: Mapping[str, Mapping[str, Any]]) -> tuple[Ranker, float]:
    """The strategies of a split with models of these parameters, and the CPU seconds that choosing and fitting took."""
    dataset = split.dataset
    parameters = NightlyParameters(
        models={name: dict(values) for name, values in models.items()},
        recommendations=RecommendationParameters(include_heard=not split.mask_heard),
    )
    shape = (len(dataset.users), len(dataset.tracks))
    with threadpool_limits(1):
        begin = time.process_time()
        interactions = build_interactions(
            dataset.plays,
            dataset.feedback,
            shape,
            as_of_ms=split.as_of_ms,
            half_life_days=parameters.interactions.half_life_days,
        )
        recipes = choose(dataset, parameters, as_of_ms=split.as_of_ms)
        ranker = fit_ranker(dataset, interactions, recipes, parameters)
        return ranker, time.process_time() - begin


def lists_by(ranker: Ranker, strategy: str, split: Split) -> np.ndarray:
    """(users asked, 100) int32: a strategy's lists, with the filters a release has, one release of a song."""
    step = max(1, BLOCK_CELLS // len(split.candidates))
    blocks = []
    for start in range(0, len(split.users), step):
        users = split.users[start : start + step]
        usable = ~ranker.filters.forbidden(users, include_heard=not split.mask_heard) & split.candidates
        scores = ranker.scores([strategy], users, usable)[strategy]
        blocks.append(top_k(only_best(scores, ranker.filters.song), LIST))
    return np.concatenate(blocks)


def answers(split: Split, models: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Answer], dict[str, Any]]:
    """Collaborative and hybrid lists, and the recipes they were made by."""
    ranker, fit_s = strategies(split, models)
    with threadpool_limits(1):
        found = {name: Answer(lists_by(ranker, name, split), fit_s) for name in ("collaborative", "hybrid")}
    return found, {name: ranker.recipes[name].to_dict() for name in found}
