"""A database with the contract in force and one release of a few lists."""

from pathlib import Path

import pytest
from handmade import FIRST, World
from pymongo.database import Database

from features.schema import plan


@pytest.fixture
def empty(db: Database, tmp_path: Path) -> World:
    """No release yet."""
    plan.apply(db)
    return World(db, tmp_path / "home")


@pytest.fixture
def world(empty: World) -> World:
    """One release, built two days ago and live since an hour later: "ann" has two lists, "bob" one."""
    lists = {
        ("ann", "hybrid"): ["t1", "t2", "t3", "t4"],
        ("ann", "collaborative"): ["t5", "t3", "t1"],
        ("bob", "content-based"): ["t1", "t6"],
    }
    empty.publish(FIRST, lists, built=48, live=47)
    return empty
