"""Shards on real workers: the results of one process, in order, whatever happens to the workers meanwhile."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import shards
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_overlaps import similar_users_plain
from pymongo.database import Database
from small_night import fill, night

from features.cluster import fingerprint as fingerprints
from features.cluster import opening
from features.cluster import runner as runners
from features.cluster.database import WorkerDatabase
from features.cluster.fingerprint import difference, fingerprint
from features.cluster.opening import dask_runner
from features.cluster.runner import DaskRunner
from features.compute.overlaps import similar_users
from features.compute.runner import Threads
from features.errors import ClusterError, DatabaseError, InputError
from features.release.ledger import hold_lease
from features.release.manifest import Manifest, release_folder
from features.schema import names

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Dask's own, of sockets
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
]
DASK = Path(sys.executable).parent / "dask"


# --- results


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 40), st.integers(1, 4))
def test_similar_users_are_those_of_the_oracle_for_any_runner_and_shards(runner, seed, threads, shard_users, k):
    rng = np.random.default_rng(seed)
    matrix = sp.random(60, 25, rng.uniform(0.02, 0.5), "csr", random_state=rng)
    plain = similar_users_plain(matrix, k=k, min_common=2)
    for how in (Threads(threads), runner):
        found = similar_users(matrix, k=k, min_common=2, shard_users=shard_users, runner=how)
        for name in ("neighbors", "common", "jaccard"):
            assert np.array_equal(getattr(found, name), getattr(plain, name)), (how, name)


def test_results_come_in_order_and_are_made_by_the_workers(runner):
    shared = [runner.share(np.arange(1000))]
    found = list(runner.ordered(shards.weighed, shared, range(12)))
    assert [value for value, _ in found] == [499_500 * item for item in range(12)]
    assert len({pid for _, pid in found} - {os.getpid()}) == runner.workers == 2


def test_no_more_items_are_begun_than_may_be_in_flight(runner):
    begun = []
    items = (begun.append(item) or item for item in range(20))
    for taken, _ in enumerate(runner.ordered(shards.size, [], (str(item) for item in items), in_flight=3)):
        assert len(begun) <= taken + 3
    assert len(begun) == 20


def test_an_error_of_ours_comes_back_as_it_was_and_another_with_its_place(runner):
    found = runner.ordered(shards.refused, [], range(9))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(DatabaseError, match="refuses number 2"):
        next(found)
    with pytest.raises(RuntimeError, match=r"(?s)ZeroDivisionError on a Dask worker.*shards.py"):
        list(runner.ordered(shards.faulty, [], [0]))


def test_a_result_that_takes_its_time_to_come_is_fetched_once(runner, monkeypatch):
    monkeypatch.setattr(runners, "POLL_S", 0.0001)
    assert [len(found) for found in runner.ordered(shards.large, [], [60_000_000] * 2)] == [60_000_000] * 2


def test_a_large_item_takes_no_way_by_the_scheduler(runner, monkeypatch):
    sent = []
    scatter = runner._client.scatter
    monkeypatch.setattr(runner._client, "scatter", lambda data, **how: (sent.append(how), scatter(data, **how))[1])
    assert list(runner.ordered(shards.size, [], [b"x" * 200_000, b"x"])) == [200_000, 1]
    assert [how["broadcast"] for how in sent] == [False]


# --- nights


@pytest.fixture(scope="module")
def nights(database: Database, home: Path, runner: DaskRunner) -> list[tuple[Path, Manifest, dict[str, Any]]]:
    fill(database, home)
    done = []
    for name, how in (("local", None), ("dask", runner)):
        done.append((home / name, *night(database, home / name, how)))
        for collection in (names.FEATURE_STORE, names.RECOMMENDATIONS, names.RELEASES):
            database[collection].delete_many({})
    return done


def test_the_release_has_the_same_id_and_the_same_documents(nights):
    (_, local, by_local), (_, dask, by_dask) = nights
    assert dask.id == local.id
    assert dask.counts == local.counts
    assert len(by_local[names.RECOMMENDATIONS]) > 100
    assert by_dask == by_local


def test_the_snapshot_is_the_same_to_the_byte(nights):
    (home, _, _), (other, _, _) = nights
    mine, theirs = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("snapshot/**/*") if path.is_file()}
        for folder in (home, other)
    )
    assert any("/plays/" in name for name in mine)
    assert theirs == mine


def test_the_files_are_the_same_but_for_what_was_measured(nights):
    (home, local, _), (other, _, _) = nights
    for path in sorted(release_folder(home, local.id).glob("*.parquet")):
        mine, theirs = pq.read_table(path), pq.read_table(release_folder(other, local.id) / path.name)
        if "generation_ms" in mine.column_names:
            mine, theirs = (table.drop_columns(["generation_ms"]) for table in (mine, theirs))
        assert mine.equals(theirs), path.name


# --- the database


def test_a_worker_finds_the_database_by_its_environment_and_is_sent_no_address(runner, database, server_uri):
    database["some"].insert_one({})
    where = WorkerDatabase(database)
    assert server_uri.encode() not in pickle.dumps(where)
    assert server_uri not in repr(where)
    assert "some" in next(runner.ordered(shards.tables, [runner.share(where)], [0]))
    database.drop_collection("some")


def test_a_worker_that_finds_another_database_writes_nothing(runner, database: Database, server_uri):
    other = database.client[f"{database.name}_other"]
    with pytest.raises(DatabaseError, match="does not find the database that this run holds the lease of") as error:
        list(runner.ordered(shards.tables, [runner.share(WorkerDatabase(other))], [0]))
    assert server_uri not in str(error.value)
    with hold_lease(database):
        # tokens began anew when the nights above emptied the database; a worker may have opened it under this one
        database[names.RELEASES].update_one({"_id": "lease"}, {"$inc": {"token": 100}})
        where = WorkerDatabase(database)
    database[names.RELEASES].update_one({"_id": "lease"}, {"$set": {"owner": None}})
    with hold_lease(database), pytest.raises(DatabaseError, match="give it the same MONGODB_URI"):
        list(runner.ordered(shards.tables, [runner.share(where)], [0]))


def test_a_run_that_ends_closes_what_was_opened_for_it_and_leaves_others_theirs(runner, database: Database):
    with hold_lease(database):
        ours = runner.share(WorkerDatabase(database))
        list(runner.ordered(shards.tables, [ours], range(4)))
        busy = DaskRunner(runner._client)
        busy.forget()  # one that found another at work
        assert runner.workers == len([opened for opened in runner._client.run(shards.open_keys).values() if opened])
        runner._client.run(shards.hold_on)
        runner.forget()
        assert not any(runner._client.run(shards.open_keys).values())
        closed = runner._client.run(shards.are_closed).values()  # earlier tests' too
        assert len(closed) == runner.workers
        assert all(each and all(each) for each in closed)


# --- lost workers


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A scheduler without workers, in this process."""
    from distributed import LocalCluster

    how = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=0, processes=False, **how) as own:
        yield own.scheduler_address


