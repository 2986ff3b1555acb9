"""Ranking on a time split: how well the lists, made some days earlier, would have held what was played since."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Dataset
from features.compute.embeddings import build_embeddings
from features.compute.interactions import MS_A_DAY, Feedback, Interactions, Plays, build_interactions
from features.compute.rows import sparse_row
from features.compute.topk import top_k
from features.compute.weights import SKIPPED
from features.parameters import EvaluationParameters, NightlyParameters
from features.recommend.lists import BLOCK_CELLS
from features.recommend.scores import Evidence, collaborative_scores, content_scores, forbidden, hybrid_scores

RECALL_K = 20
"""About what a screen shows."""


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """What was known at the cut, and what came of it.

    Attributes:
        cut_ms: plays and feedback from this moment on are held out.
        dataset: everything, with plays and feedback before the cut. Catalogue, accounts and stated tastes bear no
            date and are as they are now.
        interactions: of those plays and that feedback, as of the cut.
        relevant: (users, tracks) bool CSR: tracks played since the cut, not only skipped, and not known before.
    """

    cut_ms: int
    dataset: Dataset
    interactions: Interactions
    relevant: sp.csr_matrix

    @property
    def users(self) -> np.ndarray:
        """(n,) int64, ascending: who had a taste before the cut and took to something new since."""
        return np.flatnonzero((np.diff(self.interactions.weights.indptr) > 0) & (np.diff(self.relevant.indptr) > 0))


def split_by_time(dataset: Dataset, *, as_of_ms: int, holdout_days: int, half_life_days: float) -> TimeSplit:
    """Cuts `holdout_days` before `as_of_ms`.

    Args:
        dataset: plays and feedback before `as_of_ms`; not changed.
        as_of_ms: the moment of the release.
        holdout_days: how much is held out.
        half_life_days: as for the release's own interactions.
    """
    cut_ms = as_of_ms - holdout_days * MS_A_DAY
    shape = (len(dataset.users), len(dataset.tracks))
    plays, feedback = dataset.plays, dataset.feedback
    before = replace(
        dataset,
        plays=_chosen_plays(plays, plays.played_at < cut_ms),
        feedback=_chosen_feedback(feedback, feedback.created_at < cut_ms),
    )
    interactions = build_interactions(
        before.plays, before.feedback, shape, as_of_ms=cut_ms, half_life_days=half_life_days
    )
    # a completion that is unknown is no skip, and NaN is below nothing
    taken = (plays.played_at >= cut_ms) & ~(plays.completion < np.float32(SKIPPED))
    ones = np.ones(int(taken.sum()), bool)
    played = sp.csr_matrix((ones, (plays.user[taken], plays.track[taken])), shape=shape)
    relevant = (played > interactions.known).tocsr()
    relevant.sort_indices()
    return TimeSplit(cut_ms, before, interactions, relevant)


def ranking_metrics(dataset: Dataset, parameters: NightlyParameters, *, as_of_ms: int) -> dict[str, float]:
    """Fits what scores are made of before the cut, ranks for each user all that is not known, and looks what hit.

    Ranked are the hybrid lists, with all their filters. Newcomers since the cut are not measured, their lists are
    not personal. Of more than `evaluation.users` that many are drawn by the seed.

    Args:
        dataset: as of `as_of_ms`.
        parameters: of the release; its `evaluation` says how.
        as_of_ms: the moment of the release.

    Returns:
        With k of the parameters, means over the users measured: `ndcg@k`, `ndcg@k_se` (its standard error),
        `recall@20`; and `users`, how many were. A mean of none is NaN, and so is the error of fewer than two.
    """
    how = parameters.evaluation
    split = split_by_time(
        dataset,
        as_of_ms=as_of_ms,
        holdout_days=how.holdout_days,
        half_life_days=parameters.interactions.half_life_days,
    )
    users = _drawn(split.users, how)
    if not len(users):
        return _summary(np.zeros(0), np.zeros(0), how.k)
    embeddings = build_embeddings(
        split.interactions.weights, split.dataset.catalog, **parameters.embeddings.model_dump()
    )
    nobody = np.zeros((len(dataset.users), 0), np.int32)  # similar users give reasons, not scores
    evidence = Evidence(split.dataset, split.interactions, embeddings, nobody, nobody)
    step = max(1, BLOCK_CELLS // len(dataset.tracks))
    blocks = [users[start : start + step] for start in range(0, len(users), step)]
    ranked = np.concatenate([rank_unheard(evidence, block, k=max(how.k, RECALL_K)) for block in blocks])
    relevant = split.relevant[users]
    return _summary(ndcg_at_k(ranked, relevant, how.k), recall_at_k(ranked, relevant, RECALL_K), how.k)


def rank_unheard(evidence: Evidence, users: np.ndarray, *, k: int) -> np.ndarray:
    """(users, k or all tracks) int32: the tracks of their hybrid lists, best first, -1 for an empty slot."""
    mask = forbidden(evidence, users, include_heard=False)
    collaborative, content = collaborative_scores(evidence, users), content_scores(evidence, users)
    collaborative[mask] = content[mask] = -np.inf
    return top_k(hybrid_scores(evidence, users, collaborative, content), k)


def ndcg_at_k(ranked: np.ndarray, relevant: sp.csr_matrix, k: int) -> np.ndarray:
    """Normalized discounted cumulative gain of the first k places, every hit alike.

    Args:
        ranked: (n, m) int, track numbers, best first, none twice; -1 marks an empty slot.
        relevant: (n, tracks) bool CSR without stored zeros.
        k: places that count.

    Returns:
        (n,) float64 in [0, 1]: the sum of 1 / log2(1 + place) over the hits, divided by the most it could be.
        NaN for a user without relevant tracks.

    Source:
        Järvelin & Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques".
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[np.nan], np.cumsum(discount)])
    hits, possible = _hits(ranked[:, :k], relevant), _possible(relevant, k)
    gain: np.ndarray = (hits * discount[: hits.shape[1]]).sum(axis=1) / best[possible]
    return gain


