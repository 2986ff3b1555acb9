"""Ranking on a time split: how well the lists, made some days earlier, would have held what was played since."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from features.evaluate.metrics import ndcg_at_k, recall_at_k
from features.evaluate.splits import Split
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe
from features.recommend.evidence import Ranker, fit_ranker
from features.recommend.lists import BLOCK_CELLS
from features.recommend.rerank import Shaper
from features.recommend.strategies import drawn

RECALL_K = 20
"""About what a screen shows."""


def ranking_metrics(
    split: Split, recipes: Mapping[str, Recipe], parameters: NightlyParameters, cells: int = BLOCK_CELLS
) -> dict[str, float]:
    """Fits models before the cut, ranks for each user all that is not known, and looks what hit.

    Ranked are the hybrid lists, with all their filters. Newcomers since the cut are not measured, their lists are
    not personal. Of more than `evaluation.users` that many are drawn by the seed.

    Args:
        split: the release's dataset, cut some days before its moment.
        recipes: chosen without what was held out.
        parameters: of the release; its `evaluation` says how.
        cells: of a block of users and candidates at most; changes nothing.

    Returns:
        With k of the parameters, means over the users measured: `ndcg@k`, `ndcg@k_se` (its standard error),
        `recall@20`; and `users`, how many were. A mean of none is NaN, and so is the error of fewer than two.
    """
    how = parameters.evaluation
    users = drawn(split.users, how.users, how.seed)
    if not len(users):
        return _summary(np.zeros(0), np.zeros(0), how.k)
    ranker = fit_ranker(split.dataset, split.interactions, recipes, parameters)
    ranked = rank(ranker, "hybrid", users, parameters, k=max(how.k, RECALL_K), cells=cells)
    relevant = split.relevant[users]
    return _summary(ndcg_at_k(ranked, relevant, how.k), recall_at_k(ranked, relevant, RECALL_K), how.k)


def rank(
    ranker: Ranker,
    strategy: str,
    users: np.ndarray,
    parameters: NightlyParameters,
    *,
    k: int | None = None,
    cells: int = BLOCK_CELLS,
) -> np.ndarray:
    """(users, k or all tracks) int32: the tracks of their lists as they are served, best first, -1 for an empty slot.

    Args:
        ranker: fitted.
        strategy: its name.
        users: (n,) whose lists.
        parameters: of the release; `recommendations` shapes the lists. There is no list before them to differ from.
        k: how long, where that is not `recommendations.k`.
        cells: of a block of users and candidates at most; changes nothing.
    """
    shaper = Shaper.of(ranker, parameters)
    how = shaper.how if k is None else shaper.how.model_copy(update={"k": k})
    shaper = replace(shaper, how=how)
    ranked = []
    for start, stop in ranker.blocks(len(users), cells):
        block = users[start:stop]
        tracks = ranker.choice(block)
        usable = ranker.usable(block, include_heard=how.include_heard, tracks=tracks)
        scores = ranker.scores([strategy], block, usable, tracks)[strategy]
        ranked.append(shaper.lists(strategy, block, scores, tracks=tracks).tracks)
    return np.concatenate(ranked) if ranked else np.zeros((0, how.k), np.int32)


def _summary(ndcg: np.ndarray, recall: np.ndarray, k: int) -> dict[str, float]:
    count = len(ndcg)
    return {
        f"ndcg@{k}": float(ndcg.mean()) if count else np.nan,
        f"ndcg@{k}_se": float(ndcg.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan,
        f"recall@{RECALL_K}": float(recall.mean()) if count else np.nan,
        "users": float(count),
    }
