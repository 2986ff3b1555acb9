"""What kernels cost as data grow: events to a matrix against events, exact similar users against listeners².

`python -m benchmarks.growth` measures four sizes from a thousand to a hundred thousand listeners (`ML` is three hundred
thousand, `L` a million), each in a process of its own, one thread. What counting all pairs of listeners would cost is
the sum over tracks of their listeners squared.
"""

import argparse
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.events import events_of
from benchmarks.kernels_overlaps import MIN_COMMON, K, heard_of
from benchmarks.measuring import EVENTS, keep, show, timed
from features.compute.overlaps import similar_users
from features.measured import peak_memory

SIZES = ("XS", "S", "SM", "M", "ML", "L")
COLUMNS = [
    *("size", "listeners", "tracks", "events", "pairs", "listeners²", "matrix CPU s", "similar users CPU s"),
    *("ns an event", "ns a listeners²", "peak GB"),
]


def main() -> None:
    """Measures the sizes one after the other; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("size", nargs="?", choices=SIZES, default="M", help="up to which; L takes many minutes")
    parser.add_argument("--quick", action="store_true", help="up to S, whatever else is asked for")
    parser.add_argument("--folder", type=Path, default=EVENTS, help=f"where events are, or are made; {EVENTS}")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    made = measure(SIZES[: SIZES.index("S" if given.quick else given.size) + 1], given.folder)
    show(made)
    keep(made, given.json)


def measure(sizes: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """A row a size."""
    return {
        "name": "growth",
        "about": "Kernels as data grow",
        "columns": COLUMNS,
        "rows": [_apart(size, folder) for size in sizes],
    }


def _apart(size: str, folder: Path) -> list[Any]:
    """A row, measured in a process of its own, so that its memory is its own."""
    here, there = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_row, args=(size, folder, there))
    process.start()
    there.close()
    row: list[Any] = here.recv()
    process.join()
    return row


def _row(size: str, folder: Path, to: Connection) -> None:
    events_of(size, folder)  # made before anything is timed, where it is missing
    compiled = heard_of("XS", folder)
    similar_users(compiled, k=K, min_common=MIN_COMMON)
    with threadpool_limits(1):
        pairing, heard = timed(lambda: heard_of(size, folder))
        finding, _ = timed(lambda: similar_users(heard, k=K, min_common=MIN_COMMON))
    plays, spec = events_of(size, folder)
    squared = int((np.bincount(heard.indices).astype(np.int64) ** 2).sum())
    to.send(
        [
            *(size, spec.users, spec.tracks, len(plays), int(heard.nnz), float(squared)),
            *(round(pairing.cpu_s, 3), round(finding.cpu_s, 3)),
            round(pairing.cpu_s / len(plays) * 1e9, 2),
            round(finding.cpu_s / squared * 1e9, 3),
            round(peak_memory() / 1e9, 2),
        ]
    )


if __name__ == "__main__":
    main()
