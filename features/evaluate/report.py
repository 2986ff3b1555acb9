"""What rankings are worth: every strategy's lists beside what was held out, by user, group and metric."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import scipy.sparse as sp

from features.compute.embeddings import content_vectors
from features.compute.topk import top_k
from features.evaluate.bootstrap import Means, bootstrap
from features.evaluate.metrics import (
    average_precision_at_k,
    coverage_at_k,
    intra_list_diversity_at_k,
    ndcg_at_k,
    novelty_at_k,
    recall_at_k,
)
from features.evaluate.ranking import rank
from features.evaluate.splits import Split
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe
from features.recommend.cold import Markets
from features.recommend.eligibility import eligible
from features.recommend.evidence import Evidence, Ranker, fit_ranker
from features.recommend.history import build_history
from features.recommend.lists import BLOCK_CELLS
from features.recommend.stated import has_stated, stated_scores
from features.recommend.strategies import drawn

STRATEGIES = ("hybrid", "collaborative", "content-based", "popular")
POPULAR = "popular"
SERVED = "served"
"""What newcomers would get: a list of what they stated where that gives one, else what is popular in their country."""
EVERYBODY, NEWCOMERS, STATED = "all", "newcomers", "newcomers who stated a taste"
BUCKETS = ((1, 4), (5, 19), (20, 99), (100, None))
"""Tracks in the history, both ends included."""
RANKED_METRICS = ("recall", "ndcg", "map")
METRICS = (*RANKED_METRICS, "coverage", "novelty", "diversity")

Tell = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Row:
    """One figure: a mean over users with its 95 % interval, and how far it is from another strategy's.

    Undefined is NaN. Coverage is of all the lists together: it has no interval and no difference.

    Attributes:
        group: "all", "5–19 tracks", "newcomers" …
        strategy: or name of a model.
        k: places that count.
        metric: one of `METRICS`; "map" is mean average precision.
        mean: over the users for whom it is defined.
        low: end of the interval.
        high: likewise.
        users: for how many it is defined.
        undefined: for how many of the group it is not: a list that is empty has no novelty.
        difference: mean over users of this less the other, where both are defined.
        difference_low: end of its interval; both strategies see the same draws of users.
        difference_high: likewise.
    """

    group: str
    strategy: str
    k: int
    metric: str
    mean: float
    low: float
    high: float
    users: int
    undefined: int
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found.

    Attributes:
        counts: of users; `users` = `with_history` + `newcomers` + `silent` (who have no history and took to nothing),
            `with_history` = `measured` + `not_drawn` + `undefined` (who took to nothing new), and `newcomers` =
            `newcomers_measured` + `newcomers_not_drawn`.
        recipes: of all that was ranked.
        rows: every figure.
        against: what differences are to.
    """

    counts: Mapping[str, int]
    recipes: Mapping[str, Recipe]
    rows: Sequence[Row]
    against: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "users": dict(self.counts),
            "recipes": {name: recipe.to_dict() for name, recipe in self.recipes.items()},
            "against": self.against,
            "figures": [asdict(row) for row in self.rows],
        }


