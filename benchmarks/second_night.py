"""What the second night asks of the database, beside the first and beside reading everything again.

`python -m benchmarks.second_night` makes a sample of about five million plays in a built-in database of its own,
takes the first snapshot, adds one play in a hundred, changes some tracks and feedback, and takes the second. The
peer is the same snapshot taken whole, in the same run: what a job without memory would do.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from pymongo import MongoClient
from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from features.embedded import embedded_server
from features.schema import names
from features.snapshot.stored import Snapshot
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

NEW_SHARE = 0.01
PLAYS_A_LISTENER = 177
"""Of ninety days, about: what the sample generator makes."""
QUICK_PLAYS = 200_000


@dataclass(frozen=True)
class Figures:
    """One snapshot: what the server was asked for, and what it cost this process and a person's patience."""

    documents: int
    bytes: int
    cpu_s: float
    wall_s: float


def main() -> None:
    """Runs the measurement and prints a table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plays", type=int, default=5_000_000)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PLAYS:,} plays")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = measure(QUICK_PLAYS if given.quick else given.plays)
    show(figures)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({name: asdict(row) for name, row in figures.items()}, indent=1) + "\n")


def measure(plays: int) -> dict[str, Figures]:
    """The three snapshots of a history of about that many plays."""
    end = datetime(2026, 11, 1, tzinfo=UTC)
    users = max(plays // PLAYS_A_LISTENER, 10)
    sample = make_sample(SampleSpec(users=users, tracks=max(users * 3 // 2, 50), days=90), end=end)
    with tempfile.TemporaryDirectory() as folder, embedded_server(Path(folder) / "server") as uri:
        home = Path(folder)
        with MongoClient[dict[str, object]](uri, tz_aware=True) as client:
            database = client["benchmark"]
            database[names.LISTENING_HISTORY].create_index("importedAt")
            write_sample(database, sample, home=home, now=end)
            history = database[names.LISTENING_HISTORY]
            Console(width=140).print(
                f"{history.estimated_document_count():,} plays, {sample.feedback.num_rows:,} pieces of feedback, "
                f"{sample.tracks.num_rows:,} tracks, {users:,} users"
            )
            first_night = end + timedelta(hours=3)
            first = timed(lambda: take_snapshot(database, home / "nightly", first_night))
            a_day_later(database, sample.plays, first_night)
            second_night = first_night + timedelta(days=1)
            second = timed(lambda: take_snapshot(database, home / "nightly", second_night))
            whole = timed(lambda: take_snapshot(database, home / "whole", second_night))
    assert second[0].digest == whole[0].digest, "the second night is not what a whole reading gives"
    return {
        "first night": first[1],
        "second night, 1 % new": second[1],
        "second night, all read again": whole[1],
    }


def a_day_later(database: Database[dict[str, object]], plays: pa.Table, since: datetime) -> None:
    """One play in a hundred anew, most of yesterday and some of long ago; a few tracks and feedback change in place."""
    step = round(1 / NEW_SHARE)
    rows = plays.take(pa.array(range(0, plays.num_rows, step)))
    documents = [
        {
            "userId": row["user_id"],
            "trackId": row["track_id"],
            "playedAt": since - timedelta(hours=number % 24) if number % 10 else row["played_at"],
            "playDuration": row["play_ms"],
            "trackDuration": row["duration_ms"],
            "context": {"source": row["source"], "shuffle": row["shuffle"]},
            "trackName": row["track_name"],
            "artistName": row["artist_name"],
            "importedAt": since + timedelta(hours=20),
        }
        for number, row in enumerate(rows.to_pylist())
    ]
    database[names.LISTENING_HISTORY].insert_many(documents, ordered=False)
    changed = [entry["_id"] for entry in database[names.TRACKS].find({}, {"_id": 1}).limit(100)]
    database[names.TRACKS].update_many({"_id": {"$in": changed}}, {"$set": {"popularity": 50}})
    changed = [entry["_id"] for entry in database[names.USER_FEEDBACK].find({}, {"_id": 1}).limit(100)]
    database[names.USER_FEEDBACK].delete_many({"_id": {"$in": changed[:50]}})
    database[names.USER_FEEDBACK].update_many({"_id": {"$in": changed[50:]}}, {"$set": {"strength": 2}})


def timed(take: Callable[[], Snapshot]) -> tuple[Snapshot, Figures]:
    """A snapshot and its figures."""
    cpu, wall = _cpu(), time.perf_counter()
    snapshot = take()
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    fetched = [table.fetched for table in snapshot.tables.values()]
    return snapshot, Figures(sum(d for d, _ in fetched), sum(b for _, b in fetched), round(cpu, 2), round(wall, 2))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def show(figures: dict[str, Figures]) -> None:
    """The figures, and each as a share of the first night's."""
    table = Table("snapshot", "documents", "", "bytes", "", "CPU s", "", "wall s", "")
    first = figures["first night"]
    for name, row in figures.items():
        cells = [name]
        for field, form in (("documents", ",d"), ("bytes", ",d"), ("cpu_s", ".1f"), ("wall_s", ".1f")):
            value = getattr(row, field)
            cells += [format(value, form), f"{value / getattr(first, field):.1%}"]
        table.add_row(*cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
