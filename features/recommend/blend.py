"""What a strategy's scores are made of: shares of models, on one scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.compute.embeddings import ROUNDING
from features.recommend.models import CONTENT_MODELS
from features.recommend.models.contract import Model


@dataclass(frozen=True)
class Recipe:
    """Shares of models.

    Attributes:
        shares: by name of the model, positive, summing to 1.
        evidence_tracks: of e, a user with n tracks of history has e / (e + n) of the score from content, and the rest
            by the shares. 0 for none.
        ndcg: of the blend on the validation split, NaN where it was not chosen but the fixed one taken.
        users: who were asked on the validation split.
    """

    shares: Mapping[str, float]
    evidence_tracks: float = 0.0
    ndcg: float = np.nan
    users: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For a release's books; figures that are not defined are left out."""
        shares = {name: round(share, 4) for name, share in self.shares.items()}
        chosen = {} if np.isnan(self.ndcg) else {"ndcg": round(self.ndcg, 6), "users": self.users}
        return {"shares": shares, "evidence": self.evidence_tracks, **chosen}


def standard_scores(
    name: str, model: Model, users: np.ndarray, usable: np.ndarray, listeners: np.ndarray
) -> np.ndarray:
    """(n, tracks) float64: a model's standard scores over what may be listed and it knows; -inf elsewhere.

    Tracks nobody has heard are known to models of content alone, and what has no likeness to a history is unknown to
    those.

    Args:
        name: of the model.
        model: fitted.
        users: (n,) whose scores.
        usable: (n, tracks) bool: what may be listed.
        listeners: (tracks,) int, of the history it was fitted on.
    """
    raw = model.scores(users)
    known = usable & (raw > 0.0) if name == "content" else usable
    if name not in CONTENT_MODELS:
        known = known & (listeners > 0)[None, :]
    return standardized(np.where(known, raw, -np.inf))


def names_of(recipe: Recipe) -> tuple[str, ...]:
    """The models a recipe asks."""
    extra = ("content",) if recipe.evidence_tracks > 0 and "content" not in recipe.shares else ()
    return (*recipe.shares, *extra)


def mixed(standard: Mapping[str, np.ndarray], recipe: Recipe, degree: np.ndarray) -> np.ndarray:
    """(n, tracks) float64: standard scores by the recipe; -inf for what none of its models knows.

    A track that some of them do not know counts as average there.

    Args:
        standard: (n, tracks) standard scores by model, those of the recipe at least.
        recipe: how much of each.
        degree: (n,) int, tracks in the history of each user.
    """
    thin = (
        recipe.evidence_tracks / (recipe.evidence_tracks + degree)
        if recipe.evidence_tracks > 0
        else np.zeros(len(degree))
    )
    total = np.zeros(next(iter(standard.values())).shape)
    silent = np.ones(total.shape, bool)
    for name in names_of(recipe):
        share = recipe.shares.get(name, 0.0) * (1.0 - thin) + (thin if name == "content" else 0.0)
        known = np.isfinite(standard[name])
        silent &= ~known
        total += share[:, None] * np.where(known, standard[name], 0.0)
    total[silent] = -np.inf
    return total


def standardized(scores: np.ndarray) -> np.ndarray:
    """Standard scores by row: mean 0 and spread 1 over the finite entries; -inf stays. Equal entries are all 0."""
    finite = np.isfinite(scores)
    count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    filled = np.where(finite, scores, 0.0).astype(np.float64)
    mean = filled.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(finite, filled - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    varies = spread > ROUNDING * np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):
        return np.where(finite, np.where(varies, (filled - mean) / np.where(varies, spread, 1.0), 0.0), -np.inf)
