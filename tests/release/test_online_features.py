"""Features of many entities from the live release: all of one version, in the rows' order, counted where unknown."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import TWIN, TWIN_TEXT
from pymongo import MongoClient, monitoring
from timelines import EVERYTHING

from features.errors import InputError, NotFoundError
from features.release import online
from features.release.historical import get_historical_features
from features.release.ledger import hold_lease
from features.release.manifest import release_folder
from features.release.publish import rollback
from features.release.store import FeatureStore
from features.schema import names

PROFILE = ["user_profile:energy_mean", "user_profile:confidence"]


@pytest.fixture
def store(ready, publish, manifest) -> FeatureStore:
    publish(manifest)
    return FeatureStore(ready)


def users(*ids: Any) -> list[dict[str, Any]]:
    return [{"user_id": user} for user in ids]


def everyone() -> list[dict[str, Any]]:
    ids = ("ann", TWIN, "nobody", "bob", TWIN_TEXT, "cat", None, "ann")
    return [{"user_id": user, "track_id": f"track-{number * 3:02d}"} for number, user in enumerate(ids)]


@pytest.mark.parametrize("vectors", ["double", "float32"])
def test_the_database_gives_what_the_disk_gives_of_the_same_release(ready, publish, manifest, home, vectors):
    """The disk's values are compared with the Parquet rows one by one in the tests of the past."""
    publish(manifest, vectors)
    live = FeatureStore(ready).get_online_features(EVERYTHING, everyone(), full_feature_names=True)
    rows = [row | {"event_timestamp": manifest.as_of} for row in everyone()]
    disk = get_historical_features(home, rows, EVERYTHING, full_feature_names=True)
    assert live.unknown == disk.unknown
    expected = disk.to_arrow().drop_columns(["event_timestamp"])
    assert live.to_arrow().schema == expected.schema
    assert live.to_arrow().num_rows == 8
    for name in expected.column_names:
        got, wanted = live.to_dict()[name], expected[name].to_pylist()
        if vectors == "float32" and name.removeprefix("user_profile__") in manifest.dimensions:
            wanted = [None if value is None else float(np.float32(value)) for value in wanted]
        assert repr(got) == repr(wanted), name


def test_rows_keep_their_order_their_repetitions_and_their_other_columns(store):
    rows = [
        {"user_id": "bob", "label": 1},
        {"label": 2, "user_id": "ann", "source": "radio"},
        {"user_id": "nobody"},
        {"user_id": "bob", "label": 4, "asked_by": ObjectId("64b0000000000000000000aa")},
    ]
    found = store.get_online_features(PROFILE, rows).to_dict()
    assert list(found) == ["user_id", "label", "source", "asked_by", "energy_mean", "confidence"]
    assert found["user_id"] == ["bob", "ann", "nobody", "bob"]
    assert found["label"] == [1, 2, None, 4]
    assert found["asked_by"] == [None, None, None, "oid:64b0000000000000000000aa"]
    energy = {user: store.profile(user)["energy_mean"] for user in ("ann", "bob")}
    assert found["energy_mean"] == [energy["bob"], energy["ann"], None, energy["bob"]]
    assert found["confidence"][0] == store.profile_confidence("bob")


