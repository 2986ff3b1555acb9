"""The live lists once more in `recommendations_cache`, in the shape that the app's older clients read."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import bson
import pyarrow.parquet as pq
from bson.codec_options import CodecOptions
from pymongo import UpdateOne
from pymongo.database import Database

from features.database import Document, translated_errors
from features.progress import Progress, silent
from features.release.documents import ReleaseDocuments
from features.release.ledger import under_lease
from features.release.manifest import Manifest, release_folder
from features.schema.ids import content_object_id, encode_id
from features.schema.names import RECOMMENDATIONS_CACHE

PROVIDER = "echotune-features"
SPOTIFY_ID = re.compile(r"[0-9A-Za-z]{22}")
IN_LIST = 500
TZ_AWARE: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


def cache_id(user: Any, strategy: str) -> bson.ObjectId:
    """The `_id` of a user's cached list: one a strategy, so that a new release replaces the last."""
    return content_object_id("cache", encode_id(user), strategy)


def cache_document(recommendation: Mapping[str, Any], albums: Mapping[str, str | None]) -> Document:
    """A recommendation document in the cache's shape, without what clients count there.

    Diversity is the share of different artists among the list's tracks.
    """
    candidates = recommendation["candidates"]
    artists = {entry["metadata"]["artist"] for entry in candidates}
    return {
        "userId": recommendation["userId"],
        "sessionId": None,
        "strategy": recommendation["strategy"],
        "prompt": None,
        "context": {},
        "recommendations": [
            {
                "trackId": entry["trackId"],
                "trackName": entry["metadata"]["trackName"],
                "artistName": entry["metadata"]["artist"],
                "albumName": albums.get(entry["trackId"]),
                "score": entry["score"],
                "reasons": entry["reasons"],
                "audioFeatures": entry["metadata"]["audioFeatures"],
                "spotifyUrl": f"spotify:track:{entry['trackId']}" if SPOTIFY_ID.fullmatch(entry["trackId"]) else None,
                "previewUrl": None,
            }
            for entry in candidates
        ],
        "metadata": {
            "provider": PROVIDER,
            "model": recommendation["release"],
            "processingTime": recommendation["performance"]["generationTime"],
            "confidence": recommendation["performance"]["confidence"],
            "diversity": len(artists) / len(candidates) if candidates else None,
        },
        "generatedAt": recommendation["createdAt"],
        "expiresAt": recommendation["expiresAt"],
    }


def mirror_cache(
    database: Database[Document], home: Path, manifest: Manifest, token: int, progress: Progress = silent
) -> int:
    """Writes a release's lists into the cache, over those of the release before; returns how many.

    How often a client has read an entry is kept. A second run writes the same.

    Raises:
        BusyError: a newer run has taken the lease, whose `token` this is.
        DatabaseError: the database refuses or is lost; run again to finish.
    """
    folder = release_folder(home, manifest.id)
    table = pq.read_table(folder / "tracks.parquet", columns=["track_id", "album"])
    albums = dict(zip(table["track_id"].to_pylist(), table["album"].to_pylist(), strict=True))
    documents = ReleaseDocuments(folder, manifest)
    chunks = documents.chunks("recommendations")
    written = 0
    for number in range(chunks):
        # decoded whole: a document inside one of raw BSON is raw too, and can't be looked into by the codec
        lists = [bson.decode(raw.raw, TZ_AWARE) for raw in documents.chunk("recommendations", number)]
        updates = [_upsert(cache_document(document, albums)) for document in lists]
        if updates:
            with under_lease(database, token):
                database[RECOMMENDATIONS_CACHE].bulk_write(updates, ordered=False)
        written += len(updates)
        progress("mirroring the cache", number + 1, chunks)
    return written


def remove_from_cache(database: Database[Document], lists: Iterable[Mapping[str, Any]]) -> int:
    """Removes the cached lists of a withdrawn release; a later release's stay.

    Args:
        database: where.
        lists: recommendation documents, of which `userId`, `strategy` and `release` are looked at.
    """
    release_of = {cache_id(entry["userId"], entry["strategy"]): entry["release"] for entry in lists}
    ids = list(release_of)
    removed = 0
    with translated_errors():
        cache = database[RECOMMENDATIONS_CACHE]
        for start in range(0, len(ids), IN_LIST):
            found = cache.find({"_id": {"$in": ids[start : start + IN_LIST]}}, {"metadata.model": 1})
            gone = [e["_id"] for e in found if e.get("metadata", {}).get("model") == release_of[e["_id"]]]
            removed += cache.delete_many({"_id": {"$in": gone}}).deleted_count if gone else 0
    return removed


def _upsert(document: Document) -> UpdateOne:
    return UpdateOne(
        {"_id": cache_id(document["userId"], document["strategy"])},
        {"$set": document, "$setOnInsert": {"accessed": 0, "lastAccessedAt": None}},
        upsert=True,
    )
