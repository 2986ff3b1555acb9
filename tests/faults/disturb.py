"""The faults: each does its worst to one night, makes the world well again, and says what became of the run.

A fault raises `BrokenPromiseError` where the run itself did not end as it must; what is left in the database is looked
at afterwards, for all faults alike.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from faults.job import LEASE_LIFE_S
from faults.night import BrokenPromiseError, Ended, Night
from faults.proxy import Proxy
from faults.steps import Moment
from faults.watch import wait_for
from faults.world import DATABASE, OTHER_WORDS, Twin, state_of
from features.release.ledger import read_pointer

BUSY, DATABASE_LOST, STORAGE = 5, 3, 6
SMALL_DISK, SMALL_SERVER_DISK = 90, 400
"""MB."""
TRANSIENT = {"closed connection": None, "host unreachable": 6, "network timeout": 89, "shutting down": 91}
PERMANENT = {"closed connection": None, "unauthorized": 13, "shutting down": 91, "interrupted": 11601}
APPNAME = "echotune-features"
"""What the product's connections are called: the failpoints are for them, not for those who look on."""


ON_DISK = {"folders", "scratch"}
"""What a run that slept may leave behind: a release that nobody asks for. Its snapshot's files may be gone."""


@dataclass(frozen=True)
class Case:
    """What a fault is given: the night, what it would have come to, where to strike, and chance."""

    night: Night
    twin: Twin
    moment: Moment | None
    chance: Random


@dataclass(frozen=True)
class Told:
    """When the fault struck and what became of the run."""

    moment: str
    outcome: str


Fault = Callable[[Case], Told]


def kill_at_step(case: Case) -> Told:
    """`kill -9` of the run."""
    run = case.night.start(case.moment)
    run.wait_for_moment()
    run.kill()
    return Told(str(case.moment), str(run.end()))


def kill_at_random(case: Case) -> Told:
    """`kill -9` of the run after some time, its first import to its last line included."""
    delay = case.chance.uniform(0, case.twin.seconds)
    run = case.night.start()
    time.sleep(delay)
    run.kill()
    return Told(f"after {delay:.2f} s", str(run.end()))


def kill_twice(case: Case) -> Told:
    """`kill -9` of the run, and of the one that goes on after it."""
    first = kill_at_step(case)
    delay = case.chance.uniform(0, case.twin.seconds)
    again = case.night.start(label="again")
    time.sleep(delay)
    again.kill()
    return Told(f"{first.moment}, then after {delay:.2f} s", f"{first.outcome}, {again.end()}")


def kill_server_at_step(case: Case) -> Told:
    """`kill -9` of the server; it is back after up to a second, the run goes on meanwhile."""
    run = case.night.start(case.moment)
    run.wait_for_moment()
    case.night.server.kill()
    run.go_on()
    time.sleep(case.chance.uniform(0, 1))
    case.night.server.start()
    return Told(str(case.moment), str(run.end()))


def kill_server_at_random(case: Case) -> Told:
    """`kill -9` of the server after some time."""
    delay = case.chance.uniform(0, case.twin.seconds)
    run = case.night.start()
    time.sleep(delay)
    case.night.server.kill()
    time.sleep(case.chance.uniform(0, 1))
    case.night.server.start()
    return Told(f"after {delay:.2f} s", str(run.end()))


def kill_both(case: Case) -> Told:
    """`kill -9` of the server and of the run: a power cut."""
    run = case.night.start(case.moment)
    run.wait_for_moment()
    case.night.server.kill()
    run.kill()
    ended = run.end()
    case.night.server.start()
    return Told(str(case.moment), str(ended))


def cut_in_batch(case: Case) -> Told:
    """The connection breaks off in the middle of a batch of documents; the next attempt gets through."""
    proxy = case.night.proxy()
    run = case.night.start(case.moment, through=proxy)
    run.wait_for_moment()
    count = case.chance.randrange(100, 6_000)
    proxy.cut_after(count, die=False)
    run.go_on()
    return _cut_told(case, proxy, f"{case.moment}, {count:,} bytes on", run.end())


