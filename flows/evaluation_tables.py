"""An evaluation's figures as tables and sentences."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from features.evaluate.report import EVERYBODY, NEWCOMERS, STATED, Report, Row
from features.evaluate.tuning import Tuning

Cells = Mapping[str, Row]
UNDEFINED = "–"
LACKING = {
    "novelty": "are empty",
    "diversity": "have fewer than two tracks, or where nothing is known of any track",
}


def overall_table(report: Report) -> list[dict[str, Any]]:
    """A row for each strategy and k, over everybody who was measured."""
    return [
        {
            "strategy": name,
            "k": k,
            **_ranked(cells),
            "coverage": short(cells["coverage"].mean),
            "novelty": cells["novelty"].mean,
            "diversity": short(cells["diversity"].mean),
            "users": cells["ndcg"].users,
            f"ndcg less {report.against}'s": difference(cells["ndcg"]),
        }
        for (group, name, k), cells in _by_row(report).items()
        if group == EVERYBODY
    ]


def activity_table(report: Report) -> list[dict[str, Any]]:
    """A row for each group by tracks in the history that has users, and each strategy, at the longest k."""
    return [
        row for row in _group_rows(report, f"ndcg less {report.against}'s") if row["history"] not in (NEWCOMERS, STATED)
    ]


def newcomers_table(report: Report) -> list[dict[str, Any]]:
    """Likewise for those without a history: what they would be served, and the popular list."""
    return [
        {("who" if name == "history" else name): value for name, value in row.items()}
        for row in _group_rows(report, "ndcg less popular's")
        if row["history"] in (NEWCOMERS, STATED)
    ]


def sentences(report: Report) -> Iterator[str]:
    """Who was measured and who could not be, and which models the strategies are made of."""
    counts = report.counts
    yield (
        f"{counts['users']:,} users: {counts['with_history']:,} with a history, of whom {counts['measured']:,} "
        f"measured, {counts['not_drawn']:,} not drawn and {counts['undefined']:,} undefined, who took to nothing new; "
        f"{counts['newcomers']:,} newcomers, {counts['silent']:,} without a trace in either part"
    )
    for name, recipe in report.recipes.items():
        if list(recipe.shares) != [name]:
            little = f"; another blend up to some {recipe.evidence_tracks:g} tracks of history"
            say = {model: recipe.say(model) for model in recipe.shares}
            yield f"{name} = {_shares(say)}{little if recipe.evidence_tracks else ''}"
    longest = max(row.k for row in report.rows)
    for metric, why in LACKING.items():
        rows = [r for r in report.rows if (r.group, r.k, r.metric) == (EVERYBODY, longest, metric) and r.undefined]
        if rows:
            lists = ", ".join(f"{row.undefined:,} of {row.strategy}" for row in rows)
            yield f"no {metric} for lists that {why}: {lists}"


def tuning_table(found: Tuning) -> list[dict[str, Any]]:
    """A row for each model that was tried."""
    return [
        {
            "model": tuned.model,
            "trials": tuned.trials,
            "failed": tuned.failed,
            "before": short(tuned.before),
            "after": short(tuned.after),
            "gain": signed(tuned.after - tuned.before),
            "parameters": "as they were" if tuned.setting is None else _settings(tuned.setting),
        }
        for tuned in found.models
    ]


def short(value: float) -> str:
    """A share: four digits, no nought before the point."""
    return UNDEFINED if math.isnan(value) else f"{value:.4f}".replace("0.", ".", 1) if value < 1 else f"{value:.3f}"


def signed(value: float) -> str:
    """A difference."""
    return UNDEFINED if math.isnan(value) else f"{value:+.4f}".replace("0.", ".", 1)


def difference(row: Row) -> str:
    """With its interval."""
    if math.isnan(row.difference_low):
        return signed(row.difference)
    return f"{signed(row.difference)} ({signed(row.difference_low)} to {signed(row.difference_high)})"


def _with_interval(row: Row) -> str:
    if math.isnan(row.low):
        return short(row.mean)
    return f"{short(row.mean)} ({short(row.low)}–{short(row.high)})"


def _ranked(cells: Cells) -> dict[str, str]:
    return {
        "ndcg": _with_interval(cells["ndcg"]),
        "recall": _with_interval(cells["recall"]),
        "MAP": _with_interval(cells["map"]),
    }


def _by_row(report: Report) -> dict[tuple[str, str, int], dict[str, Row]]:
    cells: dict[tuple[str, str, int], dict[str, Row]] = {}
    for row in report.rows:
        cells.setdefault((row.group, row.strategy, row.k), {})[row.metric] = row
    return cells


def _group_rows(report: Report, compared: str) -> list[dict[str, Any]]:
    longest = max(row.k for row in report.rows)
    return [
        {
            "history": group,
            "users": cells["coverage"].users,
            "strategy": name,
            "k": k,
            **_ranked(cells),
            compared: difference(cells["ndcg"]),
        }
        for (group, name, k), cells in _by_row(report).items()
        if k == longest and group != EVERYBODY and cells["coverage"].users
    ]


def _shares(shares: Mapping[str, float]) -> str:
    """Greatest first; those that round to nothing are left out."""
    told = sorted(((round(share, 2), model) for model, share in shares.items()), reverse=True)
    return " ".join(f"{'-' if share < 0 else '+'} {abs(share):.2f} {model}" for share, model in told if share).lstrip(
        "+ "
    )


def _settings(setting: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in setting.items())
