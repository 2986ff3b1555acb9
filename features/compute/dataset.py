"""A snapshot's tables as numbered arrays: what everything after is computed from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from features.compute.ids import Vocabulary
from features.compute.interactions import Feedback, Plays
from features.schema.names import AUDIO_NAMES

NOT_FOUND = {"key": -1.0, "tempo": 0.0, "time_signature": 0.0}
"""Values by which Spotify says that it found none: missing, not a measurement."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """What is known of each track, by track number.

    Attributes:
        names: (tracks,) object, None where unknown.
        artists: (tracks,) object, a tuple of the artists' names, first one first; None where unknown.
        artist: (tracks,) int32, number of the first artist in `artist_names`; -1 unknown.
        artist_names: distinct first artists.
        genres: (tracks, genres) bool CSR.
        genre_names: distinct genres, lower case.
        audio: (tracks, 12) float64 in the order of `AUDIO_NAMES`, NaN where missing.
        popularity: (tracks,) float64 0..100, NaN unknown.
        explicit: (tracks,) bool; unknown counts as not explicit.
        markets: (tracks,) object, a frozenset of country codes or None where unknown.
    """

    names: np.ndarray
    artists: np.ndarray
    artist: np.ndarray
    artist_names: Vocabulary
    genres: sp.csr_matrix
    genre_names: Vocabulary
    audio: np.ndarray
    popularity: np.ndarray
    explicit: np.ndarray
    markets: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything the computation knows, as of one moment.

    Attributes:
        users: everyone with a play, feedback, an account or settings.
        tracks: everything played, rated or in the catalogue.
        plays: those at or before the moment.
        feedback: likewise.
        catalog: by track number.
        explicit_allowed: (users,) bool; False for who switched explicit tracks off.
        country: (users,) object, a country code or None.
        later: how many plays and how much feedback lie after the moment and were left out.
    """

    users: Vocabulary
    tracks: Vocabulary
    plays: Plays
    feedback: Feedback
    catalog: Catalog
    explicit_allowed: np.ndarray
    country: np.ndarray
    later: dict[str, int]

    def __repr__(self) -> str:
        return f"Dataset({len(self.users):,} users, {len(self.tracks):,} tracks, {len(self.plays):,} plays)"


def build_dataset(tables: Mapping[str, pa.Table], *, as_of_ms: int) -> Dataset:
    """Numbers users and tracks and cuts plays and feedback at `as_of_ms`.

    Args:
        tables: "plays", "feedback", "tracks", "users" and "settings" as a snapshot holds them, rows in any order.
        as_of_ms: milliseconds since 1970; what happened at that moment or after is left out.
    """
    plays, later_plays = _before(tables["plays"], "played_at", as_of_ms)
    feedback, later_feedback = _before(tables["feedback"], "created_at", as_of_ms)
    tracks_table, users_table = tables["tracks"], tables["users"]
    users = Vocabulary.of(
        *(table["user_id"].unique().to_pylist() for table in (plays, feedback, users_table, tables["settings"]))
    )
    tracks = Vocabulary.of(*(table["track_id"].unique().to_pylist() for table in (plays, feedback, tracks_table)))
    explicit_allowed, country = _account_limits(users, users_table)
    return Dataset(
        users,
        tracks,
        Plays(
            _numbers(users, plays["user_id"]),
            _numbers(tracks, plays["track_id"]),
            _milliseconds(plays["played_at"]),
            plays["completion"].to_numpy().astype(np.float32),
        ),
        Feedback(
            _numbers(users, feedback["user_id"]),
            _numbers(tracks, feedback["track_id"]),
            np.asarray(feedback["signal"].to_pylist(), dtype=object),
            feedback["strength"].to_numpy().astype(np.float64),
            _milliseconds(feedback["created_at"]),
        ),
        build_catalog(tracks, tracks_table, plays),
        explicit_allowed,
        country,
        {"plays": later_plays, "feedback": later_feedback},
    )


def build_catalog(tracks: Vocabulary, table: pa.Table, plays: pa.Table) -> Catalog:
    """What `tracks` says of each track, and where it says nothing, what the plays themselves carry."""
    row_of = _row_of(tracks, table)
    known = row_of >= 0
    rows = table.take(pa.array(np.where(known, row_of, 0)[known]))
    names = _scattered(known, rows["name"].to_pylist())
    artist_lists = rows["artists"].to_pylist()
    artists = _scattered(known, [_artist_names(entry) for entry in artist_lists])
    genre_lists: list[list[str]] = [[] for _ in range(len(tracks))]
    for number, entry in zip(np.nonzero(known)[0], artist_lists, strict=True):
        genre_lists[number] = [genre for artist in entry or [] for genre in artist["genres"] or []]
    audio = np.full((len(tracks), len(AUDIO_NAMES)), np.nan)
    for column, name in enumerate(AUDIO_NAMES):
        audio[known, column] = _measured(name, rows[name])
    _fill_from_plays(tracks, plays, names, artists, genre_lists, audio)
    first = [None if entry is None else entry[0] for entry in artists]
    artist_names = Vocabulary.of(first)
    genres, genre_names = _genre_matrix(genre_lists)
    explicit = np.zeros(len(tracks), bool)
    explicit[known] = pc.fill_null(rows["explicit"], fill_value=False).to_numpy()
    popularity = np.full(len(tracks), np.nan)
    popularity[known] = rows["popularity"].to_numpy()
    markets = _scattered(known, [None if m is None else frozenset(m) for m in rows["markets"].to_pylist()])
    return Catalog(
        names,
        artists,
        artist_names.numbers(first),
        artist_names,
        genres,
        genre_names,
        audio,
        popularity,
        explicit,
        markets,
    )


