"""What doctor finds of a live release: its age, its lag, what was set aside, and what was left unfinished."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from documents import play
from pymongo.database import Database

from features.monitoring import Finding, Thresholds, examine
from features.release.freshness import live_release, unfinished_releases
from features.release.ledger import LEASE, LIVE, hold_lease, record, releases
from features.release.manifest import Manifest, release_folder
from features.storage import write_json

HOUR = timedelta(hours=1)


@pytest.fixture
def live(publish: Callable[..., Manifest], manifest: Manifest) -> Manifest:
    return publish(manifest)


def look(db: Database, home: Path, live: Manifest, what: str, hours: float = 1, **thresholds: float) -> Finding:
    findings = examine(db, home, live.built_at + hours * HOUR, Thresholds(**thresholds))
    return next(finding for finding in findings if finding.what == what)


def test_the_live_release_has_the_dates_of_its_manifest(ready: Database, live: Manifest) -> None:
    found = live_release(ready)
    assert (found.id, found.as_of, found.known_at) == (live.id, live.as_of, live.known_at)
    assert found.built_at == live.built_at


def test_all_is_well_with_a_fresh_release(ready: Database, home: Path, live: Manifest) -> None:
    findings = examine(ready, home, live.built_at + HOUR, Thresholds(min_free_gb=0))
    assert [finding.what for finding in findings if not finding.ok] == []
    assert [finding.do for finding in findings if finding.do] == []


def test_a_release_grows_old(ready: Database, home: Path, live: Manifest) -> None:
    assert look(ready, home, live, "live release", hours=36).ok
    assert not look(ready, home, live, "live release", hours=36.1).ok
    assert look(ready, home, live, "live release", hours=36.1, max_age_hours=37).ok


def test_plays_imported_after_the_snapshot_are_lag_however_old_they_are(
    ready: Database, home: Path, live: Manifest
) -> None:
    known = play(days=5) | {"importedAt": live.known_at}
    ready.listening_history.insert_one(known)
    assert look(ready, home, live, "lag").found.startswith("0.0 h behind, newest play 2026-02-24 03:00 UTC")
    late = play(track="late", days=9) | {"importedAt": live.known_at + 40 * HOUR}
    ready.listening_history.insert_one(late)
    finding = look(ready, home, live, "lag")
    assert not finding.ok
    assert finding.found.startswith("40.0 h behind, newest play 2026-02-24 03:00 UTC")
    assert "echotune nightly" in finding.do
    assert look(ready, home, live, "lag", max_lag_hours=40).ok


def test_lag_is_not_measured_by_reading_the_whole_history(ready: Database, home: Path, live: Manifest) -> None:
    ready.listening_history.drop_index("playedAt_1")
    finding = look(ready, home, live, "lag")
    assert (finding.ok, finding.found) == (False, "not measured: no index on playedAt")
    assert "schema apply" in finding.do


def test_documents_set_aside_are_counted_from_the_manifest_on_this_disk(
    ready: Database, home: Path, live: Manifest
) -> None:
    read = live.inputs["plays"]["read"]
    spoilt = {"read": read, "used": read - 1, "set_aside": 1, "reasons": {"user_id is missing": 1}}
    changed = replace(live, inputs=live.inputs | {"plays": spoilt})
    write_json(release_folder(home, live.id) / "manifest.json", changed.to_json())
    assert look(ready, home, live, "set aside", max_set_aside_percent=100 / read + 0.01).ok
    finding = look(ready, home, live, "set aside", max_set_aside_percent=100 / read - 0.01)
    assert not finding.ok
    assert [row["input"] for row in finding.details] == ["plays"]


def test_a_release_that_is_not_on_this_disk_or_damaged_is_said_to_be(
    ready: Database, home: Path, live: Manifest
) -> None:
    (release_folder(home, live.id) / "manifest.json").write_text("{")
    assert not look(ready, home, live, "set aside").ok
    shutil.rmtree(release_folder(home, live.id))
    finding = look(ready, home, live, "set aside")
    assert (finding.ok, finding.details) == (True, [])
    assert "not on this disk" in finding.found


def test_the_folder_of_the_live_release_counts_for_the_space_that_a_night_takes(
    ready: Database, home: Path, live: Manifest
) -> None:
    what = "space left, ECHOTUNE_HOME"
    before = look(ready, home, live, what, min_free_gb=0)
    (release_folder(home, live.id) / "more").write_bytes(b"x" * 10_000_000)
    after = look(ready, home, live, what, min_free_gb=0)
    assert before.threshold.endswith("kB")
    assert after.threshold.startswith("20.")
    assert after.threshold.endswith("MB")


def test_a_pointer_to_a_release_that_is_gone_is_a_finding(ready: Database, home: Path, live: Manifest) -> None:
    releases(ready).delete_one({"_id": live.id})
    finding = look(ready, home, live, "live release")
    assert not finding.ok
    assert live.id in finding.found
    releases(ready).delete_one({"_id": LIVE})
    assert look(ready, home, live, "live release").found == "none"


def test_an_upload_is_unfinished_once_nobody_holds_the_lease(
    ready: Database, home: Path, live: Manifest, another: Callable[..., Manifest]
) -> None:
    begun = another(2)
    now = live.built_at + HOUR
    with hold_lease(ready) as token:
        record(ready, begun, token, "uploading")
        expires = releases(ready).find_one({"_id": LEASE})["expiresAt"]
        assert unfinished_releases(ready, expires - HOUR) == []
        assert unfinished_releases(ready, expires + HOUR) == [begun.id]
    assert unfinished_releases(ready, now) == [begun.id]
    finding = look(ready, home, live, "unfinished releases")
    assert (finding.ok, finding.found) == (True, begun.id)
    assert finding.do
    with hold_lease(ready) as token:
        record(ready, begun, token, "failed")
    assert look(ready, home, live, "unfinished releases").found == "none"
