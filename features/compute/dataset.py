"""A snapshot's tables as numbered arrays: what everything after is computed from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from features.compute.ids import Vocabulary
from features.compute.interactions import Feedback, Plays
from features.compute.newest import Wanted, newest_words
from features.compute.numbering import Numbering, Pieces, in_order, milliseconds, number_plays, renumber
from features.compute.weights import ACCEPTED_SIGNAL, ACCEPTED_STRENGTH
from features.schema.names import AUDIO_NAMES

STATED_AUDIO = ("energy", "valence", "danceability")
NOT_FOUND = {"key": -1.0, "tempo": 0.0, "time_signature": 0.0}
"""Values by which Spotify says that it found none: missing, not a measurement."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """What is known of each track, by track number.

    Attributes:
        names: (tracks,) object, None where unknown.
        artists: (tracks,) object, a tuple of the artists' names, first one first; None where unknown.
        albums: (tracks,) object, their names, None where unknown.
        album: (tracks,) int32, numbers of albums, -1 unknown. What has an id is told apart by it, what has none by name
            and first artist.
        artist: (tracks,) int32, number of the first artist in `artist_names`; -1 unknown.
        artist_names: distinct first artists.
        genres: (tracks, genres) bool CSR.
        genre_names: distinct genres, lower case.
        audio: (tracks, 12) float64 in the order of `AUDIO_NAMES`, NaN where missing.
        duration_ms: (tracks,) float64, NaN unknown.
        popularity: (tracks,) float64 0..100, NaN unknown.
        explicit: (tracks,) bool; unknown counts as not explicit.
        markets: (tracks,) object, a frozenset of country codes or None where unknown.
        year: (tracks,) float64, when the album came out, in years such as 2019.5; NaN unknown.
    """

    names: np.ndarray
    artists: np.ndarray
    albums: np.ndarray
    album: np.ndarray
    artist: np.ndarray
    artist_names: Vocabulary
    genres: sp.csr_matrix
    genre_names: Vocabulary
    audio: np.ndarray
    duration_ms: np.ndarray
    popularity: np.ndarray
    explicit: np.ndarray
    markets: np.ndarray
    year: np.ndarray


@dataclass(frozen=True, eq=False)
class StatedTaste:
    """What users said they like, in their settings or account, by user number.

    Attributes:
        genres: (users, genres) bool CSR; a genre that no track has is left out.
        artists: (users, artists) bool CSR, of the catalogue's first artists, likewise.
        audio: (users, 3) float64 in [0, 1]: `STATED_AUDIO`; NaN where not stated.
    """

    genres: sp.csr_matrix
    artists: sp.csr_matrix
    audio: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything the computation knows, as of one moment.

    Attributes:
        users: everyone with a play, feedback, an acceptance, an account or settings.
        tracks: everything played, rated, accepted or in the catalogue.
        plays: those before the moment, by user, time and track.
        feedback: likewise; an accepted recommendation is a like among them.
        catalog: by track number.
        explicit_allowed: (users,) bool; False for who switched explicit tracks off.
        country: (users,) object, a country code in upper case, or None.
        stated: what they said they like.
        later: how many plays and how much feedback lie at the moment or after it and were left out.
    """

    users: Vocabulary
    tracks: Vocabulary
    plays: Plays
    feedback: Feedback
    catalog: Catalog
    explicit_allowed: np.ndarray
    country: np.ndarray
    stated: StatedTaste
    later: dict[str, int]

    def __repr__(self) -> str:
        return f"Dataset({len(self.users):,} users, {len(self.tracks):,} tracks, {len(self.plays):,} plays)"


