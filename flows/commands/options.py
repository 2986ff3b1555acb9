"""Options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
K = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")]
Pairs = Annotated[list[str] | None, typer.Option("--set", help="name=value, such as recommendations.k=50. Repeatable.")]
