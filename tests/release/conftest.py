"""One small release, built once for all tests; others are copies of it under other ids and dates."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from documents import BOUND, SMALL, fill_small_world
from pymongo import MongoClient
from pymongo.database import Database

from features.release import build
from features.release.ledger import hold_lease
from features.release.manifest import Manifest, release_folder
from features.release.publish import switch, upload, verify
from features.schema import plan
from features.snapshot.take import Snapshot, take_snapshot
from features.storage import write_json

RECENT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=12)


@pytest.fixture(scope="session")
def snapshot(server_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The small world, read. Not to be changed."""
    name = f"echotune_test_world_{ObjectId()}"
    with MongoClient(server_uri, tz_aware=True) as client:
        fill_small_world(client[name])
        taken = take_snapshot(client[name], tmp_path_factory.mktemp("world"), BOUND)
        client.drop_database(name)
    return taken


@pytest.fixture(scope="session")
def original(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A home with one release, cut into many small chunks. Not to be changed."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            build, "ROW_GROUPS", {"user_profile": 2, "track_embedding": 7, "similarity": 3, "recommendations": 5}
        )
        return home, build.build_release(snapshot, home, SMALL, BOUND)


@pytest.fixture
def home(original: tuple[Path, Manifest], tmp_path: Path) -> Path:
    """A copy of the home, for the test alone."""
    return Path(shutil.copytree(original[0], tmp_path / "home"))


@pytest.fixture
def manifest(original: tuple[Path, Manifest], home: Path) -> Manifest:
    """The release in `home`."""
    return original[1]


@pytest.fixture
def another(home: Path, manifest: Manifest) -> Callable[..., Manifest]:
    """Makes the n-th release of the home, built n hours after the first, with the same content under another id."""

    def make(number: int) -> Manifest:
        made = replace(manifest, id=f"2026-02-{number:02d}-{number:06x}", built_at=RECENT + timedelta(hours=number))
        folder = release_folder(home, made.id)
        shutil.copytree(release_folder(home, manifest.id), folder)
        write_json(folder / "manifest.json", made.to_json())
        return made

    return make


@pytest.fixture
def ready(db: Database) -> Database:
    """The test's database with every validator and index."""
    plan.apply(db)
    return db


@pytest.fixture
def publish(ready: Database, home: Path) -> Callable[..., Manifest]:
    """Upload, verify, switch, as the nightly flow does."""

    def run(release: Manifest, vectors: str = "double") -> Manifest:
        with hold_lease(ready) as token:
            verify(ready, release, upload(ready, home, release, token, vectors))
            switch(ready, release, token)
        return release

    return run
