"""How much of a release is true and allowed: each reason is read back from its words and looked up in the rows.

`python -m benchmarks.reasons --data FOLDER` makes releases of the data sets, with lists for every listener, and prints
a line each: lists, tracks in them, those that are not allowed for their listener, reasons, false ones, seeds, false
ones. `--home FOLDER` checks the newest release that a nightly run left there, `--release ID` another one.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from benchmarks.claims import Verdict, Witness
from benchmarks.data_tables import DATA_SETS, tables_of
from benchmarks.limits import Limits
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.manifest import Manifest, read_manifest, release_folder, releases_on_disk
from features.snapshot.clocks import Inputs, KnownBy
from features.snapshot.fields import SOURCES
from features.snapshot.stored import open_snapshot

SHOWN = 10
"""Of what is false, so many are printed."""


class Checked(NamedTuple):
    """What was found of one release.

    Attributes:
        name: of the data set or release.
        verdict: on reasons and seeds.
        not_allowed: user, track and the limit it breaks.
    """

    name: str
    verdict: Verdict
    not_allowed: list[tuple[str, str, str]]

    def figures(self) -> dict[str, Any]:
        """Counts, by name."""
        found = self.verdict
        return {
            "lists": found.lists,
            "tracks": found.candidates,
            "not_allowed": len(self.not_allowed),
            "reasons": found.reasons,
            "false": len(found.false),
            "seeds": found.seeds,
            "false_seeds": len(found.strangers),
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.figures().items())
        return f"{self.name}: {counts}"


def main() -> None:
    """Checks and prints a line a data set; ends with 1 if anything is false or not allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(DATA_SETS)}; all by default")
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--cache", type=Path, default=Path("data/bench"), help="where what is fetched is kept")
    parser.add_argument("--keep", type=Path, help="folder where the releases stay, and are not made again")
    parser.add_argument("--fixed", action="store_true", help="with the fixed blend, which is quicker than choosing one")
    parser.add_argument("--home", type=Path, help="$ECHOTUNE_HOME of a nightly run")
    parser.add_argument("--database", default="echotune", help="whose snapshot, in that home")
    parser.add_argument("--release", help="its id; the newest by default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(DATA_SETS)):
        parser.error(f"no data set {unknown[0]!r}; there are {', '.join(DATA_SETS)}")
    if given.home is None and given.data is None:
        parser.error("name a folder of data sets with --data, or a nightly run's with --home")
    figures = {}
    for checked in _of_home(given) if given.home is not None else _of_data(given):
        print(checked, flush=True)
        for user, track, reason in checked.verdict.false[:SHOWN]:
            print(f"  false for {user} of {track}: {reason}")
        for user, track, limit in checked.not_allowed[:SHOWN]:
            print(f"  not allowed for {user}: {track}, {limit}")
        figures[checked.name] = checked.figures()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    if any(row["false"] or row["not_allowed"] or row["false_seeds"] for row in figures.values()):
        raise SystemExit(1)


def _of_home(given: argparse.Namespace) -> Iterator[Checked]:
    manifest = read_manifest(given.home, given.release or releases_on_disk(given.home)[-1])
    snapshot = open_snapshot(given.home, given.database)
    if snapshot is None:
        raise SystemExit(f"no snapshot of {given.database} under {given.home}; run echotune nightly there")
    yield checked_release(manifest.id, given.home, manifest, KnownBy(snapshot, manifest.known_at, {}))


def _of_data(given: argparse.Namespace) -> Iterator[Checked]:
    # with fewer to ask than so many the fixed blend is taken
    ranking = {"min_validation_users": 1_000_000} if given.fixed else {}
    parameters = NightlyParameters.model_validate({"ranking": ranking})
    for name in [name for name in DATA_SETS if name in (given.names or DATA_SETS)]:
        tables = tables_of(name, given.data, given.cache)
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) if given.keep is None else given.keep / name
            kept = releases_on_disk(home) if home.is_dir() else []
            begin = time.perf_counter()
            if kept:
                manifest = read_manifest(home, kept[-1])
            else:
                manifest = build_release(tables, home, parameters, tables.known_at, progress=_told)
            print(f"{name}: built in {time.perf_counter() - begin:.0f} s", flush=True)
            yield checked_release(name, home, manifest, tables)


def _told(stage: str, done: int, _of: int | None) -> None:
    """Says when a stage begins."""
    if done == 0:
        print(f"  {datetime.now(UTC):%H:%M:%S} {stage}", flush=True)


def checked_release(name: str, home: Path, manifest: Manifest, inputs: Inputs) -> Checked:
    """What a witness says of a release on disk."""
    how = manifest.parameters["similarity"]
    tables = {name: inputs.table(name) for name in (source.table for source in SOURCES)}
    lists = pq.ParquetFile(release_folder(home, manifest.id) / "recommendations.parquet")
    columns = ["user_id", "track_ids", "reasons", "seeds"]
    said = manifest.parameters["recommendations"]
    together = said.get("same_song", False)  # releases from before it could be told
    limits = Limits(tables, manifest.as_of, include_heard=said["include_heard"], same_song=together)
    witness = Witness(tables, manifest.as_of, neighbors=how["k"], min_common=how["min_common"])
    verdict, not_allowed = Verdict(), []
    for batch in lists.iter_batches(1000, columns=columns):  # as Python objects, all at once would be gigabytes
        rows = batch.to_pylist()
        not_allowed += limits.check(rows)
        verdict = witness.check(rows, verdict)
    return Checked(name, verdict, not_allowed)


if __name__ == "__main__":
    main()
