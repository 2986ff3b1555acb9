"""Seeds are the user's own tracks that moved a list most: found again by asking each model the plain way."""

from collections.abc import Mapping

import numpy as np
import pytest
from worlds import evidence_of, lists_of, random_world

from features.recommend.blend import Recipe, blends
from features.recommend.content_kernels import content_influence, content_parts, content_strongest
from features.recommend.evidence import Evidence
from features.recommend.fact_kernels import most_of_each
from features.recommend.listed import Listed
from features.recommend.reasons import KIND_OF
from features.recommend.seeds import MOST_SEEDS, Movers, Parts

STRATEGIES = ("collaborative", "content-based", "hybrid")


def listed_in(evidence: Evidence, *, k: int = 6, include_heard: bool = False) -> tuple[Listed, Parts]:
    """Lists of everybody by plain scores, and what models gave to them."""
    users = np.arange(len(evidence.dataset.users))
    usable = ~evidence.filters.forbidden(users, include_heard=include_heard)
    standard = evidence.standard(STRATEGIES, users, usable)
    blended = evidence.blended(STRATEGIES, users, standard)
    lists = {}
    for strategy, scores in blended.items():
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
        lists[strategy] = np.where(np.isfinite(np.take_along_axis(scores, best, axis=1)), best, -1).astype(np.int32)
    listed = Listed.of(users, lists, len(evidence.dataset.tracks))
    scores = {name: of.scores[listed.row, listed.track] for name, of in standard.items()}
    spread = {name: of.spread for name, of in standard.items()}
    return listed, Parts.of(listed, evidence.recipes, evidence.history.degree, scores, spread)


@pytest.mark.parametrize("include_heard", [False, True])
def test_the_strongest_track_is_the_most_of_what_the_deciding_model_says(include_heard):
    named = 0
    for seed in range(4):
        evidence = evidence_of(random_world(seed, users=10, tracks=20, plays=150))
        listed, parts = listed_in(evidence, include_heard=include_heard)
        names = [name for name in parts.part if KIND_OF.get(name, "track") == "track"]
        found = Movers(evidence.models, evidence.history.weights, parts).strongest(names, np.arange(len(listed.pair)))
        for entry, pair in enumerate(listed.pair):
            user, track = int(listed.users[listed.row[pair]]), listed.track[pair : pair + 1]
            history = evidence.history.weights[user].indices
            expected = -1
            for name in sorted(names, key=lambda name: -parts.part[name][entry]):
                given = evidence.models[name].influences(user, track)[:, 0] * (history != track)
                if parts.say[name][entry] > 0 and given.max(initial=0.0) > 0:
                    expected = int(history[np.argmax(given)])
                    break
            assert found[entry] == expected
            named += expected >= 0
    assert named > 300


def plain_seeds(evidence: Evidence, listed: Listed, parts: Parts, entries: np.ndarray) -> Mapping[int, float]:
    """What each track of a history added to one list: of each entry by the model that gave it most."""
    user = int(listed.users[listed.row[listed.pair[entries[0]]]])
    history = evidence.history.weights[user].indices.tolist()
    by_track = [name for name in parts.part if KIND_OF.get(name, "track") == "track" and parts.say[name][entries].any()]
    added = np.zeros(len(history))
    for entry in entries:
        able = [name for name in (by_track or ["content"]) if parts.say[name][entry] > 0]
        if able:
            name = max(able, key=lambda name: parts.part[name][entry])
            track = listed.track[listed.pair[entry] : listed.pair[entry] + 1]
            spread = parts.spread[name][listed.row[listed.pair[entry]]]
            added += parts.say[name][entry] / spread * evidence.models[name].influence(user, track)
    return dict(zip(history, added.tolist(), strict=True))


def test_seeds_are_the_history_by_what_it_added_to_the_list():
    checked = 0
    for seed in range(8):
        evidence = evidence_of(random_world(seed, users=8, tracks=20, plays=100))
        listed, parts = listed_in(evidence)
        movers = Movers(evidence.models, evidence.history.weights, parts)
        by_track = [name for name in parts.part if KIND_OF.get(name, "track") == "track"]
        movers.strongest(by_track, np.arange(len(listed.pair)), summed=True)
        seeds = movers.seeds(["content"])
        for number in range(len(listed.strategies)):
            for row in range(len(listed.users)):
                entries = np.arange(*listed.bounds[number, row : row + 2])
                if not len(entries) or any(parts.spread[name][row] == 0 for name in parts.spread):
                    continue
                added = plain_seeds(evidence, listed, parts, entries)
                found = [track for track in seeds[row, number].tolist() if track >= 0]
                assert len(set(found)) == len(found) <= MOST_SEEDS
                # what no model by tracks moved may have seeds by content
                if any(added.values()):
                    best = sorted(added.values(), reverse=True)[: len(found)]
                    assert [added[track] for track in found] == pytest.approx(best, rel=1e-4)
                    assert all(added[track] > 0 for track in found)
                    checked += len(found)
    assert checked > 150


