"""Raw scores of every track for a block of users, a strategy each, and what they have to leave out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Dataset
from features.compute.embeddings import ROUNDING, Embeddings, degree_scaled, unit_rows
from features.compute.interactions import Interactions

POPULARITY_POWER = 0.3
"""How far the popularity that the scaled decomposition took away is given back to collaborative scores."""
EVIDENCE_TRACKS = 10
"""Tracks in a user's history at which collaborative and content evidence are trusted alike."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that scores and reasons are made from."""

    dataset: Dataset
    interactions: Interactions
    embeddings: Embeddings
    neighbors: np.ndarray
    """(users, k) int32, similar users, -1 for none."""
    common: np.ndarray
    """(users, k) int32, tracks in common with each."""

    @cached_property
    def listeners(self) -> np.ndarray:
        """(tracks,) int64: users who played it."""
        return np.bincount(self.interactions.plays.indices, minlength=len(self.dataset.tracks))

    @cached_property
    def market_blocked(self) -> dict[str, np.ndarray]:
        """For each country some user lives in, (tracks,) bool: known not to be available there."""
        markets = self.dataset.catalog.markets
        return {
            country: np.array([entry is not None and country not in entry for entry in markets], bool)
            for country in {where for where in self.dataset.country if where is not None}
        }

    @cached_property
    def scaled_weights(self) -> sp.csr_matrix:
        """Weights as the decomposition saw them; a row times two tracks' factors is a contribution."""
        return degree_scaled(self.interactions.weights)


def collaborative_scores(evidence: Evidence, users: np.ndarray) -> np.ndarray:
    """(users, tracks) float64: scaled SVD; -inf for tracks that say nothing or speak against.

    Popularity comes back with a power, since the scaling took more of it away than ranking likes.
    """
    factors = evidence.embeddings
    raw = factors.user_factors[users] @ factors.collaborative.T
    raw *= np.maximum(factors.listeners, 1) ** POPULARITY_POWER
    raw[raw <= ROUNDING * raw.max(axis=1, keepdims=True, initial=0.0)] = -np.inf  # rounding says nothing either
    return raw


def content_scores(evidence: Evidence, users: np.ndarray) -> np.ndarray:
    """(users, tracks) float64: cosine of the track's content and the weighted mean of the user's; -inf below 0."""
    content = evidence.embeddings.content
    taste = unit_rows(evidence.interactions.weights[users] @ content.astype(np.float64))
    raw = taste @ content.T
    raw[raw <= 0.0] = -np.inf
    return raw


def popularity_scores(evidence: Evidence, users: np.ndarray) -> np.ndarray:
    """(users, tracks) float64: the logarithm of the number of listeners; -inf for tracks without any."""
    with np.errstate(divide="ignore"):
        scores = np.where(evidence.listeners > 0, np.log1p(evidence.listeners), -np.inf)
    return np.tile(scores, (len(users), 1))


def hybrid_scores(evidence: Evidence, users: np.ndarray, collaborative: np.ndarray, content: np.ndarray) -> np.ndarray:
    """(users, tracks) float64: a blend of both standard scores by how much is known of the user.

    With n tracks of history the collaborative share is n / (n + 10) of 0.7; content has the rest. A track that
    one of the two says nothing of counts as average there, so tracks nobody played can enter.
    """
    known = np.diff(evidence.interactions.weights.indptr)[users]
    share = 0.7 * known / (known + EVIDENCE_TRACKS)
    blend = share[:, None] * _or_average(standardized(collaborative)) + (1.0 - share[:, None]) * _or_average(
        standardized(content)
    )
    return np.where(np.isneginf(collaborative) & np.isneginf(content), -np.inf, blend)


def standardized(scores: np.ndarray) -> np.ndarray:
    """Standard scores by row: mean 0 and spread 1 over the finite entries; -inf stays. Equal entries are all 0."""
    finite = np.isfinite(scores)
    count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    filled = np.where(finite, scores, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(finite, scores - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    varies = spread > ROUNDING * np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):
        return np.where(finite, np.where(varies, (scores - mean) / np.where(varies, spread, 1.0), 0.0), -np.inf)


def _or_average(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(scores), 0.0, scores)


def forbidden(evidence: Evidence, users: np.ndarray, *, include_heard: bool) -> np.ndarray:
    """(users, tracks) bool: disliked, disallowed explicit, not in the user's market, and the already known.

    Explicit tracks are left out for users who switched them off; the market counts where both are known.
    """
    actions, catalog = evidence.interactions, evidence.dataset.catalog
    mask = actions.disliked[users].toarray()
    if not include_heard:
        mask |= actions.known[users].toarray()
    mask |= ~evidence.dataset.explicit_allowed[users, None] & catalog.explicit[None, :]
    for row, user in enumerate(users):
        country = evidence.dataset.country[user]
        if country is not None:
            mask[row] |= evidence.market_blocked[country]
    return mask
