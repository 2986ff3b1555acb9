"""`echotune nightly`: the flow as a plain command."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from features.database import open_database
from features.errors import EchotuneError, StorageError
from features.memory_limit import resolve_memory_limit
from features.parameter_file import find_parameter_file, words_of
from features.parameters import resolve_moments, with_settings
from features.settings import get_settings
from features.storage import translated_storage_errors
from flows.commands.options import NoParameterFile, Pairs, ParametersFile
from flows.console import progress_bars, say, show_table
from flows.shards import RunnerName, check_runner

MIN_FREE_BYTES = 64_000_000
"""Below this a run would fail half-way, or not even get Prefect's own small database written."""
START_TIMEOUT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"


def run(
    *,
    as_of: Annotated[
        str | None, typer.Option(help="A date (to its end) or a date and time, UTC; today by default.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(help="Leave out what became known after it; written as --as-of, which it then is too.")
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Publish even what fails its checks.")] = False,
    mirror_lists: Annotated[
        bool, typer.Option("--mirror-cache", help="Also write the lists into recommendations_cache.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Read all plays anew: those changed in place are not noticed otherwise.")
    ] = False,
    settings_pairs: Pairs = None,
    parameters_file: ParametersFile = None,
    no_parameter_file: NoParameterFile = False,
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory the build may take, such as 8GB: it works on less at once, no more.")
    ] = None,
    runner: Annotated[
        RunnerName, typer.Option(help="Who works on shards: this process, or a Dask cluster. The release is the same.")
    ] = "local",
    dask_address: Annotated[
        str | None, typer.Option(help="The cluster's scheduler, tcp://HOST:PORT; one on this machine by default.")
    ] = None,
) -> None:
    """Build the day's release and make it live, then note what listeners made of the lists they had."""
    publish_release(
        as_of=as_of,
        known_at=known_at,
        gate=not no_gate,
        pairs=settings_pairs or [],
        mirror_lists=mirror_lists,
        whole=whole,
        parameters_file=parameters_file,
        use_parameter_file=not no_parameter_file,
        memory_limit=memory_limit,
        runner=runner,
        dask_address=dask_address,
    )


def publish_release(
    *,
    as_of: str | None = None,
    known_at: str | None = None,
    gate: bool,
    pairs: list[str],
    mirror_lists: bool = False,
    whole: bool = False,
    parameters_file: Path | None = None,
    use_parameter_file: bool = True,
    memory_limit: str | None = None,
    runner: RunnerName = "local",
    dask_address: str | None = None,
) -> None:
    """Runs the flow in this process and prints what it did; the last line is `release ID live`."""
    parameters = with_settings(pairs)
    resolve_moments(as_of, known_at, datetime.now(UTC))  # a wrong date shows before anything is started
    if memory_limit is not None:
        resolve_memory_limit(memory_limit)
    check_runner(runner, dask_address)
    settings = get_settings()
    file = (
        find_parameter_file(settings.echotune_home, parameters_file) if use_parameter_file else None
    )  # so does a broken one
    with open_database(settings):  # a wrong address or password shows at once, before Prefect starts
        with flow_runs(settings.echotune_home):
            from flows.nightly import nightly, read_manifest_or_none
            from flows.summary import contents_table, inputs_table, stages_table

            result = nightly(
                as_of=as_of,
                known_at=known_at,
                parameters=parameters,
                gate=gate,
                mirror_lists=mirror_lists,
                whole=whole,
                parameter_file=parameters_file,
                use_parameter_file=use_parameter_file,
                memory_limit=memory_limit,
                runner=runner,
                dask_address=dask_address,
            )
        manifest = read_manifest_or_none(settings.echotune_home, result.release)
    if file is not None:
        say(words_of(file))
    for note in result.taken.notes:
        say(note)
    say(f"asked the database for {result.taken.documents:,} documents, {result.taken.bytes / 1e6:,.1f} MB")
    if not result.published:
        say(f"release {result.release} exists and is live; nothing has changed since, nothing was written")
    elif manifest:
        show_table(inputs_table(manifest), title="Read")
        show_table(contents_table(manifest), title="Written")
        show_table(stages_table(manifest), title="Took")
    say(f"attribution: {result.attributed.in_words()}")
    say(f"release {result.release} live")


@contextmanager
def flow_runs(home: Path) -> Iterator[None]:
    """For a flow that runs in this process: Prefect prepared, progress shown.

    Raises:
        StorageError: the data folder can't be written, or its disk is nearly full.
        EchotuneError: Prefect's temporary server did not start in time.
    """
    prepare_prefect(home)
    from flows.nightly import reporter

    try:
        with progress_bars() as progress:
            reporter.progress = progress
            yield
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        raise EchotuneError(
            f"Prefect's temporary server did not start within {os.environ[START_TIMEOUT]} s; run again when the "
            f"machine is less busy, set {START_TIMEOUT} higher, or PREFECT_API_URL to a server that runs"
        ) from error


def prepare_prefect(home: Path) -> None:
    """Lets Prefect run in this process without leaving anything in the user's own folders or on the console.

    Who has pointed Prefect at a server, by the environment or a profile, keeps that and its logs.

    Raises:
        StorageError: the data folder can't be written, or its disk is nearly full.
    """
    os.environ.setdefault(START_TIMEOUT, "120")  # 8 to 12 s where nothing else is at work
    with translated_storage_errors(home):
        (home / "prefect").mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        raise StorageError(
            f"only {free / 1e6:.0f} MB are free under {home}, a run needs {MIN_FREE_BYTES / 1e6:.0f} at least; "
            "free some space or set ECHOTUNE_HOME to another disk"
        )
    has_profile = (Path.home() / ".prefect" / "profiles.toml").exists()
    if "PREFECT_API_URL" in os.environ or "PREFECT_HOME" in os.environ or has_profile:
        return
    os.environ["PREFECT_HOME"] = str((home / "prefect").resolve())
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # errors reach the user as one line, from the command line's own handler
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if os.environ.get("ECHOTUNE_DEBUG") else "CRITICAL")
