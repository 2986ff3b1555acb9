"""The backfill flow: past releases on disk, as known then, and nothing else touched."""

from datetime import UTC, datetime, timedelta

import pytest
from documents import BOUND, SMALL, fill_small_world, play
from pymongo.database import Database

from features.errors import BusyError
from features.release.ledger import hold_lease, read_pointer
from features.release.manifest import read_manifest, releases_on_disk
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
DAY = timedelta(days=1)


@pytest.fixture
def world(settings: Settings, db: Database) -> Database:
    """Plays known day by day; one that was played long before it was known, one known before it was played."""
    fill_small_world(db)
    db.listening_history.update_many({}, {"$set": {"importedAt": BOUND - 20 * DAY}})
    db.listening_history.insert_many(
        [play("ann", f"track-{n:02d}", days=n, importedAt=BOUND - n * DAY) for n in range(1, 15)]
        + [play("late", days=15, importedAt=BOUND - 1.5 * DAY), play("early", days=1, importedAt=BOUND - 9 * DAY)]
    )
    return db


def text(moment: datetime) -> str:
    return moment.isoformat()


def served(db: Database) -> list[bytes]:
    """What readers can meet, as bytes: NaN is not equal to itself."""
    return [bytes(batch) for name in ("feature_store", "recommendations") for batch in db[name].find_raw_batches()]


def known(db: Database, moment: datetime) -> int:
    """Plays by both clocks, document by document."""
    return sum(d["importedAt"] <= moment and d["playedAt"] < moment for d in db.listening_history.find())


def test_past_releases_hold_what_was_played_and_known_then_and_readers_keep_theirs(
    world: Database, settings: Settings
) -> None:
    home = settings.echotune_home
    live = nightly(as_of="2026-02-28", parameters=SMALL).release
    before = served(world)
    first, last = BOUND - 12 * DAY, BOUND - 2 * DAY
    done = backfill(text(first), text(last), "5d", SMALL)
    assert [entry.moment for entry in done] == [first, first + 5 * DAY, last]
    for number, entry in enumerate(done):
        manifest = read_manifest(home, str(entry.release))
        assert (manifest.as_of, manifest.known_at, manifest.origin) == (entry.moment, entry.moment, "backfill")
        assert manifest.counts["plays"] == entry.plays == known(world, entry.moment) > 0
        assert manifest.aligned_to == (done[number - 1].release if number else None)
    assert read_pointer(world).release == live
    assert served(world) == before
    again = backfill(text(first), text(last), "5d", SMALL)
    assert [entry.release for entry in again] == [entry.release for entry in done]
    assert not any(entry.built for entry in again)
    nightly(as_of="2026-02-27", parameters=SMALL)
    assert {entry.release for entry in done} < set(releases_on_disk(home))  # no night takes them away


def test_moments_before_the_first_play_are_told_and_passed_over(world: Database) -> None:
    done = backfill(text(BOUND - 60 * DAY), text(BOUND - 10 * DAY), "25d", SMALL)
    assert [entry.release is None for entry in done] == [True, True, False]


def test_a_backfill_beside_another_run_is_one_clear_line(world: Database) -> None:
    with hold_lease(world), pytest.raises(BusyError, match="another run holds the lease"):
        backfill("2026-02-20", "2026-02-20", "1d", SMALL)


def test_a_night_can_be_told_both_clocks(world: Database, settings: Settings) -> None:
    moment = BOUND - 5 * DAY
    result = nightly(known_at=text(moment), parameters=SMALL)
    manifest = read_manifest(settings.echotune_home, result.release)
    assert (manifest.as_of, manifest.known_at, manifest.origin) == (moment, moment, "nightly")
    assert manifest.counts["plays"] == known(world, moment)
    earlier = nightly(as_of=text(moment - 3 * DAY), known_at=text(moment), parameters=SMALL)
    manifest = read_manifest(settings.echotune_home, earlier.release)
    played = sum(d["playedAt"] < moment - 3 * DAY and d["importedAt"] <= moment for d in world.listening_history.find())
    assert manifest.counts["plays"] == played
    assert manifest.known_at == moment < datetime.now(UTC)
