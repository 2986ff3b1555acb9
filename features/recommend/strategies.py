"""Which models a strategy blends, and how much of each: chosen on what each user did last."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.compute.dataset import Dataset
from features.compute.rows import sparse_row
from features.compute.topk import top_k
from features.evaluate.splits import Split, hold_out_last
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe, mixed, standard_scores
from features.recommend.filters import Filters
from features.recommend.history import History, build_history
from features.recommend.models import CONTENT_MODELS, MODELS
from features.recommend.models.contract import Model

SAFE = ("ease", "ials", "item_knn")
"""Where data is too thin to choose: three models that err differently, alike."""
SAFE_EVIDENCE_TRACKS = 5.0
EVIDENCE_TRACKS = (0.0, 1.0, 2.0, 5.0, 10.0)
CANDIDATES = 300
"""Tracks that each model puts forward for each user while blends are compared."""
RANKED = 100
ROUNDS = 16
"""Steps of the greedy selection: shares are multiples of about a sixteenth."""
BLOCK_CELLS = 4_000_000


def eligible(history: History, parameters: NightlyParameters) -> list[str]:
    """Models that the size of the data allows, in the order of `MODELS`.

    Closed forms invert the smaller of users and tracks, and are left out where that is beyond
    `ranking.closed_form_limit`. A sequence needs time, content a catalogue.
    """
    users, tracks = (int((count > 0).sum()) for count in (history.degree, history.listeners))
    limit = parameters.ranking.closed_form_limit
    content = _has_content(history)
    fits = {
        "popular": True,
        "item_knn": True,
        "user_knn": users <= 4 * limit,
        "svd": True,
        "ials": True,
        "ease": min(users, tracks) <= limit,
        "local_ease": tracks <= limit,
        "user_ease": users <= limit,
        "sequence": bool(np.any(history.first_at[1:] != history.first_at[:-1])),
        "cease": content and min(users, tracks) <= limit,
        "content": content,
        "personal": parameters.recommendations.include_heard and len(history.plays) > 0,
    }
    return [name for name in MODELS if fits[name]]


def fit_models(history: History, names: Iterable[str], parameters: NightlyParameters) -> dict[str, Model]:
    """The models of these names, fitted with the parameters' settings."""
    return {name: MODELS[name](**parameters.models.get(name, {})).fit(history) for name in names}


def choose(dataset: Dataset, parameters: NightlyParameters, *, as_of_ms: int) -> dict[str, Recipe]:
    """The recipe of each strategy, by nDCG@100 on what each user took to last.

    The eligible models are fitted on what came before, and shares grow by greedy selection with replacement. Hybrid
    also chooses from how much history on content steps back. With too few users to ask, the fixed blend is taken.

    Args:
        dataset: what may be looked at; what a ranking is measured on must not be in it.
        parameters: of the release.
        as_of_ms: moment that weights are decayed to.

    Source:
        Caruana et al. (2004), "Ensemble selection from libraries of models".
    """
    how = parameters.ranking
    split = hold_out_last(
        dataset,
        as_of_ms=as_of_ms,
        half_life_days=parameters.interactions.half_life_days,
        share=how.validation_share,
        seed=how.seed,
        repeats=parameters.recommendations.include_heard,
    )
    history = build_history(split.dataset, split.interactions)
    names = eligible(history, parameters)
    users = drawn(split.users, how.validation_users, how.seed)
    if len(users) < how.min_validation_users:
        return fixed(names)
    field = _field(split, history, fit_models(history, names, parameters), users, parameters)
    collaborative = _selected(field, [name for name in names if name not in CONTENT_MODELS])
    hybrid = _selected(field, names)
    if "content" in names:
        hybrid = max(
            (
                replace(hybrid, evidence_tracks=e, ndcg=_ndcg(field, replace(hybrid, evidence_tracks=e)))
                for e in EVIDENCE_TRACKS
            ),
            key=lambda recipe: recipe.ndcg,
        )
    return {"collaborative": collaborative, "content-based": Recipe({"content": 1.0}), "hybrid": hybrid}


