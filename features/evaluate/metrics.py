"""Ranking metrics, by their definitions; undefined is NaN."""

import numpy as np
import scipy.sparse as sp

from features.compute.rows import sparse_row


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
    found, possible = hits(ranked[:, :k], relevant), _possible(relevant, k)
    gain: np.ndarray = (found * discount[: found.shape[1]]).sum(axis=1) / best[possible]
    return gain


def recall_at_k(ranked: np.ndarray, relevant: sp.csr_matrix, k: int) -> np.ndarray:
    """(n,) float64 in [0, 1]: hits among the first k over the most there could be, min(relevant, k); NaN for none.

    Arguments as of `ndcg_at_k`.
    """
    found, possible = hits(ranked[:, :k], relevant), _possible(relevant, k)
    share: np.ndarray = found.sum(axis=1) / np.where(possible > 0, possible, np.nan)
    return share


def average_precision_at_k(ranked: np.ndarray, relevant: sp.csr_matrix, k: int) -> np.ndarray:
    """(n,) float64 in [0, 1]: precision at each hit's place, summed over min(relevant, k); NaN for none.

    Its mean over users is MAP@k. Arguments as of `ndcg_at_k`.
    """
    found, possible = hits(ranked[:, :k], relevant), _possible(relevant, k)
    precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    mean: np.ndarray = (precision * found).sum(axis=1) / np.where(possible > 0, possible, np.nan)
    return mean


def coverage_at_k(ranked: np.ndarray, k: int, tracks: int) -> float:
    """Share of all tracks that stand in the first k places of any list; NaN without tracks."""
    shown = np.unique(ranked[:, :k])
    return float((shown >= 0).sum() / tracks) if tracks else np.nan


def novelty_at_k(ranked: np.ndarray, listeners: np.ndarray, users: int, k: int) -> np.ndarray:
    """(n,) float64, bits: mean of -log2 of the share of users who listen to a listed track; NaN for an empty list.

    A track without listeners counts as one with one.

    Args:
        ranked: (n, m) int; -1 marks an empty slot.
        listeners: (tracks,) int, users of each track.
        users: how many there are.
        k: places that count.

    Source:
        Zhou et al. (2010), "Solving the apparent diversity-accuracy dilemma of recommender systems".
    """
    surprise = np.append(-np.log2(np.maximum(listeners, 1) / max(users, 1)), 0.0)
    shown = ranked[:, :k]
    count = (shown >= 0).sum(axis=1)
    mean: np.ndarray = surprise[shown].sum(axis=1) / np.where(count > 0, count, np.nan)
    return mean


def intra_list_diversity_at_k(ranked: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """(n,) float64 in [0, 2]: mean of 1 - cosine over all pairs of the first k places; NaN for fewer than two.

    Args:
        ranked: (n, m) int; -1 marks an empty slot.
        vectors: (tracks, d) float, unit length or zero; a track nothing is known of is like no other.
        k: places that count.

    Source:
        Ziegler et al. (2005), "Improving recommendation lists through topic diversification".
    """
    extended = np.vstack([vectors, np.zeros((1, vectors.shape[1]), vectors.dtype)]).astype(np.float64)
    square = (extended**2).sum(axis=1)
    diversity = np.full(len(ranked), np.nan)
    for row, shown in enumerate(ranked[:, :k]):
        listed = shown[shown >= 0]
        n = len(listed)
        if n > 1:
            total = extended[listed].sum(axis=0)
            # the sum over pairs is half of the square of the sum, less the squares
            diversity[row] = 1.0 - (total @ total - square[listed].sum()) / (n * (n - 1))
    return diversity


def hits(ranked: np.ndarray, relevant: sp.csr_matrix) -> np.ndarray:
    """(n, m) bool: which places hold a relevant track."""
    rows = [np.isin(row, sparse_row(relevant, number)[0]) for number, row in enumerate(ranked)]
    return np.array(rows, bool).reshape(ranked.shape)


def _possible(relevant: sp.csr_matrix, k: int) -> np.ndarray:
    possible: np.ndarray = np.minimum(np.diff(relevant.indptr), k)
    return possible
