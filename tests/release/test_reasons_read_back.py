"""A few hundred listeners' lists, read back from the database as an app would read them: no reason is false."""

from datetime import UTC, datetime, timedelta

import pytest
from pymongo.database import Database

from benchmarks.claims import Witness
from features.parameters import with_settings
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.publish import switch, upload, verify
from features.schema import names, plan
from features.schema.ids import encode_id
from features.snapshot.fields import SOURCES
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.slow
@pytest.mark.parametrize("include_heard", [False, True])
def test_no_reason_of_a_published_release_is_false(db: Database, tmp_path, include_heard):
    plan.apply(db)
    write_sample(db, make_sample(SampleSpec(users=200, tracks=400, days=40), end=END), home=tmp_path, now=END)
    snapshot = take_snapshot(db, tmp_path, datetime.now(UTC) + timedelta(hours=1))
    parameters = with_settings([f"recommendations.include_heard={include_heard}", "recommendations.k=40"])
    manifest = build_release(snapshot, tmp_path, parameters, END)
    with hold_lease(db) as token:
        verify(db, manifest, upload(db, tmp_path, manifest, token))
        switch(db, manifest, token)
    lists = [
        {
            "user_id": encode_id(document["userId"]),
            "track_ids": [entry["trackId"] for entry in document["candidates"]],
            "reasons": [entry["reasons"] for entry in document["candidates"]],
            "seeds": document["context"]["seeds"],
        }
        for document in db[names.RECOMMENDATIONS].find()
    ]
    tables = {source.table: snapshot.table(source.table) for source in SOURCES}
    found = Witness(tables, END).check(lists)
    assert found.lists >= 550
    assert found.reasons > found.candidates > 15_000
    assert (found.false, found.strangers) == ([], [])
    assert len(found.kinds) >= 7
