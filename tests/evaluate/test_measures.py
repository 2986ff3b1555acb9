"""What is measured of a release for the nights to come, worked out by hand and against a slow count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import AS_OF, DAY, account, dataset_of, play, random_world, shuffled, track

from features.compute.dataset import build_dataset
from features.evaluate.measures import late_plays, measures, spanned

UNIT = np.eye(4)
NOBODY = np.zeros(0, int)


def measured(data, *, vectors=UNIT, profiled=NOBODY, listed=NOBODY, as_of_ms=AS_OF, known_at_ms=AS_OF):
    return measures(late_plays(data, as_of_ms=as_of_ms, known_at_ms=known_at_ms), vectors, profiled, listed)


def test_plays_are_counted_by_day_and_week_and_what_they_lack_by_week():
    data = dataset_of(
        plays=[
            play("u", "full", 0.5),
            play("u", "full", 1.0),  # a day ago to the moment
            play("u", "bare", 1.01, None),
            play("v", "bare", 7.0),
            play("v", "bare", 7.01, None),
        ],
        tracks=[track("full", "Artist", ["rock", "jazz"], energy=0.5)],
    )
    found = measured(data)
    assert (found["plays_last_day"], found["plays_last_week"]) == (2.0, 4.0)
    assert found["without_completion"] == 0.25
    assert found["without_audio"] == found["without_artist"] == found["without_genre"] == 0.5


def test_days_end_where_knowledge_ends():
    data = dataset_of(plays=[play("u", "a", days) for days in (0.1, 0.7, 1.2, 7.2, 7.9, 30.2)])
    late = measured(data, known_at_ms=AS_OF - DAY // 2)  # as of the end of a day that is half over
    assert (late["plays_last_day"], late["plays_last_week"]) == (2.0, 3.0)
    assert late["active_users"] == 1.0
    assert measured(data, known_at_ms=AS_OF + 400 * DAY) == measured(data)  # a release of the past


def test_a_week_without_plays_has_no_shares():
    found = measured(dataset_of(plays=[play("u", "a", 8)]))
    assert found["plays_last_week"] == 0.0
    assert all(np.isnan(found[f"without_{what}"]) for what in ("completion", "audio", "artist", "genre"))


def test_who_listened_this_month_is_active_and_looked_for():
    data = dataset_of(
        plays=[play("both", "a", 2), play("both", "a", 3), play("no list", "a", 30), play("long ago", "a", 31)],
        users=[account("never")],
    )
    number = {user: data.users.ids().index(user) for user in data.users.ids()}
    profiled = np.array([number["both"], number["no list"], number["long ago"]])
    listed = np.array([number["both"], number["both"], number["both"], number["never"]])
    found = measured(data, profiled=profiled, listed=listed)
    assert (found["active_users"], found["active_with_profile"], found["active_with_lists"]) == (2.0, 2.0, 1.0)


def test_vectors_that_are_all_zero_are_counted():
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 0.0]], np.float32)
    found = measured(dataset_of(plays=[play("u", "a")]), vectors=vectors)
    assert found["embeddings_empty"] == 0.5
    assert found["embedding_rank"] == 2.0
    none = measured(dataset_of(plays=[play("u", "a")]), vectors=np.zeros((0, 3)))
    assert np.isnan(none["embeddings_empty"])
    assert none["embedding_rank"] == 0.0


def unit(matrix):
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_span_is_the_rank_however_vectors_are_turned(rank, seed):
    rng = np.random.default_rng(seed)
    flat = np.zeros((40, 6))
    flat[:, :rank] = rng.standard_normal((40, rank))
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert spanned(unit(flat)) == spanned(unit(flat @ turn)) == rank


def test_vectors_that_are_all_alike_span_nothing_and_a_constant_dimension_adds_nothing():
    assert spanned(np.tile(unit(np.ones((1, 5))), (100_000, 1))) == 0  # of several blocks
    varied = unit(np.random.default_rng(1).standard_normal((50, 3))) * np.sqrt(0.5)
    assert spanned(np.column_stack([varied, np.full(50, np.sqrt(0.5))]).astype(np.float32)) == 3


def counted_slowly(world, known_at_ms):
    end = min(AS_OF, known_at_ms)
    ago = [(end - row["played_at"].timestamp() * 1000) / DAY for row in world["plays"].to_pylist()]
    rows = world["plays"].to_pylist()
    week = [row for row, days in zip(rows, ago, strict=True) if 0 < days <= 7]
    active = {row["user_id"] for row, days in zip(rows, ago, strict=True) if 0 < days <= 30}
    return len(week), sum(row["completion"] is None for row in week), len(active)


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_a_slow_count_and_do_not_depend_on_the_order_of_rows(seed):
    world = random_world(seed, users=20, plays=400)
    known_at_ms = AS_OF - seed * 3 * DAY
    found = measured(build_dataset(world, as_of_ms=AS_OF), known_at_ms=known_at_ms)
    week, unknown, active = counted_slowly(world, known_at_ms)
    assert (found["plays_last_week"], found["active_users"]) == (week, active)
    assert found["without_completion"] == pytest.approx(unknown / week)
    assert measured(build_dataset(shuffled(world, 3), as_of_ms=AS_OF), known_at_ms=known_at_ms) == found
