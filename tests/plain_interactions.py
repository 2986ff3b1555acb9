"""Interactions the obvious way, the oracle of the fast one: sums by scipy, a matrix of coordinates at a time."""

import numpy as np
import scipy.sparse as sp

from features.compute.interactions import Feedback, Interactions, Plays, _disliked, _feedback_worth, decay, play_weights
from features.compute.pair_sums import FIXED_POINT


def build_interactions_plain(
    plays: Plays,
    feedback: Feedback,
    shape: tuple[int, int],
    *,
    as_of_ms: int,
    half_life_days: float,
) -> Interactions:
    """What `build_interactions` says."""
    worth = play_weights(plays.completion) * decay(plays.played_at, as_of_ms, half_life_days)
    listened = _summed(plays.user, plays.track, worth, shape)
    opinion = _feedback_worth(feedback, as_of_ms, half_life_days)
    opinion[feedback.signal == "dislike"] = 0.0  # one that stands leaves the pair out, one taken back is void
    said = _summed(feedback.user, feedback.track, opinion, shape)
    counts = _summed(plays.user, plays.track, np.full(len(plays), 1.0 / FIXED_POINT), shape)

    listened.data = np.log2(1.0 + np.maximum(listened.data / FIXED_POINT, 0.0))
    said.data = said.data / FIXED_POINT
    disliked = _disliked(feedback, shape)
    total = (listened + said).tocsr()
    aversion = _aversion(total, disliked)
    weights = (total - total.multiply(disliked)).tocsr()
    weights.data[weights.data <= 0.0] = 0.0
    weights.eliminate_zeros()
    weights.sort_indices()
    known = (_pattern(counts) + _pattern(said)).astype(bool).tocsr()
    return Interactions(weights, counts.astype(np.int32), known, disliked, aversion)


def _aversion(total: sp.csr_matrix, disliked: sp.csr_matrix) -> sp.csr_matrix:
    below = total.copy()
    below.data = np.clip(-below.data, 0.0, 1.0)
    aversion = below.maximum(disliked.astype(np.float64)).tocsr()
    aversion.eliminate_zeros()
    aversion.sort_indices()
    return aversion


def _summed(user: np.ndarray, track: np.ndarray, worth: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Sums by pair in fixed point. float64 holds integers to 2^53, so the sums are exact in any order."""
    fixed = np.rint(worth * FIXED_POINT)
    summed = sp.coo_matrix((fixed, (user, track)), shape=shape, dtype=np.float64).tocsr()
    summed.sum_duplicates()
    return summed


def _pattern(matrix: sp.csr_matrix) -> sp.csr_matrix:
    ones = np.ones(len(matrix.data), np.int8)
    return sp.csr_matrix((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
