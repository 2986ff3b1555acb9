"""Commands that read the live release: profile, similar-users, similar-tracks, recommend."""

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.options import Json, K
from flows.console import say, show_json, show_table
from flows.words import profile_in_words

if TYPE_CHECKING:
    from features.release.store import FeatureStore

User = Annotated[str, typer.Argument(help="A user id; an ObjectId as its 24 digits or as oid:<digits>.")]
Release = Annotated[str | None, typer.Option("--release", help="Read this release instead of the live one.")]


def _opened(release: str | None) -> "AbstractContextManager[FeatureStore]":
    """The store; its packages take longer to import than other commands take."""
    from features.release.store import open_feature_store

    return open_feature_store(release)


def profile(user: User, release: Release = None, *, as_json: Json = False) -> None:
    """A listener's profile, in words and by dimension."""
    with _opened(release) as store:
        values = store.profile(user)
        confidence = store.profile_confidence(user)
    if as_json:
        show_json({"user": user, "release": store.release, "confidence": confidence, "profile": values})
        return
    say(f"{user} in release {store.release}, confidence {confidence:.2f}")
    for line in profile_in_words(values):
        say(f"  {line}")
    show_table([{"dimension": n, "value": v} for n, v in values.items() if not math.isnan(v)])


def similar_users(user: User, k: K = 10, release: Release = None, *, as_json: Json = False) -> None:
    """The listeners with most tracks in common, best first."""
    with _opened(release) as store:
        rows = store.similar_users(user, k)
    if as_json:
        show_json({"user": user, "release": store.release, "neighbors": rows})
    else:
        show_table(
            [{"user": r["user_id"], "tracks in common": r["common_tracks"], "jaccard": r["jaccard"]} for r in rows],
            title=f"Similar to {user}",
        )


def similar_tracks(
    track: Annotated[str, typer.Argument(help="A track id.")],
    k: K = 10,
    release: Release = None,
    *,
    as_json: Json = False,
) -> None:
    """The tracks closest to one, by who plays them and what they are."""
    with _opened(release) as store:
        rows = store.similar_tracks(track, k)
        labels = store.track_labels([track, *(row["track_id"] for row in rows)])
    if as_json:
        named = [row | {"track": labels[row["track_id"]]} for row in rows]
        show_json({"track": track, "release": store.release, "similar": named})
    else:
        show_table(
            [{"track": labels[r["track_id"]], "similarity": r["similarity"], "id": r["track_id"]} for r in rows],
            title=f"Similar to {labels[track]}",
        )


def recommend(
    user: User,
    strategy: Annotated[
        Literal["collaborative", "content-based", "hybrid", "popular"] | None,
        typer.Option(help="The best there is by default."),
    ] = None,
    k: K = 10,
    release: Release = None,
    *,
    as_json: Json = False,
) -> None:
    """A listener's recommendations, with reasons."""
    with _opened(release) as store:
        found = store.recommendations(user, strategy, k)
    if as_json:
        show_json({"release": store.release, **found})
        return
    say(f"{found['strategy']} recommendations for {user}, release {store.release}")
    show_recommendations(found)


def show_recommendations(found: dict[str, Any]) -> None:
    """Candidates with their reasons."""
    show_table(
        [
            {
                "rank": entry["rank"],
                "track": entry["track_name"] or entry["track_id"],
                "artist": entry["artist"],
                "score": entry["score"],
                "reasons": "\n".join(entry["reasons"]),
            }
            for entry in found["candidates"]
        ]
    )
