"""Plays as numbered arrays, taken in a piece at a time: the texts of a long history are never in memory together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.compute.ids import Vocabulary
from features.compute.interactions import Plays
from features.compute.text_table import TextTable, numbers_by_chunk

MOMENT = "played_at"
COLUMNS = ("user_id", "track_id", MOMENT, "completion", "play_ms")


@dataclass(frozen=True)
class Pieces:
    """The plays of a snapshot, a piece at a time, as often as they are asked for.

    Attributes:
        rows: how many there are in all pieces, or more.
        read: the pieces one after the other, each with the columns named; ids may come as texts or in dictionaries.
    """

    rows: int
    read: Callable[[Sequence[str]], Iterator[pa.Table]]

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """A table in memory as the one piece."""
        return cls(table.num_rows, lambda columns: iter([table.select(columns)]))

    def before(self, moment_ms: int) -> "Pieces":
        """The pieces with what was played before a moment only, in milliseconds since 1970."""

        def read(columns: Sequence[str]) -> Iterator[pa.Table]:
            for piece in self.read(list(dict.fromkeys([*columns, MOMENT]))):
                yield cut(piece, MOMENT, moment_ms).select(columns)

        return Pieces(self.rows, read)


class Numbering:
    """Ids get numbers in the order in which they are met; `finished` tells which numbers they have in order."""

    def __init__(self) -> None:
        self._ids = TextTable()

    def __len__(self) -> int:
        return len(self._ids)

    def numbers(self, column: pa.ChunkedArray) -> np.ndarray:
        """(n,) int32: of ids none of which is null, known or new."""
        return numbers_by_chunk(column, self._ids.numbers)

    def finished(self) -> tuple[Vocabulary, np.ndarray]:
        """The vocabulary of all ids, and (ids,) int32: the number there of each number given here."""
        ids = self._ids.texts()
        order = pc.sort_indices(ids).to_numpy()  # by bytes of UTF-8, which is by code points
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return Vocabulary.in_order(ids.take(pa.array(order))), rank


def number_plays(
    pieces: Pieces, users: Numbering, tracks: Numbering, duration_ms: np.ndarray, *, as_of_ms: int
) -> tuple[dict[str, np.ndarray], int]:
    """Reads all plays before a moment, one piece after the other.

    Args:
        pieces: of all plays.
        users: gets those who played.
        tracks: gets what was played.
        duration_ms: (n,) float64 of the first n tracks of `tracks`, NaN unknown; of the others nothing is known.
        as_of_ms: milliseconds since 1970; what was played then or after is left out.

    Returns:
        The columns of `Plays` by name, in the numbers of the numberings and the order of reading; and how many plays
        were left out.
    """
    columns: dict[str, np.ndarray] = {
        "user": np.empty(pieces.rows, np.int32),
        "track": np.empty(pieces.rows, np.int32),
        "played_at": np.empty(pieces.rows, np.int64),
        "completion": np.empty(pieces.rows, np.float32),
    }
    count = read = 0
    for whole in pieces.read(COLUMNS):
        piece = cut(whole, MOMENT, as_of_ms)
        read += whole.num_rows
        rows = slice(count, count + piece.num_rows)
        count += piece.num_rows
        columns["user"][rows] = users.numbers(piece["user_id"])
        columns["track"][rows] = tracks.numbers(piece["track_id"])
        columns["played_at"][rows] = milliseconds(piece[MOMENT])
        columns["completion"][rows] = _completion(piece, columns["track"][rows], duration_ms)
    return {name: column[:count] for name, column in columns.items()}, read - count


def cut(table: pa.Table, column: str, moment_ms: int) -> pa.Table:
    """The rows before a moment; the table itself where that is all of them."""
    earlier = pc.less(table[column], pa.scalar(moment_ms, pa.int64()).cast(table[column].type))
    return table if pc.all(earlier).as_py() else table.filter(earlier)


def milliseconds(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64: moments as milliseconds since 1970."""
    return np.asarray(column.cast(pa.int64()).to_numpy())


def _completion(plays: pa.Table, track: np.ndarray, duration_ms: np.ndarray) -> np.ndarray:
    """(n,) float32: what a play says itself; where it says nothing, how long it was by the catalogue's duration."""
    completion = plays["completion"].to_numpy().astype(np.float32)
    silent = np.flatnonzero(np.isnan(completion) & (track < len(duration_ms)))
    if len(silent):
        duration = duration_ms[track[silent]]
        share = plays["play_ms"].to_numpy()[silent] / np.where(duration > 0, duration, np.nan)
        completion[silent] = np.clip(share, 0.0, 1.0).astype(np.float32)
    return completion


def renumber(column: np.ndarray, rank: np.ndarray) -> None:
    """Writes to each place of an (n,) int32 column the new number, `rank[old]`, of what stands there."""
    _renumber(column, rank)


def in_order(columns: dict[str, np.ndarray], users: int) -> Plays:
    """The plays by user, time, track and completion, unknown completions last: the same for any order of reading.

    Users are counted, and each one's plays are sorted by themselves: no order of all plays is held.

    Args:
        columns: of plays, by name; they are taken out and written over, each is let go of once it has been moved.
        users: how many; all numbers are below.
    """
    user = columns.pop("user")
    starts = np.zeros(users + 1, np.int64)
    ascending = _counted(user, starts)
    np.cumsum(starts, out=starts)
    # where each play goes, in the room of who played it, unless there are more plays than such a number can tell
    place = user if len(user) <= np.iinfo(user.dtype).max else np.empty(len(user), np.int64)
    if not ascending:
        _place(user, starts[:-1].copy(), place)
    track, played_at, completion = (
        columns.pop(name) if ascending else _moved(columns.pop(name), place)
        for name in ("track", "played_at", "completion")
    )
    user = np.repeat(np.arange(users, dtype=np.int32), np.diff(starts))
    sort_each(starts, track, played_at, completion)
    return Plays(user, track, played_at, completion)


