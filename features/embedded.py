"""The built-in database: one `secantusd-rs` per home folder, shared by running commands, gone with the last.

The server is a program of its own (GPL-2.0) and is never imported. Who may do what is settled by file locks
in `HOME/db.run`, which the kernel drops when their holder dies, however it dies:

- `users.lock`: each user holds it shared. The keeper takes it alone to stop, so nobody joins a dying server.
- `keeper.lock`: held alone by the keeper, a small process detached from the user that started it. A user who
  gets it knows that no keeper lives, starts one and hands the lock down. Only its holder runs a server and
  writes `server.json`.
- `probe.lock`: held for an instant around each attempt at `users.lock` alone, so that two who ask "is it in
  use?" don't take each other for users.

`echotune db start` leaves the file `keep`; while it is there the keeper stays without users.
"""

import contextlib
import ctypes
import enum
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from features.errors import DatabaseError, EchotuneError, StorageError

try:
    import fcntl
except ImportError:  # Windows; _locks_or_error says what to do
    fcntl = None  # type: ignore[assignment]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
ENDING_S = 3.0
POLL_S = 0.1
WAIT_S = 0.02
CONFIGURATION = "[storage]\nttl_sweep_seconds = 86400\n"
"""To find what has expired the server reads every document, and nobody writes meanwhile. By itself it does so each
minute, which at a few GB stops writers for longer than a lease lives; so once a day, and at the end of a night
(`database.remove_expired`)."""
ENGINE = "checkpoint=(log_size=256MB)"
"""For the server's storage engine, which by itself keeps all of the log until it is closed: twice what is written on
disk, and a start after a crash that takes as long as writing it did."""


class StopResult(enum.Enum):
    """What `stop` came to; the value reads as the end of "The built-in database …"."""

    STOPPED = "is stopped"
    IN_USE = "is in use and stops when its last user ends"
    NOT_RUNNING = "was not running"


@dataclass(frozen=True)
class ServerStatus:
    """The built-in database of a home folder; `storage_bytes` is the space on disk, as `du` counts it."""

    running: bool
    uri: str | None
    pid: int | None
    kept: bool
    in_use: bool
    storage_bytes: int


@dataclass(frozen=True)
class _Record:
    """`server.json`: a server that listens, and its keeper."""

    port: int
    server: int
    keeper: int


@dataclass
class _Use:
    """This process's share of a server, however many `with` blocks and threads stand behind it."""

    lock: int
    count: int


_uses: dict[Path, _Use] = {}
_uses_guard = threading.Lock()


def uri_of(port: int) -> str:
    """The connection string of a built-in database."""
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """The built-in database of a home folder, up for as long as the block runs; yields its URI.

    Several processes, threads and nested blocks share one server. The last to leave waits until it is gone.

    Raises:
        DatabaseError: it isn't installed or doesn't start within 30 s; shows the last line of its log.
        StorageError: the folder can't be written or its disk is full.
    """
    home = home.resolve()
    with _uses_guard:
        uri = _enter(home)
    try:
        yield uri
    finally:
        with _uses_guard:
            _leave(home)


def start(home: Path) -> str:
    """Starts the built-in database, if need be, and keeps it up until `stop`; returns its URI.

    Raises:
        DatabaseError: as `embedded_server`.
        StorageError: as `embedded_server`.
    """
    with embedded_server(home) as uri, _storage_errors(home):
        (_run(home) / "keep").touch()
    return uri


def stop(home: Path) -> StopResult:
    """Takes `start` back. Stops the server at once when nobody uses it and waits until it is gone.

    Raises:
        DatabaseError: it is still there when the time is up.
        StorageError: the folder can't be written.
    """
    _locks_or_error()
    home = home.resolve()
    run = _run(home)
    if not _is_prepared(run):
        return StopResult.NOT_RUNNING
    with _storage_errors(home):
        (run / "keep").unlink(missing_ok=True)
        if (lock := _try_lock(run / "keeper.lock")) is not None:
            _stop_orphan(home)
            _unlock(lock)
            return StopResult.NOT_RUNNING
        result = _wait_until_gone(home)
    if result is None:
        raise _does_not_stop(home)
    return result


