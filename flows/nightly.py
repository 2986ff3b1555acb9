"""The nightly flow: schema, snapshot, build, gate, upload, verify, switch. Thin: it passes paths and ids."""

# No postponed annotations in this module: Prefect reads them when it makes the parameter schema.

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import get_run_context
from prefect.tasks import Task, exponential_backoff
from pydantic import BaseModel, ConfigDict

from features.database import open_database
from features.errors import GateError, NotFoundError, UnreachableError
from features.evaluate.gate import Check, verdict
from features.parameters import NightlyParameters, resolve_as_of
from features.progress import Progress, silent
from features.release.build import build_release
from features.release.ledger import hold_lease, read_pointer, record
from features.release.manifest import Manifest, read_manifest, release_id
from features.release.mirror import mirror_cache
from features.release.publish import publish_release
from features.schema import plan
from features.settings import get_settings
from features.snapshot.stored import open_snapshot
from features.snapshot.take import take_snapshot
from flows.summary import contents_table, summary_markdown


class Result(BaseModel):
    """What a nightly run did."""

    model_config = ConfigDict(frozen=True)

    release: str
    published: bool
    """False when the release was live already and nothing was written."""
    counts: dict[str, int]


class _Reporter:
    """Where progress goes; the command line puts its bars here, a worker leaves it silent."""

    progress: Progress = staticmethod(silent)


reporter = _Reporter()


def on_lost_connections(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retries what a lost connection broke, and nothing else: a bad parameter fails the same way again."""
    try:
        state.result()
    except UnreachableError:
        return True
    except Exception:  # noqa: BLE001 - whatever else it is, it is not retried
        return False
    return False


def _stage(name: str) -> Any:
    return task(
        name=name,
        cache_policy=NO_CACHE,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=5),
        retry_jitter_factor=0.5,
        retry_condition_fn=on_lost_connections,
    )


@_stage("schema")
def keep_schema() -> None:
    """Makes the database keep the contract, as far as its documents allow."""
    with open_database(get_settings()) as database:
        applied = plan.apply(database)
    log = get_run_logger()
    log.info("schema: %d changes", len(applied.made))
    for refused in applied.refused:
        log.warning("schema: %s", refused)


@_stage("snapshot")
def snapshot_inputs(bound: datetime) -> str:
    """Everything known up to `bound` to Parquet; returns the snapshot's digest."""
    settings = get_settings()
    with open_database(settings) as database:
        return take_snapshot(
            database, settings.echotune_home, bound, reporter.progress, settings.echotune_hash_key
        ).digest


@_stage("build")
def build(as_of: datetime, parameters: NightlyParameters) -> str:
    """Snapshot to Parquet files of a release; returns its id. What is built already is not built again."""
    settings = get_settings()
    snapshot = open_snapshot(settings.echotune_home, settings.mongodb_database)
    release = release_id(as_of, parameters, snapshot.digest)
    try:
        return read_manifest(settings.echotune_home, release).id
    except NotFoundError:
        return build_release(snapshot, settings.echotune_home, parameters, as_of, reporter.progress).id


@_stage("publish")
def publish(release: str, token: int) -> None:
    """Upload, without who was erased since it was built, verify, tell the events, switch."""
    settings = get_settings()
    with open_database(settings) as database:
        publish_release(
            database,
            settings.echotune_home,
            release,
            token,
            settings.echotune_hash_key,
            settings.echotune_vectors,
            reporter.progress,
        )


@_stage("mirror")
def mirror(release: str, token: int) -> int:
    """The live lists into the cache of the older clients; returns how many."""
    settings = get_settings()
    manifest = read_manifest(settings.echotune_home, release)
    with open_database(settings) as database:
        return mirror_cache(database, settings.echotune_home, manifest, token, reporter.progress)


def _run_name() -> str:
    as_of = get_run_context().parameters.get("as_of")  # type: ignore[union-attr]
    return f"nightly {as_of or datetime.now(UTC).date()}"


@flow(name="nightly", flow_run_name=_run_name, validate_parameters=True)
def nightly(
    as_of: str | None = None,
    parameters: NightlyParameters = NightlyParameters(),  # noqa: B008 - frozen
    gate: bool = True,
    mirror_lists: bool = False,
) -> Result:
    """Builds the release of one day and makes it the one that readers follow.

    Args:
        as_of: a date (to its end, UTC) or a date and time; today by default.
        parameters: what shapes the release; part of its id.
        gate: False publishes even what fails its checks; the verdict is recorded either way.
        mirror_lists: True also writes the lists into `recommendations_cache`, for the app's older clients.

    Raises:
        InputError: a bad `as_of`, or no plays to build from.
        DatabaseError: the database can't be reached after retries, or refuses.
        StorageError: the data folder can't be written.
        GateError: a check failed; readers keep the live release.
        BusyError: another run is at work.
    """
    log = get_run_logger()
    bound = datetime.now(UTC)
    moment = resolve_as_of(as_of, bound)
    settings = get_settings()
    with open_database(settings) as database:
        keep_schema()
        with hold_lease(database) as token:
            digest = snapshot_inputs(bound)
            pointer = read_pointer(database)
            if pointer and pointer.release == release_id(moment, parameters, digest):
                log.info("release %s is live already; nothing has changed since", pointer.release)
                manifest = read_manifest_or_none(settings.echotune_home, pointer.release)
                counts = manifest.counts if manifest else {}
                if mirror_lists and manifest:
                    mirror(manifest.id, token)
                return Result(release=pointer.release, published=False, counts=counts)
            release = build(moment, parameters)
            manifest = read_manifest(settings.echotune_home, release)
            report(manifest)
            pass_gate(manifest, database, token, gate=gate)
            publish(release, token)
            if mirror_lists:
                mirror(release, token)
    log.info("release %s live", release)
    return Result(release=release, published=True, counts=manifest.counts)


def read_manifest_or_none(home: Path, release: str) -> Manifest | None:
    """A release's manifest; None when its folder is on another machine or gone."""
    try:
        return read_manifest(home, release)
    except NotFoundError:
        return None


def pass_gate(manifest: Manifest, database: Any, token: int, *, gate: bool) -> None:
    """Stops a release that failed a check, unless told not to; its verdict is recorded.

    Raises:
        GateError: names the first failed check.
    """
    line = verdict([Check(**check) for check in manifest.checks])
    get_run_logger().info("gate: %s", line)
    if manifest.passed or not gate:
        return
    record(database, manifest, token, "failed")
    raise GateError(
        f"release {manifest.id} is not published: {line}; readers keep the live one, see "
        f"`echotune releases show {manifest.id}`, or pass --no-gate"
    )


def report(manifest: Manifest) -> None:
    """Artifacts on the run's page: a table of what the release holds, and a summary."""
    create_table_artifact(
        key="release-contents", table=contents_table(manifest), description=f"What {manifest.id} holds"
    )
    create_markdown_artifact(
        key="release-summary", markdown=summary_markdown(manifest), description=f"Summary of {manifest.id}"
    )
