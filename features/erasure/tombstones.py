"""Who was erased, known only by keyed hashes: importers, snapshots and uploads ask here before they let someone in."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr
from pymongo import WriteConcern
from pymongo.database import Database

from features.database import Document, translated_errors
from features.errors import InputError
from features.keys import HASH_KEY, key_id, keyed_hash, read_key
from features.schema.names import RELEASES

PREFIX = "erased:"
ERASED = "of a person who was erased"
"""Why a row or document is set aside; its content is then not kept anywhere."""


@dataclass(frozen=True)
class Tombstones:
    """The keyed hashes of everyone who was erased; empty where nobody was."""

    hashes: frozenset[str] = frozenset()
    key: bytes = b""

    def cover(self, user: str) -> bool:
        """Whether a user, by the text of their id, was erased."""
        return bool(self.hashes) and hash_of(self.key, user) in self.hashes

    def mask(self, users: pa.ChunkedArray) -> np.ndarray:
        """(n,) bool: which rows of a column of ids are of erased users; each distinct id is hashed once."""
        if not self.hashes or not len(users):
            return np.zeros(len(users), bool)
        encoded = users.dictionary_encode().combine_chunks()
        covered = [user is not None and self.cover(user) for user in encoded.dictionary.to_pylist()]
        numbers = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        mask: np.ndarray = np.asarray([*covered, False])[numbers]  # the last place is for ids that are null
        return mask


def hash_of(key: bytes, user: str) -> str:
    """The hash by which an erased user is known; `user` is the text of the id."""
    return keyed_hash(key, "erased", user)


def tombstone_id(key: bytes, user: str) -> str:
    """The `_id` of a user's tombstone in `releases`."""
    return PREFIX + hash_of(key, user)


def read_tombstones(database: Database[Document], hash_key: SecretStr | None) -> Tombstones:
    """Everyone who was erased from this database.

    Raises:
        InputError: somebody was, and the key is missing or another one: nobody could be recognised.
        DatabaseError: the database can't be asked.
    """
    with translated_errors():
        # by hint: a range over the ids of one small collection, which the planner would rather scan
        found = list(
            database[RELEASES].find({"_id": {"$gte": PREFIX, "$lt": PREFIX + "g"}}, {"keyId": 1}).hint("_id_")
            if RELEASES in database.list_collection_names()
            else []
        )
    if not found:
        return Tombstones()
    key = read_key(hash_key, HASH_KEY)
    if any(entry["keyId"] != key_id(key) for entry in found):
        raise InputError(
            f"environment variable {HASH_KEY} is not the key that erased persons were hashed with, so they can't be "
            "kept out; set the one of that time"
        )
    return Tombstones(frozenset(str(entry["_id"]).removeprefix(PREFIX) for entry in found), key)


def write_tombstone(database: Database[Document], key: bytes, user: str, now: datetime) -> Document:
    """Marks a user as erased and returns the tombstone; one that is there already is left.

    Raises:
        DatabaseError: the database refuses or is lost.
    """
    collection = database.get_collection(RELEASES, write_concern=WriteConcern("majority"))
    tombstone = tombstone_id(key, user)
    with translated_errors():
        fresh = {"erasedAt": now, "keyId": key_id(key), "counts": {}}
        collection.update_one({"_id": tombstone}, {"$setOnInsert": fresh}, upsert=True)
        return collection.find_one({"_id": tombstone}) or {}
