"""What a worker runs: a function over one item, as this process would run it; and what it says of itself."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from features.cluster.fingerprint import difference, fingerprint
from features.errors import ClusterError, EchotuneError


@dataclass(frozen=True)
class Failed:
    """What a shard raised. Returned, not raised: Dask would log what the shard was called with."""

    error: Exception


def run_shard(function: Callable[..., Any], expected: Mapping[str, str], *arguments: Any) -> Any:
    """Runs a function; BLAS in one thread, since sums in another order would be others.

    Args:
        function: pure.
        expected: what this process must compute with.
        arguments: of the function.

    Returns:
        What the function does, or `Failed`.
    """
    if what := difference(expected, fingerprint()):
        return Failed(ClusterError(f"a Dask worker that joined {what}; install the same there, or leave it out"))
    try:
        with threadpool_limits(1, "blas"):
            return function(*arguments)
    except EchotuneError as error:
        return Failed(error)
    except Exception as error:  # noqa: BLE001 - raised again by whose shard it is
        return Failed(RuntimeError(f"{type(error).__name__} on a Dask worker:\n{traceback.format_exc()}"))


def look() -> tuple[dict[str, str], float]:
    """What this process computes with, and its clock, in seconds since 1970; makes sure that it has all that is needed.

    Raises:
        ImportError: it has not.
    """
    import features.release.build
    import features.release.publish  # noqa: F401

    return fingerprint(), time.time()
