"""Which rows can be used: each rule is a column of booleans and a reason, the first broken one is named."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from features.schema.names import AUDIO_FEATURES, MAX_ID_BYTES, MAX_PLAY_MS, SIGNALS
from features.snapshot.read import set_aside

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A play this far after the moment of reading is another machine's clock, one further on is a fault."""
FAR_AHEAD = timedelta(days=1)
"""Imported so far after the moment of reading can't be true; anything less may be an import at work meanwhile."""

Fault = tuple[str, pa.ChunkedArray]


def split(rows: pa.Table, table: str, bound: datetime) -> tuple[pa.Table, pa.Table]:
    """Rows that can be used, in our columns, and those set aside with their first fault.

    Args:
        rows: a batch in its source's raw schema.
        table: the source's name, such as "plays".
        bound: when the snapshot is taken, aware.

    Returns:
        The good rows (n, columns of the snapshot's table) and the bad ones (m, `SET_ASIDE_SCHEMA`);
        n + m is the number of rows.
    """
    reason = pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    for text, broken in FAULTS[table](rows, bound):
        surely = pc.fill_null(broken, fill_value=False)
        if pc.any(surely).as_py():
            reason = pc.if_else(pc.and_(surely, pc.is_null(reason)), text, reason)
    good = pc.is_null(reason)
    known = rows["imported_at"] if "imported_at" in rows.column_names else None
    bad = set_aside(rows["document_id"], reason, known).filter(pc.invert(good))
    return SHAPES[table](rows.filter(good)), bad


def _id_faults(rows: pa.Table, *columns: str) -> Iterator[Fault]:
    for column in columns:
        ids = rows[column]
        blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(ids)), 0)
        yield f"{column} is missing", pc.or_kleene(pc.is_null(ids), blank)
        yield f"{column} is longer than {MAX_ID_BYTES} bytes", pc.greater(pc.binary_length(ids), MAX_ID_BYTES)
        yield f"{column} holds a NUL character", pc.match_substring(ids, "\x00")
        # what could not be decoded; two ids might have become one
        yield f"{column} is not UTF-8", pc.match_substring(ids, "\ufffd")


def _range_fault(rows: pa.Table, column: str, low: float, high: float) -> Iterator[Fault]:
    values = rows[column]
    yield f"{column} is not a finite number", pc.invert(pc.is_finite(values))
    outside = pc.or_(pc.less(values, low), pc.greater(values, high))
    yield f"{column} is outside {low:g}..{high:g}", outside


def _date_faults(rows: pa.Table, column: str, bound: datetime) -> Iterator[Fault]:
    latest = pa.scalar(bound + CLOCK_TOLERANCE, rows[column].type)
    yield f"{column} is missing", pc.is_null(rows[column])
    yield f"{column} is in the future", pc.greater(rows[column], latest)
    yield f"{column} is before 1970", pc.less(rows[column], pa.scalar(0, rows[column].type))


def _audio_faults(rows: pa.Table) -> Iterator[Fault]:
    for feature in AUDIO_FEATURES:
        yield from _range_fault(rows, feature.name, feature.low, feature.high)


def _play_faults(rows: pa.Table, bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "user_id", "track_id")
    yield from _date_faults(rows, "played_at", bound)
    latest = pa.scalar(bound + FAR_AHEAD, rows["imported_at"].type)
    yield "imported_at is in the future", pc.greater(rows["imported_at"], latest)
    yield from _range_fault(rows, "play_ms", 0, MAX_PLAY_MS)
    yield from _range_fault(rows, "duration_ms", 0, MAX_PLAY_MS)
    for column in ("completion_rate", "played_percentage"):
        yield f"{column} is not a finite number", pc.invert(pc.is_finite(rows[column]))
    yield from _audio_faults(rows)


def _feedback_faults(rows: pa.Table, bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "user_id", "track_id")
    yield "signal is missing", pc.is_null(rows["signal"])
    yield "unknown signal", pc.invert(pc.is_in(rows["signal"], value_set=pa.array(SIGNALS)))
    yield from _range_fault(rows, "strength", 1, 5)
    yield from _date_faults(rows, "created_at", bound)


