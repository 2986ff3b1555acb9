"""Every query that the code sends is declared, and every declared one is served by an index or says why not."""

import base64
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from documents import BOUND, SMALL, TWIN, fill_small_world
from pydantic import SecretStr
from pymongo import MongoClient, monitoring
from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.attribution.attribute import attribute_feedback
from features.erasure.erase import erase, resolve_user
from features.erasure.tombstones import Tombstones
from features.erasure.traces import find_traces
from features.errors import DatabaseError, NotFoundError, StaleWriteError
from features.monitoring import Thresholds, examine
from features.release.build import build_release
from features.release.ledger import find_release, hold_lease
from features.release.manifest import Manifest, release_folder
from features.release.mirror import mirror_cache
from features.release.publish import publish_release, rollback, switch, upload, verify
from features.release.retention import pin, prune
from features.release.store import FeatureStore
from features.schema import names, plan, queries
from features.schema.check import REFERENCES, check
from features.schema.collections import COLLECTIONS
from features.schema.migrations import migrate
from features.schema.queries import COLLSCAN, Query, explain
from features.schema.query_list import QUERIES
from features.schema.user_settings import read_settings, update_settings
from features.settings import Settings
from features.snapshot.take import take_snapshot
from features.sources.importer import import_table, parse_mapping
from features.storage import write_json

NOW = datetime.now(UTC).replace(microsecond=0)
SERVED = [query for query in QUERIES if not query.whole]


def title(query: Query) -> str:
    return f"{query.collection}-{query.name}".replace(" ", "-")


# --- what a query looks like without its values

Shape = tuple[str, str, tuple[Any, ...], tuple[Any, ...], str]


def filter_shape(query: Any) -> tuple[str, ...]:
    """Paths and operators, sorted.

    >>> filter_shape({"b": 1, "a": {"$gte": 1, "$not": {"$type": "date"}}, "$or": [{"c": None}, {"c": {"$in": []}}]})
    ('$or(c | c $in)', 'a $gte $not $type', 'b')
    """
    return tuple(sorted(_condition(path, value) for path, value in query.items()))


def _condition(path: str, value: Any) -> str:
    if path in {"$or", "$and", "$nor"}:
        return f"{path}({' | '.join(' & '.join(filter_shape(part)) for part in value)})"
    return " ".join([path, *_operators(value)])


