"""Which releases are looked at, and which of all was live at which moment: from the books of the database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pymongo.database import Database

from features.attribution.join import NOWHERE
from features.database import Document
from features.dates import epoch_ms
from features.release.documents import RECOMMENDATION_LIFE
from features.release.ledger import Pointer, all_releases, read_pointer
from features.release.retention import is_served, was_published


@dataclass(frozen=True, eq=False)
class Window:
    """The releases whose lists have not expired, older before newer, and the story of the live pointer.

    Attributes:
        releases: their ids.
        made: when the lists of each were made.
        moments: (m,) int64 ascending, milliseconds since 1970: when the pointer moved.
        live: (m,) int16: to which of the releases; NOWHERE for one whose lists are gone.
    """

    releases: tuple[str, ...]
    made: tuple[datetime, ...]
    moments: np.ndarray
    live: np.ndarray

    @property
    def since(self) -> datetime:
        """When the oldest lists were made: nothing before can be an answer to any."""
        return min(self.made)

    def live_at(self, moments: np.ndarray) -> np.ndarray:
        """(n,) int16: the number of the release that was live at each of (n,) moments; NOWHERE for none here."""
        place = np.searchsorted(self.moments, moments, side="right") - 1
        made = np.array([epoch_ms(moment) for moment in self.made], np.int64)
        live = np.where(place >= 0, self.live[place], NOWHERE) if len(self.live) else np.full(len(moments), NOWHERE)
        return np.where((live >= 0) & (made[live] <= moments), live, NOWHERE).astype(np.int16)


def read_window(database: Database[Document], now: datetime) -> Window | None:
    """The releases whose lists have not expired; None where there is none.

    Raises:
        DatabaseError: the database can't be asked.
    """
    pointer, entries = read_pointer(database), all_releases(database)
    served = [entry for entry in reversed(entries) if _has_lists(entry, pointer, now)]
    if not served:
        return None
    number = {str(entry["_id"]): position for position, entry in enumerate(served)}
    moves = sorted(_moves(entries, pointer), key=lambda move: move[0])
    return Window(
        tuple(number),
        tuple(entry["builtAt"] for entry in served),
        np.array([epoch_ms(moment) for moment, _ in moves], np.int64),
        np.array([number.get(release, NOWHERE) for _, release in moves], np.int16),
    )


def _has_lists(entry: Mapping[str, Any], pointer: Pointer | None, now: datetime) -> bool:
    """Whether a release was published and its lists are still there, by the books."""
    is_live = pointer is not None and entry["_id"] == pointer.release
    return (is_live or is_served(dict(entry))) and entry["builtAt"] + RECOMMENDATION_LIFE > now


def _moves(entries: Sequence[Document], pointer: Pointer | None) -> Iterator[tuple[datetime, str]]:
    """When the pointer moved, and to which release.

    A release that was published before its book said when counts from when it was built. A run may have been killed
    between moving the pointer and noting it.
    """
    for entry in entries:
        noted = entry.get("liveFrom") or ([entry["builtAt"]] if was_published(entry) else [])
        yield from ((moment, str(entry["_id"])) for moment in noted)
    if pointer is not None:
        yield pointer.changed_at, pointer.release
