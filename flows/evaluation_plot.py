"""An evaluation as a picture."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import InputError
from features.evaluate.report import EVERYBODY, NEWCOMERS, SERVED, Report, Row
from features.storage import whole_file

FORMATS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Looks whether a picture can be made, before anything is computed.

    Raises:
        InputError: matplotlib is missing, or the name has none of the endings that are known.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot {path}: its ending says what is written; take one of {', '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise InputError(
            "--plot needs matplotlib, which is not installed; run pip install 'echotune-features[notebooks]'"
        )


def draw_plot(report: Report, title: str, path: Path) -> None:
    """Bars of nDCG, by k on the left, by activity on the right, each with its interval.

    Raises:
        StorageError: the file can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [row for row in report.rows if row.metric == "ndcg"]
    longest = max(row.k for row in rows)
    everybody = [row for row in rows if row.group == EVERYBODY]
    _bars(left, [(f"nDCG@{row.k}", row.strategy, row) for row in everybody])
    groups = [row for row in rows if row.k == longest and row.users and row.group != EVERYBODY]
    strategies = list(dict.fromkeys(row.strategy for row in everybody))
    shown = [row for row in groups if row.strategy in strategies or (row.group, row.strategy) == (NEWCOMERS, SERVED)]
    _bars(right, [(f"{row.group}\n{row.users:,} users", row.strategy, row) for row in shown])
    left.set_title(f"{everybody[0].users if everybody else 0:,} users")
    right.set_title(f"nDCG@{longest} by tracks in the history")
    left.legend(frameon=False, fontsize="small")
    figure.suptitle(title, fontsize="medium")
    with whole_file(path) as scratch:
        figure.savefig(scratch, format=path.suffix[1:].lower(), dpi=120)


def _bars(axes: Any, bars: list[tuple[str, str, Row]]) -> None:
    """Bars beside each other for each place, one a strategy."""
    places = list(dict.fromkeys(place for place, _, _ in bars))
    strategies = list(dict.fromkeys(strategy for _, strategy, _ in bars))
    width = 0.8 / max(len(strategies), 1)
    for number, strategy in enumerate(strategies):
        own = [(places.index(place), row) for place, name, row in bars if name == strategy]
        at = np.array([place for place, _ in own]) + (number - (len(strategies) - 1) / 2) * width
        mean = np.array([row.mean for _, row in own])
        ends = np.array([[row.mean - row.low, row.high - row.mean] for _, row in own]).T
        ends = np.maximum(ends, 0.0)  # rounding; where there is no interval, NaN draws none
        axes.bar(at, mean, width, yerr=ends, label=strategy, capsize=2, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(places)), places, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
