"""What the validators let in and what they refuse, asked of the server itself."""

from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from bson.binary import Binary, BinaryVectorDtype
from corruptions import ABSENT, DATE, with_value
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure

from features.schema import names, plan

OID = ObjectId("64b000000000000000000001")


@pytest.fixture(scope="module")
def db(server_uri) -> Database:
    """One database for the module: documents differ by `_id` and unique keys, so the tests don't meet."""
    name = f"echotune_test_validators_{ObjectId()}"
    with MongoClient(server_uri, tz_aware=True) as client:
        plan.apply(client[name])
        yield client[name]
        client.drop_database(name)


AUDIO = {
    "danceability": 0.5,
    "energy": 1,
    "key": -1,
    "loudness": -60.0,
    "mode": 1,
    "speechiness": 0,
    "acousticness": 0.5,
    "instrumentalness": 0.5,
    "liveness": 0.5,
    "valence": 0.5,
    "tempo": 0.0,
    "timeSignature": 4,
}
PROFILE = {
    "userId": "ann",
    "featureType": "user_profile",
    "features": {"vector": [0.5, float("nan")], "dimensions": 2, "algorithm": "a", "version": "2026-01-01-abcdef"},
    "metadata": {
        "confidence": 0.5,
        "lastTrained": DATE,
        "trainingData": {"trackCount": 3, "historyDays": 10, "algorithm": "a"},
    },
    "computedAt": DATE,
    "expiresAt": DATE,
}
RECOMMENDATION = {
    "userId": "ann",
    "sessionId": None,
    "release": "2026-01-01-abcdef",
    "strategy": "hybrid",
    "candidates": [
        {
            "trackId": "t",
            "score": 0.9,
            "rank": 1,
            "reasons": ["Played by 3 listeners"],
            "metadata": {"artist": "A", "trackName": "T", "genres": ["pop"], "audioFeatures": AUDIO},
        }
    ],
    "context": {"seeds": ["s"], "filters": {}},
    "performance": {"generationTime": 1.5, "candidateCount": 1, "strategy": "hybrid", "confidence": 0.5},
    "feedback": {"tracksPlayed": [], "tracksLiked": [], "tracksSkipped": [], "overallRating": None},
    "createdAt": DATE,
    "expiresAt": DATE,
}
# A whole document of each collection; the corruptions below are of these.
WHOLE: dict[str, dict[str, Any]] = {
    names.USERS: {
        "userId": "ann",
        "email": "ann@example.com",
        "spotifyId": "ann-spotify",
        "name": "Ann",
        "country": "DE",
        "createdAt": DATE,
        "isActive": True,
        "preferences": {"explicitContent": False, "favoriteGenres": ["pop"]},
    },
    names.USER_SETTINGS: {
        "userId": "ann",
        "preferences": {"music": {"genres": ["pop"], "energy": 0.5, "valence": 0, "danceability": 1}},
        "updatedAt": DATE,
        "version": 1,
    },
    names.LISTENING_HISTORY: {
        "userId": "ann",
        "trackId": "t",
        "trackName": "T",
        "playedAt": DATE,
        "playDuration": 1000,
        "trackDuration": 2000,
        "completionRate": 0.5,
        "context": {"source": "radio", "shuffle": True},
        "audioFeatures": AUDIO,
        "importedAt": DATE,
    },
    names.USER_FEEDBACK: {
        "userId": "ann",
        "trackId": "t",
        "signal": "love",
        "strength": 5,
        "metadata": {"timestamp": DATE, "platform": "web"},
        "createdAt": DATE,
    },
    names.TRACKS: {
        "spotifyId": "t",
        "name": "T",
        "artists": [{"id": "a", "name": "A", "genres": ["pop"]}],
        "album": {"id": "b", "name": "B", "releaseDate": DATE},
        "duration": 200_000,
        "popularity": 50,
        "explicit": False,
        "markets": ["DE"],
        "audioFeatures": AUDIO,
    },
    names.CHAT_SESSIONS: {
        "sessionId": "s",
        "userId": "ann",
        "title": "A long drive",
        "messages": [
            {
                "messageId": "m",
                "role": "user",
                "content": "Something calm",
                "timestamp": DATE,
                "metadata": {"provider": "local", "model": "small", "tokens": 12, "cost": 0.001, "context": {"any": 1}},
            }
        ],
        "context": {"musicPreferences": {"genres": ["pop"]}, "currentMood": "calm", "recentTracks": ["t"]},
        "recommendations": [{"messageId": "m", "trackIds": ["t"], "strategy": "hybrid", "accepted": True}],
        "startedAt": DATE,
        "lastMessageAt": DATE,
        "endedAt": DATE,
        "createdAt": DATE,
        "isActive": False,
        "summary": "Calm music",
    },
    names.EVENTS: {
        "eventId": "e",
        "type": "recommendation.accept",
        "category": "recommendation",
        "userId": "ann",
        "sessionId": "s",
        "data": {"trackId": "t"},
        "metadata": {"source": "api", "version": "1", "userAgent": "x", "ip": "0", "country": "DE", "city": "Ulm"},
        "timestamp": DATE,
        "processedAt": DATE,
    },
    names.FEATURE_STORE: PROFILE,
    names.RECOMMENDATIONS: RECOMMENDATION,
    names.RECOMMENDATIONS_CACHE: {
        "userId": "ann",
        "sessionId": "s",
        "strategy": "content-based",
        "prompt": "music for a long drive",
        "context": {"mood": "calm", "activity": "drive", "genres": ["pop"], "timeOfDay": "night", "weather": "rain"},
        "recommendations": [
            {
                "trackId": "t",
                "trackName": "T",
                "artistName": "A",
                "albumName": "B",
                "score": 0.9,
                "reasons": ["Played by 3 listeners"],
                "audioFeatures": AUDIO,
                "spotifyUrl": "spotify:track:t",
                "previewUrl": None,
            }
        ],
        "metadata": {"provider": "p", "model": "m", "processingTime": 1.5, "confidence": 0.5, "diversity": 1},
        "generatedAt": DATE,
        "expiresAt": DATE,
        "accessed": 0,
        "lastAccessedAt": None,
    },
    names.RELEASES: {
        "_id": "2026-01-01-abcdef",
        "state": "built",
        "asOf": DATE,
        "knownAt": DATE,
        "builtAt": DATE,
        "parameters": {},
        "counts": {},
        "token": 1,
        "checks": [{"name": "n", "passed": True, "detail": "d"}],
        "dimensions": ["energy_mean"],
        "ledger": {},
    },
}
EMBEDDING = {name: value for name, value in PROFILE.items() if name != "userId"} | {
    "trackId": "t",
    "featureType": "track_embedding",
}
SIMILARITY = PROFILE | {
    "featureType": "similarity",
    "features": PROFILE["features"]
    | {
        "vector": [0.5],
        "dimensions": 1,
        "neighbors": [{"userId": OID, "commonTracks": 5, "jaccard": 0.5, "score": 0.5}],
    },
}


