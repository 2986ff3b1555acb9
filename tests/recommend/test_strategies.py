"""Which models strategies blend: worlds in which one is plainly better, and what must not move the choice."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits
from worlds import AS_OF, SMALL, Row, dataset_of, play, shuffled, tables, track

from features.compute.dataset import Dataset, build_dataset
from features.compute.interactions import Plays, build_interactions
from features.compute.topk import top_k
from features.evaluate.metrics import ndcg_at_k
from features.evaluate.ranking import rank
from features.evaluate.splits import hold_out_last, split_by_time
from features.parameters import NightlyParameters
from features.recommend import learning, strategies
from features.recommend.blend import Recipe, mixed, names_of, standard_scores
from features.recommend.eligibility import eligible, fit_models
from features.recommend.evidence import fit_ranker
from features.recommend.filters import Filters
from features.recommend.history import History, build_history, shortened
from features.recommend.models import CONTENT_MODELS, MODELS
from features.recommend.strategies import choose, drawn, fixed

BY_TRACKS = {"local_ease", "proximity_ease"}
"""Closed forms of the tracks' side alone."""
CLOSED_FORMS = {"ease", "user_ease", "cease", *BY_TRACKS}


def with_ranking(**changes) -> NightlyParameters:
    return SMALL.model_copy(update={"ranking": SMALL.ranking.model_copy(update=changes)})


LETTING_HEARD_IN = SMALL.model_copy(
    update={"recommendations": SMALL.recommendations.model_copy(update={"include_heard": True})}
)


def history_of_rows(**rows) -> History:
    return history_from(dataset_of(**rows))


def history_from(data: Dataset) -> History:
    shape = (len(data.users), len(data.tracks))
    made = build_interactions(data.plays, data.feedback, shape, as_of_ms=AS_OF, half_life_days=180.0)
    return build_history(data, made)


def scenes(users: int = 40, seed: int = 0) -> list[Row]:
    """Two tastes: each listener meets 12 of the 20 tracks of theirs, in an order of their own."""
    rng = np.random.default_rng(seed)
    return [
        play(f"u{user:02d}", f"{'rj'[user % 2]}{number:02d}", 100.0 - place)
        for user in range(users)
        for place, number in enumerate(rng.permutation(20)[:12])
    ]


def test_where_only_content_tells_what_comes_next_hybrid_is_made_of_it():
    # each listener has an artist of their own and hears another of their tracks a day: nobody shares a track
    plays = [play(f"u{user:02d}", f"a{user:02d}-{number}", 20 - number) for user in range(40) for number in range(10)]
    songs = [{**track(row["track_id"], f"Artist {row['user_id']}"), "name": None} for row in plays]
    recipes = choose(dataset_of(plays=plays, tracks=songs), SMALL, as_of_ms=AS_OF)
    hybrid, collaborative = recipes["hybrid"], recipes["collaborative"]
    assert share_of(hybrid, CONTENT_MODELS) > 0.7
    assert hybrid.ndcg == pytest.approx(1.0)
    assert hybrid.users == 40
    assert recipes["content-based"] == Recipe({"content": 1.0})
    # nobody has heard what comes next: of that the others say nothing, nor is anything learned of them
    assert collaborative.ndcg == 0.0
    assert not CONTENT_MODELS & collaborative.shares.keys()
    assert set(collaborative.shares.values()) == {0.25}


def share_of(recipe: Recipe, names: Iterable[str]) -> float:
    """The part of the say that models of these names have, all the others' against."""
    say = {name: abs(recipe.say(name)) for name in recipe.shares}
    return sum(say.get(name, 0.0) for name in names) / sum(say.values())


def test_where_listeners_repeat_themselves_their_own_favourites_are_what_counts():
    rng = np.random.default_rng(1)
    plays = [
        play(f"u{user:02d}", f"t{track_number:03d}", 60 - day)
        for user in range(40)
        for own in [rng.choice(200, 4, replace=False)]
        for day in range(50)
        for track_number in [own[day % 4]]
    ]
    collaborative = choose(dataset_of(plays=plays), LETTING_HEARD_IN, as_of_ms=AS_OF)["collaborative"]
    assert max(collaborative.shares, key=collaborative.say) == "personal"
    assert collaborative.ndcg > 0.95
    unheard = choose(dataset_of(plays=plays), with_ranking(min_validation_users=1), as_of_ms=AS_OF)
    assert "personal" not in unheard["collaborative"].shares


