"""What a database holds of releases, and a way to end a run in the middle of a step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
from pymongo.database import Database

from features.release.documents import OUTPUTS, ReleaseDocuments
from features.release.manifest import Manifest, release_folder
from features.schema import names
from features.storage import write_json


def stored(database: Database, release: str | None = None) -> set[bytes]:
    """All documents of the outputs, as their bytes."""
    found: set[bytes] = set()
    for collection, field in ((names.FEATURE_STORE, "features.version"), (names.RECOMMENDATIONS, "release")):
        query = {} if release is None else {field: release}
        found |= {bson.encode(document) for document in database[collection].find(query)}
    return found


def expected(home: Path, release: Manifest) -> set[bytes]:
    """The same, from the files."""
    documents = ReleaseDocuments(release_folder(home, release.id), release)
    return {
        bson.encode(bson.decode(document.raw))
        for output in OUTPUTS
        for number in range(documents.chunks(output))
        for document in documents.chunk(output, number)
    }


def states(database: Database) -> dict[str, str]:
    return {document["_id"]: document["state"] for document in database.releases.find({"state": {"$exists": True}})}


class Interruption(BaseException):
    """As sudden as a kill, as far as Python lets a test go."""


class Raising:
    """The original function, but for its n-th call, which does something else and then raises."""

    def __init__(
        self, original: Callable[..., Any], number: int, instead: Callable[..., Any] = lambda *_: None
    ) -> None:
        self.original = original
        self.left = number
        self.instead = instead

    def __call__(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            self.instead(*arguments)
            raise Interruption
        return self.original(*arguments)


def dump(database: Database) -> dict[str, dict[Any, Any]]:
    """All documents but the lease, by collection and id."""
    collections = (names.FEATURE_STORE, names.RECOMMENDATIONS, names.RECOMMENDATIONS_CACHE, names.RELEASES)
    found = {
        name: {entry["_id"]: bson.encode(entry) for entry in database[name].find()}
        for name in (*collections, names.EVENTS)
    }
    del found[names.RELEASES]["lease"]
    return found


def files(home: Path) -> dict[str, bytes]:
    """All files of releases, by path."""
    return {str(path.relative_to(home)): path.read_bytes() for path in (home / "releases").rglob("*") if path.is_file()}


def on_disk(home: Path, release: Manifest, **changes: Any) -> Manifest:
    """A release with some of its manifest changed, there too."""
    made = replace(release, **changes)
    write_json(release_folder(home, made.id) / "manifest.json", made.to_json())
    return made
