"""Where there is little to go by: what is popular in a newcomer's country, and places for tracks that nobody plays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Dataset
from features.compute.gather import entries_at
from features.compute.ids import Vocabulary
from features.compute.interactions import Interactions
from features.recommend.columns import each
from features.recommend.shape_kernels import best_new
from features.recommend.texts import Sentences, distinct_texts

HOME_LISTENERS = 200.0
"""Listeners of a country from which on it says as much of what is popular there as everybody does."""
FIRST_PLACES = 5
"""Places of a list that never explore: what a listener judges it by."""
HARDLY_ANYBODY = 1
"""Listeners up to which a track is new here."""
GOLDEN = (5.0**0.5 - 1.0) / 2.0


@dataclass(frozen=True, eq=False)
class Markets:
    """Who listens to what in which country.

    Attributes:
        countries: row of each country that somebody has in their account.
        counts: (countries, tracks) int64 CSR, listeners; indices sorted.
        size: (countries,) int64, who listens to anything.
        everywhere: (tracks,) int64, listeners, of whatever country.
        listeners: who listens to anything.
    """

    countries: Mapping[str, int]
    counts: sp.csr_matrix
    size: np.ndarray
    everywhere: np.ndarray
    listeners: int

    @classmethod
    def of(cls, dataset: Dataset, interactions: Interactions) -> Self:
        """Counts."""
        names = sorted({country for country in dataset.country if country is not None})
        countries = {country: row for row, country in enumerate(names)}
        row = np.array([-1 if country is None else countries[country] for country in dataset.country], np.int64)
        played, tracks = interactions.plays, interactions.plays.shape[1]
        active = np.diff(played.indptr) > 0
        size = np.bincount(row[active & (row >= 0)], minlength=len(names))
        everywhere = np.bincount(played.indices, minlength=tracks)
        # a country at a time: their product would take as much memory as all plays
        homes = [np.flatnonzero(row == number) for number in range(len(names))]
        rows = [sp.csr_matrix(np.bincount(played[home].indices, minlength=tracks)[None, :]) for home in homes]
        counts = sp.vstack(rows, format="csr") if rows else sp.csr_matrix((0, tracks), dtype=np.int64)
        return cls(countries, counts, size, everywhere, int(active.sum()))

    def scores(self, country: str | None, home_listeners: float = HOME_LISTENERS) -> np.ndarray:
        """(tracks,) float64: what is popular there; -inf for what nobody listens to anywhere.

        Logarithms of 1 + listeners, were all listeners like those of the country: of its `size` listeners n play the
        track, of all m of N; the share of its listeners is (n + 200 · m / N) / (size + 200), so that a country of few,
        or one that is not known, has what is popular everywhere.

        Args:
            country: as accounts have it; None for unknown.
            home_listeners: the 200, above 0.
        """
        share = self.everywhere / max(self.listeners, 1)
        row = self.countries.get(country) if country is not None else None
        if row is not None:
            here = self.counts[row].toarray()[0]
            share = (here + home_listeners * share) / (self.size[row] + home_listeners)
        return np.where(self.everywhere > 0, np.log1p(share * self.listeners), -np.inf)

    def scores_of(self, countries: Sequence[str | None], home_listeners: float = HOME_LISTENERS) -> np.ndarray:
        """(n, tracks) float64: `scores` of each of them."""
        rows = {country: self.scores(country, home_listeners) for country in dict.fromkeys(countries)}
        return np.array([rows[country] for country in countries]).reshape(len(countries), len(self.everywhere))

    def speaks(self, country: str | None) -> bool:
        """Whether anybody of the country listens to anything."""
        row = self.countries.get(country) if country is not None else None
        return row is not None and bool(self.size[row] > 0)

    def reasons(self, countries: Sequence[str | None], owner: np.ndarray, tracks: np.ndarray) -> Sentences:
        """One or two for each entry of some lists: how many listen to it there, and everywhere.

        Args:
            countries: (n,) of the lists.
            owner: (m,) the list of each entry.
            tracks: (m,) its track.
        """
        names = list(self.countries)
        rows = np.array([-1 if country is None else self.countries.get(country, -1) for country in countries], np.int64)
        known = np.flatnonzero(rows[owner] >= 0)
        row, here = rows[owner[known]], np.zeros(len(tracks), np.int64)
        here[known] = entries_at(self.counts, row, tracks[known, None])[:, 0]
        at_home = np.flatnonzero(here)
        home = distinct_texts(
            lambda row, count: f"Played by {_listeners(count)} in {names[row]}", rows[owner[at_home]], here[at_home]
        )
        everywhere = distinct_texts(lambda count: f"Played by {_listeners(count)}", self.everywhere[tracks])
        return Sentences.in_turn(len(tracks), [(at_home, home), (np.arange(len(tracks)), everywhere)])


@dataclass(frozen=True, eq=False)
class Exploration:
    """A share of places for tracks that nobody, or hardly anybody, has played, so that they get a chance to be heard.

    A list is cut into stretches of 1 / `share` places, and one place of each, by chance, is for the track that stands
    highest of those that are new here. Not the first five. A list that holds as many new ones by then stays as it is.

    Attributes:
        share: of the places.
        new: (tracks,) bool, those of at most `HARDLY_ANYBODY` listeners.
        chance: (users,) float64 in [0, 1).
        artist: (tracks,) int, number of the first artist; -1 unknown.
        max_per_artist: as lists have it; 0 for any.
    """

    share: float
    new: np.ndarray
    chance: np.ndarray
    artist: np.ndarray
    max_per_artist: int = 0

    def places(self, users: np.ndarray, k: int) -> np.ndarray:
        """(n, stretches) int64, ascending: places from 0 that explore; -1 where a stretch has none.

        They are the same for a longer list.
        """
        edge = np.round(np.arange(int(np.ceil(k * self.share)) + 2) / self.share).astype(np.int64)
        low, high = np.maximum(edge[:-1], FIRST_PLACES), edge[1:]
        part = (self.chance[users][:, None] + np.arange(len(low)) * GOLDEN) % 1.0
        place = low + np.floor(part * (high - low)).astype(np.int64)
        return np.where((high > low) & (place < k), place, -1)

    def into(
        self,
        tracks: np.ndarray,
        users: np.ndarray,
        values: np.ndarray,
        known: np.ndarray | None = None,
        of: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lists with their exploring places.

        A track explores that is new here, stands in the better half of all that its user may be shown, and is within
        the limit on artists even if the better ones of its artist come first.

        Args:
            tracks: (n, k) int32 columns, best first; -1 for empty slots, at the end. Not changed.
            users: (n,) whose.
            values: (n, tracks) float: standard scores; -inf for what must not be listed.
            known: (n, tracks) bool: what the user has heard, which is not new to them; None for what no list holds.
            of: what the columns stand for (`columns`).

        Returns:
            (n, k) int32 and (n, k) bool, which places were given.
        """
        tracks, given = tracks.copy(), np.zeros(tracks.shape, bool)
        k = tracks.shape[1]
        places = self.places(users, k) if self.new.any() else np.zeros((len(users), 0), np.int64)
        new = np.broadcast_to(each(self.new, of), values.shape)
        new = new if known is None else new & ~known
        fresh = self._best(values, new, places.shape[1], of)
        column = np.arange(k)
        before = column[None, :]
        for number in range(places.shape[1]):
            place = places[:, number, None]
            owed = (places[:, : number + 1] >= 0).sum(axis=1)
            fills = np.take_along_axis(new, np.maximum(tracks, 0), axis=1) & (tracks >= 0)
            held = (fills & (before <= place)).sum(axis=1)
            # a track further up has had its chance already
            used = ((fresh[:, :, None] == tracks[:, None, :]) & (before < place)[:, None, :]).any(axis=2)
            free = (fresh >= 0) & ~used
            rows = np.flatnonzero(
                (place[:, 0] >= 0)
                & (held < owed)
                & free.any(axis=1)
                & (np.take_along_axis(tracks, np.maximum(place, 0), axis=1)[:, 0] >= 0)
            )
            chosen = fresh[rows, np.argmax(free[rows], axis=1)]
            at, ends = place[rows], self._ends(tracks[rows], chosen)[:, None]
            source = np.where((column > at) & (column <= ends), column - 1, column)
            for whole in (tracks, given):
                whole[rows] = np.take_along_axis(whole[rows], source, axis=1)
            tracks[rows, at[:, 0]] = chosen
            given[rows, at[:, 0]] = True
        return tracks, given

    def _best(self, values: np.ndarray, new: np.ndarray, count: int, of: np.ndarray | None) -> np.ndarray:
        """(n, count) int32: the best new tracks that may explore, -1 for none."""
        best = np.empty((len(values), min(count, values.shape[1])), np.int32)
        all_tracks = np.zeros((0, 0), np.int32)
        best_new(values, new, self.artist, all_tracks if of is None else of, self.max_per_artist, best)
        return best

    @staticmethod
    def _ends(tracks: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(n,) the place that what is put in leaves free: where it stood, else the first empty one, else the last."""
        stood = tracks == chosen[:, None]
        gap = stood if not len(stood) else np.where(stood.any(axis=1, keepdims=True), stood, tracks < 0)
        return np.where(gap.any(axis=1), np.argmax(gap, axis=1), tracks.shape[1] - 1)


def exploration(
    dataset: Dataset, listeners: np.ndarray, *, share: float, seed: int, max_per_artist: int
) -> Exploration | None:
    """The exploration of a release's lists; None for none.

    Args:
        dataset: users by whose ids and the seed places are drawn, whoever else there is.
        listeners: (tracks,) int.
        share: of the places.
        seed: of the draw.
        max_per_artist: as lists have it.
    """
    if share <= 0:
        return None
    chance = chances(dataset.users, seed)
    return Exploration(share, listeners <= HARDLY_ANYBODY, chance, dataset.catalog.artist, max_per_artist)


def new_reason(listeners: int) -> str:
    """Why a track of so many listeners stands at a place that explores."""
    return f"New here: {'nobody has' if listeners == 0 else f'only {_listeners(listeners)} has'} played it yet"


def chances(users: Vocabulary, seed: int) -> np.ndarray:
    """(users,) float64 in [0, 1), evenly spread: of each id's hash, whoever else there is."""
    digests = [blake2b(f"{seed}:{user}".encode(), digest_size=6).digest() for user in users.ids()]
    return np.array([int.from_bytes(digest, "big") / 2.0**48 for digest in digests], np.float64)


def _listeners(count: int) -> str:
    return "one listener" if count == 1 else f"{count:,} listeners"
