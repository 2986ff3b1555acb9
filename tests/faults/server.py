"""A server of the harness's own, which can be killed and started again on the same storage and port."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

START_TIMEOUT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def uri_of(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"


class Server:
    """`secantusd-rs` as a child process, on one port and one storage folder for all its lives."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.port = free_port()
        self.uri = uri_of(self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, if it does not run, and returns once it answers."""
        if self._process is None or self._process.poll() is not None:
            words = [
                *(Path(sys.executable).parent / "secantusd-rs", "--config", self.storage.parent / "empty.toml"),
                *("--host", "127.0.0.1", "--port", self.port, "--storage-path", self.storage),
                *("--cache-size", "256M", "--log-file-max", "16MB", "--sync-on-commit"),
            ]
            (self.storage.parent / "empty.toml").touch()  # else it looks for one of the user's
            with (self.storage.parent / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.storage.parent / "server.log").read_text(errors="replace")
                raise RuntimeError(f"the server does not start: {log_text[-300:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In peace, so that its storage can be copied."""
        self._end(signal.SIGTERM)

    def command(self, name: str, value: Any, **more: Any) -> dict[str, Any]:
        """An administrator's command."""
        with self.client() as client:
            return dict(client.admin.command(name, value, **more))

    def client(self, **more: Any) -> MongoClient[dict[str, Any]]:
        """A connection under a name of the harness's own, which the failpoints spare."""
        options = {"serverSelectionTimeoutMS": 1_000, "socketTimeoutMS": 30_000, **more}
        return MongoClient(self.uri, tz_aware=True, appname="fault-harness", **options)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(PyMongoError):
            self.command("ping", 1)
            return True
        return False