def accept(database: Database, collection: str, document: dict[str, Any]) -> None:
    """The document goes in; it comes out again so that the next one may have the same unique keys."""
    try:
        inserted = database[collection].insert_one(dict(document))
    except DuplicateKeyError:
        raise AssertionError("two documents of this module have the same key") from None
    database[collection].delete_one({"_id": inserted.inserted_id})


@pytest.mark.parametrize("collection", WHOLE)
def test_a_whole_document_is_accepted(db, collection):
    accept(db, collection, WHOLE[collection])


FIRST_DRAFT = {
    names.USERS: {
        "userId": "u-1",
        "email": "first.last+tag@mail.example.co.uk",
        "displayName": "Ann",
        "profileImage": "https://example.com/a.png",
        "spotifyConnected": True,
        "spotifyTokens": {"accessToken": "x", "refreshToken": "y", "expiresAt": DATE, "scope": "s"},
        "createdAt": DATE,
        "lastLoginAt": DATE,
        "isActive": True,
        "preferences": {"explicitContent": True, "audioQuality": "high", "notifications": False},
    },
    names.LISTENING_HISTORY: {
        "userId": "u-1",
        "trackId": "t",
        "trackName": "T",
        "artistName": "A",
        "albumName": "B",
        "playedAt": DATE,
        "playDuration": 1000.5,
        "trackDuration": Int64(2000),
        "completionRate": 1,
        "context": {"source": "album", "uri": "spotify:album:1", "shuffle": False, "repeat": "off"},
        "audioFeatures": {name: value for name, value in AUDIO.items() if name != "timeSignature"},
        "importedAt": DATE,
    },
    names.USER_SETTINGS: {
        "userId": "u-1",
        "preferences": {
            "music": {"genres": [], "moods": ["calm"], "activities": ["run"], "artists": ["A"]},
            "ai": {"provider": "openai", "creativity": 0.5},
            "interface": {"theme": "dark", "animations": True},
        },
        "updatedAt": DATE,
        "version": 3,
    },
    names.CHAT_SESSIONS: {
        "sessionId": "s-1",
        "userId": "u-1",
        "title": "A long drive",
        "messages": [
            {"messageId": "m", "role": "user", "content": "Something calm", "timestamp": DATE},
            {
                "messageId": "n",
                "role": "assistant",
                "content": "Try these",
                "timestamp": DATE,
                "metadata": {
                    "provider": "openai",
                    "model": "x",
                    "tokens": 100,
                    "cost": 0.01,
                    "processingTime": 900,
                    "context": {},
                },
            },
            {"messageId": "o", "role": "system", "content": "", "timestamp": DATE},
        ],
        "context": {"musicPreferences": {}, "currentMood": "calm", "activityContext": "driving"},
        "recommendations": [
            {"messageId": "n", "trackIds": ["t", "u"], "strategy": "hybrid", "accepted": True},
            {"messageId": "n", "trackIds": [], "strategy": "whatever the assistant called it", "accepted": False},
        ],
        "startedAt": DATE,
        "lastMessageAt": DATE,
        "isActive": True,
        "summary": "Calm music",
    },
    names.EVENTS: {
        "eventId": "e-1",
        "type": "playlist.create",
        "category": "playlist",
        "userId": "u-1",
        "sessionId": "s-1",
        "data": {"any": ["thing"]},
        "metadata": {
            "source": "ui",
            "version": "1.2",
            "userAgent": "x",
            "ip": "a hash",
            "country": "DE",
            "city": "Ulm",
        },
        "timestamp": DATE,
        "processedAt": DATE,
    },
    names.RECOMMENDATIONS_CACHE: {
        "userId": "u-1",
        "sessionId": "s-1",
        "strategy": "hybrid",
        "prompt": "music for a long drive",
        "context": {"mood": "calm", "activity": "drive", "genres": ["pop"], "timeOfDay": "evening", "weather": "sun"},
        "recommendations": [
            {
                "trackId": "t",
                "trackName": "T",
                "artistName": "A",
                "albumName": "B",
                "score": 1,
                "reasons": ["calm"],
                "audioFeatures": {"energy": 0.5},
                "spotifyUrl": "spotify:track:t",
                "previewUrl": "https://example.com/t.mp3",
            }
        ],
        "metadata": {"provider": "openai", "model": "x", "processingTime": 90, "confidence": 0.5, "diversity": 0.5},
        "generatedAt": DATE,
        "expiresAt": DATE,
        "accessed": Int64(3),
        "lastAccessedAt": DATE,
    },
}
SECOND_DRAFT = {
    names.USERS: {"userId": OID, "email": "a@b.io", "spotifyId": "s-2", "name": "Ann", "preferences": {}},
    names.LISTENING_HISTORY: {
        "userId": OID,
        "spotifyUserId": "s-2",
        "trackId": "t",
        "genres": ["pop"],
        "playedAt": DATE,
        "playDuration": 1000,
        "trackDuration": 2000,
        "playedPercentage": 50,
        "context": {"source": "recommendation", "recommendationId": OID, "sessionId": "s"},
        "audioFeatures": {"energy": Decimal128("0.5"), "tempo": 90},
        "createdAt": DATE,
    },
    names.USER_FEEDBACK: {
        "userId": OID,
        "trackId": "t",
        "signal": "replay",
        "strength": 1.5,
        "context": {"source": "radio", "recommendationId": OID, "playDuration": 3, "totalDuration": 4},
        "metadata": {"timestamp": DATE, "platform": "mobile", "userAgent": "x"},
        "createdAt": DATE,
    },
    names.TRACKS: {
        "spotifyId": "t-2",
        "name": "T",
        "artists": [{"id": "a", "name": "A", "genres": []}, {"name": "B"}],
        "album": {"id": "b", "name": "B", "releaseDate": DATE, "images": [{"url": "u"}]},
        "duration": 1,
        "popularity": 100.0,
        "explicit": True,
        "markets": [],
        "audioFeatures": AUDIO,
        "analysis": {"bars": [{}]},
        "lastUpdated": DATE,
        "createdAt": DATE,
    },
    names.CHAT_SESSIONS: {
        "userId": OID,
        "sessionId": "s-2",
        "messages": [
            {
                "role": "assistant",
                "content": "Try these",
                "timestamp": DATE,
                "metadata": {"model": "x", "provider": "openai", "tokenCount": 100, "latency": 80.5},
            }
        ],
        "context": {"musicPreferences": {}, "currentMood": "calm", "activity": "drive", "recentTracks": ["t"]},
        "recommendations": [OID, ObjectId("64b000000000000000000002")],
        "startedAt": DATE,
        "endedAt": DATE,
        "createdAt": DATE,
    },
    # the second draft has no events of its own: ids of its kind in the first one's
    names.EVENTS: {"type": "user.login", "userId": OID, "timestamp": DATE},
    names.RECOMMENDATIONS: {name: value for name, value in RECOMMENDATION.items() if name != "release"}
    | {
        "userId": OID,
        "sessionId": "s",
        "context": {"seeds": [], "userQuery": "q", "mood": "m", "activity": "a", "filters": {"x": 1}},
        "feedback": {"tracksPlayed": ["t"], "tracksLiked": ["t"], "tracksSkipped": [], "overallRating": 5},
    },
}


