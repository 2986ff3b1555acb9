"""Reasons in words: one sentence each, naming a fact about one user that can be looked up again.

Sentences of a block of users are made together, those that are the same once. Most would be of one entry alone, with
its own number in them: they are put together of few parts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from features.compute.interactions import MS_A_DAY
from features.recommend.facts import FEATURE_WORDS, Facts, Offer, day_in_words, entries_of
from features.recommend.listed import Listed
from features.recommend.texts import Texts, distinct_texts, joined

RETURN_DAYS = 3
"""Who played a track on so many days lately keeps returning to it."""
WORDS = tuple(FEATURE_WORDS.values())
CLOSE_IN = [
    ["Close in " + " and ".join(word for word in (first, second) if word) for second in ("", *WORDS)]
    for first in ("", *WORDS)
]
"""By places in `WORDS` plus one of two features, 0 for none."""
LIKED = {"love": "loved", "like": "liked", "save": "saved", "replay": "replayed", None: "know"}
KINDS = ("own", "neighbors", "artist", "track", "soon", "album", "genre", "audio", "popular")
"""What reasons are of, in the order in which those that moved nothing are added."""
OWN, NEIGHBORS, ARTIST, TRACK, SOON, ALBUM, GENRE, AUDIO, POPULAR = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class Found:
    """What was found out of entries besides what is on offer, each where it was asked for.

    Attributes:
        track: (m,) int64, the track of the history that moved each entry most.
        soon: (m,) int64, the one that others went on from.
        followed: (m,) int64, how many did.
        features: (p, 2) int8, places in `WORDS` of the features of each pair that are closest.
        near: (p, 2) bool, whether they are close.
        like: (p,) int64, the track of the history that is compared with; -1 for what they usually play.
    """

    track: np.ndarray
    soon: np.ndarray
    followed: np.ndarray
    features: np.ndarray
    near: np.ndarray
    like: np.ndarray


@dataclass(frozen=True, eq=False)
class Words:
    """Sentences on entries of lists.

    Attributes:
        facts: what is counted.
        listed: the lists.
        offer: what can be said of their pairs.
        found: what was found out besides.
    """

    facts: Facts
    listed: Listed
    offer: Offer
    found: Found

    def of(self, kind: int, entries: np.ndarray) -> Texts:
        """The sentences of one kind on (a,) entries."""
        say: Callable[[np.ndarray, np.ndarray], Texts] = getattr(self, f"_{KINDS[kind]}")
        return say(entries, self.listed.pair[entries])

    def _own(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        plays, day = self.offer.own[pair], self.facts.counts.last_day[self.offer.own_place[pair]]
        return distinct_texts(own_in_words, plays, day)

    def _neighbors(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        return distinct_texts(neighbors_in_words, self.offer.neighbors[pair], self.offer.least[pair])

    def _artist(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        artist = self.facts.evidence.dataset.catalog.artist[self.listed.track[pair]]
        names = distinct_texts(lambda one: f"By {self.facts.artist_names[one]}, whom you have played ", artist)
        return joined(names, distinct_texts(lambda plays: f"{plays:,} times", self.offer.artist[pair]))

    def _track(self, entries: np.ndarray, pair: np.ndarray) -> Texts:
        source, users = self.found.track[entries], self.listed.users[self.listed.row[pair]]
        plays, days = self.facts.plays_of(users, source), entries_of(self.facts.counts.days_lately, users, source)
        again = (plays > 0) & (days >= RETURN_DAYS)
        done = distinct_texts(_because, plays > 0, again, self._liking(users, source, plays))
        labels = distinct_texts(lambda track: self.facts.labels[track], source)
        return joined(joined(done, labels), distinct_texts(_often, plays, again))

    def _soon(self, entries: np.ndarray, _pair: np.ndarray) -> Texts:
        labels = self.facts.labels
        return joined(
            distinct_texts(
                lambda count: f"{count:,} listeners first played it soon after ", self.found.followed[entries]
            ),
            distinct_texts(lambda track: labels[track], self.found.soon[entries]),
        )

    def _album(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        names = self.facts.evidence.dataset.catalog.albums
        return distinct_texts(
            lambda track, count: (
                f"From the album {names[track]}, of which you played "
                + ("another track" if count == 1 else f"{count:,} other tracks")
            ),
            self.listed.track[pair],
            self.offer.album[pair],
        )

    def _genre(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        names = self.facts.genre_names
        percent = np.rint(self.offer.genre_share[pair] * 100.0).astype(np.int64)
        return distinct_texts(
            lambda genre, share: f"{names[genre].capitalize()} is {share}% of what you play",
            self.offer.genre[pair],
            percent,
        )

    def _audio(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        like, users = self.found.like[pair], self.listed.users[self.listed.row[pair]]
        plays = np.where(like >= 0, self.facts.plays_of(users, np.maximum(like, 0)), 1)
        features = np.where(self.found.near[pair], self.found.features[pair], -1)
        labels = self.facts.labels
        close = distinct_texts(lambda first, second: CLOSE_IN[first + 1][second + 1], *features.T)
        to = distinct_texts(lambda track: f" to {'what you usually play' if track < 0 else labels[track]}", like)
        done = distinct_texts(_done, like >= 0, plays, self._liking(users, like, plays))
        return joined(joined(close, to), done)

    def _popular(self, _entries: np.ndarray, pair: np.ndarray) -> Texts:
        return distinct_texts(listeners_in_words, self.facts.evidence.listeners[self.listed.track[pair]])

    def _liking(self, users: np.ndarray, tracks: np.ndarray, plays: np.ndarray) -> np.ndarray:
        """(a,) int64: of what has no play, the place in `LIKED` of what the user said of it."""
        liking = np.zeros(len(users), np.int64)
        for place in np.flatnonzero(plays == 0).tolist():
            liking[place] = list(LIKED).index(self.facts.liking(int(users[place]), int(tracks[place])))
        return liking


def _because(played: int, again: int, liking: int) -> str:
    """How what a user did with a track begins, up to what it is called."""
    if not played:
        return f"Because you {list(LIKED.values())[liking]} "
    return "Because you keep returning to " if again else "Because you played "


def _often(plays: int, again: int) -> str:
    """How it ends."""
    return "" if again or plays == 0 else f" {times(plays)}"


def _done(one: int, plays: int, liking: int) -> str:
    """What a user did with the one track that is spoken of, if it is one."""
    return f", which you {f'played {times(plays)}' if plays else list(LIKED.values())[liking]}" if one else ""


def own_in_words(plays: int, day: int) -> str:
    """How often a user played the track itself, and when last, in days since 1970."""
    date = day_in_words(day * MS_A_DAY)
    return f"You played it once, on {date}" if plays == 1 else f"You played it {plays:,} times, last on {date}"


def neighbors_in_words(count: int, least: int) -> str:
    """How many similar users play a track, and what each of them has in common with the user at least."""
    tracks = "one track" if least == 1 else f"{least:,} tracks"
    if count == 1:
        return f"A listener who shares {tracks} with you plays it"
    return f"{count:,} listeners who share {tracks} or more with you play it"


def times(plays: int) -> str:
    """How often."""
    return "once" if plays == 1 else f"{plays:,} times"


def listeners_in_words(count: int) -> str:
    """How many have played a track."""
    if count == 0:
        return "New here: nobody has played it yet"
    return "Played by one listener" if count == 1 else f"Played by {count:,} listeners"
