"""Ranking on a time split: figures worked out by hand, and what must hold in any world."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from worlds import AS_OF, DAY, account, dataset_of, lists_of, play, random_world, said, shuffled, track

from features.compute.dataset import build_dataset
from features.compute.embeddings import build_embeddings
from features.compute.interactions import build_interactions
from features.evaluate.ranking import (
    RECALL_K,
    ndcg_at_k,
    rank_unheard,
    ranking_metrics,
    recall_at_k,
    split_by_time,
)
from features.parameters import NightlyParameters
from features.recommend.evidence import Evidence

SMALL = NightlyParameters.model_validate({"embeddings": {"dimensions": 6, "content_dimensions": 32}})
TWO_TASTES = NightlyParameters.model_validate({"embeddings": {"dimensions": 2, "content_dimensions": 32}})
"""As many dimensions as there are tastes: with more, a world so small is learned by heart."""
EVERY = {"holdout_days": 7, "half_life_days": 180.0}


def with_evaluation(**changes):
    evaluation = SMALL.evaluation.model_copy(update=changes)
    return SMALL.model_copy(update={"evaluation": evaluation})


def relevant(*rows, tracks=10):
    matrix = np.zeros((len(rows), tracks), bool)
    for number, row in enumerate(rows):
        matrix[number, list(row)] = True
    return sp.csr_matrix(matrix)


def test_a_gain_is_worth_less_the_further_down_it_stands():
    ranked = np.array([[3, 5, 7], [3, 5, 7], [5, 3, 7], [0, 1, 2]])
    made = ndcg_at_k(ranked, relevant({3}, {3, 7}, {3}, {9}), 3)
    ideal = 1 + 1 / math.log2(3)
    assert made.tolist() == pytest.approx([1.0, (1 + 1 / math.log2(4)) / ideal, 1 / math.log2(3), 0.0])


def test_recall_is_of_what_could_be_had():
    ranked = np.array([[3, 5, 7, 9], [3, 5, 7, 9]])
    assert recall_at_k(ranked, relevant({3, 9, 1}, {7}), 4).tolist() == pytest.approx([2 / 3, 1.0])
    assert recall_at_k(ranked, relevant({3, 9, 1}, {7}), 2).tolist() == [0.5, 0.0]


def test_who_took_to_nothing_has_no_figure():
    for metric in (ndcg_at_k, recall_at_k):
        made = metric(np.array([[1, 2], [1, 2]]), relevant({1}, set()), 2)
        assert made[0] == 1.0
        assert np.isnan(made[1])


def test_an_empty_slot_is_no_hit_and_a_short_list_is_measured_as_what_it_is():
    for metric in (ndcg_at_k, recall_at_k):
        assert metric(np.array([[-1, -1]]), relevant({9}), 2).tolist() == [0.0]
        assert metric(np.zeros((1, 0), int), relevant({9}), 2).tolist() == [0.0]
        assert 0 < metric(np.array([[1]]), relevant({1, 2}), 5)[0] < 1


@st.composite
def rankings(draw):
    tracks = draw(st.integers(1, 9))
    ranked = [draw(st.permutations(range(tracks))) for _ in range(draw(st.integers(1, 4)))]
    wanted = [draw(st.sets(st.integers(0, tracks - 1))) for _ in ranked]
    return np.array(ranked), wanted, relevant(*wanted, tracks=tracks), draw(st.integers(1, 12))


@given(rankings())
def test_metrics_equal_their_definitions(case):
    ranked, wanted, matrix, k = case
    ndcg, recall = ndcg_at_k(ranked, matrix, k), recall_at_k(ranked, matrix, k)
    for row, want, gain, share in zip(ranked.tolist(), wanted, ndcg, recall, strict=True):
        if not want:
            assert np.isnan(gain)
            assert np.isnan(share)
            continue
        most = min(len(want), k)
        found = sum(1 / math.log2(place + 2) for place, item in enumerate(row[:k]) if item in want)
        assert gain == pytest.approx(found / sum(1 / math.log2(place + 2) for place in range(most)))
        assert share == pytest.approx(len(want.intersection(row[:k])) / most)


@given(rankings())
def test_wanted_tracks_first_is_the_best_there_is(case):
    ranked, wanted, matrix, k = case
    sorted_rows = np.array([sorted(row, key=lambda t: t not in want) for row, want in zip(ranked, wanted, strict=True)])
    for metric in (ndcg_at_k, recall_at_k):
        best = metric(sorted_rows, matrix, k)
        assert best[~np.isnan(best)] == pytest.approx(1.0)
        assert (np.nan_to_num(metric(ranked, matrix, k)) <= np.nan_to_num(best) + 1e-12).all()


def test_the_split_holds_out_the_last_days_and_asks_for_what_was_new_and_not_skipped():
    data = dataset_of(
        plays=[
            play("u", "old", 8),
            play("u", "old", 2),
            play("u", "new", 7),  # at the cut itself
            play("u", "new", 1),
            play("u", "skipped", 1, 0.05),
            play("u", "unmeasured", 1, None),
            play("u", "liked before", 1),
            play("v", "new", 3),
        ],
        feedback=[said("u", "liked before", "like", 9), said("v", "old", "like", 1)],
    )
    split = split_by_time(data, as_of_ms=AS_OF, **EVERY)
    user, ids = data.users.ids(), data.tracks.ids()
    asked = {(user[row], ids[column]) for row, column in zip(*split.relevant.nonzero(), strict=True)}
    assert asked == {("u", "new"), ("u", "unmeasured"), ("v", "new")}
    assert split.cut_ms == AS_OF - 7 * DAY
    assert (len(split.dataset.plays), len(split.dataset.feedback)) == (1, 1)
    assert [user[number] for number in split.users] == ["u"]  # v had no taste yet


def asked_slowly(world, cut_ms):
    known, taken = set(), set()
    for row in world["plays"].to_pylist():
        pair, at = (row["user_id"], row["track_id"]), row["played_at"].timestamp() * 1000
        if at < cut_ms:
            known.add(pair)
        elif at < AS_OF and (row["completion"] is None or row["completion"] >= 0.15):
            taken.add(pair)
    for row in world["feedback"].to_pylist():
        if row["created_at"].timestamp() * 1000 < cut_ms:
            known.add((row["user_id"], row["track_id"]))
    return taken - known


@pytest.mark.parametrize("seed", range(5))
def test_nothing_from_the_cut_on_is_fitted_on(seed):
    world = random_world(seed, plays=80)
    data, cut_ms = build_dataset(world, as_of_ms=AS_OF), AS_OF - 60 * DAY
    split = split_by_time(data, as_of_ms=AS_OF, holdout_days=60, half_life_days=180.0)
    user, ids = data.users.ids(), data.tracks.ids()
    asked = {(user[row], ids[column]) for row, column in zip(*split.relevant.nonzero(), strict=True)}
    assert asked == asked_slowly(world, cut_ms)
    # as if the world had ended at the cut
    alone = build_dataset(world, as_of_ms=cut_ms)
    assert sorted(split.dataset.plays.played_at) == sorted(alone.plays.played_at)
    assert sorted(split.dataset.feedback.created_at) == sorted(alone.feedback.created_at)
    weights = build_interactions(
        alone.plays, alone.feedback, (len(alone.users), len(alone.tracks)), as_of_ms=cut_ms, half_life_days=180.0
    ).weights
    assert np.sort(split.interactions.weights.data).tolist() == np.sort(weights.data).tolist()


def fitted(world, as_of_ms=AS_OF):
    data = build_dataset(world, as_of_ms=as_of_ms)
    split = split_by_time(data, as_of_ms=as_of_ms, **EVERY)
    made = build_embeddings(split.interactions.weights, data.catalog, **SMALL.embeddings.model_dump())
    nobody = np.zeros((len(data.users), 0), np.int32)
    return Evidence(split.dataset, split.interactions, made, nobody, nobody), split


@pytest.mark.parametrize("seed", range(5))
def test_what_is_measured_are_the_hybrid_lists_themselves(seed):
    evidence, _ = fitted(random_world(seed))
    ranked = rank_unheard(evidence, np.arange(len(evidence.dataset.users)), k=5)
    for entry in lists_of(evidence, k=5):
        if entry.strategy == "hybrid":
            row = ranked[entry.user]
            assert row[row >= 0].tolist() == entry.tracks.tolist()


def two_tastes():
    return [play(f"{kind}-{n}", f"{kind}{m}", 20) for kind in ("rock", "jazz") for n in range(4) for m in range(5)]


def test_a_taste_that_goes_on_is_foreseen():
    plays = two_tastes() + [play("u", f"rock{m}", 20) for m in range(4)] + [play("u", "rock4", 2)]
    found = ranking_metrics(dataset_of(plays=plays), TWO_TASTES, as_of_ms=AS_OF)
    assert found["users"] == 1.0
    assert found["ndcg@100"] == 1.0
    assert found["recall@20"] == 1.0
    assert np.isnan(found["ndcg@100_se"])  # of one


def test_a_mean_has_its_standard_error():
    plays = two_tastes()
    for who, what in (("hit", "rock4"), ("hit too", "rock4"), ("miss", "nobody played this")):
        plays += [play(who, f"rock{m}", 20) for m in range(4)] + [play(who, what, 2)]
    found = ranking_metrics(dataset_of(plays=plays), TWO_TASTES, as_of_ms=AS_OF)
    assert found["users"] == 3.0
    assert found["ndcg@100"] == pytest.approx(2 / 3)
    assert found["ndcg@100_se"] == pytest.approx(1 / 3)  # spread of (1, 1, 0) is the root of a third


@pytest.mark.parametrize(
    "rows",
    [
        {"plays": [play("u", "a", 20), play("u", "b", 9)]},  # nothing in the holdout
        {"plays": [play("u", "a", 3), play("u", "b", 2)]},  # nothing before it
        {"plays": [play("u", "a", 20), play("u", "a", 2)]},  # nothing new
        {"users": [account("u")], "tracks": [track("a")]},  # nothing at all
    ],
)
def test_where_nobody_can_be_measured_the_means_are_undefined(rows):
    found = ranking_metrics(dataset_of(**rows), SMALL, as_of_ms=AS_OF)
    assert found.pop("users") == 0.0
    assert sorted(found) == ["ndcg@100", "ndcg@100_se", "recall@20"]
    assert np.isnan(list(found.values())).all()


def test_no_users_asked_for_are_none_measured():
    assert ranking_metrics(world_of(1), with_evaluation(users=0), as_of_ms=AS_OF)["users"] == 0.0


def world_of(seed):
    return build_dataset(random_world(seed, users=30, tracks=60, plays=900), as_of_ms=AS_OF)


def test_a_sample_is_the_same_each_time_and_another_by_another_seed():
    data = world_of(1)
    drawn = [
        ranking_metrics(data, with_evaluation(users=8, seed=seed, holdout_days=60), as_of_ms=AS_OF)
        for seed in (1, 1, 2)
    ]
    assert {found["users"] for found in drawn} == {8.0}
    assert drawn[0] == drawn[1] != drawn[2]


def test_figures_do_not_depend_on_the_order_of_rows():
    world = random_world(2, users=30, tracks=60, plays=900)
    how = with_evaluation(holdout_days=60)
    one, other = (build_dataset(tables_of, as_of_ms=AS_OF) for tables_of in (world, shuffled(world, 5)))
    assert ranking_metrics(one, how, as_of_ms=AS_OF) == ranking_metrics(other, how, as_of_ms=AS_OF)


def test_small_blocks_measure_the_same_as_one(monkeypatch):
    data, how = world_of(3), with_evaluation(holdout_days=60)
    whole = ranking_metrics(data, how, as_of_ms=AS_OF)
    monkeypatch.setattr("features.evaluate.ranking.BLOCK_CELLS", 150)
    assert ranking_metrics(data, how, as_of_ms=AS_OF) == pytest.approx(whole)
    assert whole["users"] > 10


def test_names_follow_k_and_recall_has_its_twenty_whatever_k_is():
    data = world_of(4)
    short, long = (ranking_metrics(data, with_evaluation(k=k), as_of_ms=AS_OF) for k in (3, 100))
    assert sorted(short) == ["ndcg@3", "ndcg@3_se", "recall@20", "users"]
    assert short["recall@20"] == long["recall@20"] > 0
    assert RECALL_K == 20
