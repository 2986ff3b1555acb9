"""The gate at work: a built release is judged beside what was published before it, and the verdict is kept with it."""

from dataclasses import replace
from pathlib import Path

from pymongo.database import Database

from features.database import Document
from features.errors import GateError
from features.evaluate.gate import verdict
from features.parameters import GateParameters
from features.release.gate import judge
from features.release.ledger import all_releases, check_lease, manifest_of, read_pointer, record
from features.release.manifest import Manifest, read_manifest, release_folder
from features.release.retention import was_published
from features.storage import write_json

RECENT_NIGHTS = 7
"""A week has every weekday."""


def pass_gate(
    database: Database[Document], home: Path, release: str, token: int, how: GateParameters, *, gate: bool
) -> str:
    """Judges a release on disk and writes the verdict into its manifest; returns it as one line.

    Args:
        database: of the releases it is held against.
        home: `$ECHOTUNE_HOME`.
        release: its id.
        token: of the lease.
        how: the limits.
        gate: False lets it pass whatever the checks say, which is recorded with it.

    Raises:
        GateError: a check failed; names the first. The release is recorded as failed and stays on disk.
        BusyError: a newer run has taken the lease.
    """
    live, nights = published_manifests(database)
    manifest = read_manifest(home, release)
    checks = judge(home, manifest, live, nights, how)
    manifest = replace(manifest, checks=[check.to_dict() for check in checks], gate=gate)
    check_lease(database, token)
    write_json(release_folder(home, release) / "manifest.json", manifest.to_json())
    line = verdict(checks)
    if gate and not manifest.passed:
        record(database, manifest, token, "failed")
        raise GateError(
            f"release {release} is not published: {line}; readers keep the live one, see "
            f"`echotune releases show {release}`, or pass --no-gate"
        )
    return line


def published_manifests(database: Database[Document]) -> tuple[Manifest | None, list[Manifest]]:
    """The live release, and the last nights that were published and not withdrawn, newest built first."""
    pointer = read_pointer(database)
    published = [entry for entry in all_releases(database) if was_published(entry) and "withdrawnAt" not in entry]
    live = [manifest_of(entry) for entry in published if pointer and entry["_id"] == pointer.release]
    return (live[0] if live else None), [manifest_of(entry) for entry in published[:RECENT_NIGHTS]]
