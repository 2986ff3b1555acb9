"""One cluster for the tests of a module, whose workers know the database of these tests by their environment."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from features.cluster.opening import dask_runner
from features.cluster.runner import DaskRunner
from features.settings import get_settings


@pytest.fixture(scope="module")
def home(quick_folder: Path) -> Path:
    """Where releases are, and for the workers `ECHOTUNE_HOME`."""
    return quick_folder / uuid.uuid4().hex


@pytest.fixture(scope="module")
def database(server_uri: str, home: Path) -> Iterator[Database]:
    """A database for the module, in the environment of this process, which workers inherit."""
    name = f"echotune_test_{uuid.uuid4().hex[:12]}"
    with MongoClient(server_uri, tz_aware=True) as client, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONGODB_URI", server_uri)
        patch.setenv("MONGODB_DATABASE", name)
        patch.setenv("ECHOTUNE_HOME", str(home))
        get_settings.cache_clear()
        yield client[name]
        client.drop_database(name)
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def runner(database: Database) -> Iterator[DaskRunner]:
    """Two workers on this machine."""
    with dask_runner(workers=2, patience_s=30) as shards:
        yield shards