def evaluate(
    split: Split,
    recipes: Mapping[str, Recipe],
    parameters: NightlyParameters,
    *,
    ks: Sequence[int],
    strategies: Sequence[str],
    against: str,
    tell: Tell,
) -> Report:
    """Fits on what is learned from, ranks as lists are ranked, and measures.

    Measured are `evaluation.users` at most of those with a history who took to something held out, and likewise of
    the newcomers, who have none; drawn by `evaluation.seed`, as are the bootstrap's resamples.

    Args:
        split: of the dataset.
        recipes: by strategy, chosen without what was held out.
        parameters: of a release.
        ks: places that count.
        strategies: to be measured: those of the recipes, "popular", and names of models that are eligible.
        against: one of them; what differences are to.
        tell: called with what is done, how much of it, and of how much.
    """
    how = parameters.evaluation
    asked = {name: recipes.get(name, Recipe({name: 1.0})) for name in dict.fromkeys([*strategies, against, POPULAR])}
    tell("fitting models", 0, None)
    ranker = fit_ranker(split.dataset, split.interactions, asked, parameters)
    tell("fitting models", 1, 1)
    users = drawn(split.users, how.users, how.seed)
    began = np.diff(split.relevant.indptr) > 0
    new = np.flatnonzero(began & (ranker.history.degree == 0))
    newcomers = drawn(new, how.users, how.seed)
    lists = {}
    shown = list(dict.fromkeys([*strategies, against]))
    for number, name in enumerate(shown):
        tell("ranking", number, len(shown))
        lists[name] = rank(ranker, name, users, parameters, k=max(ks))
    served, popular, stated = _newcomer_lists(ranker, newcomers, max(ks))
    tell("ranking", len(shown), len(shown))
    without = frozenset(name for name, ranked in lists.items() if not (ranked >= 0).any())
    measure = _Measure(ranker, split.relevant, ks, how.seed, _vectors(ranker, parameters), without)
    rows: list[Row] = []
    for number, (group, chosen) in enumerate(groups(ranker.history.degree[users])):
        tell("measuring", number, len(BUCKETS) + 1)
        rows += measure.rows(group, users[chosen], {n: ranked[chosen] for n, ranked in lists.items()}, against)
    for group, chosen in ((NEWCOMERS, np.ones(len(newcomers), bool)), (STATED, stated)):
        both = {SERVED: served[chosen], POPULAR: popular[chosen]}
        rows += replace(measure, without=frozenset()).rows(group, newcomers[chosen], both, POPULAR)
    tell("measuring", len(BUCKETS) + 1, len(BUCKETS) + 1)
    history = int((ranker.history.degree > 0).sum())
    counts = {
        "users": len(began),
        "with_history": history,
        "measured": len(users),
        "not_drawn": len(split.users) - len(users),
        "undefined": history - len(split.users),
        "newcomers": len(new),
        "newcomers_measured": len(newcomers),
        "newcomers_not_drawn": len(new) - len(newcomers),
        "newcomers_stated": int(stated.sum()),
        "silent": len(began) - history - len(new),
    }
    return Report(counts, {name: asked[name] for name in shown}, rows, against)


def measurable(split: Split, parameters: NightlyParameters) -> list[str]:
    """Strategies and models that `evaluate` can be asked for."""
    return list(dict.fromkeys([*STRATEGIES, *eligible(build_history(split.dataset, split.interactions), parameters)]))