@pytest.mark.parametrize(
    ("collection", "document"),
    [*FIRST_DRAFT.items(), *SECOND_DRAFT.items()],
    ids=[f"first-{name}" for name in FIRST_DRAFT] + [f"second-{name}" for name in SECOND_DRAFT],
)
def test_both_drafts_shapes_are_accepted(db, collection, document):
    accept(db, collection, document)


@pytest.mark.parametrize(
    ("collection", "path"),
    [
        (names.USERS, "name"),
        (names.USERS, "country"),
        (names.USERS, "createdAt"),
        (names.USERS, "preferences"),
        (names.USERS, "preferences.favoriteGenres"),
        (names.USER_SETTINGS, "preferences"),
        (names.USER_SETTINGS, "preferences.music"),
        (names.USER_SETTINGS, "preferences.music.energy"),
        (names.LISTENING_HISTORY, "trackName"),
        (names.LISTENING_HISTORY, "playDuration"),
        (names.LISTENING_HISTORY, "completionRate"),
        (names.LISTENING_HISTORY, "context"),
        (names.LISTENING_HISTORY, "context.source"),
        (names.LISTENING_HISTORY, "audioFeatures"),
        (names.LISTENING_HISTORY, "audioFeatures.mode"),
        (names.LISTENING_HISTORY, "audioFeatures.energy"),
        (names.USER_FEEDBACK, "strength"),
        (names.USER_FEEDBACK, "metadata.platform"),
        (names.TRACKS, "name"),
        (names.TRACKS, "artists"),
        (names.TRACKS, "artists.0.genres"),
        (names.TRACKS, "album"),
        (names.TRACKS, "album.releaseDate"),
        (names.TRACKS, "popularity"),
        (names.TRACKS, "explicit"),
        (names.TRACKS, "markets"),
        (names.TRACKS, "audioFeatures"),
        (names.CHAT_SESSIONS, "title"),
        (names.CHAT_SESSIONS, "messages"),
        (names.CHAT_SESSIONS, "messages.0.content"),
        (names.CHAT_SESSIONS, "messages.0.timestamp"),
        (names.CHAT_SESSIONS, "messages.0.metadata"),
        (names.CHAT_SESSIONS, "messages.0.metadata.cost"),
        (names.CHAT_SESSIONS, "context"),
        (names.CHAT_SESSIONS, "context.recentTracks"),
        (names.CHAT_SESSIONS, "recommendations"),
        (names.CHAT_SESSIONS, "recommendations.0.trackIds"),
        (names.CHAT_SESSIONS, "recommendations.0.accepted"),
        (names.CHAT_SESSIONS, "endedAt"),
        (names.CHAT_SESSIONS, "isActive"),
        (names.EVENTS, "eventId"),
        (names.EVENTS, "category"),
        (names.EVENTS, "userId"),
        (names.EVENTS, "data"),
        (names.EVENTS, "metadata"),
        (names.EVENTS, "metadata.source"),
        (names.EVENTS, "metadata.ip"),
        (names.EVENTS, "processedAt"),
        (names.RECOMMENDATIONS_CACHE, "sessionId"),
        (names.RECOMMENDATIONS_CACHE, "prompt"),
        (names.RECOMMENDATIONS_CACHE, "context"),
        (names.RECOMMENDATIONS_CACHE, "context.timeOfDay"),
        (names.RECOMMENDATIONS_CACHE, "recommendations.0.trackName"),
        (names.RECOMMENDATIONS_CACHE, "recommendations.0.reasons"),
        (names.RECOMMENDATIONS_CACHE, "recommendations.0.audioFeatures"),
        (names.RECOMMENDATIONS_CACHE, "metadata"),
        (names.RECOMMENDATIONS_CACHE, "metadata.diversity"),
        (names.RECOMMENDATIONS_CACHE, "lastAccessedAt"),
        (names.RELEASES, "checks"),
        (names.RELEASES, "dimensions"),
        (names.RELEASES, "ledger"),
    ],
)
def test_an_optional_field_may_be_null_or_absent(db, collection, path):
    accept(db, collection, with_value(WHOLE[collection], path, None))
    accept(db, collection, with_value(WHOLE[collection], path, ABSENT))


