"""A user's settings, changed without losing what someone else changed meanwhile: `version` guards them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import WriteError

from features.database import VALIDATION, Document, translated_errors
from features.errors import InputError, NotFoundError, StaleWriteError
from features.schema.collections import USER_SETTINGS
from features.schema.ids import decode_id

PREFERENCES = "preferences"
NOT_AN_OBJECT = 28
"""What a server says when a path leads through something that holds no fields."""


def read_settings(database: Database[Document], user: str | ObjectId) -> tuple[int, dict[str, Any]]:
    """The version of a user's settings, 0 where it was never counted, and the preferences.

    Args:
        database: where.
        user: an ObjectId, or a text as `encode_id` makes it.

    Raises:
        NotFoundError: the user has no settings.
        DatabaseError: the database can't be asked.
    """
    with translated_errors():
        found = database[USER_SETTINGS.name].find_one(by_user(user), {PREFERENCES: 1, "version": 1})
    if found is None:
        raise _no_settings()
    return int(found.get("version") or 0), found.get(PREFERENCES) or {}


def update_settings(
    database: Database[Document],
    user: str | ObjectId,
    expected_version: int,
    changes: Mapping[str, Any],
    now: datetime,
) -> int:
    """Changes some preferences in one write, if the settings are still of the version that was read.

    Args:
        database: where.
        user: an ObjectId, or a text as `encode_id` makes it.
        expected_version: as `read_settings` gave it.
        changes: values by path below `preferences`, such as `{"music.energy": 0.4}`; null is for unknown.
        now: written as `updatedAt`.

    Returns:
        The new version, one higher.

    Raises:
        InputError: there is no such preference, or the contract doesn't allow such a value for it.
        NotFoundError: the user has no settings.
        StaleWriteError: someone else changed the settings since that version; nothing is written.
        DatabaseError: the database can't be asked, or refuses.
    """
    _check(changes)
    version = expected_version + 1
    # set, not added to: a version of null can't be added to, and the filter holds the old one still
    values = {f"{PREFERENCES}.{path}": value for path, value in changes.items()}
    values |= {"updatedAt": now, "version": version}
    settings = database[USER_SETTINGS.name]
    with translated_errors():
        try:
            done = settings.update_one(of_version(user, expected_version), {"$set": values})
        except WriteError as error:
            raise _refused(error, changes) from None
        if not done.matched_count and settings.find_one(by_user(user), {"_id": 1}) is None:
            raise _no_settings()
    if not done.matched_count:
        raise StaleWriteError(
            f"the settings of this user changed since version {expected_version} was read; read them again and "
            "repeat the change"
        )
    return version


def by_user(user: str | ObjectId) -> dict[str, Any]:
    """The filter for a user's settings."""
    return {"userId": decode_id(user) if isinstance(user, str) else user}


def of_version(user: str | ObjectId, version: int) -> dict[str, Any]:
    """The filter for a user's settings of one version; null, which matches a missing one too, is version 0."""
    return {**by_user(user), "version": version or {"$in": [0, None]}}


def _check(changes: Mapping[str, Any]) -> None:
    if not changes:
        raise InputError("there is no preference to change; name at least one, such as music.energy")
    known = set(_paths(USER_SETTINGS.validator["$jsonSchema"]["properties"][PREFERENCES]["properties"]))
    if unknown := sorted(changes.keys() - known):
        raise InputError(
            f"there is no preference {unknown[0]!r} ({len(unknown)} such paths); there are {', '.join(sorted(known))}"
        )


def _paths(properties: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in properties.items():
        if "properties" in schema:
            yield from (f"{name}.{path}" for path in _paths(schema["properties"]))
        else:
            yield name


def _refused(error: WriteError, changes: Mapping[str, Any]) -> Exception:
    """What a refused write comes to, in words without a value: the server's own may show the settings."""
    if error.code == VALIDATION:
        return InputError(
            f"the contract does not allow such a value ({', '.join(sorted(changes))}); `echotune schema check` tells "
            "of settings that broke it before"
        )
    if error.code == NOT_AN_OBJECT:
        return InputError(
            "this user's preferences are not in the contract's form, so nothing in them can be changed; "
            "`echotune schema check` tells which documents those are"
        )
    return error


def _no_settings() -> NotFoundError:
    return NotFoundError("this user has no settings; the app makes them with the account")
