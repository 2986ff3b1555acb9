"""Ranking quality, ours beside peers, a table a data set: `python -m benchmarks.quality --data FOLDER`.

Parameters of all models, ours and peers', come from `tuned/`, where one search with one budget on one validation split
left them; `--search` repeats it. Figures are of the test split, after a fit on everything else. See README, Quality.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.quality import ours
from benchmarks.quality.cases import Case
from benchmarks.quality.datasets import NAMES, cases
from benchmarks.quality.measure import figures
from benchmarks.quality.models import Competitor, competitors
from benchmarks.quality.rectools_peer import there
from benchmarks.quality.report import KEPT, Row, as_json, read, show, write
from benchmarks.quality.search import BUDGET, Tuned, keep_tuned, read_tuned, search

OUR_LISTS = "hybrid"
OURS = "ours: "


def main() -> None:
    """Runs what is asked and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(NAMES)}; all if none is named")
    parser.add_argument("--data", type=Path, help="the folder of data sets; without it, those that need none")
    parser.add_argument("--cache", type=Path, default=Path("data/bench"), help="where what is fetched is kept")
    parser.add_argument("--out", type=Path, default=Path("data/bench/quality"), help="where the tables go as JSON")
    parser.add_argument("--search", action="store_true", help="search parameters anew and keep them")
    parser.add_argument("--trials", type=int, help="settings tried of each model; by case, if it is not given")
    parser.add_argument(
        "--models", help="only these, by their names separated by commas; peers or ours for either side"
    )
    parser.add_argument("--no-tables", action="store_true", help="only search")
    parser.add_argument("--keep", action="store_true", help=f"keep the tables in {KEPT.name}/, to compare later ones")
    given = parser.parse_args()
    if unknown := sorted(set(given.cases) - set(NAMES)):
        parser.error(f"no such case: {unknown[0]}; there are {', '.join(NAMES)}")
    console = Console(width=150)
    if not there():
        console.print("RecTools is left out, it has no .venv-rectools; make bench-quality makes one")
    for case in cases(tuple(given.cases) or NAMES, given.data, given.cache):
        begin = time.perf_counter()
        everyone = competitors(case)
        chosen = _named(everyone, given.models)
        if given.search:
            for name, competitor in chosen.items():
                trials = given.trials or BUDGET[case.name]
                tuned = search(case, name, competitor.answer, competitor.space, competitor.default, trials)
                keep_tuned(case.name, {name: tuned})
                console.print(f"{case.name}: {name} {tuned.validation:.4f} by trial {tuned.found_at} of {tuned.trials}")
        if not given.no_tables:
            table = measured(case, chosen, _fitting(read_tuned(case.name), everyone))
            show(table, read(case.name, KEPT), console)
            write(table, given.out)
            if given.keep:
                write(table, KEPT)
        console.print(f"{case.name}: {time.perf_counter() - begin:.0f} s", style="dim")


def measured(case: Case, chosen: Mapping[str, Competitor], tuned: Mapping[str, Tuned]) -> dict[str, Any]:
    """The table of a case."""
    rows = {}
    for name, competitor in chosen.items():
        found = tuned.get(name)
        answer = competitor.answer(case.test, found.parameters if found else {})
        rows[name] = Row(figures(answer, case.test), competitor.ours, found)
    parameters = {name.removeprefix(OURS): found.parameters for name, found in tuned.items() if name.startswith(OURS)}
    recipes = {}
    variants = {"": parameters, **({", by default": {}} if parameters else {})}
    for suffix, models in variants.items():
        answers, made_by = ours.answers(case.test, models)
        for strategy, answer in answers.items():
            rows[f"{OURS}{strategy}{suffix}"] = Row(figures(answer, case.test), ours=True)
            recipes[f"{OURS}{strategy}{suffix}"] = made_by[strategy]
    return as_json(case, rows, recipes, f"{OURS}{OUR_LISTS}")


def _fitting(tuned: Mapping[str, Tuned], there: Mapping[str, Competitor]) -> dict[str, Tuned]:
    """What was found of models that are there and still have the parameters that were searched."""
    return {
        name: found
        for name, found in tuned.items()
        if name in there and set(found.parameters) == set(there[name].space)
    }


def _named(found: dict[str, Competitor], names: str | None) -> dict[str, Competitor]:
    """Those of the names or sides, and popularity: a table needs somebody to be compared with."""
    if names is None:
        return found
    wanted = {name.strip() for name in names.split(",")} | {"popularity"}
    sides = {False: "peers", True: "ours"}
    return {name: entry for name, entry in found.items() if name in wanted or sides[entry.ours] in wanted}


if __name__ == "__main__":
    main()
