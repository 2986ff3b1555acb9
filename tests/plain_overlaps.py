"""Similar users the obvious way, the oracle of the fast one: users × users, a block at a time."""

import numpy as np
import scipy.sparse as sp

from features.compute.overlaps import SimilarUsers
from features.compute.topk import top_k

BLOCK_CELLS = 20_000_000


def similar_users_plain(tracks: sp.csr_matrix, *, k: int, min_common: int) -> SimilarUsers:
    """What `similar_users` says, by multiplying the incidence matrix with its transpose."""
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
