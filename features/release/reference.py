"""The release before: embeddings are turned onto its, lists are not to be its again, its choice of models is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
from pymongo.database import Database

from features.compute.dataset import Dataset
from features.database import Document, translated_errors
from features.dates import epoch_ms
from features.errors import NotFoundError, StorageError
from features.parameters import NightlyParameters
from features.recommend.blend import Recipe
from features.recommend.rerank import standing
from features.release.ledger import manifest_of
from features.release.manifest import Manifest, code_version, read_manifest, release_folder, releases_on_disk
from features.release.store import FeatureStore
from features.schema.ids import encode_id
from features.schema.names import RECOMMENDATIONS

LISTS = pa.schema([("user_id", pa.string()), ("strategy", pa.string()), ("track_ids", pa.list_(pa.string()))])


@dataclass(frozen=True)
class Choice:
    """Which models each strategy blends, and how much of each.

    Attributes:
        recipes: by strategy.
        as_of: moment of the night that chose.
    """

    recipes: Mapping[str, Recipe]
    as_of: datetime


@dataclass(frozen=True, eq=False)
class Reference:
    """An earlier release: its books, embeddings and lists.

    Attributes:
        manifest: its id is part of the id of what is turned onto it.
        tracks: (m,) ids.
        vectors: (m, dimensions) float32, unit length or zero.
        lists: `LISTS`: a row a list, best track first; ids of tracks may be encoded as a dictionary.
    """

    manifest: Manifest
    tracks: list[str]
    vectors: np.ndarray
    lists: pa.Table

    @property
    def release(self) -> str:
        """Its id."""
        return self.manifest.id


def read_reference(home: Path, release: str) -> Reference:
    """A release on disk.

    Raises:
        NotFoundError: it is not there.
        StorageError: its embeddings or lists can't be read.
    """
    manifest = read_manifest(home, release)
    path = release_folder(home, release) / "track_embedding.parquet"
    try:
        embeddings = pq.read_table(path, columns=["track_id", "vector"])
        path = release_folder(home, release) / "recommendations.parquet"
        # the same few tracks stand in all lists: as a dictionary they take a tenth
        lists = pq.read_table(path, columns=LISTS.names, read_dictionary=["track_ids.list.element"])
        return Reference(manifest, *_embeddings(embeddings), lists)
    except (OSError, ValueError, pa.ArrowException) as error:
        what = str(error).splitlines()[0]
        raise StorageError(f"{path} can't be read ({what}); remove the folder and build the release again") from error


def find_reference(database: Database[Document], home: Path, release: str) -> Reference | None:
    """A release from disk or, where its folder is on another machine or damaged, from the database; None if nowhere."""
    try:
        return read_reference(home, release)
    except (NotFoundError, StorageError):
        store = FeatureStore(database, release)
        table = store.table("track_embedding")
        if not table.num_rows:
            return None
        return Reference(manifest_of(store.info), *_embeddings(table), _stored_lists(database, release))


def unmoved_lists(reference: Reference | None, dataset: Dataset, as_of: datetime) -> dict[str, sp.csr_matrix]:
    """What stood where in the lists of the release before, for users who have done nothing since.

    Since is from its moment on, or from when it read where that was earlier: as of the end of a day, most of the last
    day was still to come.

    Args:
        reference: None for none; one that is not of an earlier moment is no night before, and counts as none.
        dataset: as of `as_of`.
        as_of: the moment of the new release.

    Returns:
        By strategy, (users, tracks) float64 CSR: `standing` of the place. Rows of users with a play or feedback since
        are empty; tracks that are gone stand nowhere.
    """
    if reference is None or reference.manifest.as_of >= as_of:
        return {}
    since_ms = epoch_ms(min(reference.manifest.as_of, reference.manifest.known_at))
    plays, said = dataset.plays, dataset.feedback
    moved = np.zeros(len(dataset.users) + 1, bool)
    moved[plays.user[plays.played_at >= since_ms]] = True
    moved[said.user[said.created_at >= since_ms]] = True
    moved[-1] = True  # who is gone
    kept = ~moved[dataset.users.numbers(reference.lists["user_id"].to_pylist())]
    lists = reference.lists.filter(pa.array(kept))
    shape = (len(dataset.users), len(dataset.tracks))
    return {
        strategy: _places(lists.filter(pc.equal(lists["strategy"], strategy)), dataset, shape)
        for strategy in sorted(pc.unique(lists["strategy"]).to_pylist())
    }


def last_choice(reference: Reference | None, parameters: NightlyParameters, as_of: datetime) -> Choice | None:
    """The models that the release before went by, while they may be gone by: `ranking.choose_every_days`.

    Not where it had other code or parameters that a choice follows from, or too few listeners to choose by.

    Args:
        reference: None for none; one of a later moment is no night before, and counts as none.
        parameters: of the new release.
        as_of: its moment.
    """
    before, days = reference.manifest if reference else None, parameters.ranking.choose_every_days
    if before is None or before.chosen_as_of is None or before.as_of > as_of:
        return None
    same = before.code == code_version() and _for_choice(before.parameters) == _for_choice(
        parameters.model_dump(mode="json")
    )
    # half a day less: a night that starts a little earlier than that of a week ago is the seventh after it all the same
    if not same or as_of - before.chosen_as_of >= timedelta(days=days - 0.5):
        return None
    recipes = {name: Recipe.from_dict(recipe) for name, recipe in before.strategies.items()}
    by_listeners = any(recipe.users for recipe in recipes.values())
    return Choice(recipes, before.chosen_as_of) if by_listeners else None


def last_backfill(home: Path, before: datetime) -> str | None:
    """The newest of the releases that were backfilled as of an earlier moment; None before the first."""
    manifests = [read_manifest(home, release) for release in releases_on_disk(home)]
    earlier = [m for m in manifests if m.origin == "backfill" and m.as_of < before]
    return max(earlier, key=lambda m: (m.as_of, m.known_at, m.built_at)).id if earlier else None


def _for_choice(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What of a release's parameters `strategies.choose` and its split go by."""
    lists = parameters["recommendations"]
    return {part: parameters[part] for part in ("interactions", "ranking", "models", "evaluation")} | {
        name: lists[name] for name in ("include_heard", "same_song")
    }


