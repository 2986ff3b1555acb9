"""The built-in database, against the real server: who shares it, and that it never outlives its users."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pymongo import MongoClient

from features import embedded
from features.embedded import StopResult, embedded_server, start, status, stop, uri_of
from features.errors import DatabaseError, StorageError

ROOT = Path(embedded.__file__).parents[1]

# A user in a process of its own: says what it got, stays until it is told to go on, says when it has left.
GUEST = """
import json, sys
from pathlib import Path
from features.embedded import embedded_server, status
home = Path(sys.argv[1])
with embedded_server(home) as uri:
    print(json.dumps({"uri": uri, "pid": status(home).pid}), flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""

# A user with a child that was forked inside the block.
FORKING_GUEST = """
import os, time
""" + GUEST.replace(
    "sys.stdin.readline()",
    """fork = os.fork()
    if fork:
        print(fork, flush=True)
    time.sleep(60)""",
)

# Uses the server again and again; the pauses (seconds) fall before, into and after the server's last moments.
REGULAR = """
import sys, time
from pathlib import Path
from pymongo import MongoClient
from features.embedded import embedded_server
for pause in sys.argv[3:]:
    with embedded_server(Path(sys.argv[1])) as uri, MongoClient(uri, serverSelectionTimeoutMS=1000) as client:
        client.test.visits.insert_one({"by": sys.argv[2]})
    time.sleep(float(pause))
"""


class Guest:
    """A process running one of the scripts above; killed at the end of its test if it is still there."""

    def __init__(self, script: str, home: Path, *arguments: object) -> None:
        command = [sys.executable, "-c", script, str(home), *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def server(self) -> dict[str, object]:
        return json.loads(self.says())

    def leave(self) -> None:
        self.process.communicate("\n", timeout=30)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def home(quick_path: Path) -> Iterator[Path]:
    home = quick_path / "home"
    yield home
    stop(home)
    until(lambda: not status(home).running)


@pytest.fixture
def guest(home: Path) -> Iterator[Callable[..., Guest]]:
    guests: list[Guest] = []

    def make(script: str = GUEST, *arguments: object) -> Guest:
        guests.append(Guest(script, home, *arguments))
        return guests[-1]

    yield make
    for each in guests:
        each.kill()


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(pid: int | None) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    assert pid is not None
    if Path("/proc/self/stat").exists():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout[:1] not in ("", "Z")


def record(home: Path) -> dict[str, int]:
    return json.loads((home / "db.run" / "server.json").read_text())


def names(uri: str) -> list[str]:
    with MongoClient(uri, serverSelectionTimeoutMS=2000) as client:
        return sorted(document["name"] for document in client.test.people.find())


def add(uri: str, name: str) -> None:
    with MongoClient(uri, serverSelectionTimeoutMS=2000) as client:
        client.test.people.insert_one({"name": name})


def fake_server(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Puts a shell script in the place of the server's program."""
    program = folder / "secantusd-rs"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "_find_server", lambda: program)


# --- sharing


def test_it_starts_answers_and_is_gone_after_the_block(home):
    with embedded_server(home) as uri:
        add(uri, "Ada")
        during = status(home)
        keeper = record(home)["keeper"]
        assert (during.running, during.uri, during.kept, during.in_use) == (True, uri, False, True)
        assert alive(during.pid)
        assert during.storage_bytes > 0
    after = status(home)
    assert (after.running, after.uri, after.pid, after.in_use) == (False, None, None, False)
    assert not alive(during.pid)
    until(lambda: not alive(keeper))  # it is on its last instructions
    with embedded_server(home) as again:
        assert again == uri  # the same port, so that a notebook's URI stays good
        assert names(again) == ["Ada"]


def test_a_taken_port_is_replaced_by_a_free_one(home):
    (home / "db.run").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (home / "db.run" / "port").write_text(str(port))
        with embedded_server(home) as uri:
            assert uri != uri_of(port)
            assert names(uri) == []


def test_two_processes_share_one_server_until_the_last_leaves(home, guest):
    first, second = guest(), guest()
    server = first.server()
    assert second.server() == server
    first.leave()
    assert alive(server["pid"])
    second.leave()
    assert not alive(server["pid"])
    assert not status(home).running


def test_nested_blocks_and_threads_share_one_server(home):
    seen = []

    def use():
        with embedded_server(home) as uri:
            seen.append((uri, status(home).pid))
            both.wait(timeout=30)

    both = threading.Barrier(2)
    threads = [threading.Thread(target=use) for _ in range(2)]
    with embedded_server(home) as uri:
        outer = (uri, status(home).pid)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with embedded_server(home / ".." / "home") as inner:  # another spelling of the same folder
            assert inner == uri
        assert alive(outer[1])
    assert seen == [outer, outer]
    assert not alive(outer[1])


def test_eight_processes_that_start_at_once_get_the_same_server(home, guest):
    guests = [guest() for _ in range(8)]
    servers = [each.server() for each in guests]
    assert all(server == servers[0] for server in servers)
    for each in guests:
        each.process.stdin.write("\n")
        each.process.stdin.flush()
    for each in guests:
        assert each.says() == "left"
    assert not alive(servers[0]["pid"])


def test_a_user_who_comes_while_a_slow_server_stops_waits_for_a_new_one(home, tmp_path, monkeypatch):
    real = embedded._find_server()
    # Goes on answering for a second after it was told to stop.
    fake_server(monkeypatch, tmp_path, f'{real} "$@" & trap "sleep 1; kill $!" TERM; wait; wait')
    start(home)
    first = record(home)
    results = []
    stopper = threading.Thread(target=lambda: results.append(stop(home)))
    stopper.start()
    time.sleep(0.5)
    with embedded_server(home) as uri:
        assert record(home)["server"] != first["server"]
        assert names(uri) == []
    stopper.join()
    assert results[0] in (StopResult.STOPPED, StopResult.IN_USE)  # the latter, once the new one is there


@pytest.mark.slow
def test_a_user_who_comes_while_the_server_stops_never_gets_a_dead_uri(home, guest):
    pauses = ["0", "0.05", "0.15", "0.3", "0.45"]
    regulars = [guest(REGULAR, "one", *pauses), guest(REGULAR, "two", *reversed(pauses))]
    for each in regulars:
        each.process.communicate(timeout=120)
        assert each.process.returncode == 0
    assert not status(home).running
    with embedded_server(home) as uri, MongoClient(uri) as client:
        assert client.test.visits.count_documents({}) == 2 * len(pauses)  # nothing acknowledged was lost


# --- deaths


def test_the_server_is_gone_after_its_only_user_is_killed(home, guest):
    user = guest()
    pid = user.server()["pid"]
    keeper = record(home)["keeper"]
    user.kill()
    until(lambda: not alive(pid) and not alive(keeper))
    assert not status(home).running


def test_a_user_killed_while_the_server_starts_leaves_nothing(home, guest):
    user = guest()
    until((home / "db.log").exists)
    user.kill()
    until(lambda: not embedded._keeper_lives(home / "db.run"))
    with embedded_server(home) as uri:
        assert names(uri) == []


def test_a_fork_that_outlives_its_killed_parent_does_not_keep_the_server(home, guest):
    user = guest(FORKING_GUEST)
    pid = user.server()["pid"]
    fork = int(user.says())
    try:
        user.process.kill()
        until(lambda: not alive(pid))
        assert alive(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_a_killed_keeper_takes_its_server_along_and_loses_nothing(home):
    with embedded_server(home) as uri:
        add(uri, "Ada")
        first = record(home)
        os.kill(first["keeper"], signal.SIGKILL)
        if sys.platform == "linux":  # elsewhere the next start finds the orphan
            until(lambda: not alive(first["server"]))
        with embedded_server(home) as again:
            assert names(again) == ["Ada"]
            assert record(home)["server"] != first["server"]
            assert not alive(first["server"])


def test_a_killed_server_is_replaced_at_the_next_use_and_loses_nothing(home, guest):
    user = guest()
    server = user.server()
    add(server["uri"], "Ada")
    os.kill(server["pid"], signal.SIGKILL)
    with embedded_server(home) as uri:  # the first user is still there
        assert names(uri) == ["Ada"]
        assert alive(status(home).pid)
    user.leave()
    assert not status(home).running


@pytest.mark.slow
def test_the_log_of_what_was_written_does_not_grow_without_end_and_nothing_is_lost(home):
    megabytes, most = 800, 500
    with embedded_server(home) as uri, MongoClient(uri) as client:
        blob = os.urandom(1_000_000)
        for number in range(megabytes):
            client["big"]["blobs"].insert_one({"_id": number, "blob": blob})
        until(lambda: sum(log.stat().st_size for log in (home / "db").glob("WiredTigerLog.*")) < most * 1_000_000)
        os.kill(status(home).pid, signal.SIGKILL)
        with embedded_server(home) as again, MongoClient(again) as other:
            found = other["big"]["blobs"].find({}, {"_id": 1}).sort("_id", 1)
            assert [document["_id"] for document in found] == list(range(megabytes))


def test_an_orphan_of_a_killed_keeper_is_ended_before_the_next_start(home):
    with embedded_server(home):
        old = record(home)
    # As on a system where the server does not die with its keeper: run one and leave the record of it.
    command = embedded._command(home, embedded._find_server(), 0)
    with (home / "db.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as orphan:
        try:
            until(lambda: embedded._announced_port(home) is not None)
            (home / "db.run" / "server.json").write_text(json.dumps({**old, "server": orphan.pid}))
            with embedded_server(home) as uri:
                assert orphan.wait(timeout=10) is not None
                assert names(uri) == []
        finally:
            orphan.kill()


def test_a_stale_record_is_ignored_and_its_process_number_left_alone(home):
    embedded._prepare(home)
    with subprocess.Popen(["sleep", "60"]) as innocent:
        try:
            stale = {"port": 1, "server": innocent.pid, "keeper": innocent.pid}
            (home / "db.run" / "server.json").write_text(json.dumps(stale))
            (home / "db.run" / "keep").touch()  # of a server before the power cut
            assert not status(home).running
            with embedded_server(home) as uri:
                assert names(uri) == []
            assert innocent.poll() is None
            assert not status(home).running
        finally:
            innocent.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}', "null"])
def test_half_a_record_counts_as_none(tmp_path, text):
    (tmp_path / "server.json").write_text(text)
    assert embedded._record(tmp_path) is None


def test_a_server_whose_folder_is_removed_ends_and_leaves_the_next_alone(home):
    start(home)
    first = record(home)
    home.rename(home.with_name("away"))
    with embedded_server(home) as uri:
        until(lambda: not alive(first["server"]) and not alive(first["keeper"]))
        assert names(uri) == []
        assert record(home)["server"] != first["server"]


def test_a_configuration_lying_about_does_not_reach_the_server(home, monkeypatch):
    home.mkdir()
    (home / "secantusd.toml").write_text("no configuration at all")  # the server looks where it runs
    monkeypatch.setenv("WIREDTIGER_CONFIG", "nonsense")
    with embedded_server(home) as uri:
        assert names(uri) == []


def test_a_home_of_an_earlier_version_gets_the_configuration_of_this_one(home):
    with embedded_server(home):
        pass
    (home / "db.run" / "secantusd.toml").write_text("")  # as it was
    with embedded_server(home) as uri:
        assert names(uri) == []
    assert (home / "db.run" / "secantusd.toml").read_text() == embedded.CONFIGURATION


# --- start, stop, status


def test_a_started_server_stays_until_stop(home, guest):
    uri = start(home)
    assert start(home) == uri
    user = guest()
    server = user.server()
    assert server["uri"] == uri
    user.leave()
    time.sleep(3 * embedded.POLL_S)
    kept = status(home)
    assert (kept.running, kept.kept, kept.in_use, kept.uri) == (True, True, False, uri)
    assert names(uri) == []
    assert stop(home) is StopResult.STOPPED
    assert not alive(server["pid"])
    assert stop(home) is StopResult.NOT_RUNNING


def test_stop_leaves_a_server_in_use_to_its_last_user(home, guest):
    start(home)
    user = guest()
    server = user.server()
    assert stop(home) is StopResult.IN_USE
    assert names(server["uri"]) == []
    now = status(home)
    assert (now.running, now.kept, now.in_use) == (True, False, True)
    user.leave()
    assert not alive(server["pid"])


def test_asking_about_a_home_that_does_not_exist_creates_nothing(tmp_path):
    home = tmp_path / "nowhere"
    assert status(home) == embedded.ServerStatus(False, None, None, False, False, 0)
    assert stop(home) is StopResult.NOT_RUNNING
    assert not home.exists()


def test_many_who_ask_at_once_do_not_take_each_other_for_users(home):
    wrong = []

    def ask():
        wrong.extend(now for now in (status(home) for _ in range(300)) if now.in_use or not now.running)

    start(home)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- errors


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    with pytest.raises(StorageError, match=r"file/home.*: Not a directory; .*ECHOTUNE_HOME") as caught:
        start(home)
    assert "\n" not in str(caught.value)
    assert not status(home).running


def test_a_missing_server_names_the_remedy(home, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "python"))
        patch.setattr(embedded.sysconfig, "get_path", lambda _: str(tmp_path))
        with pytest.raises(DatabaseError, match=r"echotune-features\[embedded\].*MONGODB_URI"):
            start(home)
        for name in ("secantusd-py", "secantusd-rs"):  # the faster one is taken when both are there
            (tmp_path / name).touch(mode=0o755)
            assert embedded._find_server() == tmp_path / name


def test_a_system_without_file_locks_names_the_remedy(home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "fcntl", None)
        for use in (start, stop, status):
            with pytest.raises(DatabaseError, match="set MONGODB_URI"):
                use(home)


@pytest.mark.parametrize(
    ("last_line", "error"),
    [("the reason", DatabaseError), ("write: No space left on device", StorageError)],
)
def test_a_server_that_fails_shows_the_last_line_of_its_log(home, tmp_path, monkeypatch, last_line, error):
    fake_server(monkeypatch, tmp_path, f"echo first; echo '{last_line}' >&2; exit 1")
    with pytest.raises(error, match=rf"did not start: {last_line}; see .*db\.log"):
        start(home)
    assert not status(home).running


def test_a_full_disk_is_named_as_the_cause(home, tmp_path, monkeypatch):
    fake_server(monkeypatch, tmp_path, "exit 1")  # it may not even have had room for a line in its log
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(StorageError, match=r"disk is full \(4 KiB free\), .* its log is empty; make room"):
        start(home)


def test_a_server_that_never_answers_is_given_up_and_ended(home, tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 1.0)
    fake_server(monkeypatch, tmp_path, "echo $$; exec sleep 60")
    with pytest.raises(DatabaseError, match=r"did not answer within 1 s: \d+; see") as caught:
        start(home)
    pid = int(str(caught.value).partition("within 1 s: ")[2].partition(";")[0])
    until(lambda: not alive(pid))


def test_the_older_server_serves_as_well(home, monkeypatch):
    older = embedded._find_server().with_name("secantusd-py")
    if not older.exists():
        pytest.skip("secantusd-py is not installed")
    monkeypatch.setattr(embedded, "_find_server", lambda: older)
    with embedded_server(home) as uri:
        add(uri, "Ada")
        assert names(uri) == ["Ada"]
        pid = status(home).pid
    assert not alive(pid)
