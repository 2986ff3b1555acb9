"""The join against its slow and obvious version, and small cases worked out by hand."""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.attribution.join import (
    DISLIKED,
    LIKED,
    NOWHERE,
    PLAYED,
    SKIP,
    Answers,
    Lists,
    Responses,
    answers,
    credit,
    overall_rating,
)


class Did(NamedTuple):
    """One response; `place` is the list named, or the strategy stated."""

    user: int
    track: int
    at: int
    kind: int
    named: bool
    release: int
    place: int


class Made(NamedTuple):
    """One list."""

    release: int
    user: int
    place: int
    tracks: list[int]


def responses_of(done: list[Did]) -> Responses:
    done = sorted(done, key=lambda entry: (entry.user, entry.track))
    columns = list(zip(*done, strict=True)) or [[]] * 7
    types = (np.int32, np.int32, np.int64, np.int8, bool, np.int16, np.int8)
    return Responses(*(np.array(column, kind) for column, kind in zip(columns, types, strict=True)))


def batches_of(made: list[Made], size: int) -> list[Lists]:
    """Lists of a release at a time, some at a time."""
    batches = []
    for release in sorted({entry.release for entry in made}):
        theirs = [entry for entry in made if entry.release == release]
        for start in range(0, len(theirs), size):
            some = theirs[start : start + size]
            batches.append(
                Lists(
                    release,
                    np.array([entry.user for entry in some], np.int32),
                    np.array([entry.place for entry in some], np.int8),
                    np.array([track for entry in some for track in entry.tracks], np.int32),
                    np.cumsum([0, *(len(entry.tracks) for entry in some)]),
                )
            )
    return batches


def slowly(done: list[Did], made: list[Made]) -> tuple[dict[Any, dict[str, Any]], int, int]:
    """What became of each list's tracks, and how many responses were credited, explicit and inferred."""
    credited = defaultdict(list)
    for did in done:
        fitting = [
            entry
            for entry in made
            if (entry.user, entry.release) == (did.user, did.release)
            and did.track in entry.tracks
            and did.place in {NOWHERE, entry.place}
        ]
        if fitting:
            best = min(fitting, key=lambda entry: entry.place)
            rank = best.tracks.index(did.track) + 1
            credited[best.release, best.user, best.place, rank, did.track].append(did)
    became = {}
    for key, several in credited.items():
        opinions = sorted((did.at, did.kind, did.named) for did in several if did.kind in {LIKED, DISLIKED})
        at, opinion, _ = opinions[-1] if opinions else (None, None, None)
        by_name = any(did.named for did in several if (did.at, did.kind) == (at, opinion))
        plays = [did for did in several if did.kind == PLAYED]
        skips = [did for did in several if did.kind == SKIP]
        became[key] = {
            "played": bool(plays),
            "liked": opinion == LIKED,
            "skipped": bool(skips) or opinion == DISLIKED,
            "disliked": opinion == DISLIKED,
            "explicit_play": any(did.named for did in plays),
            "explicit_like": opinion == LIKED and by_name,
            "explicit_skip": any(did.named for did in skips) or (opinion == DISLIKED and by_name),
        }
    flat = [did for several in credited.values() for did in several]
    return became, sum(did.named for did in flat), sum(not did.named for did in flat)


def rows_of(found: Answers) -> dict[Any, dict[str, Any]]:
    names = ("played", "liked", "skipped", "disliked", "explicit_play", "explicit_like", "explicit_skip")
    keys = zip(*(getattr(found, name).tolist() for name in ("release", "user", "place", "rank", "track")), strict=True)
    return {key: {name: bool(getattr(found, name)[row]) for name in names} for row, key in enumerate(keys)}


SMALL = st.integers(0, 2)
DONE = st.lists(
    st.builds(
        lambda user, track, at, kind, named, release, place: Did(
            user, track, at, kind, named, release, place if named or place > 1 else NOWHERE
        ),
        *(SMALL, st.integers(0, 4), SMALL, st.integers(0, 3), st.booleans(), st.integers(-1, 1), st.integers(0, 3)),
    ),
    max_size=12,
)
MADE = st.lists(
    st.builds(
        Made,
        *(st.integers(0, 1), SMALL, st.integers(0, 3)),
        st.lists(st.integers(-1, 4), max_size=4, unique=True),
    ),
    max_size=10,
    unique_by=lambda entry: entry[:3],
)


@given(done=DONE, made=MADE, size=st.integers(1, 4))
def test_the_join_is_that_of_its_obvious_version(done, made, size):
    responses = responses_of(done)
    found = answers(responses, credit(responses, batches_of(made, size)))
    expected, explicit, inferred = slowly(done, made)
    assert rows_of(found) == expected
    assert found.responses.sum(axis=0).tolist() == [explicit, inferred]
    keys = list(rows_of(found))
    assert keys == sorted(keys)
    assert [key[:3] for key in keys if key in [keys[start] for start in found.list_starts]] == sorted(
        {key[:3] for key in keys}
    )


@given(done=DONE, made=MADE)
def test_lists_that_come_twice_or_in_another_order_count_once(done, made):
    responses = responses_of(done)
    once = credit(responses, batches_of(made, 3))
    again = credit(responses, [*batches_of(made, 3), *batches_of(made[::-1], 2)])
    np.testing.assert_equal([again.place, again.rank], [once.place, once.rank])


def found_by(*done: Did, tracks: tuple[int, ...] = (7, 8, 9)) -> Answers:
    """The answers to one list of user 0."""
    responses = responses_of(list(done))
    return answers(responses, credit(responses, batches_of([Made(0, 0, 0, list(tracks))], 1)))


def did(kind: int, track: int = 7, at: int = 0, *, named: bool = False) -> Did:
    return Did(0, track, at, kind, named, 0, 0 if named else NOWHERE)


@pytest.mark.parametrize(
    ("kinds", "stars", "accepted"),
    [
        ([PLAYED], 4, True),
        ([SKIP], 2, False),
        ([PLAYED, SKIP], 3, True),
        ([LIKED], 5, True),
        ([SKIP, LIKED], 5, True),
        ([DISLIKED], 1, False),
        ([LIKED, DISLIKED], 1, False),
        ([DISLIKED, LIKED], 5, True),
        ([PLAYED, DISLIKED], 1, False),
    ],
    ids=str,
)
def test_a_track_is_rated_by_its_strongest_word(kinds, stars, accepted):
    found = found_by(*(did(kind, at=at) for at, kind in enumerate(kinds)))
    assert (found.stars.tolist(), found.accepted.tolist()) == ([stars], [accepted])


def test_a_dislike_wins_a_tie():
    assert found_by(did(DISLIKED), did(LIKED)).disliked.tolist() == [True]


def test_a_rating_is_the_mean_of_its_tracks_and_unknown_of_none():
    found = found_by(did(PLAYED, 9), did(DISLIKED, 7), did(LIKED, 8), did(SKIP, 8, named=True))
    assert found.rank.tolist() == [1, 2, 3]
    assert overall_rating(found.stars) == (1 + 5 + 4) / 3
    assert found.explicit.tolist() == [False, True, False]
    assert found.explicit_acceptance.tolist() == [False, False, False]
    assert np.isnan(overall_rating(found_by().stars))


def test_a_rank_counts_tracks_that_nobody_responded_to():
    assert found_by(did(PLAYED, 9), tracks=(NOWHERE, NOWHERE, 9)).rank.tolist() == [3]
