"""Plays and feedback to one weight a user and track."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.compute.pair_sums import pair_sums
from features.compute.united import csr, logarithms, united
from features.compute.weights import (
    COMPLETED,
    NEUTRAL_STRENGTH,
    PARTIAL_PLAY_FLOOR,
    SIGNAL_WEIGHTS,
    SKIPPED,
    SKIPPED_PLAY_WEIGHT,
    UNKNOWN_PLAY_WEIGHT,
)

MS_A_DAY = 86_400_000


@dataclass(frozen=True, eq=False)
class Plays:
    """Plays as parallel arrays, in any order.

    Attributes:
        user: (n,) int32.
        track: (n,) int32.
        played_at: (n,) int64, milliseconds since 1970 in UTC.
        completion: (n,) float32 in [0, 1], NaN where unknown.
    """

    user: np.ndarray
    track: np.ndarray
    played_at: np.ndarray
    completion: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


def no_plays() -> Plays:
    """None at all."""
    return Plays(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class Feedback:
    """Feedback as parallel arrays: user, track int32; signal str; strength float64 (NaN unsaid); created_at ms."""

    user: np.ndarray
    track: np.ndarray
    signal: np.ndarray
    strength: np.ndarray
    created_at: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Interactions:
    """What users did with tracks, as matrices of the same shape (users, tracks).

    Attributes:
        weights: float64 CSR, positive: how much the user is drawn to the track. Sorted indices, no zeros.
        plays: int32 CSR: how often it was played, skipped plays included.
        known: bool CSR: played or given any feedback, so not new to the user.
        disliked: bool CSR: never to be recommended.
        aversion: float64 CSR in (0, 1]: how far the user is put off by the track: 1 where disliked, the sum below zero
            where signals of skipping outweigh plays. Sorted indices, no zeros, nothing that has weight.
    """

    weights: sp.csr_matrix
    plays: sp.csr_matrix
    known: sp.csr_matrix
    disliked: sp.csr_matrix
    aversion: sp.csr_matrix

    def __repr__(self) -> str:
        users, tracks = self.weights.shape
        return f"Interactions({users:,} users × {tracks:,} tracks, {self.weights.nnz:,} pairs)"


def play_weights(completion: np.ndarray) -> np.ndarray:
    """(n,) float64: the worth of one play each, by completion (n,) in [0, 1] with NaN for unknown.

    >>> play_weights(np.array([0.0, 0.15, 0.475, 0.8, 1.0, np.nan])).round(3).tolist()
    [-0.25, 0.1, 0.55, 1.0, 1.0, 0.6]
    """
    rise = (completion.astype(np.float64) - SKIPPED) / (COMPLETED - SKIPPED)
    weights = PARTIAL_PLAY_FLOOR + (1.0 - PARTIAL_PLAY_FLOOR) * np.clip(rise, 0.0, 1.0)
    weights[completion.astype(np.float32) < np.float32(SKIPPED)] = SKIPPED_PLAY_WEIGHT
    weights[np.isnan(completion)] = UNKNOWN_PLAY_WEIGHT
    return weights


def decay(at_ms: np.ndarray, as_of_ms: int, half_life_days: float) -> np.ndarray:
    """(n,) float64 in (0, 1]: halves every `half_life_days` before `as_of_ms`; 1 for anything later."""
    age_days = np.maximum(as_of_ms - at_ms, 0) / MS_A_DAY
    return np.exp2(-age_days / half_life_days)


def build_interactions(
    plays: Plays,
    feedback: Feedback,
    shape: tuple[int, int],
    *,
    as_of_ms: int,
    half_life_days: float,
    threads: int = 1,
) -> Interactions:
    """One weight a user and track: log2(1 + the sum of decayed plays) plus the decayed feedback.

    The logarithm lets repeats count, each a little less: 1 play is 1, 3 are 2, 7 are 3. A pair whose sum is not
    above zero has no weight, nor has a disliked one; the latest like or dislike of a pair is what counts, so a
    dislike that was taken back takes nothing off the sum.

    Args:
        plays: all of them before `as_of_ms`; the caller cuts.
        feedback: likewise.
        shape: (users, tracks).
        as_of_ms: the moment that ages are counted from.
        half_life_days: how long until a play is worth half.
        threads: one or more.

    Returns:
        Five matrices of `shape`; the same for any order of the inputs and any number of threads.
    """
    indptr, indices, sums, counts = pair_sums(
        plays.user,
        plays.track,
        lambda chosen: (
            play_weights(plays.completion[chosen]) * decay(plays.played_at[chosen], as_of_ms, half_life_days)
        ),
        shape,
        threads=threads,
    )
    opinion = _feedback_worth(feedback, as_of_ms, half_life_days)
    opinion[feedback.signal == "dislike"] = 0.0  # one that stands leaves the pair out, one taken back is void
    said = pair_sums(feedback.user, feedback.track, lambda chosen: opinion[chosen], shape)
    disliked = _disliked(feedback, shape)
    heard = csr(logarithms(sums), indices, indptr, shape)
    del sums  # half a gigabyte of fifty million pairs, before as much is made of them
    weights, known, aversion = united(heard, said, disliked)
    return Interactions(weights, csr(counts, indices, indptr, shape), known, disliked, aversion)


def _feedback_worth(feedback: Feedback, as_of_ms: int, half_life_days: float) -> np.ndarray:
    base = np.array([SIGNAL_WEIGHTS[signal] for signal in feedback.signal], np.float64)
    strength = np.where(np.isnan(feedback.strength), NEUTRAL_STRENGTH, feedback.strength)
    return base * strength / NEUTRAL_STRENGTH * decay(feedback.created_at, as_of_ms, half_life_days)


def _disliked(feedback: Feedback, shape: tuple[int, int]) -> sp.csr_matrix:
    """Pairs whose latest word is a dislike: who likes a track after disliking it has changed their mind.

    A dislike wins a tie, to be on the safe side.
    """
    opinions = np.isin(feedback.signal, ["love", "like", "save", "dislike"])
    user, track = feedback.user[opinions], feedback.track[opinions]
    dislikes = feedback.signal[opinions] == "dislike"
    order = np.lexsort((dislikes, feedback.created_at[opinions], track, user))
    user, track, dislikes = user[order], track[order], dislikes[order]
    last = np.ones(len(user), bool)
    last[:-1] = (user[1:] != user[:-1]) | (track[1:] != track[:-1])
    chosen = last & dislikes
    ones = np.ones(int(chosen.sum()), bool)
    return sp.csr_matrix((ones, (user[chosen], track[chosen])), shape=shape)
