"""What both benchmarks of the database share: a server with a sample, and what a piece of work cost both processes."""

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.measuring import comparison
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

    def with_(self, other: "Spent") -> "Spent":
        """Of both, one after the other."""
        kinds = ("wall_s", "own_cpu_s", "server_cpu_s")
        return Spent(*(getattr(self, kind) + getattr(other, kind) for kind in kinds))


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


def figures(name: str, about: str, spent: Mapping[str, Sequence[Spent]], **more: Any) -> dict[str, Any]:
    """What is kept of a measurement. The clock counts: what readers wait for is the work of two processes at once."""
    kinds = ("wall_s", "cpu_s", "own_cpu_s", "server_cpu_s")
    return comparison(name, about, spent, by="wall_s", kinds=kinds, **more)


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(process: int) -> float:
    """Seconds of CPU that a process has used, by `proc_pid_stat(5)`: its 14th and 15th field."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