def status(home: Path) -> ServerStatus:
    """How the built-in database of a home folder fares; changes nothing, creates nothing."""
    _locks_or_error()
    home = home.resolve()
    run = _run(home)
    if not _is_prepared(run):
        return ServerStatus(False, None, None, False, False, _bytes_on_disk(home / "db"))
    with _storage_errors(home):
        record = _record(run) if _keeper_lives(run) else None
        return ServerStatus(
            running=record is not None,
            uri=uri_of(record.port) if record else None,
            pid=record.server if record else None,
            kept=record is not None and (run / "keep").exists(),
            in_use=_in_use(run),
            storage_bytes=_bytes_on_disk(home / "db"),
        )


@contextmanager
def storage_alone(home: Path) -> Iterator[Path | None]:
    """The storage folder, with no server on it and nobody able to start one; None when somebody uses it.

    Raises:
        StorageError: the folder can't be written.
    """
    _locks_or_error()
    home = home.resolve()
    run = _run(home)
    with contextlib.ExitStack() as locks, _storage_errors(home):
        _prepare(home)
        users = _alone(run)
        if users is not None:
            locks.callback(_unlock, users)
            keeper = _try_lock(run / "keeper.lock")  # a server that is kept has a keeper without users
            if keeper is not None:
                locks.callback(_unlock, keeper)
                _stop_orphan(home)
                _finish_swap(home)
                yield home / "db"
                return
    yield None


def _alone(run: Path) -> int | None:
    """The users' lock for one; a keeper that is just ending has it for a moment yet."""
    deadline = time.monotonic() + ENDING_S
    while True:
        with _probing(run):
            lock = _try_lock(run / "users.lock")
        if lock is not None or _keeper_lives(run) or time.monotonic() > deadline:
            return lock
        time.sleep(WAIT_S)


def swap_storage(home: Path, fresh: Path) -> None:
    """Puts another storage folder in the place of a home's own, which is removed. Call it under `storage_alone`.

    Raises:
        StorageError: the folder can't be written; the old storage stays or comes back with the next start.
    """
    home = home.resolve()
    with _storage_errors(home):
        (home / "db").rename(home / "db.old")
        fresh.rename(home / "db")
        _finish_swap(home)


def _finish_swap(home: Path) -> None:
    """Goes on where a swap was interrupted: back while there is no new storage, else the old one is removed."""
    storage, old = home / "db", home / "db.old"
    if not old.exists():
        return
    if storage.exists() and any(storage.iterdir()):
        shutil.rmtree(old)
        return
    if storage.exists():
        storage.rmdir()
    old.rename(storage)


# --- the user's side


def _enter(home: Path) -> str:
    """Counts one use more in this process; the first takes the shared lock. Call it under `_uses_guard`."""
    _locks_or_error()
    use = _uses.get(home)
    if use is not None:
        uri = _join(home)  # again, since the server may have died under the outer block
        use.count += 1
        return uri
    with _storage_errors(home):
        _prepare(home)
        lock = _share(home)
    try:
        uri = _join(home)
    except BaseException:
        _unlock(lock)
        raise
    _uses[home] = _Use(lock, 1)
    return uri


def _leave(home: Path) -> None:
    """Counts one use less; the last drops the lock and, if no other process uses the server, sees it out."""
    use = _uses.get(home)
    if use is None:
        return  # a fork of the process that entered: the parent's use is the parent's to end
    use.count -= 1
    if use.count == 0:
        del _uses[home]
        _unlock(use.lock)
        with contextlib.suppress(OSError):  # the folder was taken away: its keeper sees that too
            _wait_until_gone(home)


def _forget_uses() -> None:
    """In a fork: a child is no user, else one that outlives a killed parent would keep the server up."""
    global _uses_guard  # noqa: PLW0603 - the parent's may be held by a thread that the child doesn't have
    _uses_guard = threading.Lock()
    for use in _uses.values():
        os.close(use.lock)  # closes the child's copy, the parent's lock stays
    _uses.clear()


