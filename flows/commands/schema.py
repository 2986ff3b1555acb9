"""`echotune schema …`."""

from typing import Annotated, Literal

import typer

from features.database import open_database
from features.schema import plan as planning
from features.settings import get_settings
from flows.commands.options import Json
from flows.console import say, show_json

app = typer.Typer(no_args_is_help=True, help="Collections, validators and indexes, as the contract has them.")

Validation = Annotated[
    Literal["error", "warn"] | None,
    typer.Option(
        help="What the server does with a document that breaks its validator; as it is now, error where it is new."
    ),
]
Retention = Annotated[
    int | None,
    typer.Option("--history-retention-days", min=0, max=36_500, help="Let the database remove older plays; 0: never."),
]
DropExtra = Annotated[bool, typer.Option("--drop-extra", help="Drop indexes that the contract doesn't know.")]


@app.command()
def plan(
    validation: Validation = None,
    history_retention_days: Retention = None,
    *,
    drop_extra: DropExtra = False,
    as_json: Json = False,
) -> None:
    """Show what differs from the contract; changes nothing."""
    choices = planning.Choices(validation, history_retention_days, drop_extra)
    with open_database(get_settings()) as database:
        changes = planning.plan(database, choices)
        extra = [] if drop_extra else planning.extra_indexes(database)
    if as_json:
        show_json({"changes": [change.__dict__ for change in changes], "extra": [".".join(name) for name in extra]})
        return
    for change in changes:
        say(str(change))
    for collection, name in extra:
        say(f"  extra index {collection}.{name}: kept, --drop-extra drops it")
    say(f"{len(changes)} changes to make" if changes else "the database keeps the contract, nothing to change")


@app.command()
def apply(
    validation: Validation = None, history_retention_days: Retention = None, *, drop_extra: DropExtra = False
) -> None:
    """Make the database keep the contract; twice is once. Removes no document. Status 1: a step was refused."""
    choices = planning.Choices(validation, history_retention_days, drop_extra)
    with open_database(get_settings()) as database:
        applied = planning.apply(database, choices)
    for change in applied.made:
        say(str(change))
    for refused in applied.refused:
        say(str(refused))
    made = f"{len(applied.made)} changes made" if applied.made else "nothing changed"
    if applied.refused:
        say(f"{made}, {len(applied.refused)} refused")
        raise typer.Exit(1)
    say(made if applied.made else "the database keeps the contract, nothing changed")
