"""The gate before the upload: a built release judged beside recent nights and the live one, from files on disk."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents import BOUND, SMALL, fill_small_world

from features.erasure.tombstones import ERASED
from features.errors import StorageError
from features.evaluate.gate import verdict
from features.parameters import GateParameters
from features.release import gate
from features.release.build import build_release
from features.release.gate import judge
from features.release.manifest import from_json, release_folder
from features.schema.names import LISTENING_HISTORY, TRACKS
from features.snapshot.take import take_snapshot

ALL = GateParameters()
FINE = ALL.model_copy(update={"min_rows": 3, "min_entities": 3, "max_psi": 100.0, "max_drifted": 1.0})
"""Limits for a world of four listeners, in which a single one is a drift."""
MEASURED = {
    "plays_last_day": 5.0,
    "plays_last_week": 30.0,
    "without_completion": 0.0,
    "without_audio": 0.0,
    "without_artist": 0.0,
    "embeddings_empty": 0.0,
    "embedding_rank": 9.0,
    "active_users": 4.0,
    "active_with_profile": 4.0,
    "active_with_lists": 4.0,
    "users": 400.0,
    "ndcg@100": 0.2,
    "ndcg@100_se": 0.001,
}


def failed(checks):
    return [check.name for check in checks if not check.passed]


def written(release, checks):
    """As it stands on disk after it was judged."""
    return from_json(json.loads(json.dumps(replace(release, checks=[check.to_dict() for check in checks]).to_json())))


@pytest.fixture
def night(manifest):
    """The release of the home with figures as a build records them."""
    return replace(manifest, metrics=MEASURED)


@pytest.fixture
def nights(night):
    return [replace(night, id=f"2026-01-0{number}-aaaaaa") for number in range(1, 5)]


def with_inputs(release, table, **changes):
    inputs = release.inputs | {table: release.inputs[table] | changes}
    return replace(release, inputs=inputs)


def test_the_first_release_passes_by_itself(home, manifest):
    for limits in (ALL, FINE):
        checks = judge(home, manifest, None, [], limits)
        assert failed(checks) == []
        assert [check.to_dict() for check in checks[: len(manifest.checks)]] == manifest.checks
        assert verdict(checks) == f"{len(checks)} checks passed"


def test_a_night_like_the_others_passes(home, night, nights, another):
    live = another(1)
    checks = judge(home, night, replace(live, metrics=MEASURED), nights, FINE)
    assert failed(checks) == []
    assert [check.name for check in checks if "too little to compare" in check.detail] == []


def test_judging_again_is_judging_once_whatever_the_limits_were(home, night, nights, another):
    live, strict = another(1), FINE.model_copy(update={"min_volume_ratio": 1.0, "max_missing_rise": 0.0})
    once = judge(home, night, live, nights, FINE)
    assert judge(home, written(night, once), live, nights, FINE) == once
    judged = written(night, judge(home, night, None, [], strict))
    assert judge(home, judged, live, nights, FINE) == once


def test_what_the_build_found_wrong_stays_wrong(home, night, nights):
    bad = replace(night, checks=[*night.checks[1:], night.checks[0] | {"passed": False}])
    again = judge(home, written(bad, judge(home, bad, None, nights, FINE)), None, nights, FINE)
    assert failed(again) == [night.checks[0]["name"]]


def test_a_release_is_not_its_own_recent_night(home, night, nights):
    half = with_inputs(night, "plays", used=night.inputs["plays"]["used"] // 3)
    assert failed(judge(home, half, None, [*nights[:3], *[half] * 4], FINE)) == ["no input has shrunk"]


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ({"plays_last_day": 0.0}, "the last day has its plays"),
        ({"plays_last_week": 14.0}, "the last week has its plays"),
        ({"without_completion": 0.5}, "no more is missing than usual"),
        ({"active_with_lists": 3.0}, "active listeners are served"),
        ({"embedding_rank": 5.0}, "embeddings span their dimensions"),
        ({"ndcg@100": 0.1}, "lists rank as well as before"),
    ],
)
def test_each_figure_of_the_build_reaches_its_check(home, night, nights, another, metrics, name):
    live = replace(another(1), metrics=MEASURED)
    assert failed(judge(home, replace(night, metrics=MEASURED | metrics), live, nights, FINE)) == [name]


def test_documents_set_aside_are_counted_by_table_and_erased_persons_are_no_fault(home, night, nights):
    limits = FINE.model_copy(update={"max_set_aside": 0.1})
    reading = {"read": 50, "set_aside": 20, "used": 30}
    bad = with_inputs(night, "plays", reasons={"no date": 20}, **reading)
    assert "few documents are set aside" in failed(judge(home, bad, None, nights, limits))
    erased = with_inputs(night, "plays", reasons={ERASED: 18, "no date": 2}, **reading)
    checks = judge(home, erased, None, [], limits)
    assert failed(checks) == []
    assert any("plays 6.25%" in check.detail for check in checks)  # 2 of 32


def test_fewer_documents_than_the_live_release_has_are_noticed(home, night, another):
    live = another(1)
    bigger = replace(live, counts=live.counts | {"recommendations": 10 * live.counts["recommendations"]})
    checks = judge(home, night, bigger, [], FINE)
    assert failed(checks) == ["about as many documents as before"]


def test_embeddings_and_rankings_of_other_settings_are_not_compared(home, night, another):
    worse = replace(night, metrics=MEASURED | {"embedding_rank": 1.0, "ndcg@100": 0.0})
    live = replace(another(1), metrics=MEASURED)
    assert failed(judge(home, worse, live, [], FINE)) == [
        "embeddings span their dimensions",
        "lists rank as well as before",
    ]
    for part in ("embeddings", "evaluation"):
        live = replace(live, parameters=live.parameters | {part: live.parameters[part] | {"seed": 1}})
    assert failed(judge(home, worse, live, [], FINE)) == []


def with_profiles(home, release, change):
    path = release_folder(home, release.id) / "user_profile.parquet"
    table = pq.read_table(path)
    vectors = np.array(table["vector"].to_pylist(), float)
    change(vectors)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(table.set_column(1, "vector", flat), path, row_group_size=2)


def test_profiles_are_compared_with_the_live_ones_by_name(home, night, another):
    live, energy = replace(another(1), metrics=MEASURED), night.dimensions.index("energy_mean")

    def lost(vectors):
        vectors[:, energy] = np.nan

    with_profiles(home, night, lost)
    checks = judge(home, night, live, [], FINE)
    assert failed(checks) == ["no dimension has died"]
    assert "energy_mean" in next(check.detail for check in checks if not check.passed)
    assert failed(judge(home, live, night, [], FINE)) == []  # it came back
    assert failed(judge(home, night, live, [], ALL)) == []  # too few listeners to say


@pytest.mark.parametrize("harm", ["folder", "file", "bytes"])
def test_a_live_release_that_is_not_on_this_disk_is_told_and_is_no_fault(home, night, nights, another, harm):
    live = replace(another(1), metrics=MEASURED)
    folder = release_folder(home, live.id)
    if harm == "folder":
        shutil.rmtree(folder)
    elif harm == "file":
        (folder / "user_profile.parquet").unlink()
    else:
        (folder / "user_profile.parquet").write_bytes(b"PAR1 and no more")
    checks = judge(home, night, live, nights, FINE)
    assert failed(checks) == []
    found = next(check for check in checks if check.name == "profiles are compared with the live ones")
    assert live.id in found.detail
    bad = replace(night, metrics=MEASURED | {"ndcg@100": 0.0})
    assert failed(judge(home, bad, live, nights, FINE)) == ["lists rank as well as before"]  # what can be judged is


def test_a_release_whose_own_profiles_are_gone_can_not_be_judged(home, night):
    (release_folder(home, night.id) / "user_profile.parquet").unlink()
    with pytest.raises(StorageError, match=r"user_profile\.parquet can't be read .* build the release again") as error:
        judge(home, night, None, [], FINE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_of_very_many_profiles_evenly_spread_ones_are_read(home, night, most, monkeypatch):
    path = release_folder(home, night.id) / "user_profile.parquet"
    whole = pa.concat_tables([pq.read_table(path)] * 3)  # twelve rows
    pq.write_table(whole, path, row_group_size=5)
    vectors = np.array(whole["vector"].to_pylist(), float) + np.arange(len(whole))[:, None]
    with_profiles(home, night, lambda made: made.__iadd__(np.arange(len(made))[:, None]))
    monkeypatch.setattr(gate, "MOST_PROFILES", most)
    step = -(-len(whole) // most)
    np.testing.assert_array_equal(gate._profiles(home, night), vectors[::step])


def test_a_release_whose_people_were_all_erased_has_no_profiles_to_compare(home, night, another):
    live = replace(another(1), metrics=MEASURED)
    path = release_folder(home, live.id) / "user_profile.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert gate._profiles(home, live).shape == (0, len(live.dimensions))
    assert failed(judge(home, night, live, [], FINE)) == []


def bad_night(db, home, change):
    fill_small_world(db)
    change(db)
    return build_release(take_snapshot(db, home, BOUND), home, SMALL, BOUND)


def test_a_night_on_which_the_catalogue_lost_its_audio_features_is_stopped(db, home, manifest):
    bad = bad_night(db, home, lambda db: db[TRACKS].update_many({}, {"$unset": {"audioFeatures": ""}}))
    checks = judge(home, bad, manifest, [], FINE)
    died = next(check for check in checks if check.name == "no dimension has died")
    assert not died.passed
    assert "energy_mean" in died.detail


def test_a_night_on_which_the_catalogue_lost_its_genres_is_stopped(db, home, manifest):
    bad = bad_night(db, home, lambda db: db[TRACKS].update_many({}, {"$set": {"artists.$[].genres": []}}))
    checks = judge(home, bad, None, [replace(manifest, id=str(number)) for number in range(3)], FINE)
    assert failed(checks) == ["no more is missing than usual"]
    assert "without_genre 100.0%, usually 0.0%" in verdict(checks)


def test_a_night_on_which_most_plays_were_gone_is_stopped(db, home, manifest):
    bad = bad_night(db, home, lambda db: db[LISTENING_HISTORY].delete_many({"userId": {"$ne": "ann"}}))
    recent = [replace(manifest, id=str(number)) for number in range(3)]
    checks = judge(home, bad, manifest, recent, FINE)
    assert {"no input has shrunk", "about as many documents as before"} <= set(failed(checks))
    assert f"plays 8 of {manifest.counts['plays']}" in verdict(checks)
