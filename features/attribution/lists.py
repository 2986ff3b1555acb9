"""The lists that responses may be answers to: those that are named, and those of the releases that were live."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pymongo.database import Database

from features.attribution.join import NOWHERE, PLAYED, SKIP, Credits, Lists, Responses, is_skip
from features.attribution.reading import Columns, Tally
from features.attribution.window import Window
from features.database import Document, translated_errors
from features.dates import epoch_ms
from features.release.documents import recommendation_id
from features.release.manifest import release_folder
from features.schema.ids import UserId, encode_id, meant_ids
from features.schema.names import RECOMMENDATIONS, SERVING_ORDER, TRACKS
from features.schema.queries import IN_LIST
from features.snapshot.read import PARSERS, id_text

UNKNOWN = "recommendation is not known"
NOT_OURS = "recommendation is of no release"
EXPIRED = "recommendation has expired"
ANOTHERS = "recommendation is another user's"
TOO_EARLY = "is from before its recommendation was made"
NOT_IN_LIST = "track is not in its recommendation"
BATCH_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class _Named:
    """The lists that responses name, by number, and behind them a row for a response that names none.

    Attributes:
        release, place: (n + 1,) where they are in the window.
        user: (n + 1,) whose they are.
        reason: (n + 1,) object, why they are of no use; None for those that are.
    """

    release: np.ndarray
    place: np.ndarray
    user: np.ndarray
    reason: np.ndarray


def responses_of(
    database: Database[Document], columns: Columns, window: Window, now: datetime, tally: Tally
) -> tuple[Responses, np.ndarray]:
    """Responses with the list that each names, or the release that was live; and the (n,) rows of `columns` they are.

    One that names a list which can't be meant is counted as set aside; it stays in, with no release.

    Raises:
        DatabaseError: the database can't be asked.
    """
    lists = _look_up(database, columns, window, now)
    order = np.lexsort((columns["track"], columns["user"]))
    user, at, name = (columns[column][order] for column in ("user", "at", "named"))
    named = name != NOWHERE
    release = np.where(named, lists.release[name], window.live_at(at)).astype(np.int16)
    place = np.where(named, lists.place[name], columns["place"][order]).astype(np.int8)
    made = np.array([*map(epoch_ms, window.made), 0], np.int64)
    reason = lists.reason[name]
    reason[named & (release != NOWHERE) & (at < made[release])] = TOO_EARLY
    reason[named & (release != NOWHERE) & (lists.user[name] != user)] = ANOTHERS
    wrong = np.flatnonzero(reason.astype(bool))
    named_ids = list(columns.names)
    for row in wrong:
        tally.aside(reason[row], id_text(named_ids[name[row]]))
    release[wrong] = NOWHERE
    kind = columns["kind"][order]
    kind = np.where((kind == PLAYED) & is_skip(columns["completion"][order]), SKIP, kind).astype(np.int8)
    return Responses(user, columns["track"][order], at, kind, named, release, place), order


def _look_up(database: Database[Document], columns: Columns, window: Window, now: datetime) -> _Named:
    """All that is named; a text of 24 hexadecimal digits means the list of that id as text, else as ObjectId."""
    meant = {name: meant_ids(name) for name in columns.names}
    found: dict[UserId, Document] = {}
    fields = dict.fromkeys(("userId", "release", "strategy", "expiresAt"), 1)
    with translated_errors():
        for ids in _chunks([one for several in meant.values() for one in several]):
            found |= {entry["_id"]: entry for entry in database[RECOMMENDATIONS].find({"_id": {"$in": ids}}, fields)}
    number = {release: position for position, release in enumerate(window.releases)}
    lists = _Named(
        np.full(len(meant) + 1, NOWHERE, np.int16),
        np.full(len(meant) + 1, NOWHERE, np.int8),
        np.full(len(meant) + 1, NOWHERE, np.int32),
        np.full(len(meant) + 1, None, object),
    )
    for row, ids in enumerate(meant.values()):
        entry = next((found[one] for one in ids if one in found), None)
        lists.reason[row] = _why_not(entry, number, now)
        if entry is not None and lists.reason[row] is None:
            lists.release[row] = number[entry["release"]]
            lists.place[row] = SERVING_ORDER.index(entry["strategy"])
            lists.user[row] = columns.users.get(encode_id(entry["userId"]), NOWHERE)
    return lists


def _why_not(entry: Document | None, releases: Mapping[str, int], now: datetime) -> str | None:
    if entry is None:
        return UNKNOWN
    if entry.get("release") is None:
        return NOT_OURS
    return None if entry["release"] in releases and entry["expiresAt"] > now else EXPIRED


def settled(
    database: Database[Document], responses: Responses, columns: Columns, order: np.ndarray, credits_: Credits
) -> Responses:
    """The responses with credited plays of unknown completion judged by the catalogue's durations, where it has them.

    Raises:
        DatabaseError: the database can't be asked.
    """
    play_ms = columns["play_ms"][order]
    open_ = (credits_.place != NOWHERE) & np.isnan(columns["completion"][order]) & ~np.isnan(play_ms)
    ids = list(columns.tracks)
    wanted = np.unique(responses.track[open_])
    duration_ms = np.full(len(ids), np.nan)
    with translated_errors():
        for chunk in _chunks([ids[track] for track in wanted]):
            for entry in database[TRACKS].find({"spotifyId": {"$in": chunk}}, {"spotifyId": 1, "duration": 1}):
                duration = PARSERS["number"](entry.get("duration"))
                if duration:  # zero is no duration
                    duration_ms[columns.tracks[entry["spotifyId"]]] = duration
    share = np.clip(play_ms / duration_ms[responses.track], 0.0, 1.0)
    return replace(responses, kind=np.where(open_ & is_skip(share), SKIP, responses.kind).astype(np.int8))


def lists_of(
    database: Database[Document], home: Path, window: Window, number: int, columns: Columns, responses: Responses
) -> Iterator[Lists]:
    """The lists of a release that responses may be answers to: from its folder, where that is whole, else asked for.

    Candidates are most of a document, and a server takes long to pick the tracks out.

    Raises:
        DatabaseError: the database can't be asked.
    """
    users = np.unique(responses.user[responses.release == number])
    if not len(users):
        return
    try:
        yield from _from_disk(home, window.releases[number], number, columns, users)
    except (OSError, pa.ArrowException):
        yield from _from_database(database, window.releases[number], number, columns, users)


def _from_disk(home: Path, release: str, number: int, columns: Columns, users: np.ndarray) -> Iterator[Lists]:
    names = list(columns.users)
    wanted = pa.array([names[user] for user in users], pa.string())
    tracks = pa.array(list(columns.tracks), pa.string())
    strategies = pa.array(SERVING_ORDER, pa.string())
    with pq.ParquetFile(release_folder(home, release) / "recommendations.parquet") as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["user_id", "strategy", "track_ids"]):
            rows = batch.filter(pc.is_in(batch["user_id"], wanted))
            lengths = pc.list_value_length(rows["track_ids"]).to_numpy()
            yield Lists(
                number,
                users[_numbers(pc.index_in(rows["user_id"], wanted))],
                _numbers(pc.index_in(rows["strategy"], strategies)),
                _numbers(pc.index_in(pc.list_flatten(rows["track_ids"]), tracks)),
                np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]),
            )


def _numbers(found: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(found, NOWHERE).to_numpy(), np.int32)


def _from_database(
    database: Database[Document], release: str, number: int, columns: Columns, users: np.ndarray
) -> Iterator[Lists]:
    names = list(columns.users)
    ids = [recommendation_id(release, names[user], strategy) for user in users for strategy in SERVING_ORDER]
    fields = {"userId": 1, "strategy": 1, "candidates.trackId": 1}
    for chunk in _chunks(ids):
        with translated_errors():
            found = list(database[RECOMMENDATIONS].find({"_id": {"$in": chunk}}, fields))
        tracks = [[columns.tracks.get(entry["trackId"], NOWHERE) for entry in d["candidates"]] for d in found]
        yield Lists(
            number,
            np.array([columns.users[encode_id(document["userId"])] for document in found], np.int32),
            np.array([SERVING_ORDER.index(document["strategy"]) for document in found], np.int8),
            np.array([track for several in tracks for track in several], np.int32),
            np.cumsum([0, *map(len, tracks)], dtype=np.int64),
        )


def _chunks(values: Sequence[Any]) -> Iterator[list[Any]]:
    return (list(values[start : start + IN_LIST]) for start in range(0, len(values), IN_LIST))
