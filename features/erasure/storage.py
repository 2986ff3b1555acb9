"""The built-in database's files without what was deleted: copied record by record into fresh ones, then exchanged.

A database marks deleted records as free and overwrites them some day; its log and oplog keep them for a while too.
A person who was erased should not wait for that.
"""

import shutil
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database

from features.database import split_documents, translated_errors
from features.embedded import embedded_server, storage_alone, swap_storage
from features.errors import DatabaseError, StorageError
from features.progress import Progress, silent
from features.storage import translated_storage_errors

BATCH_DOCUMENTS = 5_000
OWN = {"admin", "config", "local"}
NOT_OPTIONS = {"v", "ns", "key"}


def rewrite_storage(home: Path, progress: Progress = silent) -> bool:
    """Writes the built-in database of a home folder anew; False when somebody is using it, and nothing was done.

    Documents, collection options and indexes are copied and counted; the old files go once the new ones are in
    their place. A kill at any moment leaves one or the other.

    Raises:
        DatabaseError: a copy is not whole; the old files stay.
        StorageError: there is no space for a second copy.
    """
    with storage_alone(home) as storage:
        if storage is None:
            return False
        if storage.is_symlink():
            raise StorageError(f"{storage} is a link; let ECHOTUNE_HOME be where it leads, then erase again")
        scratch = home / "db.rewrite"
        with translated_storage_errors(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
            (scratch / "old").mkdir(parents=True)
            (scratch / "old" / "db").symlink_to(storage, target_is_directory=True)
        try:
            with (
                embedded_server(scratch / "old") as old_uri,
                embedded_server(scratch / "new") as new_uri,
                translated_errors(),
                MongoClient[dict[str, Any]](old_uri) as old,
                MongoClient[dict[str, Any]](new_uri) as new,
            ):
                _refuse_what_is_not_copied(old)
                for name in old.list_database_names():
                    if name not in OWN:
                        _copy_database(old[name], new[name], progress)
            swap_storage(home, scratch / "new" / "db")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return True


def _refuse_what_is_not_copied(old: MongoClient[dict[str, Any]]) -> None:
    for name in old.list_database_names():
        views = any(info["type"] == "view" for info in old[name].list_collections())
        if (
            views
            or old[name].command("usersInfo")["users"]
            or (name in OWN and [c for c in old[name].list_collection_names() if not c.startswith("system.")])
        ):
            raise DatabaseError(
                f"the built-in database holds accounts, views or collections in {name} that are not copied; its "
                "files are left as they are, and keep deleted records for a while"
            )


def _copy_database(old: Database[dict[str, Any]], new: Database[dict[str, Any]], progress: Progress) -> None:
    for info in old.list_collections():
        name, options = str(info["name"]), dict(info.get("options", {}))
        if name.startswith("system."):
            continue
        # the rules are put in force behind the documents: some are older than they are
        rules = {key: options.pop(key) for key in list(options) if key.startswith("validat")}
        new.create_collection(name, check_exists=False, **options)
        read = 0
        for batch in old[name].find_raw_batches({}, batch_size=BATCH_DOCUMENTS):
            documents = [RawBSONDocument(raw) for raw in split_documents(batch)]
            read += len(documents)
            new[name].insert_many(documents, ordered=False)
            progress(f"rewriting {name}", read, None)
        written = new[name].count_documents({})
        if written != read:
            raise DatabaseError(
                f"a copy of {name} has {written:,} documents of {read:,}; the old files stay, try again"
            )
        for index in old[name].list_indexes():
            if index["name"] != "_id_":
                given = {key: value for key, value in index.items() if key not in NOT_OPTIONS}
                new[name].create_index(list(index["key"].items()), **given)
        if rules:
            new.command("collMod", name, **rules)