def fixed(names: Sequence[str]) -> dict[str, Recipe]:
    """Recipes where there is nothing to choose by: equal shares of the safe models that are eligible."""
    safe = [name for name in SAFE if name in names]
    equal = dict.fromkeys(safe, 1.0 / len(safe))
    return {
        "collaborative": Recipe(equal),
        "content-based": Recipe({"content": 1.0}),
        "hybrid": Recipe(equal, SAFE_EVIDENCE_TRACKS if "content" in names else 0.0),
    }


def drawn(users: np.ndarray, most: int, seed: int) -> np.ndarray:
    """(n,) at most so many of them, by chance, ascending."""
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, most, replace=False))


@dataclass(frozen=True, eq=False)
class _Field:
    """What blends are compared on: for each user asked, the tracks any model puts forward.

    Attributes:
        standard: by model, (n, c) float32 standard scores; -inf for what it does not know and for empty places.
        relevant: (n, c) bool.
        best: (n,) float64, the most that the discounted gain could be.
        degree: (n,) int.
    """

    standard: Mapping[str, np.ndarray]
    relevant: np.ndarray
    best: np.ndarray
    degree: np.ndarray


def _field(
    split: Split, history: History, models: Mapping[str, Model], users: np.ndarray, parameters: NightlyParameters
) -> _Field:
    filters = Filters(split.dataset, split.interactions)
    tracks = len(split.dataset.tracks)
    rows: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    step = max(1, BLOCK_CELLS // max(tracks, 1))
    for start in range(0, len(users), step):
        block = users[start : start + step]
        usable = ~filters.forbidden(block, include_heard=parameters.recommendations.include_heard)
        scores = {
            name: standard_scores(name, model, block, usable, history.listeners) for name, model in models.items()
        }
        forward = {name: top_k(values, CANDIDATES) for name, values in scores.items()}
        for row in range(len(block)):
            chosen = np.unique(np.concatenate([best[row] for best in forward.values()]))
            chosen = chosen[chosen >= 0]
            rows.append((chosen, {name: values[row, chosen].astype(np.float32) for name, values in scores.items()}))
    width = max((len(chosen) for chosen, _ in rows), default=0)
    standard = {name: np.full((len(rows), width), -np.inf, np.float32) for name in models}
    relevant = np.zeros((len(rows), width), bool)
    for row, (chosen, values) in enumerate(rows):
        relevant[row, : len(chosen)] = np.isin(chosen, sparse_row(split.relevant, int(users[row]))[0])
        for name, own in values.items():
            standard[name][row, : len(chosen)] = own
    possible = np.minimum(np.diff(split.relevant.indptr)[users], RANKED)
    return _Field(standard, relevant, np.cumsum(_discount())[possible - 1], history.degree[users])


def _selected(field: _Field, names: Sequence[str]) -> Recipe:
    """Shares by greedy selection: each step adds the model that helps most, the best step is kept."""
    picked: list[str] = []
    best = Recipe({names[0]: 1.0})
    best = replace(best, ndcg=_ndcg(field, best), users=len(field.relevant))
    for _ in range(ROUNDS):
        tried = [_recipe([*picked, name]) for name in names]
        figures = [_ndcg(field, recipe) for recipe in tried]
        at = int(np.argmax(figures))  # of equal ones the first in order
        picked.append(names[at])
        if figures[at] > best.ndcg:
            best = replace(tried[at], ndcg=figures[at], users=len(field.relevant))
    return best


def _recipe(picked: Sequence[str]) -> Recipe:
    return Recipe({name: picked.count(name) / len(picked) for name in dict.fromkeys(picked)})


def _ndcg(field: _Field, recipe: Recipe) -> float:
    """Mean nDCG@100 of a blend over the users asked."""
    total = mixed(field.standard, recipe, field.degree)
    ranked = top_k(total, RANKED)
    gained = np.take_along_axis(field.relevant, np.maximum(ranked, 0), axis=1) & (ranked >= 0)
    gain = (gained * _discount()[: ranked.shape[1]]).sum(axis=1)
    return float((gain / field.best).mean())


def _discount() -> np.ndarray:
    return 1.0 / np.log2(np.arange(2, RANKED + 2))


def _has_content(history: History) -> bool:
    catalog = history.catalog
    return catalog is not None and bool(
        (catalog.artist >= 0).any() or catalog.genres.nnz or not np.isnan(catalog.audio).all()
    )
