"""Building: the same inputs give the same release, any other another one, and what fails leaves nothing."""

import errno
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from documents import BOUND, SMALL, days_ago, fill_small_world, play

from features.compute.budget import Budget
from features.dates import to_millisecond
from features.errors import InputError, NotFoundError, StorageError
from features.parameters import NightlyParameters, with_settings
from features.release import row_groups
from features.release.build import build_release, sample_size
from features.release.manifest import (
    Manifest,
    code_version,
    read_manifest,
    release_folder,
    release_id,
    releases_on_disk,
)
from features.schema.names import AUDIO_NAMES
from features.snapshot.stored import Part
from features.snapshot.take import take_snapshot

FILES = ("user_profile", "track_embedding", "similarity", "recommendations", "tracks")


def test_the_same_inputs_give_the_same_release(snapshot, original, tmp_path):
    home, manifest = original
    again = build_release(snapshot, tmp_path, SMALL, BOUND)
    assert again.id == manifest.id
    for name in FILES:
        one = pq.read_table(release_folder(home, manifest.id) / f"{name}.parquet")
        other = pq.read_table(release_folder(tmp_path, again.id) / f"{name}.parquet")
        measured = [name for name in one.column_names if name == "generation_ms"]
        assert repr(one.drop(measured).to_pylist()) == repr(other.drop(measured).to_pylist())  # NaN is like NaN here
        assert one.schema == other.schema
    measured = {"built_at": None, "timings": None, "peak_memory": None}
    assert again.to_json() | measured == manifest.to_json() | measured


def test_releases_built_within_a_second_are_told_apart_by_when(snapshot, tmp_path):
    before = to_millisecond(datetime.now(UTC))
    manifest = build_release(snapshot, tmp_path, SMALL, BOUND)
    assert before <= manifest.built_at <= datetime.now(UTC)
    assert read_manifest(tmp_path, manifest.id).built_at == manifest.built_at


def test_files_without_measured_times_are_the_same_byte_for_byte(snapshot, tmp_path):
    homes = [tmp_path / "one", tmp_path / "other"]
    release = {build_release(snapshot, home, SMALL, BOUND).id for home in homes}.pop()
    for name in set(FILES) - {"recommendations"}:
        one, other = ((release_folder(home, release) / f"{name}.parquet").read_bytes() for home in homes)
        assert one == other


def test_the_order_of_the_documents_does_not_matter(db, tmp_path, snapshot, original):
    fill_small_world(db)
    plays = list(db.listening_history.find())
    db.listening_history.drop()
    db.listening_history.insert_many(plays[::-1])
    first = build_release(take_snapshot(db, tmp_path, BOUND), tmp_path, SMALL, BOUND)
    db.listening_history.drop()
    db.listening_history.insert_many(plays)
    assert release_id(BOUND, SMALL, take_snapshot(db, tmp_path, BOUND).digest) == first.id


def test_any_other_input_gives_another_id(snapshot):
    ids = [
        release_id(BOUND, SMALL, snapshot.digest),
        release_id(BOUND + timedelta(milliseconds=1), SMALL, snapshot.digest),
        release_id(BOUND, NightlyParameters(), snapshot.digest),
        release_id(BOUND, with_settings(["recommendations.k=99"]), snapshot.digest),
        release_id(BOUND, SMALL, "another snapshot"),
    ]
    assert len(set(ids)) == len(ids)


def test_another_code_gives_another_id(snapshot, monkeypatch):
    before = release_id(BOUND, SMALL, snapshot.digest)
    monkeypatch.setattr("features.release.manifest.code_version", lambda: "0.0.0+another")
    assert release_id(BOUND, SMALL, snapshot.digest) != before


def test_the_code_version_follows_the_source(monkeypatch, tmp_path):
    import shutil

    import features
    from features.release import manifest

    root = tmp_path / "features"
    shutil.copytree(Path(features.__file__).parent, root)
    monkeypatch.setattr(features, "__file__", str(root / "__init__.py"))
    same = manifest.code_version.__wrapped__()
    assert same == code_version()
    (root / "compute" / "weights.py").write_text("# another formula\n")
    assert manifest.code_version.__wrapped__() != same


