"""The search of `echotune evaluate --tune`: its clock, and the file that comes of it."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from features.errors import InputError
from features.evaluate.tuning import Tuning, tune
from features.parameter_file import ParameterFile, next_version
from features.progress import Progress
from features.release.manifest import code_version
from flows.evaluation import Question, one_thread


@dataclass(frozen=True)
class Took:
    """What a search was allowed, and what it took.

    Attributes:
        budget: of time; None for any.
        trials: for each model, the first one included; None for as many as there is time for.
        seconds: it took.
    """

    budget: timedelta | None
    trials: int | None
    seconds: float


def searched(
    question: Question, *, trials: int | None, budget: timedelta | None, file: ParameterFile | None, progress: Progress
) -> tuple[Tuning, Took]:
    """Searches the models' parameters on what comes before the held-out part.

    Args:
        question: whose `parameters` the search begins with, and whose `evaluation.seed` it draws by.
        trials: for each model, the first one included; None for as many as there is time for.
        budget: of time, None for any; the trial at hand is finished.
        file: whose parameters are tried next.
        progress: called before each trial.

    Raises:
        InputError: nobody can be asked.
    """
    begin = time.monotonic()

    def spent(rounds: int) -> float:
        share = rounds / trials if trials else 0.0
        if budget is not None:
            share = max(share, (time.monotonic() - begin) / budget.total_seconds())
        return share

    with one_thread():
        found = tune(
            question.cut.dataset,
            question.parameters,
            as_of_ms=question.as_of_ms,
            seed=question.parameters.evaluation.seed,
            spent=spent,
            start={} if file is None else file.models,
            tell=progress,
        )
    if not found.users:
        raise InputError(
            "nobody can be asked: no user took to five tracks or more before the held-out part; import more plays or "
            "hold out fewer days (--holdout-days)"
        )
    return found, Took(budget, trials, time.monotonic() - begin)


def new_file(
    home: Path,
    question: Question,
    found: Tuning,
    took: Took,
    now: datetime,
    *,
    file: ParameterFile | None,
    former: ParameterFile | None,
) -> ParameterFile:
    """The next version; of models that the search did not come to, what the file in use says stays.

    Args:
        home: `$ECHOTUNE_HOME`.
        question: what was searched on.
        found: the winners.
        took: the budget and the time.
        now: when it is made.
        file: in use.
        former: what the data folder has; usually the same.
    """
    tried = {tuned.model for tuned in found.models}
    kept = {} if file is None else {name: own for name, own in file.models.items() if name not in tried}
    search = {
        "budget_seconds": None if took.budget is None else took.budget.total_seconds(),
        "trials": took.trials,
        "seed": question.parameters.evaluation.seed,
        "seconds": round(took.seconds, 1),
        "code": code_version(),
        **question.told(),
    }
    return ParameterFile(
        next_version(home, former),
        now,
        question.snapshot,
        question.as_of,
        search,
        found.to_dict(),
        {name: dict(own) for name, own in sorted({**kept, **found.winners}.items())},
    )
