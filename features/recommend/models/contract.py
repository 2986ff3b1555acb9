"""What every model keeps: learn from a history, score all tracks for some users, say what moved the scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from features.recommend.history import History

CHANGED = 3.0
"""Parameters that a step around a setting changes, on average."""


class Model(Protocol):
    """A recommender. The constructor stores its parameters, keywords with defaults; what is learned ends in `_`.

    Attributes:
        space: where a search looks for each parameter.
    """

    space: ClassVar[Mapping[str, "Range"]]

    def fit(self, history: History) -> Self:
        """Learns; the same for any number of threads. Never writes to the history."""

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32, finite: the higher the better, tracks already heard too. A fresh array.

        Comparable within a user only. A user's row is the same whoever else is asked for.
        """

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: what each track of the user's history adds to the summed scores of `tracks`.

        Exact where scores are linear in the history, a share by what neighbours have in common where they go by
        users; zeros for a model that does not ask the history.
        """

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: the same, of each of `tracks` by itself; they must be distinct."""


@runtime_checkable
class ScoresSome(Protocol):
    """A model that scores a choice of tracks without scoring all: what ranks at any scale."""

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n, m) float32, finite: what `scores` says of each user's choice, (n, m) int32; anything at empty places, -1.

        A constant that is the same for all of a user's tracks may be missing or more.
        """


class Asked(NamedTuple):
    """Which scores of a block of users are asked after, and where the answer goes.

    Attributes:
        users: (n,) int64, numbers.
        begin: (n + 1,) int64, where each user's tracks begin in `track`.
        track: (a,) int32, whose scores, each user's ascending.
        weights: (a, s) float64: what each score counts, in each of s sums.
        level: (n,) bool: whose scores count by the most that any track of the history gives any of them.
        history_begin: (n + 1,) int64, where each user's history begins in `sums`.
        strongest: (a,) int64, written: of the history the track that adds most to a score, another than the scored one,
            of equals the lower; -1 where none adds anything.
        sums: (h, s) float64: what each track of the histories adds to the scores is added to it, by their weights.
    """

    users: np.ndarray
    begin: np.ndarray
    track: np.ndarray
    weights: np.ndarray
    level: np.ndarray
    history_begin: np.ndarray
    strongest: np.ndarray
    sums: np.ndarray


@runtime_checkable
class Moved(Protocol):
    """A model that says what of histories moved the scores of many users at once, as its `influences` say of one."""

    def moved(self, asked: Asked) -> None:
        """Writes what is asked for."""


def scores_of(model: Model, users: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
    """(n, m) float32: a model's scores of all tracks, or of each user's choice (`columns`)."""
    if tracks is None:
        return model.scores(users)
    if isinstance(model, ScoresSome):
        return model.scores_at(users, tracks)
    return np.take_along_axis(model.scores(users), np.maximum(tracks, 0), axis=1)


@dataclass(frozen=True)
class Range:
    """Where a search looks for one parameter.

    Attributes:
        low: least.
        high: most.
        log: evenly in the logarithm.
        whole: whole numbers only.
        also: values besides, each as likely as the range itself; 0 for "off".
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    also: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator) -> float:
        """One value by chance."""
        if self.also and rng.random() < len(self.also) / (len(self.also) + 1):
            return self.also[int(rng.integers(len(self.also)))]
        return self._from_share(rng.random())

    def near(self, value: float, rng: np.random.Generator, *, spread: float = 0.15) -> float:
        """One value around another, `spread` of the range away; a value of `also` stays, or is drawn anew at times."""
        if value in self.also:
            return value if rng.random() < 0.7 else self.draw(rng)
        return self._from_share(float(np.clip(self._share(value) + rng.normal(0.0, spread), 0.0, 1.0)))

    def _from_share(self, share: float) -> float:
        if self.log:
            value = float(np.exp(np.log(self.low) + share * (np.log(self.high) - np.log(self.low))))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.4g}")

    def _share(self, value: float) -> float:
        if self.log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)


def draw(space: Mapping[str, Range], rng: np.random.Generator) -> dict[str, Any]:
    """One setting of all parameters by chance."""
    return {name: span.draw(rng) for name, span in space.items()}


def near(space: Mapping[str, Range], setting: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A setting around another: some three of its parameters change, since all at once seldom change for the better."""
    moved = rng.random(len(space)) < CHANGED / max(len(space), 1)
    if space and not moved.any():
        moved[rng.integers(len(space))] = True
    return {
        name: span.near(setting[name], rng) if changes else setting[name]
        for (name, span), changes in zip(space.items(), moved, strict=True)
    }
