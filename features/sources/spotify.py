"""Spotify's extended streaming history, a zip, a folder or one file, into plays; entries are streamed, never unpacked.

What an entry says beyond the play is dropped as it is read: user names, addresses, devices and countries are in no
variable that lives on, so they can't reach the database, the rows set aside or a message.
"""

import codecs
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from ijson.backends import yajl2_c
from ijson.common import JSONError
from pydantic import SecretStr
from pymongo.database import Database

from features.dates import EPOCH, to_millisecond
from features.erasure.tombstones import read_tombstones
from features.errors import InputError
from features.progress import Progress, silent
from features.schema.ids import decode_id, encode_id
from features.schema.names import MAX_PLAY_MS
from features.sources import tables
from features.sources.columns import Faults, ids
from features.sources.documents import Document
from features.sources.importer import ImportTotals, import_rows
from features.sources.tables import Chunk, Malformed, to_json
from features.sources.values import MILLIS_FROM

HISTORY_FILE = re.compile(r"(endsong|streaming_history_(audio|video)|streaminghistory)[^/\\]*\.json", re.IGNORECASE)
"""The extended history of 2021 and 2022, that of 2023 and later, and the short one of the account data."""
BLOCK_BYTES = 1 << 16
MAX_ENTRY_BYTES = 1 << 16
"""An entry has some 800 bytes. Without a bound, a quote that is never closed would be read into memory to the end."""
FIRST = datetime(2006, 1, 1, tzinfo=UTC)
"""Spotify was founded in 2006; a play before is a clock that was never set."""
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError)
"""What damage shows as, by where it is: ValueError is a name that is no text, RuntimeError a password asked for."""
LONGEST_OFFLINE = timedelta(days=400)
"""How long a device may keep a play to itself; licences for offline use last 30 days."""

KEPT = frozenset(
    {"ts", "ms_played", "spotify_track_uri", "spotify_episode_uri", "episode_name", "episode_show_name"}
    | {"master_metadata_track_name", "master_metadata_album_artist_name", "master_metadata_album_album_name"}
    | {"audiobook_uri", "audiobook_title", "audiobook_chapter_uri", "audiobook_chapter_title"}
    | {"reason_end", "shuffle", "offline", "offline_timestamp", "incognito_mode"}
    | {"endTime", "artistName", "trackName", "podcastName", "episodeName", "msPlayed"}
)
"""All that is ever taken from an entry."""

PRIVATE = "a private session; --include-private imports those too"
VIDEO = "a video"
SHORT = "the short history has no track ids; ask Spotify for the extended streaming history"
AUDIOBOOK = "an audiobook"
EPISODE = "an episode of a podcast"
NOTHING = "neither a track nor an episode"
LOCAL = "a local file"
NO_TRACK = "spotify_track_uri is not a track's"
NO_TIME = "ts is missing or not a time"
NO_LENGTH = "ms_played is missing or not a whole number from 0 to 24 h"
TOO_EARLY = "played_at is before 2006"

WORDS = {"true": True, "1": True, "false": False, "0": False, "": False}
Entry = dict[str, Any]


class HistoryFile(NamedTuple):
    """A file of entries in an export."""

    name: str
    """Its path within the export, fit to be shown."""
    size: int
    """Bytes, unpacked."""
    source: Path | zipfile.ZipInfo

    @property
    def of_videos(self) -> bool:
        """True for the files in which Spotify keeps videos apart."""
        return _last_part(self.name).lower().startswith("streaming_history_video")


class Place(NamedTuple):
    """Where an entry is and whose, and whether that is all that may be written of it."""

    line: int
    """1-based, counted through all files in their order."""
    file: str
    entry: int
    """1-based, in its file."""
    user_id: str
    """Written with every row set aside, so that erasing the user finds it."""
    private: bool

    def with_content(self, content: Entry) -> Entry:
        """The entry for the file of rows set aside: of one that is private only its place."""
        place = {"user_id": self.user_id, "file": self.file, "entry": self.entry}
        return place if self.private else place | {key: value for key, value in content.items() if value is not NESTED}


