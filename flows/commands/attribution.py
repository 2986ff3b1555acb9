"""`echotune attribution`: what listeners made of their lists; and the scorecard that is kept of each release."""

from dataclasses import asdict
from typing import Annotated

import typer

from features.database import open_database
from features.errors import NotFoundError
from features.release.ledger import find_release, read_pointer
from features.settings import get_settings
from flows.commands.options import Json
from flows.console import say, show_json, show_table


def run(
    *,
    show: Annotated[bool, typer.Option("--show", help="Only print the scorecard of a release.")] = False,
    release: Annotated[
        str | None, typer.Option("--release", help="With --show: which release; the live one by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Join plays and feedback with what was recommended; fill each list's feedback and the scorecards."""
    if show or release is not None:
        _show(release, as_json=as_json)
    else:
        _attribute(as_json=as_json)


def _attribute(*, as_json: bool) -> None:
    from flows.commands.nightly import flow_runs

    settings = get_settings()
    with open_database(settings), flow_runs(settings.echotune_home):  # a wrong address shows before Prefect starts
        from flows.attribution import attribution

        done = attribution()
    if as_json:
        show_json(asdict(done))
        return
    if done.since is None:
        say("no release has lists that have not expired; nothing to do")
        return
    say(f"lists of {', '.join(done.releases)}, the oldest made {done.since:%Y-%m-%d %H:%M} UTC")
    show_table([{"read": name, "responses": count} for name, count in done.read.items()])
    if done.set_aside:
        rows = [{"set aside": n, "why": r, "first": done.first.get(r)} for r, n in done.set_aside.items()]
        show_table(rows)
    say(done.in_words())


def _show(release: str | None, *, as_json: bool) -> None:
    from features.attribution.scorecard import rank_rows, strategy_rows

    with open_database(get_settings()) as database:
        if release is None:
            pointer = read_pointer(database)
            if pointer is None:
                raise NotFoundError("no release is live yet; run `echotune nightly` first")
            release = pointer.release
        scorecard = find_release(database, release).get("scorecard")
    if scorecard is None:
        raise NotFoundError(f"release {release} has no scorecard yet; run `echotune attribution`")
    if as_json:
        show_json({"release": release, **scorecard})
        return
    show_table(strategy_rows(scorecard), title=f"What became of the lists of {release}")
    show_table(rank_rows(scorecard), title="By rank, all strategies")
