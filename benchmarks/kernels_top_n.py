"""Exact top-N over all tracks, beside the bare matrix product and implicit's topk.

`python -m benchmarks.kernels_top_n` draws factors of 20,000 users and 100,000 tracks, 64 of each, whose lengths differ
as a lognormal with a spread of 0.3 makes them, and 77 heard tracks a user. All in turn in one process, BLAS and
everything else on one thread, medians of repeated runs. `--large` draws 384,000 tracks and says what 1.02 million users
would take. Factors drawn at random are the hard case: models' tracks differ more in length, so that more are passed
over unmultiplied.
"""

import argparse
import json
import resource
import time
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

from features.compute.top_n import TopN, top_n

N, DIMENSIONS, HEARD = 100, 64, 77
LARGE_USERS = 1_020_000
ROWS = 500
"""Users of a block of the bare product, whose result is written over with each."""


@dataclass(frozen=True)
class Size:
    """Users and tracks, and how often each is timed."""

    users: int
    tracks: int
    repeats: int


NORMAL, QUICK, LARGE = Size(20_000, 100_000, 3), Size(2_000, 100_000, 3), Size(5_000, 384_000, 1)


def main() -> None:
    """Runs the measurement and prints a table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.users:,} users")
    parser.add_argument(
        "--large", action="store_true", help=f"{LARGE.tracks:,} tracks, and all of {LARGE_USERS:,} users"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    size = QUICK if given.quick else LARGE if given.large else NORMAL
    figures = measure(size)
    show(figures)
    if given.large:
        seconds = figures["cpu_s"] * LARGE_USERS / size.users
        Console().print(f"All {LARGE_USERS:,} users: {seconds:,.0f} s of one core")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(size: Size) -> dict[str, Any]:
    """What `show` prints: seconds of ours and of peers, medians, and by how many times ours are fewer."""
    from implicit.cpu.topk import topk  # in the bench extra

    users, tracks, heard = drawn(size, seed=1)
    made: dict[str, Any] = {}

    def ours() -> TopN:
        return top_n(users, tracks, heard, N)

    def implicit() -> np.ndarray:
        best: np.ndarray = topk(tracks, users, N, filter_query_items=heard, num_threads=1)[0]
        return best

    block = np.zeros((ROWS, len(tracks)), np.float32)

    def product() -> None:
        for start in range(0, len(users), ROWS):
            np.matmul(users[start : start + ROWS], tracks.T, out=block)

    with threadpool_limits(1, "blas"):
        top_n(users[:9], tracks, heard[:9], N)  # compiled before it is timed
        peak = 0
        took: dict[str, list[Seconds]] = {"ours": [], "bare product": [], "implicit": []}
        for _ in range(size.repeats):
            for name, function in (("ours", ours), ("bare product", product), ("implicit", implicit)):
                seconds, made[name] = timed(function)
                took[name].append(seconds)
                peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # ours is the first
    cpu = {name: median(run.cpu for run in runs) for name, runs in took.items()}
    return {
        "name": "top_n",
        "size": asdict(size) | {"n": N, "dimensions": DIMENSIONS},
        "ours": asdict(took["ours"][0]),
        "peers": {name: asdict(runs[0]) for name, runs in took.items() if name != "ours"},
        "cpu_s": cpu["ours"],
        "wall_s": median(run.wall for run in took["ours"]),
        "peer_cpu_s": {name: seconds for name, seconds in cpu.items() if name != "ours"},
        "peak_rss_bytes": peak,
        "ratio": {name: cpu[name] / cpu["ours"] for name in cpu if name != "ours"},
        "same_as_implicit": float((made["ours"].tracks == made["implicit"]).mean()),
    }


@dataclass(frozen=True)
class Seconds:
    """Of one run."""

    cpu: float
    wall: float


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


def timed(function: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Seconds of all threads, of the clock, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    made = function()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall), made


def show(figures: dict[str, Any]) -> None:
    """The table."""
    size = figures["size"]
    table = Table(title=f"The best {size['n']} of {size['tracks']:,} tracks for {size['users']:,} users, CPU seconds")
    for column in ("", "CPU s", "beside ours"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("ours", f"{figures['cpu_s']:.2f}", "1")
    for name, seconds in figures["peer_cpu_s"].items():
        table.add_row(name, f"{seconds:.2f}", f"{figures['ratio'][name]:.2f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"Same tracks in the same places as implicit's: {figures['same_as_implicit']:.4%}")
    console.print(f"Peak resident memory with ours: {figures['peak_rss_bytes'] / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
