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
    Literal["error", "warn"],
    typer.Option(help="What the server does with a document that breaks its validator."),
]


@app.command()
def plan(validation: Validation = "error", *, as_json: Json = False) -> None:
    """Show what differs from the contract; changes nothing."""
    with open_database(get_settings()) as database:
        changes = planning.plan(database, validation)
    if as_json:
        show_json([change.__dict__ for change in changes])
        return
    for change in changes:
        say(str(change))
    say(f"{len(changes)} changes to make" if changes else "the database keeps the contract, nothing to change")


@app.command()
def apply(validation: Validation = "error") -> None:
    """Make the database keep the contract; twice is once. Drops no data."""
    with open_database(get_settings()) as database:
        changes = planning.apply(database, validation)
    for change in changes:
        say(str(change))
    say(f"{len(changes)} changes made" if changes else "the database keeps the contract, nothing changed")
