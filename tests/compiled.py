"""Two small nights, for numba to compile what they need once: else each of a test run's processes compiles it anew.

`make test` runs this beside the first tests, which need little of it; what is compiled is kept beside the sources.
"""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pymongo import MongoClient

from features.embedded import embedded_server
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.schema import plan
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

LARGE = {"ranking": {"dense_cells": 0}}
"""As if there were too many listeners and tracks to score all."""


def main() -> None:
    """Imports a sample, reads it, and builds a release of it in the small way and in the large."""
    now = datetime.now(UTC)
    with (
        TemporaryDirectory() as folder,
        embedded_server(Path(folder) / "server") as uri,
        MongoClient(uri, tz_aware=True) as client,
    ):
        database, home = client["compiled"], Path(folder) / "home"
        plan.apply(database)
        sample = make_sample(SampleSpec(users=60, tracks=150, days=20, seed=3), end=now)
        write_sample(database, sample, home=home, now=now)
        inputs = take_snapshot(database, home, now)
        for parameters in ({}, LARGE):
            build_release(inputs, home, NightlyParameters.model_validate(parameters), now)


if __name__ == "__main__":
    main()
