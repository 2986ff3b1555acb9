"""Events to a matrix of users by tracks, beside scipy and pandas.

`python -m benchmarks.kernels_pairs` sums up 19 million events by pair. All are given what each event is worth; ours
give sums and numbers of plays, as does pandas; scipy sums alone, and both by two matrices. One thread each, medians of
repeated runs, in turn in one process; ours once more on two threads. At L (121 million events) there are no peers but
scipy's sums, once.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.events import END_MS, Size, events_of
from benchmarks.measuring import figures, peak_rss_bytes, run, timed
from features.compute.interactions import decay, play_weights
from features.compute.pair_sums import FIXED_POINT, PairSums, pair_sums

REPEATS = {"S": 5, "M": 5, "L": 1}
HALF_LIFE_DAYS = 180.0


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Seconds of ours and of peers at size S, M or L."""
    plays, size = events_of(name, folder)
    user, track = np.array(plays.user), np.array(plays.track)
    worth = play_weights(np.asarray(plays.completion)) * decay(np.asarray(plays.played_at), END_MS, HALF_LIFE_DAYS)
    shape, repeats = (size.users, size.tracks), REPEATS[name]

    def ours(threads: int = 1) -> PairSums:
        return pair_sums(user, track, lambda chosen: worth[chosen], shape, threads=threads)

    pair_sums(user[:9], track[:9], lambda chosen: worth[chosen], shape, threads=2)  # compiled before it is timed
    one, sums = timed(ours, repeats)
    peak = peak_rss_bytes()
    peers = {"ours, two threads": timed(lambda: ours(2), repeats)[0]}
    peers["scipy COO→CSR, sums alone"], matrix = timed(lambda: by_scipy(user, track, worth, shape), repeats)
    assert np.array_equal(matrix.indptr, sums.indptr)
    assert np.array_equal(matrix.indices, sums.indices)
    assert np.abs(matrix.data - sums.sums / FIXED_POINT).max() < 1e-4
    del matrix
    if name != "L":
        ones = np.ones(len(user))
        peers["scipy COO→CSR, sums and plays"] = timed(
            lambda: (by_scipy(user, track, worth, shape), by_scipy(user, track, ones, shape)), min(repeats, 3)
        )[0]
        peers["pandas groupby"], matrix = timed(lambda: by_pandas(user, track, worth, size), min(repeats, 3))
        assert np.array_equal(matrix.indices, sums.indices)
    about = f"{len(user):,} events of {size.users:,} users and {size.tracks:,} tracks: {len(sums.indices):,} pairs"
    return figures("pair_sums", about, one, peers, peak)


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
