"""A Dask cluster for the length of a run: one that is started here, or a given one; its workers looked at first."""

import asyncio
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numba

from features.cluster.runner import PATIENCE_S, DaskRunner
from features.errors import ClusterError, InputError

ADDRESS = re.compile(r"(tcp|tls)://[^\s/@]+:\d{1,5}")
CONNECT_S = 10.0
SILENT = logging.CRITICAL + 1
NOISY = ("distributed.client", "distributed.comm", "distributed.nanny", "distributed.utils")
"""Those of Dask's logs that have a level of their own."""


def check_address(address: str) -> None:
    """Makes sure that it is written as Dask writes addresses.

    Raises:
        InputError: it is not.
    """
    if not ADDRESS.fullmatch(address):
        raise InputError(f"--dask-address {address} is no address; write tcp://HOST:PORT as `dask scheduler` prints it")


def check_installed() -> None:
    """Makes sure that there is Dask.

    Raises:
        InputError: it is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            "--runner dask needs Dask, which is not installed; run `pip install 'echotune-features[dask]'`"
        ) from None


@contextmanager
def dask_runner(
    address: str | None = None, *, workers: int | None = None, patience_s: float = PATIENCE_S
) -> Iterator[DaskRunner]:
    """A runner on a cluster: the given one, or one on this machine that ends with the block.

    Args:
        address: of the scheduler; None for a cluster of our own, which nobody else can reach.
        workers: of our own: processes with a thread each; as many as numba may use threads by default.
        patience_s: how long there may be no worker at all.

    Raises:
        InputError: Dask is not installed, or the address is none.
        ClusterError: the scheduler can't be reached, has no workers, or such as would compute something else.
    """
    check_installed()
    if address is not None:
        check_address(address)
        _knock(address)
    where = _own_cluster(workers or numba.get_num_threads()) if address is None else _given(address)
    with _quiet(), where as cluster, _client(cluster) as client:
        runner = DaskRunner(client, patience_s)
        runner.check_workers()
        try:
            yield runner
        finally:
            runner.forget()


@contextmanager
def _given(address: str) -> Iterator[str]:
    yield address


@contextmanager
def _own_cluster(workers: int) -> Iterator[Any]:
    """Processes of this machine, a thread each, heard on 127.0.0.1 alone, without a dashboard."""
    import dask
    from distributed import LocalCluster

    # what is shared is needed by every shard: to write it to disk, or to wait until there is less of it, helps nobody
    memory = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
    with (
        dask.config.set(memory),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # None would be a fixed port
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=SILENT,
        ) as cluster,
    ):
        yield cluster


def _knock(address: str) -> None:
    """Makes sure that somebody answers there as Dask does: its client waits for ever where a call is met by silence."""
    from distributed.comm import connect
    from distributed.security import Security

    async def answered() -> None:
        how = Security().get_connection_args("client")
        (await asyncio.wait_for(connect(address, timeout=CONNECT_S, **how), 2 * CONNECT_S)).abort()

    with _quiet(), ThreadPoolExecutor(1) as thread:  # with a loop of its own, whatever runs in this one
        try:
            thread.submit(asyncio.run, answered()).result()
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise _unreachable(address, error) from None


def _unreachable(where: Any, error: Exception) -> ClusterError:
    return ClusterError(
        f"no Dask scheduler answers at {where} ({type(error).__name__}); check --dask-address, and that "
        "`dask scheduler` runs there"
    )


@contextmanager
def _client(where: Any) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(where, timeout=CONNECT_S, set_as_default=False, direct_to_workers=True)
    except (OSError, ValueError) as error:
        raise _unreachable(where, error) from None
    with client:
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own lines are for those who look after a cluster; a person here gets one, of what went wrong."""
    logs = [logging.getLogger(name) for name in ("distributed", *NOISY)]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(SILENT)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
