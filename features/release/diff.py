"""What changed from one release to another, from their Parquet files on disk."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import StorageError
from features.evaluate.drift import DimensionDrift, Movement, kept, moved, profile_drift
from features.evaluate.gate import Check, verdict
from features.progress import Progress, silent
from features.release.manifest import Manifest, read_manifest, release_folder

FIRST = 5
"""Entities come or gone that are named; the others are counted."""
TOP = 10
"""What of a list most people see."""
BATCH = 20_000
"""Lists read at a time: their members are texts, and of a million lists too many to hold."""
ENTITIES = {
    "user_profile": "user_id",
    "track_embedding": "track_id",
    "similarity": "user_id",
    "recommendations": "user_id",
}


@dataclass(frozen=True)
class Side:
    """One of the two releases, and what its gate said."""

    release: str
    as_of: datetime
    known_at: datetime
    passed: bool
    verdict: str


@dataclass(frozen=True)
class Figure:
    """A count or a metric of both; NaN where one has none."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Turnover:
    """Entities that came and went in one output, and the first few of them by id."""

    output: str
    before: int
    after: int
    came: int
    went: int
    first_came: list[str]
    first_went: list[str]


@dataclass(frozen=True)
class KeptLists:
    """What lists kept of their members, as the mean over those that both have; NaN where there are none.

    Attributes:
        output: "similarity", or the strategy of recommendations.
        lists: entities with a list in both.
        share: of all members, 0 to 1.
        top_share: of the first ten, that are still among the first ten.
    """

    output: str
    lists: int
    share: float
    top_share: float


@dataclass(frozen=True)
class ReleaseDiff:
    """What changed from the old release to the new one.

    Attributes:
        counts: of both manifests.
        turnover: entities, by output.
        dimensions: of profiles that both name, the largest PSI first, undefined ones last.
        dimensions_came: names only the new release has, in its order.
        dimensions_went: names only the old one has.
        movement: of shared tracks' embeddings; None where they can't be compared.
        movement_note: on what footing they were compared, or why they can't be.
        lists: neighbours, then recommendations by each strategy that both have.
        metrics: of both manifests.
    """

    old: Side
    new: Side
    counts: list[Figure]
    turnover: list[Turnover]
    dimensions: list[DimensionDrift]
    dimensions_came: list[str]
    dimensions_went: list[str]
    movement: Movement | None
    movement_note: str
    lists: list[KeptLists]
    metrics: list[Figure]

    def to_json(self) -> dict[str, Any]:
        """With dates as ISO text and undefined numbers as None."""
        return asdict(self, dict_factory=_plain)


def diff_releases(home: Path, old: str, new: str, progress: Progress = silent) -> ReleaseDiff:
    """Compares two releases on disk.

    Args:
        home: `$ECHOTUNE_HOME`.
        old: the id of one.
        new: of the other.
        progress: called at each of the outputs.

    Raises:
        NotFoundError: one of them is not there.
        StorageError: one can't be read.
    """
    a, b = _Release(home, old), _Release(home, new)
    names, other_names = a.manifest.dimensions, b.manifest.dimensions
    progress("comparing profiles", 0, None)
    drift = profile_drift(names, a.vectors("user_profile"), other_names, b.vectors("user_profile"))
    progress("comparing embeddings", 0, None)
    movement, note = _movement(a, b)
    progress("comparing lists", 0, None)
    lists = [_kept_neighbors(a, b), *_kept_recommendations(a, b)]
    return ReleaseDiff(
        _side(a.manifest),
        _side(b.manifest),
        _figures(a.manifest.counts, b.manifest.counts),
        [_turnover(output, a.column(output, key), b.column(output, key)) for output, key in ENTITIES.items()],
        sorted(drift, key=lambda entry: math.inf if math.isnan(entry.psi) else -entry.psi),
        [name for name in other_names if name not in set(names)],
        [name for name in names if name not in set(other_names)],
        movement,
        note,
        lists,
        _figures(a.manifest.metrics, b.manifest.metrics),
    )


class _Release:
    """One release's manifest, and its Parquet files column by column."""

    def __init__(self, home: Path, release: str) -> None:
        self.manifest = read_manifest(home, release)
        self.folder = release_folder(home, release)

    def column(self, output: str, name: str) -> pa.Array:
        path = self.folder / f"{output}.parquet"
        with _read_errors(path):
            return pq.read_table(path, columns=[name])[name].combine_chunks()

    def vectors(self, output: str) -> np.ndarray:
        """(n, d) float: the column `vector`, NaN where undefined."""
        vectors = self.column(output, "vector")
        values: np.ndarray = vectors.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(vectors), vectors.type.list_size)

    def members(self, output: str, name: str, known: pa.Array) -> np.ndarray:
        """(lists, k) int32: members of a column of lists by their place in `known`, -1 where a list is shorter."""
        path = self.folder / f"{output}.parquet"
        numbers, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        with _read_errors(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=[name]):
                members = batch[name].flatten()
                members = members.field("user_id") if pa.types.is_struct(members.type) else members
                numbers.append(_places(members, known))
                lengths.append(pc.list_value_length(batch[name]).to_numpy())
        length = np.concatenate(lengths)
        matrix = np.full((len(length), length.max(initial=0)), -1, np.int32)
        matrix[np.arange(matrix.shape[1]) < length[:, None]] = np.concatenate(numbers)
        return matrix

    def is_turned_onto(self, other: "_Release") -> bool:
        return self.manifest.aligned_to == other.manifest.id and self.manifest.alignment.get("tracks", 0) > 0


