"""Why a track is in a list: what moved it most there comes first, each a fact that can be looked up again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from features.recommend.blend import Standard
from features.recommend.content_kernels import content_parts
from features.recommend.fact_kernels import first_kinds
from features.recommend.facts import SOON_LISTENERS, Facts, Offer, entries_of
from features.recommend.listed import Listed
from features.recommend.models import EVERYONE
from features.recommend.models.content import Content
from features.recommend.seeds import Movers, Parts, distinct
from features.recommend.sound_kernels import closest_in_sound, nearest_in_sound
from features.recommend.texts import MOST_REASONS, Sentences, distinct_texts
from features.recommend.wording import (
    ALBUM,
    ARTIST,
    AUDIO,
    GENRE,
    KINDS,
    NEIGHBORS,
    OWN,
    POPULAR,
    SOON,
    TRACK,
    Found,
    Words,
    listeners_in_words,
)

CLOSE_AUDIO = 0.05
"""Two scaled audio features no further apart than this are called close."""
GENRE_SHARE = 0.10
"""From this share of the plays on, a genre is called the user's."""
ARTIST_PLAYS = 2
"""Plays of an artist from which on they are a reason: one may be chance."""
NO_KIND = -1
KIND_OF = {
    "user_knn": "neighbors",
    "user_ease": "neighbors",
    "proximity": "soon",
    "proximity_ease": "soon",
    "personal": "own",
    "popular": "popular",
    "late": "",
    "content": "",
}
"""What a model's part in a score is a reason of: "track" for all others; content is taken apart by kind."""


@dataclass(frozen=True, eq=False)
class Told:
    """Reasons and seeds of a block of lists.

    Attributes:
        listed: the lists.
        reasons: of each entry, one to three.
        seeds: (n, strategies, 5) int64: the user's own tracks that moved each list most; -1 for none, at the end.
    """

    listed: Listed
    reasons: Sentences
    seeds: np.ndarray


