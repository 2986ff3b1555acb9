"""Tracks in lists that are not allowed for their listener: each looked up in the rows.

Written from the tables alone, by slow and obvious code that shares nothing with what keeps such tracks out.
"""

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
    """

    def __init__(self, tables: Mapping[str, pa.Table], as_of: datetime, *, include_heard: bool = False) -> None:
        self.known: dict[str, set[str]] = defaultdict(set)
        self.disliked: dict[str, set[str]] = defaultdict(set)
        self.tracks: set[str] = set()
        if not include_heard:
            for user, track, at in _rows(tables["plays"], "user_id", "track_id", "played_at"):
                if at < as_of:
                    self.known[user].add(track)
        self.tracks.update(track for (track,) in _rows(tables["plays"], "track_id"))
        self._know_opinions(tables, as_of, include_heard=include_heard)
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

    def _know_opinions(self, tables: Mapping[str, pa.Table], as_of: datetime, *, include_heard: bool) -> None:
        said = [
            row for row in _rows(tables["feedback"], "user_id", "track_id", "signal", "created_at") if row[3] < as_of
        ]
        for name in ("sessions", "acceptances"):
            for user, accepted, at in _rows(tables[name], "user_id", "track_ids", "accepted_at"):
                said += [(user, track, "like", at) for track in accepted or [] if track and at < as_of]
        latest: dict[tuple[str, str], tuple[datetime, bool]] = {}
        for user, track, signal, at in said:
            self.tracks.add(track)
            if not include_heard:
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
        if track in self.disliked[user]:
            return "disliked"
        if track in self.known[user]:
            return "heard"
        if track in self.explicit and user in self.no_explicit:
            return "explicit"
        markets, country = self.markets.get(track), self.country.get(user)
        return "market" if markets and country and country not in markets else None

    def check(self, lists: Iterable[Row]) -> list[tuple[str, str, str]]:
        """User, track and limit of each track that may not stand where it does; one that stands twice neither.

        Args:
            lists: rows of `user_id` and `track_ids`.
        """
        found = []
        for row in lists:
            seen: set[str] = set()
            for track in row["track_ids"]:
                limit = "twice" if track in seen else self.broken(row["user_id"], track)
                seen.add(track)
                if limit is not None:
                    found.append((row["user_id"], track, limit))
        return found


def _rows(table: pa.Table, *columns: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[column].to_pylist() for column in columns), strict=True)
