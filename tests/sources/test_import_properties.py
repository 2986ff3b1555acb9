"""Whatever is in the rows: the totals add up, no good row is lost, and nothing bad is written."""

import json
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from features.erasure.tombstones import Tombstones
from features.schema.collections import LISTENING_HISTORY
from features.sources import importer, tables
from features.sources.importer import import_table
from features.sources.writing import Outcome

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
good_rows = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["ann", "bob", 7]),
        "track_id": st.sampled_from(["t1", "t2"]),
        "played_at": st.integers(1_700_000_000, 1_700_000_020),
        "play_ms": st.one_of(st.none(), st.integers(0, 86_400_000)),
    }
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=4,
)
dirty_rows = st.tuples(good_rows, st.sampled_from(["user_id", "track_id", "played_at", "play_ms"]), anything).map(
    lambda drawn: {**drawn[0], drawn[1]: drawn[2]}
)
lines = st.lists(
    st.one_of(good_rows.map(json.dumps), dirty_rows.map(json.dumps), st.sampled_from(["{", "[]", "null"])),
    min_size=1,
    max_size=12,
)


def certainly_good(line: str) -> tuple[str, str, int] | None:
    """What makes the play of a line, by a slow and obvious rule; None when the line may be faulty."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not (isinstance(row, dict) and row["user_id"] in ("ann", "bob", 7) and row["track_id"] in ("t1", "t2")):
        return None
    played_at, play_ms = row["played_at"], row["play_ms"]
    if isinstance(row["user_id"], bool | float) or type(played_at) is not int:
        return None
    if not 1_700_000_000 <= played_at <= 1_700_000_020:
        return None
    if play_ms is not None and not (type(play_ms) in (int, float) and 0 <= play_ms <= 86_400_000):
        return None
    return str(row["user_id"]), row["track_id"], played_at


def write_lines(folder: str, drawn: list[str]) -> Path:
    # a first row of its own, so that the file has every column
    first = {"user_id": "first", "track_id": "t", "played_at": 1_700_000_000, "play_ms": 1}
    path = Path(folder) / "plays.jsonl"
    path.write_text("\n".join([json.dumps(first), *drawn]) + "\n")
    return path


@settings(max_examples=60, deadline=None)
@given(lines)
def test_no_row_is_lost_whatever_the_rows_hold(drawn):
    written = []

    def keep(database, target, documents, now):
        written.extend(documents)
        return Outcome(imported=len(documents))

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(importer, "write_documents", keep)
        patched.setattr(importer, "read_tombstones", lambda *_: Tombstones())
        patched.setattr(tables, "CHUNK_ROWS", 5)
        totals = import_table(None, "plays", write_lines(folder, drawn), home=Path(folder), now=NOW)
        aside = pq.read_table(totals.rejected_path).to_pylist() if totals.rejected_path else []
    assert totals.read == len(drawn) + 1 == totals.imported + totals.set_aside
    assert len(aside) == totals.set_aside
    assert len({row["line"] for row in aside}) == len(aside)
    keys = {(p["userId"], p["trackId"], int(p["playedAt"].replace(tzinfo=UTC).timestamp())) for p in written}
    assert {key for key in map(certainly_good, drawn) if key} <= keys
    assert len({play["_id"] for play in written}) == len(written)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines)
def test_the_server_takes_every_row_the_checks_let_through(server_uri, drawn):
    name = f"echotune_test_{uuid.uuid4().hex[:12]}"
    with MongoClient(server_uri) as client, tempfile.TemporaryDirectory() as folder:
        database = client[name]
        database.create_collection("listening_history", validator=LISTENING_HISTORY.validator)
        path = write_lines(folder, drawn)
        first = import_table(database, "plays", path, home=Path(folder), now=NOW)
        second = import_table(database, "plays", path, home=Path(folder), now=NOW)
        count = database.listening_history.count_documents({})
        client.drop_database(name)
    assert first.read == len(drawn) + 1 == first.imported + first.set_aside
    assert not [reason for reason in first.reasons if "refused" in reason or "database" in reason]
    assert count == first.imported == second.already_there
    assert second.reasons == first.reasons
