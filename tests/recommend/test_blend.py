"""Standard scores and blends of them, small enough to be worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from features.recommend import blend
from features.recommend.blend import (
    LEVEL,
    LOWEST,
    Recipe,
    mixed,
    names_of,
    standard_scores,
    standardized,
    unheard,
)
from features.recommend.models import CONTENT_MODELS, EVERYONE

NOTHING = -np.inf
SCORES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.just(NOTHING) | st.floats(-100, 100).map(lambda x: round(x, 3)),
)


class Told:
    """A model that says what it is told to."""

    def __init__(self, *rows):
        self.rows = np.array(rows, np.float32)

    def scores(self, users):
        return self.rows[users].copy()


def test_standard_scores_have_mean_nothing_and_spread_one():
    made = standardized(np.array([[1.0, 3.0, NOTHING], [5.0, NOTHING, NOTHING]]))
    assert made.tolist() == [[-1.0, 1.0, NOTHING], [0.0, NOTHING, NOTHING]]


def test_scores_that_are_all_the_same_are_all_average():
    for value in (0.1, 1e-12, 12345.678):
        for count in range(1, 20):  # thrice 0.1 is not 0.3: some of their means are off by a rounding
            assert not standardized(np.full((2, count), value)).any()
    # two products of one and the same in single precision
    assert not standardized(np.array([[0.01652779, 0.0165278]], np.float32)).any()
    assert standardized(np.array([[1.0, 1.0 + 1e-5]])).tolist() == [[pytest.approx(-1), pytest.approx(1)]]


@given(SCORES)
def test_standard_scores_keep_the_order_and_leave_out_what_is_left_out(scores):
    before, made = scores.copy(), standardized(scores)
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_array_equal(np.isneginf(made), np.isneginf(scores))
    assert not np.isnan(made).any()
    for row, standard in zip(scores, made, strict=True):
        order = np.argsort(row, kind="stable")
        finite = order[np.isfinite(row[order])]
        assert (np.diff(standard[finite]) >= 0).all()
        assert standard[finite].sum() == pytest.approx(0, abs=1e-6)


def test_a_model_is_asked_for_what_may_be_listed_and_somebody_has_heard():
    usable = np.array([[True, True, True, False, True]])
    listeners = np.array([3, 1, 2, 5, 0])
    model = Told([1.0, 3.0, 2.0, 9.0, 7.0])
    made = standard_scores("ease", model, np.array([0]), usable, listeners)
    spread = (2 / 3) ** 0.5
    assert made[0].tolist() == [pytest.approx(-1 / spread), pytest.approx(1 / spread), 0.0, NOTHING, NOTHING]


def test_models_of_content_know_tracks_that_nobody_has_heard():
    listeners = np.array([2, 0])
    for name in ("content", "cease"):
        made = standard_scores(name, Told([1.0, 3.0]), np.array([0]), np.ones((1, 2), bool), listeners)
        assert made.tolist() == [[-1.0, 1.0]]


def test_what_has_no_likeness_to_a_history_is_unknown_to_content_alone():
    model = Told([0.0, 3.0, 1.0, -0.5])
    usable, listeners = np.ones((1, 4), bool), np.ones(4, np.int64)
    assert standard_scores("content", model, np.array([0]), usable, listeners).tolist() == [[NOTHING, 1, -1, NOTHING]]
    assert np.isfinite(standard_scores("cease", model, np.array([0]), usable, listeners)).all()
    assert np.isfinite(standard_scores("item_knn", model, np.array([0]), usable, listeners)).all()


def test_rows_are_those_of_the_users_asked_for():
    model = Told([0.0, 1.0], [0.0, 1.0], [1.0, 0.0])
    made = standard_scores("svd", model, np.array([2, 0]), np.ones((2, 2), bool), np.ones(2))
    assert made.tolist() == [[1.0, -1.0], [-1.0, 1.0]]


def test_a_blend_is_the_sum_of_shares_of_standard_scores():
    standard = {"ease": np.array([[1.0, -1.0, 0.0]]), "svd": np.array([[0.0, 2.0, -2.0]]), "unasked": np.ones((1, 3))}
    made = mixed(standard, Recipe({"ease": 0.75, "svd": 0.25}), np.array([3]))
    assert made[0].tolist() == pytest.approx([0.75, -0.25, -0.5])


def test_content_steps_back_as_history_grows():
    standard = {"ease": np.array([[1.0, 2.0]] * 3), "content": np.array([[2.0, 1.0]] * 3)}
    made = mixed(standard, Recipe({"ease": 1.0}, evidence_tracks=2.0), np.array([0, 2, 18]))
    content = np.array([1.0, 0.5, 0.1])
    assert made == pytest.approx(np.column_stack([1 + content, 2 - content]))


def test_content_has_its_share_and_what_evidence_gives_it():
    standard = {"ease": np.array([[0.0, 4.0]]), "content": np.array([[4.0, 0.0]])}
    recipe = Recipe({"ease": 0.75, "content": 0.25}, evidence_tracks=1.0)
    # half by the shares, half from content
    assert mixed(standard, recipe, np.array([1]))[0].tolist() == pytest.approx([4 * (0.125 + 0.5), 4 * 0.375])


def test_what_one_side_says_nothing_of_is_average_there_and_what_none_does_is_left_out():
    standard = {
        "ease": np.array([[-1.0, 1.0, NOTHING, NOTHING]]),
        "content": np.array([[NOTHING, -1.0, 1.0, NOTHING]]),
    }
    made = mixed(standard, Recipe({"ease": 0.35, "content": 0.65}), np.array([10]))
    assert made[0].tolist() == [pytest.approx(-0.35), pytest.approx(0.35 - 0.65), pytest.approx(0.65), NOTHING]


def test_standard_scores_are_not_written_to_by_blending():
    standard = {"ease": np.array([[1.0, NOTHING]]), "content": np.array([[NOTHING, NOTHING]])}
    before = {name: values.copy() for name, values in standard.items()}
    mixed(standard, Recipe({"ease": 1.0}, evidence_tracks=5.0), np.array([1]))
    for name, values in before.items():
        np.testing.assert_array_equal(standard[name], values)


def test_a_recipe_asks_its_models_and_content_where_evidence_does():
    assert names_of(Recipe({"ease": 0.5, "svd": 0.5})) == ("ease", "svd")
    assert names_of(Recipe({"ease": 1.0}, evidence_tracks=1.0)) == ("ease", "content")
    assert names_of(Recipe({"content": 0.5, "ease": 0.5}, evidence_tracks=1.0)) == ("content", "ease")


def test_roots_count_beside_and_keep_their_signs():
    standard = {"ease": np.array([[4.0, -4.0, 0.0]]), "svd": np.array([[1.0, -1.0, NOTHING]])}
    recipe = Recipe({"ease": 0.5, "svd": -0.25}, {"ease": 0.25, "svd": 0.5})
    made = mixed(standard, recipe, np.array([3]))
    assert made[0].tolist() == pytest.approx([2.0 + 0.5 + 0.25, -2.75, 0.0])


def test_a_model_has_its_say_in_what_stands_out():
    recipe = Recipe({"ease": 0.5, "svd": -0.25}, {"ease": 0.25, "svd": 0.0, "ials": 1.0})
    assert recipe.say("ease") == pytest.approx((0.5 * 4 + 0.25 * 2) / 4)
    assert recipe.say("svd") == pytest.approx(-0.25)  # it speaks against
    assert recipe.say("ials") == pytest.approx(0.5)
    assert recipe.say("unasked") == 0.0


def test_nothing_stands_back_more_than_so_much():
    made = mixed({"ease": np.array([[-9.0, LOWEST, 1.0]])}, Recipe({"ease": 1.0}), np.array([3]))
    assert made[0].tolist() == [LOWEST, LOWEST, 1.0]


def test_a_learned_blend_orders_what_its_models_put_forward_and_the_rest_stands_behind(monkeypatch):
    monkeypatch.setattr(blend, "CANDIDATES", 2)
    standard = {
        "ease": np.array([[1.0, 3.0, 0.0, -2.0, NOTHING]]),
        "svd": np.array([[3.0, 2.0, 0.5, -1.0, NOTHING]]),
        "popular": np.array([[0.0, 0.0, 9.0, 9.0, NOTHING]]),  # puts nothing forward
    }
    shares = {"ease": -1.0, "svd": 1.0, "popular": 1.0}
    learned = mixed(standard, Recipe(shares, {"ease": 0.0}), np.array([3]))[0]
    # of means 2, 2.5, 0.25 and -1.5 the first two are candidates, with scores 2 and -1
    assert learned[:2].tolist() == [2.0, -1.0]
    assert learned[2:].tolist() == [-1.0 + 0.25 - 2.0, -1.0 - 1.5 - 2.0, NOTHING]
    assert mixed(standard, Recipe(shares), np.array([3]))[0, :4].tolist() == [2.0, -1.0, 9.5, 10.0]


def test_where_there_are_fewer_than_the_candidates_all_are_ordered(monkeypatch):
    monkeypatch.setattr(blend, "CANDIDATES", 3)
    standard = {"ease": np.array([[1.0, 3.0, NOTHING, NOTHING], [1.0, 2.0, 3.0, 4.0], [NOTHING] * 4])}
    made = mixed(standard, Recipe({"ease": -1.0}, {"ease": -0.5}), np.array([3, 3, 3]))
    assert np.argsort(-made[0], kind="stable").tolist() == [0, 1, 2, 3]
    assert np.isneginf(made[0]).tolist() == [False, False, True, True]
    assert np.argsort(-made[1]).tolist() == [1, 2, 3, 0]  # the lowest is no candidate
    assert np.isneginf(made[2]).all()


@given(st.integers(0, 10_000))
def test_of_learned_blends_every_candidate_stands_before_all_others(seed):
    rng = np.random.default_rng(seed)
    # eighths: their means are exact, and so are ties
    standard = {name: rng.integers(-20, 20, (3, 12)) / 8 for name in ("ease", "svd", "late")}
    for values in standard.values():
        values[rng.random(values.shape) < 0.2] = NOTHING
    recipe = Recipe(
        dict(zip(standard, rng.normal(size=3), strict=True)), dict(zip(standard, rng.normal(size=3), strict=True))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blend, "CANDIDATES", 4)
        made = mixed(standard, recipe, np.array([1, 2, 3]))
    known = np.any([np.isfinite(values) for values in standard.values()], axis=0)
    np.testing.assert_array_equal(np.isfinite(made), known)
    plain = sum(np.where(np.isfinite(standard[name]), standard[name], 0.0) for name in ("ease", "svd")) / 2
    for row, base, finite in zip(made, plain, known, strict=True):
        level = np.sort(base[finite])[-4] if finite.sum() >= 4 else -np.inf
        inside, outside = row[finite & (base >= level)], row[finite & (base < level)]
        if inside.size and outside.size:
            assert inside.min() > outside.max()
            behind = np.flatnonzero(finite & (base < level))
            np.testing.assert_array_equal(
                np.argsort(-row[behind], kind="stable"), np.argsort(-base[behind], kind="stable")
            )


def test_books_hold_what_is_defined():
    fixed = Recipe({"ease": 1 / 3, "ials": 1 / 3, "item_knn": 1 / 3}, evidence_tracks=5.0).to_dict()
    assert fixed == {"shares": {"ease": 0.3333, "ials": 0.3333, "item_knn": 0.3333}, "evidence": 5.0}
    chosen = Recipe({"ease": 1.0}, ndcg=0.12345678, users=40).to_dict()
    assert chosen == {"shares": {"ease": 1.0}, "evidence": 0.0, "ndcg": 0.123457, "users": 40}
    learned = Recipe({"ease": 1.0}, {"ease": -0.123456}, ndcg=0.5, users=40).to_dict()
    assert learned["roots"] == {"ease": -0.1235}
    for books in (fixed, chosen, learned):
        assert json.loads(json.dumps(books)) == books


LITTLE = Recipe(
    {"ease": 0.7, "svd": 0.3},
    {"ease": 0.2, "svd": -0.1},
    evidence_tracks=4.0,
    little_shares={"popular": 0.6, "ease": 0.4},
    little_roots={"popular": 0.3, "ease": 0.0},
)


@pytest.mark.parametrize(("tracks", "thin"), [(0, 1.0), (1, 0.8), (4, 0.5), (36, 0.1)])
def test_who_has_few_tracks_has_more_of_the_blend_for_little(tracks, thin):
    rng = np.random.default_rng(tracks)
    standard = {name: rng.normal(size=(1, 30)) for name in ("ease", "svd", "popular")}
    plain, little = replace(LITTLE, evidence_tracks=0.0), LITTLE.little
    made = mixed(standard, LITTLE, np.array([tracks]))
    parts = [mixed(standard, recipe, np.array([tracks])) for recipe in (plain, little)]
    assert made == pytest.approx((1 - thin) * parts[0] + thin * parts[1])
    assert made == pytest.approx(mixed(standard, LITTLE.at(tracks), np.array([99])))
    say = {name: LITTLE.at(tracks).say(name) for name in names_of(LITTLE)}
    assert say == pytest.approx({name: (1 - thin) * plain.say(name) + thin * little.say(name) for name in say})


def test_the_blend_for_little_asks_its_own_models_and_stands_in_the_books():
    assert names_of(LITTLE) == ("ease", "svd", "popular")
    assert names_of(replace(LITTLE, evidence_tracks=0.0)) == ("ease", "svd")
    assert LITTLE.to_dict()["little"]["shares"] == {"popular": 0.6, "ease": 0.4}
    assert "little" not in Recipe({"ease": 1.0}, evidence_tracks=1.0).to_dict()


@pytest.mark.parametrize(
    "recipe",
    [LITTLE, replace(LITTLE, unheard=0.35, ndcg=0.25, users=40), replace(LITTLE, little_shares={}, little_roots={})],
    ids=["fixed", "chosen", "no blend for little"],
)
def test_books_give_back_the_recipe(recipe):
    books = json.loads(json.dumps(recipe.to_dict()))
    again = Recipe.from_dict(books)
    assert again.to_dict() == books
    assert replace(again, ndcg=recipe.ndcg) == recipe  # NaN equals nothing
    assert again.ndcg == pytest.approx(recipe.ndcg, nan_ok=True)


def test_what_nobody_has_heard_stands_by_content_whatever_other_models_of_content_say():
    heard, fresh = [2.0, 1.0], [3.0, 1.5]
    standard = {
        "ease": np.array([[*heard, -np.inf, -np.inf]]),
        "cease": np.array([[0.0, 0.0, -2.0, 4.0]]),
        "content": np.array([[0.0, 0.0, *fresh]]),
    }
    recipe = Recipe({"ease": 0.5, "cease": -0.3, "content": 0.2})
    made = mixed(standard, recipe, np.array([9]))[0]
    np.testing.assert_allclose(made, [1.0, 0.5, 0.5 * fresh[0], 0.5 * fresh[1]])
    back = mixed(standard, replace(recipe, unheard=0.5), np.array([9]))[0]
    np.testing.assert_allclose(back, [1.0, 0.5, 0.25 * fresh[0], 0.25 * fresh[1]])
    assert replace(recipe, unheard=0.5).to_dict()["unheard"] == 0.5
    assert "unheard" not in recipe.to_dict()
    alone = mixed(standard, Recipe({"cease": 0.5, "content": 0.5}), np.array([9]))[0]
    np.testing.assert_allclose(alone, [0.0, 0.0, 0.5, 2.75])


def plain_standard(scores: np.ndarray) -> np.ndarray:
    """Standard scores, a whole array after the other."""
    finite = np.isfinite(scores)
    count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    filled = np.where(finite, scores, 0.0).astype(np.float64)
    mean = filled.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(finite, filled - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    varies = spread > LEVEL * np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    return np.where(finite, np.where(varies, (filled - mean) / np.where(varies, spread, 1.0), 0.0), -np.inf)


def plain_mixed(standard: dict[str, np.ndarray], recipe: Recipe, degree: np.ndarray, candidates: int) -> np.ndarray:
    """Blends, a whole array after the other."""
    names, little = names_of(recipe), recipe.little
    thin = recipe.thin(degree)[:, None]
    total, base = (np.zeros(standard[names[0]].shape) for _ in range(2))
    voters, seconds = ([name for name in of if name not in EVERYONE] or list(of) for of in (names, little.shares))
    known = np.any([np.isfinite(standard[name]) for name in names], axis=0)
    for name in names:
        score = np.maximum(np.where(np.isfinite(standard[name]), standard[name], 0.0), LOWEST)
        total += (1.0 - thin) * recipe.part(name, score) + thin * little.part(name, score)
        base += ((1.0 - thin) * (name in voters) / len(voters) + thin * (name in seconds) / len(seconds)) * score
    fresh, asked = unheard(standard, names), [name for name in names if name in CONTENT_MODELS]
    if fresh is not None:
        score = np.maximum(standard["content"], LOWEST) * recipe.unheard
        say, little_say = (sum(abs(blend.say(name)) for name in asked) for blend in (recipe, little))
        votes, little_votes = (sum(name in of for name in asked) / len(of) for of in (voters, seconds))
        total = np.where(fresh, ((1.0 - thin) * say + thin * little_say) * score, total)
        base = np.where(fresh, ((1.0 - thin) * votes + thin * little_votes) * score, base)
    total[~known] = base[~known] = -np.inf
    if not recipe.roots or total.shape[1] <= candidates:
        return total
    last = np.sort(base, axis=1)[:, -candidates, None]
    inside = (base >= last) & known
    lowest = np.where(inside, total, np.inf).min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # nothing known is infinitely low, and its lowest infinitely high
        return np.where(inside | ~known, total, lowest + base - np.where(np.isfinite(last), last, 0.0))


@given(st.integers(0, 10_000), st.sampled_from([(), ("svd",), ("svd", "popular"), ("svd", "late", "cease")]))
@example(389, ())
def test_blends_are_what_whole_arrays_make_whoever_else_is_asked_for(seed, more):
    rng = np.random.default_rng(seed)
    names, rows, columns = ("content", *more), 70, int(rng.integers(1, 30))  # more than are blended at once
    standard = {}
    for name in names:
        raw = rng.normal(size=(rows, columns)).astype(np.float32)
        raw[rng.random(raw.shape) < 0.3] = NOTHING
        standard[name] = standardized(raw)
        np.testing.assert_allclose(standard[name], plain_standard(raw), atol=1e-6)
    shares, roots, little_shares, little_roots = (
        dict(zip(names, rng.normal(size=len(names)), strict=True)) for _ in range(4)
    )
    recipe = Recipe(
        shares,
        roots if seed % 2 else {},
        float(rng.integers(0, 3)),
        little_shares if seed % 3 else {},
        little_roots,
        float(rng.random()),
    )
    degree = rng.integers(0, 20, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blend, "CANDIDATES", 5)
        made = mixed(standard, recipe, degree)
        some = rng.permutation(rows)[: int(rng.integers(1, rows))]
        alone = mixed({name: scores[some] for name, scores in standard.items()}, recipe, degree[some])
    np.testing.assert_allclose(made, plain_mixed(standard, recipe, degree, 5), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(alone, made[some])