def recall_at_k(ranked: np.ndarray, relevant: sp.csr_matrix, k: int) -> np.ndarray:
    """(n,) float64 in [0, 1]: hits among the first k over the most there could be, min(relevant, k); NaN for none.

    Arguments as of `ndcg_at_k`.
    """
    hits, possible = _hits(ranked[:, :k], relevant), _possible(relevant, k)
    share: np.ndarray = hits.sum(axis=1) / np.where(possible > 0, possible, np.nan)
    return share


def _hits(ranked: np.ndarray, relevant: sp.csr_matrix) -> np.ndarray:
    rows = [np.isin(row, sparse_row(relevant, number)[0]) for number, row in enumerate(ranked)]
    return np.array(rows, bool).reshape(ranked.shape)


def _possible(relevant: sp.csr_matrix, k: int) -> np.ndarray:
    possible: np.ndarray = np.minimum(np.diff(relevant.indptr), k)
    return possible


def _summary(ndcg: np.ndarray, recall: np.ndarray, k: int) -> dict[str, float]:
    count = len(ndcg)
    return {
        f"ndcg@{k}": float(ndcg.mean()) if count else np.nan,
        f"ndcg@{k}_se": float(ndcg.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan,
        f"recall@{RECALL_K}": float(recall.mean()) if count else np.nan,
        "users": float(count),
    }


def _drawn(users: np.ndarray, how: EvaluationParameters) -> np.ndarray:
    if len(users) <= how.users:
        return users
    rng = np.random.default_rng(how.seed)
    return np.sort(rng.choice(users, how.users, replace=False))


def _chosen_plays(plays: Plays, mask: np.ndarray) -> Plays:
    return Plays(plays.user[mask], plays.track[mask], plays.played_at[mask], plays.completion[mask])


def _chosen_feedback(said: Feedback, mask: np.ndarray) -> Feedback:
    return Feedback(said.user[mask], said.track[mask], said.signal[mask], said.strength[mask], said.created_at[mask])
