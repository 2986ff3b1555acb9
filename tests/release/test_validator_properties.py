"""Each validator lets in every document that our code writes, and refuses each of these with one field made wrong."""

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from corruptions import DATE, Document, corrupted, not_refused, schema_of, valid_documents
from documents import TWIN, TWIN_TEXT
from hypothesis import given, settings
from pymongo import MongoClient
from pymongo.database import Database

from features.erasure.erase import erase
from features.release.documents import OUTPUTS, ReleaseDocuments
from features.release.events import append_events
from features.release.ledger import hold_lease, move_pointer, read_pointer, record
from features.release.manifest import release_folder
from features.release.mirror import mirror_cache
from features.release.publish import rollback, switch, upload
from features.schema import names, plan
from features.schema.collections import COLLECTIONS
from features.schema.describe import fields
from features.schema.migrations import migrate
from features.schema.user_settings import update_settings
from features.settings import Settings
from features.sources.importer import import_table
from features.sources.kinds import KINDS

SCHEMAS = {collection.name: schema_of(collection.validator) for collection in COLLECTIONS}
CORRUPTIONS_AT_LEAST = 60
NOW = datetime.now(UTC).replace(microsecond=0)
HASH_KEY = "aGFzaCBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyAhISE="
DIGITS = "64b000000000000000000009"


@pytest.fixture(scope="module")
def guarded(server_uri) -> Database:
    """A database with every validator and no index: what is refused is refused by a validator, whatever its keys."""
    name = f"echotune_test_guarded_{ObjectId()}"
    with MongoClient(server_uri, tz_aware=True) as client:
        plan.apply(client[name], collections=[replace(collection, indexes=()) for collection in COLLECTIONS])
        yield client[name]
        client.drop_database(name)


def assert_accepted(database: Database, collection: str, documents: Iterable[Document]) -> None:
    """They go in as they are, and out again; and they have no field that the schema doesn't know."""
    whole = [deepcopy(document) for document in documents]
    assert {path for document in whole for path in unknown_fields(document, SCHEMAS[collection])} <= {"_id"}
    database[collection].insert_many(whole)
    database[collection].delete_many({})


def unknown_fields(value: Any, schema: Mapping[str, Any], parent: str = "") -> Iterable[str]:
    """The paths of fields that a schema doesn't name; one that names none of an object's lets it hold anything."""
    if isinstance(value, list):
        for item in value:
            yield from unknown_fields(item, schema.get("items", {}), f"{parent}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, field in value.items():
            if name not in schema["properties"]:
                yield f"{parent}.{name}".lstrip(".")
            else:
                yield from unknown_fields(field, schema["properties"][name], f"{parent}.{name}".lstrip("."))


def assert_each_corruption_is_refused(database: Database, collection: str, documents: Iterable[Document]) -> None:
    """There are enough, and the server refuses each with code 121."""
    wrong = [corruption for document in documents for corruption in corrupted(document, SCHEMAS[collection])]
    assert not_refused(database, collection, wrong) == []
    assert len({what for what, _ in wrong}) >= CORRUPTIONS_AT_LEAST


def paths_of(value: Any, parent: str = "") -> Iterable[str]:
    """The paths of a document's fields, as `describe.fields` writes them."""
    for name, field in value.items():
        path = f"{parent}{name}"
        yield path
        if isinstance(field, dict):
            yield from paths_of(field, f"{path}.")
        for item in field if isinstance(field, list) else []:
            if isinstance(item, dict):
                yield from paths_of(item, f"{path}[].")


# ---- features and recommendations, as a release has them -------------------------------------------------------------


def documents_of(original, output: str, vectors: str) -> list[Document]:
    home, manifest = original
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest, vectors)
    return [
        bson.decode(document.raw)
        for number in range(documents.chunks(output))
        for document in documents.chunk(output, number)
    ]


