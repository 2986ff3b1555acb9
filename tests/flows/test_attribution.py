"""Attribution on a real Prefect server and a real database: at the end of a night, by itself, on the command line."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from commands import echotune
from pymongo.database import Database

from features.database import open_database
from features.errors import BusyError, GateError, UnreachableError
from features.parameters import NightlyParameters
from features.release import build
from features.release.ledger import hold_lease, read_pointer
from features.schema import plan
from features.settings import Settings
from features.sources.sample import SampleSpec, make_sample, write_sample
from flows import nightly as module
from flows.attribution import attribution
from flows.nightly import nightly

pytestmark = [
    pytest.mark.usefixtures("prefect"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Prefect's and its server's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
]
FEWER = NightlyParameters.model_validate({"recommendations": {"k": 5}})


@pytest.fixture
def sampled(settings: Settings) -> Settings:
    with open_database(settings) as database:
        plan.apply(database)
        today = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
        sample = make_sample(SampleSpec(users=20, tracks=60, days=20, seed=3), end=today)
        write_sample(database, sample, home=settings.echotune_home, now=datetime.now(UTC))
    return settings


def listen(db: Database) -> dict[str, Any]:
    """Someone plays a track of their list, which the app says it is, and likes another; the list."""
    live = read_pointer(db)
    assert live
    found = db["recommendations"].find_one({"release": live.release, "strategy": "hybrid"})
    assert found
    first, second = (entry["trackId"] for entry in found["candidates"][:2])
    now = datetime.now(UTC)
    play = {"userId": found["userId"], "trackId": first, "playedAt": now, "importedAt": now, "completionRate": 0.9}
    db["listening_history"].insert_one({**play, "context": {"recommendationId": found["_id"]}})
    db["user_feedback"].insert_one({"userId": found["userId"], "trackId": second, "signal": "like", "createdAt": now})
    return found


def feedback(db: Database, found: dict[str, Any]) -> dict[str, Any]:
    return db["recommendations"].find_one({"_id": found["_id"]})["feedback"]


def expected(found: dict[str, Any]) -> dict[str, Any]:
    first, second = (entry["trackId"] for entry in found["candidates"][:2])
    return {"tracksPlayed": [first], "tracksLiked": [second], "tracksSkipped": [], "overallRating": 4.5}


def test_each_night_ends_with_what_became_of_the_lists_so_far(sampled: Settings, db: Database) -> None:
    first = nightly()
    assert (first.attributed.releases, first.attributed.changed) == ([first.release], 0)
    found = listen(db)
    second = nightly(parameters=FEWER)
    assert second.attributed.releases == [first.release, second.release]
    assert (second.attributed.explicit, second.attributed.inferred, second.attributed.changed) == (1, 1, 1)
    assert feedback(db, found) == expected(found)
    assert db["recommendations"].count_documents({"feedback.overallRating": {"$ne": None}}) == 1
    third = nightly(parameters=FEWER)
    assert (third.published, third.attributed.changed) == (False, 0)


def test_a_night_that_the_gate_stops_tells_what_became_of_the_lists_too(
    sampled: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly()
    found = listen(db)
    broken = build.check_embeddings
    monkeypatch.setattr(
        build,
        "check_embeddings",
        lambda *args: [type(check)(check.name, False, "made to fail") for check in broken(*args)],
    )
    with pytest.raises(GateError):
        nightly(parameters=FEWER)
    assert feedback(db, found) == expected(found)


def test_by_itself_it_does_the_same_and_waits_for_nobody(sampled: Settings, db: Database) -> None:
    release = nightly().release
    found = listen(db)
    with hold_lease(db), pytest.raises(BusyError, match="another run holds the lease"):
        attribution()
    done = attribution()
    assert (done.releases, done.explicit, done.inferred) == ([release], 1, 1)
    assert feedback(db, found) == expected(found)


def test_a_lost_connection_is_tried_again(sampled: Settings, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    nightly()
    real, calls = module.attribute_feedback, []

    def lose_it_once(*args: object, **more: object) -> object:
        calls.append(args)
        if len(calls) == 1:
            raise UnreachableError("the connection to the database was lost")
        return real(*args, **more)

    monkeypatch.setattr(module, "attribute_feedback", lose_it_once)
    monkeypatch.setattr(module.attribute, "retry_delay_seconds", [0])
    assert attribution().releases
    assert len(calls) == 2


def test_the_command_tells_what_it_read_and_prints_scorecards(sampled: Settings, db: Database) -> None:
    status, out, err = echotune("attribution", "--show")
    assert (status, out) == (7, "")
    assert err.startswith("error: no release is live yet")
    assert echotune("attribution")[:2] == (0, "no release has lists that have not expired; nothing to do\n")
    release = nightly().release
    found = listen(db)
    db["listening_history"].insert_one(
        {"userId": "ann", "trackId": "t", "playedAt": datetime.now(UTC), "context": {"recommendationId": "gone"}}
    )
    status, out, err = echotune("attribution")
    assert (status, err) == (0, "")
    assert "recommendation is not known" in out
    assert out.splitlines()[-1] == (
        "3 responses: 1 to the list they name, 1 inferred, 0 of no recommendation, 1 set aside; "
        "feedback of 1 list changed"
    )
    again = json.loads(echotune("attribution", "--json")[1])
    assert (again["explicit"], again["changed"], again["read"]) == (1, 0, {"plays": 2, "feedback": 1})
    assert again["first"] == {"recommendation is not known": "gone"}
    shown = json.loads(echotune("attribution", "--show", "--json")[1])
    (hybrid,) = [entry for entry in shown["strategies"] if entry["strategy"] == "hybrid"]
    assert (shown["release"], hybrid["played"], hybrid["liked"]) == (
        release,
        {"explicit": 1, "inferred": 0},
        {"explicit": 0, "inferred": 1},
    )
    assert (
        hybrid["ranks"]["lists"][0]
        == hybrid["lists"]
        == db["recommendations"].count_documents({"release": release, "strategy": "hybrid"})
    )
    status, out, _ = echotune("attribution", "--release", release)
    assert status == 0
    assert "1 (1 inferred)" in out
    assert "By rank, all strategies" in out
    db["releases"].update_one({"_id": release}, {"$unset": {"scorecard": ""}})
    assert echotune("attribution", "--show")[2] == (
        f"error: release {release} has no scorecard yet; run `echotune attribution`\n"
    )
    assert echotune("attribution", "--release", "nothing")[0] == 7
    assert feedback(db, found) == expected(found)
