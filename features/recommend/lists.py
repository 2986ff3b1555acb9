"""Ranked lists: for each user every strategy there is evidence for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np

from features.compute.profiles import EVIDENCE_PLAYS
from features.compute.rows import sparse_row
from features.compute.shards import Range
from features.recommend.cold import Markets, new_reason
from features.recommend.evidence import Evidence
from features.recommend.reasons import MOST_REASONS, Explained, Explainer
from features.recommend.rerank import Ranked, Shaper
from features.recommend.stated import has_stated, stated_reasons, stated_scores

BLOCK_CELLS = 4_000_000
"""Cells of one dense users × tracks block; some ten such arrays live at once, 320 MB."""
STRATEGIES = ("collaborative", "content-based", "hybrid")
PLAYS, STATED, MARKET, EVERYBODY = "plays", "stated", "market", "popular"
"""What a list rests on, from the most evidence to the least: the steps of the ladder that a newcomer climbs."""
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
        basis: "plays", "stated", "market" or "popular": what the list rests on.
        explored: of the tracks, those that stand where they are to be given a chance.
    """

    user: int
    strategy: str
    tracks: np.ndarray
    scores: np.ndarray
    reasons: list[list[str]]
    seeds: list[int]
    confidence: float
    basis: str = PLAYS
    explored: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ListMaker:
    """Makes the lists of a range of users: any number of threads may use one, and it can be sent to another process.

    Attributes:
        evidence: what ranks.
        shaper: makes lists of scores; its `how` says how long they are, and whether heard tracks may come in.
        cells: of a dense block at most; changes nothing.
    """

    evidence: Evidence
    shaper: Shaper
    cells: int = BLOCK_CELLS

    def __reduce__(self) -> tuple[type[Self], tuple[Evidence, Shaper, int]]:
        """What was counted for it is counted again where it is needed."""
        return type(self), (self.evidence, self.shaper, self.cells)

    @cached_property
    def explainer(self) -> Explainer:
        """Reasons."""
        return Explainer(self.evidence)

    @cached_property
    def markets(self) -> Markets:
        """What is popular where."""
        return Markets.of(self.evidence.dataset, self.evidence.interactions)

    def blocks(self) -> list[Range]:
        """Ranges of users, over all of them, whose dense blocks have no more cells than are allowed."""
        users = len(self.evidence.dataset.users)
        step = max(1, self.cells // max(self.evidence.width, 1))
        return [(start, min(users, start + step)) for start in range(0, users, step)]

    def lists(self, start: int, stop: int) -> list[RankedList]:
        """The lists of users [start, stop), in the order of their numbers.

        A user with any weight gets collaborative, content-based and hybrid lists, those that are not empty. One
        without, who has stated genres, artists or a sound, gets a content-based list made of that. Whoever has no list
        so far gets what is popular in their country, or everywhere where nobody of their country listens.

        Confidence is evidence times fill: plays / (plays + 20), times the share of the k places that are filled; for
        a stated list 0.6 and for the popular list 0.5 stand in for the evidence.
        """
        users = np.arange(start, stop)
        return list(_recommend_block(self.evidence, self.explainer, self.shaper, self.markets, users, self.cells))


def recommend(evidence: Evidence, shaper: Shaper, cells: int | None = None) -> Iterator[list[RankedList]]:
    """Lists of all users, a block of users at a time, in the order of their numbers; arguments as of `ListMaker`."""
    maker = ListMaker(evidence, shaper, cells or BLOCK_CELLS)
    for start, stop in maker.blocks():
        yield maker.lists(start, stop)


def _recommend_block(
    evidence: Evidence, explainer: Explainer, shaper: Shaper, markets: Markets, users: np.ndarray, cells: int
) -> Iterator[RankedList]:
    tracks = evidence.choice(users)
    usable = evidence.usable(users, include_heard=shaper.how.include_heard, tracks=tracks)
    standard = evidence.standard(STRATEGIES, users, usable, tracks)
    blended = evidence.blended(STRATEGIES, users, standard)
    ranked = {strategy: shaper.lists(strategy, users, blended.pop(strategy), tracks=tracks) for strategy in STRATEGIES}
    # few are without a play: the others' rows would be work for nothing
    known = np.diff(evidence.interactions.weights.indptr)[users] > 0
    stating = np.flatnonzero(~known & has_stated(evidence, users))
    stated = _of_all_tracks(
        evidence, shaper, "content-based", users[stating], lambda some: stated_scores(evidence, some), cells
    )
    stated_row = {int(row): position for position, row in enumerate(stating)}
    filled = np.any([(lists.tracks >= 0).any(axis=1) & known for lists in ranked.values()], axis=0)
    filled[stating] |= (stated.tracks >= 0).any(axis=1)
    lacking = np.flatnonzero(~filled)
    country = evidence.dataset.country
    popular = _of_all_tracks(
        evidence, shaper, "popular", users[lacking], lambda some: markets.scores_of(country[some]), cells
    )
    popular_row = {int(row): position for position, row in enumerate(lacking)}
    personal = np.setdiff1d(np.arange(len(users)), [*popular_row, *stated_row])
    listed = {strategy: lists.tracks[personal] for strategy, lists in ranked.items()}
    explained = explainer.told(users[personal], personal, standard, listed, tracks).lists()
    personal_row = {int(row): position for position, row in enumerate(personal)}
    for row, user in enumerate(users):
        if row in popular_row:
            yield from _newcomers_list(evidence, markets, int(user), popular.row(popular_row[row]), shaper.how.k)
        elif row in stated_row:
            tracks, scores = stated.row(stated_row[row])
            reasons = stated_reasons(evidence, int(user), tracks)
            sure = STATED_CONFIDENCE * len(tracks) / shaper.how.k
            yield RankedList(int(user), "content-based", tracks, scores, reasons, [], sure, STATED)
        else:
            why = {strategy: of_block[personal_row[row]] for strategy, of_block in explained.items()}
            yield from _personal_lists(evidence, why, int(user), row, ranked, shaper.how.k)


def _of_all_tracks(
    evidence: Evidence,
    shaper: Shaper,
    strategy: str,
    users: np.ndarray,
    scores_of: Callable[[np.ndarray], np.ndarray],
    cells: int,
) -> Ranked:
    """Lists of newcomers, who have nothing that candidates could be had from: of all tracks, some users at a time."""
    step = max(1, cells // max(len(evidence.dataset.tracks), 1))
    parts = []
    for start in range(0, max(len(users), 1), step):
        some = users[start : start + step]
        usable = evidence.usable(some, include_heard=shaper.how.include_heard)
        parts.append(shaper.lists(strategy, some, np.where(usable, scores_of(some), -np.inf), damped=False))
    return Ranked(np.concatenate([part.tracks for part in parts]), np.concatenate([part.scores for part in parts]))


def _personal_lists(
    evidence: Evidence, why: Mapping[str, Explained], user: int, row: int, ranked: Mapping[str, Ranked], k: int
) -> Iterator[RankedList]:
    plays = int(sparse_row(evidence.interactions.plays, user)[1].sum())
    certain = plays / (plays + EVIDENCE_PLAYS)
    for strategy, lists in ranked.items():
        tracks, scores = lists.row(row)
        if not len(tracks):
            continue
        (reasons, seeds), explored = why[strategy], lists.explored(row)
        for place in np.flatnonzero(np.isin(tracks, explored)) if explored else ():
            new = new_reason(int(evidence.listeners[tracks[place]]))
            reasons[place] = [new, *(reason for reason in reasons[place] if reason != new)][:MOST_REASONS]
        yield RankedList(user, strategy, tracks, scores, reasons, seeds, certain * len(tracks) / k, PLAYS, explored)


def _newcomers_list(
    evidence: Evidence, markets: Markets, user: int, ranked: tuple[np.ndarray, np.ndarray], k: int
) -> Iterator[RankedList]:
    tracks, scores = ranked
    if not len(tracks):
        return  # nothing may be shown to this user
    country = evidence.dataset.country[user]
    basis = MARKET if markets.speaks(country) else EVERYBODY
    sure = POPULAR_CONFIDENCE * len(tracks) / k
    yield RankedList(user, "popular", tracks, scores, markets.reasons(country, tracks), [], sure, basis)
