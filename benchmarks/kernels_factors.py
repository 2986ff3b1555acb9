"""The iALS solver beside implicit's ALS, and the decomposition's products beside scipy's.

`python -m benchmarks.kernels_factors` draws 100,000 users, 100,000 tracks and about five million pairs, popular tracks
heard far more than others, and fits 64 factors in four sweeps; implicit does as many, with its three steps of conjugate
gradients. All in turn in one process, BLAS and everything else on one thread, medians of repeated runs. What the two
minimize differs in how they regularise (ours by frequency), so beside seconds stand the mean product at pairs heard and
at pairs drawn at random: both have learned. Then the sparse matrix times 84 columns, by ours and by scipy, and what a
decomposition into 64 dimensions takes.
"""

import argparse
import json
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse as sp
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.kernels_top_n import Seconds, timed
from features.compute.decomposition import OVERSAMPLING, leading, times
from features.recommend.history import history_of
from features.recommend.models.factors import IALS

DIMENSIONS, SWEEPS = 64, 4


@dataclass(frozen=True)
class Size:
    """What is drawn, and how often each is timed. Pairs drawn twice count once, so there are somewhat fewer."""

    users: int
    tracks: int
    pairs: int
    repeats: int


NORMAL, QUICK = Size(100_000, 100_000, 5_200_000, 3), Size(20_000, 20_000, 1_000_000, 3)