def test_where_tastes_differ_those_of_like_mind_are_asked_and_not_everyone():
    # half as many jazz listeners: to them what is popular is nothing
    data = dataset_of(plays=[row for row in scenes(60) if int(row["user_id"][1:]) % 4 != 1])
    recipe = choose(data, SMALL, as_of_ms=AS_OF)["collaborative"]
    assert recipe.say("popular") + recipe.say("late") < 0.2
    assert recipe.ndcg > validated(data, Recipe({"popular": 1.0})) + 0.1
    assert sum(abs(recipe.say(name)) for name in recipe.shares) == pytest.approx(1.0, abs=1e-3)
    assert Recipe.from_dict(recipe.to_dict()) == recipe  # what is gone by is what stands in the books
    assert min(abs(recipe.say(name)) for name in recipe.shares) > 0.01  # who has next to no say is not asked


AS_SCORED = {"max_per_artist": 0, "diversity": 0.0, "damping": 0.0, "exploration": 0.0}
"""Lists in the order of the scores: choices are made before lists are shaped."""


def validated(data: Dataset, recipe: Recipe, parameters: NightlyParameters = SMALL) -> float:
    """Mean nDCG@100 of lists ranked by a recipe, the long way round."""
    how, shaped = parameters.ranking, parameters.recommendations
    parameters = parameters.model_copy(update={"recommendations": shaped.model_copy(update=AS_SCORED)})
    split = hold_out_last(data, as_of_ms=AS_OF, half_life_days=180.0, share=how.validation_share, seed=how.seed)
    ranker = fit_ranker(split.dataset, split.interactions, {"hybrid": recipe}, parameters)
    users = drawn(split.users, how.validation_users, how.seed)
    ranked = rank(ranker, "hybrid", users, parameters, k=100)
    return float(ndcg_at_k(ranked, split.relevant[users], 100).mean())


@pytest.mark.parametrize("strategy", ["collaborative", "hybrid"])
def test_the_figure_of_a_recipe_is_what_its_lists_reach_on_what_was_held_out(strategy, monkeypatch):
    monkeypatch.setattr(learning, "BLOCK_CELLS", 7 * 40)  # in several blocks of users
    songs = [track(f"{scene}{number:02d}", f"Artist {scene}") for scene in "rj" for number in range(20)]
    data = dataset_of(plays=scenes(), tracks=songs)
    parameters = with_ranking(validation_users=25, validation_share=0.4, min_validation_users=5)
    recipe = choose(data, parameters, as_of_ms=AS_OF)[strategy]
    assert recipe.users == 25
    assert recipe.ndcg == pytest.approx(validated(data, recipe, parameters), abs=1e-3)
    assert 0 < recipe.ndcg < 1


def test_the_blend_reaches_more_than_any_model_alone():
    data = dataset_of(plays=scenes(seed=3))
    recipe = choose(data, SMALL, as_of_ms=AS_OF)["collaborative"]
    for name in eligible(history_from(data), SMALL):
        assert validated(data, Recipe({name: 1.0})) <= recipe.ndcg + 0.02


def test_with_too_few_to_ask_the_fixed_blend_is_taken():
    data = dataset_of(plays=scenes(20))
    recipes = choose(data, with_ranking(min_validation_users=21), as_of_ms=AS_OF)
    third = 1 / 3
    assert recipes["collaborative"].shares == {"ease": third, "ials": third, "item_knn": third}
    assert np.isnan(recipes["collaborative"].ndcg)
    assert recipes["collaborative"].users == 0
    assert recipes["hybrid"].evidence_tracks == 0.0  # nothing is known of the tracks
    assert choose(data, with_ranking(min_validation_users=20), as_of_ms=AS_OF)["collaborative"].users == 20


