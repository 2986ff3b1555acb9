"""Similar users, exact, beside sparse_dot_topn, implicit, scikit-learn and scipy.

`python -m benchmarks.kernels_overlaps` finds for a hundred thousand users the fifty with the highest Jaccard overlap,
at least five tracks in common. Peers do the nearest thing that they can: sparse_dot_topn and implicit the fifty with
most tracks in common, scikit-learn by cosine, scipy the bare matrix product, block by block, without choosing anybody.
One thread each, in turn in one process. What is slow runs over a sample of rows, and its seconds are scaled to all; the
table says so. At L (1.02 million users) there are no peers but sparse_dot_topn on a sample.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.events import events_of
from benchmarks.measuring import Seconds, figures, peak_rss_bytes, run, timed
from features.compute.overlaps import similar_users
from features.compute.pair_sums import pair_sums

K, MIN_COMMON = 50, 5
REPEATS = {"S": 3, "M": 3, "L": 1}
SAMPLE_SHARE = {"S": 1, "M": 20, "L": 1000}
"""A peer that takes rows is given one in so many."""


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Seconds of ours and of peers at size S, M or L."""
    tracks = heard_of(name, folder)
    similar_users(tracks[:2], k=K, min_common=MIN_COMMON)  # compiled before it is timed
    with threadpool_limits(1):
        ours, found = timed(lambda: similar_users(tracks, k=K, min_common=MIN_COMMON), REPEATS[name])
        peak = peak_rss_bytes()
        share = SAMPLE_SHARE[name]
        rows = np.sort(np.random.default_rng(1).choice(tracks.shape[0], tracks.shape[0] // share, replace=False))
        scaled = "" if share == 1 else f", of 1 row in {share}"
        peers = {}
        for peer, function in PEERS.items():
            if name == "L" and peer != "sparse_dot_topn":
                continue
            whole = peer == "implicit all_pairs_knn"  # can't be asked about some
            peers[peer + ("" if whole else scaled)] = function(tracks, rows).times(1 if whole else share)
    check(tracks, found, rows[:50])
    cost = int((np.bincount(tracks.indices).astype(np.int64) ** 2).sum())
    pairs = f"{tracks.nnz:,} pairs, sum of listeners² {cost:.2g}"
    about = f"The {K} most similar of {tracks.shape[0]:,} users, {pairs}"
    return figures("overlaps", about, ours, peers, peak, listeners_squared=cost)


def heard_of(name: str, folder: Path) -> sp.csr_matrix:
    """(users, tracks) int32 CSR: plays of each pair."""
    plays, size = events_of(name, folder)
    made = pair_sums(
        plays.user, plays.track, lambda chosen: np.zeros(len(plays.user[chosen])), (size.users, size.tracks)
    )
    return sp.csr_matrix((made.counts, made.indices, made.indptr), shape=(size.users, size.tracks))


def sparse_dot_topn(tracks: sp.csr_matrix, rows: np.ndarray) -> Seconds:
    """The fifty with most tracks in common, and the user."""
    from sparse_dot_topn import sp_matmul_topn

    pattern = pattern_of(tracks, np.float32)
    return timed(lambda: sp_matmul_topn(pattern[rows], pattern.T.tocsr(), top_n=K + 1, threshold=4.5, sort=True))[0]


def implicit(tracks: sp.csr_matrix, _rows: np.ndarray) -> Seconds:
    """The fifty with most tracks in common, for all."""
    from implicit.nearest_neighbours import all_pairs_knn

    listeners = pattern_of(tracks, np.float64).T.tocsr()
    return timed(lambda: all_pairs_knn(listeners, K=K + 1, num_threads=1, show_progress=False))[0]


def scikit_learn(tracks: sp.csr_matrix, rows: np.ndarray) -> Seconds:
    """The fifty nearest by cosine, every one looked at; a fifth of the rows will do."""
    from sklearn.neighbors import NearestNeighbors

    pattern = pattern_of(tracks, np.float32)
    nearest = NearestNeighbors(n_neighbors=K + 1, metric="cosine", algorithm="brute", n_jobs=1).fit(pattern)
    some = rows[:: 5 if len(rows) < len(tracks.indptr) - 1 else 1]
    return timed(lambda: nearest.kneighbors(pattern[some]))[0].times(len(rows) / len(some))


def scipy(tracks: sp.csr_matrix, rows: np.ndarray) -> Seconds:
    """All counts, a block of rows at a time; nobody is chosen."""
    pattern = pattern_of(tracks, np.int32)

    def product() -> None:
        listeners = pattern.T.tocsr()
        for start in range(0, len(rows), 500):
            pattern[rows[start : start + 500]] @ listeners

    return timed(product)[0]


PEERS = {
    "sparse_dot_topn": sparse_dot_topn,
    "implicit all_pairs_knn": implicit,
    "scikit-learn brute cosine": scikit_learn,
    "scipy product alone": scipy,
}


def pattern_of(tracks: sp.csr_matrix, kind: type) -> sp.csr_matrix:
    """Ones where something is stored."""
    return sp.csr_matrix((np.ones(tracks.nnz, kind), tracks.indices, tracks.indptr), shape=tracks.shape)


def check(tracks: sp.csr_matrix, found: Any, users: np.ndarray) -> None:
    """Some users by counting all they have in common with anybody."""
    pattern = pattern_of(tracks, np.int32)
    sizes = np.diff(tracks.indptr)
    listeners = pattern.T.tocsr()
    for user in users:
        counts = (pattern[user] @ listeners).toarray()[0]
        counts[user] = 0
        share = np.where(counts >= MIN_COMMON, counts / np.maximum(sizes[user] + sizes - counts, 1), 0.0)
        best = np.lexsort((np.arange(len(share)), -share))[:K]
        expected = np.where(share[best] > 0, best, -1)
        assert np.array_equal(found.neighbors[user], expected), f"user {user} has other neighbours"


if __name__ == "__main__":
    run(__doc__, measure)
