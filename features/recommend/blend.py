"""What a strategy's scores are made of: shares of models, on one scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from features.recommend.columns import each
from features.recommend.models import CONTENT_MODELS, EVERYONE
from features.recommend.models.contract import Model, scores_of

LOWEST = -5.0
"""Standard scores below this say no more than this."""
CANDIDATES = 200
"""Tracks of each user that a learned blend orders; it was learned on so many."""
LEVEL = 1e-6
"""Scores that spread by less than this of the largest are equal: single precision tells no more of a sum."""
OUTSTANDING = 4.0
"""The standard score of a track that stands out."""


@dataclass(frozen=True)
class Recipe:
    """How much of each model.

    A track's score is the sum of share · z + root · sign(z) · sqrt(|z|) over models, z the standard score. A learned
    blend is scaled so that what its models say at z = 4, either way, sums to 4.

    Attributes:
        shares: by name of the model.
        roots: likewise; empty where the blend was not learned. A learned one orders the candidates that the plain mean
            of its models puts forward.
        evidence_tracks: of e, a user with n tracks of history has e / (e + n) of the score from the blend for those of
            whom little is known, and the rest by the shares. 0 for none.
        little_shares: that blend's shares, learned on histories cut short; content alone where there are none.
        little_roots: likewise.
        unheard: tracks that nobody has heard have this share of the score that content gives them.
        ndcg: of the blend on the validation split, NaN where it was not chosen but the fixed one taken.
        users: who were asked on the validation split.
    """

    shares: Mapping[str, float]
    roots: Mapping[str, float] = field(default_factory=dict)
    evidence_tracks: float = 0.0
    little_shares: Mapping[str, float] = field(default_factory=dict)
    little_roots: Mapping[str, float] = field(default_factory=dict)
    unheard: float = 1.0
    ndcg: float = np.nan
    users: int = 0

    @property
    def little(self) -> "Recipe":
        """The blend for those of whom little is known."""
        return Recipe(self.little_shares or {"content": 1.0}, self.little_roots)

    def thin(self, tracks: np.ndarray) -> np.ndarray:
        """(n,) float64 in [0, 1]: how much of the score that blend makes for users with so many tracks of history."""
        if self.evidence_tracks <= 0:
            return np.zeros(np.shape(tracks))
        return np.asarray(self.evidence_tracks / (self.evidence_tracks + tracks), np.float64)

    def at(self, tracks: int) -> "Recipe":
        """The blend as it is for a user with so many tracks of history."""
        little, thin = self.little, float(self.thin(np.array(tracks)))
        names = names_of(self)
        return Recipe(
            {name: (1 - thin) * self.shares.get(name, 0.0) + thin * little.shares.get(name, 0.0) for name in names},
            {name: (1 - thin) * self.roots.get(name, 0.0) + thin * little.roots.get(name, 0.0) for name in names},
        )

    def part(self, name: str, standard: np.ndarray) -> np.ndarray:
        """A model's part in scores, of its standard scores; any shape."""
        return self.shares.get(name, 0.0) * standard + self.roots.get(name, 0.0) * _root(standard)

    def say(self, name: str) -> float:
        """A model's part in the score of a track that stands out, of 1; negative where it speaks against."""
        return float(self.part(name, np.array(OUTSTANDING))) / OUTSTANDING

    def to_dict(self) -> dict[str, Any]:
        """For a release's books; figures that are not defined are left out."""
        shares = {name: round(share, 4) for name, share in self.shares.items()}
        roots = {"roots": {name: round(root, 4) for name, root in self.roots.items()}} if self.roots else {}
        little = {"little": self.little.to_dict()} if self.little_shares else {}
        chosen = {} if np.isnan(self.ndcg) else {"ndcg": round(self.ndcg, 6), "users": self.users}
        unheard = {} if self.unheard == 1.0 else {"unheard": self.unheard}
        return {"shares": shares, **roots, "evidence": self.evidence_tracks, **little, **unheard, **chosen}


class Standard(NamedTuple):
    """A model's (n, tracks) standard scores, and the (n,) spreads of its raw ones, 0 where all are equal; float64."""

    scores: np.ndarray
    spread: np.ndarray


