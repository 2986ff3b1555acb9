"""Features of many entities at once, from one release's documents in the database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from bson import ObjectId
from bson.binary import Binary
from pymongo.database import Database

from features.database import Document, translated_errors
from features.release.documents import feature_id, recommendation_id
from features.release.feature_references import FeatureReference
from features.release.retrieval import ENTITY, schema_of
from features.schema.ids import encode_id
from features.schema.names import FEATURE_STORE, RECOMMENDATIONS
from features.schema.queries import IN_LIST

PATHS = {
    "user_profile": "features.vector",
    "vector": "features.vector",
    "confidence": "metadata.confidence",
    "neighbors": "features.neighbors.userId",
    "scores": "features.neighbors.score",
    "recommendations": "candidates.trackId",
}
"""Where a feature is, by its name, else by its type."""


@dataclass(frozen=True)
class OnlineRelease:
    """One release in the database.

    Attributes:
        database: whose dates come back aware.
        release: its id.
        dimensions: of its profiles, in the order of their vectors.
        now: a document that has expired by then is not there, whether or not the server has removed it.
    """

    database: Database[Document]
    release: str
    dimensions: Sequence[str]
    now: datetime

    def read_view(self, references: Sequence[FeatureReference], wanted: pa.Array) -> pa.Table:
        """One view's features of some entities: a row for each that has a document, in any order.

        Args:
            references: all of one view.
            wanted: distinct ids.
        """
        schema = schema_of(references)
        batches = []
        for texts, documents in self._chunks(references, wanted.to_pylist()):
            matrix = self._profiles(references, documents)
            columns = {
                reference.name: matrix[:, self.dimensions.index(reference.name)]
                if reference.is_dimension
                else [_value(reference, found) for found in documents]
                for reference in references
            }
            batches.append(pa.record_batch({ENTITY: texts} | columns, schema=schema))
        return pa.Table.from_batches(batches, schema)

    def _profiles(self, references: Sequence[FeatureReference], documents: Sequence[Document]) -> np.ndarray:
        """(documents, dimensions) float64; nothing where no dimension is asked for."""
        if not documents or not any(reference.is_dimension for reference in references):
            return np.empty((0, len(self.dimensions)))
        return np.array([decode_vector(found["features"]["vector"]) for found in documents])

    def _chunks(
        self, references: Sequence[FeatureReference], wanted: Sequence[str]
    ) -> Iterator[tuple[list[str], list[Document]]]:
        """Ids and documents of those that are there and have not expired, at most `IN_LIST` at a time."""
        of_lists = references[0].type == "recommendations"
        collection = self.database[RECOMMENDATIONS if of_lists else FEATURE_STORE]
        paths = {PATHS.get(reference.name) or PATHS[reference.type] for reference in references}
        projection = dict.fromkeys([*sorted(paths), "expiresAt"], 1)
        for start in range(0, len(wanted), IN_LIST):
            texts = {self._document_id(references[0], text): text for text in wanted[start : start + IN_LIST]}
            with translated_errors():
                # one more than can come, or the server would wait to be asked whether there is more
                answer = collection.find({"_id": {"$in": list(texts)}}, projection, batch_size=IN_LIST + 1)
                documents = [found for found in answer if found["expiresAt"] > self.now]
            yield [texts[found["_id"]] for found in documents], documents

    def _document_id(self, reference: FeatureReference, text: str) -> ObjectId:
        if reference.type == "recommendations":
            return recommendation_id(self.release, text, reference.name)
        return feature_id(self.release, reference.type, text)


def decode_vector(stored: Any) -> np.ndarray:
    """(dimensions,) float64 from either way a vector is stored: an array, or a BSON Binary float32 vector."""
    if isinstance(stored, Binary):
        return np.asarray(stored.as_vector().data, np.float64)
    return np.asarray(stored, np.float64)


def _value(reference: FeatureReference, found: Document) -> Any:
    if reference.type == "recommendations":
        return [entry["trackId"] for entry in found["candidates"]]
    if reference.name == "confidence":
        return found["metadata"]["confidence"]
    if reference.name == "vector":
        return decode_vector(found["features"]["vector"])
    if reference.name == "neighbors":
        return [encode_id(entry["userId"]) for entry in found["features"]["neighbors"]]
    return [entry["score"] for entry in found["features"]["neighbors"]]
