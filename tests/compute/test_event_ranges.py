"""Events by user in ranges, and what is counted over them: the same for any threads and any order."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from features.compute import events
from features.compute.activity import count_activity, recent_and_fresh
from features.compute.events import by_user, event_ranges
from features.compute.heard import heard_of
from features.compute.interactions import MS_A_DAY, Plays
from features.compute.moments import earlier_in_row, later_in_row, note_moments
from features.compute.sequences import in_sequence
from features.compute.weights import SKIPPED


@pytest.fixture(autouse=True)
def few_are_worth_a_range(monkeypatch):
    monkeypatch.setattr(events, "RANGE_EVENTS", 1)


@given(st.lists(st.integers(0, 6)), st.integers(1, 5))
def test_ranges_follow_each_other_and_share_no_user(users, threads):
    user = np.sort(np.array(users, np.int32))
    ranges = event_ranges(user, threads)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(len(user)))
    assert len(ranges) == 1 or all(start < stop for start, stop in ranges)
    assert all(user[start - 1] < user[start] for start, _ in ranges[1:])


def test_many_events_make_as_many_ranges_as_threads_want():
    assert len(event_ranges(np.arange(100, dtype=np.int32), 2)) == 8


def test_only_events_in_another_order_are_copied():
    user, at = np.array([0, 0, 2], np.int32), np.array([5, 6, 7])
    assert by_user(user, at)[1] is at
    assert [column.tolist() for column in by_user(user[::-1], at)] == [[0, 0, 2], [6, 7, 5]]


def drawn(seed: int) -> tuple[Plays, sp.csr_matrix]:
    """Plays by user and time, and how many each pair has."""
    rng = np.random.default_rng(seed)
    user, track = np.sort(rng.integers(0, 9, 400)).astype(np.int32), rng.integers(0, 30, 400).astype(np.int32)
    at = rng.integers(0, 90, 400) * MS_A_DAY // 2
    at = at[np.lexsort((at, user))]
    completion = rng.choice(np.array([0.0, 0.5, 1.0, np.nan], np.float32), 400)
    played = sp.csr_matrix((np.ones(400, np.int32), (user, track)), shape=(10, 30))
    played.sum_duplicates()
    return Plays(user, track, at, completion), played


def counted(plays: Plays, played: sp.csr_matrix, threads: int) -> list[bytes]:
    activity = count_activity(plays, 10, as_of_ms=45 * MS_A_DAY, windows_days=(3, 9), threads=threads)
    return [
        column.tobytes()
        for column in (*vars(activity).values(), *recent_and_fresh(plays, played, 30 * MS_A_DAY, threads))
    ]


def moments(plays: Plays, pairs: sp.csr_matrix, threads: int) -> list[list[int]]:
    first, last = np.full(pairs.nnz, 1 << 60), np.zeros(pairs.nnz, np.int64)
    columns = plays.user, plays.track, plays.played_at, plays.completion
    note_moments(pairs.indptr, pairs.indices, *columns, np.float32(SKIPPED), first, last, threads)
    return [first.tolist(), last.tolist()]


@pytest.mark.parametrize("seed", range(3))
def test_neither_threads_nor_the_order_of_plays_change_a_count(seed):
    plays, played = drawn(seed)
    chance = np.random.default_rng(seed).permutation(len(plays))
    mixed = Plays(*(column[chance] for column in vars(plays).values()))
    assert counted(plays, played, 1) == counted(plays, played, 4) == counted(mixed, played, 2)
    pairs = played.multiply(played > 1).tocsr()  # not all that are played
    pairs.sort_indices()
    found = moments(plays, pairs, 1)
    assert found == moments(plays, pairs, 3) == moments(mixed, pairs, 2)
    heard = ~(plays.completion < np.float32(SKIPPED))
    expected = [
        [int(at) for at in plays.played_at[heard & (plays.user == user) & (plays.track == track)]]
        for user in range(10)
        for track in pairs.indices[pairs.indptr[user] : pairs.indptr[user + 1]]
    ]
    assert found == [[min(ats, default=1 << 60) for ats in expected], [max(ats, default=0) for ats in expected]]


@pytest.mark.parametrize("seed", range(3))
def test_threads_change_neither_what_was_heard_nor_its_order(seed):
    plays, played = drawn(seed)
    one, other = (heard_of(plays, played, lately_ms=20 * MS_A_DAY, threads=threads) for threads in (1, 4))
    assert one.plays.data.tobytes() == other.plays.data.tobytes()
    for name in ("first_at", "last_day", "days_lately"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    sequences = [in_sequence(one.plays, one.first_at, threads) for threads in (1, 4)]
    assert len({of.track.tobytes() + of.at.tobytes() + of.worth.tobytes() for of in sequences}) == 1


@pytest.mark.parametrize("moments_of_row", [[3, 1, 3, -5], [0, np.iinfo(np.int64).max, np.iinfo(np.int64).min, 0], []])
def test_moments_however_far_apart_are_told_earlier_from_later(moments_of_row):
    at = np.array([7, *moments_of_row])
    indptr = np.array([0, 1, len(at)])
    row = moments_of_row
    assert later_in_row(indptr, at, 2).tolist() == [0, *(sum(other > one for other in row) for one in row)]
    assert earlier_in_row(indptr, at, 2).tolist() == [0, *(sum(other < one for other in row) for one in row)]
