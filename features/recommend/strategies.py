"""Which models a strategy blends, and how much of each: chosen on what each user did last."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.compute.dataset import Dataset
from features.compute.interactions import Interactions
from features.compute.topk import top_k
from features.evaluate.splits import Split, hold_out_last
from features.parameters import NightlyParameters
from features.recommend.blend import CANDIDATES, LOWEST, OUTSTANDING, Recipe, mixed, names_of, standard_scores, unheard
from features.recommend.columns import entries
from features.recommend.filters import Filters
from features.recommend.history import History, build_history, shortened
from features.recommend.listwise import fit_listwise
from features.recommend.models import CONTENT_MODELS, EVERYONE, MODELS
from features.recommend.models.content import SMOOTHED_USERS
from features.recommend.models.contract import Model
from features.recommend.pairs import usable
from features.recommend.shortlists import Shortlists

SAFE = ("ease", "ials", "item_knn")
"""Where data is too thin to choose: three models that err differently, alike."""
SAFE_EVIDENCE_TRACKS = 20.0
"""Of forty listeners' own models most is noise: content leads until a history says more (docs/attribution.md)."""
EVIDENCE_TRACKS = (1.0, 2.0, 5.0, 10.0)
CUT_TO = (1, 2, 4, 8)
"""Tracks that histories are cut to where a blend for short ones is learned."""
CUT_SHARE = 1 / 3
"""Of the users asked, those whose histories are cut: the others' are what there is to learn from."""
MOST_LOSS = 0.002
"""Share of nDCG that the blend for short histories may cost those whose histories are whole: no more than chance."""
UNHEARD = (0.7, 0.5, 0.35, 0.25)
"""Shares of content's score that tracks nobody has heard may have in hybrid lists: where few take to such, less."""
LESS_FAME = (0.05, 0.1, 0.2)
"""Spreads of fame that hybrid lists may take off a score: the most that costs no more than chance."""
RANKED = 100
RIDGE = 0.03
ENOUGH = 300
"""Relevant tracks to learn from; with fewer, blends are held the more firmly."""
PRIOR_MODELS, PRIOR = 4, 0.5
"""Learned blends are held towards equal shares of the best four models, which sum to this before they are scaled."""
LEAST_SAY, LEAST_SAY_AT_SCALE = 0.02, 0.1
"""What has less of the say is left out: each model costs a fit a night, and of a million listeners that is minutes. So
there a model of single listeners that speaks against what it ranks high, to set another right, is left out too."""
BLOCK_CELLS = 4_000_000
MOST_NUMBERED = 12_000
"""Users, silent ones among them, up to which closed forms on the users' side are tried: each has a row in them."""
AT_SCALE = frozenset({"popular", "late", "item_knn", "svd", "ials", "proximity", "content", "personal"})
"""Models that fit at any scale and score a choice of tracks without scoring all."""


MODELS_AT_SCALE: Mapping[str, Mapping[str, float]] = {
    "proximity": {"neighbors": 100, "targets": 200, "gap_half_life": 10.0, "half_lives": 2.5},
    "ials": {"iterations": 5},
    "content": {"smoothed_users": 0, "waves": 96},
}
"""Parameters that differ there (docs/models.md): a narrower window costs less and proposes better; three sweeps more,
and more random features, bring next to nothing; smoothed scores are those of all tracks at once."""


def is_large(dataset: Dataset, parameters: NightlyParameters) -> bool:
    """Whether users × tracks are too many to score all: then each user's candidates are (`shortlists`)."""
    return len(dataset.users) * len(dataset.tracks) > parameters.ranking.dense_cells


def sized_for(sample: Dataset, whole: Dataset, parameters: NightlyParameters) -> NightlyParameters:
    """Parameters by which a sample of listeners is treated as all of them are going to be: as large, or as small."""
    share, how = len(sample.users) / max(len(whole.users), 1), parameters.ranking
    limits = {"dense_cells": int(how.dense_cells * share), "pair_limit": int(how.pair_limit * share)}
    return parameters.model_copy(update={"ranking": how.model_copy(update=limits)})


