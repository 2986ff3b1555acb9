"""Reasons in words: one sentence each, naming a fact about one user that can be looked up again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.compute.rows import sparse_row
from features.recommend.facts import Facts, day_in_words, filled
from features.schema.names import AUDIO_NAMES

RETURN_DAYS = 3
"""Who played a track on so many days lately keeps returning to it."""
FEATURE_WORDS = {
    "energy": "energy",
    "tempo": "tempo",
    "valence": "mood",
    "danceability": "danceability",
    "acousticness": "acousticness",
    "instrumentalness": "instrumentalness",
    "loudness": "loudness",
}
WORDS = tuple(FEATURE_WORDS.values())
FEATURE_COLUMNS = [AUDIO_NAMES.index(name) for name in FEATURE_WORDS]
LIKED = {"love": "loved", "like": "liked", "save": "saved", "replay": "replayed", None: "know"}
KINDS = ("own", "neighbors", "artist", "track", "soon", "album", "genre", "audio", "popular")
"""What reasons are of, in the order in which those that moved nothing are added."""


@dataclass(frozen=True, eq=False)
class Offer:
    """What can be said to one user of some tracks, whatever the strategy.

    Attributes:
        tracks: (n,) int, distinct, ascending.
        history: (h,) int32, tracks of the user.
        own: (n,) plays of the track itself.
        neighbors: (n,) how many similar users play it.
        least: (n,) the least that any of those has in common with the user.
        artist: (n,) plays of its artist.
        album: (n,) other tracks of its album that were played.
        genre: (n,) the user's most played of its genres.
        genre_share: (n,) float64, that genre's share of their plays; 0 for none.
        audio: (n, 2) places in `WORDS` of the features that are closest.
        near: (n, 2) bool, whether they are close.
        like: (n,) the track of the history that is compared with; -1 for what they usually play.
        content: by kind, (n,) standard deviations that it adds to the score by content.
    """

    tracks: np.ndarray
    history: np.ndarray
    own: np.ndarray
    neighbors: np.ndarray
    least: np.ndarray
    artist: np.ndarray
    album: np.ndarray
    genre: np.ndarray
    genre_share: np.ndarray
    audio: np.ndarray
    near: np.ndarray
    like: np.ndarray
    content: Mapping[str, np.ndarray]


class Words:
    """Texts for one user; what is said of many tracks is made once."""

    def __init__(self, facts: Facts, user: int, offer: Offer) -> None:
        self.facts, self.user, self.offer = facts, user, offer
        self.days = filled(facts.days_lately, user)
        self.heard = filled(facts.heard, user)
        self.made: dict[tuple[str, int], str] = {}
        self.sources: dict[int, tuple[str, str]] = {}

    def text(self, kind: str, column: int) -> str:
        """One reason of a kind that needs no track of the history.

        Args:
            kind: of `KINDS`.
            column: the track's place in the offer.
        """
        key = (kind, column)
        if key not in self.made:
            self.made[key] = getattr(self, f"_{kind}")(column)
        return self.made[key]

    def because(self, track: int) -> str:
        """What draws the user to a track of their history, as a reason."""
        return self._source(track)[0]

    def soon_after(self, track: int, listeners: int) -> str:
        """How many listeners went on from a track of the history."""
        return f"{listeners:,} listeners first played it soon after {self.facts.labels[track]}"

    def _source(self, track: int) -> tuple[str, str]:
        """Of a track of the history: the sentence that begins with "Because", and its name with what was done to it."""
        if track not in self.sources:
            label, plays = self.facts.labels[track], int(self.heard[track])
            if plays == 0:
                done = LIKED[self.facts.liking(self.user, track)]
                self.sources[track] = (f"Because you {done} {label}", f"{label}, which you {done}")
            else:
                times = "once" if plays == 1 else f"{plays:,} times"
                again = self.days[track] >= RETURN_DAYS
                self.sources[track] = (
                    f"Because you keep returning to {label}" if again else f"Because you played {label} {times}",
                    f"{label}, which you played {times}",
                )
        return self.sources[track]

    def _own(self, column: int) -> str:
        track, plays = int(self.offer.tracks[column]), int(self.offer.own[column])
        tracks, _ = sparse_row(self.facts.heard, self.user)
        place = int(self.facts.heard.indptr[self.user] + np.searchsorted(tracks, track))
        day = day_in_words(int(self.facts.last_at[place]))
        return f"You played it once, on {day}" if plays == 1 else f"You played it {plays:,} times, last on {day}"

    def _neighbors(self, column: int) -> str:
        count, least = int(self.offer.neighbors[column]), int(self.offer.least[column])
        tracks = "one track" if least == 1 else f"{least:,} tracks"
        if count == 1:
            return f"A listener who shares {tracks} with you plays it"
        return f"{count:,} listeners who share {tracks} or more with you play it"

    def _artist(self, column: int) -> str:
        catalog = self.facts.evidence.dataset.catalog
        name = catalog.artist_names[int(catalog.artist[self.offer.tracks[column]])]
        return f"By {name}, whom you have played {int(self.offer.artist[column]):,} times"

    def _album(self, column: int) -> str:
        count = int(self.offer.album[column])
        name = self.facts.evidence.dataset.catalog.albums[self.offer.tracks[column]]
        others = "another track" if count == 1 else f"{count:,} other tracks"
        return f"From the album {name}, of which you played {others}"

    def _genre(self, column: int) -> str:
        name = self.facts.evidence.dataset.catalog.genre_names[int(self.offer.genre[column])]
        return f"{name.capitalize()} is {self.offer.genre_share[column]:.0%} of what you play"

    def _audio(self, column: int) -> str:
        features = zip(self.offer.audio[column].tolist(), self.offer.near[column].tolist(), strict=True)
        close = " and ".join(WORDS[feature] for feature, is_near in features if is_near)
        like = int(self.offer.like[column])
        return f"Close in {close} to {'what you usually play' if like < 0 else self._source(like)[1]}"

    def _popular(self, column: int) -> str:
        return listeners_in_words(int(self.facts.evidence.listeners[self.offer.tracks[column]]))


def listeners_in_words(count: int) -> str:
    """How many have played a track."""
    if count == 0:
        return "New here: nobody has played it yet"
    return "Played by one listener" if count == 1 else f"Played by {count:,} listeners"
