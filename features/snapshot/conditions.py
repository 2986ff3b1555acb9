"""What the parts of a snapshot rest on besides their documents: where that has changed, all plays are read anew."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pymongo.database import Database

import features
from features.database import Document, translated_errors
from features.erasure.tombstones import Tombstones
from features.schema.names import RELEASES

MIGRATION = "migration:"
READ_BY = (
    *(f"snapshot/{name}.py" for name in ("columns", "digest", "fields", "read", "rules", "walk")),
    *(f"schema/{name}.py" for name in ("ids", "names")),
)
"""The code that makes a row of a document, or sets it aside."""


def conditions_of(database: Database[Document]) -> tuple[str, ...]:
    """The migrations that have changed documents, which and when, and the code that reads them.

    Raises:
        DatabaseError: the database can't be asked.
    """
    with translated_errors():
        found = database[RELEASES].find(
            {"_id": {"$gte": MIGRATION, "$lt": "migration;"}}, {"startedAt": 1, "finishedAt": 1}
        )
        ran = sorted(f"{e['_id']} {e.get('startedAt')} {e.get('finishedAt')}" for e in found.hint("_id_"))
    return (*ran, f"code {_hash_of_code()}")


def difference(former: Sequence[str], now: Sequence[str]) -> str:
    """What has changed between two such lists, for a person."""
    changed = set(former) ^ set(now)
    if any(condition.startswith(MIGRATION) for condition in changed):
        return "a migration has run since the last snapshot: all plays are read anew"
    return "the code that reads plays has changed since the last snapshot: all are read anew"


def hash_of(erased: Tombstones) -> str:
    """Tells whether someone has been erased since."""
    return hashlib.blake2b("".join(sorted(erased.hashes)).encode(), digest_size=16).hexdigest()


@cache
def _hash_of_code() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name in READ_BY:
        digest.update((Path(features.__file__).parent / name).read_bytes())
    return digest.hexdigest()
