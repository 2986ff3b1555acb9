"""Plan and apply: an empty database, and one that strayed from the contract in each way it can."""

import pytest
from bson import Int64
from documents import account
from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.schema import names, plan
from features.schema.collections import COLLECTIONS
from features.schema.plan import Choices
from features.schema.shapes import Collection, index, schema

ALL_INDEXES = [(collection, entry) for collection in COLLECTIONS for entry in collection.indexes]


def lines(changes: list[plan.Change]) -> list[str]:
    return [str(change) for change in changes]


def indexes_of(database: Database, collection: str) -> dict[str, dict]:
    return {entry["name"]: dict(entry) for entry in database[collection].list_indexes()}


def test_an_empty_database_needs_every_collection_and_every_index(db):
    changes = plan.plan(db)
    assert [change.collection for change in changes if change.action == "create collection"] == [
        collection.name for collection in COLLECTIONS
    ]
    assert [(change.collection, change.subject) for change in changes if change.action == "create index"] == [
        (collection.name, entry.name) for collection, entry in ALL_INDEXES
    ]
    assert db.list_collection_names() == []  # planning changes nothing


def test_twice_is_once(db):
    assert plan.apply(db).made != []
    assert plan.plan(db) == []
    assert plan.apply(db) == plan.Applied()


def test_every_declared_index_exists_under_its_name_with_its_keys_and_options(db):
    plan.apply(db)
    for collection in COLLECTIONS:
        present = indexes_of(db, collection.name)
        assert present.keys() == {"_id_"} | {entry.name for entry in collection.indexes}
        for entry in collection.indexes:
            assert tuple(present[entry.name]["key"].items()) == entry.keys
            found = {name: present[entry.name][name] for name in plan.PLAIN_OPTIONS if name in present[entry.name]}
            assert found == entry.options


def test_no_collection_declares_an_index_name_twice():
    for collection in COLLECTIONS:
        declared = [entry.name for entry in collection.indexes]
        assert len(set(declared)) == len(declared)


@pytest.mark.parametrize(
    ("collection", "keys"),
    [
        (names.USERS, {"userId": 1}),
        (names.USERS, {"email": 1}),
        (names.USERS, {"spotifyId": 1}),
        (names.USERS, {"lastLoginAt": 1}),
        (names.USER_SETTINGS, {"userId": 1}),
        (names.USER_SETTINGS, {"updatedAt": 1}),
        (names.LISTENING_HISTORY, {"userId": 1, "playedAt": -1}),
        (names.LISTENING_HISTORY, {"trackId": 1}),
        (names.LISTENING_HISTORY, {"playedAt": 1}),
        (names.LISTENING_HISTORY, {"userId": 1, "importedAt": -1}),
        (names.LISTENING_HISTORY, {"spotifyUserId": 1, "playedAt": -1}),
        (names.LISTENING_HISTORY, {"context.recommendationId": 1}),
        (names.LISTENING_HISTORY, {"importedAt": 1}),
        (names.USER_FEEDBACK, {"userId": 1, "createdAt": -1}),
        (names.USER_FEEDBACK, {"trackId": 1, "signal": 1}),
        (names.USER_FEEDBACK, {"userId": 1, "trackId": 1}),
        (names.USER_FEEDBACK, {"context.recommendationId": 1}),
        (names.USER_FEEDBACK, {"createdAt": 1}),
        (names.USER_FEEDBACK, {"userId": 1, "signal": 1, "createdAt": -1}),
        (names.TRACKS, {"spotifyId": 1}),
        (names.TRACKS, {"artists.id": 1}),
        (names.TRACKS, {"album.id": 1}),
        (names.TRACKS, {"popularity": -1}),
        (names.TRACKS, {"lastUpdated": 1}),
        (names.TRACKS, {"audioFeatures.energy": 1, "audioFeatures.valence": 1}),
        (names.CHAT_SESSIONS, {"sessionId": 1}),
        (names.CHAT_SESSIONS, {"userId": 1, "lastMessageAt": -1}),
        (names.CHAT_SESSIONS, {"lastMessageAt": 1}),
        (names.CHAT_SESSIONS, {"isActive": 1, "userId": 1}),
        (names.CHAT_SESSIONS, {"userId": 1, "startedAt": -1}),
        (names.CHAT_SESSIONS, {"endedAt": 1}),
        (names.EVENTS, {"type": 1, "timestamp": -1}),
        (names.EVENTS, {"userId": 1, "timestamp": -1}),
        (names.EVENTS, {"category": 1, "timestamp": -1}),
        (names.EVENTS, {"timestamp": 1}),
        (names.RECOMMENDATIONS_CACHE, {"userId": 1, "generatedAt": -1}),
        (names.RECOMMENDATIONS_CACHE, {"sessionId": 1}),
        (names.RECOMMENDATIONS_CACHE, {"expiresAt": 1}),
        (names.RECOMMENDATIONS_CACHE, {"strategy": 1, "userId": 1}),
        (names.RECOMMENDATIONS, {"userId": 1, "createdAt": -1}),
        (names.RECOMMENDATIONS, {"sessionId": 1}),
        (names.RECOMMENDATIONS, {"strategy": 1, "createdAt": -1}),
        (names.RECOMMENDATIONS, {"strategy": 1, "createdAt": -1, "performance.confidence": -1}),
        (names.RECOMMENDATIONS, {"expiresAt": 1}),
        (names.FEATURE_STORE, {"userId": 1, "featureType": 1, "computedAt": -1}),
        (names.FEATURE_STORE, {"trackId": 1, "featureType": 1, "computedAt": -1}),
        (names.FEATURE_STORE, {"featureType": 1, "features.version": 1}),
        (names.FEATURE_STORE, {"expiresAt": 1}),
    ],
)
def test_every_index_that_the_data_model_asks_for_is_declared(collection, keys):
    declared = {entry.keys for owner, entry in ALL_INDEXES if owner.name == collection}
    assert tuple(keys.items()) in declared


