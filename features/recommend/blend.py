"""What a strategy's scores are made of: shares of models, on one scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from features.recommend.blend_kernels import (
    HEARD,
    KNOWN,
    ROWS,
    add_part,
    order_candidates,
    place_unheard,
    standardize,
)
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
        root = np.sign(standard) * np.sqrt(np.abs(standard))
        return self.shares.get(name, 0.0) * standard + self.roots.get(name, 0.0) * root

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

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`; numbers as they are in the books."""
        little = kept.get("little", {})
        return cls(
            dict(kept["shares"]),
            dict(kept.get("roots", {})),
            float(kept["evidence"]),
            dict(little.get("shares", {})),
            dict(little.get("roots", {})),
            float(kept.get("unheard", 1.0)),
            float(kept.get("ndcg", np.nan)),
            int(kept.get("users", 0)),
        )


class Blend(NamedTuple):
    """How much of a model's standard score, and of its root, is taken for each of some users; (n,) float64 each."""

    share: np.ndarray
    root: np.ndarray

    @property
    def say(self) -> np.ndarray:
        """(n,) as `Recipe.say`."""
        return self.share + self.root / np.sqrt(OUTSTANDING)

    def part(self, standard: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """(m,) its part in blended scores, of (m,) standard scores of (m,) users; 0 for what it does not know."""
        known = np.maximum(np.where(np.isfinite(standard), standard, 0.0), LOWEST)
        part = self.share[owner] * known
        if self.root.any():
            part += self.root[owner] * np.sign(known) * np.sqrt(np.abs(known))
        return part


def blends(recipe: Recipe, degree: np.ndarray) -> dict[str, Blend]:
    """By model, the recipe as it is for users of (n,) tracks of history, as `Recipe.at`."""
    thin, little = recipe.thin(degree), recipe.little
    return {
        name: Blend(
            *(
                (1.0 - thin) * whole.get(name, 0.0) + thin * short.get(name, 0.0)
                for whole, short in ((recipe.shares, little.shares), (recipe.roots, little.roots))
            )
        )
        for name in names_of(recipe)
    }


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
    return _standardized(raw, known)


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
    thin, parts = recipe.thin(degree), blends(recipe, degree)
    voters, seconds = (_personal(list(of)) for of in (names, little.shares))
    vote = {
        name: (1.0 - thin) * (name in voters) / len(voters) + thin * (name in seconds) / len(seconds) for name in names
    }
    content = standard["content"] if _tells_unheard(names) else None
    asked = [name for name in names if name in CONTENT_MODELS]
    say, little_say = (recipe.unheard * sum(abs(blend.say(name)) for name in asked) for blend in (recipe, little))
    fresh_say = (1.0 - thin) * say + thin * little_say
    fresh_vote = recipe.unheard * np.sum([vote[name] for name in asked], axis=0) * np.ones(len(degree))
    scores = np.empty(standard[names[0]].shape)
    for start in range(0, len(scores), ROWS):
        rows = slice(start, start + ROWS)
        total, base = (np.zeros(scores[rows].shape) for _ in range(2))
        told = np.zeros(total.shape, np.uint8)
        for name in names:
            flag = KNOWN if name in CONTENT_MODELS | EVERYONE else KNOWN | HEARD
            of_model = (parts[name].share[rows], parts[name].root[rows], vote[name][rows])
            add_part(standard[name][rows], LOWEST, *of_model, flag, total, base, told)
        if content is not None:
            place_unheard(content[rows], LOWEST, fresh_say[rows], fresh_vote[rows], total, base, told)
        order_candidates(total, base, told, CANDIDATES if recipe.roots else 0, scores[rows])
    return scores


def unheard(standard: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    """(n, tracks) bool: tracks that models of content alone know of; None where nobody asks content, or nobody else.

    Those stand by content's likeness: it places what nobody has heard better than any blend (docs/cold-start.md).
    """
    if not _tells_unheard(names):
        return None
    others = [name for name in names if name not in CONTENT_MODELS | EVERYONE]
    heard = np.any([np.isfinite(standard[name]) for name in others], axis=0)
    fresh: np.ndarray = np.isfinite(standard["content"]) & ~heard
    return fresh


def _personal(names: list[str]) -> list[str]:
    """Those of them that put tracks forward: who says the same to everyone only where there is nobody else."""
    return [name for name in names if name not in EVERYONE] or names


def _tells_unheard(names: Sequence[str]) -> bool:
    """Whether content is asked, and somebody else who knows what has been heard."""
    return "content" in names and any(name not in CONTENT_MODELS | EVERYONE for name in names)


def standardized(scores: np.ndarray) -> np.ndarray:
    """Standard scores by row: mean 0 and spread 1 over the finite entries; -inf stays. Equal entries are all 0."""
    return _standardized(scores, np.isfinite(scores)).scores


def _standardized(scores: np.ndarray, known: np.ndarray) -> Standard:
    made = Standard(np.empty(scores.shape), np.empty(len(scores)))
    standardize(scores, known, LEVEL, *made)
    return made
