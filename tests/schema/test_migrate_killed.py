"""A migrating process is killed at twenty moments; each time the next run ends in the bytes of one that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from pymongo.database import Database
from test_migrations import KEYS, WITH_KEYS, contents, fill, records

from features.schema.migrations import MIGRATIONS, migrate

DOCUMENTS = 600
BATCH = 20
MOMENTS = 20
# Ready before it is told to begin, so that the interpreter's start is not among the moments; says when it begins and
# when it has ended.
PROGRAM = f"""
import sys
from features.database import open_database
from features.schema.migrations import migrate
from features.settings import get_settings

settings = get_settings()
with open_database(settings) as database:
    sys.stdin.readline()
    print("begun", flush=True)
    for _ in migrate(database, settings, batch={BATCH}):
        pass
    print("ended", flush=True)
"""

pytestmark = pytest.mark.slow


@contextmanager
def migrating(server_uri: str, database: Database) -> Iterator[subprocess.Popen[str]]:
    """A process that migrates the database as soon as it reads a line; killed in the end, if it still runs."""
    own = {"MONGODB_URI": server_uri, "MONGODB_DATABASE": database.name, **KEYS}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[2],
        env=os.environ | own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[str]) -> None:
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "begun\n"


def refill(database: Database) -> None:
    for name in database.list_collection_names():
        database.drop_collection(name)
    fill(database, DOCUMENTS)


def test_a_run_that_was_killed_is_gone_on_with_to_the_same_bytes(db, server_uri):
    with migrating(server_uri, db) as process:
        refill(db)
        old = contents(db)
        begin(process)
        started = time.monotonic()
        assert process.stdout.readline() == "ended\n"
        seconds = time.monotonic() - started
    clean = contents(db, without_times=True)
    assert {name for name in clean if clean[name] != old.get(name)} == {
        "listening_history",
        "events",
        "users",
        "releases",
    }

    rng = Random(17)
    at_work = set()
    for moment in range(MOMENTS):
        with migrating(server_uri, db) as process:
            refill(db)
            assert contents(db) == old
            begin(process)
            time.sleep(seconds * (moment + rng.random()) / MOMENTS)
            process.send_signal(signal.SIGKILL)
            process.wait()
        interrupted = [name for name, record in records(db).items() if record["finishedAt"] is None]
        assert len(interrupted) <= 1
        at_work.update(interrupted)
        for _ in migrate(db, WITH_KEYS):
            pass
        assert contents(db, without_times=True) == clean, f"killed at moment {moment}, in {interrupted}"
    # the moments are spread over the work: most of the migrations were met while they wrote
    assert len(at_work & {migration.name for migration in MIGRATIONS}) >= 3
