"""Every query that the code sends, with example values: the check and the tests ask which index serves each.

A test listens to what is sent and fails on a query that is not here.
"""

from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from features.schema import names
from features.schema.collections import COLLECTIONS
from features.schema.queries import (
    Query,
    aggregate,
    find,
    lists_of_strategy,
    players_of_tracks,
    recent_plays,
    scorecards,
    track_counts,
    tracks_of_mood,
    tracks_of_user,
)
from features.schema.user_settings import by_user, of_version

DATE = datetime(2026, 1, 2, tzinfo=UTC)
DOCUMENT = ObjectId("64b000000000000000000001")
RELEASE = "2026-01-02-abcdef"
USER = "ann"
TRACKS = ["track-01", "track-02"]

INPUTS = "a snapshot reads its inputs whole"
EVERY_ONE = "every document is looked at"


def update(name: str, collection: str, query: dict[str, Any], *guards: str, **more: Any) -> Query:
    """An `update`, by its filter."""
    return Query(name, collection, "update", query, guards=guards, **more)


IMPORTING = (
    find("tracks that are there", names.TRACKS, {"spotifyId": {"$in": TRACKS}}),
    find("users that are there", names.USERS, {"userId": {"$in": [USER, DOCUMENT]}}),
    update("a changed track", names.TRACKS, {"_id": DOCUMENT}),
    update("a changed user", names.USERS, {"_id": DOCUMENT}),
)

IMPORTED = {"importedAt": {"$gt": DATE, "$lte": DATE}}

SNAPSHOT = (
    find("plays of a span", names.LISTENING_HISTORY, IMPORTED),
    find("plays of a span, in order", names.LISTENING_HISTORY, IMPORTED, sort=(("importedAt", 1),)),
    aggregate("plays of a span, counted", names.LISTENING_HISTORY, {"$match": IMPORTED}, {"$group": {"_id": None}}),
    find("plays without an import date", names.LISTENING_HISTORY, {"importedAt": None}),
    find(
        "plays with something else for an import date",
        names.LISTENING_HISTORY,
        {"importedAt": {"$not": {"$gt": DATE}, "$ne": None}},
        whole="MongoDB takes the index on importedAt for this, the built-in server's planner does not",
    ),
    Query("plays not in a span, counted", names.LISTENING_HISTORY, "count", {"importedAt": {"$gt": DATE}}),
    find("plays imported far ahead", names.LISTENING_HISTORY, {"importedAt": {"$gt": DATE}}),
    find("plays judged again", names.LISTENING_HISTORY, {"_id": {"$in": [DOCUMENT]}}),
    find(
        "feedback known by a moment",
        names.USER_FEEDBACK,
        {
            "$or": [
                {"createdAt": {"$lte": DATE}},
                {"createdAt": {"$gt": DATE}},
                {"createdAt": {"$not": {"$type": "date"}}},
            ]
        },
        whole=INPUTS,
    ),
    *(
        find(f"all {collection}", collection, {}, whole=INPUTS)
        for collection in (names.TRACKS, names.USERS, names.USER_SETTINGS, names.CHAT_SESSIONS)
    ),
    find("acceptances", names.EVENTS, {"type": "recommendation.accept"}),
    find("erased persons", names.RELEASES, {"_id": {"$gte": "erased:", "$lt": "erased:g"}}, hint="_id_"),
    find("migrations", names.RELEASES, {"_id": {"$gte": "migration:", "$lt": "migration;"}}, hint="_id_"),
)

RELEASES = (
    find("a document of the ledger", names.RELEASES, {"_id": RELEASE}),
    find(
        "all releases",
        names.RELEASES,
        {"state": {"$in": list(names.RELEASE_STATES)}},
        sort=(("builtAt", -1),),
    ),
    update("the pointer's token", names.RELEASES, {"_id": "live"}),
    update(
        "the lease, taken",
        names.RELEASES,
        {"_id": "lease", "token": 1, "owner": None, "expiresAt": DATE},
        *("token", "owner", "expiresAt"),
    ),
    update("the releases' tokens", names.RELEASES, {"state": {"$in": list(names.RELEASE_STATES)}}),
    update("the lease, renewed or left", names.RELEASES, {"_id": "lease", "token": 1}, "token"),
    update("a release's document", names.RELEASES, {"_id": RELEASE, "token": {"$lte": 1}}, "token"),
    update(
        "the pointer", names.RELEASES, {"_id": "live", "release": RELEASE, "token": {"$lte": 1}}, "release", "token"
    ),
)