def with_proposers(names: Iterable[str], history: History, parameters: NightlyParameters) -> list[str]:
    """The models of these names and that which proposes candidates, whatever the recipes ask.

    That is proximity, which goes by neighbours in time and costs little; without time, or beside it within
    `ranking.pair_limit`, item kNN.
    """
    timed = _is_timed(history)
    proposers = {"proximity": timed, "item_knn": not timed or _few_pairs(history, parameters)}
    return list(dict.fromkeys([*names, *(name for name, proposes in proposers.items() if proposes)]))


def shortlists_of(
    history: History, models: Mapping[str, Model], interactions: Interactions, parameters: NightlyParameters
) -> Shortlists:
    """What proposes candidates."""
    listeners = np.bincount(interactions.plays.indices, minlength=interactions.plays.shape[1])
    include_heard = parameters.recommendations.include_heard
    return Shortlists.of(history, models.values(), listeners, interactions.known, include_heard=include_heard)


def eligible(history: History, parameters: NightlyParameters, *, large: bool = False) -> list[str]:
    """Models that the size of the data allows, in the order of `MODELS`.

    Where it is `large`, only those of `AT_SCALE`.

    Closed forms invert the smaller of users and tracks, and are left out where that is beyond
    `ranking.closed_form_limit`; those on the users' side also beyond
    `MOST_NUMBERED`. What goes by order needs time, content a catalogue.
    """
    users, tracks = (int((count > 0).sum()) for count in (history.degree, history.listeners))
    limit = parameters.ranking.closed_form_limit
    few_users = users <= limit and len(history.degree) <= max(limit, MOST_NUMBERED)
    few = few_users or tracks <= limit
    content = _has_content(history)
    timed = _is_timed(history)
    all_pairs = not timed or not large or _few_pairs(history, parameters)
    smoothed = parameters.models.get("kernel", {}).get("smoothed_users", SMOOTHED_USERS)
    fits = {
        "popular": True,
        "item_knn": all_pairs,
        "user_knn": users <= 4 * limit,
        "svd": all_pairs,
        "ials": True,
        "ease": few,
        "local_ease": tracks <= limit,
        "user_ease": few_users,
        "late": timed,
        "proximity": timed,
        "proximity_ease": timed and tracks <= limit,
        "cease": content and few,
        "side_ials": content,
        "content": content,
        "kernel": content and len(history.degree) <= smoothed,
        "personal": parameters.recommendations.include_heard and len(history.plays) > 0,
    }
    return [name for name in MODELS if fits[name] and (not large or name in AT_SCALE)]


def fit_models(
    history: History, names: Iterable[str], parameters: NightlyParameters, *, large: bool = False
) -> dict[str, Model]:
    """The models of these names, fitted with the parameters' settings; where it is `large`, over those for scale."""
    usual = MODELS_AT_SCALE if large else {}
    how = {name: {**usual.get(name, {}), **parameters.models.get(name, {})} for name in names}
    return {name: MODELS[name](**settings).fit(history) for name, settings in how.items()}


def choose(dataset: Dataset, parameters: NightlyParameters, *, as_of_ms: int) -> dict[str, Recipe]:
    """The recipe of each strategy, by nDCG@100 on what each user took to last.

    The eligible models are fitted on what came before, and a blend is learned of the tracks they put forward, held
    towards equal shares of the best four. Hybrid then weighs what nobody has heard as it deserves, and leans as little
    on fame as costs nothing: what few have heard is what content tells of. It also has a blend for those of whom little
    is known, learned likewise where histories of some of the users are cut to their first tracks, and chooses from how
    much history on it steps back: so that it does most for those and takes nothing from the others. With too few users
    to ask, the fixed blend is taken.

    Args:
        dataset: what may be looked at; what a ranking is measured on must not be in it.
        parameters: of the release.
        as_of_ms: moment that weights are decayed to.
    """
    split, history, users = validation(dataset, parameters, as_of_ms=as_of_ms)
    large = is_large(dataset, parameters)
    names = eligible(history, parameters, large=large)
    if len(users) < parameters.ranking.min_validation_users:
        return fixed(names)
    groups = {"collaborative": [name for name in names if name not in CONTENT_MODELS], "hybrid": names}
    # models are not held on to: those for short histories are fitted after them
    fields = _fields(split, history, fit_models(history, names, parameters, large=large), users, groups, parameters)
    collaborative, hybrid = (_learned(fields[strategy], groups[strategy], large=large) for strategy in groups)
    if "content" in hybrid.shares:
        hybrid = _for_the_unknown(hybrid, fields["hybrid"])
    if not parameters.recommendations.include_heard:  # where heard tracks come in, own plays speak from the first on
        hybrid = _for_little(hybrid, fields["hybrid"], split, history, users, parameters)
    recipes = {"collaborative": collaborative, "content-based": Recipe({"content": 1.0}), "hybrid": hybrid}
    # as they stand in a release's books, so that the nights after go by the very same
    return {name: Recipe.from_dict(recipe.to_dict()) for name, recipe in recipes.items()}


