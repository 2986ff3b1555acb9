"""Queries as data: what is asked of which collection, the index that serves it, and the data model's own four.

The built-in server takes an index only for a filter all of whose fields are in it; what else a query asks for
stands in a second `$match`, which a real server joins to the first. A hint does not help there: it walks the whole
index.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import OperationFailure

from features.database import Document, translated_errors
from features.schema import names
from features.schema.collections import MIN_COMMON_TRACKS
from features.schema.ids import UserId, decode_id, encode_id

Kind = Literal["find", "aggregate", "count", "update", "delete"]
IN_LIST = 500
"""The longest `$in` list, on the built-in server as on a replica set."""
COLLSCAN = "COLLSCAN"
BAD_VALUE = 2
BY_ID = frozenset({"IDHACK", "CLUSTERED_IXSCAN", "EXPRESS_CLUSTERED_IXSCAN"})
"""How a server calls a way by `_id` that it names no index for."""
NO_PLAN = frozenset({"command", "parsedQuery", "rejectedPlans", "serverInfo", "serverParameters"})
PLAYER_OF_TRACK = {"user": "$userId", "track": "$trackId"}


@dataclass(frozen=True)
class Query:
    """One query with its values: a filter, or a pipeline for `aggregate`.

    Attributes:
        name: what it is asked for.
        collection: of which.
        kind: the command that carries it.
        filter: what documents must be, but for `aggregate`.
        pipeline: the stages of an `aggregate`.
        sort: paths and directions.
        limit: 0 for none.
        hint: the name of the index to walk.
        whole: why it means to read all of the collection and needs no index; empty where it needs one.
        guards: fields of the filter that a write checks in the same breath and no index has to hold. A real server
            goes by the other fields' index, the built-in one then reads the collection.
    """

    name: str
    collection: str
    kind: Kind
    filter: Mapping[str, Any]
    pipeline: Sequence[Mapping[str, Any]] = ()
    sort: tuple[tuple[str, int], ...] = ()
    limit: int = 0
    hint: str = ""
    whole: str = ""
    guards: tuple[str, ...] = ()


def find(name: str, collection: str, query: Mapping[str, Any], **more: Any) -> Query:
    """A `find`."""
    return Query(name, collection, "find", query, **more)


def aggregate(name: str, collection: str, *stages: Mapping[str, Any], **more: Any) -> Query:
    """An `aggregate`."""
    return Query(name, collection, "aggregate", {}, stages, **more)


def explain(database: Database[Document], query: Query) -> str:
    """The index that serves a query, several joined by a comma, or "COLLSCAN"; guards are left out.

    An `update` or a `delete` is explained as the `find` of its filter: the built-in server has nothing to say of it.

    Raises:
        DatabaseError: the database can't be asked.
    """
    with translated_errors():
        try:
            return index_of(database.command({"explain": _command(query), "verbosity": "queryPlanner"}))
        except OperationFailure as error:
            if not query.hint or error.code != BAD_VALUE:
                raise
            return COLLSCAN  # MongoDB refuses a hint at an index that is not there


def index_of(answer: Mapping[str, Any]) -> str:
    """The indexes that an explained plan goes by, "COLLSCAN" if any part of it reads a collection, else its stages."""
    stages = list(_stages(answer))
    if any(stage["stage"] == COLLSCAN for stage in stages):
        return COLLSCAN
    indexes = [stage.get("indexName") or ("_id_" if stage["stage"] in BY_ID else "") for stage in stages]
    return ", ".join(sorted({name for name in indexes if name})) or ", ".join(stage["stage"] for stage in stages)


def _command(query: Query) -> dict[str, Any]:
    """What is asked of the server, without the guards; the command's name comes first."""
    if query.kind == "aggregate":
        command: dict[str, Any] = {"aggregate": query.collection, "pipeline": list(query.pipeline), "cursor": {}}
    else:
        wanted = {name: value for name, value in query.filter.items() if name not in query.guards}
        command = {"find": query.collection, "filter": wanted}
    more = {"sort": dict(query.sort), "limit": query.limit, "hint": query.hint}
    return command | {name: value for name, value in more.items() if value}


