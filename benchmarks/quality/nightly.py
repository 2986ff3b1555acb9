"""What a plain `echotune nightly` publishes, read back from the database and scored like any other competitor.

`python -m benchmarks.quality.nightly --data FOLDER` imports the training part of JODIE's first listens and of
MovieLens-100k into a built-in database of its own, through the importers, as a person would. The last play of a part
was an hour ago; nothing else is moved, told or set.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymongo import MongoClient
from rich.console import Console

from benchmarks.quality.cases import Case, Split, track_ids, user_ids
from benchmarks.quality.datasets import NAMES, cases
from benchmarks.quality.measure import LIST, Answer, figures
from benchmarks.quality.models import competitors
from benchmarks.quality.report import KEPT, Row, as_json, read, show, write
from benchmarks.quality.search import read_tuned
from features.embedded import embedded_server
from features.release.ledger import read_pointer
from features.release.manifest import read_manifest
from features.schema.names import RECOMMENDATIONS
from features.settings import Settings

DEFAULT = ("jodie", "ml-100k")
TIMED = ("jodie", "ml-100k", "sample")
SERVED = ("collaborative", "hybrid")
OF_HARNESS = ("ours: hybrid", "ours: hybrid, by default")


def main() -> None:
    """Runs the nights and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(TIMED)}; {' and '.join(DEFAULT)}")
    parser.add_argument("--data", type=Path, help="the folder of data sets")
    parser.add_argument("--cache", type=Path, default=Path("data/bench"), help="where what is fetched is kept")
    parser.add_argument("--out", type=Path, default=Path("data/bench/quality"), help="where the tables are as JSON")
    given = parser.parse_args()
    if unknown := sorted(set(given.cases) - set(TIMED)):
        parser.error(f"no case with times: {unknown[0]}; there are {', '.join(TIMED)} of {', '.join(NAMES)}")
    console = Console(width=150)
    for case in cases(tuple(given.cases) or DEFAULT, given.data, given.cache):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            strategies = night(case.test, Path(folder))
            console.print(f"{case.name}: import and nightly in {time.perf_counter() - begin:.0f} s", style="dim")
            answers = served(case.test, Path(folder) / "home")
        table = beside_harness(case, answers, strategies, read(case.name, given.out) or read(case.name, KEPT))
        show(table, None, console)
        write(table, given.out)


def night(split: Split, folder: Path) -> Mapping[str, Any]:
    """Imports what may be learned from and runs the nightly job; returns the recipes of the release."""
    plays, tracks = folder / "plays.parquet", folder / "tracks.parquet"
    plays_of(split, datetime.now(UTC) - timedelta(hours=1)).to_parquet(plays)
    home = folder / "home"
    commands = [["import", "plays", str(plays)], ["nightly"]]
    if split.history.catalog is not None:
        tracks_of(split).to_parquet(tracks)
        commands.insert(0, ["import", "tracks", str(tracks)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB_", "ECHOTUNE_"))}
    for words in commands:
        subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            check=True,
            env=kept | {"ECHOTUNE_HOME": str(home)},
            stdout=sys.stderr,
        )
    release = next((home / "releases").glob("[!.]*/manifest.json")).parent.name
    return read_manifest(home, release).strategies


def plays_of(split: Split, last: datetime) -> pd.DataFrame:
    """The plays as a table to import, all moved so that the last is at `last`."""
    plays = split.history.plays
    users, tracks = (
        np.array(ids(count)) for ids, count in zip((user_ids, track_ids), split.relevant.shape, strict=True)
    )
    since_ms = plays.played_at - plays.played_at.max()
    return pd.DataFrame(
        {
            "user_id": users[plays.user],
            "track_id": tracks[plays.track],
            "played_at": pd.to_datetime(last).floor("s") + pd.to_timedelta(since_ms, unit="ms"),
        }
    )


def tracks_of(split: Split) -> pd.DataFrame:
    """The catalogue as a table to import."""
    catalog = split.history.catalog
    assert catalog is not None
    words, ends = np.array(catalog.genre_names.ids(), object), catalog.genres.indptr
    return pd.DataFrame(
        {
            "track_id": track_ids(len(catalog.names)),
            "name": catalog.names,
            "artist": [None if names is None else names[0] for names in catalog.artists],
            "album": catalog.albums,
            "album_id": [f"album-{number}" if number >= 0 else None for number in catalog.album],
            "genres": [list(words[catalog.genres.indices[a:b]]) for a, b in pairwise(ends)],
            "release_date": [None if np.isnan(year) else _date(year) for year in catalog.year],
        }
    )


def _date(year: float) -> str:
    """The day that a year and its fraction mean, to a day or so."""
    return f"{datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(days=round(365.25 * (year % 1), 1)):%Y-%m-%d}"


def served(split: Split, home: Path) -> dict[str, Answer]:
    """The live lists in the database, by strategy, as answers; who has no list of a strategy has an empty one."""
    user_of = {name: number for number, name in enumerate(user_ids(split.relevant.shape[0]))}
    track_of = {name: number for number, name in enumerate(track_ids(split.relevant.shape[1]))}
    row_of = {int(user): row for row, user in enumerate(split.users)}
    lists = {strategy: np.full((len(split.users), LIST), -1, np.int32) for strategy in SERVED}
    with embedded_server(home) as uri, MongoClient[dict[str, Any]](uri) as client:
        database = client[Settings.model_fields["mongodb_database"].default]
        pointer = read_pointer(database)
        assert pointer is not None
        wanted = {"release": pointer.release, "strategy": {"$in": list(SERVED)}}
        for document in database[RECOMMENDATIONS].find(wanted, {"userId": 1, "strategy": 1, "candidates": 1}):
            row = row_of.get(user_of[document["userId"]])
            if row is not None:
                ranked = sorted(document["candidates"], key=lambda candidate: candidate["rank"])
                numbers = [track_of[candidate["trackId"]] for candidate in ranked][:LIST]
                lists[document["strategy"]][row, : len(numbers)] = numbers
    return {strategy: Answer(found, np.nan) for strategy, found in lists.items()}


def beside_harness(
    case: Case, answers: Mapping[str, Answer], strategies: Mapping[str, Any], harness: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A table of what was served, beside popularity, the best peer and what the harness found of ours."""
    rows = {f"nightly: {name}": Row(figures(answer, case.test), ours=True) for name, answer in answers.items()}
    competing, tuned = competitors(case), read_tuned(case.name)
    for name in dict.fromkeys(("popularity", harness["best_peer"] if harness else "EASE")):
        found = tuned.get(name)
        answer = competing[name].answer(case.test, found.parameters if found else {})
        rows[name] = Row(figures(answer, case.test), ours=False, tuned=found)
    made_by = {f"nightly: {name}": strategies[name] for name in answers if name in strategies}
    table = as_json(case, rows, made_by, "nightly: hybrid")
    own = {} if harness is None else {name: row for name, row in harness["models"].items() if name in OF_HARNESS}
    return table | {"case": f"{case.name}-nightly", "models": table["models"] | own}


if __name__ == "__main__":
    main()
