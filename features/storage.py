"""Files that are whole or not there: scratch names, fsync, rename, and errors a person can act on."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import StorageError

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EROFS: "the file system is read-only; set ECHOTUNE_HOME to a folder that can be written",
    errno.EACCES: "permission denied; set ECHOTUNE_HOME to a folder that can be written",
    errno.EPERM: "permission denied; set ECHOTUNE_HOME to a folder that can be written",
    errno.ENOTDIR: "a part of the path is a file; set ECHOTUNE_HOME to a folder",
    errno.EEXIST: "a file is in the way; set ECHOTUNE_HOME to a folder",
}


@contextmanager
def translated_storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError inside the block into a StorageError of one line that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        what = os.strerror(error.errno) if error.errno else error  # pyarrow's own text tells of its insides
        remedy = REMEDIES.get(error.errno or 0, f"{what}; check the disk and the folder")
        raise StorageError(f"can't write {path}: {remedy}") from error


@contextmanager
def whole_file(path: Path, like: Path | None = None) -> Iterator[Path]:
    """A scratch path beside `path`, renamed onto it when the block ends well and removed when it doesn't.

    With `like` it gets the permissions of that file.

    Raises:
        StorageError: the folder can't be written or is full; nothing half-written is left.
    """
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with translated_storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            if like is not None:
                shutil.copymode(like, scratch)
            _sync(scratch)
            scratch.replace(path)
            _sync(path.parent)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: everything in it appears at once. An older folder of that name is replaced."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with translated_storage_errors(path):
        scratch.mkdir(parents=True)
        try:
            yield scratch
            for file in scratch.rglob("*"):
                _sync(file)
            if path.exists():
                shutil.rmtree(path)
            scratch.replace(path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def write_parquet(path: Path, table: pa.Table) -> None:
    """One Parquet file, whole or not there.

    Raises:
        StorageError: it can't be written.
    """
    with whole_file(path) as scratch:
        pq.write_table(table, scratch, compression="zstd")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """One JSON file, whole or not there; keys keep their order.

    Raises:
        StorageError: it can't be written.
    """
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
