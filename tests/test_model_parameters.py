"""What the parameters of models may be, however they are told."""

from dataclasses import asdict

import pytest
from pydantic import ValidationError

from features.errors import InputError
from features.model_parameters import MODEL_BOUNDS, model_parameters, model_value
from features.parameters import NightlyParameters, resolve_budget, with_settings
from features.recommend.models import MODELS


def test_every_parameter_of_every_model_has_bounds():
    assert {path.partition(".")[2] for path in model_parameters()} - set(MODEL_BOUNDS) == set()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_defaults_and_all_that_a_search_may_draw_are_within_the_bounds(name):
    model = MODELS[name]()
    for parameter, value in asdict(model).items():
        assert value in MODEL_BOUNDS[parameter], parameter
    for parameter, span in model.space.items():
        for value in (span.low, span.high, *span.also):
            assert value in MODEL_BOUNDS[parameter], parameter


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("ease.dropout", "1", "models.ease.dropout should be at least 0 and less than 1"),
        ("ease.dropout", "-0.1", "models.ease.dropout should be at least 0 and less than 1"),
        ("ease.ridge", "0", "models.ease.ridge should be at least 1e-09"),
        ("item_knn.neighbors", "-5", "models.item_knn.neighbors should be at least 1 and at most 10000"),
        ("item_knn.neighbors", "0", "models.item_knn.neighbors should be at least 1"),
        ("item_knn.neighbors", "2.5", "models.item_knn.neighbors should be a whole number"),
        ("item_knn.asymmetry", "1.01", "models.item_knn.asymmetry should be at least 0 and at most 1"),
        ("item_knn.half_life", "0", "models.item_knn.half_life should be at least 0.01"),
        ("ease.ridge", "nan", "models.ease.ridge should be a finite number"),
        ("ease.ridge", "inf", "models.ease.ridge should be a finite number"),
        ("ease.ridge", "", "models.ease.ridge should be a finite number"),
        ("ials.seed", "4294967296", "models.ials.seed should be at least 0 and less than"),
    ],
)
def test_a_value_out_of_sense_is_refused_in_one_line_whichever_way_it_comes(path, value, message):
    with pytest.raises(InputError) as refused:
        with_settings([f"models.{path}={value}"])
    assert str(refused.value).startswith(f"--set models.{path}={value}: {message}")
    assert "\n" not in str(refused.value)
    if value:
        model, _, name = path.partition(".")
        with pytest.raises(ValidationError, match=message.replace("+", r"\+")):
            NightlyParameters.model_validate({"models": {model: {name: float(value)}}})


def test_an_unknown_parameter_is_answered_with_the_closest():
    with pytest.raises(ValueError, match=r"unknown parameter models\.ease\.ridg; did you mean models\.ease\.ridge\?"):
        model_value("ease.ridg", 5)
    with pytest.raises(ValidationError, match=r"unknown parameter models\.nothing\.like_it"):
        NightlyParameters.model_validate({"models": {"nothing": {"like_it": 1}}})


def test_whole_numbers_stay_whole_and_the_others_real():
    models = with_settings(["models.ease.ridge=300", "models.ials.dimensions=8"]).models
    assert models == {"ease": {"ridge": 300.0}, "ials": {"dimensions": 8}}
    assert (type(models["ease"]["ridge"]), type(models["ials"]["dimensions"])) == (float, int)


def test_settings_lie_over_what_was_found_before():
    found = {"ease": {"ridge": 300.0, "dropout": 0.1}, "svd": {"dimensions": 8}}
    models = with_settings(["models.ease.ridge=5"], found).models
    assert models == {"ease": {"ridge": 5.0, "dropout": 0.1}, "svd": {"dimensions": 8}}
    assert found["ease"]["ridge"] == 300.0


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), (" 2h ", 7200)])
def test_a_budget_is_a_length_of_time(text, seconds):
    assert resolve_budget(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "10", "0m", "-5m", "1.5h", "soon", "5d"])
def test_what_is_no_length_of_time_is_told_how_to_write_it(text):
    with pytest.raises(InputError, match=r"--budget .* is no length of time; write 90s, 10m or 2h"):
        resolve_budget(text)
