"""Documents as the database holds them, in either draft's shape, and a small world made of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from features.parameters import NightlyParameters
from features.schema import names

Document = dict[str, Any]

BOUND = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
"""When the snapshots of these tests are taken, and the moment that their releases are of."""
TWIN_TEXT = "64b000000000000000000001"
TWIN = ObjectId(TWIN_TEXT)
"""A user whose ObjectId reads like another user's string."""
SMALL = NightlyParameters.model_validate(
    {
        "embeddings": {"dimensions": 4, "content_dimensions": 13},
        "profiles": {"top_genres": 2},
        "similarity": {"k": 3},
        "recommendations": {"k": 5},
    }
)


def days_ago(days: float) -> datetime:
    return BOUND - timedelta(days=days)


def play(user: str | ObjectId = "ann", track: str = "track-01", days: float = 2.0, **more: Any) -> Document:
    return {"userId": user, "trackId": track, "playedAt": days_ago(days), "importedAt": days_ago(1), **more}


def said(user: str | ObjectId = "ann", track: str = "track-01", signal: str = "like", **more: Any) -> Document:
    return {"userId": user, "trackId": track, "signal": signal, "createdAt": days_ago(1), **more}


def song(number: int = 1, **more: Any) -> Document:
    genre = ("pop", "jazz", "metal")[number % 3]
    return {
        "spotifyId": f"track-{number:02d}",
        "name": f"Song {number}",
        "artists": [{"id": f"artist-{number % 4}", "name": f"Artist {number % 4}", "genres": [genre]}],
        "duration": 200_000,
        "popularity": 10 * (number % 10),
        "explicit": False,
        "audioFeatures": {"energy": number / 20, "valence": 0.5, "mode": number % 2, "key": number % 12, "tempo": 120},
        **more,
    }


def account(user: str | ObjectId = "ann", **more: Any) -> Document:
    return {"userId": user, "email": f"{user}@example.com", **more}


def fill_small_world(database: Database[Document]) -> None:
    """Five listeners, sixteen tracks.

    "ann", "bob" and the ObjectId twin play much the same; "cat" plays other things; the string twin has an account
    and nothing else.
    """
    history = {"ann": range(1, 9), "bob": range(2, 11), TWIN: range(1, 8), "cat": range(10, 15)}
    database[names.TRACKS].insert_many([song(number) for number in range(1, 17)])
    database[names.USERS].insert_many([account(user) for user in ("ann", "bob", TWIN_TEXT)])
    database[names.LISTENING_HISTORY].insert_many(
        [
            play(user, f"track-{number:02d}", days=2 + number, completionRate=0.1 * (number % 4) + 0.65)
            for user, numbers in history.items()
            for number in numbers
        ]
    )
    database[names.USER_FEEDBACK].insert_many([said("ann", "track-12", "dislike"), said("bob", "track-01", "love")])
