"""Releases on disk made by hand: a few profiles, other files where a test needs them, and a manifest of any dates."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.release.manifest import Manifest, release_folder
from features.schema.names import STRATEGIES

START = datetime(2026, 1, 1, tzinfo=UTC)
PASSED = {"name": "norms", "passed": True}
FAILED = {"name": "norms", "passed": False}
EVERYTHING = [
    *("user_profile:*", "user_profile:confidence", "track_embedding:vector", "track_embedding:confidence"),
    *("similarity:neighbors", "similarity:scores", "similarity:confidence"),
    *(f"recommendations:{name}" for name in STRATEGIES),
]
"""References to all that a release holds."""


def hours(number: float) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=number)


def write_release(
    home: Path,
    number: int,
    *,
    as_of: float = 0,
    known_at: float = 0,
    built_at: float = 0,
    dimensions: Sequence[str] = ("energy_mean",),
    profiles: Mapping[str, Sequence[float]] | None = None,
    stopped: bool = False,
    gate: bool = True,
) -> Manifest:
    """The n-th release, with clocks in hours after the start; by default "ann" has the energy n."""
    profiles = {"ann": [float(number)] * len(dimensions)} if profiles is None else profiles
    made = Manifest(
        f"2026-01-{number + 1:02d}-{number:06x}",
        hours(as_of),
        hours(known_at),
        hours(built_at),
        {},
        "snapshot",
        "code",
        list(dimensions),
        {},
        {},
        [FAILED if stopped else PASSED],
        gate=gate,
    )
    flat = [value for vector in profiles.values() for value in vector]
    table = {
        "user_id": pa.array(list(profiles), pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float64()), len(dimensions)),
        "confidence": pa.array([0.5] * len(profiles), pa.float64()),
    }
    write_files(home, made, user_profile=table)
    return made


def write_files(home: Path, made: Manifest, **tables: Mapping[str, Any]) -> None:
    """Parquet files of a release, and its manifest; in small row groups."""
    folder = release_folder(home, made.id)
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        pq.write_table(pa.table(dict(columns)), folder / f"{name}.parquet", row_group_size=2)
    (folder / "manifest.json").write_text(json.dumps(made.to_json()))