class Explainer:
    """Explains lists; made once for a release, since it counts what is said.

    The first reason of a track is of what gave it the most of its blended score, among what there is a fact to name of;
    then come the others that gave something, then facts that gave nothing. That nobody has played a track is said too.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def told(
        self,
        users: np.ndarray,
        rows: np.ndarray,
        standard: Mapping[str, Standard],
        lists: Mapping[str, np.ndarray],
        tracks: np.ndarray | None = None,
    ) -> Told:
        """Reasons and seeds of the lists of a block of users.

        Args:
            users: (n,) their numbers.
            rows: (n,) their rows in `standard`.
            standard: of all models that the strategies' recipes ask.
            lists: by strategy, (n, k) int32 tracks, none twice in a row; -1 marks empty slots, at the end.
            tracks: what the columns of `standard` stand for (`columns`).
        """
        evidence = self.facts.evidence
        listed = Listed.of(users, lists, len(evidence.dataset.tracks))
        at = rows[listed.row], listed.track if tracks is None else listed.columns(tracks[rows])
        parts = Parts.of(
            listed,
            evidence.recipes,
            evidence.history.degree[users],
            {name: of_model.scores[at] for name, of_model in standard.items()},
            {name: of_model.spread[rows] for name, of_model in standard.items()},
        )
        block = _Block(self.facts, listed, parts)
        return Told(listed, block.reasons(), block.seeds())


class _Block:
    """The reasons of one block of lists, in the making.

    What is cheap is known of all entries. A track of the history, what others went on from and what sounds alike are
    asked for where they would be among the first three reasons, and again where what was asked for is not there.
    """

    def __init__(self, facts: Facts, listed: Listed, parts: Parts) -> None:
        self.facts, self.listed, self.parts = facts, listed, parts
        self.offer: Offer = facts.offer(listed)
        evidence = facts.evidence
        self.movers = Movers(evidence.models, evidence.history.weights, parts)
        self.by_track = [name for name in parts.part if KIND_OF.get(name, "track") == "track"]
        self.soon = [name for name in parts.part if KIND_OF.get(name) == "soon"]
        self.others = [name for name in parts.part if name not in (*self.by_track, *EVERYONE)]
        entries, pairs = len(listed.pair), len(listed.track)
        self.found = Found(
            *(np.full(entries, -1, np.int64), np.full(entries, -1, np.int64), np.zeros(entries, np.int64)),
            *(np.zeros((pairs, 2), np.int8), np.zeros((pairs, 2), bool), np.full(pairs, -1, np.int64)),
        )
        everything = np.arange(entries)
        self.found.track[:] = self.movers.strongest(self.by_track, everything, summed=True)

    @cached_property
    def usual_sound(self) -> np.ndarray:
        """(n, 7) float64 of the lists' users, as `Facts.usual_sound`."""
        return self.facts.usual_sound(self.listed.users)

    def seeds(self) -> np.ndarray:
        """(n, strategies, 5) int64, as `Told.seeds`."""
        return self.movers.seeds(self.others)

    def reasons(self) -> Sentences:
        """As `Told.reasons`."""
        listed, facts = self.listed, self.facts
        kinds, listeners = self._kinds(), facts.evidence.listeners[listed.track[listed.pair]]
        kinds[listeners == 0, MOST_REASONS - 1] = NO_KIND  # room for saying that nobody has played it
        count = (kinds != NO_KIND).sum(axis=1)
        more = np.flatnonzero((listeners == 0) | (count == 0))
        words = Words(facts, listed, self.offer, self.found)
        said = [(entry, place, words.of(kind, entry)) for kind, (entry, place) in enumerate(_by_kind(kinds))]
        said.append((more, count[more], distinct_texts(listeners_in_words, listeners[more])))
        return Sentences.of(len(kinds), said)

    def _kinds(self) -> np.ndarray:
        """(m, 3) int8: the kinds of reasons of each entry, best first; -1 for none."""
        amounts, possible = self._amounts(), self._possible()
        known = np.zeros(possible.shape, bool)
        ask = {TRACK: self._tracks, SOON: self._soon, AUDIO: self._sounds}
        chosen = np.empty((possible.shape[1], MOST_REASONS), np.int8)
        unsettled = np.arange(len(chosen))
        while len(unsettled):
            first_kinds(unsettled, amounts, possible, chosen)
            refused = np.zeros(len(chosen), bool)
            for kind, answer in ask.items():
                entries = np.flatnonzero(_among(chosen, kind) & ~known[kind])
                if len(entries):
                    known[kind, entries], possible[kind, entries] = True, answer(entries)
                    refused[entries] |= ~possible[kind, entries]
            unsettled = np.flatnonzero(refused)
        return chosen

    def _amounts(self) -> np.ndarray:
        """(kinds, m) float64: what of each entry's blended score is of each kind."""
        amounts = np.zeros((len(KINDS), len(self.listed.pair)))
        for name, part in self.parts.part.items():
            if kind := KIND_OF.get(name, "track"):
                amounts[KINDS.index(kind)] += part
        model = self.facts.evidence.models.get("content")
        if isinstance(model, Content) and "content" in self.parts.say:
            spread = self.parts.spread["content"][self.listed.owner]
            say = np.divide(self.parts.say["content"], spread, out=np.zeros(len(spread)), where=spread > 0)
            for kind, of_pairs in content_parts(model, self.listed).items():
                if kind in KINDS:
                    amounts[KINDS.index(kind)] += say * of_pairs[self.listed.pair]
        return amounts

    def _possible(self) -> np.ndarray:
        """(kinds, m) bool: what there is a fact to name of, or may be."""
        offer, pair = self.offer, self.listed.pair
        possible = np.zeros((len(KINDS), len(pair)), bool)
        possible[OWN] = offer.own[pair] > 0
        possible[NEIGHBORS] = offer.neighbors[pair] > 0
        possible[ARTIST] = offer.artist[pair] >= ARTIST_PLAYS
        possible[TRACK] = (self.found.track >= 0) | np.isfinite(self.parts.spoken(self.others)).any(axis=0)
        possible[SOON] = np.isfinite(self.parts.spoken(self.soon)).any(axis=0)
        possible[ALBUM] = offer.album[pair] > 0
        possible[GENRE] = offer.genre_share[pair] >= GENRE_SHARE
        possible[AUDIO] = self.facts.has_sound[self.listed.track[pair]]
        listeners = self.facts.evidence.listeners[self.listed.track[pair]]
        popular = self.parts.part.get("popular")
        possible[POPULAR] = False if popular is None else (popular > 0) & (listeners > 0)
        return possible

    def _tracks(self, entries: np.ndarray) -> np.ndarray:
        """(a,) bool: whether a track of the history moved the entry."""
        unknown = entries[self.found.track[entries] < 0]
        self.found.track[unknown] = self.movers.strongest(self.others, unknown)
        return self.found.track[entries] >= 0

    def _soon(self, entries: np.ndarray) -> np.ndarray:
        """(a,) bool: whether enough listeners went on to the entry's track from one of the history."""
        track = self.listed.track[self.listed.pair[entries]]
        source = self.movers.strongest(self.soon, entries)
        known = source >= 0
        self.found.soon[entries] = source
        self.found.followed[entries[known]] = entries_of(self.facts.counts.soon_after, source[known], track[known])
        return self.found.followed[entries] >= SOON_LISTENERS

    def _sounds(self, entries: np.ndarray) -> np.ndarray:
        """(a,) bool: whether the entry's track is close in sound to one of the history, or to what is usual."""
        pairs = distinct(self.listed.pair[entries], len(self.listed.track))
        listed, audio = self.listed, self.facts.sound
        users, track = listed.users[listed.row[pairs]], listed.track[pairs]
        history = self.facts.evidence.history.weights
        like = np.empty(len(pairs), np.int64)
        nearest_in_sound(0, len(pairs), users, track, history.indptr, history.indices, audio, like)
        features, near = np.empty((len(pairs), 2), np.int8), np.empty((len(pairs), 2), bool)
        closest_in_sound(track, like, listed.row[pairs], audio, self.usual_sound, CLOSE_AUDIO, features, near)
        self.found.features[pairs], self.found.near[pairs], self.found.like[pairs] = features, near, like
        return self.found.near[self.listed.pair[entries]].any(axis=1)


def _among(chosen: np.ndarray, kind: int) -> np.ndarray:
    """(m,) bool: whether a kind is in each of (m, most) rows."""
    found: np.ndarray = np.logical_or.reduce([column == kind for column in chosen.T])
    return found


def _by_kind(kinds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each kind, where in (m, most) `kinds` it stands: rows and columns, row by row."""
    where = np.argsort(kinds, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(kinds.ravel() - NO_KIND, minlength=len(KINDS) - NO_KIND))
    for begin, end in pairwise(ends.tolist()):
        row, column = np.divmod(where[begin:end], kinds.shape[1])
        yield row, column
