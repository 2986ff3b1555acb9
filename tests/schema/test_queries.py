"""The data model's four queries, against the obvious way and against what a release computes."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from bson import ObjectId
from documents import BOUND, TWIN, TWIN_TEXT, days_ago, fill_small_world, play, song
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from features.compute.overlaps import similar_users
from features.schema import names, plan, queries
from features.schema.ids import encode_id
from features.schema.queries import mood_tracks, recent_history, strategy_performance, users_by_overlap

Plays = dict[str | ObjectId, set[str]]


def tracks_by_user(database: Database) -> Plays:
    found: Plays = {}
    for row in database[names.LISTENING_HISTORY].find({}, {"userId": 1, "trackId": 1}):
        found.setdefault(row["userId"], set()).add(row["trackId"])
    return found


def computed(plays: Plays, min_common: int) -> dict[str, dict[str, tuple[int, float]]]:
    """Every user's neighbours as `compute/overlaps.py` has them: tracks in common and share, by user."""
    users = sorted(plays, key=encode_id)
    tracks = sorted(set().union(*plays.values()))
    matrix = sp.csr_matrix(np.array([[int(track in plays[user]) for track in tracks] for user in users], np.int32))
    found = similar_users(matrix, k=len(users), min_common=min_common)
    return {
        encode_id(user): {
            encode_id(users[other]): (int(common), float(share))
            for other, common, share in zip(*row, strict=True)
            if other >= 0
        }
        for user, *row in zip(users, found.neighbors, found.common, found.jaccard, strict=True)
    }


def asked(database: Database, user: str | ObjectId, **more: Any) -> dict[str, tuple[int, float]]:
    return {
        encode_id(row["user_id"]): (row["common_tracks"], row["jaccard"])
        for row in users_by_overlap(database, user, **more)
    }


# --- similar users


def test_users_by_overlap_are_those_that_a_release_computes(db):
    fill_small_world(db)
    plays = tracks_by_user(db)
    for min_common in (1, 4, 5, 7):
        expected = computed(plays, min_common)
        assert {encode_id(user): asked(db, user, min_common=min_common) for user in plays} == expected
    assert computed(plays, 5)["ann"].keys() == {"bob", f"oid:{TWIN_TEXT}"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    worlds=st.dictionaries(
        st.sampled_from(["ann", "bob", TWIN, TWIN_TEXT, "oid:odd", "str:odd", "Zoë", "z"]),
        st.sets(st.integers(0, 8), min_size=1),
        min_size=1,
    ),
    min_common=st.integers(1, 4),
    in_list=st.sampled_from([1, 3, 500]),
)
def test_users_by_overlap_are_those_computed_in_any_world(db, worlds, min_common, in_list):
    history = db[names.LISTENING_HISTORY]
    history.delete_many({})
    history.insert_many(
        [play(user, f"t{track}", days=day) for user, tracks in worlds.items() for track in tracks for day in (2, 3)]
    )
    expected = computed(tracks_by_user(db), min_common)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "IN_LIST", in_list)
        for user in worlds:
            found = users_by_overlap(db, encode_id(user), min_common=min_common)
            order = [(-row["common_tracks"], encode_id(row["user_id"])) for row in found]
            assert order == sorted(order)
            assert {encode_id(row["user_id"]): (row["common_tracks"], row["jaccard"]) for row in found} == expected[
                encode_id(user)
            ]


def test_most_tracks_in_common_come_first_and_equals_by_id(db):
    tracks = [f"t{number}" for number in range(6)]
    world = {"me": tracks, "z": tracks[:5], "b": tracks[1:], TWIN: tracks[:5], "most": tracks, "few": tracks[:4]}
    db[names.LISTENING_HISTORY].insert_many([play(user, track) for user, played in world.items() for track in played])
    found = users_by_overlap(db, "me")
    assert [(row["user_id"], row["common_tracks"]) for row in found] == [("most", 6), ("b", 5), (TWIN, 5), ("z", 5)]
    assert users_by_overlap(db, "me", k=2) == found[:2]
    assert [row["user_id"] for row in users_by_overlap(db, "me", min_common=4)][-1] == "few"


def test_a_text_and_an_object_id_that_read_alike_have_neighbours_of_their_own(db):
    tracks = [f"t{number}" for number in range(5)]
    db[names.LISTENING_HISTORY].insert_many([play(user, track) for user in (TWIN, "ann") for track in tracks])
    db[names.LISTENING_HISTORY].insert_one(play(TWIN_TEXT, "t0"))
    assert users_by_overlap(db, TWIN) == users_by_overlap(db, f"oid:{TWIN_TEXT}")
    assert [row["user_id"] for row in users_by_overlap(db, TWIN)] == ["ann"]
    assert users_by_overlap(db, TWIN_TEXT) == []


def test_who_played_nothing_has_no_neighbours(db):
    fill_small_world(db)
    assert users_by_overlap(db, "nobody", min_common=1) == []


# --- the other three


def test_recent_history_is_the_last_days_newest_first(db):
    db[names.LISTENING_HISTORY].insert_many(
        [play("ann", f"t{day}", days=day) for day in (31, 5, 29, 1)] + [play("bob", "t2", days=2)]
    )
    assert [row["trackId"] for row in recent_history(db, "ann", BOUND)] == ["t1", "t5", "t29"]
    assert [row["trackId"] for row in recent_history(db, "ann", BOUND, days=40, limit=2)] == ["t1", "t5"]
    assert recent_history(db, "nobody", BOUND) == []


