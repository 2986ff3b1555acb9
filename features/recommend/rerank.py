"""From a strategy's scores to the list a listener would want: the knobs on fame, repetition, artists and likeness."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from features.compute.embeddings import content_vectors
from features.compute.topk import top_k
from features.parameters import NightlyParameters, RecommendationParameters
from features.recommend.blend import standardized
from features.recommend.cold import Exploration, exploration
from features.recommend.columns import each, entries, numbers, rows_of
from features.recommend.evidence import Ranker
from features.recommend.shape_kernels import hold_back
from features.recommend.songs import only_best

WINDOW = 400
"""Candidates from which each place of a diverse list is filled: beyond them are tracks too weak to be a choice."""
GRAM_CELLS = 8_000_000
"""Cells of likenesses of candidates at once, 32 MB; 32 users of 500 candidates."""
HEAD = 100
"""Of so many best scores of a user the spread is what damping and rotation are counted in: how far apart they are is
another matter for each blend, while the spread over all tracks tells of those that nobody would list."""
SCREEN = 10
"""Places that are looked at together: a track this much further down in the last list counts as seen half as much."""
GRID = np.float32(2.0**-11)
"""Vectors are rounded to multiples of this: sums of products of unit vectors then fit float32 and are exact, so that
likeness is the same in any order of adding and for any size of block."""


def standing(place: np.ndarray) -> np.ndarray:
    """(n,) float64 in (0, 1]: how far what stood at each place, from 0, is to give way; half as far each screen on."""
    return np.exp2(-place / SCREEN)


class Ranked(NamedTuple):
    """Lists of some users.

    Attributes:
        tracks: (n, k or all tracks) int32, best first, none twice; -1 marks an empty slot, all of them at the end.
        scores: same shape, float64 in [0, 1], not rising; of an empty slot it means nothing.
        explores: same shape, bool: places given to tracks that are new here; None where no list explores.
    """

    tracks: np.ndarray
    scores: np.ndarray
    explores: np.ndarray | None = None

    def row(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """One user's tracks and scores, without empty slots."""
        filled = self.tracks[row] >= 0
        return self.tracks[row][filled], self.scores[row][filled]

    def explored(self, row: int) -> list[int]:
        """The tracks of one user's list that stand at places that explore."""
        return [] if self.explores is None else self.tracks[row][self.explores[row]].tolist()


