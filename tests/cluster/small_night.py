"""A small night, from snapshot to documents, by whoever works on its shards."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from features.cluster.runner import DaskRunner
from features.compute.budget import Budget
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.manifest import Manifest
from features.release.publish import publish_release
from features.schema import names, plan
from features.snapshot import plays
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

AS_OF = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FEW = NightlyParameters.model_validate({"recommendations": {"k": 10}, "similarity": {"k": 5}})
SMALL_BLOCKS = Budget(limit_bytes=1)


def fill(database: Database, home: Path) -> None:
    """Sixty listeners, whose plays were imported in four weeks, some of them not usable."""
    plan.apply(database)
    sample = make_sample(SampleSpec(users=60, tracks=150, days=20, seed=3), end=AS_OF)
    write_sample(database, sample, home=home, now=AS_OF + timedelta(hours=1))
    history = database[names.LISTENING_HISTORY]
    for weeks in range(4):  # as if imported week by week, so that there are stretches to share out
        played = {"playedAt": {"$lte": AS_OF - timedelta(weeks=weeks)}}
        history.update_many(played, {"$set": {"importedAt": AS_OF - timedelta(weeks=weeks)}})
    early = {"playedAt": {"$lte": AS_OF - timedelta(days=18)}}
    history.update_many(early, {"$set": {"completionRate": "whole"}}, bypass_document_validation=True)


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