AUDIO_CORRUPTIONS = [
    ("audioFeatures", "loud"),
    ("audioFeatures.energy", "0.5"),
    ("audioFeatures.energy", 1.01),
    ("audioFeatures.energy", -0.01),
    ("audioFeatures.danceability", True),
    ("audioFeatures.mode", 2),
    ("audioFeatures.key", 12),
    ("audioFeatures.key", -2),
    ("audioFeatures.loudness", 21),
    ("audioFeatures.tempo", -1),
    ("audioFeatures.timeSignature", 17),
]
CORRUPTIONS: dict[str, list[tuple[str, Any]]] = {
    names.USERS: [
        ("userId", ABSENT),
        ("userId", None),
        ("userId", 7),
        ("email", ABSENT),
        ("email", 7),
        ("email", "no-at-sign.example.com"),
        ("email", "ann@examplecom"),
        ("email", "ann@example.c"),
        ("email", "ann@example.com\nbcc: all"),
        ("spotifyId", 7),
        ("spotifyId", None),  # a sparse index would hold it, and only one user could have it
        ("name", 7),
        ("displayName", ["Ann"]),
        ("createdAt", "2026-01-01"),
        ("isActive", "yes"),
        ("preferences", "none"),
        ("preferences.explicitContent", "no"),
        ("preferences.favoriteGenres", "pop"),
        ("preferences.favoriteGenres", ["pop", 7]),
    ],
    names.USER_SETTINGS: [
        ("userId", ABSENT),
        ("userId", 7),
        ("preferences", []),
        ("preferences.music", "loud"),
        ("preferences.music.genres", "pop"),
        ("preferences.music.energy", 1.5),
        ("preferences.music.valence", -0.5),
        ("preferences.music.danceability", "much"),
        ("updatedAt", 0),
        ("version", -1),
        ("version", "1"),
    ],
    names.LISTENING_HISTORY: [
        ("userId", ABSENT),
        ("userId", None),
        ("userId", 7),
        ("trackId", ABSENT),
        ("trackId", OID),
        ("playedAt", ABSENT),
        ("playedAt", None),
        ("playedAt", "2026-01-01"),
        ("playedAt", 1_700_000_000_000),
        ("trackName", 7),
        ("playDuration", -1),
        ("playDuration", "1000"),
        ("playDuration", names.MAX_PLAY_MS + 1),
        ("trackDuration", Int64(2**50)),
        ("completionRate", 1.01),
        ("completionRate", -0.01),
        ("completionRate", "0.5"),
        ("completionRate", True),
        ("playedPercentage", 101),
        ("playedPercentage", -1),
        ("genres", "pop"),
        ("genres", [7]),
        ("spotifyUserId", 7),
        ("context", "radio"),
        ("context.source", 7),
        ("context.shuffle", "yes"),
        ("importedAt", "yesterday"),
        *AUDIO_CORRUPTIONS,
    ],
    names.USER_FEEDBACK: [
        ("userId", ABSENT),
        ("trackId", ABSENT),
        ("trackId", 7),
        ("signal", ABSENT),
        ("signal", "Love"),
        ("signal", "meh"),
        ("signal", None),
        ("strength", 0),
        ("strength", 5.5),
        ("strength", 9),
        ("strength", "5"),
        ("metadata.platform", "fridge"),
        ("metadata.timestamp", "now"),
        ("context", []),
        ("createdAt", ABSENT),
        ("createdAt", None),
        ("createdAt", "now"),
    ],
    names.TRACKS: [
        ("spotifyId", ABSENT),
        ("spotifyId", None),
        ("spotifyId", OID),
        ("name", 7),
        ("artists", "A"),
        ("artists", ["A"]),
        ("artists.0.name", 7),
        ("artists.0.genres", "pop"),
        ("album", "B"),
        ("album.releaseDate", "1999"),
        ("duration", -1),
        ("duration", names.MAX_PLAY_MS + 1),
        ("popularity", 101),
        ("popularity", -1),
        ("popularity", "50"),
        ("explicit", 1),
        ("markets", "DE"),
        ("markets", [49]),
        *AUDIO_CORRUPTIONS,
    ],
    names.FEATURE_STORE: [
        ("userId", ABSENT),
        ("userId", 7),
        ("featureType", "mood"),
        ("featureType", ABSENT),
        ("featureType", "track_embedding"),  # and no trackId
        ("features", ABSENT),
        ("features", None),
        ("features.vector", ABSENT),
        ("features.vector", "0.5"),
        ("features.vector", [0.5, "0.5"]),
        ("features.vector", [0.5]),
        ("features.vector", [0.5, 0.5, 0.5]),
        ("features.vector", []),
        ("features.dimensions", 3),
        ("features.dimensions", -2),
        ("features.dimensions", ABSENT),
        ("features.algorithm", ABSENT),
        ("features.version", 1),
        ("metadata.confidence", 1.1),
        ("metadata.confidence", None),
        ("metadata.lastTrained", ABSENT),
        ("metadata.trainingData", ABSENT),
        ("metadata.trainingData.trackCount", -1),
        ("metadata.trainingData.historyDays", ABSENT),
        ("metadata.trainingData.algorithm", 7),
        ("computedAt", ABSENT),
        ("expiresAt", ABSENT),
        ("expiresAt", None),
    ],
    names.CHAT_SESSIONS: [
        ("sessionId", ABSENT),
        ("sessionId", None),
        ("sessionId", OID),
        ("userId", ABSENT),
        ("userId", 7),
        ("title", 7),
        ("messages", {}),
        ("messages", ["Something calm"]),
        ("messages", [None]),
        ("messages.0.role", ABSENT),
        ("messages.0.role", None),
        ("messages.0.role", "robot"),
        ("messages.0.content", 7),
        ("messages.0.timestamp", "now"),
        ("messages.0.metadata", "local"),
        ("messages.0.metadata.tokens", -1),
        ("messages.0.metadata.tokens", "12"),
        ("messages.0.metadata.cost", -0.001),
        ("messages.0.metadata.context", []),
        ("context", "calm"),
        ("context.currentMood", 7),
        ("context.recentTracks", "t"),
        ("context.recentTracks", [7]),
        ("recommendations", OID),
        ("recommendations", ["t"]),
        ("recommendations", [None]),
        ("recommendations.0.trackIds", "t"),
        ("recommendations.0.trackIds", [OID]),
        ("recommendations.0.accepted", "yes"),
        ("recommendations.0.strategy", 7),
        ("startedAt", "2026"),
        ("lastMessageAt", 0),
        ("endedAt", True),
        ("isActive", 1),
        ("summary", ["Calm"]),
    ],
    names.EVENTS: [
        ("type", ABSENT),
        ("type", None),
        ("type", 7),
        ("timestamp", ABSENT),
        ("timestamp", None),
        ("timestamp", "now"),
        ("timestamp", 1_700_000_000_000),
        ("eventId", OID),
        ("category", 7),
        ("userId", 7),
        ("userId", {"id": "ann"}),
        ("sessionId", OID),
        ("data", "t"),
        ("data", ["t"]),
        ("metadata", "api"),
        ("metadata.source", "fridge"),
        ("metadata.source", "API"),
        ("metadata.version", 1),
        ("metadata.ip", 2_130_706_433),
        ("metadata.country", ["DE"]),
        ("processedAt", "now"),
    ],
    names.RECOMMENDATIONS_CACHE: [
        ("userId", ABSENT),
        ("userId", None),
        ("sessionId", OID),
        ("strategy", ABSENT),
        ("strategy", None),
        ("strategy", "content"),
        ("prompt", 7),
        ("context", []),
        ("context.genres", "pop"),
        ("context.timeOfDay", "noon"),
        ("context.weather", 21),
        ("recommendations", ABSENT),
        ("recommendations", None),
        ("recommendations", {}),
        ("recommendations", ["t"]),
        ("recommendations", [OID]),
        ("recommendations.0.trackId", ABSENT),
        ("recommendations.0.trackId", 7),
        ("recommendations.0.score", ABSENT),
        ("recommendations.0.score", None),
        ("recommendations.0.score", 1.01),
        ("recommendations.0.score", -0.01),
        ("recommendations.0.reasons", "calm"),
        ("recommendations.0.audioFeatures.energy", 2),
        ("recommendations.0.audioFeatures.mode", 0.5),
        ("recommendations.0.previewUrl", 7),
        ("metadata", "m"),
        ("metadata.processingTime", -1),
        ("metadata.confidence", 1.5),
        ("metadata.diversity", -0.5),
        ("generatedAt", ABSENT),
        ("generatedAt", None),
        ("expiresAt", ABSENT),
        ("expiresAt", "soon"),
        ("accessed", -1),
        ("accessed", None),
        ("lastAccessedAt", 0),
    ],
    names.RECOMMENDATIONS: [
        ("userId", ABSENT),
        ("userId", 7),
        ("release", 7),
        ("strategy", ABSENT),
        ("strategy", "content"),
        ("sessionId", 7),
        ("candidates", ABSENT),
        ("candidates", {}),
        ("candidates.0.trackId", ABSENT),
        ("candidates.0.score", 1.1),
        ("candidates.0.score", None),
        ("candidates.0.rank", 0),
        ("candidates.0.rank", "1"),
        ("candidates.0.reasons", []),
        ("candidates.0.reasons", [""]),
        ("candidates.0.reasons", ABSENT),
        ("candidates.0.metadata", ABSENT),
        ("candidates.0.metadata.genres", "pop"),
        ("candidates.0.metadata.audioFeatures.mode", 0.5),
        ("context.seeds", "s"),
        ("performance", ABSENT),
        ("performance.confidence", 2),
        ("performance.strategy", "best"),
        ("performance.candidateCount", -1),
        ("performance.generationTime", ABSENT),
        ("feedback", []),
        ("feedback.overallRating", 0),
        ("feedback.overallRating", 6),
        ("feedback.tracksPlayed", "t"),
        ("createdAt", ABSENT),
        ("expiresAt", "soon"),
    ],
    names.RELEASES: [
        ("_id", 7),
        ("state", "ready"),
        ("state", ABSENT),
        ("token", ABSENT),
        ("token", -1),
        ("asOf", "today"),
        ("counts", ABSENT),
        ("checks", "passed"),
        ("dimensions", [1]),
    ],
}


