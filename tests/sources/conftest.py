"""What the tests of the imports share: a moment, a database with the contract on it, and small files."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymongo.database import Database

from features.schema.collections import LISTENING_HISTORY, TRACKS, USER_FEEDBACK, USERS
from features.sources.importer import ImportTotals, import_table


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def inputs(db: Database) -> Database:
    """The four input collections with their validators and unique indexes."""
    for collection in (USERS, TRACKS, LISTENING_HISTORY, USER_FEEDBACK):
        made = db.create_collection(collection.name, validator=collection.validator)
        for index in collection.indexes:
            if index.unique:
                made.create_index(list(index.keys), name=index.name, **index.options)
    return db


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes text, or rows in the format of the name."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        if isinstance(content, list):
            if name.endswith(".parquet"):
                pq.write_table(pa.Table.from_pylist(content), path)
                return path
            content = "".join(json.dumps(row) + "\n" for row in content).encode()
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
            return path
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def run(inputs: Database, tmp_path: Path, now: datetime) -> Callable[..., ImportTotals]:
    """Imports a file into `inputs`, with the sum that must always hold checked."""

    def run(kind: Any, path: Path, **options: Any) -> ImportTotals:
        totals = import_table(inputs, kind, path, home=tmp_path / "home", now=now, **options)
        assert totals.read == totals.imported + totals.already_there + totals.updated + totals.set_aside
        assert sum(totals.reasons.values()) == totals.set_aside
        assert (totals.rejected_path is None) == (totals.set_aside == 0)
        return totals

    return run


@pytest.fixture
def rejected() -> Callable[[ImportTotals], list[tuple[int, str]]]:
    """Line and reason of each row set aside."""

    def rejected(totals: ImportTotals) -> list[tuple[int, str]]:
        if totals.rejected_path is None:
            return []
        rows = pq.read_table(totals.rejected_path).to_pylist()
        assert all(isinstance(json.loads(row["row"]), dict | str) for row in rows)
        return [(row["line"], row["reason"]) for row in rows]

    return rejected