def still_eligible(
    recipes: Mapping[str, Recipe], dataset: Dataset, parameters: NightlyParameters, *, as_of_ms: int
) -> bool:
    """Whether recipes chosen on an earlier night can be gone by: `choose` could still choose all that they blend.

    Args:
        recipes: by strategy.
        dataset: as of `choose`, as are the others.
        parameters: of the release.
        as_of_ms: moment that weights are decayed to.
    """
    _, history, _ = validation(dataset, parameters, as_of_ms=as_of_ms)
    names = eligible(history, parameters, large=is_large(dataset, parameters))
    return {name for recipe in recipes.values() for name in names_of(recipe)} <= {*names, "content"}


def validation(dataset: Dataset, parameters: NightlyParameters, *, as_of_ms: int) -> tuple[Split, History, np.ndarray]:
    """What models, blends and their parameters are chosen on: the split, its history, and (n,) users who are asked.

    Arguments as of `choose`.
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
    return split, build_history(split.dataset, split.interactions), drawn(split.users, how.validation_users, how.seed)


def fixed(names: Sequence[str]) -> dict[str, Recipe]:
    """Recipes where there is nothing to choose by: equal shares of the safe models that are eligible."""
    safe = [name for name in SAFE if name in names]
    equal = dict.fromkeys(safe, 1.0 / len(safe))
    return {
        "collaborative": Recipe(equal),
        "content-based": Recipe({"content": 1.0}),
        "hybrid": Recipe(equal, evidence_tracks=SAFE_EVIDENCE_TRACKS if "content" in names else 0.0),
    }


def drawn(users: np.ndarray, most: int, seed: int) -> np.ndarray:
    """(n,) at most so many of them, by chance, ascending."""
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, most, replace=False))


@dataclass(frozen=True, eq=False)
class _Field:
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


def _fields(
    split: Split,
    history: History,
    models: Mapping[str, Model],
    users: np.ndarray,
    groups: Mapping[str, Sequence[str]],
    parameters: NightlyParameters,
) -> dict[str, _Field]:
    """The field of each group of models: the tracks that the plain mean of these puts forward."""
    filters = Filters(split.dataset, split.interactions, parameters.recommendations.same_song)
    include_heard = parameters.recommendations.include_heard
    large = is_large(split.dataset, parameters)
    shortlists = shortlists_of(history, models, split.interactions, parameters) if large else None
    columns = len(split.dataset.tracks) if shortlists is None else shortlists.width
    shape = len(users), min(CANDIDATES, columns)
    possible = np.minimum(np.diff(split.relevant.indptr)[users], RANKED)
    fields = {
        group: _Field(
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


def _for_the_unknown(hybrid: Recipe, field: _Field) -> Recipe:
    """The blend with as much of the unheard, and then as little of fame, as costs no more than chance."""
    tried = [hybrid, *(_measured(replace(hybrid, unheard=share), field) for share in UNHEARD)]
    enough = (1.0 - MOST_LOSS) * max(recipe.ndcg for recipe in tried)
    best = found = next(recipe for recipe in tried if recipe.ndcg >= enough)
    roots, famed = {"popular": 0.0, **found.roots}, found.shares.get("popular", 0.0)
    for less in LESS_FAME:
        shares = {**found.shares, "popular": famed - less}
        recipe = _measured(replace(found, shares=shares, roots=roots), field)
        if recipe.ndcg >= (1.0 - MOST_LOSS) * found.ndcg:
            best = recipe
    return best


def _measured(recipe: Recipe, field: _Field) -> Recipe:
    return replace(recipe, ndcg=_ndcg(field, recipe))


def _for_little(
    hybrid: Recipe, field: _Field, split: Split, history: History, users: np.ndarray, parameters: NightlyParameters
) -> Recipe:
    """The blend with another for short histories beside it, if that is any better for them."""
    how = parameters.ranking
    asked = drawn(users, max(how.min_validation_users, int(CUT_SHARE * len(users))), how.seed + 1)
    most = np.full(len(history.degree), np.iinfo(np.int64).max)
    most[asked] = np.resize(CUT_TO, len(asked))
    short = shortened(history, most, how.seed)
    more = [name for name in ("popular", "content") if name in field.standard]
    names = list(dict.fromkeys([*hybrid.shares, *more]))
    large = is_large(split.dataset, parameters)
    asking = with_proposers(names, short, parameters) if large else names
    models = fit_models(short, asking, parameters, large=large)
    cut = _fields(split, short, models, asked, {"hybrid": names}, parameters)["hybrid"]
    little = _learned(cut, names, large=large)
    best, most_won = hybrid, _ndcg(cut, hybrid)
    for tracks in EVIDENCE_TRACKS:
        tried = replace(hybrid, evidence_tracks=tracks, little_shares=little.shares, little_roots=little.roots)
        won, kept = _ndcg(cut, tried), _ndcg(field, tried)
        if won > most_won and kept >= (1.0 - MOST_LOSS) * hybrid.ndcg:
            best, most_won = replace(tried, ndcg=kept), won
    return best


def _learned(field: _Field, names: Sequence[str], *, large: bool) -> Recipe:
    """A blend learned on the field, twice: what has next to no say the first time is left out the second."""
    first = _fitted(field, names)
    least = (LEAST_SAY_AT_SCALE if large else LEAST_SAY) * sum(abs(first.say(name)) for name in names)
    say = {name: first.say(name) if large and name not in EVERYONE else abs(first.say(name)) for name in names}
    # content stays: it places what nobody has heard, of which there is nothing to learn here; and one that tells
    # listeners apart
    staying = {"content", max((name for name in names if name not in EVERYONE), key=first.say, default=None)}
    kept = [name for name in names if say[name] >= least or name in staying]
    recipe = _fitted(field, kept) if len(kept) < len(names) else first
    return replace(recipe, ndcg=_ndcg(field, recipe), users=len(field.relevant))


def _fitted(field: _Field, names: Sequence[str]) -> Recipe:
    """A blend learned on the tracks that somebody has heard: the others stand by content, whatever it says (`mixed`).

    They were most of what is taken to where catalogues are wide, and blends learned with them leaned on content twice.
    """
    unheard_here = unheard(field.standard, tuple(names))
    counted = field.usable if unheard_here is None else field.usable & ~unheard_here
    relevant = field.relevant & counted
    alone = {name: _ndcg(field, Recipe({name: 1.0})) for name in names}
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


def _ndcg(field: _Field, recipe: Recipe) -> float:
    """Mean nDCG@100 of a blend over the users asked."""
    total = mixed(field.standard, recipe, field.degree)
    ranked = top_k(total, RANKED)
    gained = np.take_along_axis(field.relevant, np.maximum(ranked, 0), axis=1) & (ranked >= 0)
    gain = (gained * _discount()[: ranked.shape[1]]).sum(axis=1)
    return float((gain / field.best).mean())


def _discount() -> np.ndarray:
    return 1.0 / np.log2(np.arange(2, RANKED + 2))


def _is_timed(history: History) -> bool:
    return bool(np.any(history.first_at[1:] != history.first_at[:-1]))


def _few_pairs(history: History, parameters: NightlyParameters) -> bool:
    """Whether the pairs of tracks that histories hold, which item kNN goes through, are few enough."""
    return float((history.degree.astype(np.float64) ** 2).sum()) <= parameters.ranking.pair_limit


def _has_content(history: History) -> bool:
    catalog = history.catalog
    return catalog is not None and bool(
        (catalog.artist >= 0).any() or catalog.genres.nnz or not np.isnan(catalog.audio).all()
    )
