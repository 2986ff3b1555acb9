"""A small world with two releases in the database and on disk, and a person who stands everywhere in it."""

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument
from documents import BOUND, SMALL, account, days_ago, fill_small_world, play, said
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database

from features.release import build
from features.release.build import build_release
from features.release.events import append_events
from features.release.ledger import hold_lease
from features.release.manifest import Manifest
from features.release.mirror import mirror_cache
from features.release.publish import switch, upload, verify
from features.schema import plan
from features.snapshot.take import take_snapshot
from features.sources.importer import import_table

KEY = SecretStr(base64.b64encode(bytes(range(32))).decode())
ANN = "ann-4711-unmistakable"
NOW = BOUND + timedelta(hours=1)


@dataclass(frozen=True)
class Lived:
    """A database and a data folder that know someone."""

    db: Database
    home: Path
    person: str | ObjectId
    releases: list[Manifest]


def add_person(database: Database, user: str | ObjectId) -> None:
    """Someone who plays what "ann" and "bob" of the small world play, and has left traces in every collection."""
    name = str(user)
    database.users.insert_one({**account(user), "email": f"{name}@example.org", "spotifyId": f"spotify-{name}"})
    database.user_settings.insert_one({"userId": user, "version": 1})
    database.listening_history.insert_many(
        [play(user, f"track-{number:02d}", days=3 + number, completionRate=0.9) for number in range(1, 9)]
    )
    broken = {**play(user, "track-01", days=1), "playDuration": -5}  # a snapshot sets it aside
    database.get_collection("listening_history").insert_one(broken, bypass_document_validation=True)
    database.user_feedback.insert_one(said(user, "track-02", "love"))
    database.chat_sessions.insert_one({"sessionId": f"chat of {name}", "userId": user, "startedAt": days_ago(1)})
    # of now: the database removes old ones by itself
    database.events.insert_one({"type": "user.login", "userId": user, "timestamp": datetime.now(UTC)})


def publish(database: Database, home: Path, days: int) -> Manifest:
    """One nightly run, in small chunks."""
    snapshot = take_snapshot(database, home, BOUND, hash_key=KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            build, "ROW_GROUPS", {"user_profile": 2, "track_embedding": 7, "similarity": 1, "recommendations": 3}
        )
        manifest = build_release(snapshot, home, SMALL, BOUND - timedelta(days=days))
    with hold_lease(database) as token:
        verify(database, manifest, upload(database, home, manifest, token))
        append_events(database, home, manifest)
        switch(database, manifest, token)
    return manifest


def reject_rows(database: Database, home: Path, user: str | ObjectId, folder: Path, now: datetime) -> None:
    """An import whose broken rows name the person by id, by e-mail, and in a line without columns."""
    rows = [
        {"user_id": str(user), "track_id": "track-01", "signal": "meh", "created_at": "2026-02-01"},
        {"user_id": "bob", "track_id": f"see {user}", "signal": "meh", "created_at": "2026-02-01"},
        {"user_id": "bob", "track_id": "track-01", "signal": "meh", "created_at": "2026-02-01"},
    ]
    lines = [json.dumps(row) for row in rows] + [f"{user};track-01", "no friend of anybody;t"]
    path = folder / "feedback.jsonl"
    path.write_text("\n".join(lines) + "\n")
    import_table(database, "feedback", path, home=home, now=now, hash_key=KEY)
    users = folder / "users.csv"
    users.write_text(f"user_id,email,explicit_content\n,{user}@example.org,maybe\n,bob@example.org,maybe\n")
    import_table(database, "users", users, home=home, now=now, hash_key=KEY)


@pytest.fixture(scope="session", params=[ANN, ObjectId("64b0000000000000000000ff")], ids=["string", "ObjectId"])
def original(request, server_uri: str, quick_folder: Path) -> Iterator[tuple[Lived, dict[str, list[RawBSONDocument]]]]:
    """Such a database and folder, and all its documents. Made once, for `lived` to begin with."""
    folder = quick_folder / f"original-{ObjectId()}"
    home = folder / "home"
    with MongoClient(server_uri, tz_aware=True) as client:
        database = client[f"echotune_test_lived_{ObjectId()}"]
        plan.apply(database)
        fill_small_world(database)
        add_person(database, request.param)
        releases = [publish(database, home, days=1), publish(database, home, days=0)]
        with hold_lease(database) as token:
            mirror_cache(database, home, releases[1], token)
        reject_rows(database, home, request.param, folder, NOW)
        raw = CodecOptions(document_class=RawBSONDocument)
        documents = {name: list(database.get_collection(name, raw).find()) for name in database.list_collection_names()}
        yield Lived(database, home, request.param, releases), documents
        client.drop_database(database.name)


@pytest.fixture
def lived(original: tuple[Lived, dict[str, list[RawBSONDocument]]], quick_path: Path) -> Lived:
    """The original's database as it was at first, and a copy of its folder, for the test alone."""
    first, documents = original
    for name in first.db.list_collection_names():
        first.db[name].delete_many({})
        if documents.get(name):
            first.db.get_collection(name).insert_many(documents[name], bypass_document_validation=True)
    return replace(first, home=Path(shutil.copytree(first.home, quick_path / "home")))
