"""Embeddings of a release turned so that they lie as near as can be to an earlier one's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import orthogonal_procrustes

from features.compute.embeddings import unit_rows

AXIS_WEIGHT = 1e-9
"""Weight of each axis as a thing that stays where it is, beside all shared tracks together: where those say nothing,
the rotation is the least one instead of any; where they say anything, it doesn't count."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Vectors after the rotation, and how well they fit.

    Attributes:
        vectors: (n, d) float32, unit length or zero.
        tracks: shared tracks that the rotation was made of; 0 where the vectors are as they came.
        before: mean cosine of the shared tracks' vectors to the reference, as they came; NaN without any.
        after: the same of the rotated ones.
    """

    vectors: np.ndarray
    tracks: int
    before: float
    after: float

    def __repr__(self) -> str:
        return f"Alignment({self.tracks:,} shared tracks, mean cosine {self.before:.3f} before, {self.after:.3f} after)"


def align(vectors: np.ndarray, ids: Sequence[str], reference: np.ndarray, reference_ids: Sequence[str]) -> Alignment:
    """Rotates (or mirrors) all vectors so that those of shared tracks lie nearest to the reference's.

    Inner products among the vectors stay what they were: neighbours are the same, only comparable from night to
    night. A narrower reference counts as zero in the dimensions it lacks. Vectors stay as they came where the
    reference is wider, since no rotation reaches it, and where no track has a vector on both sides. With fewer
    shared tracks than dimensions `after` flatters: there is room to fit them. The rotation does not depend on the
    order of rows; sums are BLAS's, so who wants the same bits each time holds it to one thread.

    Args:
        vectors: (n, d) float, unit length or zero.
        ids: (n,) tracks, each once.
        reference: (m, e) float, unit length or zero.
        reference_ids: (m,) tracks, each once.

    Source:
        Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem".
    """
    width = vectors.shape[1]
    ours, theirs = _shared(vectors, ids, reference, reference_ids)
    if reference.shape[1] > width or not len(ours):
        return Alignment(vectors.astype(np.float32), 0, np.nan, np.nan)
    target = np.zeros((len(theirs), width))
    target[:, : reference.shape[1]] = reference[theirs]
    axes = np.eye(width) * np.sqrt(AXIS_WEIGHT * len(ours))
    rotation, _ = orthogonal_procrustes(np.vstack([vectors[ours], axes]), np.vstack([target, axes]))
    rotated = unit_rows(vectors.astype(np.float64) @ rotation)
    return Alignment(rotated.astype(np.float32), len(ours), _fit(vectors[ours], target), _fit(rotated[ours], target))


def _shared(
    vectors: np.ndarray, ids: Sequence[str], reference: np.ndarray, reference_ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows on either side of the tracks that have a vector on both, by id, so that sums don't depend on the order."""
    places = dict(_with_vector(reference_ids, reference))
    pairs = sorted((track, row) for track, row in _with_vector(ids, vectors) if track in places)
    return (
        np.array([row for _, row in pairs], np.int64),
        np.array([places[track] for track, _ in pairs], np.int64),
    )


def _with_vector(ids: Sequence[str], vectors: np.ndarray) -> Iterator[tuple[str, int]]:
    """Tracks whose row is not zero, with the row."""
    return ((ids[row], row) for row in np.nonzero(vectors.any(axis=1))[0].tolist())


def _fit(vectors: np.ndarray, target: np.ndarray) -> float:
    """Mean cosine, row by row."""
    return float(np.einsum("ij,ij->i", unit_rows(vectors.astype(np.float64)), unit_rows(target)).mean())