@pytest.mark.parametrize("vectors", ["double", "float32"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_all_documents_of_a_release_are_accepted_and_corruptions_of_one_are_not(guarded, original, output, vectors):
    documents = documents_of(original, output, vectors)
    assert_accepted(guarded, OUTPUTS[output], documents)
    fullest = max(documents, key=lambda document: len(bson.encode(document)))
    assert_each_corruption_is_refused(guarded, OUTPUTS[output], [fullest])


@pytest.mark.parametrize("output", ["user_profile", "track_embedding", "similarity"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_vector_of_another_length_than_its_dimensions_is_refused(guarded, original, output, change):
    document = documents_of(original, output, "double")[0]
    document["features"]["dimensions"] += change
    assert not_refused(guarded, names.FEATURE_STORE, [("dimensions", document)]) == []


# ---- what a run writes beside them -----------------------------------------------------------------------------------


def test_the_mirrored_cache_is_accepted_and_its_corruptions_are_not(guarded, ready, home, manifest):
    with hold_lease(ready) as token:
        mirror_cache(ready, home, manifest, token)
    ready.recommendations_cache.update_one({}, {"$inc": {"accessed": 1}, "$set": {"lastAccessedAt": DATE}})
    documents = list(ready.recommendations_cache.find())
    assert len(documents) == manifest.counts["recommendations"]
    assert_accepted(guarded, names.RECOMMENDATIONS_CACHE, documents)
    fullest = max(documents, key=lambda document: len(bson.encode(document)))
    assert_each_corruption_is_refused(guarded, names.RECOMMENDATIONS_CACHE, [fullest])


def test_the_events_of_a_run_are_accepted_and_their_corruptions_are_not(guarded, ready, home, manifest):
    assert append_events(ready, home, manifest) > 1
    documents = list(ready.events.find())
    assert_accepted(guarded, names.EVENTS, documents)
    assert_each_corruption_is_refused(guarded, names.EVENTS, documents[:1])


def books_of_some_nights(ready, home, publish, another) -> list[list[Document]]:
    """The `releases` collection at some moments of some nights: every kind and state that is ever in it."""
    seen: list[list[Document]] = []
    keys = Settings(_env_file=None, echotune_hash_key=HASH_KEY)

    def look() -> None:
        seen.append(list(ready.releases.find()))

    with hold_lease(ready):
        look()  # the lease, and the pointer that points nowhere
    first, second, third, fourth = (another(number) for number in (1, 2, 3, 4))
    publish(first)
    publish(second)
    look()
    with hold_lease(ready) as token:
        record(ready, third, token, "failed")
        upload(ready, home, fourth, token)
        look()
        switch(ready, fourth, token)
        look()
        rollback(ready, token)
        look()
        move_pointer(ready, first.id, read_pointer(ready), token, previous=None, withdraw=second.id)
        look()
    erase(ready, home, keys.echotune_hash_key, "bob", NOW)
    ready.events.insert_one({"type": "user.login", "timestamp": NOW, "metadata": {"ip": "192.0.2.1"}})
    assert [report.changed for report in migrate(ready, keys, ["client-addresses"])] == [1]
    look()
    return seen


def test_the_books_are_accepted_at_any_time_and_their_corruptions_are_not(guarded, ready, home, publish, another):
    moments = books_of_some_nights(ready, home, publish, another)
    for documents in moments:
        assert_accepted(guarded, names.RELEASES, documents)
    one_of_each = {
        (document["_id"].partition(":")[0], document.get("state"), document.get("withdraw") is None): document
        for documents in moments
        for document in documents
    }
    assert {kind for kind, _, _ in one_of_each} > {"live", "lease", "migration", "erased"}
    assert {state for _, state, _ in one_of_each} == {None, "uploading", "live", "retired", "failed"}
    assert ("live", None, False) in one_of_each
    assert any("erased" in document for document in one_of_each.values())
    assert_each_corruption_is_refused(guarded, names.RELEASES, one_of_each.values())


# ---- what the importers write ----------------------------------------------------------------------------------------

ROWS: Mapping[str, list[dict[str, Any]]] = {
    "plays": [
        {
            "user_id": "ann",
            "track_id": "t1",
            "played_at": "2026-11-01T10:00:00Z",
            "play_ms": 90_000,
            "duration_ms": 180_000.5,
            "completion": 0.5,
            "imported_at": "2026-11-02",
            "source": "radio",
            "shuffle": True,
            "track_name": "Dawn",
            "artist_name": "Ada",
            "album_name": "Sea",
            "genres": ["jazz", "pop"],
            "recommendation_id": DIGITS,
        },
        {"user_id": f"oid:{DIGITS}", "track_id": "t1", "played_at": 1_700_000_000, "recommendation_id": "list-7"},
        {"user_id": 7, "track_id": "t2", "played_at": 1_700_000_000_123, "play_ms": 0, "completion": 1},
    ],
    "feedback": [
        {
            "user_id": "ann",
            "track_id": "t1",
            "signal": "love",
            "created_at": "2026-11-01",
            "strength": 4.5,
            "recommendation_id": DIGITS,
            "play_ms": 1,
            "duration_ms": 2,
            "source": "search",
            "platform": "web",
        },
        {"user_id": f"oid:{DIGITS}", "track_id": "t1", "signal": "skip", "created_at": 1_700_000_000},
    ],
    "tracks": [
        {
            "track_id": "t1",
            "name": "Dawn",
            "artist": ["Ada", "Bo"],
            "artist_id": "a1",
            "album": "Sea",
            "album_id": "b1",
            "release_date": "1999",
            "genres": ["jazz"],
            "duration_ms": 180_000,
            "popularity": 50,
            "explicit": False,
            "markets": ["DE", "FR"],
            "danceability": 0,
            "energy": 1,
            "key": -1,
            "loudness": -60.5,
            "mode": 1,
            "speechiness": 0.5,
            "acousticness": 0.5,
            "instrumentalness": 0.5,
            "liveness": 0.5,
            "valence": 0.5,
            "tempo": 120.5,
            "time_signature": 4,
        },
        {"track_id": "t2"},
    ],
    "users": [
        {
            "user_id": "ann",
            "email": "ann.b+c@mail.example.co.uk",
            "name": "Ann",
            "spotify_id": "ann-1",
            "country": "DE",
            "explicit_content": False,
            "favorite_genres": ["jazz"],
            "created_at": "2020-02-29",
        },
        {"user_id": f"oid:{DIGITS}", "email": "a@b.io"},
    ],
}
COLLECTION_OF = {
    "plays": names.LISTENING_HISTORY,
    "feedback": names.USER_FEEDBACK,
    "tracks": names.TRACKS,
    "users": names.USERS,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_import_writes_is_accepted_and_its_corruptions_are_not(guarded, ready, tmp_path, kind):
    rows = ROWS[kind]
    assert rows[0].keys() == KINDS[kind].keys()  # the first has every column
    path = tmp_path / f"{kind}.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert import_table(ready, kind, path, home=tmp_path, now=NOW).imported == len(rows)
    collection = COLLECTION_OF[kind]
    documents = sorted(ready[collection].find(), key=lambda document: len(bson.encode(document)))
    assert_accepted(guarded, collection, documents)
    assert_each_corruption_is_refused(guarded, collection, documents[-1:])


# ---- what only the app writes: documents with all of the contract's fields -------------------------------------------

SETTINGS = {
    "_id": ObjectId(DIGITS),
    "userId": TWIN,
    "preferences": {
        "music": {
            "genres": ["jazz"],
            "moods": ["calm"],
            "activities": ["run"],
            "artists": ["Ada"],
            "energy": 0.5,
            "valence": 0,
            "danceability": 1,
        },
        "ai": {"provider": "local", "model": "small", "creativity": 0.5, "context": Int64(4096), "language": "de"},
        "interface": {"theme": "dark", "density": "compact", "animations": True, "sounds": False},
    },
    "updatedAt": DATE,
    "version": 3,
}
MESSAGE = {
    "messageId": "m1",
    "role": "assistant",
    "content": "Try these",
    "timestamp": DATE,
    "metadata": {
        "provider": "local",
        "model": "small",
        "tokens": 12,
        "tokenCount": 12,
        "cost": 0.001,
        "processingTime": 90.5,
        "latency": 80,
        "context": {"any": 1},
    },
}
SESSIONS = [
    {
        "sessionId": "first",
        "userId": TWIN_TEXT,
        "title": "A long drive",
        "messages": [MESSAGE, {"role": "user"}],
        "context": {"musicPreferences": {"genres": ["jazz"]}, "currentMood": "calm", "activityContext": "driving"},
        "recommendations": [{"messageId": "m1", "trackIds": ["t1"], "strategy": "hybrid", "accepted": True}],
        "startedAt": DATE,
        "lastMessageAt": DATE,
        "isActive": False,
        "summary": "Calm music",
    },
    {
        "sessionId": "second",
        "userId": TWIN,
        "messages": [{**MESSAGE, "role": "system"}],
        "context": {"activity": "driving", "recentTracks": ["t1"]},
        "recommendations": [ObjectId(DIGITS)],
        "startedAt": DATE,
        "endedAt": DATE,
        "createdAt": DATE,
    },
]
BY_THE_APP = {names.USER_SETTINGS: [SETTINGS], names.CHAT_SESSIONS: SESSIONS}


@pytest.mark.parametrize("collection", BY_THE_APP)
def test_what_the_app_writes_is_accepted_and_its_corruptions_are_not(guarded, collection):
    documents = BY_THE_APP[collection]
    there = {path for document in documents for path in paths_of(document)}
    assert {field.path for field in fields(SCHEMAS[collection])} <= there
    assert_accepted(guarded, collection, documents)
    assert_each_corruption_is_refused(guarded, collection, documents)


def test_settings_that_we_changed_are_accepted(guarded, ready):
    ready.user_settings.insert_one(deepcopy(SETTINGS))
    changes = {"music.energy": None, "music.genres": [], "ai.creativity": 1, "interface.theme": "auto"}
    update_settings(ready, TWIN, 3, changes, NOW)
    changed = list(ready.user_settings.find())
    assert changed[0]["version"] == 4
    assert_accepted(guarded, names.USER_SETTINGS, changed)
    assert_each_corruption_is_refused(guarded, names.USER_SETTINGS, changed)


# ---- and any other ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", SCHEMAS)
def test_any_document_of_the_schema_is_accepted_and_no_corruption_of_it_is(guarded, collection):
    @settings(max_examples=12)
    @given(valid_documents(SCHEMAS[collection]))
    def holds(document):
        if isinstance(document.get("features"), dict) and isinstance(document["features"]["vector"], list):
            document["features"]["dimensions"] = len(document["features"]["vector"])
        assert_accepted(guarded, collection, [document])
        assert not_refused(guarded, collection, list(corrupted(document, SCHEMAS[collection]))) == []

    holds()
