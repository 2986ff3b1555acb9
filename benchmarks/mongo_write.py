"""A release into MongoDB, beside a bare insert of the same bytes into the same collections, and beside Feast.

`python -m benchmarks.mongo_write` makes a release of 100,000 profiles of 96 numbers, one of lists of 100 tracks, and
writes them in turns into a built-in database of its own with the contract's validators and indexes: by `upload`,
ledger, lease and digests included, and by unordered `insert_many` of the documents encoded before, a chunk at a time.
Feast writes the same vectors by its MongoDB online store (`benchmarks/feast`, in a Python of its own; left out where
that was not made).
CPU seconds are of the processes that write and the server together.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from benchmarks.feast.peer import feast, there
from benchmarks.measuring import keep, show
from benchmarks.mongo_measure import figures, in_turns, server, timed
from features.release import outputs
from features.release.build import ROW_GROUPS
from features.release.documents import OUTPUTS, ReleaseDocuments
from features.release.ledger import hold_lease
from features.release.manifest import Manifest, release_folder
from features.release.publish import upload, verify
from features.schema import plan
from features.schema.names import AUDIO_NAMES

USERS, QUICK_USERS = 100_000, 10_000
LISTS, QUICK_LISTS = 2_000, 200
TRACKS = 5_000
DIMENSIONS = 96
BUILT_AT = datetime.now(UTC).replace(microsecond=0)
SEED = 1
WHAT = ("profiles", "lists", "feast")
INSERT, FEAST = "bare insert_many", "Feast materialize"


def main() -> None:
    """Runs the measurement and prints a table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", nargs="*", choices=[[], *WHAT], help="all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_USERS:,} profiles and {QUICK_LISTS:,} lists")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    users, lists = (QUICK_USERS, QUICK_LISTS) if given.quick else (USERS, LISTS)
    found = []
    for one in _measured(given.what or WHAT, users, lists, given.rounds):
        show(one)
        found.append(one)
    keep(found, given.json)


def _measured(what: Sequence[str], users: int, lists: int, rounds: int) -> Iterator[dict[str, Any]]:
    if "profiles" in what:
        yield measure("profiles", users, 0, rounds)
    if "lists" in what:
        yield measure("lists", 0, lists, rounds)
    if "feast" in what and there():
        yield from measure_feast(users)


