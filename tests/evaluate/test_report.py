"""What an evaluation reports, beside slow definitions and by what must always hold."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import AS_OF, SMALL, account, dataset_of, play, random_world, track

from features.compute.dataset import build_dataset
from features.evaluate.ranking import rank, ranking_metrics
from features.evaluate.report import (
    BUCKETS,
    EVERYBODY,
    METRICS,
    NEWCOMERS,
    SERVED,
    STATED,
    STRATEGIES,
    evaluate,
    groups,
    measurable,
)
from features.evaluate.splits import split_by_time
from features.recommend.blend import Recipe
from features.recommend.evidence import fit_ranker

RECIPES = {
    "collaborative": Recipe({"item_knn": 1.0}),
    "content-based": Recipe({"content": 1.0}),
    "hybrid": Recipe({"item_knn": 0.5, "content": 0.5}),
}
KS = (3, 10)


def silent(_what, _done, _total):
    """Shows nothing."""


def split_of(dataset, days=60):
    return split_by_time(dataset, as_of_ms=AS_OF, holdout_days=days, half_life_days=180.0)


def with_evaluation(**changes):
    return SMALL.model_copy(update={"evaluation": SMALL.evaluation.model_copy(update=changes)})


def asked(split, parameters=SMALL, **changes):
    words = {"ks": KS, "strategies": STRATEGIES, "against": "hybrid", "tell": silent} | changes
    return evaluate(split, RECIPES, parameters, **words)


def figures(report, **chosen):
    return [row for row in report.rows if all(getattr(row, name) == value for name, value in chosen.items())]


def the(report, **chosen):
    (row,) = figures(report, **chosen)
    return row


@pytest.fixture(scope="module")
def world():
    return split_of(build_dataset(random_world(1, users=40, tracks=60, plays=1200), as_of_ms=AS_OF))


@pytest.fixture(scope="module")
def report(world):
    return asked(world)


def test_every_strategy_has_every_metric_at_every_k_in_every_group_once(report):
    names = [name for name, _ in groups(np.ones(1))]
    keys = [(row.group, row.strategy, row.k, row.metric) for row in report.rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == {
        (group, strategy, k, metric)
        for chosen, strategies in (
            (names, STRATEGIES),
            ([NEWCOMERS, STATED], [SERVED, "popular"]),
        )
        for group in chosen
        for strategy in strategies
        for k in KS
        for metric in METRICS
    }


def test_users_add_up(world, report):
    counts = report.counts
    assert counts["users"] == counts["with_history"] + counts["newcomers"] + counts["silent"]
    assert counts["with_history"] == counts["measured"] + counts["not_drawn"] + counts["undefined"]
    assert counts["newcomers"] == counts["newcomers_measured"] + counts["newcomers_not_drawn"]
    assert counts["measured"] == len(world.users) > 20
    buckets = [the(report, group=name, strategy="hybrid", k=3, metric="ndcg") for name, _ in groups(np.ones(1))][1:]
    assert len(buckets) == len(BUCKETS)
    assert sum(row.users for row in buckets) == counts["measured"]
    for row in report.rows:
        whole = the(report, group=row.group, strategy=row.strategy, k=row.k, metric="coverage")
        assert row.users + row.undefined == whole.users + whole.undefined


def test_groups_are_by_tracks_in_the_history_and_together_everybody(report):
    degree = np.array([1, 4, 5, 19, 20, 99, 100, 5000])
    made = {name: chosen.tolist() for name, chosen in groups(degree)}
    assert list(made) == [EVERYBODY, "1–4 tracks", "5–19 tracks", "20–99 tracks", "100+ tracks"]
    assert all(made.pop(EVERYBODY))
    assert np.sum(list(made.values()), axis=0).tolist() == [1] * len(degree)
    for metric in ("ndcg", "recall", "map"):
        rows = [the(report, group=name, strategy="hybrid", k=10, metric=metric) for name in made]
        rows = [row for row in rows if row.users]
        mean = sum(row.mean * row.users for row in rows) / sum(row.users for row in rows)
        assert mean == pytest.approx(the(report, group=EVERYBODY, strategy="hybrid", k=10, metric=metric).mean)


def test_figures_are_those_of_a_release(world, report):
    found = ranking_metrics(world, RECIPES, with_evaluation(k=10))
    assert the(report, group=EVERYBODY, strategy="hybrid", k=10, metric="ndcg").mean == pytest.approx(found["ndcg@10"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_figures_are_means_of_what_each_list_is_by_definition(world, report, strategy):
    recipes = RECIPES | {"popular": Recipe({"popular": 1.0})}
    ranker = fit_ranker(world.dataset, world.interactions, recipes, SMALL)
    ranked = rank(ranker, strategy, world.users, SMALL, k=10)
    ndcg, recall, precision, shown = [], [], [], set()
    for user, row in zip(world.users.tolist(), ranked.tolist(), strict=True):
        wanted = set(world.relevant[user].indices.tolist())
        hits = [listed in wanted for listed in row]
        most = min(len(wanted), 10)
        ndcg.append(
            sum(hit / np.log2(place + 2) for place, hit in enumerate(hits))
            / sum(1 / np.log2(place + 2) for place in range(most))
        )
        recall.append(sum(hits) / most)
        precision.append(sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit) / most)
        shown |= {listed for listed in row if listed >= 0}
    for metric, values in (("ndcg", ndcg), ("recall", recall), ("map", precision)):
        row = the(report, group=EVERYBODY, strategy=strategy, k=10, metric=metric)
        assert row.mean == pytest.approx(np.mean(values))
        assert row.low <= row.mean <= row.high
        assert (row.users, row.undefined) == (len(world.users), 0)
    coverage = the(report, group=EVERYBODY, strategy=strategy, k=10, metric="coverage")
    assert coverage.mean == len(shown) / len(world.dataset.tracks)
    assert np.isnan([coverage.low, coverage.difference]).all()


def test_differences_are_to_one_strategy_which_has_none_itself(world, report):
    for row in figures(report, group=EVERYBODY):
        if row.metric == "coverage":
            continue
        if row.strategy == "hybrid":
            assert np.isnan([row.difference, row.difference_low, row.difference_high]).all()
        else:
            other = the(report, group=EVERYBODY, strategy="hybrid", k=row.k, metric=row.metric)
            if not row.undefined and not other.undefined:
                assert row.difference == pytest.approx(row.mean - other.mean)
                assert row.difference_low <= row.difference <= row.difference_high
    turned = asked(world, strategies=["hybrid"], against="popular")
    forth = the(report, group=EVERYBODY, strategy="popular", k=10, metric="ndcg")
    back = the(turned, group=EVERYBODY, strategy="hybrid", k=10, metric="ndcg")
    assert back.difference == pytest.approx(-forth.difference)
    assert back.difference_low == pytest.approx(-forth.difference_high, abs=1e-3)


def test_models_can_stand_beside_strategies(world):
    assert {"item_knn", "svd", "content", *STRATEGIES} <= set(measurable(world, SMALL))
    made = asked(world, strategies=["collaborative", "item_knn"], against="item_knn")
    alone = the(made, group=EVERYBODY, strategy="item_knn", k=10, metric="ndcg")
    assert the(made, group=EVERYBODY, strategy="collaborative", k=10, metric="ndcg").mean == alone.mean
    assert the(made, group=EVERYBODY, strategy="collaborative", k=10, metric="ndcg").difference == 0.0
    assert list(made.recipes) == ["collaborative", "item_knn"]


def test_the_same_seed_reports_the_same_and_another_draws_others(world, report):
    assert [repr(row) for row in asked(world).rows] == [repr(row) for row in report.rows]
    some = [asked(world, with_evaluation(users=9, seed=seed)) for seed in (1, 1, 2)]
    assert {made.counts["measured"] for made in some} == {9}
    assert some[0].counts["not_drawn"] == len(world.users) - 9
    first, again, other = (the(made, group=EVERYBODY, strategy="hybrid", k=10, metric="ndcg") for made in some)
    assert (first.mean, first.low) == (again.mean, again.low)
    assert first.mean != other.mean


def nine(**more):
    """Nine listeners of three tracks each, the last of them held out."""
    plays = [play(f"u{user}", f"t{(user + step) % 9}", days) for user in range(9) for step, days in ((0, 80), (1, 75))]
    plays += [play(f"u{user}", f"t{(user + 3) % 9}", 2) for user in range(9)]
    return asked(split_of(dataset_of(plays=plays, **more)))


def test_a_list_that_is_empty_has_no_novelty_and_no_hit_and_is_counted():
    made = nine(tracks=[track("t0", "one"), track("t1", "one")])  # by content, t0 and t1 are found from one another
    for metric in ("novelty", "diversity"):
        row = the(made, group=EVERYBODY, strategy="content-based", k=3, metric=metric)
        assert row.users + row.undefined == 9
        assert row.undefined > 0
    found = the(made, group=EVERYBODY, strategy="content-based", k=3, metric="recall")
    assert (found.users, found.undefined) == (9, 0)
    assert found.mean < 1.0


def test_a_strategy_without_any_list_is_undefined_and_not_nought():
    made = nine()  # of no track anything is known but who plays it
    for metric in METRICS:
        row = the(made, group=EVERYBODY, strategy="content-based", k=3, metric=metric)
        assert (row.users, row.undefined) == (0, 9)
        assert np.isnan([row.mean, row.low, row.difference]).all()
    assert the(made, group=EVERYBODY, strategy="collaborative", k=3, metric="novelty").users == 9
    assert the(made, group=EVERYBODY, strategy="collaborative", k=3, metric="diversity").users == 0


def test_who_took_to_nothing_new_is_undefined_and_where_nobody_did_so_is_all():
    plays = [play(f"u{user}", f"t{(user + step) % 9}", 80) for user in range(9) for step in range(3)]
    made = asked(split_of(dataset_of(plays=plays)))
    assert (made.counts["measured"], made.counts["undefined"]) == (0, 9)
    assert all(np.isnan(row.mean) for row in made.rows)
    assert {row.users for row in made.rows} == {0}


def newcomers():
    """Rock is popular, jazz is not; of the newcomers one has stated jazz, one nothing."""
    plays = [play(f"r{user}", f"rock{number}", 80) for user in range(6) for number in range(4)]
    plays += [play("j0", f"jazz{number}", 80) for number in range(4)]
    plays += [play("said jazz", "jazz1", 5), play("said nothing", "rock1", 5), play("r0", "jazz0", 5)]
    tracks = [track(f"{kind}{number}", kind, [kind]) for kind in ("rock", "jazz") for number in range(4)]
    return split_of(
        dataset_of(plays=plays, tracks=tracks, users=[account("said jazz", favorite_genres=["jazz"]), account("mute")])
    )


def test_newcomers_are_measured_apart_with_the_lists_they_would_get():
    made = asked(newcomers())
    assert (made.counts["newcomers"], made.counts["newcomers_stated"], made.counts["silent"]) == (2, 1, 1)
    assert made.counts["measured"] == 1  # r0
    stated = the(made, group=STATED, strategy=SERVED, k=10, metric="recall")
    assert (stated.mean, stated.users) == (1.0, 1)
    short = the(made, group=STATED, strategy="popular", k=3, metric="recall")
    assert short.mean == 0.0  # rock alone stands first
    everyone = the(made, group=NEWCOMERS, strategy=SERVED, k=10, metric="recall")
    assert (everyone.mean, everyone.users) == (1.0, 2)
    assert the(made, group=NEWCOMERS, strategy="popular", k=10, metric="recall").mean == 1.0
    assert the(made, group=NEWCOMERS, strategy=SERVED, k=3, metric="recall").difference > 0


def test_small_blocks_of_newcomers_are_the_same(monkeypatch):
    whole = asked(newcomers())
    monkeypatch.setattr("features.evaluate.report.BLOCK_CELLS", 1)
    assert [repr(row) for row in asked(newcomers()).rows] == [repr(row) for row in whole.rows]


def test_for_programs_it_is_plain_values(report):
    plain = report.to_dict()
    assert set(plain) == {"users", "recipes", "against", "figures"}
    assert plain["figures"][0] == {**vars(replace(report.rows[0]))}
    assert plain["recipes"]["hybrid"]["shares"] == {"item_knn": 0.5, "content": 0.5}


def test_newcomers_are_measured_where_nobody_else_can_be():
    plays = [play(f"r{user}", f"rock{number}", 80) for user in range(6) for number in range(4)]
    made = asked(split_of(dataset_of(plays=[*plays, play("new", "rock1", 5)])))
    assert made.counts["measured"] == 0
    assert the(made, group=NEWCOMERS, strategy="popular", k=10, metric="recall").mean == 1.0
