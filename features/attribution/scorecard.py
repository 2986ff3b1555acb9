"""A release's scorecard: what became of its lists, by strategy and rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from features.attribution.join import Answers
from features.schema.names import SERVING_ORDER, STRATEGIES

MEASURES = ("played", "liked", "skipped", "accepted", "answered")
"""Of tracks in lists. Accepted is played or liked, and not disliked in the end; answered is with any response."""
HOWS = EXPLICIT, INFERRED = "explicit", "inferred"
BANDS = (1, 2, 4, 11, 21, 51, 101)
"""The first rank of each band that people are shown: the top one, the next two, the first page, and so on."""


@dataclass(frozen=True, eq=False)
class Scorecard:
    """What became of one release's lists.

    Attributes:
        lists: (strategies, ranks) int64: how many lists have a track at that rank, so column 0 is how many there are.
        tracks: by measure (strategies, ranks, 2) int64: how many of these tracks, explicit and inferred.
        answered_lists: (strategies,) int64: with any response.
        stars: (strategies,) float64: the sum of the answered tracks' stars, whole numbers.

    Strategies stand in the serving order, ranks from 1.
    """

    lists: np.ndarray
    tracks: Mapping[str, np.ndarray]
    answered_lists: np.ndarray
    stars: np.ndarray

    def __add__(self, other: "Scorecard") -> "Scorecard":
        """Of both together: of the same release's lists, those of other users."""
        ranks = max(self.lists.shape[1], other.lists.shape[1])
        return Scorecard(
            _widened(self.lists, ranks) + _widened(other.lists, ranks),
            {name: _widened(self.tracks[name], ranks) + _widened(other.tracks[name], ranks) for name in MEASURES},
            self.answered_lists + other.answered_lists,
            self.stars + other.stars,
        )


def _widened(array: np.ndarray, ranks: int) -> np.ndarray:
    missing = ranks - array.shape[1]
    return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)])


def score(lengths: Sequence[Mapping[int, int]], answers: Answers) -> Scorecard:
    """The scorecard of lists of one release.

    Args:
        lengths: by place in the serving order, how many lists there are of each length.
        answers: what became of these lists' tracks, in their order.
    """
    strategies = len(SERVING_ORDER)
    ranks = max((length for lists in lengths for length in lists), default=0)
    lists = np.zeros((strategies, ranks), np.int64)
    for place, counted in enumerate(lengths):
        for length, count in counted.items():
            lists[place, :length] += count
    masks = {
        "played": (answers.played, answers.explicit_play),
        "liked": (answers.liked, answers.explicit_like),
        "skipped": (answers.skipped, answers.explicit_skip),
        "accepted": (answers.accepted, answers.explicit_acceptance),
        "answered": (np.ones(len(answers), bool), answers.explicit),
    }
    tracks = {name: np.zeros((strategies, ranks, 2), np.int64) for name in MEASURES}
    for name, (mask, explicit) in masks.items():
        where = (answers.place[mask], answers.rank[mask] - 1, (~explicit[mask]).astype(np.int64))
        np.add.at(tracks[name], where, 1)
    first = answers.list_starts
    return Scorecard(
        lists,
        tracks,
        np.bincount(answers.place[first], minlength=strategies),
        np.bincount(answers.place, answers.stars, minlength=strategies),
    )


def to_document(card: Scorecard) -> dict[str, Any]:
    """As a release's document holds it, by `STRATEGIES`; those without a list are left out, unknown is null."""
    return {"strategies": list(_strategies(card))}


def _strategies(card: Scorecard) -> Iterator[dict[str, Any]]:
    for strategy in STRATEGIES:
        place = SERVING_ORDER.index(strategy)
        if not card.lists[place].any():
            continue
        tracks = {name: card.tracks[name][place] for name in MEASURES}
        totals = {name: counts.sum(axis=0) for name, counts in tracks.items()}
        answered = int(totals["answered"].sum())
        yield {
            "strategy": strategy,
            "lists": int(card.lists[place, 0]),
            "answeredLists": int(card.answered_lists[place]),
            "tracks": int(card.lists[place].sum()),
            **{name: _apart(totals[name]) for name in MEASURES},
            "acceptance": share(int(totals["accepted"].sum()), answered),
            "rating": share(float(card.stars[place]), answered),
            "ranks": {"lists": card.lists[place].tolist(), **{name: _apart(tracks[name].T) for name in MEASURES}},
        }


def _apart(counts: np.ndarray) -> dict[str, Any]:
    return dict(zip(HOWS, counts.tolist(), strict=True))


def share(part: float, whole: int) -> float | None:
    """A part of a whole; None of nothing."""
    return part / whole if whole else None


def strategy_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A scorecard's rows for a person, one a strategy: counts of tracks, of which inferred in brackets."""
    return [
        {
            "strategy": entry["strategy"],
            "lists": entry["lists"],
            "answered": entry["answeredLists"],
            "tracks": entry["tracks"],
            **{name: _in_words(entry[name]) for name in ("played", "liked", "skipped")},
            "acceptance": entry["acceptance"],
            "rating": entry["rating"],
        }
        for entry in document["strategies"]
    ]


def _in_words(counts: Mapping[str, int]) -> str:
    inferred = f" ({counts[INFERRED]:,} inferred)" if counts[INFERRED] else ""
    return f"{counts[EXPLICIT] + counts[INFERRED]:,}{inferred}"


def rank_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A scorecard's rows for a person, one a band of ranks, of all strategies together."""
    ranks = max((len(entry["ranks"]["lists"]) for entry in document["strategies"]), default=0)
    bands = [*(first for first in BANDS if first <= ranks), ranks + 1]
    return [_band(document["strategies"], first, after) for first, after in pairwise(bands)]


def _band(strategies: Sequence[Mapping[str, Any]], first: int, after: int) -> dict[str, Any]:
    def total(name: str) -> int:
        return sum(sum(entry["ranks"][name][how][first - 1 : after - 1]) for entry in strategies for how in HOWS)

    return {
        "rank": f"{first}" if after == first + 1 else f"{first}–{after - 1}",
        "tracks": sum(sum(entry["ranks"]["lists"][first - 1 : after - 1]) for entry in strategies),
        **{name: total(name) for name in ("played", "liked", "skipped")},
        "acceptance": share(total("accepted"), total("answered")),
    }
