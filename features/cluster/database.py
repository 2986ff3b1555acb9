"""The project's database, for work that may be done in another process: only what opens it there is sent, no address.

A worker finds the database by its own environment, as every command does. So no URI, and no password in one, is ever
part of what is sent to it.
"""

import threading
from contextlib import ExitStack
from typing import Any

from pymongo.database import Database

from features.database import Document, open_database, translated_errors
from features.errors import DatabaseError
from features.schema.names import RELEASES
from features.settings import get_settings

_opened: dict[str, Database[Document]] = {}
_open = ExitStack()
_guard = threading.Lock()


class WorkerDatabase:
    """A database that is opened again where this arrives.

    Args:
        database: as it is open here.
        lease: who holds the lease, by which it is known again there.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database: Database[Document] | None = database
        self._name = database.name
        self._lease = _lease_of(database)

    def __repr__(self) -> str:
        return f"WorkerDatabase({self._name})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_database": None, "_name": self._name, "_lease": self._lease}

    def get(self) -> Database[Document]:
        """The database, open for as long as the process, or its part in a run, lasts.

        Raises:
            DatabaseError: it can't be reached from here, or the environment leads to another one.
        """
        if self._database is None:
            self._database = self._here()
        return self._database

    def _here(self) -> Database[Document]:
        with _guard:
            found = _opened.get(self._name)
            if found is None:
                settings = get_settings()
                if settings.mongodb_database != self._name:
                    raise _another()
                found = _opened[self._name] = _open.enter_context(open_database(settings))
        if _lease_of(found) != self._lease:
            raise _another()
        return found


def close_all() -> None:
    """Closes what was opened for others' work in this process."""
    with _guard:
        _opened.clear()
        _open.close()
        get_settings.cache_clear()


def _lease_of(database: Database[Document]) -> tuple[Any, Any] | None:
    with translated_errors():
        lease = database[RELEASES].find_one({"_id": "lease"}, {"owner": 1, "token": 1})
    return (lease["owner"], lease["token"]) if lease else None


def _another() -> DatabaseError:
    return DatabaseError(
        "a Dask worker does not find the database that this run holds the lease of; give it the same MONGODB_URI and "
        "MONGODB_DATABASE, or the same ECHOTUNE_HOME for the built-in one"
    )