LISTS = {"release": RELEASE}
FEATURES = {"featureType": "user_profile", "features.version": RELEASE}

OUTPUTS = (
    find("features of a release", names.FEATURE_STORE, FEATURES),
    Query("features counted", names.FEATURE_STORE, "count", FEATURES),
    find("lists of a release", names.RECOMMENDATIONS, LISTS),
    Query("lists counted", names.RECOMMENDATIONS, "count", LISTS),
    *(
        query
        for collection in (names.FEATURE_STORE, names.RECOMMENDATIONS)
        for query in (
            update(f"{collection} that expire", collection, {"_id": {"$in": [DOCUMENT]}}),
            Query(f"{collection} withdrawn", collection, "delete", {"_id": {"$in": [DOCUMENT]}}),
        )
    ),
    update("a cached list", names.RECOMMENDATIONS_CACHE, {"_id": DOCUMENT}),
    find("cached lists of a release", names.RECOMMENDATIONS_CACHE, {"_id": {"$in": [DOCUMENT]}}),
    Query("cached lists withdrawn", names.RECOMMENDATIONS_CACHE, "delete", {"_id": {"$in": [DOCUMENT]}}),
)

READERS = (
    update("a pin", names.RELEASES, {"_id": RELEASE, "pinnedAt": {"$not": {"$gt": DATE}}}, "pinnedAt"),
    find("one feature", names.FEATURE_STORE, {"_id": DOCUMENT}),
    find("one list", names.RECOMMENDATIONS, {"_id": DOCUMENT}),
    find("features of many", names.FEATURE_STORE, {"_id": {"$in": [DOCUMENT]}}),
)

SETTINGS = (
    find("a user's settings", names.USER_SETTINGS, by_user(USER)),
    update("settings of a version", names.USER_SETTINGS, of_version(USER, 1), "version"),
    update("settings of no version", names.USER_SETTINGS, of_version(USER, 0), "version"),
)

DATA_MODEL = (
    recent_plays(USER, DATE, 100),
    tracks_of_mood(0.7, 0.6, 50),
    lists_of_strategy("hybrid", DATE),
    scorecards(DATE),
    tracks_of_user(USER),
    players_of_tracks(TRACKS),
    track_counts([USER, DOCUMENT]),
)

WINDOW = {"$gte": DATE, "$lte": DATE}
ATTRIBUTION = (
    Query("plays of a window, counted", names.LISTENING_HISTORY, "count", {"playedAt": WINDOW}),
    find("plays of a window", names.LISTENING_HISTORY, {"playedAt": WINDOW}),
    find("feedback of a window", names.USER_FEEDBACK, {"createdAt": WINDOW}),
    find("acceptances of a window", names.EVENTS, {"type": "recommendation.accept", "timestamp": WINDOW}),
    update("the feedback of a list", names.RECOMMENDATIONS, {"_id": DOCUMENT}),
)

REPEATED = tuple(
    aggregate(
        f"repeated {path}",
        collection.name,
        {"$match": {path: {"$exists": True}} if index.sparse else {}},
        {"$group": {"_id": [f"${path}"], "documents": {"$sum": 1}}},
        {"$match": {"documents": {"$gt": 1}}},
        {"$group": {"_id": None, "values": {"$sum": 1}, "documents": {"$sum": "$documents"}}},
        whole="a value that must be unique is looked for twice among all",
    )
    for collection in COLLECTIONS
    for index in collection.indexes
    for path, _ in index.keys
    if index.unique
)


def leading(collection: str, path: str) -> str:
    """The contract's index that leads with a path; of several the first by name."""
    indexes = next(declared.indexes for declared in COLLECTIONS if declared.name == collection)
    return min(index.name for index in indexes if index.keys[0][0] == path)


