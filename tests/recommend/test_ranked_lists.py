"""Ranked lists: what may never be in one, how they are ranked, and who gets which."""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import (
    AS_OF,
    SMALL,
    account,
    evidence_of,
    lists_of,
    play,
    random_world,
    rows_before,
    said,
    shuffled,
    tables,
    track,
)

from features.parameters import NightlyParameters
from features.recommend import columns, lists
from features.recommend.evidence import Evidence
from features.recommend.lists import recommend
from features.recommend.ranked import RankedList
from features.recommend.rerank import Shaper
from features.recommend.stated import stated_scores

SEEDS = st.integers(0, 10_000)


def by_user(world: Mapping[str, pa.Table], **how) -> tuple[Evidence, dict[str, dict[str, RankedList]]]:
    """Lists by the text of the user's id and by strategy."""
    evidence = evidence_of(world)
    found: dict[str, dict[str, RankedList]] = {}
    for entry in lists_of(evidence, **how):
        assert entry.strategy not in found.setdefault(evidence.dataset.users[entry.user], {})
        found[evidence.dataset.users[entry.user]][entry.strategy] = entry
    return evidence, found


def ids_of(evidence: Evidence, entry: RankedList) -> list[str]:
    return [evidence.dataset.tracks[int(number)] for number in entry.tracks]


def never_to_be_shown(world: Mapping[str, pa.Table], user: str, *, include_heard: bool) -> set[str]:
    """Looked up row by row."""
    plays, feedback = rows_before(world, "plays"), rows_before(world, "feedback")
    mine = [row for row in feedback if row["user_id"] == user]
    found = set()
    for track_id in {row["track_id"] for row in mine}:
        opinions = [row for row in mine if row["track_id"] == track_id and row["signal"] not in {"replay", "skip"}]
        newest = max((row["created_at"] for row in opinions), default=None)
        if any(row["signal"] == "dislike" and row["created_at"] == newest for row in opinions):
            found.add(track_id)
    if not include_heard:
        found |= {row["track_id"] for row in [*plays, *feedback] if row["user_id"] == user}
    account = next((row for row in world["users"].to_pylist() if row["user_id"] == user), None)
    for row in world["tracks"].to_pylist() if account else []:
        if account["explicit_content"] is False and row["explicit"]:
            found.add(row["track_id"])
        if account["country"] and row["markets"] is not None and account["country"] not in row["markets"]:
            found.add(row["track_id"])
    return found