@pytest.fixture
def workers(scheduler: str) -> Iterator[list[subprocess.Popen]]:
    """Two of them as a person starts them, without anybody to start them again."""
    how = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    paths = os.pathsep.join([str(Path(shards.__file__).parent), *filter(None, sys.path)])
    command = [DASK, "worker", scheduler, *how]
    started = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL) for _ in range(2)
    ]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_killed_amid_a_shard_changes_nothing_and_without_any_a_line_says_so(scheduler, workers, tmp_path):
    with dask_runner(scheduler, patience_s=20) as runner:
        runner._client.wait_for_workers(2, timeout=60)
        shared = [runner.share(tmp_path / "mark")]
        assert list(runner.ordered(shards.ended_once, shared, range(30))) == list(range(30))
        assert runner.workers == 1
        assert sorted(process.poll() or 0 for process in workers) == [-signal.SIGKILL, 0]
        runner._patience_s = 1.5
        with pytest.raises(ClusterError, match=r"has had no worker for 2 s; start some with `dask worker"):
            list(runner.ordered(shards.deadly, [], [0]))


def test_what_was_shared_is_sent_again_where_its_last_copy_is_gone(runner):
    shared = [runner.share(np.arange(1000))]
    found = []
    for number, (value, _) in enumerate(runner.ordered(shards.weighed, shared, range(20))):
        if number == 3:
            for pid in runner._client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)  # both; they are started again by those who look after them
        found.append(value)
    assert found == [499_500 * item for item in range(20)]


# --- clusters that can't be used


def test_a_scheduler_without_workers_is_waited_for_and_then_said(scheduler):
    with pytest.raises(ClusterError, match="no worker for 1 s"), dask_runner(scheduler, patience_s=1):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "tcp://127.0.0.1", "http://127.0.0.1:1", "tcp://a:b@c:1", ""])
def test_what_is_no_address_is_refused_before_anything_is_started(address):
    with pytest.raises(InputError, match="write tcp://HOST:PORT"), dask_runner(address):
        pass


def test_an_address_where_nobody_or_somebody_else_answers_is_one_line(monkeypatch):
    monkeypatch.setattr(opening, "CONNECT_S", 0.5)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        thread = threading.Thread(target=silent.serve_forever)
        thread.start()
        for port in (1, silent.server_port):
            with pytest.raises(ClusterError, match=f"no Dask scheduler answers at tcp://127.0.0.1:{port} "):
                dask_runner(f"tcp://127.0.0.1:{port}").__enter__()
        silent.shutdown()
        thread.join()


def test_a_worker_that_would_compute_something_else_is_refused_by_name(runner: DaskRunner, monkeypatch):
    ours = {**fingerprint(), "numba": "0.1"}
    monkeypatch.setattr(runners, "fingerprint", lambda: ours)
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ has numba \d\S+, here 0\.1; install the same"):
        runner.check_workers()
    with pytest.raises(ClusterError, match="a Dask worker that joined has numba"):
        list(runner.ordered(shards.size, [], ["x"]))


def test_a_worker_whose_clock_is_off_is_refused(runner: DaskRunner, monkeypatch):
    monkeypatch.setattr(runners, "CLOCKS_S", -60.0)
    with pytest.raises(ClusterError, match="the clock of the Dask worker"):
        runner.check_workers()


def test_where_dask_is_missing_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'echotune-features\[dask\]'"), dask_runner():
        pass


# --- what is looked at


def test_a_fingerprint_follows_every_source(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").touch()
    (tmp_path / "deep").mkdir()
    code = tmp_path / "deep" / "code.py"
    code.write_text("k = 1")
    monkeypatch.setattr(fingerprints.features, "__file__", str(tmp_path / "__init__.py"))
    before = fingerprints._code()
    code.write_text("k = 2")
    assert fingerprints._code() != before


def test_a_difference_names_the_first_thing_that_differs():
    ours = {"Python": "3.12.1", "numpy": "2.3"}
    assert difference(ours, dict(ours)) == ""
    assert difference(ours, {**ours, "numpy": "2.4"}) == "has numpy 2.4, here 2.3"
    assert difference(ours, {"Python": "3.12.1"}) == "has numpy none, here 2.3"
    assert {"echotune-features", "numba", "arithmetic"} <= set(fingerprint())