@pytest.mark.parametrize(
    ("collection", "path", "value"),
    [(collection, *corruption) for collection, table in CORRUPTIONS.items() for corruption in table],
    ids=lambda value: "absent" if value is ABSENT else repr(value)[:40],
)
def test_one_wrong_field_is_refused_with_code_121(db, collection, path, value):
    with pytest.raises(OperationFailure) as refusal:
        db[collection].insert_one(with_value(WHOLE[collection], path, value))
    assert refusal.value.code == 121


@pytest.mark.parametrize("document", [EMBEDDING, SIMILARITY], ids=["embedding", "similarity"])
def test_the_other_feature_types_are_accepted(db, document):
    accept(db, names.FEATURE_STORE, document)


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (EMBEDDING, "trackId", ABSENT),
        (EMBEDDING, "trackId", OID),
        (SIMILARITY, "userId", ABSENT),
        (SIMILARITY, "features.neighbors", ABSENT),
        (SIMILARITY, "features.neighbors.0.commonTracks", 4),
        (SIMILARITY, "features.neighbors.0.userId", ABSENT),
        (SIMILARITY, "features.neighbors.0.jaccard", 1.5),
        (SIMILARITY, "features.neighbors.0.score", None),
        (SIMILARITY, "features.neighbors", "ann"),
    ],
)
def test_a_feature_without_its_owner_or_with_a_wrong_neighbor_is_refused(db, document, path, value):
    with pytest.raises(OperationFailure) as refusal:
        db[names.FEATURE_STORE].insert_one(with_value(document, path, value))
    assert refusal.value.code == 121


