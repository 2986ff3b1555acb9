"""Ranked lists: for each user every strategy there is evidence for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.compute.profiles import EVIDENCE_PLAYS
from features.compute.rows import row_entries
from features.compute.shards import Range
from features.compute.topk import top_k
from features.recommend.cold import Markets, new_reason
from features.recommend.evidence import Evidence
from features.recommend.facts import Facts
from features.recommend.ranked import (
    BASES,
    EVERYBODY,
    LISTED,
    MARKET,
    PLAYS,
    POPULAR,
    STATED,
    STRATEGIES,
    RankedLists,
)
from features.recommend.reasons import Explainer, Told
from features.recommend.rerank import Ranked, Shaper
from features.recommend.seeds import MOST_SEEDS
from features.recommend.stated import has_stated, stated_reasons, stated_scores
from features.recommend.texts import Sentences, distinct_texts

BLOCK_CELLS = 4_000_000
"""Of a block of users and their columns; some ten such arrays live at once, 320 MB."""
MOST_OF_ALL = 2000
"""Tracks at most that a newcomer's list is made of, where not all can be."""
STATED_CONFIDENCE, POPULAR_CONFIDENCE = 0.6, 0.5
"""What a full list is trusted without a play: a little more when it is made of the user's own words."""


@dataclass(frozen=True, eq=False)
class ListMaker:
    """Makes the lists of a range of users: any number of threads may use one, and it can be sent to another process.

    Attributes:
        facts: what ranks, and what reasons name.
        shaper: makes lists of scores; its `how` says how long they are, and whether heard tracks may come in.
        cells: of a block of users and candidates at most; changes nothing.
    """

    facts: Facts
    shaper: Shaper
    cells: int = BLOCK_CELLS

    @property
    def evidence(self) -> Evidence:
        """What ranks."""
        return self.facts.evidence

    @cached_property
    def explainer(self) -> Explainer:
        """Reasons."""
        return Explainer(self.facts)

    @cached_property
    def markets(self) -> Markets:
        """What is popular where."""
        return Markets.of(self.evidence.dataset, self.evidence.interactions)

    def blocks(self) -> list[Range]:
        """Ranges of users, over all of them, whose blocks have no more cells than are allowed."""
        return self.evidence.blocks(len(self.evidence.dataset.users), self.cells)

    def lists(self, start: int, stop: int) -> RankedLists:
        """The lists of users [start, stop), in the order of their numbers and of `LISTED`.

        A user with any weight gets collaborative, content-based and hybrid lists, those that are not empty. One
        without, who has stated genres, artists or a sound, gets a content-based list made of that. Whoever has no list
        so far gets what is popular in their country, or everywhere where nobody of their country listens.

        Confidence is evidence times fill: plays / (plays + 20), times the share of the k places that are filled; for
        a stated list 0.6 and for the popular list 0.5 stand in for the evidence.
        """
        users = np.arange(start, stop)
        return _recommend_block(self.evidence, self.explainer, self.shaper, self.markets, users, self.cells)


def recommend(evidence: Evidence, shaper: Shaper, cells: int | None = None) -> Iterator[RankedLists]:
    """Lists of all users, a block of users at a time, in the order of their numbers; arguments as of `ListMaker`."""
    maker = ListMaker(Facts.of(evidence), shaper, cells or BLOCK_CELLS)
    for start, stop in maker.blocks():
        yield maker.lists(start, stop)


def _recommend_block(
    evidence: Evidence, explainer: Explainer, shaper: Shaper, markets: Markets, users: np.ndarray, cells: int
) -> RankedLists:
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
    filled = np.any([(lists.tracks >= 0).any(axis=1) & known for lists in ranked.values()], axis=0)
    filled[stating] = (stated.tracks >= 0).any(axis=1)
    lacking = np.flatnonzero(~filled)
    country = evidence.dataset.country
    popular = _of_all_tracks(
        evidence, shaper, POPULAR, users[lacking], lambda some: markets.scores_of(country[some]), cells
    )
    personal = np.flatnonzero(filled & known)
    listed = {strategy: lists.tracks[personal] for strategy, lists in ranked.items()}
    told = explainer.told(users[personal], personal, standard, listed, tracks)
    ranked_personal = _stacked([_rows_of(lists, personal) for lists in ranked.values()])
    k = shaper.how.k
    return RankedLists.together(
        [
            _personal_lists(evidence, told, ranked_personal, k),
            _stated_lists(evidence, users[stating], stated, k),
            _popular_lists(evidence, markets, users[lacking], popular, k),
        ]
    )


