"""The old database is what it says of itself, and a snapshot, the validators and unique indexes treat it as said."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from legacy import (
    ACCEPT,
    KINDS,
    MAX_ENDED_DAYS,
    MAX_EVENT_DAYS,
    OLD_INDEXES,
    OLD_VALIDATOR,
    SHARES,
    Legacy,
    fill_legacy_database,
    holds_plain_token,
    holds_raw_address,
)
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from features.database import split_documents
from features.schema import names
from features.schema.collections import COLLECTIONS
from features.snapshot.fields import SOURCES
from features.snapshot.read import id_text
from features.snapshot.take import Snapshot, take_snapshot

SMALL = 3_000
NOW = datetime.now(UTC)
ROW_A_DOCUMENT = ("plays", "feedback", "tracks", "users", "settings")
LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace", tz_aware=True
)
RAW = LENIENT.with_options(document_class=RawBSONDocument)


@pytest.fixture(scope="module")
def old(server_uri) -> Iterator[tuple[Database, Legacy]]:
    """A small old database, for tests that only look at it."""
    name = f"echotune_test_{uuid4().hex[:12]}"
    with MongoClient(server_uri, tz_aware=True) as client:
        yield client.get_database(name, codec_options=LENIENT), fill_legacy_database(client[name], SMALL, now=NOW)
        client.drop_database(name)


@pytest.fixture(scope="module")
def snapshot(old, tmp_path_factory) -> Snapshot:
    database, legacy = old
    return take_snapshot(database, tmp_path_factory.mktemp("home"), legacy.now)


def is_built_in(database: Database) -> bool:
    """The built-in server takes NaN for a number of any range; MongoDB doesn't."""
    ranged = database.create_collection("probe", validator={"$jsonSchema": {"properties": {"a": {"minimum": 0}}}})
    try:
        ranged.insert_one({"a": float("nan")})
    except WriteError:
        return False
    finally:
        ranged.drop()
    return True


def raw_documents(database: Database, collection: str) -> list[bytes]:
    return [bytes(raw) for batch in database[collection].find_raw_batches() for raw in split_documents(batch)]


def document_ids(database: Database, collection: str, query: dict[str, Any] | None = None) -> Counter[str]:
    return Counter(id_text(found["_id"]) for found in database[collection].find(query or {}, {"_id": 1}))


def test_the_counts_are_as_told(old):
    database, legacy = old
    assert legacy.counts.keys() == SHARES.keys()
    assert {name: database[name].count_documents({}) for name in SHARES} == legacy.counts
    assert sum(legacy.counts.values()) == SMALL
    assert database[names.EVENTS].count_documents({"type": ACCEPT}) == legacy.acceptances


def test_a_twentieth_is_broken_and_every_kind_is_there(old):
    _, legacy = old
    assert len(legacy.broken) == SMALL // 20
    assert len({(entry.collection, entry.document_id) for entry in legacy.broken}) == len(legacy.broken)
    missing = KINDS.keys() - {entry.kind for entry in legacy.broken}
    assert all(KINDS[title].is_bent for title in missing)
    assert len(KINDS) - len(missing) >= 30
    assert {kind.collection for kind in KINDS.values()} == SHARES.keys()


def test_too_few_documents_for_every_kind_are_refused(db):
    with pytest.raises(ValueError, match="2,000 documents are too few"):
        fill_legacy_database(db, 2_000)
    assert db.list_collection_names() == []


def test_same_seed_same_documents(old, db):
    database, legacy = old
    assert fill_legacy_database(db, SMALL, now=NOW) == legacy
    for name in SHARES:
        assert sorted(raw_documents(db, name)) == sorted(raw_documents(database, name))


def test_another_seed_other_documents(old, db):
    database, _ = old
    fill_legacy_database(db, SMALL, seed=12, now=NOW)
    for name in SHARES:
        assert not set(raw_documents(db, name)) & set(raw_documents(database, name))


def test_no_ttl_of_the_contract_takes_a_document_during_a_test(old):
    database, legacy = old
    events_from = legacy.now - timedelta(days=MAX_EVENT_DAYS)
    ended_from = legacy.now - timedelta(days=MAX_ENDED_DAYS)
    expiring = {"expiresAt": {"$lt": legacy.now + timedelta(days=4)}}
    assert database[names.EVENTS].count_documents({"timestamp": {"$lt": events_from}}) == 0
    assert database[names.CHAT_SESSIONS].count_documents({"endedAt": {"$lt": ended_from}}) == 0
    assert database[names.RECOMMENDATIONS].count_documents(expiring) == 0
    assert database[names.RECOMMENDATIONS_CACHE].count_documents(expiring) == 0


def test_the_history_spans_three_years(old):
    database, legacy = old
    between = {"$gte": legacy.now - timedelta(days=3 * 365), "$lt": legacy.now - timedelta(days=2.5 * 365)}
    assert database[names.LISTENING_HISTORY].count_documents({"playedAt": between}) > 100
    assert (
        database[names.LISTENING_HISTORY].count_documents({"playedAt": {"$gt": legacy.now - timedelta(days=30)}}) > 10
    )


