"""The command line as a person meets it: help, tables, JSON, one-line errors, exit statuses."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from commands import echotune
from pymongo import MongoClient
from pymongo.database import Database
from typer.main import get_command

from features.database import open_database
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.publish import switch, upload, verify
from features.schema import plan
from features.settings import Settings, get_settings
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample
from flows import cli


def release_sample(settings: Settings) -> None:
    """A small sample with a live release, made without Prefect."""
    now = datetime.now(UTC)
    today = datetime.combine(now.date(), datetime.min.time(), UTC)
    with open_database(settings) as database:
        plan.apply(database)
        sample = make_sample(SampleSpec(users=30, tracks=80, days=20, seed=3), end=today)
        write_sample(database, sample, home=settings.echotune_home, now=now)
        with hold_lease(database) as token:
            snapshot = take_snapshot(database, settings.echotune_home, now)
            manifest = build_release(snapshot, settings.echotune_home, NightlyParameters(), today)
            verify(database, manifest, upload(database, settings.echotune_home, manifest, token))
            switch(database, manifest, token)


@pytest.fixture(scope="module")
def shared_release(server_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a database and a folder with a live release. Not to be changed."""
    name = f"echotune_test_released_{ObjectId()}"
    environment = {
        "MONGODB_URI": server_uri,
        "MONGODB_DATABASE": name,
        "ECHOTUNE_HOME": str(tmp_path_factory.mktemp("released") / "home"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        get_settings.cache_clear()
        release_sample(get_settings())
    yield environment
    with MongoClient(server_uri) as client:
        client.drop_database(name)


@pytest.fixture
def released(settings: Settings, shared_release: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings for the shared release, in the environment too."""
    for variable, value in shared_release.items():
        monkeypatch.setenv(variable, value)
    get_settings.cache_clear()
    return get_settings()


def all_commands() -> list[list[str]]:
    found: list[list[str]] = [[]]

    def walk(command: object, path: list[str]) -> None:
        for name, child in getattr(command, "commands", {}).items():
            found.append([*path, name])
            walk(child, [*path, name])

    walk(get_command(cli.app), [])
    return found


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_command_has_help_that_says_what_it_does(path: list[str]) -> None:
    status, out, _ = echotune(*path, "--help")
    assert status == 0
    assert "Usage: echotune" in out
    assert len(out.split("\n\n")[1].strip()) > 20


def test_the_commands_of_the_design_are_there() -> None:
    names = {" ".join(path) for path in all_commands()}
    assert names >= {
        *("import plays", "import feedback", "import tracks", "import users", "sample", "nightly", "releases list"),
        *("releases show", "releases rollback", "profile", "similar-users", "similar-tracks", "recommend", "doctor"),
        *("schema plan", "schema apply", "db start", "db stop", "db uri", "db status", "demo"),
    }


def test_an_import_prints_totals_that_add_up_and_says_why_rows_were_set_aside(
    settings: Settings, tmp_path: Path, db: Database
) -> None:
    file = tmp_path / "plays.csv"
    file.write_text(
        "who,track_id,played_at\nann,t1,2026-01-01\nann,t2,never\n,t1,2026-01-02\nbob,t1,2026-01-01\nbob,t1,2026-01-01\n"
    )
    status, out, err = echotune("import", "plays", str(file), "--map", "who=user_id", "--json")
    assert (status, err) == (0, "")
    (totals,) = json.loads(out)
    assert (totals["read"], totals["imported"], totals["set aside"]) == (5, 2, 3)
    assert sum(totals["reasons"].values()) == 3
    assert db["listening_history"].count_documents({}) == 2
    rejected = pq.read_table(totals["rejected"])
    assert sorted(rejected["line"].to_pylist()) == [3, 4, 6]
    again = json.loads(echotune("import", "plays", str(file), "--map", "who=user_id", "--json")[1])[0]
    assert (again["imported"], again["already there"]) == (0, 2)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["import", "plays", "nowhere.csv"], 2, "nowhere.csv"),
        (["import", "plays", "plays.csv", "--map", "nonsense"], 2, "nonsense"),
        (["nightly", "--as-of", "soon"], 2, "--as-of soon"),
        (["nightly", "--set", "recommendations.kk=5"], 2, "did you mean recommendations.k"),
        (["nightly", "--set", "recommendations.k=0"], 2, "recommendations.k"),
        (["nightly", "--set", "recommendations.k=many"], 2, "recommendations.k"),
        (["sample", "--users", "0"], 2, "users"),
        (["sample", "--end", "late"], 2, "--end late"),
        (["profile", "ann"], 7, "no release is live yet"),
        (["recommend", "ann", "--strategy", "magic"], 2, "magic"),
        (["recommend", "ann", "-k", "0"], 2, "-k"),
        (["releases", "show", "2020-01-01-abcdef"], 7, "there is no release 2020-01-01-abcdef"),
        (["releases", "rollback"], 7, "nothing is live yet"),
        (["db", "uri"], 2, "MONGODB_URI is set"),
        (["sing"], 2, "sing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("settings")
def test_wrong_input_is_one_line_with_its_own_status(words: list[str], status: int, message: str) -> None:
    Path("plays.csv").write_text("user_id,track_id,played_at\nann,t1,2026-01-01\n")
    found, _, err = echotune(*words)
    assert found == status
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [b"", b"user_id,track_id,played_at\n", b"\xff\xfe\x00user", b"a;b\n1;2\n"])
@pytest.mark.usefixtures("settings")
def test_a_file_that_is_none_is_one_line(content: bytes) -> None:
    Path("plays.csv").write_bytes(content)
    status, _, err = echotune("import", "plays", "plays.csv")
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "plays.csv" in err


def test_a_database_that_is_not_there_is_one_line_without_its_address(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://ann:secret-word@127.0.0.1:9/?serverSelectionTimeoutMS=200")
    monkeypatch.setattr("features.database.SELECTION_TIMEOUT_MS", 300)
    status, out, err = echotune("profile", "ann")
    assert status == 3
    assert len(err.strip().splitlines()) == 1
    assert "can't be reached" in err
    assert "secret-word" not in out + err
    assert "127.0.0.1" not in out + err


def test_a_home_that_can_not_be_written_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("in the way")
    monkeypatch.setenv("ECHOTUNE_HOME", "file/home")
    Path("plays.csv").write_text("user_id,track_id,played_at\nann,t1,2026-01-01\n")
    assert echotune("import", "plays", "plays.csv")[0] == 0  # nothing is set aside, so nothing has to be written
    status, _, err = echotune("nightly")
    assert status == 6
    assert len(err.strip().splitlines()) == 1
    assert "ECHOTUNE_HOME" in err


def test_reads_print_json_that_parses_and_tables_that_name_things(released: Settings) -> None:
    with open_database(released) as database:
        user = database["feature_store"].find_one({"featureType": "user_profile", "userId": {"$type": "string"}})[
            "userId"
        ]
    profile = json.loads(echotune("profile", user, "--json")[1])
    assert 0 <= profile["profile"]["energy_mean"] <= 1
    assert "repeats" in echotune("profile", user)[1]
    neighbors = json.loads(echotune("similar-users", user, "--json")[1])["neighbors"]
    assert [n["jaccard"] for n in neighbors] == sorted((n["jaccard"] for n in neighbors), reverse=True)
    lists = json.loads(echotune("recommend", user, "-k", "3", "--json")[1])
    assert [c["rank"] for c in lists["candidates"]] == [1, 2, 3]
    track = lists["candidates"][0]["track_id"]
    similar = json.loads(echotune("similar-tracks", track, "-k", "4", "--json")[1])["similar"]
    assert len(similar) == 4
    assert track not in [entry["track_id"] for entry in similar]
    releases = json.loads(echotune("releases", "list", "--json")[1])
    assert [entry["live"] for entry in releases] == [True]
    assert json.loads(echotune("releases", "show", "--json")[1])["state"] == "live"
    assert json.loads(echotune("doctor", "--json")[1])[0]["ok"]
    assert json.loads(echotune("schema", "plan", "--json")[1]) == {"changes": [], "extra": []}
    for words in (
        ["similar-users", user],
        ["similar-tracks", track],
        ["recommend", user],
        ["releases", "list"],
        ["doctor", "--min-free-gb", "0"],
    ):
        status, out, err = echotune(*words)
        assert (status, err) == (0, "")
        assert len(out.splitlines()) > 3


def test_an_unknown_user_or_track_is_named(released: Settings) -> None:
    for command in ("profile", "similar-users", "similar-tracks", "recommend"):
        status, _, err = echotune(command, "nobody-at-all")
        assert status == 7
        assert "nobody-at-all" in err


def test_doctor_tells_a_scheduler_by_its_status(settings: Settings) -> None:
    status, out, _ = echotune("doctor")
    assert status == 1
    assert "echotune nightly" in out


def test_doctor_as_json_is_a_list_of_findings(released: Settings) -> None:
    status, out, err = echotune("doctor", "--json", "--min-free-gb", "0", "--slow-ops", "1")
    assert (status, err) == (0, "")
    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert list(findings) == [
        *("schema", "live release", "lag", "set aside", "unfinished releases", "sizes"),
        *("space left, ECHOTUNE_HOME", "space left, database", "index use", "slow operations"),
    ]
    for finding in findings.values():
        assert set(finding) - {"details"} == {"what", "ok", "found", "threshold", "do"}
    with_details = {what for what, finding in findings.items() if "details" in finding}
    assert with_details == {"set aside", "sizes", "index use", "slow operations"}
    sizes = {row["collection"]: row for row in findings["sizes"]["details"]}
    assert sizes["listening_history"]["documents"] > 0


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("live release", ["--max-age-hours", "0"]),
        ("sizes", ["--max-size-gb", "0"]),
        ("space left, ECHOTUNE_HOME", ["--min-free-gb", "1000000000"]),
        ("slow operations", ["--slow-ops", "1"]),
    ],
)
def test_each_threshold_of_doctor_is_an_option(
    released: Settings, monkeypatch: pytest.MonkeyPatch, what: str, options: list[str]
) -> None:
    monkeypatch.setattr("features.monitoring.SLOW_MS", 0)  # so that the other connection's work below is slow
    with MongoClient(released.mongodb_uri.get_secret_value()) as client, ThreadPoolExecutor() as pool:
        done = threading.Event()

        def work() -> None:
            while not done.wait(0.05):
                client[released.mongodb_database]["tracks"].find_one({"name": "secret-name"})

        pool.submit(work)
        try:
            assert echotune("doctor", "--min-free-gb", "0")[0] == 0
            status, out, _ = echotune("doctor", "--json", "--min-free-gb", "0", *options)
            table = echotune("doctor", "--min-free-gb", "0", *options)[1]
        finally:
            done.set()
    assert status == 1
    (finding,) = [finding for finding in json.loads(out) if not finding["ok"]]
    assert finding["what"] == what
    assert finding["threshold"]
    assert finding["do"]
    assert finding["threshold"] in table
    assert "secret-name" not in out + table


def test_lag_and_what_was_set_aside_have_their_options(settings: Settings) -> None:
    release_sample(settings)
    with open_database(settings) as database:
        database["listening_history"].insert_one(
            {"userId": "late", "trackId": "t", "playedAt": datetime.now(UTC), "importedAt": datetime.now(UTC)}
        )
        (live,) = database["releases"].find({"state": "live"})
        manifest = settings.echotune_home / "releases" / live["_id"] / "manifest.json"
    content = json.loads(manifest.read_text())
    content["inputs"]["tracks"] |= {"set_aside": 3, "read": 80, "reasons": {"track_id is missing": 3}}
    manifest.write_text(json.dumps(content))
    assert echotune("doctor", "--min-free-gb", "0")[0] == 0
    for option, limit, what in (("--max-lag-hours", "0", "lag"), ("--max-set-aside", "3.7", "set aside")):
        status, out, _ = echotune("doctor", "--json", "--min-free-gb", "0", option, limit)
        assert status == 1
        assert [finding["what"] for finding in json.loads(out) if not finding["ok"]] == [what]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_doctor_switches_the_profiler_back_when_it_is_told_to_end(
    settings: Settings, db: Database, number: int
) -> None:
    db.command("profile", 0, slowms=250)
    command = [sys.executable, "-m", "flows.cli", "doctor", "--slow-ops", "600"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as doctor:
        try:
            while db.command("profile", -1)["was"] == 0:
                assert doctor.poll() is None, doctor.stderr.read()
                time.sleep(0.02)
            doctor.send_signal(number)
            doctor.send_signal(number)
            _, err = doctor.communicate(timeout=60)
        finally:
            doctor.kill()
    after = db.command("profile", -1)
    db.command("profile", 0, slowms=100)
    assert (doctor.returncode, err.count("\n")) == (130, 1)
    assert "interrupted" in err
    assert (after["was"], after["slowms"]) == (0, 250)


@pytest.mark.slow
@pytest.mark.timeout(900)  # two of Prefect's servers are started in it, on a machine that others use too
def test_from_an_empty_folder_to_a_live_release_and_nothing_left_running(
    quick_path: Path, clean_environment: dict[str, str]
) -> None:
    times = [datetime(2026, 1, 1 + n % 28, n % 24, tzinfo=UTC) for n in range(60)]
    table = pa.table(
        {
            "user_id": [f"user-{n % 6}" for n in range(60)],
            "track_id": [f"track-{n % 10}" for n in range(60)],
            "played_at": times,
        }
    )
    pq.write_table(table, quick_path / "plays.parquet")

    def echotune(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *words]
        return subprocess.run(
            command, cwd=quick_path, env=clean_environment | more, capture_output=True, text=True, check=False
        )

    assert echotune("import", "plays", "plays.parquet").returncode == 0
    late = echotune("nightly", PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="1")
    assert late.returncode == 1
    assert late.stderr.startswith("error: Prefect's temporary server did not start within 1 s; ")
    assert late.stderr.count("\n") == 1
    first = echotune("nightly")
    assert first.returncode == 0, first.stderr
    live = first.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"release \d{4}-\d\d-\d\d-[0-9a-f]{6} live", live)
    second = echotune("nightly")
    assert second.stdout.strip().splitlines()[-1] == live
    assert "nothing was written" in second.stdout
    assert "user-1" in echotune("recommend", "user-1").stdout
    assert json.loads(echotune("db", "status", "--json").stdout)["running"] is False
    assert first.stderr == second.stderr == ""


def test_with_debug_an_error_shows_where_it_was_raised_and_keeps_its_status(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHOTUNE_DEBUG", "")  # put back after the test
    status, _, err = echotune("--debug", "releases", "show", "2020-01-01-abcdef")
    assert status == 7
    assert "find_release" in err
    assert err.splitlines()[-1].startswith("error: there is no release 2020-01-01-abcdef")
