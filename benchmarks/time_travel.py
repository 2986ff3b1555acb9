"""Thirty past days built from real plays, searched for leaks, and training rows from them held against a plain loop.

`python -m benchmarks.time_travel PLAYS.parquet` takes plays with `user_id`, `item_id` and `t_s` (seconds since the
first; such as the Last.fm plays of the JODIE datasets). Each play gets an import date by chance: most within a day,
some weeks late. Then `echotune backfill` builds a release a day. A leak is a play in a release that was played at or
after its `as_of`, or imported after its `known_at`; what is looked for is counted by a slow walk over the plays
themselves, for each release and listener. Training rows at random moments come from `get_historical_features` and
from a loop over all releases for each row.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from features.release.historical import get_historical_features
from features.release.manifest import Manifest, read_manifest, release_folder

START = datetime(2025, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 30
ROWS = 100_000
TTL = timedelta(days=10)
FEATURES = ("plays_per_day_30d", "repeat_rate", "energy_mean", "confidence")


def main() -> None:
    """Runs it all and prints what was found; status 1 for a leak or a row that differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plays", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "data"
        plays = dated(pd.read_parquet(given.plays))
        last = plays["imported_at"].max().to_pydatetime().replace(hour=0, minute=0, second=0, microsecond=0) - DAY
        first = last - (DAYS - 1) * DAY
        start = time.perf_counter()
        run(folder, home, plays, first, last)
        manifests = releases(home)
        print(f"{len(plays):,} plays, {len(manifests)} releases built in {time.perf_counter() - start:.0f} s")
        leaks = sum(leaks_of(home, manifest, plays) for manifest in manifests)
        print(
            f"leaks: {leaks} of {sum(manifest.counts['user_profile'] for manifest in manifests):,} profiles looked at"
        )
        differing = training_rows(home, manifests, plays, given.rows)
    sys.exit(1 if leaks or differing or len(manifests) != DAYS else 0)


def dated(plays: pd.DataFrame) -> pd.DataFrame:
    """The plays with their two dates."""
    rng = np.random.default_rng(7)
    played = pd.to_datetime(START) + pd.to_timedelta(plays["t_s"], unit="s")
    kinds = rng.choice(3, len(plays), p=[0.85, 0.1, 0.05])
    most_s = np.array([1, 5, 40])[kinds] * 86_400.0
    delay_s = rng.uniform(0, 1, len(plays)) * most_s
    imported = (played + pd.to_timedelta(delay_s, unit="s")).dt.floor("ms")
    return pd.DataFrame(
        {
            "user_id": plays["user_id"].astype(str),
            "track_id": plays["item_id"].astype(str),
            "played_at": played,
            "imported_at": imported,
        }
    )


def run(folder: str, home: Path, plays: pd.DataFrame, first: datetime, last: datetime) -> None:
    """The commands, as a person would type them."""
    path = Path(folder) / "plays.parquet"
    plays.to_parquet(path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB_", "ECHOTUNE_"))}
    command = [sys.executable, "-m", "flows.cli"]
    for words in (
        ["import", "plays", str(path)],
        ["backfill", "--from", f"{first:%Y-%m-%d}", "--to", f"{last:%Y-%m-%d}", "--every", "1d"],
    ):
        subprocess.run([*command, *words], check=True, env=kept | {"ECHOTUNE_HOME": str(home)}, stdout=sys.stderr)


def releases(home: Path) -> list[Manifest]:
    """All of them, in no order."""
    return [read_manifest(home, path.parent.name) for path in (home / "releases").glob("[!.]*/manifest.json")]


def leaks_of(home: Path, manifest: Manifest, plays: pd.DataFrame) -> int:
    """How many listeners' figures in a release are not those of the plays it may know, counted one by one."""
    tracks: dict[str, set[str]] = defaultdict(set)
    recent: dict[str, int] = defaultdict(int)
    total = 0
    for user, track, played, imported in plays.itertuples(index=False):
        if played < manifest.as_of and imported <= manifest.known_at:
            total += 1
            tracks[user].add(track)
            recent[user] += played >= manifest.as_of - 30 * DAY
    table = pq.read_table(release_folder(home, manifest.id) / "user_profile.parquet").to_pylist()
    position = manifest.dimensions.index("plays_per_day_30d")
    found = {row["user_id"]: (row["track_count"], row["vector"][position]) for row in table}
    expected = {user: (len(heard), recent[user] / 30) for user, heard in tracks.items()}
    wrong = sum(found.get(user) != expected.get(user) for user in found.keys() | expected.keys())
    return wrong + (total != manifest.counts["plays"])


def training_rows(home: Path, manifests: list[Manifest], plays: pd.DataFrame, rows: int) -> int:
    """How many of the rows differ from those of the loop."""
    rng = np.random.default_rng(11)
    users = rng.choice([*plays["user_id"].unique(), "nobody"], rows)
    first = min(manifest.as_of for manifest in manifests) - 2 * DAY
    moments = [first + timedelta(seconds=float(s)) for s in rng.uniform(0, 50 * 86_400, rows)]
    moments[: len(manifests)] = [manifest.as_of for manifest in manifests]  # on the very moment
    frame = pd.DataFrame({"user_id": users, "event_timestamp": moments, "label": rng.integers(0, 2, rows)})
    start = time.perf_counter()
    fast = get_historical_features(
        home, frame, [f"user_profile:{name}" for name in FEATURES], ttl=TTL, with_release=True
    )
    seconds = time.perf_counter() - start
    table = fast.to_arrow().to_pylist()
    start = time.perf_counter()
    profiles = {manifest.id: profiles_of(home, manifest) for manifest in manifests}
    # by their text: a NaN, undefined, is to stay apart from a null, unknown
    differing = sum(repr(row) != repr(slow_row(row, manifests, profiles)) for row in table)
    slow = time.perf_counter() - start
    print(f"training rows: {rows:,} in {seconds:.2f} s ({slow:.0f} s by the loop), {differing} differ; {fast!r}")
    return differing


def profiles_of(home: Path, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """A release's profiles by listener and dimension."""
    table = pq.read_table(release_folder(home, manifest.id) / "user_profile.parquet").to_pylist()
    return {
        row["user_id"]: dict(zip(manifest.dimensions, row["vector"], strict=True)) | {"confidence": row["confidence"]}
        for row in table
    }


def slow_row(row: dict[str, Any], manifests: list[Manifest], profiles: dict[str, Any]) -> dict[str, Any]:
    """One row, from a look at every release."""
    moment = row["event_timestamp"]
    best: Manifest | None = None
    for manifest in manifests:
        if manifest.as_of <= moment and manifest.known_at <= moment:
            key = (manifest.as_of, manifest.known_at, manifest.built_at)
            if best is None or key > (best.as_of, best.known_at, best.built_at):
                best = manifest
    if best is not None and moment - best.as_of > TTL:
        best = None
    found = profiles[best.id].get(row["user_id"], {}) if best else {}
    values = {name: found.get(name) for name in FEATURES}
    return row | values | {"release": best.id if best else None}


if __name__ == "__main__":
    main()
