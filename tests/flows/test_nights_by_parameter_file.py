"""Nights and backfills go by the parameter file of the data folder, and their releases show it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import echotune
from documents import BOUND, SMALL, fill_small_world
from pymongo.database import Database

from features.errors import InputError
from features.parameter_file import ParameterFile, write_parameter_file
from features.release.manifest import read_manifest
from features.settings import Settings
from flows.backfill import backfill
from flows.nightly import nightly

pytestmark = [
    pytest.mark.usefixtures("prefect"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Prefect's and its server's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
]
MODELS = {"ease": {"ridge": 12.5}, "item_knn": {"neighbors": 7}}
DAY = "2026-02-28"


def found(models: dict[str, dict[str, float]] = MODELS, version: int = 1) -> ParameterFile:
    return ParameterFile(version, datetime(2026, 3, 1, 4, 30, tzinfo=UTC), "abc", BOUND, {}, {}, models)


@pytest.fixture
def home(settings: Settings, db: Database) -> Iterator[Path]:
    fill_small_world(db)
    settings.echotune_home.mkdir()
    return settings.echotune_home


def parameters_of(home: Path, release: str | None) -> object:
    return read_manifest(home, str(release)).parameters["models"]


def test_a_night_goes_by_the_file_under_what_it_is_told_and_its_id_shows_it(home: Path) -> None:
    plain = nightly(as_of=DAY, parameters=SMALL).release
    assert parameters_of(home, plain) == {}
    write_parameter_file(home, found(), None)
    by_file = nightly(as_of=DAY, parameters=SMALL).release
    assert by_file != plain
    assert parameters_of(home, by_file) == MODELS
    told = SMALL.model_copy(update={"models": {"ease": {"ridge": 3.0}}})
    over = nightly(as_of=DAY, parameters=told).release
    assert over not in (by_file, plain)
    assert parameters_of(home, over) == MODELS | {"ease": {"ridge": 3.0}}
    without = nightly(as_of=DAY, parameters=SMALL, use_parameter_file=False).release
    assert parameters_of(home, without) == {}
    elsewhere = write_parameter_file(home / "elsewhere", found({"svd": {"dimensions": 3}}), None)
    chosen = nightly(as_of=DAY, parameters=SMALL, parameter_file=elsewhere).release
    assert parameters_of(home, chosen) == {"svd": {"dimensions": 3}}


def test_so_do_backfills(home: Path) -> None:
    moment = (BOUND - timedelta(days=1)).isoformat()
    (plain,) = backfill(moment, moment, "1d", SMALL)
    write_parameter_file(home, found(), None)
    (by_file,) = backfill(moment, moment, "1d", SMALL)
    assert by_file.release != plain.release
    assert parameters_of(home, by_file.release) == MODELS
    assert backfill(moment, moment, "1d", SMALL, use_parameter_file=False)[0].release == plain.release


def test_a_broken_file_stops_a_night_before_it_reads_anything(home: Path) -> None:
    (home / "parameters.json").write_text("{}")
    with pytest.raises(InputError, match=r"parameters\.json is no parameter file \(has no 'format'\); remove it or"):
        nightly(as_of=DAY, parameters=SMALL)
    assert [path.name for path in home.iterdir()] == ["parameters.json"]


def test_the_command_says_which_file_it_goes_by(home: Path) -> None:
    write_parameter_file(home, found(version=4), None)
    line = "parameter file version 4, made 2026-03-01 04:30 UTC, is used: ease, item_knn"
    words = ("--as-of", DAY, "--set", "models.ease.ridge=9")
    status, out, err = echotune("nightly", *words)
    assert (status, err) == (0, "")
    assert out.splitlines().count(line) == 1
    release = out.splitlines()[-1].split()[1]
    assert parameters_of(home, release) == MODELS | {"ease": {"ridge": 9.0}}
    out = echotune("nightly", *words, "--no-parameter-file")[1]
    assert "parameter file" not in out
    assert parameters_of(home, out.splitlines()[-1].split()[1]) == {"ease": {"ridge": 9.0}}
    past = ("--from", DAY, "--to", DAY)
    out = echotune("backfill", *past)[1]
    assert out.splitlines().count(line) == 1
    (entry,) = json.loads(echotune("backfill", *past, "--json")[1])
    assert parameters_of(home, entry["release"]) == MODELS
