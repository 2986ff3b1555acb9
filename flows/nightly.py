"""The nightly flow: schema, snapshot, build, gate, publish, prune, attribute. Thin: it passes paths and ids."""

# No postponed annotations in this module: Prefect reads them when it makes the parameter schema.

from collections.abc import Iterator
from contextlib import contextmanager
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
from pymongo.database import Database

from features.attribution.attribute import Attributed, attribute_feedback
from features.compute.budget import Budget
from features.compute.runner import Runner
from features.database import Document, open_database, remove_expired
from features.errors import DatabaseError, GateError, NotFoundError, UnreachableError
from features.memory_limit import in_words, resolve_memory_limit
from features.parameter_file import find_parameter_file, laid_under, words_of
from features.parameters import GateParameters, NightlyParameters, resolve_moments
from features.progress import Progress, silent
from features.release.build import build_release
from features.release.ledger import find_release, hold_lease, read_pointer
from features.release.manifest import Manifest, read_manifest, release_id
from features.release.mirror import mirror_cache
from features.release.publish import must_be_written, publish_release
from features.release.reference import find_reference
from features.release.retention import prune
from features.release.verdict import pass_gate
from features.schema import plan
from features.settings import get_settings
from features.snapshot.clocks import open_inputs
from features.snapshot.take import take_snapshot
from flows.shards import RunnerName, open_runner
from flows.summary import contents_table, summary_markdown


class Taken(BaseModel):
    """What the snapshot asked of the database."""

    model_config = ConfigDict(frozen=True)

    documents: int
    bytes: int
    notes: list[str]
    """What was found damaged or gone, and read anew."""


class Result(BaseModel):
    """What a nightly run did."""

    model_config = ConfigDict(frozen=True)

    release: str
    published: bool
    """False when the release was live already and nothing was written."""
    counts: dict[str, int]
    taken: Taken
    attributed: Attributed


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


def stage(name: str) -> Any:
    """A task of a flow: not cached, tried again when the connection is lost."""
    return task(
        name=name,
        cache_policy=NO_CACHE,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=5),
        retry_jitter_factor=0.5,
        retry_condition_fn=on_lost_connections,
    )


@stage("schema")
def keep_schema() -> None:
    """Makes the database keep the contract, as far as its documents allow."""
    with open_database(get_settings()) as database:
        applied = plan.apply(database)
    log = get_run_logger()
    log.info("schema: %d changes", len(applied.made))
    for refused in applied.refused:
        log.warning("schema: %s", refused)


@stage("snapshot")
def snapshot_inputs(bound: datetime, whole: bool, shards: Runner | None = None) -> Taken:
    """Everything known up to `bound` to Parquet; what was read before is not read again."""
    settings = get_settings()
    with open_database(settings) as database:
        snapshot = take_snapshot(
            *(database, settings.echotune_home, bound, reporter.progress, settings.echotune_hash_key),
            whole=whole,
            runner=shards,
        )
    log = get_run_logger()
    for name, table in snapshot.tables.items():
        log.info("%s: %d used, %d documents fetched", name, table.used, table.fetched[0])
    for note in snapshot.notes:
        log.warning("snapshot: %s", note)
    fetched = [table.fetched for table in snapshot.tables.values()]
    documents, size = (sum(figures) for figures in zip(*fetched, strict=True))
    return Taken(documents=documents, bytes=size, notes=list(snapshot.notes))


@stage("build")
def build(
    as_of: datetime,
    known_at: datetime | None,
    parameters: NightlyParameters,
    live: str | None,
    memory_limit: int | None = None,
    shards: Runner | None = None,
) -> str:
    """Snapshot to Parquet files of a release; returns its id. What is there already is not built again.

    That is the live release too, when it was built from the same: its own reference is then looked at.
    """
    settings = get_settings()
    home = settings.echotune_home
    inputs = open_inputs(home, settings.mongodb_database, known_at)
    with open_database(settings) as database:
        if live is not None:
            turned_onto = find_release(database, live).get("alignedTo")
            if live == release_id(as_of, parameters, inputs.digest, turned_onto):
                return live
        reference = find_reference(database, home, live) if live else None
    release = release_id(as_of, parameters, inputs.digest, reference.release if reference else None)
    try:
        return read_manifest(home, release).id
    except NotFoundError:
        budget = Budget(memory_limit or settings.memory_limit)
        built = build_release(
            *(inputs, home, parameters, as_of, reporter.progress),
            reference=reference,
            budget=budget,
            runner=shards,
        )
        most = max(built.peak_memory.values(), default=0)
        if most > budget.limit_bytes:
            get_run_logger().warning(
                "the build held %s, more than its limit of %s: what it keeps of the inputs takes as much",
                *(in_words(most), in_words(budget.limit_bytes)),
            )
        return built.id


@stage("gate")
def check(release: str, token: int, how: GateParameters, gate: bool) -> str:
    """Judges a release beside recent nights and the live one; returns the verdict, or raises it."""
    settings = get_settings()
    with open_database(settings) as database:
        return pass_gate(database, settings.echotune_home, release, token, how, gate=gate)


@stage("publish")
def publish(release: str, token: int, shards: Runner | None = None) -> None:
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
            shards,
        )


@stage("prune")
def prune_releases(token: int) -> int:
    """Lets go of releases beyond those that are kept; returns of how many things."""
    settings = get_settings()
    with open_database(settings) as database:
        removed = prune(
            database,
            settings.echotune_home,
            token,
            settings.echotune_keep_releases,
            datetime.now(UTC),
            progress=reporter.progress,
        )
    for removal in removed:
        get_run_logger().info("prune: %s of %s: %s", removal.what, removal.release, removal.why)
    return len(removed)