SHAPES = {
    "a string for a user": (names.USERS, {"userId": {"$type": "string"}}),
    "an ObjectId for a user": (names.USERS, {"userId": {"$type": "objectId"}}),
    "a string that looks tagged": (names.USERS, {"userId": {"$regex": "^oid:"}}),
    "a first-draft user": (names.USERS, {"displayName": {"$exists": True}}),
    "a second-draft user": (names.USERS, {"preferences.favoriteGenres": {"$exists": True}}),
    "a user without Spotify": (names.USERS, {"spotifyId": {"$exists": False}}),
    "an _id that is a string": (names.LISTENING_HISTORY, {"_id": {"$type": "string"}}),
    "an _id that is an int": (names.LISTENING_HISTORY, {"_id": {"$type": "int"}}),
    "a first-draft play": (names.LISTENING_HISTORY, {"context.repeat": "off", "importedAt": {"$exists": True}}),
    "a second-draft play": (names.LISTENING_HISTORY, {"spotifyUserId": {"$exists": True}}),
    "a bare play": (names.LISTENING_HISTORY, {"importedAt": {"$exists": False}, "createdAt": {"$exists": False}}),
    "completionRate": (names.LISTENING_HISTORY, {"completionRate": {"$gt": 0.5}}),
    "playedPercentage": (names.LISTENING_HISTORY, {"playedPercentage": {"$gt": 50}}),
    "durations only": (
        names.LISTENING_HISTORY,
        {"completionRate": None, "playedPercentage": None, "playDuration": {"$gt": 0}},
    ),
    "nothing on completion": (
        names.LISTENING_HISTORY,
        {"completionRate": None, "playedPercentage": None, "playDuration": None},
    ),
    "eleven audio features": (names.LISTENING_HISTORY, {"audioFeatures.mode": {"$exists": True}}),
    "nine audio features": (
        names.LISTENING_HISTORY,
        {"audioFeatures.mode": {"$exists": False}, "audioFeatures.tempo": {"$exists": True}},
    ),
    "no copy of audio features": (names.LISTENING_HISTORY, {"audioFeatures": {"$exists": False}}),
    "audio features null": (names.LISTENING_HISTORY, {"audioFeatures": {"$type": "null"}}),
    "a long": (names.LISTENING_HISTORY, {"playDuration": {"$type": "long"}}),
    "a double": (names.LISTENING_HISTORY, {"playDuration": {"$type": "double"}}),
    "a decimal": (names.LISTENING_HISTORY, {"playDuration": {"$type": "decimal"}}),
    "context null": (names.LISTENING_HISTORY, {"context": {"$type": "null"}}),
    "an unknown source": (names.LISTENING_HISTORY, {"context.source": "my car"}),
    **{f"source {s}": (names.LISTENING_HISTORY, {"context.source": s}) for s in ("playlist", "album", "radio")},
    "recommendationId a string": (names.LISTENING_HISTORY, {"context.recommendationId": {"$type": "string"}}),
    "recommendationId an ObjectId": (names.LISTENING_HISTORY, {"context.recommendationId": {"$type": "objectId"}}),
    **{f"accepted {a}": (names.CHAT_SESSIONS, {"recommendations.accepted": a}) for a in (True, False)},
    "accepted null": (names.CHAT_SESSIONS, {"recommendations.accepted": {"$type": "null"}}),
    "accepted absent": (names.CHAT_SESSIONS, {"recommendations": {"$elemMatch": {"accepted": {"$exists": False}}}}),
    "references in a session": (names.CHAT_SESSIONS, {"recommendations": {"$type": "objectId"}}),
    "a session that was left open": (names.CHAT_SESSIONS, {"lastMessageAt": {"$exists": True}, "isActive": True}),
    "a session that ended": (names.CHAT_SESSIONS, {"endedAt": {"$type": "date"}}),
    "one track accepted": (names.EVENTS, {"type": ACCEPT, "data.trackId": {"$exists": True}}),
    "tracks accepted": (names.EVENTS, {"type": ACCEPT, "data.trackIds": {"$exists": True}}),
    "nobody's event": (names.EVENTS, {"userId": {"$exists": False}}),
    "an IPv6 address": (names.EVENTS, {"metadata.ip": {"$regex": "^2001:"}}),
    "a hashed address": (names.EVENTS, {"metadata.ip": {"$regex": "^[0-9a-f]{64}$"}}),
    "an encrypted token": (names.USERS, {"spotifyTokens.accessToken": {"$regex": "^U2FsdGVkX1"}}),
    "a plain token": (names.USERS, {"spotifyTokens.accessToken": {"$regex": "^BQ"}}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_both_drafts_are_there(old, shape):
    database, legacy = old
    collection, query = SHAPES[shape]
    broken = list(legacy.kinds_in(collection))
    assert database[collection].count_documents({"$and": [query, {"_id": {"$nin": broken}}]}) > 0


def test_a_string_reads_like_another_users_object_id(old):
    database, _ = old
    users = {document["userId"] for document in database[names.USERS].find({"userId": {"$exists": True}})}
    assert any(str(user) in users for user in users if isinstance(user, ObjectId))


def test_every_event_type_of_the_data_model_is_there(old):
    database, _ = old
    assert len(database[names.EVENTS].distinct("type")) == 18


def test_tokens_and_addresses_that_anybody_can_read_are_known(old):
    database, legacy = old
    plain = [user["_id"] for user in database[names.USERS].find() if holds_plain_token(user)]
    raw = [event["_id"] for event in database[names.EVENTS].find() if holds_raw_address(event)]
    assert Counter(plain) == Counter(legacy.plain_tokens)
    assert Counter(raw) == Counter(legacy.raw_addresses)
    assert len(plain) > 5
    assert len(raw) > 100


def test_the_old_indexes_and_the_old_validator_are_there(old):
    database, _ = old
    for collection, keys, options in OLD_INDEXES:
        name = options.get("name") or "_".join(f"{key}_{direction}" for key, direction in keys.items())
        (entry,) = (e for e in database[collection].list_indexes() if e["name"] == name)
        assert dict(entry["key"]) == dict(keys)
        assert entry.get("expireAfterSeconds") == options.get("expireAfterSeconds")
    (users,) = database.list_collections(filter={"name": names.USERS})
    assert users["options"]["validator"] == OLD_VALIDATOR
    assert users["options"]["validationAction"] == "warn"


# ---- what is expected of each kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", SHARES)
def test_the_validators_refuse_just_the_documents_that_are_said_to_break_them(old, db, collection):
    database, legacy = old
    (contract,) = (entry for entry in COLLECTIONS if entry.name == collection)
    built_in = is_built_in(db)
    db.create_collection(collection, validator=contract.validator)
    documents = [RawBSONDocument(raw, RAW) for raw in raw_documents(database, collection)]
    refused: set[Any] = set()
    try:
        db[collection].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        refused = {documents[entry["index"]]["_id"] for entry in error.details["writeErrors"]}
    kinds = legacy.kinds_in(collection)
    breaking = {i: kind for i, kind in kinds.items() if kind.breaks_validator}
    expected = {i: kind.title for i, kind in breaking.items() if not (built_in and kind.passes_built_in)}
    assert {i: kinds[i].title if i in kinds else "sound" for i in refused} == expected
    assert len(refused) == legacy.breaking_validator(collection, built_in=built_in)


UNIQUE = [(collection, index) for collection in COLLECTIONS for index in collection.indexes if index.unique]


@pytest.mark.parametrize(("collection", "index"), UNIQUE, ids=[f"{c.name}.{i.name}" for c, i in UNIQUE])
def test_just_the_documents_that_are_said_to_stand_in_the_way_of_a_unique_index_do(db, collection, index):
    legacy = fill_legacy_database(db, SMALL, now=NOW)
    documents = db[collection.name]
    documents.drop_indexes()
    kinds = legacy.kinds_in(collection.name)
    in_the_way = {document_id: kind for document_id, kind in kinds.items() if kind.unique == index.name}
    for title in {kind.title for kind in in_the_way.values()}:
        only_these = {i for i, kind in in_the_way.items() if kind.title != title}
        _assert_in_the_way(db, collection.name, index, only_these)
    documents.delete_many({"_id": {"$in": list(in_the_way)}})
    documents.create_index(list(index.keys), name=index.name, **index.options)


def _assert_in_the_way(db: Database, collection: str, index, taken_out: set[Any]) -> None:
    """Without the others, those of one kind are enough for the server to refuse the index."""
    scratch = db["scratch"]
    scratch.drop()
    scratch.insert_many([found for found in db[collection].find() if found["_id"] not in taken_out])
    with pytest.raises(DuplicateKeyError):
        scratch.create_index(list(index.keys), name=index.name, **index.options)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.table)
def test_a_snapshot_sets_aside_just_what_is_expected_and_says_why(old, snapshot, source):
    _, legacy = old
    expected = {
        id_text(document_id): kind.reason
        for document_id, kind in legacy.kinds_in(source.collection).items()
        if kind.reason is not None
    }
    files = list((snapshot.folder / "set_aside").glob(f"{source.table}-*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert {row["document_id"]: row["reason"] for row in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.table)
def test_a_snapshot_reads_every_document_and_loses_none(old, snapshot, source):
    database, legacy = old
    read = Counter(
        document_ids(database, source.collection, {"type": ACCEPT} if source.collection == names.EVENTS else {})
    )
    read -= Counter(id_text(i) for i, kind in legacy.kinds_in(source.collection).items() if not kind.is_read)
    summary = snapshot.tables[source.table]
    assert summary.read == summary.used + summary.set_aside == sum(read.values())
    if source.table in ROW_A_DOCUMENT:
        reasons = {id_text(i) for i, kind in legacy.kinds_in(source.collection).items() if kind.reason}
        used = Counter(snapshot.table(source.table, ["document_id"])["document_id"].to_pylist())
        assert used == Counter({i: count for i, count in read.items() if i not in reasons})
