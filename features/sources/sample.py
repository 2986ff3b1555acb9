"""Synthetic listeners for demos and tests: seeded, with tastes to be learned, written like any import."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import SecretStr
from pymongo.database import Database

from features.dates import epoch_ms
from features.errors import InputError
from features.progress import Progress, silent
from features.schema import names
from features.schema.ids import content_object_id, encode_id
from features.sources.documents import Document
from features.sources.importer import ImportTotals, import_rows
from features.sources.kinds import KINDS, Kind
from features.sources.sample_catalog import COUNTRIES, GENRES, Catalog, make_catalog
from features.sources.sample_listening import (
    DAY_MS,
    HOUR_MS,
    PLAYS_A_DAY,
    Listeners,
    Plays,
    make_listeners,
    make_plays,
)
from features.sources.sample_words import PERSON_PATTERNS, base62_id, phrases
from features.sources.tables import CHUNK_ROWS, Chunk, chunk_of_batch

MAX_PLAYS = 50_000_000
OWN_AUDIO = tuple(feature for feature in names.AUDIO_FEATURES if feature.name not in ("key", "mode", "time_signature"))
"""The nine features a play's own copy has in the data model's second draft."""


@dataclass(frozen=True)
class SampleSpec:
    """How large a sample, and which.

    Raises:
        InputError: a number outside its bounds, or more plays than memory is meant for.
    """

    users: int = 200
    tracks: int = 1_200
    days: int = 90
    seed: int = 7

    def __post_init__(self) -> None:
        for name, low, high in (
            ("users", 1, 1_000_000),
            ("tracks", 1, 1_000_000),
            ("days", 1, 3_650),
            ("seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"sample: {name} must be from {low:,} to {high:,}, not {value:,}")
        if self.users * self.days * PLAYS_A_DAY > MAX_PLAYS:
            raise InputError(
                f"sample: {self.users:,} users over {self.days:,} days make more than {MAX_PLAYS:,} plays; "
                "choose fewer users or days"
            )


@dataclass(frozen=True, repr=False)
class Sample:
    """Tables with the columns of the imports; `plays` also says which plays have an older document shape."""

    plays: pa.Table
    feedback: pa.Table
    tracks: pa.Table
    users: pa.Table

    def __repr__(self) -> str:
        return (
            f"Sample({self.users.num_rows:,} users x {self.tracks.num_rows:,} tracks, "
            f"{self.plays.num_rows:,} plays, {self.feedback.num_rows:,} feedback)"
        )


def make_sample(spec: SampleSpec, *, end: datetime) -> Sample:
    """The sample of a specification, all of it before `end`; the same arguments give the same sample."""
    end = end.astimezone(UTC)
    start = end - timedelta(days=spec.days)
    catalog = make_catalog(spec.seed, spec.tracks, start)
    listeners = make_listeners(spec.seed, spec.users, spec.days, catalog)
    plays = make_plays(spec.seed, listeners, catalog, start, end)
    users = _users(spec, listeners, catalog, start)
    user_ids = np.array(users["user_id"].to_pylist(), dtype=object)
    return Sample(
        plays=_plays(spec, plays, catalog, user_ids, end),
        feedback=_feedback(spec, plays, catalog, user_ids, end),
        tracks=_with_popularity(spec, catalog, plays),
        users=users,
    )


def _users(spec: SampleSpec, listeners: Listeners, catalog: Catalog, start: datetime) -> pa.Table:
    """Every tenth listener has an ObjectId, as in databases where another service made the accounts."""
    rng = np.random.default_rng([spec.seed, 4])
    labels = [f"listener-{i:04d}" for i in range(1, spec.users + 1)]
    ids = [encode_id(content_object_id("sample user", i)) if i % 10 == 9 else label for i, label in enumerate(labels)]
    genres = catalog.scene_genre[listeners.scenes]
    told = rng.random(spec.users) < 0.6
    favourite = [
        list(dict.fromkeys(GENRES[g].name for g in row)) if known else None
        for row, known in zip(genres, told, strict=True)
    ]
    created = epoch_ms(start) - rng.integers(0, 700 * DAY_MS, spec.users)
    return pa.table(
        {
            "user_id": ids,
            "email": [f"{label}@example.org" for label in labels],
            "name": phrases(rng, spec.users, PERSON_PATTERNS),
            "spotify_id": [
                f"sample-{spec.seed}-{label}" if there else None
                for label, there in zip(labels, rng.random(spec.users) < 0.5, strict=True)
            ],
            "country": rng.choice(np.array(COUNTRIES, dtype=object), spec.users, p=[0.5, 0.35, 0.15]),
            "explicit_content": rng.random(spec.users) >= 0.06,
            "favorite_genres": pa.array(favourite, pa.list_(pa.string())),
            "created_at": pa.array(created, pa.timestamp("ms", tz="UTC")),
        }
    )


def _plays(spec: SampleSpec, plays: Plays, catalog: Catalog, user_ids: NDArray[Any], end: datetime) -> pa.Table:
    rng = np.random.default_rng([spec.seed, 5])
    size = len(plays.user)
    last = epoch_ms(end) - 1
    late = np.where(rng.random(size) < 0.03, rng.integers(1, 7, size), 0)
    night = (plays.played_ms // DAY_MS + 1 + late) * DAY_MS + 2 * HOUR_MS
    track_ids = np.array(catalog.table["track_id"].to_pylist(), dtype=object)[plays.track]
    gone = rng.choice(size, min(5, size), replace=False)  # tracks that were taken off the catalog
    track_ids[gone] = [base62_id("gone", spec.seed, i) for i in range(len(gone))]
    second_draft = rng.random(size) < 0.15
    no_duration = second_draft & (rng.random(size) < 0.5)
    unknown = rng.random(size) < 0.005
    table = pa.table(
        {
            "user_id": user_ids[plays.user],
            "track_id": track_ids,
            "played_at": pa.array(plays.played_ms, pa.timestamp("ms", tz="UTC")),
            "play_ms": pa.array(plays.play_ms, mask=no_duration | unknown),
            "duration_ms": pa.array(catalog.duration_ms[plays.track], mask=unknown),
            "completion": pa.array(plays.completion.round(4), mask=~second_draft | unknown),
            "imported_at": pa.array(np.minimum(night, last), pa.timestamp("ms", tz="UTC")),
            "source": rng.choice(
                np.array(["playlist", "album", "radio", "search"], dtype=object),
                size,
                p=[0.5, 0.2, 0.15, 0.15],
            ),
            "shuffle": rng.random(size) < 0.3,
        }
    )
    catalog_rows = pa.array(plays.track)
    for name, column in (("track_name", "name"), ("artist_name", "artist"), ("album_name", "album")):
        table = table.append_column(name, catalog.table[column].take(catalog_rows).combine_chunks())
    table = table.append_column("second_draft", pa.array(second_draft & ~unknown))
    table = table.append_column("created_only", pa.array(rng.random(size) < 0.01))
    own_audio = rng.random(size) < 0.05
    rows = pa.array(plays.track, mask=~own_audio)
    copies = [catalog.table[feature.name].take(rows).combine_chunks() for feature in OWN_AUDIO]
    own = pa.StructArray.from_arrays(copies, names=[feature.field for feature in OWN_AUDIO])
    return table.append_column("own_audio", own)


def _feedback(spec: SampleSpec, plays: Plays, catalog: Catalog, user_ids: NDArray[Any], end: datetime) -> pa.Table:
    """What listeners say of one play in twenty: it follows their taste, and whether they skipped."""
    rng = np.random.default_rng([spec.seed, 6])
    fits = plays.on_taste & (plays.completion >= 0.28)
    said = np.flatnonzero(rng.random(len(plays.user)) < np.where(fits, 0.05, 0.06))
    fits = fits[said] ^ (rng.random(len(said)) < 0.06)  # nobody is consistent
    good = rng.choice(np.array(["like", "save", "love", "replay"], dtype=object), len(said), p=[0.45, 0.25, 0.18, 0.12])
    bad = rng.choice(np.array(["skip", "dislike"], dtype=object), len(said), p=[0.65, 0.35])
    signal = np.where(fits, good, bad)
    usual = np.array([{"love": 5, "dislike": 4}.get(name, 3) for name in signal], dtype=np.int64)
    strength = np.clip(usual + rng.integers(-1, 2, len(said)), 1, 5)
    at = np.minimum(plays.played_ms[said] + plays.play_ms[said] // 2, epoch_ms(end) - 1)
    _, unlike = np.unique(np.stack([plays.user[said], plays.track[said], at]), axis=1, return_index=True)
    table = pa.table(
        {
            "user_id": user_ids[plays.user[said]],
            "track_id": catalog.table["track_id"].take(pa.array(plays.track[said])).combine_chunks(),
            "signal": signal,
            "created_at": pa.array(at, pa.timestamp("ms", tz="UTC")),
            "strength": pa.array(strength, mask=rng.random(len(said)) < 0.2),
            "play_ms": plays.play_ms[said],
            "duration_ms": catalog.duration_ms[plays.track[said]],
            "platform": rng.choice(np.array(names.PLATFORMS, dtype=object), len(said), p=[0.2, 0.6, 0.2]),
        }
    )
    return table.take(pa.array(np.sort(unlike)))


def _with_popularity(spec: SampleSpec, catalog: Catalog, plays: Plays) -> pa.Table:
    """Popularity on Spotify's scale of 0 to 100: the logarithm of the plays, and some of the world's noise."""
    rng = np.random.default_rng([spec.seed, 7])
    count = np.bincount(plays.track, minlength=spec.tracks)
    scale = 92 / np.log1p(max(1, int(count.max(initial=0))))
    popularity = np.clip(np.round(scale * np.log1p(count) + rng.normal(2, 3, spec.tracks)), 0, 100)
    return catalog.table.append_column("popularity", pa.array(popularity.astype(np.int64)))


def write_sample(
    database: Database[Document],
    sample: Sample,
    *,
    home: Path,
    now: datetime,
    progress: Progress = silent,
    hash_key: SecretStr | None = None,
) -> dict[str, ImportTotals]:
    """Writes a sample as imports are written, with the legacy document shapes; again changes nothing.

    Raises:
        DatabaseError: the database was lost or refuses to be written to.
    """
    totals: dict[str, ImportTotals] = {}
    kinds: tuple[Kind, ...] = ("tracks", "users", "plays", "feedback")
    for kind in kinds:
        table = getattr(sample, kind)
        totals[kind] = import_rows(
            database,
            kind,
            _InMemory(table),
            {name: name for name in table.column_names if name in KINDS[kind]},
            Path(f"sample-{kind}"),
            home=home,
            now=now,
            progress=progress,
            reshape=_legacy_shapes if kind == "plays" else None,
            hash_key=hash_key,
        )
    return totals


class _InMemory:
    """An Arrow table with the face of a file's."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.columns: list[str] = table.column_names
        self.total: int = table.num_rows

    def chunks(self) -> Iterator[Chunk]:
        """The rows in chunks; none for an empty table."""
        before = 0
        for batch in self._table.combine_chunks().to_batches(max_chunksize=CHUNK_ROWS):
            if not batch.num_rows:
                continue
            yield chunk_of_batch(batch, before)
            before += batch.num_rows


def _legacy_shapes(documents: list[Document], chunk: Chunk, rows: NDArray[np.intp]) -> None:
    """Gives the marked plays the shapes that real databases hold from the data model's second draft."""
    taken = {name: chunk.columns[name].take(pa.array(rows)).to_pylist() for name in ("second_draft", "created_only")}
    own_audio = chunk.columns["own_audio"].take(pa.array(rows)).to_pylist()
    marks = zip(documents, taken["second_draft"], taken["created_only"], own_audio, strict=True)
    for document, second_draft, created_only, audio in marks:
        if second_draft and "completionRate" in document:
            document["playedPercentage"] = round(100 * document.pop("completionRate"), 2)
        if created_only:
            document["createdAt"] = document.pop("importedAt")
        if known := {name: value for name, value in audio.items() if value is not None}:
            document["audioFeatures"] = known