def build_dataset(tables: Mapping[str, pa.Table], plays: Pieces | None = None, *, as_of_ms: int) -> Dataset:
    """Numbers users and tracks and cuts plays and feedback at `as_of_ms`.

    Args:
        tables: as a snapshot holds them, by name, rows in any order.
        plays: a piece at a time, where they are not among the tables.
        as_of_ms: milliseconds since 1970; what happened at that moment or after is left out.
    """
    plays = plays or Pieces.of(tables["plays"])
    said, later_feedback = _before(tables["feedback"], "created_at", as_of_ms)
    accepted = _acceptances(tables["sessions"], tables["acceptances"])
    accepted, later_accepted = _before(accepted, "created_at", as_of_ms)
    columns = ["user_id", "track_id", "signal", "strength", "created_at"]
    feedback = pa.concat_tables([said.select(columns), accepted.select(columns)])
    tracks_table, users_table, settings = tables["tracks"], tables["users"], tables["settings"]
    met_tracks = Numbering()
    duration_ms = _durations(met_tracks, tracks_table)
    met_tracks.numbers(feedback["track_id"])
    met_users = Numbering()
    for table in (feedback, users_table, settings):
        met_users.numbers(table["user_id"])
    read, later_plays = number_plays(plays, met_users, met_tracks, duration_ms, as_of_ms=as_of_ms)
    (users, user_rank), (tracks, track_rank) = met_users.finished(), met_tracks.finished()
    renumber(read["user"], user_rank)
    renumber(read["track"], track_rank)
    explicit_allowed, country = _account_limits(users, users_table)
    catalog = build_catalog(tracks, tracks_table, plays.before(as_of_ms), read["track"])
    return Dataset(
        users,
        tracks,
        in_order(read, len(users)),
        Feedback(
            users.numbers_of(feedback["user_id"]),
            tracks.numbers_of(feedback["track_id"]),
            np.asarray(feedback["signal"].to_pylist(), dtype=object),
            feedback["strength"].to_numpy().astype(np.float64),
            milliseconds(feedback["created_at"]),
        ),
        catalog,
        explicit_allowed,
        country,
        _stated_taste(users, catalog, users_table, settings),
        {"plays": later_plays, "feedback": later_feedback, "acceptances": later_accepted},
    )


def _durations(tracks: Numbering, table: pa.Table) -> np.ndarray:
    """(n,) float64 ms of the n tracks of the catalogue, which are the first to be numbered; as `_row_of` chooses."""
    numbers = tracks.numbers(table["track_id"])
    order = pc.sort_indices(table["document_id"]).to_numpy()
    duration_ms = np.full(len(tracks), np.nan)
    duration_ms[numbers[order]] = table["duration_ms"].to_numpy()[order]
    return duration_ms


def build_catalog(tracks: Vocabulary, table: pa.Table, plays: Pieces, track: np.ndarray) -> Catalog:
    """What `tracks` says of each track, and where it says nothing, what the plays themselves carry.

    Args:
        tracks: all that there are.
        table: the catalogue.
        plays: those that may be heard.
        track: (plays,) int32, the number of each one's track, in the order of reading.
    """
    row_of = _row_of(tracks, table)
    known = row_of >= 0
    rows = table.take(pa.array(row_of[known]))
    names = _scattered(known, [name or None for name in rows["name"].to_pylist()])
    artist_lists = rows["artists"].to_pylist()
    artists = _scattered(known, [_artist_names(entry) for entry in artist_lists])
    genre_lists: list[list[str]] = [[] for _ in range(len(tracks))]
    for number, entry in zip(np.nonzero(known)[0], artist_lists, strict=True):
        genre_lists[number] = [genre for artist in entry or [] for genre in artist["genres"] or []]
    audio = np.full((len(tracks), len(AUDIO_NAMES)), np.nan)
    for column, name in enumerate(AUDIO_NAMES):
        audio[known, column] = _measured(name, rows[name])
    _fill_from_plays(plays, track, names, artists, genre_lists, audio)
    first = [None if entry is None else entry[0] for entry in artists]
    artist_names = Vocabulary.of(first)
    genres, genre_names = _genre_matrix(genre_lists)
    duration = np.full(len(tracks), np.nan)
    duration[known] = rows["duration_ms"].to_numpy()
    explicit = np.zeros(len(tracks), bool)
    explicit[known] = pc.fill_null(rows["explicit"], fill_value=False).to_numpy()
    popularity = np.full(len(tracks), np.nan)
    popularity[known] = rows["popularity"].to_numpy()
    year = np.full(len(tracks), np.nan)
    year[known] = _years(rows["released_at"])
    albums = _scattered(known, [album or None for album in rows["album"].to_pylist()])
    artist = artist_names.numbers(first)
    # an empty list is what a catalogue has that never asked for markets
    markets = _scattered(known, [frozenset(map(str.upper, m)) if m else None for m in rows["markets"].to_pylist()])
    return Catalog(
        names,
        artists,
        albums,
        _album_numbers(_scattered(known, rows["album_id"].to_pylist()), albums, artist),
        artist,
        artist_names,
        genres,
        genre_names,
        audio,
        duration,
        popularity,
        explicit,
        markets,
        year,
    )


