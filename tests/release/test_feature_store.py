"""FeatureStore: what readers get, of one release, by every name a user or track may have."""

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import TWIN, TWIN_TEXT

from features.errors import NotFoundError
from features.release.ledger import hold_lease
from features.release.manifest import release_folder
from features.release.publish import rollback
from features.release.store import FeatureStore, decode_vector, open_feature_store
from features.schema import names
from features.schema.ids import encode_id


@pytest.fixture
def store(ready, publish, manifest) -> FeatureStore:
    publish(manifest)
    return FeatureStore(ready)


@pytest.fixture
def built(home, manifest):
    """The release's own rows, read from Parquet."""

    def read(output: str) -> list[dict]:
        return pq.read_table(release_folder(home, manifest.id) / f"{output}.parquet").to_pylist()

    return read


def test_without_a_release_there_is_one_clear_error(ready):
    with pytest.raises(NotFoundError, match=r"^no release is live yet; run `echotune nightly` first$"):
        FeatureStore(ready)
    with hold_lease(ready), pytest.raises(NotFoundError, match="no release is live yet"):
        FeatureStore(ready)  # the first nightly run is at work


def test_an_unknown_release_is_told_with_those_there_are(store, ready, manifest):
    with pytest.raises(NotFoundError, match=f"there is no release 2020-01-01-000000; the newest are: {manifest.id}"):
        FeatureStore(ready, "2020-01-01-000000")


def test_it_says_what_it_is(store, manifest):
    assert repr(store) == f"FeatureStore({manifest.id}, 4 profiles, 16 tracks)"
    assert store.info["counts"] == manifest.counts
    assert store.dimensions == manifest.dimensions
    store.info["counts"] = None
    store.dimensions.clear()
    assert store.info["counts"] == manifest.counts  # a reader can't spoil it
    assert store.dimensions == manifest.dimensions


def test_the_settings_open_one(settings, publish, manifest):
    publish(manifest)
    with open_feature_store() as store:
        assert store.release == manifest.id
        assert store.profile_confidence("ann") > 0
    with open_feature_store(manifest.id, settings) as store:
        assert store.release == manifest.id


# --- profiles ---


def test_a_profile_has_every_dimension_by_name_and_keeps_nan(store, built, manifest):
    for row in built("user_profile"):
        user = TWIN if row["user_id"].startswith("oid:") else row["user_id"]
        profile = store.profile(user)
        assert list(profile) == manifest.dimensions
        np.testing.assert_array_equal(list(profile.values()), row["vector"])  # NaN equals NaN here
        assert store.profile_confidence(user) == row["confidence"]
    assert math.isnan(store.profile("ann")["liveness_mean"])
    assert store.profile("ann")["energy_mean"] > 0


@pytest.mark.parametrize(
    "user", ["nobody", "", ObjectId("64b0000000000000000000ff"), "str:", "oid:nonsense", "64b0000000000000000000fe"]
)
def test_an_unknown_user_is_told_as_that(store, manifest, user):
    with pytest.raises(NotFoundError, match=f"^release {manifest.id} has no user_profile of user"):
        store.profile(user)
    with pytest.raises(NotFoundError, match="has no similarity of user"):
        store.similar_users(user)
    with pytest.raises(NotFoundError, match="has no recommendations for user"):
        store.recommendations(user)


# --- one text, two users ---


def test_an_object_id_can_be_given_as_such_tagged_or_as_its_digits(store):
    expected = store.profile(TWIN)
    for spelling in (f"oid:{TWIN}", TWIN_TEXT):  # the text twin has no profile, so the digits mean the ObjectId
        np.testing.assert_array_equal(list(store.profile(spelling).values()), list(expected.values()))


def test_the_text_twin_comes_first_where_both_have_something(store):
    assert store.recommendations(TWIN)["user_id"] == TWIN
    assert store.recommendations(f"oid:{TWIN}")["user_id"] == TWIN
    assert store.recommendations(f"str:{TWIN_TEXT}")["user_id"] == TWIN_TEXT
    found = store.recommendations(TWIN_TEXT)
    # a list of the text twin, though the other has one of a strategy that comes first
    assert (found["user_id"], found["strategy"]) == (TWIN_TEXT, "popular")


# --- similar users and tracks ---


