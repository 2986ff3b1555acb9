"""Attribution over the wire: who is credited with what, what is set aside, and that twice equals once."""

from datetime import timedelta

import bson
import pytest
from bson import ObjectId
from documents import TWIN, TWIN_TEXT
from handmade import FIRST, NOW, SECOND, THIRD, World, answer, hours_ago, play, said
from pymongo.database import Database

from features.attribution import attribute as module
from features.attribution import reading
from features.attribution.lists import ANOTHERS, EXPIRED, NOT_IN_LIST, NOT_OURS, TOO_EARLY, UNKNOWN
from features.release.documents import EMPTY_FEEDBACK
from features.release.ledger import find_release
from features.schema import names


def everything(db: Database) -> dict[str, list[bytes]]:
    """All documents but the lease, as bytes."""
    return {
        name: sorted(bson.encode(found) for found in db[name].find({"_id": {"$ne": "lease"}}))
        for name in db.list_collection_names()
    }


def without_tokens(db: Database) -> dict[str, list[bytes]]:
    """The same, but for the tokens that taking a lease puts on releases."""
    db[names.RELEASES].update_many({}, {"$set": {"token": 0}})
    found = everything(db)
    db[names.RELEASES].update_many({}, {"$set": {"token": 1_000_000}})
    return found


# --- explicit


def test_a_play_that_names_its_list_is_credited_to_that_one(world):
    world.db[names.LISTENING_HISTORY].insert_one(play("t3", named=world.id_of(strategy="collaborative")))
    done = world.attribute()
    assert (done.read, done.explicit, done.inferred, done.unrelated, done.set_aside) == ({"plays": 1}, 1, 0, 0, {})
    assert world.answered() == {(FIRST, "ann", "collaborative"): answer(played=["t3"], rating=4.0)}


def test_a_list_may_be_named_by_an_object_id_or_by_its_text(world):
    world.db[names.LISTENING_HISTORY].insert_many(
        [
            play("t3", named=str(world.id_of())),
            play("t4", named=world.id_of()),
            play("t2", named=f"oid:{world.id_of()}"),
        ]
    )
    assert world.attribute().explicit == 3
    assert world.feedback() == answer(played=["t2", "t3", "t4"], rating=4.0)


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("love", answer(liked=["t2"], rating=5.0)),
        ("like", answer(liked=["t2"], rating=5.0)),
        ("save", answer(liked=["t2"], rating=5.0)),
        ("replay", answer(played=["t2"], rating=4.0)),
        ("skip", answer(skipped=["t2"], rating=2.0)),
        ("dislike", answer(skipped=["t2"], rating=1.0)),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_each_signal_says_what_it_means_named_or_inferred(world, signal, expected, is_named):
    world.db[names.USER_FEEDBACK].insert_one(said("t2", signal, named=world.id_of() if is_named else None))
    done = world.attribute()
    assert (done.explicit, done.inferred) == (int(is_named), int(not is_named))
    assert world.feedback() == expected


def test_what_names_a_list_is_inferred_to_no_other(world):
    """Not even where the list that is named can't be meant."""
    world.db[names.LISTENING_HISTORY].insert_many(
        [play("t1", named=ObjectId()), play("t1", named=world.id_of("bob", "content-based"))]
    )
    assert world.attribute().set_aside == {UNKNOWN: 1, ANOTHERS: 1}
    assert world.answered() == {}


def test_what_can_not_be_the_answer_that_it_says_it_is_is_set_aside_with_the_reason(world):
    own = ObjectId()
    shown = {"userId": "ann", "strategy": "hybrid", "candidates": [], "createdAt": NOW, "expiresAt": NOW}
    performance = {"generationTime": 0, "candidateCount": 0, "strategy": "hybrid", "confidence": 0}
    world.db[names.RECOMMENDATIONS].insert_one({"_id": own, **shown, "performance": performance})
    stray = ObjectId()
    world.db[names.LISTENING_HISTORY].insert_many(
        [
            play("t1", named="no such list", _id="p1"),
            play("t1", named=stray, _id="p2"),
            play("t1", named=own, _id="p3"),
            play("t9", named=world.id_of(), _id="p4"),
            play("t1", named=world.id_of(), _id="p5", user="bob"),
        ]
    )
    done = world.attribute()
    assert done.set_aside == {UNKNOWN: 2, NOT_OURS: 1, NOT_IN_LIST: 1, ANOTHERS: 1}
    assert done.first.pop(UNKNOWN) in {"no such list", f"oid:{stray}"}
    list_id = f"oid:{world.id_of()}"
    assert done.first == {NOT_OURS: f"oid:{own}", NOT_IN_LIST: list_id, ANOTHERS: list_id}
    assert world.answered() == {}