class Play(NamedTuple):
    """An entry as a row of plays, by our column names."""

    track_id: str
    played_at: datetime
    play_ms: int
    completion: float | None
    shuffle: Any
    track_name: Any
    artist_name: Any
    album_name: Any


def import_spotify(
    database: Database[Document],
    path: Path,
    user_id: str,
    *,
    home: Path,
    now: datetime,
    include_private: bool = False,
    progress: Progress = silent,
    hash_key: SecretStr | None = None,
) -> ImportTotals:
    """Imports an export of Spotify's extended streaming history for a user; the same export again adds nothing.

    All generations of it are known: `endsong_N.json`, `Streaming_History_Audio_….json`, and the latter with audiobooks.
    Podcasts, audiobooks, videos, local files and private sessions are set aside, each with its reason; so are
    the entries of the short history, which has no track ids. Memory is bounded as in `import_table`.

    Args:
        database: where to.
        path: the zip, a folder, or one .json file.
        user_id: whose plays they are, as the text of an id.
        home: the data folder.
        now: written as `importedAt`; a play later than it is set aside.
        include_private: import what was played in private sessions as well.
        progress: called with megabytes while checking, then with entries after each chunk.
        hash_key: by which erased persons are known; needed once there are any.

    Raises:
        InputError: the export can't be used, or `hash_key`, or the user was erased; nothing was written.
        DatabaseError: the database was lost or refuses to be written to; run again to go on.
        StorageError: the rows set aside can't be written.
    """
    user = _one_text(user_id)
    if read_tombstones(database, hash_key).cover(user):  # not even what is set aside may be kept of them
        raise InputError("--user-id is that of a person who was erased; nothing of theirs is imported again")
    table = SpotifyHistory(path, user, include_private=include_private, progress=progress)
    theirs = {name: name for name in table.columns}
    return import_rows(database, "plays", table, theirs, path, home=home, now=now, progress=progress, hash_key=hash_key)


class SpotifyHistory:
    """An export that was found whole, with the face of a table of plays.

    Opening it reads every entry once. That is about a tenth of the time an import takes, and the only way to know
    before the first write that no file breaks off or is damaged half-way; it also counts the entries.
    """

    def __init__(self, path: Path, user_id: str, *, include_private: bool = False, progress: Progress = silent) -> None:
        self.columns = ["user_id", *Play._fields]
        self._path, self._user_id, self._include_private = path, user_id, include_private
        self._files = find_files(path)
        self.total = _count_entries(path, self._files, progress)
        if not self.total:
            raise InputError(f"{path} holds no entries; nothing to import")

    def chunks(self) -> Iterator[Chunk]:
        """The plays; an entry of another kind, or of no use, is malformed."""
        plays: list[tuple[Place, Play]] = []
        malformed: list[Malformed] = []
        line = 0
        for file in self._files:
            of_videos = file.of_videos
            for number, entry in enumerate(_entries(self._path, file), start=1):
                line += 1
                place = Place(line, file.name, number, self._user_id, private=is_private(entry))
                play = play_of(entry, of_videos=of_videos, include_private=self._include_private)
                if isinstance(play, Play):
                    plays.append((place, play))
                else:
                    malformed.append(Malformed(line, play, to_json(place.with_content(entry or {}))))
                if len(plays) + len(malformed) >= tables.CHUNK_ROWS:
                    yield self._chunk(plays, malformed, line)
                    plays, malformed = [], []
        if plays or malformed:
            yield self._chunk(plays, malformed, line)

    def _chunk(self, plays: list[tuple[Place, Play]], malformed: list[Malformed], reached: int) -> Chunk:
        values = zip(*(play for _, play in plays), strict=True) if plays else ((),) * len(Play._fields)
        columns: dict[str, Any] = {name: list(column) for name, column in zip(Play._fields, values, strict=True)}
        columns["played_at"] = pa.array(columns["played_at"], pa.timestamp("ms", tz="UTC"))
        return Chunk(
            lines=np.array([place.line for place, _ in plays], dtype=np.int64),
            columns={"user_id": [self._user_id] * len(plays), **columns},
            row=lambda i: plays[i][0].with_content(plays[i][1]._asdict()),
            reached=reached,
            malformed=malformed,
        )


