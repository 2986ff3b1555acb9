"""A run that slept through its lease changes nothing: not the pointer, not a release, not a document, not a file."""

import base64
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from published import dump, files, on_disk
from pydantic import SecretStr
from pymongo.database import Database

from features.database import translated_errors
from features.erasure.tombstones import write_tombstone
from features.errors import BusyError, UnreachableError
from features.release import ledger, retention
from features.release.ledger import (
    LEASE,
    find_release,
    hold_lease,
    move_pointer,
    read_pointer,
    record,
    releases,
    under_lease,
    update,
)
from features.release.manifest import Manifest, read_manifest, release_folder
from features.release.mirror import mirror_cache
from features.release.publish import promote, publish_release, rollback, switch, upload

LATER = datetime.now(UTC) + timedelta(days=1)


@dataclass(frozen=True)
class Night:
    """Published releases, the third being live, one of which was built again since, and a failed one on disk only."""

    database: Database
    home: Path
    first: Manifest
    again: Manifest
    second: Manifest
    third: Manifest
    fresh: Manifest


WRITES: dict[str, Callable[[Night, int], object]] = {
    "records": lambda at, token: record(at.database, at.fresh, token, "failed"),
    "records over another's": lambda at, token: record(at.database, at.third, token, "failed"),
    "notes": lambda at, token: update(at.database, at.first.id, token, {"$set": {"state": "live"}}),
    "uploads": lambda at, token: upload(at.database, at.home, at.fresh, token),
    "uploads again": lambda at, token: upload(at.database, at.home, read_manifest(at.home, at.again.id), token),
    "moves the pointer": lambda at, token: move_pointer(
        at.database, at.first.id, read_pointer(at.database), token, previous=None
    ),
    "switches": lambda at, token: switch(at.database, at.first, token),
    "switches to what is live": lambda at, token: switch(at.database, at.third, token),
    "publishes": lambda at, token: publish_release(at.database, at.home, at.fresh.id, token),
    "promotes": lambda at, token: promote(at.database, at.home, at.first.id, token),
    "promotes a failed one": lambda at, token: promote(at.database, at.home, at.fresh.id, token, gate=False),
    "rolls back": lambda at, token: rollback(at.database, token),
    "withdraws": lambda at, token: retention.withdraw(at.database, at.third.id, token),
    "expires": lambda at, token: retention.expire(at.database, at.first.id, token, LATER),
    "prunes": lambda at, token: retention.prune(at.database, at.home, token, 2, LATER),
    "removes files": lambda at, token: retention.prune(at.database, at.home, token, 9, LATER),
    "mirrors": lambda at, token: mirror_cache(at.database, at.home, at.third, token),
}


@pytest.fixture
def night(ready, home, another, publish) -> Night:
    failing = [{"name": "lists", "passed": False, "detail": "none"}]
    fresh = on_disk(home, another(5), checks=failing)
    shutil.copytree(release_folder(home, fresh.id), home / "releases" / ".2026-02-06-abcdef.0a1b2c3d")
    return Night(ready, home, *(publish(another(number)) for number in (1, 2, 3, 4)), fresh)


@pytest.mark.parametrize("withdrawing", [False, True])
def test_a_stale_run_changes_nothing(ready, home, night, withdrawing):
    with hold_lease(ready) as stale:
        pass
    # as if its folder had been lost and made again: what the database has of it must go before it is sent
    on_disk(home, night.again, built_at=night.again.built_at + timedelta(seconds=90))
    with hold_lease(ready) as token:
        if withdrawing:  # a newer run was killed in its rollback: there is something to finish for whoever comes
            pointer = read_pointer(ready)
            move_pointer(ready, night.third.id, pointer, token, previous=night.second.id, withdraw=night.first.id)
        before, there = dump(ready), files(home)
        for name, write in WRITES.items():
            with pytest.raises(BusyError) as error:
                write(night, stale)
            assert "\n" not in str(error.value)
            assert dump(ready) == before, name
            assert files(home) == there, name


def test_an_upload_that_loses_its_lease_between_two_chunks_sends_no_other(ready, home, night):
    seen = []

    def lose(_what: str, done: int, _total: int | None) -> None:
        if done == 2 and not seen:
            ready.releases.update_one({"_id": LEASE}, {"$inc": {"token": 1}})
            seen.append(dump(ready))

    with hold_lease(ready) as token, pytest.raises(BusyError):
        upload(ready, home, night.fresh, token, progress=lose)
    assert seen == [dump(ready)]


