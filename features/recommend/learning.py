"""Learning a blend of models: of the tracks they put forward for some users, which those users took to.

A field is laid out once, the models' scores of what their plain mean puts forward; blends are learned and compared on
it without asking a model again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.compute.topk import top_k
from features.evaluate.splits import Split
from features.parameters import NightlyParameters
from features.recommend.blend import CANDIDATES, LOWEST, OUTSTANDING, Recipe, mixed, standard_scores, unheard
from features.recommend.columns import entries
from features.recommend.eligibility import is_large, shortlists_of
from features.recommend.filters import Filters
from features.recommend.history import History
from features.recommend.listwise import fit_listwise
from features.recommend.models import EVERYONE
from features.recommend.models.contract import Model
from features.recommend.pairs import usable

RANKED = 100
"""Places of a list that count."""
RIDGE = 0.03
"""How firmly blends are held to what they are held towards, where there is enough to learn from."""
ENOUGH = 300
"""Relevant tracks to learn from; with fewer, blends are held the more firmly."""
PRIOR_MODELS, PRIOR = 4, 0.5
"""Learned blends are held towards equal shares of the best four models, which sum to this before they are scaled."""
LEAST_SAY, LEAST_SAY_AT_SCALE = 0.02, 0.1
"""What has less of the say is left out: each model costs a fit a night, and of a million listeners that is minutes. So
there a model of single listeners that speaks against what it ranks high, to set another right, is left out too."""
BLOCK_CELLS = 4_000_000
"""Users × tracks that are scored at once."""


@dataclass(frozen=True, eq=False)
class Field:
    """What blends are learned on: for each user asked, the tracks that models put forward.

    Attributes:
        standard: by model, (n, c) float32 standard scores; -inf for what it does not know and for empty places.
        usable: (n, c) bool; False for empty places.
        relevant: (n, c) bool.
        best: (n,) float64, the most that the discounted gain could be.
        degree: (n,) int.
    """

    standard: Mapping[str, np.ndarray]
    usable: np.ndarray
    relevant: np.ndarray
    best: np.ndarray
    degree: np.ndarray


def fields_of(
    split: Split,
    history: History,
    models: Mapping[str, Model],
    users: np.ndarray,
    groups: Mapping[str, Sequence[str]],
    parameters: NightlyParameters,
) -> dict[str, Field]:
    """The field of each group of models: the tracks that the plain mean of these puts forward.

    Args:
        split: what is learned from, and what each user took to afterwards.
        history: of what is learned from, whole or shortened.
        models: by name, fitted on it.
        users: (n,) who are asked.
        groups: by name, names of models.
        parameters: of the release.

    Returns:
        By group.
    """
    filters = Filters(split.dataset, split.interactions, parameters.recommendations.same_song)
    include_heard = parameters.recommendations.include_heard
    large = is_large(split.dataset, parameters)
    shortlists = shortlists_of(history, models, split.interactions, parameters) if large else None
    columns = len(split.dataset.tracks) if shortlists is None else shortlists.width
    shape = len(users), min(CANDIDATES, columns)
    possible = np.minimum(np.diff(split.relevant.indptr)[users], RANKED)
    fields = {
        group: Field(
            {name: np.full(shape, -np.inf, np.float32) for name in names},
            np.zeros(shape, bool),
            np.zeros(shape, bool),
            np.cumsum(_discount())[possible - 1],
            history.degree[users],
        )
        for group, names in groups.items()
    }
    step = max(1, BLOCK_CELLS // max(columns, 1))
    for start in range(0, len(users), step):
        block, rows = users[start : start + step], slice(start, start + step)
        tracks = None if shortlists is None else shortlists.tracks_of(block)
        allowed = usable(filters, block, tracks, include_heard=include_heard)
        scores = {
            name: standard_scores(name, model, block, allowed, history.listeners, tracks)
            for name, model in models.items()
        }
        relevant = entries(split.relevant, block, tracks)
        for group, names in groups.items():
            voters = [name for name in names if name not in EVERYONE] or names
            even = Recipe(dict.fromkeys(voters, 1.0 / len(voters)))
            chosen = top_k(mixed(scores, even, history.degree[block]), shape[1])
            place, filled, field = np.maximum(chosen, 0), chosen >= 0, fields[group]
            field.usable[rows] = filled
            field.relevant[rows] = np.take_along_axis(relevant, place, axis=1) & filled
            for name in names:
                field.standard[name][rows] = np.where(filled, np.take_along_axis(scores[name], place, axis=1), -np.inf)
    return fields


def measured(recipe: Recipe, field: Field) -> Recipe:
    """The recipe, with its nDCG on the field in its books."""
    return replace(recipe, ndcg=ndcg_of(field, recipe))


def learned(field: Field, names: Sequence[str], *, large: bool) -> Recipe:
    """A blend learned on the field, twice: what has next to no say the first time is left out the second.

    Args:
        field: to learn on.
        names: of its models, that may be blended.
        large: whether models are fitted at scale, where each costs minutes.
    """
    first = _fitted(field, names)
    least = (LEAST_SAY_AT_SCALE if large else LEAST_SAY) * sum(abs(first.say(name)) for name in names)
    say = {name: first.say(name) if large and name not in EVERYONE else abs(first.say(name)) for name in names}
    # content stays: it places what nobody has heard, of which there is nothing to learn here; and one that tells
    # listeners apart
    staying = {"content", max((name for name in names if name not in EVERYONE), key=first.say, default=None)}
    kept = [name for name in names if say[name] >= least or name in staying]
    recipe = _fitted(field, kept) if len(kept) < len(names) else first
    return replace(recipe, ndcg=ndcg_of(field, recipe), users=len(field.relevant))


def _fitted(field: Field, names: Sequence[str]) -> Recipe:
    """A blend learned on the tracks that somebody has heard: the others stand by content, whatever it says (`mixed`).

    They were most of what is taken to where catalogues are wide, and blends learned with them leaned on content twice.
    """
    unheard_here = unheard(field.standard, tuple(names))
    counted = field.usable if unheard_here is None else field.usable & ~unheard_here
    relevant = field.relevant & counted
    alone = {name: ndcg_of(field, Recipe({name: 1.0})) for name in names}
    best = sorted(names, key=lambda name: -alone[name])[:PRIOR_MODELS]
    prior = np.array([PRIOR / len(best) if name in best else 0.0 for name in names] + [0.0] * len(names))
    plain = [np.maximum(np.where(np.isfinite(z), z, 0.0), LOWEST) for z in (field.standard[name] for name in names)]
    features = np.stack([*plain, *(np.sign(z) * np.sqrt(np.abs(z)) for z in plain)], axis=2)
    ridge = RIDGE * max(1.0, ENOUGH / max(int(relevant.sum()), 1))
    weights = fit_listwise(features, counted, relevant, prior, ridge=ridge)
    half = len(names)
    whole = float(np.abs(weights[:half] + weights[half:] / np.sqrt(OUTSTANDING)).sum())
    weights /= whole if whole > 0 else 1.0
    return Recipe(
        dict(zip(names, weights[:half].tolist(), strict=True)), dict(zip(names, weights[half:].tolist(), strict=True))
    )


def ndcg_of(field: Field, recipe: Recipe) -> float:
    """Mean nDCG@100 of a blend over the users asked."""
    total = mixed(field.standard, recipe, field.degree)
    ranked = top_k(total, RANKED)
    gained = np.take_along_axis(field.relevant, np.maximum(ranked, 0), axis=1) & (ranked >= 0)
    gain = (gained * _discount()[: ranked.shape[1]]).sum(axis=1)
    return float((gain / field.best).mean())


def _discount() -> np.ndarray:
    return 1.0 / np.log2(np.arange(2, RANKED + 2))
