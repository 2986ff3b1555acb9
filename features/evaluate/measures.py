"""Figures of a release's inputs and outputs, recorded with it so that other nights can be compared with them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.compute.dataset import Dataset
from features.compute.interactions import MS_A_DAY

ACTIVE_DAYS = 30
BLOCK_ROWS = 65_536
NOTHING = 1e-8
"""A direction with less than this share of the length of all vectors together holds rounding and nothing else."""


@dataclass(frozen=True, eq=False)
class LatePlays:
    """What the newest plays tell, for which plays need not be kept.

    Attributes:
        figures: `plays_last_day`, `plays_last_week`: how many; `without_completion`, `without_audio`,
            `without_artist`, `without_genre`: shares of the last week's plays; NaN without any.
        active: (n,) int, users with plays in the last 30 days.
    """

    figures: Mapping[str, float]
    active: np.ndarray


def late_plays(dataset: Dataset, *, as_of_ms: int, known_at_ms: int) -> LatePlays:
    """Of the last day, week and 30 days.

    They end at `as_of_ms`, or at `known_at_ms` where that is earlier: as of the end of today, most of the last day
    is still to come.

    Args:
        dataset: as of `as_of_ms`.
        as_of_ms: the moment of the release.
        known_at_ms: up to when was read.
    """
    plays, catalog = dataset.plays, dataset.catalog
    end_ms = min(as_of_ms, known_at_ms)
    day, week, month = (
        (plays.played_at >= end_ms - days * MS_A_DAY) & (plays.played_at < end_ms) for days in (1, 7, ACTIVE_DAYS)
    )
    tracks = plays.track[week]
    return LatePlays(
        {
            "plays_last_day": float(day.sum()),
            "plays_last_week": float(len(tracks)),
            "without_completion": _share(np.isnan(plays.completion[week])),
            "without_audio": _share(np.isnan(catalog.audio).all(axis=1)[tracks]),
            "without_artist": _share((catalog.artist < 0)[tracks]),
            "without_genre": _share((np.diff(catalog.genres.indptr) == 0)[tracks]),
        },
        np.unique(plays.user[month]),
    )


def measures(late: LatePlays, vectors: np.ndarray, profiled: np.ndarray, listed: np.ndarray) -> dict[str, float]:
    """What the gate compares from night to night, beside counts.

    Args:
        late: of the newest plays.
        vectors: (tracks, dimensions) float, the embeddings; a zero row where nothing is known.
        profiled: (n,) int, users with a profile.
        listed: (m,) int, users of the lists, any number of times each.

    Returns:
        Those of `late`; `active_users`, `active_with_profile`, `active_with_lists`: with plays in the last 30 days, and
        of those; `embeddings_empty`: share of zero rows; NaN without tracks; `embedding_rank`: dimensions they span.
    """
    return {
        **late.figures,
        "active_users": float(len(late.active)),
        "active_with_profile": float(np.isin(late.active, profiled).sum()),
        "active_with_lists": float(np.isin(late.active, listed).sum()),
        "embeddings_empty": _share((vectors == 0).all(axis=1)),
        "embedding_rank": float(spanned(vectors)),
    }


def spanned(vectors: np.ndarray) -> int:
    """How many dimensions vectors spread over: the rank of their covariance, the same however they are turned.

    A dimension that is constant adds none; vectors that are all alike span none.
    """
    total = np.zeros(vectors.shape[1])
    gram = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS].astype(np.float64)
        total += block.sum(axis=0)
        gram += block.T @ block
    covariance = gram - np.outer(total, total) / max(len(vectors), 1)
    return int((np.linalg.eigvalsh(covariance) > NOTHING * np.trace(gram)).sum())


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if len(mask) else np.nan
