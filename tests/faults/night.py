"""One night to be disturbed: a server, a data folder and a database of its own, jobs that are real processes."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults import job
from faults.proxy import Proxy
from faults.server import Server, uri_of
from faults.steps import Moment
from faults.world import DATABASE, Base

JOB_TIMEOUT_S = 150.0

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["faults.job"])


class BrokenPromiseError(Exception):
    """Something that is promised did not hold."""


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    status: int
    out: str
    err: str

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL

    def __str__(self) -> str:
        if self.was_killed:
            return "killed"
        return "0" if self.status == 0 else f"status {self.status}: {self.err.strip().removeprefix('error: ')[:90]}"

    def check(self) -> None:
        """A job that was not killed says what it did: its release, or one line of what is wrong.

        Raises:
            BrokenPromiseError: it does not.
        """
        if self.was_killed:
            return
        last = self.out.strip().splitlines()[-1:] or [""]
        if self.status == 0 and not (last[0].startswith("release ") and last[0].endswith(" live")):
            raise BrokenPromiseError(f"status 0 and no release: {last[0]}")
        lines = self.err.strip().splitlines()
        if self.status != 0 and not (len(lines) == 1 and lines[0].startswith("error: ") and self.status in range(2, 8)):
            raise BrokenPromiseError(f"status {self.status} and {len(lines)} lines of error: {self.err.strip()[-300:]}")


class Job:
    """A running `echotune nightly`."""

    def __init__(self, order: job.Order) -> None:
        self._order = order
        self._ours, theirs = _forks.Pipe()
        self._process = _forks.Process(target=job.run, args=(order, theirs))
        self.started = time.monotonic()
        self._process.start()
        theirs.close()

    def wait_for_moment(self) -> Moment:
        """Returns once it stands at the moment it was ordered to be held at.

        Raises:
            BrokenPromiseError: it ended, or time was up, before it came there.
        """
        moment = self._receive()
        if moment is None:
            raise BrokenPromiseError(f"the run never came to {self._order.hold_at}; it ended with {self.end()}")
        return moment  # type: ignore[no-any-return]

    def passed(self) -> tuple[Moment, ...]:
        """All moments of a traced run, in order."""
        return tuple(self._receive() or ())

    def go_on(self) -> None:
        self._ours.send("go on")

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def end(self, timeout_s: float = JOB_TIMEOUT_S) -> Ended:
        """Waits for its end.

        Raises:
            BrokenPromiseError: it does not end, or not as it should.
        """
        self._process.join(timeout_s)
        if self._process.is_alive():
            self.kill()
            self._process.join()
            raise BrokenPromiseError(f"the run did not end within {timeout_s:g} s")
        folder, label = self._order.folder, self._order.label
        out, err = ((folder / f"{label}.{name}").read_text(errors="replace") for name in ("out", "err"))
        assert self._process.exitcode is not None
        ended = Ended(self._process.exitcode, out, err)
        ended.check()
        return ended

    def _receive(self) -> Any:
        connection: Connection = self._ours
        try:
            return connection.recv() if connection.poll(JOB_TIMEOUT_S) else None
        except EOFError:
            return None


class Night:
    """A copy of the base, with its server up for the length of the block; removed with all that is in it."""

    def __init__(self, base: Base, folder: Path) -> None:
        self.base = base
        self.folder = folder
        self.home = folder / "home"
        self.server = Server(folder / "db")
        self.cleanup = contextlib.ExitStack()
        """Runs after the server has gone."""
        self._jobs: list[Job] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        self.base.copy_to(self.folder)
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._jobs:
            if one.runs:
                one.kill()
        self.server.kill()
        self.cleanup.close()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self,
        hold_at: Moment | None = None,
        *,
        label: str = "job",
        words: list[str] | None = None,
        through: Proxy | None = None,
        trace: bool = False,
    ) -> Job:
        """Starts `echotune nightly` of the base's date."""
        environment: Mapping[str, str] = {
            "MONGODB_URI": uri_of(through.port) if through else self.server.uri,
            "MONGODB_DATABASE": DATABASE,
            "ECHOTUNE_HOME": str(self.home),
        }
        command = ["nightly", "--mirror-cache", "--as-of", self.base.as_of, *(words or [])]
        order = job.Order(self.folder, dict(environment), command, hold_at, trace, label)
        started = Job(order)
        self._jobs.append(started)
        return started

    def proxy(self) -> Proxy:
        made = Proxy(self.server.port)
        self.cleanup.callback(made.close)
        return made
