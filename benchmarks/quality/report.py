"""A table a data set, the same as JSON, and what changed since it was last kept."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality.cases import Case
from benchmarks.quality.measure import Figures, interval
from benchmarks.quality.search import Tuned, versions

KEPT = Path(__file__).parent / "kept"
MEANS = ("ndcg100", "ndcg10", "recall20", "map100", "coverage", "novelty", "fit_s")


@dataclass(frozen=True, eq=False)
class Row:
    """One competitor's line.

    Attributes:
        figures: on the test split.
        ours: whether it is of this repository.
        tuned: what the search found; None for parameters as by default.
    """

    figures: Figures
    ours: bool
    tuned: Tuned | None = None


def best(rows: Mapping[str, Row], *, ours: bool) -> str:
    """The name of the best of either side by nDCG@100 on the test split; of equal ones the first."""
    return max((name for name, row in rows.items() if row.ours is ours), key=lambda name: _mean(rows[name], "ndcg100"))


def as_json(case: Case, rows: Mapping[str, Row], recipes: Mapping[str, Any], chosen: str) -> dict[str, Any]:
    """All figures of a table, rounded, with intervals, and ours less the best peer by user.

    Args:
        case: which.
        rows: by name.
        recipes: of the strategies among them, by name.
        chosen: the row that stands for us.
    """
    models = {}
    for name, row in rows.items():
        low, high = interval(row.figures.ndcg100)
        models[name] = {mean: _rounded(_mean(row, mean)) for mean in MEANS} | {
            "ndcg100_interval": [_rounded(low), _rounded(high)],
            "parameters": row.tuned.parameters if row.tuned else None,
            "validation": row.tuned.validation if row.tuned else None,
            "trials": row.tuned.trials if row.tuned else 0,
        }
    peer = best(rows, ours=False)
    difference = rows[chosen].figures.ndcg100 - rows[peer].figures.ndcg100
    return {
        "case": case.name,
        "title": case.title,
        "users": len(difference),
        "versions": versions(),
        "models": models,
        "recipes": dict(recipes),
        "ours": chosen,
        "best_peer": peer,
        "difference": _rounded(float(difference.mean())),
        "difference_interval": [_rounded(edge) for edge in interval(difference)],
    }


def show(figures: Mapping[str, Any], last: Mapping[str, Any] | None, console: Console) -> None:
    """Prints a table, best first, and who is ahead; beside nDCG@100 what it moved by since `last`."""
    table = Table(title=f"{figures['title']}; {figures['users']:,} users asked", title_justify="left")
    table.add_column("model")
    for heading in ("fit s", "nDCG@100", "95 %", "since", "nDCG@10", "Recall@20", "MAP@100", "coverage", "novelty"):
        table.add_column(heading, justify="right")
    table.add_column("tried", justify="right")
    models = figures["models"]
    for name in sorted(models, key=lambda name: -models[name]["ndcg100"]):
        row = models[name]
        low, high = row["ndcg100_interval"]
        table.add_row(
            name,
            "–" if row["fit_s"] is None else f"{row['fit_s']:.2f}",
            _short(row["ndcg100"]),
            f"{_short(low)}–{_short(high)}",
            _moved(row["ndcg100"], (last or {}).get("models", {}).get(name)),
            *(_short(row[mean]) for mean in ("ndcg10", "recall20", "map100", "coverage")),
            "–" if row["novelty"] is None else f"{row['novelty']:.1f}",
            str(row["trials"]) if row["trials"] else "default",
            style="bold" if name == figures["ours"] else None,
        )
    console.print(table)
    low, high = figures["difference_interval"]
    console.print(
        f"{figures['ours']} less the best peer, {figures['best_peer']}: "
        f"{figures['difference']:+.4f}, 95 % {low:+.4f} to {high:+.4f} by a paired bootstrap"
    )
    for name, recipe in figures["recipes"].items():
        console.print(f"{name}: {_recipe(recipe)}", style="dim")
    console.print()


def write(figures: Mapping[str, Any], folder: Path) -> None:
    """Keeps a table as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{figures['case']}.json").write_text(json.dumps(figures, indent=1) + "\n")


def read(case: str, folder: Path) -> dict[str, Any] | None:
    """A table that was kept, None if none was."""
    path = folder / f"{case}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _mean(row: Row, name: str) -> float:
    return float(np.mean(getattr(row.figures, name)))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _moved(value: float, before: Mapping[str, Any] | None) -> str:
    if before is None:
        return "new"
    change = value - before["ndcg100"]
    return "" if abs(change) < 5e-5 else f"{change:+.4f}"


def _recipe(recipe: Mapping[str, Any]) -> str:
    roots = recipe.get("roots", {})
    # of a track that stands out, whose root is half of its standard score
    say = ", ".join(f"{name} {share + roots.get(name, 0.0) / 2:.2f}" for name, share in recipe["shares"].items())
    return f"{say}; another blend up to some {recipe['evidence']:g} tracks" if recipe["evidence"] else say
