"""Learning a linear blend from lists: which of the tracks put forward did each user take to."""

import numpy as np
from scipy.optimize import minimize

MOST_STEPS = 200


def fit_listwise(
    features: np.ndarray, usable: np.ndarray, relevant: np.ndarray, prior: np.ndarray, *, ridge: float
) -> np.ndarray:
    """Weights whose softmax over each user's candidates gives the relevant ones the most probability.

    Minimizes the cross-entropy of a softmax over each list, users counting by the root of their relevant tracks, plus
    `ridge` times the squared distance from `prior` in standard deviations of each feature.

    Args:
        features: (n, c, f) float32 of n users' candidates.
        usable: (n, c) bool: False for empty places.
        relevant: (n, c) bool.
        prior: (f,) float64, what weights are without data.
        ridge: how much they are held there.

    Returns:
        (f,) float64. The prior, where nothing is relevant.

    Source:
        Cao et al. (2007), "Learning to rank: from pairwise approach to listwise approach" (ListNet's top-one case).
    """
    asked = relevant.any(axis=1)  # lists without a relevant track say nothing, and empty ones have no softmax
    features, usable, relevant = features[asked], usable[asked], relevant[asked]
    if not len(features):
        return prior.copy()
    spread = features[usable].std(axis=0).astype(np.float64) + 1e-6
    scaled = features / spread.astype(np.float32)
    taken = relevant.sum(axis=1, keepdims=True)
    target = (relevant / np.sqrt(np.maximum(taken, 1))).astype(np.float32)
    mass, total = target.sum(axis=1, keepdims=True), float(target.sum())
    start = prior * spread

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = np.where(usable, scaled @ weights.astype(np.float32), -np.inf)
        score -= score.max(axis=1, keepdims=True, initial=-1e30)
        share = np.exp(score)
        whole = share.sum(axis=1, keepdims=True)
        fit = -float((target * np.where(usable, score - np.log(whole), 0.0)).sum(dtype=np.float64))
        pull = mass * (share / whole) - target
        away = weights - start
        slope = np.tensordot(pull, scaled, axes=([0, 1], [0, 1])).astype(np.float64)
        return fit / total + ridge * float(away @ away), slope / total + 2.0 * ridge * away

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS})
    weights: np.ndarray = found.x / spread
    return weights
