"""Feast beside us: `worker.py` in a Python of its own, asked over a pipe."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

PYTHON = Path(__file__).parents[2] / ".venv-feast" / "bin" / "python"
WORKER = Path(__file__).with_name("worker.py")


def there() -> bool:
    """Whether its Python was made, whole."""
    return (PYTHON.parents[1] / ".ready").exists()


@contextmanager
def feast(folder: Path, uri: str, profiles: pa.Table) -> Iterator[Callable[[], float]]:
    """Feast with some profiles to write, for the length of the block.

    Args:
        folder: for its files.
        uri: of the server it writes to.
        profiles: with `user_id` and `vector`.

    Yields:
        What materializes them, and returns the seconds of CPU that took.
    """
    moment = pa.array([datetime.now(UTC).replace(microsecond=0)] * len(profiles), pa.timestamp("us", tz="UTC"))
    vectors = profiles["vector"].cast(pa.list_(pa.float64()))
    folder.mkdir()
    table = pa.table({"user_id": profiles["user_id"], "vector": vectors, "event_timestamp": moment})
    pq.write_table(table, folder / "users.parquet")
    told = folder / "told.txt"
    with (
        told.open("w") as errors,
        subprocess.Popen(
            [PYTHON, "-P", WORKER, folder, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        to, from_ = process.stdin, process.stdout
        _answer(process, from_, told)

        def materialize() -> float:
            print("materialize", file=to, flush=True)
            return float(_answer(process, from_, told))

        yield materialize
        to.close()


def _answer(process: subprocess.Popen[str], from_: IO[str], told: Path) -> str:
    line = from_.readline()
    if not line:
        raise RuntimeError(f"{WORKER.name} ended with status {process.wait()}: {told.read_text()[-2000:]}")
    return line