def test_of_nobody_nothing_is_chosen():
    recipes = choose(dataset_of(), SMALL, as_of_ms=AS_OF)
    assert recipes.keys() == {"collaborative", "content-based", "hybrid"}
    assert all(np.isnan(recipe.ndcg) for recipe in recipes.values())


def test_the_fixed_blend_is_of_the_safe_models_that_the_size_allows():
    assert fixed(["popular", "item_knn", "ials", "ease", "content"]) == {
        "collaborative": Recipe(dict.fromkeys(("ease", "ials", "item_knn"), 1 / 3)),
        "content-based": Recipe({"content": 1.0}),
        "hybrid": Recipe(dict.fromkeys(("ease", "ials", "item_knn"), 1 / 3), evidence_tracks=20.0),
    }
    assert fixed(["popular", "item_knn", "ials"])["hybrid"] == Recipe({"ials": 0.5, "item_knn": 0.5})


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [
        (30, set()),
        (29, BY_TRACKS),
        (10, BY_TRACKS),
        (9, CLOSED_FORMS),
        (3, CLOSED_FORMS),
        (2, {*CLOSED_FORMS, "user_knn"}),
        (0, {*CLOSED_FORMS, "user_knn"}),
    ],
)
def test_closed_forms_are_tried_while_they_fit(limit, left_out):
    rows = {
        # ten listeners of thirty tracks; accounts and songs that nobody hears do not count
        "plays": [play(f"u{number % 10}", f"t{number}", number + 1) for number in range(30)],
        "users": [{"user_id": f"idle {number}"} for number in range(50)],
        "tracks": [track(f"t{number}", "A") for number in range(80)],
    }
    names = eligible(history_of_rows(**rows), with_ranking(closed_form_limit=limit))
    asked = [name for name in MODELS if name in {*CLOSED_FORMS, "user_knn"}]
    assert [name for name in names if name in asked] == [name for name in asked if name not in left_out]
    assert names == [name for name in MODELS if name in names]
    assert {"popular", "item_knn", "svd", "ials", "content"} <= set(names)


def test_what_goes_by_order_is_asked_where_there_is_time():
    by_order = {"late", "proximity", "proximity_ease"}
    timed = history_of_rows(plays=[play("u", "a", 2), play("u", "b", 1)])
    assert set(eligible(timed, SMALL)) >= by_order
    assert not by_order & set(eligible(history_of_rows(plays=[play("u", "a"), play("u", "b")]), SMALL))


def test_content_is_asked_where_anything_is_known_of_tracks():
    for known in ({"artists": track("a", "A")["artists"]}, {"energy": 0.5}):
        rows = {"plays": [play("u", "a"), play("u", "b")], "tracks": [{**track("a"), **known}]}
        assert set(eligible(history_of_rows(**rows), SMALL)) >= CONTENT_MODELS
    bare = history_of_rows(plays=[play("u", "a"), play("u", "b")], tracks=[track("a")])
    assert not CONTENT_MODELS & set(eligible(bare, SMALL))
    assert not CONTENT_MODELS & set(eligible(replace(bare, catalog=None), SMALL))


def test_own_favourites_are_asked_where_heard_tracks_are_let_in():
    history = history_of_rows(plays=[play("u", "a")])
    assert "personal" not in eligible(history, SMALL)
    assert "personal" in eligible(history, LETTING_HEARD_IN)
    only_liked = replace(history, events=Plays(*[np.zeros(0, np.int64)] * 4))
    assert "personal" not in eligible(only_liked, LETTING_HEARD_IN)


def test_models_are_fitted_as_the_parameters_say():
    history = history_of_rows(plays=scenes(10))
    parameters = NightlyParameters.model_validate({"models": {"item_knn": {"neighbors": 3}, "svd": {"dimensions": 2}}})
    models = fit_models(history, ["svd", "item_knn", "popular"], parameters)
    assert list(models) == ["svd", "item_knn", "popular"]
    assert (models["item_knn"].neighbors, models["svd"].dimensions) == (3, 2)
    assert models["svd"].factors_.shape == (40, 2)


