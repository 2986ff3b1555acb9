"""Rows of entities as callers have them, dicts, a frame or a table, made into one Arrow table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from bson import ObjectId

from features.errors import InputError
from features.schema.ids import encode_id, meant_ids

if TYPE_CHECKING:
    import pandas as pd

EntityRows: TypeAlias = "Sequence[Mapping[str, Any]] | pd.DataFrame | pa.Table"
EVENT_TIMESTAMP = "event_timestamp"
MOMENT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Entities:
    """Ids of one kind, a row each, as tables have them; null where a row has none.

    Attributes:
        first: what the id most likely is.
        second: what else a caller may have meant by it; null nearly always.
    """

    first: pa.Array
    second: pa.Array

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: pa.Array) -> "Entities":
        """Those of some rows."""
        return Entities(self.first.take(rows), self.second.take(rows))

    def distinct(self) -> pa.Array:
        """Every id that may have to be looked up, once."""
        return pc.unique(pa.chunked_array([self.first, self.second])).drop_null()


def read_rows(rows: EntityRows, needed: Iterable[str]) -> pa.Table:
    """The rows as a table, in their order, with all their columns.

    A column of ids that is needed becomes text, ObjectIds as `oid:<hex>`; a needed `event_timestamp` becomes UTC,
    to the microsecond before. An empty list of dicts has the needed columns.

    Args:
        rows: a list of dicts, whose keys need not be the same; a pandas DataFrame, whose index is left out; or an
            Arrow table.
        needed: columns of ids, and perhaps `event_timestamp`.

    Raises:
        InputError: a needed column is missing, or a value can't be used; names the first row by its position, from 0.
    """
    needed = list(needed)
    columns = _columns(rows, needed)
    for name in needed:
        if name not in columns:
            raise InputError(f"the rows have no column {name}, only {', '.join(columns)}; add it")
    return pa.table({name: _column(name, values, needed) for name, values in columns.items()})


def entities_of(table: pa.Table, column: str) -> Entities:
    """The ids of one column. A track id is only what it says; a user id may mean one of two, see `meant_ids`."""
    given = table[column].combine_chunks().dictionary_encode()
    given = given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given
    texts = given.dictionary.to_pylist()
    meant = [[text] if column == "track_id" else [encode_id(user) for user in meant_ids(text)] for text in texts]
    first = pa.array([ids[0] for ids in meant], pa.string())
    second = pa.array([ids[1] if len(ids) > 1 else None for ids in meant], pa.string())
    return Entities(first.take(given.indices), second.take(given.indices))


def _columns(rows: EntityRows, needed: list[str]) -> dict[str, Any]:
    if isinstance(rows, pa.Table):
        names, values = rows.column_names, rows.columns
    elif not isinstance(rows, Sequence):  # a frame, known without importing pandas
        names = [str(name) for name in rows.columns]
        values = [_of_frame(rows.iloc[:, position]) for position in range(len(names))]
    elif len(rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        values = [[row.get(name) for row in rows] for name in names]
    else:
        names, values = needed, [[]] * len(needed)
    if len(set(names)) < len(names):
        raise InputError(f"the rows have a column twice among {', '.join(names)}; rename one")
    return dict(zip(names, values, strict=True))


def _column(name: str, values: Any, needed: list[str]) -> pa.Array | pa.ChunkedArray:
    if name not in needed:
        return _plain(name, values)
    return _moments(values) if name == EVENT_TIMESTAMP else _ids(name, values)


def _of_frame(column: "pd.Series[Any]") -> Any:
    """A frame's column: moments as Arrow has them, texts and objects as a list with None for what is missing."""
    if column.dtype.kind == "M":
        zone = column.dt.tz
        moments = pa.array(column if zone is None else column.dt.tz_convert(None))
        if zone is not None:
            moments = moments.cast(pa.timestamp(moments.type.unit, pa.lib.tzinfo_to_string(zone)))
        return pa.chunked_array([moments])
    if column.dtype.kind in "biuf":
        return column
    return column.astype(object).where(column.notna(), None).tolist()


def _plain(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """A column that is only passed on."""
    if isinstance(values, pa.ChunkedArray):
        return values
    if isinstance(values, list):
        values = [encode_id(value) if isinstance(value, ObjectId) else value for value in values]
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        what = str(error).partition("\n")[0]
        raise InputError(f"column {name} of the rows can't be a table's column ({what}); leave it out") from None


def _ids(name: str, values: Any) -> pa.Array:
    texts: list[str | None] = []
    for row, value in enumerate(_items(values)):
        if value is not None and not isinstance(value, str | ObjectId):
            raise InputError(f"{name} of row {row} is {value!r}, of type {type(value).__name__}; make ids texts")
        texts.append(None if value is None else encode_id(value) if isinstance(value, ObjectId) else value)
    return pa.array(texts, pa.string())


def _moments(values: Any) -> pa.Array | pa.ChunkedArray:
    """Microseconds in UTC, rounded down: a moment made later could see a release that it came before."""
    if isinstance(values, pa.ChunkedArray) and pa.types.is_timestamp(values.type):
        if values.null_count:
            raise _no_moment(values.is_null().index(value=True).as_py(), None)
        try:
            return pc.floor_temporal(values, unit="microsecond").cast(MOMENT)
        except pa.ArrowInvalid:
            raise InputError(
                f"{EVENT_TIMESTAMP} has a moment that microseconds can't tell; leave its row out"
            ) from None
    moments = []
    for row, value in enumerate(_items(values)):
        moment = _moment(value)
        if moment is None:
            raise _no_moment(row, value)
        moments.append(moment)
    return pa.array(moments, MOMENT)


def _moment(value: Any) -> datetime | None:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None
    except (ValueError, OverflowError):
        return None


def _no_moment(row: int, value: Any) -> InputError:
    what = "is missing" if value is None else f"is {value!r}, no moment"
    return InputError(f"{EVENT_TIMESTAMP} of row {row} {what}; give a datetime, or a text such as 2026-03-01T08:30:00Z")


def _items(values: Any) -> list[Any]:
    """Python values, None for what is missing."""
    items = values.to_pylist() if isinstance(values, pa.ChunkedArray) else list(values)
    return [None if _is_missing(item) else item for item in items]


def _is_missing(value: Any) -> bool:
    if isinstance(value, float | datetime):
        return bool(value != value)  # noqa: PLR0124 - only NaN and pandas' NaT differ from themselves
    return value is None