def _prepare(home: Path) -> None:
    """Makes the folders and the files that are locked, and the server's configuration."""
    (home / "db").mkdir(parents=True, exist_ok=True)
    _run(home).mkdir(exist_ok=True)
    for name in ("users.lock", "keeper.lock", "probe.lock"):
        (_run(home) / name).touch()
    # Without --config the server would pick up a secantusd.toml of the working directory or of the user.
    configuration = _run(home) / "secantusd.toml"
    if not configuration.exists() or configuration.read_text() != CONFIGURATION:
        configuration.write_text(CONFIGURATION)


def _is_prepared(run: Path) -> bool:
    return (run / "secantusd.toml").exists()  # the last one made


def _share(home: Path) -> int:
    """The users' lock, shared; while a keeper has it alone, waits for that keeper and its server to end."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (lock := _try_lock(_run(home) / "users.lock", shared=True)) is None:
        if time.monotonic() > deadline:
            raise _does_not_stop(home)
        time.sleep(WAIT_S)
    return lock


def _join(home: Path) -> str:
    """Finds the server or starts it; returns once it answers. The caller holds the users' lock."""
    run = _run(home)
    deadline = time.monotonic() + START_TIMEOUT_S
    tried = False
    while time.monotonic() < deadline:
        with _storage_errors(home):
            lock = _try_lock(run / "keeper.lock")
            if lock is None:
                record = _record(run)
                # A keeper that is not alive left its record to the one that starts now.
                if record and _alive(record.keeper) and _answers(uri_of(record.port)):
                    return uri_of(record.port)
            else:
                try:
                    if tried or not _start_keeper(home, lock):
                        raise _failure(home, "did not start")
                finally:
                    os.close(lock)  # the keeper has inherited the lock; without one it is free again
                tried = True
        time.sleep(WAIT_S)
    raise _failure(home, f"did not answer within {START_TIMEOUT_S:g} s")


def _start_keeper(home: Path, lock: int) -> bool:
    """Starts the keeper, which inherits its lock, and returns as soon as it has detached itself."""
    command = [sys.executable, "-m", "features.embedded", str(home), str(_find_server()), str(lock)]
    private = {name: value for name, value in os.environ.items() if not name.startswith("SECANTUS_")}
    with _log(home).open("wb") as log:
        half = subprocess.run(  # noqa: S603 - our own interpreter
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[1],  # so that this package is found, installed or not
            env={**private, "PYTHONUNBUFFERED": "1", "WIREDTIGER_CONFIG": ENGINE},
            start_new_session=True,  # Ctrl-C is for the command, not for the database
            pass_fds=(lock,),
            check=False,
        )
    return half.returncode == 0


def _find_server() -> Path:
    """The server's program, beside the interpreter; the older one written in Python if need be."""
    folders = dict.fromkeys((Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))))
    for name in ("secantusd-rs", "secantusd-py"):
        for folder in folders:
            if os.access(folder / name, os.X_OK):
                return folder / name
    raise DatabaseError(
        f"the built-in database is not installed beside {sys.executable}: "
        "pip install 'echotune-features[embedded]', or set MONGODB_URI"
    )


