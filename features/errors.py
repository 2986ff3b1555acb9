"""The errors a user sees: one line that says what is wrong, where, and what to do. Exit statuses live here."""

from typing import ClassVar


class EchotuneError(Exception):
    """Base of every error with a message meant for a person; the command line prints it without traceback."""

    exit_status: ClassVar[int] = 1


class InputError(EchotuneError):
    """A file, a column, an option or an id that can't be used."""

    exit_status: ClassVar[int] = 2


class DatabaseError(EchotuneError):
    """The database can't be reached, refuses the password, or refuses an operation."""

    exit_status: ClassVar[int] = 3


class UnreachableError(DatabaseError):
    """The database can't be reached now; trying again later may help, and flows do."""


class GateError(EchotuneError):
    """A release failed its checks: it stays on disk, readers keep the live one."""

    exit_status: ClassVar[int] = 4


class BusyError(EchotuneError):
    """Another run holds the lease."""

    exit_status: ClassVar[int] = 5


class StaleWriteError(EchotuneError):
    """What is to be changed was changed by someone else since it was read; nothing was written."""

    exit_status: ClassVar[int] = 5


class StorageError(EchotuneError):
    """The data folder can't be written: read-only, full, or gone."""

    exit_status: ClassVar[int] = 6


class NotFoundError(EchotuneError):
    """No such release, user, track or feature."""

    exit_status: ClassVar[int] = 7


class ClusterError(EchotuneError):
    """The Dask cluster can't be reached, has no workers, or such as would compute something else."""

    exit_status: ClassVar[int] = 8
