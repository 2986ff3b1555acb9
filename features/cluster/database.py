"""The project's database, for work that may be done in another process: only what opens it there is sent, no address.

A worker finds the database by its own environment, as every command does. So no URI, and no password in one, is ever
part of what is sent to it.
"""

import threading
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from pymongo.database import Database

from features.database import Document, open_database, translated_errors
from features.errors import DatabaseError
from features.schema.names import RELEASES
from features.settings import get_settings

Key = tuple[str, tuple[Any, Any] | None]
"""A database's name, and who holds its lease and under which token: one run's part of a worker."""

_opened: dict[Key, tuple[Database[Document], ExitStack]] = {}
_guard = threading.Lock()


class WorkerDatabase:
    """A database that is opened again where this arrives.

    Args:
        database: as it is open here.
        lease: who holds the lease, by which it is known again there.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database: Database[Document] | None = database
        self.key: Key = (database.name, _lease_of(database))

    def __repr__(self) -> str:
        return f"WorkerDatabase({self.key[0]})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_database": None, "key": self.key}

    def get(self) -> Database[Document]:
        """The database, open until `close`, or for as long as the process lasts.

        Raises:
            DatabaseError: it can't be reached from here, or the environment leads to another one.
        """
        if self._database is None:
            self._database = self._here()
        return self._database

    def _here(self) -> Database[Document]:
        name, lease = self.key
        with _guard:
            if self.key in _opened:
                return _opened[self.key][0]
            settings = get_settings()
            if settings.mongodb_database != name:
                raise _another()
            with ExitStack() as stack:
                database = stack.enter_context(open_database(settings))
                if _lease_of(database) != lease:
                    raise _another()
                _opened[self.key] = database, stack.pop_all()
            return database


def close(keys: Iterable[Key]) -> None:
    """Closes what was opened in this process for a run that has ended; others' stays open."""
    with _guard:
        for key in keys:
            if key in _opened:
                _opened.pop(key)[1].close()


def _lease_of(database: Database[Document]) -> tuple[Any, Any] | None:
    with translated_errors():
        lease = database[RELEASES].find_one({"_id": "lease"}, {"owner": 1, "token": 1})
    return (lease["owner"], lease["token"]) if lease else None


def _another() -> DatabaseError:
    return DatabaseError(
        "a Dask worker does not find the database that this run holds the lease of; give it the same MONGODB_URI and "
        "MONGODB_DATABASE, or the same ECHOTUNE_HOME for the built-in one"
    )
