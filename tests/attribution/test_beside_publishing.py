"""Attribution beside upload, verify, promote, rollback and erasure: neither harms the other."""

import base64
from datetime import UTC, datetime

import bson
import pytest
from handmade import FIRST, NOW, SECOND, World, answer, hours_ago, play, said, write_release
from pydantic import SecretStr

from features.erasure.erase import erase
from features.erasure.tombstones import ERASED
from features.errors import InputError
from features.release import publish as publishing
from features.release.documents import EMPTY_FEEDBACK, document_digest
from features.release.ledger import find_release, hold_lease
from features.release.manifest import read_manifest
from features.release.publish import promote, publish_release, rollback, upload, verify
from features.schema import names

KEY = SecretStr(base64.b64encode(bytes(32)).decode())
OTHER = {("ann", "hybrid"): ["t1", "t9"]}


@pytest.fixture
def answered(world: World) -> World:
    """The world, with an answer to two of its lists."""
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", 30), play("t6", 30, user="bob")])
    assert world.attribute().changed == 2
    return world


def raw(world: World) -> bytes:
    found = world.db[names.RECOMMENDATIONS].find_raw_batches({"_id": world.id_of()})
    return b"".join(found)


def test_a_documents_digest_does_not_depend_on_its_feedback_and_on_all_else(world):
    before = raw(world)
    document = bson.decode(before)
    assert document_digest(before) == document_digest(bson.encode(document))
    world.db[names.USER_FEEDBACK].insert_many([said("t1", "love", 30), said("t2", "skip", 30), said("t4", "like", 30)])
    world.attribute()
    after = raw(world)
    assert after != before
    assert document_digest(after) == document_digest(before)
    for change in ({"strategy": "popular"}, {"feedback": EMPTY_FEEDBACK, "createdAt": NOW}, {"extra": 1}):
        for one in (before, after):
            assert document_digest(bson.encode({**bson.decode(one), **change})) != document_digest(before)
    feature = bson.encode({"_id": 1, "metadata": {"feedback": {"deep": 1}}})
    other = bson.encode({"_id": 1, "metadata": {"feedback": {"deep": 2}}})
    assert document_digest(feature) != document_digest(other)


def test_a_release_with_answers_verifies_and_is_not_sent_again(answered, monkeypatch):
    manifest = read_manifest(answered.home, FIRST)
    before = answered.answered()
    monkeypatch.setattr(publishing, "_insert", lambda *_: pytest.fail("sent again"))
    with hold_lease(answered.db) as token:
        verify(answered.db, manifest, upload(answered.db, answered.home, manifest, token))
        publish_release(answered.db, answered.home, FIRST, token)
    assert answered.answered() == before


def test_who_goes_back_to_a_release_by_promoting_it_keeps_its_answers(answered):
    answered.publish(SECOND, OTHER, built=24, live=23)
    before = answered.answered()
    with hold_lease(answered.db) as token:
        promote(answered.db, answered.home, FIRST, token)
    assert answered.answered() == before
    assert answered.attribute().changed == 0
    with hold_lease(answered.db) as token:
        rollback(answered.db, token)
    assert answered.attribute(datetime.now(UTC)).releases == [SECOND]


def test_a_list_that_was_lost_is_sent_again_empty_and_filled_by_the_next_attribution(answered):
    before = answered.answered()
    answered.db[names.RECOMMENDATIONS].delete_one({"_id": answered.id_of()})
    done = answered.attribute()
    assert (done.inferred, done.set_aside) == (1, {"list is gone": 1})
    with hold_lease(answered.db) as token:
        publish_release(answered.db, answered.home, FIRST, token)
    assert answered.feedback() == EMPTY_FEEDBACK
    assert answered.attribute(datetime.now(UTC)).changed == len(answered.answered())
    assert answered.answered() == before


def test_a_release_that_is_half_sent_again_is_attributed_and_then_finished(answered, monkeypatch):
    monkeypatch.setattr("features.release.publish.IN_FLIGHT", 1)  # or the second chunk may be there, too
    manifest = read_manifest(answered.home, FIRST)
    before = answered.answered()
    answered.db[names.RECOMMENDATIONS].delete_one({"_id": answered.id_of("bob", "content-based")})

    def break_off(what: str, _done: int, _total: int | None) -> None:
        if what == "writing recommendations":
            raise InterruptedError

    with hold_lease(answered.db) as token, pytest.raises(InterruptedError):
        upload(answered.db, answered.home, manifest, token, progress=break_off)
    assert answered.answered() == {}
    assert answered.attribute().changed == 1  # of the first chunk, which is there
    with hold_lease(answered.db) as token:
        publish_release(answered.db, answered.home, FIRST, token)
    assert answered.attribute(datetime.now(UTC)).changed == 1
    assert answered.answered() == before


def test_a_release_that_the_pointer_never_met_gets_nothing(answered):
    made = write_release(answered.home, SECOND, OTHER, hours_ago(40))
    with hold_lease(answered.db) as token:
        verify(answered.db, made, upload(answered.db, answered.home, made, token))
    answered.attribute()
    assert {key[0] for key in answered.answered()} == {FIRST}


# --- erased persons


def test_an_erased_person_stays_erased_and_the_release_whole(answered):
    erase(answered.db, answered.home, KEY, "ann", NOW)
    assert answered.answered().keys() == {(FIRST, "bob", "content-based")}
    named = play("t1", 2, named=answered.id_of())
    answered.db[names.LISTENING_HISTORY].insert_many([play("t1", 2), named])  # the app, which knows nothing of it
    done = answered.attribute(hash_key=KEY)
    assert done.set_aside == {ERASED: 2}
    assert done.first == {}
    assert answered.answered() == {(FIRST, "bob", "content-based"): answer(played=["t6"], rating=4.0)}
    assert list(answered.scorecard()) == ["content-based"]
    with pytest.raises(InputError, match="ECHOTUNE_HASH_KEY"):
        answered.attribute()
    manifest = read_manifest(answered.home, FIRST)
    with hold_lease(answered.db) as token:  # the ledger was set right by documents that had answers
        verify(answered.db, manifest, upload(answered.db, answered.home, manifest, token))


def test_a_list_that_an_erasure_elsewhere_did_not_reach_gets_no_answer(answered):
    """As if the release had been sent by a machine that knew nothing of it."""
    lists = list(answered.db[names.RECOMMENDATIONS].find({"userId": "ann"}))
    erase(answered.db, answered.home, KEY, "ann", NOW)
    answered.db[names.RECOMMENDATIONS].insert_many(lists)
    answered.db[names.LISTENING_HISTORY].insert_one(play("t1", 2, named=answered.id_of()))
    assert answered.attribute(hash_key=KEY).set_aside == {ERASED: 1}
    assert answered.feedback() == EMPTY_FEEDBACK


def test_the_books_say_where_the_scorecard_is_and_lists_of_releases_go_without(answered):
    from features.release.ledger import all_releases

    assert find_release(answered.db, FIRST)["scorecard"]["strategies"]
    assert all("scorecard" not in entry for entry in all_releases(answered.db))
