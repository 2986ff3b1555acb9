"""What stays and what goes: by number, by age, by who reads; in the database and on disk; killed in between."""

import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import Interruption, Raising, dump, expected, files, on_disk, states, stored
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.errors import InputError, NotFoundError
from features.release import publish as publishing
from features.release import retention
from features.release.ledger import Pointer, find_release, hold_lease, move_pointer, read_pointer, record
from features.release.manifest import Manifest, release_folder, releases_on_disk
from features.release.publish import rollback, upload
from features.release.retention import Books, Removal, pin
from features.release.store import FeatureStore
from features.settings import get_settings

HOUR = timedelta(hours=1)
Prune = Callable[..., list[Removal]]


@pytest.fixture
def prune(ready, home) -> Prune:
    """A pruning that thinks it is two hours later, when no release was live within the hour but the live one."""

    def run(keep: int = 3, later: timedelta = 2 * HOUR, **more: bool) -> list[Removal]:
        with hold_lease(ready) as token:
            return retention.prune(ready, home, token, keep, datetime.now(UTC) + later, **more)

    return run


@pytest.fixture
def back(ready) -> Callable[[], tuple[str, str]]:
    def run() -> tuple[str, str]:
        with hold_lease(ready) as token:
            return rollback(ready, token)

    return run


def expired(database: Database, releases: Iterable[Manifest]) -> list[bool]:
    """For each release whether all of its documents (True) or none (False) expire within two hours."""
    soon = datetime.now(UTC) + 3 * HOUR
    found = []
    for release in releases:
        documents = [bson.decode(document) for document in stored(database, release.id)]
        gone = {document["expiresAt"].replace(tzinfo=UTC) <= soon for document in documents}
        assert len(gone) == 1
        found.append(gone.pop())
    return found


# --- in the database


def test_the_fourth_release_expires_the_first_and_no_other(ready, another, publish, prune):
    made = [publish(another(number)) for number in (1, 2, 3)]
    assert prune() == []
    assert expired(ready, made) == [False, False, False]
    for number in (4, 5):
        made.append(publish(another(number)))
        gone = prune()
        assert [(entry.release, entry.what) for entry in gone] == [
            (made[number - 4].id, "documents"),
            (made[number - 4].id, "folder"),
        ]
        assert expired(ready, made) == [True] * (number - 3) + [False] * 3


def test_the_story_of_an_expired_release_stays(ready, another, publish, prune):
    made = [publish(another(number)) for number in (1, 2, 3, 4)]
    before = find_release(ready, made[0].id)
    prune()
    after = find_release(ready, made[0].id)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"expired", "ledger", "token"}
    assert (after["state"], after["expired"], after["ledger"]) == ("retired", True, {})


def test_twice_is_once(ready, another, publish, prune):
    for number in (1, 2, 3, 4):
        publish(another(number))
    assert prune()
    before = dump(ready)["feature_store"]
    assert prune() == []
    assert dump(ready)["feature_store"] == before


def test_a_dry_run_tells_the_same_and_changes_nothing(ready, home, another, publish, prune):
    for number in (1, 2, 3, 4, 5):
        publish(another(number))
    with hold_lease(ready) as token:
        upload(ready, home, another(6), token)
    before, there = dump(ready), files(home)
    told = prune(dry_run=True)
    tokens = {"releases": {}}  # taking the lease puts them on releases
    assert dump(ready) | tokens == before | tokens
    assert files(home) == there
    assert told == prune()
    assert sum(entry.documents for entry in told) > 0
    assert sum(entry.bytes for entry in told) == sum(map(len, there.values())) - sum(map(len, files(home).values()))


def test_what_was_live_within_the_hour_stays(ready, another, publish, prune):
    made = [publish(another(number)) for number in (1, 2, 3, 4)]
    assert prune(later=timedelta(minutes=59)) == []
    assert prune(later=timedelta(minutes=61))
    assert expired(ready, made) == [True, False, False, False]


def test_what_a_reader_pinned_within_the_hour_stays(ready, another, publish, prune):
    made = [publish(another(number)) for number in (1, 2, 3, 4, 5)]
    pin(ready, made[0].id, datetime.now(UTC) + HOUR)
    gone = {entry.release for entry in prune(later=HOUR + timedelta(minutes=59))}
    assert gone == {made[1].id}
    assert expired(ready, made) == [False, True, False, False, False]
    assert {entry.release for entry in prune(later=HOUR + timedelta(minutes=61))} == {made[0].id}


