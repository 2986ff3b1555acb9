"""Which models a strategy blends, and how much of each: chosen on what each user did last."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from features.compute.dataset import Dataset
from features.evaluate.splits import Split, hold_out_last
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe, names_of
from features.recommend.eligibility import eligible, fit_models, is_large, with_proposers
from features.recommend.history import History, build_history, shortened
from features.recommend.learning import Field, fields_of, learned, measured, ndcg_of
from features.recommend.models import CONTENT_MODELS

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
    fields = fields_of(split, history, fit_models(history, names, parameters, large=large), users, groups, parameters)
    collaborative, hybrid = (learned(fields[strategy], groups[strategy], large=large) for strategy in groups)
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


def _for_the_unknown(hybrid: Recipe, field: Field) -> Recipe:
    """The blend with as much of the unheard, and then as little of fame, as costs no more than chance."""
    tried = [hybrid, *(measured(replace(hybrid, unheard=share), field) for share in UNHEARD)]
    enough = (1.0 - MOST_LOSS) * max(recipe.ndcg for recipe in tried)
    best = found = next(recipe for recipe in tried if recipe.ndcg >= enough)
    roots, famed = {"popular": 0.0, **found.roots}, found.shares.get("popular", 0.0)
    for less in LESS_FAME:
        shares = {**found.shares, "popular": famed - less}
        recipe = measured(replace(found, shares=shares, roots=roots), field)
        if recipe.ndcg >= (1.0 - MOST_LOSS) * found.ndcg:
            best = recipe
    return best


def _for_little(
    hybrid: Recipe, field: Field, split: Split, history: History, users: np.ndarray, parameters: NightlyParameters
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
    cut = fields_of(split, short, models, asked, {"hybrid": names}, parameters)["hybrid"]
    little = learned(cut, names, large=large)
    best, most_won = hybrid, ndcg_of(cut, hybrid)
    for tracks in EVIDENCE_TRACKS:
        tried = replace(hybrid, evidence_tracks=tracks, little_shares=little.shares, little_roots=little.roots)
        won, kept = ndcg_of(cut, tried), ndcg_of(field, tried)
        if won > most_won and kept >= (1.0 - MOST_LOSS) * hybrid.ndcg:
            best, most_won = replace(tried, ndcg=kept), won
    return best
