"""Settings: what the environment says, and errors that name the variable and never a secret."""

from pathlib import Path

import pytest

from features.errors import InputError
from features.parameters import NightlyParameters, with_settings
from features.settings import Settings, get_settings

SECRET = "hunter2-of-the-test"


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """An empty folder to stand in, no variables, nothing remembered."""
    monkeypatch.chdir(tmp_path)
    for name in ("MONGODB_URI", "MONGODB_DATABASE", "ECHOTUNE_HOME", "ECHOTUNE_VECTORS", "ECHOTUNE_MEMORY_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_without_variables_the_defaults_hold():
    settings = get_settings()
    assert settings.mongodb_uri is None
    assert settings.uses_embedded_database
    assert settings.mongodb_database == "echotune_ai"
    assert settings.echotune_home == Path("data")
    assert settings.echotune_vectors == "double"
    assert settings.memory_limit == 8_000_000_000


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_uri_means_the_built_in_database(monkeypatch, blank):
    monkeypatch.setenv("MONGODB_URI", blank)
    assert get_settings().uses_embedded_database


def test_a_dot_env_file_is_read_and_the_environment_wins(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("MONGODB_DATABASE=from_file\nECHOTUNE_VECTORS=float32\nUNRELATED=1\n")
    monkeypatch.setenv("MONGODB_DATABASE", "from_environment")
    settings = get_settings()
    assert settings.mongodb_database == "from_environment"
    assert settings.echotune_vectors == "float32"


def test_the_uri_is_not_shown(monkeypatch):
    monkeypatch.setenv("MONGODB_URI", f"mongodb://user:{SECRET}@example.com/")
    settings = get_settings()
    assert not settings.uses_embedded_database
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ECHOTUNE_VECTORS", "float16"),
        ("MONGODB_DATABASE", ""),
        ("MONGODB_DATABASE", "x" * 64),
        ("ECHOTUNE_MEMORY_LIMIT", "8 apples"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv("MONGODB_URI", f"mongodb://user:{SECRET}@example.com/")
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^environment variable {name}: ") as error:
        get_settings()
    assert "\n" not in str(error.value)
    assert ".env" in str(error.value)
    assert SECRET not in str(error.value)


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Settings().mongodb_database = "other"


def test_no_pairs_are_the_default_parameters():
    assert with_settings([]) == NightlyParameters()


def test_a_pair_changes_its_parameter_and_no_other():
    parameters = with_settings(["recommendations.k=7", " interactions.half_life_days = 30.5 "])
    assert parameters.recommendations.k == 7
    assert parameters.interactions.half_life_days == 30.5
    assert parameters.similarity == NightlyParameters().similarity


def test_the_last_of_two_pairs_wins():
    assert with_settings(["recommendations.k=7", "recommendations.k=8"]).recommendations.k == 8


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("recommendations.k", "write it as name=value"),
        ("recommendation.k=5", "did you mean recommendations.k?"),
        ("zzz=5", "there are embeddings.content_dimensions"),
        ("recommendations.k=0", "greater than or equal to 1"),
        ("recommendations.k=many", "valid integer"),
        ("similarity.min_common=4", "greater than or equal to 5"),
        ("interactions.half_life_days=nan", "less than or equal to 36500"),
        ("interactions.half_life_days=inf", "less than or equal to 36500"),
        ("recommendations.include_heard=perhaps", "valid boolean"),
    ],
)
def test_a_pair_that_cannot_be_used_is_one_line_that_says_why(pair, says):
    with pytest.raises(InputError) as error:
        with_settings([pair])
    message = str(error.value)
    assert message.startswith("--set ")
    assert says in message
    assert "\n" not in message