def test_similar_users_are_those_written_best_first_with_their_own_ids(store):
    assert store.similar_users("ann") == [
        {"user_id": TWIN, "common_tracks": 7, "jaccard": 7 / 8, "score": 7 / 8},
        {"user_id": "bob", "common_tracks": 7, "jaccard": 7 / 10, "score": 7 / 10},
    ]
    assert store.similar_users("ann", k=1) == store.similar_users("ann")[:1]
    assert store.similar_users("cat") == []  # known, and like nobody


def test_similar_tracks_are_the_nearest_by_cosine(store, built):
    rows = built("track_embedding")
    ids = [row["track_id"] for row in rows]
    matrix = np.array([row["vector"] for row in rows], np.float64)
    for position, track in enumerate(ids):
        cosine = matrix @ matrix[position]
        order = sorted((other for other in range(len(ids)) if other != position), key=lambda o: (-cosine[o], ids[o]))
        found = store.similar_tracks(track, k=5)
        assert [entry["track_id"] for entry in found] == [ids[other] for other in order[:5]]
        np.testing.assert_allclose([entry["similarity"] for entry in found], cosine[order[:5]])


def test_more_similar_tracks_than_there_are_is_all_others_and_a_shorter_list_a_prefix(store):
    everything = store.similar_tracks("track-01", k=1000)
    assert len(everything) == 15
    assert store.similar_tracks("track-01", k=4) == everything[:4]


def test_an_embedding_is_the_one_built(store, built):
    for row in built("track_embedding"):
        np.testing.assert_array_equal(store.embedding(row["track_id"]), row["vector"])


def test_an_unknown_track_is_told_as_that(store, manifest):
    for call in (store.embedding, store.similar_tracks):
        with pytest.raises(NotFoundError, match=f"^release {manifest.id} does not know track track-99$"):
            call("track-99")


# --- recommendations ---


def test_without_a_strategy_the_first_there_is_comes(store, ready):
    order = ["hybrid", "collaborative", "content-based", "popular"]
    for number, strategy in enumerate(order[:3]):
        found = store.recommendations("cat")
        assert found["strategy"] == strategy
        ready[names.RECOMMENDATIONS].delete_many({"userId": "cat", "strategy": {"$in": order[: number + 1]}})
    with pytest.raises(NotFoundError, match="has no recommendations for user cat"):
        store.recommendations("cat")


def test_a_list_is_the_one_built(store, built):
    rows = {(row["user_id"], row["strategy"]): row for row in built("recommendations")}
    row = rows["ann", "collaborative"]
    found = store.recommendations("ann", "collaborative", k=1000)
    assert [entry["track_id"] for entry in found["candidates"]] == row["track_ids"]
    assert [entry["score"] for entry in found["candidates"]] == row["scores"]
    assert [entry["reasons"] for entry in found["candidates"]] == row["reasons"]
    assert (found["seeds"], found["confidence"]) == (row["seeds"], row["confidence"])
    first = found["candidates"][0]
    number = int(first["track_id"].removeprefix("track-"))
    assert (first["rank"], first["track_name"], first["artist"]) == (1, f"Song {number}", f"Artist {number % 4}")
    shorter = store.recommendations("ann", "collaborative", k=2)
    assert shorter == found | {"candidates": found["candidates"][:2]}


def test_a_strategy_that_is_none_and_one_the_user_has_no_list_of_are_told_apart(store, manifest):
    with pytest.raises(
        NotFoundError, match="unknown strategy 'best'; there are collaborative, content-based, hybrid, popular"
    ):
        store.recommendations("ann", "best")
    with pytest.raises(NotFoundError, match=f"release {manifest.id} has no popular recommendations for user ann"):
        store.recommendations("ann", "popular")


# --- tables ---


def test_the_table_of_profiles_has_a_column_a_dimension(store, built, manifest):
    frame = store.table("user_profile").to_pandas().set_index("user_id")
    assert list(frame.columns) == [*manifest.dimensions, "confidence"]
    for row in built("user_profile"):
        np.testing.assert_array_equal(frame.loc[row["user_id"], manifest.dimensions].to_numpy(float), row["vector"])
        assert frame.loc[row["user_id"], "confidence"] == row["confidence"]


def test_the_table_of_embeddings_is_by_track(store, built):
    table = store.table("track_embedding")
    assert table["track_id"].to_pylist() == [row["track_id"] for row in built("track_embedding")]
    np.testing.assert_array_equal(
        np.stack(table["vector"].to_pylist()), [row["vector"] for row in built("track_embedding")]
    )


