"""A night by workers is the night of one process: the same release, file by file, and the same documents."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pymongo.database import Database

from features.cluster.runner import DaskRunner
from features.compute.budget import Budget
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.manifest import Manifest, release_folder
from features.release.publish import publish_release
from features.schema import names, plan
from features.snapshot import plays
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

AS_OF = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FEW = NightlyParameters.model_validate({"recommendations": {"k": 10}, "similarity": {"k": 5}})
SMALL_BLOCKS = Budget(limit_bytes=1)


@pytest.fixture(scope="module")
def filled(database: Database, home: Path) -> Database:
    plan.apply(database)
    sample = make_sample(SampleSpec(users=60, tracks=150, days=20, seed=3), end=AS_OF)
    write_sample(database, sample, home=home, now=AS_OF + timedelta(hours=1))
    plays = database[names.LISTENING_HISTORY]
    for weeks in range(4):  # as if imported week by week, so that there are stretches to share out
        played = {"playedAt": {"$lte": AS_OF - timedelta(weeks=weeks)}}
        plays.update_many(played, {"$set": {"importedAt": AS_OF - timedelta(weeks=weeks)}})
    early = {"playedAt": {"$lte": AS_OF - timedelta(days=18)}}
    plays.update_many(early, {"$set": {"completionRate": "whole"}}, bypass_document_validation=True)
    return database


def night(database: Database, home: Path, runner: DaskRunner | None) -> tuple[Manifest, dict[str, list[Any]]]:
    """Snapshot to published documents; returns those, without the moments that are of this night alone."""
    with hold_lease(database) as token, pytest.MonkeyPatch.context() as patch:
        patch.setattr(plays, "STRETCHED_DOCUMENTS", 0)
        inputs = take_snapshot(database, home, AS_OF + timedelta(hours=2), runner=runner)
        manifest = build_release(inputs, home, FEW, AS_OF, budget=SMALL_BLOCKS, runner=runner)
        publish_release(database, home, manifest.id, token, runner=runner)
    documents = {
        collection: [timeless(found) for found in database[collection].find({field: manifest.id}, sort=[("_id", 1)])]
        for collection, field in ((names.FEATURE_STORE, "features.version"), (names.RECOMMENDATIONS, "release"))
    }
    return manifest, documents


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    for name in ("computedAt", "createdAt", "expiresAt"):
        document.pop(name, None)
    document.get("metadata", {}).pop("lastTrained", None)
    document.get("performance", {}).pop("generationTime", None)
    return document


@pytest.fixture(scope="module")
def nights(filled: Database, home: Path, runner: DaskRunner) -> Iterator[list[tuple[Path, Manifest, dict[str, Any]]]]:
    done = []
    for name, shards in (("local", None), ("dask", runner)):
        done.append((home / name, *night(filled, home / name, shards)))
        for collection in (names.FEATURE_STORE, names.RECOMMENDATIONS, names.RELEASES):
            filled[collection].delete_many({})
    return done


def test_the_release_has_the_same_id_and_the_same_documents(nights):
    (_, local, by_local), (_, dask, by_dask) = nights
    assert dask.id == local.id
    assert dask.counts == local.counts
    assert len(by_local[names.RECOMMENDATIONS]) > 100
    assert by_dask == by_local


def test_the_snapshot_is_the_same_to_the_byte(nights):
    (home, _, _), (other, _, _) = nights
    mine, theirs = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("snapshot/**/*") if path.is_file()}
        for folder in (home, other)
    )
    assert any("/plays/" in name for name in mine)
    assert theirs == mine


def test_the_files_are_the_same_but_for_what_was_measured(nights):
    (home, local, _), (other, _, _) = nights
    for path in sorted(release_folder(home, local.id).glob("*.parquet")):
        mine, theirs = pq.read_table(path), pq.read_table(release_folder(other, local.id) / path.name)
        if "generation_ms" in mine.column_names:
            mine, theirs = (table.drop_columns(["generation_ms"]) for table in (mine, theirs))
        assert mine.equals(theirs), path.name
