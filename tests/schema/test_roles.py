"""The two roles: what they grant, that it is enough for the work, and that a server refuses the rest.

The built-in server checks a privilege's action for the database as a whole, whatever collection it was granted
on. What it therefore can't refuse is tested on a server that can (`make test MONGODB_URI=…` with an
administrator's account) and skipped on others; that the work asks for no more than was granted, collection by
collection, is seen from the commands that the driver sends.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from commands import echotune
from pydantic import SecretStr
from pymongo import InsertOne, MongoClient, monitoring
from pymongo.database import Database
from pymongo.errors import OperationFailure
from test_database import PASSWORD, USER, secured

from features.attribution.attribute import attribute_feedback
from features.database import UNAUTHORIZED, open_database
from features.errors import DatabaseError
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import all_releases, hold_lease
from features.release.mirror import mirror_cache
from features.release.publish import publish_release, rollback
from features.release.retention import prune
from features.release.store import FeatureStore
from features.schema import names, plan, roles
from features.schema.collections import COLLECTIONS
from features.settings import Settings, get_settings
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

GIVEN_URI = os.environ.get("TEST_MONGODB_URI", "")
INPUTS = (
    names.USERS,
    names.USER_SETTINGS,
    names.LISTENING_HISTORY,
    names.USER_FEEDBACK,
    names.TRACKS,
    names.CHAT_SESSIONS,
)
OUTPUTS = (names.FEATURE_STORE, names.RECOMMENDATIONS, names.RECOMMENDATIONS_CACHE, names.RELEASES)
PEOPLE = (
    names.USERS,
    names.USER_SETTINGS,
    names.LISTENING_HISTORY,
    names.USER_FEEDBACK,
    names.CHAT_SESSIONS,
    names.EVENTS,
)
"""What tells of people and is nothing a reader of releases needs."""

BATCH = roles.BATCH.grants

Act = Callable[[Database], object]


@dataclass(frozen=True)
class Guarded:
    """A database on a server that asks for a password, with an account for each role."""

    name: str
    administrator: str
    batch: str
    reader: str
    """Three connection strings."""

    def settings(self, uri: str, home: Path = Path("unused")) -> Settings:
        return Settings(mongodb_uri=SecretStr(uri), mongodb_database=self.name, echotune_home=home)


@contextmanager
def account(administrator: str, name: str, role: str, database: str) -> Iterator[str]:
    """An account with one role of the database, made as docs/access.md says, and its connection string."""
    with MongoClient(administrator) as client:
        granted = [{"role": role, "db": database}]
        client.admin.command("createUser", name, pwd=PASSWORD, roles=granted)
        address = urlsplit(administrator)
        yield address._replace(netloc=f"{name}:{PASSWORD}@{address.netloc.rpartition('@')[2]}").geturl()
        client.admin.command("dropUser", name)


@pytest.fixture(scope="module")
def administrator(quick_folder: Path) -> Iterator[str]:
    if "@" in GIVEN_URI and may_make_roles(GIVEN_URI):
        yield GIVEN_URI
    else:
        with secured(quick_folder / "roles") as server:
            yield server.uri(USER)


def may_make_roles(uri: str) -> bool:
    with MongoClient(uri) as client:
        database = client[f"echotune_probe_{uuid.uuid4().hex[:12]}"]
        try:
            roles.create(database, [roles.Role("probe", {"mine": ("find",)})])
        except DatabaseError:
            return False
        database.command("dropAllRolesFromDatabase")
        return True


@pytest.fixture(scope="module")
def guarded(administrator: str) -> Iterator[Guarded]:
    name = f"echotune_test_{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        client = stack.enter_context(MongoClient(administrator))
        database = client[name]
        stack.callback(client.drop_database, name)
        plan.apply(database)
        roles.create(database)
        stack.callback(database.command, "dropAllRolesFromDatabase")
        now = datetime.now(UTC)
        database[names.USERS].insert_one(
            {"userId": "ann", "email": "ann@example.org", "spotifyTokens": {"access": "x"}}
        )
        database[names.LISTENING_HISTORY].insert_one({"userId": "ann", "trackId": "t1", "playedAt": now})
        batch, reader = (
            stack.enter_context(account(administrator, f"{kind}-{name[-12:]}", role.name, name))
            for kind, role in (("batch", roles.BATCH), ("reader", roles.READER))
        )
        yield Guarded(name, administrator, batch, reader)


@pytest.fixture(scope="module")
def tells_collections_apart(administrator: str) -> None:
    """Skips where a server lets an account into one collection by a privilege on another."""
    name = f"echotune_probe_{uuid.uuid4().hex[:12]}"
    narrow = roles.Role("narrow", {"mine": ("find",)})
    with MongoClient(administrator) as client:
        client[name]["theirs"].insert_one({})
        roles.create(client[name], [narrow])
        try:
            with account(administrator, name, narrow.name, name) as uri, MongoClient(uri) as narrow_client:
                narrow_client[name]["mine"].find_one()
                refused = is_refused(lambda database: database["theirs"].find_one(), narrow_client[name])
        finally:
            client[name].command("dropAllRolesFromDatabase")
            client.drop_database(name)
    if not refused:
        pytest.skip("this server checks privileges by database, not by collection")


def is_refused(act: Act, database: Database) -> bool:
    try:
        act(database)
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            return True
        raise
    return False


# --- what the roles are


def test_no_role_may_change_the_schema_or_another_database():
    harmless = {"find", "insert", "update", "remove", "listIndexes", "listCollections"}
    for role in roles.ROLES:
        found = roles.definition(role, "music")
        assert found["roles"] == []
        for privilege in found["privileges"]:
            assert privilege["resource"].keys() == {"db", "collection"}
            assert privilege["resource"]["db"] == "music"
            assert set(privilege["actions"]) <= harmless
            if privilege["resource"]["collection"] == "":
                assert privilege["actions"] == ["listCollections"]


def test_the_batch_role_reads_the_inputs_adds_events_and_writes_the_outputs():
    writing = {collection: {*granted} & {"insert", "update", "remove"} for collection, granted in BATCH.items()}
    assert BATCH.keys() - {""} == {*INPUTS, names.EVENTS, *OUTPUTS} == {collection.name for collection in COLLECTIONS}
    assert all("find" in BATCH[collection] for collection in BATCH.keys() - {""})
    assert all(writing[collection] == set() for collection in INPUTS)
    assert writing[names.EVENTS] == {"insert"}
    assert writing[names.RELEASES] == {"insert", "update"}
    assert all(writing[c] == {"insert", "update", "remove"} for c in OUTPUTS if c != names.RELEASES)


def test_the_reader_role_only_reads_and_nothing_of_people():
    assert {action for granted in roles.READER.grants.values() for action in granted} == {"find"}
    assert roles.READER.grants.keys() == {*OUTPUTS, names.TRACKS}
    assert not roles.READER.grants.keys() & {*PEOPLE}


def test_the_printed_statements_are_the_definitions():
    first, *calls = roles.statements("music").split("db.createRole(")
    assert first == 'db = db.getSiblingDB("music");\n'
    for call, role in zip(calls, roles.ROLES, strict=True):
        found = roles.definition(role, "music")
        assert f'role: "{role.name}"' in call
        printed = [json.loads(line.strip().rstrip(",")) for line in call.splitlines() if line.startswith("    {")]
        assert printed == found["privileges"]
        assert call.strip().endswith("],\n  roles: [],\n});")


# --- making them


@pytest.fixture
def roles_dropped(db: Database, server_uri: str) -> Iterator[None]:
    if not may_make_roles(server_uri):
        pytest.skip("this account may not make roles")
    yield
    db.command("dropAllRolesFromDatabase")


def grants_in(database: Database, role: str) -> dict[str, set[str]]:
    (found,) = database.command("rolesInfo", role, showPrivileges=True)["roles"]
    return {entry["resource"]["collection"]: set(entry["actions"]) for entry in found["privileges"]}


@pytest.mark.usefixtures("roles_dropped")
def test_creating_twice_is_once_and_a_role_that_strayed_is_brought_back(db):
    assert roles.create(db) == {"echotuneBatch": "created", "echotuneReader": "created"}
    assert roles.create(db) == {"echotuneBatch": "unchanged", "echotuneReader": "unchanged"}
    wide = {"resource": {"db": db.name, "collection": names.USERS}, "actions": ["find", "remove"]}
    db.command("updateRole", "echotuneReader", privileges=[wide], roles=[])
    assert roles.create(db) == {"echotuneBatch": "unchanged", "echotuneReader": "updated"}
    for role in roles.ROLES:
        assert grants_in(db, role.name) == {name: set(granted) for name, granted in role.grants.items()}


@pytest.mark.usefixtures("roles_dropped")
def test_a_role_made_of_others_is_brought_back_too(db):
    roles.create(db)
    db.command("updateRole", "echotuneReader", roles=[{"role": "readWrite", "db": db.name}])
    assert roles.create(db)["echotuneReader"] == "updated"
    assert db.command("rolesInfo", "echotuneReader")["roles"][0]["roles"] == []


@pytest.mark.usefixtures("roles_dropped")
def test_the_order_in_which_a_server_tells_privileges_does_not_matter(db):
    roles.create(db)
    found = roles.definition(roles.BATCH, db.name)
    turned = [{**entry, "actions": entry["actions"][::-1]} for entry in reversed(found["privileges"])]
    db.command("updateRole", "echotuneBatch", privileges=turned, roles=[])
    assert roles.create(db)["echotuneBatch"] == "unchanged"


@pytest.mark.usefixtures("settings", "roles_dropped")
def test_the_command_prints_without_a_database_and_says_what_it_did_with_one(db, monkeypatch):
    assert echotune("schema", "roles", "--create") == (
        0,
        f"role echotuneBatch created in {db.name}\nrole echotuneReader created in {db.name}\n",
        "",
    )
    assert json.loads(echotune("schema", "roles", "--create", "--json")[1]) == {
        "echotuneBatch": "unchanged",
        "echotuneReader": "unchanged",
    }
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9/")  # nothing is there
    assert echotune("schema", "roles") == (0, roles.statements(db.name) + "\n", "")
    printed = json.loads(echotune("schema", "roles", "--json")[1])
    assert printed == [roles.definition(role, db.name) for role in roles.ROLES]


def test_an_account_that_may_not_make_roles_is_told_what_to_do(guarded):
    with (
        open_database(guarded.settings(guarded.batch)) as database,
        pytest.raises(DatabaseError, match=r"this account may not make roles in database .*userAdmin") as error,
    ):
        roles.create(database)
    assert "\n" not in str(error.value)


# --- what a server refuses


@pytest.mark.parametrize(
    "act",
    [
        lambda db: db[names.FEATURE_STORE].create_index("x"),
        lambda db: db[names.USERS].create_index("x"),
        lambda db: db[names.USERS].drop_index("email_1"),
        lambda db: db[names.RELEASES].drop(),
        lambda db: db[names.USERS].drop(),
        lambda db: db[names.RECOMMENDATIONS].rename("elsewhere"),
        lambda db: db.create_collection("more", check_exists=False),
        lambda db: db.client.drop_database(db.name),
        lambda db: db.client["another"]["things"].find_one(),
        lambda db: db.client["another"]["things"].insert_one({}),
        lambda db: db.command("createUser", "eve", pwd="x", roles=["dbOwner"]),
        lambda db: db.command("grantRolesToUser", "eve", roles=["dbOwner"]),
        lambda db: db.command("updateRole", "echotuneBatch", privileges=[]),
    ],
)
def test_the_batch_account_may_not_change_schema_accounts_or_other_databases(guarded, act):
    with MongoClient(guarded.batch) as client:
        assert is_refused(act, client[guarded.name])


WRITES: list[Callable[[Any], object]] = [
    lambda collection: collection.insert_one({"userId": "eve"}),
    lambda collection: collection.update_one({}, {"$set": {"changed": True}}),
    lambda collection: collection.update_one({"_id": 1}, {"$set": {"changed": True}}, upsert=True),
    lambda collection: collection.delete_one({}),
    lambda collection: collection.find_one_and_delete({}),
    lambda collection: collection.bulk_write([InsertOne({"userId": "eve"})]),
]


@pytest.mark.parametrize("collection", [c.name for c in COLLECTIONS])
def test_the_reader_account_may_write_nothing(guarded, collection):
    with MongoClient(guarded.reader) as client:
        for write in WRITES:
            assert is_refused(lambda database, write=write: write(database[collection]), client[guarded.name])
        for stage in ({"$out": collection}, {"$merge": collection}):
            assert is_refused(
                lambda database, stage=stage: list(database[names.TRACKS].aggregate([stage])), client[guarded.name]
            )


@pytest.mark.usefixtures("tells_collections_apart")
@pytest.mark.parametrize("collection", INPUTS)
def test_the_batch_account_may_not_write_to_an_input(guarded, collection):
    with MongoClient(guarded.batch) as client:
        for write in WRITES:
            assert is_refused(lambda database, write=write: write(database[collection]), client[guarded.name])
        assert is_refused(
            lambda database: list(database[names.RELEASES].aggregate([{"$merge": collection}])), client[guarded.name]
        )


@pytest.mark.usefixtures("tells_collections_apart")
@pytest.mark.parametrize("collection", PEOPLE)
def test_the_reader_account_may_not_read_about_people(guarded, collection):
    with MongoClient(guarded.reader) as client:
        joined = [{"$lookup": {"from": collection, "pipeline": [], "as": "found"}}]
        for act in (
            lambda database: database[collection].find_one(),
            lambda database: database[collection].count_documents({}),
            lambda database: database[collection].estimated_document_count(),
            lambda database: database[collection].distinct("userId"),
            lambda database: list(database[names.TRACKS].aggregate(joined)),
        ):
            assert is_refused(act, client[guarded.name])


@pytest.mark.usefixtures("tells_collections_apart")
@pytest.mark.parametrize(
    "act",
    [
        lambda db: db.command("collMod", names.FEATURE_STORE, validationLevel="off"),
        lambda db: db[names.EVENTS].update_one({}, {"$set": {"type": "other"}}),
        lambda db: db[names.EVENTS].delete_one({}),
        lambda db: db[names.RELEASES].delete_one({}),
        lambda db: db["more"].insert_one({}),
        lambda db: db["more"].find_one(),
    ],
)
def test_the_batch_account_may_not_do_what_only_a_narrower_check_refuses(guarded, act):
    with MongoClient(guarded.batch) as client:
        assert is_refused(act, client[guarded.name])


def test_a_schema_that_differs_is_for_an_administrator_and_told_so(guarded):
    with MongoClient(guarded.administrator) as client:
        database = client[guarded.name]
        database[names.USERS].drop_index("lastLoginAt_1")
        with (
            open_database(guarded.settings(guarded.batch)) as opened,
            pytest.raises(DatabaseError, match="let an administrator run `echotune schema apply`") as error,
        ):
            plan.apply(opened)
        assert "\n" not in str(error.value)
        assert "lastLoginAt_1" not in database[names.USERS].index_information()
        assert [change.subject for change in plan.apply(database).made] == ["lastLoginAt_1"]


# --- that they are enough


class Commands(monitoring.CommandListener):
    """What the driver sent: action, database and collection of each command, by MongoDB's own rules."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str, str]] = set()
        self.of_users: list[set[str]] = []
        """The fields that each query of `users` asked for; none stands for all."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        subject = event.command.get(event.command_name)  # the driver hides what a log-in says
        collection = subject if isinstance(subject, str) else ""
        if (event.command_name, collection) == ("find", names.USERS):
            self.of_users.append({*event.command.get("projection", {})})
        self.asked |= {(action, event.database_name, collection) for action in actions_of(event)}

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


FREE = {"ping", "hello", "ismaster", "saslStart", "saslContinue", "endSessions", "getMore", "killCursors"}
"""What any account may do: the last two with its own cursors."""
ACTIONS = {
    "find": {"find"},
    "count": {"find"},
    "insert": {"insert"},
    "delete": {"remove"},
    "listIndexes": {"listIndexes"},
    "listCollections": {"listCollections"},
}


def actions_of(event: monitoring.CommandStartedEvent) -> set[str]:
    """The privileges that a command takes, as MongoDB's manual has them; a command not listed here fails."""
    if event.command_name in FREE:
        return set()
    if event.command_name == "update":
        upsert = any(update.get("upsert") for update in event.command["updates"])
        return {"update", "insert"} if upsert else {"update"}
    if event.command_name == "aggregate":
        stages = {name for stage in event.command["pipeline"] for name in stage}
        return {"find"} if stages <= {"$match", "$group", "$project", "$count"} else {f"aggregate {sorted(stages)}"}
    return ACTIONS.get(event.command_name, {event.command_name})


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Listens to every client made from now on in this test."""
    listener = Commands()
    registered = [*monitoring._LISTENERS.command_listeners, listener]
    monkeypatch.setattr(monitoring, "_LISTENERS", monitoring._LISTENERS._replace(command_listeners=registered))
    return listener


def granted_by(role: roles.Role, database: str) -> set[tuple[str, str, str]]:
    return {(action, database, collection) for collection, actions in role.grants.items() for action in actions}


@pytest.fixture
def as_batch(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The environment of the batch job's machine."""
    monkeypatch.setenv("MONGODB_URI", guarded.batch)
    monkeypatch.setenv("MONGODB_DATABASE", guarded.name)
    monkeypatch.setenv("ECHOTUNE_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def sampled(guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data to work on, imported by the administrator."""
    with MongoClient(guarded.administrator) as client:
        sample = make_sample(SampleSpec(users=20, tracks=60, days=20, seed=3), end=datetime.now(UTC))
        home = tmp_path_factory.mktemp("sample")
        write_sample(client[guarded.name], sample, home=home, now=datetime.now(UTC))


def publish(database: Database, home: Path, k: int) -> str:
    """The stages of a nightly run, without Prefect around them."""
    now = datetime.now(UTC)
    parameters = NightlyParameters.model_validate({"recommendations": {"k": k}})
    assert plan.apply(database).made == []
    with hold_lease(database) as token:
        built = build_release(take_snapshot(database, home, now), home, parameters, now)
        mirror_cache(database, home, publish_release(database, home, built.id, token), token)
    return built.id


@pytest.fixture
def app(guarded: Guarded) -> Iterator[Database]:
    """For what the app does; nobody listens to clients that were there before."""
    with MongoClient(guarded.administrator) as client:
        yield client[guarded.name]


def play_what_is_recommended(app: Database) -> None:
    found = app[names.RECOMMENDATIONS].find_one({"release": app[names.RELEASES].find_one("live")["release"]})
    play = {"userId": found["userId"], "trackId": found["candidates"][0]["trackId"], "playedAt": datetime.now(UTC)}
    app[names.LISTENING_HISTORY].insert_one({**play, "context": {"recommendationId": found["_id"]}})


@pytest.mark.usefixtures("sampled")
def test_the_work_takes_every_privilege_of_the_batch_role_and_no_other(guarded, app, as_batch, commands):
    with open_database(as_batch) as database:
        first, *_ = [publish(database, as_batch.echotune_home, k) for k in (4, 5, 6, 7, 8)]  # the oldest ones expire
        with hold_lease(database) as token:
            prune(database, as_batch.echotune_home, token, 3, datetime.now(UTC) + timedelta(hours=2))
            rollback(database, token)
            play_what_is_recommended(app)
            assert attribute_feedback(database, as_batch.echotune_home, token, datetime.now(UTC)).explicit == 1
        assert first in {entry["_id"] for entry in all_releases(database) if entry.get("expired")}
    assert commands.asked == granted_by(roles.BATCH, guarded.name)
    assert len(commands.of_users) == 5
    assert all(fields == {"_id", "userId", "country", "preferences"} for fields in commands.of_users)


@pytest.mark.usefixtures("sampled")
def test_a_store_of_features_takes_no_privilege_beyond_the_reader_role(guarded, as_batch, commands):
    with open_database(as_batch) as database:
        publish(database, as_batch.echotune_home, 9)
    commands.asked.clear()
    with open_database(guarded.settings(guarded.reader)) as database:
        store = FeatureStore(database)
        user = store.table("user_profile")["user_id"][0].as_py()
        track = store.table("track_embedding")["track_id"][0].as_py()
        assert store.profile(user)
        assert store.similar_users(user) is not None
        assert store.recommendations(user)["candidates"]
        similar = [entry["track_id"] for entry in store.similar_tracks(track)]
        assert " by " in store.track_labels(similar)[similar[0]]
        assert store.table("similarity").num_rows
        assert store.table("recommendations").num_rows
    pins = {("update", guarded.name, names.RELEASES)}  # tried, refused, and done without
    assert commands.asked <= granted_by(roles.READER, guarded.name) | pins
    read = {collection for _, _, collection in commands.asked}
    assert read >= {names.RELEASES, names.FEATURE_STORE, names.RECOMMENDATIONS, names.TRACKS}
