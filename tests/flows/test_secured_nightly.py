"""A whole night on a server that asks for a password and speaks only TLS, each account with its role and no more."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import echotune
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from test_database import PASSWORD, USER, Secured, secured

from features.database import open_database
from features.schema import plan, roles
from features.settings import Settings
from features.sources.sample import SampleSpec, make_sample, write_sample

pytestmark = pytest.mark.slow

DATABASE = "echotune_night"
BATCH, READER = "batch-account", "reader-account"


@dataclass(frozen=True)
class Night:
    """A prepared server, the folder that a batch machine works in, and its environment."""

    server: Secured
    folder: Path
    environment: dict[str, str]

    def of(self, user: str, password: str) -> dict[str, str]:
        """What tells a command under which account it works, and where."""
        account = {"MONGODB_URI": self.server.uri(user, password), "MONGODB_DATABASE": DATABASE}
        return account | {"ECHOTUNE_HOME": str(self.folder / "home")}

    def run(self, user: str, *command: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
        """A process of an account's."""
        words, environment = [sys.executable, *command], self.environment | self.of(user, password)
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=240
        )

    def echotune(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own."""
        return self.run(user, "-m", "flows.cli", *words)

    def within(self, user: str, *words: str, password: str = PASSWORD) -> tuple[int, str, str]:
        """The command within this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.of(user, password).items():
                patch.setenv(name, value)
            return echotune(*words)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, quick_folder: Path, prefect) -> Iterator[Night]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("MONGODB_", "ECHOTUNE_", "PREFECT_", "TEST_MON"))}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PYTHONPATH": str(Path(__file__).parents[2])}
    folder = tmp_path_factory.mktemp("batch")
    # as on a machine with a worker: Prefect's server is there, and is told of all that is logged
    pointed = {
        "PREFECT_API_URL": prefect.url,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }
    with secured(quick_folder / "night") as server:
        settings = Settings(mongodb_uri=SecretStr(server.uri(USER)), mongodb_database=DATABASE)
        with open_database(settings) as database:
            plan.apply(database)
            roles.create(database)
            for user, role in ((BATCH, roles.BATCH), (READER, roles.READER)):
                granted = [{"role": role.name, "db": DATABASE}]
                database.client.admin.command("createUser", user, pwd=PASSWORD, roles=granted)
            now = datetime.now(UTC)
            today = datetime.combine(now.date(), datetime.min.time(), UTC)
            sample = make_sample(SampleSpec(users=25, tracks=80, days=20, seed=3), end=today)
            write_sample(database, sample, home=folder / "sample", now=now)
        yield Night(server, folder, kept | quiet | pointed)


@pytest.fixture(scope="module")
def published(night: Night) -> str:
    """The first night's release."""
    done = night.echotune(BATCH, "nightly")
    assert done.returncode == 0, done.stderr
    live = re.fullmatch(r"release (\S+) live", done.stdout.strip().splitlines()[-1])
    assert live
    assert_keeps_secrets(night, done)
    return live[1]


@pytest.fixture
def database(night: Night) -> Iterator[Database]:
    with MongoClient(night.server.uri(USER)) as client:
        yield client[DATABASE]


def assert_keeps_secrets(night: Night, done: subprocess.CompletedProcess[str], *more: str) -> None:
    for secret in (PASSWORD, night.server.address, "mongodb://", str(night.server.authority), *more):
        assert secret not in done.stdout + done.stderr


def test_the_batch_account_makes_a_release_live_and_sees_that_all_is_well(night, published, database):
    assert database["releases"].find_one({"_id": "live"})["release"] == published
    assert published in night.echotune(BATCH, "releases", "list").stdout
    status, out, _ = night.within(BATCH, "doctor", "--json")
    assert status == 0
    assert all(finding["ok"] for finding in json.loads(out))


def test_the_reader_account_reads_the_release_and_can_not_change_it(night, published, database):
    user = database["listening_history"].find_one({"userId": {"$type": "string"}})["userId"]
    profile = night.echotune(READER, "profile", user, "--json")
    assert json.loads(profile.stdout)["release"] == published
    found = json.loads(night.within(READER, "recommend", user, "--json")[1])
    track = found["candidates"][0]["track_id"]
    assert json.loads(night.echotune(READER, "similar-tracks", track, "--json").stdout)["similar"]
    before = list(database["releases"].find())
    refused = night.echotune(READER, "releases", "rollback")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith("error: this database account may not do that; ")
    assert len(refused.stderr.splitlines()) == 1
    assert_keeps_secrets(night, refused, READER)
    assert list(database["releases"].find()) == before


@pytest.mark.parametrize("words", [["nightly"], ["profile", "ann"], ["schema", "roles", "--create"]])
def test_a_wrong_password_is_one_line_without_any_part_of_the_address(night, words):
    told = "error: the database refuses the user or password; correct them in MONGODB_URI\n"
    assert night.within(BATCH, *words, password=f"not-{PASSWORD}") == (3, "", told)


def test_prefect_tells_and_stores_no_part_of_the_address(night, published, prefect):
    """In a flow as a worker runs it, with all that Prefect logs, after a night that went well."""
    done = night.run(BATCH, "-c", "from flows.nightly import nightly; nightly()", password=f"not-{PASSWORD}")
    assert done.returncode == 1
    assert "Beginning flow run" in done.stdout + done.stderr
    assert "the database refuses the user or password" in done.stderr
    assert_keeps_secrets(night, done, BATCH)
    stored = [path for path in night.folder.rglob("*") if path.is_file()]
    told = list(prefect.database.parent.glob(f"{prefect.database.name}*"))
    assert any(b"the database refuses the user or password" in path.read_bytes() for path in told)
    for path in [*stored, *told]:
        content = path.read_bytes()
        assert PASSWORD.encode() not in content
        assert night.server.address.encode() not in content
