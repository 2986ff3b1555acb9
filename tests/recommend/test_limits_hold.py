"""No list holds a track that is not allowed for its listener: each is looked up in the rows again."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import (
    AS_OF,
    accepted,
    account,
    evidence_of,
    lists_of,
    play,
    random_world,
    said,
    tables,
    track,
    with_few_titles,
)

from benchmarks.limits import Limits

MOMENT = datetime.fromtimestamp(AS_OF / 1000, UTC)


def broken_in(world: Mapping[str, pa.Table], user: str, *tracks: str, include_heard: bool = False) -> list[str]:
    limits = Limits(world, MOMENT, include_heard=include_heard)
    return [limit for _, _, limit in limits.check([{"user_id": user, "track_ids": list(tracks)}])]


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_list_holds_what_is_not_allowed(seed, include_heard, few_titles):
    world = with_few_titles(random_world(seed), seed) if few_titles else random_world(seed)
    evidence = evidence_of(world)
    limits, ids = Limits(world, MOMENT, include_heard=include_heard), evidence.dataset.tracks.ids()
    lists = lists_of(evidence, k=9, include_heard=include_heard)
    rows = [{"user_id": evidence.dataset.users[e.user], "track_ids": [ids[t] for t in e.tracks]} for e in lists]
    assert limits.check(rows) == []
    # and what is left out is what the rows say must be
    users = np.arange(len(evidence.dataset.users))
    forbidden = evidence.filters.forbidden(users, include_heard=include_heard)
    looked_up = [[limits.broken(user, t) is not None for t in ids] for user in evidence.dataset.users.ids()]
    np.testing.assert_array_equal(forbidden, looked_up)


WORLD = tables(
    plays=[play("u", "heard"), play("u", "skipped", completion=0.01), play("v", "free"), play("v", "later", -1)],
    feedback=[
        *(said("u", "bad", "like", 3), said("u", "bad", "dislike", 2)),
        *(said("u", "tie", "dislike", 2), said("u", "tie", "love", 2)),
        *(said("u", "forgiven", "dislike", 3), said("u", "forgiven", "save", 2), said("u", "bad too", "dislike")),
        said("u", "passed", "skip"),
    ],
    acceptances=[accepted("u", "taken")],
    tracks=[
        *(track(name) for name in ("free", "later", "bad", "tie", "forgiven", "passed", "taken")),
        *(track("rude", explicit=True), track("german", markets=["de"]), track("american", markets=["US", "JP"])),
        *(track(name, "Zoë", name="Same") for name in ("heard", "on another")),
        *(track(name, "Zoe", name="Sáme song") for name in ("bad too", "again")),
    ],
    users=[account("u", country=" de ", explicit_content=False), account("v", country="US")],
)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *(("heard", "heard"), ("skipped", "heard"), ("passed", "heard"), ("taken", "heard"), ("forgiven", "heard")),
        *(("bad", "disliked"), ("tie", "disliked"), ("rude", "explicit"), ("american", "market")),
        *(("no such track", "unknown"), ("on another", "heard on another release")),
        ("again", "disliked on another release"),
    ],
)
def test_what_is_not_allowed_is_noticed(name, limit):
    assert broken_in(WORLD, "u", "free", name) == [limit]


def test_what_may_stand_may_stand():
    assert broken_in(WORLD, "u", "free", "german") == []
    assert broken_in(WORLD, "v", "later", "american", "rude", "bad") == []
    assert broken_in(WORLD, "u", "heard", "forgiven", "taken", include_heard=True) == []
    assert broken_in(WORLD, "u", "on another", include_heard=True) == []
    assert broken_in(WORLD, "u", "bad", "rude", include_heard=True) == ["disliked", "explicit"]
    assert broken_in(WORLD, "u", "again", include_heard=True) == ["disliked on another release"]


def test_a_track_that_stands_twice_is_noticed():
    assert broken_in(WORLD, "u", "free", "german", "free") == ["twice"]
    assert broken_in(WORLD, "v", "heard", "rude", "on another") == ["twice"]
