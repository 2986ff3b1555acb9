"""The figures to reach, each looked up in what was kept: ours, the peer, by how much, met or not."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.measuring import text_of

QUALITY = Path(__file__).parent / "quality" / "kept"
Runs = Mapping[str, Mapping[str, Any]]
Measured = tuple[str, str, float]
"""Ours and the peer's in words, and the figure that is held to the one to reach."""


@dataclass(frozen=True)
class Target:
    """A figure to reach.

    Attributes:
        work: what is done.
        peer: what it is beside.
        reach: the figure.
        least: True if it is to be reached, False if not to be passed.
        unit: "×" of ratios, else as it says.
        runs: which kept runs have it, the one of the size it is meant for first.
        look: finds it in a run's measurements; None where it isn't.
    """

    work: str
    peer: str
    reach: float
    least: bool
    unit: str
    runs: tuple[str, ...]
    look: Callable[[Sequence[Mapping[str, Any]]], Measured | None]


@dataclass(frozen=True)
class Goal:
    """A figure to reach and where we are.

    Attributes:
        work: what is done.
        peer: what it is beside.
        reach: in words.
        ours: in words; empty where nothing was kept.
        its: likewise.
        value: the figure, in words.
        met: None where nothing was kept of the size that is meant.
        run: which run it is of.
    """

    work: str
    peer: str
    reach: str
    ours: str = ""
    its: str = ""
    value: str = "not measured"
    met: bool | None = None
    run: str = ""


def beside(name: str, peer: str, *, turned: bool = False) -> Callable[[Sequence[Mapping[str, Any]]], Measured | None]:
    """A peer's seconds for ours, of the kind that counts; `turned` ours for the peer's."""

    def look(found: Sequence[Mapping[str, Any]]) -> Measured | None:
        for one in found:
            if one["name"] == name and peer in one.get("ratio", {}):
                kind = one["by"]
                unit = "CPU s" if kind == "cpu_s" else "s"
                ratio = one["ratio"][peer]
                seconds = [f"{text_of(row[kind])} {unit}" for row in (one["ours"], one["peers"][peer])]
                return seconds[0], seconds[1], 1 / ratio if turned else ratio
        return None

    return look


def quality(found: Sequence[Mapping[str, Any]]) -> Measured | None:
    """How many times the nDCG of implicit's factors ours have."""
    for one in found:
        if one["name"] == "ials":
            ours, its = one["ndcg100"]["ours"], one["ndcg100"]["implicit ALS"]
            return f"nDCG {ours:.4f}", f"nDCG {its:.4f}", ours / its
    return None


def share(name: str, kind: str) -> Callable[[Sequence[Mapping[str, Any]]], Measured | None]:
    """The second night's share of the first one's."""
    return lambda found: next((("", "", 100 * one["share"][kind]) for one in found if one["name"] == name), None)


def of_ours(
    name: str, figure: Callable[[Mapping[str, Any]], float]
) -> Callable[[Sequence[Mapping[str, Any]]], Measured | None]:
    """A figure of ours alone."""
    return lambda found: next((("", "", figure(one)) for one in found if one["name"] == name), None)


def whole_night(figure: str) -> Callable[[Sequence[Mapping[str, Any]]], Measured | None]:
    """Minutes of all stages, or the highest memory of any in GB."""

    def look(found: Sequence[Mapping[str, Any]]) -> Measured | None:
        stages = found[0]["stages"].values()
        if figure == "minutes":
            return "", "", sum(one["wall_s"] for one in stages) / 60
        return "", "", max(one["peak_rss_bytes"] for one in stages) / 1e9

    return look


