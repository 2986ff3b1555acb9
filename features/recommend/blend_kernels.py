"""Standard scores and blends of them, a row at a time, compiled: each number is read once while it is at hand.

Sums over a row may be added in any order (eight by eight, that is), but it is the same order for a row of one width,
whatever other rows there are. In numpy the same takes a dozen arrays as large as all scores, one after the other.
"""

import numpy as np
from numba import njit

ROWS = 64
"""Rows that models are added up for at once, so that what they add to stays in the processor's cache."""
KNOWN, HEARD = 1, 2
"""What `told` holds of an entry: that a model knows it; that one does which knows only what somebody has heard."""


@njit(nogil=True, cache=True)
def standardize(scores: np.ndarray, known: np.ndarray, level: float, standard: np.ndarray, spread: np.ndarray) -> None:
    """Standard scores by row.

    Args:
        scores: (n, m) float.
        known: (n, m) bool: the entries that count; they must be finite.
        level: scores that spread by less than this of the largest are equal.
        standard: (n, m) float64, written: mean 0 and spread 1 over what counts, all 0 where it is equal; else -inf.
        spread: (n,) float64, written: standard deviation of what counts; 0 where it is equal.
    """
    for row in range(len(scores)):
        total, count, largest = _sum(scores[row], known[row])
        mean = total / max(count, 1)
        deviation = np.sqrt(_squares(scores[row], known[row], mean) / max(count, 1))
        spread[row] = deviation if deviation > level * largest else 0.0
        scale = spread[row] if spread[row] > 0 else 1.0
        if spread[row] == 0:
            for column in range(scores.shape[1]):
                standard[row, column] = 0.0 if known[row, column] else -np.inf
            continue
        for column in range(scores.shape[1]):
            standard[row, column] = (scores[row, column] - mean) / scale if known[row, column] else -np.inf


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _sum(scores: np.ndarray, known: np.ndarray) -> tuple[float, int, float]:
    total, count, largest = 0.0, 0, 0.0
    for column in range(len(scores)):
        value = float(scores[column]) if known[column] else 0.0
        total += value
        count += known[column]
        largest = max(largest, abs(value))
    return total, count, largest


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _squares(scores: np.ndarray, known: np.ndarray, mean: float) -> float:
    total = 0.0
    for column in range(len(scores)):
        apart = scores[column] - mean if known[column] else 0.0
        total += apart * apart
    return total


@njit(nogil=True, cache=True)
def add_part(
    standard: np.ndarray,
    lowest: float,
    share: np.ndarray,
    root: np.ndarray,
    vote: np.ndarray,
    flag: int,
    total: np.ndarray,
    base: np.ndarray,
    told: np.ndarray,
) -> None:
    """Adds what one model says to blends.

    Args:
        standard: (n, m) float64, its standard scores; -inf for what it does not know, which counts as 0.
        lowest: what is below says no more than this.
        share: (n,) float64: of the standard score.
        root: (n,) float64: of its root, with its sign.
        vote: (n,) float64: of the standard score, in what puts candidates forward.
        flag: set where it knows the entry.
        total: (n, m) float64, added to.
        base: (n, m) float64, added to.
        told: (n, m) uint8, added to.
    """
    for row in range(len(standard)):
        for column in range(standard.shape[1]):
            value = standard[row, column]
            knows = value > -np.inf
            told[row, column] |= flag if knows else 0
            score = max(value, lowest) if knows else 0.0
            total[row, column] += share[row] * score + root[row] * np.copysign(np.sqrt(abs(score)), score)
            base[row, column] += vote[row] * score


@njit(nogil=True, cache=True)
def place_unheard(
    content: np.ndarray,
    lowest: float,
    say: np.ndarray,
    votes: np.ndarray,
    total: np.ndarray,
    base: np.ndarray,
    told: np.ndarray,
) -> None:
    """Lets what nobody has heard stand by content alone.

    Args:
        content: (n, m) float64, content's standard scores.
        lowest: as of `add_part`.
        say: (n,) float64: what of them is the blended score.
        votes: (n,) float64: what of them puts candidates forward.
        total: (n, m) float64, written where `told` says that nobody but models of content knows an entry.
        base: likewise.
        told: (n, m) uint8.
    """
    for row in range(len(content)):
        for column in range(content.shape[1]):
            if content[row, column] > -np.inf and not told[row, column] & HEARD:
                score = max(content[row, column], lowest)
                total[row, column] = say[row] * score
                base[row, column] = votes[row] * score


@njit(nogil=True, cache=True)
def order_candidates(total: np.ndarray, base: np.ndarray, told: np.ndarray, most: int, scores: np.ndarray) -> None:
    """The blended scores: of the best by `base` as they are, those of all others below them, in the order of `base`.

    Args:
        total: (n, m) float64.
        base: (n, m) float64.
        told: (n, m) uint8: what no model knows is left out.
        most: candidates of a row; of equals there may be more. 0 for all.
        scores: (n, m) float64, written; -inf for what is left out.
    """
    width = total.shape[1]
    for row in range(len(total)):
        last, lowest = -np.inf, np.inf
        if 0 < most < width:
            for column in range(width):
                scores[row, column] = base[row, column] if told[row, column] else -np.inf
            last = np.partition(scores[row], width - most)[width - most]
            for column in range(width):
                if told[row, column] and base[row, column] >= last:
                    lowest = min(lowest, total[row, column])
        for column in range(width):
            if not told[row, column]:
                scores[row, column] = -np.inf
            elif base[row, column] >= last:
                scores[row, column] = total[row, column]
            else:
                scores[row, column] = lowest + base[row, column] - last
