"""What a run tells `events`, and the live lists in the shape of `recommendations_cache`."""

from collections import Counter

import bson
import pyarrow.parquet as pq
import pytest
from documents import days_ago

from features.errors import BusyError
from features.release import events
from features.release.events import append_events, generation_events
from features.release.ledger import hold_lease
from features.release.manifest import release_folder
from features.release.mirror import cache_document, cache_id, mirror_cache
from features.release.publish import rollback, upload


def mirrored(database, home, manifest):
    with hold_lease(database) as token:
        return mirror_cache(database, home, manifest, token)


def test_a_run_and_each_batch_of_users_have_an_event_and_twice_is_once(ready, home, manifest, monkeypatch):
    monkeypatch.setattr(events, "BATCH_LISTS", 4)
    lists = pq.read_table(release_folder(home, manifest.id) / "recommendations.parquet")
    count = append_events(ready, home, manifest)
    assert count == 1 + -(-lists.num_rows // 4)
    assert append_events(ready, home, manifest) == count
    found = list(ready.events.find({}).sort("eventId", 1))
    assert len(found) == count
    batches, (run,) = [e for e in found if "batch" in e["data"]], [e for e in found if "counts" in e["data"]]
    assert run["data"]["counts"] == manifest.counts
    assert sum(event["data"]["lists"] for event in batches) == lists.num_rows
    together: Counter[str] = Counter()
    for event in batches:
        together.update(event["data"]["strategies"])
    assert together == Counter(lists["strategy"].to_pylist())
    for event in found:
        assert (event["type"], event["category"]) == ("recommendation.generate", "recommendation")
        assert event["metadata"] == {"source": "system", "version": manifest.code}
        assert event["timestamp"] == manifest.built_at
        assert event["data"]["release"] == manifest.id


def test_events_name_no_one(home, manifest):
    lists = pq.read_table(release_folder(home, manifest.id) / "recommendations.parquet")
    text = repr(list(generation_events(manifest, iter([(2, {"hybrid": 2})]))))
    assert not [user for user in set(lists["user_id"].to_pylist()) if f"'{user}'" in text]


def test_the_cache_holds_the_live_lists_in_the_first_drafts_shape(ready, home, manifest, publish):
    publish(manifest)
    written = mirrored(ready, home, manifest)
    assert written == ready.recommendations_cache.count_documents({}) == manifest.counts["recommendations"]
    for document in ready.recommendations.find({}):
        cached = ready.recommendations_cache.find_one({"userId": document["userId"], "strategy": document["strategy"]})
        assert [entry["trackId"] for entry in cached["recommendations"]] == [
            entry["trackId"] for entry in document["candidates"]
        ]
        for entry, candidate in zip(cached["recommendations"], document["candidates"], strict=True):
            assert (entry["score"], entry["reasons"]) == (candidate["score"], candidate["reasons"])
            assert entry["trackName"] == candidate["metadata"]["trackName"]
            assert entry["artistName"] == candidate["metadata"]["artist"]
            assert entry["audioFeatures"] == candidate["metadata"]["audioFeatures"]
        assert cached["metadata"]["model"] == manifest.id
        assert (cached["accessed"], cached["expiresAt"]) == (0, document["expiresAt"])


def test_mirroring_again_keeps_what_clients_counted_and_a_new_release_takes_the_entries(
    ready, home, manifest, another, publish
):
    publish(manifest)
    mirrored(ready, home, manifest)
    one = ready.recommendations_cache.find_one({})
    ready.recommendations_cache.update_one(
        {"_id": one["_id"]}, {"$set": {"accessed": 3, "lastAccessedAt": days_ago(1)}}
    )
    before = sorted(ready.recommendations_cache.find({}), key=repr)
    mirrored(ready, home, manifest)
    assert sorted(ready.recommendations_cache.find({}), key=repr) == before
    newer = publish(another(1))
    mirrored(ready, home, newer)
    assert ready.recommendations_cache.count_documents({}) == len(before)
    assert ready.recommendations_cache.distinct("metadata.model") == [newer.id]
    assert ready.recommendations_cache.find_one({"_id": one["_id"]})["accessed"] == 3


def test_a_rollback_takes_the_withdrawn_lists_out_of_the_cache(ready, home, manifest, another, publish):
    publish(manifest)
    newer = publish(another(1))
    mirrored(ready, home, newer)
    theirs = {"userId": "guest", "strategy": "hybrid", "recommendations": []}
    dates = {"generatedAt": days_ago(1), "expiresAt": newer.built_at}
    ready.recommendations_cache.insert_one({**theirs, **dates})  # the app's own
    with hold_lease(ready) as token:
        rollback(ready, token)
    assert [entry["userId"] for entry in ready.recommendations_cache.find({})] == ["guest"]


def test_a_cached_list_has_albums_where_known_and_a_spotify_address_only_for_spotify_tracks():
    metadata = {"artist": "A", "trackName": "T", "genres": [], "audioFeatures": {}}
    candidates = [
        {"trackId": track, "score": 0.5, "rank": rank, "reasons": ["r"], "metadata": metadata}
        for rank, track in enumerate(["4uLU6hMCjMI75M1A2tKUQC", "local-1"], start=1)
    ]
    document = {
        "userId": bson.ObjectId(),
        "strategy": "hybrid",
        "release": "r",
        "candidates": candidates,
        "performance": {"generationTime": 1.0, "confidence": 0.5},
        "createdAt": days_ago(0),
        "expiresAt": days_ago(-30),
    }
    made = cache_document(document, {"local-1": "Album"})
    first, second = made["recommendations"]
    assert (first["spotifyUrl"], first["albumName"]) == ("spotify:track:4uLU6hMCjMI75M1A2tKUQC", None)
    assert (second["spotifyUrl"], second["albumName"]) == (None, "Album")
    assert made["metadata"]["diversity"] == 0.5
    assert cache_id("ann", "hybrid") != cache_id("ann", "popular")


def test_a_run_that_slept_through_its_lease_writes_no_more(ready, home, manifest, another, publish):
    publish(manifest)
    newer = another(1)
    with hold_lease(ready) as stale:
        pass
    with hold_lease(ready):
        for write in (mirror_cache, upload):
            with pytest.raises(BusyError):
                write(ready, home, newer, stale)
    assert ready.recommendations_cache.count_documents({}) == 0
    assert ready.feature_store.count_documents({"features.version": newer.id}) == 0
