"""Collections as data: the one written form of each shape (`docs/data-model.md` tells why each rule is there)."""

from dataclasses import dataclass
from typing import Any

from features.schema import names
from features.schema.names import AUDIO_FEATURES

Json = dict[str, Any]

ID: Json = {"bsonType": ["string", "objectId"]}
STRING: Json = {"bsonType": ["string", "null"]}
STRINGS: Json = {"bsonType": ["array", "null"], "items": {"bsonType": "string"}}
DATE: Json = {"bsonType": "date"}
DATE_OR_NULL: Json = {"bsonType": ["date", "null"]}
BOOL: Json = {"bsonType": ["bool", "null"]}
OBJECT: Json = {"bsonType": ["object", "null"]}
NUMBER: Json = {"bsonType": ["int", "long", "double", "decimal"]}
COUNT: Json = {"bsonType": ["int", "long", "double"], "minimum": 0}


def between(low: float, high: float, *, nullable: bool = True) -> Json:
    """A number from low to high; null stands for unknown where it is allowed."""
    types = ["int", "long", "double", "decimal", *(["null"] if nullable else [])]
    return {"bsonType": types, "minimum": low, "maximum": high}


def obj(properties: Json, required: tuple[str, ...] = ()) -> Json:
    """A sub-document; null stands for absent unless something in it is required."""
    types: Json = {"bsonType": "object", "required": list(required)} if required else {**OBJECT}
    return {**types, "properties": properties}


AUDIO = obj(
    {
        feature.field: {"enum": [0, 1, None]} if feature.name == "mode" else between(feature.low, feature.high)
        for feature in AUDIO_FEATURES
    }
)


@dataclass(frozen=True)
class Index:
    """One index under one fixed name, so that a second create is never another index by accident."""

    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    sparse: bool = False
    ttl_seconds: int | None = None
    partial: Json | None = None

    @property
    def name(self) -> str:
        """`field_direction` joined by underscores, as MongoDB itself would name it."""
        return "_".join(f"{field}_{direction}" for field, direction in self.keys)

    @property
    def options(self) -> Json:
        """What a server reports of the index beside its keys and name."""
        found: Json = {}
        if self.unique:
            found["unique"] = True
        if self.sparse:
            found["sparse"] = True
        if self.ttl_seconds is not None:
            found["expireAfterSeconds"] = self.ttl_seconds
        if self.partial is not None:
            found["partialFilterExpression"] = self.partial
        return found


@dataclass(frozen=True)
class Collection:
    """A collection's name, what its documents must be, and its indexes."""

    name: str
    validator: Json
    indexes: tuple[Index, ...]


def index(*keys: str, unique: bool = False, sparse: bool = False, ttl_seconds: int | None = None) -> Index:
    """An index from field names; a leading minus means descending."""
    pairs = tuple((key.lstrip("-"), -1 if key.startswith("-") else 1) for key in keys)
    return Index(pairs, unique=unique, sparse=sparse, ttl_seconds=ttl_seconds)


def schema(properties: Json, required: tuple[str, ...], **more: Any) -> Json:
    """A `$jsonSchema` validator."""
    return {"$jsonSchema": {"bsonType": "object", "required": list(required), "properties": properties, **more}}


