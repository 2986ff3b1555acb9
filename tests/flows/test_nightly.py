"""The nightly flow on a real Prefect server and a real database."""

import asyncio
import base64
import re
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId
from pydantic import SecretStr
from pymongo.database import Database

from features.database import open_database
from features.erasure.erase import erase
from features.erasure.tombstones import ERASED
from features.erasure.traces import find_traces
from features.errors import BusyError, GateError, InputError, UnreachableError
from features.parameters import NightlyParameters
from features.release import retention
from features.release.ledger import hold_lease, read_pointer
from features.release.manifest import read_manifest, releases_on_disk
from features.schema import plan
from features.settings import Settings, get_settings
from features.sources.sample import SampleSpec, make_sample, write_sample
from flows import nightly as module
from flows.nightly import nightly

pytestmark = [
    pytest.mark.usefixtures("prefect"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Prefect's and its server's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
]


@pytest.fixture
def sampled(settings: Settings) -> Settings:
    with open_database(settings) as database:
        plan.apply(database)
        today = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
        sample = make_sample(SampleSpec(users=25, tracks=80, days=20, seed=3), end=today)
        write_sample(database, sample, home=settings.echotune_home, now=datetime.now(UTC))
    return settings


def never_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the gate stop every night from now on."""
    from features.release import build

    passed = build.check_embeddings

    def failed(*args: object) -> list[object]:
        return [type(check)(check.name, False, "made to fail") for check in passed(*args)]

    monkeypatch.setattr(build, "check_embeddings", failed)


def test_a_run_publishes_a_release_and_a_second_one_finds_it_there(sampled: Settings, db: Database) -> None:
    first = nightly()
    assert first.published
    assert db["releases"].find_one({"_id": "live"})["release"] == first.release
    assert db["feature_store"].count_documents({"featureType": "user_profile"}) == first.counts["user_profile"] > 0
    changed_at = db["releases"].find_one({"_id": "live"})["changedAt"]
    second = nightly()
    assert (second.release, second.published) == (first.release, False)
    assert db["releases"].find_one({"_id": "live"})["changedAt"] == changed_at
    third = nightly(parameters=NightlyParameters.model_validate({"recommendations": {"k": 5}}))
    assert third.release != first.release
    assert db["releases"].find_one({"_id": first.release})["state"] == "retired"
    assert max(len(d["candidates"]) for d in db["recommendations"].find({"release": third.release})) == 5


def test_a_run_by_a_dask_cluster_of_its_own_makes_the_same_release(sampled: Settings, db: Database) -> None:
    a_week_ago = str(datetime.now(UTC).date() - timedelta(days=7))
    by_dask = nightly(runner="dask", as_of=a_week_ago)
    shutil.rmtree(sampled.echotune_home)
    again = nightly(as_of=a_week_ago)
    assert by_dask.published
    assert (again.release, again.published) == (by_dask.release, False)  # known by its id, and nothing is lacking


def test_what_has_expired_leaves_the_built_in_database_with_the_night(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI")
    get_settings.cache_clear()
    built_in = get_settings()
    assert built_in.uses_embedded_database
    now = datetime.now(UTC)
    sample = make_sample(SampleSpec(users=25, tracks=80, days=20, seed=3), end=now)
    with open_database(built_in) as database:
        plan.apply(database)
        write_sample(database, sample, home=built_in.echotune_home, now=now)
        said = {"category": "user", "type": "login", "data": {}}
        for days in (0, 91):
            database["events"].insert_one({**said, "_id": ObjectId(), "timestamp": now - timedelta(days=days)})
        nightly()  # shorter than the day after which the server looks by itself
        assert database["events"].count_documents({"type": "login"}) == 1
        database["events"].insert_one({**said, "_id": ObjectId(), "timestamp": now - timedelta(days=91)})
        never_pass(monkeypatch)
        with pytest.raises(GateError):
            nightly(parameters=NightlyParameters.model_validate({"recommendations": {"k": 7}}))
        assert database["events"].count_documents({"type": "login"}) == 1


def test_a_run_leaves_a_table_and_a_summary_on_its_page(sampled: Settings) -> None:
    from prefect.client.orchestration import get_client

    result = nightly(memory_limit="2GB")

    async def artifacts() -> list[tuple[str | None, str]]:
        async with get_client() as client:  # of all runs of this server
            return [(a.key, str(a.data)) for a in await client.read_artifacts()]

    found = asyncio.run(artifacts())
    assert any(key == "release-contents" and "user profiles" in data for key, data in found)
    summaries = [data for key, data in found if key == "release-summary"]
    assert any(f"# Release {result.release}" in data for data in summaries)
    assert all("| stage | seconds | peak memory |" in data and re.search(r" [MG]B \|", data) for data in summaries)
    assert not any("@" in data for _, data in found)  # no e-mail gets into an artifact


def test_a_failed_gate_keeps_the_live_release_and_no_gate_publishes_anyway(
    sampled: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = nightly().release
    never_pass(monkeypatch)
    parameters = NightlyParameters.model_validate({"recommendations": {"k": 7}})
    with pytest.raises(GateError, match="embeddings are finite"):
        nightly(parameters=parameters)
    assert read_pointer(db).release == live
    failed = db["releases"].find_one({"state": "failed"})
    assert db["recommendations"].count_documents({"release": failed["_id"]}) == 0
    assert failed["_id"] in releases_on_disk(sampled.echotune_home)
    assert not read_manifest(sampled.echotune_home, failed["_id"]).passed
    monkeypatch.setattr(retention, "FAILED_KEPT", 1)
    with pytest.raises(GateError):
        nightly(parameters=NightlyParameters.model_validate({"recommendations": {"k": 8}}))
    assert failed["_id"] not in releases_on_disk(sampled.echotune_home)  # bad nights don't pile up
    assert len(releases_on_disk(sampled.echotune_home)) == 2
    assert nightly(parameters=parameters, gate=False).release == failed["_id"]
    assert read_pointer(db).release == failed["_id"]


def test_a_run_beside_another_ends_with_one_clear_line(sampled: Settings, db: Database) -> None:
    with hold_lease(db), pytest.raises(BusyError, match="another run holds the lease"):
        nightly()
    assert nightly().published


def test_one_listener_with_one_track_gets_a_release_without_lists(settings: Settings, db: Database) -> None:
    plan.apply(db)
    db["listening_history"].insert_one({"userId": "ann", "trackId": "t1", "playedAt": datetime(2026, 1, 1, tzinfo=UTC)})
    result = nightly()
    assert result.published
    assert (result.counts["user_profile"], result.counts["track_embedding"], result.counts["recommendations"]) == (
        1,
        1,
        0,
    )
    assert db["feature_store"].count_documents({}) == 3


def test_a_database_without_plays_is_an_input_error(settings: Settings) -> None:
    with pytest.raises(InputError, match="no plays before"):
        nightly()


def test_a_lost_connection_is_tried_again_and_nothing_else_is(
    sampled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.take_snapshot
    calls = []

    def lose_it_twice(*args: object, **more: object) -> object:
        calls.append(args)
        if len(calls) < 3:
            raise UnreachableError("the connection to the database was lost")
        return real(*args, **more)

    monkeypatch.setattr(module, "take_snapshot", lose_it_twice)
    monkeypatch.setattr(module.snapshot_inputs, "retry_delay_seconds", [0, 0, 0])
    assert nightly().published
    assert len(calls) == 3

    def refuse(*args: object, **_more: object) -> object:
        calls.append(args)
        raise InputError("no")

    monkeypatch.setattr(module, "take_snapshot", refuse)
    with pytest.raises(InputError):
        nightly()
    assert len(calls) == 4


def test_a_run_after_an_erasure_knows_the_person_no_more(sampled: Settings, db: Database, monkeypatch) -> None:
    key = SecretStr(base64.b64encode(bytes(32)).decode())
    monkeypatch.setenv("ECHOTUNE_HASH_KEY", key.get_secret_value())
    get_settings.cache_clear()
    nightly()
    user = "listener-0003"
    erase(db, sampled.echotune_home, key, user, datetime.now(UTC))
    play = {"userId": user, "trackId": "t", "playedAt": datetime.now(UTC), "importedAt": datetime.now(UTC)}
    db["listening_history"].insert_one(play)  # the app, which knows nothing of it
    result = nightly(mirror_lists=True)
    assert result.published
    assert db["recommendations_cache"].count_documents({}) == result.counts["recommendations"]
    for collection in ("feature_store", "recommendations", "recommendations_cache"):
        assert db[collection].count_documents({"userId": user}) == 0
    assert read_manifest(sampled.echotune_home, result.release).inputs["plays"]["reasons"] == {ERASED: 1}
    db["listening_history"].delete_many({"userId": user})
    assert find_traces(db, sampled.echotune_home, user) == []
