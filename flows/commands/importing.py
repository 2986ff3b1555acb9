"""`echotune import …` and `echotune sample`."""

from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from features.database import open_database
from features.errors import InputError
from features.schema import plan
from features.settings import get_settings
from flows.commands.options import Json
from flows.console import progress_bars, say, show_json, show_table

if TYPE_CHECKING:
    from features.sources.importer import ImportTotals
    from features.sources.kinds import Kind

app = typer.Typer(no_args_is_help=True, help="Bring plays, feedback, tracks or users in from a file.")

File = Annotated[Path, typer.Argument(help="Parquet, CSV, TSV or JSON lines.")]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="theirs=ours, for a column of another name; theirs=- leaves it out. Repeatable."),
]


def _import(kind: "Kind", file: Path, mapping: list[str] | None, *, as_json: bool) -> None:
    from features.sources.importer import import_table, parse_mapping

    settings = get_settings()
    names = parse_mapping(mapping or [])
    with open_database(settings) as database:
        plan.apply(database)
        with progress_bars() as progress:
            totals = import_table(
                database,
                kind,
                file,
                home=settings.echotune_home,
                now=datetime.now(UTC),
                mapping=names,
                progress=progress,
                hash_key=settings.echotune_hash_key,
            )
    show_totals([totals], as_json=as_json)


@app.command()
def plays(file: File, mapping: Map = None, *, as_json: Json = False) -> None:
    """Listening history: user_id, track_id, played_at; optionally durations, completion, names, source."""
    _import("plays", file, mapping, as_json=as_json)


@app.command()
def feedback(file: File, mapping: Map = None, *, as_json: Json = False) -> None:
    """Feedback: user_id, track_id, signal, created_at; optionally strength and where it came from."""
    _import("feedback", file, mapping, as_json=as_json)


@app.command()
def tracks(file: File, mapping: Map = None, *, as_json: Json = False) -> None:
    """The catalogue: track_id; optionally name, artist, album, genres, markets, audio features."""
    _import("tracks", file, mapping, as_json=as_json)


@app.command()
def users(file: File, mapping: Map = None, *, as_json: Json = False) -> None:
    """Accounts: user_id, email; optionally name, country, explicit_content, favorite_genres."""
    _import("users", file, mapping, as_json=as_json)


@app.command()
def spotify(
    path: Annotated[Path, typer.Argument(help="The export's zip, its folder, or one of its .json files.")],
    *,
    user_id: Annotated[str, typer.Option(help="Whose listening history it is.")],
    include_private: Annotated[
        bool, typer.Option("--include-private", help="Import what was played in private sessions, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Spotify's extended streaming history of one user: what was played, when, and for how long."""
    from features.sources.spotify import import_spotify

    settings = get_settings()
    with open_database(settings) as database, progress_bars() as progress:
        plan.apply(database)
        totals = import_spotify(
            database,
            path,
            user_id,
            home=settings.echotune_home,
            now=datetime.now(UTC),
            include_private=include_private,
            progress=progress,
            hash_key=settings.echotune_hash_key,
        )
    show_totals([totals], as_json=as_json)


def sample(
    *,
    users: Annotated[int, typer.Option(help="Listeners.")] = 200,
    tracks: Annotated[int, typer.Option(help="Tracks.")] = 1200,
    days: Annotated[int, typer.Option(help="Days of history.")] = 90,
    seed: Annotated[int, typer.Option(help="The same seed and day make the same sample.")] = 7,
    end: Annotated[str | None, typer.Option(help="The day up to which there are plays; today.")] = None,
    as_json: Json = False,
) -> None:
    """Make synthetic listeners with taste, habits and feedback, and import them."""
    show_totals(make_and_write_sample(users=users, tracks=tracks, days=days, seed=seed, end=end), as_json=as_json)


def make_and_write_sample(*, users: int, tracks: int, days: int, seed: int, end: str | None) -> "list[ImportTotals]":
    """The sample into the database; the totals of each table."""
    from features.sources.kinds import Kind
    from features.sources.sample import SampleSpec, make_sample, write_sample

    settings = get_settings()
    now = datetime.now(UTC)
    try:
        last = datetime.fromisoformat(end).date() if end else now.date()
    except ValueError:
        raise InputError(f"--end {end} is not a date; write it as 2026-11-22") from None
    with open_database(settings) as database, progress_bars() as progress:
        plan.apply(database)
        made = make_sample(SampleSpec(users, tracks, days, seed), end=datetime.combine(last, time(), UTC))
        totals = write_sample(
            database,
            made,
            home=settings.echotune_home,
            now=now,
            progress=progress,
            hash_key=settings.echotune_hash_key,
        )
    return [totals[kind] for kind in get_args(Kind) if kind in totals]


def show_totals(totals: "list[ImportTotals]", *, as_json: bool) -> None:
    """Read = imported + already there + updated + set aside, and why rows were set aside."""
    rows = [
        {
            "what": entry.kind,
            "read": entry.read,
            "imported": entry.imported,
            "already there": entry.already_there,
            "updated": entry.updated,
            "set aside": entry.set_aside,
        }
        for entry in totals
    ]
    if as_json:
        show_json(
            [
                row
                | {
                    "reasons": entry.reasons,
                    "rejected": str(entry.rejected_path) if entry.rejected_path else None,
                }
                for row, entry in zip(rows, totals, strict=True)
            ]
        )
        return
    show_table(rows)
    for entry in totals:
        for reason, count in entry.reasons.items():
            say(f"{entry.kind}: {count:,} set aside: {reason}")
        if entry.rejected_path:
            say(f"{entry.kind}: rows set aside are in {entry.rejected_path}")