def cut_for_a_while(case: Case) -> Told:
    """The connection breaks off anywhere, and there is no other for a time."""
    return _cut_anywhere(case, case.chance.uniform(0.3, 3))


def cut_for_good(case: Case) -> Told:
    """The connection breaks off anywhere, and there is no other until the run has given up."""
    return _cut_anywhere(case, None)


def _cut_anywhere(case: Case, seconds: float | None) -> Told:
    proxy = case.night.proxy()
    count = case.chance.randrange(1, int(0.9 * case.twin.traffic))
    proxy.cut_after(count, die=True)
    run = case.night.start(through=proxy)
    if seconds is not None:
        wait_for(lambda: proxy.cuts > 0 or not run.runs, 60)
        time.sleep(seconds)
        proxy.dead = False
        return _cut_told(case, proxy, f"{count:,} bytes on, for {seconds:.1f} s", run.end())
    ended = run.end()
    if proxy.cuts and ended.status != DATABASE_LOST and _live(case) != case.twin.release:
        raise BrokenPromiseError(f"the database was lost, and the run ended with {ended}")
    return _cut_told(case, proxy, f"{count:,} bytes on, for good", ended)


def _cut_told(case: Case, proxy: Proxy, moment: str, ended: Ended) -> Told:
    return Told(moment, str(ended) if proxy.cuts else f"{ended} (no cut: there was less to say)")


def fail_for_a_while(case: Case) -> Told:
    """The server fails a command some times, with an error that passes."""
    name = case.chance.choice(list(TRANSIENT))
    command = case.chance.choice(["insert", "update", "find", "getMore", "aggregate", "delete"])
    times = case.chance.choice([1, 1, 2, 5])
    ended = _armed(case, command, TRANSIENT[name], {"times": times})
    return Told(f"{case.moment}: {name}, {command} × {times}", str(ended))


def fail_for_good(case: Case) -> Told:
    """The server fails a command that is needed, always: the run must end, and readers keep what they have."""
    name = case.chance.choice(list(PERMANENT))
    command = case.chance.choice(["insert", "update", "find"])
    ended = _armed(case, command, PERMANENT[name], "alwaysOn")
    if ended.status != DATABASE_LOST or _live(case) != case.night.base.old:
        raise BrokenPromiseError(f"with every {command} failing the run ended with {ended}, {_live(case)} is live")
    return Told(f"{case.moment}: {name}, every {command}", str(ended))


def _armed(case: Case, command: str, code: int | None, mode: Any) -> Ended:
    data: dict[str, Any] = {"failCommands": [command], "appName": APPNAME}
    data |= {"closeConnection": True} if code is None else {"errorCode": code}
    run = case.night.start(case.moment)
    run.wait_for_moment()
    case.night.server.command("configureFailPoint", "failCommand", mode=mode, data=data)
    run.go_on()
    try:
        return run.end()
    finally:
        case.night.server.command("configureFailPoint", "failCommand", mode="off")


def fill_disk(case: Case) -> Told:
    """The disk under the data folder is full but for a few bytes from a step on; it has room for the next run."""
    free = case.chance.randrange(60_000)
    is_small = _put_on_small_disk(case.night, "home", SMALL_DISK)
    run = case.night.start(case.moment)
    run.wait_for_moment()
    with _full(case.night, "home", free) if is_small else _limited(run.pid, free):
        run.go_on()
        ended = run.end()
    if ended.status not in {0, STORAGE}:
        raise BrokenPromiseError(f"on a full disk the run ended with {ended}")
    return Told(f"{case.moment}, {'disk' if is_small else 'file size limit'}, {free:,} bytes free", str(ended))


def start_on_full_disk(case: Case) -> Told:
    """The disk under the data folder is full before the run starts."""
    if not _put_on_small_disk(case.night, "home", SMALL_DISK):
        return Told("at the start", "left out: no right to mount a small disk")
    free = case.chance.randrange(1_000_000)
    with _full(case.night, "home", free):
        ended = case.night.start().end()
    if ended.status != STORAGE:
        raise BrokenPromiseError(f"on a full disk the run ended with {ended}")
    return Told(f"at the start, {free:,} bytes free", str(ended))


