"""The backfill flow: past releases as they would have been known then, for the offline store only."""

# No postponed annotations in this module: Prefect reads them when it makes the parameter schema.

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger
from pydantic import BaseModel, ConfigDict

from features.database import open_database
from features.errors import InputError, NotFoundError
from features.parameters import NightlyParameters, moments_between
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.manifest import read_manifest, release_id
from features.release.reference import last_backfill, read_reference
from features.settings import get_settings
from features.snapshot.clocks import open_inputs
from flows.nightly import keep_schema, now, reporter, snapshot_inputs, stage, with_parameter_file


class Backfilled(BaseModel):
    """What became of one moment."""

    model_config = ConfigDict(frozen=True)

    moment: datetime
    release: str | None
    """None where nothing was known yet."""
    built: bool
    """False when it was there already."""
    plays: int


@stage("build past")
def build_past(moment: datetime, parameters: NightlyParameters) -> Backfilled:
    """The release as of a moment and known by it, on disk; under the lease, so that no erasure runs beside it."""
    settings = get_settings()
    home = settings.echotune_home
    with open_database(settings) as database, hold_lease(database):
        inputs = open_inputs(home, settings.mongodb_database, moment)
        earlier = last_backfill(home, moment)
        reference = read_reference(home, earlier) if earlier else None
        release = release_id(moment, parameters, inputs.digest, earlier)
        try:
            manifest, built = read_manifest(home, release), False
        except NotFoundError:
            progress = reporter.progress
            manifest, built = (
                build_release(inputs, home, parameters, moment, progress, reference=reference, origin="backfill"),
                True,
            )
    return Backfilled(moment=moment, release=release, built=built, plays=manifest.counts["plays"])


@flow(name="backfill", validate_parameters=True)
def backfill(
    first: str,
    last: str,
    every: str = "1d",
    parameters: NightlyParameters = NightlyParameters(),  # noqa: B008 - frozen
    parameter_file: Path | None = None,
    use_parameter_file: bool = True,
) -> list[Backfilled]:
    """Builds past releases one after the other; what readers follow stays as it is.

    Each holds what was played before its moment and known by it. Tracks, accounts and settings bear no date and are
    as they are now. Embeddings are turned onto those of the backfill before. Between two builds another run may be
    at work; a nightly run that meets one is told so.

    Args:
        first: a date (to its end, UTC) or a date and time.
        last: likewise; must be over.
        every: the step, such as 1d, 12h or 1w.
        parameters: what shapes the releases.
        parameter_file: as for a nightly run.
        use_parameter_file: likewise.

    Raises:
        InputError: a bad moment or step, or a broken parameter file.
        DatabaseError, StorageError, BusyError: as for a nightly run; run again, it goes on where it stopped.
    """
    moments = moments_between(first, last, every, datetime.now(UTC))
    if use_parameter_file:
        parameters = with_parameter_file(parameters, parameter_file)
    log = get_run_logger()
    with open_database(get_settings()) as database:
        keep_schema()
        with hold_lease(database):
            snapshot_inputs(now(), whole=False)
        done = []
        for moment in moments:
            try:
                done.append(build_past(moment, parameters))
            except InputError as error:  # before the first play
                log.warning("%s: %s", moment, error)
                done.append(Backfilled(moment=moment, release=None, built=False, plays=0))
    return done
