"""Splits: what each side of a cut holds, by hand, and that nothing of what is held out is learned from."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, DAY, dataset_of, play, random_world, said, shuffled

from features.compute.dataset import Dataset, build_dataset
from features.compute.interactions import build_interactions
from features.evaluate.splits import Split, hold_out_last, sample_of, split_by_time
from features.recommend.history import build_history

HALF_LIFE = {"as_of_ms": AS_OF, "half_life_days": 180.0}
EVERY = {**HALF_LIFE, "holdout_days": 7}
SEEDS = st.integers(0, 10_000)


def asked_of(split: Split) -> set[tuple[str, str]]:
    """Pairs of user and track that are held out, by their ids."""
    user, ids = split.dataset.users.ids(), split.dataset.tracks.ids()
    return {(user[row], ids[column]) for row, column in zip(*split.relevant.nonzero(), strict=True)}


def learned_from(split: Split) -> set[tuple[str, str, int]]:
    """User, track and moment of each play and each feedback that is left."""
    user, ids, plays, said_ = split.dataset.users.ids(), split.dataset.tracks.ids(), *events_of(split.dataset)
    return {(user[u], ids[t], at) for u, t, at in [*plays, *said_]}


def events_of(data: Dataset) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    plays, told = data.plays, data.feedback
    return (
        list(zip(plays.user.tolist(), plays.track.tolist(), plays.played_at.tolist(), strict=True)),
        list(zip(told.user.tolist(), told.track.tolist(), told.created_at.tolist(), strict=True)),
    )


def test_the_split_holds_out_the_last_days_and_asks_for_what_was_new_and_not_skipped():
    data = dataset_of(
        plays=[
            play("u", "old", 8),
            play("u", "old", 2),
            play("u", "new", 7),  # at the cut itself
            play("u", "new", 1),
            play("u", "skipped", 1, 0.05),
            play("u", "unmeasured", 1, None),
            play("u", "liked before", 1),
            play("v", "new", 3),
        ],
        feedback=[said("u", "liked before", "like", 9), said("v", "old", "like", 1)],
    )
    split = split_by_time(data, **EVERY)
    assert asked_of(split) == {("u", "new"), ("u", "unmeasured"), ("v", "new")}
    assert (len(split.dataset.plays), len(split.dataset.feedback)) == (1, 1)
    assert [data.users[number] for number in split.users] == ["u"]  # v had no taste yet


def test_repeats_are_asked_for_where_heard_tracks_are_let_in():
    data = dataset_of(
        plays=[play("u", "old", 8), play("u", "older", 30), play("u", "old", 2), play("u", "new", 1)],
        feedback=[],
    )
    assert asked_of(split_by_time(data, **EVERY, repeats=True)) == {("u", "old"), ("u", "new")}
    assert asked_of(split_by_time(data, **EVERY)) == {("u", "new")}


def asked_slowly(world, cut_ms):
    known, taken = set(), set()
    for row in world["plays"].to_pylist():
        pair, at = (row["user_id"], row["track_id"]), row["played_at"].timestamp() * 1000
        if at < cut_ms:
            known.add(pair)
        elif at < AS_OF and (row["completion"] is None or row["completion"] >= 0.15):
            taken.add(pair)
    for row in world["feedback"].to_pylist():
        if row["created_at"].timestamp() * 1000 < cut_ms:
            known.add((row["user_id"], row["track_id"]))
    return taken - known


@pytest.mark.parametrize("seed", range(5))
def test_nothing_from_the_cut_on_is_fitted_on(seed):
    world = random_world(seed, plays=80)
    data, cut_ms = build_dataset(world, as_of_ms=AS_OF), AS_OF - 60 * DAY
    split = split_by_time(data, **HALF_LIFE, holdout_days=60)
    assert asked_of(split) == asked_slowly(world, cut_ms)
    # as if the world had ended at the cut
    alone = build_dataset(world, as_of_ms=cut_ms)
    assert sorted(split.dataset.plays.played_at) == sorted(alone.plays.played_at)
    assert sorted(split.dataset.feedback.created_at) == sorted(alone.feedback.created_at)
    weights = build_interactions(
        alone.plays, alone.feedback, (len(alone.users), len(alone.tracks)), as_of_ms=cut_ms, half_life_days=180.0
    ).weights
    assert np.sort(split.interactions.weights.data).tolist() == np.sort(weights.data).tolist()


def ten_tracks() -> list[dict]:
    """Of one listener, one a day: the track t0 first heard ten days ago, t9 yesterday."""
    return [play("u", f"t{number}", 10 - number) for number in range(10)]


def test_the_last_tracks_of_each_user_are_held_out():
    data = dataset_of(plays=[*ten_tracks(), *[play("v", f"t{number}", 90 - 10 * number) for number in range(5)]])
    assert asked_of(hold_out_last(data, **HALF_LIFE)) == {("u", "t8"), ("u", "t9"), ("v", "t4")}
    assert asked_of(hold_out_last(data, **HALF_LIFE, share=0.5)) == {
        *[("u", f"t{number}") for number in range(5, 10)],
        ("v", "t3"),
        ("v", "t4"),
    }


def test_of_few_tracks_nothing_is_held_out_and_their_user_is_not_asked():
    data = dataset_of(plays=[play("u", f"t{number}", 9 - number) for number in range(4)] + ten_tracks_of("v"))
    split = hold_out_last(data, **HALF_LIFE)
    assert {user for user, _ in asked_of(split)} == {"v"}
    assert [data.users[number] for number in split.users] == ["v"]
    assert len([pair for pair in learned_from(split) if pair[0] == "u"]) == 4


def ten_tracks_of(user: str) -> list[dict]:
    return [{**row, "user_id": user} for row in ten_tracks()]


def test_what_was_done_after_the_first_held_out_listen_is_held_out_too():
    later = [play("u", "t0", 1.5), play("u", "t0", 2.5), play("u", "skipped", 1.2, 0.05)]
    data = dataset_of(
        plays=[*ten_tracks(), *later], feedback=[said("u", "t1", "love", 0.5), said("u", "t1", "like", 4)]
    )
    split = hold_out_last(data, **HALF_LIFE)
    left = {(track, (AS_OF - at) / DAY) for _, track, at in learned_from(split)}
    # t8 began two days ago
    assert left == {*[(f"t{number}", 10 - number) for number in range(8)], ("t0", 2.5), ("t1", 4)}


def test_a_track_that_was_skipped_before_is_not_asked_for():
    data = dataset_of(plays=[*ten_tracks(), play("u", "t9", 5, 0.05)])
    split = hold_out_last(data, **HALF_LIFE)
    assert asked_of(split) == {("u", "t8"), ("u", "t9")}
    assert not {track for _, track, _ in learned_from(split)} & {"t8", "t9"}


def test_with_repeats_the_last_plays_are_held_out_whatever_they_are_of():
    data = dataset_of(plays=[*[play("u", f"t{number % 3}", 10 - number) for number in range(10)]])
    split = hold_out_last(data, **HALF_LIFE, repeats=True)
    assert asked_of(split) == {("u", "t2"), ("u", "t0")}
    assert sorted((AS_OF - at) / DAY for *_, at in learned_from(split)) == [3, 4, 5, 6, 7, 8, 9, 10]


def without_time(users: int = 6) -> Dataset:
    return dataset_of(plays=[play(f"u{user}", f"t{number}", 3) for user in range(users) for number in range(20)])


def test_data_without_time_is_split_by_chance_and_by_the_seed():
    first, again, other = (hold_out_last(without_time(), **HALF_LIFE, seed=seed) for seed in (3, 3, 4))
    assert asked_of(first) == asked_of(again) != asked_of(other)
    assert np.diff(first.relevant.indptr).tolist() == [4] * 6
    assert len(first.dataset.plays) == 6 * 16
    each = {frozenset(track for user, track in asked_of(first) if user == f"u{number}") for number in range(6)}
    assert len(each) > 1  # by chance for each user
    assert first.users.tolist() == list(range(6))


def test_with_repeats_plays_of_one_moment_are_held_out_together():
    data = dataset_of(plays=[*ten_tracks(), play("u", "t0", 2), play("u", "t1", 2), play("u", "t2", 3)])
    split = hold_out_last(data, **HALF_LIFE, repeats=True)
    assert asked_of(split) == {("u", track) for track in ("t0", "t1", "t8", "t9")}  # 3 of 13, and what was with them
    # a repeat needs a before and an after
    assert hold_out_last(without_time(), **HALF_LIFE, repeats=True).users.size == 0


@given(SEEDS, st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_after_a_users_cut_is_learned_from(seed, share, repeats):
    data = build_dataset(random_world(seed), as_of_ms=AS_OF)
    before = [array.copy() for array in (*vars(data.plays).values(), *vars(data.feedback).values())]
    split = hold_out_last(data, **HALF_LIFE, share=share, seed=seed, repeats=repeats)
    for array, was in zip((*vars(data.plays).values(), *vars(data.feedback).values()), before, strict=True):
        np.testing.assert_array_equal(array, was)
    held = set(zip(*(axis.tolist() for axis in split.relevant.nonzero()), strict=True))
    moments = moments_of(data, repeats=repeats)
    cut = {user: min(last_moments(moments[user], held, user, repeats=repeats)) for user in {user for user, _ in held}}
    for events in events_of(split.dataset):
        for user, track, at in events:
            if not repeats:
                assert (user, track) not in held
            if user in cut:
                assert at < cut[user] if repeats else at <= cut[user]
    assert set(zip(*(a.tolist() for a in split.interactions.known.nonzero()), strict=True)) == {
        (user, track) for events in events_of(split.dataset) for user, track, _ in events
    }


def moments_of(data: Dataset, *, repeats: bool) -> dict[int, list[tuple[int, int]]]:
    """By user (track, moment): of each play that was not skipped, or of each track when it was first taken to."""
    interactions = build_interactions(
        data.plays, data.feedback, (len(data.users), len(data.tracks)), as_of_ms=AS_OF, half_life_days=180.0
    )
    history = build_history(data, interactions)
    found = defaultdict(list)
    if repeats:
        rows = zip(history.plays.user, history.plays.track, history.plays.played_at, strict=True)
    else:
        rows = zip(history.owner, history.weights.indices, history.first_at, strict=True)
    for user, track, at in rows:
        found[int(user)].append((int(track), int(at)))
    return found


def last_moments(moments, held, user, *, repeats):
    """When what is held out of a user happened; a repeated track counts at the latest of its plays."""
    of_track = defaultdict(list)
    for track, at in moments:
        if (user, track) in held:
            of_track[track].append(at)
    return [max(times) if repeats else min(times) for times in of_track.values()]


@given(SEEDS, st.sampled_from([0.1, 0.2, 0.34, 0.5]))
@settings(max_examples=40, deadline=None)
def test_what_is_held_out_is_the_last_share_and_no_more(seed, share):
    data = build_dataset(random_world(seed), as_of_ms=AS_OF)
    split = hold_out_last(data, **HALF_LIFE, share=share)
    moments = moments_of(data, repeats=False)
    for user in range(len(data.users)):
        taken = moments[user]
        held = set(split.relevant[user].indices.tolist())
        assert len(held) == int(len(taken) * share + 1e-9)
        if held:
            latest_kept = max((at for track, at in taken if track not in held), default=-1)
            assert min(at for track, at in taken if track in held) >= latest_kept


@given(SEEDS, st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_move_a_split(seed, repeats):
    world = random_world(seed)
    one, other = (
        hold_out_last(build_dataset(rows, as_of_ms=AS_OF), **HALF_LIFE, seed=1, repeats=repeats)
        for rows in (world, shuffled(world, seed))
    )
    assert asked_of(one) == asked_of(other)
    assert learned_from(one) == learned_from(other)


def test_of_nothing_nothing_is_held_out():
    split = hold_out_last(dataset_of(), **HALF_LIFE)
    assert split.relevant.nnz == 0
    assert split.users.size == 0


def test_a_sample_is_of_the_same_people_whoever_else_there_is_with_all_that_is_known_of_them():
    data = build_dataset(random_world(3, users=40, tracks=30, plays=600), as_of_ms=AS_OF)
    active = {data.users[number] for number in {*data.plays.user.tolist(), *data.feedback.user.tolist()}}
    assert sample_of(data, 0, 7) is data
    assert sample_of(data, len(active), 7) is data
    few, more = (sample_of(data, most, 7) for most in (8, 16))
    assert (few.tracks, few.catalog) == (data.tracks, data.catalog)
    inside, wider = set(few.users.ids()), set(more.users.ids())
    assert (len(inside), len(wider)) == (8, 16)
    assert inside < wider

    def by_id(part: Dataset) -> list[tuple[str, int, int]]:
        return sorted((part.users[user], track, at) for events in events_of(part) for user, track, at in events)

    assert by_id(few) == [event for event in by_id(data) if event[0] in inside]
    numbers = data.users.numbers(few.users.ids())
    for own, whole in ((few.explicit_allowed, data.explicit_allowed), (few.country, data.country)):
        assert own.tolist() == whole[numbers].tolist()
    for name in ("genres", "artists"):
        own, whole = getattr(few.stated, name), getattr(data.stated, name)
        assert own.toarray().tolist() == whole[numbers].toarray().tolist()
    np.testing.assert_array_equal(few.stated.audio, data.stated.audio[numbers])
    assert set(sample_of(data, 8, 8).users.ids()) != inside