def test_the_live_release_and_the_one_before_it_stay_however_old(ready, home, another, publish, prune):
    old, *others = [publish(another(number)) for number in (1, 2, 3, 4)]
    publish(old)
    prune(keep=2)
    assert (read_pointer(ready).release, read_pointer(ready).previous) == (old.id, others[-1].id)
    assert expired(ready, [old, *others]) == [False, True, True, False]
    assert set(releases_on_disk(home)) >= {old.id, others[-1].id}
    assert not set(releases_on_disk(home)) & {release.id for release in others[:-1]}


def test_before_the_first_release_there_is_nothing_to_let_go(prune):
    assert prune() == []


def test_an_expired_release_can_be_published_again(ready, home, another, publish, prune, tmp_path):
    made = [publish(another(number)) for number in (1, 2, 3, 4)]
    shutil.copytree(release_folder(home, made[0].id), tmp_path / "kept")
    prune()
    shutil.copytree(tmp_path / "kept", release_folder(home, made[0].id))
    publish(made[0])
    assert read_pointer(ready).release == made[0].id
    assert stored(ready, made[0].id) == expected(home, made[0])
    assert not {"expired", "retiredAt"} & find_release(ready, made[0].id).keys()
    with hold_lease(ready) as token:
        assert rollback(ready, token) == (made[0].id, made[3].id)


def test_one_does_not_go_back_to_an_expired_release(another, publish, prune, back):
    made = [publish(another(number)) for number in (1, 2, 3, 4)]
    prune()
    assert [back(), back()] == [(made[3].id, made[2].id), (made[2].id, made[1].id)]
    with pytest.raises(NotFoundError, match="to go back to"):
        back()


def test_one_does_not_go_back_to_lists_that_have_run_out_by_themselves(home, another, publish, back):
    old = on_disk(home, another(1), built_at=datetime.now(UTC).replace(microsecond=0) - timedelta(days=40))
    publish(old)
    new = publish(another(2))
    with pytest.raises(NotFoundError, match=f"there is no release before {new.id} to go back to"):
        back()  # recommendations are served for 30 days


def test_a_withdrawn_release_does_not_count_among_the_three_kept(ready, another, publish, back, prune):
    made = [publish(another(number)) for number in (1, 2, 3)]
    back()
    made.append(publish(another(4)))
    prune()
    assert expired(ready, [made[0], made[1], made[3]]) == [False, False, False]


@pytest.mark.parametrize(
    ("function", "number"), [("update", 0), ("update", 1), ("under_lease", 0), ("under_lease", 2), ("under_lease", 5)]
)
def test_an_expiry_that_was_cut_short_is_made_good(ready, another, publish, prune, back, monkeypatch, function, number):
    made = [publish(another(number)) for number in (1, 2, 3, 4)]
    monkeypatch.setattr(retention, "IN_LIST", 3)
    with monkeypatch.context() as patch:
        patch.setattr(retention, function, Raising(getattr(retention, function), number))
        with pytest.raises(Interruption):
            prune()
    assert [back(), back()] == [(made[3].id, made[2].id), (made[2].id, made[1].id)]
    if (function, number) != ("update", 0):  # from its first write on nobody goes back to it
        with pytest.raises(NotFoundError):
            back()
    publish(made[3])
    prune(keep=2)
    assert expired(ready, [made[0]]) == [True]
    assert find_release(ready, made[0].id)["ledger"] == {}


def test_a_rollback_that_was_cut_short_is_finished(ready, home, another, publish, prune):
    first, second, third = (publish(another(number)) for number in (1, 2, 3))
    with hold_lease(ready) as token:
        move_pointer(ready, second.id, read_pointer(ready), token, previous=first.id, withdraw=third.id)
    assert prune() == []
    assert stored(ready, third.id) == set()
    assert read_pointer(ready).withdraw is None


