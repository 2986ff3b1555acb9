"""What plays themselves say of their tracks, where the catalogue says nothing: of each thing the newest word."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.compute.numbering import MOMENT, Pieces, looked_up, milliseconds

NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Wanted:
    """One thing that plays may say.

    Attributes:
        column: of the plays.
        lacking: (tracks,) bool: of which tracks it is asked.
        values: makes of the column's values (n,) floats, NaN for nothing said; None leaves texts and lists as they
            are, of which null and empty ones say nothing.
    """

    column: str
    lacking: np.ndarray
    values: Callable[[pa.ChunkedArray], np.ndarray] | None = None


class _Word:
    """The newest word so far, by track number."""

    def __init__(self, wanted: Wanted) -> None:
        tracks = len(wanted.lacking)
        self.wanted = wanted
        self.at = np.full(tracks, NEVER)
        self.document = np.full(tracks, None, object)
        self.value = np.full(tracks, None, object) if wanted.values is None else np.full(tracks, np.nan)

    def hear(self, tracks: np.ndarray, played_at: np.ndarray, plays: pa.Table) -> None:
        """Takes in some plays, of tracks by number."""
        column, values = plays[self.wanted.column], np.zeros(0)
        if self.wanted.values is None:
            said = _filled(column)
        else:
            values = self.wanted.values(column)
            said = ~np.isnan(values)
        said &= self.wanted.lacking[tracks]
        rows = _newest(np.flatnonzero(said & (played_at >= self.at[tracks])), tracks, played_at, plays["document_id"])
        if not len(rows):
            return
        of, documents = tracks[rows], _objects(plays["document_id"], rows)
        newer = played_at[rows] > self.at[of]
        newer[~newer] = documents[~newer] > self.document[of[~newer]]
        rows, of = rows[newer], of[newer]
        self.at[of], self.document[of] = played_at[rows], documents[newer]
        self.value[of] = _objects(column, rows) if self.wanted.values is None else values[rows]


def newest_words(plays: Pieces, track: np.ndarray, wanted: list[Wanted]) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """The newest word of each thing wanted, one piece of plays after the other.

    Of several plays of a track at one moment the one with the later document id counts.

    Args:
        plays: those that may be heard.
        track: (plays,) the number of each one's track, in the order of reading.
        wanted: what is asked of which tracks.

    Returns:
        By column, (n,) numbers of the tracks of which something is said, ascending, and (n,) what: floats, texts or
        lists.

    Raises:
        ValueError: there are not as many plays as numbers.
    """
    words = [_Word(one) for one in wanted if one.lacking.any()]
    if words:
        read = 0
        for piece in plays.read([MOMENT, "document_id", *(word.wanted.column for word in words)]):
            _hear(piece, track[read : read + piece.num_rows], words)
            read += piece.num_rows
        if read != len(track):
            raise ValueError(f"{read:,} plays were read where there are numbers of {len(track):,}")
    heard = {one.column: _nothing(one) for one in wanted}
    for word in words:
        numbers = np.flatnonzero(word.at > NEVER)
        heard[word.wanted.column] = numbers, word.value[numbers]
    return heard


def _hear(piece: pa.Table, track: np.ndarray, words: list[_Word]) -> None:
    """Lets the words hear a piece: of it the plays of tracks that lack something which is said there at all."""
    said = [word for word in words if piece[word.wanted.column].null_count < piece.num_rows]
    if not said:
        return
    anything = np.any([word.wanted.lacking for word in said], axis=0)
    asked = np.flatnonzero(looked_up(anything, track))
    if not len(asked):
        return
    some = piece.select([MOMENT, "document_id", *(word.wanted.column for word in said)])
    some = _plain(some if len(asked) == piece.num_rows else some.take(pa.array(asked)))
    for word in said:
        word.hear(track[asked], milliseconds(some[MOMENT]), some)


def _nothing(wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros(0, object if wanted.values is None else np.float64)


def _plain(rows: pa.Table) -> pa.Table:
    """With texts as texts where they came in dictionaries."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(place, field.name, rows[field.name].cast(field.type.value_type))
    return rows


def _filled(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) bool: neither null nor an empty text or list."""
    size = pc.binary_length(column) if pa.types.is_string(column.type) else pc.list_value_length(column)
    return np.array(pc.fill_null(pc.greater(size, 0), fill_value=False).to_numpy())


def _newest(rows: np.ndarray, numbers: np.ndarray, played_at: np.ndarray, ids: pa.ChunkedArray) -> np.ndarray:
    """(m,) rows: of each track's rows the newest, of several at one moment the later document id."""
    latest = np.full(numbers.max(initial=-1) + 1, NEVER)
    np.maximum.at(latest, numbers[rows], played_at[rows])
    rows = rows[played_at[rows] == latest[numbers[rows]]]
    if len(rows) > len(np.unique(numbers[rows])):
        rows = rows[pc.sort_indices(ids.take(pa.array(rows))).to_numpy()]
    row_of = np.full(len(latest), -1, np.int64)
    row_of[numbers[rows]] = rows
    return row_of[row_of >= 0]


def _objects(column: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """(n,) object: some values, lists as lists."""
    values = np.empty(len(rows), object)
    values[:] = column.take(pa.array(rows)).to_pylist()
    return values
