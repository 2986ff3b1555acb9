"""Functions that workers run in these tests; they know them by this module's name."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from pymongo.database import Database
from pymongo.errors import InvalidOperation

from features.cluster import database
from features.cluster.database import WorkerDatabase
from features.errors import DatabaseError

_held: list[Database] = []


def weighed(values: np.ndarray, item: int) -> tuple[int, int]:
    """Something of what is shared and of the item; and which process did it."""
    time.sleep(0.05)
    return int(values.sum()) * item, os.getpid()


def ended_once(mark: Path, item: int) -> int:
    """Kills its process in the midst of the fifth item, the first time."""
    if item == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def deadly(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refused(item: int) -> int:
    if item == 2:
        raise DatabaseError("the database refuses number 2")
    return item


def faulty(item: int) -> float:
    return 1 / item


def tables(where: WorkerDatabase, item: int) -> list[str]:
    return sorted(where.get().list_collection_names())


def large(item: int) -> np.ndarray:
    return np.zeros(item, np.uint8)


def open_keys() -> list[Any]:
    return list(database._opened)


def hold_on() -> None:
    """Keeps what is open at hand, whoever lets go of it."""
    _held.extend(opened for opened, _ in database._opened.values())


def are_closed() -> list[bool]:
    """Of what was kept at hand, whether it was closed; it is kept no more."""
    closed = []
    while _held:
        try:
            _held.pop().list_collection_names()
            closed.append(False)
        except InvalidOperation:
            closed.append(True)
    return closed


def size(item: Any) -> int:
    return len(item)