def _answers(uri: str) -> bool:
    """Whether a MongoDB server answers a ping there."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        with MongoClient[dict[str, object]](
            uri, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000, socketTimeoutMS=1000
        ) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True


def _wait_until_gone(home: Path) -> StopResult | None:
    """Waits for the keeper to end; IN_USE when someone uses or keeps the server, None when the time is up."""
    run = _run(home)
    deadline = time.monotonic() + STOP_TIMEOUT_S + 5  # the keeper's own patience, and then some
    while _keeper_lives(run):
        if (run / "keep").exists() or _in_use(run):
            return StopResult.IN_USE
        if time.monotonic() > deadline:
            return None
        time.sleep(WAIT_S)
    return StopResult.STOPPED


def _failure(home: Path, what: str) -> EchotuneError:
    """The error for a server that is not there, told by the last line of its log."""
    last = _log_text(home).strip().rpartition("\n")[2].strip() or "its log is empty"
    message = f"the built-in database {what}: {last}; see {_log(home)}, or set MONGODB_URI to use another server"
    with _storage_errors(home):
        free = shutil.disk_usage(home).free
    if free < 16 << 20:
        return StorageError(
            f"{home}: the disk is full ({free >> 10:,} KiB free), the built-in database {what}: {last}; "
            "make room or point ECHOTUNE_HOME elsewhere"
        )
    if any(text in last for text in ("Permission denied", "Read-only file system", "No space left", "quota")):
        return StorageError(message)
    return DatabaseError(message)


def _does_not_stop(home: Path) -> DatabaseError:
    return DatabaseError(
        f"the built-in database under {home} does not stop; see {_log(home)}, or end the processes "
        f"named in {_run(home) / 'server.json'}"
    )


# --- the keeper's side


def _keep(home: Path, program: Path, lock: int) -> None:
    """The keeper's life: runs the server until nobody needs it or it dies by itself."""
    if os.fork():
        os._exit(0)  # the user waits for this half; the other is init's child and leaves the user no zombie
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _stop_orphan(home)
    _finish_swap(home)
    (_run(home) / "keep").unlink(missing_ok=True)  # of a server that died; nobody asked to keep this one
    # The last port again, so that a URI given to a notebook or Compass stays good; any other if it is taken.
    for port in dict.fromkeys((_last_port(home), 0)):
        if _serve(home, program, port):
            break
    # A thread of the user that forked at the wrong instant may have a copy; closing ours would not do.
    _unlock(lock)


def _serve(home: Path, program: Path, port: int) -> bool:
    """Runs the server until it dies or nobody needs it; False when it died before it listened."""
    server = _run_server(home, program, port)
    try:
        return _watch(home, server)
    finally:
        _end(server.pid, lambda: server.poll() is None)
        record = _record(_run(home))
        if record and record.keeper == os.getpid():
            (_run(home) / "server.json").unlink()


def _command(home: Path, program: Path, port: int) -> list[str]:
    """The server's command line."""
    options = {
        "--config": _run(home) / "secantusd.toml",
        "--host": "127.0.0.1",
        "--port": port,
        "--storage-path": home / "db",
        "--cache-size": "1G",
    }
    if program.name == "secantusd-rs":
        options["--log-file-max"] = "128MB"  # the default, 2 GB, takes 6 to 10 s to open again
    words = [str(word) for option in options.items() for word in option]
    return [str(program), *words, "--sync-on-commit"]


def _run_server(home: Path, program: Path, port: int) -> subprocess.Popen[bytes]:
    """Starts the server so that it dies with this process, on the systems that can."""
    keeper = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def die_with_keeper() -> None:
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; the log is synced on commit, so nothing is lost
            if os.getppid() != keeper:  # it died before the call
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 - the program beside our interpreter
        _command(home, program, port),
        stdin=subprocess.DEVNULL,
        cwd=home,
        preexec_fn=die_with_keeper,  # noqa: PLW1509 - safe: the keeper has no other thread
    )


def _watch(home: Path, server: subprocess.Popen[bytes]) -> bool:
    """Looks after a server until it dies or nobody needs it; False when it died before it listened."""
    run = _run(home)
    record: _Record | None = None
    while server.poll() is None:
        if record is None and (port := _announced_port(home)):
            record = _Record(port, server.pid, os.getpid())
            _write(run / "server.json", json.dumps(asdict(record)))
            _write(run / "port", str(port))
        if record != _record(run):
            return True  # the folder was removed, and perhaps made anew by others: this server has no files
        if not _needed(run):
            return True
        time.sleep(POLL_S if record else WAIT_S)
    return record is not None


def _needed(run: Path) -> bool:
    """Whether the server has users or is kept; if not, nobody can join until this process has ended."""
    if (run / "keep").exists():
        return True
    with _probing(run):
        if (alone := _try_lock(run / "users.lock")) is None:
            return True
        if (run / "keep").exists():  # left by a user who has gone since the first look
            _unlock(alone)
            return True
        return False


