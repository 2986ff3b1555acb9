"""What a release is: its id, and the manifest that stands beside its Parquet files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import features
from features.errors import NotFoundError, StorageError
from features.parameters import NightlyParameters

FORMAT = 1
DATES = ("as_of", "known_at", "built_at", "chosen_as_of")
CODE_THAT_COUNTS = (
    "compute",
    "recommend",
    "evaluate",
    "snapshot",
    "dates.py",
    *(
        f"release/{name}.py"
        for name in ("build", "list_blocks", "outputs", "documents", "list_bytes", "templates", "reference")
    ),
)


@dataclass(frozen=True)
class Manifest:
    """A release as built. Its id has nothing of what was measured (`built_at`, `timings`, `peak_memory`) or judged.

    Attributes:
        aligned_to: the release onto whose embeddings these were rotated; part of the id. None: as they came.
        alignment: how well: shared `tracks`, mean cosine of their vectors `before` and `after`.
        metrics: ranking metrics on a time split of the release's own plays.
        strategies: which models each blends, how much of each, and what that was worth where it was chosen.
        chosen_as_of: moment of the night that chose them: this one, or one before whose choice is gone by.
        origin: "nightly", or "backfill" for one built for the offline store only.
        gate: False when it was told to be published whatever its checks say.
        timings: seconds of each stage of the build.
        peak_memory: bytes, the most that the process held in memory during each.
    """

    id: str
    as_of: datetime
    known_at: datetime
    built_at: datetime
    parameters: dict[str, Any]
    snapshot: str
    code: str
    dimensions: list[str]
    counts: dict[str, int]
    inputs: dict[str, Any]
    checks: list[dict[str, Any]]
    aligned_to: str | None = None
    alignment: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    strategies: dict[str, Any] = field(default_factory=dict)
    chosen_as_of: datetime | None = None
    origin: str = "nightly"
    gate: bool = True
    timings: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check of the gate held."""
        return all(check["passed"] for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """With dates as ISO text."""
        dates = {name: moment.isoformat() for name in DATES if (moment := getattr(self, name)) is not None}
        return {"format": FORMAT} | asdict(self) | dates


def release_id(as_of: datetime, parameters: NightlyParameters, snapshot: str, aligned_to: str | None = None) -> str:
    """The as-of date and a short hash of what shapes the release: `2026-11-22-7f3c9a`.

    The date is that of the last moment included: as of midnight is named after the day that ended.

    Args:
        as_of: aware.
        parameters: but for those of the gate, which shape nothing.
        snapshot: the digest of the inputs.
        aligned_to: the release onto whose embeddings these are turned.
    """
    content = {
        "as_of": as_of.astimezone(UTC).isoformat(),
        "parameters": parameters.model_dump(mode="json", exclude={"gate"}),
        "snapshot": snapshot,
        "aligned_to": aligned_to,
        "code": code_version(),
    }
    text = json.dumps(content, sort_keys=True)
    last_moment = as_of.astimezone(UTC) - timedelta(milliseconds=1)
    return f"{last_moment:%Y-%m-%d}-{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}"


@cache
def code_version() -> str:
    """The package's version and a hash of the source that shapes a release, such as `0.1.0+5d1c0a`.

    A change of a formula is a new release even while the version number is the same.
    """
    root = Path(features.__file__).parent
    digest = hashlib.blake2b(digest_size=3)
    for part in CODE_THAT_COUNTS:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return f"{features.__version__}+{digest.hexdigest()}"


def release_folder(home: Path, release: str) -> Path:
    """Where a release's Parquet files and manifest are."""
    return home / "releases" / release


def read_manifest(home: Path, release: str) -> Manifest:
    """The manifest of a release on disk.

    Raises:
        NotFoundError: it is not on this disk.
        StorageError: it can't be read.
    """
    path = release_folder(home, release) / "manifest.json"
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NotFoundError(
            f"release {release} is not under {home / 'releases'}; see `echotune releases list`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StorageError(f"{path} can't be read ({error}); remove the folder and build it again") from None


def from_json(value: Mapping[str, Any]) -> Manifest:
    """The reverse of `to_json`.

    Raises:
        ValueError: it is of another format.
    """
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']}, not {FORMAT}")
    fields = {name: content for name, content in value.items() if name != "format"}
    dates = {name: datetime.fromisoformat(fields[name]) for name in DATES if fields.get(name) is not None}
    return Manifest(**(fields | dates))


def releases_on_disk(home: Path) -> list[str]:
    """Ids of the releases under `home`, oldest id first; folders that are not whole are not there."""
    return sorted(path.parent.name for path in (home / "releases").glob("[!.]*/manifest.json"))
