"""Scorecards: counted by hand, put together of parts, as rows for a person."""

import numpy as np
import pytest
from handmade import FIRST, SECOND, World, play, said

from features.attribution.join import Answers
from features.attribution.scorecard import MEASURES, rank_rows, score, strategy_rows, to_document
from features.schema import names
from features.schema.names import SERVING_ORDER

HYBRID, COLLABORATIVE = SERVING_ORDER.index("hybrid"), SERVING_ORDER.index("collaborative")


def answers_of(*rows: tuple[int, int, int, str]) -> Answers:
    """Rows of user, place, rank and what became of the track: letters of p(layed), l(iked), s(kipped), d(isliked).

    Capital letters are explicit.
    """
    rows_ = sorted(rows)
    says = [entry[3] for entry in rows_]

    def has(letter: str) -> np.ndarray:
        return np.array([letter in text.lower() for text in says], bool)

    def by_name(*letters: str) -> np.ndarray:
        return np.array([any(letter in text for letter in letters) for text in says], bool)

    numbers = np.array([entry[:3] for entry in rows_], np.int32).reshape(-1, 3)
    explicit = np.array([text != text.lower() for text in says], np.int64)
    return Answers(
        release=np.zeros(len(rows), np.int16),
        user=numbers[:, 0],
        place=numbers[:, 1].astype(np.int8),
        track=numbers[:, 2],
        rank=numbers[:, 2],
        played=has("p"),
        liked=has("l"),
        skipped=has("s") | has("d"),
        disliked=has("d"),
        explicit_play=by_name("P"),
        explicit_like=by_name("L"),
        explicit_skip=by_name("S", "D"),
        responses=np.stack([explicit, 1 - explicit], axis=1),
    )


def lengths(**counted: dict[int, int]) -> list[dict[int, int]]:
    return [counted.get(name.replace("-", "_"), {}) for name in SERVING_ORDER]


def test_a_scorecard_counts_lists_and_what_became_of_their_tracks_by_strategy_and_rank():
    found = answers_of(
        (0, HYBRID, 1, "P"), (0, HYBRID, 3, "ps"), (1, HYBRID, 1, "d"), (2, COLLABORATIVE, 2, "Ls"), (3, HYBRID, 2, "l")
    )
    document = to_document(score(lengths(hybrid={3: 2, 2: 2}, collaborative={2: 1}, popular={1: 7}), found))
    collaborative, hybrid, popular = document["strategies"]
    assert hybrid["strategy"] == "hybrid"
    assert (hybrid["lists"], hybrid["answeredLists"], hybrid["tracks"]) == (4, 3, 10)
    assert hybrid["played"] == {"explicit": 1, "inferred": 1}
    assert hybrid["liked"] == {"explicit": 0, "inferred": 1}
    assert hybrid["skipped"] == {"explicit": 0, "inferred": 2}
    assert hybrid["accepted"] == {"explicit": 1, "inferred": 2}
    assert hybrid["answered"] == {"explicit": 1, "inferred": 3}
    assert hybrid["acceptance"] == 0.75
    assert hybrid["rating"] == (4 + 3 + 1 + 5) / 4
    assert hybrid["ranks"] == {
        "lists": [4, 4, 2],
        "played": {"explicit": [1, 0, 0], "inferred": [0, 0, 1]},
        "liked": {"explicit": [0, 0, 0], "inferred": [0, 1, 0]},
        "skipped": {"explicit": [0, 0, 0], "inferred": [1, 0, 1]},
        "accepted": {"explicit": [1, 0, 0], "inferred": [0, 1, 1]},
        "answered": {"explicit": [1, 0, 0], "inferred": [1, 1, 1]},
    }
    assert (collaborative["liked"], collaborative["skipped"]) == (
        {"explicit": 1, "inferred": 0},
        {"explicit": 0, "inferred": 1},
    )
    assert (popular["lists"], popular["acceptance"], popular["rating"]) == (7, None, None)


def test_a_scorecard_of_parts_of_the_users_is_that_of_all():
    rows = [(0, HYBRID, 1, "P"), (1, HYBRID, 2, "ls"), (2, COLLABORATIVE, 3, "d")]
    whole = score(lengths(hybrid={2: 2}, collaborative={3: 1}), answers_of(*rows))
    parts = [
        score(lengths(hybrid={2: 1}), answers_of(rows[0])),
        score(lengths(), answers_of()),
        score(lengths(hybrid={2: 1}, collaborative={3: 1}), answers_of(*rows[1:])),
    ]
    assert to_document(parts[0] + parts[1] + parts[2]) == to_document(whole)
    assert to_document(parts[1]) == {"strategies": []}


def test_rows_for_a_person_say_what_is_inferred_and_put_ranks_into_bands():
    found = answers_of(*((user, HYBRID, 1 + user, "P" if user % 2 else "l") for user in range(12)))
    document = to_document(score(lengths(hybrid={12: 12}), found))
    (row,) = strategy_rows(document)
    assert (row["played"], row["liked"], row["skipped"]) == ("6", "6 (6 inferred)", "0")
    assert (row["answered"], row["acceptance"], row["rating"]) == (12, 1.0, 4.5)
    bands = rank_rows(document)
    assert [(band["rank"], band["tracks"], band["played"], band["liked"]) for band in bands] == [
        ("1", 12, 0, 1),
        ("2–3", 24, 1, 1),
        ("4–10", 84, 4, 3),
        ("11–12", 24, 1, 1),
    ]
    assert rank_rows({"strategies": []}) == []


# --- of a database


def test_the_scorecard_is_kept_with_the_release_and_agrees_with_the_lists(world: World):
    world.db[names.LISTENING_HISTORY].insert_many(
        [
            play("t1", named=world.id_of()),
            play("t3"),
            play("t2", completionRate=0.1),
            play("t5"),
            play("t1", user="bob"),
        ]
    )
    world.db[names.USER_FEEDBACK].insert_one(said("t1", "love"))
    world.attribute()
    card = world.scorecard()
    for strategy, entry in card.items():
        theirs = [found for key, found in world.answered().items() if key[2] == strategy]
        for measure, field in (("played", "tracksPlayed"), ("liked", "tracksLiked"), ("skipped", "tracksSkipped")):
            assert sum(entry[measure].values()) == sum(len(found[field]) for found in theirs)
        assert entry["answeredLists"] == len(theirs)
        for measure in MEASURES:
            by_rank = entry["ranks"][measure]
            assert {how: sum(counts) for how, counts in by_rank.items()} == entry[measure]
    assert card["hybrid"]["played"] == {"explicit": 1, "inferred": 1}
    assert card["hybrid"]["ranks"]["played"] == {"explicit": [1, 0, 0, 0], "inferred": [0, 0, 1, 0]}
    assert card["hybrid"]["acceptance"] == pytest.approx(2 / 3)
    assert [(name, card[name]["lists"]) for name in sorted(card)] == [
        ("collaborative", 1),
        ("content-based", 1),
        ("hybrid", 1),
    ]


def test_a_scorecard_stays_when_the_lists_are_gone(world: World):
    world.db[names.LISTENING_HISTORY].insert_one(play("t1", 30))
    world.attribute()
    card = world.scorecard()
    assert card["hybrid"]["played"] == {"explicit": 0, "inferred": 1}
    world.publish(SECOND, {("ann", "hybrid"): ["t1"]}, built=24, live=23)
    world.note(FIRST, {"$set": {"expired": True}})
    world.db[names.RECOMMENDATIONS].delete_many({"release": FIRST})
    world.attribute()
    assert world.scorecard() == card