def _stages(plan: Any) -> Iterator[Mapping[str, Any]]:
    """The stages of a plan in whatever a server answers: nested, one a shard, in a pipeline's cursor."""
    if isinstance(plan, Mapping):
        if isinstance(plan.get("stage"), str):
            yield plan
        for name, part in plan.items():
            if name not in NO_PLAN:
                yield from _stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from _stages(part)


def run(database: Database[Document], query: Query) -> Iterator[Document]:
    """What a `find` or an `aggregate` finds.

    Raises:
        DatabaseError: the database can't be asked.
    """
    collection = database[query.collection]
    with translated_errors():
        if query.kind == "aggregate":
            yield from collection.aggregate(list(query.pipeline), allowDiskUse=True)
        else:
            yield from collection.find(query.filter, sort=list(query.sort) or None, limit=query.limit)


def recent_plays(user: UserId, since: datetime, limit: int) -> Query:
    """A user's plays from a moment on, newest first."""
    return find(
        "recent history",
        names.LISTENING_HISTORY,
        {"userId": user, "playedAt": {"$gte": since}},
        sort=(("playedAt", -1),),
        limit=limit,
    )


def tracks_of_mood(energy: float, valence: float, limit: int) -> Query:
    """Tracks of at least that energy and valence, most popular first; equals in the order of their ids."""
    return aggregate(
        "mood tracks",
        names.TRACKS,
        {"$match": {"audioFeatures.energy": {"$gte": energy}}},
        {"$match": {"audioFeatures.valence": {"$gte": valence}}},
        {"$sort": {"popularity": -1, "spotifyId": 1}},
        {"$limit": limit},
    )


def lists_of_strategy(strategy: str, since: datetime) -> Query:
    """One row on a strategy's lists since a moment: how many, how sure, how long they took."""
    return aggregate(
        "strategy performance",
        names.RECOMMENDATIONS,
        {"$match": {"strategy": strategy, "createdAt": {"$gte": since}}},
        {
            "$group": {
                "_id": "$strategy",
                "confidence": {"$avg": "$performance.confidence"},
                "generation_ms": {"$avg": "$performance.generationTime"},
                "lists": {"$sum": 1},
            }
        },
    )


def scorecards(since: datetime) -> Query:
    """One row a strategy on what became of the lists of the releases that were built since a moment."""
    measures = ("played", "liked", "skipped", "accepted", "answered")
    return aggregate(
        "scorecards",
        names.RELEASES,
        {"$match": {"state": {"$in": list(names.RELEASE_STATES)}}},
        {"$match": {"builtAt": {"$gte": since}}},
        {"$unwind": "$scorecard.strategies"},
        {
            "$group": {
                "_id": "$scorecard.strategies.strategy",
                **{
                    f"{measure}_{how}": {"$sum": f"$scorecard.strategies.{measure}.{how}"}
                    for measure in measures
                    for how in ("explicit", "inferred")
                },
            }
        },
    )


def tracks_of_user(user: UserId) -> Query:
    """The distinct tracks that a user ever played."""
    return aggregate(
        "tracks of a user",
        names.LISTENING_HISTORY,
        {"$match": {"userId": user}},
        {"$group": {"_id": "$trackId"}},
    )


def players_of_tracks(tracks: Sequence[str]) -> Query:
    """Who played any of some tracks, and how many of them."""
    return aggregate(
        "players of tracks",
        names.LISTENING_HISTORY,
        {"$match": {"trackId": {"$in": list(tracks)}}},
        {"$group": {"_id": PLAYER_OF_TRACK}},
        {"$group": {"_id": "$_id.user", "tracks": {"$sum": 1}}},
    )


def track_counts(users: Sequence[UserId]) -> Query:
    """How many distinct tracks each of some users ever played."""
    return aggregate(
        "track counts of users",
        names.LISTENING_HISTORY,
        {"$match": {"userId": {"$in": list(users)}}},
        {"$group": {"_id": PLAYER_OF_TRACK}},
        {"$group": {"_id": "$_id.user", "tracks": {"$sum": 1}}},
    )