def _before(table: pa.Table, column: str, as_of_ms: int) -> tuple[pa.Table, int]:
    cut = pa.scalar(as_of_ms, pa.int64()).cast(table[column].type)
    kept = table.filter(pc.less(table[column], cut))
    return kept, table.num_rows - kept.num_rows


def _numbers(vocabulary: Vocabulary, column: pa.ChunkedArray) -> np.ndarray:
    """Numbers of ids through a dictionary, so that each distinct id is looked up once."""
    encoded = column.combine_chunks().dictionary_encode() if len(column) else None
    if encoded is None:
        return np.zeros(0, np.int32)
    lookup = vocabulary.numbers(encoded.dictionary.to_pylist())
    return lookup[encoded.indices.to_numpy()]


def _milliseconds(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.int64()).to_numpy()


def _row_of(tracks: Vocabulary, table: pa.Table) -> np.ndarray:
    """(tracks,) the row of each track, -1 where there is none; of two rows the later document id wins."""
    row_of = np.full(len(tracks), -1, np.int64)
    order = pc.sort_indices(table, sort_keys=[("document_id", "ascending")]).to_numpy()
    numbers = tracks.numbers(table["track_id"].to_pylist())
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
    tracks: Vocabulary,
    plays: pa.Table,
    names: np.ndarray,
    artists: np.ndarray,
    genre_lists: list[list[str]],
    audio: np.ndarray,
) -> None:
    """Fills what the catalogue lacks from the newest play that says it; writes into its last four arguments."""
    lacking = np.array([name is None for name in names]) | np.isnan(audio).all(axis=1)
    numbers = _numbers(tracks, plays["track_id"])
    chosen = np.nonzero(lacking[numbers])[0] if len(numbers) else np.zeros(0, np.int64)
    if not len(chosen):
        return
    columns = ["track_name", "artist_name", "genres", "played_at", "document_id", *AUDIO_NAMES]
    frame = plays.select(columns).take(pa.array(chosen)).to_pandas()
    frame["number"] = numbers[chosen]
    frame = frame.sort_values(["played_at", "document_id"], kind="stable")
    newest = frame.drop(columns=["played_at", "document_id"]).groupby("number").last()  # last that is not null
    for row in newest.itertuples():
        number = int(row.Index)
        if names[number] is None and isinstance(row.track_name, str):
            names[number] = row.track_name
        if artists[number] is None and isinstance(row.artist_name, str):
            artists[number] = (row.artist_name,)
        if not genre_lists[number] and row.genres is not None and not isinstance(row.genres, float):
            genre_lists[number] = [str(genre) for genre in row.genres]
    own = newest[list(AUDIO_NAMES)].to_numpy(np.float64, copy=True)
    for name, missing in NOT_FOUND.items():
        column = own[:, AUDIO_NAMES.index(name)]
        column[column == missing] = np.nan
    at = newest.index.to_numpy()
    audio[at] = np.where(np.isnan(audio[at]), own, audio[at])


def _genre_matrix(lists: list[list[str]]) -> tuple[sp.csr_matrix, Vocabulary]:
    cleaned = [sorted({genre.strip().lower() for genre in entry if genre.strip()}) for entry in lists]
    vocabulary = Vocabulary.of(*cleaned)
    indptr = np.concatenate([[0], np.cumsum([len(entry) for entry in cleaned])]).astype(np.int32)
    indices = vocabulary.numbers([genre for entry in cleaned for genre in entry])
    ones = np.ones(len(indices), bool)
    return sp.csr_matrix((ones, indices, indptr), shape=(len(lists), len(vocabulary))), vocabulary


def _account_limits(users: Vocabulary, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    allowed = np.ones(len(users), bool)
    country = np.full(len(users), None, dtype=object)
    numbers = users.numbers(table["user_id"].to_pylist())
    explicit = table["explicit_content"].to_pylist()
    for number, wants, where in zip(numbers, explicit, table["country"].to_pylist(), strict=True):
        # of two accounts with one id, either one's "no" counts
        allowed[number] &= wants is not False
        country[number] = where or country[number]
    return allowed, country
