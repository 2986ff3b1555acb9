"""What the second night costs, reading and as a whole, beside the first and beside reading everything again.

`python -m benchmarks.second_night` makes a sample of about a million plays in a built-in database of its own, runs
the stages of a night on it, adds one play in a hundred, changes some tracks and feedback, and runs the next night.
The peer of its reading is the same snapshot taken whole, in the same run: what a job without memory would do.
"""

import argparse
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pymongo.database import Database

from benchmarks.measuring import keep, show
from benchmarks.mongo_measure import Spent, server, timed
from features.attribution.attribute import attribute_feedback
from features.compute.budget import Budget
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease, read_pointer
from features.release.manifest import Manifest
from features.release.publish import publish_release
from features.release.reference import find_reference
from features.release.retention import prune
from features.release.verdict import pass_gate
from features.schema import names, plan
from features.schema.ids import decode_id
from features.settings import Settings
from features.snapshot.clocks import open_inputs
from features.snapshot.stored import Snapshot
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

NEW_SHARE = 0.01
PLAYS_A_LISTENER = 177
"""Of ninety days, about: what the sample generator makes."""
PLAYS = {"S": 60_000, "M": 1_000_000}
FIRST, SECOND, WHOLE = "first night", "second night, 1 % new", "second night, all read again"


