"""The picture of what `benchmarks.knobs` measured: a row a knob, a column a figure, a line a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

KNOBS = {
    "max_per_artist": "tracks of an artist",
    "diversity": "diversity",
    "damping": "damping",
    "rotation": "rotation, nights in a row",
    "discovery": "discovery, heard tracks let in",
}
FIGURES = {
    "ndcg_change": "nDCG@100, % of it",
    "coverage": "coverage, points",
    "novelty": "novelty, bits",
    "diversity": "diversity in a list, points",
}
PURPOSES = {
    "max_per_artist": ("most_of_an_artist", "most tracks of one artist", 1.0),
    "diversity": ("diversity_first", "diversity of the first ten, %", 100.0),
    "damping": ("replaced", "list replaced, %", 100.0),
    "rotation": ("moved_first", "first ten places changed\nfrom night to night, %", 100.0),
    "discovery": ("new", "new to the listener, %", 100.0),
}
COLOURS = {
    "jodie": "#0072B2",
    "jodie-repeats": "#56B4E9",
    "ml-100k": "#E69F00",
    "playlists": "#009E73",
    "sample": "#888888",
}
"""Okabe and Ito's, told apart by any eye."""
STYLE = {
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
}
SURE = 2.0
"""Standard errors to either side that are shaded."""
MOST = 20.0
"""Changes of nDCG beyond this, in %, are off the picture, so that small ones can be read."""
NARROWEST = {"ndcg_change": 4.0, "coverage": 2.0, "novelty": 0.2, "diversity": 2.0}
"""No axis shows less than this, so that nothing looks like something."""


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Draws all that was measured and writes it as a PNG."""
    with mpl.rc_context(STYLE):
        whole, panels = plt.subplots(len(KNOBS), len(FIGURES) + 1, figsize=(13.5, 11.5), squeeze=False)
        for row, (knob, words) in zip(panels, KNOBS.items(), strict=True):
            for panel, figure in zip(row, FIGURES, strict=False):
                _changes(panel, figures, knob, figure)
            name, title, times = PURPOSES[knob]
            _values(row[-1], figures, knob, name, times)
            row[0].set_title(words)
            row[-1].set_title(title, fontweight="normal")
            for panel in row:
                panel.set_axisbelow(True)
        for panel, title in zip(panels[0], ("", *list(FIGURES.values())[1:]), strict=False):
            if title:
                panel.set_title(title, fontweight="normal")
        panels[0][0].set_ylabel("nDCG@100, change in %")
        for row in panels[1:]:
            row[0].set_ylabel("nDCG@100, change in %")
            for panel, figure in zip(row[1:-1], list(FIGURES)[1:], strict=True):
                panel.set_title(FIGURES[figure] if panel.axison else "", fontweight="normal")
        lines = [plt.Line2D([], [], color=COLOURS[name], marker="o", ms=4, label=name) for name in figures]
        whole.legend(handles=lines, loc="outside lower left", ncols=len(lines))
        whole.savefig(path)
        plt.close(whole)


def _steps(figures: Mapping[str, Any], knob: str) -> list[str]:
    """Settings of a knob in the order they were measured, off first."""
    found = dict.fromkeys(
        label for measured in figures.values() for label in measured["settings"] if label.startswith(f"{knob}=")
    )
    return ["off", *found]


def _ticks(panel: Axes, steps: list[str]) -> None:
    panel.set_xticks(range(len(steps)), [step.rpartition("=")[2] for step in steps])


def _changes(panel: Axes, figures: Mapping[str, Any], knob: str, figure: str) -> None:
    steps = _steps(figures, knob)
    panel.axhline(0, color="#999999", lw=0.8)
    for name, measured in figures.items():
        settings = measured["settings"]
        shown = [(x, settings[step]) for x, step in enumerate(steps) if step in settings]
        off = settings["off"]
        key = "ndcg@100" if figure == "ndcg_change" else figure
        silent = PURPOSES[knob][0] not in shown[-1][1]  # the knob means nothing where nothing is known of tracks
        if len(shown) < 2 or key not in off or silent:
            continue
        times = 100.0 / off[key] if figure == "ndcg_change" else 1.0 if figure == "novelty" else 100.0
        x = [place for place, _ in shown]
        change = [times * (values[key] - off[key]) for _, values in shown]
        panel.plot(x, change, color=COLOURS[name], marker="o", ms=3, lw=1.5)
        if figure == "ndcg_change":
            error = [SURE * times * values["ndcg_change_se"] for _, values in shown]
            low, high = ([c + sign * e for c, e in zip(change, error, strict=True)] for sign in (-1, 1))
            panel.fill_between(x, low, high, color=COLOURS[name], alpha=0.15, lw=0)
    if len(panel.lines) == 1:
        panel.set_axis_off()
        return
    low, high = panel.get_ylim()
    lacking = max(NARROWEST[figure] - (high - low), 0.0) / 2
    low, high = low - lacking, high + lacking
    panel.set_ylim(*((max(low, -MOST), min(high, MOST)) if figure == "ndcg_change" else (low, high)))
    _ticks(panel, steps)


def _values(panel: Axes, figures: Mapping[str, Any], knob: str, figure: str, times: float) -> None:
    steps = _steps(figures, knob)
    for name, measured in figures.items():
        settings = measured["settings"]
        shown = [(x, settings[step]) for x, step in enumerate(steps) if figure in settings.get(step, {})]
        if len(shown) > 1:
            x, y = zip(*[(place, times * values[figure]) for place, values in shown], strict=True)
            panel.plot(x, y, color=COLOURS[name], marker="o", ms=3, lw=1.5)
    panel.set_ylim(bottom=0)
    _ticks(panel, steps)