def recent_history(
    database: Database[Document], user: UserId, now: datetime, days: int = 30, limit: int = 100
) -> list[Document]:
    """A user's plays of the last days, newest first.

    Args:
        database: where.
        user: an ObjectId, or a text as `encode_id` makes it.
        now: the moment that the days are counted back from.
        days: how far back.
        limit: so many plays at most.
    """
    return list(run(database, recent_plays(_id(user), now - timedelta(days=days), limit)))


def mood_tracks(
    database: Database[Document], energy: float = 0.7, valence: float = 0.6, limit: int = 50
) -> list[Document]:
    """Tracks of at least that energy and valence, most popular first; of equal popularity by id."""
    return list(run(database, tracks_of_mood(energy, valence, limit)))


def strategy_performance(database: Database[Document], since: datetime) -> list[dict[str, Any]]:
    """What each strategy did since a moment, in the order of `STRATEGIES`; none for one without a list.

    The data model's query, of the lists that are still there, and what listeners made of them, from the scorecards
    that attribution keeps with each release, also after its lists are gone.

    Returns:
        `strategy`; of the lists `confidence` (the data model's avgConfidence), `generation_ms` (avgGenerationTime) and
        `lists` (totalRecommendations); of the tracks in them, how many were `played`, `liked`, `skipped`, and with any
        response, `answered`; how many of these are `inferred`; and `acceptance`, the share of the answered that were
        played or liked and not disliked in the end. Without a scorecard the counts are None; acceptance of nothing is
        NaN.
    """
    # one query a strategy: with `$in` beside a range the built-in server would read the collection
    found = [row for name in names.STRATEGIES for row in run(database, lists_of_strategy(name, since))]
    cards = {row["_id"]: row for row in run(database, scorecards(since))}
    return [{"strategy": (name := row.pop("_id")), **row, **_responses(cards.get(name))} for row in found]


def _responses(card: Document | None) -> dict[str, Any]:
    """Totals of a strategy's scorecards."""
    counted = ("played", "liked", "skipped", "answered")
    if card is None:
        return dict.fromkeys((*counted, "inferred")) | {"acceptance": math.nan}
    totals = {name: card[f"{name}_explicit"] + card[f"{name}_inferred"] for name in (*counted, "accepted")}
    accepted, answered = totals.pop("accepted"), totals["answered"]
    return {
        **totals,
        "inferred": card["answered_inferred"],
        "acceptance": accepted / answered if answered else math.nan,
    }


def users_by_overlap(
    database: Database[Document], user: UserId, min_common: int = MIN_COMMON_TRACKS, k: int = 50
) -> list[dict[str, Any]]:
    """The users with most tracks in common with one, by all they ever played; equals in the order of their ids.

    What the data model finds by reading the whole history, found by two indexes: the user's tracks, then who else
    played them. Counts and shares are those of `compute/overlaps.py`, which ranks by share.

    Args:
        database: where.
        user: an ObjectId, or a text as `encode_id` makes it.
        min_common: tracks in common at least.
        k: so many users at most.

    Returns:
        `user_id`, `common_tracks`, `jaccard` (common tracks by the tracks of either).
    """
    target = _id(user)
    mine = sorted(row["_id"] for row in run(database, tracks_of_user(target)) if isinstance(row["_id"], str))
    common = _summed(run(database, players_of_tracks(chunk)) for chunk in _chunks(mine))
    del common[target]
    enough = sorted((-count, encode_id(other), other) for other, count in common.items() if count >= min_common)
    best = [(other, -count) for count, _, other in enough[:k]]
    theirs = _summed(run(database, track_counts(chunk)) for chunk in _chunks([other for other, _ in best]))
    return [
        {"user_id": other, "common_tracks": count, "jaccard": count / (len(mine) + theirs[other] - count)}
        for other, count in best
    ]


def _id(user: UserId) -> UserId:
    return decode_id(user) if isinstance(user, str) else user


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + IN_LIST] for start in range(0, len(values), IN_LIST))


def _summed(answers: Iterable[Iterable[Document]]) -> Counter[UserId]:
    """Tracks by user, over the chunks of tracks or users that were asked for."""
    totals: Counter[UserId] = Counter()
    for answer in answers:
        for row in answer:
            if isinstance(row["_id"], str | ObjectId):
                totals[row["_id"]] += row["tracks"]
    return totals