def main() -> None:
    """Runs the measurement and prints a table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.users:,} users")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = measure(QUICK if given.quick else NORMAL)
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(size: Size) -> list[dict[str, Any]]:
    """Figures of the solver, of one product, and of the whole decomposition."""
    heard = drawn(size, seed=1)
    with threadpool_limits(1, "blas"):
        compiled = drawn(Size(50, 40, 300, 1), seed=1)
        IALS(dimensions=8, iterations=1).fit(history_of(compiled))
        times(compiled, np.ones((40, 2)))
        return [solving(heard, size), multiplying(heard, size), decomposing(heard, size)]


def solving(heard: sp.csr_matrix, size: Size) -> dict[str, Any]:
    """Four sweeps over users and tracks."""
    from implicit.cpu.als import AlternatingLeastSquares  # in the bench extra

    history = history_of(heard)
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def ours() -> None:
        model = IALS(dimensions=DIMENSIONS, iterations=SWEEPS, half_life=1e9, floor=1.0, strength=0.0).fit(history)
        made["ours"] = model.user_factors_, model.track_factors_

    def implicit() -> None:
        model = AlternatingLeastSquares(
            factors=DIMENSIONS, iterations=SWEEPS, regularization=5.0, alpha=1.0, num_threads=1, random_state=1
        )
        model.fit(heard, show_progress=False)
        made["implicit"] = model.user_factors, model.item_factors

    figures = compared("ials", size, ours, {"implicit": implicit})
    return figures | {"learned": {name: learned(heard, *factors) for name, factors in made.items()}}


def multiplying(heard: sp.csr_matrix, size: Size) -> dict[str, Any]:
    """The sparse matrix and its transpose, each times a dense block."""
    wide = np.random.default_rng(1).normal(size=(size.tracks, DIMENSIONS + OVERSAMPLING))
    heard, transposed = heard.astype(np.float64), heard.T.tocsr().astype(np.float64)
    return compared(
        "sparse_times_dense",
        size,
        lambda: times(transposed, times(heard, wide)),
        {"scipy": lambda: transposed @ (heard @ wide)},
    )


def decomposing(heard: sp.csr_matrix, size: Size) -> dict[str, Any]:
    """The first 64 dimensions; scikit-learn with as many iterations and columns."""
    from sklearn.utils.extmath import randomized_svd

    heard = heard.astype(np.float64)
    return compared(
        "decomposition",
        size,
        lambda: leading(heard, DIMENSIONS, seed=1),
        {"scikit-learn": lambda: randomized_svd(heard, DIMENSIONS, n_oversamples=20, n_iter=6, random_state=1)},
        repeats=1,
    )


def compared(
    name: str, size: Size, ours: Callable[[], Any], peers: dict[str, Callable[[], Any]], repeats: int | None = None
) -> dict[str, Any]:
    """CPU and wall seconds of ours and peers, taken in turn; medians, and by how many times ours are fewer."""
    took: dict[str, list[Seconds]] = {"ours": [], **{peer: [] for peer in peers}}
    peak = 0
    for _ in range(repeats or size.repeats):
        for who, function in {"ours": ours, **peers}.items():
            took[who].append(timed(function)[0])
            peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # ours is the first
    cpu = {who: median(run.cpu for run in runs) for who, runs in took.items()}
    return {
        "name": name,
        "size": asdict(size) | {"dimensions": DIMENSIONS},
        "ours": asdict(took["ours"][0]),
        "peers": {who: asdict(runs[0]) for who, runs in took.items() if who != "ours"},
        "cpu_s": cpu["ours"],
        "wall_s": median(run.wall for run in took["ours"]),
        "peer_cpu_s": {who: seconds for who, seconds in cpu.items() if who != "ours"},
        "peak_rss_bytes": peak,
        "ratio": {who: cpu[who] / cpu["ours"] for who in cpu if who != "ours"},
    }


def learned(heard: sp.csr_matrix, users: np.ndarray, tracks: np.ndarray) -> list[float]:
    """Mean product at pairs heard, and at as many drawn at random."""
    rng = np.random.default_rng(2)
    place = rng.integers(0, heard.nnz, 100_000)
    user, track = np.searchsorted(heard.indptr, place, side="right") - 1, heard.indices[place]
    chance = rng.integers(0, heard.shape[1], len(place))
    return [float(np.einsum("ij,ij->i", users[user], tracks[which]).mean()) for which in (track, chance)]


def drawn(size: Size, seed: int) -> sp.csr_matrix:
    """(users, tracks) float32 CSR of ones: long-tailed on both sides, each user at home in one of 32 scenes."""
    rng = np.random.default_rng(seed)
    activity = np.cumsum(rng.lognormal(0.0, 1.0, size.users))
    popularity = np.cumsum(np.arange(1, size.tracks + 1) ** -0.8)
    user = np.searchsorted(activity, rng.random(size.pairs) * activity[-1])
    track = np.searchsorted(popularity, rng.random(size.pairs) * popularity[-1])
    scene = rng.integers(0, 32, size.users)[user] * (size.tracks // 32)
    at_home = rng.random(size.pairs) < 0.6
    track = np.where(at_home, (track + scene) % size.tracks, track)
    heard = sp.csr_matrix((np.ones(size.pairs, np.float32), (user, track)), shape=(size.users, size.tracks))
    heard.data[:] = 1.0
    heard.sort_indices()
    return heard


def show(figures: list[dict[str, Any]]) -> None:
    """The table."""
    size = figures[0]["size"]
    table = Table(title=f"{size['users']:,} users × {size['tracks']:,} tracks, {size['pairs']:,} pairs, CPU seconds")
    for column in ("", "CPU s", "beside ours"):
        table.add_column(column, justify="left" if not column else "right")
    for row in figures:
        table.add_row(row["name"], f"{row['cpu_s']:.2f}", "1")
        for peer, seconds in row["peer_cpu_s"].items():
            table.add_row(f"  {peer}", f"{seconds:.2f}", f"{row['ratio'][peer]:.2f}")
    console = Console(width=100)
    console.print(table)
    for who, (at_heard, at_random) in figures[0]["learned"].items():
        console.print(f"{who}: mean product {at_heard:.3f} where heard, {at_random:.3f} at random")
    console.print(f"Peak resident memory with ours: {max(row['peak_rss_bytes'] for row in figures[:1]) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
