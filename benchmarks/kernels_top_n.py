"""Exact top-N over all tracks, beside the bare matrix product and implicit's topk.

`python -m benchmarks.kernels_top_n` draws factors of 20,000 users and 100,000 tracks, 64 of each, whose lengths differ
as a lognormal with a spread of 0.3 makes them, and 77 heard tracks a user. All in turn in one process, BLAS and
everything else on one thread. L is 384,000 tracks, and says what 1.02 million users would take. Factors
drawn at random are the hard case: models' tracks differ more in length, so that more are passed over unmultiplied.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.measuring import OURS, comparison, in_turns, run
from features.compute.top_n import TopN, top_n

N, DIMENSIONS, HEARD = 100, 64, 77
LARGE_USERS = 1_020_000
ROWS = 500
"""Users of a block of the bare product, whose result is written over with each."""
IMPLICIT, PRODUCT = "implicit", "bare product"


@dataclass(frozen=True)
class Size:
    """Users and tracks, and how often each is timed."""

    users: int
    tracks: int
    rounds: int


SIZES = {"S": Size(2_000, 100_000, 3), "M": Size(20_000, 100_000, 5), "L": Size(5_000, 384_000, 1)}


def measure(name: str, _folder: Path) -> dict[str, Any]:
    """Seconds of ours and of peers."""
    from implicit.cpu.topk import topk  # in the bench extra

    size = SIZES[name]
    users, tracks, heard = drawn(size, seed=1)
    block = np.zeros((ROWS, len(tracks)), np.float32)

    def ours() -> TopN:
        return top_n(users, tracks, heard, N)

    def implicit() -> np.ndarray:
        best: np.ndarray = topk(tracks, users, N, filter_query_items=heard, num_threads=1)[0]
        return best

    def product() -> None:
        for start in range(0, len(users), ROWS):
            np.matmul(users[start : start + ROWS], tracks.T, out=block)

    with threadpool_limits(1, "blas"):
        top_n(users[:9], tracks, heard[:9], N)  # compiled before it is timed
        turns = in_turns({OURS: ours, PRODUCT: product, IMPLICIT: implicit}, size.rounds)
    same = float((turns.made[OURS].tracks == turns.made[IMPLICIT]).mean())
    notes = [f"Same tracks in the same places as implicit's: {same:.4%}"]
    if name == "L":
        seconds = turns.spent[OURS][0].cpu_s * LARGE_USERS / size.users
        notes.append(f"All {LARGE_USERS:,} users would take {seconds:,.0f} s of one core")
    about = f"The best {N} of {size.tracks:,} tracks for {size.users:,} users, {DIMENSIONS} dimensions"
    return comparison("top_n", about, turns.spent, peak=turns.peak_rss_bytes, same_as_implicit=same, notes=notes)


def drawn(size: Size, seed: int) -> tuple[np.ndarray, np.ndarray, sp.csr_matrix]:
    """Factors of users and tracks, float32, and what users have heard, CSR with sorted indices."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(size.users, DIMENSIONS)).astype(np.float32)
    lengths = rng.lognormal(0.0, 0.3, (size.tracks, 1)).astype(np.float32)
    tracks = rng.normal(size=(size.tracks, DIMENSIONS)).astype(np.float32) * lengths
    pairs = (np.repeat(np.arange(size.users), HEARD), rng.integers(0, size.tracks, size.users * HEARD))
    heard = sp.csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape=(size.users, size.tracks))
    heard.sort_indices()
    return users, tracks, heard


if __name__ == "__main__":
    run(__doc__, measure)
