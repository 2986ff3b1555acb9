"""The harness can tell a night that went wrong from one that went well."""

import socket
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from pymongo.database import Database

from faults.night import BrokenPromiseError, Ended
from faults.proxy import Proxy
from faults.watch import Writer, fingerprint
from faults.world import difference

LIVE = "release 2026-11-25-1f47cd live\n"


@pytest.mark.parametrize(
    "ended",
    [
        Ended(0, "", ""),
        Ended(0, "release 2026-11-25-1f47cd exists\n", ""),
        Ended(1, "", "error: something\n"),
        Ended(70, "", "error: unexpected KeyError; run again with --debug to see where\n"),
        Ended(3, "", ""),
        Ended(3, "", "error: one\nerror: two\n"),
        Ended(3, "", "Traceback (most recent call last):\n"),
        Ended(-11, "", ""),
    ],
    ids=str,
)
def test_a_run_that_ends_without_saying_what_it_did_is_found(ended):
    with pytest.raises(BrokenPromiseError):
        ended.check()


@pytest.mark.parametrize(
    "ended", [Ended(0, LIVE, ""), Ended(5, "", "error: another run\n"), Ended(-9, "", "")], ids=str
)
def test_a_run_that_says_what_it_did_or_was_killed_is_not(ended):
    ended.check()


def test_a_proxy_lets_through_so_many_bytes_and_no_more_then_hangs_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1])
        proxy.cut_after(7, die=True)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            other, _ = server.accept()
            client.sendall(b"ten bytes.")
            with other:
                assert b"".join(iter(lambda: other.recv(100), b"")) == b"ten byt"
            assert client.recv(1) == b""
        with socket.create_connection(("127.0.0.1", proxy.port)) as late:
            assert late.recv(1) == b""
        assert (proxy.passed, proxy.cuts) == (7, 1)
        proxy.close()


def test_documents_that_differ_in_what_is_measured_only_are_the_same():
    found = {"_id": 1, "score": 0.5, "computedAt": 1, "list": [{"expiresAt": 2, "rank": 1}]}
    assert fingerprint(found) == fingerprint({**found, "computedAt": 3, "list": [{"expiresAt": 4, "rank": 1}]})
    assert fingerprint(found) != fingerprint({**found, "list": [{"expiresAt": 2, "rank": 2}]})


def test_a_difference_names_what_is_missing_and_where():
    whole = {"lease": None, "cache": {}, "documents": {"r": {"similarity": {1: b"a", 2: b"b"}}}}
    assert difference(whole, whole) == []
    torn = {"lease": "host:1:1", "cache": {}, "documents": {"r": {"similarity": {1: b"a"}}}}
    assert difference(torn, whole) == [
        "lease: host:1:1 instead of None",
        "1 similarity documents of r are not those of an undisturbed run",
    ]


def test_a_writer_misses_a_play_that_was_acknowledged_and_is_gone(db: Database):
    writer = Writer(db, datetime.now(UTC))
    writer.look()
    writer.look()
    assert writer.missing() == 0
    db["listening_history"].delete_one({"_id": writer.acknowledged[0]})
    assert writer.missing() == 1
    writer.acknowledged.append(ObjectId())
    assert writer.missing() == 2