USERS = Collection(
    names.USERS,
    schema(
        {
            "userId": ID,
            "email": {"bsonType": "string", "pattern": r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"},
            "spotifyId": {"bsonType": "string"},
            "name": STRING,
            "displayName": STRING,
            "country": STRING,
            "createdAt": DATE_OR_NULL,
            "lastLoginAt": DATE_OR_NULL,
            "isActive": BOOL,
            "preferences": obj({"explicitContent": BOOL, "notifications": BOOL, "favoriteGenres": STRINGS}),
        },
        ("userId", "email"),
    ),
    (
        index("userId", unique=True),
        index("email", unique=True),
        index("spotifyId", unique=True, sparse=True),
        index("lastLoginAt"),
    ),
)

USER_SETTINGS = Collection(
    names.USER_SETTINGS,
    schema(
        {
            "userId": ID,
            "preferences": obj(
                {
                    "music": obj(
                        {
                            "genres": STRINGS,
                            "moods": STRINGS,
                            "activities": STRINGS,
                            "artists": STRINGS,
                            "energy": between(0, 1),
                            "valence": between(0, 1),
                            "danceability": between(0, 1),
                        }
                    ),
                }
            ),
            "updatedAt": DATE_OR_NULL,
            "version": COUNT,
        },
        ("userId",),
    ),
    (index("userId", unique=True), index("updatedAt")),
)

LISTENING_HISTORY = Collection(
    names.LISTENING_HISTORY,
    schema(
        {
            "userId": ID,
            "trackId": {"bsonType": "string"},
            "trackName": STRING,
            "artistName": STRING,
            "albumName": STRING,
            "genres": STRINGS,
            "spotifyUserId": {"bsonType": "string"},
            "playedAt": DATE,
            "playDuration": between(0, names.MAX_PLAY_MS),
            "trackDuration": between(0, names.MAX_PLAY_MS),
            "completionRate": between(0, 1),
            "playedPercentage": between(0, 100),
            "context": obj({"source": STRING, "shuffle": BOOL, "repeat": STRING}),
            "audioFeatures": AUDIO,
            "importedAt": DATE,
            "createdAt": DATE_OR_NULL,
        },
        ("userId", "trackId", "playedAt"),
    ),
    (
        index("userId", "-playedAt"),
        index("trackId"),
        index("playedAt"),
        index("userId", "-importedAt"),
        index("importedAt"),
        Index((("spotifyUserId", 1), ("playedAt", -1)), partial={"spotifyUserId": {"$exists": True}}),
        index("context.recommendationId"),
    ),
)

USER_FEEDBACK = Collection(
    names.USER_FEEDBACK,
    schema(
        {
            "userId": ID,
            "trackId": {"bsonType": "string"},
            "signal": {"enum": list(names.SIGNALS)},
            "strength": between(1, 5),
            "context": OBJECT,
            "metadata": obj({"timestamp": DATE_OR_NULL, "platform": {"enum": [*names.PLATFORMS, None]}}),
            "createdAt": DATE,
        },
        ("userId", "trackId", "signal", "createdAt"),
    ),
    (
        index("userId", "-createdAt"),
        index("trackId", "signal"),
        index("userId", "trackId"),
        index("context.recommendationId"),
        index("createdAt"),
        index("userId", "signal", "-createdAt"),
    ),
)

TRACKS = Collection(
    names.TRACKS,
    schema(
        {
            "spotifyId": {"bsonType": "string"},
            "name": STRING,
            "artists": {
                "bsonType": ["array", "null"],
                "items": obj({"id": STRING, "name": STRING, "genres": STRINGS}),
            },
            "album": obj({"id": STRING, "name": STRING, "releaseDate": DATE_OR_NULL}),
            "duration": between(0, names.MAX_PLAY_MS),
            "popularity": between(0, 100),
            "explicit": BOOL,
            "markets": STRINGS,
            "audioFeatures": AUDIO,
            "lastUpdated": DATE_OR_NULL,
            "createdAt": DATE_OR_NULL,
        },
        ("spotifyId",),
    ),
    (
        index("spotifyId", unique=True),
        index("artists.id"),
        index("album.id"),
        index("-popularity"),
        index("lastUpdated"),
        index("audioFeatures.energy", "audioFeatures.valence"),
    ),
)

FEATURE_STORE = Collection(
    names.FEATURE_STORE,
    {
        **schema(
            {
                "userId": ID,
                "trackId": {"bsonType": "string"},
                "featureType": {"enum": list(names.FEATURE_TYPES)},
                "features": obj(
                    {
                        "vector": {"bsonType": ["array", "binData"], "items": NUMBER},
                        "dimensions": COUNT,
                        "algorithm": {"bsonType": "string"},
                        "version": {"bsonType": "string"},
                        "neighbors": {
                            "bsonType": "array",
                            "items": obj(
                                {
                                    "userId": ID,
                                    "commonTracks": {**COUNT, "minimum": 5},
                                    "jaccard": between(0, 1, nullable=False),
                                    "score": between(0, 1, nullable=False),
                                },
                                ("userId", "commonTracks", "jaccard", "score"),
                            ),
                        },
                    },
                    ("vector", "dimensions", "algorithm", "version"),
                ),
                "metadata": obj(
                    {
                        "confidence": between(0, 1, nullable=False),
                        "lastTrained": DATE,
                        "trainingData": obj(
                            {"trackCount": COUNT, "historyDays": COUNT, "algorithm": {"bsonType": "string"}},
                            ("trackCount", "historyDays", "algorithm"),
                        ),
                    },
                    ("confidence", "lastTrained", "trainingData"),
                ),
                "computedAt": DATE,
                "expiresAt": DATE,
            },
            ("featureType", "features", "metadata", "computedAt", "expiresAt"),
            # a track embedding belongs to a track, everything else to a user
            anyOf=[
                {"properties": {"featureType": {"enum": ["track_embedding"]}}, "required": ["trackId"]},
                {
                    "properties": {"featureType": {"enum": ["user_profile", "similarity"]}},
                    "required": ["userId"],
                },
            ],
        ),
        # $size of a Binary is an error, so only an array is held against `dimensions`
        "$expr": {
            "$or": [
                {"$not": [{"$isArray": "$features.vector"}]},
                {"$eq": [{"$size": "$features.vector"}, "$features.dimensions"]},
            ]
        },
    },
    (
        index("userId", "featureType", "-computedAt"),
        index("trackId", "featureType", "-computedAt"),
        index("featureType", "features.version"),
        index("expiresAt", ttl_seconds=0),
    ),
)

CANDIDATE = obj(
    {
        "trackId": {"bsonType": "string"},
        "score": between(0, 1, nullable=False),
        "rank": {"bsonType": ["int", "long"], "minimum": 1},
        "reasons": {"bsonType": "array", "minItems": 1, "items": {"bsonType": "string", "minLength": 1}},
        "metadata": obj({"artist": STRING, "trackName": STRING, "genres": STRINGS, "audioFeatures": AUDIO}),
    },
    ("trackId", "score", "rank", "reasons", "metadata"),
)

RECOMMENDATIONS = Collection(
    names.RECOMMENDATIONS,
    schema(
        {
            "userId": ID,
            "sessionId": STRING,
            "release": {"bsonType": "string"},
            "strategy": {"enum": list(names.STRATEGIES)},
            "candidates": {"bsonType": "array", "items": CANDIDATE},
            "context": obj(
                {
                    "seeds": {"bsonType": "array", "items": {"bsonType": "string"}},
                    "userQuery": STRING,
                    "mood": STRING,
                    "activity": STRING,
                    "filters": OBJECT,
                }
            ),
            "performance": obj(
                {
                    "generationTime": COUNT,
                    "candidateCount": COUNT,
                    "strategy": {"enum": list(names.STRATEGIES)},
                    "confidence": between(0, 1, nullable=False),
                },
                ("generationTime", "candidateCount", "strategy", "confidence"),
            ),
            "feedback": obj(
                {
                    "tracksPlayed": STRINGS,
                    "tracksLiked": STRINGS,
                    "tracksSkipped": STRINGS,
                    "overallRating": between(1, 5),
                }
            ),
            "createdAt": DATE,
            "expiresAt": DATE,
        },
        (
            "userId",
            "release",
            "strategy",
            "candidates",
            "context",
            "performance",
            "feedback",
            "createdAt",
            "expiresAt",
        ),
    ),
    (
        index("userId", "-createdAt"),
        index("sessionId"),
        index("strategy", "-createdAt"),
        index("strategy", "-createdAt", "-performance.confidence"),
        index("expiresAt", ttl_seconds=0),
    ),
)

RELEASES = Collection(
    names.RELEASES,
    schema(
        {
            "_id": {"bsonType": "string"},
            "state": {"enum": list(names.RELEASE_STATES)},
            "token": COUNT,
            "release": {"bsonType": ["string", "null"]},
            "previous": {"bsonType": ["string", "null"]},
            "withdraw": {"bsonType": ["string", "null"]},
            "changedAt": DATE,
            "owner": {"bsonType": ["string", "null"]},
            "expiresAt": DATE_OR_NULL,
            "asOf": DATE,
            "builtAt": DATE,
            "parameters": OBJECT,
            "counts": OBJECT,
            "checks": {"bsonType": ["array", "null"], "items": {"bsonType": "object"}},
            "dimensions": STRINGS,
            "ledger": OBJECT,
        },
        ("_id",),
        anyOf=[
            {
                "properties": {"_id": {"enum": ["live"]}},
                "required": ["release", "previous", "token", "changedAt"],
            },
            {"properties": {"_id": {"enum": ["lease"]}}, "required": ["owner", "token", "expiresAt"]},
            {"required": ["state", "asOf", "parameters", "counts", "token"]},
        ],
    ),
    (index("state", "-builtAt"),),
)

COLLECTIONS = (
    USERS,
    USER_SETTINGS,
    LISTENING_HISTORY,
    USER_FEEDBACK,
    TRACKS,
    FEATURE_STORE,
    RECOMMENDATIONS,
    RELEASES,
)