def test_a_stale_run_takes_nobody_out_of_the_files(ready, home, night):
    key = SecretStr(base64.b64encode(bytes(32)).decode())
    write_tombstone(ready, bytes(32), "bob", LATER)
    with hold_lease(ready) as stale:
        pass
    before = files(home)
    with hold_lease(ready) as token:
        with pytest.raises(BusyError):
            publish_release(ready, home, night.fresh.id, stale, key)
        assert files(home) == before
        publish_release(ready, home, night.fresh.id, token, key)
    assert files(home) != before


def test_each_of_these_writes_does_change_something_while_the_lease_is_held(ready, home, night):
    for write in ("uploads", "expires", "withdraws", "rolls back"):
        before = dump(ready)
        with hold_lease(ready) as token:
            WRITES[write](night, token)
        assert dump(ready) != before


def take_lease(database) -> int:
    """A lease without a heartbeat, as that of a process that is stopped; of another host, so that it is waited out."""
    return ledger._take_lease(releases(database), "another-host:1:1")


@pytest.fixture
def short_lease(monkeypatch) -> float:
    monkeypatch.setattr(ledger, "LEASE_LIFE", timedelta(seconds=0.5))
    return 0.6


def write_late(database: Database, token: int, sleep_s: float, *, succeeded: bool) -> None:
    """Looks at the lease, sleeps through its end, and goes on as if nothing had been."""
    with under_lease(database, token):
        time.sleep(sleep_s)
        if succeeded:
            successor = threading.Thread(target=take_lease, args=(database,))  # whose time is its own
            successor.start()
            successor.join()
        with translated_errors():
            database.elsewhere.insert_one({"type": "late"})


def test_what_was_looked_up_before_a_sleep_is_not_written_after_it(ready, short_lease):
    token = take_lease(ready)
    with pytest.raises(BusyError, match="a newer run holds the lease"):
        write_late(ready, token, short_lease, succeeded=True)
    assert ready.elsewhere.count_documents({}) == 0


def test_who_overslept_but_was_not_succeeded_is_told_to_run_again(ready, short_lease):
    token = take_lease(ready)
    with pytest.raises(UnreachableError, match="run the command again"):
        write_late(ready, token, short_lease, succeeded=False)
    assert ready.elsewhere.count_documents({}) == 0
    with under_lease(ready, token):  # and may: the lease is still its own
        ready.elsewhere.insert_one({"type": "again"})
    assert ready.elsewhere.count_documents({}) == 1


def test_a_lease_that_missed_its_beats_is_renewed_before_a_write(ready, short_lease):
    token = take_lease(ready)
    time.sleep(short_lease)
    with under_lease(ready, token):
        assert ready.releases.find_one({"_id": LEASE})["expiresAt"] > datetime.now(UTC)


def test_a_lease_renewed_between_the_look_and_the_taking_is_not_taken(ready, monkeypatch):
    take_lease(ready)
    ready.releases.update_one({"_id": LEASE}, {"$set": {"expiresAt": datetime.now(UTC) - timedelta(seconds=1)}})
    seen = ready.releases.find_one({"_id": LEASE})
    ready.releases.update_one({"_id": LEASE}, {"$set": {"expiresAt": LATER}})
    collection = releases(ready)
    monkeypatch.setattr(type(collection), "find_one", lambda *_: seen)
    with pytest.raises(BusyError, match="took the lease at the same moment"):
        ledger._take_lease(collection, "here:1:1")


def test_taking_the_lease_puts_its_token_on_every_release_and_leaves_them_as_they_are(ready, night):
    before = {entry["_id"]: entry for entry in ready.releases.find({"state": {"$exists": True}})}
    with hold_lease(ready) as token:
        for name, entry in before.items():
            assert find_release(ready, name) == entry | {"token": token}


def test_a_heartbeat_whose_lease_is_anothers_ends(ready, monkeypatch):
    monkeypatch.setattr(ledger, "LEASE_LIFE", timedelta(seconds=0.2))
    with hold_lease(ready):
        (beat,) = (thread for thread in threading.enumerate() if thread.name == "lease")
        ready.releases.update_one({"_id": LEASE}, {"$inc": {"token": 1}})
        beat.join(10)
        assert not beat.is_alive()