def _places(lists: pa.Table, dataset: Dataset, shape: tuple[int, int]) -> sp.csr_matrix:
    count = pc.list_value_length(lists["track_ids"]).to_numpy()
    ids = pc.list_flatten(lists["track_ids"])
    encoded = (ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()).unify_dictionaries()
    encoded = encoded.combine_chunks()
    encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
    track = dataset.tracks.numbers(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]
    user = np.repeat(dataset.users.numbers(lists["user_id"].to_pylist()), count)
    place = np.arange(len(track)) - np.repeat(np.cumsum(count) - count, count)
    there = track >= 0
    return sp.csr_matrix((standing(place[there]), (user[there], track[there])), shape=shape)


def _stored_lists(database: Database[Document], release: str) -> pa.Table:
    """The lists of a release that have not expired."""
    now = datetime.now(UTC)
    wanted = {"userId": 1, "strategy": 1, "candidates.trackId": 1, "expiresAt": 1}
    with translated_errors():
        rows = [
            {
                "user_id": encode_id(found["userId"]),
                "strategy": found["strategy"],
                "track_ids": [candidate["trackId"] for candidate in found["candidates"]],
            }
            for found in database[RECOMMENDATIONS].find({"release": release}, wanted)
            if found["expiresAt"].replace(tzinfo=UTC) > now
        ]
    return pa.Table.from_pylist(rows, schema=LISTS)


def _embeddings(table: pa.Table) -> tuple[list[str], np.ndarray]:
    vectors = table["vector"].combine_chunks()
    width = vectors.type.list_size
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)
    return table["track_id"].to_pylist(), matrix
