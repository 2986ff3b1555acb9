"""What must not be listed for whom."""

import numpy as np
from worlds import account, evidence_of, play, said, tables, track

from features.recommend.evidence import Evidence


def left_out(evidence: Evidence, *, include_heard: bool = False) -> dict[str, set[str]]:
    """Tracks by user, by their ids."""
    users, tracks = evidence.dataset.users.ids(), evidence.dataset.tracks.ids()
    mask = evidence.filters.forbidden(np.arange(len(users)), include_heard=include_heard)
    assert mask.shape == (len(users), len(tracks))
    assert mask.dtype == bool
    return {user: {tracks[t] for t in np.flatnonzero(row)} for user, row in zip(users, mask, strict=True)}


def test_limits_count_where_both_sides_are_known():
    world = tables(
        plays=[play("heard-it", "free")],
        tracks=[
            track("free"),
            track("rude", explicit=True),
            track("german", markets=["DE"]),
            track("unasked", markets=[]),  # a catalogue that never asked for markets
        ],
        users=[
            account("child", explicit_content=False),
            account("us", country="us "),
            account("de", country="DE"),
            account("any"),
        ],
    )
    assert left_out(evidence_of(world)) == {
        "any": set(),
        "child": {"rude"},
        "de": set(),
        "us": {"german"},
        "heard-it": {"free"},
    }


def test_heard_tracks_may_be_let_in_but_never_disliked_ones():
    world = tables(
        plays=[play("u", "heard"), play("u", "skipped", completion=0.0), play("u", "hated"), play("v", "new")],
        feedback=[
            said("u", "hated", "dislike"),
            said("u", "unheard but hated", "dislike"),
            said("u", "rated", "skip"),
            said("u", "forgiven", "dislike", 2),
            said("u", "forgiven", "like", 1),
        ],
    )
    evidence = evidence_of(world)
    hated = {"hated", "unheard but hated"}
    assert left_out(evidence)["u"] == hated | {"heard", "skipped", "rated", "forgiven"}
    assert left_out(evidence, include_heard=True) == {"u": hated, "v": set()}


def test_rows_are_those_of_the_users_asked_for():
    world = tables(
        plays=[play("u", "a"), play("v", "b")],
        tracks=[track("rude", explicit=True)],
        users=[account("v", explicit_content=False), account("w", country="US")],
    )
    evidence = evidence_of(world)
    whole = evidence.filters.forbidden(np.arange(3), include_heard=False)
    for users in ([2, 0], [1], [], [1, 1]):
        chosen = np.array(users, np.int64)
        np.testing.assert_array_equal(evidence.filters.forbidden(chosen, include_heard=False), whole[chosen])
