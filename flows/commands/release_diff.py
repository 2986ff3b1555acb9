"""`echotune releases diff`: what changed between two releases, in sentences, tables or JSON."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.database import open_database
from features.errors import NotFoundError
from features.evaluate.drift import MUCH, SOME
from features.release.ledger import read_pointer
from features.settings import Settings, get_settings
from flows.commands.options import Json
from flows.console import progress_bars, say, show_json, show_table

if TYPE_CHECKING:
    from features.release.diff import Figure, ReleaseDiff, Turnover

SHOWN = 10
"""Dimensions in the table; JSON has all of them."""
LABELS = {"user_profile": "listeners", "track_embedding": "tracks"}


def diff(
    old: Annotated[str | None, typer.Argument(help="An id; the one before the live release by default.")] = None,
    new: Annotated[str | None, typer.Argument(help="An id; the live release by default.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """What changed between two releases: who came and went, drift, embeddings, neighbours, lists, metrics."""
    from features.release.diff import diff_releases

    settings = get_settings()
    pair = (old, new) if old and new else _beside_live(settings, old)
    with progress_bars() as progress:
        found = diff_releases(settings.echotune_home, *pair, progress)
    if as_json:
        show_json(found.to_json())
        return
    for sentence in in_words(found):
        say(sentence)
    for title, rows in _tables(found).items():
        if rows:
            show_table(rows, title=title)


def _beside_live(settings: Settings, old: str | None) -> tuple[str, str]:
    with open_database(settings) as database:
        pointer = read_pointer(database)
    if pointer is None:
        raise NotFoundError("no release is live yet; run `echotune nightly` first")
    old = old or pointer.previous
    if old is None:
        raise NotFoundError(f"no release was live before {pointer.release}; name two: `echotune releases diff OLD NEW`")
    return old, pointer.release


def in_words(found: "ReleaseDiff") -> list[str]:
    """A few sentences for a person: what changed, and how much that is."""
    sides = (f"{side.release} (as of {side.as_of:%Y-%m-%d %H:%M} UTC)" for side in (found.old, found.new))
    came = (
        f"{entry.came:,} {LABELS[entry.output]} came, {entry.went:,} went"
        for entry in found.turnover
        if entry.output in LABELS
    )
    return [
        "from {} to {}".format(*sides),
        "; ".join(came),
        _drift(found),
        _movement(found),
        *_kept(found),
        f"gate before: {found.old.verdict}; after: {found.new.verdict}",
    ]


def reading(psi: float) -> str:
    """How a PSI is usually read: none, some, much."""
    if math.isnan(psi):
        return "undefined"
    return "none" if psi < SOME else "some" if psi <= MUCH else "much"


def _drift(found: "ReleaseDiff") -> str:
    parts = []
    if found.dimensions:
        top, shifted = found.dimensions[0], sum(entry.psi >= SOME for entry in found.dimensions)
        parts.append(f"largest shift: {top.name}, PSI {top.psi:.2f} ({reading(top.psi)})")
        parts.append(f"{shifted:,} of {len(found.dimensions):,} dimensions shifted")
    if found.dimensions_came:
        parts.append(f"new dimensions: {_first(found.dimensions_came, len(found.dimensions_came))}")
    if found.dimensions_went:
        parts.append(f"dimensions gone: {_first(found.dimensions_went, len(found.dimensions_went))}")
    return "; ".join(parts)


def _movement(found: "ReleaseDiff") -> str:
    if found.movement is None:
        return found.movement_note
    if not found.movement.compared:
        return "embeddings: no track has one in both"
    figures = f"{found.movement.median:.3f} in the median, {found.movement.largest:.3f} at most"
    return f"embeddings moved by a cosine distance of {figures}; {found.movement_note}"


def _kept(found: "ReleaseDiff") -> Iterator[str]:
    shares = {entry.output: entry.share for entry in found.lists if not math.isnan(entry.share)}
    neighbors = shares.pop("similarity", None)
    if neighbors is not None:
        yield f"listeners kept {neighbors:.0%} of their neighbours"
    if shares:
        each = ", ".join(f"{share:.0%} of the {strategy} ones" for strategy, share in shares.items())
        yield f"lists kept their tracks: {each}"


def _tables(found: "ReleaseDiff") -> dict[str, list[dict[str, Any]]]:
    return {
        "Counts": [_figure_row(entry) for entry in found.counts],
        "Came and went": [_turnover_row(entry) for entry in found.turnover if entry.came or entry.went],
        "Dimensions that shifted most": [
            {
                "dimension": entry.name,
                "PSI": entry.psi,
                "shift": reading(entry.psi),
                "KS": entry.ks,
                "mean before": entry.mean_before,
                "after": entry.mean_after,
            }
            for entry in found.dimensions[:SHOWN]
        ],
        "Kept": [
            {"lists": entry.output, "in both": entry.lists, "kept": entry.share, "of the first ten": entry.top_share}
            for entry in found.lists
        ],
        "Metrics": [_figure_row(entry) for entry in found.metrics],
    }


def _figure_row(entry: "Figure") -> dict[str, Any]:
    return {"what": entry.name, "before": entry.before, "after": entry.after, "change": entry.after - entry.before}


def _turnover_row(entry: "Turnover") -> dict[str, Any]:
    return {
        "output": entry.output,
        "came": entry.came,
        "who": _first(entry.first_came, entry.came),
        "went": entry.went,
        "who went": _first(entry.first_went, entry.went),
    }


def _first(names: list[str], count: int) -> str:
    """The first few of so many."""
    from features.release.diff import FIRST

    return ", ".join(names[:FIRST]) + (", …" if count > FIRST else "")
