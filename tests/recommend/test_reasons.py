"""Reasons by hand: what is said, of what, and what is said first. That all of them are true is another test."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from worlds import AS_OF, DAY, account, evidence_of, lists_of, play, said, tables, track

from features.recommend.blend import Recipe
from features.recommend.evidence import Evidence
from features.recommend.fact_kernels import first_kinds
from features.recommend.facts import Counts, heard_lately
from features.recommend.models import MODELS
from features.recommend.wording import KINDS, listeners_in_words


def reasons_for(world: Mapping[str, pa.Table], user: str, strategy: str, **how: Any) -> dict[str, list[str]]:
    return reasons_in(evidence_of(world), user, strategy, **how)


def reasons_in(evidence: Evidence, user: str, strategy: str, **how: Any) -> dict[str, list[str]]:
    number = int(evidence.dataset.users.numbers([user])[0])
    entry = next(e for e in lists_of(evidence, **how) if (e.user, e.strategy) == (number, strategy))
    return {evidence.dataset.tracks[int(t)]: reasons for t, reasons in zip(entry.tracks, entry.reasons, strict=True)}


def scene(*plays: dict[str, Any], **more: Any) -> dict[str, pa.Table]:
    """`u` and two others who share "a" and "b"; those two play "new" as well, and a fourth plays other things."""
    others = [play(v, t) for v in "vw" for t in ("a", "b", "new")] + [play("x", t) for t in ("p", "q", "r")]
    songs = [track(t, "Sigur Rós" if t != "b" else "Else", ["post-rock"], energy=0.5) for t in ("a", "b", "new")]
    songs += [track(t, "Polka Band", ["polka"], energy=0.1) for t in ("p", "q", "r")]
    return tables(plays=[*plays, *others], tracks=songs, **more)


def test_reasons_by_hand():
    world = scene(play("u", "a"), play("u", "a", 2), play("u", "b"))
    assert set(reasons_for(world, "u", "content-based")["new"]) <= {
        "By Sigur Rós, whom you have played 2 times",
        "Post-rock is 100% of what you play",
        "Close in energy to what you usually play",
        "2 listeners who share 2 tracks or more with you play it",
        "Because you played “Song a” by Sigur Rós 2 times",
    }
    assert set(reasons_for(world, "u", "hybrid")["new"]) == {
        "Because you played “Song a” by Sigur Rós 2 times",
        "2 listeners who share 2 tracks or more with you play it",
        "By Sigur Rós, whom you have played 2 times",
    }


def test_who_plays_a_track_on_three_days_lately_keeps_returning_to_it():
    for days, text in (
        ([1, 2, 3], "Because you keep returning to “Song a” by Sigur Rós"),
        ([1, 1.1, 2], "Because you played “Song a” by Sigur Rós 3 times"),  # two days
        ([1, 2, 70], "Because you played “Song a” by Sigur Rós 3 times"),  # not lately
    ):
        world = scene(*[play("u", "a", ago) for ago in days], play("u", "b"))
        assert text in reasons_for(world, "u", "hybrid")["new"], days


def test_plays_that_were_skipped_are_no_evidence():
    world = scene(play("u", "a"), play("u", "b"), *[play("u", "a", ago, 0.05) for ago in (2, 3, 4, 5)])
    reasons = reasons_for(world, "u", "hybrid")["new"]
    assert (
        "Because you played “Song a” by Sigur Rós once" in reasons
        or "Because you played “Song b” by Else once" in reasons
    )
    assert not any("Sigur Rós, whom" in reason for reason in reasons)


def test_a_neighbour_who_only_skipped_a_track_does_not_play_it():
    plays = [play(v, t) for v in "uvw" for t in ("a", "b")]
    world = tables(plays=[*plays, play("v", "new"), play("w", "new", completion=0.0)])
    assert "A listener who shares 2 tracks with you plays it" in reasons_for(world, "u", "hybrid")["new"]


def test_the_least_that_neighbours_share_is_named():
    plays = [play("u", t) for t in "abc"] + [play("v", t) for t in ("a", "b", "c", "new")]
    world = tables(plays=[*plays, *[play("w", t) for t in ("a", "b", "new")]])
    assert "2 listeners who share 2 tracks or more with you play it" in reasons_for(world, "u", "hybrid")["new"]
    alone = tables(plays=[*plays, play("w", "z")])
    assert "A listener who shares 3 tracks with you plays it" in reasons_for(alone, "u", "hybrid")["new"]


def test_an_album_counts_its_other_tracks():
    songs = [track(t, "Band", [], album="Blue") for t in ("a", "b", "new")] + [track("c", "Band", [], album="Red")]
    world = tables(
        plays=[play("u", t) for t in ("a", "b", "b", "c")] + [play("v", "z"), play("v", "new")], tracks=songs
    )
    reasons = reasons_for(world, "u", "content-based")
    assert "From the album Blue, of which you played 2 other tracks" in reasons["new"]
    again = reasons_in(evidence_of(world), "u", "content-based", include_heard=True)
    assert "From the album Blue, of which you played another track" in again["a"]
    assert not any("album" in reason for reason in again["c"])


def test_an_album_of_one_name_by_another_artist_is_another():
    songs = [track("a", "Band", album="Hits"), track("new", "Else", album="Hits"), track("b", "Band", album="Hits")]
    world = tables(plays=[play("u", "a"), play("v", "z")], tracks=songs)
    reasons = reasons_for(world, "u", "content-based")
    assert "From the album Hits, of which you played another track" in reasons["b"]
    assert "new" not in reasons or not any("album" in reason for reason in reasons["new"])


def test_a_track_that_sounds_like_one_of_the_history_names_it():
    songs = [
        track("a", "A", energy=0.5, tempo=120.0, valence=0.7),
        track("b", "B", energy=0.1, tempo=60.0, valence=0.5),
        track("new", "C", energy=0.52, tempo=121.0, valence=0.9),
        *[track(f"z{n}", "Z", energy=0.9, tempo=200.0 - n, valence=n / 9) for n in range(9)],
    ]
    world = tables(
        plays=[play("u", "a")] * 12 + [play("u", "b"), *[play("v", t) for t in ("z0", "z1", "new")]], tracks=songs
    )
    reasons = reasons_for(world, "u", "content-based", k=20)["new"]
    assert "Close in tempo and energy to “Song a” by A, which you played 12 times" in reasons


@pytest.mark.parametrize(
    ("signals", "word"),
    [(["save"], "saved"), (["like"], "liked"), (["replay", "love"], "loved"), (["replay"], "replayed")],
)
def test_who_played_nothing_is_told_what_they_said(signals, word):
    world = tables(
        plays=[play("v", "b")],
        feedback=[said("u", "a", signal) for signal in signals],
        tracks=[track(t, "A", ["rock"], energy=0.5) for t in ("a", "b", "c")] + [track("d", "D", ["jazz"])],
    )
    reasons = reasons_for(world, "u", "content-based")
    assert set(reasons) >= {"b", "c"}
    for texts in reasons.values():
        assert f"Because you {word} “Song a” by A" in texts
        assert not any("what you play" in text or "usually" in text or "whom" in text for text in texts)


@pytest.mark.parametrize("name", ["", None])
def test_a_track_without_a_name_is_called_by_its_id(name):
    world = tables(
        plays=[play("u", "a"), play("v", "b")],
        tracks=[
            track("a", "A", ["rock"]) | {"name": name},
            *[
                track(t, t.upper() if t != "b" else "A", [genre])
                for t, genre in (("b", "rock"), ("c", "jazz"), ("d", "x"))
            ],
        ],
    )
    assert "Because you played track a once" in reasons_for(world, "u", "content-based")["b"]


def test_a_track_heard_before_says_how_often_and_when_last():
    world = scene(play("u", "a", 3), play("u", "a", 1), play("u", "b", 20, 0.9), play("u", "b", 2, 0.05))
    reasons = reasons_in(evidence_of(world), "u", "hybrid", include_heard=True, k=9)
    assert "You played it 2 times, last on 3 October 2024" in reasons["a"]
    assert "You played it once, on 14 September 2024" in reasons["b"]
    assert AS_OF == 20_000 * DAY  # the morning of 4 October 2024


def test_of_a_track_nobody_has_played_that_is_said_too():
    world = scene(play("u", "a"), play("u", "b"))
    world["tracks"] = pa.concat_tables(
        [world["tracks"], tables(tracks=[track("fresh", "Sigur Rós", ["post-rock"], energy=0.5)])["tracks"]]
    )
    reasons = reasons_for(world, "u", "content-based")["fresh"]
    assert reasons[-1] == "New here: nobody has played it yet"
    assert 2 <= len(reasons) <= 3


def soon_after(evidence: Evidence, least: int = 1):
    return Counts.of(heard_lately(evidence.history.events, evidence.interactions.plays), least=least).soon_after


def test_listeners_who_went_on_from_a_track_are_counted():
    went = [play(v, t, ago) for v in "vwxy" for t, ago in (("a", 9), ("new", 8))]
    together = [play("z", "a", 9), play("z", "new", 9)]
    before = [play("s", "new", 9), play("s", "a", 8)]
    evidence = evidence_of(tables(plays=[play("u", "a"), *went, *together, *before]))
    after = soon_after(evidence)
    a, new = evidence.dataset.tracks.numbers(["a", "new"])
    assert (after[a, new], after[new, a]) == (4, 1)
    assert soon_after(evidence, 4).nnz == 1


def test_ten_new_tracks_later_is_soon_and_eleven_is_not():
    evidence = evidence_of(tables(plays=[play("v", f"t{n:02d}", 50 - n) for n in range(13) for _ in range(2)]))
    after = soon_after(evidence)
    assert after[0].toarray().ravel().tolist() == [0, *[1] * 10, 0, 0]


def test_what_moved_a_track_most_is_said_first():
    world = scene(play("u", "a"), play("u", "a", 2), play("u", "b"))
    evidence = evidence_of(world)
    for name, first in (("user_knn", "2 listeners who share"), ("item_knn", "Because you played")):
        recipes = {**evidence.recipes, "collaborative": Recipe({name: 1.0})}
        parts = {field: getattr(evidence, field) for field in evidence.__dataclass_fields__}
        models = dict(evidence.models)
        if name not in models:
            models[name] = MODELS[name](shrink=0.0).fit(evidence.history)
        changed = Evidence(**{**parts, "recipes": recipes, "models": models})
        assert reasons_in(changed, "u", "collaborative")["new"][0].startswith(first)


def first_three(amounts: Mapping[str, list[float]], possible: Mapping[str, list[bool]]) -> list[list[str]]:
    """Of each of two entries the kinds of reasons, best first."""
    value = np.array([amounts.get(kind, [0.0, 0.0]) for kind in KINDS])
    may = np.array([possible.get(kind, [True, True]) for kind in KINDS])
    chosen = np.empty((2, 3), np.int8)
    first_kinds(np.arange(2), value, may, chosen)
    return [[KINDS[kind] for kind in kinds if kind >= 0] for kinds in chosen.tolist()]


def test_what_moved_nothing_comes_after_what_did():
    amounts = {"genre": [0.2, 0.0], "artist": [0.1, -1.0]}
    never = [False, False]
    assert first_three(amounts, {"own": never}) == [["genre", "artist", "neighbors"], ["neighbors", "artist", "track"]]
    assert first_three(amounts, {}) == [["genre", "artist", "own"], ["own", "neighbors", "artist"]]
    assert first_three({**amounts, "own": [3.0, 3.0]}, {})[0] == ["own", "genre", "artist"]
    assert first_three(amounts, dict.fromkeys(KINDS, never)) == [[], []]
    assert first_three(amounts, dict.fromkeys(KINDS, never) | {"soon": [True, False]}) == [["soon"], []]


def test_a_reason_by_popularity_says_how_many_listen():
    plays = [play(f"v{i:04d}", "hit") for i in range(1200)] + [play("v0001", "rare")]
    world = tables(plays=plays, users=[account("new")], tracks=[track("unplayed")])
    assert [listeners_in_words(int(count)) for count in evidence_of(world).listeners] == [
        "Played by 1,200 listeners",
        "Played by one listener",
        "New here: nobody has played it yet",
    ]


def test_reasons_count_plays_before_the_moment_only():
    later = [play("v", "b") | {"played_at": AS_OF + 1} for _ in range(3)]
    world = tables(plays=[play("u", "b"), *later], users=[account("new")])
    assert reasons_for(world, "new", "popular") == {"b": ["Played by one listener"]}
