"""What happened to each release, in words: by the database's books and by the folders on this disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pymongo.database import Database

from features.database import Document
from features.errors import NotFoundError, StorageError
from features.release.ledger import all_releases, find_release, manifest_of, read_pointer, run_at_work
from features.release.manifest import Manifest, read_manifest, releases_on_disk
from features.release.retention import NIGHTLY, scratch_folders

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Story:
    """One release.

    Attributes:
        release: its id.
        state: live, retired, withdrawn (rolled back), expired, failed, backfill, built, uploading, building, or
            unreadable.
        detail: what else there is to say of the state; empty for nothing.
        on_disk: whether its folder is on this disk.
        manifest: as the disk has it, else as the database; None for one that is being built or can't be read.
    """

    release: str
    state: str
    detail: str
    on_disk: bool
    manifest: Manifest | None

    @property
    def live(self) -> bool:
        """Whether readers follow it."""
        return self.state == "live"

    @property
    def words(self) -> str:
        """State and detail for a person."""
        return f"{self.state}: {self.detail}" if self.detail else self.state


def tell_all(database: Database[Document], home: Path) -> list[Story]:
    """Every release that the database or the disk knows: those being built, then newest built first.

    Raises:
        DatabaseError: the database can't be asked.
    """
    pointer = read_pointer(database)
    live = pointer.release if pointer else None
    at_work = run_at_work(database)
    entries = {str(entry["_id"]): entry for entry in all_releases(database)}
    on_disk = releases_on_disk(home)
    told = [_tell(name, entries.get(name), home, live, at_work) for name in {*entries, *on_disk}]
    begun = {name for name, _ in scratch_folders(home)} - entries.keys() - set(on_disk)
    detail = f"by {at_work}" if at_work else "left by a run that ended"
    return [
        *(Story(name, "building", detail, on_disk=False, manifest=None) for name in sorted(begun)),
        *sorted(told, key=_age, reverse=True),
    ]


def tell(database: Database[Document], home: Path, release: str) -> Story:
    """One release.

    Raises:
        NotFoundError: neither the database nor the disk has it; says which there are.
        StorageError: only the disk has it, and it can't be read.
    """
    pointer = read_pointer(database)
    try:
        entry = find_release(database, release)
    except NotFoundError as error:
        try:
            read_manifest(home, release)
        except NotFoundError:
            raise error from None
        entry = None
    return _tell(release, entry, home, pointer.release if pointer else None, run_at_work(database))


def _tell(name: str, entry: Document | None, home: Path, live: str | None, at_work: str | None) -> Story:
    try:
        manifest = read_manifest(home, name)
    except NotFoundError:
        manifest = None
    except StorageError:
        if entry is None:
            return Story(name, "unreadable", f"see `echotune releases show {name}`", on_disk=True, manifest=None)
        manifest = None
    on_disk = manifest is not None
    if entry is None:
        assert manifest is not None
        return Story(name, *_only_on_disk(manifest), on_disk, manifest)
    manifest = manifest or manifest_of(entry)
    return Story(name, *_in_books(entry, manifest, at_work, is_live=name == live), on_disk, manifest)


def _only_on_disk(manifest: Manifest) -> tuple[str, str]:
    if manifest.origin != NIGHTLY:
        return "backfill", "on disk only"
    return ("built", "on disk only") if manifest.passed else ("failed", _first_failed(manifest))


def _in_books(
    entry: Mapping[str, object], manifest: Manifest, at_work: str | None, *, is_live: bool
) -> tuple[str, str]:
    """State and detail; the pointer is believed before the state, which a killed run may have left behind."""
    overridden = "" if manifest.passed or manifest.gate else "its failed checks were overridden"
    if is_live:
        return "live", overridden
    if entry["state"] in {"building", "uploading"}:
        return str(entry["state"]), f"by {at_work}" if at_work else "left by a run that ended"
    if entry["state"] == "failed":
        return "failed", _first_failed(manifest)
    if entry["state"] == "built":
        return "built", "never live"
    if entry.get("expired"):
        return ("withdrawn" if "withdrawnAt" in entry else "expired"), overridden
    return "retired", overridden


def _first_failed(manifest: Manifest) -> str:
    return next((check["name"] for check in manifest.checks if not check["passed"]), "")


def _age(story: Story) -> tuple[datetime, str]:
    return story.manifest.built_at if story.manifest else NEVER, story.release
