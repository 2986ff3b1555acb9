"""`echotune backfill`: past releases as they would have been known then."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from features.database import open_database
from features.parameter_file import find_parameter_file, words_of
from features.parameters import moments_between, with_settings
from features.settings import get_settings
from flows.commands.nightly import flow_runs
from flows.commands.options import Json, NoParameterFile, Pairs, ParametersFile
from flows.console import say, show_json, show_table


def run(
    *,
    first: Annotated[str, typer.Option("--from", help="A date (to its end) or a date and time, UTC.")],
    last: Annotated[str, typer.Option("--to", help="Likewise; must be over.")],
    every: Annotated[str, typer.Option(help="The step: 1d, 12h, 1w.")] = "1d",
    settings_pairs: Pairs = None,
    parameters_file: ParametersFile = None,
    no_parameter_file: NoParameterFile = False,
    as_json: Json = False,
) -> None:
    """Build past releases as they would have been known then, on disk only; readers keep the live one."""
    parameters = with_settings(settings_pairs or [])
    moments_between(first, last, every, datetime.now(UTC))  # a wrong one shows before anything is started
    settings = get_settings()
    file = None if no_parameter_file else find_parameter_file(settings.echotune_home, parameters_file)
    with open_database(settings), flow_runs(settings.echotune_home):
        from flows.backfill import backfill

        done = backfill(first, last, every, parameters, parameters_file, not no_parameter_file)
    if as_json:
        show_json([entry.model_dump() for entry in done])
        return
    if file is not None:
        say(words_of(file))
    rows = [
        {
            "moment": entry.moment,
            "release": entry.release or "nothing was known yet",
            "plays": entry.plays,
            "built": entry.built,
        }
        for entry in done
    ]
    show_table(rows, title="Past releases")
    built = sum(entry.built for entry in done)
    there = sum(bool(entry.release) for entry in done) - built
    say(f"{built} built, {there} there already, under {settings.echotune_home / 'releases'}; the live one is untouched")
