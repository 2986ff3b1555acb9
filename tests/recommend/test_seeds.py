"""Seeds are the user's own tracks that moved a list most: found again by taking each out of the history."""

import numpy as np
import pytest
from worlds import evidence_of, lists_of, random_world

from features.recommend.blend import Recipe
from features.recommend.evidence import Evidence
from features.recommend.seeds import MOST_SEEDS, blended, moved, parts, says, seeds

STRATEGIES = ("collaborative", "content-based", "hybrid")


def without(evidence: Evidence, user: int, track: int, tracks: np.ndarray, usable: np.ndarray) -> dict[str, np.ndarray]:
    """By model linear in the history, the standard scores of tracks as they would be, mean and spread as they are."""
    users, found = np.array([user]), {}
    for name in ("ease", "item_knn"):
        model, rows = evidence.models[name], evidence.models[name].scored_
        kept, behind = rows.data.copy(), getattr(model, "listeners_", None)
        if behind is not None:
            model.listeners_ = np.zeros_like(behind)
        whole = model.scores(users)[0].astype(np.float64)
        rows.data[rows.indptr[user] + int(np.flatnonzero(rows[user].indices == track)[0])] = 0.0
        lost = whole - model.scores(users)[0]
        rows.data[:] = kept
        if behind is not None:
            model.listeners_ = behind
        known = usable[0] & (evidence.history.listeners > 0)
        spread = whole[known].std() if known.any() else 0.0
        if spread > 1e-6:  # where all is equal there is no scale
            found[name] = lost[tracks] / spread
    return found


@pytest.mark.parametrize("seed", range(5))
def test_what_moves_a_score_is_what_it_loses_without_the_track(seed):
    evidence = evidence_of(random_world(seed, users=10, tracks=20, plays=150))
    users = np.arange(len(evidence.dataset.users))
    usable = ~evidence.filters.forbidden(users, include_heard=False)
    standard = evidence.standard(STRATEGIES, users, usable)
    moved_something = 0
    for user in users:
        tracks = np.flatnonzero(usable[user])[:6]
        history = evidence.history.weights[user].indices
        of = moved(evidence.models, standard, int(user), int(user), tracks)
        for place, track in enumerate(history):
            for name, expected in without(evidence, int(user), int(track), tracks, usable[user : user + 1]).items():
                np.testing.assert_allclose(of.amounts[name][place], expected, rtol=5e-3, atol=2e-3)
                moved_something += bool(np.abs(expected).max(initial=0.0) > 0.1)
    assert moved_something > 20


def test_seeds_are_the_history_by_what_it_added_to_the_list():
    checked = 0
    for seed in range(8):
        evidence = evidence_of(random_world(seed))
        users = np.arange(len(evidence.dataset.users))
        usable = ~evidence.filters.forbidden(users, include_heard=False)
        standard = evidence.standard(STRATEGIES, users, usable)
        for entry in lists_of(evidence, k=6):
            if entry.strategy not in STRATEGIES or not evidence.history.degree[entry.user]:
                assert entry.seeds == []
                continue
            recipe = evidence.recipes[entry.strategy]
            history = evidence.history.weights[entry.user].indices
            say = says(recipe, len(history))
            if any(standard[name].spread[entry.user] == 0 for name in say):
                assert set(entry.seeds) <= set(history.tolist())
                continue
            amount = np.zeros(len(history))
            for name, share in say.items():
                spread = standard[name].spread[entry.user]
                amount += share * evidence.models[name].influence(entry.user, entry.tracks) / spread
            by_track = dict(zip(history.tolist(), amount.tolist(), strict=True))
            assert len(set(entry.seeds)) == len(entry.seeds) == min(MOST_SEEDS, int((amount > 1e-9).sum()))
            assert all(by_track[track] > 0 for track in entry.seeds)
            given = [by_track[track] for track in entry.seeds]
            assert given == pytest.approx(sorted(amount.tolist(), reverse=True)[: len(given)], rel=1e-3)
            checked += len(given)
    assert checked > 50


def test_parts_make_up_the_blended_score():
    evidence = evidence_of(random_world(2))
    users = np.arange(len(evidence.dataset.users))
    usable = ~evidence.filters.forbidden(users, include_heard=False)
    standard = evidence.standard(STRATEGIES, users, usable)
    scores = evidence.blended(STRATEGIES, users, standard)
    for user in users:
        tracks = np.flatnonzero(usable[user])
        of = moved(evidence.models, standard, int(user), int(user), tracks)
        for strategy in STRATEGIES:
            total = sum(parts(evidence.recipes[strategy], int(evidence.history.degree[user]), of).values())
            known = np.isfinite(scores[strategy][user, tracks])
            np.testing.assert_allclose(total[known], scores[strategy][user, tracks][known], atol=1e-12)


def test_a_model_that_finds_little_in_the_history_has_little_of_a_say():
    recipe = Recipe({"one": 0.5, "other": 0.5})
    evidence = evidence_of(random_world(1))
    user = int(np.argmax(evidence.history.degree))
    users = np.array([user])
    usable = ~evidence.filters.forbidden(users, include_heard=False)
    standard = evidence.standard(["hybrid"], users, usable)
    tracks = np.flatnonzero(usable[0])
    of = moved(evidence.models, standard, 0, user, tracks)
    wider = {name: type(kind)(kind.scores, kind.spread * 10) for name, kind in standard.items()}
    less = moved(evidence.models, wider, 0, user, tracks)
    for name, amounts in of.amounts.items():
        np.testing.assert_allclose(less.amounts[name], amounts / 10)
    assert says(recipe, 3) == {"one": 0.5, "other": 0.5}


def test_a_track_that_took_from_the_list_is_no_seed():
    history = np.array([4, 9, 11, 30], np.int32)
    assert seeds(history, np.array([-1.0, 2.0, 0.0, 3.0])) == [30, 9]
    assert seeds(np.arange(9, dtype=np.int32), np.ones(9)) == [0, 1, 2, 3, 4]
    assert seeds(history[:0], np.zeros(0)) == []


def test_nothing_is_blended_of_models_that_are_not_asked():
    evidence = evidence_of(random_world(1))
    users = np.arange(1)
    standard = evidence.standard(["hybrid"], users, ~evidence.filters.forbidden(users, include_heard=False))
    of = moved(evidence.models, standard, 0, 0, np.array([1, 2]))
    assert not blended(of, {}, ["ease"], np.array([0, 1])).any()
