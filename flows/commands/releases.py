"""`echotune releases …`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from features.database import open_database, remove_expired
from features.errors import NotFoundError
from features.release.ledger import hold_lease, read_pointer
from features.settings import get_settings
from flows.commands import release_diff
from flows.commands.options import Json
from flows.console import progress_bars, say, show_json, show_table, text_of

COUNTED = {"profiles": "user_profile", "tracks": "track_embedding", "lists": "recommendations"}

app = typer.Typer(
    no_args_is_help=True, help="List, show and compare releases; publish one, roll back, let go of old ones."
)
app.command()(release_diff.diff)


@app.command(name="list")
def list_releases(*, as_json: Json = False) -> None:
    """All releases, newest first: which one is live, what became of the others, and those only on this disk."""
    from features.release.story import tell_all

    settings = get_settings()
    with open_database(settings) as database:
        stories = tell_all(database, settings.echotune_home)
    rows = [
        {
            "release": story.release,
            "live": story.live,
            "state": story.words,
            "as of": story.manifest and story.manifest.as_of,
            "built": story.manifest and story.manifest.built_at,
            **{title: story.manifest and story.manifest.counts[name] for title, name in COUNTED.items()},
            "on disk": story.on_disk,
        }
        for story in stories
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
    """One release: counts, inputs, what the gate said, alignment, metrics, times."""
    from features.release.story import tell
    from flows.summary import contents_table, inputs_table, stages_table

    settings = get_settings()
    with open_database(settings) as database:
        if release is None:
            pointer = read_pointer(database)
            if pointer is None:
                raise NotFoundError("no release is live yet; run `echotune nightly` first")
            release = pointer.release
        story = tell(database, settings.echotune_home, release)
    manifest = story.manifest
    assert manifest is not None
    if as_json:
        told = {"state": story.state, "detail": story.detail, "on_disk": story.on_disk}
        show_json(told | manifest.to_json())
        return
    say(f"release {release}, {story.words}, as of {manifest.as_of:%Y-%m-%d %H:%M} UTC")
    if not story.on_disk:
        say("its folder is not on this disk")
    show_table(inputs_table(manifest), title="Read")
    show_table(contents_table(manifest), title="Written")
    show_table(
        [{"check": c["name"], "passed": c["passed"], "detail": c["detail"]} for c in manifest.checks], title="Gate"
    )
    if manifest.aligned_to:
        figures = ", ".join(f"{name} {text_of(value)}" for name, value in manifest.alignment.items())
        say(f"embeddings turned onto those of {manifest.aligned_to}: {figures}")
    if manifest.chosen_as_of:
        say(f"models chosen as of {manifest.chosen_as_of:%Y-%m-%d %H:%M} UTC")
    show_table([{"metric": name, "value": value} for name, value in manifest.metrics.items()], title="Metrics")
    show_table(stages_table(manifest), title="Times")


@app.command()
def promote(
    release: Annotated[str, typer.Argument(help="An id: of a backfill, an earlier release, a failed one.")],
    *,
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Publish even what failed its checks; recorded with it.")
    ] = False,
) -> None:
    """Upload a release that is on this disk and make it live."""
    from features.release.documents import RECOMMENDATION_LIFE
    from features.release.publish import promote as publish

    settings = get_settings()
    with progress_bars() as progress, open_database(settings) as database, hold_lease(database) as token:
        manifest = publish(
            database,
            settings.echotune_home,
            release,
            token,
            gate=not no_gate,
            hash_key=settings.echotune_hash_key,
            vectors=settings.echotune_vectors,
            progress=progress,
        )
    say(f"its recommendations are served until {manifest.built_at + RECOMMENDATION_LIFE:%Y-%m-%d %H:%M} UTC")
    say(f"release {release} live")


@app.command()
def rollback() -> None:
    """Make the release before the live one live again, and withdraw the live one's documents."""
    from features.release.publish import rollback as roll_back

    with progress_bars() as progress, open_database(get_settings()) as database, hold_lease(database) as token:
        withdrawn, live = roll_back(database, token, progress)
    say(f"release {withdrawn} withdrawn")
    say(f"release {live} live")


@app.command()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    backfills: Annotated[bool, typer.Option("--backfills", help="Remove backfilled releases from disk too.")] = False,
    as_json: Json = False,
) -> None:
    """Let go of releases beyond ECHOTUNE_KEEP_RELEASES, of failed ones beyond three, and of what killed runs left.

    Never the live one, the one before it, or one that a reader may have pinned within the hour.
    """
    from features.release.retention import prune as let_go

    settings = get_settings()
    with progress_bars() as progress, open_database(settings) as database:
        with hold_lease(database) as token:
            removals = let_go(
                database,
                settings.echotune_home,
                token,
                settings.echotune_keep_releases,
                datetime.now(UTC),
                dry_run=dry_run,
                backfills=backfills,
                progress=progress,
            )
        if not dry_run:
            remove_expired(database, settings)
    rows: list[dict[str, Any]] = [asdict(removal) for removal in removals]
    if as_json:
        show_json(rows)
        return
    show_table(rows, title="Would go" if dry_run else "Gone")
    megabytes = sum(removal.bytes for removal in removals) / 1e6
    say(f"{megabytes:,.1f} MB on disk, {sum(removal.documents for removal in removals):,} documents")
