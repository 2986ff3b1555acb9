"""What was heard, counted play by play."""

from collections import defaultdict

import numpy as np
import pytest
import scipy.sparse as sp
from worlds import AS_OF, DAY, build_dataset, build_interactions, dataset_of, play, random_world

from features.compute.heard import Heard, heard_of
from features.compute.weights import SKIPPED


def counted(world=None, lately_days: int = 60, **rows) -> tuple[Heard, dict[tuple[int, int], list[int]]]:
    """As the product has it, and by pair the moments of plays that were not skipped."""
    data = build_dataset(world, as_of_ms=AS_OF) if world else dataset_of(**rows)
    shape = len(data.users), len(data.tracks)
    played = build_interactions(data.plays, data.feedback, shape, as_of_ms=AS_OF, half_life_days=180.0).plays
    moments: dict[tuple[int, int], list[int]] = defaultdict(list)
    plays = data.plays
    for user, track, at, part in zip(plays.user, plays.track, plays.played_at, plays.completion, strict=True):
        if not part < np.float32(SKIPPED):
            moments[int(user), int(track)].append(int(at))
    return heard_of(plays, played, lately_ms=lately_days * DAY), moments


@pytest.mark.parametrize("seed", range(5))
def test_plays_last_moments_and_days_are_those_of_the_plays_that_were_not_skipped(seed: int):
    heard, moments = counted(random_world(seed, users=12, tracks=15, plays=800), lately_days=30)
    rows, columns = heard.plays.nonzero()
    assert heard.plays.has_sorted_indices
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == sorted(moments)
    since = max(max(times) for times in moments.values()) - 30 * DAY
    times_of = [moments[pair] for pair in zip(rows.tolist(), columns.tolist(), strict=True)]
    expected = [
        (len(times), min(times), max(times) // DAY, len({at // DAY for at in times if at > since}))
        for times in times_of
    ]
    columns_of = (heard.plays.data, heard.first_at, heard.last_day, heard.days_lately)
    assert list(zip(*(column.tolist() for column in columns_of), strict=True)) == expected
    assert {days for *_, days in expected} > {0, 1}


def test_a_skip_is_not_heard_and_a_day_before_lately_is_no_late_one():
    heard, _ = counted(plays=[play("a", "s", 1, 0.0), play("a", "t", 61.5), play("a", "t", 1), play("a", "u", 1, None)])
    assert heard.plays.toarray().tolist() == [[0, 2, 1]]
    assert heard.days_lately.tolist() == [1, 1]


def test_of_nothing_nothing_is_heard():
    heard, _ = counted(plays=[])
    assert heard.plays.shape == (0, 0)
    empty = heard_of(dataset_of().plays, sp.csr_matrix((2, 3), dtype=np.int32), lately_ms=DAY)
    assert empty.plays.nnz == len(empty.last_day) == len(empty.days_lately) == 0
