"""Ranking on a time split: figures worked out by hand, and what must hold in any world."""

from collections.abc import Mapping

import numpy as np
import pytest
from worlds import AS_OF, SMALL, account, dataset_of, evidence_of, lists_of, play, random_world, shuffled, track

from features.compute.dataset import Dataset, build_dataset
from features.evaluate.ranking import RECALL_K, rank, ranking_metrics
from features.evaluate.splits import Split, split_by_time
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe
from features.recommend.eligibility import eligible
from features.recommend.history import build_history
from features.recommend.strategies import fixed


def with_evaluation(**changes) -> NightlyParameters:
    evaluation = SMALL.evaluation.model_copy(update=changes)
    return SMALL.model_copy(update={"evaluation": evaluation})


def split_of(data: Dataset, parameters: NightlyParameters) -> Split:
    return split_by_time(data, as_of_ms=AS_OF, holdout_days=parameters.evaluation.holdout_days, half_life_days=180.0)


def fixed_for(split: Split, parameters: NightlyParameters) -> dict[str, Recipe]:
    return fixed(eligible(build_history(split.dataset, split.interactions), parameters))


def measured(data: Dataset, parameters: NightlyParameters = SMALL) -> dict[str, float]:
    split = split_of(data, parameters)
    return ranking_metrics(split, fixed_for(split, parameters), parameters)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_measured_are_the_hybrid_lists_themselves(seed):
    evidence = evidence_of(random_world(seed))
    ranked = rank(evidence, "hybrid", np.arange(len(evidence.dataset.users)), SMALL, k=5)
    compared = 0
    for entry in lists_of(evidence, k=5):
        if entry.strategy == "hybrid":
            row = ranked[entry.user]
            assert row[row >= 0].tolist() == entry.tracks.tolist()
            compared += 1
    assert compared >= 3


def two_tastes() -> list[dict]:
    return [play(f"{kind}-{n}", f"{kind}{m}", 20) for kind in ("rock", "jazz") for n in range(4) for m in range(5)]


def test_a_taste_that_goes_on_is_foreseen():
    plays = two_tastes() + [play("u", f"rock{m}", 20) for m in range(4)] + [play("u", "rock4", 2)]
    found = measured(dataset_of(plays=plays))
    assert found["users"] == 1.0
    assert found["ndcg@100"] == 1.0
    assert found["recall@20"] == 1.0
    assert np.isnan(found["ndcg@100_se"])  # of one


def test_a_mean_has_its_standard_error():
    plays = two_tastes()
    for who, what in (("hit", "rock4"), ("hit too", "rock4"), ("miss", "nobody played this")):
        plays += [play(who, f"rock{m}", 20) for m in range(4)] + [play(who, what, 2)]
    found = measured(dataset_of(plays=plays))
    assert found["users"] == 3.0
    assert found["ndcg@100"] == pytest.approx(2 / 3)
    assert found["ndcg@100_se"] == pytest.approx(1 / 3)  # spread of (1, 1, 0) is the root of a third


def test_the_recipe_given_is_the_one_that_ranks():
    plays = two_tastes() + [play("u", f"rock{m}", 20) for m in range(4)] + [play("u", "rock4", 2)]
    plays += [play(f"fan-{n}", "jazz0", 20) for n in range(9)]  # the most popular track that u has not heard
    split = split_of(dataset_of(plays=plays), SMALL)
    by_name: dict[str, Mapping[str, float]] = {
        name: ranking_metrics(split, {"hybrid": Recipe({name: 1.0})}, SMALL) for name in ("popular", "item_knn")
    }
    assert by_name["item_knn"]["ndcg@100"] == 1.0
    assert 0 < by_name["popular"]["ndcg@100"] < 1


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
    found = measured(dataset_of(**rows))
    assert found.pop("users") == 0.0
    assert sorted(found) == ["ndcg@100", "ndcg@100_se", "recall@20"]
    assert np.isnan(list(found.values())).all()


def test_no_users_asked_for_are_none_measured():
    assert measured(world_of(1), with_evaluation(users=0))["users"] == 0.0


def world_of(seed: int) -> Dataset:
    return build_dataset(random_world(seed, users=30, tracks=60, plays=900), as_of_ms=AS_OF)


def test_a_sample_is_the_same_each_time_and_another_by_another_seed():
    data = world_of(1)
    drawn = [measured(data, with_evaluation(users=8, seed=seed, holdout_days=60)) for seed in (1, 1, 2)]
    assert {found["users"] for found in drawn} == {8.0}
    assert drawn[0] == drawn[1] != drawn[2]


def test_figures_do_not_depend_on_the_order_of_rows():
    world = random_world(2, users=30, tracks=60, plays=900)
    how = with_evaluation(holdout_days=60)
    one, other = (build_dataset(tables_of, as_of_ms=AS_OF) for tables_of in (world, shuffled(world, 5)))
    assert measured(one, how) == measured(other, how)


def test_small_blocks_measure_the_same_as_one(monkeypatch):
    data, how = world_of(3), with_evaluation(holdout_days=60)
    whole = measured(data, how)
    monkeypatch.setattr("features.recommend.columns.DENSE_CELLS", 150)
    assert measured(data, how) == pytest.approx(whole)
    assert whole["users"] > 10


def test_names_follow_k_and_recall_has_its_twenty_whatever_k_is():
    data = world_of(4)
    short, long = (measured(data, with_evaluation(k=k)) for k in (3, 100))
    assert sorted(short) == ["ndcg@3", "ndcg@3_se", "recall@20", "users"]
    assert short["recall@20"] == long["recall@20"] > 0
    assert RECALL_K == 20
