"""The whole night at three sizes: from a snapshot on disk to the release's Parquet files, without a database.

`python -m benchmarks.big_night M` makes a snapshot of a hundred thousand listeners, in the format in which the product
leaves one on disk, builds a release of it, and prints what each stage took: wall and CPU seconds and the highest
resident memory. L is 1.02 million listeners of 384 thousand tracks, about 121 million plays; it wants some 9 GB of
disk, which are freed in the end. The machine's own noise is in all figures; CPU seconds have the least of it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.events import END_MS, SIZES, Size, World, events_of, make_world
from features.compute.interactions import Plays
from features.measured import peak_memory, reset_peak
from features.parameters import with_settings
from features.release.build import build_release
from features.schema.names import AUDIO_NAMES
from features.snapshot.fields import SOURCES, TRACKS
from features.snapshot.rules import split
from features.snapshot.spans import PART_ROWS
from features.snapshot.stored import Part, Snapshot, TableSummary, open_snapshot, part_name, write_manifest
from features.storage import whole_folder

DATABASE = "benchmark"
BOUND = datetime.fromtimestamp(END_MS / 1000, UTC)
DAY_MS = 86_400_000
SEED = 11
GENRES = 400
COUNTRIES = ("US", "DE", "BR", "GB", "FR", "JP", "IN", "SE")
UNLISTED = 0.03
"""Tracks that the catalogue does not know: of them plays say name and artist."""
NEWCOMERS = 0.01
SAID = 0.004
"""Feedback for each play."""
SIGNALS, SIGNAL_SHARES = ("like", "love", "save", "dislike", "skip"), (0.45, 0.1, 0.15, 0.1, 0.2)
BASE62 = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8)
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
MIXED = 0x9E3779B97F4A7C15


def main() -> None:
    """Makes the snapshot, builds the release, prints the table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("size", nargs="?", choices=sorted(SIZES), default="S")
    parser.add_argument("--quick", action="store_true", help="size S, whatever else is asked for")
    parser.add_argument("--folder", type=Path, help="where snapshot and release stay; temporary by default")
    parser.add_argument("--set", dest="pairs", action="append", default=[], help="as of `echotune nightly`")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    name = "S" if given.quick else given.size
    if given.folder is None:
        with tempfile.TemporaryDirectory(prefix="big-night-") as folder:
            figures = measure(name, Path(folder), given.pairs)
    else:
        figures = measure(name, given.folder, given.pairs)
    show(figures)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(name: str, home: Path, pairs: list[str] | None = None) -> dict[str, Any]:
    """Builds a release of a snapshot of a size, which is made where it is missing.

    Returns:
        The size, counts, bytes on disk, and `stages`: of each, in order, `wall_s`, `cpu_s` and `peak_rss_bytes`.
    """
    snapshot = home / "snapshot" / DATABASE
    if not (snapshot / "manifest.json").is_file():
        with tempfile.TemporaryDirectory(prefix="events-", dir=_made(home)) as events:
            # in a process of its own, so that its memory does not count
            maker = get_context("spawn").Process(target=write_snapshot, args=(name, snapshot, Path(events)))
            maker.start()
            maker.join()
    stages = _Stages()
    manifest = build_release(open_snapshot(home, DATABASE), home, with_settings(pairs or []), BOUND, stages)
    return {
        "name": name,
        "counts": manifest.counts,
        "snapshot_bytes": _size(snapshot),
        "release_bytes": _size(home / "releases" / manifest.id),
        "release": manifest.id,
        "strategies": manifest.strategies,
        "stages": stages.figures,
    }


