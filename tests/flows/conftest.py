"""A Prefect server for the flow tests of a process, with a home of its own."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class PrefectServer:
    """A running server: its address, for other processes too, and the file of its database."""

    url: str
    database: Path


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory, quick_folder: Path) -> Iterator[PrefectServer]:
    """Prefect's own test harness: a temporary server and database."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(quick_folder.parent))  # the harness removes its own folder there, late
        with prefect_test_harness(server_startup_timeout=60):
            patch.undo()
            database = PREFECT_SERVER_DATABASE_CONNECTION_URL.value().partition(":///")[2]
            yield PrefectServer(PREFECT_API_URL.value(), Path(database))