# --- what an entry says


def play_of(entry: Entry | None, *, of_videos: bool = False, include_private: bool = False) -> Play | str:
    """The play of an entry, or why it has none.

    Args:
        entry: its `KEPT` keys; None for an entry that is no JSON object.
        of_videos: it is from a file of videos.
        include_private: take plays of private sessions.
    """
    if other := _not_a_play(entry, of_videos=of_videos, include_private=include_private):
        return other
    assert entry is not None
    track = re.fullmatch(r"spotify:track:([0-9A-Za-z]{22})", str(entry["spotify_track_uri"]))
    if track is None:
        return NO_TRACK
    ended, play_ms = _moment(entry.get("ts")), _whole(entry.get("ms_played"))
    if ended is None:
        return NO_TIME
    if play_ms is None or not 0 <= play_ms <= MAX_PLAY_MS:
        return NO_LENGTH
    played_at = started_at(ended, play_ms, _flag(entry.get("offline")), _whole(entry.get("offline_timestamp")))
    if played_at < FIRST:
        return TOO_EARLY
    return Play(
        track_id=track[1],
        played_at=played_at,
        play_ms=play_ms,
        # "trackdone" says that the track was heard to its end, but for one that failed at once
        completion=1.0 if entry.get("reason_end") == "trackdone" and play_ms else None,
        shuffle=entry.get("shuffle"),
        track_name=entry.get("master_metadata_track_name"),
        artist_name=entry.get("master_metadata_album_artist_name"),
        album_name=entry.get("master_metadata_album_album_name"),
    )


def _not_a_play(entry: Entry | None, *, of_videos: bool, include_private: bool) -> str | None:
    """Why an entry is of another kind than a track's; None for a track's."""
    if entry is None:
        return "not a JSON object"
    uri = entry.get("spotify_track_uri")
    kinds = (
        (PRIVATE, is_private(entry) and not include_private),
        (VIDEO, of_videos),
        (SHORT, "ts" not in entry and "endTime" in entry),
        (AUDIOBOOK, entry.get("audiobook_uri") or entry.get("audiobook_chapter_uri")),
        (EPISODE, entry.get("spotify_episode_uri")),
        (NOTHING, not uri),
        (LOCAL, str(uri).startswith("spotify:local:")),
    )
    return next((reason for reason, applies in kinds if applies), None)


def is_private(entry: Entry | None) -> bool:
    """True for a private session, and where `incognito_mode` can't be read: then it is safer to take it for one."""
    mode = None if entry is None else entry.get("incognito_mode")
    return mode is not None and _flag(mode) is not False


def started_at(ended: datetime, play_ms: int, offline: bool | None, offline_timestamp: int | None) -> datetime:
    """When a play began, in UTC.

    `ts` is when it ended, so it began `ms_played` before. Of a play made offline, `ts` only is when the device was
    online again and reported it; `offline_timestamp`, seconds or milliseconds since 1970, is when it began. It is
    believed where `offline` is true and it lies from 2006 on, within 400 days before `ts`, and not after `ts` less
    `ms_played`: a play can't be reported before it has ended. It is cut to the second, since the same play has
    milliseconds in older exports and seconds in newer ones, and is to be known again.

    Args:
        ended: `ts`.
        play_ms: `ms_played`.
        offline: true where the play was made offline.
        offline_timestamp: as it is in the entry; None where it is missing.
    """
    latest = ended - timedelta(milliseconds=play_ms)
    if offline and offline_timestamp is not None:
        seconds = offline_timestamp // 1000 if offline_timestamp >= MILLIS_FROM else offline_timestamp
        earliest = max(FIRST, ended - LONGEST_OFFLINE)
        if earliest.timestamp() <= seconds <= latest.timestamp():
            return EPOCH + timedelta(seconds=seconds)
    return latest