def test_a_play_from_before_its_list_was_made_is_set_aside(world):
    world.publish(SECOND, {("ann", "hybrid"): ["t1"]}, built=24, live=23)
    named = world.id_of(release=SECOND)
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", 25, named=named), play("t1", 24, named=named)])
    done = world.attribute()
    assert (done.explicit, done.set_aside) == (1, {TOO_EARLY: 1})


def test_a_list_that_names_are_credited_to_need_not_be_of_the_live_release(world):
    """A reader may have pinned the one before, or a page was left open."""
    world.publish(SECOND, {("ann", "hybrid"): ["t1"]}, built=24, live=23)
    world.db[names.LISTENING_HISTORY].insert_one(play("t2", named=world.id_of(release=FIRST)))
    assert world.attribute().explicit == 1
    assert world.answered() == {(FIRST, "ann", "hybrid"): answer(played=["t2"], rating=4.0)}


# --- inferred


def test_a_play_of_a_recommended_track_is_inferred_to_the_list_that_is_served_first(world):
    world.db[names.LISTENING_HISTORY].insert_many([play("t1"), play("t3"), play("t5"), play("t9")])
    done = world.attribute()
    assert (done.explicit, done.inferred, done.unrelated) == (0, 3, 1)
    assert world.answered() == {
        (FIRST, "ann", "hybrid"): answer(played=["t1", "t3"], rating=4.0),
        (FIRST, "ann", "collaborative"): answer(played=["t5"], rating=4.0),
    }


def test_nothing_is_inferred_from_before_the_list_was_live_or_from_others_plays(world):
    world.db[names.LISTENING_HISTORY].insert_many(
        [play("t1", 47.5), play("t1", 46.9), play("t1", -0.1), play("t6"), play("t6", user="cat"), play("t2", 49)]
    )
    done = world.attribute()
    assert (done.read["plays"], done.inferred, done.unrelated) == (4, 1, 3)
    assert world.answered() == {(FIRST, "ann", "hybrid"): answer(played=["t1"], rating=4.0)}


def test_of_two_releases_the_one_that_was_live_then_gets_it(world):
    world.publish(SECOND, {("ann", "popular"): ["t2", "t7"]}, built=24, live=23)
    world.db[names.LISTENING_HISTORY].insert_many(
        [play("t1", 30), play("t7", 30), play("t2", 23.5), play("t2", 22), play("t1", 22), play("t7", 22)]
    )
    done = world.attribute()
    assert (done.inferred, done.unrelated) == (4, 2)
    assert world.answered() == {
        (FIRST, "ann", "hybrid"): answer(played=["t1", "t2"], rating=4.0),
        (SECOND, "ann", "popular"): answer(played=["t2", "t7"], rating=4.0),
    }


def test_a_release_that_was_gone_back_to_counts_for_both_its_times(world):
    world.publish(SECOND, {("ann", "hybrid"): ["t1"]}, built=24, live=23)
    world.note(FIRST, {"$set": {"liveFrom": [hours_ago(47), hours_ago(10)], "state": "live"}})
    world.note(SECOND, {"$set": {"retiredAt": hours_ago(10), "state": "retired", "expired": True}})
    world.db[names.RELEASES].update_one({"_id": "live"}, {"$set": {"release": FIRST, "changedAt": hours_ago(10)}})
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", 40), play("t2", 20), play("t3", 5)])
    done = world.attribute()
    assert (done.releases, done.inferred, done.unrelated) == ([FIRST], 2, 1)
    assert world.answered() == {(FIRST, "ann", "hybrid"): answer(played=["t1", "t3"], rating=4.0)}


def test_where_the_books_do_not_say_since_when_it_was_live_a_release_counts_from_when_it_was_built(world):
    world.note(FIRST, {"$unset": {"liveFrom": ""}})
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", 47.5), play("t2", 48.5)])
    done = world.attribute()
    assert (done.read, done.inferred) == ({"plays": 1}, 1)


def test_a_blank_name_of_a_list_is_none(world):
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", named=""), play("t2", named=" ")])
    assert world.attribute().inferred == 2


# --- ids