def test_what_an_abandoned_upload_left_is_removed_and_can_still_be_published(
    ready, home, another, publish, prune, monkeypatch
):
    abandoned, first, second = another(1), another(2), another(3)
    publish(first)
    with monkeypatch.context() as patch, hold_lease(ready) as token:
        patch.setattr(publishing, "_insert", Raising(publishing._insert, 5))
        with pytest.raises(Interruption):
            upload(ready, home, abandoned, token)
    publish(second)
    assert stored(ready, abandoned.id)
    shutil.copytree(release_folder(home, abandoned.id), home / "kept")
    assert {(entry.release, entry.what) for entry in prune()} == {
        (abandoned.id, "documents"),
        (abandoned.id, "folder"),  # older than those that are kept
    }
    assert not stored(ready, abandoned.id)
    assert states(ready) == {abandoned.id: "built", first.id: "retired", second.id: "live"}
    shutil.copytree(home / "kept", release_folder(home, abandoned.id))
    publish(abandoned)
    assert stored(ready, abandoned.id) == expected(home, abandoned)


def test_a_live_release_that_a_killed_run_was_sending_again_is_not_taken_for_abandoned(ready, another, publish, prune):
    first, second = publish(another(1)), publish(another(2))
    with hold_lease(ready) as token:
        record(ready, second, token, "uploading")
        record(ready, first, token, "uploading")
    before = dump(ready)["feature_store"]
    assert prune(keep=2) == []
    assert dump(ready)["feature_store"] == before


# --- on disk


def test_failed_releases_beyond_three_go_from_disk(ready, home, another, publish, prune):
    live = publish(another(9))
    failing = [{"name": "lists", "passed": False, "detail": "none"}]
    failed = [on_disk(home, another(number), checks=failing) for number in range(1, 6)]
    with hold_lease(ready) as token:
        for release in failed[:-1]:  # the last run was killed before its record
            record(ready, release, token, "failed")
    gone = prune()
    assert {entry.release for entry in gone} == {failed[0].id, failed[1].id}
    assert set(releases_on_disk(home)) >= {live.id, *(release.id for release in failed[2:])}
    assert find_release(ready, failed[0].id)["state"] == "failed"


def test_backfills_stay_until_they_are_told_to_go(home, manifest, another, publish, prune):
    backfill = on_disk(home, another(1), origin="backfill")
    promoted = on_disk(home, another(2), origin="backfill")
    publish(promoted)
    live = publish(another(3))
    assert manifest.id not in [entry.release for entry in prune()]
    assert [entry.release for entry in prune(backfills=True)] == [backfill.id]
    assert set(releases_on_disk(home)) == {manifest.id, promoted.id, live.id}


def test_what_the_database_does_not_know_goes_when_it_is_older_than_what_is_kept(home, another, publish, prune):
    unknown, first, newer = another(1), another(2), another(3)
    publish(first)
    assert [(entry.release, entry.what) for entry in prune()] == [(unknown.id, "folder")]
    assert newer.id in releases_on_disk(home)  # an interrupted run's, to be gone on with


def test_what_another_database_may_know_stays_where_the_folder_is_shared(home, another, publish, prune):
    another(1)
    publish(another(2))
    for name in ("echotune_ai", "echotune_staging"):
        (home / "snapshot" / name).mkdir(parents=True)
    assert prune() == []


def test_a_withdrawn_release_stays_on_disk_until_what_is_kept_is_newer(home, another, publish, back, prune):
    withdrawn = [publish(another(number)) for number in (1, 2, 3)][2]
    back()
    publish(another(4))
    prune()
    assert withdrawn.id in releases_on_disk(home)
    for number in (5, 6):
        publish(another(number))
    prune()
    assert withdrawn.id not in releases_on_disk(home)


def test_scratch_folders_and_a_removal_that_was_cut_short_leave_nothing(home, another, publish, prune, monkeypatch):
    made = [publish(another(number)) for number in (1, 2, 3, 4)]
    shutil.copytree(release_folder(home, made[3].id), home / "releases" / ".2026-02-09-abcdef.0a1b2c3d")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", Raising(shutil.rmtree, 1))
        with pytest.raises(Interruption):
            prune()
    assert releases_on_disk(home)[:3] == [release.id for release in made[1:]]  # the first has no name any more
    assert {entry.what for entry in prune()} == {"scratch folder"}
    assert not list((home / "releases").glob(".*"))


