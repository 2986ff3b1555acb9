"""`echotune nightly` in a process of its own, held at a named moment until its parent has done its worst.

The process is forked from one that has imported everything already, which saves seconds at each point. The only code
that is replaced is that of the named steps, which report to the parent; patience and batches are made small.
"""

import os
import sys
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from prefect.tasks import Task

import flows.nightly
import flows.summary
from faults import steps
from features import database
from features.attribution import writing
from features.release import build, ledger
from features.release.manifest import code_version
from features.snapshot import books
from flows import cli

code_version()  # of what is imported here and now: an edit meanwhile must not give the next job other ids

LEASE_LIFE_S = 5.0


@dataclass(frozen=True)
class Order:
    """What a job is to do: its settings, its words, and the moment at which it is held."""

    folder: Path
    environment: dict[str, str]
    words: list[str]
    hold_at: steps.Moment | None = None
    trace: bool = False
    label: str = field(default="job")


def make_small() -> None:
    """Batches so small that a small world has several of each."""
    build.ROW_GROUPS.update(user_profile=12, track_embedding=60, similarity=12, recommendations=40)
    books.BATCH_DOCUMENTS = 400
    writing.WRITE_BATCH = 40


def make_impatient() -> None:
    """Waits of a second where the product's are of a minute; nothing else of the protocol changes."""
    ledger.LEASE_LIFE = timedelta(seconds=LEASE_LIFE_S)
    database.SELECTION_TIMEOUT_MS = 3_000
    for stage in vars(flows.nightly).values():
        if isinstance(stage, Task):
            stage.retry_delay_seconds = [0.3, 1.0, 2.0]


def run(order: Order, parent: Connection) -> None:
    """The process's whole life."""
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(order.folder / f"{order.label}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
    os.chdir(order.folder)
    os.environ.update(order.environment)
    make_small()
    make_impatient()
    passed: list[steps.Moment] = []
    talking = threading.Lock()

    def reached(moment: steps.Moment) -> None:
        passed.append(moment)
        if moment == order.hold_at:
            with talking:
                parent.send(moment)
                parent.recv()

    steps.install(reached)
    sys.argv = ["echotune", *order.words]
    try:
        cli.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if order.trace:
            parent.send(passed)
