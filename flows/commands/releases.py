"""`echotune releases …`."""

from typing import Annotated, Any

import typer

from features.database import open_database
from features.errors import NotFoundError
from features.release.ledger import all_releases, find_release, hold_lease, read_pointer
from features.release.manifest import read_manifest, releases_on_disk
from features.release.publish import rollback as roll_back
from features.settings import get_settings
from flows.commands import release_diff
from flows.commands.options import Json
from flows.console import say, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="List, show, compare and roll back releases.")
app.command()(release_diff.diff)


@app.command(name="list")
def list_releases(*, as_json: Json = False) -> None:
    """All releases, newest first, and which one is live."""
    settings = get_settings()
    with open_database(settings) as database:
        pointer = read_pointer(database)
        on_disk = set(releases_on_disk(settings.echotune_home))
        rows = [
            {
                "release": entry["_id"],
                "live": bool(pointer and pointer.release == entry["_id"]),
                "state": entry["state"],
                "as of": entry["asOf"],
                "built": entry["builtAt"],
                "profiles": entry["counts"]["user_profile"],
                "tracks": entry["counts"]["track_embedding"],
                "lists": entry["counts"]["recommendations"],
                "on disk": entry["_id"] in on_disk,
            }
            for entry in all_releases(database)
        ]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, title="Releases")


@app.command()
def show(
    release: Annotated[str | None, typer.Argument(help="An id; the live release by default.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """One release: counts, inputs, checks, times."""
    from flows.summary import contents_table, inputs_table

    settings = get_settings()
    with open_database(settings) as database:
        if release is None:
            pointer = read_pointer(database)
            if pointer is None:
                raise NotFoundError("no release is live yet; run `echotune nightly` first")
            release = pointer.release
        document = find_release(database, release)
    if as_json:
        show_json({name: value for name, value in document.items() if name != "ledger"})
        return
    say(f"release {release}, {document['state']}, as of {document['asOf']:%Y-%m-%d %H:%M} UTC")
    try:
        manifest = read_manifest(settings.echotune_home, release)
    except NotFoundError:
        show_table([{"what": name, "count": count} for name, count in document["counts"].items()], title="Counts")
    else:
        show_table(inputs_table(manifest), title="Read")
        show_table(contents_table(manifest), title="Written")
    checks: list[dict[str, Any]] = document["checks"] or []
    show_table([{"check": c["name"], "passed": c["passed"], "detail": c["detail"]} for c in checks], title="Gate")
    show_table([{"stage": n, "seconds": float(s)} for n, s in document["timings"].items()], title="Times")


@app.command()
def rollback() -> None:
    """Make the release before the live one live again, and withdraw the live one's documents."""
    with open_database(get_settings()) as database, hold_lease(database) as token:
        withdrawn, live = roll_back(database, token)
    say(f"release {withdrawn} withdrawn")
    say(f"release {live} live")