@pytest.mark.parametrize(
    ("as_of", "date"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-02-28"),  # as of midnight: the day that ended
        (datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC), "2026-03-01"),
        (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2026-02-28"),  # 23:00 in UTC
    ],
)
def test_the_id_begins_with_the_last_day_included(as_of, date):
    release = release_id(as_of, SMALL, "digest")
    assert release.startswith(f"{date}-")
    assert len(release) == len("2026-11-22-7f3c9a")


def test_the_same_moment_in_another_zone_is_the_same_release():
    elsewhere = BOUND.astimezone(timezone(timedelta(hours=-7)))
    assert release_id(elsewhere, SMALL, "digest") == release_id(BOUND, SMALL, "digest")


def test_counts_are_those_of_the_files(original):
    home, manifest = original
    for name in ("user_profile", "track_embedding", "similarity", "recommendations"):
        assert manifest.counts[name] == pq.read_metadata(release_folder(home, manifest.id) / f"{name}.parquet").num_rows
    assert {name: manifest.counts[name] for name in ("users", "tracks", "plays", "feedback")} == {
        "users": 5,
        "tracks": 16,
        "plays": 29,
        "feedback": 2,
    }
    assert manifest.counts["user_profile"] == 4  # the twin with an account and no plays has none
    assert manifest.passed


def test_the_manifest_tells_what_was_read(original, snapshot):
    manifest = original[1]
    assert manifest.inputs["plays"] == {"read": 29, "used": 29, "set_aside": 0, "reasons": {}, "later": 0}
    assert manifest.snapshot == snapshot.digest
    assert manifest.known_at == snapshot.bound
    assert manifest.as_of == BOUND


def test_plays_from_the_moment_on_are_left_out_and_counted(snapshot, tmp_path):
    manifest = build_release(snapshot, tmp_path, SMALL, days_ago(7))
    # track n was played n + 2 days ago, so tracks 1 to 5 are left out: 5 of ann's, 4 of bob's, 5 of the twin's
    assert manifest.inputs["plays"]["later"] == 5 + 4 + 5
    assert manifest.counts["plays"] == 29 - 14
    assert manifest.inputs["feedback"]["later"] == 2


def test_a_play_just_at_the_moment_is_left_out(db, tmp_path):
    db.listening_history.insert_many(
        [play("ann", "t-1", playedAt=days_ago(9)), play("ann", "t-2", playedAt=days_ago(8))]
    )
    manifest = build_release(take_snapshot(db, tmp_path, BOUND), tmp_path, SMALL, days_ago(8))
    assert manifest.counts["plays"] == 1


def test_without_a_play_there_is_one_clear_error_and_nothing_on_disk(snapshot, tmp_path):
    with pytest.raises(InputError, match=r"^no plays before .* \(29 after it\); import some or pass a later --as-of$"):
        build_release(snapshot, tmp_path, SMALL, days_ago(1000))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert releases_on_disk(tmp_path) == []


def test_a_disk_that_fills_up_leaves_nothing_behind(snapshot, tmp_path, monkeypatch):
    class Full(pq.ParquetWriter):
        def __init__(self, where: Path, *more, **options) -> None:
            super().__init__(where, *more, **options)
            self.full = "similarity" in str(where)

        def write_table(self, *table, **options) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write_table(*table, **options)

    monkeypatch.setattr(row_groups.pq, "ParquetWriter", Full)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        build_release(snapshot, tmp_path, SMALL, BOUND)
    assert list((tmp_path / "releases").iterdir()) == []


def test_a_snapshot_that_lost_a_part_is_told_as_that(snapshot, tmp_path):
    tables = dict(snapshot.tables)
    tables["plays"] = replace(tables["plays"], loose=[Part("plays/gone.parquet", 1, "0-1", "")])
    with pytest.raises(StorageError, match="take a new snapshot"):
        build_release(replace(snapshot, tables=tables), tmp_path, SMALL, BOUND)
    assert releases_on_disk(tmp_path) == []


def test_a_manifest_reads_back_as_it_was_written(home, manifest):
    assert read_manifest(home, manifest.id) == manifest


