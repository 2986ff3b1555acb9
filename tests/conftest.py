"""Fixtures for every test: a real server over the wire (the built-in one, or MONGODB_URI), a database a test."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pymongo import MongoClient
from pymongo.database import Database

from features.embedded import embedded_server
from features.settings import Settings, get_settings

# Kept under a name that outlives the removal below, for the worker processes that inherit this environment.
GIVEN_URI = os.environ.setdefault("TEST_MONGODB_URI", os.environ.get("MONGODB_URI", ""))
for name in [name for name in os.environ if name.startswith(("MONGODB_", "ECHOTUNE_"))]:
    os.environ.pop(name, None)
os.environ["DO_NOT_TRACK"] = "1"

# no verdict by the clock: these machines are shared
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"


MEMORY = Path("/dev/shm")  # Linux; elsewhere the disk serves
NEEDED_BYTES = 4 << 30
PREFIX = "echotune-tests-"


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # workers would take the modules with the most tests first


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In workers, which take a module at a time: slow ones first, lest one is left with a long module at the end."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


def remove_abandoned() -> None:
    """Takes away what killed test runs left in memory: folders whose lock nobody holds."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is room: servers sync each write, and no test looks at what a power cut leaves."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > NEEDED_BYTES:
        remove_abandoned()
        with TemporaryDirectory(prefix=PREFIX, dir=MEMORY) as folder, (Path(folder) / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("quick")


@pytest.fixture
def quick_path(quick_folder: Path) -> Iterator[Path]:
    """A folder in there for a test alone, removed after it; unlike `tmp_path`, failed or not."""
    with TemporaryDirectory(dir=quick_folder) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server_uri(quick_folder: Path) -> Iterator[str]:
    """A MongoDB-wire server for the whole test process."""
    if GIVEN_URI:
        yield GIVEN_URI
    else:
        with embedded_server(quick_folder / "server") as uri:
            yield uri


@pytest.fixture
def db(server_uri: str) -> Iterator[Database]:
    """An empty database of its own, dropped after the test."""
    name = f"echotune_test_{uuid.uuid4().hex[:12]}"
    with MongoClient(server_uri, tz_aware=True, serverSelectionTimeoutMS=10_000) as client:
        yield client[name]
        client.drop_database(name)


@pytest.fixture
def settings(server_uri: str, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings for the test's own database and folder, in the environment too, so that commands see them."""
    monkeypatch.setenv("MONGODB_URI", server_uri)
    monkeypatch.setenv("MONGODB_DATABASE", db.name)
    monkeypatch.setenv("ECHOTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """The environment of a newcomer: nothing of ours or Prefect's is set, but for telemetry, which is off."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MONGODB_", "ECHOTUNE_", "PREFECT_"))
    }
    return kept | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PYTHONPATH": str(Path(__file__).parent.parent)}