@given(SEEDS, st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_list_holds_what_its_user_must_not_be_shown(seed, include_heard):
    world = random_world(seed)
    evidence, found = by_user(world, k=50, include_heard=include_heard)
    assert found
    for user, entries in found.items():
        never = never_to_be_shown(world, user, include_heard=include_heard)
        for entry in entries.values():
            assert never.isdisjoint(ids_of(evidence, entry))


@given(SEEDS, st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_lists_are_ranked_without_repeats_and_scores_do_not_rise(seed, k):
    evidence, found = by_user(random_world(seed), k=k)
    for entries in found.values():
        for strategy, entry in entries.items():
            assert 1 <= len(entry.tracks) == len(entry.scores) == len(entry.reasons) <= k
            assert len(set(entry.tracks.tolist())) == len(entry.tracks)
            assert ((entry.scores >= 0) & (entry.scores <= 1)).all()
            assert (np.diff(entry.scores) <= 0).all()
            assert 0 <= entry.confidence <= 1
            history = evidence.interactions.weights[entry.user].indices
            assert len(set(entry.seeds)) == len(entry.seeds) <= 5
            assert set(entry.seeds) <= set(history.tolist())
            assert (strategy == "popular") == (entries.keys() == {"popular"})
            if strategy == "popular":
                assert entry.seeds == []


@given(SEEDS, st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_a_shorter_list_is_a_prefix_of_a_longer_one(seed, k):
    evidence = evidence_of(random_world(seed))
    long = {(entry.user, entry.strategy): entry for entry in lists_of(evidence, k=9)}
    short = lists_of(evidence, k=k)
    assert {(entry.user, entry.strategy) for entry in short} == set(long)
    for entry in short:
        longer = long[entry.user, entry.strategy]
        assert entry.tracks.tolist() == longer.tracks[: len(entry.tracks)].tolist()
        assert entry.scores.tolist() == longer.scores[: len(entry.scores)].tolist()
        assert entry.reasons == longer.reasons[: len(entry.reasons)]


@given(SEEDS)
@example(4544)
@settings(max_examples=15, deadline=None)
def test_the_size_of_blocks_changes_no_list_but_by_rounding(seed):
    evidence = evidence_of(random_world(seed))
    whole = lists_of(evidence, k=9)
    with pytest.MonkeyPatch.context() as patch:
        for users_a_block in (1, 2, 3):
            patch.setattr(columns, "DENSE_CELLS", users_a_block * len(evidence.dataset.tracks))
            for one, other in zip(lists_of(evidence, k=9), whole, strict=True):
                assert (one.user, one.strategy, one.confidence) == (other.user, other.strategy, other.confidence)
                # a product of one row may differ from that of many in the last bit, so equals may change places, or
                # the last of a full list with the one that is the first not to be listed
                assert one.scores == pytest.approx(other.scores, abs=2e-6)
                after = -1.0 if len(other.tracks) < 9 else other.scores[-1]
                apart = np.diff(other.scores, prepend=2, append=after) < -1e-5
                clear = apart[:-1] & apart[1:]
                assert one.tracks[clear].tolist() == other.tracks[clear].tolist()
                if after < 0:
                    assert sorted(one.tracks.tolist()) == sorted(other.tracks.tolist())


@given(SEEDS, st.booleans())
@example(4544, False)
@settings(max_examples=15, deadline=None)
def test_the_memory_there_is_changes_no_bit_of_a_list(seed, large):
    how = SMALL.ranking.model_copy(update={"dense_cells": 0}) if large else SMALL.ranking
    world, artists = dict(random_world(seed, users=20)), ["Artist 0", "Artist 1"]
    stated = [{"user_id": f"new-{n}", "artists": artists[: 1 + n % 2]} for n in range(7)]  # of all tracks
    world["settings"] = tables(settings=stated)["settings"]
    evidence = evidence_of(world, parameters=SMALL.model_copy(update={"ranking": how}))
    shaper = Shaper.of(evidence, NightlyParameters.model_validate({"recommendations": {"k": 9}}))
    whole = [entry for block in recommend(evidence, shaper) for entry in block]
    for cells in (1, 30, 100):
        parts = [entry for block in recommend(evidence, shaper, cells) for entry in block]
        for one, other in zip(parts, whole, strict=True):
            assert (one.user, one.strategy, one.confidence) == (other.user, other.strategy, other.confidence)
            assert (one.reasons, one.seeds) == (other.reasons, other.seeds)
            assert one.tracks.tobytes() == other.tracks.tobytes()
            assert one.scores.tobytes() == other.scores.tobytes()


def test_newcomers_of_a_block_are_scored_together_whatever_memory_there_is(monkeypatch):
    world = dict(random_world(3))
    stated = [{"user_id": f"new-{n}", "artists": [f"Artist {n % 2}"]} for n in range(5)]
    world["settings"] = tables(settings=stated)["settings"]
    evidence, asked = evidence_of(world), []

    def noted(of, users):
        asked.append(len(users))
        return stated_scores(of, users)

    monkeypatch.setattr(lists, "stated_scores", noted)
    shaper = Shaper.of(evidence, NightlyParameters())
    for cells in (1, 10**6):  # products of all tracks are rounded by how many rows they have
        assert list(recommend(evidence, shaper, cells))
    assert asked == [5, 5]


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_any_order_of_rows_makes_the_same_lists(seed):
    world = random_world(seed)
    for one, other in zip(lists_of(evidence_of(world)), lists_of(evidence_of(shuffled(world, seed))), strict=True):
        assert (one.user, one.strategy, one.confidence) == (other.user, other.strategy, other.confidence)
        assert (one.reasons, one.seeds) == (other.reasons, other.seeds)
        assert one.tracks.tobytes() == other.tracks.tobytes()
        assert one.scores.tobytes() == other.scores.tobytes()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_who_nothing_is_known_of_gets_what_their_country_listens_to_drawn_to_what_most_do(seed):
    world = random_world(seed)
    world["users"] = pa.concat_tables(
        [world["users"], tables(users=[account("new", country="US", explicit_content=False)])["users"]]
    )
    evidence, found = by_user(world, k=4)
    listeners = Counter(
        track for _, track in {(row["user_id"], row["track_id"]) for row in rows_before(world, "plays")}
    )
    lives = {row["user_id"]: row["country"] for row in world["users"].to_pylist()}
    pairs = {(row["user_id"], row["track_id"]) for row in rows_before(world, "plays")}
    at_home = Counter(track for user, track in pairs if lives.get(user) == "US")
    everybody, here = ({user for user, _ in pairs}, {user for user, _ in pairs if lives.get(user) == "US"})
    liking = {t: (at_home[t] + 200 * Fraction(listeners[t], len(everybody))) / (len(here) + 200) for t in listeners}
    never = never_to_be_shown(world, "new", include_heard=False)
    expected = sorted((track for track in listeners if track not in never), key=lambda t: (-liking[t], t))[:4]
    entry = found.get("new", {}).get("popular")
    assert (ids_of(evidence, entry) if entry else []) == expected
    assert entry is None or entry.confidence == 0.5 * len(expected) / 4


def test_heard_tracks_come_in_when_asked_but_never_disliked_ones():
    world = tables(
        plays=[play(user, t) for user in ("u", "v", "w") for t in ("a", "b", "c", "d")] + [play("v", "new")],
        feedback=[said("u", "b", "dislike", 1), said("u", "c", "dislike", 2), said("u", "c", "love", 1)],
        tracks=[track(t, "A", ["rock"]) for t in ("a", "b", "c", "d", "new")],
    )
    evidence, found = by_user(world, k=9)
    assert {t for entry in found["u"].values() for t in ids_of(evidence, entry)} == {"new"}
    evidence, found = by_user(world, k=9, include_heard=True)
    assert {t for entry in found["u"].values() for t in ids_of(evidence, entry)} == {"a", "c", "d", "new"}


def test_who_has_heard_everything_gets_no_list_unless_asked():
    world = tables(plays=[play(user, t) for user in ("u", "v") for t in ("a", "b")])
    assert by_user(world)[1] == {}
    assert set(by_user(world, include_heard=True)[1]) == {"u", "v"}


def test_who_only_skipped_gets_what_is_popular():
    world = tables(plays=[play("u", "a", completion=0.0), play("v", "b"), play("v", "c"), play("w", "c")])
    evidence, found = by_user(world)
    assert ids_of(evidence, found["u"]["popular"]) == ["c", "b"]


def test_a_track_nobody_played_can_be_recommended_by_what_it_is():
    world = tables(
        plays=[play("u", t) for t in "abc"] + [play("v", "x")],
        tracks=[track(t, "Band", ["rock"]) for t in "abc"]
        + [track("x", "Else", ["jazz"]), track("new", "Band", ["rock"])],
    )
    evidence, found = by_user(world)
    assert ids_of(evidence, found["u"]["content-based"])[0] == "new"
    assert ids_of(evidence, found["u"]["hybrid"])[0] == "new"


def test_what_like_minded_listeners_play_comes_first():
    rock, jazz = [f"r{i}" for i in range(6)], [f"j{i}" for i in range(6)]
    fans = [(f"rock-{i}", rock) for i in range(6)] + [(f"jazz-{i}", jazz) for i in range(6)]
    plays = [play(user, t) for user, scene in fans for number, t in enumerate(scene) if str(number) != user[-1]]
    evidence, found = by_user(tables(plays=plays), k=3)
    assert ids_of(evidence, found["rock-2"]["collaborative"])[0] == "r2"
    assert ids_of(evidence, found["jazz-4"]["collaborative"])[0] == "j4"


@pytest.mark.parametrize("seed", range(5))
def test_what_nobody_of_like_mind_plays_stands_behind_everything_they_do(seed):
    rng = np.random.default_rng(seed)
    # two scenes that share no track: of the other one a listener's factors say nothing but rounding
    plays = [
        play(f"u{user:02d}", f"t{2 * number + user % 2:02d}", float(rng.uniform(1, 99)))
        for user in range(14)
        for number in rng.choice(8, 5, replace=False)
    ]
    evidence, found = by_user(tables(plays=plays), k=30)
    assert len(found) == 14
    unheard = evidence.interactions.known.shape[1] - np.diff(evidence.interactions.known.indptr)
    for user, entries in found.items():
        listed = ids_of(evidence, entries["collaborative"])
        assert len(listed) == unheard[entries["collaborative"].user]  # filled to the end with what is popular
        scenes = [int(track_id[1:]) % 2 == int(user[1:]) % 2 for track_id in listed]
        assert scenes == sorted(scenes, reverse=True)
        assert 1 <= sum(scenes) <= 3


def test_what_is_like_nothing_of_the_history_is_in_no_list_made_of_content():
    scenes = {"rock": ("r0", "r1", "r2"), "jazz": ("j0", "j1"), None: ("blank",)}
    world = tables(
        plays=[play("u", "r0"), play("u", "r1"), play("v", "j0"), play("v", "blank")],
        tracks=[
            {**track(t, scene, [scene] if scene else []), "name": None} for scene, ids in scenes.items() for t in ids
        ],
    )
    evidence, found = by_user(world, k=9)
    assert ids_of(evidence, found["u"]["content-based"]) == ["r2"]
    assert ids_of(evidence, found["v"]["content-based"]) == ["j1"]


def test_seeds_are_the_tracks_that_moved_the_list_most():
    names = {"rock": ["r0", "r1", "r2"], "jazz": ["j0", "j1"]}
    world = tables(
        plays=[play("u", t) for t in ("r0", "r1", "j0")] + [play("u", "r1", 2), play("v", "r2"), play("v", "j1")],
        tracks=[
            track(t, genre.title(), [genre], markets=["DE"] if t == "j1" else None)
            for genre in names
            for t in names[genre]
        ],
        users=[account("u", country="US")],
    )
    evidence, found = by_user(world)
    entry = found["u"]["content-based"]
    assert ids_of(evidence, entry)[0] == "r2"
    assert [evidence.dataset.tracks[seed] for seed in entry.seeds[:2]] == ["r1", "r0"]


def test_two_users_with_the_same_digits_are_two_users():
    digits = "64b000000000000000000001"
    world = tables(
        plays=[
            play(digits, "a"),
            play(f"oid:{digits}", "b"),
            *[play(u, t) for u in ("v", "w") for t in ("a", "b", "c")],
        ],
        feedback=[said(digits, "c", "dislike")],
        tracks=[track(t, "A", ["rock"]) for t in "abc"],
    )
    evidence, found = by_user(world)
    assert ids_of(evidence, found[digits]["hybrid"]) == ["b"]
    assert set(ids_of(evidence, found[f"oid:{digits}"]["hybrid"])) == {"a", "c"}


def test_confidence_is_evidence_times_the_places_filled():
    world = tables(
        plays=[play("u", "a") for _ in range(20)] + [play("v", t) for t in "bcx"],
        tracks=[*[track(t, "A", ["rock"]) for t in "abc"], track("x", "X", ["jazz"])],
    )
    _, found = by_user(world, k=4)
    assert found["u"]["content-based"].confidence == pytest.approx(0.5 * 2 / 4)


def test_evidence_is_not_changed_by_recommending():
    evidence = evidence_of(random_world(11))
    before = {name: values.copy() for name, values in vars(evidence.embeddings).items()}
    weights, known = evidence.interactions.weights.copy(), evidence.interactions.known.copy()
    lists_of(evidence)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(evidence.embeddings, name), values)
    assert (evidence.interactions.weights != weights).nnz == 0
    assert (evidence.interactions.known != known).nnz == 0
    assert evidence.dataset.plays.played_at.max() < AS_OF
