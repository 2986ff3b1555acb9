"""Similar users: exact overlap of the tracks they are drawn to."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.compute.topk import top_k

BLOCK_CELLS = 20_000_000
"""Cells of the dense block that one step of users × users makes: 160 MB at most."""


@dataclass(frozen=True, eq=False)
class SimilarUsers:
    """The most similar users of each user, best first; -1 marks an empty slot, its figures are 0.

    Attributes:
        neighbors: (users, k) int32.
        common: (users, k) int32, tracks in common.
        jaccard: (users, k) float64, common tracks by the tracks of either.
    """

    neighbors: np.ndarray
    common: np.ndarray
    jaccard: np.ndarray


def similar_users(tracks: sp.csr_matrix, *, k: int, min_common: int) -> SimilarUsers:
    """The k users with the highest Jaccard overlap, of those with at least `min_common` tracks in common.

    Exact: every pair is counted, by multiplying the incidence matrix with its transpose a block of users at a
    time. Overlap counts are integers, so the result depends neither on blocks nor on threads; ties go to the
    lower number.

    Args:
        tracks: (users, tracks) sparse; a stored non-zero means that the track is the user's.
        k: neighbours at most.
        min_common: at least one.

    Source:
        Jaccard, P. (1912), "The distribution of the flora in the alpine zone".
    """
    pattern = sp.csr_matrix((np.ones(tracks.nnz, np.int32), tracks.indices, tracks.indptr), shape=tracks.shape)
    users = tracks.shape[0]
    sizes = np.diff(pattern.indptr).astype(np.int64)
    transposed = pattern.T.tocsr()
    width = min(k, max(users - 1, 0))
    neighbors = np.full((users, width), -1, np.int32)
    common = np.zeros((users, width), np.int32)
    jaccard = np.zeros((users, width))
    if width == 0:
        return SimilarUsers(neighbors, common, jaccard)
    step = max(1, BLOCK_CELLS // max(users, 1))
    for start in range(0, users, step):
        stop = min(users, start + step)
        counts = (pattern[start:stop] @ transposed).toarray()
        counts[np.arange(stop - start), np.arange(start, stop)] = 0  # nobody is their own neighbour
        share = counts / np.maximum(sizes[start:stop, None] + sizes[None, :] - counts, 1)
        best = top_k(np.where(counts >= min_common, share, -np.inf), width)
        empty = best < 0
        safe = np.where(empty, 0, best)
        neighbors[start:stop] = best
        common[start:stop] = np.where(empty, 0, np.take_along_axis(counts, safe, axis=1))
        jaccard[start:stop] = np.where(empty, 0.0, np.take_along_axis(share, safe, axis=1))
    return SimilarUsers(neighbors, common, jaccard)
