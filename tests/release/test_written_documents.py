"""What the code writes, read back with plain pymongo and held against the data contract, field by field."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from bson import Int64, ObjectId
from bson.binary import Binary
from documents import SMALL, TWIN, TWIN_TEXT

from features.release.documents import ReleaseDocuments, feature_id, recommendation_id
from features.release.manifest import release_folder
from features.schema import names

PLAYERS = {"ann", "bob", "cat", TWIN}
# The contract's fields, literally: "What we write".
FEATURE = {"_id", "featureType", "features", "metadata", "computedAt", "expiresAt"}
FEATURES = {"vector", "dimensions", "algorithm", "version"}
METADATA = {"confidence", "lastTrained", "trainingData"}
TRAINING = {"trackCount", "historyDays", "algorithm"}
RECOMMENDATION = {
    "_id",
    "userId",
    "sessionId",
    "release",
    "strategy",
    "candidates",
    "context",
    "performance",
    "feedback",
    "createdAt",
    "expiresAt",
}


@pytest.fixture
def live(publish, manifest):
    """The original release, published; the uploads went through the validators."""
    return publish(manifest)


def of_type(database, feature_type: str) -> list[dict[str, Any]]:
    return list(database[names.FEATURE_STORE].find({"featureType": feature_type}))


@pytest.mark.usefixtures("live")
def test_every_collection_holds_just_the_release(ready, manifest):
    assert ready[names.FEATURE_STORE].count_documents({}) == 4 + 16 + 4
    assert ready[names.RECOMMENDATIONS].count_documents({}) == manifest.counts["recommendations"]
    assert ready[names.FEATURE_STORE].distinct("features.version") == [manifest.id]
    assert ready[names.RECOMMENDATIONS].distinct("release") == [manifest.id]


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(
    ("feature_type", "owner", "more"),
    [("user_profile", "userId", set()), ("track_embedding", "trackId", set()), ("similarity", "userId", {"neighbors"})],
)
def test_feature_documents_have_the_contracts_fields_and_no_others(ready, manifest, feature_type, owner, more):
    documents = of_type(ready, feature_type)
    assert len(documents) == manifest.counts[feature_type]
    for document in documents:
        assert document.keys() == FEATURE | {owner}
        assert document["features"].keys() == FEATURES | more
        assert document["metadata"].keys() == METADATA
        assert document["metadata"]["trainingData"].keys() == TRAINING
        assert len(document["features"]["vector"]) == document["features"]["dimensions"]
        assert {type(value) for value in document["features"]["vector"]} <= {float}
        assert isinstance(document["features"]["dimensions"], int)
        assert 0 <= document["metadata"]["confidence"] <= 1
        assert document["metadata"]["trainingData"]["algorithm"] == document["features"]["algorithm"] != ""
        assert isinstance(document["metadata"]["trainingData"]["trackCount"], int | Int64)
        assert document["metadata"]["lastTrained"] == document["computedAt"] == manifest.built_at
        assert document["expiresAt"] - document["computedAt"] == timedelta(days=90)


@pytest.mark.usefixtures("live")
def test_ids_keep_the_type_they_were_read_with(ready):
    for feature_type in ("user_profile", "similarity"):
        assert {document["userId"] for document in of_type(ready, feature_type)} == PLAYERS
    assert set(ready[names.RECOMMENDATIONS].distinct("userId")) == PLAYERS | {TWIN_TEXT}
    assert {document["trackId"] for document in of_type(ready, "track_embedding")} == {
        f"track-{n:02d}" for n in range(1, 17)
    }


@pytest.mark.usefixtures("live")
def test_every_id_can_be_made_again_from_what_the_document_says(ready, manifest):
    entities = {"ann": "ann", "bob": "bob", "cat": "cat", TWIN: f"oid:{TWIN}", TWIN_TEXT: TWIN_TEXT}
    for document in ready[names.FEATURE_STORE].find():
        entity = document.get("trackId") or entities[document["userId"]]
        assert document["_id"] == feature_id(manifest.id, document["featureType"], entity)
    for document in ready[names.RECOMMENDATIONS].find():
        assert document["_id"] == recommendation_id(manifest.id, entities[document["userId"]], document["strategy"])
    ids = [document["_id"] for document in ready[names.FEATURE_STORE].find()]
    assert {type(document_id) for document_id in ids} == {ObjectId}


@pytest.mark.usefixtures("live")
def test_a_profiles_dimensions_are_named_in_the_release(ready, manifest):
    dimensions = ready[names.RELEASES].find_one({"_id": manifest.id})["dimensions"]
    assert len(set(dimensions)) == len(dimensions)
    assert {"energy_mean", "skip_rate", "hour_00", "genre_other"} <= set(dimensions)
    for document in of_type(ready, "user_profile"):
        assert document["features"]["dimensions"] == len(dimensions)
        vector = dict(zip(dimensions, document["features"]["vector"], strict=True))
        assert np.isnan(vector["liveness_mean"])  # no track has it: undefined, not 0
        assert sum(vector[f"hour_{hour:02d}"] for hour in range(24)) == pytest.approx(1)


@pytest.mark.usefixtures("live")
def test_embeddings_have_unit_length(ready):
    for document in of_type(ready, "track_embedding"):
        assert np.linalg.norm(document["features"]["vector"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.usefixtures("live")
def test_neighbours_are_those_with_five_tracks_in_common_best_first(ready):
    # ann 1-8, bob 2-10 and the twin 1-7: ann and bob share 2-8, ann and the twin 1-7, bob and the twin 2-7
    expected = {
        "ann": [(TWIN, 7, 7 / 8), ("bob", 7, 7 / 10)],
        "bob": [("ann", 7, 7 / 10), (TWIN, 6, 6 / 10)],
        TWIN: [("ann", 7, 7 / 8), ("bob", 6, 6 / 10)],
        "cat": [],
    }
    for document in of_type(ready, "similarity"):
        neighbors = document["features"]["neighbors"]
        assert all(entry.keys() == {"userId", "commonTracks", "jaccard", "score"} for entry in neighbors)
        found = [(entry["userId"], entry["commonTracks"], entry["jaccard"]) for entry in neighbors]
        assert found == [(user, common, pytest.approx(share)) for user, common, share in expected[document["userId"]]]
        assert document["features"]["vector"] == [entry["score"] for entry in neighbors]


@pytest.mark.usefixtures("live")
def test_recommendations_have_the_contracts_fields_and_no_others(ready, manifest):
    for document in ready[names.RECOMMENDATIONS].find():
        assert document.keys() == RECOMMENDATION
        assert document["sessionId"] is None
        assert document["strategy"] in names.STRATEGIES
        assert document["performance"].keys() == {"generationTime", "candidateCount", "strategy", "confidence"}
        assert document["performance"]["strategy"] == document["strategy"]
        assert document["performance"]["candidateCount"] == len(document["candidates"]) > 0
        assert 0 <= document["performance"]["confidence"] <= 1
        assert document["context"].keys() == {"seeds", "filters"}
        assert document["feedback"] == {
            "tracksPlayed": [],
            "tracksLiked": [],
            "tracksSkipped": [],
            "overallRating": None,
        }
        assert document["createdAt"] == manifest.built_at
        assert document["expiresAt"] - document["createdAt"] == timedelta(days=30)


@pytest.mark.usefixtures("live")
def test_a_list_says_what_it_rests_on(ready):
    for document in ready[names.RECOMMENDATIONS].find():
        filters = document["context"]["filters"]
        assert filters["basis"] == ("popular" if document["strategy"] == "popular" else "plays")
        assert filters.keys() <= {"basis", "explored"}
        assert set(filters.get("explored", [])) <= {entry["trackId"] for entry in document["candidates"]}


@pytest.mark.usefixtures("live")
def test_candidates_are_ranked_without_gaps_scored_and_explained(ready):
    for document in ready[names.RECOMMENDATIONS].find():
        candidates = document["candidates"]
        assert [entry["rank"] for entry in candidates] == list(range(1, len(candidates) + 1))
        scores = [entry["score"] for entry in candidates]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert len({entry["trackId"] for entry in candidates}) == len(candidates) <= SMALL.recommendations.k
        for entry in candidates:
            assert entry.keys() == {"trackId", "score", "rank", "reasons", "metadata"}
            assert 1 <= len(entry["reasons"]) <= 3
            assert all(reason.strip() == reason != "" for reason in entry["reasons"])


@pytest.mark.usefixtures("live")
def test_a_candidates_metadata_is_that_of_its_track(ready):
    found = 0
    for document in ready[names.RECOMMENDATIONS].find():
        for entry in document["candidates"]:
            number = int(entry["trackId"].removeprefix("track-"))
            audio = entry["metadata"]["audioFeatures"]
            assert entry["metadata"] == {
                "artist": f"Artist {number % 4}",
                "trackName": f"Song {number}",
                "genres": [("pop", "jazz", "metal")[number % 3]],
                "audioFeatures": {
                    "energy": number / 20,
                    "valence": 0.5,
                    "mode": number % 2,
                    "key": number % 12,
                    "tempo": 120.0,
                },
            }
            assert type(audio["key"]) is type(audio["mode"]) is int
            found += 1
    assert found > 20


@pytest.mark.usefixtures("live")
def test_nobody_is_recommended_what_they_know_or_dislike(ready):
    heard = {"ann": range(1, 9), "bob": range(1, 11), TWIN: range(1, 8), "cat": range(10, 15), TWIN_TEXT: range(0)}
    for document in ready[names.RECOMMENDATIONS].find():
        tracks = {entry["trackId"] for entry in document["candidates"]}
        assert not tracks & {f"track-{number:02d}" for number in heard[document["userId"]]}
        assert document["userId"] != "ann" or "track-12" not in tracks  # disliked
        assert set(document["context"]["seeds"]) <= {f"track-{number:02d}" for number in heard[document["userId"]]}


@pytest.mark.usefixtures("live")
def test_who_has_only_an_account_gets_what_is_popular(ready):
    strategies = {user: set() for user in (*PLAYERS, TWIN_TEXT)}
    for document in ready[names.RECOMMENDATIONS].find():
        strategies[document["userId"]].add(document["strategy"])
    assert strategies[TWIN_TEXT] == {"popular"}
    assert all(strategies[user] >= {"collaborative", "hybrid"} for user in PLAYERS)


@pytest.mark.usefixtures("live")
def test_the_release_document_tells_what_the_release_is(ready, manifest):
    document = ready[names.RELEASES].find_one({"_id": manifest.id})
    assert document["state"] == "live"
    assert document["counts"] == manifest.counts
    assert document["parameters"] == SMALL.model_dump(mode="json", exclude={"gate"})  # limits shape nothing
    assert document["asOf"] == manifest.as_of
    assert document["knownAt"] == manifest.known_at
    assert document["codeVersion"] == manifest.code
    assert document["checks"] == manifest.checks
    assert document["timings"] == manifest.timings
    assert document["peakMemory"] == manifest.peak_memory
    assert set(manifest.peak_memory) == set(manifest.timings)
    assert all(size > 10_000_000 for size in manifest.peak_memory.values())  # an interpreter alone has as much
    assert isinstance(document["builtAt"], datetime)


def test_float32_vectors_are_stored_as_binary_and_hold_the_same_numbers(ready, publish, manifest, home):
    publish(manifest, "float32")
    doubles = ReleaseDocuments(release_folder(home, manifest.id), manifest)
    for output in ("user_profile", "track_embedding", "similarity"):
        for number in range(doubles.chunks(output)):
            for expected in doubles.chunk(output, number):
                stored = ready[names.FEATURE_STORE].find_one({"_id": expected["_id"]})["features"]
                assert isinstance(stored["vector"], Binary)
                assert stored["vector"].subtype == 9
                values = stored["vector"].as_vector().data
                assert len(values) == stored["dimensions"] == expected["features"]["dimensions"]
                np.testing.assert_allclose(values, list(expected["features"]["vector"]), rtol=1e-6)


@pytest.mark.parametrize("vectors", ["double", "float32"])
def test_the_same_chunk_is_the_same_bytes_every_time(home, manifest, vectors):
    for output in ("user_profile", "recommendations"):
        one, other = (ReleaseDocuments(release_folder(home, manifest.id), manifest, vectors) for _ in range(2))
        assert [document.raw for document in one.chunk(output, 0)] == [
            document.raw for document in other.chunk(output, 0)
        ]


def test_all_chunks_together_are_all_rows_once(home, manifest):
    documents = ReleaseDocuments(release_folder(home, manifest.id), manifest)
    for output in ("user_profile", "track_embedding", "similarity", "recommendations"):
        assert documents.chunks(output) > 1
        ids = [
            document["_id"]
            for number in range(documents.chunks(output))
            for document in documents.chunk(output, number)
        ]
        assert len(set(ids)) == len(ids) == manifest.counts[output]
