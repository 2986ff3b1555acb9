"""The check against databases whose faults are known, and as a command."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from commands import echotune
from documents import TWIN, TWIN_TEXT, account, fill_small_world, play, said, song
from legacy import Legacy, fill_legacy_database
from pymongo import MongoClient, monitoring
from pymongo.database import Database

from features.schema import check as checking
from features.schema import names, plan
from features.schema.check import Finding, check
from features.schema.mending import LENIENT
from features.schema.plan import Choices

NOW = datetime.now(UTC)
SECRET, ADDRESS = "BQDsecret-token", "192.0.2.7"


@pytest.fixture
def ready(db: Database) -> Database:
    """A database that keeps the contract, with a world in it in which nobody and nothing is missing."""
    plan.apply(db)
    fill_small_world(db)
    db[names.USERS].insert_many([account(TWIN, email="twin@example.com"), account("cat")])
    return db


def findings(database: Database) -> dict[tuple[str, str], Finding]:
    return {(found.check, found.subject): found for found in check(database)}


def not_ok(database: Database) -> list[Finding]:
    return [found for found in check(database) if found.state != "ok"]


def only(database: Database) -> Finding:
    """The one finding that is not ok."""
    (found,) = not_ok(database)
    return found


def put(database: Database, collection: str, *documents: dict[str, Any]) -> list[str]:
    """Documents past the validator, as those that were there before it; their `_id`s."""
    done = database[collection].insert_many(documents, bypass_document_validation=True)
    return [str(one) for one in done.inserted_ids]


# --- an old database, broken in known ways


@pytest.fixture(scope="module")
def old(server_uri) -> Iterator[tuple[Database, Legacy]]:
    """Not to be changed."""
    name = f"echotune_test_{uuid4().hex[:12]}"
    with MongoClient(server_uri, tz_aware=True) as client:
        yield client.get_database(name, codec_options=LENIENT), fill_legacy_database(client[name], 3_000, now=NOW)
        client.drop_database(name)


def test_every_document_that_breaks_its_validator_is_found_and_no_other(old):
    database, legacy = old
    found = findings(database)
    for collection in legacy.counts:
        broken = {str(key) for key, kind in legacy.kinds_in(collection).items() if kind.breaks_validator}
        told = found["documents", collection]
        assert told.count == legacy.breaking_validator(collection, built_in=False)
        assert len(told.ids) == min(3, told.count)
        assert {one for one in told.ids if not one.startswith("an _id of type")} <= broken


def test_every_open_token_and_address_is_found_and_no_other(old):
    database, legacy = old
    found = findings(database)
    assert found["secrets", "users.spotifyTokens"].count == len(legacy.plain_tokens)
    assert found["secrets", "events.metadata.ip"].count == len(legacy.raw_addresses)


def test_references_are_those_of_an_anti_join(old):
    database, _ = old
    found = findings(database)
    for reference in checking.REFERENCES:
        ids = {d.get(reference.key) for d in database[reference.target].find({}, {reference.key: 1})}
        values = [checking.value_at(d, reference.path) for d in database[reference.collection].find()]
        gone = [value for value in values if isinstance(value, str | ObjectId) and value not in ids]
        told = found["references", str(reference)]
        assert told.count == len(gone) > 0
        assert told.what == f"refer to {len(set(gone)):,} ids that are not there"


def test_it_comes_out_the_same_in_small_batches(old, monkeypatch):
    database, _ = old
    whole = findings(database)
    monkeypatch.setattr(checking, "BATCH_DOCUMENTS", 7)
    monkeypatch.setattr(checking, "IN_LIST", 3)
    assert findings(database) == whole


def test_checking_changes_nothing(old):
    database, _ = old
    before = {name: sorted(map(str, database[name].find())) for name in database.list_collection_names()}
    list(check(database))
    assert {name: sorted(map(str, database[name].find())) for name in database.list_collection_names()} == before


def test_no_list_of_ids_is_longer_than_a_server_takes_well(old, server_uri, monkeypatch):
    lists: list[int] = []

    class Listener(monitoring.CommandListener):
        def started(self, event: monitoring.CommandStartedEvent) -> None:
            conditions = event.command.get("filter", {}).values()
            lists.extend(len(one["$in"]) for one in conditions if isinstance(one, dict) and "$in" in one)

        def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

        def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    monkeypatch.setattr(checking, "IN_LIST", 4)
    with MongoClient(server_uri, event_listeners=[Listener()]) as client:
        list(check(client[old[0].name]))
    assert max(lists) == 4


# --- one fault at a time


def test_nothing_is_wrong_with_a_database_that_keeps_the_contract(ready):
    assert not_ok(ready) == []
    assert {found.check for found in check(ready)} == {"schema", "queries", "documents", "references", "secrets"}


def test_of_an_empty_database_only_the_collections_are_missing(db):
    found = only(db)
    assert (found.check, found.state, found.do) == ("schema", "wrong", "run `echotune schema apply`")
    assert found.what.startswith("create collection users.*, ")
    assert db.list_collection_names() == []


def test_a_broken_document_is_told_by_id_and_first_rule_without_its_value(ready):
    ids = put(ready, names.USERS, account("eve", email="not an address"), account("zoe", isActive="no", email="z@z.zz"))
    found = only(ready)
    assert (found.subject, found.count, list(found.ids)) == ("users", 2, ids)
    assert found.what == "break a rule, the first: email does not match the pattern"


def test_what_python_can_hardly_decode_is_judged_like_everything_else(ready):
    far = play("ann", "track-01", createdAt=DatetimeMS(2**55))
    put(ready, names.LISTENING_HISTORY, far, {**far, "_id": ObjectId(), "completionRate": float("nan")})
    assert (only(ready).count, only(ready).what) == (1, "break a rule, the first: completionRate is not a number")


def test_an_expression_is_asked_of_the_server(ready):
    (wrong,) = put(ready, names.FEATURE_STORE, {**profile(), "features": {**profile()["features"], "dimensions": 3}})
    put(ready, names.FEATURE_STORE, profile("bob"))
    found = only(ready)
    assert (found.subject, found.count, found.ids) == ("feature_store, $expr", 1, (wrong,))


def profile(user: str = "ann") -> dict[str, Any]:
    about = {"trackCount": 1, "historyDays": 1, "algorithm": "a"}
    return {
        "userId": user,
        "featureType": "user_profile",
        "features": {"vector": [0.5, 0.5], "dimensions": 2, "algorithm": "a", "version": "r"},
        "metadata": {"confidence": 0.5, "lastTrained": NOW, "trainingData": about},
        "computedAt": NOW,
        "expiresAt": datetime(2999, 1, 1, tzinfo=UTC),
    }


def test_a_string_and_an_object_id_that_read_alike_are_two_users(ready):
    ready[names.USERS].delete_one({"userId": TWIN})
    twins = {str(d["_id"]) for d in ready[names.LISTENING_HISTORY].find({"userId": TWIN})}
    found = only(ready)
    assert (found.subject, found.count) == ("listening_history.userId → users", len(twins))
    assert set(found.ids) <= twins
    assert found.what == "refer to 1 ids that are not there"
    assert TWIN_TEXT not in str(found)


def test_a_list_that_is_gone_is_a_note(ready):
    context = {"recommendationId": ObjectId()}
    ids = put(ready, names.USER_FEEDBACK, *(said("ann", "track-01", context=context) for _ in range(4)))
    found = only(ready)
    assert (found.state, found.count) == ("note", 4)
    assert set(found.ids) < set(ids)
    assert "by design" in found.do


def test_no_reference_is_no_reference_to_nothing(ready):
    put(ready, names.LISTENING_HISTORY, play(context={"recommendationId": None}), play(context=None), play())
    assert not_ok(ready) == []


def test_an_id_of_a_document_that_may_be_a_name_is_not_told(ready):
    put(ready, names.LISTENING_HISTORY, play(trackId=7, _id="ann@example.com"), play(trackId=7, _id=12))
    assert only(ready).ids == ("an _id of type str", "12")


@pytest.mark.parametrize(
    ("tokens", "state"),
    [
        ({"accessToken": SECRET}, "wrong"),
        ({"accessToken": "v1.aes256gcm.AAAA", "refreshToken": SECRET}, "wrong"),
        ({"accessToken": "v1.aes256gcm.AAAA", "refreshToken": None}, "ok"),
        ({"accessToken": " ", "scope": "plain words"}, "ok"),
        ({}, "ok"),
        (None, "ok"),
    ],
)
def test_a_token_that_anybody_can_read_is_told_and_not_shown(ready, tokens, state):
    put(ready, names.USERS, account("eve", spotifyTokens=tokens))
    found = findings(ready)["secrets", "users.spotifyTokens"]
    assert (found.state, found.count) == (state, int(state == "wrong"))
    assert SECRET not in str(list(check(ready)))


def test_tokens_in_the_place_of_an_object_break_a_rule_that_only_the_server_is_asked_about(ready):
    put(ready, names.USERS, account("eve", spotifyTokens=SECRET), account("zoe", spotifyTokens=7))
    assert [(found.subject, found.count) for found in not_ok(ready)] == [
        ("users, spotifyTokens", 2),
        ("users.spotifyTokens", 1),
    ]
    assert SECRET not in str(list(check(ready)))


def test_tokens_are_asked_for_once_and_by_no_other_query(ready, server_uri):
    projections: list[str] = []

    class Listener(monitoring.CommandListener):
        def started(self, event: monitoring.CommandStartedEvent) -> None:
            if event.command_name == "find" and event.command["find"] == names.USERS:
                projections.append(str(event.command["projection"]))

        def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

        def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    with MongoClient(server_uri, event_listeners=[Listener()]) as client:
        list(check(client[ready.name]))
    assert sorted(projections) == ["{'_id': 1}", "{'spotifyTokens': 0}", "{'spotifyTokens': 1}"]


@pytest.mark.parametrize(
    ("ip", "state"), [(ADDRESS, "wrong"), (f"{ADDRESS}, 10.0.0.1", "wrong"), ("ab" * 16, "ok"), (None, "ok"), (7, "ok")]
)
def test_an_address_is_told_and_not_shown(ready, ip, state):
    put(ready, names.EVENTS, {"type": "user.login", "timestamp": NOW, "metadata": {"ip": ip}})
    found = findings(ready)["secrets", "events.metadata.ip"]
    assert (found.state, found.count) == (state, int(state == "wrong"))
    assert ADDRESS not in str(list(check(ready)))


def test_a_lost_index_is_told_with_the_queries_that_want_it(ready):
    ready[names.TRACKS].drop_index("audioFeatures.energy_1_audioFeatures.valence_1")
    schema, queries = not_ok(ready)
    assert schema.what == "create index tracks.audioFeatures.energy_1_audioFeatures.valence_1"
    assert (queries.check, queries.count, queries.what) == ("queries", 1, "tracks: mood tracks")
    assert {schema.state, queries.state} == {"wrong"}


def test_a_ttl_of_another_length_is_wrong(ready):
    ready.command("collMod", names.EVENTS, index={"name": "timestamp_1", "expireAfterSeconds": 60})
    assert (only(ready).state, only(ready).what) == ("wrong", "change TTL events.timestamp_1")


def test_an_extra_index_and_a_validator_that_only_warns_are_notes(ready):
    plan.apply(ready, Choices("warn"))
    ready[names.TRACKS].create_index("name", name="by_name")
    extra, warning = not_ok(ready)
    assert (extra.state, extra.what) == ("note", "tracks.by_name")
    assert (warning.state, warning.count) == ("note", 11)
    assert warning.what == "users, user_settings, listening_history and 8 more"


def test_progress_is_told_of_every_collection(ready):
    told: dict[str, tuple[int, int | None]] = {}
    list(check(ready, lambda what, done, total: told.update({what: (done, total)})))
    assert told["checking listening_history"] == (29, 29)
    assert {"checking users", "checking tokens", "checking listening_history.trackId"} <= told.keys()


# --- the command


def test_the_command_ends_with_0_where_nothing_is_wrong(ready, settings):
    ready[names.TRACKS].create_index("name", name="by_name")  # a note
    status, out, _ = echotune("schema", "check")
    assert (status, out.splitlines()[-1]) == (0, "nothing is wrong")
    assert "tracks.by_name" in out


def test_the_command_ends_with_1_and_says_what_to_do(ready, settings):
    (wrong,) = put(ready, names.TRACKS, song(99, popularity=900))
    status, out, _ = echotune("schema", "check")
    assert (status, out.splitlines()[-1]) == (1, "1 of 28 checks found something wrong")
    assert wrong in out
    status, out, _ = echotune("schema", "check", "--json")
    told = json.loads(out)
    assert (status, told["wrong"], len(told["findings"])) == (1, 1, 28)
    assert {found["state"] for found in told["findings"]} == {"ok", "wrong"}
    (found,) = [found for found in told["findings"] if found["state"] == "wrong"]
    assert found == {
        "check": "documents",
        "subject": "tracks",
        "state": "wrong",
        "count": 1,
        "ids": [wrong],
        "what": "break a rule, the first: popularity is more than 100",
        "do": "mend them; docs/data-model.md has the rules of tracks",
    }