def measure(name: str, users: int, lists: int, rounds: int) -> dict[str, Any]:
    """Writes a release of so many profiles and lists in turns."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "server") as (database, process):
        home = Path(folder)
        manifest = make_release(home, users, lists)
        documents = ReleaseDocuments(release_folder(home, manifest.id), manifest)
        encoded = {
            output: [documents.chunk(output, number) for number in range(documents.chunks(output))]
            for output in OUTPUTS
            if manifest.counts[output]
        }
        digests: dict[str, str] = {}

        def ours(vectors: str) -> Callable[[], None]:
            def write() -> None:
                with hold_lease(database) as token:
                    digests.update(upload(database, home, manifest, token, vectors))

            return write

        def empty() -> None:
            database.client.drop_database(database.name)
            plan.apply(database)

        works = {"upload": ours("double"), INSERT: lambda: insert(database, encoded)}
        if users:
            works["upload of float32"] = ours("float32")
        empty()
        works["upload"]()
        verify(database, manifest, digests)
        spent = in_turns(process, works, rounds, before=empty)
        size = sum(len(document.raw) for chunks in encoded.values() for chunk in chunks for document in chunk)
        about = f"{users + lists:,} {name} into the database, {size / 1e6:,.0f} MB"
        return figures(f"write {name}", about, spent, documents=users + lists, bytes=size)


def measure_feast(users: int) -> list[dict[str, Any]]:
    """Publishes so many profiles and has Feast materialize the same; once each, for Feast takes minutes.

    Feast writes and looks at nothing afterwards. So writing stands beside it, and writing with what we do besides: all
    that was written is read back and compared.
    """
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "server") as (database, process):
        home = Path(folder)
        manifest = make_release(home, users, 0)
        profiles = pq.read_table(release_folder(home, manifest.id) / "user_profile.parquet")
        host, port = database.client.address or ("127.0.0.1", 0)
        plan.apply(database)
        digests: dict[str, str] = {}

        def write() -> None:
            with hold_lease(database) as token:
                digests.update(upload(database, home, manifest, token))

        with feast(home / "feast", f"mongodb://{host}:{port}/?directConnection=true", profiles) as materialize:
            writing, reading = timed(process, write), timed(process, lambda: verify(database, manifest, digests))
            its = timed(process, materialize)
        count = database.client["feast"]["benchmark_latest"].estimated_document_count()
        assert count == users, f"Feast wrote {count:,} of {users:,}"
        both = {"upload, and verify": [writing.with_(reading)], FEAST: [its]}
        about = f"{users:,} profiles into the database, beside Feast"
        return [
            figures("feast", about, {"upload": [writing], FEAST: [its]}, documents=users),
            figures("feast_verified", f"{about}, all read back", both, documents=users),
        ]


def insert(database: Database[dict[str, Any]], encoded: Mapping[str, list[list[RawBSONDocument]]]) -> None:
    """What a bare driver does with the bytes."""
    for output, chunks in encoded.items():
        for chunk in chunks:
            database[OUTPUTS[output]].insert_many(chunk, ordered=False)


def make_release(home: Path, users: int, lists: int) -> Manifest:
    """A release on disk of so many profiles and lists, and nothing else but the tracks of these."""
    rng = np.random.default_rng(SEED)
    tables = {
        "user_profile": _profiles(rng, users),
        "track_embedding": _profiles(rng, 0).rename_columns(
            ["track_id", "vector", "confidence", "track_count", "history_days"]
        ),
        "similarity": outputs.SIMILAR.empty_table(),
        "recommendations": _lists(rng, lists),
        "tracks": _tracks(rng),
    }
    manifest = Manifest(
        *("2026-11-01-abcdef", BUILT_AT, BUILT_AT, BUILT_AT, {}, "", "", []),
        counts={name: table.num_rows for name, table in tables.items()},
        inputs={},
        checks=[],
    )
    folder = release_folder(home, manifest.id)
    folder.mkdir(parents=True)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=ROW_GROUPS.get(name, 100_000))
    return replace(manifest)


def _profiles(rng: np.random.Generator, count: int) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(count * DIMENSIONS)), DIMENSIONS)
    return pa.table(
        {
            "user_id": [f"user-{number:07d}" for number in range(count)],
            "vector": vectors,
            "confidence": rng.random(count),
            "track_count": rng.integers(1, 1000, count),
            "history_days": rng.integers(1, 1000, count),
        },
        schema=pa.schema(
            [
                ("user_id", pa.string()),
                ("vector", vectors.type),
                ("confidence", pa.float64()),
                ("track_count", pa.int64()),
                ("history_days", pa.int64()),
            ]
        ),
    )


def _lists(rng: np.random.Generator, count: int) -> pa.Table:
    rows = [
        {
            "user_id": f"user-{number:07d}",
            "strategy": "hybrid",
            "track_ids": [f"track-{track:06d}" for track in rng.choice(TRACKS, 100, replace=False)],
            "scores": np.sort(rng.random(100))[::-1].tolist(),
            "reasons": [["similar_users", "genre:pop"]] * 100,
            "seeds": [f"track-{track:06d}" for track in range(5)],
            "confidence": 0.5,
            "basis": "personal",
            "market": None,
            "explored": [],
            "generation_ms": 1.5,
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(one.name, _read_back(one.type)) for one in outputs.LISTS]))


def _read_back(kind: pa.DataType) -> pa.DataType:
    """A type as the file gives it: texts, where what is written are numbers of a dictionary."""
    if pa.types.is_list(kind):
        return pa.list_(_read_back(kind.value_type))
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _tracks(rng: np.random.Generator) -> pa.Table:
    audio = {name: np.full(TRACKS, 0.5) if name != "key" else rng.integers(0, 11, TRACKS) for name in AUDIO_NAMES}
    return pa.table(
        {
            "track_id": [f"track-{number:06d}" for number in range(TRACKS)],
            "name": [f"The song of number {number}" for number in range(TRACKS)],
            "artists": [[f"Artist {number % 997}"] for number in range(TRACKS)],
            "genres": [["pop", "indie rock"]] * TRACKS,
            **{name: values.astype(np.float64) for name, values in audio.items()},
        }
    )


if __name__ == "__main__":
    main()
