"""Ranked lists of a block of users as flat arrays: no object a list, an entry or a reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from features.compute.rows import spans
from features.recommend.texts import Sentences

STRATEGIES = ("collaborative", "content-based", "hybrid")
POPULAR = "popular"
LISTED = (*STRATEGIES, POPULAR)
"""What lists are made by, in the order in which a user's stand."""
PLAYS, STATED, MARKET, EVERYBODY = "plays", "stated", "market", "popular"
BASES = (PLAYS, STATED, MARKET, EVERYBODY)
"""What a list rests on, from the most evidence to the least: the steps of the ladder that a newcomer climbs."""


@dataclass(frozen=True, eq=False)
class RankedList:
    """One user's list under one strategy.

    Attributes:
        user: number of the user.
        strategy: of `LISTED`.
        tracks: (n,) int32, best first.
        scores: (n,) float64 in [0, 1], not rising; what they mean is said in `Shaper.lists`.
        reasons: one to three for each track.
        seeds: the user's own tracks that moved the list most, at most five.
        confidence: in [0, 1].
        basis: of `BASES`.
        explored: of the tracks, those that stand where they are to be given a chance.
    """

    user: int
    strategy: str
    tracks: np.ndarray
    scores: np.ndarray
    reasons: list[list[str]]
    seeds: list[int]
    confidence: float
    basis: str
    explored: list[int]


@dataclass(frozen=True, eq=False)
class RankedLists:
    """Lists of some users; iterated over, each is a `RankedList`.

    Attributes:
        users: (l,) int64, whose each list is.
        strategy: (l,) int8, places in `LISTED`.
        size: (l,) int64, entries of each, one or more.
        tracks: (m,) int32, of all lists one behind the other, as of `RankedList`.
        scores: (m,) float64, likewise.
        explored: (m,) bool, likewise.
        reasons: of the m entries, one or more of each; of all lists together no text twice.
        seeds: (l, 5) int64, as of `RankedList`; -1 for none, at the end.
        confidence: (l,) float64.
        basis: (l,) int8, places in `BASES`.
    """

    users: np.ndarray
    strategy: np.ndarray
    size: np.ndarray
    tracks: np.ndarray
    scores: np.ndarray
    explored: np.ndarray
    reasons: Sentences
    seeds: np.ndarray
    confidence: np.ndarray
    basis: np.ndarray

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """The lists of several parts, in the order of users and `LISTED`."""

        def joined(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        users, strategy, size = joined("users"), joined("strategy"), joined("size")
        order = np.lexsort((strategy, users))
        ends = np.cumsum(size)
        entries = spans((ends - size)[order], ends[order])
        return cls(
            users[order],
            strategy[order],
            size[order],
            joined("tracks")[entries],
            joined("scores")[entries],
            joined("explored")[entries],
            Sentences.together([part.reasons for part in parts]).rows(entries).once(),
            joined("seeds")[order],
            joined("confidence")[order],
            joined("basis")[order],
        )

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[RankedList]:
        texts, ends = self.reasons.texts.to_pylist(), np.cumsum(self.size)
        for number, end in enumerate(ends.tolist()):
            own = slice(end - int(self.size[number]), end)
            yield RankedList(
                int(self.users[number]),
                LISTED[self.strategy[number]],
                self.tracks[own],
                self.scores[own],
                [[texts[place] for place in row if place >= 0] for row in self.reasons.places[own].tolist()],
                [seed for seed in self.seeds[number].tolist() if seed >= 0],
                float(self.confidence[number]),
                BASES[self.basis[number]],
                self.tracks[own][self.explored[own]].tolist(),
            )

    def __repr__(self) -> str:
        return f"RankedLists({len(self):,} lists, {len(self.tracks):,} entries)"
