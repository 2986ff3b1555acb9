"""What commands print: tables and bars for people, JSON for programs, one line for an error."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from bson import ObjectId
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from features.progress import Progress, silent
from features.schema.ids import encode_id

PLAIN_WIDTH = 160
"""Columns where the output is not a terminal, so that no table is squeezed into eighty."""


def console() -> Console:
    """Standard output, wide enough to keep tables whole when it is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=False)


def say(text: str) -> None:
    """One line for a person, as it is."""
    console().print(text, markup=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """A value as JSON: ids and dates as text, undefined numbers as null."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False, indent=2) + "\n")


def show_table(rows: Sequence[dict[str, Any]], title: str | None = None) -> None:
    """Rows as a table; numbers to the right."""
    if not rows:
        say(f"{title}: none" if title else "none")
        return
    table = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
    for name in rows[0]:
        numeric = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text_of(value) for value in row.values()))
    console().print(table)


def text_of(value: Any) -> str:
    """A cell: thousands grouped, four digits behind the point, ids and dates in short."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return encode_id(value) if isinstance(value, ObjectId) else str(value)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A bar for each thing in progress, on the error output of a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield silent
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        known: dict[str, Any] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=total)

        yield report


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(content) for content in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return encode_id(value) if isinstance(value, ObjectId) else value