def test_what_is_held_out_for_measuring_moves_no_recipe():
    songs = [track(f"{scene}{number:02d}", f"Artist {scene}") for scene in "rj" for number in range(20)]
    rng = np.random.default_rng(2)
    chosen = []
    for _ in range(2):
        # the last week is another each time
        late = [play(f"u{rng.integers(40):02d}", f"r{rng.integers(20):02d}", rng.uniform(0.1, 6.9)) for _ in range(80)]
        split = split_by_time(
            dataset_of(plays=[*scenes(), *late], tracks=songs), as_of_ms=AS_OF, holdout_days=7, half_life_days=180.0
        )
        chosen.append(choose(split.dataset, SMALL, as_of_ms=AS_OF))
    assert chosen[0] == chosen[1]
    assert chosen[0]["hybrid"].users == 40


def test_the_choice_is_the_same_twice_in_any_number_of_threads_and_for_any_order_of_rows():
    songs = [track(f"{scene}{number:02d}", f"Artist {scene}") for scene in "rj" for number in range(20)]
    world = tables(plays=scenes(seed=5), tracks=songs)
    chosen = []
    for threads, rows in ((1, world), (1, world), (2, world), (1, shuffled(world, 4))):
        with threadpool_limits(threads):
            recipes = choose(build_dataset(rows, as_of_ms=AS_OF), SMALL, as_of_ms=AS_OF)
        chosen.append({name: recipe.to_dict() for name, recipe in recipes.items()})
    assert chosen[0] == chosen[1] == chosen[2] == chosen[3]


def test_another_seed_may_ask_others():
    data = dataset_of(plays=scenes(60, seed=6))
    one, other = (
        choose(data, with_ranking(validation_users=30, seed=seed), as_of_ms=AS_OF)["collaborative"] for seed in (1, 2)
    )
    assert one.users == other.users == 30
    assert one.ndcg != other.ndcg


@given(st.sets(st.integers(0, 100)), st.integers(0, 50), st.integers(0, 3))
def test_at_most_so_many_are_drawn_in_order_and_by_the_seed(numbers, most, seed):
    users = np.array(sorted(numbers), np.int64)
    made = drawn(users, most, seed)
    assert len(made) == min(most, len(users))
    assert (np.diff(made) > 0).all()
    assert set(made.tolist()) <= numbers
    np.testing.assert_array_equal(made, drawn(users, most, seed))


def crowds(users: int = 120, seed: int = 0) -> list[Row]:
    """Everybody meets the twelve hits sooner or later, and songs of one of six scenes from the second track on."""
    rng = np.random.default_rng(seed)
    return [
        play(f"u{user:03d}", name, 100.0 - place)
        for user in range(users)
        for hits in [[f"hit{n:02d}" for n in rng.permutation(12)]]
        for scene in [[f"s{user % 6}-{n:02d}" for n in rng.permutation(14)[:6]]]
        for place, name in enumerate([hits[0], *scene, *hits[1:6]])
    ]


def of_short_histories(data: Dataset, recipe: Recipe) -> float:
    """Mean nDCG@100 where histories are cut to one track, the long way round."""
    split = hold_out_last(data, as_of_ms=AS_OF, half_life_days=180.0, share=0.2, seed=SMALL.ranking.seed)
    history = build_history(split.dataset, split.interactions)
    asked = split.users[::3]
    most = np.full(len(history.degree), 99)
    most[asked] = 1
    short = shortened(history, most, 0)
    models = fit_models(short, names_of(recipe), SMALL)
    allowed = ~Filters(split.dataset, split.interactions).forbidden(asked, include_heard=False)
    standard = {name: standard_scores(name, models[name], asked, allowed, short.listeners) for name in models}
    ranked = top_k(mixed(standard, recipe, short.degree[asked]), 100)
    return float(ndcg_at_k(ranked, split.relevant[asked], 100).mean())


def test_hybrid_has_a_blend_for_short_histories_that_is_better_for_them_and_costs_the_others_nothing():
    data = dataset_of(plays=crowds())
    hybrid = choose(data, SMALL, as_of_ms=AS_OF)["hybrid"]
    assert hybrid.evidence_tracks > 0
    without = replace(hybrid, evidence_tracks=0.0)
    assert of_short_histories(data, hybrid) > of_short_histories(data, without)
    assert validated(data, hybrid) >= 0.998 * validated(data, without) - 1e-9