def test_the_table_of_similar_users_has_a_row_a_pair(store, built):
    rows = store.table("similarity").to_pylist()
    expected = [
        {"user_id": row["user_id"], "neighbor_id": other["user_id"]}
        | {name: other[name] for name in ("common_tracks", "jaccard")}
        for row in built("similarity")
        for other in row["neighbors"]
    ]
    assert sorted(map(repr, rows)) == sorted(map(repr, expected))
    assert len(rows) == 6


def test_the_table_of_recommendations_has_a_row_a_candidate(store, built):
    rows = store.table("recommendations").to_pylist()
    expected = [
        {
            "user_id": row["user_id"],
            "strategy": row["strategy"],
            "rank": position + 1,
            "track_id": track,
            "score": row["scores"][position],
            "reasons": row["reasons"][position],
        }
        for row in built("recommendations")
        for position, track in enumerate(row["track_ids"])
    ]
    assert sorted(map(repr, rows)) == sorted(map(repr, expected))


def test_an_unknown_type_is_told_with_those_there_are(store):
    with pytest.raises(
        NotFoundError,
        match="unknown feature type 'mood'; there are user_profile, track_embedding, similarity, recommendations",
    ):
        store.table("mood")


@pytest.mark.parametrize("feature_type", ["user_profile", "track_embedding", "similarity", "recommendations"])
def test_a_table_of_nothing_has_the_same_columns(store, ready, feature_type):
    full = store.table(feature_type)
    for collection in (names.FEATURE_STORE, names.RECOMMENDATIONS):
        ready[collection].update_many({}, {"$set": {"expiresAt": datetime.now(UTC)}})
    empty = FeatureStore(ready).table(feature_type)
    assert empty.num_rows == 0
    assert empty.column_names == full.column_names
    plain = [field for field in full.schema if not pa.types.is_fixed_size_list(field.type)]
    assert [empty.schema.field(field.name) for field in plain] == plain


def test_labels_are_names_where_there_are_any(store, ready):
    ready[names.TRACKS].insert_many(
        [
            {"spotifyId": "track-01", "name": "Song", "artists": [{"name": "A"}, {"name": None}, {"name": "B"}]},
            {"spotifyId": "track-02", "name": "Alone", "artists": None},
            {"spotifyId": "track-03", "name": None, "artists": [{"name": "A"}]},
        ]
    )
    wanted = [f"track-{number:02d}" for number in range(1, 5)] + [f"none-{number}" for number in range(600)]
    labels = store.track_labels(wanted)
    assert list(labels) == wanted
    assert [labels[track] for track in wanted[:4]] == ["Song by A, B", "Alone", "track-03", "track-04"]
    assert store.track_labels([]) == {}


# --- one release ---


def test_a_store_keeps_to_its_release_while_a_newer_one_goes_live(store, ready, manifest, another, publish):
    before = store.table("recommendations"), store.similar_users("ann"), store.recommendations("ann")
    newer = publish(another(1))
    assert (store.table("recommendations"), store.similar_users("ann"), store.recommendations("ann")) == before
    assert store.release == manifest.id
    assert FeatureStore(ready).release == newer.id
    assert FeatureStore(ready, manifest.id).release == manifest.id


def test_two_releases_are_never_mixed(ready, home, another, publish):
    """Each of two releases has other confidences, so a mixture would show."""
    older, newer = another(1), another(2)
    folder = release_folder(home, newer.id)
    table = pq.read_table(folder / "user_profile.parquet")
    position = table.schema.get_field_index("confidence")
    changed = table.set_column(position, "confidence", pa.array([0.999] * table.num_rows))
    pq.write_table(changed, folder / "user_profile.parquet")
    publish(older)
    pinned = FeatureStore(ready)
    publish(newer)
    assert 0.999 not in pinned.table("user_profile")["confidence"].to_pylist()
    assert set(FeatureStore(ready).table("user_profile")["confidence"].to_pylist()) == {0.999}
    assert pinned.profile_confidence("ann") != 0.999 == FeatureStore(ready).profile_confidence("ann")