@dataclass(frozen=True, eq=False)
class Shaper:
    """Makes lists of scores, as `recommendations.*` says.

    Attributes:
        how: the knobs.
        artist: (tracks,) int, number of the first artist; -1 unknown.
        fame: (tracks,) float64, standard score of log(1 + listeners) over all tracks.
        known: (users, tracks) bool CSR, what each user has heard or said something of.
        song: (tracks,) int, releases of one song have one number of 0 or more; None where all may stand in one list.
        vectors: (tracks, d) float32 on `GRID`, unit length or zero: what tracks are alike by; None where nothing asks.
        last: by strategy, (users, tracks) CSR: `standing` in the last release's list, of users whose taste has not
            moved since. Empty without such a release.
        exploration: what places hybrid lists give to tracks that are new here; None for none.
    """

    how: RecommendationParameters
    artist: np.ndarray
    fame: np.ndarray
    known: sp.csr_matrix
    song: np.ndarray | None = None
    vectors: np.ndarray | None = None
    last: Mapping[str, sp.csr_matrix] = field(default_factory=dict)
    exploration: Exploration | None = None

    @classmethod
    def of(cls, ranker: Ranker, parameters: NightlyParameters, last: Mapping[str, sp.csr_matrix] | None = None) -> Self:
        """The shaper for what a ranker scores."""
        catalog, how = ranker.dataset.catalog, parameters.recommendations
        vectors = None
        if how.diversity > 0:
            kind = parameters.embeddings
            content, _ = content_vectors(catalog, dimensions=kind.content_dimensions, seed=kind.seed)
            vectors = (np.rint(content / GRID) * GRID).astype(np.float32)
        fame = standardized(np.log1p(ranker.listeners)[None, :])[0]
        explored = exploration(
            ranker.dataset,
            ranker.listeners,
            share=how.exploration,
            seed=parameters.ranking.seed,
            max_per_artist=how.max_per_artist,
        )
        known, filters = ranker.interactions.known, ranker.filters
        if how.include_heard and filters.known_otherwise.nnz:
            known = known + filters.known_otherwise
        song = filters.song if (filters.song >= 0).any() else None
        return cls(how, catalog.artist, fame, known, song, vectors, last or {}, explored)

    def lists(
        self,
        strategy: str,
        users: np.ndarray,
        scores: np.ndarray,
        *,
        damped: bool = True,
        tracks: np.ndarray | None = None,
    ) -> Ranked:
        """The lists of one strategy.

        In this order: popularity is damped; of each song's releases the best stays; what stood in the last list loses;
        of each artist's tracks the best few go first; at least the share asked for is new to the user, at every length
        of the list (rounded down); what is like a track further up goes behind. Limits on artists and repeats give way
        where nothing else is left. Of a hybrid list, last, a share of the places is given to tracks that are new here.

        A written score is 1 / (1 + exp(-z / 2)), z the track's standard score among all the user may be shown, after
        damping: 0.5 is average, 0.92 five spreads above. It says how far a track stands out for this user, not a
        probability. Where a knob put a weaker track further up, what follows is written with no more than that one's:
        a score is at most the track's own. What explores is written with the score of the place before it.

        A shorter list is a prefix of a longer one, whatever the knobs: no place looks at what is behind it.

        Args:
            strategy: its name.
            users: (n,) whose lists.
            scores: (n, tracks) float; -inf for what must not be listed. Not changed.
            damped: False for a list that is popularity itself, or made of the user's own words.
            tracks: what the columns stand for (`columns`).
        """
        standard = standardized(scores)
        if damped and self.how.damping > 0:
            standard = standardized(standard - self.how.damping * _spread(standard) * each(self.fame, tracks))
        # before the last list has its say, or another release of a song would take its place
        best = standard if self.song is None else only_best(standard, each(self.song, tracks))
        rested = self._rested(strategy, users, best, tracks)
        chosen, explores = self._chosen(rested, users, tracks), None
        if self.exploration is not None and strategy == "hybrid":
            known = entries(self.known, users, tracks) if self.how.include_heard else None
            chosen, explores = self.exploration.into(chosen, users, rested, known, tracks)
        own = np.take_along_axis(standard, np.maximum(chosen, 0), axis=1) if chosen.size else np.zeros(chosen.shape)
        with np.errstate(over="ignore"):
            written = np.round(1.0 / (1.0 + np.exp(-own / 2.0)), 6)
        if explores is not None:
            written[explores] = 1.0  # so that the place before decides
        return Ranked(numbers(chosen, tracks), np.minimum.accumulate(written, axis=1), explores)

    def _rested(self, strategy: str, users: np.ndarray, standard: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
        """What stood in the last list loses `rotation` spreads at its head, half as many each screen further down.

        So no track gets in for one that is better by more than that.
        """
        last = self.last.get(strategy)
        if last is None or self.how.rotation == 0:
            return standard
        return standard - self.how.rotation * _spread(standard) * entries(last, users, tracks)

    def _chosen(self, values: np.ndarray, users: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
        """(n, k) int32: columns, best first; -1 for empty slots."""
        how, k = self.how, min(self.how.k, values.shape[1])
        known = entries(self.known, users, tracks) if how.include_heard and how.discovery > 0 else None
        if self.vectors is None or not self.vectors.any():
            return _arranged(values, self.artist, known, how, k, tracks).tracks
        chosen = np.full((len(values), k), -1, np.int32)
        width = min(k + WINDOW, values.shape[1])
        step = max(1, GRAM_CELLS // max(width * width, 1))
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            of = rows_of(tracks, rows)
            found = _arranged(values[rows], self.artist, None if known is None else known[rows], how, width, of)
            relevance = _relevance(np.take_along_axis(values[rows], np.maximum(found.tracks, 0), axis=1), found.tracks)
            own = self.vectors[numbers(found.tracks, of)]
            alike = np.maximum(own @ own.transpose(0, 2, 1), 0.0)
            order = _picked(found, relevance, alike, how, k)
            chosen[rows] = np.take_along_axis(found.tracks, order, axis=1)
        return chosen


class _Pool(NamedTuple):
    """Candidates of some users, best first: (n, c) int32 columns or -1, (n, c) levels, (n, c) bool new to the user.

    Level 0 is within the limit on artists, 1 beyond it, 2 an empty slot.
    """

    tracks: np.ndarray
    level: np.ndarray
    new: np.ndarray

    def at(self, order: np.ndarray) -> "_Pool":
        return _Pool(*(np.take_along_axis(part, order, axis=1) for part in self))


def _arranged(
    values: np.ndarray,
    artist: np.ndarray,
    known: np.ndarray | None,
    how: RecommendationParameters,
    count: int,
    of: np.ndarray | None = None,
) -> _Pool:
    """The best `count` by value within the limits on artists and repeats, then what the limits hold back.

    Only as many of the best are looked at as settle it: what is over an artist's limit is so by better tracks alone.
    """
    size = count if how.max_per_artist == 0 and known is None else min(values.shape[1], 2 * count)
    shape = (len(values), count)
    found = _Pool(np.full(shape, -1, np.int32), np.full(shape, 2, np.int8), np.ones(shape, bool))
    rows = np.arange(len(values))
    while len(rows):
        best = top_k(values if len(rows) == len(values) else values[rows], size)
        new = np.ones(best.shape, bool) if known is None else ~known[rows[:, None], best]
        pool = _Pool(best, _levels(numbers(best, rows_of(of, rows)), artist, how.max_per_artist), new)
        within = pool.level == 0
        done = (within.sum(axis=1) >= count) & ((within & new).sum(axis=1) >= _owed(how, count))
        done |= (pool.level == 2).any(axis=1) | (size in (count, values.shape[1]))  # there is no more to look at
        settled = _Pool(*(part[done] for part in pool))
        if known is None:
            order = np.argsort(settled.level, axis=1, kind="stable")[:, :count]
        else:
            order = _picked(settled, -np.arange(size, dtype=np.float32), None, how, count)
        for whole, part in zip(found, settled.at(order), strict=True):
            whole[rows[done]] = part
        rows, size = rows[~done], min(values.shape[1], 4 * size)
    return found


def _levels(tracks: np.ndarray, artist: np.ndarray, most: int) -> np.ndarray:
    """(n, c) int8: 2 for empty slots, 1 for a track that `most` of its artist's stand before, 0 for the others."""
    levels = np.where(tracks < 0, np.int8(2), np.int8(0))
    if most > 0:
        hold_back(tracks, artist, most, np.zeros(int(artist.max(initial=-1)) + 1, np.int32), levels)
    return levels


def _owed(how: RecommendationParameters, places: int) -> int:
    """How many of the first so many places are to be new to the user."""
    return int(np.floor(how.discovery * places + 1e-9))


def _spread(values: np.ndarray) -> np.ndarray:
    """(n, 1) float64: standard deviation of each user's `HEAD` best values; 0 where there are fewer than two."""
    best = np.partition(values, -HEAD, axis=1)[:, -HEAD:] if values.shape[1] > HEAD else values
    best = np.sort(best, axis=1)  # a sum in another order is another sum
    finite = np.isfinite(best)
    count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    mean = np.where(finite, best, 0.0).sum(axis=1, keepdims=True) / count
    with np.errstate(invalid="ignore"):
        apart = np.where(finite, best - mean, 0.0)
    return np.sqrt((apart**2).sum(axis=1, keepdims=True) / count)


def _relevance(values: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """(n, c) float32: values from 0 for the worst to 1 for the best of a window's candidates; below 0 behind it."""
    counted = (tracks >= 0) & (np.arange(tracks.shape[1]) < WINDOW)
    high = np.where(counted, values, -np.inf).max(axis=1, keepdims=True)
    low = np.where(counted, values, np.inf).min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = (values - low) / (high - low)
    return np.where((tracks >= 0) & (high > low), scaled, 0.0).astype(np.float32)


def _picked(
    pool: _Pool, relevance: np.ndarray, alike: np.ndarray | None, how: RecommendationParameters, count: int
) -> np.ndarray:
    """(n, count) int: positions in the pool, place by place the one with the most marginal relevance.

    That is (1 - diversity) · relevance - diversity · the likeness to the most alike track picked before. Levels go in
    their order, and where the share of new tracks would be missed a new one of the same level goes first, if there is
    one. Ties go to the better candidate.

    Args:
        pool: candidates.
        relevance: (n, c) or (c,) float32.
        alike: (n, c, c) float32 likeness; None for no diversity.
        how: the knobs.
        count: places, at most c.

    Source:
        Carbonell & Goldstein (1998), "The use of MMR, diversity-based reranking for reordering documents and producing
        summaries".
    """
    size = pool.tracks.shape[1]
    rows = np.arange(len(pool.tracks))
    gain = np.broadcast_to(relevance, pool.tracks.shape)
    nearest = np.zeros(pool.tracks.shape, np.float32)
    used = np.full(pool.tracks.shape, 0, np.int8)
    fresh = np.zeros(len(rows), np.int64)
    picked = np.zeros((len(rows), count), np.int64)
    for place in range(count):
        level = pool.level + used  # what is used stands behind everything
        level[:, place + WINDOW if alike is not None else size :] = 4
        open_ = level == level.min(axis=1, keepdims=True)
        new = open_ & pool.new
        owing = (fresh < _owed(how, place + 1)) & new.any(axis=1)
        open_ = np.where(owing[:, None], new, open_)
        marginal = gain if alike is None else (1 - how.diversity) * gain - how.diversity * nearest
        best = np.argmax(np.where(open_, marginal, -np.inf), axis=1)
        picked[:, place] = best
        used[rows, best] = 4
        fresh += pool.new[rows, best]
        if alike is not None:
            nearest = np.maximum(nearest, alike[rows, best])
    return picked
