"""Whether the reasons of a release are true: each is read back from its words and looked up in the rows.

Written from the tables alone, by slow and obvious code that shares nothing with what gives the reasons.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

Row = Mapping[str, Any]

SKIPPED, LATELY, RETURN_DAYS, SOON, CLOSE = 0.15, timedelta(days=60), 3, 10, 0.05
MOST_SEEDS = 5
SOUNDS = {
    "energy": "energy",
    "tempo": "tempo",
    "mood": "valence",
    "danceability": "danceability",
    "acousticness": "acousticness",
    "instrumentalness": "instrumentalness",
    "loudness": "loudness",
}
SCALES = {"tempo": (0.0, 250.0), "loudness": (-60.0, 60.0)}
SAID = {"loved": "love", "liked": "like", "saved": "save", "replayed": "replay"}
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass
class Verdict:
    """What was found.

    Attributes:
        lists: looked at.
        candidates: tracks in them.
        reasons: given for those.
        kinds: of reasons, by the pattern of their words.
        false: user, track and reason of each that is not true, can't be read, or stands twice.
        seeds: of those lists.
        strangers: user and seed of each seed that is none of the user's own tracks, stands twice, or is the sixth.
    """

    lists: int = 0
    candidates: int = 0
    reasons: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    false: list[tuple[str, str, str]] = field(default_factory=list)
    seeds: int = 0
    strangers: list[tuple[str, str]] = field(default_factory=list)


class Witness:
    """Knows the rows and can say whether a reason for a user and a track is true.

    Args:
        tables: plays, feedback, tracks, users, settings, sessions, acceptances, as a snapshot holds them.
        as_of: what happened from then on does not count.
        neighbors: similar users of each at most.
        min_common: tracks that they have in common at least.
    """

    def __init__(
        self, tables: Mapping[str, pa.Table], as_of: datetime, *, neighbors: int = 50, min_common: int = 5
    ) -> None:
        self.neighbors, self.min_common = neighbors, min_common
        plays = [row for row in tables["plays"].to_pylist() if row["played_at"] < as_of]
        self._know_tracks(tables["tracks"].to_pylist(), plays)
        self._know_plays(plays)
        self._know_likings(tables, as_of)
        self._know_wishes(tables)
        self.readings: list[tuple[re.Pattern[str], Callable[..., bool]]] = [
            (re.compile(words, re.DOTALL), check)
            for words, check in {
                r"You played it once, on (.+)": lambda u, t, day: self._played_it(u, t, "1", day),
                r"You played it ([\d,]+) times, last on (.+)": self._played_it,
                r"A listener who shares (one|[\d,]+) tracks? with you plays it": lambda u, t, c: self._others(
                    u, t, "1", c
                ),
                r"([\d,]+) listeners who share (one|[\d,]+) tracks? or more with you play it": self._others,
                r"By (.+), whom you have played ([\d,]+) times": self._artist,
                r"By (.+), an artist you named": self._named_artist,
                r"From the album (.+), of which you played (another track|[\d,]+ other tracks)": self._album,
                r"(.+) is (\d+)% of what you play": self._genre,
                r"(.+) is among the genres you named": self._named_genre,
                r"Close in (.+?) to what you usually play": self._sounds_as_usual,
                r"Close in (.+?) to what you asked for": self._sounds_as_asked,
                r"Close in (.+?) to (.+), which you (played once|played [\d,]+ times|\w+)": self._sounds_like,
                r"Because you keep returning to (.+)": self._keeps_returning,
                r"Because you (played) (.+) (once|[\d,]+ times)": self._because,
                r"Because you (loved|liked|saved|replayed) (.+)": self._because,
                r"([\d,]+) listeners first played it soon after (.+)": self._soon_after,
                r"Played by ([\d,]+) listeners": self._listeners_are,
                r"Played by ([\d,]+|one) listeners? in (.+)": self._listeners_there,
                r"New here: only ([\d,]+|one) listeners? ha(?:s|ve) played it yet": self._listeners_are,
                r"Played by one listener": lambda u, t: self._listeners_are(u, t, "1"),
                r"New here: nobody has played it yet": lambda u, t: self._listeners_are(u, t, "0"),
            }.items()
        ]

    def check(self, lists: Iterable[Row], found: Verdict | None = None) -> Verdict:
        """All reasons and seeds of lists: rows of `user_id`, `track_ids`, `reasons` and `seeds`.

        Args:
            lists: the rows.
            found: of other lists, to which this is added.
        """
        found = found or Verdict()
        for row in lists:
            user = row["user_id"]
            found.lists += 1
            for track, reasons in zip(row["track_ids"], row["reasons"], strict=True):
                found.candidates += 1
                found.reasons += len(reasons)
                once = 1 <= len(reasons) <= 3 and len(set(reasons)) == len(reasons)
                for reason in reasons:
                    kind = self.kind(user, track, reason)
                    found.kinds[kind or "?"] += 1
                    if kind is None or not once:
                        found.false.append((user, track, reason))
                if not reasons:
                    found.false.append((user, track, ""))
            seeds = list(row["seeds"])
            found.seeds += len(seeds)
            for place, seed in enumerate(seeds):
                own = self.count(user, seed) or (user, seed) in self.likings
                if not own or seed in seeds[:place] or place >= MOST_SEEDS:
                    found.strangers.append((user, seed))
        return found

    def kind(self, user: str, track: str, reason: str) -> str | None:
        """The pattern by which a reason is true; None if it can't be read or is false."""
        for words, check in self.readings:
            match = words.fullmatch(reason)
            if match and check(user, track, *match.groups()):
                return words.pattern
        return None

    def _played_it(self, user: str, track: str, times: str, day: str) -> bool:
        moments = self.heard[user].get(track, [])
        last = max(moments, default=None)
        return (
            last is not None
            and len(moments) == number(times)
            and day == f"{last.day} {MONTHS[last.month - 1]} {last.year}"
        )

    def _others(self, user: str, track: str, count: str, common: str) -> bool:
        theirs = [shared for other, shared in self.closest(user) if track in self.heard[other]]
        return len(theirs) == number(count) and min(theirs, default=0) == number(common)

    def _artist(self, user: str, track: str, artist: str, times: str) -> bool:
        plays = sum(len(moments) for heard, moments in self.heard[user].items() if self._artist_of(heard) == artist)
        return self._artist_of(track) == artist and plays == number(times) >= 2

    def _named_artist(self, user: str, track: str, artist: str) -> bool:
        return self._artist_of(track) == artist and artist.strip().lower() in self.named_artists[user]

    def _album(self, user: str, track: str, album: str, others: str) -> bool:
        mine = self._album_of(track)
        heard = {other for other in self.heard[user] if self._album_of(other) == mine}
        count = 1 if others == "another track" else number(others.partition(" ")[0])
        return self.tracks[track]["album"] == album and len(heard - {track}) == count

    def _genre(self, user: str, track: str, genre: str, percent: str) -> bool:
        for name in self.tracks[track]["genres"]:
            if name.capitalize() == genre:
                share = self.plays_of_genre(user, name) / max(self.plays_of_genre(user, None), 1)
                return f"{share:.0%}" == f"{percent}%" and share >= 0.1
        return False

    def _named_genre(self, user: str, track: str, genre: str) -> bool:
        return any(g.capitalize() == genre and g in self.named_genres[user] for g in self.tracks[track]["genres"])

    def _sounds_as_usual(self, user: str, track: str, words: str) -> bool:
        return all(near(self._sound(track, name), self.usual(user, name), CLOSE) for name in sounds(words))

    def _sounds_as_asked(self, user: str, track: str, words: str) -> bool:
        wanted = self.wanted[user]
        return all(near(self._sound(track, name), wanted.get(name, math.nan), 2 * CLOSE) for name in sounds(words))

    def _sounds_like(self, user: str, track: str, words: str, label: str, done: str) -> bool:
        verb, _, times = done.partition(" ")
        return len(sounds(words)) == 2 and any(
            other != track
            and self._did(user, other, verb, times)
            and all(near(self._sound(track, name), self._sound(other, name), CLOSE) for name in sounds(words))
            for other in self.called[label]
        )

    def _keeps_returning(self, user: str, track: str, label: str) -> bool:
        return any(other != track and self._days_lately(user, other) >= RETURN_DAYS for other in self.called[label])

    def _because(self, user: str, track: str, verb: str, label: str, times: str = "") -> bool:
        return any(
            other != track and self._did(user, other, verb, times) and self._days_lately(user, other) < RETURN_DAYS
            for other in self.called[label]
        )

    def _soon_after(self, user: str, track: str, count: str, label: str) -> bool:
        return any(
            other != track
            and (self.count(user, other) > 0 or (user, other) in self.likings)
            and self.went_on(other, track) == number(count) >= 3
            for other in self.called[label]
        )

    def _listeners_are(self, _user: str, track: str, count: str) -> bool:
        return self.listeners[track] == number(count)

    def _listeners_there(self, _user: str, track: str, count: str, country: str) -> bool:
        return sum(self.country.get(other) == country for other in self.who[track]) == number(count) > 0

    def _did(self, user: str, track: str, verb: str, times: str) -> bool:
        """Whether a user played a track so often, or not at all and said that of it, and nothing stronger."""
        if verb == "played":
            return self.count(user, track) == (1 if times == "once" else number(times.partition(" ")[0])) > 0
        return self.count(user, track) == 0 and self.likings.get((user, track)) == SAID[verb]

    def count(self, user: str, track: str) -> int:
        """Plays that were not skipped."""
        return len(self.heard[user].get(track, ()))

    def _days_lately(self, user: str, track: str) -> int:
        return len({at.date() for at in self.heard[user].get(track, ()) if at > self.newest - LATELY})

    def _artist_of(self, track: str) -> str | None:
        artists = self.tracks[track]["artists"]
        return artists[0] if artists else None

    def _album_of(self, track: str) -> tuple[str | None, ...]:
        """What tells an album apart: its id, else its name and first artist."""
        known = self.tracks[track]
        return (known["album_id"],) if known.get("album_id") else (known["album"], self._artist_of(track))

    def _sound(self, track: str, name: str) -> float:
        low, width = SCALES.get(name, (0.0, 1.0))
        value = self.tracks[track].get(name)
        return math.nan if value is None else (value - low) / width

    def _know_tracks(self, rows: list[Row], plays: list[Row]) -> None:
        """Of each track the later document's word; what that lacks, from the newest play that says it."""
        self.tracks: dict[str, dict[str, Any]] = defaultdict(lambda: {"artists": [], "genres": set(), "album": None})
        for row in sorted(rows, key=lambda row: row["document_id"]):
            artists = row["artists"] or []
            self.tracks[row["track_id"]] = {
                "name": row["name"] or None,
                "album": row["album"] or None,
                "album_id": row.get("album_id"),
                "artists": [artist["name"] for artist in artists if artist["name"]],
                "genres": {g.strip().lower() for artist in artists for g in artist["genres"] or [] if g.strip()},
                "duration_ms": row["duration_ms"],
                **{name: missing(name, row[name]) for name in SOUNDS.values()},
            }
        lacking: dict[str, set[str]] = {}
        for row in sorted(plays, key=lambda row: (row["played_at"], row["document_id"]), reverse=True):
            known = self.tracks[row["track_id"]]
            if row["track_id"] not in lacking:
                lacking[row["track_id"]] = {
                    name
                    for name in ("name", "artists", "genres", *SOUNDS.values())
                    if known.get(name) in (None, [], set())
                }
            wanted = lacking[row["track_id"]]
            given: dict[str, Any] = {
                "name": row["track_name"] or None,
                "artists": [row["artist_name"]] if row["artist_name"] else None,
                "genres": {g.strip().lower() for g in row["genres"] or [] if g and g.strip()} or None,
                **{name: missing(name, row[name]) for name in SOUNDS.values()},
            }
            for name in [name for name in wanted if given[name] is not None]:
                known[name] = given[name]
                wanted.discard(name)

    def _know_plays(self, plays: list[Row]) -> None:
        self.heard: dict[str, dict[str, list[datetime]]] = defaultdict(lambda: defaultdict(list))
        self.touched: dict[str, set[str]] = defaultdict(set)
        self.newest = datetime.min.replace(tzinfo=UTC)
        for row in plays:
            self.touched[row["user_id"]].add(row["track_id"])
            duration, completion = self.tracks[row["track_id"]].get("duration_ms"), row["completion"]
            if completion is None and row["play_ms"] is not None and duration and duration > 0:
                completion = min(max(row["play_ms"] / duration, 0.0), 1.0)
            if completion is None or not np.float32(completion) < np.float32(SKIPPED):
                self.heard[row["user_id"]][row["track_id"]].append(row["played_at"])
                self.newest = max(self.newest, row["played_at"])
        self.listeners = Counter(track for tracks in self.touched.values() for track in tracks)
        self.who: dict[str, list[str]] = defaultdict(list)
        for user, tracks in self.touched.items():
            for track in tracks:
                self.who[track].append(user)

        self.closest = cache(self._closest)
        self.went_on = cache(self._went_on)
        self.usual = cache(self._usual)
        self.plays_of_genre = cache(self._plays_of_genre)
        self.begun = cache(self._begun)

    def _know_likings(self, tables: Mapping[str, pa.Table], as_of: datetime) -> None:
        """The strongest good word of each user on each track; an accepted recommendation is a like."""
        order = list(SAID.values())
        said = [
            (row["user_id"], row["track_id"], row["signal"])
            for row in tables["feedback"].to_pylist()
            if row["created_at"] < as_of and row["signal"] in order
        ]
        for name in ("sessions", "acceptances"):
            for row in tables[name].to_pylist():
                if row["accepted_at"] < as_of:
                    said += [(row["user_id"], track, "like") for track in row["track_ids"] or [] if track]
        self.likings: dict[tuple[str, str], str] = {}
        for user, track, signal in sorted(said, key=lambda entry: -order.index(entry[2])):
            self.likings[user, track] = signal
        for track in {track for _, track, _ in said}:
            _ = self.tracks[track]
        self.called: dict[str, list[str]] = defaultdict(list)
        for track, known in self.tracks.items():
            name, artist = known.get("name"), self._artist_of(track)
            self.called[f"track {track}" if name is None else f"“{name}” by {artist}" if artist else f"“{name}”"] += [
                track
            ]

    def _know_wishes(self, tables: Mapping[str, pa.Table]) -> None:
        self.named_artists: dict[str, set[str]] = defaultdict(set)
        self.named_genres: dict[str, set[str]] = defaultdict(set)
        self.wanted: dict[str, dict[str, float]] = defaultdict(dict)
        for row in sorted(tables["settings"].to_pylist(), key=lambda row: row["document_id"]):
            user = row["user_id"]
            self.named_artists[user] |= {name.strip().lower() for name in row["artists"] or [] if name}
            self.named_genres[user] |= {name.strip().lower() for name in row["genres"] or [] if name}
            for name in ("energy", "valence", "danceability"):
                if row[name] is not None:
                    self.wanted[user][name] = row[name]
        self.country: dict[str, str] = {}
        for row in sorted(tables["users"].to_pylist(), key=lambda row: row["document_id"]):
            if row["country"] and row["country"].strip():
                self.country[row["user_id"]] = row["country"].strip().upper()
            self.named_genres[row["user_id"]] |= {g.strip().lower() for g in row["favorite_genres"] or [] if g}

    def _closest(self, user: str) -> list[tuple[str, int]]:
        """The most similar users by Jaccard overlap of what they played, skipped or not, and tracks in common."""
        mine = self.touched[user]
        common = Counter(other for track in mine for other in self.who[track] if other != user)
        apart = [
            (-shared / (len(mine) + len(self.touched[other]) - shared), other, shared)
            for other, shared in common.items()
            if shared >= self.min_common
        ]
        return [(other, shared) for _, other, shared in sorted(apart)[: self.neighbors]]

    def _begun(self, user: str) -> dict[str, tuple[datetime, int]]:
        """When a user first played each track, and its place in that order."""
        first = sorted((min(moments), track) for track, moments in self.heard[user].items())
        return {track: (at, place) for place, (at, track) in enumerate(first)}

    def _went_on(self, one: str, other: str) -> int:
        """Users who first played the other track among the next ten, and later."""
        count = 0
        for user in self.who[one]:
            begun = self.begun(user)
            if one in begun and other in begun:
                (at, place), (later, next_place) = begun[one], begun[other]
                count += at < later and 0 < next_place - place <= SOON
        return count

    def _usual(self, user: str, name: str) -> float:
        plays = [(self._sound(track, name), len(moments)) for track, moments in self.heard[user].items()]
        known = [(value, times) for value, times in plays if not math.isnan(value)]
        total = sum(times for _, times in known)
        return sum(value * times for value, times in known) / total if total else math.nan

    def _plays_of_genre(self, user: str, genre: str | None) -> int:
        return sum(
            len(moments)
            for track, moments in self.heard[user].items()
            if genre is None or genre in self.tracks[track]["genres"]
        )


def number(text: str) -> int:
    """A number as it is written in a reason."""
    return 1 if text == "one" else int(text.replace(",", ""))


def sounds(words: str) -> list[str]:
    """Names of the features of which a reason speaks."""
    return [SOUNDS.get(word, "unknown") for word in words.split(" and ")]


def near(one: float, other: float, width: float) -> bool:
    """Whether two are known and so close, up to rounding."""
    return abs(one - other) <= width + 1e-9


def missing(name: str, value: float | None) -> float | None:
    """What Spotify writes where it found none is none."""
    return None if value is None or math.isnan(value) or (name == "tempo" and value == 0.0) else value
