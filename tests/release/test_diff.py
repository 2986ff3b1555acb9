"""What changed between two releases: by hand on edited copies, and against a plain reading of two built ones."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents import BOUND, SMALL

from features.errors import NotFoundError, StorageError
from features.evaluate.drift import ks, psi
from features.release import diff
from features.release.build import build_release
from features.release.diff import Figure, KeptLists, ReleaseDiff, Turnover, diff_releases
from features.release.manifest import Manifest, release_folder
from features.snapshot.take import Snapshot
from features.storage import write_json

Row = dict[str, Any]


def rows_of(home: Path, release: Manifest, output: str) -> list[Row]:
    return pq.read_table(release_folder(home, release.id) / f"{output}.parquet").to_pylist()


def rewrite(home: Path, release: Manifest, output: str, change: Callable[[list[Row]], list[Row]]) -> None:
    path = release_folder(home, release.id) / f"{output}.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)


def restate(home: Path, release: Manifest, **fields: Any) -> Manifest:
    made = replace(release, **fields)
    write_json(release_folder(home, made.id) / "manifest.json", made.to_json())
    return made


def lists_by_name(found: ReleaseDiff) -> dict[str, KeptLists]:
    return {entry.output: entry for entry in found.lists}


def test_a_copy_differs_in_nothing(home: Path, manifest: Manifest, another: Callable[..., Manifest]) -> None:
    found = diff_releases(home, manifest.id, another(1).id)
    assert {(entry.before, entry.came, entry.went) for entry in found.turnover} == {(4, 0, 0), (16, 0, 0), (5, 0, 0)}
    assert [entry.name for entry in found.dimensions] == manifest.dimensions
    assert {entry.psi for entry in found.dimensions} == {0.0}
    assert all(entry.ks == 0.0 or math.isnan(entry.ks) for entry in found.dimensions)
    assert not found.dimensions_came + found.dimensions_went
    assert found.movement is not None
    assert found.movement.compared == 16
    assert found.movement.largest == pytest.approx(0.0, abs=1e-6)
    assert {entry.share for entry in found.lists} == {1.0}
    assert all(count.before == count.after for count in found.counts)
    assert found.old.verdict == found.new.verdict


def test_who_came_and_went_is_counted_and_the_first_are_named(
    home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    other = another(1)
    rewrite(home, other, "user_profile", lambda rows: [rows[0], *({**rows[0], "user_id": f"n{i}"} for i in "7362514")])
    users = sorted(row["user_id"] for row in rows_of(home, manifest, "user_profile"))
    found = diff_releases(home, manifest.id, other.id)
    first = rows_of(home, manifest, "user_profile")[0]["user_id"]
    gone = [user for user in users if user != first]
    assert found.turnover[0] == Turnover("user_profile", 4, 8, 7, 3, ["n1", "n2", "n3", "n4", "n5"], gone)
    assert [entry.came for entry in found.turnover[1:]] == [0, 0, 0]


def test_dimensions_are_compared_by_name_the_widest_shift_first(
    home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    names = ["brand_new", *reversed(manifest.dimensions[1:])]
    other = restate(home, another(1), dimensions=names)

    def shift(rows: list[Row]) -> list[Row]:
        column = names.index("energy_mean")
        vectors = [[0.5, *reversed(row["vector"][1:])] for row in rows]
        return [
            {**row, "vector": [*v[:column], v[column] + 0.3, *v[column + 1 :]]}
            for row, v in zip(rows, vectors, strict=True)
        ]

    rewrite(home, other, "user_profile", shift)
    found = diff_releases(home, manifest.id, other.id)
    assert (found.dimensions_came, found.dimensions_went) == (["brand_new"], [manifest.dimensions[0]])
    assert len(found.dimensions) == len(manifest.dimensions) - 1
    top = found.dimensions[0]
    assert top.name == "energy_mean"
    assert top.psi > 0.25
    assert top.mean_after - top.mean_before == pytest.approx(0.3)
    assert {entry.psi for entry in found.dimensions[1:]} == {0.0}


def test_undefined_shifts_stand_last(home: Path, manifest: Manifest, another: Callable[..., Manifest]) -> None:
    other = another(1)
    rewrite(home, other, "user_profile", lambda rows: rows[:0])
    found = diff_releases(home, manifest.id, other.id)
    assert all(math.isnan(entry.psi) for entry in found.dimensions)
    assert found.turnover[0].went == 4
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["dimensions"][0]["psi"] is None


def turned(rows: list[Row]) -> list[Row]:
    return [{**row, "vector": [*row["vector"][1:], row["vector"][0]]} for row in rows]


def test_how_far_embeddings_moved_says_on_what_footing(
    home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    other = another(1)
    rewrite(home, other, "track_embedding", lambda rows: turned(rows)[3:][::-1])
    found = diff_releases(home, manifest.id, other.id)
    assert found.movement is not None
    assert found.movement.compared == 13
    vectors = {row["track_id"]: np.array(row["vector"]) for row in rows_of(home, manifest, "track_embedding")[3:]}
    distances = [1 - v @ np.roll(v, -1) for v in vectors.values()]
    assert found.movement.median == pytest.approx(np.median(distances), abs=1e-6)
    assert found.movement_note.startswith("neither is aligned to the other")
    restate(home, other, aligned_to=manifest.id, alignment={"tracks": 13})
    assert diff_releases(home, manifest.id, other.id).movement_note == "the new embeddings are aligned to the old"
    assert diff_releases(home, other.id, manifest.id).movement_note == "the old embeddings are aligned to the new"


@pytest.mark.parametrize(("tracks", "comparable"), [(16, True), (0, False)])
def test_embeddings_of_other_widths_are_compared_only_where_one_is_aligned_to_the_other(
    home: Path, manifest: Manifest, another: Callable[..., Manifest], tracks: int, *, comparable: bool
) -> None:
    other = restate(home, another(1), aligned_to=manifest.id, alignment={"tracks": tracks})
    path = release_folder(home, other.id) / "track_embedding.parquet"
    table = pq.read_table(path)
    wider = [[*vector, 0.0, 0.0] for vector in table["vector"].to_pylist()]
    width = len(wider[0])
    column = pa.array(wider, pa.list_(pa.float32(), width))
    pq.write_table(table.set_column(table.column_names.index("vector"), "vector", column), path)
    for pair in ((manifest.id, other.id), (other.id, manifest.id)):
        found = diff_releases(home, *pair)
        if comparable:
            assert found.movement is not None
            assert found.movement.largest == pytest.approx(0.0, abs=1e-6)
        else:
            assert found.movement is None
            assert "dimensions can't be compared" in found.movement_note
            assert str(width) in found.movement_note


def test_what_lists_kept_is_told_for_neighbours_and_for_each_strategy(
    home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    other = another(1)

    def drop_first(rows: list[Row]) -> list[Row]:
        return [
            {**row, "track_ids": ["track-99", *row["track_ids"][1:]]} if row["strategy"] == "hybrid" else row
            for row in reversed(rows)
            if row["strategy"] != "content-based"
        ]

    rewrite(home, other, "recommendations", drop_first)
    rewrite(home, other, "similarity", lambda rows: [{**r, "neighbors": r["neighbors"][:1]} for r in rows[::-1]])
    before = rows_of(home, manifest, "recommendations")
    hybrid = [row["track_ids"] for row in before if row["strategy"] == "hybrid"]
    neighbors = [row["neighbors"] for row in rows_of(home, manifest, "similarity")]
    found = lists_by_name(diff_releases(home, manifest.id, other.id))
    strategies = {row["strategy"] for row in before}
    assert set(found) == {"similarity", *strategies} - {"content-based"}
    share = np.mean([(len(tracks) - 1) / len(tracks) for tracks in hybrid])
    assert found["hybrid"] == KeptLists("hybrid", len(hybrid), pytest.approx(share), pytest.approx(share))
    assert found["collaborative"].share == 1.0
    assert found["similarity"].lists == 4
    assert found["similarity"].share == pytest.approx(np.mean([1 / len(n) for n in neighbors if n]))


def test_the_first_of_a_list_are_compared_with_the_first(
    home: Path, manifest: Manifest, another: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "TOP", 2)
    monkeypatch.setattr(diff, "BATCH", 3)
    other = another(1)
    rewrite(
        home,
        other,
        "recommendations",
        lambda rows: [{**row, "track_ids": [*row["track_ids"][1:], row["track_ids"][0]]} for row in rows],
    )
    hybrid = lists_by_name(diff_releases(home, manifest.id, other.id))["hybrid"]
    assert hybrid.share == 1.0
    assert hybrid.top_share == 0.5


def test_metrics_and_counts_of_either_are_there_and_what_one_lacks_is_undefined(
    home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    old = restate(home, manifest, metrics={"recall": 0.25, "old_one": 0.5})
    new = restate(
        home,
        another(1),
        metrics={"ndcg": math.nan, "recall": 0.5},
        checks=[{"name": "volume", "passed": False, "detail": "3 of 9"}],
    )
    found = diff_releases(home, old.id, new.id)
    assert [entry.name for entry in found.metrics] == ["ndcg", "recall", "old_one"]
    assert found.metrics[1] == Figure("recall", 0.25, 0.5)
    assert (found.old.passed, found.new.passed) == (True, False)
    assert found.new.verdict == "1 of 1 checks failed, first: volume (3 of 9)"
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["metrics"][0] == {"name": "ndcg", "before": None, "after": None}
    assert plain["old"]["as_of"] == BOUND.isoformat()
    assert Figure("users", 5, 5) in found.counts


def test_two_built_releases_compare_as_a_plain_reading_says(home: Path, manifest: Manifest, snapshot: Snapshot) -> None:
    old = build_release(snapshot, home, SMALL, BOUND - timedelta(days=10))
    found = diff_releases(home, old.id, manifest.id)
    (before, after) = (rows_of(home, release, "user_profile") for release in (old, manifest))
    users = [{row["user_id"] for row in rows} for rows in (before, after)]
    assert found.turnover[0].first_came == sorted(users[1] - users[0])
    assert found.turnover[0].came > 0
    assert (found.old.as_of, found.new.as_of) == (BOUND - timedelta(days=10), BOUND)
    for entry in found.dimensions:
        one, other = (
            np.array([row["vector"][release.dimensions.index(entry.name)] for row in rows], float)
            for release, rows in ((old, before), (manifest, after))
        )
        assert entry.psi == pytest.approx(psi(one, other), nan_ok=True)
        assert entry.ks == pytest.approx(ks(one, other), nan_ok=True)
    assert [entry.psi for entry in found.dimensions] == sorted((entry.psi for entry in found.dimensions), reverse=True)
    lists = [
        {(row["user_id"], row["strategy"]): set(row["track_ids"]) for row in rows_of(home, release, "recommendations")}
        for release in (old, manifest)
    ]
    for strategy, entry in lists_by_name(found).items():
        if strategy != "similarity":
            both = [key for key in lists[0] if key in lists[1] and key[1] == strategy]
            shares = [len(lists[0][key] & lists[1][key]) / len(lists[0][key]) for key in both]
            assert (entry.lists, entry.share) == (len(both), pytest.approx(np.mean(shares), nan_ok=True))


def test_a_release_that_is_not_there_or_not_whole_is_told_with_the_remedy(
    home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    other = another(1)
    with pytest.raises(NotFoundError, match=r"release nowhere is not under .*; see `echotune releases list`"):
        diff_releases(home, manifest.id, "nowhere")
    path = release_folder(home, other.id) / "similarity.parquet"
    path.write_bytes(b"not Parquet")
    with pytest.raises(StorageError, match=r"similarity.parquet can't be read .*; remove its folder") as error:
        diff_releases(home, manifest.id, other.id)
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(StorageError, match=r"similarity.parquet can't be read"):
        diff_releases(home, manifest.id, other.id)
