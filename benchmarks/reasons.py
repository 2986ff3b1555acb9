"""How many reasons of a release are true: each is read back from its words and looked up in the rows.

`python -m benchmarks.reasons --data FOLDER` makes releases of the real data sets in that folder. `--home FOLDER` checks
the newest release that a nightly run left there, `--release ID` another one.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.claims import Verdict, Witness
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.manifest import Manifest, read_manifest, release_folder, releases_on_disk
from features.schema.names import AUDIO_NAMES
from features.snapshot.clocks import Inputs, KnownBy
from features.snapshot.fields import SOURCES
from features.snapshot.rules import split
from features.snapshot.stored import open_snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where seconds since the first play begin; any moment would do."""
MOST_PLAYS = 20
"""Of a pair whose plays bear no time: more would add nothing to what can be false."""


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


def main() -> None:
    """Checks and prints a line a data set; ends with 1 if anything is false."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--home", type=Path, help="$ECHOTUNE_HOME of a nightly run")
    parser.add_argument("--database", default="echotune", help="whose snapshot, in that home")
    parser.add_argument("--release", help="its id; the newest by default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = {}
    for name, found, seconds in checked(given):
        print(f"{name}: {found} ({seconds:.0f} s to build)")
        for user, track, reason in found.false[:10]:
            print(f"  false for {user} of {track}: {reason}")
        figures[name] = {"candidates": found.candidates, "reasons": found.reasons, "false": len(found.false)}
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    if any(row["false"] for row in figures.values()):
        raise SystemExit(1)


def checked(given: argparse.Namespace) -> Iterator[tuple[str, Verdict, float]]:
    """Name, verdict and seconds to build of each release."""
    if given.home is not None:
        manifest = read_manifest(given.home, given.release or releases_on_disk(given.home)[-1])
        snapshot = open_snapshot(given.home, given.database)
        if snapshot is None:
            raise SystemExit(f"no snapshot of {given.database} under {given.home}; run echotune nightly there")
        yield manifest.id, verdict(given.home, manifest, KnownBy(snapshot, manifest.known_at, {})), 0.0
        return
    for tables in data_sets(given.data):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            manifest = build_release(tables, Path(folder), NightlyParameters(), tables.known_at)
            spent = time.perf_counter() - begin
            yield tables.name, verdict(Path(folder), manifest, tables), spent


def verdict(home: Path, manifest: Manifest, inputs: Inputs) -> Verdict:
    """What a witness says of a release on disk."""
    how = manifest.parameters["similarity"]
    tables = {name: inputs.table(name) for name in (source.table for source in SOURCES)}
    witness = Witness(tables, manifest.as_of, neighbors=how["k"], min_common=how["min_common"])
    return witness.check(pq.read_table(release_folder(home, manifest.id) / "recommendations.parquet").to_pylist())


def data_sets(data: Path | None) -> Iterator[Tables]:
    """Plays and tracks of the real data sets."""
    if data is None:
        return
    plays = pd.read_parquet(data / "lastfm_jodie10" / "plays.parquet")
    at = START + pd.to_timedelta(plays["t_s"], unit="s")
    yield of_rows("lastfm_jodie10", plays["user_id"], plays["item_id"], at, [])
    rows = pd.read_parquet(data / "tidytuesday_spotify_songs" / "playlist_tracks.parquet").drop_duplicates(
        ["playlist_id", "track_id"]
    )
    tracks = [
        {
            "track_id": row["track_id"],
            "name": text(row["track_name"]),
            "album": text(row["track_album_name"]),
            "artists": [{"id": None, "name": text(row["track_artist"]), "genres": [row["playlist_genre"]]}],
            "duration_ms": float(row["duration_ms"]),
            **{name: float(row[name]) for name in AUDIO_NAMES if name in row},
        }
        for row in rows.drop_duplicates("track_id").to_dict("records")
    ]
    at = START + pd.to_timedelta(range(len(rows)), unit="s")
    yield of_rows("tidytuesday_spotify_songs", rows["playlist_id"], rows["track_id"], at, tracks)
    pairs = pd.read_parquet(data / "hetrec2011_lastfm_2k" / "user_artists.parquet")
    pairs = pairs.loc[pairs.index.repeat(pairs["plays"].clip(upper=MOST_PLAYS) // 4 + 1)]
    names = pd.read_parquet(data / "hetrec2011_lastfm_2k" / "artists.parquet")
    tracks = [{"track_id": str(row["artist_id"]), "name": text(row["name"])} for row in names.to_dict("records")]
    at = START + pd.to_timedelta([number % 90 for number in range(len(pairs))], unit="D")
    yield of_rows("hetrec2011_lastfm_2k", pairs["user_id"], pairs["artist_id"], at, tracks)


def text(value: Any) -> str | None:
    """A text, or nothing where none is known."""
    return value if isinstance(value, str) else None


def of_rows(name: str, user: pd.Series, track: pd.Series, at: Any, tracks: list[dict[str, Any]]) -> Tables:
    """Tables of plays and tracks; all others are empty."""
    moments = pd.DatetimeIndex(at)
    content: dict[str, list[dict[str, Any]]] = {
        "plays": [
            {
                "document_id": f"{place:09d}",
                "user_id": str(one),
                "track_id": str(what),
                "played_at": when,
                "known_at": when,
            }
            for place, (one, what, when) in enumerate(zip(user, track, moments, strict=True))
        ],
        "tracks": [{"document_id": row["track_id"], **row} for row in tracks],
    }
    rows = {
        source.table: pa.Table.from_pylist(
            content.get(source.table, []),
            schema=split(source.raw_schema.empty_table(), source.table, moments.max().to_pydatetime())[0].schema,
        )
        for source in SOURCES
    }
    return Tables(name, rows, moments.max().to_pydatetime() + timedelta(seconds=1))


if __name__ == "__main__":
    main()
