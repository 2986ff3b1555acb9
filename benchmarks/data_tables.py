"""Real data sets and our sample as a snapshot's tables, with limits drawn by a seed where the data has none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.quality.cases import TIMELESS_MS
from benchmarks.quality.datasets import SAMPLE, SAMPLE_END, load
from features.compute.dataset import Catalog, Dataset
from features.schema.names import AUDIO_NAMES
from features.snapshot.fields import SOURCES
from features.snapshot.rules import split
from features.sources.sample import make_sample

DATA_SETS = ("hetrec", "jodie", "playlists-warm", "ml-100k", "sample")
DAY = timedelta(days=1)
DAYS = 90
"""Over which plays are spread that bear no time."""
COUNTRIES = ("DE", "JP", "US")
SEED = 20_260_101


@dataclass(frozen=True)
class Tables:
    """Tables as a snapshot holds them, in memory."""

    name: str
    rows: Mapping[str, pa.Table]
    known_at: datetime

    @property
    def digest(self) -> str:
        """For the release's id."""
        return f"{self.name}-{self.rows['plays'].num_rows}"

    def counts(self) -> dict[str, dict[str, Any]]:
        """As a snapshot has them; nothing is set aside."""
        return {
            name: {"read": table.num_rows, "used": table.num_rows, "set_aside": 0, "reasons": {}}
            for name, table in self.rows.items()
        }

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One of them."""
        return self.rows[name] if columns is None else self.rows[name].select(columns)

    def blocks(self, name: str, columns: Sequence[str], coded: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Some columns, all at once: they are in memory as they are."""
        del coded  # a wish
        yield self.rows[name].select(list(columns))


def tables_of(name: str, data: Path, cache: Path) -> Tables:
    """A data set: the sample whole, of the others what the quality benchmark lets be learned from.

    To the others are added, since they have none: accounts with a country and with explicit tracks switched off,
    explicit tracks, markets, dislikes (some taken back) and likes, all drawn by a seed.

    Args:
        name: of `DATA_SETS`.
        data: the folder of data sets.
        cache: where what is fetched is kept.
    """
    if name == "sample":
        return sample_tables()
    dataset = load(name, data, cache).test.dataset
    rng = np.random.default_rng(SEED)
    last = datetime.fromtimestamp(int(dataset.plays.played_at.max()) / 1000, UTC)
    columns = {
        "plays": _plays(dataset),
        "tracks": _tracks(dataset.catalog, dataset.tracks.ids()) | _track_limits(len(dataset.tracks), rng),
        "users": _accounts(dataset.users.ids(), rng),
        "feedback": _opinions(dataset, last, rng),
    }
    return Tables(name, {source.table: _table(source.table, columns) for source in SOURCES}, last + DAY)


def sample_tables() -> Tables:
    """Our generator's plays, feedback, accounts and catalogue."""
    made = make_sample(SAMPLE, end=SAMPLE_END)
    columns = {
        name: {column: getattr(made, name)[column] for column in getattr(made, name).column_names}
        for name in ("plays", "feedback", "tracks", "users")
    }
    columns["tracks"]["artists"] = [
        [{"id": None, "name": artist, "genres": genres}]
        for artist, genres in zip(made.tracks["artist"].to_pylist(), made.tracks["genres"].to_pylist(), strict=True)
    ]
    for name in ("track_name", "artist_name", "genres"):  # the catalogue knows
        columns["plays"].pop(name, None)
    for name in ("plays", "feedback"):
        at = columns[name]["played_at" if name == "plays" else "created_at"]
        columns[name] |= {"known_at": at}
    return Tables("sample", {source.table: _table(source.table, columns) for source in SOURCES}, SAMPLE_END)


def _table(name: str, columns: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """A table in a snapshot's columns; what is not given is null, but for the documents' ids."""
    source = next(source for source in SOURCES if source.table == name)
    schema = split(source.raw_schema.empty_table(), name, SAMPLE_END)[0].schema
    given = columns.get(name)
    if given is None:
        return schema.empty_table()
    count = len(next(iter(given.values())))
    given = {"document_id": [f"{number:09d}" for number in range(count)], **given}
    return pa.table(
        {
            field.name: _column(given[field.name], field.type) if field.name in given else pa.nulls(count, field.type)
            for field in schema
        }
    )


def _column(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind)
    return pa.array(values, kind, from_pandas=True)


def _plays(dataset: Dataset) -> dict[str, Any]:
    """Plays at their time; where none is known, one a day and over again, to the last moment."""
    users, tracks = (np.array(words.ids(), object) for words in (dataset.users, dataset.tracks))
    at = dataset.plays.played_at
    if (at == TIMELESS_MS).all():
        at = at - np.arange(len(at)) % DAYS * int(DAY.total_seconds() * 1000)
    moment = pa.array(at, pa.timestamp("ms", tz="UTC"))
    return {
        "user_id": users[dataset.plays.user],
        "track_id": tracks[dataset.plays.track],
        "played_at": moment,
        "known_at": moment,
        "completion": dataset.plays.completion,
    }


def _tracks(catalog: Catalog, ids: list[str]) -> dict[str, Any]:
    words, ends = np.array(catalog.genre_names.ids(), object), catalog.genres.indptr
    genres = [words[catalog.genres.indices[a:b]].tolist() for a, b in pairwise(ends)]
    return {
        "track_id": ids,
        "name": catalog.names,
        "album": catalog.albums,
        "artists": [
            [{"id": None, "name": names[0] if names else None, "genres": told}] if names or told else None
            for names, told in zip(catalog.artists, genres, strict=True)
        ],
        "duration_ms": catalog.duration_ms,
        "popularity": catalog.popularity,
        "released_at": [None if np.isnan(year) else date_of(float(year)) for year in catalog.year],
        **{name: catalog.audio[:, column] for column, name in enumerate(AUDIO_NAMES)},
    }


def date_of(year: float) -> datetime:
    """The day that a year and its fraction mean, to a day or so."""
    return datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(days=round(365.25 * (year % 1), 1))


def _track_limits(count: int, rng: np.random.Generator) -> dict[str, Any]:
    """A tenth is explicit, a quarter can be had in one or two countries only."""
    limited = rng.random(count) < 0.25
    return {
        "explicit": rng.random(count) < 0.1,
        "markets": [
            rng.choice(COUNTRIES, int(rng.integers(1, 3)), replace=False).tolist() if only else None for only in limited
        ],
    }


def _accounts(users: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """Nine of ten have an account with a country; of those a fifth has switched explicit tracks off."""
    having = [user for user, chance in zip(users, rng.random(len(users)), strict=True) if chance < 0.9]
    return {
        "user_id": having,
        "country": rng.choice(COUNTRIES, len(having)),
        "explicit_content": rng.random(len(having)) >= 0.2,
    }


def _opinions(dataset: Dataset, last: datetime, rng: np.random.Generator) -> dict[str, Any]:
    """Of each listener four dislikes and two likes of tracks that others play, and a dislike that is taken back."""
    users, tracks = (words.ids() for words in (dataset.users, dataset.tracks))
    rows: list[tuple[str, str, str, datetime]] = []
    for user in users:
        chosen = [tracks[track] for track in rng.choice(dataset.plays.track, 7)]
        signals = ("dislike", "dislike", "dislike", "dislike", "love", "like", "dislike")
        rows += [(user, track, signal, last - 2 * DAY) for track, signal in zip(chosen, signals, strict=True)]
        rows.append((user, chosen[-1], "like", last - DAY))
    names = ("user_id", "track_id", "signal", "created_at")
    columns: dict[str, Any] = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    return columns | {"known_at": columns["created_at"]}
