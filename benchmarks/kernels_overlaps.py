"""Similar users, exact, beside sparse_dot_topn, implicit, scikit-learn and scipy.

`python -m benchmarks.kernels_overlaps` finds for a hundred thousand users the fifty with the highest Jaccard overlap,
at least five tracks in common. Peers do the nearest thing that they can: sparse_dot_topn and implicit the fifty with
most tracks in common, scikit-learn by cosine, scipy the bare matrix product, block by block, without choosing anybody.
One thread each, in turn in one process; transposing the matrix is on our account and not on theirs. What is slow runs
over a sample of rows, and its seconds are scaled to all; the table says so. At L (1.02 million users) there are no
peers but sparse_dot_topn on a sample.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.events import events_of
from benchmarks.measuring import OURS, comparison, in_turns, run
from features.compute.overlaps import similar_users
from features.compute.pair_sums import pair_sums

K, MIN_COMMON = 50, 5
ROUNDS = {"S": 3, "M": 2, "L": 1}
ROWS = {"S": 10_000, "M": 5_000, "L": 1_000}
"""Of a peer that takes rows; of the slowest a fifth of them."""
DOT_TOPN, IMPLICIT, SKLEARN, SCIPY = "sparse_dot_topn", "implicit all_pairs_knn", "scikit-learn", "scipy product alone"


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Seconds of ours and of peers at size S, M or L."""
    tracks = heard_of(name, folder)
    n_users = tracks.shape[0]
    rows = np.sort(np.random.default_rng(1).choice(n_users, ROWS[name], replace=False))
    some = rows[::5]
    peers = {DOT_TOPN: (sparse_dot_topn(tracks, rows), len(rows))}
    if name != "L":
        peers |= {
            IMPLICIT: (implicit(tracks), n_users),  # can't be asked about some
            SKLEARN: (scikit_learn(tracks, some), len(some)),
            SCIPY: (scipy(tracks, rows), len(rows)),
        }
    works = {OURS: lambda: similar_users(tracks, k=K, min_common=MIN_COMMON)}
    similar_users(tracks[:2], k=K, min_common=MIN_COMMON)  # compiled before it is timed
    with threadpool_limits(1):
        turns = in_turns(
            works | {peer: work for peer, (work, _) in peers.items()},
            ROUNDS[name],
            {peer: n_users / asked for peer, (_, asked) in peers.items()},
        )
    check(tracks, turns.made[OURS], rows[:50])
    cost = int((np.bincount(tracks.indices).astype(np.int64) ** 2).sum())
    sampled = {peer: asked for peer, (_, asked) in peers.items() if asked < n_users}
    return comparison(
        "overlaps",
        f"The {K} most similar of {n_users:,} users, {tracks.nnz:,} pairs, sum of listeners² {cost:.2g}",
        turns.spent,
        peak=turns.peak_rss_bytes,
        listeners_squared=cost,
        notes=[
            f"{peer} was asked for {asked:,} rows, its seconds are scaled to all" for peer, asked in sampled.items()
        ],
    )


def heard_of(name: str, folder: Path) -> sp.csr_matrix:
    """(users, tracks) int32 CSR: plays of each pair."""
    plays, size = events_of(name, folder)
    made = pair_sums(
        plays.user, plays.track, lambda chosen: np.zeros(len(plays.user[chosen])), (size.users, size.tracks)
    )
    return sp.csr_matrix((made.counts, made.indices, made.indptr), shape=(size.users, size.tracks))


def sparse_dot_topn(tracks: sp.csr_matrix, rows: np.ndarray) -> Callable[[], Any]:
    """The fifty with most tracks in common, and the user."""
    from sparse_dot_topn import sp_matmul_topn

    pattern = pattern_of(tracks, np.float32)
    asked, listeners = pattern[rows], pattern.T.tocsr()
    return lambda: sp_matmul_topn(asked, listeners, top_n=K + 1, threshold=4.5, sort=True)


def implicit(tracks: sp.csr_matrix) -> Callable[[], Any]:
    """The fifty with most tracks in common, for all."""
    from implicit.nearest_neighbours import all_pairs_knn

    listeners = pattern_of(tracks, np.float64).T.tocsr()
    return lambda: all_pairs_knn(listeners, K=K + 1, num_threads=1, show_progress=False)


def scikit_learn(tracks: sp.csr_matrix, rows: np.ndarray) -> Callable[[], Any]:
    """The fifty nearest by cosine, every one looked at."""
    from sklearn.neighbors import NearestNeighbors

    pattern = pattern_of(tracks, np.float32)
    nearest = NearestNeighbors(n_neighbors=K + 1, metric="cosine", algorithm="brute", n_jobs=1).fit(pattern)
    asked = pattern[rows]
    return lambda: nearest.kneighbors(asked)


def scipy(tracks: sp.csr_matrix, rows: np.ndarray) -> Callable[[], None]:
    """All counts, a block of rows at a time; nobody is chosen."""
    pattern = pattern_of(tracks, np.int32)
    listeners = pattern.T.tocsr()

    def product() -> None:
        for start in range(0, len(rows), 500):
            pattern[rows[start : start + 500]] @ listeners

    return product


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
