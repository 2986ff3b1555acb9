"""What of users' own histories moved their scores, on the scale that scores are blended on.

A model's standard score is its raw score less the mean, over the spread, of what the user may be shown. The mean is the
same for all tracks and moves none past another, so a track of the history moves a standard score by its influence over
that spread, and a blended one by as much times what the recipe lets the model say.

What a whole history adds to a track is asked of one model: of those that go by tracks, the one that gave this track the
most of its blended score. All of them together would say little else for several times the cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import scipy.sparse as sp

from features.recommend.blend import Recipe, blends
from features.recommend.content_kernels import content_influence, content_strongest
from features.recommend.fact_kernels import most_of_each, strongest_and_sums
from features.recommend.listed import Listed
from features.recommend.models.content import Content
from features.recommend.models.contract import Asked, Model, Moved
from features.recommend.models.neighbors import NearTracks

MOST_SEEDS = 5
NOT_ASKED = -2


@dataclass(frozen=True, eq=False)
class Parts:
    """What models gave to the blended scores of listed tracks.

    Attributes:
        listed: the lists.
        part: by model, (m,) float64 of each entry; 0 where the entry's strategy does not ask it.
        say: by model, (m,) float64: what of its standard score is taken; 0 likewise, and of tracks it does not know.
        spread: by model, (n,) float64 of each user's raw scores.
    """

    listed: Listed
    part: Mapping[str, np.ndarray]
    say: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        listed: Listed,
        recipes: Mapping[str, Recipe],
        degree: np.ndarray,
        scores: Mapping[str, np.ndarray],
        spread: Mapping[str, np.ndarray],
    ) -> "Parts":
        """The parts of all models that the recipes ask.

        Args:
            listed: the lists.
            recipes: by strategy.
            degree: (n,) tracks of history of each user.
            scores: by model, (p,) standard scores of each pair; -inf for what it does not know.
            spread: by model, (n,).
        """
        part, say = ({name: np.zeros(len(listed.pair)) for name in scores} for _ in range(2))
        for number, strategy in enumerate(listed.strategies):
            entries = listed.entries(number)
            pair = listed.pair[entries]
            owner = listed.row[pair]
            for name, blend in blends(recipes[strategy], degree).items():
                part[name][entries] = blend.part(scores[name][pair], owner)
                say[name][entries] = np.where(np.isfinite(scores[name][pair]), blend.say[owner], 0.0)
        return cls(listed, part, say, spread)

    def spoken(self, names: Sequence[str]) -> np.ndarray:
        """(names, m) float64: what each of these models gave where it speaks for what it ranks high; -inf elsewhere."""
        given = [np.where(self.say[name] > 0, self.part[name], -np.inf) for name in names]
        return np.stack(given) if given else np.zeros((0, len(self.listed.pair)))


class Movers:
    """Asks models what of histories moved scores.

    Args:
        models: fitted, by name.
        history: (users, tracks) CSR of all users' histories.
        parts: of the lists.
    """

    def __init__(self, models: Mapping[str, Model], history: sp.csr_matrix, parts: Parts) -> None:
        self.models, self.parts, self.listed = models, parts, parts.listed
        users = self.listed.users
        self.first, size = history.indptr[users], np.diff(history.indptr)[users]
        self.begin = _begins(size)
        self.history = history.indices
        self.sums = np.zeros((int(self.begin[-1]), len(self.listed.strategies)))
        self._found: dict[str, np.ndarray] = {}
        self._of_all: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def strongest(self, names: Sequence[str], entries: np.ndarray, *, summed: bool = False) -> np.ndarray:
        """(a,) int64: of each entry's history the track that moved it most; -1 where none moved it.

        The models that spoke for an entry are asked in the order of what they gave, until one names a track.

        Args:
            names: of the models.
            entries: (a,) ascending.
            summed: whether what the first model says counts for the lists' seeds.
        """
        found = np.full(len(entries), -1, np.int64)
        worth = self.parts.spoken(names)[:, entries]
        unknown = np.arange(len(entries)) if len(names) else np.zeros(0, np.int64)
        while len(unknown):
            best = np.argmax(worth[:, unknown], axis=0)
            able = worth[best, unknown] > -np.inf
            best, unknown = best[able], unknown[able]
            for number in np.unique(best).tolist():
                self._ask(names[number], entries[unknown[best == number]], summed=summed)
                found[unknown[best == number]] = self._found[names[number]][
                    self.listed.pair[entries[unknown[best == number]]]
                ]
            worth[best, unknown] = -np.inf
            unknown, summed = unknown[found[unknown] < 0], False
        return found

    def seeds(self, names: Sequence[str]) -> np.ndarray:
        """(n, strategies, most) int64: of each list the tracks of the history that added most to it; -1 for none.

        Args:
            names: of the models that are asked of lists which no model by tracks had any part in: the one that gave
                the list the most.
        """
        listed, owner = self.listed, self.listed.owner
        lists = len(listed.users)
        silent = np.ones((lists, len(listed.strategies)), bool)
        having = np.flatnonzero(np.diff(self.begin))
        if len(having):
            silent[having] = np.add.reduceat(np.abs(self.sums), self.begin[having], axis=0) == 0
        given = self.parts.spoken(names)
        for strategy in range(len(listed.strategies)):
            entries = listed.entries(strategy)
            if not len(names):
                continue
            whole = [np.bincount(owner[entries], weights=one, minlength=lists) for one in given[:, entries]]
            best, most = np.argmax(whole, axis=0), np.max(whole, axis=0)
            for number, name in enumerate(names):
                rows = np.flatnonzero(silent[:, strategy] & (most > -np.inf) & (best == number))
                if len(rows):
                    self._ask_of_lists(name, strategy, rows)
        chosen = np.full((lists, len(listed.strategies), MOST_SEEDS), -1, np.int64)
        most_of_each(self.begin, self._own, self.sums.copy(), chosen)
        return chosen

    def _ask_of_lists(self, name: str, strategy: int, rows: np.ndarray) -> None:
        """What a model says of whole lists of one strategy counts for their seeds."""
        listed, model, users = self.listed, self.models[name], self.listed.users[rows]
        first, ends = listed.bounds[strategy, rows], listed.bounds[strategy, rows + 1]
        places = _spans(first, ends)
        own, history_begin = _spans(self.begin[rows], self.begin[rows + 1]), _begins(np.diff(self.begin)[rows])
        if isinstance(model, Content):
            tracks = listed.track[listed.pair[places]]
            self.sums[own, strategy] = content_influence(model, users, _begins(ends - first), tracks, history_begin)
            return
        if isinstance(model, NearTracks):
            self.sums[own, strategy] = self._said_of_all(name)[1][own, strategy]
            return
        for row, user, start, end in zip(rows.tolist(), users.tolist(), first.tolist(), ends.tolist(), strict=True):
            tracks = listed.track[listed.pair[start:end]]
            self.sums[self.begin[row] : self.begin[row + 1], strategy] = model.influence(user, tracks)

    @cached_property
    def _own(self) -> np.ndarray:
        """(h,) the histories of the users one behind the other."""
        return self.history[_spans(self.first, self.first + np.diff(self.begin))]

    def _said_of_all(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """What a model of near tracks says of all pairs, asked once: for any it goes through the same histories.

        Returns:
            (p,) int64, the track of the history that adds most to each; and (h, strategies) float64, what each track of
            the histories adds to each strategy's lists.
        """
        if name not in self._of_all:
            listed, pairs = self.listed, len(self.listed.track)
            counts = np.zeros((pairs, len(listed.strategies)))
            counts[listed.pair, listed.strategy] = 1.0
            found, sums = np.empty(pairs, np.int64), np.zeros(self.sums.shape)
            level = np.zeros(len(listed.users), bool)
            model = cast("Moved", self.models[name])
            model.moved(Asked(listed.users, listed.begin, listed.track, counts, level, self.begin, found, sums))
            self._of_all[name] = found, sums
        return self._of_all[name]

    def _ask(self, name: str, entries: np.ndarray, *, summed: bool) -> None:
        listed, model = self.listed, self.models[name]
        found = self._found.setdefault(name, np.full(len(listed.track), NOT_ASKED, np.int64))
        pair = listed.pair[entries]
        weights = np.zeros((len(listed.track), self.sums.shape[1] if summed else 0))
        if summed:
            spread = self.parts.spread[name][listed.row[pair]]
            weights[pair, listed.strategy[entries]] = self.parts.say[name][entries] / np.where(spread > 0, spread, 1.0)
            wanted = distinct(pair, len(found))
        else:
            wanted = distinct(pair[found[pair] == NOT_ASKED], len(found))
            if isinstance(model, Content):
                found[wanted] = content_strongest(model, listed.users[listed.row[wanted]], listed.track[wanted])
                return
            if isinstance(model, NearTracks):
                found[wanted] = self._said_of_all(name)[0][wanted]
                return
        bounds = np.searchsorted(wanted, listed.begin)
        if isinstance(model, Moved):
            best, level = np.empty(len(wanted), np.int64), ~(self.parts.spread[name] > 0) & summed
            asked = Asked(
                listed.users, bounds, listed.track[wanted], weights[wanted], level, self.begin, best, self.sums
            )
            model.moved(asked)
            found[wanted] = best
            return
        for row in np.flatnonzero(np.diff(bounds)).tolist():
            pairs = wanted[bounds[row] : bounds[row + 1]]
            tracks = listed.track[pairs]
            given = np.ascontiguousarray(model.influences(int(listed.users[row]), tracks), np.float64)
            counts = weights[pairs]
            if summed and not self.parts.spread[name][row] > 0:
                # where all that may be shown is equal, what is owed to the history is of one size
                counts = counts / max(float(np.abs(given).max(initial=0.0)), 1e-300)
            own = slice(int(self.begin[row]), int(self.begin[row + 1]))
            best = np.empty(len(pairs), np.int64)
            strongest_and_sums(given, self._own[own], tracks, counts, best, self.sums[own])
            found[pairs] = best


def _spans(first: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """All whole numbers of (n,) spans, one span behind the other."""
    size = ends - first
    return np.arange(int(size.sum())) + np.repeat(first - _begins(size)[:-1], size)


def distinct(numbers: np.ndarray, count: int) -> np.ndarray:
    """The distinct ones of (n,) numbers below `count`, ascending."""
    among = np.zeros(count, bool)
    among[numbers] = True
    return np.flatnonzero(among)


def _begins(size: np.ndarray) -> np.ndarray:
    """(n + 1,) int64: where each of (n,) spans of a size begins, and the last one's end."""
    return np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