def test_seeds_of_lists_are_the_listeners_own():
    for seed in range(4):
        evidence = evidence_of(random_world(seed))
        for entry in lists_of(evidence, k=6):
            history = evidence.history.weights[entry.user].indices.tolist()
            assert set(entry.seeds) <= set(history)
            assert len(set(entry.seeds)) == len(entry.seeds) <= MOST_SEEDS
            assert entry.seeds or entry.strategy not in STRATEGIES or not history


def test_parts_make_up_the_blended_score():
    evidence = evidence_of(random_world(2))
    listed, parts = listed_in(evidence)
    users = np.arange(len(evidence.dataset.users))
    scores = evidence.scores(STRATEGIES, users, ~evidence.filters.forbidden(users, include_heard=False))
    for number, strategy in enumerate(STRATEGIES):
        entries = listed.entries(number)
        pair = listed.pair[entries]
        total = sum(part[entries] for part in parts.part.values())
        np.testing.assert_allclose(total, scores[strategy][listed.row[pair], listed.track[pair]], atol=1e-12)


def test_blends_are_those_of_the_recipe():
    recipe = Recipe({"one": 0.5, "other": -0.2}, {"one": 0.3}, 4.0, {"other": 0.7}, {"content": 0.1, "other": 0.2})
    degree = np.array([0, 1, 9, 400])
    for place, tracks in enumerate(degree.tolist()):
        at = recipe.at(tracks)
        standard = np.array([-9.0, -2.0, 0.0, 3.0, -np.inf])
        known = np.array([-5.0, -2.0, 0.0, 3.0, 0.0])
        for name, blend in blends(recipe, degree).items():
            assert blend.say[place] == pytest.approx(at.say(name))
            owner = np.full(len(standard), place)
            np.testing.assert_allclose(blend.part(standard, owner), at.part(name, known), atol=1e-15)


def test_content_at_once_says_what_the_model_says():
    for smoothed in (True, False):
        evidence = evidence_of(random_world(3, users=10, tracks=20, plays=150))
        listed, _ = listed_in(evidence)
        model = evidence.models["content"]
        if not smoothed:
            model.smoothing_ = None
        parts = content_parts(model, listed)
        history = evidence.history.weights
        users = listed.users[listed.row]
        strongest = content_strongest(model, users, listed.track)
        influence = content_influence(model, listed.users, listed.begin, listed.track, history.indptr.astype(np.int64))
        for row, user in enumerate(listed.users.tolist()):
            pairs = slice(int(listed.begin[row]), int(listed.begin[row + 1]))
            tracks, own = listed.track[pairs], history[user].indices
            for kind, expected in model.parts(user, tracks).items():
                np.testing.assert_allclose(parts[kind][pairs], expected, rtol=1e-4, atol=1e-6)
            whole = influence[history.indptr[user] : history.indptr[user + 1]]
            np.testing.assert_allclose(whole, model.influence(user, tracks), rtol=1e-4, atol=1e-6)
            given = model.influences(user, tracks) * (own[:, None] != tracks[None, :])
            for column, found in enumerate(strongest[pairs].tolist()):
                best = given[:, column].max(initial=0.0)
                assert (found < 0) == (best <= 0)
                assert found < 0 or given[own == found, column][0] == pytest.approx(best, rel=1e-4)


def test_a_track_that_took_from_the_list_is_no_seed():
    history = np.array([4, 9, 11, 30, 2, 3, 5, 6, 7, 8])
    amounts = np.array([[-1.0, 2.0, 0.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]).T
    chosen = np.empty((3, 1, 5), np.int64)
    most_of_each(np.array([0, 4, 4, 10]), history, amounts, chosen)
    assert chosen[:, 0].tolist() == [[30, 9, -1, -1, -1], [-1] * 5, [2, 3, 5, 6, 7]]