def _operators(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and any(str(name).startswith("$") for name in value):
        for name in sorted(value):
            yield name
            yield from _operators(value[name]) if name == "$not" else ()


def pipeline_shape(stages: Any) -> tuple[Any, ...]:
    """Each stage by its name; a `$match` by its filter too."""
    return tuple(
        (name, filter_shape(content)) if name == "$match" else (name,)
        for stage in stages
        for name, content in stage.items()
    )


def shape_of(query: Query) -> Shape:
    """What is compared of a declared query."""
    if query.kind == "aggregate":
        return (query.collection, query.kind, pipeline_shape(query.pipeline), (), query.hint)
    return (query.collection, query.kind, filter_shape(query.filter), query.sort, query.hint)


COUNTING = {"$group": {"_id": 1, "n": {"$sum": 1}}}
"""What the driver makes of a `count_documents`."""


def shapes_of_command(command: Mapping[str, Any]) -> Iterator[Shape]:
    """The shapes of the queries in a command; none for one that looks for nothing, such as an insert."""
    name, collection = next(iter(command.items()))
    if not isinstance(collection, str) or collection.startswith("system."):
        return
    hint = command.get("hint", "")
    if name == "find":
        sort = tuple(command.get("sort", {}).items())
        yield collection, "find", filter_shape(command.get("filter", {})), sort, hint
    elif name == "aggregate" and command["pipeline"][1:] == [COUNTING]:
        yield collection, "count", filter_shape(command["pipeline"][0]["$match"]), (), hint
    elif name == "aggregate" and command["pipeline"][0].keys() & {"$collStats", "$indexStats"}:
        return  # figures that the server keeps
    elif name == "aggregate":
        yield collection, "aggregate", pipeline_shape(command["pipeline"]), (), hint
    elif name == "count" and command.get("query"):  # without a query it is an estimate, which reads nothing
        yield collection, "count", filter_shape(command["query"]), (), hint
    elif name in {"distinct", "findAndModify", "mapReduce"}:
        yield collection, name, filter_shape(command.get("query", {})), tuple(command.get("sort", {}).items()), hint
    elif name in {"update", "delete"}:
        for statement in command[f"{name}s"]:
            yield collection, name, filter_shape(statement["q"]), (), statement.get("hint", "")


class Recorder(monitoring.CommandListener):
    """Notes the shape of every query that a client sends."""

    def __init__(self) -> None:
        self.shapes: dict[Shape, str] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        for shape in shapes_of_command(event.command):
            self.shapes.setdefault(shape, str(event.command)[:300])

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


# --- what the code does, so that it sends what it sends


@dataclass
class World:
    """A database with the small world in it, and a release of that on disk.

    Attributes:
        database: of a client that is listened to.
        aside: the same, not listened to.
        home: where releases and files are.
        manifest: of the release.
    """

    database: Database
    aside: Database
    home: Path
    manifest: Manifest

    def another(self, number: int) -> Manifest:
        """The release under another id, built so many hours after the first."""
        made = replace(
            self.manifest, id=f"2026-02-{number:02d}-{number:06x}", built_at=NOW - timedelta(hours=24 - number)
        )
        folder = release_folder(self.home, made.id)
        shutil.copytree(release_folder(self.home, self.manifest.id), folder, dirs_exist_ok=True)
        write_json(folder / "manifest.json", made.to_json())
        return made

    def publish(self, release: Manifest) -> None:
        with hold_lease(self.database) as token:
            verify(self.database, release, upload(self.database, self.home, release, token))
            switch(self.database, release, token)


def importing(world: World) -> None:
    files = {
        "tracks": "track_id,name\ntrack-01,New name\ntrack-99,New track\n",
        "users": "user_id,email\nann,another@example.com\nnew,new@example.com\n",
        "plays": "user_id,track_id,played_at\nann,track-01,2026-02-01T00:00:00Z\n",
        "feedback": "user_id,track_id,signal,created_at\nann,track-01,like,2026-02-01T00:00:00Z\n",
    }
    for kind, content in files.items():
        path = world.home / f"{kind}.csv"
        path.write_text(content)
        import_table(world.database, kind, path, home=world.home, now=NOW, mapping=parse_mapping([]))


def taking_snapshots(world: World) -> None:
    """One after another, with a play that is judged again and one that is gone."""
    world.aside[names.LISTENING_HISTORY].insert_one(
        {"userId": "ann", "trackId": "t", "playedAt": NOW + timedelta(hours=1), "importedAt": BOUND}
    )
    take_snapshot(world.database, world.home, NOW)
    world.aside[names.LISTENING_HISTORY].delete_one({"userId": "cat"})
    assert len(take_snapshot(world.database, world.home, NOW).notes) == 1


def publishing(world: World) -> None:
    """Several releases, so that old ones expire; one left halfway, one that lost a document, two ways back."""
    for number in (1, 2, 3, 4):
        world.publish(world.another(number))
    with hold_lease(world.database) as token:
        upload(world.database, world.home, world.another(5), token)
    with hold_lease(world.database) as token:
        publish_release(world.database, world.home, world.another(6).id, token)
        prune(world.database, world.home, token, 2, NOW + timedelta(days=1))
    with hold_lease(world.database) as token:
        mirror_cache(world.database, world.home, world.another(6), token)
    world.aside[names.RECOMMENDATIONS].delete_one({"release": world.another(6).id})
    world.publish(world.another(6))
    with hold_lease(world.database) as token:
        rollback(world.database, token)
    pin(world.database, world.another(4).id, NOW)


def reading(world: World) -> None:
    world.publish(world.another(7))
    store = FeatureStore(world.database)
    store.profile("ann")
    store.profile(TWIN)
    store.similar_users("ann")
    store.recommendations("ann")
    store.similar_tracks("track-01")
    store.track_labels(["track-01"])
    for table in ("user_profile", "track_embedding", "similarity", "recommendations"):
        store.table(table)
    store.get_online_features(["user_profile:confidence", "recommendations:hybrid"], [{"user_id": "ann"}])
    with suppress(NotFoundError):
        find_release(world.database, "no such release")


def asking(world: World) -> None:
    queries.recent_history(world.database, "ann", BOUND)
    queries.mood_tracks(world.database, 0.3, 0.3)
    queries.strategy_performance(world.database, BOUND)
    queries.users_by_overlap(world.database, "ann")


def attributing(world: World) -> None:
    """With and without the release's folder, with a play that names its list and one of unknown length."""
    lists = list(world.aside[names.RECOMMENDATIONS].find({"release": world.another(7).id, "userId": "ann"}))
    play = {"userId": "ann", "trackId": lists[0]["candidates"][0]["trackId"], "playedAt": datetime.now(UTC)}
    named = {"context": {"recommendationId": lists[0]["_id"]}, "playDuration": 1000}
    world.aside[names.LISTENING_HISTORY].insert_many([{**play, **named}, play])
    for home in (world.home, world.home / "nothing"):
        with hold_lease(world.database) as token:
            done = attribute_feedback(world.database, home, token, datetime.now(UTC) + timedelta(minutes=1))
        assert (done.explicit, done.inferred) == (1, 1)
    world.aside[names.LISTENING_HISTORY].delete_many({"playedAt": play["playedAt"]})


def changing_settings(world: World) -> None:
    world.aside[names.USER_SETTINGS].insert_one({"userId": "ann"})
    version, _ = read_settings(world.database, "ann")
    update_settings(world.database, "ann", version, {"music.energy": 0.5}, NOW)
    update_settings(world.database, "ann", version + 1, {"music.energy": 0.5}, NOW)
    with suppress(StaleWriteError):
        update_settings(world.database, "ann", version + 1, {"music.energy": 0.5}, NOW)


def applying_the_schema(world: World) -> None:
    """With a value repeated for each unique index, so that none can be made."""
    unique = [(owner.name, index.keys[0][0]) for owner in COLLECTIONS for index in owner.indexes if index.unique]
    for collection in dict.fromkeys(collection for collection, _ in unique):
        world.aside[collection].drop_indexes()
        repeated = {path: "one" for owner, path in unique if owner == collection}
        world.aside[collection].insert_many([{**repeated}, {**repeated}], bypass_document_validation=True)
    assert len(plan.apply(world.database).refused) == len(unique)


def checking(world: World) -> None:
    """With references that point nowhere, so that the check looks for who has them."""
    lost = {"userId": "nobody", "trackId": "nothing", "context": {"recommendationId": ObjectId()}}
    for collection in {reference.collection for reference in REFERENCES}:
        world.aside[collection].insert_one({**lost, "sessionId": "lost"}, bypass_document_validation=True)
    assert [found for found in check(world.database) if found.check == "references" and found.state == "ok"] == []


def migrating(world: World) -> None:
    world.aside[names.EVENTS].insert_one({"type": "user.login", "timestamp": NOW, "metadata": {"ip": "192.0.2.1"}})
    world.aside[names.USERS].update_one({"userId": "ann"}, {"$set": {"spotifyTokens": {"accessToken": "plain"}}})
    bare = {"userId": "ann", "trackId": "track-02", "playedAt": BOUND, "playedPercentage": 50}
    world.aside[names.LISTENING_HISTORY].insert_one(bare)
    world.aside[names.LISTENING_HISTORY].create_index([("playedAt", -1)])
    key = SecretStr(base64.b64encode(bytes(32)).decode())
    settings = Settings(echotune_hash_key=key, echotune_token_key=key)
    assert all(report.changed for report in migrate(world.database, settings))


def watching(world: World) -> None:
    examine(world.database, world.home, NOW, Thresholds())


def erasing(world: World) -> None:
    key = SecretStr(base64.b64encode(bytes(32)).decode())
    assert resolve_user(world.database, "bob", Tombstones()) == "bob"
    erase(world.database, world.home, key, "bob", BOUND)
    find_traces(world.database, world.home, "bob")
    with pytest.raises(NotFoundError):
        erase(world.database, world.home, key, "nobody at all", BOUND)


SCENARIOS: list[Callable[[World], None]] = [
    importing,
    taking_snapshots,
    publishing,
    reading,
    attributing,
    asking,
    changing_settings,
    checking,
    applying_the_schema,
    migrating,
    watching,
    erasing,
]
"""Whoever sends a new query adds what makes the code send it here, and the query to `QUERIES`."""


@pytest.fixture(scope="module")
def sent(server_uri, tmp_path_factory) -> Iterator[tuple[Database, dict[Shape, str]]]:
    """What all scenarios send, by shape with a first example, and the database they leave."""
    name = f"echotune_test_plans_{ObjectId()}"
    recorder = Recorder()
    home = tmp_path_factory.mktemp("plans")
    with (
        MongoClient(server_uri, tz_aware=True) as quiet,
        MongoClient(server_uri, tz_aware=True, event_listeners=[recorder]) as client,
    ):
        plan.apply(quiet[name])
        fill_small_world(quiet[name])
        manifest = build_release(take_snapshot(client[name], home, BOUND), home, SMALL, BOUND)
        world = World(client[name], quiet[name], home, manifest)
        for scenario in SCENARIOS:
            scenario(world)
        yield quiet[name], recorder.shapes
        quiet.drop_database(name)


@pytest.fixture(scope="module")
def applied(server_uri) -> Iterator[Database]:
    """A database with every index, and something in it. Not to be changed."""
    name = f"echotune_test_indexes_{ObjectId()}"
    with MongoClient(server_uri, tz_aware=True) as client:
        plan.apply(client[name])
        fill_small_world(client[name])
        yield client[name]
        client.drop_database(name)


# --- tests


def test_every_query_that_is_sent_is_declared(sent):
    declared = {shape_of(query) for query in QUERIES}
    undeclared = {shape: example for shape, example in sent[1].items() if shape not in declared}
    assert not undeclared, "\n".join(map(str, sorted(undeclared)))


def test_every_declared_query_is_sent(sent):
    assert [title(query) for query in QUERIES if shape_of(query) not in sent[1]] == []


def test_names_are_told_apart():
    titles = [title(query) for query in QUERIES]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("query", SERVED, ids=title)
def test_a_declared_query_is_served_by_an_index(applied, query):
    assert explain(applied, query) != COLLSCAN


def test_without_its_index_a_query_goes_another_way(applied, db):
    known: dict[tuple[str, str], Query] = {}
    for query in SERVED:
        known.setdefault((query.collection, explain(applied, query)), query)
    droppable = {place: query for place, query in known.items() if place[1] != "_id_"}
    assert len(droppable) >= 8
    plan.apply(db)
    fill_small_world(db)
    for (collection, name), query in droppable.items():
        assert explain(db, query) == name
        db[collection].drop_index(name)
        assert explain(db, query) != name


def is_by_id(query: Query) -> bool:
    return "_id" in (query.pipeline[0].get("$match", {}) if query.pipeline else query.filter)


def test_without_any_index_every_query_but_those_by_id_reads_the_collection(db):
    fill_small_world(db)
    for collection in COLLECTIONS:
        db[collection.name].insert_one({"userId": "ann", "trackId": "track-01"})
    by_id = {title(query) for query in SERVED if is_by_id(query)}
    assert {title(query) for query in SERVED if explain(db, query) != COLLSCAN} == by_id


@pytest.mark.parametrize(("hint", "told"), [("userId_1", COLLSCAN), ("", None)])
def test_a_hint_at_an_index_that_is_not_there_is_refused_by_mongodb_and_told(db, hint, told):
    fault = {"errorCode": 2, "failCommands": ["explain"]}
    query = queries.aggregate("ids", names.USERS, {"$group": {"_id": "$userId"}}, hint=hint)
    try:
        db.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=fault)
    except OperationFailure:
        pytest.skip("this server has no fail points")
    if told:
        assert explain(db, query) == told
    else:
        with pytest.raises(DatabaseError):
            explain(db, query)


