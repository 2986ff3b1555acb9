"""Plays, feedback and acceptances as documents: what each says, or why it can't be used, as the snapshot judges it."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from features.attribution.join import DISLIKED, LIKED, NOWHERE, PLAYED, SKIP
from features.compute.weights import ACCEPTED_SIGNAL
from features.schema.ids import UserId, id_fault
from features.schema.names import MAX_PLAY_MS, SERVING_ORDER, SIGNALS
from features.snapshot.read import PARSERS

SIGNAL_KINDS: Mapping[str, int] = {
    "love": LIKED,
    "like": LIKED,
    "save": LIKED,
    "replay": PLAYED,  # heard again on purpose
    "skip": SKIP,
    "dislike": DISLIKED,
}
assert SIGNAL_KINDS.keys() == set(SIGNALS)


class UnusableError(Exception):
    """Why a document is set aside; yielded, not raised, for one track of several."""


class Said(NamedTuple):
    """One response: to what, when (milliseconds since 1970), and what it says.

    `completion` and `play_ms` are NaN where the document does not tell; `named` is the recommendation it refers to,
    `place` that of the strategy it states.
    """

    track: str
    at: int
    kind: int
    completion: float = math.nan
    play_ms: float = math.nan
    named: UserId | None = None
    place: int = NOWHERE


def user_of(document: Mapping[str, Any]) -> str:
    """The text of a document's user.

    Raises:
        UnusableError: it has none, or one that can't be.
    """
    return _id(_value(document, "userId", "id"), "user_id")


def play(document: Mapping[str, Any]) -> Iterator[Said | UnusableError]:
    """A play; one whose completion is not known is a play."""
    at = _moment(document, "playedAt", "played_at")
    track = _id(_value(document, "trackId", "text"), "track_id")
    play_ms = _number(document, "playDuration", "play_ms", 0, MAX_PLAY_MS)
    duration_ms = _number(document, "trackDuration", "duration_ms", 0, MAX_PLAY_MS)
    rate = _number(document, "completionRate", "completion_rate")
    percentage = _number(document, "playedPercentage", "played_percentage")
    by_duration = play_ms / duration_ms if duration_ms > 0 else math.nan
    told = next((share for share in (rate, percentage / 100, by_duration) if not math.isnan(share)), math.nan)
    yield Said(track, at, PLAYED, told, play_ms, _named(_inside(document, "context"), "context.recommendationId"))


def feedback(document: Mapping[str, Any]) -> Iterator[Said | UnusableError]:
    """A piece of feedback."""
    at = _moment(document, "createdAt", "created_at")
    track = _id(_value(document, "trackId", "text"), "track_id")
    signal = _value(document, "signal", "text")
    if signal is None:
        raise UnusableError("signal is missing")
    if signal not in SIGNAL_KINDS:
        raise UnusableError("unknown signal")
    _number(document, "strength", "strength", 1, 5)
    named = _named(_inside(document, "context"), "context.recommendationId")
    yield Said(track, at, SIGNAL_KINDS[signal], named=named)


def acceptance(document: Mapping[str, Any]) -> Iterator[Said | UnusableError]:
    """An event that says that recommended tracks were accepted, each of which is liked by that."""
    at = _moment(document, "timestamp", "accepted_at")
    data = _inside(document, "data")
    alone, several = _value(data, "trackId", "text", "data.trackId"), _value(data, "trackIds", "texts", "data.trackIds")
    if alone is None and several is None:
        raise UnusableError("track_ids is missing")
    named = _named(data, "data.recommendationId")
    for track in several if several is not None else [alone]:
        yield _accepted(track, at, named, data.get("strategy"))


def session(document: Mapping[str, Any]) -> Iterator[Said | UnusableError]:
    """A chat whose recommendations were accepted, all or some, each track of which is liked by that.

    The second draft's form, ids of recommendations, tells nothing of acceptance.
    """
    if _value(document, "recommendations", "accepted") is None:
        return
    accepted = [item for item in document["recommendations"] if isinstance(item, Mapping) and item.get("accepted")]
    if not any(item.get("trackIds") for item in accepted):
        return
    names = ("lastMessageAt", "endedAt", "startedAt", "createdAt")
    moments = [_value(document, name, "date") for name in names]
    at = next((moment for moment in moments if moment is not None), None)
    if at is None:
        raise UnusableError("accepted_at is missing")
    for item in accepted:
        for track in item.get("trackIds") or []:
            yield _accepted(track, at, None, item.get("strategy"))


def _accepted(track: str, at: int, named: UserId | None, strategy: Any) -> Said | UnusableError:
    place = SERVING_ORDER.index(strategy) if strategy in SERVING_ORDER else NOWHERE
    try:
        return Said(_id(track, "track_id"), at, SIGNAL_KINDS[ACCEPTED_SIGNAL], named=named, place=place)
    except UnusableError as error:
        return error


Parse = Callable[[Mapping[str, Any]], Iterator[Said | UnusableError]]


def _value(document: Mapping[str, Any], name: str, kind: str, path: str = "") -> Any:
    """A field's value of a kind, None where there is none."""
    value = document.get(name)
    if value is None:
        return None
    parsed = PARSERS[kind](value)
    if parsed is None:
        known = {"str": "string", "dict": "object", "list": "array"}
        raise UnusableError(f"{path or name} is of type {known.get(type(value).__name__, type(value).__name__)}")
    return parsed


def _inside(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise UnusableError(f"{name} is not an object")
    return value or {}


def _id(text: str | None, column: str) -> str:
    if fault := id_fault(text):
        raise UnusableError(f"{column} {fault}")
    assert text is not None
    if "\ufffd" in text:  # what could not be decoded
        raise UnusableError(f"{column} is not UTF-8")
    return text


def _moment(document: Mapping[str, Any], name: str, column: str) -> int:
    moment = _value(document, name, "date")
    if moment is None:
        raise UnusableError(f"{column} is missing")
    return int(moment)


def _number(
    document: Mapping[str, Any], name: str, column: str, low: float = -math.inf, high: float = math.inf
) -> float:
    value = _value(document, name, "number")
    if value is None:
        return math.nan
    if not math.isfinite(value):
        raise UnusableError(f"{column} is not a finite number")
    if not low <= value <= high:
        raise UnusableError(f"{column} is outside {low:g}..{high:g}")
    return float(value)


def _named(context: Mapping[str, Any], path: str) -> UserId | None:
    """The recommendation that something refers to, with the type it has there; a blank text is none."""
    if not (_value(context, "recommendationId", "id", path) or "").strip():
        return None
    named: UserId = context["recommendationId"]
    return named