def standard_scores(
    name: str,
    model: Model,
    users: np.ndarray,
    usable: np.ndarray,
    listeners: np.ndarray,
    tracks: np.ndarray | None = None,
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
        tracks: what the columns stand for (`columns`): scores are then standard among each user's choice.
    """
    return standard(name, model, users, usable, listeners, tracks).scores


def standard(
    name: str,
    model: Model,
    users: np.ndarray,
    usable: np.ndarray,
    listeners: np.ndarray,
    tracks: np.ndarray | None = None,
) -> Standard:
    """The same, with the spread of each user's raw scores."""
    raw = scores_of(model, users, tracks)
    known = usable & (raw > 0.0) if name == "content" else usable
    if name not in CONTENT_MODELS:
        known = known & each(listeners > 0, tracks)
    return _standardized(np.where(known, raw, -np.inf))


def names_of(recipe: Recipe) -> tuple[str, ...]:
    """The models a recipe asks."""
    more = recipe.little.shares if recipe.evidence_tracks > 0 else {}
    return tuple(dict.fromkeys([*recipe.shares, *more]))


def mixed(standard: Mapping[str, np.ndarray], recipe: Recipe, degree: np.ndarray) -> np.ndarray:
    """(n, tracks) float64: standard scores by the recipe; -inf for what none of its models knows.

    A track that some of them do not know counts as average there; one that only models of content know stands by
    `content`, with the weight of all of these, times the recipe's `unheard`.

    Args:
        standard: (n, tracks) standard scores by model, those of the recipe at least.
        recipe: how much of each.
        degree: (n,) int, tracks in the history of each user.
    """
    names, little = names_of(recipe), recipe.little
    thin = recipe.thin(degree)[:, None]
    total, base = (np.zeros(standard[names[0]].shape) for _ in range(2))
    silent = np.ones(total.shape, bool)
    voters, seconds = (_personal(list(of)) for of in (names, little.shares))
    for name in names:
        known = np.isfinite(standard[name])
        silent &= ~known
        score = np.maximum(np.where(known, standard[name], 0.0), LOWEST)
        total += (1.0 - thin) * recipe.part(name, score) + thin * little.part(name, score)
        if name in voters:
            base += (1.0 - thin) / len(voters) * score
        if name in seconds:
            base += thin / len(seconds) * score
    fresh, asked = unheard(standard, names), [name for name in names if name in CONTENT_MODELS]
    if fresh is not None:
        score = np.maximum(standard["content"], LOWEST)
        say, little_say = (sum(abs(blend.say(name)) for name in asked) for blend in (recipe, little))
        votes, little_votes = (sum(name in of for name in asked) / len(of) for of in (voters, seconds))
        score *= recipe.unheard
        total = np.where(fresh, ((1.0 - thin) * say + thin * little_say) * score, total)
        base = np.where(fresh, ((1.0 - thin) * votes + thin * little_votes) * score, base)
    total[silent] = base[silent] = -np.inf
    return _candidates_first(total, base) if recipe.roots else total


def unheard(standard: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    """(n, tracks) bool: tracks that models of content alone know of; None where nobody asks content, or nobody else.

    Those stand by content's likeness: it places what nobody has heard better than any blend (docs/cold-start.md).
    """
    others = [name for name in names if name not in CONTENT_MODELS | EVERYONE]
    if "content" not in names or not others:
        return None
    heard = np.any([np.isfinite(standard[name]) for name in others], axis=0)
    fresh: np.ndarray = np.isfinite(standard["content"]) & ~heard
    return fresh


def _personal(names: list[str]) -> list[str]:
    """Those of them that put tracks forward: who says the same to everyone only where there is nobody else."""
    return [name for name in names if name not in EVERYONE] or names


def _candidates_first(total: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Scores of the best by `base` as they are, those of all others below them, in the order of `base`."""
    if total.shape[1] <= CANDIDATES:
        return total
    last = np.partition(base, -CANDIDATES, axis=1)[:, -CANDIDATES, None]
    inside = (base >= last) & np.isfinite(base)
    lowest = np.where(inside, total, np.inf).min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(inside | np.isneginf(base), total, lowest + base - last)


def _root(standard: np.ndarray) -> np.ndarray:
    return np.sign(standard) * np.sqrt(np.abs(standard))


def standardized(scores: np.ndarray) -> np.ndarray:
    """Standard scores by row: mean 0 and spread 1 over the finite entries; -inf stays. Equal entries are all 0."""
    return _standardized(scores).scores


def _standardized(scores: np.ndarray) -> Standard:
    finite = np.isfinite(scores)
    count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    filled = np.where(finite, scores, 0.0).astype(np.float64)
    mean = filled.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(finite, filled - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    varies = spread > LEVEL * np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):
        standing = np.where(finite, np.where(varies, (filled - mean) / np.where(varies, spread, 1.0), 0.0), -np.inf)
    return Standard(standing, np.where(varies, spread, 0.0)[:, 0])