def test_a_lost_index_is_planned_and_made_again(db):
    plan.apply(db)
    db.tracks.drop_index("album.id_1")
    assert lines(plan.plan(db)) == ["+ create index tracks.album.id_1"]
    plan.apply(db)
    assert plan.plan(db) == []


def test_another_ttl_is_changed_in_place(db):
    plan.apply(db)
    db.feature_store.drop_index("expiresAt_1")
    db.feature_store.create_index("expiresAt", name="expiresAt_1", expireAfterSeconds=77)
    (change,) = plan.plan(db)
    assert (change.action, change.subject) == ("change TTL", "expiresAt_1")
    assert "77" in str(change)
    plan.apply(db)
    assert indexes_of(db, "feature_store")["expiresAt_1"]["expireAfterSeconds"] == 0
    assert plan.plan(db) == []


@pytest.mark.parametrize("name", ["mine", "my own index"])
def test_an_index_of_the_same_keys_under_another_name_gives_way(db, name):
    plan.apply(db)
    db.tracks.drop_index("album.id_1")
    db.tracks.create_index("album.id", name=name)
    (change,) = plan.plan(db)
    assert (change.action, change.subject) == ("replace index", "album.id_1")
    plan.apply(db)
    assert name not in indexes_of(db, "tracks")
    assert plan.plan(db) == []


@pytest.mark.parametrize(
    ("collection", "keys", "options"),
    [
        ("users", {"spotifyId": 1}, {}),
        ("users", {"spotifyId": 1}, {"unique": True}),
        ("users", {"spotifyId": 1}, {"sparse": True}),
        ("tracks", {"album.id": 1}, {"unique": True}),
        ("tracks", {"album.id": 1}, {"sparse": True}),
        ("recommendations", {"expiresAt": 1}, {}),
        ("tracks", {"lastUpdated": 1}, {"expireAfterSeconds": 60}),
        ("listening_history", {"spotifyUserId": 1, "playedAt": -1}, {}),
        (
            "listening_history",
            {"spotifyUserId": 1, "playedAt": -1},
            {"partialFilterExpression": {"userId": {"$exists": True}}},
        ),
    ],
)
def test_an_index_with_other_options_is_replaced(db, collection, keys, options):
    plan.apply(db)
    name = "_".join(f"{field}_{direction}" for field, direction in keys.items())
    db[collection].drop_index(name)
    db[collection].create_index(list(keys.items()), name=name, **options)
    (change,) = plan.plan(db)
    assert (change.action, change.collection, change.subject) == ("replace index", collection, name)
    plan.apply(db)
    assert plan.plan(db) == []


