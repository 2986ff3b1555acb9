"""Several chunks on their way at once: the ledger tells the last whole prefix, and there are never too many."""

import threading
from collections import Counter

import bson
import pyarrow.parquet as pq
import pytest
from bson import Binary
from published import expected, stored
from pymongo.database import Database

from features.errors import DatabaseError
from features.release import publish
from features.release.documents import ReleaseDocuments
from features.release.ledger import find_release, hold_lease
from features.release.manifest import Manifest, release_folder
from features.schema import names

OUTPUT = "track_embedding"


@pytest.fixture
def home(home, manifest):
    """The home with the output in many chunks."""
    path = release_folder(home, manifest.id) / f"{OUTPUT}.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=2)
    return home


def refuse(database: Database, document: bytes) -> None:
    """Has the server refuse one document, whoever sends it."""
    refused = {"_id": {"$ne": bson.decode(document)["_id"]}}
    database.command({"collMod": names.FEATURE_STORE, "validator": refused, "validationLevel": "strict"})


def accept_all(database: Database) -> None:
    database.command({"collMod": names.FEATURE_STORE, "validator": {}})


def at_work() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_chunk_that_fails_leaves_the_ledger_at_the_last_whole_prefix(ready, home, manifest, failing):
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest)
    assert documents.chunks(OUTPUT) > failing + 2
    refuse(ready, documents.chunk(OUTPUT, failing)[1].raw)
    with hold_lease(ready) as token, pytest.raises(DatabaseError, match="refused 1 documents"):
        publish.upload(ready, home, manifest, token)
    assert at_work() == 0
    noted = find_release(ready, manifest.id)["ledger"].get(OUTPUT, {})
    assert list(noted) == [str(failing - 1)] * (failing > 0)
    there = {found["_id"] for found in ready.feature_store.find({"featureType": OUTPUT}, {"_id": 1})}
    for number in range(failing):
        assert {document["_id"] for document in documents.chunk(OUTPUT, number)} <= there
    accept_all(ready)
    with hold_lease(ready) as token:
        publish.verify(ready, manifest, publish.upload(ready, home, manifest, token))
    assert stored(ready) == expected(home, manifest)


def test_a_chunk_sent_behind_one_that_failed_is_sent_again(ready, home, manifest):
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest)
    refuse(ready, documents.chunk(OUTPUT, 0)[1].raw)
    with hold_lease(ready) as token, pytest.raises(DatabaseError):
        publish.upload(ready, home, manifest, token)
    there = {found["_id"] for found in ready.feature_store.find({"featureType": OUTPUT}, {"_id": 1})}
    assert {document["_id"] for document in documents.chunk(OUTPUT, 1)} <= there
    assert OUTPUT not in find_release(ready, manifest.id)["ledger"]


def test_no_more_chunks_are_made_than_may_be_in_flight(ready, home, manifest, monkeypatch):
    made, noted, most = Counter[str](), Counter[str](), Counter[str]()
    make, update = ReleaseDocuments.chunk, publish.update
    several = threading.Barrier(publish.IN_FLIGHT, timeout=60)

    def chunk(self: ReleaseDocuments, output: str, number: int) -> list:
        made[output] += 1
        most[output] = max(most[output], made[output] - noted[output])
        if output == OUTPUT and number < publish.IN_FLIGHT:
            several.wait()  # so many are made at once, or this breaks
        return make(self, output, number)

    def note(database: Database, release: str, token: int, change: dict) -> None:
        update(database, release, token, change)
        for path in change.get("$set", {}):
            if path.startswith("ledger."):
                noted[path.removeprefix("ledger.")] += 1

    monkeypatch.setattr(ReleaseDocuments, "chunk", chunk)
    monkeypatch.setattr(publish, "update", note)
    with hold_lease(ready) as token:
        publish.upload(ready, home, manifest, token)
    assert made == noted
    assert made[OUTPUT] > 2 * publish.IN_FLIGHT
    assert max(most.values()) <= publish.IN_FLIGHT


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_the_number_in_flight_changes_neither_documents_nor_ledger(ready, home, manifest, monkeypatch, in_flight):
    def published(number: int, release: Manifest) -> tuple[set[bytes], dict]:
        monkeypatch.setattr(publish, "IN_FLIGHT", number)
        ready.feature_store.delete_many({})
        ready.recommendations.delete_many({})
        ready.releases.delete_many({"_id": release.id})
        with hold_lease(ready) as token:
            publish.upload(ready, home, release, token)
        return stored(ready), find_release(ready, release.id)["ledger"]

    assert published(in_flight, manifest) == published(0, manifest)


def test_an_upload_left_halfway_begins_anew_where_vectors_are_to_be_stored_another_way(ready, home, manifest):
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest)
    refuse(ready, documents.chunk(OUTPUT, 2)[1].raw)
    with hold_lease(ready) as token, pytest.raises(DatabaseError):
        publish.upload(ready, home, manifest, token)
    accept_all(ready)
    with hold_lease(ready) as token:
        publish.verify(ready, manifest, publish.upload(ready, home, manifest, token, "float32"))
    kinds = {type(found["features"]["vector"]) for found in ready.feature_store.find()}
    assert kinds == {Binary}
    assert find_release(ready, manifest.id)["vectors"] == "float32"
