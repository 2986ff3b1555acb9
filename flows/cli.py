"""The `echotune` command: assembles the families of commands and turns errors into one line and a status."""

import os
import sys
from typing import Annotated

import typer
from rich.traceback import install as install_traceback
from typer.exceptions import TyperException

import features
from features.errors import EchotuneError
from flows.commands import (
    attribution,
    backfill,
    database,
    demo,
    doctor,
    erase,
    evaluate,
    importing,
    nightly,
    reading,
    releases,
    schema,
)

app = typer.Typer(
    name="echotune",
    help="Batch feature store for music on MongoDB: profiles, embeddings, similar listeners, recommendations.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(importing.app, name="import")
app.command()(importing.sample)
app.command(name="nightly")(nightly.run)
app.command(name="backfill")(backfill.run)
app.command(name="attribution")(attribution.run)
app.command(name="evaluate")(evaluate.run)
app.add_typer(releases.app, name="releases")
app.command()(reading.profile)
app.command(name="similar-users")(reading.similar_users)
app.command(name="similar-tracks")(reading.similar_tracks)
app.command()(reading.recommend)
app.command()(doctor.doctor)
app.command(name="erase")(erase.erase)
app.add_typer(schema.app, name="schema")
app.add_typer(database.app, name="db")
app.command()(demo.demo)

INTERRUPTED = 130
UNEXPECTED = 70
"""sysexits.h: an internal software error."""


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"echotune {features.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Batch feature store for music on MongoDB: profiles, embeddings, similar listeners, recommendations."""
    if debug:
        os.environ["ECHOTUNE_DEBUG"] = "1"
        install_traceback(show_locals=False)


def main() -> None:
    """Runs the command line; every error is one line on standard error and a non-zero status."""
    try:
        status = app(prog_name="echotune", standalone_mode=False)
    except TyperException as error:
        _fail(str(getattr(error, "format_message", error.__str__)()), 2)
    except EchotuneError as error:
        _fail(str(error), error.exit_status, error)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; run the command again, it goes on where it stopped", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: `| head`
    except Exception as error:  # noqa: BLE001 - the last line of defence
        _fail(f"unexpected {type(error).__name__}; run again with --debug to see where", UNEXPECTED, error)
    else:
        if isinstance(status, int):  # what typer.Exit was raised with
            raise SystemExit(status)


def _fail(message: str, status: int, error: BaseException | None = None) -> None:
    if error is not None and os.environ.get("ECHOTUNE_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