def test_an_index_of_other_keys_that_took_the_name_is_replaced(db):
    plan.apply(db)
    db.tracks.drop_index("album.id_1")
    db.tracks.create_index("album.name", name="album.id_1")
    assert [change.action for change in plan.plan(db)] == ["replace index"]
    plan.apply(db)
    assert dict(indexes_of(db, "tracks")["album.id_1"]["key"]) == {"album.id": 1}
    assert plan.plan(db) == []


def test_indexes_that_are_not_ours_stay_whatever_they_are(db):
    plan.apply(db)
    db.tracks.create_index([("place", "2dsphere")], name="geo")  # its direction is a word
    db.tracks.create_index("name", name="theirs")
    # the keys of one of ours, beside ours, for a purpose of their own
    db.tracks.create_index("album.id", name="theirs too", partialFilterExpression={"explicit": {"$exists": True}})
    assert plan.plan(db) == []
    assert plan.apply(db) == plan.Applied()
    assert {"geo", "theirs", "theirs too"} <= indexes_of(db, "tracks").keys()


def test_a_changed_validator_is_planned_and_mended(db):
    plan.apply(db)
    db.command("collMod", "tracks", validator={"name": {"$exists": True}})
    assert lines(plan.plan(db)) == ["~ set validator tracks.* (was: other validator)"]
    plan.apply(db)
    assert plan.plan(db) == []


def test_a_collection_made_by_a_first_insert_gets_its_validator(db):
    db.tracks.insert_one({"spotifyId": "t"})
    assert lines(plan.plan(db))[:1] == ["+ create collection users.*"]
    assert "~ set validator tracks.* (was: none)" in lines(plan.plan(db))
    plan.apply(db)
    assert plan.plan(db) == []
    assert db.tracks.count_documents({}) == 1


def test_warn_lets_a_bad_document_in_and_error_refuses_it(db):
    plan.apply(db, Choices("warn"))
    assert plan.plan(db, Choices("warn")) == []
    db.tracks.insert_one({"name": "no id"})
    assert {change.action for change in plan.plan(db, Choices("error"))} == {"set validator"}
    plan.apply(db, Choices("error"))
    with pytest.raises(OperationFailure) as refusal:
        db.tracks.insert_one({"name": "no id"})
    assert refusal.value.code == 121


def test_a_legacy_document_can_still_be_updated_but_a_good_one_cannot_be_spoilt(db):
    db.tracks.insert_many([{"_id": "legacy", "popularity": 900}, {"_id": "good", "spotifyId": "t"}])
    plan.apply(db)
    db.tracks.update_one({"_id": "legacy"}, {"$set": {"name": "still wrong"}})
    with pytest.raises(OperationFailure) as refusal:
        db.tracks.update_one({"_id": "good"}, {"$set": {"popularity": 900}})
    assert refusal.value.code == 121


def test_another_run_that_makes_the_collection_first_does_no_harm(db):
    changes = plan.plan(db)
    db.create_collection("users", validator={"never": {"$exists": True}})
    users = next(collection for collection in COLLECTIONS if collection.name == "users")
    plan._apply_change(db, users, changes[0], Choices())
    assert db.list_collections(filter={"name": "users"}).next()["options"]["validator"] == users.validator


def test_a_unique_index_over_values_that_repeat_is_refused_and_the_rest_is_made(db):
    db.tracks.insert_many([{"spotifyId": "same"}, {"spotifyId": "same"}, {"spotifyId": "other"}])
    applied = plan.apply(db)
    (refused,) = applied.refused
    assert str(refused) == (
        "! create index tracks.spotifyId_1: 2 documents share 1 values of spotifyId, which must be unique; until all "
        "but one of each are mended or removed, the index is a plain one"
    )
    assert lines(plan.plan(db)) == ["-/+ replace index tracks.spotifyId_1 (was: spotifyId_1 {})"]
    assert "unique" not in indexes_of(db, "tracks")["spotifyId_1"]  # queries have it meanwhile
    assert db.tracks.count_documents({}) == 3
    again = plan.apply(db)
    assert (again.made, [r.reason for r in again.refused]) == ([], [refused.reason])
    db.tracks.delete_one({"spotifyId": "same"})
    plan.apply(db)
    assert plan.plan(db) == []


