"""`echotune db …`: the built-in database."""

import typer

from features import embedded
from features.errors import InputError
from features.settings import Settings, get_settings
from flows.commands.options import Json
from flows.console import say, show_json

app = typer.Typer(no_args_is_help=True, help="Keep the built-in database up, for notebooks and Compass.")


def _settings() -> Settings:
    settings = get_settings()
    if not settings.uses_embedded_database:
        raise InputError("MONGODB_URI is set, so the built-in database is not used; unset it to manage that one")
    return settings


@app.command()
def start() -> None:
    """Start it, or keep the one that runs; it stays until `echotune db stop`."""
    say(embedded.start(_settings().echotune_home))


@app.command()
def stop() -> None:
    """Let it stop: at once when nobody uses it, else with its last user."""
    say(f"the built-in database {embedded.stop(_settings().echotune_home).value}")


@app.command()
def uri() -> None:
    """Print its address while it runs."""
    found = embedded.status(_settings().echotune_home)
    if found.uri is None:
        raise InputError("the built-in database does not run; start it with `echotune db start`")
    say(found.uri)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Whether it runs, where, and how much space it takes."""
    found = embedded.status(_settings().echotune_home)
    if as_json:
        show_json(found.__dict__)
        return
    size = f"{found.storage_bytes / 1e6:,.1f} MB on disk"
    if not found.running:
        say(f"stopped, {size}")
        return
    kept = "kept by db start" if found.kept else "stops with its last user"
    say(f"running at {found.uri}, process {found.pid}, {kept}, {'in use' if found.in_use else 'idle'}, {size}")
