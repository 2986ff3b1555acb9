"""What kernels' benchmarks share: seconds of repeated runs, and a table of ours beside peers."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

EVENTS = Path("data/bench")
"""Where events are made, once."""


@dataclass(frozen=True)
class Seconds:
    """Of all threads, and of the clock."""

    cpu: float
    wall: float

    def times(self, factor: float) -> "Seconds":
        """What `factor` times the work would take."""
        return Seconds(self.cpu * factor, self.wall * factor)


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[Seconds, Any]:
    """The median of repeated runs, and what the last one returned."""
    runs = []
    made = None
    for _ in range(repeats):
        made = None  # before the next is made, so that there are never two
        cpu, wall = time.process_time(), time.perf_counter()
        made = function()
        runs.append(Seconds(time.process_time() - cpu, time.perf_counter() - wall))
    return Seconds(median(run.cpu for run in runs), median(run.wall for run in runs)), made


def peak_rss_bytes() -> int:
    """The most memory this process has had so far, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def figures(name: str, about: str, ours: Seconds, peers: dict[str, Seconds], peak: int, **more: Any) -> dict[str, Any]:
    """In the form in which all benchmarks keep them; ratios are of CPU seconds."""
    return {
        "name": name,
        "about": about,
        "ours": vars(ours),
        "peers": {peer: vars(seconds) for peer, seconds in peers.items()},
        "cpu_s": ours.cpu,
        "wall_s": ours.wall,
        "peak_rss_bytes": peak,
        "ratio": {peer: seconds.cpu / ours.cpu for peer, seconds in peers.items()},
        **more,
    }


def show(made: dict[str, Any]) -> None:
    """The table."""
    table = Table(title=made["about"], title_justify="left")
    for column in ("", "CPU s", "wall s", "CPU beside ours"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("ours", f"{made['cpu_s']:.2f}", f"{made['wall_s']:.2f}", "1")
    for peer, seconds in made["peers"].items():
        table.add_row(peer, f"{seconds['cpu']:.2f}", f"{seconds['wall']:.2f}", f"{made['ratio'][peer]:.1f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"Peak resident memory with ours: {made['peak_rss_bytes'] / 1e6:,.0f} MB")


def run(doc: str | None, measure: Callable[[str, Path], dict[str, Any]]) -> None:
    """The command line of a benchmark at sizes S, M, L: prints the table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("size", nargs="?", choices=("S", "M", "L"), default="M")
    parser.add_argument("--quick", action="store_true", help="size S, whatever else is asked for")
    parser.add_argument("--folder", type=Path, default=EVENTS, help=f"where events are, or are made; {EVENTS}")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    made = measure("S" if given.quick else given.size, given.folder)
    show(made)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(made, indent=1) + "\n")
