"""Similar users: exact overlap of the tracks they are drawn to."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.compute.overlap_index import OverlapIndex, overlap_index
from features.compute.overlap_kernel import most_similar
from features.compute.runner import Runner, Threads
from features.compute.shards import Range, even_ranges

SHARD_USERS = 1 << 16
"""Rows of a shard at most: its part of the result, 8 bytes a neighbour, is some 25 MB at fifty."""
SHARDS_A_WORKER = 4
"""So that no worker waits long for the last one."""


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


def similar_users(
    tracks: sp.csr_matrix,
    *,
    k: int,
    min_common: int,
    threads: int = 1,
    shard_users: int = SHARD_USERS,
    runner: Runner | None = None,
) -> SimilarUsers:
    """The k users with the highest Jaccard overlap, of those with at least `min_common` tracks in common.

    Exact: every pair is counted or shown not to come in (`overlap_kernel`). Overlaps are compared exactly, so the
    result depends neither on shards nor on who works on them; ties go to the lower number.

    Args:
        tracks: (users, tracks) sparse; a stored entry means that the track is the user's, whatever its value.
        k: neighbours at most.
        min_common: at least one.
        threads: one or more.
        shard_users: rows that are worked on at once, at most.
        runner: does the work; by default so many threads.

    Raises:
        ValueError: somebody has 2^25 tracks or more.

    Source:
        Jaccard, P. (1912), "The distribution of the flora in the alpine zone".
    """
    users = tracks.shape[0]
    width = min(k, max(users - 1, 0))
    neighbors = np.full((users, width), -1, np.int32)
    common = np.zeros((users, width), np.int32)
    jaccard = np.zeros((users, width))
    if width == 0 or tracks.nnz == 0:
        return SimilarUsers(neighbors, common, jaccard)
    runner = runner or Threads(threads)
    index = runner.share(overlap_index(tracks, min_common=min_common))
    shards = max(-(-users // shard_users), SHARDS_A_WORKER * (runner.workers - 1))
    counts = np.diff(tracks.indptr)
    ranges = even_ranges(counts + 1, shards)
    found = runner.ordered(_shard, [index, width, min_common], ranges)
    for (start, stop), (numbers, both) in zip(ranges, found, strict=True):
        neighbors[start:stop], common[start:stop] = numbers, both
        either = counts[start:stop, None] + counts[numbers] - both
        np.divide(both, either, out=jaccard[start:stop], where=numbers >= 0)
    return SimilarUsers(neighbors, common, jaccard)


def _shard(index: OverlapIndex, k: int, min_common: int, users: Range) -> tuple[np.ndarray, np.ndarray]:
    return most_similar(index, *users, k=k, min_common=min_common)
