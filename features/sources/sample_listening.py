"""The sample's listeners and their plays: tastes, habits, rhythm, and what they do off taste."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from features.dates import epoch_ms
from features.sources.sample_catalog import Catalog

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
PLAYS_A_DAY = 2.0
"""The mean; a listener's own rate is lognormal around it."""
FAVOURITES = 10
SESSION_PLAYS = 6


@dataclass(frozen=True)
class Listeners:
    """Who listens: what to, how much, and when."""

    scenes: Ints
    """(n, 3) the scenes a listener likes, best first; one or two of them may repeat."""
    favourites: Ints
    """(n, FAVOURITES) artists, best first."""
    plays: Ints
    """(n,) how many to make; 0 for the few who never play anything."""
    peak_hour: Floats
    weekend: Floats
    """How readily a weekday's session moves to another day."""
    joined: Floats
    """Share of the period that had passed when the listener came."""


@dataclass(frozen=True)
class Plays:
    """Plays in the order of listener and time."""

    user: Ints
    track: Ints
    played_ms: Ints
    play_ms: Ints
    completion: Floats
    on_taste: Mask

    def only(self, keep: Mask) -> "Plays":
        """Those of the mask."""
        return Plays(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


class Ranges:
    """Weighted draws from ranges of one array, many at once."""

    def __init__(self, weight: Floats, group: Ints, groups: int) -> None:
        self._sums = np.concatenate([[0.0], np.cumsum(weight)])
        self._first = np.searchsorted(group, np.arange(groups + 1))
        self.mass = self._sums[self._first[1:]] - self._sums[self._first[:-1]]

    def draw(self, group: Ints, at: Floats) -> Ints:
        """An item of each group, by weight, for uniform numbers `at`."""
        low, high = self._first[group], self._first[group + 1]
        target = self._sums[low] + at * (self._sums[high] - self._sums[low])
        found = np.searchsorted(self._sums, target, side="right") - 1
        return np.asarray(np.clip(found, low, high - 1), dtype=np.int64)


def make_listeners(seed: int, count: int, days: int, catalog: Catalog) -> Listeners:
    """Listeners with one to three scenes each, and favourite artists there that others of the scene share."""
    rng = np.random.default_rng([seed, 2])
    mass = np.bincount(
        catalog.artist_scene[catalog.track_artist], catalog.track_weight, minlength=len(catalog.scene_genre)
    )
    chance = np.sqrt(mass) / np.sqrt(mass).sum()
    scenes = rng.choice(len(mass), (count, 3), p=chance)
    liked = rng.choice([1, 2, 3], count, p=[0.35, 0.4, 0.25])
    scenes[liked < 3, 2] = scenes[liked < 3, 0]
    scenes[liked < 2, 1] = scenes[liked < 2, 0]
    playable = np.bincount(catalog.track_artist, catalog.track_weight, minlength=len(catalog.artist_weight)) > 0
    artists = Ranges(catalog.artist_weight**0.5 * playable, catalog.artist_scene, len(mass))
    slots = rng.choice(3, (count, FAVOURITES), p=[0.65, 0.25, 0.10])
    favourites = artists.draw(np.take_along_axis(scenes, slots, axis=1), rng.random((count, FAVOURITES)))
    rate = rng.lognormal(-(0.7**2) / 2, 0.7, count)
    plays = np.maximum(1, np.round(PLAYS_A_DAY * days * rate)).astype(np.int64)
    plays[rng.random(count) < 0.03] = 0
    morning = rng.random(count) < 0.2
    return Listeners(
        scenes=scenes,
        favourites=favourites,
        plays=plays,
        peak_hour=np.where(morning, rng.normal(9, 1.5, count), rng.normal(19.5, 1.5, count)),
        weekend=rng.beta(1.2, 2.5, count),
        joined=np.where(rng.random(count) < 0.75, 0.0, rng.uniform(0, 0.6, count)),
    )


def make_plays(seed: int, listeners: Listeners, catalog: Catalog, start: datetime, end: datetime) -> Plays:
    """What the listeners played from start to end, both given in UTC, end left out."""
    rng = np.random.default_rng([seed, 3])
    user = np.repeat(np.arange(len(listeners.plays)), listeners.plays)
    if not len(user):
        none = np.empty(0, dtype=np.int64)
        return Plays(none, none, none, none, none.astype(float), none.astype(bool))
    first = np.concatenate([[0], np.cumsum(listeners.plays)[:-1]])[user]
    track = _tracks(rng, listeners, catalog, user, np.arange(len(user)) - first)
    scene = catalog.artist_scene[catalog.track_artist[track]]
    on_taste = (listeners.scenes[user] == scene[:, None]).any(axis=1)
    completion = _completion(rng, on_taste)
    play_ms = np.round(completion * catalog.duration_ms[track]).astype(np.int64)
    played_ms = _times(rng, listeners, user, play_ms, start=start, end=end)
    plays = Plays(user, track, played_ms, play_ms, completion, on_taste)
    in_time = (played_ms >= epoch_ms(start)) & (played_ms < epoch_ms(end))
    _, unlike = np.unique(np.stack([user, track, played_ms]), axis=1, return_index=True)
    distinct = np.zeros(len(user), dtype=bool)
    distinct[unlike] = True
    plays = plays.only(in_time & distinct)
    return plays.only(np.lexsort((plays.track, plays.played_ms, plays.user)))  # type: ignore[arg-type]


def _tracks(rng: np.random.Generator, listeners: Listeners, catalog: Catalog, user: Ints, position: Ints) -> Ints:
    """Listeners find tracks, at first quickly, and else return to what they found, to first and last finds."""
    size = len(user)
    new = (position == 0) | (rng.random(size) < 0.66 + 0.30 * np.exp(-position / 10))
    found = _discoveries(rng, listeners, catalog, user[new])
    so_far = np.cumsum(new)
    before_user = (so_far - new)[position == 0][np.cumsum(position == 0) - 1]
    known = so_far - before_user
    early = np.floor(known * rng.random(size) ** 1.8)
    late = known - 1 - np.floor(known * rng.random(size) ** 2.5)
    again = np.where(rng.random(size) < 0.7, early, late).astype(np.int64)
    return found[np.where(new, so_far - 1, before_user + again)]


def _discoveries(rng: np.random.Generator, listeners: Listeners, catalog: Catalog, user: Ints) -> Ints:
    """A track for each find: of a favourite artist, else of a liked scene, of its genre, or of anywhere."""
    size = len(user)
    scenes = len(catalog.scene_genre)
    weight, artist = catalog.track_weight, catalog.track_artist
    scene = catalog.artist_scene[artist]
    genre = catalog.scene_genre[scene]
    by_artist = Ranges(weight, artist, len(catalog.artist_weight))
    by_scene = Ranges(weight, scene, scenes)
    by_genre = Ranges(weight, genre, int(catalog.scene_genre.max()) + 1)
    anywhere = Ranges(weight, np.zeros_like(artist), 1)
    at = rng.random(size)
    liked = listeners.scenes[user, rng.choice(3, size, p=[0.65, 0.25, 0.10])]
    favourite = listeners.favourites[user, (FAVOURITES * rng.random(size) ** 1.7).astype(np.int64)]
    how = rng.random(size)
    found = by_artist.draw(favourite, at)
    for low, high, drawn in (
        (0.42, 0.80, by_scene.draw(liked, at)),
        (0.80, 0.92, by_genre.draw(catalog.scene_genre[liked], at)),
        (0.92, 1.00, anywhere.draw(np.zeros_like(user), at)),
    ):
        found = np.where((how >= low) & (how < high), drawn, found)
    return found


def _completion(rng: np.random.Generator, on_taste: Mask) -> Floats:
    """Most plays run to the end; a skip is early, and five times as likely off taste."""
    size = len(on_taste)
    kind = rng.random(size)
    skip = np.where(on_taste, 0.08, 0.40)
    completion = np.where(rng.random(size) < 0.7, 1.0, rng.uniform(0.9, 1.0, size))
    completion = np.where(kind < skip + 0.15, rng.uniform(0.28, 0.95, size), completion)
    return np.where(kind < skip, rng.uniform(0.01, 0.28, size), completion)


def _times(
    rng: np.random.Generator,
    listeners: Listeners,
    user: Ints,
    play_ms: Ints,
    *,
    start: datetime,
    end: datetime,
) -> Ints:
    """Plays follow each other in sessions of some six; sessions have their listener's hours and days."""
    opens = np.concatenate([[True], user[1:] != user[:-1]]) | (rng.random(len(user)) < 1 / SESSION_PLAYS)
    session = np.cumsum(opens) - 1
    owner = user[opens]
    begins = _session_starts(rng, listeners, owner, start, end)
    begins = begins[np.lexsort((begins, owner))]  # a listener's sessions in the order of time
    elapsed = np.cumsum(play_ms + rng.integers(500, 20_000, len(user)))
    before = np.concatenate([[0], elapsed[:-1]])
    return np.asarray(begins[session] + before - before[opens][session], dtype=np.int64)


def _session_starts(
    rng: np.random.Generator, listeners: Listeners, owner: Ints, start: datetime, end: datetime
) -> Ints:
    size = len(owner)
    first_ms = epoch_ms(start)
    first_day = first_ms // DAY_MS
    days = -(-epoch_ms(end) // DAY_MS) - first_day
    share = listeners.joined[owner]
    day, other = (first_day + np.floor(days * (share + (1 - share) * rng.random(size))).astype(np.int64) for _ in "ab")
    workday = (day + 3) % 7 < 5  # day 0, 1 January 1970, was a Thursday
    day = np.where(workday & (rng.random(size) < listeners.weekend[owner]), other, day)
    weekend = (day + 3) % 7 >= 5
    hour = rng.normal(listeners.peak_hour[owner], 2.2, size)
    hour = np.where(weekend & (rng.random(size) < 0.45), rng.uniform(10, 24, size), hour)
    return day * DAY_MS + np.floor((hour % 24) * HOUR_MS).astype(np.int64)