def show(figures: dict[str, Any]) -> None:
    """The table."""
    counts = figures["counts"]
    title = "{users:,} users, {tracks:,} tracks, {plays:,} plays".format(**counts)
    table = Table("stage", "wall s", "CPU s", "peak RSS GB", title=f"{figures['name']}: {title}")
    for stage, one in figures["stages"].items():
        table.add_row(stage, f"{one['wall_s']:,.1f}", f"{one['cpu_s']:,.1f}", f"{one['peak_rss_bytes'] / 1e9:.2f}")
    whole = {key: [one[key] for one in figures["stages"].values()] for key in ("wall_s", "cpu_s", "peak_rss_bytes")}
    table.add_row(
        "all",
        f"{sum(whole['wall_s']):,.1f}",
        f"{sum(whole['cpu_s']):,.1f}",
        f"{max(whole['peak_rss_bytes']) / 1e9:.2f}",
    )
    console = Console()
    console.print(table)
    console.print(f"snapshot {figures['snapshot_bytes'] / 1e9:.2f} GB, release {figures['release_bytes'] / 1e9:.2f} GB")


@dataclass
class _Stages:
    """Listens to a build's progress and looks at the clocks where stages begin and end."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    began: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, what: str, done: int, total: int | None) -> None:
        del done
        stage = what.removeprefix("computing ")
        if total is None and stage not in self.began:
            self.began[stage] = time.perf_counter(), time.process_time()
            reset_peak()
        elif total is not None:
            wall, cpu = self.began.pop(stage)
            self.figures[stage] = {
                "wall_s": round(time.perf_counter() - wall, 2),
                "cpu_s": round(time.process_time() - cpu, 2),
                "peak_rss_bytes": peak_memory(),
            }
            print(f"{stage}: {self.figures[stage]}", flush=True)


def write_snapshot(name: str, folder: Path, events: Path) -> None:
    """A snapshot as a night leaves it, of listening events and a catalogue by seed.

    Args:
        name: of a size in `benchmarks.events.SIZES`.
        folder: of the snapshot, which appears whole.
        events: where the events are put, or are already.
    """
    plays, size = events_of(name, events)
    world = make_world(size, 7)
    rng = np.random.default_rng(SEED)
    with whole_folder(folder) as scratch:
        catalog = _catalog(size, world, rng)
        loose = {
            "plays": list(_write_plays(scratch, size, plays, catalog, rng)),
            "tracks": [_write(scratch, "tracks", 0, catalog.filter(pa.array(rng.random(size.tracks) > UNLISTED)))],
            "feedback": [_write(scratch, "feedback", 0, _feedback(size, plays, rng))],
            "users": [_write(scratch, "users", 0, _accounts(size, rng))],
            "settings": [_write(scratch, "settings", 0, _settings(size, rng))],
        }
        tables = {}
        for source in SOURCES:
            parts = loose.get(source.table) or [_write(scratch, source.table, 0, _no_rows(source.table))]
            rows = sum(part.rows for part in parts)
            tables[source.table] = TableSummary(rows, rows, 0, {}, parts)
        write_manifest(Snapshot(scratch, BOUND, tables, 1))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _no_rows(table: str) -> pa.Table:
    source = next(source for source in SOURCES if source.table == table)
    return split(source.raw_schema.empty_table(), table, BOUND)[0]


def _write(folder: Path, table: str, position: int, rows: pa.Table) -> Part:
    name = part_name(table, 1, position)
    _made(folder / table)
    pq.write_table(rows.cast(_no_rows(table).schema), folder / name, compression="zstd")
    # a digest of so many rows would take minutes, and tell snapshots of one seed from each other as little as this
    return Part(name, rows.num_rows, f"{position:016x}-{rows.num_rows}", "")


def _write_plays(folder: Path, size: Size, plays: Plays, catalog: pa.Table, rng: np.random.Generator) -> Iterator[Part]:
    users, tracks = user_ids(size.users), catalog["track_id"].combine_chunks()
    names = catalog["name"].combine_chunks()
    artists = pa.array([entry[0]["name"] for entry in catalog["artists"].to_pylist()])
    duration = catalog["duration_ms"].to_numpy()
    empty = _no_rows("plays")
    for position, start in enumerate(range(0, len(plays), PART_ROWS)):
        rows = slice(start, start + PART_ROWS)
        track = np.asarray(plays.track[rows])
        at = pa.array(np.asarray(plays.played_at[rows])).cast(empty.schema.field("played_at").type)
        completion = np.asarray(plays.completion[rows])
        unsaid = np.isnan(completion)
        play_ms = np.where(unsaid, rng.random(len(track)) * duration[track], np.nan)
        given = {
            "document_id": _document_ids(start, len(track)),
            "user_id": users.take(pa.array(np.asarray(plays.user[rows]))),
            "track_id": tracks.take(pa.array(track)),
            "played_at": at,
            "known_at": at,
            "completion": pa.array(completion, from_pandas=True),
            "play_ms": pa.array(play_ms, from_pandas=True),
            "track_name": names.take(pa.array(track)),
            "artist_name": artists.take(pa.array(track)),
            "source": pa.array(["spotify"]).take(pa.array(np.zeros(len(track), np.int8))),
        }
        missing = {field.name: pa.nulls(len(track), field.type) for field in empty.schema if field.name not in given}
        yield _write(folder, "plays", position, pa.table(given | missing).select(empty.column_names))


def _catalog(size: Size, world: World, rng: np.random.Generator) -> pa.Table:
    """A row a track, by number: artists of a genre or two by cluster, albums of about ten tracks, audio by artist."""
    place = np.empty(size.tracks, np.int64)
    place[world.number] = np.arange(size.tracks)  # where the track of each number stands
    artist = world.artist_of[place]
    count = int(world.artist_of[-1]) + 1
    cluster = np.searchsorted(world.clusters, world.artists[:count], side="right") - 1
    words = [f"genre {number:03d}" for number in range(GENRES)]
    second = rng.integers(0, GENRES, count)
    entries = [
        [
            {
                "id": f"artist{number:016d}",
                "name": f"Artist {number}",
                "genres": [words[cluster[number] % GENRES], words[second[number]]],
            }
        ]
        for number in range(count)
    ]
    by_artist = pa.array(entries, TRACKS.raw_schema.field("artists").type)
    album = (place - world.artists[artist]) // 10
    centre = rng.normal(0, 1, (int(cluster.max()) + 1, 12))[cluster] + 0.6 * rng.normal(0, 1, (count, 12))
    audio = 1.0 / (1.0 + np.exp(-(centre[artist] + 0.5 * rng.normal(0, 1, (size.tracks, 12)))))
    columns = {name: audio[:, column] for column, name in enumerate(AUDIO_NAMES)}
    columns["key"] = np.floor(columns["key"] * 12)
    columns["mode"] = np.round(columns["mode"])
    columns["loudness"] = columns["loudness"] * 40 - 40
    columns["tempo"] = 60 + 120 * columns["tempo"]
    columns["time_signature"] = np.full(size.tracks, 4.0)
    measured = rng.random(size.tracks) > 0.1
    listed = rng.random(size.tracks)
    markets = pa.array([list(COUNTRIES), list(COUNTRIES[:4]), []], pa.list_(pa.string()))
    released = END_MS - (rng.random(size.tracks) ** 2 * 60 * 365.25 * DAY_MS).astype(np.int64)
    columns = {name: pa.array(values, mask=~measured) for name, values in columns.items()}
    return pa.table(
        {
            "document_id": _document_ids(10**9, size.tracks),
            "track_id": track_ids(size.tracks),
            "name": pa.array([f"Song {number}" for number in range(size.tracks)]),
            "artists": by_artist.take(pa.array(artist)),
            "album_id": pa.array([f"album{a:09d}x{b:07d}" for a, b in zip(artist, album, strict=True)]),
            "album": pa.array([f"Album {b} of {a}" for a, b in zip(artist, album, strict=True)]),
            "released_at": pa.array(released).cast(TRACKS.raw_schema.field("released_at").type),
            "duration_ms": np.clip(rng.normal(215_000, 55_000, size.tracks), 60_000, 600_000),
            "popularity": np.round(rng.random(size.tracks) ** 3 * 100),
            "explicit": pa.array(rng.random(size.tracks) < 0.1),
            "markets": markets.take(pa.array(np.where(listed < 0.9, 0, np.where(listed < 0.95, 1, 2)))),
            **columns,
        }
    ).select(_no_rows("tracks").column_names)


def _accounts(size: Size, rng: np.random.Generator) -> pa.Table:
    users = size.users + int(size.users * NEWCOMERS)
    likes = pa.array([None, ["genre 001"], ["genre 002", "genre 003"]], pa.list_(pa.string()))
    return pa.table(
        {
            "document_id": _document_ids(2 * 10**9, users),
            "user_id": user_ids(users),
            "country": pa.array([*COUNTRIES, None]).take(pa.array(rng.integers(0, len(COUNTRIES) + 1, users))),
            "explicit_content": pa.array(rng.random(users) > 0.1),
            "favorite_genres": likes.take(pa.array(rng.integers(0, 3, users))),
        }
    )


def _settings(size: Size, rng: np.random.Generator) -> pa.Table:
    chosen = np.flatnonzero(rng.random(size.users) < 0.05)
    genres = pa.array([["genre 004"], ["genre 005", "genre 006"]], pa.list_(pa.string()))
    return pa.table(
        {
            "document_id": _document_ids(3 * 10**9, len(chosen)),
            "user_id": user_ids(size.users).take(pa.array(chosen)),
            "genres": genres.take(pa.array(rng.integers(0, 2, len(chosen)))),
            "artists": pa.nulls(len(chosen), pa.list_(pa.string())),
            **{name: rng.random(len(chosen)) for name in ("energy", "valence", "danceability")},
        }
    )


def _feedback(size: Size, plays: Plays, rng: np.random.Generator) -> pa.Table:
    rows = np.sort(rng.choice(len(plays), int(len(plays) * SAID), replace=False))
    signal = rng.choice(len(SIGNALS), len(rows), p=SIGNAL_SHARES)
    at = pa.array(np.minimum(plays.played_at[rows] + 60_000, END_MS - 1)).cast(pa.timestamp("ms", tz="UTC"))
    return pa.table(
        {
            "document_id": _document_ids(4 * 10**9, len(rows)),
            "user_id": user_ids(size.users).take(pa.array(plays.user[rows])),
            "track_id": track_ids(size.tracks).take(pa.array(plays.track[rows])),
            "signal": pa.array(SIGNALS).take(pa.array(signal)),
            "strength": np.round(1 + 4 * rng.random(len(rows))),
            "created_at": at,
            "known_at": at,
        }
    ).select(_no_rows("feedback").column_names)


def user_ids(count: int) -> pa.Array:
    """Ids of ObjectIds, in no order."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(MIXED)
    return _texts(np.frombuffer(b"oid:64b00000", np.uint8), mixed, HEX, 16)


def track_ids(count: int) -> pa.Array:
    """Ids like Spotify's: 22 letters and digits, in no order."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(MIXED)
    return _texts(np.frombuffer(b"4aZx0b7QkL9", np.uint8), mixed, BASE62, 11)


def _document_ids(first: int, count: int) -> pa.Array:
    """Ids as a server gives them, one after the other."""
    numbers = np.arange(first, first + count, dtype=np.uint64)
    return _texts(np.frombuffer(b"6728a1f0c3d2", np.uint8), numbers, HEX, 12)


def _texts(prefix: np.ndarray, numbers: np.ndarray, digits: np.ndarray, width: int) -> pa.Array:
    """(n,) texts: the prefix, and each number in so many digits."""
    length = len(prefix) + width
    letters = np.empty((len(numbers), length), np.uint8)
    letters[:, : len(prefix)] = prefix
    rest = numbers.copy()
    for place in range(length - 1, len(prefix) - 1, -1):
        letters[:, place] = digits[(rest % np.uint64(len(digits))).astype(np.int64)]
        rest //= np.uint64(len(digits))
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * length
    return pa.Array.from_buffers(pa.string(), len(numbers), [None, pa.py_buffer(offsets), pa.py_buffer(letters)])


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
