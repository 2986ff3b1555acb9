"""One search for every model: by chance at first, then around the best so far, scored on the validation split."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.cases import Case
from benchmarks.quality.measure import Answering, validation_figure
from features.recommend.models.contract import Range, draw, near

RANDOM_SHARE = 2 / 3
BUDGET: Mapping[str, int] = {
    "jodie": 60,
    "jodie-repeats": 60,
    "ml-100k": 40,
    "hetrec": 20,
    "playlists-warm": 20,
    "playlists-cold": 20,
    "sample": 10,
}
"""Settings tried of every model by case: as many as some minutes of one thread allow where a fit takes seconds."""
TUNED = Path(__file__).parent / "tuned"
LIBRARIES = ("implicit", "numpy", "scipy")


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        parameters: the best.
        validation: their mean nDCG@100 on the validation split.
        trials: how many settings were tried; 1 where there is nothing to set.
        seed: of the draws.
        median_s: CPU seconds a fit, by the median; for who plans a search.
        found_at: the trial that was best, from 1.
    """

    parameters: dict[str, Any]
    validation: float
    trials: int
    seed: int
    median_s: float
    found_at: int


def search(
    case: Case, name: str, model: Answering, space: Mapping[str, Range], default: Mapping[str, Any], trials: int
) -> Tuned:
    """Tries that many settings: the default first, to two thirds at random, the others around the best.

    Ties keep the earlier; a model without a default begins at random.

    The seed is made of the names of case and model, so that a model's draws don't depend on which others are there.
    """
    seed = zlib.crc32(f"{case.name}/{name}".encode())
    rng = np.random.default_rng(seed)
    best: tuple[float, int, dict[str, Any]] = (-np.inf, 0, {})
    seconds = []
    count = trials if space else 1
    for trial in range(1, count + 1):
        if trial == 1 and default:
            setting = dict(default)
        else:
            setting = draw(space, rng) if trial <= max(1, round(count * RANDOM_SHARE)) else near(space, best[2], rng)
        answer = model(case.validation, setting)
        seconds.append(answer.fit_s)
        figure = validation_figure(answer, case.validation)
        if figure > best[0]:
            best = (figure, trial, setting)
    return Tuned(best[2], round(best[0], 5), count, seed, round(float(np.median(seconds)), 3), best[1])


def read_tuned(case: str, folder: Path = TUNED) -> dict[str, Tuned]:
    """What earlier searches found, by model; empty where there was none."""
    path = folder / f"{case}.json"
    if not path.exists():
        return {}
    return {name: Tuned(**entry) for name, entry in json.loads(path.read_text())["models"].items()}


def keep_tuned(case: str, found: Mapping[str, Tuned], folder: Path = TUNED) -> None:
    """Writes what was found over what is there of the same models."""
    together = {**read_tuned(case, folder), **found}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case}.json").write_text(
        json.dumps(
            {
                "case": case,
                "versions": versions(),
                "models": {name: together[name].__dict__ for name in sorted(together)},
            },
            indent=1,
        )
        + "\n"
    )


def versions() -> dict[str, str]:
    """Of the libraries whose code shapes a figure; those that are missing are left out."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found
