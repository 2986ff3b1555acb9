"""Events to a matrix of users by tracks, beside scipy and pandas.

`python -m benchmarks.kernels_pairs` sums up 19 million events by pair. All are given what each event is worth; ours
give sums and numbers of plays, as does pandas; scipy sums alone, and both by two matrices. One thread each, in turn in
one process; ours once more on two threads. At L (121 million events) there are no peers but scipy's sums, once.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.events import END_MS, Size, events_of
from benchmarks.measuring import OURS, comparison, in_turns, run
from features.compute.interactions import decay, play_weights
from features.compute.pair_sums import FIXED_POINT, PairSums, pair_sums

ROUNDS = {"S": 5, "M": 5, "L": 1}
HALF_LIFE_DAYS = 180.0
SCIPY, PANDAS = "scipy COO→CSR, sums alone", "pandas groupby"


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Seconds of ours and of peers at size S, M or L."""
    plays, size = events_of(name, folder)
    user, track = np.array(plays.user), np.array(plays.track)
    worth = play_weights(np.asarray(plays.completion)) * decay(np.asarray(plays.played_at), END_MS, HALF_LIFE_DAYS)
    shape = (size.users, size.tracks)
    ones = np.ones(len(user))

    def ours(threads: int = 1) -> PairSums:
        return pair_sums(user, track, lambda chosen: worth[chosen], shape, threads=threads)

    works = {OURS: ours, SCIPY: lambda: by_scipy(user, track, worth, shape)}
    if name != "L":
        works |= {
            PANDAS: lambda: by_pandas(user, track, worth, size),
            "scipy COO→CSR, sums and plays": lambda: (
                by_scipy(user, track, worth, shape),
                by_scipy(user, track, ones, shape),
            ),
            "ours, two threads": lambda: ours(2),
        }
    pair_sums(user[:9], track[:9], lambda chosen: worth[chosen], shape, threads=2)  # compiled before it is timed
    turns = in_turns(works, ROUNDS[name])
    sums, matrix = turns.made[OURS], turns.made[SCIPY]
    assert np.array_equal(matrix.indptr, sums.indptr)
    assert np.array_equal(matrix.indices, sums.indices)
    assert np.abs(matrix.data - sums.sums / FIXED_POINT).max() < 1e-4
    if name != "L":
        assert np.array_equal(turns.made[PANDAS].indices, sums.indices)
    about = f"{len(user):,} events of {size.users:,} users and {size.tracks:,} tracks: {len(sums.indices):,} pairs"
    return comparison("pair_sums", about, turns.spent, peak=turns.peak_rss_bytes)


def by_scipy(user: np.ndarray, track: np.ndarray, worth: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Coordinates to rows, in which equal pairs are summed."""
    matrix = sp.coo_matrix((worth, (user, track)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def by_pandas(user: np.ndarray, track: np.ndarray, worth: np.ndarray, size: Size) -> sp.csr_matrix:
    """Groups of user and track, summed and counted."""
    frame = pd.DataFrame({"user": user, "track": track, "worth": worth})
    grouped = frame.groupby(["user", "track"], sort=True)["worth"].agg(["sum", "size"]).reset_index()
    indptr = np.concatenate(([0], np.cumsum(np.bincount(grouped["user"], minlength=size.users))))
    parts = (grouped["sum"].to_numpy(), grouped["track"].to_numpy(), indptr)
    return sp.csr_matrix(parts, shape=(size.users, size.tracks))


if __name__ == "__main__":
    run(__doc__, measure)
