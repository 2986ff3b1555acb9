"""Shards on the workers of a Dask cluster, by the contract of `compute/runner.py`.

What is shared is sent to every worker once and stays in memory there; an item is sent with its shard, and the result
comes back to be put in place here. A lost worker takes nothing along: Dask runs its shards again elsewhere, and what
was shared is sent anew where its last copy is gone. Workers that would compute something else, since they have other
code, other libraries or another kind of arithmetic, are refused.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from features.cluster.database import Key, WorkerDatabase, close
from features.cluster.fingerprint import difference, fingerprint
from features.cluster.shard import Failed, look, run_shard
from features.compute.runner import window
from features.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_S = 60.0
"""How long there may be no worker at all: time for one to be started again."""
POLL_S = 1.0
TRANSFER_S = 300.0
"""What a result may take from a worker to here."""
TRIES = 3
"""Of a shard, where what it needs is lost with all workers."""
LARGE_BYTES = 100_000
"""Items from here on go straight to a worker, not by the scheduler."""
CLOCKS_S = 5.0
"""What clocks may differ by: a worker looks how long the lease still lasts."""


@dataclass(eq=False)
class Shared:
    """What every worker has: the value, kept here to be sent again, and the future that stands for it."""

    value: Any
    future: "Future"

    def __repr__(self) -> str:
        return f"Shared({type(self.value).__name__})"


class DaskRunner:
    """Runs shards on the workers of a cluster.

    Args:
        client: of the cluster.
        patience_s: how long there may be no worker at all.
    """

    def __init__(self, client: "Client", patience_s: float = PATIENCE_S) -> None:
        self._client = client
        self._patience_s = patience_s
        self._databases: list[Key] = []

    @property
    def workers(self) -> int:
        """How many items are worked on at once: the threads of all workers there are now."""
        return max(sum(map(int, self._client.nthreads().values())), 1)

    def share(self, value: Any) -> Shared:
        """Sends a value to every worker.

        Raises:
            ClusterError: there has been none for too long, or the scheduler is gone.
        """
        if isinstance(value, WorkerDatabase):
            self._databases.append(value.key)
        return Shared(value, self._sent(value, broadcast=True))

    def ordered(
        self,
        function: Callable[..., Result],
        shared: Sequence[Any],
        items: Iterable[Item],
        in_flight: int | None = None,
    ) -> Iterator[Result]:
        """See `compute.runner.Runner`; by default each worker has two items, so that none waits for this process.

        Raises:
            ClusterError: there has been no worker for too long, the scheduler is gone, or a shard takes workers down.
            Whatever the function raises.
        """

        def begin(item: Item) -> _Shard:
            return _Shard(self, function, shared, item)

        yield from window(begin, items, in_flight or 2 * self.workers, _Shard.cancel)

    def check_workers(self) -> None:
        """Makes sure that there are workers and that they compute what this process would.

        Raises:
            ClusterError: there are none within the patience, or one differs.
        """
        try:
            self._client.wait_for_workers(1, timeout=self._patience_s)
        except TimeoutError:
            raise self._deserted() from None
        before = time.time()
        found = self._client.run(look, on_error="return")
        after = time.time()
        for worker, seen in found.items():
            if isinstance(seen, Exception):
                raise ClusterError(f"the Dask worker {worker} {_unasked(seen)}")
            theirs, clock = seen
            if what := difference(fingerprint(), theirs):
                raise ClusterError(f"the Dask worker {worker} {what}; install the same there, or leave it out")
            if not before - CLOCKS_S <= clock <= after + CLOCKS_S:
                raise ClusterError(f"the clock of the Dask worker {worker} is not this machine's; set both by NTP")

    def forget(self) -> None:
        """Has the workers close what they opened for this run; those that are lost have done so."""
        if self._databases:
            with suppress(Exception):
                self._client.run(close, self._databases, on_error="ignore")

    # --- for its shards

    def submitted(self, function: Callable[..., Any], shared: Sequence[Any], item: Any) -> tuple["Future", Any]:
        """Begins a shard; its future, and what must be held until it is done."""
        from dask.sizeof import sizeof

        own = self._sent(item, broadcast=False) if sizeof(item) >= LARGE_BYTES else item
        arguments = [value.future if isinstance(value, Shared) else value for value in shared]
        return self._client.submit(run_shard, function, fingerprint(), *arguments, own, pure=False), own

    def renew(self, shared: Iterable[Any]) -> None:
        """Sends again what no worker has any more."""
        for value in shared:
            if isinstance(value, Shared) and value.future.status != "finished":
                value.future = self._sent(value.value, broadcast=True)

    def settled(self, future: "Future") -> Any:
        """What a shard gave, when it is done.

        Raises:
            CancelledError: something it needs was lost with its workers.
            ClusterError: see `ordered`.
        """
        from distributed.scheduler import KilledWorker

        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        alone_since = None
        while True:
            try:
                if done.wait(POLL_S):  # it may take long to come here, and must not be asked for again and again
                    return future.result(timeout=TRANSFER_S)
            except TimeoutError:
                pass  # its worker may be lost, and it is made again
            except CancelledError:
                self._has_workers()  # says so where it is the scheduler that is gone
                raise
            except KilledWorker as error:
                raise ClusterError(
                    f"a shard took {error.allowed_failures + 1} Dask workers down one after the other, most likely for "
                    "want of memory; give them more, or pass a lower --memory-limit"
                ) from None
            now = time.monotonic()
            alone_since = None if self._has_workers() else alone_since or now
            if alone_since is not None and now - alone_since > self._patience_s:
                raise self._deserted()

    def _sent(self, value: Any, *, broadcast: bool) -> "Future":
        for left in reversed(range(TRIES)):
            try:
                return self._client.scatter([value], broadcast=broadcast, hash=False, timeout=self._patience_s)[0]
            except TimeoutError:
                raise self._deserted() from None
            except Exception as error:
                self._has_workers()  # says so where it is the scheduler that is gone
                if not isinstance(error, OSError) or not left:
                    raise ClusterError(
                        f"a Dask worker can't take in what is sent to it ({type(error).__name__}); its log says why"
                    ) from error
                time.sleep(POLL_S)  # one was lost meanwhile: until the scheduler knows
        raise AssertionError

    def _has_workers(self) -> bool:
        if self._client.status != "running":
            raise ClusterError("the Dask scheduler is gone; start it and its workers, and run the command again")
        return bool(self._client.nthreads())

    def _deserted(self) -> ClusterError:
        return ClusterError(
            f"the Dask cluster has had no worker for {self._patience_s:.0f} s; start some with "
            "`dask worker SCHEDULER_ADDRESS` and run the command again"
        )


class _Shard:
    """An item that is being worked on; begun again where what it needs was lost."""

    def __init__(self, runner: DaskRunner, function: Callable[..., Any], shared: Sequence[Any], item: Any) -> None:
        self._runner, self._function, self._shared, self._item = runner, function, shared, item
        self._begin()

    def _begin(self) -> None:
        self._future, self._held = self._runner.submitted(self._function, self._shared, self._item)

    def result(self) -> Any:
        done = self._settled()
        if isinstance(done, Failed):
            raise done.error
        return done

    def _settled(self) -> Any:
        for _ in range(TRIES - 1):
            try:
                return self._runner.settled(self._future)
            except CancelledError:
                self._runner.renew(self._shared)
                self._begin()
        try:
            return self._runner.settled(self._future)
        except CancelledError:
            raise ClusterError("all Dask workers are lost again and again; their logs say why") from None

    def cancel(self) -> None:
        with suppress(Exception):  # the cluster may be gone
            self._future.cancel()


def _unasked(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"can't import {error.name}; install this version of echotune-features there"
    return f"can't be asked what it runs ({type(error).__name__}); its log says why"
