"""`echotune doctor`: the monitor, for people and for schedulers."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated, Any

import typer
from pymongo.database import Database

from features import monitoring
from features.database import Document, open_database
from features.monitoring import Finding, Thresholds
from features.settings import get_settings
from flows.commands.options import Json
from flows.console import progress_bars, show_json, show_table

DEFAULTS = Thresholds()
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows has no SIGHUP."""
TICK_S = 0.2


def doctor(
    *,
    max_age_hours: Annotated[
        float, typer.Option(min=0, help="How old the live release may be.")
    ] = DEFAULTS.max_age_hours,
    max_lag_hours: Annotated[
        float, typer.Option(min=0, help="How far the live release may be behind the plays.")
    ] = DEFAULTS.max_lag_hours,
    max_set_aside: Annotated[
        float, typer.Option(min=0, max=100, metavar="PERCENT", help="How much of an input may be set aside.")
    ] = DEFAULTS.max_set_aside_percent,
    min_free_gb: Annotated[
        float, typer.Option(min=0, help="What must be free; more if a night takes more.")
    ] = DEFAULTS.min_free_gb,
    max_size_gb: Annotated[
        float | None, typer.Option(min=0, help="What the collections and their indexes may take; no limit by default.")
    ] = DEFAULTS.max_size_gb,
    slow_ops: Annotated[
        int | None,
        typer.Option(min=1, max=3600, metavar="SECONDS", help="Let the database record slow operations for so long."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at the database and the live release; the status is 1 when something needs a hand."""
    settings = get_settings()
    thresholds = Thresholds(max_age_hours, max_lag_hours, max_set_aside, min_free_gb, max_size_gb)
    with open_database(settings) as database:
        findings = monitoring.examine(database, settings.echotune_home, datetime.now(UTC), thresholds)
        if slow_ops is not None:
            findings.append(_slow_operations(database, slow_ops))
    if as_json:
        show_json([finding.to_dict() for finding in findings])
    else:
        _show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    names = ("what", "ok", "found", "threshold", "do")
    show_table([{name: getattr(finding, name) for name in names} for finding in findings], title="Doctor")
    for finding in findings:
        rows = [_row(row) for row in finding.details or () if row.get("documents") != 0]
        if rows:
            show_table(rows, title=finding.what.capitalize())


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in row.items()}


def _slow_operations(database: Database[Document], seconds: int) -> Finding:
    """Slow operations, with a bar while waiting; ended early, it switches the profiler back before it goes.

    Raises:
        typer.Abort: the process was told to end while waiting.
    """
    with told_to_end() as told, progress_bars() as progress:

        def wait(duration: float) -> None:
            begun = time.monotonic()
            while not told and (passed := time.monotonic() - begun) < duration:
                progress("recording slow operations, seconds", int(passed), seconds)
                time.sleep(min(TICK_S, duration - passed))

        finding = monitoring.slow_operations(database, seconds, wait, monitoring.SLOW_MS)
    if told:
        raise typer.Abort
    return finding


@contextmanager
def told_to_end() -> Iterator[list[int]]:
    """Collects the signals that would end the process in the block, however many come; the caller acts on them.

    Without it a second Ctrl-C, or a scheduler's SIGTERM, would end it between switching on and switching back.
    """
    told: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    former = {number: signal.getsignal(number) for number in ENDING}
    # what is ignored stays ignored, as under nohup
    taken = {number: handler for number, handler in former.items() if handler is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, note)
    try:
        yield told
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
