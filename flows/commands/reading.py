"""Commands that read the live release: profile, similar-users, similar-tracks, recommend, doctor."""

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from features.database import open_database
from features.release.ledger import find_release, read_pointer
from features.release.store import open_feature_store
from features.schema import plan
from features.settings import get_settings
from flows.commands.options import Json, K
from flows.console import say, show_json, show_table
from flows.words import profile_in_words

User = Annotated[str, typer.Argument(help="A user id; an ObjectId as its 24 digits or as oid:<digits>.")]
Release = Annotated[str | None, typer.Option("--release", help="Read this release instead of the live one.")]
STALE_AFTER = timedelta(hours=36)


def profile(user: User, release: Release = None, *, as_json: Json = False) -> None:
    """A listener's profile, in words and by dimension."""
    with open_feature_store(release) as store:
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
    with open_feature_store(release) as store:
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
    with open_feature_store(release) as store:
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
    with open_feature_store(release) as store:
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


def doctor(*, as_json: Json = False) -> None:
    """Look at the database and the live release; the status is 1 when something needs a hand."""
    settings = get_settings()
    with open_database(settings) as database:
        pointer = read_pointer(database)
        findings = [_schema_finding(len(plan.plan(database)))]
        if pointer is None:
            findings.append({"what": "live release", "ok": False, "found": "none", "do": "run `echotune nightly`"})
        else:
            findings.append(_age_finding(find_release(database, pointer.release)))
    if as_json:
        show_json(findings)
    else:
        show_table(findings, title="Doctor")
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)


def _schema_finding(changes: int) -> dict[str, Any]:
    found = "keeps the contract" if not changes else f"{changes} differences"
    return {
        "what": "schema",
        "ok": not changes,
        "found": found,
        "do": "" if not changes else "run `echotune schema plan`",
    }


def _age_finding(release: dict[str, Any]) -> dict[str, Any]:
    age = datetime.now(UTC) - release["builtAt"]
    fresh = age <= STALE_AFTER
    return {
        "what": "live release",
        "ok": fresh,
        "found": f"{release['_id']}, {age.total_seconds() / 3600:.1f} h old",
        "do": "" if fresh else "see why nightly runs failed",
    }
