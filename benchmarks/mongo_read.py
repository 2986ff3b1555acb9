"""Plays out of MongoDB into a snapshot's parts, beside the same plays drained by one cursor and thrown away.

`python -m benchmarks.mongo_read` makes a sample of about two million plays in a built-in database of its own and reads
them in turns. What the snapshot does besides receiving is what a part needs: Arrow columns, every rule, spans, Parquet,
digest and checksum. CPU seconds are of this process and the server together, since the work is shared between them.
"""

import argparse
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo.database import Database

from benchmarks.measuring import keep, show
from benchmarks.mongo_measure import figures, in_turns, server
from features.erasure.tombstones import Tombstones
from features.progress import silent
from features.schema import names
from features.snapshot.books import BATCH_DOCUMENTS, Books
from features.snapshot.fields import PLAYS
from features.snapshot.plays import EARLIEST, take_plays
from features.snapshot.take import SAFETY_LAG
from features.sources.sample import SampleSpec, make_sample, write_sample

END = datetime(2026, 11, 1, tzinfo=UTC)
BOUND = END + timedelta(hours=3)
PLAYS_A_LISTENER = 177
QUICK_PLAYS = 200_000
DRAIN = "raw drain"


def main() -> None:
    """Runs the measurement and prints a table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plays", type=int, default=2_100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PLAYS:,} plays")
    parser.add_argument("--home", type=Path, help="keep the database here, and take it from here if it is there")
    parser.add_argument("--variants", action="store_true", help="with fewer threads, too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            QUICK_PLAYS if given.quick else given.plays,
            given.rounds,
            given.home or Path(folder),
            variants=given.variants,
        )
    show(found)
    keep(found, given.json)


def measure(plays: int, rounds: int, home: Path, *, variants: bool = True) -> dict[str, Any]:
    """Reads about that many plays in turns: by two threads of the snapshot, by the bare drain, and by fewer threads."""
    with server(home / "server") as (database, process), tempfile.TemporaryDirectory() as scratch:
        history = database[names.LISTENING_HISTORY]
        if not history.estimated_document_count():
            fill(database, home, plays)
        digests = set()

        def ours(readers: int) -> Callable[[], None]:
            def read() -> None:
                digests.add(read_plays(database, Path(scratch), readers))

            return read

        works = {"snapshot, two threads": ours(2), DRAIN: lambda: drain(database)}
        if variants:
            works |= {"snapshot, one thread ahead": ours(1), "snapshot, nothing ahead": ours(0)}
        drain(database)  # what the server keeps in memory is there for all
        spent = in_turns(process, works, rounds)
        assert len(digests) == 1, "what is read depends on the number of threads"
        documents = history.estimated_document_count()
        return figures("read", f"{documents:,} plays out of the database", spent, documents=documents)


def fill(database: Database[dict[str, Any]], home: Path, plays: int) -> None:
    """A sample of about that many plays, with the one index that a snapshot reads by."""
    users = max(plays // PLAYS_A_LISTENER, 10)
    database[names.LISTENING_HISTORY].create_index("importedAt")
    sample = make_sample(SampleSpec(users=users, tracks=max(users * 3 // 2, 50), days=90), end=END)
    write_sample(database, sample, home=home, now=END)


def read_plays(database: Database[dict[str, Any]], folder: Path, readers: int) -> str:
    """All plays as parts, whole and anew; their digest."""
    books = Books(database, PLAYS, folder, 1, BOUND, Tombstones(), silent, readers)
    return take_plays(books, BOUND - SAFETY_LAG, None, Tombstones()).digest


def drain(database: Database[dict[str, Any]]) -> int:
    """The bytes of the cursors that a snapshot opens, plays with an import date in its order and those without."""
    history = database[names.LISTENING_HISTORY]
    path = PLAYS.known_path
    spans = history.find_raw_batches({path: {"$gt": EARLIEST, "$lte": BOUND}}, PLAYS.projection)
    rest = history.find_raw_batches({path: {"$not": {"$gt": EARLIEST}}}, PLAYS.projection)
    cursors = (spans.sort(path, 1).batch_size(BATCH_DOCUMENTS), rest.batch_size(BATCH_DOCUMENTS))
    return sum(len(batch) for cursor in cursors for batch in cursor)


if __name__ == "__main__":
    main()