def _track_faults(rows: pa.Table, _bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "track_id")
    yield from _range_fault(rows, "duration_ms", 0, MAX_PLAY_MS)
    yield from _range_fault(rows, "popularity", 0, 100)
    yield from _audio_faults(rows)


def _user_faults(rows: pa.Table, _bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "user_id")


def _settings_faults(rows: pa.Table, _bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "user_id")
    for column in ("energy", "valence", "danceability"):
        yield from _range_fault(rows, column, 0, 1)


def _session_faults(rows: pa.Table, bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "user_id")
    accepted = pc.fill_null(pc.greater(pc.list_value_length(rows["track_ids"]), 0), fill_value=False)
    dated = rows.append_column("accepted_at", _session_moment(rows))
    for text, broken in _date_faults(dated, "accepted_at", bound):
        yield text, pc.and_(accepted, broken)


def _acceptance_faults(rows: pa.Table, bound: datetime) -> Iterator[Fault]:
    yield from _id_faults(rows, "user_id")
    yield "track_ids is missing", pc.and_(pc.is_null(rows["track_id"]), pc.is_null(rows["track_ids"]))
    yield from _date_faults(rows, "accepted_at", bound)


def _session_moment(rows: pa.Table) -> pa.ChunkedArray:
    """When a session's recommendations were accepted, as well as the session tells."""
    return pc.coalesce(*(rows[name] for name in ("last_message_at", "ended_at", "started_at", "created_at")))


def _shape_plays(rows: pa.Table) -> pa.Table:
    """Plays with one completion (0..1, null unknown) and one date since when they are known."""
    by_percentage = pc.divide(rows["played_percentage"], 100.0)
    durations_known = pc.greater(rows["duration_ms"], 0.0)
    by_duration = pc.divide(rows["play_ms"], pc.if_else(durations_known, rows["duration_ms"], None))
    completion = pc.coalesce(rows["completion_rate"], by_percentage, by_duration)
    clipped = pc.min_element_wise(pc.max_element_wise(completion, 0.0, skip_nulls=False), 1.0, skip_nulls=False)
    known_at = pc.coalesce(rows["imported_at"], rows["created_at"], rows["played_at"])
    names = ["user_id", "track_id", "played_at"]
    more = ["play_ms", "track_name", "artist_name", "genres", "source"]
    audio = [feature.name for feature in AUDIO_FEATURES]
    return pa.table(
        {
            "document_id": rows["document_id"],
            **{name: rows[name] for name in names},
            "known_at": known_at,
            "completion": clipped.cast(pa.float32()),
            **{name: rows[name] for name in more},
            **{name: rows[name].cast(pa.float32()) for name in audio},
        }
    )


def _shape_feedback(rows: pa.Table) -> pa.Table:
    return rows.append_column("known_at", rows["created_at"])


def _shape_sessions(rows: pa.Table) -> pa.Table:
    moment = _session_moment(rows)
    columns = {name: rows[name] for name in ("document_id", "user_id", "track_ids")}
    return pa.table({**columns, "accepted_at": moment, "known_at": moment})


def _shape_acceptances(rows: pa.Table) -> pa.Table:
    alone = pc.split_pattern(rows["track_id"], "\x00")  # a list of the one track; no id holds a NUL
    columns = {name: rows[name] for name in ("document_id", "user_id")}
    track_ids = pc.coalesce(rows["track_ids"], alone)
    return pa.table(
        {**columns, "track_ids": track_ids, "accepted_at": rows["accepted_at"], "known_at": rows["accepted_at"]}
    )


def _as_is(rows: pa.Table) -> pa.Table:
    return rows


FAULTS: dict[str, Callable[[pa.Table, datetime], Iterator[Fault]]] = {
    "plays": _play_faults,
    "feedback": _feedback_faults,
    "tracks": _track_faults,
    "users": _user_faults,
    "settings": _settings_faults,
    "sessions": _session_faults,
    "acceptances": _acceptance_faults,
}
SHAPES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "plays": _shape_plays,
    "feedback": _shape_feedback,
    "tracks": _as_is,
    "users": _as_is,
    "settings": _as_is,
    "sessions": _shape_sessions,
    "acceptances": _shape_acceptances,
}