REFERRING = (
    *((names.LISTENING_HISTORY, path) for path in ("userId", "trackId", "context.recommendationId")),
    *((names.USER_FEEDBACK, path) for path in ("userId", "trackId", "context.recommendationId")),
    *((collection, "userId") for collection in (names.RECOMMENDATIONS, names.CHAT_SESSIONS, names.USER_SETTINGS)),
)
CHECK = (
    *(find(f"{found.name} checked", found.name, {}, whole=EVERY_ONE) for found in COLLECTIONS),
    *(
        find(f"{name} checked", found.name, {"$nor": [{name: rule}]}, whole=EVERY_ONE)
        for found in COLLECTIONS
        for name, rule in found.validator.items()
        if name != "$jsonSchema"
    ),
    find(
        "type of spotifyTokens checked",
        names.USERS,
        {"spotifyTokens": {"$exists": True, "$not": {"$type": ["object", "null"]}}},
        whole=EVERY_ONE,
    ),
    *(
        aggregate(
            f"ids in {path}",
            collection,
            {"$group": {"_id": f"${path}", "documents": {"$sum": 1}}},
            hint=leading(collection, path),
        )
        for collection, path in (*REFERRING, (names.USERS, "userId"), (names.TRACKS, "spotifyId"))
    ),
    *(find(f"dangling {path}", collection, {path: {"$in": [USER, DOCUMENT]}}) for collection, path in REFERRING),
    find("lists that are referred to", names.RECOMMENDATIONS, {"_id": {"$in": [DOCUMENT]}}),
)

UNKNOWN = "all plays of which something is not known are looked at"
MIGRATIONS = (
    find("plays of unknown completion", names.LISTENING_HISTORY, {"completionRate": None}, whole=UNKNOWN),
    find("plays without audio", names.LISTENING_HISTORY, {"audioFeatures": {"$in": [None, {}]}}, whole=UNKNOWN),
    find("tracks of plays", names.TRACKS, {"spotifyId": {"$in": TRACKS}}, sort=(("_id", 1),)),
    *(
        update(f"{collection} mended", collection, {"_id": {"$in": [DOCUMENT]}})
        for collection in (names.LISTENING_HISTORY, names.EVENTS, names.USERS)
    ),
)

MONITORING = tuple(
    find(
        f"the newest by {field}",
        names.LISTENING_HISTORY,
        {field: {"$gt": DATE, "$lte": DATE}},
        sort=((field, -1),),
        limit=1,
    )
    for field in ("playedAt", "importedAt")
)

OWNED = [found.name for found in COLLECTIONS if found.name not in {names.TRACKS, names.RELEASES}]
ERASURE = (
    *(Query(f"{name} of a person counted", name, "count", {"userId": USER}) for name in OWNED),
    *(
        find(f"{name} of a person", name, {"userId": USER})
        for name in OWNED
        if name != names.USER_SETTINGS  # a query of the settings'
    ),
    *(Query(f"{name} of a person erased", name, "delete", {"userId": USER}) for name in OWNED),
    aggregate(
        "a person's features in a release",
        names.FEATURE_STORE,
        {"$match": {"userId": USER}},
        {"$match": {"features.version": RELEASE}},
    ),
    aggregate(
        "a person's lists in a release",
        names.RECOMMENDATIONS,
        {"$match": {"userId": USER}},
        {"$match": {"release": RELEASE}},
    ),
    aggregate(
        "others' lists of neighbours",
        names.FEATURE_STORE,
        {"$match": {"featureType": "similarity", "features.version": RELEASE}},
        {"$match": {"features.neighbors.userId": USER}},
    ),
    update("a list of neighbours", names.FEATURE_STORE, {"_id": DOCUMENT}),
)

QUERIES: tuple[Query, ...] = (
    *IMPORTING,
    *SNAPSHOT,
    *RELEASES,
    *OUTPUTS,
    *READERS,
    *SETTINGS,
    *DATA_MODEL,
    *ATTRIBUTION,
    *REPEATED,
    *CHECK,
    *MIGRATIONS,
    *MONITORING,
    *ERASURE,
)