def test_a_string_and_an_object_id_that_read_alike_never_meet(empty):
    lists = {(TWIN, "hybrid"): ["t1"], (TWIN_TEXT, "hybrid"): ["t2"]}
    empty.publish(FIRST, lists, built=48, live=47)
    of_text, of_id = empty.id_of(TWIN_TEXT), empty.id_of(TWIN)
    assert of_text != of_id
    empty.db[names.LISTENING_HISTORY].insert_many(
        [
            play("t1", user=TWIN, named=of_id),
            play("t1", user=TWIN_TEXT, named=of_id),
            play("t2", user=TWIN_TEXT),
            play("t2", user=TWIN),
            play("t1", user=TWIN_TEXT),
        ]
    )
    done = empty.attribute()
    assert (done.explicit, done.inferred, done.unrelated, done.set_aside) == (1, 1, 2, {ANOTHERS: 1})
    assert empty.answered() == {
        (FIRST, TWIN, "hybrid"): answer(played=["t1"], rating=4.0),
        (FIRST, TWIN_TEXT, "hybrid"): answer(played=["t2"], rating=4.0),
    }


# --- plays and skips


@pytest.mark.parametrize(
    ("heard", "skipped"),
    [
        ({"completionRate": 0.1499}, True),
        ({"completionRate": 0.15}, False),
        ({"completionRate": None}, False),
        ({"completionRate": None, "playedPercentage": 14}, True),
        ({"completionRate": None, "playedPercentage": 15}, False),
        ({"completionRate": None, "playDuration": 20_000, "trackDuration": 200_000}, True),
        ({"completionRate": None, "playDuration": 40_000, "trackDuration": 200_000}, False),
        ({"completionRate": None, "playDuration": 20_000}, True),  # the catalogue knows how long the track is
        ({"completionRate": None, "playDuration": 40_000}, False),
        ({"completionRate": 0.9, "playDuration": 20_000}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_named", [True, False])
def test_a_play_left_within_its_first_part_is_a_skip_and_one_that_tells_nothing_a_play(world, heard, skipped, is_named):
    world.db[names.TRACKS].insert_one({"spotifyId": "t2", "duration": 200_000})
    more = {name: value for name, value in heard.items() if value is not None}
    document = play("t2", named=world.id_of() if is_named else None)
    del document["completionRate"]
    world.db[names.LISTENING_HISTORY].insert_one({**document, **more})
    world.attribute()
    expected = answer(skipped=["t2"], rating=2.0) if skipped else answer(played=["t2"], rating=4.0)
    assert world.feedback() == expected


def test_a_track_may_be_played_and_skipped_and_the_latest_opinion_counts(world):
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", 5), play("t1", 4, completionRate=0.05), play("t4", 3)])
    world.db[names.USER_FEEDBACK].insert_many(
        [said("t2", "like", 5), said("t2", "dislike", 4), said("t3", "dislike", 5), said("t3", "love", 4)]
    )
    world.attribute()
    assert world.feedback() == answer(["t1", "t4"], ["t3"], ["t1", "t2"], rating=(3 + 1 + 5 + 4) / 4)


def test_accepted_recommendations_are_likes_whichever_way_they_are_told(world):
    event = {"type": "recommendation.accept", "userId": "ann", "timestamp": hours_ago(1)}
    world.db[names.EVENTS].insert_many(
        [
            {**event, "data": {"trackId": "t1"}},
            {**event, "data": {"trackIds": ["t3", "t9"], "recommendationId": world.id_of(strategy="collaborative")}},
            {**event, "data": {"trackIds": ["t2"]}, "type": "recommendation.request"},
            {**event, "data": {}},
        ]
    )
    told = [
        {"trackIds": ["t1"], "strategy": "collaborative", "accepted": True},
        {"trackIds": ["t4"], "strategy": "magic", "accepted": True},
        {"trackIds": ["t2"], "strategy": "collaborative", "accepted": True},
        {"trackIds": ["t5"], "accepted": False},
        ObjectId(),
    ]
    chat = {"userId": "ann", "recommendations": told}
    world.db[names.CHAT_SESSIONS].insert_many(
        [
            {**chat, "sessionId": "now", "endedAt": hours_ago(1)},
            {**chat, "sessionId": "long ago", "lastMessageAt": hours_ago(99), "endedAt": hours_ago(1)},
        ]
    )
    done = world.attribute()
    assert done.read == {"acceptances": 4, "chats": 3}
    assert (done.explicit, done.inferred, done.unrelated) == (1, 3, 1)  # t2 is in no collaborative list
    assert done.set_aside == {NOT_IN_LIST: 1, "track_ids is missing": 1}
    assert world.answered() == {
        (FIRST, "ann", "hybrid"): answer(liked=["t1", "t4"], rating=5.0),
        (FIRST, "ann", "collaborative"): answer(liked=["t3", "t1"], rating=5.0),
    }


# --- what can't be used


def test_what_can_not_be_used_is_set_aside_with_the_snapshots_reasons_and_the_totals_add_up(world):
    broken = [
        (play("t1", user=7), "userId is of type int"),
        (play(""), "track_id is missing"),
        (play("x" * 300), "track_id is longer than 256 bytes"),
        (play("t1", completionRate="all"), "completionRate is of type string"),
        (play("t1", completionRate=float("nan")), "completion_rate is not a finite number"),
        (play("t1", playDuration=-1), "play_ms is outside 0..8.64e+07"),
        ({**play("t1"), "context": "radio"}, "context is not an object"),
        (play("t1", named=5), "context.recommendationId is of type int"),
    ]
    opinions = [
        (said("t1", "adore"), "unknown signal"),
        (said("t1", "like", strength=9), "strength is outside 1..5"),
    ]
    world.db[names.LISTENING_HISTORY].insert_many(
        [{"_id": f"p{n}", **document} for n, (document, _) in enumerate(broken)], bypass_document_validation=True
    )
    world.db[names.USER_FEEDBACK].insert_many(
        [{"_id": f"f{n}", **document} for n, (document, _) in enumerate(opinions)], bypass_document_validation=True
    )
    done = world.attribute()
    assert done.set_aside == {reason: 1 for _, reason in broken + opinions}
    assert done.read == {"plays": len(broken), "feedback": len(opinions)}
    assert done.first["track_id is missing"] == "p1"
    assert world.answered() == {}


# --- idempotence


def fill(db: Database, world: World) -> None:
    db[names.LISTENING_HISTORY].insert_many(
        [
            *[play(f"t{number}", hours) for number in range(1, 8) for hours in (3, 30)],
            play("t1", 2, named=world.id_of(strategy="collaborative")),
            play("t2", 2, completionRate=0.1),
            play("t6", 2, user="bob", named=world.id_of("bob", "content-based")),
            play("t6", 2, user="bob", named=ObjectId()),
        ]
    )
    db[names.USER_FEEDBACK].insert_many([said("t4", "love"), said("t3", "dislike"), said("t1", "skip", user="bob")])


def test_twice_equals_once_byte_for_byte_and_writes_nothing(world, monkeypatch):
    fill(world.db, world)
    first = world.attribute()
    assert first.changed == 3
    once = without_tokens(world.db)
    monkeypatch.setattr(module, "update", lambda *_: pytest.fail("the scorecard is what it was"))
    again = world.attribute()
    assert again.changed == 0
    assert without_tokens(world.db) == once
    later = world.attribute(NOW + timedelta(minutes=5))
    assert later.changed == 0
    assert without_tokens(world.db) == once


def test_a_new_play_adds_and_a_removed_one_is_taken_away_again(world):
    fill(world.db, world)
    world.attribute()
    before, card = world.answered(), find_release(world.db, FIRST)["scorecard"]
    added = world.db[names.LISTENING_HISTORY].insert_one(play("t1", 1, user="bob")).inserted_id
    done = world.attribute()
    assert done.changed == 1
    assert world.feedback("bob", "content-based") == answer(["t1", "t6"], [], ["t1"], rating=3.5)
    assert find_release(world.db, FIRST)["scorecard"] != card
    world.db[names.LISTENING_HISTORY].delete_one({"_id": added})
    assert world.attribute().changed == 1
    assert (world.answered(), find_release(world.db, FIRST)["scorecard"]) == (before, card)
    for collection in (names.LISTENING_HISTORY, names.USER_FEEDBACK):
        world.db[collection].delete_many({})
    world.attribute()
    assert world.answered() == {}
    assert world.feedback() == EMPTY_FEEDBACK


def test_only_lists_that_change_are_written(world, monkeypatch):
    fill(world.db, world)
    world.attribute()
    world.db[names.LISTENING_HISTORY].insert_one(play("t1", 1, user="bob"))
    other = world.db[names.RECOMMENDATIONS].find_one({"userId": "ann"})["_id"]
    world.db[names.RECOMMENDATIONS].update_one({"_id": other}, {"$set": {"extra": 1}})
    written = []
    from features.attribution import writing

    write = writing._write
    monkeypatch.setattr(writing, "_write", lambda *a: (written.extend(a[2]), write(*a))[1])
    world.attribute()
    assert [update._filter for update in written] == [{"_id": world.id_of("bob", "content-based")}]
    assert world.db[names.RECOMMENDATIONS].find_one({"_id": other})["extra"] == 1


def test_users_taken_in_parts_come_to_the_same(world, monkeypatch):
    fill(world.db, world)
    world.db[names.LISTENING_HISTORY].insert_one({"trackId": "t1", "playedAt": hours_ago(1)}, True)
    whole = world.attribute()
    once = without_tokens(world.db)
    world.db[names.RECOMMENDATIONS].update_many({}, {"$set": {"feedback": EMPTY_FEEDBACK}})
    world.note(FIRST, {"$unset": {"scorecard": ""}})
    for at_once in (7, 2):
        monkeypatch.setattr(reading, "RESPONSES_AT_ONCE", at_once)
        in_parts = world.attribute()
        assert in_parts.read == whole.read
        assert (in_parts.explicit, in_parts.inferred, in_parts.unrelated, in_parts.set_aside) == (
            whole.explicit,
            whole.inferred,
            whole.unrelated,
            whole.set_aside,
        )
        assert without_tokens(world.db) == once


def test_without_the_folder_the_lists_are_asked_of_the_database(world, monkeypatch):
    fill(world.db, world)
    whole = world.attribute()
    once = without_tokens(world.db)
    world.db[names.RECOMMENDATIONS].update_many({}, {"$set": {"feedback": EMPTY_FEEDBACK}})
    file = world.home / "releases" / FIRST / "recommendations.parquet"
    for content in (b"damaged", None):
        file.unlink() if content is None else file.write_bytes(content)
        assert world.attribute() == whole if content else world.attribute().changed == 0
        assert without_tokens(world.db) == once


# --- the window


def test_a_list_that_has_expired_is_left_as_it_is(world):
    world.publish(SECOND, {("ann", "hybrid"): ["t1"]}, built=24, live=23)
    world.db[names.LISTENING_HISTORY].insert_many([play("t2", 30), play("t3", 1, named=world.id_of())])
    world.attribute()
    before = world.answered()
    world.db[names.RECOMMENDATIONS].update_many({"release": FIRST}, {"$set": {"expiresAt": NOW}})
    world.note(FIRST, {"$set": {"expired": True}})
    world.db[names.LISTENING_HISTORY].delete_many({})
    world.db[names.LISTENING_HISTORY].insert_many([play("t4", 30), play("t3", 1, named=world.id_of()), play("t1", 1)])
    done = world.attribute()
    assert (done.releases, done.since) == ([SECOND], hours_ago(24))
    assert (done.read, done.inferred, done.set_aside) == ({"plays": 2}, 1, {EXPIRED: 1})
    assert world.answered() == {**before, (SECOND, "ann", "hybrid"): answer(played=["t1"], rating=4.0)}


def test_a_list_whose_date_has_passed_is_left_alone_though_its_release_is_served(world):
    world.db[names.RECOMMENDATIONS].update_one({"_id": world.id_of()}, {"$set": {"expiresAt": hours_ago(1)}})
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", 2), play("t2", 2, named=world.id_of())])
    done = world.attribute()
    assert (done.set_aside, world.answered()) == ({module.GONE: 1, EXPIRED: 1}, {})
    assert "hybrid" not in world.scorecard()


def test_without_a_release_there_is_nothing_to_do(empty):
    empty.db[names.LISTENING_HISTORY].insert_one(play("t1"))
    done = empty.attribute()
    assert (done.releases, done.since, done.read) == ([], None, {})


def test_a_release_built_longer_ago_than_lists_live_is_not_looked_at(world):
    done = world.attribute(NOW + timedelta(days=29))
    assert done.releases == []


def test_a_list_of_the_apps_own_is_not_touched(world):
    own = {
        "userId": "ann",
        "strategy": "hybrid",
        "candidates": [],
        "performance": {"generationTime": 0, "candidateCount": 0, "strategy": "hybrid", "confidence": 0},
        "feedback": {"tracksPlayed": ["x"]},
        "createdAt": hours_ago(2),
        "expiresAt": NOW + timedelta(days=1),
    }
    kept = world.db[names.RECOMMENDATIONS].insert_one(own).inserted_id
    fill(world.db, world)
    world.attribute()
    assert world.db[names.RECOMMENDATIONS].find_one({"_id": kept}) == own


def test_three_releases_are_gone_through_in_one_run(world):
    world.publish(SECOND, {("ann", "hybrid"): ["t1"]}, built=24, live=23)
    world.publish(THIRD, {("ann", "hybrid"): ["t1"], ("bob", "popular"): ["t2"]}, built=3, live=2)
    world.db[names.LISTENING_HISTORY].insert_many([play("t1", hours) for hours in (40, 20, 1)])
    done = world.attribute()
    assert (done.releases, done.inferred, done.changed) == ([FIRST, SECOND, THIRD], 3, 3)
    assert {key[0] for key in world.answered()} == {FIRST, SECOND, THIRD}
    assert world.scorecard(THIRD)["popular"]["lists"] == 1
