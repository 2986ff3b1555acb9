"""Judging a built release: what its build found, and how it stands beside recent nights and the live release."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.erasure.tombstones import ERASED
from features.errors import StorageError
from features.evaluate import comparison
from features.evaluate.gate import Check
from features.parameters import GateParameters
from features.release.manifest import Manifest, release_folder

MOST_PROFILES = 100_000
"""Profiles read of a release for drift, evenly spread: a PSI of so many is exact to the second digit."""
OUTPUTS = ("user_profile", "track_embedding", "similarity", "recommendations")


def judge(
    home: Path, manifest: Manifest, live: Manifest | None, recent: Sequence[Manifest], parameters: GateParameters
) -> list[Check]:
    """All checks of a release on disk: those of its build, and those in context, made anew.

    Args:
        home: `$ECHOTUNE_HOME`.
        manifest: of the release; judged before or not, the outcome is the same.
        live: what readers follow; None at first. Without its files on this disk, profiles are not compared.
        recent: the last nights that were published, in any order.
        parameters: the limits.

    Raises:
        StorageError: the release's own profiles can't be read.
    """
    checks = [Check(**check) for check in manifest.checks]
    nights = [night for night in recent if night.id != manifest.id]
    return [
        *(check for check in checks if not check.against),
        *_beside_nights(manifest, nights, parameters),
        comparison.check_active(manifest.metrics, parameters),
        *_beside_live(home, manifest, live, parameters),
    ]


def _beside_nights(manifest: Manifest, nights: Sequence[Manifest], parameters: GateParameters) -> list[Check]:
    measured = [night.metrics for night in nights]
    return [
        comparison.check_volume(_used(manifest), [_used(night) for night in nights], parameters),
        *comparison.check_recent_plays(manifest.metrics, measured, parameters),
        *comparison.check_set_aside(_set_aside(manifest), [_set_aside(night) for night in nights], parameters),
        comparison.check_missing(manifest.metrics, measured, parameters),
    ]


def _beside_live(home: Path, manifest: Manifest, live: Manifest | None, parameters: GateParameters) -> list[Check]:
    """Ranking and embeddings of other settings are another thing, and not compared."""
    counts = live.counts if live else {}
    tracks = min(manifest.counts["track_embedding"], counts.get("track_embedding", 0))
    embedded = live.metrics if live and _same(manifest, live, "embeddings") else {}
    ranked = live.metrics if live and _same(manifest, live, "evaluation") else {}
    k = manifest.parameters.get("evaluation", {}).get("k", 0)
    return [
        comparison.check_counts({name: manifest.counts[name] for name in OUTPUTS}, counts, parameters),
        comparison.check_rank(manifest.metrics, embedded, tracks, parameters),
        *_profile_checks(home, manifest, live, parameters),
        comparison.check_ranking(manifest.metrics, ranked, k, parameters),
    ]


def _profile_checks(home: Path, manifest: Manifest, live: Manifest | None, parameters: GateParameters) -> list[Check]:
    names, vectors = manifest.dimensions, _profiles(home, manifest)
    live_names: list[str] = []
    live_vectors = np.zeros((0, 0))
    missing = []
    if live:
        try:
            live_names, live_vectors = live.dimensions, _profiles(home, live)
        except StorageError:
            told = f"the profiles of {live.id} are not on this disk or can't be read, nothing is compared with them"
            missing = [Check("profiles are compared with the live ones", True, told, comparison.LIVE)]
    return [*missing, *comparison.check_profiles_against(names, vectors, live_names, live_vectors, parameters)]


def _same(manifest: Manifest, live: Manifest, part: str) -> bool:
    return bool(manifest.parameters.get(part) == live.parameters.get(part))


def _used(manifest: Manifest) -> dict[str, float]:
    return {table: float(read["used"]) for table, read in manifest.inputs.items()}


def _set_aside(manifest: Manifest) -> dict[str, tuple[int, int]]:
    """By table: documents set aside and read, but for those of erased persons, which are no fault."""
    return {table: _faulty(read) for table, read in manifest.inputs.items()}


def _faulty(read: dict[str, Any]) -> tuple[int, int]:
    erased = read["reasons"].get(ERASED, 0)
    return read["set_aside"] - erased, read["read"] - erased


def _profiles(home: Path, manifest: Manifest) -> np.ndarray:
    """(n, dimensions) float64, NaN where undefined: all profiles, or one of every so many.

    Raises:
        StorageError: they are not there or can't be read.
    """
    path = release_folder(home, manifest.id) / "user_profile.parquet"
    try:
        with pq.ParquetFile(path) as file:
            step = max(1, -(-file.metadata.num_rows // MOST_PROFILES))
            blocks, start = [np.zeros((0, len(manifest.dimensions)))], 0
            for number in range(file.num_row_groups):  # iter_batches reads far ahead
                group = file.read_row_group(number, columns=["vector"])["vector"].combine_chunks()
                rows = group.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(manifest.dimensions))
                blocks.append(rows[-start % step :: step].copy())  # a view would keep all rows in memory
                start += len(rows)
            return np.concatenate(blocks)
    except (OSError, ValueError, pa.ArrowException) as error:
        what = str(error).splitlines()[0]
        raise StorageError(f"{path} can't be read ({what}); remove the folder and build the release again") from error
