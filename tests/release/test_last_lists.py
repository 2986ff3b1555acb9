"""Two nights on a real database: who has done nothing since gets another list, who has listened gets the best one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymongo.database import Database
from worlds import AS_OF, dataset_of, play, said

from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.manifest import Manifest, release_folder
from features.release.publish import switch, upload, verify
from features.release.reference import LISTS, Reference, find_reference, read_reference, unmoved_lists
from features.schema import plan
from features.schema.ids import encode_id
from features.schema.names import LISTENING_HISTORY
from features.snapshot.stored import Snapshot
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

FIRST = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
SECOND = FIRST + timedelta(days=1)
LISTENERS = 40
SHOWN = 10
"""Tracks on the first screen."""


def parameters(**how: Any) -> NightlyParameters:
    return NightlyParameters.model_validate({"recommendations": {"k": 30, **how}})


class Nights(NamedTuple):
    home: Path
    first: Manifest
    snapshot: Snapshot
    moved: set[str]


@pytest.fixture
def nights(db: Database, tmp_path: Path) -> Nights:
    """The first night, published; then the odd ones of its listeners play something, and all is read again."""
    plan.apply(db)
    sample = make_sample(SampleSpec(users=LISTENERS, tracks=200, days=40, seed=5), end=FIRST)
    write_sample(db, sample, home=tmp_path, now=FIRST)
    first = build_release(take_snapshot(db, tmp_path, FIRST), tmp_path, parameters(), FIRST)
    with hold_lease(db) as token:
        verify(db, first, upload(db, tmp_path, first, token))
        switch(db, first, token)
    moved = sorted({row["userId"] for row in db[LISTENING_HISTORY].find()}, key=encode_id)[::2]
    track = db[LISTENING_HISTORY].find_one()["trackId"]
    at = FIRST + timedelta(hours=5)
    db[LISTENING_HISTORY].insert_many(
        [{"userId": user, "trackId": track, "playedAt": at, "importedAt": at, "completionRate": 1.0} for user in moved]
    )
    return Nights(tmp_path, first, take_snapshot(db, tmp_path, SECOND), set(map(encode_id, moved)))


def lists_of(home: Path, manifest: Manifest) -> dict[tuple[str, str], dict[str, Any]]:
    rows = pq.read_table(release_folder(home, manifest.id) / "recommendations.parquet").to_pylist()
    return {(row["user_id"], row["strategy"]): row | {"generation_ms": None} for row in rows}


def night_after(nights: Nights, reference: Reference | None, **how: Any) -> dict[tuple[str, str], dict[str, Any]]:
    manifest = build_release(nights.snapshot, nights.home, parameters(**how), SECOND, reference=reference)
    return lists_of(nights.home, manifest)


def replaced(before: list[str], after: list[str]) -> float:
    return len(set(after) - set(before)) / len(after)


def test_a_list_changes_for_who_did_nothing_and_is_the_best_for_who_listened(nights):
    reference = read_reference(nights.home, nights.first.id)
    best, last = night_after(nights, reference, rotation=0.0), lists_of(nights.home, nights.first)
    rested = night_after(nights, reference)
    assert best.keys() == rested.keys()
    still = [key for key in best if key[0] not in nights.moved and key in last]
    assert len(still) > LISTENERS
    for key, row in rested.items():
        if key[0] in nights.moved:
            assert row["track_ids"] == best[key]["track_ids"]
            assert row["scores"] == best[key]["scores"]
    moved_places = [
        np.mean([a != b for a, b in zip(rested[k]["track_ids"][:SHOWN], best[k]["track_ids"][:SHOWN], strict=True)])
        for k in still
    ]
    assert 0.1 <= np.mean(moved_places) <= 0.7
    # what gets in is hardly worse: by the scores of the night's own best lists
    for key in still:
        own = dict(zip(best[key]["track_ids"], best[key]["scores"], strict=True))
        least = min(own.values())
        assert np.mean([own.get(track, least) for track in rested[key]["track_ids"][:SHOWN]]) >= 0.93 * np.mean(
            best[key]["scores"][:SHOWN]
        )
    much = night_after(nights, reference, rotation=3.0)
    change = [np.mean([replaced(last[k]["track_ids"], n[k]["track_ids"]) for k in still]) for n in (best, rested, much)]
    assert change[0] <= change[1] < change[2]


def test_without_a_night_before_nothing_is_rotated(nights):
    plain, best = night_after(nights, None), night_after(nights, None, rotation=0.0)
    assert {key: row["track_ids"] for key, row in plain.items()} == {k: row["track_ids"] for k, row in best.items()}


def test_a_release_of_the_same_moment_is_no_night_before(nights):
    reference = read_reference(nights.home, nights.first.id)
    again = build_release(nights.snapshot, nights.home, parameters(rotation=1.0), FIRST, reference=reference)
    best = build_release(nights.snapshot, nights.home, parameters(rotation=0.0), FIRST, reference=reference)
    one, other = lists_of(nights.home, again), lists_of(nights.home, best)
    assert {key: row["track_ids"] for key, row in one.items()} == {key: row["track_ids"] for key, row in other.items()}


def test_lists_from_the_database_are_those_on_disk(nights, db, tmp_path):
    here = read_reference(nights.home, nights.first.id)
    elsewhere = find_reference(db, tmp_path / "another machine", nights.first.id)
    assert elsewhere is not None
    assert replace(elsewhere.manifest, gate=True) == here.manifest
    one, other = (
        {(row["user_id"], row["strategy"]): row["track_ids"] for row in found.lists.to_pylist()}
        for found in (here, elsewhere)
    )
    assert one == other
    assert night_after(nights, here) == night_after_elsewhere(nights, elsewhere, tmp_path)


def night_after_elsewhere(
    nights: Nights, reference: Reference, tmp_path: Path
) -> dict[tuple[str, str], dict[str, Any]]:
    manifest = build_release(nights.snapshot, tmp_path / "another", parameters(), SECOND, reference=reference)
    return lists_of(tmp_path / "another", manifest)


def lists_before(*rows: tuple[str, str, list[str]], days: float = 3, read_days: float = 3) -> Reference:
    """A release of some days ago, with these lists."""
    columns = dict(zip(LISTS.names, zip(*rows, strict=True), strict=True))
    moment = datetime.fromtimestamp(AS_OF / 1000, UTC)
    as_of, known_at = (moment - timedelta(days=ago) for ago in (days, read_days))
    manifest = Manifest("before", as_of, known_at, as_of, {}, "", "", [], {}, {}, [])
    return Reference(manifest, [], np.zeros((0, 4), np.float32), pa.table(columns, schema=LISTS))


def places(reference: Reference | None, **rows: Any) -> dict[str, dict[tuple[str, str], float]]:
    """By strategy, what stood where for whom, by their ids."""
    data = dataset_of(**rows)
    found = unmoved_lists(reference, data, datetime.fromtimestamp(AS_OF / 1000, UTC))
    return {
        strategy: {
            (data.users[int(user)], data.tracks[int(track)]): float(matrix[user, track])
            for user, track in zip(*matrix.nonzero(), strict=True)
        }
        for strategy, matrix in found.items()
    }


def test_places_are_those_of_users_without_a_play_or_feedback_since():
    reference = lists_before(
        ("still", "hybrid", ["a", "gone", "b"]),
        ("still", "popular", ["b"]),
        ("played", "hybrid", ["a"]),
        ("answered", "hybrid", ["a"]),
        ("nobody now", "hybrid", ["b"]),
    )
    plays = [play(user, "a", 9) for user in ("still", "played", "answered")] + [play("played", "b", 2, 0.0)]
    assert places(reference, plays=plays, feedback=[said("answered", "b", "skip", 3)]) == {
        "hybrid": {("still", "a"): 1.0, ("still", "b"): pytest.approx(2 ** (-2 / 10))},
        "popular": {("still", "b"): 1.0},
    }


def test_since_is_from_when_the_release_before_read_where_its_day_was_still_to_come():
    plays = [play("u", "a", 9), play("u", "b", 2)]
    evening = lists_before(("u", "hybrid", ["a"]), days=1, read_days=3)
    assert places(evening, plays=plays) == {}
    assert places(lists_before(("u", "hybrid", ["a"]), days=1, read_days=1), plays=plays) == {
        "hybrid": {("u", "a"): 1.0}
    }


def test_without_a_release_of_an_earlier_moment_nothing_stood_anywhere():
    plays = [play("u", "a", 9)]
    assert places(None, plays=plays) == {}
    assert places(lists_before(("u", "hybrid", ["a"]), days=0, read_days=0), plays=plays) == {}
