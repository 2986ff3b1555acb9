"""The two roles that accounts get, as data: what the batch job may do, what readers may do, and nothing else."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.database import UNAUTHORIZED, Document, translated_errors
from features.errors import DatabaseError
from features.schema import names

Outcome = Literal["created", "updated", "unchanged"]
WHOLE_DATABASE = ""
"""How MongoDB spells a database's own actions: a resource without a collection."""

READ = ("find",)
INPUT = ("find", "listIndexes")
"""`listIndexes` is what comparing the database with the contract takes."""
LOG = ("find", "insert", "listIndexes")
LEDGER = ("find", "insert", "listIndexes", "update")
"""A release's document is kept for good: nothing removes one."""
OUTPUT = ("find", "insert", "listIndexes", "remove", "update")


@dataclass(frozen=True)
class Role:
    """A role's name and what it grants: actions by collection, the whole database's own under ""."""

    name: str
    grants: Mapping[str, tuple[str, ...]]


BATCH = Role(
    "echotuneBatch",
    {
        WHOLE_DATABASE: ("listCollections",),
        names.USERS: INPUT,
        names.USER_SETTINGS: INPUT,
        names.LISTENING_HISTORY: INPUT,
        names.USER_FEEDBACK: INPUT,
        names.TRACKS: INPUT,
        names.CHAT_SESSIONS: INPUT,
        names.EVENTS: LOG,
        names.FEATURE_STORE: OUTPUT,
        names.RECOMMENDATIONS: OUTPUT,
        names.RECOMMENDATIONS_CACHE: OUTPUT,
        names.RELEASES: LEDGER,
    },
)

READER = Role(
    "echotuneReader",
    {
        names.TRACKS: READ,
        names.FEATURE_STORE: READ,
        names.RECOMMENDATIONS: READ,
        names.RECOMMENDATIONS_CACHE: READ,
        names.RELEASES: READ,
    },
)

ROLES = (BATCH, READER)


def definition(role: Role, database: str) -> Document:
    """The role in a database, as `createRole` takes it there."""
    return {
        "role": role.name,
        "privileges": [
            {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
            for collection, actions in role.grants.items()
        ],
        "roles": [],
    }


def statements(database: str, roles: Iterable[Role] = ROLES) -> str:
    """JavaScript for mongosh that makes the roles, a privilege a line."""
    return "\n".join([f"db = db.getSiblingDB({json.dumps(database)});", *(_statement(r, database) for r in roles)])


def _statement(role: Role, database: str) -> str:
    found = definition(role, database)
    privileges = "".join(f"    {json.dumps(privilege)},\n" for privilege in found["privileges"])
    return f"db.createRole({{\n  role: {json.dumps(role.name)},\n  privileges: [\n{privileges}  ],\n  roles: [],\n}});"


def create(database: Database[Document], roles: Iterable[Role] = ROLES) -> dict[str, Outcome]:
    """Makes the database's roles what they are here; says of each what that took. Twice is once.

    Raises:
        DatabaseError: the account may not make roles, or the server keeps none.
    """
    with translated_errors():
        try:
            return {role.name: _create(database, role) for role in roles}
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
            raise DatabaseError(
                f"this account may not make roles in database {database.name}; use one with userAdmin or dbOwner "
                "there, or give an administrator what `echotune schema roles` prints"
            ) from None


def _create(database: Database[Document], role: Role) -> Outcome:
    wanted = definition(role, database.name)
    rest = {name: value for name, value in wanted.items() if name != "role"}
    found = database.command("rolesInfo", role.name, showPrivileges=True)["roles"]
    if not found:
        database.command("createRole", role.name, **rest)
        return "created"
    if _granted(found[0]) == _granted(wanted):
        return "unchanged"
    database.command("updateRole", role.name, **rest)
    return "updated"


def _granted(role: Mapping[str, Any]) -> tuple[dict[tuple[str, ...], set[str]], list[Any]]:
    """What a role grants, whatever the order it is told in: actions by resource, and the roles it is made of."""
    actions: dict[tuple[str, ...], set[str]] = {}
    for privilege in role["privileges"]:
        resource = tuple(f"{name}={value}" for name, value in sorted(privilege["resource"].items()))
        actions.setdefault(resource, set()).update(privilege["actions"])
    return actions, role["roles"]