def _moment(value: Any) -> datetime | None:
    """A moment in UTC to the millisecond, also where the text names no zone; None for what is none."""
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return to_millisecond(moment) if moment >= EPOCH else None


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: Any) -> bool | None:
    """True, False, or None for neither; old exports have text or 0 and 1 in places."""
    return value if isinstance(value, bool) else WORDS.get(str(value).strip().lower())


def _one_text(user_id: str) -> str:
    """The text that stands for a user's id wherever it is stored, for one typed with blanks or a tag too many."""
    faults = Faults(1)
    try:
        (user,) = ids([user_id], "user_id", faults)
    except UnicodeEncodeError:  # bytes on the command line that are no text
        raise InputError("--user-id is not text in UTF-8; name the user whose plays these are") from None
    if faults.bad[0]:
        raise InputError(f"--user-id can't be used: {faults.reasons[0]}; name the user whose plays these are")
    return encode_id(decode_id(user))


# --- the files of an export


def find_files(path: Path) -> list[HistoryFile]:
    """The files of history in an export, sorted by name, so that every import of it goes the same way.

    Raises:
        InputError: no such path, none of the three, a broken or protected zip, or no history in it.
    """
    try:
        if path.is_dir():
            found = _in_folder(path)
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
        elif not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder; name the export's zip, folder or .json file")
        elif path.suffix.lower() == ".json":
            found = [HistoryFile(_shown(path.name), path.stat().st_size, path)]
        elif path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
            found = _in_zip(path)
        else:
            raise InputError(f"{path} is neither a zip, nor a folder, nor a .json file; name Spotify's export")
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}); check its permissions") from None
    if not found:
        raise InputError(
            f"{path} holds no streaming history (Streaming_History_Audio_….json or endsong_….json); "
            "ask Spotify for the extended streaming history and name its zip or folder"
        )
    return sorted(found, key=lambda file: file.name)


def _in_folder(path: Path) -> list[HistoryFile]:
    def give_up(error: OSError) -> None:
        raise error  # a folder that can't be listed may hold some of the history

    found = [Path(folder) / name for folder, _, names in os.walk(path, onerror=give_up) for name in names]
    return [
        HistoryFile(_shown(file.relative_to(path).as_posix()), file.stat().st_size, file)
        for file in found
        if HISTORY_FILE.fullmatch(file.name) and file.is_file()
    ]


def _in_zip(path: Path) -> list[HistoryFile]:
    with _opened_zip(path) as archive:
        members = [info for info in archive.infolist() if HISTORY_FILE.fullmatch(_last_part(info.filename))]
    if any(info.flag_bits & 1 for info in members):
        raise InputError(f"{path} is protected by a password; unpack it and name the folder")
    return [HistoryFile(_shown(info.filename), info.file_size, info) for info in members]


@contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip, with whatever breaks while it is read as one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except NotImplementedError:
        raise InputError(f"{path} is packed in a way that can't be read here; unpack it and name the folder") from None
    except BROKEN_ZIP:
        raise InputError(f"{path} is not a whole zip file; download the export again") from None


@contextmanager
def _opened(path: Path, file: HistoryFile) -> Iterator[IO[bytes]]:
    if isinstance(file.source, zipfile.ZipInfo):
        with _opened_zip(path) as archive, archive.open(file.source) as stream:
            yield stream
    else:
        with file.source.open("rb") as stream:
            yield stream


def _last_part(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]  # some programs pack with backslashes


def _shown(name: str) -> str:
    return name.encode(errors="replace").decode()  # a name in a folder can be bytes that are no text


def _place(path: Path, file: HistoryFile) -> str:
    return f"{file.source}" if isinstance(file.source, Path) else f"{path}, {file.name}"


# --- the entries of a file

NESTED = object()
"""Stands for an object or array in place of a value: no field of a history has one, so it is of no use."""
STARTS, ENDS = ("start_map", "start_array"), ("end_map", "end_array")