def _announced_port(home: Path) -> int | None:
    """The port in the line that the server prints when it listens."""
    found = re.search(r"listening on 127\.0\.0\.1:(\d+)\s", _log_text(home))
    return int(found[1]) if found else None


def _last_port(home: Path) -> int:
    """The port of the last server here; 0, which is any free one, when there was none."""
    with contextlib.suppress(OSError, ValueError):
        return int((_run(home) / "port").read_text())
    return 0


def _stop_orphan(home: Path) -> None:
    """Ends a server whose keeper was killed, where the system did not, and removes the record of it."""
    record = _record(_run(home))
    if record is not None:
        _end(record.server, lambda: _is_our_server(record.server, home))
    (_run(home) / "server.json").unlink(missing_ok=True)


def _end(pid: int, is_running: Callable[[], bool]) -> None:
    """Asks a server to stop and waits; kills it when it doesn't."""
    for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError):  # it may end between the two
            if is_running():
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while is_running() and time.monotonic() < deadline:
            time.sleep(WAIT_S)


def _is_our_server(pid: int, home: Path) -> bool:
    """Whether a process number still belongs to the server of this folder and not to a later process."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if sys.platform == "linux":
            return False
        ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        line = subprocess.run(ps, stdout=subprocess.PIPE, check=False, text=True).stdout  # noqa: S603
    return "secantusd" in line and f"--storage-path {home / 'db'} --cache-size" in line


# --- files and locks


def _run(home: Path) -> Path:
    return home / "db.run"


def _log(home: Path) -> Path:
    return home / "db.log"


def _log_text(home: Path) -> str:
    try:
        return _log(home).read_text(errors="replace")
    except OSError:
        return ""


def _record(run: Path) -> _Record | None:
    """What `server.json` says; None when there is none or a power cut left half of it."""
    try:
        return _Record(**json.loads((run / "server.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(path: Path, text: str) -> None:
    """Replaces a file so that a reader sees the old text or the new, whole."""
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(path)


def _try_lock(path: Path, *, shared: bool = False) -> int | None:
    """The open file with the lock on it; None when another open file's lock is in the way."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file


def _unlock(file: int) -> None:
    """Drops a lock for every copy of the open file, also one that a fork has."""
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


@contextmanager
def _probing(run: Path) -> Iterator[None]:
    """One at a time may ask whether the server is in use: the question itself takes a lock."""
    probe = os.open(run / "probe.lock", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(probe, fcntl.LOCK_EX)
        yield
    finally:
        os.close(probe)


def _in_use(run: Path) -> bool:
    """Whether a server is used by a living process."""
    with _probing(run):
        if (alone := _try_lock(run / "users.lock")) is not None:
            _unlock(alone)
            return False
        if (shared := _try_lock(run / "users.lock", shared=True)) is None:
            return False  # the keeper has it alone: it is stopping
        _unlock(shared)
        return _keeper_lives(run)  # or it has just ended, between the two


def _keeper_lives(run: Path) -> bool:
    lock = _try_lock(run / "keeper.lock", shared=True)
    if lock is not None:
        _unlock(lock)
    return lock is None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # alive, and another person's
    return True


def _bytes_on_disk(folder: Path) -> int:
    """The blocks taken by the files of a folder; 0 when there is no folder."""
    total = 0
    for file in folder.glob("**/*"):
        with contextlib.suppress(FileNotFoundError):  # removed by the server meanwhile
            total += file.lstat().st_blocks * 512
    return total


@contextmanager
def _storage_errors(home: Path) -> Iterator[None]:
    """Turns what the file system refuses into one line for a person."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or home}: {error.strerror}; the built-in database needs a folder it can write, "
            "point ECHOTUNE_HOME to one"
        ) from error


def _locks_or_error() -> None:
    if fcntl is None:
        raise DatabaseError("the built-in database needs Linux or macOS; set MONGODB_URI to a MongoDB server")


if fcntl is not None:
    os.register_at_fork(after_in_child=_forget_uses)

if __name__ == "__main__":
    _keep(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
