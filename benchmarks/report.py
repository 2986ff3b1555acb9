"""`docs/performance.md` and its picture, made of the kept figures and of nothing else.

`python -m benchmarks.report` writes both; a test holds the page in the repository to what this makes of the kept JSON.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import keeping
from benchmarks.catalogue import ENTRIES
from benchmarks.measuring import cells, text_of
from benchmarks.targets import Goal, goals, verdict

PAGE = keeping.ROOT / "docs" / "performance.md"
PICTURE = keeping.ROOT / "docs" / "images" / "growth.png"
SHORT = keeping.KEPT / "short.md"
"""What no figure tells: what was tried where one falls short."""
TITLES = {
    "growth": "Growth",
    "pairs": "Events to a matrix",
    "overlaps": "Similar users",
    "top_n": "The best of all tracks",
    "factors": "Factors",
    "read": "Reading",
    "write": "Writing",
    "feast": "Beside Feast",
    "nights": "The second night",
    "whole_night": "The whole night",
    "publish": "Publishing parts of a night",
}
MODULES = {entry.name: entry.module for entry in ENTRIES}
SIZES = ("XS", "S", "SM", "M", "ML", "L")
INTRODUCTION = """\
# Performance

What the night costs beside what others offer for the same work, on one small machine, printed by `make bench`. Made
of `benchmarks/kept/performance/*.json` by `python -m benchmarks.report`; nothing on this page is typed by hand but the
section on what is short.

```
make bench                        # all, large sizes, an hour or two
make bench BENCH=--quick          # all, small sizes, minutes
.venv/bin/python -m benchmarks overlaps top_n-S    # some; a name with a size means that one
.venv/bin/python -m benchmarks.report              # this page, of what was kept
```

Each benchmark runs in a process of its own, so that peak memory is its own; ours and the peers in turn, BLAS and
everything else on one thread unless it says otherwise. A ratio is the median, over the rounds, of the peer's seconds
for ours in the same round: other load on the machine meets both, and seconds by themselves are to be trusted less. CPU
seconds count for kernels, the clock where a database works at the same time. Data are drawn by seed: XS is 1,000
listeners, S 10,000, SM 30,000, M 100,000 of 100,000 tracks with 19 million plays, ML 300,000, L 1.02 million of 384,000
tracks with 121 million plays.
"""


def main() -> None:
    """Writes the page and the picture, of the kept figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    given = parser.parse_args()
    write(given.page, given.picture)


def write(to: Path = PAGE, picture: Path = PICTURE) -> None:
    """Writes the page and the picture of the kept figures."""
    from benchmarks.growth_picture import draw  # matplotlib takes a second

    runs = keeping.read()
    to.write_text(made_of(runs))
    draw(runs, picture)


def made_of(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of some runs, with the figures to reach as they are now and what is told of short ones."""
    return page(runs, goals(runs), SHORT.read_text() if SHORT.exists() else "")


def page(runs: Mapping[str, Mapping[str, Any]], reached: Sequence[Goal], short: str) -> str:
    """The page as Markdown.

    Args:
        runs: kept ones by name and size.
        reached: the figures to reach.
        short: the section on what is short, Markdown without a heading.
    """
    parts = [INTRODUCTION, *_machines(runs), "## Figures to reach\n", _goals(reached)]
    if short:
        parts += ["## What is short, and why\n", short.strip() + "\n"]
    for name, title in TITLES.items():
        of_it = [runs[f"{name}-{size}"] for size in SIZES if f"{name}-{size}" in runs]
        if of_it:
            picture = ["![CPU seconds as data grow](images/growth.png)\n"] if name == "growth" else []
            parts += [f"## {title}\n", *picture, f"`python -m benchmarks.{MODULES[name]}`\n"]
            parts += [part for run in of_it for part in _run(run)]
    parts += ["## Memory\n", *_memory(runs)]
    return "\n".join(parts)


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (headings, rule, *lines)) + "\n"


def _machines(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The machine, or machines, with what was measured where."""
    where: dict[str, list[str]] = {}
    for key, run in runs.items():
        it = run["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in it["versions"].items())
        words = (
            f"{it['cpu']}, {it['cores']} cores, {it['memory_gb']:g} GB, {it['system']}; "
            f"Python {it['python']}, {versions}; BLAS on {it['blas_threads']} thread{'s' * (it['blas_threads'] != 1)}"
        )
        where.setdefault(words, []).append(key)
    yield "## The machine\n"
    for words, keys in where.items():
        yield (words if len(where) == 1 else f"- {words}: {', '.join(keys)}") + ".\n"
    loads = sorted(run["load_before"] for run in runs.values())
    if loads:
        yield (
            f"It was shared: when a benchmark began, between {loads[0]:.1f} and {loads[-1]:.1f} other processes wanted "
            "a core, on an average of the minute before; each table says how many.\n"
        )


def _goals(reached: Sequence[Goal]) -> str:
    lines = [
        [goal.work, goal.peer, goal.reach, goal.ours, goal.its, goal.value, verdict(goal), goal.run] for goal in reached
    ]
    headings = ["work", "beside", "to reach", "ours", "its", "figure", "", "run"]
    rows = ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *lines)]
    return "\n".join(rows) + "\n"


def _run(run: Mapping[str, Any]) -> Iterator[str]:
    """The tables of a run, each with what it is about above and what else it tells below."""
    minutes = f", {run['minutes']:.1f} minutes" if run["minutes"] is not None else ""
    for number, found in enumerate(run["found"]):
        if "stages" in found:
            yield from _stages(run, found)
        else:
            yield f"**{found['about']}** (size {run['size']})\n"
            yield table(*cells(found))
        for note in found.get("notes", []):
            yield f"{note[0].upper()}{note[1:]}.\n"
        if number == len(run["found"]) - 1:
            yield f"{run['date']}, commit {run['commit']}, load {run['load_before']:.1f} before{minutes}.\n"


def _stages(run: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    counts = found["counts"]
    about = f"{counts['users']:,} listeners, {counts['tracks']:,} tracks, {counts['plays']:,} plays"
    yield f"**{about}** (size {run['size']})\n"
    stages = found["stages"]
    lines = [
        [stage, text_of(one["wall_s"]), text_of(one["cpu_s"]), f"{one['peak_rss_bytes'] / 1e9:.2f}"]
        for stage, one in stages.items()
    ]
    wall, cpu = (sum(one[kind] for one in stages.values()) for kind in ("wall_s", "cpu_s"))
    peak = max(one["peak_rss_bytes"] for one in stages.values())
    lines.append(["all", text_of(float(wall)), text_of(float(cpu)), f"{peak / 1e9:.2f}"])
    yield table(["stage", "wall s", "CPU s", "peak GB"], lines)


def _memory(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The most that each process held with ours alone, of the largest size of each."""
    lines = []
    for name, title in TITLES.items():
        for size in reversed(SIZES):
            run = runs.get(f"{name}-{size}")
            if run is None:
                continue
            for found in run["found"]:
                stages = found.get("stages", {}).values()
                peak = found.get("peak_rss_bytes") or max((one["peak_rss_bytes"] for one in stages), default=0)
                if peak:
                    lines.append([title, found.get("about", found["name"]), size, f"{peak / 1e9:.2f}"])
            break
    yield "The most that a process had held when ours had run, in GB, mapped files included:\n"
    yield table(["benchmark", "of", "size", "peak GB"], lines)


if __name__ == "__main__":
    main()
