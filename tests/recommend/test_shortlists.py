"""Candidates, where users × tracks are too many: who proposes what, and lists made of that."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, SMALL, account, evidence_of, lists_of, play, random_world, tables, track

from features.evaluate.splits import sample_of
from features.recommend import shortlists
from features.recommend.eligibility import (
    AT_SCALE,
    MODELS_AT_SCALE,
    eligible,
    fit_models,
    is_large,
    sized_for,
    with_proposers,
)
from features.recommend.lists import PLAYS
from features.recommend.models.neighbors import ItemKNN
from features.recommend.models.proximity import ProximityKNN
from features.recommend.shortlists import Shortlists
from features.recommend.strategies import choose
from tests.recommend.models.histories import random_history
from tests.recommend.test_limits_hold import MOMENT, Limits

LARGE = SMALL.model_copy(update={"ranking": SMALL.ranking.model_copy(update={"dense_cells": 0})})
SEEDS = st.integers(0, 10_000)


def best_by(scores: np.ndarray, able: np.ndarray, most: int) -> set[int]:
    able = able & (scores > 0)
    return (
        set(np.lexsort((np.arange(len(scores)), -scores))[: int(able.sum())][:most].tolist()) if able.any() else set()
    )


@pytest.mark.parametrize("include_heard", [False, True])
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_each_source_proposes_its_best_and_nothing_stands_twice(include_heard, seed):
    history = random_history(seed)
    model = ItemKNN().fit(history)
    listeners, known = history.listeners, (history.weights > 0).tocsr()
    known.sort_indices()
    users = np.array([4, 0, 29])
    few = {"BY_NEIGHBORS": 5, "BY_ARTIST": 4, "BY_GENRE": 3, "NEW": 2, "POPULAR": 3, "OWN": 4}
    with pytest.MonkeyPatch.context() as patch:
        for name, most in few.items():
            patch.setattr(shortlists, name, most)
        made = Shortlists.of(history, [model], listeners, known, include_heard=include_heard)
        found = made.tracks_of(users)
    assert found.shape == (3, made.width)
    near, artist = (model.scored_ @ model.similarity_).toarray(), history.catalog.artist
    popular = set(np.lexsort((np.arange(len(listeners)), -listeners))[:3].tolist())
    for row, user in zip(found, users, strict=True):
        tracks = row[row >= 0].tolist()
        assert tracks == sorted(set(tracks))
        assert (row[len(tracks) :] == -1).all()
        heard = known[user].toarray()[0]
        able = np.ones(len(heard), bool) if include_heard else ~heard
        expected = np.where(able, near[user], -1.0)
        assert best_by(expected, able, 5) <= set(tracks)
        assert popular <= set(tracks)
        if include_heard:
            assert best_by(history.values(1.0).toarray()[user], heard, 4) <= set(tracks)
        else:
            assert not set(np.flatnonzero(heard).tolist()) & set(tracks) - popular
        assert set(artist[tracks].tolist()) & set(artist[heard].tolist())


@given(SEEDS, st.booleans())
@settings(max_examples=15, deadline=None)
def test_lists_of_candidates_hold_nothing_that_is_not_allowed_and_nobody_is_left_without(seed, include_heard):
    world = random_world(seed)
    how = LARGE.recommendations.model_copy(update={"include_heard": include_heard})
    evidence = evidence_of(world, parameters=LARGE.model_copy(update={"recommendations": how}))
    assert evidence.shortlists is not None
    limits, ids = Limits(world, MOMENT, include_heard=include_heard), evidence.dataset.tracks.ids()
    lists = lists_of(evidence, k=9, include_heard=include_heard)
    rows = [{"user_id": evidence.dataset.users[e.user], "track_ids": [ids[t] for t in e.tracks]} for e in lists]
    assert limits.check(rows) == []
    everyone = {entry.user for entry in lists_of(evidence_of(world), k=9, include_heard=include_heard)}
    assert {entry.user for entry in lists} == everyone
    for entry in lists:
        assert len(set(entry.tracks.tolist())) == len(entry.tracks) == len(entry.reasons)
        assert (np.diff(entry.scores) <= 0).all()


def test_blends_are_learned_on_candidates_of_models_that_fit_at_any_scale():
    evidence = evidence_of(random_world(5, users=40, tracks=60, plays=1500))
    some = LARGE.model_copy(update={"ranking": LARGE.ranking.model_copy(update={"min_validation_users": 5})})
    recipes = choose(evidence.dataset, some, as_of_ms=AS_OF)
    assert set(recipes["hybrid"].shares) <= AT_SCALE
    assert recipes["hybrid"].ndcg > 0


def with_pairs(most: int):
    return LARGE.model_copy(update={"ranking": LARGE.ranking.model_copy(update={"pair_limit": most})})


def test_tracks_are_compared_by_all_their_listeners_while_pairs_are_few_or_there_is_no_time():
    history = evidence_of(random_world(5)).history
    pairs = int((history.degree**2).sum())
    untimed = replace(history, first_at=np.zeros_like(history.first_at))
    for most, compared in ((pairs, True), (pairs - 1, False)):
        assert ("item_knn" in eligible(history, with_pairs(most), large=True)) is compared
        assert ("item_knn" in with_proposers([], history, with_pairs(most))) is compared
        assert "proximity" in with_proposers([], history, with_pairs(most))
        assert "item_knn" in eligible(history, with_pairs(most))  # where all is scored it stays
        assert "item_knn" in eligible(untimed, with_pairs(most), large=True)
        assert with_proposers([], untimed, with_pairs(most)) == ["item_knn"]


def test_a_sample_is_treated_as_all_listeners_are():
    dataset = evidence_of(random_world(5, users=40, tracks=60, plays=1500)).dataset
    sample = sample_of(dataset, 10, seed=1)
    how = sized_for(sample, dataset, with_pairs(4000)).ranking
    assert how.pair_limit == 4000 * len(sample.users) // len(dataset.users)
    for cells in (0, len(dataset.users) * len(dataset.tracks), len(dataset.users) * len(dataset.tracks) - 1):
        given = SMALL.model_copy(update={"ranking": SMALL.ranking.model_copy(update={"dense_cells": cells})})
        assert is_large(sample, sized_for(sample, dataset, given)) is is_large(dataset, given)


def test_at_scale_models_have_parameters_of_their_own_but_for_those_that_are_told():
    history = evidence_of(random_world(5)).history
    told = SMALL.model_copy(update={"models": {"proximity": {"gap_half_life": 7.0}}})
    usual, large, asked = (
        fit_models(history, ["proximity"], parameters, large=large)["proximity"]
        for parameters, large in ((SMALL, False), (SMALL, True), (told, True))
    )
    of_scale = MODELS_AT_SCALE["proximity"]
    assert (usual.gap_half_life, usual.half_lives) == (ProximityKNN().gap_half_life, ProximityKNN().half_lives)
    assert (large.gap_half_life, large.half_lives) == (of_scale["gap_half_life"], of_scale["half_lives"])
    assert (asked.gap_half_life, asked.half_lives) == (7.0, of_scale["half_lives"])


def test_newcomers_lists_are_those_of_all_tracks_though_few_are_looked_at(monkeypatch):
    rng = np.random.default_rng(3)
    heard = [
        play(f"u{rng.integers(30):02d}", f"t{int(60 * rng.random() ** 2):02d}", float(rng.random())) for _ in range(600)
    ]
    world = tables(
        plays=heard,
        tracks=[track(f"t{n:02d}", f"artist {n % 20}", [f"genre {n % 4}"]) for n in range(60)],
        users=[
            account("new-a", country="DE"),
            account("new-b", favorite_genres=["genre 1"]),
            account("u01", country="DE"),
        ],
        settings=[{"user_id": "new-c", "artists": ["artist 3"]}],
    )
    whole, large = evidence_of(world), evidence_of(world, parameters=LARGE)
    expected = {entry.user: entry.tracks.tolist() for entry in lists_of(whole, k=8) if entry.basis != PLAYS}
    monkeypatch.setattr("features.recommend.lists.MOST_OF_ALL", 12)
    found = {entry.user: entry.tracks.tolist() for entry in lists_of(large, k=8) if entry.basis != PLAYS}
    assert len(found) == 3
    assert found == expected
