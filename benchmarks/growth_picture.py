"""The picture of growth: CPU seconds against events, listeners² and listeners, on scales where a line is a power."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.keeping import largest
from benchmarks.knobs_picture import STYLE

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
LOCAL = {"font.size": 10, "axes.grid.axis": "both"}
Runs = Mapping[str, Mapping[str, Any]]


def draw(runs: Runs, path: Path) -> None:
    """Draws what was kept and writes it as a PNG.

    Args:
        runs: by name and size.
        path: of the picture.
    """
    kernels = kernel_points(runs)
    nights = night_points(runs)
    parts = publish_points(runs)
    with mpl.rc_context(STYLE | LOCAL):
        whole, panels = plt.subplots(1, 4, figsize=(14.5, 3.9))
        _line(panels[0], "events → matrix", "events", kernels["events"], kernels["matrix"], BLUE)
        _line(panels[1], "similar users", "sum of listeners²", kernels["squared"], kernels["similar"], ORANGE)
        _line(panels[2], "the whole night", "listeners", nights["listeners"], nights["seconds"], GREEN)
        _line(panels[3], "publishing", "listeners", parts["listeners"], parts["seconds"], "#CC79A7")
        panels[0].set_ylabel("CPU seconds")
        whole.savefig(path)
        plt.close(whole)


def kernel_points(runs: Runs) -> dict[str, list[float]]:
    """Of the largest growth run, and of similar users at L where that was measured."""
    run = largest(runs, "growth")
    points: dict[str, list[float]] = {"events": [], "matrix": [], "squared": [], "similar": []}
    if run:
        found = run["found"][0]
        at = {name: number for number, name in enumerate(found["columns"])}
        for row in found["rows"]:
            points["events"].append(row[at["events"]])
            points["matrix"].append(row[at["matrix CPU s"]])
            points["squared"].append(row[at["listeners²"]])
            points["similar"].append(row[at["similar users CPU s"]])
    if "overlaps-L" in runs:
        found = runs["overlaps-L"]["found"][0]
        points["squared"].append(found["listeners_squared"])
        points["similar"].append(found["ours"]["cpu_s"])
    return points


def night_points(runs: Runs) -> dict[str, list[float]]:
    """CPU seconds of all stages by listeners, of the nights that were kept."""
    found = [run["found"][0] for key, run in runs.items() if key.startswith("whole_night-")]
    found.sort(key=lambda one: one["counts"]["users"])
    return {
        "listeners": [one["counts"]["users"] for one in found],
        "seconds": [sum(stage["cpu_s"] for stage in one["stages"].values()) for one in found],
    }


def publish_points(runs: Runs) -> dict[str, list[float]]:
    """CPU seconds of the parts of the largest release that was published."""
    run = largest(runs, "publish")
    rows = run["found"][0]["rows"] if run else []
    return {"listeners": [row[1] for row in rows], "seconds": [row[5] for row in rows]}


def _line(panel: Axes, title: str, along: str, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    panel.set_title(title)
    panel.set_xlabel(along)
    if not x:
        return
    panel.loglog(x, y, color=colour, marker="o", ms=5, lw=1.8)
    straight = [y[-1] * value / x[-1] for value in x]
    panel.loglog(x, straight, color=GREY, lw=1, ls="--", label="in proportion")
    panel.legend(loc="upper left")
    panel.set_axisbelow(True)