# --- plans as MongoDB tells them, from its manual: what the built-in server answers is the simplest of these

IXSCAN = {"stage": "IXSCAN", "keyPattern": {"userId": 1}, "indexName": "userId_1"}
FETCH = {"stage": "FETCH", "inputStage": IXSCAN}
SCAN = {"stage": "COLLSCAN", "direction": "forward"}
MERGED = {"stage": "SUBPLAN", "inputStage": {"stage": "OR", "inputStages": [IXSCAN, {**IXSCAN, "indexName": "b_1"}]}}
BY_ID = {"stage": "EXPRESS_IXSCAN", "keyPattern": "{ _id: 1 }", "indexName": "_id_"}


def planner(winning: dict[str, Any], *rejected: dict[str, Any]) -> dict[str, Any]:
    return {"queryPlanner": {"winningPlan": winning, "rejectedPlans": list(rejected)}}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (planner(FETCH, SCAN), "userId_1"),
        (planner(SCAN, FETCH), COLLSCAN),
        (planner({"stage": "SORT", "inputStage": FETCH}), "userId_1"),
        (planner(MERGED), "b_1, userId_1"),
        (planner({"stage": "OR", "inputStages": [IXSCAN, SCAN]}), COLLSCAN),
        (planner({"stage": "IDHACK"}), "_id_"),
        (planner(BY_ID), "_id_"),
        (planner({"stage": "CLUSTERED_IXSCAN", "direction": "forward"}), "_id_"),
        (planner({"stage": "EOF"}), "EOF"),
        (
            planner({"queryPlan": {"stage": "GROUP", "inputStage": FETCH}, "slotBasedPlan": {"stages": "s1"}}),
            "userId_1",
        ),
        ({"stages": [{"$cursor": planner(FETCH, SCAN)}, {"$group": {"_id": "$stage"}}]}, "userId_1"),
        (
            planner({"stage": "SINGLE_SHARD", "shards": [{"shardName": "a", "winningPlan": FETCH}]}),
            "userId_1",
        ),
        ({"shards": {"a": planner(FETCH), "b": planner(SCAN)}}, COLLSCAN),
        ({"shards": {"a": {"stages": [{"$cursor": planner(FETCH)}]}}}, "userId_1"),
        (planner(FETCH) | {"executionStats": {"executionStages": FETCH, "allPlansExecution": []}}, "userId_1"),
        (planner(FETCH) | {"command": {"filter": {"stage": "COLLSCAN"}}}, "userId_1"),
    ],
)
def test_the_plan_is_found_wherever_a_server_puts_it(answer, told):
    assert queries.index_of(answer) == told
