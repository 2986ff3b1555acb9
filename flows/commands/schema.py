"""`echotune schema …`."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from features.database import open_database
from features.schema import check as checking
from features.schema import migrations
from features.schema import plan as planning
from features.schema import roles as granting
from features.settings import get_settings
from flows.commands.options import Json
from flows.console import progress_bars, say, show_json, show_table

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


@app.command()
def check(*, as_json: Json = False) -> None:
    """Say what is wrong with documents, references, secrets, indexes and queries; changes nothing.

    Status 1: something is.
    """
    with open_database(get_settings()) as database, progress_bars() as progress:
        findings = list(checking.check(database, progress))
    wrong = sum(finding.state == "wrong" for finding in findings)
    if as_json:
        show_json({"wrong": wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        show_table([_as_row(finding) for finding in findings])
        say(f"{wrong} of {len(findings)} checks found something wrong" if wrong else "nothing is wrong")
    if wrong:
        raise typer.Exit(1)


def _as_row(finding: checking.Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "of": finding.subject,
        "state": finding.state,
        "count": finding.count,
        "found": finding.what,
        "first ids": "\n".join(finding.ids),
        "do": finding.do,
    }


@app.command()
def roles(
    *,
    create: Annotated[bool, typer.Option("--create", help="Create or update them in the database.")] = False,
    as_json: Json = False,
) -> None:
    """Show the roles that the batch job's and readers' accounts need, for mongosh; changes nothing without --create."""
    settings = get_settings()
    if not create:
        if as_json:
            show_json([granting.definition(role, settings.mongodb_database) for role in granting.ROLES])
        else:
            say(granting.statements(settings.mongodb_database))
        return
    with open_database(settings) as database:
        outcomes = granting.create(database)
    if as_json:
        show_json(outcomes)
        return
    for name, outcome in outcomes.items():
        say(f"role {name} {outcome} in {settings.mongodb_database}")


@app.command()
def migrate(
    *,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only the migration of this name. Repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what there is to do; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Mend old forms in documents and indexes; twice is once, and an interrupted run is gone on with.

    Status 1: a document was refused.
    """
    settings = get_settings()
    reports: list[migrations.Report] = []
    try:
        with open_database(settings) as database, progress_bars() as progress:
            # those that ended before an error are in the list
            reports.extend(migrations.migrate(database, settings, only or (), dry_run=dry_run, progress=progress))
    finally:
        if reports:
            _show_migrations(reports, dry_run=dry_run, as_json=as_json)
    if any(report.refused for report in reports):
        raise typer.Exit(1)


def _show_migrations(reports: list[migrations.Report], *, dry_run: bool, as_json: bool) -> None:
    rows = [
        {
            "migration": report.migration,
            "read": report.before.read,
            "to do before": report.before.to_do,
            "changed": report.changed,
            "left": sum(report.after.left.values()),
            "refused": len(report.refused),
            "to do after": report.after.to_do,
        }
        for report in reports
    ]
    if as_json:
        more = [{"reasons": dict(report.after.left), "refused ids": report.shown_ids} for report in reports]
        show_json({"dry run": dry_run, "migrations": [row | rest for row, rest in zip(rows, more, strict=True)]})
        return
    show_table(rows)
    for report in reports:
        for reason, count in sorted(report.after.left.items()):
            say(f"{report.migration}: {count:,} left: {reason}")
        if report.refused:
            refused, ids = len(report.refused), ", ".join(report.shown_ids)
            say(f"{report.migration}: {refused:,} refused by the collection's validator, first {ids}")
    if dry_run:
        say("dry run: nothing was written")
