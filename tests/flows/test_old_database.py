"""A database that has lived for years, a twentieth of it broken, through plan, apply, check, migrate and nightly.

`LEGACY_DOCUMENTS=100000` makes it as large as in the acceptance of the contract; the default is a twentieth of that,
with every kind of fault in it.
"""

import base64
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import bson
import pyarrow.parquet as pq
import pytest
from bson.codec_options import CodecOptions, DatetimeConversion
from legacy import SHARES, fill_legacy_database
from pymongo.database import Database

from features.database import split_documents
from features.release.ledger import read_pointer
from features.release.manifest import read_manifest
from features.schema import names, plan
from features.schema.check import Finding, check
from features.schema.collections import COLLECTIONS
from features.schema.migrations import Report, migrate
from features.settings import Settings, get_settings
from features.snapshot.fields import SOURCES
from features.snapshot.read import id_text
from features.snapshot.take import open_snapshot
from flows.nightly import nightly

pytestmark = [
    pytest.mark.usefixtures("prefect"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Prefect's and its server's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(1_500),
]
DOCUMENTS = int(os.environ.get("LEGACY_DOCUMENTS", "5000"))
CAREFUL: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
MIGRATED = {"completionRate", "audioFeatures", "metadata", "spotifyTokens"}
"""Fields that migrations set, or set something in."""


@dataclass(frozen=True)
class Pass:
    """What one pass over everything said and left."""

    applied: plan.Applied
    findings: dict[tuple[str, str], Finding]
    reports: dict[str, Report]
    published: bool
    content: dict[str, dict[str, bytes]]


def content(database: Database) -> dict[str, dict[str, bytes]]:
    """Every document's bytes by the text of its `_id`; the lease left out, which every run takes, and its tokens."""
    found = {}
    for name in sorted(database.list_collection_names()):
        untold = {"token": 0} if name == names.RELEASES else None
        batches = database[name].find_raw_batches({"_id": {"$nin": ["lease", "live"]}}, untold, batch_size=20_000)
        documents = [raw for batch in batches for raw in split_documents(batch)]
        found[name] = {repr(bson.decode(raw, CAREFUL)["_id"]): raw for raw in documents}
    return found


def run_pass(database: Database, settings: Settings) -> Pass:
    applied = plan.apply(database, plan.Choices("warn"))
    findings = {(finding.check, finding.subject): finding for finding in check(database)}
    reports = {report.migration: report for report in migrate(database, settings)}
    published = nightly().published
    return Pass(applied, findings, reports, published, content(database))


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def lived(server_uri, tmp_path_factory, monkeymodule, prefect):
    """The database, what was put into it, and two passes over it."""
    from pymongo import MongoClient

    home = tmp_path_factory.mktemp("old")
    name = f"echotune_test_old_{bson.ObjectId()}"
    for variable, value in (
        ("MONGODB_URI", server_uri),
        ("MONGODB_DATABASE", name),
        ("ECHOTUNE_HOME", str(home)),
        ("ECHOTUNE_HASH_KEY", base64.b64encode(bytes(range(32))).decode()),
        ("ECHOTUNE_TOKEN_KEY", base64.b64encode(bytes(range(32, 64))).decode()),
    ):
        monkeymodule.setenv(variable, value)
    get_settings.cache_clear()
    settings = get_settings()
    with MongoClient(server_uri, tz_aware=True) as client:
        database = client[name]
        legacy = fill_legacy_database(database, DOCUMENTS)
        original = content(database)
        planned = plan.plan(database, plan.Choices("warn"))
        yield database, settings, legacy, original, planned, run_pass(database, settings), run_pass(database, settings)
        client.drop_database(name)
    get_settings.cache_clear()


def test_the_database_is_made_to_keep_the_contract_as_far_as_its_documents_allow(lived):
    database, _, legacy, _, planned, first, _ = lived
    assert {c.collection for c in planned if c.action == "set validator"} == set(SHARES)
    assert {c.collection for c in planned if c.action == "create collection"} == {"feature_store", "releases"}
    refused = {(r.change.collection, r.change.subject) for r in first.applied.refused}
    in_the_way = {(kind.collection, kind.unique) for c in SHARES for kind in legacy.kinds_in(c).values() if kind.unique}
    assert refused == in_the_way
    assert len(first.applied.made) + len(refused) == len(planned)
    assert {(c.collection, c.subject) for c in plan.plan(database)} == refused
    indexes = {c.name: {index["name"] for index in database[c.name].list_indexes()} for c in COLLECTIONS}
    for collection in COLLECTIONS:  # those that can't be unique are there as plain ones
        assert {index.name for index in collection.indexes} <= indexes[collection.name]


def test_every_query_has_its_index(lived):
    _, _, _, _, _, first, second = lived
    for found in (first, second):
        assert {finding.state for (kind, _), finding in found.findings.items() if kind == "queries"} == {"ok"}


def test_the_check_counts_every_broken_document(lived):
    _, _, legacy, _, _, first, _ = lived
    for collection in SHARES:
        finding = first.findings["documents", collection]
        assert finding.count == legacy.breaking_validator(collection, built_in=False), finding
        assert finding.state == "wrong"


def test_read_is_used_and_set_aside_for_every_collection_each_document_with_its_reason(lived):
    database, settings, legacy, _, _, _, _ = lived
    snapshot = open_snapshot(settings.echotune_home, database.name)
    for source in SOURCES:
        table = snapshot.tables[source.table]
        assert table.read == table.used + table.set_aside
        expected = {
            id_text(document_id): kind.reason
            for document_id, kind in legacy.kinds_in(source.collection).items()
            if kind.reason is not None
        }
        rows = pq.read_table(snapshot.folder / snapshot.set_aside_name(source.table)).to_pylist()
        assert {row["document_id"]: row["reason"] for row in rows} == expected
        assert len(rows) == len(expected) == table.set_aside
        if source.of_type is None:
            assert table.read == legacy.counts[source.collection]


def test_nothing_else_is_lost_and_only_what_migrations_mend_is_changed(lived):
    _, _, legacy, original, _, first, _ = lived
    changed: Counter[str] = Counter()
    for name, documents in original.items():
        after = first.content[name]
        assert documents.keys() <= after.keys()
        for document_id, raw in documents.items():
            if after[document_id] != raw:
                before, now = bson.decode(raw, CAREFUL), bson.decode(after[document_id], CAREFUL)
                differing = {key for key in before.keys() | now.keys() if repr(before.get(key)) != repr(now.get(key))}
                assert differing <= MIGRATED
                changed[name] += 1
    reports = first.reports
    nameless = sum(reports["tokens"].after.left.values())  # a token is bound to its user's id
    assert changed["users"] == reports["tokens"].changed == len(legacy.plain_tokens) - nameless
    assert changed["events"] == reports["client-addresses"].changed == len(legacy.raw_addresses)
    assert changed["listening_history"] >= reports["completion"].changed > 0
    assert reports["audio-features"].changed > 0
    assert set(changed) == {"users", "events", "listening_history"}


def test_a_release_is_live_and_its_books_say_what_was_read(lived):
    database, settings, legacy, _, _, first, _ = lived
    assert first.published
    manifest = read_manifest(settings.echotune_home, read_pointer(database).release)
    assert manifest.passed
    assert manifest.inputs["plays"]["read"] == legacy.counts["listening_history"]
    assert manifest.counts["recommendations"] > 0


def test_a_second_pass_changes_nothing(lived):
    _, _, _, _, _, first, second = lived
    assert second.applied.made == []
    assert [r.reason for r in second.applied.refused] == [r.reason for r in first.applied.refused]
    assert all(report.changed == 0 for report in second.reports.values())
    assert not second.published
    assert second.content == first.content
