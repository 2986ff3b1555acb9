"""Which release a reader could have had at a moment, by both clocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from features.dates import EPOCH
from features.errors import NotFoundError
from features.release.manifest import Manifest, read_manifest, releases_on_disk

NONE = -1
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Timeline:
    """Releases, older before newer: by `as_of`, then `known_at`, then `built_at`, then the id."""

    manifests: tuple[Manifest, ...]

    @property
    def dimensions(self) -> list[str]:
        """Of all their profiles: first the newest release's, in its order, then what only older ones have."""
        return list(dict.fromkeys(name for found in reversed(self.manifests) for name in found.dimensions))

    def at(self, moments: np.ndarray, ttl: timedelta | None) -> np.ndarray:
        """Positions of the newest releases that were known at each moment, `NONE` where there was none.

        Known are those whose `as_of` and `known_at` both lie at or before the moment.

        Args:
            moments: (n,) int64, microseconds since 1970.
            ttl: releases whose `as_of` lies further back than this do not apply; None for no limit.

        Returns:
            (n,) int64.
        """
        as_of = np.array([_microseconds(found.as_of) for found in self.manifests], np.int64)
        known = np.maximum(as_of, [_microseconds(found.known_at) for found in self.manifests])
        order = np.argsort(known, kind="stable")
        newest = np.maximum.accumulate(order)  # of all that were known by then, since a newer one has a higher position
        latest = np.searchsorted(known[order], moments, side="right") - 1
        applies = np.where(latest >= 0, newest[latest], NONE)
        if ttl is not None:
            applies[moments - as_of[applies] > ttl // MICROSECOND] = NONE
        return applies


def read_timeline(home: Path) -> Timeline:
    """The releases on disk, but for those that their gate stopped.

    Raises:
        NotFoundError: there are none.
        StorageError: a manifest can't be read.
    """
    manifests = [found for found in _manifests(home) if found.passed or not found.gate]
    if not manifests:
        raise NotFoundError(
            f"there is no release under {home / 'releases'}; run `echotune nightly` or `echotune backfill`"
        )
    return Timeline(tuple(sorted(manifests, key=lambda found: (found.as_of, found.known_at, found.built_at, found.id))))


def _manifests(home: Path) -> Iterator[Manifest]:
    return (read_manifest(home, release) for release in releases_on_disk(home))


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND
