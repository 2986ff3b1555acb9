"""A search for the parameters of each model, on what users did last before the days that rankings are measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.compute.dataset import Dataset
from features.compute.topk import top_k
from features.evaluate.metrics import ndcg_at_k
from features.evaluate.splits import Split
from features.parameters import NightlyParameters
from features.recommend.blend import standard_scores
from features.recommend.eligibility import eligible
from features.recommend.filters import Filters
from features.recommend.history import History
from features.recommend.learning import BLOCK_CELLS, RANKED
from features.recommend.models import MODELS
from features.recommend.models.contract import Range, draw, near
from features.recommend.strategies import validation

BY_CHANCE = 2 / 3
"""Share of the budget that is drawn anywhere; the rest looks around the best so far."""

Tell = Callable[[str, int, int | None], None]
Models = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Tuned:
    """What the search found for one model.

    Attributes:
        model: its name.
        before: nDCG@100 on validation of what the search began with.
        after: of the best setting.
        setting: the best setting, all of the model's search space; None where nothing beat what it began with.
        trials: settings tried, the first of which is what it began with.
        failed: of those, how many could not be fitted.
    """

    model: str
    before: float
    after: float
    setting: Mapping[str, float] | None
    trials: int
    failed: int


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        users: who were asked on the validation split.
        models: of those that were tried at all, in the order of `MODELS`.
    """

    users: int
    models: Sequence[Tuned]

    @property
    def winners(self) -> dict[str, dict[str, float]]:
        """Settings that beat what the search began with."""
        return {tuned.model: dict(tuned.setting) for tuned in self.models if tuned.setting is not None}

    def to_dict(self) -> dict[str, Any]:
        """Figures for a parameter file."""
        return {
            "metric": f"ndcg@{RANKED}",
            "users": self.users,
            "models": {
                tuned.model: {
                    "before": round(tuned.before, 6),
                    "after": round(tuned.after, 6),
                    "trials": tuned.trials,
                    "failed": tuned.failed,
                }
                for tuned in self.models
            },
        }


def tune(
    dataset: Dataset,
    parameters: NightlyParameters,
    *,
    as_of_ms: int,
    seed: int,
    spent: Callable[[int], float],
    start: Models,
    tell: Tell,
) -> Tuning:
    """Searches each eligible model's `space` by chance, then around its best; one trial a model in turn.

    Every model thus had as many trials as any other, or one fewer, when the budget is spent. The validation split is
    that of the strategies' choice: the last of each user's tracks, the same users.

    Args:
        dataset: what may be looked at; what a ranking is measured on must not be in it.
        parameters: of a release; the search begins with its `models`.
        as_of_ms: moment that weights are decayed to.
        seed: of the draws; each model has its own.
        spent: share of the budget that is spent, given how many rounds are over; asked before each trial, the search
            ends at 1.
        start: settings by model that are tried next, such as those of an earlier search.
        tell: called with what is done, how much of it, and of how much.

    Source:
        Bergstra & Bengio (2012), "Random search for hyper-parameter optimization".
    """
    split, history, users = validation(dataset, parameters, as_of_ms=as_of_ms)
    filters = Filters(split.dataset, split.interactions, parameters.recommendations.same_song)
    field_ = _Field(split, history, filters, users, parameters)
    names = [name for name in eligible(history, parameters) if MODELS[name].space] if len(users) else []
    searches = [_Search(name, parameters.models.get(name, {}), start.get(name, {}), seed) for name in names]
    rounds = 0
    while searches and spent(rounds) < 1.0:
        for number, search in enumerate(searches):
            share = spent(rounds)
            if share >= 1.0:
                break
            tell("tuning", rounds * len(searches) + number, None)
            setting = search.proposed(share)
            search.note(setting, field_.ndcg(search.name, search.whole(setting)))
        rounds += 1
    return Tuning(len(users), [search.result() for search in searches if search.tried])


@dataclass(frozen=True, eq=False)
class _Field:
    """What settings are tried on."""

    split: Split
    history: History
    filters: Filters
    users: np.ndarray
    parameters: NightlyParameters

    def ndcg(self, name: str, setting: Mapping[str, Any]) -> float:
        """Mean nDCG@100 of one model over the users asked; NaN where it can't be fitted so."""
        try:
            with np.errstate(all="ignore"):  # far out settings overflow; they lose, and need no warning
                model = MODELS[name](**setting).fit(self.history)
                step = max(1, BLOCK_CELLS // max(len(self.split.dataset.tracks), 1))
                blocks = [
                    self._block(name, model, self.users[at : at + step]) for at in range(0, len(self.users), step)
                ]
        except np.linalg.LinAlgError:
            return np.nan
        return float(np.concatenate(blocks).mean())

    def _block(self, name: str, model: Any, users: np.ndarray) -> np.ndarray:
        usable = ~self.filters.forbidden(users, include_heard=self.parameters.recommendations.include_heard)
        scores = standard_scores(name, model, users, usable, self.history.listeners)
        return ndcg_at_k(top_k(scores, RANKED), self.split.relevant[users], RANKED)


@dataclass(eq=False)
class _Search:
    """The search of one model."""

    name: str
    given: Mapping[str, float]
    start: Mapping[str, float]
    seed: int
    tried: list[tuple[dict[str, float], float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # by name, so that another model more or less changes nobody's draws
        self.rng = np.random.default_rng([self.seed, *self.name.encode()])

    @property
    def space(self) -> Mapping[str, Range]:
        return MODELS[self.name].space

    @property
    def first(self) -> dict[str, float]:
        """What the search begins with: the settings given, and the defaults."""
        model = MODELS[self.name](**self.given)
        return {parameter: getattr(model, parameter) for parameter in self.space}

    def whole(self, setting: Mapping[str, float]) -> dict[str, float]:
        """With what was given outside of the search space, such as a seed."""
        return {**self.given, **setting}

    def proposed(self, share: float) -> dict[str, float]:
        """The next setting to try."""
        if not self.tried:
            return self.first
        if len(self.tried) == 1 and self.start:
            known = {parameter: value for parameter, value in self.start.items() if parameter in self.space}
            return self.first | known
        if share < BY_CHANCE:
            return draw(self.space, self.rng)
        best = self.best
        return near(self.space, {name: _within(span, best[name]) for name, span in self.space.items()}, self.rng)

    @property
    def best(self) -> dict[str, float]:
        """Of equal ones the first: what the search began with keeps its place unless it is beaten."""
        figures = [-np.inf if np.isnan(figure) else figure for _, figure in self.tried]
        return self.tried[int(np.argmax(figures))][0]

    def note(self, setting: dict[str, float], figure: float) -> None:
        """Keeps what a trial gave."""
        self.tried.append((setting, figure))

    def result(self) -> Tuned:
        figures = np.array([figure for _, figure in self.tried])
        best = self.best
        after = float(np.nanmax(figures)) if not np.isnan(figures).all() else np.nan
        won = best != self.tried[0][0]
        return Tuned(
            self.name,
            float(figures[0]),
            after,
            best if won else None,
            len(figures),
            int(np.isnan(figures).sum()),
        )


def _within(span: Range, value: float) -> float:
    """The value itself, or the end of the range it lies beyond: a search can be told to begin anywhere."""
    if value in span.also or span.low <= value <= span.high:
        return value
    end = span.low if value < span.low else span.high
    return round(end) if span.whole else end
