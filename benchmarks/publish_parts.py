"""Publishing growing parts of a night's release into the built-in database, and what the whole of L would take.

`python -m benchmarks.publish_parts M` takes the release that `benchmarks.big_night` made of a hundred thousand
listeners (a tenth of L), and publishes what of it is of one listener and track in a hundred, three in a hundred and so
on, each into a database of its own with the contract's validators and indexes: upload, read back, verify. What a
document costs and how it grows with their number is printed, and what follows for 1.02 million listeners.
"""

import argparse
import tempfile
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pymongo.database import Database

from benchmarks import big_night
from benchmarks.events import SIZES
from benchmarks.measuring import EVENTS, keep, show
from benchmarks.mongo_measure import Spent, server, timed
from features.measured import peak_memory
from features.release.build import ROW_GROUPS
from features.release.documents import OUTPUTS
from features.release.ledger import hold_lease
from features.release.manifest import Manifest, read_manifest, release_folder
from features.release.publish import upload, verify
from features.schema import plan

SHARES = {
    "XS": (0.05, 0.15),
    "S": (0.01, 0.03, 0.1, 0.3),
    "M": (0.01, 0.03, 0.1, 0.3, 1.0),
    "L": (0.001, 0.003, 0.01, 0.03, 0.1),
}
KEYS = {
    "user_profile": "user_id",
    "track_embedding": "track_id",
    "similarity": "user_id",
    "recommendations": "user_id",
}


def main() -> None:
    """Makes the release where it is missing, publishes parts, prints a table; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("size", nargs="?", choices=sorted(SHARES), default="M")
    parser.add_argument("--quick", action="store_true", help="size XS, whatever else is asked for")
    parser.add_argument("--folder", type=Path, default=EVENTS, help=f"where nights are, or are made; {EVENTS}")
    parser.add_argument("--most", type=float, default=1.0, help="no larger share than this")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    made = measure("XS" if given.quick else given.size, given.folder, given.most)
    show(made)
    keep(made, given.json)


def night_folder(folder: Path, size: str) -> Path:
    """Where a night of a size is kept, so that its release can be published."""
    return folder / f"night-{size}"


def measure(size: str, folder: Path, most: float = 1.0) -> dict[str, Any]:
    """Seconds and bytes of each part, and of all of L by the growth from one part to the next."""
    home = night_folder(folder, size)
    releases = sorted((home / "releases").glob("*/manifest.json"))
    if not releases:
        big_night.measure(size, home)
        releases = sorted((home / "releases").glob("*/manifest.json"))
    whole = read_manifest(home, releases[-1].parent.name)
    rows = []
    for share in SHARES[size]:
        if share <= most:
            rows.append([share, *_published(home, whole, share)])
            print(*rows[-1], flush=True)  # a large part takes a quarter of an hour
    listeners, seconds = [row[1] for row in rows], [row[5] for row in rows]
    growth = [
        log(b / a) / log(n / m) for a, b, m, n in zip(seconds, seconds[1:], listeners, listeners[1:], strict=False)
    ]
    large = SIZES["L"].users
    # no less than in proportion: that a part was cheaper by the listener than a smaller one is the start's share in it
    power = max(growth[-1], 1.0)
    hours = seconds[-1] * (large / listeners[-1]) ** power / 3600
    return {
        "name": "publish_parts",
        "about": f"Publishing parts of a release of {whole.counts['user_profile']:,} listeners",
        "columns": [
            "share",
            "listeners",
            "documents",
            "MB of Parquet",
            "wall s",
            "CPU s",
            "documents a CPU s",
            "MB on disk",
        ],
        "rows": rows,
        "growth": growth,
        "cpu_hours_of_L": hours,
        "peak_rss_bytes": peak_memory(),
        "notes": [
            "CPU seconds of this process and the server grow as listeners to the power of "
            + ", ".join(f"{power:.2f}" for power in growth),
            f"all of L, {large:,} listeners, would take {hours:.1f} CPU hours, at best half as many on two cores",
        ],
    }


def _published(home: Path, whole: Manifest, share: float) -> list[Any]:
    """Listeners, documents, MB of Parquet, wall and CPU seconds, documents a CPU second, MB on the server's disk."""
    with tempfile.TemporaryDirectory() as scratch, server(Path(scratch) / "server") as (database, process):
        part, size = part_of(home, whole, Path(scratch), share)
        plan.apply(database)
        spent = timed(process, lambda: _send(database, Path(scratch), part))
        documents = sum(part.counts[output] for output in OUTPUTS)
        stored = sum(path.stat().st_size for path in (Path(scratch) / "server").rglob("*") if path.is_file())
        return [
            part.counts["user_profile"],
            documents,
            round(size / 1e6, 1),
            *_rounded(spent),
            round(documents / spent.cpu_s, 1),
            round(stored / 1e6, 1),
        ]


def _send(database: Database[dict[str, Any]], home: Path, part: Manifest) -> None:
    with hold_lease(database) as token:
        verify(database, part, upload(database, home, part, token))


def _rounded(spent: Spent) -> list[float]:
    return [round(spent.wall_s, 2), round(spent.cpu_s, 2)]


def part_of(home: Path, whole: Manifest, target: Path, share: float) -> tuple[Manifest, int]:
    """A release of the first listeners and tracks of another, under `target`; and the bytes of its files.

    Args:
        home: of the whole release.
        whole: its manifest.
        target: a data folder.
        share: of listeners and of tracks.
    """
    source, folder = release_folder(home, whole.id), release_folder(target, whole.id)
    folder.mkdir(parents=True)
    chosen: dict[str, pa.Array] = {}
    counts = dict(whole.counts)
    for name, output in (("user_id", "user_profile"), ("track_id", "track_embedding")):
        ids = pq.read_table(source / f"{output}.parquet", columns=[name])[name].combine_chunks()
        chosen[name] = ids.slice(0, max(round(len(ids) * share), 1))
    for output, key in KEYS.items():
        file = pq.ParquetFile(source / f"{output}.parquet")
        rows = 0
        with pq.ParquetWriter(folder / f"{output}.parquet", file.schema_arrow) as writer:
            kept: list[pa.Table] = []
            last = chosen[key][-1].as_py()
            for group in range(file.num_row_groups):
                if file.read_row_group(group, columns=[key])[key][0].as_py() > last:
                    break  # rows ascend by id
                table = file.read_row_group(group)
                kept.append(table.filter(pc.is_in(table[key], chosen[key])))
                rows += kept[-1].num_rows
                if sum(piece.num_rows for piece in kept) >= ROW_GROUPS[output]:
                    writer.write_table(pa.concat_tables(kept), row_group_size=ROW_GROUPS[output])
                    kept = []
            if kept:
                writer.write_table(pa.concat_tables(kept), row_group_size=ROW_GROUPS[output])
        counts[output] = rows
    (folder / "tracks.parquet").symlink_to(source / "tracks.parquet")
    size = sum((folder / f"{output}.parquet").stat().st_size for output in KEYS)
    return replace(whole, counts=counts), size


if __name__ == "__main__":
    main()