def test_a_release_that_is_not_here_is_told_as_that(home):
    with pytest.raises(NotFoundError, match=r"release 2020-01-01-000000 is not under .*; see `echotune releases list`"):
        read_manifest(home, "2020-01-01-000000")


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "{}", '{"format": 99}', '{"format": 1, "id": "x"}'])
def test_a_damaged_manifest_is_one_clear_error(home, manifest, damage):
    (release_folder(home, manifest.id) / "manifest.json").write_text(damage)
    with pytest.raises(StorageError, match=r"can't be read .*; remove the folder and build it again") as error:
        read_manifest(home, manifest.id)
    assert "\n" not in str(error.value)


def test_half_built_folders_are_not_releases(home, manifest, another):
    later = another(3)
    scratch = release_folder(home, f".{manifest.id}.1a2b3c4d")
    scratch.mkdir()
    (scratch / "manifest.json").write_text("{}")
    release_folder(home, "2026-02-09-empty0").mkdir()
    assert releases_on_disk(home) == sorted([later.id, manifest.id])
    assert releases_on_disk(home / "nowhere") == []


def test_the_gate_sees_every_kind_of_output(original):
    names = [check["name"] for check in original[1].checks]
    assert len(names) == len(set(names)) > 10
    for word in ("profile", "embedding", "neighbour", "score", "forbidden"):
        assert any(word in name for name in names)


def test_a_release_failing_a_check_says_so_in_its_manifest(original):
    manifest = original[1]
    failed = replace(manifest, checks=[*manifest.checks, {"name": "n", "passed": False, "detail": "d"}])
    assert not failed.passed
    assert Manifest(**vars(failed)) == failed


def test_track_rows_carry_what_readers_say_of_a_track(original):
    home, manifest = original
    rows = {
        row["track_id"]: row for row in pq.read_table(release_folder(home, manifest.id) / "tracks.parquet").to_pylist()
    }
    assert rows["track-05"]["name"] == "Song 5"
    assert rows["track-05"]["artists"] == ["Artist 1"]
    assert rows["track-05"]["genres"] == ["metal"]
    assert (rows["track-05"]["energy"], rows["track-05"]["mode"]) == (0.25, 1.0)
    assert set(AUDIO_NAMES) < rows["track-05"].keys()
    assert rows["track-05"]["liveness"] is None


def test_the_manifest_is_json_that_others_can_read(home, manifest):
    value = json.loads((release_folder(home, manifest.id) / "manifest.json").read_text())
    assert value["id"] == manifest.id
    assert value["parameters"]["recommendations"] == SMALL.recommendations.model_dump()
    assert value["parameters"]["recommendations"]["k"] == 5
    assert value["dimensions"] == manifest.dimensions
    assert value["as_of"] == "2026-03-01T03:00:00+00:00"


def test_a_limit_on_memory_and_threads_change_nothing_of_a_release(snapshot, original, tmp_path, monkeypatch):
    home, manifest = original
    monkeypatch.setattr("features.compute.budget.LEAST_CELLS", 20)  # a user or two at once
    monkeypatch.setattr("features.compute.budget.LEAST_SHARD", 2)
    tight = build_release(snapshot, tmp_path, SMALL, BOUND, budget=Budget(limit_bytes=1, threads=3))
    assert tight.id == manifest.id
    for name in FILES:
        one = pq.read_table(release_folder(home, manifest.id) / f"{name}.parquet")
        other = pq.read_table(release_folder(tmp_path, tight.id) / f"{name}.parquet")
        measured = [column for column in one.column_names if column == "generation_ms"]
        assert repr(one.drop(measured).to_pylist()) == repr(other.drop(measured).to_pylist())
    measured = {"built_at": None, "timings": None, "peak_memory": None}
    assert tight.to_json() | measured == manifest.to_json() | measured


def test_a_sample_is_larger_than_what_models_for_few_users_are_allowed():
    assert sample_size(with_settings([])) == 25_000
    assert sample_size(with_settings(["ranking.sample_users=100"])) == 24_001
    assert sample_size(with_settings(["ranking.sample_users=100", "ranking.closed_form_limit=20"])) == 100
    assert sample_size(with_settings(["ranking.sample_users=0"])) == 0
