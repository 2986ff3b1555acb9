"""`echotune erase`: a person, from everywhere."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from features.database import open_database
from features.errors import InputError
from features.progress import Progress
from features.settings import Settings, get_settings
from flows.commands.options import Json
from flows.console import progress_bars, say, show_json, show_table

if TYPE_CHECKING:
    from features.erasure.traces import Trace


def erase(
    user: Annotated[str, typer.Argument(help="A user id; an ObjectId as its 24 digits or as oid:<digits>.")],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only search for what is left; status 1 if anything.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a run at work.")] = 3600.0,
    as_json: Json = False,
) -> None:
    """Erase a person from every collection, other people's lists, all releases, the snapshot and set-aside files."""
    from features.erasure.erase import erase as erase_person
    from features.erasure.erase import resolve_user
    from features.erasure.storage import rewrite_storage
    from features.erasure.tombstones import read_tombstones

    settings = get_settings()
    if verify:
        _verify(settings, user, as_json=as_json)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("erasing can't be undone: pass --yes where nobody can be asked")
        if not typer.confirm("This can't be undone. Erase this person?"):
            say("nothing was erased")
            raise typer.Exit(1)
    home = settings.echotune_home
    with progress_bars() as progress:
        with open_database(settings) as database:
            found = resolve_user(database, user, read_tombstones(database, settings.echotune_hash_key))
            now = datetime.now(UTC)
            receipt = erase_person(
                database, home, settings.echotune_hash_key, found, now, wait_s=wait, progress=progress
            )
        rewritten = rewrite_storage(home, progress) if settings.uses_embedded_database else None
    if as_json:
        show_json({**receipt.__dict__, "rewritten": rewritten})
        return
    show_table([{"what": name, "erased": count} for name, count in receipt.counts.items()], title="Erased")
    say(f"receipt: {home / 'erasures' / receipt.user}.json")
    if rewritten is False:
        say(
            "the built-in database is in use and its files keep deleted records until they are overwritten; when "
            "nobody uses it (`echotune db stop`), erase again to have them written anew"
        )


def _verify(settings: Settings, user: str, *, as_json: bool) -> None:
    with progress_bars() as progress:
        traces = _traces(settings, user, progress)
    if as_json:
        show_json([trace.__dict__ for trace in traces])
    elif traces:
        show_table([{"where": trace.where, "times": trace.count} for trace in traces], title="Found")
    else:
        say("nothing is left of that id but, if it was erased, a keyed hash")
    if traces:
        raise typer.Exit(1)


def _traces(settings: Settings, user: str, progress: Progress) -> "list[Trace]":
    from features.erasure.erase import resolve_user
    from features.erasure.tombstones import read_tombstones
    from features.erasure.traces import find_traces, find_traces_in_storage

    with open_database(settings) as database:
        meant = resolve_user(database, user, read_tombstones(database, settings.echotune_hash_key))
        traces = find_traces(database, settings.echotune_home, meant, progress)
    if settings.uses_embedded_database:
        traces += find_traces_in_storage(settings.echotune_home, meant)
    return traces
