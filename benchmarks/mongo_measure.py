"""What both benchmarks of the database share: a server with a sample, and what a piece of work cost both processes."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from features.embedded import embedded_server, status

TICKS = 100
"""A second of CPU as Linux tells it in /proc."""


@dataclass(frozen=True)
class Spent:
    """Seconds: on the wall, of this process's CPU, and of the server's."""

    wall_s: float
    own_cpu_s: float
    server_cpu_s: float

    @property
    def cpu_s(self) -> float:
        """Of both, since the work is shared between them."""
        return self.own_cpu_s + self.server_cpu_s


@contextmanager
def server(home: Path) -> Iterator[tuple[Database[dict[str, Any]], int]]:
    """The built-in database of a folder, and the process that is its server."""
    with embedded_server(home) as uri, MongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        process = status(home).pid
        assert process is not None
        yield client["benchmark"], process


def timed(process: int, work: Callable[[], Any]) -> Spent:
    """What a piece of work costs. A number it returns is CPU of a process that did it for this one."""
    wall, own, its = time.perf_counter(), _own_cpu(), _cpu_of(process)
    returned = work()
    elsewhere = returned if isinstance(returned, float) else 0.0
    return Spent(time.perf_counter() - wall, _own_cpu() - own + elsewhere, _cpu_of(process) - its)


def in_turns(
    process: int, works: Mapping[str, Callable[[], Any]], rounds: int, before: Callable[[], Any] = lambda: None
) -> dict[str, list[Spent]]:
    """What each of several pieces of work costs, round by round, so that other load on the machine meets all.

    Args:
        process: the server.
        works: by name.
        rounds: how often each.
        before: done before each, on nobody's account.
    """
    spent: dict[str, list[Spent]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            before()
            spent[name].append(timed(process, work))
    return spent


def medians(rounds: Sequence[Spent]) -> dict[str, float]:
    """The median of each figure."""
    return {
        name: round(statistics.median(getattr(one, name) for one in rounds), 3)
        for name in ("wall_s", "cpu_s", "own_cpu_s", "server_cpu_s")
    }


def figures(name: str, ours: str, spent: Mapping[str, Sequence[Spent]], **more: Any) -> dict[str, Any]:
    """What `make bench` keeps of a measurement: ours, each peer, and how many times as fast ours is.

    A ratio is the median over the rounds of the peer's seconds for ours, of the same round.
    """
    peers = {
        peer: medians(rounds)
        | {
            f"ratio_{what}": round(
                statistics.median(
                    getattr(theirs, f"{what}_s") / getattr(mine, f"{what}_s")
                    for mine, theirs in zip(spent[ours], rounds, strict=True)
                ),
                3,
            )
            for what in ("wall", "cpu")
        }
        for peer, rounds in spent.items()
        if peer != ours
    }
    mine = medians(spent[ours])
    return {
        "name": name,
        "ours": {"name": ours} | mine,
        "peers": peers,
        "cpu_s": mine["cpu_s"],
        "wall_s": mine["wall_s"],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "ratio": {peer: row["ratio_wall"] for peer, row in peers.items()},
        **more,
    }


def show(found: Mapping[str, Any]) -> None:
    """A table of one measurement; the peer a figure is to be held to comes first."""
    table = Table(found["name"], "wall s", "CPU s", "own CPU s", "server CPU s", "its wall / ours", "its CPU / ours")
    for name, row in {found["ours"]["name"]: found["ours"], **found["peers"]}.items():
        seconds = [f"{row[key]:,.2f}" for key in ("wall_s", "cpu_s", "own_cpu_s", "server_cpu_s")]
        ratios = [f"{row[key]:.2f}" if key in row else "" for key in ("ratio_wall", "ratio_cpu")]
        table.add_row(name, *seconds, *ratios)
    console = Console(width=150)
    console.print(table)
    console.print(f"peak RSS {found['peak_rss_bytes'] / 1e6:,.0f} MB")


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(process: int) -> float:
    """Seconds of CPU that a process has used, by `proc_pid_stat(5)`: its 14th and 15th field."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