def test_after_a_rollback_a_new_store_reads_the_former_release(ready, another, publish):
    older, newer = publish(another(1)), publish(another(2))
    pinned = FeatureStore(ready)
    with hold_lease(ready) as token:
        rollback(ready, token)
    assert FeatureStore(ready).release == older.id
    with pytest.raises(NotFoundError, match=f"release {newer.id} has no user_profile of user ann"):
        pinned.profile("ann")  # withdrawn; never another release's


def test_what_has_expired_is_not_read_though_the_server_has_not_removed_it(store, ready):
    past = datetime.now(UTC) - timedelta(seconds=1)
    for collection in (names.FEATURE_STORE, names.RECOMMENDATIONS):
        ready[collection].update_many({}, {"$set": {"expiresAt": past}})
    for call in (
        lambda: store.profile("ann"),
        lambda: store.similar_users("ann"),
        lambda: store.recommendations("ann"),
        lambda: store.embedding("track-01"),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert store.table("user_profile").num_rows == 0


def test_a_client_that_knows_no_pointer_gets_a_whole_document_newest_first(ready, another, publish):
    publish(another(1))
    newer = publish(another(2))
    found = ready[names.FEATURE_STORE].find_one(
        {"userId": "ann", "featureType": "user_profile"}, sort=[("computedAt", -1)]
    )
    assert found["features"]["version"] == newer.id


# --- float32 ---


def test_float32_vectors_read_back_the_same_within_float32(ready, publish, manifest, home, built):
    publish(manifest, "float32")
    store = FeatureStore(ready)
    for row in built("track_embedding"):
        np.testing.assert_array_equal(store.embedding(row["track_id"]), np.float32(row["vector"]))
    for row in built("user_profile"):
        user = TWIN if row["user_id"].startswith("oid:") else row["user_id"]
        np.testing.assert_array_equal(list(store.profile(user).values()), np.float64(np.float32(row["vector"])))
    assert store.similar_users("ann")[0]["score"] == 7 / 8
    assert store.table("user_profile").num_rows == 4
    assert store.table("track_embedding").num_rows == 16
    assert [entry["track_id"] for entry in store.similar_tracks("track-01")]


def test_two_releases_may_store_their_vectors_differently(ready, another, publish):
    older, newer = publish(another(1), "double"), publish(another(2), "float32")
    one, other = FeatureStore(ready, older.id), FeatureStore(ready, newer.id)
    np.testing.assert_allclose(one.embedding("track-05"), other.embedding("track-05"), rtol=1e-6)


def test_a_vector_is_decoded_from_either_form():
    from bson.binary import Binary, BinaryVectorDtype

    assert decode_vector([0.5, 1]).tolist() == [0.5, 1.0]
    assert decode_vector(Binary.from_vector([0.5, 0.25], BinaryVectorDtype.FLOAT32)).tolist() == [0.5, 0.25]
    assert decode_vector([]).shape == (0,)


def test_a_changed_setting_resumes_an_upload_without_losing_anything(ready, home, manifest):
    """Half written as doubles, the rest as float32: readers take both."""
    from features.release import publish as module
    from features.release.publish import switch, upload, verify

    class Stop(Exception):  # noqa: N818
        pass

    insert, sent = module._insert, itertools.count()

    def stopping(*arguments):
        if next(sent) >= 3:  # of several under way none gets through any more
            raise Stop
        insert(*arguments)

    with hold_lease(ready) as token:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_insert", stopping)
            with pytest.raises(Stop):
                upload(ready, home, manifest, token, "double")
        verify(ready, manifest, upload(ready, home, manifest, token, "float32"))
        switch(ready, manifest, token)
    store = FeatureStore(ready)
    assert store.table("track_embedding").num_rows == 16
    for user in ("ann", "bob", "cat", TWIN):
        assert encode_id(user) in store.table("user_profile")["user_id"].to_pylist()


def test_a_release_none_of_whose_users_are_alike_has_an_empty_table_of_them(ready, home, another, publish):
    release = another(1)
    path: Path = release_folder(home, release.id) / "similarity.parquet"
    table = pq.read_table(path)
    neighbors = pa.array([[]] * table.num_rows, table.schema.field("neighbors").type)
    pq.write_table(table.set_column(table.schema.get_field_index("neighbors"), "neighbors", neighbors), path)
    publish(replace(release))
    frame = FeatureStore(ready).table("similarity").to_pandas()
    assert list(frame.columns) == ["user_id", "neighbor_id", "common_tracks", "jaccard"]
    assert frame.empty