def test_the_bound_of_recent_history_belongs_to_it(db):
    moment = BOUND - timedelta(days=30)
    db[names.LISTENING_HISTORY].insert_many(
        [play("ann", "in", playedAt=moment), play("ann", "out", playedAt=moment - timedelta(milliseconds=1))]
    )
    assert [row["trackId"] for row in recent_history(db, "ann", BOUND)] == ["in"]


def test_a_user_is_meant_by_object_id_or_by_its_text(db):
    db[names.LISTENING_HISTORY].insert_many([play(TWIN, "by-oid"), play(TWIN_TEXT, "by-text")])
    assert [row["trackId"] for row in recent_history(db, TWIN, BOUND)] == ["by-oid"]
    assert [row["trackId"] for row in recent_history(db, f"oid:{TWIN_TEXT}", BOUND)] == ["by-oid"]
    assert [row["trackId"] for row in recent_history(db, TWIN_TEXT, BOUND)] == ["by-text"]


def test_mood_tracks_have_the_energy_and_valence_asked_for_most_popular_first(db):
    sounds = {1: (0.7, 0.6, 10), 2: (0.9, 0.9, 80), 3: (0.69, 0.9, 99), 4: (0.9, 0.59, 99), 5: (1, 1, 80)}
    db[names.TRACKS].insert_many(
        [
            song(number, audioFeatures={"energy": energy, "valence": valence}, popularity=popularity)
            for number, (energy, valence, popularity) in sounds.items()
        ]
    )
    db[names.TRACKS].insert_many([song(6, audioFeatures={}), song(7, audioFeatures={"energy": None, "valence": 1})])
    assert [row["spotifyId"] for row in mood_tracks(db)] == ["track-02", "track-05", "track-01"]
    assert [row["spotifyId"] for row in mood_tracks(db, 0.69, 0.9, limit=1)] == ["track-03"]


def recommended(strategy: str, days: float, confidence: float, spent: float) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "createdAt": days_ago(days),
        "performance": {"confidence": confidence, "generationTime": spent},
    }


def test_strategy_performance_is_a_mean_a_strategy_since_a_moment(db):
    db[names.RECOMMENDATIONS].insert_many(
        [
            recommended("popular", 1, 0.25, 8),
            recommended("hybrid", 7, 0.5, 10),
            recommended("hybrid", 2, 1.0, 20),
            recommended("hybrid", 8, 0.0, 999),
            recommended("collaborative", 9, 0.5, 1),
        ]
    )
    lists = ("strategy", "confidence", "generation_ms", "lists")
    assert [tuple(row[name] for name in lists) for row in strategy_performance(db, days_ago(7))] == [
        ("hybrid", 0.75, 15.0, 2),
        ("popular", 0.25, 8.0, 1),
    ]
    assert strategy_performance(db, BOUND) == []


def scored(strategy: str, **counts: tuple[int, int]) -> dict[str, Any]:
    measures = ("played", "liked", "skipped", "accepted", "answered")
    return {"strategy": strategy} | {
        name: dict(zip(("explicit", "inferred"), counts.get(name, (0, 0)), strict=True)) for name in measures
    }


def test_strategy_performance_tells_what_the_scorecards_of_that_time_say_together(db):
    hybrid = scored("hybrid", played=(1, 4), liked=(1, 0), skipped=(2, 1), accepted=(2, 3), answered=(3, 5))
    cards = {"a": (1, [hybrid, scored("popular")]), "b": (3, [hybrid]), "c": (9, [hybrid]), "d": (2, None)}
    db[names.RELEASES].insert_many(
        [
            {"_id": release, "state": "retired", "builtAt": days_ago(days)}
            | ({"scorecard": {"strategies": entries}} if entries else {})
            for release, (days, entries) in cards.items()
        ]
    )
    db[names.RELEASES].insert_one({"_id": "live", "release": "a"})
    db[names.RECOMMENDATIONS].insert_many(
        [recommended(name, 1, 0.5, 8) for name in ("hybrid", "popular", "collaborative")]
    )
    found = {row.pop("strategy"): row for row in strategy_performance(db, days_ago(7))}
    of_lists = {"confidence": 0.5, "generation_ms": 8.0, "lists": 1}
    heard = {"played": 10, "liked": 2, "skipped": 6, "answered": 16, "inferred": 10, "acceptance": 10 / 16}
    assert found["hybrid"] == of_lists | heard
    nothing = dict.fromkeys(("played", "liked", "skipped", "answered", "inferred"), 0)
    assert np.isnan(found["popular"].pop("acceptance"))
    assert found["popular"] == {**of_lists, **nothing}
    assert np.isnan(found["collaborative"].pop("acceptance"))
    assert found["collaborative"] == {**of_lists, **dict.fromkeys(nothing)}  # not known is not none


def test_the_indexes_change_no_answer(db):
    fill_small_world(db)
    before = (users_by_overlap(db, "ann", min_common=1), mood_tracks(db, 0.3, 0.5), recent_history(db, "ann", BOUND))
    plan.apply(db)
    assert before == (
        users_by_overlap(db, "ann", min_common=1),
        mood_tracks(db, 0.3, 0.5),
        recent_history(db, "ann", BOUND),
    )
