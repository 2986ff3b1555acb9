"""All that lists and their reasons are made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Self

import numpy as np

from features.compute.dataset import Dataset
from features.compute.embeddings import Embeddings
from features.compute.interactions import Interactions
from features.compute.shards import Range
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe, Standard, mixed, names_of, standard
from features.recommend.columns import users_a_block
from features.recommend.eligibility import fit_models, is_large, shortlists_of, with_proposers
from features.recommend.filters import Filters
from features.recommend.history import History, build_history
from features.recommend.models.contract import Model
from features.recommend.pairs import usable
from features.recommend.shortlists import Shortlists


@dataclass(frozen=True, eq=False)
class Ranker:
    """What ranks: models that learned from a history, and how strategies blend them.

    Attributes:
        dataset: plays, feedback, catalogue, accounts, stated tastes.
        interactions: weights, plays, what is known and disliked.
        history: of those, what the models were fitted on.
        models: fitted, by name; all that the recipes ask.
        recipes: by strategy: collaborative, content-based, hybrid.
        shortlists: what proposes each user's candidates; None where all tracks are scored for everyone.
        same_song: whether releases of one song are told together.
    """

    dataset: Dataset
    interactions: Interactions
    history: History
    models: Mapping[str, Model]
    recipes: Mapping[str, Recipe]
    shortlists: Shortlists | None = field(default=None, kw_only=True)
    same_song: bool = field(default=True, kw_only=True)

    @cached_property
    def listeners(self) -> np.ndarray:
        """(tracks,) int64: users who played it."""
        return np.bincount(self.interactions.plays.indices, minlength=len(self.dataset.tracks))

    @cached_property
    def filters(self) -> Filters:
        """What must not be listed."""
        return Filters(self.dataset, self.interactions, self.same_song)

    def pattern(self) -> Self:
        """The same, once its models are fitted, with of weights no more than which there are (`History.pattern`).

        Of fifty million pairs that is a gigabyte less.
        """
        history = self.history.pattern()
        return replace(self, history=history, interactions=replace(self.interactions, weights=history.weights))

    def usable(self, users: np.ndarray, *, include_heard: bool, tracks: np.ndarray | None = None) -> np.ndarray:
        """(n, tracks) bool: what may be listed; arguments as of `pairs.usable`."""
        return usable(self.filters, users, tracks, include_heard=include_heard)

    @property
    def width(self) -> int:
        """Columns of a block of users: all tracks, or the most candidates there can be."""
        return len(self.dataset.tracks) if self.shortlists is None else self.shortlists.width

    def blocks(self, users: int, cells: int) -> list[Range]:
        """Ranges over so many users whose blocks have `cells` at most; as of `users_a_block`."""
        step = users_a_block(self.width, None if self.shortlists is None else cells)
        return [(start, min(users, start + step)) for start in range(0, users, step)]

    def choice(self, users: np.ndarray) -> np.ndarray | None:
        """What the columns of these users stand for (`columns`): all tracks, or each one's candidates."""
        return None if self.shortlists is None else self.shortlists.tracks_of(users)

    def scores(
        self, strategies: Iterable[str], users: np.ndarray, usable: np.ndarray, tracks: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """(n, tracks) float64 of each strategy: blended standard scores; -inf for what it knows nothing of.

        Args:
            strategies: names.
            users: (n,) whose scores.
            usable: (n, tracks) bool: what may be listed.
            tracks: what the columns stand for (`columns`).
        """
        strategies = list(strategies)
        return self.blended(strategies, users, self.standard(strategies, users, usable, tracks))

    def standard(
        self, strategies: Iterable[str], users: np.ndarray, usable: np.ndarray, tracks: np.ndarray | None = None
    ) -> dict[str, Standard]:
        """By model, standard scores of all that the strategies' recipes ask; arguments as of `scores`."""
        needed = dict.fromkeys(name for strategy in strategies for name in names_of(self.recipes[strategy]))
        listeners = self.history.listeners
        return {name: standard(name, self.models[name], users, usable, listeners, tracks) for name in needed}

    def blended(
        self, strategies: Iterable[str], users: np.ndarray, standard: Mapping[str, Standard]
    ) -> dict[str, np.ndarray]:
        """The scores of each strategy, made of what `standard` found."""
        scores = {name: of_model.scores for name, of_model in standard.items()}
        degree = self.history.degree[users]
        return {strategy: mixed(scores, self.recipes[strategy], degree) for strategy in strategies}


@dataclass(frozen=True, eq=False)
class Evidence(Ranker):
    """What ranks, and what reasons are given from besides.

    Attributes:
        embeddings: of tracks.
        neighbors: (users, k) int32, similar users, -1 for none.
        common: (users, k) int32, tracks in common with each.
    """

    embeddings: Embeddings
    neighbors: np.ndarray
    common: np.ndarray

    @classmethod
    def of(cls, ranker: Ranker, embeddings: Embeddings, neighbors: np.ndarray, common: np.ndarray) -> Self:
        """A ranker with what explains its lists."""
        parts = {part.name: getattr(ranker, part.name) for part in fields(ranker)}
        return cls(**parts, embeddings=embeddings, neighbors=neighbors, common=common)


def fit_ranker(
    dataset: Dataset,
    interactions: Interactions,
    recipes: Mapping[str, Recipe],
    parameters: NightlyParameters,
    history: History | None = None,
) -> Ranker:
    """Fits the models that the recipes ask, those that the dataset has anything for.

    Args:
        dataset: what is ranked for whom.
        interactions: of its plays and feedback.
        recipes: by strategy.
        parameters: of the release.
        history: of the dataset, for who has it already; the dataset's plays are not asked then.
    """
    history = history or build_history(dataset, interactions)
    names = dict.fromkeys(name for recipe in recipes.values() for name in names_of(recipe))
    large = is_large(dataset, parameters)
    asked = with_proposers(names, history, parameters) if large else names
    models = fit_models(history, asked, parameters, large=large)
    shortlists = shortlists_of(history, models, interactions, parameters) if large else None
    together = parameters.recommendations.same_song
    return Ranker(dataset, interactions, history, models, recipes, shortlists=shortlists, same_song=together)
