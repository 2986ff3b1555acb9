"""Publishing what is on disk in one call, and promoting what was built before."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from published import Interruption, Raising, dump, expected, files, on_disk, states, stored

from features.errors import BusyError, DatabaseError, GateError, InputError, NotFoundError
from features.release import publish as module
from features.release.ledger import find_release, hold_lease, read_pointer
from features.release.manifest import read_manifest, release_folder
from features.release.publish import promote, publish_release, rollback, upload

FAILING = [
    {"name": "norms", "passed": True, "detail": "all 1"},
    {"name": "lists", "passed": False, "detail": "3 of 4 users"},
]


@pytest.fixture
def call(ready, home):
    def run(function, release, **more):
        with hold_lease(ready) as token:
            return function(ready, home, release.id, token, **more)

    return run


def test_one_call_publishes_a_release_whole(ready, home, manifest, call):
    assert call(publish_release, manifest) == manifest
    assert read_pointer(ready).release == manifest.id
    assert stored(ready) == expected(home, manifest)
    assert ready.events.count_documents({"type": "recommendation.generate"}) > 1


def test_what_the_ledger_calls_sent_is_counted_before_readers_meet_it(ready, home, manifest, another, publish, call):
    publish(manifest)
    later = another(1)
    with pytest.MonkeyPatch.context() as patch, hold_lease(ready) as token:
        patch.setattr(module, "_insert", Raising(module._insert, 6))
        with pytest.raises(Interruption):
            upload(ready, home, later, token)
    ready.feature_store.delete_one({"featureType": "user_profile", "features.version": later.id})
    with pytest.raises(DatabaseError, match=f"release {later.id} is not whole in feature_store"):
        call(publish_release, later)
    assert read_pointer(ready).release == manifest.id
    call(publish_release, later)
    assert read_pointer(ready).release == later.id
    assert stored(ready, later.id) == expected(home, later)


def test_of_the_live_release_only_the_books_are_set_right(ready, another, publish, call):
    first, second = publish(another(1)), another(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_set_live", Raising(module._set_live, 0))  # killed right after the pointer moved
        with pytest.raises(Interruption):
            call(publish_release, second)
    assert read_pointer(ready).release == second.id
    assert states(ready) == {first.id: "live", second.id: "uploading"}
    before = dump(ready)
    call(publish_release, second)
    after = dump(ready)
    assert states(ready) == {first.id: "retired", second.id: "live"}
    del before["releases"], after["releases"]
    assert after == before


def test_a_backfill_is_promoted_and_goes_on_being_one(ready, home, another, publish, call):
    publish(another(1))
    backfill = on_disk(home, another(2), origin="backfill")
    assert call(promote, backfill) == backfill
    assert read_pointer(ready).release == backfill.id
    assert stored(ready, backfill.id) == expected(home, backfill)
    assert read_manifest(home, backfill.id).origin == "backfill"


def test_a_failed_release_is_promoted_only_when_told_to_and_that_is_recorded(ready, home, another, publish, call):
    live = publish(another(1))
    failed = on_disk(home, another(2), checks=FAILING)
    before, there = dump(ready), files(home)
    with pytest.raises(GateError, match=r"1 of 2 checks failed, first: lists \(3 of 4 users\).*--no-gate") as error:
        call(promote, failed)
    assert "\n" not in str(error.value)
    assert {**dump(ready), "releases": {}} == {**before, "releases": {}}
    assert files(home) == there
    assert read_pointer(ready).release == live.id
    call(promote, failed, gate=False)
    assert read_pointer(ready).release == failed.id
    assert read_manifest(home, failed.id).gate is False
    assert find_release(ready, failed.id)["gate"] is False


def test_a_release_that_was_rolled_back_is_promoted_again(ready, home, another, publish, call):
    first, second = publish(another(1)), publish(another(2))
    with hold_lease(ready) as token:
        rollback(ready, token)
    assert find_release(ready, second.id)["withdrawnAt"] == read_pointer(ready).changed_at
    call(promote, second)
    assert (read_pointer(ready).release, read_pointer(ready).previous) == (second.id, first.id)
    assert stored(ready, second.id) == expected(home, second)
    assert not {"withdrawnAt", "retiredAt", "expired"} & find_release(ready, second.id).keys()


def test_the_moment_a_release_stopped_being_live_is_that_of_the_pointers_move(ready, another, publish):
    first, second, third = (publish(another(number)) for number in (1, 2, 3))
    moments = [find_release(ready, release.id).get("retiredAt") for release in (first, second, third)]
    assert moments[0] < moments[1] == read_pointer(ready).changed_at
    assert moments[2] is None


@pytest.mark.parametrize("function", [promote, publish_release])
def test_what_would_be_born_expired_is_not_published(ready, home, another, publish, call, function):
    live = publish(another(1))
    old = on_disk(home, another(2), built_at=datetime.now(UTC) - timedelta(days=30, minutes=1))
    says = (
        rf"built on \d{{4}}-\d\d-\d\d, its lists were to be served for 30 days .* remove .*{old.id} and build it again"
    )
    with pytest.raises(InputError, match=says):
        call(function, old)
    assert read_pointer(ready).release == live.id
    assert old.id not in states(ready)


def test_what_is_not_on_this_disk_is_not_promoted(home, manifest, call):
    shutil.rmtree(release_folder(home, manifest.id))
    with pytest.raises(NotFoundError, match=f"release {manifest.id} is not under"):
        call(promote, manifest)


def test_nothing_is_promoted_while_another_run_is_at_work(ready, home, manifest, call):
    with hold_lease(ready), pytest.raises(BusyError):
        call(promote, manifest)