def test_collaborative_has_none():
    recipes = choose(dataset_of(plays=crowds()), SMALL, as_of_ms=AS_OF)
    assert recipes["collaborative"].evidence_tracks == 0.0
    assert not recipes["collaborative"].little_shares


def field_where(relevant: np.ndarray, **standard: np.ndarray) -> learning.Field:
    """The same for thirty users, of whom each has taken to these tracks."""
    rows = {name: np.tile(scores, (30, 1)) for name, scores in standard.items()}
    best = learning._discount()[: int(relevant.sum())].sum()
    every = np.tile(relevant, (30, 1))
    return learning.Field(rows, np.ones_like(every), every, np.full(30, best), np.full(30, 10))


FRESH = np.arange(20) < 8
LIKED = np.where(FRESH, -np.inf, np.linspace(3.0, 0.0, 20))
ALIKE = np.where(FRESH, 4.0, np.linspace(2.0, 0.0, 20))
FAME = np.linspace(-1.0, 1.0, 20)


def unknown_weighed(relevant: np.ndarray) -> Recipe:
    field = field_where(relevant, ease=LIKED, content=ALIKE, popular=FAME)
    given = Recipe({"ease": 0.5, "content": 0.5}, ndcg=learning.ndcg_of(field, Recipe({"ease": 0.5, "content": 0.5})))
    found = strategies._for_the_unknown(given, field)
    assert found.ndcg == learning.ndcg_of(field, found)
    assert found.ndcg >= 0.998 * given.ndcg
    return found


def test_what_nobody_has_heard_stands_back_in_hybrid_where_few_take_to_such():
    assert unknown_weighed((np.arange(20) >= 8) & (np.arange(20) < 12)).unheard < 1.0
    assert unknown_weighed(FRESH).unheard == 1.0


def test_hybrid_leans_on_fame_no_more_than_pays():
    assert unknown_weighed(FRESH).shares["popular"] == -0.2  # it tells nothing of these
    famous = np.arange(20) >= 17
    field = field_where(famous, ease=np.zeros(20), content=np.zeros(20), popular=FAME)
    leaning = Recipe({"ease": 0.5, "content": 0.2, "popular": 0.1})
    found = strategies._for_the_unknown(replace(leaning, ndcg=learning.ndcg_of(field, leaning)), field)
    assert found.shares["popular"] > 0.0


def test_a_blend_learns_nothing_from_what_nobody_has_heard():
    heard = np.isin(np.arange(20), [9, 12])
    learned = []
    for taken, likeness in ((heard, ALIKE), (heard | FRESH, np.where(FRESH, -1.0, ALIKE))):
        field = field_where(taken, ease=LIKED, content=likeness)
        blend = learning.learned(field, ["ease", "content"], large=False)
        learned.append(blend.shares | blend.roots)
    assert learned[0] == learned[1]
    assert learned[0]["ease"] != learned[0]["content"]


def test_at_scale_a_model_that_speaks_against_what_it_ranks_high_is_left_out_unless_it_says_the_same_to_everyone():
    field = field_where(np.isin(np.arange(20), [8, 9, 10]), ease=LIKED, ials=-LIKED, popular=-LIKED)
    small, large = (learning.learned(field, ["ease", "ials", "popular"], large=large) for large in (False, True))
    assert small.say("ials") < -learning.LEAST_SAY_AT_SCALE
    assert set(small.shares) == {"ease", "ials", "popular"}
    assert set(large.shares) == {"ease", "popular"}


@pytest.mark.parametrize("names", [["ease", "ials"], ["ease", "ials", "popular"]])
def test_at_scale_one_model_that_tells_listeners_apart_stays_though_all_speak_against_what_they_rank_high(names):
    field = field_where(np.isin(np.arange(20), [17, 18, 19]), ease=LIKED, ials=LIKED, popular=np.zeros(20))
    found = learning.learned(field, names, large=True)
    assert {"ease", "ials"} & set(found.shares)
    assert max(found.say(name) for name in {"ease", "ials"} & set(found.shares)) < 0
