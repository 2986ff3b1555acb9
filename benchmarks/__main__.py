"""All benchmarks, each in a process of its own: its tables, what changed since the last run, the figures to reach.

`make bench` runs the large ones, an hour or two; `make bench BENCH=--quick` the small ones, minutes.
`python -m benchmarks overlaps top_n-S` runs some. Figures are kept in `benchmarks/kept/performance/`, and
`docs/performance.md` is made of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import keeping
from benchmarks.catalogue import Entry, chosen
from benchmarks.measuring import EVENTS
from benchmarks.report import write as write_page
from benchmarks.targets import goals, goals_table

SET_ASIDE = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What would have BLAS work as on another processor."""


def main() -> None:
    """Runs what is asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="all by default; such as overlaps, or overlaps-L for a size of it")
    parser.add_argument("--quick", action="store_true", help="small sizes, minutes")
    parser.add_argument(
        "--folder", type=Path, default=EVENTS, help=f"where events and nights are, or are made; {EVENTS}"
    )
    parser.add_argument("--no-keep", action="store_true", help="leave the kept figures as they are")
    parser.add_argument(
        "--take",
        nargs=2,
        metavar=("NAME-SIZE", "FILE"),
        help="keep figures that a benchmark wrote with --json; run nothing",
    )
    given = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=150)
    last = keeping.read()
    if given.take:
        key, file = given.take
        runs = {key: keeping.record(key, json.loads(Path(file).read_text()), load=os.getloadavg()[2], minutes=None)}
        keeping.write(runs[key])
    else:
        try:
            entries = chosen(given.names, quick=given.quick)
        except ValueError as error:
            parser.error(str(error))
        runs = {}
        for entry in entries:
            console.rule(f"{entry.key}: {entry.module}")
            made = run(entry, given.folder)
            if made is None:
                console.print(f"{entry.key} failed", style="bold red")
                continue
            runs[entry.key] = made
            for line in keeping.changes(last.get(entry.key), made):
                console.print(line, style="bold red" if line.startswith("worse") else "dim", highlight=False)
            if not given.no_keep:
                keeping.write(made)
    if not given.no_keep:
        write_page()
    console.rule("Figures to reach")
    console.print(goals_table(goals(last | runs), set(runs)))
    sys.exit(0 if given.take or len(runs) == len(entries) else 1)


def run(entry: Entry, folder: Path) -> dict[str, Any] | None:
    """One benchmark in a process of its own, which prints its tables; None if it failed."""
    environment = {name: value for name, value in os.environ.items() if name not in SET_ASIDE}
    environment |= keeping.ENVIRONMENT
    load, began = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "figures.json"
        words = [sys.executable, "-m", *entry.words(folder), "--json", str(file)]
        if subprocess.run(words, env=environment, check=False).returncode:
            return None
        minutes = (time.perf_counter() - began) / 60
        return keeping.record(entry.key, json.loads(file.read_text()), load=load, minutes=minutes)


if __name__ == "__main__":
    main()