def _count_entries(path: Path, files: list[HistoryFile], progress: Progress) -> int:
    """Entries of all files, after checking that each is whole and that it is a history.

    Raises:
        InputError: a file is damaged, or not one of Spotify's histories.
    """
    total_bytes = sum(file.size for file in files)
    total = before = 0
    for file in files:
        entries, known = 0, False
        for entry in _entries(path, file, partial(_report, progress, before, total_bytes)):
            entries += 1
            known = known or (entry is not None and ("ts" in entry or "endTime" in entry))
        if entries and not known:
            raise InputError(
                f"{_place(path, file)} is no streaming history: not one of its entries has a ts; leave it out"
            )
        total += entries
        before += file.size
    return total


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("checking the history, MB", (before + done) >> 20, total >> 20)


def _entries(path: Path, file: HistoryFile, note: Callable[[int], None] = lambda _: None) -> Iterator[Entry | None]:
    """The `KEPT` keys of each entry, in order; None for an entry that is no object.

    `ijson.items` would be a little faster, but keeps the path to each value: for twenty thousand brackets, a gigabyte.

    Args:
        path: the export.
        file: one of its files.
        note: called with the bytes read so far.

    Raises:
        InputError: not JSON to the end, not an array, not UTF-8, an entry that doesn't end, or the zip is damaged.
    """
    place = _place(path, file)
    count = 0
    try:
        with _opened(path, file) as stream:
            reader = _Reader(place, stream, note)
            events = yajl2_c.basic_parse(reader, use_float=True, buf_size=BLOCK_BYTES)
            if next(events)[0] != "start_array":
                raise InputError(f"{place} is not a JSON array of entries; name Spotify's files as they came")
            for entry in _assembled(events):
                count += 1
                reader.entry_ended()
                yield entry
    except JSONError:  # its own message quotes the entry
        raise InputError(
            f"{place}: not readable as JSON after entry {count:,}, so it is cut short or damaged; "
            "download the export again"
        ) from None
    except OSError as error:
        raise InputError(
            f"{place} can't be read ({error.strerror or error}); check the file or download the export again"
        ) from None


def _assembled(events: Iterator[tuple[str, Any]]) -> Iterator[Entry | None]:
    """The entries of an array, given the events after its opening bracket."""
    depth, key, is_object = 1, "", False
    entry: Entry = {}
    for event, value in events:
        if event == "map_key":
            key = value if depth == 2 and value in KEPT else ""
        elif event in STARTS:
            if depth == 1:
                entry, is_object = {}, event == "start_map"
            elif key:
                entry[key] = NESTED
            depth, key = depth + 1, ""
        elif event in ENDS:
            depth, key = depth - 1, ""
            if depth == 1:
                yield entry if is_object else None
        elif key:
            entry[key] = value
        elif depth == 1:
            yield None


class _Reader:
    """The bytes of a JSON file for its parser: UTF-8, without a byte order mark, no entry too long."""

    def __init__(self, place: str, stream: IO[bytes], note: Callable[[int], None]) -> None:
        self._place, self._stream, self._note = place, stream, note
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._done = self._unbroken = 0

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        if self._unbroken > MAX_ENTRY_BYTES:
            raise InputError(
                f"{self._place}, byte {self._done:,}: an entry longer than {MAX_ENTRY_BYTES >> 10} kB; "
                "the file is damaged, download the export again"
            )
        block = self._stream.read(size)
        pending = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(block)
        except UnicodeDecodeError as error:
            at = self._done + error.start - pending + 1
            raise InputError(
                f"{self._place}, byte {at:,}: not UTF-8; download the export again, or save the file as UTF-8"
            ) from None
        first = not self._done
        self._done += len(block)
        self._unbroken += len(block)
        self._note(self._done)
        return block.removeprefix(codecs.BOM_UTF8) if first else block

    def entry_ended(self) -> None:
        """Counts the length of the next entry from here."""
        self._unbroken = 0
