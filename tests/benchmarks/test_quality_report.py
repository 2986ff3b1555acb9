from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from benchmarks.quality.cases import pair_case
from benchmarks.quality.measure import Answer, Figures, validation_figure
from benchmarks.quality.report import Row, as_json, read, show, write
from benchmarks.quality.search import keep_tuned, read_tuned, search
from features.recommend.models.contract import Range
from tests.benchmarks.listens import by_chance

CASE = pair_case("a", "A case", by_chance(seed=5, users=30, items=60, rows=900, times=False))
SPACE = {"x": Range(0.0, 1.0)}


def scripted(asked):
    """A model whose lists are the better the nearer x is to 0.7."""

    def answer(split, parameters):
        asked.append(parameters.get("x"))
        right = round(20 * (1 - abs(parameters.get("x", 0.0) - 0.7)))
        lists = np.full((len(split.users), 100), -1, np.int32)
        for row, user in enumerate(split.users):
            relevant = split.asked[user].indices
            lists[row, 20 - right : 20 - right + len(relevant)] = relevant
        return Answer(lists, 0.5)

    return answer


def row(value, *, ours=False, users=30):
    each = np.full(users, value)
    return Row(Figures(each, each, each, each, 0.5, 3.0, 1.25), ours)


def test_a_search_tries_as_many_settings_as_it_may_and_keeps_the_best():
    asked = []
    model = scripted(asked)
    found = search(CASE, "m", model, SPACE, {}, 12)
    figures = [validation_figure(model(CASE.validation, {"x": x}), CASE.validation) for x in asked[:12]]
    assert len(asked) == 24
    assert found.validation == pytest.approx(max(figures), abs=1e-5)
    assert found.found_at == int(np.argmax(figures)) + 1
    assert found.parameters == {"x": asked[found.found_at - 1]}
    assert found.median_s == 0.5


def test_the_last_third_of_a_search_is_around_the_best_of_the_others():
    asked = []
    found = search(CASE, "m", scripted(asked), SPACE, {}, 60)
    spread = np.std(asked[:40])
    assert np.std(asked[40:60]) < 0.7 * spread
    assert abs(found.parameters["x"] - 0.7) < 0.1


def test_a_search_is_the_same_again_and_another_for_another_model():
    first, again, other = [], [], []
    search(CASE, "m", scripted(first), SPACE, {}, 6)
    search(CASE, "m", scripted(again), SPACE, {}, 6)
    search(CASE, "n", scripted(other), SPACE, {}, 6)
    assert first == again
    assert first != other


def test_a_search_begins_with_the_default():
    asked = []
    search(CASE, "m", scripted(asked), SPACE, {"x": 0.125}, 4)
    assert asked[0] == 0.125


def test_what_has_nothing_to_set_is_tried_once():
    asked = []
    assert search(CASE, "m", scripted(asked), {}, {}, 50).trials == len(asked) == 1


def test_a_search_of_one_model_leaves_what_was_found_of_others(tmp_path):
    one, two = (search(CASE, name, scripted([]), SPACE, {}, 3) for name in "mn")
    keep_tuned("a", {"m": one}, tmp_path)
    keep_tuned("a", {"n": two}, tmp_path)
    assert read_tuned("a", tmp_path) == {"m": one, "n": two}
    assert read_tuned("b", tmp_path) == {}


def test_a_table_names_the_best_peer_and_how_far_ours_is_ahead_by_user():
    rng = np.random.default_rng(0)
    theirs = rng.random(30)
    each = {"p": theirs, "q": theirs - 0.2, "ours: hybrid": theirs + 0.05 + rng.normal(0, 0.01, 30)}
    rows = {name: Row(Figures(v, v, v, v, 0.5, 3.0, 1.0), name.startswith("ours")) for name, v in each.items()}
    table = as_json(CASE, rows, {}, "ours: hybrid")
    assert table["best_peer"] == "p"
    assert table["difference"] == pytest.approx((each["ours: hybrid"] - theirs).mean(), abs=1e-5)
    low, high = table["difference_interval"]
    assert 0.04 < low < table["difference"] < high < 0.06  # far narrower than either's own: it is paired


def test_a_table_is_printed_best_first_with_what_moved_since_the_last(tmp_path):
    last = as_json(CASE, {"p": row(0.2), "ours: hybrid": row(0.3, ours=True)}, {}, "ours: hybrid")
    write(last, tmp_path)
    rows = {"p": row(0.2), "q": row(0.25), "ours: hybrid": row(0.31, ours=True)}
    text = StringIO()
    show(as_json(CASE, rows, {}, "ours: hybrid"), read("a", tmp_path), Console(file=text, width=150))
    lines = text.getvalue().splitlines()
    place = {name: next(n for n, line in enumerate(lines) if f"│ {name} " in line) for name in rows}
    assert place["ours: hybrid"] < place["q"] < place["p"]
    assert "+0.0100" in lines[place["ours: hybrid"]]
    assert "new" in lines[place["q"]]
    assert "ours: hybrid less the best peer, q: +0.0600" in text.getvalue()
    assert read("b", tmp_path) is None
