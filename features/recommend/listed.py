"""Lists of a block of users as flat arrays: each user's tracks once, whichever lists they stand in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Listed:
    """What is listed for whom.

    A pair is a user and a track that stands in a list of theirs; pairs are in order of user and track. An entry is a
    filled place of a list; entries are in order of strategy, user and place.

    Attributes:
        users: (n,) int64, numbers of the users.
        strategies: names.
        begin: (n + 1,) int64: where each user's pairs begin.
        row: (p,) int64, the place in `users` of each pair.
        track: (p,) int32, of each pair.
        pair: (m,) int64, the pair of each entry.
        bounds: (strategies, n + 1) int64: where each list's entries begin, and the last one's end.
    """

    users: np.ndarray
    strategies: tuple[str, ...]
    begin: np.ndarray
    row: np.ndarray
    track: np.ndarray
    pair: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, users: np.ndarray, lists: Mapping[str, np.ndarray], tracks: int) -> Self:
        """The lists of some users.

        Args:
            users: (n,) int.
            lists: by strategy, (n, k) int32, none twice in a row; -1 marks an empty slot.
            tracks: how many there are.
        """
        rows = np.arange(len(users), dtype=np.int64)[:, None]
        keys = [(rows * tracks + listed)[listed >= 0] for listed in lists.values()]
        sizes = np.array([(listed >= 0).sum(axis=1) for listed in lists.values()], np.int64)
        distinct, pair = np.unique(np.concatenate([*keys, np.zeros(0, np.int64)]), return_inverse=True)
        row, track = np.divmod(distinct, max(tracks, 1))
        ends = np.cumsum(np.column_stack([np.zeros(len(sizes), np.int64), sizes]).ravel()).reshape(len(sizes), -1)
        return cls(
            np.asarray(users, np.int64),
            tuple(lists),
            np.searchsorted(row, np.arange(len(users) + 1)),
            row,
            track.astype(np.int32),
            pair,
            ends,
        )

    @property
    def owner(self) -> np.ndarray:
        """(m,) int64: the place in `users` of each entry."""
        return self.row[self.pair]

    @property
    def strategy(self) -> np.ndarray:
        """(m,) int64: the place in `strategies` of each entry."""
        return np.repeat(np.arange(len(self.strategies)), self.bounds[:, -1] - self.bounds[:, 0])

    def entries(self, strategy: int) -> slice:
        """The entries of one strategy."""
        return slice(int(self.bounds[strategy, 0]), int(self.bounds[strategy, -1]))

    def columns(self, tracks: np.ndarray) -> np.ndarray:
        """(p,) int64: the place of each pair's track in its user's choice, which must hold it.

        Args:
            tracks: (n, m) int32, ascending; -1 for empty places at the end.
        """
        width = max(int(tracks.max(initial=0)), int(self.track.max(initial=0))) + 1
        filled = tracks >= 0
        keys = (np.arange(len(tracks))[:, None] * width + tracks)[filled]
        before = np.cumsum(filled.sum(axis=1)) - filled.sum(axis=1)
        return np.searchsorted(keys, self.row * width + self.track) - before[self.row]
