"""The lease, its token, and the pointer that only the newest run may move."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from pymongo import MongoClient

from features.errors import BusyError, NotFoundError
from features.release import ledger
from features.release.ledger import (
    LEASE,
    LIVE,
    Pointer,
    all_releases,
    find_release,
    hold_lease,
    move_pointer,
    read_pointer,
    record,
    releases,
    update,
)


def lease_of(database) -> dict:
    return database.releases.find_one({"_id": LEASE})


def set_lease(database, *, owner: str, seconds: float, token: int = 7) -> None:
    """Puts a lease there as another run would have left it."""
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    change = {"owner": owner, "token": token, "expiresAt": expires}
    database.releases.update_one({"_id": LEASE}, {"$set": change}, upsert=True)


def pid_of_a_process_that_is_gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_before_the_first_release_nothing_is_live(ready):
    assert read_pointer(ready) is None
    with hold_lease(ready):
        assert read_pointer(ready) is None


def test_every_lease_has_a_higher_token_and_is_given_back(ready):
    tokens = []
    for _ in range(3):
        with hold_lease(ready) as token:
            tokens.append(token)
            assert lease_of(ready)["owner"] is not None
            assert lease_of(ready)["token"] == token
        assert lease_of(ready)["owner"] is None
    assert tokens == [1, 2, 3]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_lease_is_given_back_when_the_block_raises(ready, failure):
    with pytest.raises(failure), hold_lease(ready):
        raise failure
    assert lease_of(ready)["owner"] is None
    with hold_lease(ready):
        pass


def test_a_second_run_is_told_who_holds_the_lease(ready):
    with hold_lease(ready):
        with (
            pytest.raises(BusyError, match=f"process {os.getpid()} on {socket.gethostname()}, until ") as error,
            hold_lease(ready),
        ):
            pytest.fail("two runs hold the lease")
        assert "\n" not in str(error.value)
        assert lease_of(ready)["owner"] is not None  # the refused one took nothing away
        assert lease_of(ready)["token"] == 1


def test_of_many_at_once_only_one_gets_the_lease(ready):
    held, refused = [], []
    barrier = threading.Barrier(6)
    everyone_has_tried = threading.Barrier(6)

    def run():
        barrier.wait()
        try:
            with hold_lease(ready) as token:
                held.append(token)
                everyone_has_tried.wait(30)
        except BusyError:
            refused.append(1)
            everyone_has_tried.wait(30)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 5)


def test_a_lease_that_ran_out_is_taken_over(ready):
    set_lease(ready, owner="another-host:1:1", seconds=-1)
    with hold_lease(ready) as token:
        assert token == 8


def test_a_lease_of_another_host_is_waited_out(ready):
    set_lease(ready, owner="another-host:1:1", seconds=30)
    with pytest.raises(BusyError, match="process 1 on another-host"), hold_lease(ready):
        pass


def test_a_lease_whose_process_is_gone_is_taken_over_at_once(ready):
    set_lease(ready, owner=f"{socket.gethostname()}:{pid_of_a_process_that_is_gone()}:1", seconds=50)
    with hold_lease(ready) as token:
        assert token == 8


def test_a_lease_whose_process_lives_is_not_taken_over(ready):
    set_lease(ready, owner=f"{socket.gethostname()}:{os.getppid()}:1", seconds=50)
    with pytest.raises(BusyError), hold_lease(ready):
        pass


def test_a_killed_run_is_succeeded_at_once(ready, server_uri):
    script = """
import sys, time
from pymongo import MongoClient
from features.release.ledger import hold_lease
with MongoClient(sys.argv[1], tz_aware=True) as client, hold_lease(client[sys.argv[2]]) as token:
    print(token, flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, server_uri, ready.name], stdout=subprocess.PIPE, text=True
    )
    with process:
        token = int(process.stdout.readline())
        with pytest.raises(BusyError, match=f"process {process.pid} on "), hold_lease(ready):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with hold_lease(ready) as mine:
        assert mine == token + 1


def test_the_heartbeat_renews_the_lease(ready, monkeypatch):
    monkeypatch.setattr(ledger, "LEASE_LIFE", timedelta(seconds=2))
    with hold_lease(ready):
        first = lease_of(ready)["expiresAt"]
        deadline = time.monotonic() + 30
        while lease_of(ready)["expiresAt"] <= first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert lease_of(ready)["expiresAt"] > first