PAIRS = "events → weighted matrix, 20M events"
SIMILAR = "similar users, exact top-50, 100k × 100k"
LARGE = "the same, 1.02M users"
TOP = "exact top-100 of all tracks, 20k users × 100k tracks"
FACTORS = "factor model"
READ = "reading history out of MongoDB"
WRITE = "writing a release"
FEAST = "Feast materialize"
NEXT = "next night with 1 % new plays"
NIGHT = "whole night, 1.02M users × 384k tracks × 121M events"
TARGETS = (
    Target(
        PAIRS, "scipy COO→CSR", 3, True, "×", ("pairs-M", "pairs-S"), beside("pair_sums", "scipy COO→CSR, sums alone")
    ),
    Target(PAIRS, "pandas", 12, True, "×", ("pairs-M", "pairs-S"), beside("pair_sums", "pandas groupby")),
    Target(
        SIMILAR, "sparse_dot_topn", 10, True, "×", ("overlaps-M", "overlaps-S"), beside("overlaps", "sparse_dot_topn")
    ),
    Target(
        SIMILAR, "implicit", 10, True, "×", ("overlaps-M", "overlaps-S"), beside("overlaps", "implicit all_pairs_knn")
    ),
    Target(SIMILAR, "scikit-learn", 60, True, "×", ("overlaps-M", "overlaps-S"), beside("overlaps", "scikit-learn")),
    Target(
        LARGE, "CPU seconds", 200, False, "s", ("overlaps-L",), of_ours("overlaps", lambda one: one["ours"]["cpu_s"])
    ),
    Target(
        LARGE, "memory", 4, False, "GB", ("overlaps-L",), of_ours("overlaps", lambda one: one["peak_rss_bytes"] / 1e9)
    ),
    Target(TOP, "implicit", 2, True, "×", ("top_n-M", "top_n-S"), beside("top_n", "implicit")),
    Target(
        TOP, "bare matrix product", 4, False, "×", ("top_n-M", "top_n-S"), beside("top_n", "bare product", turned=True)
    ),
    Target(FACTORS, "implicit ALS, time", 1, True, "×", ("factors-M", "factors-S"), beside("ials", "implicit ALS")),
    Target(FACTORS, "implicit ALS, quality", 1, True, "×", ("factors-M", "factors-S"), quality),
    Target(READ, "raw-BSON drain", 0.8, True, "×", ("read-M", "read-S"), beside("read", "raw drain")),
    Target(
        f"{WRITE}: profiles",
        "bare insert_many",
        0.8,
        True,
        "×",
        ("write-M", "write-S"),
        beside("write profiles", "bare insert_many"),
    ),
    Target(
        f"{WRITE}: lists",
        "bare insert_many",
        0.8,
        True,
        "×",
        ("write-M", "write-S"),
        beside("write lists", "bare insert_many"),
    ),
    Target(f"{WRITE}: profiles", "Feast", 10, True, "×", ("feast-M", "feast-S"), beside("feast", FEAST)),
    Target(
        f"{WRITE}: profiles",
        "Feast, ours read back",
        10,
        True,
        "×",
        ("feast-M", "feast-S"),
        beside("feast_verified", FEAST),
    ),
    Target(NEXT, "first night's read, CPU s", 10, False, "%", ("nights-M", "nights-S"), share("second_read", "cpu_s")),
    Target(
        NEXT, "first night's whole run, CPU s", 50, False, "%", ("nights-M", "nights-S"), share("second_night", "cpu_s")
    ),
    Target(NIGHT, "minutes", 20, False, "min", ("whole_night-L",), whole_night("minutes")),
    Target(NIGHT, "memory", 8, False, "GB", ("whole_night-L",), whole_night("memory")),
)


def goals(runs: Runs, tables: Path = QUALITY) -> list[Goal]:
    """Each figure to reach, and the one kept: of the size it is meant for, else of the next smaller one.

    Args:
        runs: kept ones by name and size.
        tables: kept tables of ranking quality.
    """
    return [*(_goal(target, runs) for target in TARGETS), *_ranking(tables)]


def _goal(target: Target, runs: Runs) -> Goal:
    reach = f"{'≥' if target.least else '≤'} {_with(target.reach, target.unit)}"
    for key in target.runs:
        measured = target.look(runs[key]["found"]) if key in runs else None
        if measured is not None:
            ours, its, value = measured
            met = value >= target.reach if target.least else value <= target.reach
            if key != target.runs[0]:
                met = None  # what a smaller size gives is no answer
            return Goal(target.work, target.peer, reach, ours, its, _with(value, target.unit), met, key)
    return Goal(target.work, target.peer, reach)


def _with(value: float, unit: str) -> str:
    number = f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 10 else f"{value:,.1f}".removesuffix(".0")
    return f"{number}×" if unit == "×" else f"{number} {unit}"


def _ranking(tables: Path) -> Iterator[Goal]:
    """A line a data set: nDCG@100 beside the best peer's."""
    for path in sorted(tables.glob("*.json")):
        case = json.loads(path.read_text())
        ours, its = (case["models"][case[who]]["ndcg100"] for who in ("ours", "best_peer"))
        low, high = case["difference_interval"]
        yield Goal(
            f"ranking: {case['title']}",
            f"{case['best_peer']}, the best",
            "nDCG@100 above",
            f"{ours:.4f}",
            f"{its:.4f}",
            f"{case['difference']:+.4f} ({low:+.4f} to {high:+.4f})",
            case["difference"] > 0,
            path.stem,
        )


def goals_table(found: Sequence[Goal], now: set[str]) -> Table:
    """For a terminal; marked what is of this run.

    Args:
        found: what `goals` made.
        now: the runs of this run.
    """
    table = Table()
    for heading in ("work", "beside", "reach", "ours", "its", "figure", "", "run"):
        table.add_column(heading)
    for goal in found:
        style = None if goal.met is None else "green" if goal.met else "red"
        run = f"{goal.run}, now" if goal.run in now else goal.run
        table.add_row(
            goal.work, goal.peer, goal.reach, goal.ours, goal.its, goal.value, verdict(goal), run, style=style
        )
    return table


def verdict(goal: Goal) -> str:
    """Met or not, in a word."""
    if goal.met is None:
        return "a smaller size" if goal.run else ""
    return "met" if goal.met else "short"