def main() -> None:
    """Runs the measurement and prints its tables; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plays", type=int, default=PLAYS["M"])
    parser.add_argument("--quick", action="store_true", help=f"{PLAYS['S']:,} plays")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(PLAYS["S"] if given.quick else given.plays)
    for one in found:
        show(one)
    keep(found, given.json)


def measure(plays: int) -> list[dict[str, Any]]:
    """The nights of a history of about that many plays: their reading, their stages, and those of building."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = today - timedelta(days=2)
    compile_all(end)
    users = max(plays // PLAYS_A_LISTENER, 10)
    sample = make_sample(SampleSpec(users=users, tracks=max(users * 3 // 2, 50), days=90), end=end)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "server") as (database, process):
        home = Path(folder)
        plan.apply(database)
        write_sample(database, sample, home=home, now=end)
        count = database[names.LISTENING_HISTORY].estimated_document_count()
        first_night, second_night = end + timedelta(hours=3), end + timedelta(days=1, hours=3)
        first = Night(database, process, home / "nightly", first_night)
        a_day_later(database, sample.plays, first_night)
        second = Night(database, process, home / "nightly", second_night)
        whole: list[Snapshot] = []
        again = timed(process, lambda: whole.append(take_snapshot(database, home / "whole", second_night)))
    assert second.snapshot.digest == whole[0].digest, "the second night is not what a whole reading gives"
    assert second.built.counts["users"] == first.built.counts["users"], "the new plays are of somebody else"
    reads = [
        (FIRST, first.snapshot, first.stages["snapshot"]),
        (SECOND, second.snapshot, second.stages["snapshot"]),
        (WHOLE, whole[0], again),
    ]
    about = f"{count:,} plays of {users:,} listeners, {sample.tracks.num_rows:,} tracks"
    return [
        _reading(about, reads),
        _stages(about, first.stages, second.stages),
        _build(about, first.built, second.built),
    ]


def compile_all(end: datetime) -> None:
    """Two nights of a few listeners, so that kernels are compiled before the first one is timed."""
    sample = make_sample(SampleSpec(users=30, tracks=60, days=30), end=end)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "server") as (database, process):
        write_sample(database, sample, home=Path(folder), now=end)
        for day in (0, 1):
            Night(database, process, Path(folder), end + timedelta(days=day, hours=3))


class Night:
    """The stages of `echotune nightly` as its flow goes through them, without Prefect, at a moment of the past.

    Attributes:
        stages: what each cost, in order.
        snapshot: what was read.
        built: the manifest of the release.
    """

    def __init__(self, database: Database[dict[str, Any]], process: int, home: Path, bound: datetime) -> None:
        self.stages: dict[str, Spent] = {}
        self._process = process
        parameters = NightlyParameters()
        with hold_lease(database) as token:
            self.snapshot: Snapshot = self._stage("snapshot", lambda: take_snapshot(database, home, bound))
            pointer = read_pointer(database)
            reference = find_reference(database, home, pointer.release) if pointer else None
            budget = Budget(Settings().memory_limit)
            self.built: Manifest = self._stage(
                "build",
                lambda: build_release(
                    open_inputs(home, database.name), home, parameters, bound, reference=reference, budget=budget
                ),
            )
            self._stage("gate", lambda: pass_gate(database, home, self.built.id, token, parameters.gate, gate=False))
            self._stage("publish", lambda: publish_release(database, home, self.built.id, token))
            self._stage("prune", lambda: prune(database, home, token, 3, datetime.now(UTC)))
            self._stage("attribute", lambda: attribute_feedback(database, home, token, datetime.now(UTC)))

    def _stage(self, name: str, work: Callable[[], Any]) -> Any:
        made = []
        self.stages[name] = timed(self._process, lambda: made.append(work()))
        return made[0]


def _reading(about: str, reads: list[tuple[str, Snapshot, Spent]]) -> dict[str, Any]:
    rows = []
    for who, snapshot, spent in reads:
        fetched = [table.fetched for table in snapshot.tables.values()]
        rows.append([who, sum(d for d, _ in fetched), sum(b for _, b in fetched), spent.cpu_s, spent.wall_s])
    share = {
        kind: rows[1][column] / rows[0][column]
        for column, kind in enumerate(("", "documents", "bytes", "cpu_s", "wall_s"))
        if kind
    }
    return {
        "name": "second_read",
        "about": f"Reading {about}",
        "columns": ["snapshot", "documents", "bytes", "CPU s", "wall s"],
        "rows": rows,
        "share": share,
        "notes": [f"second beside first: {_shares(share)}"],
    }


def _stages(about: str, first: dict[str, Spent], second: dict[str, Spent]) -> dict[str, Any]:
    rows = [[stage, one.wall_s, second[stage].wall_s, one.cpu_s, second[stage].cpu_s] for stage, one in first.items()]
    rows.append(["all", *(sum(row[column] for row in rows) for column in range(1, 5))])
    share = {"wall_s": rows[-1][2] / rows[-1][1], "cpu_s": rows[-1][4] / rows[-1][3]}
    return {
        "name": "second_night",
        "about": f"Nights of {about}",
        "columns": ["stage", "first, wall s", "second, wall s", "first, CPU s", "second, CPU s"],
        "rows": rows,
        "share": share,
        "notes": [f"second beside first: {_shares(share)}"],
    }


def _build(about: str, first: Manifest, second: Manifest) -> dict[str, Any]:
    when = "gone by the first night's" if second.chosen_as_of == first.as_of else "chosen anew"
    return {
        "name": "second_build",
        "about": f"Building releases of {about}",
        "columns": ["stage", "first, wall s", "second, wall s"],
        "rows": [[stage, one, second.timings[stage]] for stage, one in first.timings.items()],
        "notes": [f"models on the second night: {when}"],
    }


def _shares(share: dict[str, float]) -> str:
    return ", ".join(
        f"{value:.1%} of {kind.replace('_s', ' seconds').replace('cpu', 'CPU')}" for kind, value in share.items()
    )


def a_day_later(database: Database[dict[str, object]], plays: pa.Table, since: datetime) -> None:
    """One play in a hundred anew, most of yesterday and some of long ago; a few tracks and feedback change in place."""
    step = round(1 / NEW_SHARE)
    rows = plays.take(pa.array(range(0, plays.num_rows, step)))
    documents = [
        {
            "userId": decode_id(row["user_id"]),  # as the importer wrote them; as text they would be other people
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


if __name__ == "__main__":
    main()