def test_the_heartbeat_leaves_a_successors_lease_alone(ready, monkeypatch):
    monkeypatch.setattr(ledger, "LEASE_LIFE", timedelta(seconds=0.4))
    with hold_lease(ready):
        set_lease(ready, owner="another-host:1:1", seconds=30, token=99)
        theirs = lease_of(ready)
        time.sleep(0.5)  # several beats
    assert lease_of(ready) == theirs


def test_a_lease_that_cannot_be_given_back_does_not_hide_what_was_done(ready, server_uri):
    client = MongoClient(server_uri, tz_aware=True)
    with hold_lease(client[ready.name]) as token:
        assert token == 1
        client.close()
    assert lease_of(ready)["owner"] is not None  # it runs out by itself


def test_the_pointer_moves_by_compare_and_set(ready):
    with hold_lease(ready) as token:
        first = move_pointer(ready, "r-1", None, token, previous=None)
        assert read_pointer(ready) == first == Pointer("r-1", None, first.changed_at)
        second = move_pointer(ready, "r-2", first, token, previous="r-1")
        assert read_pointer(ready) == second
        for seen in (None, first):
            with pytest.raises(BusyError, match="r-3 is not switched to"):
                move_pointer(ready, "r-3", seen, token, previous=None)
        assert read_pointer(ready) == second


def test_a_stale_run_cannot_move_the_pointer(ready):
    with hold_lease(ready) as stale:
        live = move_pointer(ready, "r-1", None, stale, previous=None)
        set_lease(ready, owner="gone:1:1", seconds=-1, token=stale)
        with hold_lease(ready) as fresh:
            assert fresh > stale
            with pytest.raises(BusyError):
                move_pointer(ready, "stale", live, stale, previous="r-1")
            assert move_pointer(ready, "fresh", live, fresh, previous="r-1").release == "fresh"
        with pytest.raises(BusyError):
            move_pointer(ready, "stale", live, stale, previous="r-1")
    assert read_pointer(ready).release == "fresh"


def test_a_stale_run_cannot_even_publish_the_very_first_release(ready):
    with hold_lease(ready) as stale:
        set_lease(ready, owner="gone:1:1", seconds=-1, token=stale)
        with hold_lease(ready) as fresh:
            with pytest.raises(BusyError):
                move_pointer(ready, "stale", None, stale, previous=None)
            assert read_pointer(ready) is None
            move_pointer(ready, "fresh", None, fresh, previous=None)
    assert read_pointer(ready).release == "fresh"


def test_a_stale_run_cannot_write_over_a_newer_ones_release(ready, manifest):
    record(ready, manifest, 2, "uploading")
    with pytest.raises(BusyError, match=f"a newer run has taken over release {manifest.id}"):
        record(ready, manifest, 1, "failed")
    with pytest.raises(BusyError, match=f"a newer run has taken over release {manifest.id}"):
        update(ready, manifest.id, 1, {"$set": {"state": "failed"}})
    assert find_release(ready, manifest.id)["state"] == "uploading"
    update(ready, manifest.id, 2, {"$set": {"state": "live"}})
    assert find_release(ready, manifest.id)["state"] == "live"


def test_recording_again_keeps_the_ledger(ready, manifest):
    record(ready, manifest, 1, "uploading")
    update(ready, manifest.id, 1, {"$set": {"ledger.user_profile.0": "abc"}})
    assert record(ready, manifest, 2, "uploading")["ledger"] == {"user_profile": {"0": "abc"}}


def test_a_release_that_is_none_is_told_with_those_there_are(ready, manifest):
    with pytest.raises(NotFoundError, match="there is no release x; the newest are: none yet"):
        find_release(ready, "x")
    record(ready, manifest, 1, "built")
    with pytest.raises(NotFoundError, match=manifest.id):
        find_release(ready, "x")


@pytest.mark.parametrize("name", [LIVE, LEASE])
def test_the_pointer_and_the_lease_are_no_releases(ready, manifest, name):
    with hold_lease(ready) as token:
        record(ready, manifest, token, "built")
        with pytest.raises(NotFoundError):
            find_release(ready, name)
        assert [document["_id"] for document in all_releases(ready)] == [manifest.id]


def test_releases_are_listed_newest_first(ready, another):
    made = [another(number) for number in (2, 1, 3)]
    for release in made:
        record(ready, release, 1, "built")
    assert [document["_id"] for document in all_releases(ready)] == [made[2].id, made[0].id, made[1].id]


def test_what_is_acknowledged_a_majority_has(ready):
    assert releases(ready).write_concern.document == {"w": "majority"}