def fill_server_disk(case: Case) -> Told:
    """The disk under the server is full from a step on; it is given room and started again."""
    server = case.night.server
    server.stop()
    if not _put_on_small_disk(case.night, "db", SMALL_SERVER_DISK):
        server.start()
        return Told(str(case.moment), "left out: no right to mount a small disk")
    server.start()
    run = case.night.start(case.moment)
    run.wait_for_moment()
    with _full(case.night, "db", 0):
        run.go_on()
        ended = run.end()
    server.kill()
    server.start()
    return Told(str(case.moment), str(ended))


def _put_on_small_disk(night: Night, name: str, megabytes: int) -> bool:
    """Moves a folder of the night onto a disk of its own; False when this account may not mount one."""
    folder, aside = night.folder / name, night.folder / f"{name}.aside"
    folder.rename(aside)
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "faults", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        folder.rmdir()
        aside.rename(folder)
        return False
    night.cleanup.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
    shutil.copytree(aside, folder, dirs_exist_ok=True)
    return True


@contextlib.contextmanager
def _full(night: Night, name: str, free: int) -> Iterator[None]:
    """The small disk with no more than so many bytes free."""
    filler = night.folder / name / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
    os.truncate(filler, max(0, filler.stat().st_size - free))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def _limited(pid: int, size: int) -> Iterator[None]:
    """No file of a process may grow beyond a size: where no small disk can be mounted."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))
    yield


def sleep_past_lease(case: Case) -> Told:
    """A run is stopped until its lease has run out and another has published; then it goes on, and changes nothing.

    Half of them would make the same release as the other, half one of their own.
    """
    night, words = case.night, case.chance.choice([[], OTHER_WORDS])
    sleeper = night.start(case.moment, label="sleeper", words=words)
    sleeper.wait_for_moment()
    sleeper.signal(signal.SIGSTOP)
    sleeper.go_on()
    time.sleep(LEASE_LIFE_S + 0.5)
    published = night.start().end()
    if published.status != 0:
        raise BrokenPromiseError(f"beside a run that sleeps the next one ended with {published}")
    with night.server.client() as client:
        before = state_of(client[DATABASE], night.home)
        sleeper.signal(signal.SIGCONT)
        ended = sleeper.end()
        after = state_of(client[DATABASE], night.home)
    changed = [name for name in before if name not in ON_DISK and before[name] != after[name]]
    if changed or ended.status not in ({BUSY, STORAGE} if words else {0, BUSY, STORAGE}):
        raise BrokenPromiseError(f"a run that slept ended with {ended} and changed {', '.join(changed) or 'nothing'}")
    return Told(f"{case.moment}, {'another' if words else 'the same'} release", str(ended))


def run_two(case: Case) -> Told:
    """A second run starts while one is at work."""
    first = case.night.start(case.moment)
    first.wait_for_moment()
    second = case.night.start(label="second").end()
    first.go_on()
    ended = first.end()
    if (ended.status, second.status) != (0, BUSY):
        raise BrokenPromiseError(f"of two runs one ended with {ended}, the other with {second}")
    return Told(str(case.moment), f"{ended}; {second}")


def start_two(case: Case) -> Told:
    """Two runs start at the same instant."""
    runs = [case.night.start(label="first"), case.night.start(label="second")]
    ended = [run.end() for run in runs]
    if sorted(run.status for run in ended) not in ([0, 0], [0, BUSY]):
        raise BrokenPromiseError(f"of two runs one ended with {ended[0]}, the other with {ended[1]}")
    return Told("at the start", "; ".join(map(str, ended)))


def _live(case: Case) -> str | None:
    with case.night.server.client() as client:
        pointer = read_pointer(client[DATABASE])
    return pointer.release if pointer else None