def test_a_frame_a_table_and_a_list_of_rows_are_the_same(store):
    rows = [
        {"user_id": "bob", "at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"user_id": TWIN, "at": None},
        {"user_id": None},
    ]
    texts = [{**row, "user_id": f"oid:{TWIN}" if row["user_id"] == TWIN else row["user_id"]} for row in rows]
    table = pa.Table.from_pylist(texts)
    frames = [pd.DataFrame(rows), pd.DataFrame(rows, index=[7, 7, 9]), table.to_pandas(types_mapper=pd.ArrowDtype)]
    coded = table.set_column(0, "user_id", table["user_id"].dictionary_encode())
    expected = store.get_online_features(PROFILE, rows).to_dict()
    assert expected["user_id"] == ["bob", f"oid:{TWIN}", None]
    for same in (tuple(rows), table, coded, *frames):
        assert repr(store.get_online_features(PROFILE, same).to_dict()) == repr(expected)


def test_neither_the_rows_nor_a_result_can_be_spoilt(store):
    frame = pd.DataFrame({"user_id": ["ann", "bob"], "label": [1, 2]})
    before = frame.copy()
    found = store.get_online_features(PROFILE, frame)
    pd.testing.assert_frame_equal(frame, before)
    changed = found.to_df()
    changed["confidence"] = 0
    found.to_dict()["confidence"].clear()
    assert found.to_dict()["confidence"] == [store.profile_confidence(user) for user in ("ann", "bob")]


def test_an_unknown_entity_is_null_and_its_rows_are_counted_by_type(store):
    rows = [{"user_id": user, "track_id": "track-01"} for user in ("ann", "nobody", None, "", "nobody")]
    asked = [*PROFILE, "track_embedding:vector", "recommendations:popular"]
    found = store.get_online_features(asked, rows)
    assert found.unknown == {"user_profile": 4, "track_embedding": 0, "recommendations:popular": 5}
    assert found.to_dict()["energy_mean"][1:] == [None] * 4
    assert found.to_df()["energy_mean"].isna().tolist() == [False, *[True] * 4]
    assert repr(found) == (
        "Features(5 rows: user_id, track_id, energy_mean, confidence, vector, popular; "
        "4 without user_profile, 5 without recommendations:popular)"
    )
    assert repr(store.get_online_features(["track_embedding:confidence"], rows)).endswith("confidence; all known)")
    assert len(found) == 5
    everything = store.get_online_features("user_profile:*", users("ann"))
    assert repr(everything).endswith(f"{len(store.dimensions) - 7} more; all known)")
    assert repr(everything).count(",") == 8


def test_what_is_undefined_is_nan_and_what_is_unknown_null(store):
    found = store.get_online_features(["user_profile:liveness_mean"], users("ann", "nobody")).to_arrow()[
        "liveness_mean"
    ]
    assert found.null_count == 1
    assert math.isnan(found[0].as_py())


def test_an_object_id_can_be_given_as_such_tagged_or_as_its_digits(store):
    rows = users(TWIN, f"oid:{TWIN}", TWIN_TEXT, f"str:{TWIN_TEXT}", ObjectId("64b0000000000000000000ff"))
    found = store.get_online_features(PROFILE, rows)
    energy = store.profile(TWIN)["energy_mean"]
    assert found.to_dict()["energy_mean"] == [energy, energy, energy, None, None]
    assert found.to_dict()["user_id"][2:4] == [TWIN_TEXT, f"str:{TWIN_TEXT}"]  # as they were given


def test_a_track_id_is_only_what_it_says(store):
    rows = [{"track_id": "str:track-01"}, {"track_id": "track-01"}]
    found = store.get_online_features(["track_embedding:confidence"], rows)
    assert found.unknown == {"track_embedding": 1}
    assert found.to_dict()["confidence"][0] is None


# --- one release


def test_a_pinned_reader_goes_on_with_its_release_when_the_pointer_moves(ready, home, another, publish):
    older, newer = another(1), another(2)
    path = release_folder(home, newer.id) / "user_profile.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "confidence", pa.array([0.999] * table.num_rows)), path, row_group_size=2)
    publish(older)
    pinned = FeatureStore(ready)
    before = pinned.get_online_features(PROFILE, users("ann", "bob", "nobody"))
    publish(newer)
    assert pinned.get_online_features(PROFILE, users("ann", "bob", "nobody")).table.equals(before.table)
    live = FeatureStore(ready).get_online_features(PROFILE, users("ann", "bob", "nobody")).to_dict()
    assert live["confidence"] == [0.999, 0.999, None]
    with hold_lease(ready) as token:
        rollback(ready, token)
    gone = FeatureStore(ready, newer.id).get_online_features(PROFILE, users("ann", "bob"))
    assert gone.unknown == {"user_profile": 2}  # withdrawn; never another release's
    assert FeatureStore(ready).get_online_features(PROFILE, users("ann", "bob", "nobody")).table.equals(before.table)


def test_what_has_expired_is_unknown_though_the_server_has_not_removed_it(store, ready):
    past = datetime.now(UTC) - timedelta(seconds=1)
    ready[names.FEATURE_STORE].update_one(
        {"userId": "ann", "featureType": "user_profile"}, {"$set": {"expiresAt": past}}
    )
    found = store.get_online_features([*PROFILE, "similarity:confidence"], users("ann", "bob"), full_feature_names=True)
    assert found.unknown == {"user_profile": 1, "similarity": 0}
    assert found.to_dict()["user_profile__energy_mean"][0] is None


# --- how the server is asked


class Finds(monitoring.CommandListener):
    """Notes the commands that ask for documents."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in {"find", "getMore", "aggregate"}:
            self.commands.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def test_a_long_list_is_asked_for_in_short_lists_once_each_with_what_is_needed_only(
    ready, server_uri, publish, manifest
):
    publish(manifest)
    finds = Finds()
    with MongoClient(server_uri, tz_aware=True, event_listeners=[finds]) as client:
        store = FeatureStore(client[ready.name])
        finds.commands.clear()
        ids = [f"listener-{number}" for number in range(1_100)]
        found = store.get_online_features(PROFILE, users(*ids, "ann", *ids, "bob", TWIN_TEXT))
    assert found.unknown == {"user_profile": 2_200}
    lists = [command["filter"]["_id"]["$in"] for command in finds.commands]
    assert [len(asked) for asked in lists] == [500, 500, 104]  # the digits may mean two
    assert len({document for asked in lists for document in asked}) == 1_104
    wanted = {"features.vector": 1, "metadata.confidence": 1, "expiresAt": 1}
    assert [command["projection"] for command in finds.commands] == [wanted] * 3


def test_a_list_all_of_which_is_there_is_one_question(ready, server_uri, publish, manifest, monkeypatch):
    publish(manifest)
    monkeypatch.setattr(online, "IN_LIST", 2)
    finds = Finds()
    with MongoClient(server_uri, tz_aware=True, event_listeners=[finds]) as client:
        store = FeatureStore(client[ready.name])
        finds.commands.clear()
        assert store.get_online_features(PROFILE, users("ann", "bob", "cat", TWIN)).unknown == {"user_profile": 0}
    assert [next(iter(command)) for command in finds.commands] == ["find", "find"]


def test_no_rows_ask_nothing(store):
    for rows in ([], pd.DataFrame({"user_id": []}), pa.table({"user_id": pa.array([], pa.string())})):
        found = store.get_online_features(PROFILE, rows)
        assert found.to_dict() == {"user_id": [], "energy_mean": [], "confidence": []}
        assert found.to_df().dtypes.astype(str).tolist()[1:] == ["float64", "float64"]
        assert found.unknown == {"user_profile": 0}


# --- what can't be asked


def test_a_feature_that_the_release_lacks_is_an_error_with_the_close_names(store):
    with pytest.raises(
        NotFoundError, match=r"^unknown feature 'user_profile:enrgy_mean'; close to it: user_profile:energy_mean"
    ):
        store.get_online_features(["user_profile:enrgy_mean"], users("ann"))


def test_rows_without_the_column_that_is_needed_are_told_with_those_they_have(store):
    with pytest.raises(InputError, match=r"^the rows have no column track_id, only user_id, label; add it$"):
        store.get_online_features(["track_embedding:vector"], [{"user_id": "ann", "label": 1}])
    with pytest.raises(
        InputError, match=r"^the rows' own confidence and user_profile:confidence would both be the column"
    ):
        store.get_online_features(PROFILE, [{"user_id": "ann", "confidence": 1}])
