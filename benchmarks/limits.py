"""Tracks in lists that are not allowed for their listener: each looked up in the rows.

Written from the tables alone, by slow and obvious code that shares nothing with what keeps such tracks out.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

Row = Mapping[str, Any]

OPINIONS = ("love", "like", "save", "dislike")
"""Signals of which the latest says what a listener thinks of a track."""


class Limits:
    """Knows the rows and can say which limit a track in somebody's list breaks.

    Args:
        tables: plays, feedback, tracks, users, sessions, acceptances, as a snapshot holds them.
        as_of: what happened from then on does not count.
        include_heard: whether tracks that a listener has heard may be listed.
        same_song: whether another release of a track counts as the track.
    """

    def __init__(
        self, tables: Mapping[str, pa.Table], as_of: datetime, *, include_heard: bool = False, same_song: bool = True
    ) -> None:
        self.include_heard = include_heard
        self.known: dict[str, set[str]] = defaultdict(set)
        self.disliked: dict[str, set[str]] = defaultdict(set)
        self.tracks: set[str] = set()
        for user, track, at in _rows(tables["plays"], "user_id", "track_id", "played_at"):
            if at < as_of:
                self.known[user].add(track)
        self.tracks.update(track for (track,) in _rows(tables["plays"], "track_id"))
        self._know_opinions(tables, as_of)
        self.song = _songs(tables, as_of) if same_song else {}
        self.releases: dict[tuple[str, str], set[str]] = defaultdict(set)
        for track, song in self.song.items():
            self.releases[song].add(track)
        self.explicit: set[str] = set()
        self.markets: dict[str, set[str]] = {}
        for row in sorted(tables["tracks"].to_pylist(), key=lambda row: row["document_id"]):
            track = row["track_id"]
            self.tracks.add(track)
            (self.explicit.add if row["explicit"] else self.explicit.discard)(track)
            self.markets[track] = {market.upper() for market in row["markets"] or []}
        self.country: dict[str, str] = {}
        self.no_explicit: set[str] = set()
        for row in sorted(tables["users"].to_pylist(), key=lambda row: row["document_id"]):
            if row["country"] and row["country"].strip():
                self.country[row["user_id"]] = row["country"].strip().upper()
            if row["explicit_content"] is False:
                self.no_explicit.add(row["user_id"])

    def _know_opinions(self, tables: Mapping[str, pa.Table], as_of: datetime) -> None:
        said = [
            row for row in _rows(tables["feedback"], "user_id", "track_id", "signal", "created_at") if row[3] < as_of
        ]
        for name in ("sessions", "acceptances"):
            for user, accepted, at in _rows(tables[name], "user_id", "track_ids", "accepted_at"):
                said += [(user, track, "like", at) for track in accepted or [] if track and at < as_of]
        latest: dict[tuple[str, str], tuple[datetime, bool]] = {}
        for user, track, signal, at in said:
            self.tracks.add(track)
            self.known[user].add(track)
            if signal in OPINIONS:
                opinion = (at, signal == "dislike")  # of two at one moment the dislike counts
                latest[user, track] = max(latest.get((user, track), opinion), opinion)
        for (user, track), (_, dislike) in latest.items():
            if dislike:
                self.disliked[user].add(track)

    def broken(self, user: str, track: str) -> str | None:
        """The limit that a track breaks in this listener's list; None where it may stand."""
        if track not in self.tracks:
            return "unknown"
        if limit := self._met(user, track):
            return limit
        if track in self.explicit and user in self.no_explicit:
            return "explicit"
        markets, country = self.markets.get(track), self.country.get(user)
        return "market" if markets and country and country not in markets else None

    def _met(self, user: str, track: str) -> str | None:
        """Whether they have disliked or heard it, or another release of it that they know while this one is new."""
        disliked, known = self.disliked[user], self.known[user]
        others = self.releases[self.song[track]] if track in self.song and track not in known else set()
        limits = [(track in disliked, "disliked"), (others & disliked, "disliked on another release")]
        if not self.include_heard:
            limits += [(track in known, "heard"), (others & known, "heard on another release")]
        return next((limit for broken, limit in limits if broken), None)

    def check(self, lists: Iterable[Row]) -> list[tuple[str, str, str]]:
        """User, track and limit of each track that may not stand where it does; one that stands twice neither.

        A song stands twice that two releases of stand in one list.

        Args:
            lists: rows of `user_id` and `track_ids`.
        """
        found = []
        for row in lists:
            seen: set[object] = set()
            for track in row["track_ids"]:
                song = self.song.get(track, track)
                limit = "twice" if song in seen else self.broken(row["user_id"], track)
                seen.add(song)
                if limit is not None:
                    found.append((row["user_id"], track, limit))
        return found


def _songs(tables: Mapping[str, pa.Table], as_of: datetime) -> dict[str, tuple[str, str]]:
    """First artist and title of each track that has both, in plain letters.

    The catalogue's, of two documents the later; where it is silent, those of the newest play that says them.
    """
    played: dict[str, dict[str, tuple[tuple[datetime, str], str]]] = {"track_name": {}, "artist_name": {}}
    for column, newest in played.items():
        for track, word, at, document in _rows(tables["plays"], "track_id", column, "played_at", "document_id"):
            if word and at < as_of:
                newest[track] = max(newest.get(track, ((at, document), word)), ((at, document), word))
    titles, artists = ({track: word for track, (_, word) in newest.items()} for newest in played.values())
    rows = sorted(tables["tracks"].to_pylist(), key=lambda row: row["document_id"])
    for track, row in {row["track_id"]: row for row in rows}.items():
        if row["name"]:
            titles[track] = row["name"]
        named = [artist["name"] for artist in row["artists"] or [] if artist["name"]]
        if named:
            artists[track] = named[0]
    found = {track: (_bare(artist), _bare(titles[track])) for track, artist in artists.items() if track in titles}
    return {track: song for track, song in found.items() if song[1]}


def _bare(name: str) -> str:
    """Without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold().strip()


def _rows(table: pa.Table, *columns: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[column].to_pylist() for column in columns), strict=True)
