"""Every reason is read back from its words and looked up again in the rows, by slow and obvious code."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, evidence_of, lists_of, play, random_world, rows_before, said, tables, track

from features.recommend.reasons import Explainer
from features.recommend.evidence import Evidence
from features.schema.names import AUDIO_NAMES

WORDS = {"mood": "valence"}
SCALES = {"tempo": (0, 250), "loudness": (-60, 60)}


class Witness:
    """Knows the rows of a world and can say whether a reason for a user and a track is true."""

    def __init__(self, world: Mapping[str, pa.Table], evidence: Evidence) -> None:
        self.evidence = evidence
        self.catalog = evidence.dataset.catalog
        self.ids = evidence.dataset.tracks.ids()
        self.heard: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows_before(world, "plays"):
            self.heard[row["user_id"]][row["track_id"]] += 1
        self.feedback = rows_before(world, "feedback")
        self.labels = {self.label(number): track_id for number, track_id in enumerate(self.ids)}
        assert len(self.labels) == len(self.ids)
        self.sayings: dict[str, Callable[..., bool]] = {
            r"(\d+) of the (\d+) listeners closest to you plays? it": self.neighbours_play_it,
            r"The listener closest to you plays it": lambda u, t: self.neighbours_play_it(u, t, "1", "1"),
            r"By (.+), whom you have played (\d+) times": self.artist_was_played,
            r"(.+) is (\d+)% of what you play": self.genre_is_played,
            r"Close in (.+) to what you usually play": self.sounds_as_usual,
            r"Close to (.+), which you (.+)": lambda u, t, *rest: self.is_near(u, t, *rest, least=0.5),
            r"Of your music, nearest to (.+), which you (.+)": lambda u, t, *rest: self.is_near(u, t, *rest, most=0.5),
            r"Played by ([\d,]+) listeners": self.listeners_are,
            r"Played by one listener": lambda u, t: self.listeners_are(u, t, "1"),
            r"Nobody has played it yet": lambda u, t: self.listeners_are(u, t, "0"),
        }

    def confirms(self, user: str, track_id: str, reason: str) -> bool:
        found = [(check, match) for saying, check in self.sayings.items() if (match := re.fullmatch(saying, reason))]
        assert len(found) == 1, f"{len(found)} readings of {reason!r}"
        check, match = found[0]
        return check(user, track_id, *match.groups())

    def label(self, number: int) -> str:
        name, artists = self.catalog.names[number], self.catalog.artists[number]
        if name is None:
            return f"track {self.ids[number]}"
        return f"“{name}” by {artists[0]}" if artists else f"“{name}”"

    def neighbours_play_it(self, user: str, track_id: str, count: str, of: str) -> bool:
        mine, shares = set(self.heard[user]), []
        for other in self.evidence.dataset.users.ids():
            theirs = set(self.heard[other])
            if other != user and len(mine & theirs) >= 2:
                shares.append((-len(mine & theirs) / len(mine | theirs), other))
        closest = [other for _, other in sorted(shares)[:3]]
        return len(closest) == int(of) and sum(track_id in self.heard[other] for other in closest) == int(count) > 0

    def artist_of(self, track_id: str) -> str | None:
        artists = self.catalog.artists[self.ids.index(track_id)]
        return artists[0] if artists else None

    def artist_was_played(self, user: str, track_id: str, artist: str, times: str) -> bool:
        plays = sum(n for heard, n in self.heard[user].items() if self.artist_of(heard) == artist)
        return self.artist_of(track_id) == artist and plays == int(times) >= 2

    def genres_of(self, track_id: str) -> set[str]:
        row = self.catalog.genres[self.ids.index(track_id)]
        return {self.catalog.genre_names[int(genre)] for genre in row.indices}

    def genre_is_played(self, user: str, track_id: str, genre: str, percent: str) -> bool:
        total = sum(self.heard[user].values())
        of_genre = sum(n for heard, n in self.heard[user].items() if genre.lower() in self.genres_of(heard))
        return (
            genre.lower() in self.genres_of(track_id)
            and f"{of_genre / total:.0%}" == f"{percent}%"
            and of_genre >= total / 10
        )

    def feature(self, track_id: str, name: str) -> float:
        low, width = SCALES.get(name, (0, 1))
        return (self.catalog.audio[self.ids.index(track_id), AUDIO_NAMES.index(name)] - low) / width

    def sounds_as_usual(self, user: str, track_id: str, words: str) -> bool:
        for word in words.split(" and "):
            name = WORDS.get(word, word)
            plays = [self.feature(heard, name) for heard, n in self.heard[user].items() for _ in range(n)]
            usual = np.mean([value for value in plays if not np.isnan(value)])
            if not abs(self.feature(track_id, name) - usual) <= 0.05 + 1e-9:
                return False
        return True

    def is_near(self, user: str, track_id: str, label: str, what: str, least: float = 0.0, most: float = 1.0) -> bool:
        seed = self.labels[label]
        vectors = dict(zip(self.ids, self.evidence.embeddings.vectors.astype(np.float64), strict=True))
        number = self.evidence.dataset.users.ids().index(user)
        mine = [self.ids[t] for t in self.evidence.interactions.weights[number].indices if self.ids[t] != track_id]
        closeness = {other: vectors[track_id] @ vectors[other] for other in mine}
        nearest = closeness[seed] >= max(closeness.values()) - 1e-6
        times = self.heard[user][seed]
        done = {"played once": times == 1, f"played {times} times": times > 1}
        if what == "liked, saved or replayed":
            kinds = {r["signal"] for r in self.feedback if (r["user_id"], r["track_id"]) == (user, seed)}
            done[what] = times == 0 and bool(kinds & {"love", "like", "save", "replay"})
        return nearest and max(least, 1e-9) - 1e-6 <= closeness[seed] <= most + 1e-6 and done.get(what, False)

    def listeners_are(self, _user: str, track_id: str, count: str) -> bool:
        return sum(track_id in heard for heard in self.heard.values()) == int(count.replace(",", ""))


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_reason_is_true(seed, include_heard):
    world = random_world(seed)
    evidence = evidence_of(world)
    witness = Witness(world, evidence)
    for entry in lists_of(evidence, k=9, include_heard=include_heard):
        user = evidence.dataset.users[entry.user]
        for number, reasons in zip(entry.tracks, entry.reasons, strict=True):
            assert 1 <= len(reasons) <= 3
            assert len(set(reasons)) == len(reasons)
            for reason in reasons:
                assert witness.confirms(user, witness.ids[number], reason), (user, witness.ids[number], reason)


def test_every_kind_of_reason_is_given_in_some_world():
    given_reasons = [
        reason
        for seed in range(12)
        for entry in lists_of(evidence_of(random_world(seed)), k=9)
        for reasons in entry.reasons
        for reason in reasons
    ]
    kinds = ("listeners closest", "By Artist", "of what you play", "Close in", "Close to", "Of your music", "Played by")
    assert [kind for kind in kinds if not any(kind in reason for reason in given_reasons)] == []


def reasons_for(world: Mapping[str, pa.Table], user: str, strategy: str, min_common: int = 2) -> dict[str, list[str]]:
    evidence = evidence_of(world, min_common=min_common)
    number = int(evidence.dataset.users.numbers([user])[0])
    entry = next(e for e in lists_of(evidence) if (e.user, e.strategy) == (number, strategy))
    return {evidence.dataset.tracks[int(t)]: reasons for t, reasons in zip(entry.tracks, entry.reasons, strict=True)}


def test_reasons_by_hand():
    world = tables(
        plays=[
            play("u", "a"),
            play("u", "a", 2),
            play("u", "b"),
            *[play(v, t) for v in "vw" for t in ("a", "b", "new")],
        ],
        tracks=[track(t, "Sigur Rós" if t != "b" else "Else", ["post-rock"], energy=0.5) for t in ("a", "b", "new")],
    )
    assert reasons_for(world, "u", "content-based")["new"] == [
        "By Sigur Rós, whom you have played 2 times",
        "Post-rock is 100% of what you play",
        "Close in energy to what you usually play",
    ]
    assert reasons_for(world, "u", "hybrid")["new"] == [
        "2 of the 2 listeners closest to you play it",
        "By Sigur Rós, whom you have played 2 times",
        "Close to “Song a” by Sigur Rós, which you played 2 times",
    ]


def test_one_closest_listener_is_not_one_of_the_one():
    world = tables(plays=[play(v, t) for v, ts in {"u": "ab", "v": "abc"}.items() for t in ts], tracks=[track("c")])
    world["tracks"] = tables(tracks=[track(t, "A") for t in "abc"])["tracks"]
    assert "The listener closest to you plays it" in reasons_for(world, "u", "hybrid")["c"]


def test_who_played_nothing_is_not_told_what_they_play():
    world = tables(
        plays=[play("v", "b")],
        feedback=[said("u", "a", "save")],
        tracks=[track(t, "A", ["rock"], energy=0.5) for t in ("a", "b", "c")],
    )
    for reasons in reasons_for(world, "u", "content-based").values():
        assert reasons == ["Close to “Song a” by A, which you liked, saved or replayed"]


@pytest.mark.parametrize("name", ["", None])
def test_a_track_without_a_name_is_called_by_its_id(name):
    world = tables(
        plays=[play("u", "a"), play("v", "b")],
        tracks=[track("a", "A", ["rock"]) | {"name": name}, track("b", "A", ["rock"])],
    )
    assert "Close to track a, which you played once" in reasons_for(world, "u", "content-based")["b"]


def test_the_popular_list_says_how_many_listen():
    plays = [play(f"v{i:04d}", "hit") for i in range(1200)] + [play("v0001", "rare")]
    world = tables(plays=plays, users=[{"user_id": "new"}], tracks=[track("unplayed")])
    explainer = Explainer(evidence_of(world))
    assert explainer.reasons("popular", explainer.taste(0), np.array([0, 1, 2])) == [
        ["Played by 1,200 listeners"],
        ["Played by one listener"],
        ["Nobody has played it yet"],
    ]


def test_reasons_count_plays_before_the_moment_only():
    later = [play("v", "b") | {"played_at": AS_OF + 1} for _ in range(3)]
    world = tables(plays=[play("u", "b"), *later], users=[{"user_id": "new"}])
    assert reasons_for(world, "new", "popular") == {"b": ["Played by one listener"]}
