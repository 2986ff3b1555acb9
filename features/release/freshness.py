"""What the live release knows, what has come since, and which releases were left unfinished."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.cursor import Cursor
from pymongo.database import Database

from features.database import Document, translated_errors
from features.dates import EPOCH
from features.release.ledger import LEASE, all_releases, find_release, read_pointer, releases
from features.schema.names import LISTENING_HISTORY

PLAYED, IMPORTED, CREATED = "playedAt", "importedAt", "createdAt"
"""No play is older: a snapshot sets those aside."""
FIRST_WINDOW = timedelta(hours=1)
GROWTH = 1.25
UNFINISHED = frozenset({"building", "uploading"})


@dataclass(frozen=True)
class LiveRelease:
    """The release that readers follow, and its dates.

    It holds a play that was known by `known_at` (the snapshot's bound) and played before `as_of`.
    """

    id: str
    as_of: datetime
    known_at: datetime
    built_at: datetime


@dataclass(frozen=True)
class NewestPlay:
    """The play with the latest date that is not in the future, and since when the database has it."""

    played_at: datetime
    known_at: datetime


def live_release(database: Database[Document]) -> LiveRelease | None:
    """The live release's dates; None before the first one.

    Raises:
        NotFoundError: the pointer names a release that has no document.
    """
    pointer = read_pointer(database)
    if pointer is None:
        return None
    found = find_release(database, pointer.release)
    return LiveRelease(pointer.release, found["asOf"], found.get("knownAt") or found["builtAt"], found["builtAt"])


def newest_play(database: Database[Document], now: datetime) -> NewestPlay | None:
    """The newest play up to now, known since its import, else its creation, else since it was played."""
    found = _newest(database, PLAYED, EPOCH, now)
    if found is None:
        return None
    dates = (found.get(IMPORTED), found.get(CREATED), found[PLAYED])
    known_at = next(date for date in dates if isinstance(date, datetime))
    return NewestPlay(found[PLAYED], min(known_at, now))


def newest_import(database: Database[Document], since: datetime, now: datetime) -> datetime | None:
    """When a play was last imported, after `since` and up to now; None when none was."""
    found = _newest(database, IMPORTED, since, now)
    return found[IMPORTED] if found else None


def lag(release: LiveRelease, play: NewestPlay | None, imported_at: datetime | None) -> timedelta:
    """How far the live release is behind the plays: never negative.

    Two bounds can leave a play out, so the larger of two distances counts: from `known_at` to the latest moment at
    which a play became known, and from `as_of` to the newest play. The second is what remains of a release made
    with `--as-of` in the past, which knew of later plays and left them out.
    """
    known = [date for date in (imported_at, play and play.known_at) if date]
    behind = [date - release.known_at for date in known]
    if play is not None:
        behind.append(play.played_at - release.as_of)
    return max([timedelta(0), *behind])


def lacking_indexes(database: Database[Document]) -> list[str]:
    """The dates of a play that no index leads with: asking for the newest would read the whole history."""
    with translated_errors():
        found = list(database[LISTENING_HISTORY].list_indexes())
    leading = {next(iter(index["key"])) for index in found if "partialFilterExpression" not in index}
    return [field for field in (PLAYED, IMPORTED) if field not in leading]


def unfinished_releases(database: Database[Document], now: datetime) -> list[str]:
    """Releases that are being built or uploaded by nobody: the lease is free or has run out."""
    with translated_errors():
        lease = releases(database).find_one({"_id": LEASE})
    if lease is not None and lease["owner"] is not None and lease["expiresAt"] > now:
        return []
    return [str(entry["_id"]) for entry in all_releases(database) if entry["state"] in UNFINISHED]


def windows(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Spans (after, up to) from `until` back to `since`, without gaps, each wider than the one before.

    Some servers, the built-in one among them, read the whole of a range before they sort and cut it, whatever
    their plan says. So the newest is looked for in a narrow range first: the documents read are those of one span.
    """
    width = FIRST_WINDOW
    while until > since:
        after = max(since, until - width)
        yield after, until
        until, width = after, width * GROWTH


def newest_within(database: Database[Document], field: str, after: datetime, until: datetime) -> Cursor[Document]:
    """At most one play: the newest by `field` in a span, from the index that leads with it."""
    wanted = {"_id": 0, PLAYED: 1, IMPORTED: 1, CREATED: 1}
    query = {field: {"$gt": after, "$lte": until}}
    return database[LISTENING_HISTORY].find(query, wanted).sort(field, -1).limit(1)


def _newest(database: Database[Document], field: str, since: datetime, now: datetime) -> Document | None:
    with translated_errors():
        for after, until in windows(since, now):
            for found in newest_within(database, field, after, until):
                return found
    return None
