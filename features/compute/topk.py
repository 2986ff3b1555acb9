"""The one top-k and the one tie rule: higher score first, then the lower number."""

import numpy as np


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The columns of the k highest scores of each row.

    Args:
        scores: (n_rows, n) float; -inf (or NaN) marks what may not be chosen. Not changed.
        k: how many at most.

    Returns:
        (n_rows, min(k, n)) int32, best first; ties go to the lower column; -1 marks an empty slot.
    """
    rows, n = scores.shape
    k = min(k, n)
    if k == 0 or rows == 0:
        return np.full((rows, k), -1, np.int32)
    usable = np.where(np.isnan(scores), -np.inf, scores)
    if k < n:
        # Everything above the k-th score is in; of those equal to it, the first ones are.
        kth = np.partition(usable, n - k, axis=1)[:, n - k, None]
        above = usable > kth
        level = usable == kth
        room = k - above.sum(axis=1, keepdims=True)
        chosen = above | (level & (np.cumsum(level, axis=1) <= room))
        columns = np.nonzero(chosen)[1].reshape(rows, k)
    else:
        columns = np.broadcast_to(np.arange(n), (rows, n))
    values = np.take_along_axis(usable, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")  # columns ascend, so a stable sort keeps the tie rule
    best = np.take_along_axis(columns, order, axis=1).astype(np.int32)
    best[np.isneginf(np.take_along_axis(values, order, axis=1))] = -1
    return best