def _album_numbers(ids: np.ndarray, names: np.ndarray, artist: np.ndarray) -> np.ndarray:
    """(tracks,) int32: albums of one name by different artists are different ones, as are two editions with ids."""
    keys = [
        (by_id, "", -1) if by_id else ("", name, int(first)) if name else None
        for by_id, name, first in zip(ids, names, artist, strict=True)
    ]
    number_of = {key: number for number, key in enumerate(sorted({key for key in keys if key is not None}))}
    return np.array([-1 if key is None else number_of[key] for key in keys], np.int32)


def _acceptances(sessions: pa.Table, acceptances: pa.Table) -> pa.Table:
    """Accepted recommendations as likes, a row a user and track: the latest, since a chat and an event tell of one."""
    names = ["user_id", "track_ids", "accepted_at"]
    together = pa.concat_tables([sessions.select(names), acceptances.select(names)]).combine_chunks()
    parents = pc.list_parent_indices(together["track_ids"])
    rows = pa.table(
        {
            "user_id": together["user_id"].take(parents),
            "track_id": pc.list_flatten(together["track_ids"]),
            "accepted_at": together["accepted_at"].take(parents),
        }
    )
    rows = rows.filter(pc.greater(pc.utf8_length(rows["track_id"]), 0))
    latest = rows.group_by(["user_id", "track_id"]).aggregate([("accepted_at", "max")])
    count = latest.num_rows
    return pa.table(
        {
            "user_id": latest["user_id"],
            "track_id": latest["track_id"],
            "signal": pa.array([ACCEPTED_SIGNAL] * count, pa.string()),
            "strength": pa.array(np.full(count, ACCEPTED_STRENGTH)),
            "created_at": latest["accepted_at_max"],
        }
    )


def _stated_taste(users: Vocabulary, catalog: Catalog, accounts: pa.Table, settings: pa.Table) -> StatedTaste:
    settings = settings.sort_by("document_id")
    by_settings = users.numbers_of(settings["user_id"])
    by_account = users.numbers_of(accounts["user_id"])
    genres = [(by_settings, settings["genres"]), (by_account, accounts["favorite_genres"])]
    audio = np.full((len(users), len(STATED_AUDIO)), np.nan)
    for column, name in enumerate(STATED_AUDIO):
        values = settings[name].to_numpy()
        stated = ~np.isnan(values)
        audio[by_settings[stated], column] = values[stated]
    return StatedTaste(
        _stated((len(users), len(catalog.genre_names)), genres, _numbered(catalog.genre_names)),
        _stated(
            (len(users), len(catalog.artist_names)),
            [(by_settings, settings["artists"])],
            _numbered(catalog.artist_names),
        ),
        audio,
    )


def _numbered(words: Vocabulary) -> dict[str, int]:
    return {_plain(word): number for number, word in enumerate(words.ids())}


def _plain(word: str) -> str:
    return word.strip().lower()


def _stated(
    shape: tuple[int, int], columns: Iterable[tuple[np.ndarray, pa.ChunkedArray]], numbers: Mapping[str, int]
) -> sp.csr_matrix:
    """(users, words) bool: lists of words by user as a matrix, case aside; words nobody else uses are left out."""
    pairs = [
        (user, numbers[_plain(word)])
        for owners, lists in columns
        for user, words in zip(owners.tolist(), lists.to_pylist(), strict=True)
        for word in words or []
        if _plain(word) in numbers
    ]
    row, column = zip(*pairs, strict=True) if pairs else ((), ())
    ones = np.ones(len(pairs), bool)
    return sp.csr_matrix((ones, (np.array(row, np.int32), np.array(column, np.int32))), shape=shape)


