"""Tracks of each user held out by chance."""

import numpy as np
from worlds import AS_OF, dataset_of, play, said

from features.evaluate.splits import hold_out_random

HOW = {"as_of_ms": AS_OF, "half_life_days": 180.0}


def pairs(matrix):
    return set(zip(*(index.tolist() for index in matrix.nonzero()), strict=True))


def listeners(count=30, tracks=12):
    rng = np.random.default_rng(3)
    plays = [
        play(f"u{user:02d}", f"t{track:02d}", days_ago=5, completion=1.0)
        for user in range(count)
        for track in rng.choice(tracks, 2 + user % 9, replace=False)
        for _ in range(2)
    ]
    return dataset_of(plays=plays, feedback=[said("u09", "t01", "love"), said("u20", "t02", "dislike")])


def test_a_fifth_of_each_users_tracks_is_held_out_and_nothing_of_them_is_learned_from():
    dataset = listeners()
    split = hold_out_random(dataset, **HOW, seed=1)
    whole = hold_out_random(dataset, **HOW, share=1e-9, seed=1)
    held, kept, all_of = pairs(split.relevant), pairs(split.interactions.weights), pairs(whole.interactions.weights)
    assert held | kept == all_of
    assert held & kept == set()
    assert held & pairs(split.interactions.known) == set()
    for user in range(len(dataset.users)):
        count = sum(pair[0] == user for pair in all_of)
        assert sum(pair[0] == user for pair in held) == count // 5
    learned = set(zip(split.dataset.plays.user.tolist(), split.dataset.plays.track.tolist(), strict=True))
    assert held & learned == set()


def test_the_seed_decides_and_nothing_else_does():
    dataset = listeners()
    first, again, other = (pairs(hold_out_random(dataset, **HOW, seed=seed).relevant) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_time_does_not_matter():
    rows = [("u", f"t{number}") for number in range(20)]
    early = dataset_of(plays=[play(*row, days_ago=number + 1) for number, row in enumerate(rows)])
    late = dataset_of(plays=[play(*row, days_ago=40 - number) for number, row in enumerate(rows)])
    assert pairs(hold_out_random(early, **HOW, seed=4).relevant) == pairs(hold_out_random(late, **HOW, seed=4).relevant)


def test_what_is_disliked_is_not_held_out_and_stays_known():
    dataset = listeners()
    split = hold_out_random(dataset, **HOW, seed=1)
    disliked = pairs(split.interactions.disliked)
    assert len(disliked) == 1
    assert disliked & pairs(split.relevant) == set()
