"""Who does shards of a night's work: this process alone, or a Dask cluster besides."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from features.compute.runner import Runner
from features.errors import InputError

RunnerName = Literal["local", "dask"]


def check_runner(runner: RunnerName, dask_address: str | None) -> None:
    """Makes sure of what can be seen before anything is started.

    Raises:
        InputError: Dask is not installed, or an address is given that is none or is not for this runner.
    """
    if runner == "local":
        if dask_address is not None:
            raise InputError("--dask-address is where --runner dask finds its cluster; pass both or neither")
        return
    from features.cluster.opening import check_address, check_installed

    check_installed()
    if dask_address is not None:
        check_address(dask_address)


@contextmanager
def open_runner(runner: RunnerName, dask_address: str | None) -> Iterator[Runner | None]:
    """Whoever does shards of the work for the length of the block; None for this process alone.

    Raises:
        InputError: as of `check_runner`.
        ClusterError: the cluster can't be reached or used.
    """
    check_runner(runner, dask_address)
    if runner == "local":
        yield None
        return
    from features.cluster.opening import dask_runner

    with dask_runner(dask_address) as shards:
        yield shards