def ordered(plays: Plays, users: int) -> Plays:
    """The plays in the order of `in_order`: themselves where they are, else a copy.

    Args:
        plays: in any order; not changed.
        users: how many; all numbers are below.
    """
    if _is_ordered(plays.user, plays.track, plays.played_at, plays.completion):
        return plays
    columns = {name: getattr(plays, name).copy() for name in ("user", "track", "played_at", "completion")}
    return in_order(columns, users)


@numba.njit(nogil=True, cache=True)
def marked(column: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool: which numbers stand in a column. numpy would write all of it anew, in eight bytes each, to see."""
    found = np.zeros(count, np.bool_)
    for row in range(len(column)):
        found[column[row]] = True
    return found


@numba.njit(nogil=True, cache=True)
def looked_up(table: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(n,) what stands in a table at each number of a column; likewise."""
    found = np.empty(len(column), table.dtype)
    for row in range(len(column)):
        found[row] = table[column[row]]
    return found


@numba.njit(nogil=True, cache=True)
def _renumber(column: np.ndarray, rank: np.ndarray) -> None:
    for row in range(len(column)):
        column[row] = rank[column[row]]


@numba.njit(nogil=True, cache=True)
def _counted(user: np.ndarray, after: np.ndarray) -> bool:
    """Counts each user's plays into the place behind their number; True where users ascend already."""
    ascending = True
    for row in range(len(user)):
        after[user[row] + 1] += 1
        if row > 0 and user[row] < user[row - 1]:
            ascending = False
    return ascending


@numba.njit(nogil=True, cache=True)
def _place(user: np.ndarray, after: np.ndarray, place: np.ndarray) -> None:
    """Writes where each play goes among those of all users in order; `after`, where each user's begin, is used up."""
    for row in range(len(user)):
        number = user[row]
        place[row] = after[number]
        after[number] += 1


@numba.njit(nogil=True, cache=True)
def _moved(column: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n,) each value of a column where its place says."""
    moved = np.empty_like(column)
    for row in range(len(column)):
        moved[np.uint64(place[row])] = column[row]
    return moved


@numba.njit(nogil=True, cache=True)
def grouped(column: np.ndarray, user: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n,) the values of a column group by group, each one's in the order given.

    Args:
        column: (n,)
        user: (n,) the number of each value's group.
        place: (groups,) where each begins; used up.
    """
    moved = np.empty_like(column)
    for row in range(len(user)):
        moved[place[user[row]]] = column[row]
        place[user[row]] += 1
    return moved


@numba.njit(nogil=True, cache=True)
def _behind(at: int, track: int, part: float, other_at: int, other_track: int, other_part: float) -> bool:
    """Whether one play comes behind another of the same user."""
    if at != other_at:
        return at > other_at
    if track != other_track:
        return track > other_track
    return part > other_part or (np.isnan(part) and not np.isnan(other_part))


@numba.njit(nogil=True, cache=True)
def _is_ordered(user: np.ndarray, track: np.ndarray, played_at: np.ndarray, completion: np.ndarray) -> bool:
    for row in range(1, len(user)):
        if user[row] < user[row - 1]:
            return False
        if user[row] == user[row - 1] and _behind(
            played_at[row - 1], track[row - 1], completion[row - 1], played_at[row], track[row], completion[row]
        ):
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _sink(first: int, top: int, size: int, track: np.ndarray, played_at: np.ndarray, completion: np.ndarray) -> None:
    """Lets the play at `top` of the heap that begins at row `first` sink until none below comes behind it."""
    at, number, part = played_at[first + top], track[first + top], completion[first + top]
    while 2 * top + 1 < size:
        low = first + 2 * top + 1
        if 2 * top + 2 < size and _behind(
            played_at[low + 1], track[low + 1], completion[low + 1], played_at[low], track[low], completion[low]
        ):
            low += 1
        if not _behind(played_at[low], track[low], completion[low], at, number, part):
            break
        row = first + top
        played_at[row], track[row], completion[row] = played_at[low], track[low], completion[low]
        top = low - first
    row = first + top
    played_at[row], track[row], completion[row] = at, number, part


@numba.njit(nogil=True, cache=True)
def sort_each(starts: np.ndarray, track: np.ndarray, played_at: np.ndarray, completion: np.ndarray) -> None:
    """Sorts each user's plays by time, track and completion, in place. A run that is in order costs one look at it.

    By heapsort, which needs no room and is as fast on many plays of one moment.
    """
    for user in range(len(starts) - 1):
        first, stop = starts[user], starts[user + 1]
        row = first + 1
        while row < stop and not _behind(
            played_at[row - 1], track[row - 1], completion[row - 1], played_at[row], track[row], completion[row]
        ):
            row += 1
        if row >= stop:
            continue
        size = stop - first
        for top in range(size // 2 - 1, -1, -1):
            _sink(first, top, size, track, played_at, completion)
        for left in range(size - 1, 0, -1):
            row = first + left
            played_at[first], played_at[row] = played_at[row], played_at[first]
            track[first], track[row] = track[row], track[first]
            completion[first], completion[row] = completion[row], completion[first]
            _sink(first, 0, left, track, played_at, completion)
