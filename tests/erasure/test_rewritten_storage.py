"""The built-in database written anew: the same content without the bytes of what was deleted."""

import shutil
from pathlib import Path

import pytest
from pymongo import MongoClient

from features import embedded
from features.embedded import embedded_server, storage_alone
from features.erasure.storage import rewrite_storage
from features.erasure.traces import find_traces_in_storage
from features.errors import DatabaseError, StorageError
from features.schema import plan
from features.schema.collections import COLLECTIONS

GONE = "person-4711-unmistakable"


@pytest.fixture(scope="module")
def original(quick_folder: Path) -> tuple[Path, dict]:
    """A home with a database at rest, and its content."""
    home = quick_folder / "before-rewriting"
    with embedded_server(home) as uri, MongoClient(uri) as client:
        plan.apply(client.music, collections=COLLECTIONS[:2])
        history = [{"userId": GONE if n % 5 == 0 else "bob", "trackId": f"t{n}", "n": n} for n in range(1_000)]
        client.music.things.insert_many(history)
        client.music.things.create_index("userId", name="theirs", partialFilterExpression={"n": {"$gt": 3}})
        client.other.notes.insert_one({"_id": 1, "text": "kept"})
        client.music.things.delete_many({"userId": GONE})
    return home, content(home)


@pytest.fixture
def home(original: tuple[Path, dict], quick_path: Path) -> Path:
    """A copy of it, for the test alone."""
    return Path(shutil.copytree(original[0], quick_path / "home"))


@pytest.fixture
def before(original: tuple[Path, dict]) -> dict:
    """What the home holds at first."""
    return original[1]


def content(home: Path) -> dict:
    with embedded_server(home) as uri, MongoClient(uri) as client:
        return {
            (database, info["name"]): (
                info.get("options"),
                sorted(map(repr, client[database][info["name"]].find({}))),
                sorted(map(repr, client[database][info["name"]].list_indexes())),
            )
            for database in ("music", "other")
            for info in client[database].list_collections()
        }


def test_everything_is_copied_and_deleted_bytes_are_gone(home, before):
    assert find_traces_in_storage(home, GONE) != []
    assert rewrite_storage(home) is True
    assert find_traces_in_storage(home, GONE) == []
    assert content(home) == before
    assert len(before["music", "things"][1]) == 800
    assert sorted(path.name for path in home.iterdir()) == ["db", "db.log", "db.run"]


def test_while_somebody_uses_or_keeps_it_nothing_is_done(home):
    with embedded_server(home):
        assert rewrite_storage(home) is False
    embedded.start(home)
    try:
        assert rewrite_storage(home) is False
    finally:
        embedded.stop(home)
    assert find_traces_in_storage(home, GONE) != []
    assert rewrite_storage(home) is True


def test_nobody_can_start_it_while_it_is_rewritten(home, monkeypatch):
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.3)
    with storage_alone(home) as storage:
        assert storage == home.resolve() / "db"
        with pytest.raises(DatabaseError, match="does not stop"), embedded_server(home):
            pass


def test_a_copy_that_fails_leaves_the_old_files(home, before, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("features.erasure.storage._copy_database", full)
    with pytest.raises(StorageError, match="No space"):
        rewrite_storage(home)
    assert content(home) == before
    assert not (home / "db.rewrite").exists()


@pytest.mark.parametrize("made_anew", [False, True], ids=["before the new one is in place", "with an empty folder"])
def test_a_swap_cut_short_is_undone_by_the_next_start(home, before, made_anew):
    (home / "db").rename(home / "db.old")
    if made_anew:
        (home / "db").mkdir()
    assert content(home) == before
    assert not (home / "db.old").exists()


def test_a_swap_cut_short_at_its_end_is_finished_by_the_next_start(home, before):
    (home / "db.old").mkdir()
    (home / "db.old" / "leftover").write_text(GONE)
    assert content(home) == before
    assert not (home / "db.old").exists()
