"""The search for parameters: what it finds, what it looks at, and that it is fair."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from worlds import AS_OF, DAY, SMALL, random_world

from features.compute.dataset import build_dataset
from features.evaluate import tuning as module
from features.evaluate.splits import split_by_time
from features.evaluate.tuning import tune
from features.parameters import NightlyParameters
from features.recommend.models import MODELS
from features.recommend.models.contract import Range
from features.recommend.models.popular import Popular

FEW = NightlyParameters.model_validate({"ranking": {"closed_form_limit": 0}})
"""Leaves the quick models."""


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1, "blas"):  # as the command does; many for small matrices wait for each other
        yield


@pytest.fixture(scope="module")
def dataset():
    return build_dataset(random_world(4, users=40, tracks=50, plays=1500), as_of_ms=AS_OF)


def search(dataset, parameters=FEW, *, trials=5, seed=1, start=None, spent=None):
    return tune(
        dataset,
        parameters,
        as_of_ms=AS_OF,
        seed=seed,
        spent=spent or (lambda rounds: rounds / trials),
        start=start or {},
        tell=lambda _what, _done, _total: None,
    )


def by_name(found):
    return {tuned.model: tuned for tuned in found.models}


def test_a_bad_beginning_is_beaten_and_what_is_found_is_what_it_is_worth(dataset):
    bad = FEW.model_copy(update={"models": {"item_knn": {"neighbors": 1, "power": 5.0}}})
    tuned = by_name(search(dataset, bad, trials=8))["item_knn"]
    assert tuned.after > tuned.before
    assert set(tuned.setting) == set(MODELS["item_knn"].space)
    found = FEW.model_copy(update={"models": {"item_knn": dict(tuned.setting)}})
    assert by_name(search(dataset, found, trials=1))["item_knn"].before == tuned.after


def test_what_it_begins_with_stays_unless_it_is_beaten(dataset):
    found = search(dataset, trials=1)
    assert found.winners == {}
    assert {(tuned.trials, tuned.before - tuned.after) for tuned in found.models} == {(1, 0.0)}
    longer = search(dataset, trials=6)
    for tuned in longer.models:
        assert tuned.after >= tuned.before
        assert (tuned.setting is None) == (tuned.after == tuned.before)
    assert longer.winners


def test_settings_stay_in_the_search_space_and_whole_numbers_whole(dataset):
    for name, setting in search(dataset, trials=6).winners.items():
        for parameter, value in setting.items():
            span = MODELS[name].space[parameter]
            assert value in span.also or span.low <= value <= span.high
            assert isinstance(value, int) or not span.whole or value == int(value)


def test_a_seed_finds_the_same_again_and_another_seed_something_else(dataset):
    assert search(dataset, seed=3) == search(dataset, seed=3)
    assert search(dataset, seed=3).winners != search(dataset, seed=4).winners


def test_another_model_more_changes_nobodys_draws(dataset):
    more = FEW.model_copy(update={"recommendations": FEW.recommendations})
    few, all_of = by_name(search(dataset, more)), by_name(search(dataset, SMALL))
    assert len(few) < len(all_of)
    assert all(all_of[name] == tuned for name, tuned in few.items() if name != "ials")  # which SMALL sets otherwise


def test_what_an_earlier_search_found_is_tried_next_so_nothing_is_lost(dataset):
    first = search(dataset, trials=6, seed=1)
    again = search(dataset, trials=2, seed=2, start=first.winners)
    for name, tuned in by_name(again).items():
        assert tuned.after >= by_name(first)[name].after


def test_models_take_turns_so_that_each_has_had_as_many_trials_when_time_runs_out(dataset):
    asked = []

    def spent(rounds):
        asked.append(rounds)
        return 1.0 if len(asked) > 12 else 0.1

    found = search(dataset, spent=spent)
    counts = [tuned.trials for tuned in found.models]
    assert max(counts) - min(counts) == 1
    assert counts == sorted(counts, reverse=True)
    assert search(dataset, spent=lambda _rounds: 1.0).models == []


def test_a_setting_that_can_not_be_fitted_is_counted_and_never_wins(dataset, monkeypatch):
    @dataclass(eq=False)
    class Fickle(Popular):
        space: ClassVar[Mapping[str, Range]] = {"mood": Range(1.0, 2.0)}
        mood: float = 1.5

        def fit(self, history):
            if self.mood != 1.5:
                raise np.linalg.LinAlgError("singular")
            return super().fit(history)

    monkeypatch.setattr(module, "MODELS", {**MODELS, "item_knn": Fickle})
    tuned = by_name(search(dataset, trials=4))["item_knn"]
    assert (tuned.trials, tuned.failed, tuned.setting) == (4, 3, None)
    assert tuned.after == tuned.before > 0


def test_what_is_played_on_the_held_out_days_is_never_looked_at():
    rows = random_world(5, users=40, tracks=50, plays=1500)
    cut = AS_OF - 30 * DAY
    changed = dict(rows)
    plays = rows["plays"].to_pylist()
    for number, row in enumerate(plays):
        if row["played_at"].timestamp() * 1000 >= cut:
            # by another listener; what a play says of its track stays, for that bears no date
            row |= {"user_id": plays[number - 1]["user_id"], "completion": 1.0}
    changed["plays"] = rows["plays"].from_pylist(plays, schema=rows["plays"].schema)
    made = []
    for world in (rows, changed):
        data = build_dataset(world, as_of_ms=AS_OF)
        split = split_by_time(data, as_of_ms=AS_OF, holdout_days=30, half_life_days=180.0)
        made.append((split, search(split.dataset, trials=4)))
    assert (made[0][0].relevant != made[1][0].relevant).nnz > 0
    assert made[0][1] == made[1][1]


def test_where_nobody_can_be_asked_nothing_is_found():
    thin = build_dataset(
        {
            **random_world(1),
            "plays": random_world(1, plays=1)["plays"],
            "feedback": random_world(1)["feedback"][:0],
        },
        as_of_ms=AS_OF,
    )
    found = search(thin)
    assert (found.users, found.models, found.winners) == (0, [], {})


def test_for_a_file_it_is_plain_values(dataset):
    found = search(dataset, trials=2)
    plain = found.to_dict()
    assert (plain["metric"], plain["users"]) == ("ndcg@100", found.users)
    assert set(plain["models"]) == {tuned.model for tuned in found.models}
    assert set(plain["models"]["item_knn"]) == {"before", "after", "trials", "failed"}
