"""Settings under optimistic concurrency: nothing is lost, nothing stale is written."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId
from documents import TWIN, TWIN_TEXT
from pymongo import MongoClient
from pymongo.database import Database

from features.errors import InputError, NotFoundError, StaleWriteError
from features.schema import names, plan
from features.schema.user_settings import read_settings, update_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITERS, ROUNDS = 8, 25


@pytest.fixture
def ready(db: Database) -> Database:
    plan.apply(db)
    return db


def put(database: Database, user: Any = "ann", **more: Any) -> None:
    database[names.USER_SETTINGS].insert_one({"userId": user, **more})


def stored(database: Database, user: Any = "ann") -> dict[str, Any]:
    found = database[names.USER_SETTINGS].find_one({"userId": user})
    assert found is not None
    return found


def test_a_change_is_written_with_its_time_and_the_next_version(ready):
    put(ready, preferences={"music": {"energy": 0.2, "valence": 0.3}, "ai": {"model": "m"}}, version=3)
    assert update_settings(ready, "ann", 3, {"music.energy": 0.5, "interface.theme": "dark"}, NOW) == 4
    found = stored(ready)
    assert found["preferences"] == {
        "music": {"energy": 0.5, "valence": 0.3},
        "ai": {"model": "m"},
        "interface": {"theme": "dark"},
    }
    assert (found["version"], found["updatedAt"]) == (4, NOW)
    assert read_settings(ready, "ann") == (4, found["preferences"])


def test_a_stale_write_changes_nothing_and_shows_no_user(ready):
    put(ready, "ann@example.com", preferences={"music": {"energy": 0.2}}, version=3)
    before = stored(ready, "ann@example.com")
    for seen in (2, 4, 0):
        with pytest.raises(StaleWriteError, match=f"since version {seen} was read; read them again") as stale:
            update_settings(ready, "ann@example.com", seen, {"music.energy": 0.9}, NOW)
        assert "ann" not in str(stale.value)
    assert StaleWriteError.exit_status == 5
    assert stored(ready, "ann@example.com") == before


@pytest.mark.parametrize("legacy", [{}, {"version": None}, {"version": 0}, {"version": 0.0}], ids=repr)
def test_settings_of_before_versions_count_as_version_0(db, legacy):
    put(db, **legacy)
    assert read_settings(db, "ann") == (0, {})
    assert update_settings(db, "ann", 0, {"music.energy": 0.5}, NOW) == 1
    assert read_settings(db, "ann") == (1, {"music": {"energy": 0.5}})
    with pytest.raises(StaleWriteError):
        update_settings(db, "ann", 0, {"music.energy": 0.9}, NOW)


@pytest.mark.parametrize("version", [7, 7.0, Int64(7)], ids=repr)
def test_a_version_of_any_number_type_is_understood(ready, version):
    put(ready, version=version)
    assert read_settings(ready, "ann") == (7, {})
    assert update_settings(ready, "ann", 7, {"music.energy": 0.5}, NOW) == 8


def test_a_user_without_settings_is_told_so(ready):
    with pytest.raises(NotFoundError):
        read_settings(ready, "nobody")
    with pytest.raises(NotFoundError):
        update_settings(ready, "nobody", 0, {"music.energy": 0.5}, NOW)
    assert ready[names.USER_SETTINGS].count_documents({}) == 0


@pytest.mark.parametrize(
    "path", ["music.loudness", "music", "energy", "", "music.energy.x", "preferences.music.energy", "userId", "$where"]
)
def test_an_unknown_path_is_refused_before_anything_is_sent(ready, path):
    put(ready, version=1)
    with pytest.raises(InputError, match=r"there is no preference .*music\.energy"):
        update_settings(ready, "ann", 1, {"music.energy": 0.5, path: 1}, NOW)
    with pytest.raises(InputError, match="at least one"):
        update_settings(ready, "ann", 1, {}, NOW)
    assert stored(ready).keys() == {"_id", "userId", "version"}


@pytest.mark.parametrize(
    "changes", [{"music.energy": 1.5}, {"music.genres": "pop"}, {"interface.theme": "pink"}, {"ai.context": -1}]
)
def test_the_validator_has_its_say(ready, changes):
    put(ready, version=1)
    with pytest.raises(InputError, match=next(iter(changes))) as refused:
        update_settings(ready, "ann", 1, changes, NOW)
    assert "pink" not in str(refused.value)
    assert stored(ready).keys() == {"_id", "userId", "version"}


def test_preferences_in_another_form_are_told_without_their_values(db):
    put(db, preferences="secret", version=1)
    with pytest.raises(InputError, match="not in the contract's form") as refused:
        update_settings(db, "ann", 1, {"music.energy": 0.5}, NOW)
    assert "secret" not in str(refused.value)


def test_a_text_and_an_object_id_that_read_alike_have_settings_of_their_own(ready):
    put(ready, TWIN, version=1)
    put(ready, TWIN_TEXT, version=5)
    assert read_settings(ready, TWIN) == read_settings(ready, f"oid:{TWIN_TEXT}") == (1, {})
    assert read_settings(ready, TWIN_TEXT) == (5, {})
    assert update_settings(ready, ObjectId(TWIN_TEXT), 1, {"ai.model": "m"}, NOW) == 2
    assert read_settings(ready, TWIN_TEXT) == (5, {})


def test_no_update_of_eight_writers_is_lost(ready, server_uri):
    put(ready, preferences={"ai": {"context": 0}})

    def writer(_: int) -> int:
        stale = 0
        with MongoClient(server_uri) as client:
            database = client[ready.name]
            for _round in range(ROUNDS):
                while True:
                    version, preferences = read_settings(database, "ann")
                    changes = {"ai.context": preferences["ai"]["context"] + 1}
                    try:
                        update_settings(database, "ann", version, changes, NOW)
                        break
                    except StaleWriteError:
                        stale += 1
        return stale

    with ThreadPoolExecutor(WRITERS) as pool:
        stale = sum(pool.map(writer, range(WRITERS)))
    assert read_settings(ready, "ann") == (WRITERS * ROUNDS, {"ai": {"context": WRITERS * ROUNDS}})
    assert stale > 0  # else they did not meet
