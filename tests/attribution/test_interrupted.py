"""An attribution that is killed is finished by the next; one that slept through its lease writes nothing."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import bson
import pytest
from handmade import FIRST, NOW, World, play
from pymongo.database import Database

from features.attribution import writing
from features.attribution.attribute import attribute_feedback
from features.errors import BusyError
from features.release.documents import EMPTY_FEEDBACK
from features.release.ledger import LEASE, find_release, hold_lease
from features.schema import names

USERS = [f"user-{number:02d}" for number in range(12)]


class Killed(BaseException):
    """As sudden as a kill, as far as Python lets a test go."""


@pytest.fixture
def many(empty: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A dozen users, each of whom has played something of each of two lists."""
    monkeypatch.setattr(writing, "WRITE_BATCH", 5)
    strategies = ("hybrid", "popular")
    tracks = {(user, strategy): [f"{strategy}-{n}" for n in range(4)] for user in USERS for strategy in strategies}
    empty.publish(FIRST, tracks, built=48, live=47)
    chance = random.Random(5)
    empty.db[names.LISTENING_HISTORY].insert_many(
        [play(f"{s}-{chance.randrange(4)}", user=user, completionRate=chance.random()) for user, s in tracks]
    )
    return empty


def state(db: Database) -> dict[str, list[bytes]]:
    return {
        name: sorted(bson.encode(found) for found in db[name].find({"_id": {"$ne": LEASE}}, {"token": 0}))
        for name in (names.RECOMMENDATIONS, names.RELEASES)
    }


def killing(function: Callable[..., object], at: int, *, done: bool) -> Callable[..., object]:
    """The function, whose n-th call is the last thing that happens; it may have done its work."""
    left = [at]

    def call(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0 and not done:
            raise Killed
        result = function(*arguments)
        if left[0] < 0:
            raise Killed
        return result

    return call


@pytest.mark.parametrize("done", [True, False])
def test_a_run_that_is_killed_at_any_write_is_finished_by_the_next(many, monkeypatch, done):
    untouched = state(many.db)
    assert many.attribute().changed == 24
    whole = state(many.db)
    for at in range(5):  # 24 lists in writes of five
        many.db[names.RECOMMENDATIONS].update_many({}, {"$set": {"feedback": EMPTY_FEEDBACK}})
        many.note(FIRST, {"$unset": {"scorecard": ""}})
        assert state(many.db) == untouched
        with monkeypatch.context() as patch:
            patch.setattr(writing, "_write", killing(writing._write, at, done=done))
            with pytest.raises(Killed):
                many.attribute()
        assert find_release(many.db, FIRST).get("scorecard") is None
        assert many.attribute().changed == 24 - min(24, 5 * (at + done))
        assert state(many.db) == whole


def test_a_stale_run_can_write_nothing(many):
    with hold_lease(many.db) as stale:
        pass
    before = state(many.db)
    with hold_lease(many.db):
        with pytest.raises(BusyError, match="newer run"):
            attribute_feedback(many.db, many.home, stale, NOW)
        assert state(many.db) == before


def test_a_stale_run_can_not_even_write_a_scorecard(many):
    many.attribute()
    many.note(FIRST, {"$set": {"scorecard": {"strategies": []}}})
    before = state(many.db)
    with hold_lease(many.db) as stale:
        pass
    with hold_lease(many.db):
        with pytest.raises(BusyError):
            attribute_feedback(many.db, many.home, stale, NOW)
        assert state(many.db) == before


def test_a_run_that_loses_its_lease_between_two_writes_makes_no_other(many, monkeypatch):
    write, seen = writing._write, []

    def lose(*arguments: object) -> object:
        if len(seen) == 1:
            many.db[names.RELEASES].update_one({"_id": LEASE}, {"$inc": {"token": 1}})
        seen.append(state(many.db))
        return write(*arguments)

    monkeypatch.setattr(writing, "_write", lose)
    with pytest.raises(BusyError):
        many.attribute()
    assert len(seen) == 2
    assert state(many.db) == seen[-1]
    assert len(many.answered()) == 5


def test_two_runs_at_once_are_one_and_one_that_is_told_so(many):
    with hold_lease(many.db), pytest.raises(BusyError, match="another run holds the lease"):
        many.attribute()
    assert many.attribute(datetime.now(UTC) + timedelta(seconds=1)).changed == 24
