"""Feast in a Python of its own: it wants an older pandas than we do, so it is asked over a pipe.

`python worker.py FOLDER URI` makes a repository of `users.parquet` in the folder (`user_id`, `vector`,
`event_timestamp`), says so in a line, and for each line of its input materializes it and answers with the seconds of
CPU that took. It imports nothing of this repository.
"""

import os
import resource
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "FEAST_USAGE": "False", "DO_NOT_TRACK": "1"})
warnings.filterwarnings("ignore")

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType  # noqa: E402
from feast.types import Array, Float64  # noqa: E402

VIEW = "user_profile"


def main() -> None:
    """Answers until its input ends."""
    folder, uri = Path(sys.argv[1]), sys.argv[2]
    out = sys.stdout
    sys.stdout = sys.stderr  # its progress bars go there
    store = repository(folder, uri)
    print("ready", file=out, flush=True)
    for _ in sys.stdin:
        cpu, now = cpu_s(), datetime.now(UTC)
        store.materialize(now - timedelta(days=300), now, feature_views=[VIEW])
        print(cpu_s() - cpu, file=out, flush=True)


def repository(folder: Path, uri: str) -> FeatureStore:
    """One view of one entity, its rows in a Parquet file, its online store in MongoDB."""
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "mongodb", "connection_string": uri, "database_name": "feast"},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    source = FileSource(path=str(folder / "users.parquet"), timestamp_field="event_timestamp")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    schema = [Field(name="vector", dtype=Array(Float64))]
    store.apply([user, FeatureView(name=VIEW, entities=[user], schema=schema, source=source, ttl=timedelta(days=365))])
    return store


def cpu_s() -> float:
    """Seconds of CPU of this process so far, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
