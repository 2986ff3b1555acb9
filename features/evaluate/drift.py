"""Drift: how far what a release says lies from what another one said. Arrays in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10
PRIOR = 5.0
"""Values lent to either side of a PSI, half a one for each of ten bins: enough that an empty bin is not infinite."""
BLOCK = 8192
"""Lists compared at a time, so that what is in between fits the processor's caches."""
SOME, MUCH = 0.1, 0.25
"""How a PSI is usually read: below the first no shift to speak of, above the second a large one (Siddiqi 2006)."""


@dataclass(frozen=True)
class DimensionDrift:
    """How one named dimension shifted: PSI, Kolmogorov-Smirnov distance, and the means of its defined values."""

    name: str
    psi: float
    ks: float
    mean_before: float
    mean_after: float


@dataclass(frozen=True)
class Movement:
    """Cosine distances, 0 to 2, between two vectors each of the same things; NaN where none was compared."""

    compared: int
    median: float
    p90: float
    largest: float


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Population stability index: the sum over bins of (q - p) ln(q / p), p and q the shares of either side.

    Bins are the tenths of the reference's defined values, open to the left and closed to the right, the outer ones
    without end. A value that is several tenths by itself has a bin of its own, and so has being undefined (NaN).
    Either side is mixed with `PRIOR` values spread as both together are: no share is 0, equal shares stay equal.

    Below 0.1 there is no shift to speak of, up to 0.25 some, above that much; but two samples of n and m values out
    of one population differ by about (bins - 1)(1 / n + 1 / m) as it is, so a few dozen values say little.

    Args:
        reference: (n,) float, NaN where undefined.
        current: (m,) float, likewise.

    Returns:
        0 or more; 0 where the shares are the same; NaN where either side has no values at all, not even undefined.

    Source:
        Siddiqi (2006), "Credit Risk Scorecards"; Yurdakul & Naranjo (2020), "Statistical properties of the
        population stability index", for what to expect of samples.
    """
    if not len(reference) or not len(current):
        return np.nan
    edges = _edges(reference)
    p, q = _bin_counts(reference, edges), _bin_counts(current, edges)
    filled = p + q > 0
    p, q = p[filled], q[filled]
    lent = PRIOR * (p + q) / (p + q).sum()
    p, q = (p + lent) / (p.sum() + PRIOR), (q + lent) / (q.sum() + PRIOR)
    return float(((q - p) * np.log(q / p)).sum())


def ks(reference: np.ndarray, current: np.ndarray) -> float:
    """Two-sample Kolmogorov-Smirnov distance: the widest gap between the two cumulative shares of defined values.

    Args:
        reference: (n,) float, NaN where undefined.
        current: (m,) float, likewise.

    Returns:
        0 to 1, the same for either order of the two; NaN where either side has no defined value.

    Source:
        Smirnov (1948), "Table for estimating the goodness of fit of empirical distributions". It is the statistic
        of `scipy.stats.ks_2samp`, which computes a p-value besides and warns of it on tiny samples.
    """
    one, other = _defined(reference), _defined(current)
    if not len(one) or not len(other):
        return np.nan
    at = np.concatenate([one, other])
    gap = np.searchsorted(one, at, side="right") / len(one) - np.searchsorted(other, at, side="right") / len(other)
    return float(np.abs(gap).max())


def profile_drift(
    names_a: Sequence[str], matrix_a: np.ndarray, names_b: Sequence[str], matrix_b: np.ndarray
) -> list[DimensionDrift]:
    """The drift of every dimension that both sides have, in the order of the first.

    Args:
        names_a: (d,) names of the columns before.
        matrix_a: (n, d) float, NaN where undefined.
        names_b: (e,) names of the columns after.
        matrix_b: (m, e) float, likewise.
    """
    place = {name: column for column, name in enumerate(names_b)}
    pairs = [
        (name, np.ascontiguousarray(matrix_a[:, column]), np.ascontiguousarray(matrix_b[:, place[name]]))
        for column, name in enumerate(names_a)
        if name in place
    ]
    return [DimensionDrift(name, psi(a, b), ks(a, b), _mean(a), _mean(b)) for name, a, b in pairs]


def moved(vectors_a: np.ndarray, vectors_b: np.ndarray) -> Movement:
    """How far vectors moved, by cosine distance, 1 - cosine. Rows that are zero on either side are left out.

    Args:
        vectors_a: (n, d) float, before.
        vectors_b: (n, d) float, after; the same thing in the same row.
    """
    size = np.linalg.norm(vectors_a, axis=1) * np.linalg.norm(vectors_b, axis=1)
    there = size > 0
    if not there.any():
        return Movement(0, np.nan, np.nan, np.nan)
    cosine = np.einsum("ij,ij->i", vectors_a[there], vectors_b[there], dtype=np.float64) / size[there]
    distance = np.clip(1.0 - cosine, 0.0, 2.0)  # of equal vectors, rounding would make it -1e-8
    return Movement(int(there.sum()), *(float(value) for value in np.quantile(distance, [0.5, 0.9, 1.0])))


def kept(old: np.ndarray, new: np.ndarray) -> float:
    """The share of a list's members that are still on it, as the mean over lists; the order does not count.

    Args:
        old: (n, k) int, members by number, none twice in a row; -1 marks an empty slot. For what is kept of the
            first ten, cut both to ten columns.
        new: (n, m) int, likewise; the same list in the same row.

    Returns:
        0 to 1. A list that was empty has nothing to keep and is not counted; NaN where all were.
    """
    blocks = [_shares(old[at : at + BLOCK], new[at : at + BLOCK]) for at in range(0, len(old), BLOCK)]
    return _mean(np.concatenate([np.array([]), *blocks]))


def _shares(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(n,) float64: the share of each row's members that are in the same row of `new`; NaN where there are none."""
    old, new = np.sort(old, axis=1), np.sort(new, axis=1)
    filled = old >= 0
    # a member's number behind its row's: all keys together are then in order
    span = int(max(old.max(initial=0), new.max(initial=0))) + 2
    base = np.arange(len(old), dtype=np.int64)[:, None] * span + 1
    before, after = old + base, np.append(new + base, np.iinfo(np.int64).max)
    there = (after[np.searchsorted(after, before)] == before) & filled
    length = filled.sum(axis=1)
    return np.where(length > 0, there.sum(axis=1) / np.maximum(length, 1), np.nan)


def _defined(values: np.ndarray) -> np.ndarray:
    """Defined values as float64, in order."""
    return np.sort(values[~np.isnan(values)]).astype(np.float64)


def _edges(reference: np.ndarray) -> np.ndarray:
    """The upper bounds of all bins but the last one."""
    ordered = _defined(reference)
    if not len(ordered):
        return ordered
    tenths = ordered[(np.arange(1, BINS) * len(ordered) + BINS - 1) // BINS - 1]
    edges, times = np.unique(tenths, return_counts=True)
    # what lies just below a repeated value ends the bin before it
    return np.unique(np.concatenate([edges, np.nextafter(edges[times > 1], -np.inf)]))


def _bin_counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(bins + 1,) float64: how many values lie in each bin, and last, how many are undefined."""
    undefined = np.isnan(values)
    places = np.where(undefined, len(edges) + 1, np.searchsorted(edges, values, side="left"))
    return np.bincount(places, minlength=len(edges) + 2).astype(np.float64)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean(dtype=np.float64)) if len(defined) else np.nan
