"""What a run can be told: bounds, names, and errors that help."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from features.errors import InputError
from features.parameters import EvaluationParameters, GateParameters, NightlyParameters, with_settings
from features.release.manifest import release_id


def test_without_settings_there_are_the_defaults():
    assert with_settings([]) == NightlyParameters()


def test_a_setting_changes_its_parameter_and_no_other():
    changed = with_settings(["recommendations.k=50"])
    assert changed.recommendations.k == 50
    assert changed.model_copy(update={"recommendations": NightlyParameters().recommendations}) == NightlyParameters()


def test_settings_of_one_part_add_up_and_the_last_of_one_name_counts():
    changed = with_settings(["similarity.k=9", "similarity.min_common=7", " similarity.k = 10 "])
    assert (changed.similarity.k, changed.similarity.min_common) == (10, 7)


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("interactions.half_life_days=0.5", 0.5),
        ("profiles.top_genres=0", 0),
        ("embeddings.seed=4294967295", 4294967295),
        ("embeddings.content_dimensions=13", 13),
        ("recommendations.include_heard=yes", True),
        ("recommendations.include_heard=false", False),
        ("evaluation.users=0", 0),
        ("gate.max_psi=0.5", 0.5),
        ("gate.max_psi=2", 2.0),
    ],
)
def test_values_are_read_as_what_they_are(pair, value):
    part, name = pair.partition("=")[0].split(".")
    read = getattr(getattr(with_settings([pair]), part), name)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("recommendations.k=0", "--set recommendations.k=0: input should be greater than or equal to 1"),
        ("recommendations.k=1001", "--set recommendations.k=1001: input should be less than or equal to 1000"),
        ("similarity.min_common=4", "--set similarity.min_common=4: input should be greater than or equal to 5"),
        ("interactions.half_life_days=0", "--set interactions.half_life_days=0: input should be greater than 0"),
        ("embeddings.content_dimensions=12", "greater than or equal to 13"),
        ("embeddings.seed=4294967296", "less than 4294967296"),
        ("recommendations.k=many", "--set recommendations.k=many: input should be a valid integer"),
        ("recommendations.k=1.5", "--set recommendations.k=1.5: input should be a valid integer"),
        ("recommendations.k=", "--set recommendations.k=: input should be a valid integer"),
        ("recommendations.include_heard=perhaps", "input should be a valid boolean"),
        ("evaluation.holdout_days=0", "greater than or equal to 1"),
        ("gate.min_volume_ratio=1.1", "less than or equal to 1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(pair, message):
    with pytest.raises(InputError) as error:
        with_settings([pair])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_what_is_not_a_finite_number_is_no_threshold(value):
    for name, field in GateParameters.model_fields.items():
        if field.annotation is float:
            with pytest.raises(InputError, match=name):
                with_settings([f"gate.{name}={value}"])


def test_every_threshold_and_choice_of_the_evaluation_says_why():
    for part in (GateParameters, EvaluationParameters):
        assert [name for name, field in part.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_what_is_not_a_finite_number_is_no_half_life(value):
    with pytest.raises(InputError, match="half_life_days"):
        with_settings([f"interactions.half_life_days={value}"])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("recommendations.kk", "recommendations.k"),
        ("recomendations.k", "recommendations.k"),
        ("similarity.mincommon", "similarity.min_common"),
        ("models.ease.rigde", "models.ease.ridge"),
        ("models.eese.dropout", "models.ease.dropout"),
        ("models.item_knn.neighbours", "models.item_knn.neighbors"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(wrong, right):
    with pytest.raises(InputError) as error:
        with_settings([f"{wrong}=5"])
    assert str(error.value) == f"--set {wrong}=5: unknown parameter {wrong}; did you mean {right}?"


def test_a_name_like_no_other_is_answered_with_all_there_are():
    with pytest.raises(InputError, match=r"unknown parameter zzz; there are .*recommendations\.k.*similarity\.k"):
        with_settings(["zzz=5"])


def test_a_pair_without_a_value_is_told_how_to_write_it():
    with pytest.raises(InputError, match=r"--set recommendations\.k: write it as name=value"):
        with_settings(["recommendations.k"])


def test_a_models_parameter_is_read_as_what_it_is_and_only_those_told_are_held():
    models = with_settings(
        ["models.ease.ridge=300", " models.item_knn.neighbors = 40 ", "models.ease.ridge=250"]
    ).models
    assert models == {"ease": {"ridge": 250.0}, "item_knn": {"neighbors": 40}}
    assert type(models["ease"]["ridge"]) is float
    assert type(models["item_knn"]["neighbors"]) is int
    assert NightlyParameters().models == {}


def test_a_models_parameter_makes_another_release():
    as_of = datetime(2026, 11, 22, tzinfo=UTC)
    told = ([], ["models.ease.ridge=300"], ["models.ease.ridge=301"], ["models.cease.ridge=300"], ["gate.max_psi=2"])
    ids = [release_id(as_of, with_settings(pairs), "digest") for pairs in told]
    assert len(set(ids)) == 4
    assert ids[0] == ids[4]  # the gate shapes nothing
    assert ids[1] == release_id(as_of, with_settings(["models.ease.ridge=3e2"]), "digest")


def test_parameters_can_not_be_changed_or_made_up():
    with pytest.raises(ValidationError):
        NightlyParameters().recommendations.k = 5
    with pytest.raises(ValidationError):
        NightlyParameters.model_validate({"recommendations": {"kay": 5}})
    with pytest.raises(ValidationError):
        NightlyParameters.model_validate({"recommendation": {"k": 5}})
