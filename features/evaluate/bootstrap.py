"""How sure a mean over users is: the mean of users drawn again and again, with replacement."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
"""Ends of a 95 % interval then rest on 25 resamples on either side."""
LEVEL = 0.95
BLOCK_CELLS = 4_000_000


@dataclass(frozen=True, eq=False)
class Means:
    """Means of columns over the users for whom each is defined.

    Attributes:
        mean: (m,) float64, NaN where it is defined for nobody.
        low: (m,) float64, lower end of the interval; NaN where it is defined for fewer than two.
        high: (m,) float64, upper end, likewise.
        users: (m,) int64, for how many it is defined.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    users: np.ndarray


def bootstrap(values: np.ndarray, *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL) -> Means:
    """Means and percentile intervals. All columns are resampled alike: a column of differences is a paired test.

    Args:
        values: (users, m) float64; NaN where a figure is undefined for a user, who is then left out of its mean.
        seed: of the draws; the same for any order of columns.
        resamples: how often.
        level: of the interval.

    Source:
        Efron & Tibshirani (1993), "An introduction to the bootstrap", chapter 13.
    """
    defined = ~np.isnan(values)
    users = defined.sum(axis=0)
    filled = np.where(defined, values, 0.0)
    drawn = _resampled(filled, defined.astype(np.float64), seed, resamples)
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    sure = users > 1
    if sure.any():  # where two of many users count, a resample may hold neither: it says nothing and is left out
        ends = np.nanquantile(drawn[:, sure], [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
        low[sure], high[sure] = ends
    return Means(_over(filled.sum(axis=0), users), low, high, users)


def _resampled(filled: np.ndarray, defined: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """(resamples, m) float64: means of so many draws."""
    count = len(filled)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, filled.shape[1]))
    step = max(1, BLOCK_CELLS // max(count, 1))
    for start in range(0, resamples, step):
        # a draw at a time, so that the size of a block changes nothing
        times = np.array(
            [
                np.bincount(rng.integers(0, count, count), minlength=count) if count else np.zeros(0)
                for _ in range(start, min(resamples, start + step))
            ],
            np.float64,
        )
        means[start : start + step] = _over(times @ filled, times @ defined)
    return means


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    mean: np.ndarray = total / np.where(count > 0, count, np.nan)
    return mean
