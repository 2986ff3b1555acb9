"""A release's Parquet rows as the documents that the contract describes: the border between the two spellings."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bson.binary import Binary, BinaryVectorDtype
from bson.raw_bson import RawBSONDocument

from features.release.list_bytes import candidate_arrays, pieces_of, with_candidates
from features.release.manifest import Manifest
from features.release.templates import after_template
from features.schema.ids import content_object_id, decode_id
from features.schema.names import AUDIO_FEATURES, FEATURE_STORE, RECOMMENDATIONS

ALGORITHMS = {
    "user_profile": "weighted-profile",
    "track_embedding": "scaled-svd+content",
    "similarity": "exact-jaccard",
}
FEATURE_LIFE = timedelta(days=90)
RECOMMENDATION_LIFE = timedelta(days=30)
"""So long are documents served after the last good night: a week of failed ones leaves readers with theirs."""

OUTPUTS = {
    "user_profile": FEATURE_STORE,
    "track_embedding": FEATURE_STORE,
    "similarity": FEATURE_STORE,
    "recommendations": RECOMMENDATIONS,
}


ALIKE = ("user_profile", "track_embedding")
"""Outputs whose documents differ in ids and numbers alone: a vector, and those by path and column."""
ALIKE_NUMBERS = {
    "metadata.confidence": "confidence",
    "metadata.trainingData.trackCount": "track_count",
    "metadata.trainingData.historyDays": "history_days",
}
EMPTY_FEEDBACK: dict[str, Any] = {"tracksPlayed": [], "tracksLiked": [], "tracksSkipped": [], "overallRating": None}
"""Of a list that nobody has answered yet."""
_AS_SENT = bson.encode({"feedback": EMPTY_FEEDBACK})[4:-1]
"""The same as it stands in a document: type, name and content."""


def document_digest(document: bytes) -> int:
    """64 bits that stand for a document's bytes as a release has it; a release's digest is their sum modulo 2^64.

    What `feedback` says does not count: attribution fills it in documents that are sent already.
    """
    if _AS_SENT not in document and b"\x03feedback\x00" in document:
        found = RawBSONDocument(document)  # what is inside stays the bytes it is
        if "feedback" in found:
            document = bson.encode({**found, "feedback": EMPTY_FEEDBACK})
    return int.from_bytes(blake2b(document, digest_size=8).digest())


def feature_id(release: str, feature_type: str, entity: str) -> bson.ObjectId:
    """The `_id` of a feature document; `entity` is a track id or an encoded user id."""
    return content_object_id(release, feature_type, entity)


def recommendation_id(release: str, user: str, strategy: str) -> bson.ObjectId:
    """The `_id` of a recommendation document; `user` is an encoded id."""
    return content_object_id(release, "recommendations", user, strategy)


@dataclass(frozen=True)
class ReleaseDocuments:
    """The documents of one built release, a chunk at a time."""

    folder: Path
    manifest: Manifest
    vectors: str = "double"
    """"double" for arrays, "float32" for BSON Binary vectors."""
    _encoded_tracks: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Pieces of a candidate by track. Threads may both encode a track: to the same bytes."""
    _footers: dict[str, tuple[Any, pq.FileMetaData]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Of each output's file as it was when last read: that of 30,000 chunks takes 0.3 s to read, anew for each."""

    def __getstate__(self) -> dict[str, Any]:
        """With the tracks, for those who have not got the folder."""
        return {**self.__dict__, "_encoded_tracks": {}, "_footers": {}, "_tracks": self._tracks}

    def chunks(self, output: str) -> int:
        """How many chunks an output has; a chunk is a row group of its Parquet file."""
        with self._file(output) as file:
            return int(file.num_row_groups)

    def chunk(self, output: str, number: int) -> list[RawBSONDocument]:
        """The encoded documents of one chunk, in order; the same bytes every time."""
        return self.encoded(output, self.rows(output, number))

    def rows(self, output: str, number: int) -> pa.Table:
        """The rows of one chunk."""
        with self._file(output) as file:
            return file.read_row_group(number)

    @contextmanager
    def _file(self, output: str) -> Iterator[pq.ParquetFile]:
        """An output's file; its footer is read again only where the file is another one, as after an erasure."""
        with (self.folder / f"{output}.parquet").open("rb") as file:
            state = os.fstat(file.fileno())
            version = state.st_ino, state.st_mtime_ns, state.st_size
            known, footer = self._footers.get(output, (None, None))
            opened = pq.ParquetFile(file, metadata=footer if known == version else None)
            self._footers[output] = version, opened.metadata
            yield opened

    def encoded(self, output: str, table: pa.Table) -> list[RawBSONDocument]:
        """The documents of some rows; needs no file where this has come from another process."""
        encoded = self._alike(output, table) if output in ALIKE and len(table) else None
        if output == "recommendations":
            encoded = list(self._recommendations(table))
        elif encoded is None:
            encoded = [bson.encode(document) for document in self._features(output, table)]
        return [RawBSONDocument(document) for document in encoded]

    def _alike(self, output: str, table: pa.Table) -> list[bytes] | None:
        """What encoding each of `_features` gives, after the first of them; None where they are not alike."""
        numbers = {path: table[column].combine_chunks() for path, column in ALIKE_NUMBERS.items()}
        vectors = table["vector"].combine_chunks()
        if any(column.null_count for column in (vectors, vectors.values, *numbers.values())):
            return None
        matrix = vectors.flatten().to_numpy().reshape(len(table), -1)
        owner = "trackId" if output == "track_embedding" else "userId"
        entities = table["track_id" if output == "track_embedding" else "user_id"].to_pylist()
        return after_template(
            bson.encode(next(self._features(output, table.slice(0, 1)))),
            owner,
            [feature_id(self.manifest.id, output, entity) for entity in entities],
            entities if output == "track_embedding" else [decode_id(entity) for entity in entities],
            {"features.vector": matrix} | {path: column.to_numpy() for path, column in numbers.items()},
        )

    def _features(self, output: str, table: pa.Table) -> Iterator[dict[str, Any]]:
        for row in table.to_pylist():
            entity = row["track_id"] if output == "track_embedding" else row["user_id"]
            owner = {"trackId": entity} if output == "track_embedding" else {"userId": decode_id(entity)}
            algorithm = ALGORITHMS[output]
            yield {
                "_id": feature_id(self.manifest.id, output, entity),
                **owner,
                "featureType": output,
                "features": {
                    **self._vector(output, row),
                    "algorithm": algorithm,
                    "version": self.manifest.id,
                },
                "metadata": {
                    "confidence": row["confidence"],
                    "lastTrained": self.manifest.built_at,
                    "trainingData": {
                        "trackCount": row["track_count"],
                        "historyDays": row["history_days"],
                        "algorithm": algorithm,
                    },
                },
                "computedAt": self.manifest.built_at,
                "expiresAt": self._expiry(FEATURE_LIFE),
            }

    def _vector(self, output: str, row: dict[str, Any]) -> dict[str, Any]:
        if output == "similarity":
            neighbors = [
                {
                    "userId": decode_id(entry["user_id"]),
                    "commonTracks": entry["common_tracks"],
                    "jaccard": entry["jaccard"],
                    "score": entry["jaccard"],
                }
                for entry in row["neighbors"]
            ]
            vector = [entry["score"] for entry in neighbors]
            return {**self._encoded(vector), "neighbors": neighbors}
        return self._encoded(row["vector"])

    def _encoded(self, vector: list[float]) -> dict[str, Any]:
        stored: Any = vector
        if self.vectors == "float32":
            stored = Binary.from_vector(np.asarray(vector, np.float32).tolist(), BinaryVectorDtype.FLOAT32)
        return {"vector": stored, "dimensions": len(vector)}

    def _recommendations(self, table: pa.Table) -> Iterator[bytes]:
        tracks = table["track_ids"]
        pieces = self._pieces(tracks)
        arrays = candidate_arrays(tracks, table["scores"], table["reasons"], pieces.__getitem__)
        counts = pc.list_value_length(tracks).to_pylist()
        others = table.drop_columns(["track_ids", "scores", "reasons"]).to_pylist()
        for row, candidates, count in zip(others, arrays, counts, strict=True):
            before = {
                "_id": recommendation_id(self.manifest.id, row["user_id"], row["strategy"]),
                "userId": decode_id(row["user_id"]),
                "sessionId": None,
                "release": self.manifest.id,
                "strategy": row["strategy"],
            }
            after = {
                "context": {"seeds": row["seeds"], "filters": _basis(row)},
                "performance": {
                    "generationTime": row["generation_ms"],
                    "candidateCount": count,
                    "strategy": row["strategy"],
                    "confidence": row["confidence"],
                },
                "feedback": EMPTY_FEEDBACK,
                "createdAt": self.manifest.built_at,
                "expiresAt": self._expiry(RECOMMENDATION_LIFE),
            }
            yield with_candidates(before, candidates, after)

    def _expiry(self, life: timedelta) -> datetime:
        return self.manifest.built_at + life

    def _pieces(self, wanted: pa.ChunkedArray) -> Mapping[str, tuple[bytes, bytes]]:
        """Tracks with their metadata, some more than those wanted: encoded once and copied into every list.

        Only tracks that stand in a list are: of a large catalogue a small part.
        """
        missing = [
            track for track in pc.unique(pc.list_flatten(wanted)).to_pylist() if track not in self._encoded_tracks
        ]
        if missing:
            rows = pc.index_in(pa.array(missing, pa.string()), self._tracks["track_id"].combine_chunks())
            for row in self._tracks.take(rows).to_pylist():
                self._encoded_tracks[row["track_id"]] = pieces_of(row["track_id"], _track_metadata(row))
        return self._encoded_tracks

    @cached_property
    def _tracks(self) -> pa.Table:
        return pq.read_table(self.folder / "tracks.parquet")


def _basis(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a list rests on: its step of the ladder, the market it is popular in, what it gives a chance to be heard."""
    said = {name: row.get(name) for name in ("basis", "market", "explored")}
    return {name: value for name, value in said.items() if value}  # releases made before have none of them


def _track_metadata(row: dict[str, Any]) -> dict[str, Any]:
    audio = {
        feature.field: row[feature.name]
        for feature in AUDIO_FEATURES
        if row[feature.name] is not None and not math.isnan(row[feature.name])
    }
    # whole numbers are whole in the database too: the validator wants a mode of 0 or 1, a reader a key of 7
    for name in ("key", "mode", "timeSignature"):
        if name in audio:
            audio[name] = int(audio[name])
    return {
        "artist": ", ".join(row["artists"]) if row["artists"] else None,
        "trackName": row["name"],
        "genres": row["genres"],
        "audioFeatures": audio,
    }
