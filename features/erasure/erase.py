"""Erasing one person, in an order that a kill at any moment only delays; and the proof that nothing is left."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from pymongo.database import Database

from features.database import Document, translated_errors
from features.erasure.files import erase_from_files, is_in_files
from features.erasure.records import (
    count_records,
    delete_account,
    delete_records,
    find_person,
    sweep,
)
from features.erasure.tombstones import Tombstones, hash_of, tombstone_id, write_tombstone
from features.errors import BusyError, InputError, NotFoundError
from features.keys import HASH_KEY, read_key
from features.progress import Progress, silent
from features.release.ledger import hold_lease, releases
from features.schema.ids import UserId, encode_id, id_fault, meant_ids
from features.schema.names import USERS
from features.storage import write_json

WAIT_S = 1.0


@dataclass(frozen=True)
class Receipt:
    """That someone was erased: who, by keyed hash only, when, and how much of what, over all runs together."""

    user: str
    erased_at: str
    counts: dict[str, int]


def resolve_user(database: Database[Document], text: str, erased: Tombstones) -> UserId:
    """The one user that a text from the command line means.

    Raises:
        InputError: two users' ids read the same, one a string and one an ObjectId.
    """
    if fault := id_fault(text):
        raise InputError(f"the user's id {fault}")
    meant = meant_ids(text)
    known = [u for u in meant if erased.cover(encode_id(u)) or any(count_records(database, u).values())]
    if len(known) > 1:
        raise InputError(
            f"{text} is the id of two users, one a string and one an ObjectId; write str:{text} or oid:{text}"
        )
    return (known or meant)[0]


def erase(
    database: Database[Document],
    home: Path,
    hash_key: SecretStr | None,
    user: UserId,
    now: datetime,
    *,
    wait_s: float = 3600.0,
    progress: Progress = silent,
) -> Receipt:
    """Erases a person from the database and the data folder; again where a run was interrupted, it finishes.

    The tombstone comes first: from then on no importer, snapshot or upload lets the person in. The rest waits for
    the lease, so that a run at work has ended before its release is gone through. The account goes last, since it
    tells by what else set-aside files may name the person.

    Args:
        database: where.
        home: `$ECHOTUNE_HOME`; the data folders of other machines are not reached, but their next upload is.
        hash_key: the secret of the tombstones.
        user: whom.
        now: written to the tombstone.
        wait_s: how long to wait for a run at work.
        progress: told of waiting.

    Raises:
        InputError: the key is missing.
        NotFoundError: nobody knows the user, and nobody was erased by that id.
        BusyError: another run did not end in time; the tombstone stays, run again.
        DatabaseError, StorageError: run again when that is mended.
    """
    key = read_key(hash_key, HASH_KEY)
    person = find_person(database, user)
    tombstone = tombstone_id(key, person.text)
    with translated_errors():
        was_there = releases(database).find_one({"_id": tombstone}) is not None
    known = was_there or any(count_records(database, user).values())
    if not known and not is_in_files(home, database.name, person.text):
        # a slip of the keyboard leaves no trace, nor does it take rows that hold that word
        raise NotFoundError("nothing is known of that user; check the id, and its type: str:ID or oid:ID")
    write_tombstone(database, key, person.text, now)

    def note(counts: dict[str, int]) -> None:
        added = {f"counts.{name}": count for name, count in counts.items() if count}
        if added:
            with translated_errors():
                releases(database).update_one({"_id": tombstone}, {"$inc": added})

    with ExitStack() as stack:
        token = _wait_for_lease(stack, database, wait_s, progress)
        counts, ids = delete_records(database, user, token, hash_of(key, person.text))
        note(counts)
        note(erase_from_files(home, database.name, person, ids))
        note({USERS: delete_account(database, user)})
        sweep(database, user)
    with translated_errors():
        document = releases(database).find_one({"_id": tombstone}) or {}
    receipt = Receipt(hash_of(key, person.text), document["erasedAt"].isoformat(), document["counts"])
    write_json(home / "erasures" / f"{receipt.user}.json", asdict(receipt))
    return receipt


def _wait_for_lease(stack: ExitStack, database: Database[Document], wait_s: float, progress: Progress) -> int:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return stack.enter_context(hold_lease(database))
        except BusyError:
            if time.monotonic() > deadline:
                raise
            progress("waiting for the run at work", int(wait_s - (deadline - time.monotonic())), int(wait_s))
            time.sleep(WAIT_S)
