"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
K = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")]
Pairs = Annotated[list[str] | None, typer.Option("--set", help="name=value, such as recommendations.k=50. Repeatable.")]
ParametersFile = Annotated[
    Path | None,
    typer.Option("--parameters", help="A file written by `evaluate --tune`; the data folder's own by default."),
]
NoParameterFile = Annotated[
    bool, typer.Option("--no-parameter-file", help="Go by the defaults and --set, whatever the data folder has.")
]
SplitName = Literal["time", "last", "random"]
"""How `evaluate` divides what is learned from and what is measured on."""