def groups(degree: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Everybody, then by tracks in the history: name and (n,) bool.

    Args:
        degree: (n,) int, positive: tracks in the history of each user.
    """
    yield EVERYBODY, np.ones(len(degree), bool)
    for low, high in BUCKETS:
        name = f"{low}+ tracks" if high is None else f"{low}–{high} tracks"
        yield name, (degree >= low) & (degree <= (np.inf if high is None else high))


@dataclass(frozen=True, eq=False)
class _Measure:
    """Measures lists.

    Attributes:
        ranker: whose history says who listens to what.
        relevant: (users, tracks) bool CSR.
        ks: places that count.
        seed: of the resamples.
        vectors: (tracks, d) what tracks are; None where nothing is known of any.
        without: strategies that made no list for anybody, such as one by content where nothing is known of tracks: all
            of theirs is undefined. One empty list among others is no hit.
    """

    ranker: Ranker
    relevant: sp.csr_matrix
    ks: Sequence[int]
    seed: int
    vectors: np.ndarray | None
    without: frozenset[str]

    def rows(self, group: str, users: np.ndarray, lists: Mapping[str, np.ndarray], against: str) -> list[Row]:
        """Every figure of a group.

        Args:
            group: its name.
            users: (n,) who they are.
            lists: by strategy, (n, m) tracks.
            against: the strategy that differences are to.
        """
        relevant = self.relevant[users]
        cells = {
            (name, k, metric): values
            for name, ranked in lists.items()
            for k in self.ks
            for metric, values in self._by_user(name, ranked, relevant, k).items()
        }
        columns = list(cells.values()) + [
            values - cells[against, k, metric] for (name, k, metric), values in cells.items()
        ]
        means = bootstrap(np.stack(columns, axis=1), seed=self.seed)
        rows = []
        for number, (name, k, metric) in enumerate(cells):
            row = _row(group, name, k, metric, len(users), means, number)
            rows.append(row if name == against else _compared(row, means, len(cells) + number))
        for name, ranked in lists.items():
            for k in self.ks:
                made = 0 if name in self.without else len(users)
                share = coverage_at_k(ranked, k, self.relevant.shape[1]) if made else np.nan
                rows.append(Row(group, name, k, "coverage", share, np.nan, np.nan, made, len(users) - made))
        return rows

    def _by_user(self, name: str, ranked: np.ndarray, relevant: sp.csr_matrix, k: int) -> dict[str, np.ndarray]:
        """(n,) each; NaN where undefined."""
        nothing = np.full(len(ranked), np.nan)
        if name in self.without:
            return dict.fromkeys((*RANKED_METRICS, "novelty", "diversity"), nothing)
        history, vectors = self.ranker.history, self.vectors
        return {
            "recall": recall_at_k(ranked, relevant, k),
            "ndcg": ndcg_at_k(ranked, relevant, k),
            "map": average_precision_at_k(ranked, relevant, k),
            "novelty": novelty_at_k(ranked, history.listeners, int((history.degree > 0).sum()), k),
            "diversity": nothing if vectors is None else intra_list_diversity_at_k(ranked, vectors, k),
        }


def _row(group: str, name: str, k: int, metric: str, size: int, means: Means, column: int) -> Row:
    users = int(means.users[column])
    mean, low, high = (float(end[column]) for end in (means.mean, means.low, means.high))
    return Row(group, name, k, metric, mean, low, high, users, size - users)


def _compared(row: Row, means: Means, column: int) -> Row:
    mean, low, high = (float(end[column]) for end in (means.mean, means.low, means.high))
    return replace(row, difference=mean, difference_low=low, difference_high=high)


def _vectors(ranker: Ranker, parameters: NightlyParameters) -> np.ndarray | None:
    """(tracks, d): what tracks are by themselves, which no model that is measured has made."""
    how = parameters.embeddings
    vectors, _ = content_vectors(ranker.dataset.catalog, dimensions=how.content_dimensions, seed=how.seed)
    return vectors if vectors.any() else None


def _newcomer_lists(ranker: Ranker, users: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What those without a history get.

    Returns:
        (n, k) int32 lists as served; (n, k) int32 popular lists; (n,) bool, whose are made of what they stated.
    """
    width, markets = min(k, len(ranker.dataset.tracks)), Markets.of(ranker.dataset, ranker.interactions)
    step = max(1, BLOCK_CELLS // max(len(ranker.dataset.tracks), 1))
    parts = [
        (np.zeros((0, width), np.int32), np.zeros((0, width), np.int32), np.zeros(0, bool)),
        *(_newcomers_block(ranker, markets, users[at : at + step], k) for at in range(0, len(users), step)),
    ]
    served, popular, stated = zip(*parts, strict=True)
    return np.concatenate(served), np.concatenate(popular), np.concatenate(stated)


def _newcomers_block(
    ranker: Ranker, markets: Markets, users: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    usable = ~ranker.filters.forbidden(users, include_heard=False)  # to them nothing is known
    played = usable & (ranker.listeners > 0)[None, :]
    popular = top_k(np.where(played, np.log1p(ranker.listeners)[None, :], -np.inf), k)
    at_home = top_k(np.where(usable, markets.scores_of(ranker.dataset.country[users]), -np.inf), k)
    evidence = cast("Evidence", ranker)  # of which only what a ranker has is asked
    says = usable & has_stated(evidence, users)[:, None]
    own = top_k(np.where(says, stated_scores(evidence, users), -np.inf), k)
    stated = np.asarray((own >= 0).any(axis=1))
    return np.where(stated[:, None], own, at_home), popular, stated
