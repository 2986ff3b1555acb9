"""Collections as data: the one written form of each shape (`docs/data-model.md` tells why each rule is there)."""

from features.schema import names
from features.schema.shapes import (
    AMOUNT,
    AUDIO,
    BOOL,
    COUNT,
    DATE,
    DATE_OR_NULL,
    DATES,
    ID,
    NUMBER,
    OBJECT,
    REFERENCE,
    STRING,
    STRINGS,
    TEXT,
    Collection,
    between,
    index,
    obj,
    objects,
    one_of,
    schema,
)

SECONDS_A_DAY = 86_400
SESSION_DAYS = 30
EVENT_DAYS = 90
MIN_COMMON_TRACKS = 5

USERS = Collection(
    names.USERS,
    "Who there is: identity, Spotify account, the few preferences that limit what may be shown.",
    schema(
        {
            "userId": ID,
            "email": {"bsonType": "string", "pattern": r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"},
            "spotifyId": TEXT,
            "name": STRING,
            "displayName": STRING,
            "profileImage": STRING,
            "country": STRING,
            "spotifyConnected": BOOL,
            "spotifyTokens": OBJECT,
            "createdAt": DATE_OR_NULL,
            "lastLoginAt": DATE_OR_NULL,
            "isActive": BOOL,
            "preferences": obj(
                {
                    "explicitContent": BOOL,
                    "audioQuality": one_of(names.AUDIO_QUALITIES),
                    "notifications": BOOL,
                    "favoriteGenres": STRINGS,
                }
            ),
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
    "What a user told the app about taste, assistant and interface; `version` guards against lost updates.",
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
                    "ai": obj(
                        {
                            "provider": STRING,
                            "model": STRING,
                            "creativity": between(0, 1),
                            "context": AMOUNT,
                            "language": STRING,
                        }
                    ),
                    "interface": obj(
                        {
                            "theme": one_of(names.THEMES),
                            "density": one_of(names.DENSITIES),
                            "animations": BOOL,
                            "sounds": BOOL,
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
    "One document a play: who, what, when, how far.",
    schema(
        {
            "userId": ID,
            "trackId": TEXT,
            "trackName": STRING,
            "artistName": STRING,
            "albumName": STRING,
            "genres": STRINGS,
            "spotifyUserId": TEXT,
            "playedAt": DATE,
            "playDuration": between(0, names.MAX_PLAY_MS),
            "trackDuration": between(0, names.MAX_PLAY_MS),
            "completionRate": between(0, 1),
            "playedPercentage": between(0, 100),
            "context": obj(
                {
                    "source": STRING,
                    "uri": STRING,
                    "shuffle": BOOL,
                    "repeat": one_of(names.REPEAT_MODES),
                    "recommendationId": REFERENCE,
                    "sessionId": STRING,
                }
            ),
            "audioFeatures": AUDIO,
            "importedAt": DATE_OR_NULL,
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
        index("spotifyUserId", "-playedAt", partial={"spotifyUserId": {"$exists": True}}),
        index("context.recommendationId"),
    ),
)

USER_FEEDBACK = Collection(
    names.USER_FEEDBACK,
    "What a user said of a track: love, like, save, replay, skip, dislike.",
    schema(
        {
            "userId": ID,
            "trackId": TEXT,
            "signal": one_of(names.SIGNALS, nullable=False),
            "strength": between(1, 5),
            "context": obj(
                {
                    "source": STRING,
                    "recommendationId": REFERENCE,
                    "sessionId": STRING,
                    "playDuration": between(0, names.MAX_PLAY_MS),
                    "totalDuration": between(0, names.MAX_PLAY_MS),
                }
            ),
            "metadata": obj({"timestamp": DATE_OR_NULL, "platform": one_of(names.PLATFORMS), "userAgent": STRING}),
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
    "The catalogue: what a track is called, who made it, how it sounds, where it may be shown.",
    schema(
        {
            "spotifyId": TEXT,
            "name": STRING,
            "artists": objects({"id": STRING, "name": STRING, "genres": STRINGS}),
            "album": obj(
                {
                    "id": STRING,
                    "name": STRING,
                    "releaseDate": DATE_OR_NULL,
                    "images": {"bsonType": ["array", "null"], "items": {"bsonType": "object"}},
                }
            ),
            "duration": between(0, names.MAX_PLAY_MS),
            "popularity": between(0, 100),
            "explicit": BOOL,
            "markets": STRINGS,
            "audioFeatures": AUDIO,
            "analysis": OBJECT,
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

CHAT_SESSIONS = Collection(
    names.CHAT_SESSIONS,
    "Conversations with the assistant, in either draft's shape; an accepted recommendation is a like.",
    schema(
        {
            "sessionId": TEXT,
            "userId": ID,
            "title": STRING,
            "messages": objects(
                {
                    "messageId": STRING,
                    "role": one_of(names.ROLES, nullable=False),
                    "content": STRING,
                    "timestamp": DATE_OR_NULL,
                    "metadata": obj(
                        {
                            "provider": STRING,
                            "model": STRING,
                            "tokens": AMOUNT,
                            "tokenCount": AMOUNT,
                            "cost": AMOUNT,
                            "processingTime": AMOUNT,
                            "latency": AMOUNT,
                            "context": OBJECT,
                        }
                    ),
                },
                ("role",),
            ),
            "context": obj(
                {
                    "musicPreferences": OBJECT,
                    "currentMood": STRING,
                    "activityContext": STRING,
                    "activity": STRING,
                    "recentTracks": STRINGS,
                }
            ),
            "recommendations": {
                "bsonType": ["array", "null"],
                # the first draft's sub-document, or the second's reference to a recommendation document
                "items": {
                    "bsonType": ["object", "objectId"],
                    "properties": {"messageId": STRING, "trackIds": STRINGS, "strategy": STRING, "accepted": BOOL},
                },
            },
            "startedAt": DATE_OR_NULL,
            "lastMessageAt": DATE_OR_NULL,
            "endedAt": DATE_OR_NULL,
            "createdAt": DATE_OR_NULL,
            "isActive": BOOL,
            "summary": STRING,
        },
        ("sessionId", "userId"),
    ),
    (
        index("sessionId", unique=True),
        index("userId", "-lastMessageAt"),
        index("lastMessageAt"),
        index("isActive", "userId"),
        index("userId", "-startedAt"),
        index("endedAt", ttl_seconds=SESSION_DAYS * SECONDS_A_DAY),
    ),
)

EVENTS = Collection(
    names.EVENTS,
    "What happened in the system; kept for ninety days.",
    schema(
        {
            "eventId": STRING,
            "type": TEXT,
            "category": STRING,
            "userId": REFERENCE,
            "sessionId": STRING,
            "data": OBJECT,
            "metadata": obj(
                {
                    "source": one_of(names.EVENT_SOURCES),
                    "version": STRING,
                    "userAgent": STRING,
                    "ip": STRING,
                    "country": STRING,
                    "city": STRING,
                }
            ),
            "timestamp": DATE,
            "processedAt": DATE_OR_NULL,
        },
        ("type", "timestamp"),
    ),
    (
        index("type", "-timestamp"),
        index("userId", "-timestamp"),
        index("category", "-timestamp"),
        index("timestamp", ttl_seconds=EVENT_DAYS * SECONDS_A_DAY),
    ),
)

FEATURE_STORE = Collection(
    names.FEATURE_STORE,
    "What we compute of users and tracks: one document an entity, feature type and release.",
    {
        **schema(
            {
                "userId": ID,
                "trackId": TEXT,
                "featureType": one_of(names.FEATURE_TYPES, nullable=False),
                "features": obj(
                    {
                        "vector": {"bsonType": ["array", "binData"], "items": NUMBER},
                        "dimensions": COUNT,
                        "algorithm": TEXT,
                        "version": TEXT,
                        "neighbors": {
                            "bsonType": "array",
                            "items": obj(
                                {
                                    "userId": ID,
                                    "commonTracks": {**COUNT, "minimum": MIN_COMMON_TRACKS},
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
                            {"trackCount": COUNT, "historyDays": COUNT, "algorithm": TEXT},
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
                {"properties": {"featureType": {"enum": ["user_profile"]}}, "required": ["userId"]},
                {
                    "properties": {"featureType": {"enum": ["similarity"]}, "features": {"required": ["neighbors"]}},
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
        "trackId": TEXT,
        "score": between(0, 1, nullable=False),
        "rank": {**NUMBER, "minimum": 1},
        "reasons": {"bsonType": "array", "minItems": 1, "items": {"bsonType": "string", "minLength": 1}},
        "metadata": obj({"artist": STRING, "trackName": STRING, "genres": STRINGS, "audioFeatures": AUDIO}),
    },
    ("trackId", "score", "rank", "reasons", "metadata"),
)

RECOMMENDATIONS = Collection(
    names.RECOMMENDATIONS,
    "Ranked lists: one document a user, strategy and release.",
    schema(
        {
            "userId": ID,
            "sessionId": STRING,
            "release": TEXT,
            "strategy": one_of(names.STRATEGIES, nullable=False),
            "candidates": {"bsonType": "array", "items": CANDIDATE},
            "context": obj(
                {
                    "seeds": {"bsonType": "array", "items": TEXT},
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
                    "strategy": one_of(names.STRATEGIES, nullable=False),
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
            "strategy",  # no `release`: the app may keep lists of its own here
            "candidates",
            "performance",
            "createdAt",
            "expiresAt",
        ),
    ),
    (
        index("userId", "-createdAt"),
        index("sessionId"),
        index("strategy", "-createdAt"),
        index("strategy", "-createdAt", "-performance.confidence"),
        index("release"),
        index("expiresAt", ttl_seconds=0),
    ),
)

RECOMMENDATIONS_CACHE = Collection(
    names.RECOMMENDATIONS_CACHE,
    "The live lists once more in the first draft's shape, for clients that read that; written by `--mirror-cache`.",
    schema(
        {
            "userId": ID,
            "sessionId": STRING,
            "strategy": one_of(names.STRATEGIES, nullable=False),
            "prompt": STRING,
            "context": obj(
                {
                    "mood": STRING,
                    "activity": STRING,
                    "genres": STRINGS,
                    "timeOfDay": one_of(names.TIMES_OF_DAY),
                    "weather": STRING,
                }
            ),
            "recommendations": {
                "bsonType": "array",
                "items": obj(
                    {
                        "trackId": TEXT,
                        "trackName": STRING,
                        "artistName": STRING,
                        "albumName": STRING,
                        "score": between(0, 1, nullable=False),
                        "reasons": STRINGS,
                        "audioFeatures": AUDIO,
                        "spotifyUrl": STRING,
                        "previewUrl": STRING,
                    },
                    ("trackId", "score"),
                ),
            },
            "metadata": obj(
                {
                    "provider": STRING,
                    "model": STRING,
                    "processingTime": AMOUNT,
                    "confidence": between(0, 1),
                    "diversity": between(0, 1),
                }
            ),
            "generatedAt": DATE,
            "expiresAt": DATE,
            "accessed": COUNT,
            "lastAccessedAt": DATE_OR_NULL,
        },
        ("userId", "strategy", "recommendations", "generatedAt", "expiresAt"),
    ),
    (
        index("userId", "-generatedAt"),
        index("sessionId"),
        index("strategy", "userId"),
        index("expiresAt", ttl_seconds=0),
    ),
)

RELEASES = Collection(
    names.RELEASES,
    "Our own books: one document a release, the live pointer, the lease, migrations that ran, persons erased.",
    schema(
        {
            "_id": TEXT,
            "state": one_of(names.RELEASE_STATES, nullable=False),
            "token": COUNT,
            "release": STRING,
            "previous": STRING,
            "withdraw": STRING,
            "changedAt": DATE,
            "owner": STRING,
            "expiresAt": DATE_OR_NULL,
            "expired": BOOL,
            "asOf": DATE,
            "knownAt": DATE,
            "builtAt": DATE,
            "codeVersion": TEXT,
            "snapshot": TEXT,
            "parameters": OBJECT,
            "counts": OBJECT,
            "checks": {"bsonType": ["array", "null"], "items": {"bsonType": "object"}},
            "timings": OBJECT,
            "peakMemory": OBJECT,
            "alignedTo": STRING,
            "alignment": OBJECT,
            "metrics": OBJECT,
            "strategies": OBJECT,
            "chosenAsOf": DATE_OR_NULL,
            "inputs": OBJECT,
            "gate": BOOL,
            "liveFrom": DATES,
            "retiredAt": DATE,
            "pinnedAt": DATE,
            "withdrawnAt": DATE,
            "dimensions": STRINGS,
            "ledger": OBJECT,
            "vectors": STRING,
            "scorecard": OBJECT,
            "erased": OBJECT,
            "migration": TEXT,
            "startedAt": DATE,
            "finishedAt": DATE_OR_NULL,
            "before": OBJECT,
            "after": OBJECT,
            "erasedAt": DATE,
            "keyId": TEXT,
        },
        ("_id",),
        anyOf=[
            {
                "properties": {"_id": {"enum": ["live"]}},
                "required": ["release", "previous", "token", "changedAt"],
            },
            {"properties": {"_id": {"enum": ["lease"]}}, "required": ["owner", "token", "expiresAt"]},
            {"properties": {"_id": {"pattern": "^migration:"}}, "required": ["migration", "startedAt", "before"]},
            {"properties": {"_id": {"pattern": "^erased:"}}, "required": ["erasedAt", "keyId", "counts"]},
            {"required": ["state", "asOf", "knownAt", "builtAt", "parameters", "counts", "token"]},
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
    CHAT_SESSIONS,
    EVENTS,
    FEATURE_STORE,
    RECOMMENDATIONS,
    RECOMMENDATIONS_CACHE,
    RELEASES,
)

SUPERSEDED = {names.LISTENING_HISTORY: (index("-playedAt"),)}
"""Indexes of either draft that another one serves: `{playedAt: 1}` is read in both directions."""


HISTORY_TTL_INDEX = index("playedAt")
"""A TTL on this one, opt-in, takes the plain index's place: one key can't be declared as both."""