def test_a_binary_float32_vector_is_accepted(db):
    vector = Binary.from_vector([0.5, 0.25], BinaryVectorDtype.FLOAT32)
    accept(db, names.FEATURE_STORE, with_value(PROFILE, "features.vector", vector))


def test_an_empty_vector_of_no_dimensions_is_accepted(db):
    document = with_value(SIMILARITY, "features.neighbors", [])
    document["features"] |= {"vector": [], "dimensions": 0}
    accept(db, names.FEATURE_STORE, document)


RELEASE = WHOLE[names.RELEASES]
LIVE = {"_id": "live", "release": "r", "previous": "q", "withdraw": None, "token": 1, "changedAt": DATE}
LEASE = {"_id": "lease", "owner": "host:1:2", "token": Int64(3), "expiresAt": DATE}
MIGRATION = {
    "_id": "migration:audio-features",
    "migration": "audio-features",
    "startedAt": DATE,
    "finishedAt": DATE,
    "before": {"documents": 3},
    "after": {"documents": 0},
}
ERASED = {"_id": "erased:0123456789abcdef", "erasedAt": DATE, "keyId": "01234567", "counts": {"listening_history": 3}}


@pytest.mark.parametrize(
    "document",
    [
        {**RELEASE, "codeVersion": "0.1.0+5d1c0a", "snapshot": "5d1c0a", "timings": {"build": 1.5}},
        {**RELEASE, "state": "retired", "expired": True, "ledger": {"similarity": {"0": "ff"}}},
        LIVE,
        {**LIVE, "release": None, "previous": None},
        {**LIVE, "withdraw": "p"},
        {name: value for name, value in LIVE.items() if name != "withdraw"},
        LEASE,
        {**LEASE, "owner": None, "token": 0},
        MIGRATION,
        {**MIGRATION, "finishedAt": None, "after": None},
        {"_id": "migration:x", "migration": "x", "startedAt": DATE, "before": {}},
        ERASED,
    ],
)
def test_every_kind_of_document_in_the_books_is_accepted(db, document):
    accept(db, names.RELEASES, document)


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        *[(LIVE, name, ABSENT) for name in ("release", "previous", "token", "changedAt")],
        (LIVE, "release", 7),
        (LIVE, "changedAt", None),
        (LIVE, "withdraw", ["p"]),
        (LIVE, "_id", "Live"),
        *[(LEASE, name, ABSENT) for name in ("owner", "token", "expiresAt")],
        (LEASE, "owner", 7),
        (LEASE, "token", -1),
        (LEASE, "_id", "something"),
        *[(MIGRATION, name, ABSENT) for name in ("migration", "startedAt", "before")],
        (MIGRATION, "startedAt", None),
        (MIGRATION, "before", 3),
        (MIGRATION, "_id", "audio-features"),
        *[(ERASED, name, ABSENT) for name in ("erasedAt", "keyId", "counts")],
        (ERASED, "erasedAt", "today"),
        (ERASED, "keyId", 7),
        (ERASED, "_id", "not erased:0123"),
        *[(RELEASE, name, ABSENT) for name in ("asOf", "knownAt", "builtAt", "parameters")],
        (RELEASE, "state", None),
        (RELEASE, "expired", "yes"),
    ],
)
def test_a_broken_document_in_the_books_is_refused(db, document, path, value):
    with pytest.raises(OperationFailure) as refusal:
        db[names.RELEASES].insert_one(with_value(document, path, value))
    assert refusal.value.code == 121


def test_a_spotify_id_is_unique_and_many_users_may_have_none(db):
    users = db[names.USERS]
    users.insert_many([{"userId": f"none-{number}", "email": f"n{number}@example.com"} for number in range(3)])
    users.insert_one({"userId": "one", "email": "one@example.com", "spotifyId": "taken"})
    with pytest.raises(DuplicateKeyError):
        users.insert_one({"userId": "two", "email": "two@example.com", "spotifyId": "taken"})


def test_a_text_and_an_object_id_that_read_alike_are_two_users(db):
    users = db[names.USERS]
    users.insert_one({"userId": str(OID), "email": "text@example.com"})
    users.insert_one({"userId": OID, "email": "oid@example.com"})
    with pytest.raises(DuplicateKeyError):
        users.insert_one({"userId": OID, "email": "again@example.com"})
