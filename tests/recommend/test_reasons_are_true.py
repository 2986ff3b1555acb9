"""Every reason of a release is read back from its words and looked up again in the rows."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, evidence_of, lists_of, random_world

from benchmarks.claims import Verdict, Witness

MOMENT = datetime.fromtimestamp(AS_OF / 1000, UTC)

Row = dict[str, Any]


def witness_of(world: Mapping[str, pa.Table]) -> Witness:
    return Witness(world, MOMENT, neighbors=3, min_common=2)


def rows_of(world: Mapping[str, pa.Table], **how: Any) -> list[Row]:
    """The lists of a world as a release's rows."""
    evidence = evidence_of(world)
    ids = evidence.dataset.tracks.ids()
    return [
        {
            "user_id": evidence.dataset.users[entry.user],
            "strategy": entry.strategy,
            "track_ids": [ids[int(track)] for track in entry.tracks],
            "reasons": entry.reasons,
            "seeds": [ids[track] for track in entry.seeds],
        }
        for entry in lists_of(evidence, **how)
    ]


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_reason_is_true(seed, include_heard):
    world = random_world(seed)
    found = witness_of(world).check(rows_of(world, k=9, include_heard=include_heard))
    assert found.reasons >= found.candidates
    assert (found.false, found.strangers) == ([], [])


@pytest.fixture(scope="module")
def wide() -> dict[str, pa.Table]:
    """Enough listeners that some go from one track to another together."""
    return random_world(3, users=40, tracks=60, plays=2500)


@pytest.fixture(scope="module")
def checked(wide) -> tuple[Witness, list[Row], Verdict]:
    witness, rows = (
        witness_of(wide),
        [row for heard in (False, True) for row in rows_of(wide, k=30, include_heard=heard)],
    )
    return witness, rows, witness.check(rows)


def test_every_reason_of_a_wider_world_is_true(checked):
    _, rows, found = checked
    assert found.candidates == sum(len(row["track_ids"]) for row in rows) > 2000
    assert (found.false, found.strangers) == ([], [])


def test_most_kinds_of_reasons_are_given_in_some_world(checked):
    given_kinds: Counter[str] = Counter(checked[2].kinds)
    for seed in range(6):
        world = random_world(seed)
        given_kinds += witness_of(world).check(rows_of(world, k=9)).kinds
    # albums, first plays, markets and stated tastes have tests of their own, by hand
    assert len(given_kinds) >= 13
    assert "?" not in given_kinds


def kind_of(witness: Witness, reason: str) -> str:
    return next(words.pattern for words, _ in witness.readings if words.fullmatch(reason))


def test_a_count_that_is_off_by_one_is_noticed(checked):
    witness, rows, _ = checked
    tried: Counter[str] = Counter()
    for row in rows:
        for track, reasons in zip(row["track_ids"], row["reasons"], strict=True):
            for reason in reasons:
                found = re.search(r"(?<![\w“])\d+(?= (times|listeners|tracks|other))|\d+(?=%)", reason)
                if found:
                    wrong = reason[: found.start()] + str(int(found.group()) + 1) + reason[found.end() :]
                    assert witness.kind(row["user_id"], track, wrong) is None, wrong
                    tried[kind_of(witness, reason)] += 1
    assert len(tried) >= 7


def test_another_artist_track_genre_or_sound_is_noticed(checked):
    witness, rows, _ = checked
    swaps = {
        r"Artist (\d), whom": lambda m: f"Artist {(int(m[1]) + 1) % 4}, whom",
        r"“(Song|Played) ([^”]+)”": lambda m: f"“{m[1]} {m[2]}9”",
        r"^(Rock|Hip hop|Jazz|Ambient) is": lambda _: "Polka is",
        r"energy|mood": lambda _: "smell",
        r"on (\d+) (\w+) (\d{4})$": lambda m: f"on {m[1]} {m[2]} {int(m[3]) - 1}",
    }
    tried: Counter[str] = Counter()
    for row in rows:
        for track, reasons in zip(row["track_ids"], row["reasons"], strict=True):
            for reason in reasons:
                for words, other in swaps.items():
                    wrong = re.sub(words, other, reason, count=1)
                    if wrong != reason:
                        assert witness.kind(row["user_id"], track, wrong) is None, wrong
                        tried[words] += 1
    assert set(tried) == set(swaps)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row["reasons"][0].append("Good for you"),
        lambda row: row["reasons"][0].clear(),
        lambda row: row["reasons"][0].append(row["reasons"][0][0]),
        lambda row: row["reasons"].__setitem__(0, row["reasons"][0] * 4),
    ],
    ids=["cannot be read", "none", "twice", "too many"],
)
def test_reasons_that_are_none_are_noticed(checked, spoil):
    witness, rows, _ = checked
    row = {**rows[0], "reasons": [list(reasons) for reasons in rows[0]["reasons"]]}
    assert witness.check([row]).false == []
    spoil(row)
    assert witness.check([row]).false != []


def test_a_seed_that_is_not_the_listeners_own_is_noticed(checked):
    witness, rows, _ = checked
    row = next(row for row in rows if row["seeds"] and row["strategy"] == "hybrid")
    never = next(
        t
        for t in witness.tracks
        if (row["user_id"], t) not in witness.likings and t not in witness.heard[row["user_id"]]
    )
    assert witness.check([{**row, "seeds": [*row["seeds"][1:], never]}]).strangers != []
    assert witness.check([{**row, "seeds": [row["seeds"][0]] * 2}]).strangers != []