def _side(manifest: Manifest) -> Side:
    said = verdict([Check(**check) for check in manifest.checks])
    return Side(manifest.id, manifest.as_of, manifest.known_at, manifest.passed, said)


def _figures(before: Mapping[str, float], after: Mapping[str, float]) -> list[Figure]:
    """Those of either, in the order of the newer."""
    return [Figure(name, before.get(name, math.nan), after.get(name, math.nan)) for name in {**after, **before}]


def _turnover(output: str, before: pa.Array, after: pa.Array) -> Turnover:
    before, after = pc.unique(before), pc.unique(after)
    came, went = (
        one.filter(pc.invert(pc.is_in(one, value_set=other))) for one, other in ((after, before), (before, after))
    )
    firsts = [sorted(part.to_pylist())[:FIRST] for part in (came, went)]
    return Turnover(output, len(before), len(after), len(came), len(went), *firsts)


def _movement(a: _Release, b: _Release) -> tuple[Movement | None, str]:
    before, after = a.vectors("track_embedding"), b.vectors("track_embedding")
    narrow, wide = sorted((before.shape[1], after.shape[1]))
    if b.is_turned_onto(a):
        note = "the new embeddings are aligned to the old"
    elif a.is_turned_onto(b):
        note = "the old embeddings are aligned to the new"
    elif narrow == wide:
        note = "neither is aligned to the other: some of it may be another choice of axes"
    else:
        return None, f"embeddings of {before.shape[1]} and of {after.shape[1]} dimensions can't be compared"
    rows, other_rows = _shared(*(release.column("track_embedding", "track_id") for release in (a, b)))
    return moved(_widened(before[rows], wide), _widened(after[other_rows], wide)), note


def _widened(vectors: np.ndarray, width: int) -> np.ndarray:
    """With zeros for the dimensions it lacks, as it was aligned."""
    return np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))


def _kept_neighbors(a: _Release, b: _Release) -> KeptLists:
    users, other_users = (release.column("similarity", "user_id") for release in (a, b))
    known = pa.concat_arrays([users, other_users]).unique()
    before, after = (release.members("similarity", "neighbors", known) for release in (a, b))
    rows, other_rows = _shared(users, other_users)
    return _kept("similarity", before[rows], after[other_rows])


def _kept_recommendations(a: _Release, b: _Release) -> Iterator[KeptLists]:
    known = pa.concat_arrays([release.column("track_embedding", "track_id") for release in (a, b)]).unique()
    before, after = (release.members("recommendations", "track_ids", known) for release in (a, b))
    owners, other_owners = (_by_strategy(release) for release in (a, b))
    for strategy in sorted(owners.keys() & other_owners.keys()):
        (places, users), (other_places, other_users) = owners[strategy], other_owners[strategy]
        rows, other_rows = _shared(users, other_users)
        yield _kept(strategy, before[places[rows]], after[other_places[other_rows]])


def _by_strategy(release: _Release) -> dict[str, tuple[np.ndarray, pa.Array]]:
    """Row numbers and users of each strategy's lists."""
    users, strategies = (release.column("recommendations", name) for name in ("user_id", "strategy"))
    of = strategies.to_numpy(zero_copy_only=False)
    rows = {strategy: np.nonzero(of == strategy)[0] for strategy in pc.unique(strategies).to_pylist()}
    return {strategy: (places, users.take(pa.array(places))) for strategy, places in rows.items()}


def _kept(output: str, before: np.ndarray, after: np.ndarray) -> KeptLists:
    return KeptLists(output, len(before), kept(before, after), kept(before[:, :TOP], after[:, :TOP]))


def _shared(before: pa.Array, after: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers, before and after, of the entities that are in both; each is in either once."""
    places = _places(before, after)
    rows = np.nonzero(places >= 0)[0]
    return rows, places[rows]


def _places(ids: pa.Array, known: pa.Array) -> np.ndarray:
    """(n,) int32: where each id stands in `known`, -1 where it doesn't."""
    found: np.ndarray = pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy()
    return found


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = str(error).partition("\n")[0]
        raise StorageError(f"{path} can't be read ({what}); remove its folder, build that release again") from None


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of one dataclass as JSON has them."""
    undefined = {name for name, value in pairs if isinstance(value, float) and math.isnan(value)}
    return {
        name: None if name in undefined else value.isoformat() if isinstance(value, datetime) else value
        for name, value in pairs
    }
