"""Which models the size of the data allows, and fitting them."""

from collections.abc import Iterable, Mapping

import numpy as np

from features.compute.dataset import Dataset
from features.compute.interactions import Interactions
from features.parameters import NightlyParameters
from features.recommend.history import History
from features.recommend.models import MODELS
from features.recommend.models.content import SMOOTHED_USERS
from features.recommend.models.contract import Model
from features.recommend.shortlists import Shortlists

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
