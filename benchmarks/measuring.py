"""What benchmarks share: seconds of ours and of peers, taken in turn, and the form they are kept and shown in.

A measurement is a dict that JSON can hold: `name`, `about`; `ours` and `peers`, rows of seconds; `by`, the seconds that
count; `ratio`, how many times ours each peer takes. What is no comparison has `columns` and `rows` instead. A module
makes one measurement or a list of them.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from features.measured import peak_memory, reset_peak

EVENTS = Path("data/bench")
"""Where events are made, once."""
OURS = "ours"
HEADINGS = {"cpu_s": "CPU s", "wall_s": "wall s", "own_cpu_s": "own CPU s", "server_cpu_s": "server CPU s"}


@dataclass(frozen=True)
class Seconds:
    """Of all threads, and of the clock."""

    cpu_s: float
    wall_s: float

    def times(self, factor: float) -> "Seconds":
        """What `factor` times the work would take."""
        return Seconds(self.cpu_s * factor, self.wall_s * factor)


def timed(function: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Seconds of one run, and what it returned."""
    cpu, wall = time.process_time(), time.perf_counter()
    made = function()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall), made


@dataclass(frozen=True)
class Turns:
    """What `in_turns` found.

    Attributes:
        spent: by name, a run a round.
        made: what each last returned.
        peak_rss_bytes: the most memory this process had while the first work ran for the first time, what it is made of
            included.
    """

    spent: dict[str, list[Seconds]]
    made: dict[str, Any]
    peak_rss_bytes: int


def in_turns(works: Mapping[str, Callable[[], Any]], rounds: int, factors: Mapping[str, float] | None = None) -> Turns:
    """Each of several pieces of work once a round, so that other load on the machine meets all; ours first.

    Args:
        works: by name.
        rounds: how often each.
        factors: of works that do a part of what is to be done: how many times it, by name.
    """
    spent: dict[str, list[Seconds]] = {name: [] for name in works}
    made: dict[str, Any] = {}
    peak = 0
    reset_peak()
    for _ in range(rounds):
        for name, work in works.items():
            made.pop(name, None)  # before the next is made, so that there are never two
            seconds, made[name] = timed(work)
            spent[name].append(seconds.times((factors or {}).get(name, 1.0)))
            peak = peak or peak_memory()
    return Turns(spent, made, peak)


def comparison(
    name: str,
    about: str,
    spent: Mapping[str, Sequence[Any]],
    *,
    by: str = "cpu_s",
    kinds: Sequence[str] = ("cpu_s", "wall_s"),
    peak: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A measurement of ours beside peers. Seconds are medians; a ratio is the median of the rounds' own ratios.

    Args:
        name: short.
        about: what was done to how much.
        spent: runs a round by name, ours first; each has the `kinds` of seconds as attributes.
        by: the kind that counts.
        kinds: all that are kept.
        peak: bytes; of this process up to now unless given.
        more: what else is kept.
    """
    ours, *others = spent
    rows = {
        who: {kind: round(median(getattr(run, kind) for run in runs), 4) for kind in kinds}
        for who, runs in spent.items()
    }
    ratio = {
        peer: round(median(getattr(b, by) / getattr(a, by) for a, b in zip(spent[ours], spent[peer], strict=True)), 3)
        for peer in others
    }
    return {
        "name": name,
        "about": about,
        "by": by,
        "rounds": len(spent[ours]),
        "ours": {"name": ours} | rows[ours],
        "peers": {peer: rows[peer] for peer in others},
        "ratio": ratio,
        "peak_rss_bytes": peak or peak_memory(),
        **more,
    }


def show(made: Mapping[str, Any]) -> None:
    """The table of a measurement."""
    console = Console(width=130)
    table = Table(title=made["about"], title_justify="left")
    headings, lines = cells(made)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for line in made.get("notes", []):
        console.print(line)
    if "peak_rss_bytes" in made:
        console.print(f"Peak resident memory with ours: {made['peak_rss_bytes'] / 1e6:,.0f} MB")


def cells(made: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of a measurement as texts."""
    if "columns" in made:
        return list(made["columns"]), [[text_of(value) for value in row] for row in made["rows"]]
    kinds = [kind for kind in HEADINGS if kind in made["ours"]]
    lines = [
        [who, *(text_of(row[kind]) for kind in kinds), text_of(made["ratio"].get(who, 1))]
        for who, row in {made["ours"]["name"]: made["ours"], **made["peers"]}.items()
    ]
    return ["", *(HEADINGS[kind] for kind in kinds), f"{HEADINGS[made['by']].removesuffix(' s')} beside ours"], lines


def text_of(value: Any) -> str:
    """A number with three digits that mean something, a text as it is, nothing for None."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def keep(made: Any, path: Path | None) -> None:
    """Writes what was measured as JSON, where a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1) + "\n")


def run(
    doc: str | None, measure: Callable[[str, Path], dict[str, Any] | list[dict[str, Any]]], sizes: str = "SML"
) -> None:
    """The command line of a benchmark that has sizes: prints its tables; `--json FILE` keeps the figures.

    Args:
        doc: the module's docstring.
        measure: makes a measurement or several, of a size and a folder for events.
        sizes: what there is of S, M and L.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("size", nargs="?", choices=tuple(sizes), default="M")
    parser.add_argument("--quick", action="store_true", help="size S, whatever else is asked for")
    parser.add_argument("--folder", type=Path, default=EVENTS, help=f"where events are, or are made; {EVENTS}")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    made = measure("S" if given.quick else given.size, given.folder)
    for one in made if isinstance(made, list) else [made]:
        show(one)
    keep(made, given.json)
