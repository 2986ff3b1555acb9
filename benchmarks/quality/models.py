"""Who competes, by the name in the tables: peers, and ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.quality import libraries, peers, rectools_peer
from benchmarks.quality.cases import Case
from benchmarks.quality.measure import Answering, answering
from features.parameters import NightlyParameters, RecommendationParameters
from features.recommend.eligibility import eligible
from features.recommend.models import CONTENT_MODELS, MODELS
from features.recommend.models.contract import Range

CONTENT = frozenset({"content profile"} | {f"ours: {name}" for name in CONTENT_MODELS})
"""Those that say something of a track nobody has heard; they need a catalogue."""


@dataclass(frozen=True)
class Competitor:
    """A model, where its parameters are searched and from which on, and whether it is ours."""

    answer: Answering
    space: Mapping[str, Range]
    ours: bool
    default: Mapping[str, Any] = field(default_factory=dict)


PEERS: Mapping[str, Any] = {
    "popularity": peers.Popularity,
    "item kNN": peers.ItemKNN,
    "user kNN": peers.UserKNN,
    "RP3beta": peers.RP3beta,
    "EASE": peers.EASE,
    "content profile": peers.ContentProfile,
    "implicit ALS": libraries.ImplicitALS,
    "implicit BPR": libraries.ImplicitBPR,
    "implicit BM25": libraries.ImplicitBM25,
}


def competitors(case: Case) -> dict[str, Competitor]:
    """All that can run on a case, by name, peers first."""
    found = {name: _competitor(model, ours=False) for name, model in PEERS.items()}
    if rectools_peer.there():
        for name, label in (("als", "RecTools ALS"), ("svd", "RecTools PureSVD")):
            found[label] = Competitor(rectools_peer.answering(name), rectools_peer.SPACES[name], ours=False)
    heard = RecommendationParameters(include_heard=not case.test.mask_heard)
    parameters = NightlyParameters(recommendations=heard)
    for name in eligible(case.test.history, parameters):
        if name != "popular":  # that is the peer's
            found[f"ours: {name}"] = _competitor(MODELS[name], ours=True)
    if case.test.history.catalog is None:
        found = {name: entry for name, entry in found.items() if name not in CONTENT}
    if not (case.test.history.listeners[case.test.candidates] > 0).any():
        # the others rank such tracks by nothing, whatever their parameters
        return {name: entry if name in CONTENT else replace(entry, space={}) for name, entry in found.items()}
    return found


def _competitor(model: Any, *, ours: bool) -> Competitor:
    default = {name: getattr(model, name) for name in model.space}
    return Competitor(answering(model), model.space, ours, default)