@stage("attribute")
def attribute(token: int) -> Attributed:
    """What listeners made of the lists they got, into these and the releases' scorecards."""
    settings = get_settings()
    with open_database(settings) as database:
        done = attribute_feedback(
            database,
            settings.echotune_home,
            token,
            datetime.now(UTC),
            settings.echotune_hash_key,
            reporter.progress,
        )
    log = get_run_logger()
    log.info("attribution: %s", done.in_words())
    for reason, count in done.set_aside.items():
        log.warning("attribution: %d set aside: %s", count, reason)
    return done


@stage("mirror")
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
    known_at: str | None = None,
    parameters: NightlyParameters = NightlyParameters(),  # noqa: B008 - frozen
    gate: bool = True,
    mirror_lists: bool = False,
    whole: bool = False,
    parameter_file: Path | None = None,
    use_parameter_file: bool = True,
    memory_limit: str | None = None,
    runner: RunnerName = "local",
    dask_address: str | None = None,
) -> Result:
    """Builds the release of one day and makes it the one that readers follow.

    Args:
        as_of: a date (to its end, UTC) or a date and time; by default `known_at`, else today.
        known_at: likewise; what became known later is left out. By default all counts that is known now.
        parameters: what shapes the release, part of its id; and the gate's limits, which are not.
        gate: False publishes even what fails its checks; the verdict is recorded either way.
        mirror_lists: True also writes the lists into `recommendations_cache`, for the app's older clients.
        whole: True reads all plays anew, also those that were read before.
        parameter_file: written by `echotune evaluate --tune`, under what `parameters` says of models; the data folder's
            own by default, where there is one.
        use_parameter_file: False goes without.
        memory_limit: such as `8GB`, of the build; sizes of blocks follow from it, and nothing else. By default as the
            environment has it.
        runner: `dask` has shards of the work done by a Dask cluster; the release is the same.
        dask_address: of its scheduler, such as `tcp://HOST:8786`; by default a cluster on this machine, for this run.

    Raises:
        ClusterError: the Dask cluster can't be reached or used.
        InputError: a bad moment, a broken parameter file, or no plays to build from.
        DatabaseError: the database can't be reached after retries, or refuses.
        StorageError: the data folder can't be written.
        GateError: a check failed; readers keep the live release.
        BusyError: another run is at work.
    """
    log = get_run_logger()
    bound = now()
    moment, known = resolve_moments(as_of, known_at, bound)
    settings = get_settings()
    limit = None if memory_limit is None else resolve_memory_limit(memory_limit)
    if use_parameter_file:
        parameters = with_parameter_file(parameters, parameter_file)
    with open_runner(runner, dask_address) as shards, open_database(settings) as database:
        if shards is not None:
            log.info("shards are worked on by %d Dask workers", shards.workers)
        keep_schema()
        with swept(database), hold_lease(database) as token:
            taken = snapshot_inputs(bound, whole, shards)
            pointer = read_pointer(database)
            live = pointer.release if pointer else None
            release = build(moment, known, parameters, live, limit, shards)
            if release == live:
                log.info("release %s is what the inputs give, and live already", live)
            else:
                report(read_manifest(settings.echotune_home, release))
                try:
                    log.info("gate: %s", check(release, token, parameters.gate, gate))
                except GateError:
                    prune_releases(token)  # a row of bad nights leaves folders too
                    attribute(token)  # and listeners go on with the lists they have
                    raise
            manifest = read_manifest_or_none(settings.echotune_home, release)
            published = False
            if manifest is not None:  # of a live one the books may be unfinished, or documents lost
                # asked here: where publishing is tried again, the first try may have written
                published = release != live or must_be_written(database, release)
                publish(release, token, shards)
                if mirror_lists:
                    mirror(release, token)
            prune_releases(token)
            attributed = attribute(token)
    log.info("release %s live", release)
    counts = manifest.counts if manifest else {}
    return Result(release=release, published=published, counts=counts, taken=taken, attributed=attributed)


@contextmanager
def swept(database: Database[Document]) -> Iterator[None]:
    """Sweeps after a night, also after one that the gate stopped: that lets go of releases, too."""
    try:
        yield
    except GateError:
        sweep(database)
        raise
    sweep(database)


def sweep(database: Database[Document]) -> None:
    """Has the built-in server remove what has expired; where it can't, the next night asks again."""
    try:
        remove_expired(database, get_settings())
    except DatabaseError as error:
        get_run_logger().warning("what has expired is removed another time: %s", error)


def now() -> datetime:
    """The moment of a run: what became known later is left for the next one."""
    return datetime.now(UTC)


def with_parameter_file(parameters: NightlyParameters, path: Path | None) -> NightlyParameters:
    """Parameters over those of a file: the given one, else the data folder's, if any; which it was is logged.

    Raises:
        InputError: it is not there or broken.
    """
    file = find_parameter_file(get_settings().echotune_home, path)
    if file is not None:
        get_run_logger().info("%s", words_of(file))
    return laid_under(parameters, file)


def read_manifest_or_none(home: Path, release: str) -> Manifest | None:
    """A release's manifest; None when its folder is on another machine or gone."""
    try:
        return read_manifest(home, release)
    except NotFoundError:
        return None


def report(manifest: Manifest) -> None:
    """Artifacts on the run's page: a table of what the release holds, and a summary."""
    create_table_artifact(
        key="release-contents", table=contents_table(manifest), description=f"What {manifest.id} holds"
    )
    create_markdown_artifact(
        key="release-summary", markdown=summary_markdown(manifest), description=f"Summary of {manifest.id}"
    )