def test_a_file_of_a_kept_release_that_was_cut_short_goes_and_the_release_stays(home, manifest, publish, prune):
    publish(manifest)
    folder = release_folder(home, manifest.id)
    before = sorted(folder.iterdir())
    (folder / ".manifest.json.0a1b2c3d").write_text("{")
    assert [(entry.release, entry.what, entry.bytes) for entry in prune()] == [(manifest.id, "scratch file", 1)]
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_cannot_be_read_is_left_for_a_person(home, another, publish, prune):
    damaged = another(1)
    (release_folder(home, damaged.id) / "manifest.json").write_text("{")
    publish(another(2))
    assert prune() == []
    assert damaged.id in releases_on_disk(home)


# --- pins


def test_a_pin_is_noted_once_a_minute_and_never_goes_back(ready, manifest, publish):
    publish(manifest)
    now = datetime.now(UTC).replace(microsecond=0)

    def pinned(at: datetime) -> datetime:
        pin(ready, manifest.id, at)
        return find_release(ready, manifest.id)["pinnedAt"]

    assert pinned(now) == now
    assert pinned(now + timedelta(seconds=30)) == now
    assert pinned(now + timedelta(seconds=90)) == now + timedelta(seconds=90)
    assert pinned(now - HOUR) == now + timedelta(seconds=90)


def test_a_store_pins_the_release_it_reads(ready, another, publish):
    first, *others = [publish(another(number)) for number in (1, 2)]
    FeatureStore(ready, first.id)
    assert find_release(ready, first.id)["pinnedAt"] > read_pointer(ready).changed_at
    assert [find_release(ready, release.id).get("pinnedAt") for release in others] == [None]


def test_a_pin_of_what_is_no_release_makes_none(ready):
    pin(ready, "2026-01-01-abcdef", datetime.now(UTC))
    assert ready.releases.count_documents({}) == 0


def test_readers_who_may_not_write_read_on(ready, manifest, publish):
    publish(manifest)
    refused = {"errorCode": 13, "failCommands": ["update"]}
    try:
        ready.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=refused)
    except OperationFailure:
        pytest.skip("this server has no fail points")
    pin(ready, manifest.id, datetime.now(UTC))
    assert "pinnedAt" not in find_release(ready, manifest.id)
    pin(ready, manifest.id, datetime.now(UTC))
    assert "pinnedAt" in find_release(ready, manifest.id)


def test_a_pin_waits_for_no_lost_server(monkeypatch):
    monkeypatch.setattr(retention, "PIN_PATIENCE_S", 0.2)
    with MongoClient("mongodb://127.0.0.1:9/?directConnection=true") as client:
        start = datetime.now(UTC)
        pin(client.nowhere, "2026-01-01-abcdef", start)
        assert datetime.now(UTC) - start < timedelta(seconds=10)


# --- which are kept, by another way

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STATES = st.sampled_from(["live", "retired", "failed", "built", "uploading"])
ENTRIES = st.lists(st.tuples(STATES, st.booleans()), max_size=8).map(
    lambda drawn: [
        {"_id": f"r{age}", "state": state, "expired": gone, "builtAt": NOW - timedelta(days=age)}
        for age, (state, gone) in enumerate(drawn)
    ]
)


@given(ENTRIES, st.integers(2, 5), st.lists(st.integers(0, 7), max_size=2, unique=True))
def test_the_live_one_its_previous_and_the_newest_whole_ones_are_kept(entries, keep, pointed):
    kept = [f"r{number}" for number in pointed]
    pointer = Pointer(kept[0], kept[1] if len(kept) > 1 else None, NOW) if kept else None
    for entry in entries:
        whole = entry["state"] in {"live", "retired"} and not entry["expired"]
        if len(kept) < keep and whole and entry["_id"] not in kept:
            kept.append(entry["_id"])
    assert Books(pointer, entries, keep, NOW).kept == kept


@pytest.mark.parametrize(("value", "told"), [("2", 2), (None, 3)])
def test_how_many_are_kept_is_a_setting(settings, monkeypatch, value, told):
    if value:
        monkeypatch.setenv("ECHOTUNE_KEEP_RELEASES", value)
    get_settings.cache_clear()
    assert get_settings().echotune_keep_releases == told


def test_fewer_than_two_cannot_be_kept(settings, monkeypatch):
    monkeypatch.setenv("ECHOTUNE_KEEP_RELEASES", "1")
    get_settings.cache_clear()
    with pytest.raises(InputError, match="ECHOTUNE_KEEP_RELEASES"):
        get_settings()
