"""Upload, verify, switch, roll back, expire: interrupted anywhere, done twice, and by two runs at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from documents import SMALL
from published import Interruption, Raising, expected, states, stored
from pymongo.database import Database

from features.errors import BusyError, DatabaseError, NotFoundError
from features.release import publish as module
from features.release import retention
from features.release.build import build_release
from features.release.documents import OUTPUTS, ReleaseDocuments
from features.release.ledger import find_release, hold_lease, read_pointer
from features.release.manifest import Manifest, read_manifest, release_folder
from features.release.publish import must_be_written, publish_release, rollback, switch, upload, verify
from features.schema import names
from features.storage import write_json


def count_chunks(home, release: Manifest) -> int:
    documents = ReleaseDocuments(release_folder(home, release.id), release)
    return sum(documents.chunks(output) for output in OUTPUTS)


def interrupt_upload(database: Database, home: Path, release: Manifest, function: str, raising: Raising) -> None:
    """An upload that ends in the named function."""
    with pytest.MonkeyPatch.context() as patch, hold_lease(database) as token:
        patch.setattr(module, function, raising)
        with pytest.raises(Interruption):
            upload(database, home, release, token)


def test_a_published_release_is_live_and_holds_what_was_built(ready, publish, home, manifest):
    publish(manifest)
    assert read_pointer(ready).release == manifest.id
    assert read_pointer(ready).previous is None
    assert stored(ready) == expected(home, manifest)
    assert states(ready) == {manifest.id: "live"}


def test_publishing_twice_is_publishing_once(ready, publish, home, manifest):
    publish(manifest)
    before, pointer = stored(ready), read_pointer(ready)
    publish(manifest)
    assert stored(ready) == before
    assert read_pointer(ready) == pointer


def test_a_second_upload_sends_nothing(ready, home, manifest, monkeypatch):
    with hold_lease(ready) as token:
        first = upload(ready, home, manifest, token)
        monkeypatch.setattr(module, "_insert", lambda *_: pytest.fail("sent again"))
        assert upload(ready, home, manifest, token) == first


def half(database: Database, collection: str, chunk: list) -> None:
    """The server took some of the chunk's documents before the lights went out."""
    database[collection].insert_many(chunk[: len(chunk) // 2 + 1])


INTERRUPTIONS = {
    "before a chunk": lambda chunk: ("_insert", Raising(module._insert, chunk)),
    "in the middle of a chunk": lambda chunk: ("_insert", Raising(module._insert, chunk, half)),
    "before noting a chunk": lambda chunk: ("update", Raising(module.update, chunk)),
}


@pytest.mark.parametrize("where", INTERRUPTIONS)
def test_an_upload_interrupted_anywhere_goes_on_and_ends_the_same(ready, home, manifest, publish, monkeypatch, where):
    chunks = count_chunks(home, manifest)
    assert chunks >= 8
    sent = []
    insert = module._insert
    for chunk in range(chunks):
        in_flight = 1 + chunk % 3
        monkeypatch.setattr(module, "IN_FLIGHT", in_flight)
        interrupt_upload(ready, home, manifest, *INTERRUPTIONS[where](chunk))
        assert read_pointer(ready) is None
        ledger = find_release(ready, manifest.id)["ledger"]
        noted = sum(1 + int(number) for notes in ledger.values() for number in notes)
        assert abs(noted - chunk) < in_flight  # several at once may begin in any order
        assert all(len(notes) == 1 for notes in ledger.values())  # it does not grow with the release
        sent.clear()
        with monkeypatch.context() as patch:
            patch.setattr(module, "_insert", lambda *arguments: (sent.append(1), insert(*arguments)))
            publish(manifest)
        assert len(sent) == chunks - noted  # what was noted is not sent again
        assert stored(ready) == expected(home, manifest)
        for collection in (names.FEATURE_STORE, names.RECOMMENDATIONS, names.RELEASES):
            ready[collection].delete_many({})


def test_a_run_that_lost_the_lease_stops_at_its_next_chunk(ready, home, manifest):
    with hold_lease(ready) as stale:
        ready.releases.update_one({"_id": "lease"}, {"$set": {"expiresAt": datetime.now(UTC) - timedelta(1)}})
        with hold_lease(ready) as fresh:
            upload(ready, home, manifest, fresh)
            with pytest.raises(BusyError):
                upload(ready, home, manifest, stale)
            verify(ready, manifest, upload(ready, home, manifest, fresh))
            with pytest.raises(BusyError):
                switch(ready, manifest, stale)
            switch(ready, manifest, fresh)


def test_a_document_that_the_validator_refuses_is_one_clear_error(ready, home, manifest):
    ready.command("collMod", names.FEATURE_STORE, validator={"never": {"$exists": True}})
    says = r"^the database refused 2 documents of feature_store, first: .*`echotune schema plan`"
    with hold_lease(ready) as token, pytest.raises(DatabaseError, match=says) as error:
        upload(ready, home, manifest, token)
    assert "\n" not in str(error.value)
    assert read_pointer(ready) is None


def lose(database: Database, output: str) -> None:
    collection = OUTPUTS[output]
    query = {} if output == "recommendations" else {"featureType": output}
    database[collection].delete_one(query)


def alter(database: Database, output: str) -> None:
    collection = OUTPUTS[output]
    query = {} if output == "recommendations" else {"featureType": output}
    field = "performance.confidence" if output == "recommendations" else "metadata.confidence"
    database[collection].update_one(query, {"$set": {field: 0.123456}})


def add(database: Database, output: str) -> None:
    collection = OUTPUTS[output]
    query = {} if output == "recommendations" else {"featureType": output}
    database[collection].insert_one(database[collection].find_one(query) | {"_id": ObjectId()})


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("damage", [lose, alter, add])
def test_verify_notices_a_missing_an_altered_and_an_extra_document_and_the_next_run_mends_it(
    ready, home, manifest, publish, output, damage
):
    says = f"release {manifest.id} is not whole in {OUTPUTS[output]}: .* {output} documents of .*run the job again"
    with hold_lease(ready) as token:
        digests = upload(ready, home, manifest, token)
        damage(ready, output)
        with pytest.raises(DatabaseError, match=says) as error:
            verify(ready, manifest, digests)
        assert "\n" not in str(error.value)
    assert read_pointer(ready) is None
    publish(manifest)  # "run the job again" must help
    assert stored(ready) == expected(home, manifest)


def test_verify_notices_files_that_hold_less_than_was_built(ready, home, manifest):
    more = replace(manifest, counts=manifest.counts | {"similarity": manifest.counts["similarity"] + 1})
    with hold_lease(ready) as token:
        digests = upload(ready, home, more, token)
        with pytest.raises(DatabaseError, match="4 similarity documents of 5"):
            verify(ready, more, digests)


def test_a_noted_chunk_that_was_lost_is_sent_again_by_the_run_after_next(ready, home, manifest, publish):
    interrupt_upload(ready, home, manifest, "_insert", Raising(module._insert, 6))
    ready[names.FEATURE_STORE].delete_many({"featureType": "user_profile"})
    with pytest.raises(DatabaseError, match="run the job again"):
        publish(manifest)
    publish(manifest)
    assert stored(ready) == expected(home, manifest)


def test_the_pointer_moves_only_by_switching(ready, home, manifest, another, publish):
    publish(manifest)
    later = another(1)
    with hold_lease(ready) as token:
        verify(ready, later, upload(ready, home, later, token))
        assert read_pointer(ready).release == manifest.id
        assert states(ready) == {manifest.id: "live", later.id: "uploading"}
        switch(ready, later, token)
    assert (read_pointer(ready).release, read_pointer(ready).previous) == (later.id, manifest.id)
    assert states(ready) == {manifest.id: "retired", later.id: "live"}


def test_both_releases_are_there_while_one_replaces_the_other(ready, home, manifest, another, publish):
    publish(manifest)
    later = publish(another(1))
    assert stored(ready, manifest.id) == expected(home, manifest)
    assert stored(ready, later.id) == expected(home, later)


def test_a_pointer_moved_by_another_run_is_left_alone(ready, home, manifest, another, monkeypatch):
    first, second = another(1), another(2)
    with hold_lease(ready) as token:
        for release in (first, second):
            verify(ready, release, upload(ready, home, release, token))
        seen = read_pointer(ready)
        switch(ready, first, token)
        monkeypatch.setattr(module, "read_pointer", lambda _: seen)
        with pytest.raises(BusyError, match="is not switched to"):
            switch(ready, second, token)
    assert read_pointer(ready).release == first.id


def test_a_release_built_again_after_its_folder_was_lost_publishes_cleanly(ready, home, manifest, publish):
    interrupt_upload(ready, home, manifest, "_insert", Raising(module._insert, 7))
    again = Manifest(**(vars(manifest) | {"built_at": manifest.built_at + timedelta(seconds=90)}))
    write_json(release_folder(home, again.id) / "manifest.json", again.to_json())
    publish(read_manifest(home, again.id))
    assert stored(ready) == expected(home, again)


def test_a_switch_interrupted_after_the_pointer_moved_counts_as_done(ready, home, another, publish, monkeypatch):
    first, second = publish(another(1)), another(2)
    with monkeypatch.context() as patch, hold_lease(ready) as token:
        verify(ready, second, upload(ready, home, second, token))
        patch.setattr(module, "update", Raising(module.update, 0))
        with pytest.raises(Interruption):
            switch(ready, second, token)
    assert read_pointer(ready).release == second.id
    third = publish(another(3))
    assert states(ready) == {first.id: "retired", second.id: "retired", third.id: "live"}
    assert stored(ready, second.id) == expected(home, second)
    with hold_lease(ready) as token:
        assert rollback(ready, token) == (third.id, second.id)


def test_going_back_to_a_published_release_by_running_it_again(ready, home, manifest, another, publish):
    publish(manifest)
    later = publish(another(1))
    publish(manifest)
    assert (read_pointer(ready).release, read_pointer(ready).previous) == (manifest.id, later.id)
    assert states(ready) == {manifest.id: "live", later.id: "retired"}
    assert stored(ready, manifest.id) == expected(home, manifest)


# --- roll back ---


@pytest.fixture
def back(ready) -> Callable[[], tuple[str, str]]:
    def run() -> tuple[str, str]:
        with hold_lease(ready) as token:
            return rollback(ready, token)

    return run


def test_rolling_back_makes_the_release_before_live_and_withdraws_the_other(ready, home, another, publish, back):
    first, second = publish(another(1)), publish(another(2))
    assert back() == (second.id, first.id)
    assert read_pointer(ready).release == first.id
    assert stored(ready) == expected(home, first)  # a client without the pointer meets nothing else
    assert states(ready) == {first.id: "live", second.id: "retired"}


def test_of_three_releases_one_can_go_back_twice(ready, home, another, publish, back):
    first, second, third = (publish(another(number)) for number in (1, 2, 3))
    assert back() == (third.id, second.id)
    assert back() == (second.id, first.id)
    assert stored(ready) == expected(home, first)
    with pytest.raises(NotFoundError, match=f"there is no release before {first.id} to go back to"):
        back()
    assert read_pointer(ready).release == first.id


def test_before_the_first_release_there_is_nothing_to_go_back_from(ready, back):
    with pytest.raises(NotFoundError, match="nothing is live yet; run `echotune nightly` first"):
        back()


def test_with_one_release_there_is_nothing_to_go_back_to(ready, manifest, publish, back):
    publish(manifest)
    with pytest.raises(NotFoundError, match=f"no release before {manifest.id} to go back to"):
        back()
    assert read_pointer(ready).release == manifest.id


@pytest.mark.parametrize("collection", [names.FEATURE_STORE, names.RECOMMENDATIONS])
def test_one_does_not_go_back_to_a_release_that_is_not_whole(ready, another, publish, back, collection):
    first, second = publish(another(1)), publish(another(2))
    field = "features.version" if collection == names.FEATURE_STORE else "release"
    ready[collection].delete_one({field: first.id})
    with pytest.raises(NotFoundError, match="to go back to"):
        back()
    assert read_pointer(ready).release == second.id
    assert ready[collection].count_documents({field: second.id}) > 0


def test_what_was_rolled_back_can_be_published_again(ready, home, another, publish, back):
    first, second = publish(another(1)), publish(another(2))
    back()
    publish(second)
    assert (read_pointer(ready).release, read_pointer(ready).previous) == (second.id, first.id)
    assert stored(ready, second.id) == expected(home, second)
    third = publish(another(3))
    assert back() == (third.id, second.id)
    assert back() == (second.id, first.id)


def test_a_stale_run_cannot_roll_back(ready, another, publish):
    publish(another(1))
    second = publish(another(2))
    with hold_lease(ready) as stale:
        ready.releases.update_one({"_id": "lease"}, {"$set": {"expiresAt": datetime.now(UTC) - timedelta(1)}})
        with hold_lease(ready), pytest.raises(BusyError):
            rollback(ready, stale)
    assert read_pointer(ready).release == second.id


@pytest.mark.parametrize(
    ("owner", "function", "number"),
    [
        (module, "update", 0),
        (retention, "update", 0),
        (retention, "withdraw", 0),
        (retention, "remove_from_cache", 1),
        (retention, "update", 1),
    ],
)
def test_a_rollback_interrupted_anywhere_leaves_a_whole_release_live(
    ready, home, another, publish, monkeypatch, owner, function, number
):
    first, second, third = (publish(another(number)) for number in (1, 2, 3))
    monkeypatch.setattr(retention, "IN_LIST", 5)
    with monkeypatch.context() as patch, hold_lease(ready) as token:
        patch.setattr(owner, function, Raising(getattr(owner, function), number))
        with pytest.raises(Interruption):
            rollback(ready, token)
    pointer = read_pointer(ready)
    assert (pointer.release, pointer.previous) == (second.id, first.id)
    assert stored(ready, second.id) == expected(home, second)
    with hold_lease(ready) as token:
        assert rollback(ready, token) == (second.id, first.id)  # never forward to the withdrawn one
    assert stored(ready) == expected(home, first)  # what the killed run left is gone too
    publish(third)
    assert stored(ready, third.id) == expected(home, third)


def test_a_real_build_publishes_through_the_validators(ready, snapshot, home, publish, original):
    manifest = build_release(snapshot, home, SMALL, original[1].as_of - timedelta(days=1))
    publish(manifest)
    assert stored(ready) == expected(home, manifest)


def test_progress_is_told_for_every_output(ready, home, manifest):
    told: dict[str, tuple[int, int | None]] = {}

    def progress(what: str, done: int, total: int | None) -> None:
        told[what] = (done, total)

    with hold_lease(ready) as token:
        verify(ready, manifest, upload(ready, home, manifest, token, progress=progress), progress)
    assert all(told[f"verifying {output}"] == (manifest.counts[output],) * 2 for output in OUTPUTS)
    assert all(done == total for done, total in told.values())


@pytest.mark.parametrize("collection", [names.FEATURE_STORE, names.RECOMMENDATIONS])
def test_documents_that_the_live_release_has_lost_are_written_again(ready, home, manifest, collection):
    def run() -> bool:
        with hold_lease(ready) as token:
            wanted = must_be_written(ready, manifest.id)
            publish_release(ready, home, manifest.id, token)
        return wanted

    assert run()
    assert not run()
    ready[collection].delete_one({})
    assert run()
    assert stored(ready) == expected(home, manifest)
    assert not run()
    assert (read_pointer(ready).release, states(ready)) == (manifest.id, {manifest.id: "live"})
