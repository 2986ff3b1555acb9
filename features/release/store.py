"""FeatureStore: what the live release says, for applications, notebooks and the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bson import ObjectId
from pymongo.database import Database

from features.compute.topk import top_k
from features.database import Document, open_database, translated_errors
from features.errors import InputError, NotFoundError
from features.release.documents import FEATURE_LIFE, feature_id, recommendation_id
from features.release.entities import EntityRows, entities_of, read_rows
from features.release.feature_references import columns_of, resolve
from features.release.historical import get_historical_features
from features.release.ledger import find_release, read_pointer
from features.release.online import OnlineRelease, decode_vector
from features.release.retention import pin
from features.release.retrieval import Features, beside, look_up
from features.release.tables import candidate_table, pair_table, profile_table
from features.schema.ids import UserId, encode_id, meant_ids
from features.schema.names import FEATURE_STORE, FEATURE_TYPES, RECOMMENDATIONS, SERVING_ORDER, STRATEGIES, TRACKS
from features.schema.queries import IN_LIST
from features.settings import Settings, get_settings


class FeatureStore:
    """One release, pinned when the store is made: everything it returns is of that version.

    Example::

        with open_feature_store() as store:
            store.profile("listener-0001")["energy_mean"]
            store.recommendations("listener-0001", "hybrid", k=5)

    Args:
        database: from `features.database.open_database`.
        release: an id to pin; the live release by default.
        home: `$ECHOTUNE_HOME`, for historical features, which are read from its releases whatever is pinned.

    Raises:
        NotFoundError: nothing is live yet, or there is no such release.
    """

    def __init__(self, database: Database[Document], release: str | None = None, home: Path | None = None) -> None:
        aware = database.codec_options.with_options(tz_aware=True)  # dates are compared here
        self._database = database.with_options(codec_options=aware)
        if release is None:
            pointer = read_pointer(database)
            if pointer is None:
                raise NotFoundError("no release is live yet; run `echotune nightly` first")
            release = pointer.release
        self._document = find_release(database, release)
        self.release = release
        self._home = home
        pin(self._database, release, datetime.now(UTC))

    def __repr__(self) -> str:
        counts = self._document["counts"]
        return f"FeatureStore({self.release}, {counts['user_profile']:,} profiles, {counts['tracks']:,} tracks)"

    @property
    def dimensions(self) -> list[str]:
        """Names of a profile's dimensions, in the order of its vector."""
        return list(self._document["dimensions"])

    @property
    def info(self) -> Document:
        """The release's own document: parameters, counts, checks, timings."""
        return dict(self._document)

    def profile(self, user: UserId) -> dict[str, float]:
        """A user's profile by dimension name; NaN where it is undefined.

        Raises:
            NotFoundError: the release has no profile of the user.
        """
        document = self._feature("user_profile", user)
        return dict(zip(self.dimensions, decode_vector(document["features"]["vector"]).tolist(), strict=True))

    def profile_confidence(self, user: UserId) -> float:
        """How sure the profile is, 0 to 1."""
        return float(self._feature("user_profile", user)["metadata"]["confidence"])

    def similar_users(self, user: UserId, k: int = 10) -> list[dict[str, Any]]:
        """A user's most similar users, best first: `user_id`, `common_tracks`, `jaccard`, `score`.

        Raises:
            NotFoundError: the release knows nothing of the user.
        """
        neighbors = self._feature("similarity", user)["features"]["neighbors"]
        return [
            {
                "user_id": entry["userId"],
                "common_tracks": entry["commonTracks"],
                "jaccard": entry["jaccard"],
                "score": entry["score"],
            }
            for entry in neighbors[:k]
        ]

    def recommendations(self, user: UserId, strategy: str | None = None, k: int = 10) -> dict[str, Any]:
        """A user's list: `strategy`, `confidence`, `seeds` and `candidates`, best first.

        Without a strategy the best there is: hybrid, collaborative, content-based, popular.

        Raises:
            NotFoundError: the release has no such list for the user.
        """
        order = [strategy] if strategy else SERVING_ORDER
        for candidate in meant_ids(user):  # all lists of one user before any of another
            for name in order:
                found = self._find(RECOMMENDATIONS, recommendation_id(self.release, encode_id(candidate), name))
                if found is not None:
                    return _recommendation(found, k)
        if strategy is not None and strategy not in STRATEGIES:
            raise NotFoundError(f"unknown strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
        which = f"{strategy} recommendations" if strategy else "recommendations"
        raise NotFoundError(f"release {self.release} has no {which} for user {user}")

    def embedding(self, track: str) -> np.ndarray:
        """(dimensions,) float64: a track's embedding, of unit length.

        Raises:
            NotFoundError: the release does not know the track.
        """
        found = self._find(FEATURE_STORE, feature_id(self.release, "track_embedding", track))
        if found is None:
            raise NotFoundError(f"release {self.release} does not know track {track}")
        return decode_vector(found["features"]["vector"])

    def similar_tracks(self, track: str, k: int = 10) -> list[dict[str, Any]]:
        """The tracks closest to one by cosine, best first: `track_id`, `similarity`; exact, over all tracks."""
        target = self.embedding(track)
        ids, matrix = self._embeddings
        scores = matrix @ target
        scores[ids.index(track)] = -np.inf
        best = top_k(scores[None, :], k)[0]
        return [{"track_id": ids[row], "similarity": float(scores[row])} for row in best if row >= 0]

    def table(self, feature_type: str) -> pa.Table:
        """All of one type as Arrow; `.to_pandas()` makes a frame of it.

        "user_profile" has a column a dimension; "track_embedding" a column `vector`; "similarity" a row a pair;
        "recommendations" a row a candidate. User ids of type ObjectId are written `oid:<hex>`.

        Raises:
            NotFoundError: there is no such type.
        """
        if feature_type == "track_embedding":
            ids, matrix = self._embeddings
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
            return pa.table({"track_id": pa.array(ids, pa.string()), "vector": vectors})
        if feature_type == "user_profile":
            wanted = {"userId": 1, "features.vector": 1, "metadata.confidence": 1}
            return profile_table(self._all(feature_type, wanted), self.dimensions)
        if feature_type == "similarity":
            return pair_table(self._all(feature_type, {"userId": 1, "features.neighbors": 1}))
        if feature_type == "recommendations":
            return candidate_table(self._unexpired(RECOMMENDATIONS, {"release": self.release}))
        known = ", ".join((*FEATURE_TYPES, "recommendations"))
        raise NotFoundError(f"unknown feature type {feature_type!r}; there are {known}")

    def get_online_features(
        self, features: Sequence[str], entity_rows: EntityRows, *, full_feature_names: bool = False
    ) -> Features:
        """Rows with their features as the pinned release has them; what has expired is not known.

        Args:
            features: such as `user_profile:energy_mean`; `user_profile:*` for all dimensions.
            entity_rows: a list of dicts, a DataFrame or an Arrow table with `user_id`, `track_id` or both, as the
                features need; other columns are kept.
            full_feature_names: columns are `type__name`, not `name`.

        Raises:
            InputError: a column is missing, a value can't be used, or two features would be one column.
            NotFoundError: the release has no such feature.
        """
        references = resolve(features, self.dimensions)
        needed = list(dict.fromkeys(reference.entity for reference in references))
        rows = read_rows(entity_rows, needed)
        names = columns_of(references, rows.column_names, full=full_feature_names)
        entities = {name: entities_of(rows, name) for name in needed}
        release = OnlineRelease(self._database, self.release, self.dimensions, datetime.now(UTC))
        found, unknown = look_up(release.read_view, references, entities)
        return Features(beside(rows, found, names), unknown)

    def get_historical_features(
        self,
        entity_df: EntityRows,
        features: Sequence[str],
        *,
        ttl: timedelta | None = FEATURE_LIFE,
        full_feature_names: bool = False,
        with_release: bool = False,
    ) -> Features:
        """Rows with their features as known at each one's moment: `features.release.historical`, over `home`.

        Raises:
            InputError: the store was made without `home`, or as said there.
            NotFoundError, StorageError: as said there.
        """
        if self._home is None:
            raise InputError("historical features are read from disk; make the store with home=, the data folder")
        return get_historical_features(
            self._home,
            entity_df,
            features,
            ttl=ttl,
            full_feature_names=full_feature_names,
            with_release=with_release,
        )

    def track_labels(self, tracks: list[str]) -> dict[str, str]:
        """Labels such as "Name by Artist" for each track that has a name, the id for the others."""
        labels = {track: track for track in tracks}
        with translated_errors():
            for start in range(0, len(tracks), IN_LIST):
                query = {"spotifyId": {"$in": tracks[start : start + IN_LIST]}}
                for row in self._database[TRACKS].find(query, {"spotifyId": 1, "name": 1, "artists.name": 1}):
                    artists = ", ".join(a["name"] for a in row.get("artists") or [] if a.get("name"))
                    if row.get("name"):
                        labels[row["spotifyId"]] = f"{row['name']} by {artists}" if artists else row["name"]
        return labels

    @cached_property
    def _embeddings(self) -> tuple[list[str], np.ndarray]:
        """Ids and (tracks, dimensions) float64, read once."""
        rows = list(self._all("track_embedding", {"trackId": 1, "features.vector": 1}))
        rows.sort(key=lambda row: str(row["trackId"]))
        vectors = [decode_vector(row["features"]["vector"]) for row in rows]
        return [row["trackId"] for row in rows], np.array(vectors).reshape(len(rows), len(vectors[0]) if rows else 1)

    def _all(self, feature_type: str, projection: dict[str, int]) -> Iterator[Document]:
        query = {"featureType": feature_type, "features.version": self.release}
        return self._unexpired(FEATURE_STORE, query, {**projection, "expiresAt": 1})

    def _feature(self, feature_type: str, user: UserId) -> Document:
        for candidate in meant_ids(user):
            found = self._find(FEATURE_STORE, feature_id(self.release, feature_type, encode_id(candidate)))
            if found is not None:
                return found
        raise NotFoundError(f"release {self.release} has no {feature_type} of user {user}")

    def _find(self, collection: str, document_id: ObjectId) -> Document | None:
        return next(self._unexpired(collection, {"_id": document_id}), None)

    def _unexpired(
        self, collection: str, query: Document, projection: dict[str, int] | None = None
    ) -> Iterator[Document]:
        # the date is looked at here: with a second condition the built-in server scans the collection
        now = datetime.now(UTC)
        with translated_errors():
            for found in self._database[collection].find(query, projection):
                if found["expiresAt"] > now:
                    yield found


@contextmanager
def open_feature_store(release: str | None = None, settings: Settings | None = None) -> Iterator[FeatureStore]:
    """A feature store on the database that the environment names, open for the block.

    Raises:
        DatabaseError: it can't be reached.
        NotFoundError: nothing is live yet, or there is no such release.
    """
    settings = settings or get_settings()
    with open_database(settings) as database:
        yield FeatureStore(database, release, settings.echotune_home)


def _recommendation(document: Document, k: int) -> dict[str, Any]:
    return {
        "user_id": document["userId"],
        "strategy": document["strategy"],
        "confidence": document["performance"]["confidence"],
        "seeds": document["context"]["seeds"],
        "candidates": [
            {
                "rank": entry["rank"],
                "track_id": entry["trackId"],
                "track_name": entry["metadata"]["trackName"],
                "artist": entry["metadata"]["artist"],
                "score": entry["score"],
                "reasons": entry["reasons"],
            }
            for entry in document["candidates"][:k]
        ],
    }
