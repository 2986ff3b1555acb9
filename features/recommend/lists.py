"""Ranked lists: for each user every strategy there is evidence for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.compute.profiles import EVIDENCE_PLAYS
from features.compute.topk import top_k
from features.recommend.blend import names_of
from features.recommend.evidence import Evidence
from features.recommend.reasons import Explainer, Taste
from features.recommend.rerank import Shaper
from features.recommend.stated import has_stated, stated_reasons, stated_scores

BLOCK_CELLS = 4_000_000
"""Cells of one dense users × tracks block; some ten such arrays live at once, 320 MB."""
STRATEGIES = ("collaborative", "content-based", "hybrid")
MOST_SEEDS = 5
STATED_CONFIDENCE, POPULAR_CONFIDENCE = 0.6, 0.5
"""What a full list is trusted without a play: a little more when it is made of the user's own words."""


@dataclass(frozen=True, eq=False)
class RankedList:
    """One user's list under one strategy.

    Attributes:
        user: number of the user.
        strategy: "collaborative", "content-based", "hybrid" or "popular".
        tracks: (n,) int32, best first.
        scores: (n,) float64 in [0, 1], not rising; what they mean is said in `Shaper.lists`.
        reasons: one to three for each track.
        seeds: the user's own tracks that moved the list most, at most five.
        confidence: in [0, 1].
    """

    user: int
    strategy: str
    tracks: np.ndarray
    scores: np.ndarray
    reasons: list[list[str]]
    seeds: list[int]
    confidence: float


def recommend(evidence: Evidence, shaper: Shaper) -> Iterator[list[RankedList]]:
    """Lists of all users, a block of users at a time, in the order of their numbers.

    A user with any weight gets collaborative, content-based and hybrid lists, those that are not empty. One
    without, who has stated genres, artists or a sound, gets a content-based list made of that. Whoever has no list
    so far gets the popular one.

    Confidence is evidence times fill: plays / (plays + 20), times the share of the k places that are filled; for
    a stated list 0.6 and for the popular list 0.5 stand in for the evidence.

    Args:
        evidence: what ranks.
        shaper: makes lists of scores; its `how` says how long they are, and whether heard tracks may come in.
    """
    explainer = Explainer(evidence)
    users = len(evidence.dataset.users)
    step = max(1, BLOCK_CELLS // max(len(evidence.dataset.tracks), 1))
    for start in range(0, users, step):
        yield list(_recommend_block(evidence, explainer, shaper, np.arange(start, min(users, start + step))))


def _recommend_block(
    evidence: Evidence, explainer: Explainer, shaper: Shaper, users: np.ndarray
) -> Iterator[RankedList]:
    usable = ~evidence.filters.forbidden(users, include_heard=shaper.how.include_heard)
    blended = evidence.scores(STRATEGIES, users, usable)
    ranked = {strategy: shaper.lists(strategy, users, blended.pop(strategy)) for strategy in STRATEGIES}
    # few are without a play: the others' rows would be work for nothing
    known = np.diff(evidence.interactions.weights.indptr)[users] > 0
    stating = np.flatnonzero(~known & has_stated(evidence, users))
    fitting = np.where(usable[stating], stated_scores(evidence, users[stating]), -np.inf)
    stated = shaper.lists("content-based", users[stating], fitting, damped=False)
    stated_row = {int(row): position for position, row in enumerate(stating)}
    played = usable & (evidence.listeners > 0)[None, :]
    heard_by_most = np.where(played, np.log1p(evidence.listeners)[None, :], -np.inf)
    popular = shaper.lists("popular", users, heard_by_most, damped=False)
    for row, user in enumerate(users):
        taste = explainer.taste(int(user))
        plays = int(taste.plays.sum())
        certain = plays / (plays + EVIDENCE_PLAYS)
        chosen = [(name, *lists.row(row), certain) for name, lists in ranked.items() if known[row]]
        if row in stated_row:
            chosen = [("content-based", *stated.row(stated_row[row]), STATED_CONFIDENCE)]
        chosen = [e for e in chosen if len(e[1])] or [("popular", *popular.row(row), POPULAR_CONFIDENCE)]
        for strategy, tracks, scores, sure in chosen:
            if not len(tracks):
                continue  # nothing may be shown to this user
            yield RankedList(
                int(user),
                strategy,
                tracks,
                scores,
                stated_reasons(evidence, int(user), tracks)
                if row in stated_row and strategy == "content-based"
                else explainer.reasons(strategy, taste, tracks),
                _seeds(evidence, int(user), strategy, taste, tracks),
                sure * len(tracks) / shaper.how.k,
            )


def _seeds(evidence: Evidence, user: int, strategy: str, taste: Taste, tracks: np.ndarray) -> list[int]:
    """The tracks of the history that gave the list's tracks most of their score, best first."""
    if strategy == "popular" or not len(taste.history):
        return []
    recipe = evidence.recipes[strategy]
    thin = recipe.evidence_tracks / (recipe.evidence_tracks + len(taste.history))
    amounts = np.zeros(len(taste.history))
    for name in names_of(recipe):
        share = recipe.shares.get(name, 0.0) * (1.0 - thin) + (thin if name == "content" else 0.0)
        amounts += share * _shares(evidence.models[name].influence(user, tracks))
    best = top_k(amounts[None, :], MOST_SEEDS)[0]
    return [int(taste.history[position]) for position in best if position >= 0 and amounts[position] > 0]


def _shares(amounts: np.ndarray) -> np.ndarray:
    total = np.abs(amounts).sum()
    return amounts / total if total > 0 else amounts
