"""`echotune releases list|show|promote|rollback|prune` as a person and a program meet them."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from commands import echotune
from published import Interruption, Raising, on_disk

from features.database import open_database
from features.release import publish as module
from features.release.ledger import hold_lease, read_pointer, record
from features.release.manifest import release_folder, releases_on_disk
from features.release.publish import promote, rollback, upload
from features.release.retention import expire
from features.schema import plan
from features.settings import get_settings

FAILING = [{"name": "lists", "passed": False, "detail": "3 of 4 users"}]
pytestmark = pytest.mark.usefixtures("settings")


def told(*words: str) -> tuple[int, str]:
    status, out, err = echotune("releases", *words)
    assert len(err.splitlines()) <= 1
    return status, out + err


def listed() -> list[tuple[str, str]]:
    status, out, _ = echotune("releases", "list", "--json")
    assert status == 0
    return [(entry["release"], entry["state"]) for entry in json.loads(out)]


def test_the_list_tells_what_became_of_each_release(ready, home, manifest, another, publish, monkeypatch):
    expired, retired, live, withdrawn = (publish(another(number)) for number in (2, 3, 4, 5))
    failed, forced = (on_disk(home, another(number), checks=FAILING) for number in (6, 7))
    unrecorded = on_disk(home, another(8), checks=FAILING)
    backfill = on_disk(home, another(1), origin="backfill")
    left = another(9)
    with hold_lease(ready) as token:
        rollback(ready, token)
        expire(ready, expired.id, token, withdrawn.built_at)
        record(ready, failed, token, "failed")
        promote(ready, home, forced.id, token, gate=False)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_insert", Raising(module._insert, 2))
            with pytest.raises(Interruption):
                upload(ready, home, left, token)
        (home / "releases" / ".2026-02-10-abcdef.0a1b2c3d").mkdir()
        by = [state for _, state in listed() if " by process " in state]
        assert [state.partition(":")[0] for state in by] == ["building", "uploading"]
    assert listed() == [
        ("2026-02-10-abcdef", "building: left by a run that ended"),
        (manifest.id, "built: on disk only"),
        (left.id, "uploading: left by a run that ended"),
        (unrecorded.id, "failed: lists"),
        (forced.id, "live: its failed checks were overridden"),
        (failed.id, "failed: lists"),
        (withdrawn.id, "withdrawn"),
        (live.id, "retired"),
        (retired.id, "retired"),
        (expired.id, "expired"),
        (backfill.id, "backfill: on disk only"),
    ]
    table = told("list")[1]
    assert all(name in table for name, _ in listed())


def test_a_release_whose_folder_is_gone_or_damaged_is_listed_and_shown_from_the_database(ready, home, another, publish):
    gone, damaged = publish(another(1)), publish(another(2))
    shutil.rmtree(release_folder(home, gone.id))
    (release_folder(home, damaged.id) / "manifest.json").write_text("{")
    rows = json.loads(echotune("releases", "list", "--json")[1])
    assert {entry["release"]: entry["on disk"] for entry in rows if entry["built"]}.items() >= {
        (gone.id, False),
        (damaged.id, False),
    }
    assert {entry["profiles"] for entry in rows} == {gone.counts["user_profile"]}
    status, text = told("show", gone.id)
    assert status == 0
    assert f"release {gone.id}, retired, as of 2026-03-01 03:00 UTC\nits folder is not on this disk" in text


def test_show_tells_of_a_failed_release_on_disk_only(home, another):
    failed = on_disk(home, another(1), checks=FAILING, aligned_to="2026-01-01-abcdef", alignment={"tracks": 16.0})
    status, text = told("show", failed.id)
    assert status == 0
    assert f"release {failed.id}, failed: lists, as of" in text
    assert "3 of 4 users" in text
    assert (
        "embeddings turned onto those of 2026-01-01-abcdef: tracks 16\nmodels chosen as of 2026-03-01 03:00 UTC\n"
        in text
    )
    shown = json.loads(echotune("releases", "show", failed.id, "--json")[1])
    assert (shown["state"], shown["detail"], shown["on_disk"]) == ("failed", "lists", True)
    assert shown["checks"] == FAILING
    assert shown["alignment"] == {"tracks": 16.0}


def test_what_only_the_disk_has_and_cannot_be_read_is_told(home, another):
    damaged = another(1)
    (release_folder(home, damaged.id) / "manifest.json").write_text("{")
    assert (damaged.id, f"unreadable: see `echotune releases show {damaged.id}`") in listed()
    status, text = told("show", damaged.id)
    assert status == 6
    assert "remove the folder" in text


def test_what_nobody_knows_is_told_with_what_there_is(manifest, publish):
    publish(manifest)
    status, text = told("show", "2020-01-01-abcdef")
    assert status == 7
    assert f"there is no release 2020-01-01-abcdef; the newest are: {manifest.id}" in text


def test_promote_and_rollback_say_what_is_live(ready, home, another, publish):
    first, second = publish(another(1)), on_disk(home, another(2), origin="backfill")
    status, text = told("promote", second.id)
    assert status == 0
    assert text.splitlines()[-1] == f"release {second.id} live"
    assert "its recommendations are served until" in text
    assert read_pointer(ready).release == second.id
    assert told("rollback") == (0, f"release {second.id} withdrawn\nrelease {first.id} live\n")


def test_a_failed_release_is_refused_with_the_gates_own_status(ready, home, another):
    failed = on_disk(home, another(1), checks=FAILING)
    status, text = told("promote", failed.id)
    assert (status, read_pointer(ready)) == (4, None)
    assert "pass --no-gate" in text
    assert told("promote", failed.id, "--no-gate")[0] == 0
    assert read_pointer(ready).release == failed.id


def test_prune_tells_what_goes_and_why_and_how_much(ready, home, another, publish):
    publish(another(2))
    unknown = another(1)
    status, text = told("prune", "--dry-run")
    assert status == 0
    assert "Would go" in text
    assert unknown.id in releases_on_disk(home)
    (row,) = json.loads(echotune("releases", "prune", "--json")[1])
    assert (row["release"], row["what"], row["documents"]) == (unknown.id, "folder", 0)
    assert row["bytes"] > 1000
    assert unknown.id not in releases_on_disk(home)
    assert told("prune") == (0, "Gone: none\n0.0 MB on disk, 0 documents\n")


@pytest.mark.parametrize("words", [("promote", "2020-01-01-abcdef"), ("rollback",), ("prune",), ("prune", "--dry-run")])
def test_while_another_run_is_at_work_nothing_is_changed(ready, words):
    with hold_lease(ready):
        status, text = told(*words)
    assert status == 5
    assert "another run holds the lease" in text


def test_pruning_the_built_in_database_removes_what_has_expired_but_not_when_it_only_tells(settings, monkeypatch):
    monkeypatch.delenv("MONGODB_URI")
    get_settings.cache_clear()
    with open_database(get_settings()) as database:
        plan.apply(database)
        old = datetime.now(UTC) - timedelta(days=91)
        database["events"].insert_one({"category": "user", "type": "login", "data": {}, "timestamp": old})
        for words, left in ((["--dry-run"], 1), ([], 0)):
            assert echotune("releases", "prune", *words)[0] == 0
            assert database["events"].count_documents({}) == left
