"""The parameter file: versions, what is kept, what is refused."""

import json
from datetime import UTC, datetime

import pytest

from features.errors import InputError
from features.parameter_file import (
    ParameterFile,
    find_parameter_file,
    kept_path,
    laid_under,
    next_version,
    parameter_path,
    read_parameter_file,
    words_of,
    write_parameter_file,
)
from features.parameters import NightlyParameters, with_settings

MODELS = {"ease": {"ridge": 300.0, "dropout": 0.1}, "ials": {"dimensions": 8}}


def made(version=1, **changes):
    values = {
        "version": version,
        "made_at": datetime(2026, 3, 1, 4, 30, tzinfo=UTC),
        "snapshot": "abc",
        "as_of": datetime(2026, 3, 2, tzinfo=UTC),
        "search": {"trials": 5, "budget_seconds": None, "seed": 7},
        "validation": {"users": 90, "models": {"ease": {"before": 0.1, "after": 0.2}}},
        "models": MODELS,
    }
    return ParameterFile(**values | changes)


def test_what_is_written_is_read(tmp_path):
    path = write_parameter_file(tmp_path, made(), None)
    assert path == parameter_path(tmp_path) == tmp_path / "parameters.json"
    assert (
        read_parameter_file(path)
        == find_parameter_file(tmp_path)
        == find_parameter_file(tmp_path / "x", path)
        == made()
    )
    assert json.loads(path.read_text())["parameters"] == {"models": MODELS}


def test_without_a_file_there_is_none(tmp_path):
    assert find_parameter_file(tmp_path) is None
    with pytest.raises(InputError, match=r"nowhere\.json is not there; make one with `echotune evaluate --tune`"):
        find_parameter_file(tmp_path, tmp_path / "nowhere.json")


def test_former_versions_stay_beside_and_numbers_only_grow(tmp_path):
    assert next_version(tmp_path, None) == 1
    write_parameter_file(tmp_path, made(1), None)
    write_parameter_file(tmp_path, made(2, snapshot="def"), made(1))
    assert read_parameter_file(kept_path(tmp_path, made(1))) == made(1)
    assert read_parameter_file(tmp_path / "parameters.json").version == 2
    assert next_version(tmp_path, made(2)) == 3
    (tmp_path / "parameters.json").unlink()
    assert next_version(tmp_path, None) == 2  # never that of one that was kept
    (tmp_path / "parameters.old.json").touch()
    (tmp_path / "parameters.11.json").touch()
    assert next_version(tmp_path, None) == 12
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_undefined_figures_are_null(tmp_path):
    path = write_parameter_file(tmp_path, made(validation={"models": {"ease": {"before": float("nan")}}}), None)
    assert "NaN" not in path.read_text()
    assert read_parameter_file(path).validation == {"models": {"ease": {"before": None}}}


def changed(**changes):
    return json.dumps(made().to_json() | changes)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "indices"),
        ("{}", "has no 'format'"),
        (changed(format=2), "format 2, not 1"),
        (changed(parameters={"models": {"ease": {"ridg": 1}}}), r"unknown parameter models\.ease\.ridg; did you mean"),
        (changed(parameters={"models": {"ease": {"dropout": 1.5}}}), r"models\.ease\.dropout should be at least 0 and"),
        (changed(parameters={"models": {"ials": {"dimensions": 2.5}}}), "should be a whole number"),
        (changed(parameters={"models": {"ease": {"ridge": [1]}}}), "float"),
        (changed(parameters={"models": {}, "ranking": {}}), "its parameters are models, ranking"),
        (changed(parameters={"models": [1]}), "items"),
        (changed(version="two"), "two"),
        (changed(made_at="lately"), "lately"),
        (b"\xff\xfe".decode("latin-1"), "Expecting value"),
    ],
)
def test_a_broken_file_is_one_line_with_what_where_and_a_remedy(tmp_path, text, what):
    path = tmp_path / "parameters.json"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as refused:
        find_parameter_file(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"{path} is no parameter file (")
    assert "parameters.N.json" in message
    assert "--no-parameter-file" in message
    assert "\n" not in message


def test_a_folder_in_its_place_is_one_line_too(tmp_path):
    parameter_path(tmp_path).mkdir()
    with pytest.raises(InputError, match="is no parameter file"):
        find_parameter_file(tmp_path)


def test_it_lies_over_the_defaults_and_under_what_is_set():
    given = with_settings(["models.ease.ridge=5", "models.svd.dimensions=9", "recommendations.k=7"])
    laid = laid_under(given, made())
    assert laid.models == {"ease": {"ridge": 5.0, "dropout": 0.1}, "ials": {"dimensions": 8}, "svd": {"dimensions": 9}}
    assert laid.recommendations.k == 7
    assert laid_under(given, None) == given
    assert laid_under(NightlyParameters(), made()).models == MODELS
    assert given.models == {"ease": {"ridge": 5.0}, "svd": {"dimensions": 9}}


def test_one_line_says_which_it_is():
    assert words_of(made(3)) == "parameter file version 3, made 2026-03-01 04:30 UTC, is used: ease, ials"
    assert words_of(made(models={})).endswith("is used: no model")