def test_a_plain_index_is_not_dropped_for_a_unique_one_that_cannot_be_made(db):
    db.users.create_index("email", name="old")
    db.users.insert_many([{"userId": name, "email": "same@example.org"} for name in ("ann", "bob")])
    (refused,) = plan.apply(db).refused
    assert (refused.change.action, refused.change.subject) == ("replace index", "email_1")
    assert "same@example" not in str(refused)
    assert "old" in indexes_of(db, "users")


def test_a_sparse_unique_index_is_no_matter_of_those_who_have_no_value(db):
    db.users.create_index("spotifyId", name="old")
    db.users.insert_many([account("ann"), account("bob"), {**account("cat"), "spotifyId": "cat"}])
    assert plan.apply(db).refused == []
    assert indexes_of(db, "users")["spotifyId_1"]["sparse"]


def test_extra_indexes_are_told_and_dropped_only_when_asked(db):
    plan.apply(db)
    db.tracks.create_index("name", name="theirs")
    db.users.create_index("createdAt", name="newest")
    assert plan.extra_indexes(db) == [("users", "newest"), ("tracks", "theirs")]
    assert lines(plan.plan(db, Choices(drop_extra=True))) == [
        "- drop index users.newest (was: plain)",
        "- drop index tracks.theirs (was: plain)",
    ]
    plan.apply(db, Choices(drop_extra=True))
    assert plan.extra_indexes(db) == []
    assert plan.plan(db, Choices(drop_extra=True)) == []


def test_an_index_that_is_to_be_replaced_is_no_extra_one(db):
    db.tracks.create_index("album.id", name="mine")
    assert plan.extra_indexes(db) == []


def test_history_is_kept_for_good_unless_days_are_chosen_and_then_by_the_same_index(db):
    plan.apply(db)
    assert "expireAfterSeconds" not in indexes_of(db, "listening_history")["playedAt_1"]
    (change,) = plan.apply(db, Choices(history_retention_days=400)).made
    assert (change.action, change.subject) == ("replace index", "playedAt_1")
    assert indexes_of(db, "listening_history")["playedAt_1"]["expireAfterSeconds"] == 400 * 86_400
    (change,) = plan.apply(db, Choices(history_retention_days=365)).made
    assert change.action == "change TTL"
    assert indexes_of(db, "listening_history")["playedAt_1"]["expireAfterSeconds"] == 365 * 86_400
    assert plan.plan(db, Choices(history_retention_days=365)) == []


def test_a_choice_once_made_stays_until_another_is_made(db):
    plan.apply(db, Choices("warn", history_retention_days=30))
    assert plan.plan(db) == []  # what a nightly run asks
    db.command("collMod", "tracks", validator={"name": {"$exists": True}})
    plan.apply(db)
    options = db.list_collections(filter={"name": "tracks"}).next()["options"]
    assert options["validationAction"] == "warn"
    plan.apply(db, Choices("error", history_retention_days=0))
    assert "expireAfterSeconds" not in indexes_of(db, "listening_history")["playedAt_1"]
    assert {c.action for c in plan.plan(db, Choices("warn"))} == {"set validator"}


def test_a_plain_index_where_a_ttl_belongs_is_replaced_on_the_collections_that_have_both_in_the_drafts(db):
    for collection, key in (("events", "timestamp"), ("chat_sessions", "endedAt")):
        db[collection].create_index(key)
    actions = {(c.action, c.collection, c.subject) for c in plan.plan(db)}
    assert {
        ("replace index", "events", "timestamp_1"),
        ("replace index", "chat_sessions", "endedAt_1"),
    } <= actions
    plan.apply(db)
    assert indexes_of(db, "events")["timestamp_1"]["expireAfterSeconds"] == 90 * 86_400
    assert indexes_of(db, "chat_sessions")["endedAt_1"]["expireAfterSeconds"] == 30 * 86_400
    assert plan.plan(db) == []


def test_only_the_collections_asked_for_are_touched(db):
    mine = Collection("mine", "for the test", schema({"a": {"bsonType": "int"}}, ("a",)), (index("a", ttl_seconds=9),))
    assert lines(plan.apply(db, collections=[mine]).made) == ["+ create collection mine.*", "+ create index mine.a_1"]
    assert db.list_collection_names() == ["mine"]
    db.mine.drop_index("a_1")
    db.mine.create_index("a", expireAfterSeconds=Int64(9))  # the same number, of another type
    assert plan.plan(db, collections=[mine]) == []