def _of_all_tracks(
    evidence: Evidence,
    shaper: Shaper,
    strategy: str,
    users: np.ndarray,
    scores_of: Callable[[np.ndarray], np.ndarray],
    cells: int,
) -> Ranked:
    """Lists of newcomers, who have nothing that candidates could be had from: of all tracks, some users at a time.

    Where others' lists are made of candidates, theirs are made of the tracks with the highest scores.
    """
    # where nobody has candidates the block is small enough, and what it says must not hang on how it is cut
    step = len(users) if evidence.shortlists is None else cells // max(len(evidence.dataset.tracks), 1)
    step = max(1, step)
    parts = []
    for start in range(0, max(len(users), 1), step):
        some = users[start : start + step]
        usable = evidence.usable(some, include_heard=shaper.how.include_heard)
        scores, tracks = np.where(usable, scores_of(some), -np.inf), None
        if evidence.shortlists is not None:
            tracks = np.sort(top_k(scores, MOST_OF_ALL).view(np.uint32), axis=1).view(np.int32)  # -1 is the highest
            scores = np.where(tracks >= 0, np.take_along_axis(scores, np.maximum(tracks, 0), axis=1), -np.inf)
        parts.append(shaper.lists(strategy, some, scores, damped=False, tracks=tracks))
    return _stacked(parts)


def _rows_of(ranked: Ranked, rows: np.ndarray) -> Ranked:
    """The lists of some of the users."""
    return Ranked(ranked.tracks[rows], ranked.scores[rows], None if ranked.explores is None else ranked.explores[rows])


def _stacked(parts: Sequence[Ranked]) -> Ranked:
    """The lists of all parts, one below the other."""
    explores = [np.zeros(part.tracks.shape, bool) if part.explores is None else part.explores for part in parts]
    return Ranked(
        np.concatenate([part.tracks for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate(explores),
    )


def _personal_lists(evidence: Evidence, told: Told, ranked: Ranked, k: int) -> RankedLists:
    """Lists of all strategies, one below the other, as they were explained.

    Where a track is given a chance, its first reason is that.
    """
    users, strategies = told.listed.users, told.listed.strategies
    owner, _, plays = row_entries(evidence.interactions.plays, users)
    played = np.bincount(owner, plays, len(users))
    filled = ranked.tracks >= 0
    explored = np.zeros(filled.shape, bool) if ranked.explores is None else ranked.explores
    chances = np.flatnonzero(explored[filled])
    new = distinct_texts(new_reason, evidence.listeners[ranked.tracks[filled][chances]])
    return _filled_lists(
        np.tile(users, len(strategies)),
        np.repeat([LISTED.index(name) for name in strategies], len(users)),
        ranked,
        told.reasons.led_by(chances, new),
        told.seeds.swapaxes(0, 1).reshape(len(filled), MOST_SEEDS),
        np.tile(played / (played + EVIDENCE_PLAYS), len(strategies)),
        np.full(len(filled), BASES.index(PLAYS)),
        k,
    )


def _stated_lists(evidence: Evidence, users: np.ndarray, ranked: Ranked, k: int) -> RankedLists:
    """Of newcomers who have told something."""
    owner, place = np.nonzero(ranked.tracks >= 0)
    return _filled_lists(
        users,
        np.full(len(users), LISTED.index("content-based")),
        ranked,
        stated_reasons(evidence, users, owner, ranked.tracks[owner, place]),
        np.full((len(users), MOST_SEEDS), -1),
        np.full(len(users), STATED_CONFIDENCE),
        np.full(len(users), BASES.index(STATED)),
        k,
    )


def _popular_lists(evidence: Evidence, markets: Markets, users: np.ndarray, ranked: Ranked, k: int) -> RankedLists:
    """Of all others."""
    owner, place = np.nonzero(ranked.tracks >= 0)
    countries = evidence.dataset.country[users].tolist()
    speak = {country: markets.speaks(country) for country in set(countries)}
    return _filled_lists(
        users,
        np.full(len(users), LISTED.index(POPULAR)),
        ranked,
        markets.reasons(countries, owner, ranked.tracks[owner, place]),
        np.full((len(users), MOST_SEEDS), -1),
        np.full(len(users), POPULAR_CONFIDENCE),
        np.array([BASES.index(MARKET if speak[country] else EVERYBODY) for country in countries], np.int64),
        k,
    )


def _filled_lists(
    users: np.ndarray,
    strategy: np.ndarray,
    ranked: Ranked,
    reasons: Sentences,
    seeds: np.ndarray,
    certain: np.ndarray,
    basis: np.ndarray,
    k: int,
) -> RankedLists:
    """Those of (n, ·) ranked lists that are not empty; `certain` is what a full one is trusted, for all else (n,) each.

    Reasons are of the filled places, row by row.
    """
    filled = ranked.tracks >= 0
    size = filled.sum(axis=1)
    some = np.flatnonzero(size)
    explored = np.zeros(filled.shape, bool) if ranked.explores is None else ranked.explores
    return RankedLists(
        users[some],
        strategy[some].astype(np.int8),
        size[some],
        ranked.tracks[filled],
        ranked.scores[filled],
        explored[filled],
        reasons,
        seeds[some],
        (certain * size / k)[some],
        basis[some].astype(np.int8),
    )