def _before(table: pa.Table, column: str, as_of_ms: int) -> tuple[pa.Table, int]:
    cut = pa.scalar(as_of_ms, pa.int64()).cast(table[column].type)
    kept = table.filter(pc.less(table[column], cut))
    return kept, table.num_rows - kept.num_rows


def _years(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64: dates as years and their share, NaN for null."""
    day = pc.day_of_year(column).to_numpy(zero_copy_only=False)
    return np.asarray(pc.year(column).to_numpy(zero_copy_only=False) + (day - 1) / 365.25, np.float64)


def _row_of(tracks: Vocabulary, table: pa.Table) -> np.ndarray:
    """(tracks,) the row of each track, -1 where there is none; of two rows the later document id wins."""
    row_of = np.full(len(tracks), -1, np.int64)
    order = pc.sort_indices(table, sort_keys=[("document_id", "ascending")]).to_numpy()
    numbers = tracks.numbers_of(table["track_id"])
    row_of[numbers[order]] = order
    return row_of


def _scattered(known: np.ndarray, values: Iterable[object]) -> np.ndarray:
    full = np.full(len(known), None, dtype=object)
    for number, value in zip(np.nonzero(known)[0], values, strict=True):
        full[number] = value
    return full


def _artist_names(entry: list[dict[str, str | None]] | None) -> tuple[str, ...] | None:
    return tuple(str(artist["name"]) for artist in entry or [] if artist["name"]) or None


def _measured(name: str, column: pa.ChunkedArray) -> np.ndarray:
    values = column.to_numpy().astype(np.float64)
    if name in NOT_FOUND:
        values[values == NOT_FOUND[name]] = np.nan
    return values


def _fill_from_plays(
    plays: Pieces,
    track: np.ndarray,
    names: np.ndarray,
    artists: np.ndarray,
    genre_lists: list[list[str]],
    audio: np.ndarray,
) -> None:
    """Fills each thing the catalogue lacks from the newest play that says it; writes into its last four arguments."""
    wanted = [
        Wanted("track_name", np.array([name is None for name in names], bool)),
        Wanted("artist_name", np.array([entry is None for entry in artists], bool)),
        Wanted("genres", np.array([not genres for genres in genre_lists], bool)),
        *(
            Wanted(feature, np.isnan(audio[:, column]), partial(_measured, feature))
            for column, feature in enumerate(AUDIO_NAMES)
        ),
    ]
    said = newest_words(plays, track, wanted)
    numbers, found = said["track_name"]
    names[numbers] = found
    for number, name in zip(*said["artist_name"], strict=True):
        artists[number] = (name,)
    for number, genres in zip(*said["genres"], strict=True):
        genre_lists[number] = [genre for genre in genres if genre]
    for column, feature in enumerate(AUDIO_NAMES):
        numbers, values = said[feature]
        audio[numbers, column] = values


def _genre_matrix(lists: list[list[str]]) -> tuple[sp.csr_matrix, Vocabulary]:
    cleaned = [sorted({genre.strip().lower() for genre in entry if genre.strip()}) for entry in lists]
    flat = [genre for entry in cleaned for genre in entry]
    vocabulary = Vocabulary.of(flat)
    indptr = np.concatenate([[0], np.cumsum([len(entry) for entry in cleaned])]).astype(np.int32)
    indices = vocabulary.numbers(flat)
    ones = np.ones(len(indices), bool)
    return sp.csr_matrix((ones, indices, indptr), shape=(len(lists), len(vocabulary))), vocabulary


def _account_limits(users: Vocabulary, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    allowed = np.ones(len(users), bool)
    country = np.full(len(users), None, dtype=object)
    table = table.sort_by("document_id")
    numbers = users.numbers_of(table["user_id"])
    # of two accounts with one id, either one's "no" counts, and the later document's country
    refused = pc.fill_null(pc.invert(table["explicit_content"]), fill_value=False).to_numpy()
    allowed[numbers[refused]] = False
    codes = table["country"].combine_chunks().dictionary_encode()
    words = [(word or "").strip().upper() or None for word in [*codes.dictionary.to_pylist(), None]]
    places = pc.fill_null(codes.indices, len(words) - 1).to_numpy()
    named = np.flatnonzero(np.array([word is not None for word in words])[places])
    country[numbers[named]] = np.array(words, object)[places[named]]
    return allowed, country
