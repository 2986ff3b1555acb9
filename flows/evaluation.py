"""What `echotune evaluate` runs: data from the database, the split, the measuring or the search."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from threadpoolctl import threadpool_limits

from features.compute.dataset import Dataset, build_dataset
from features.database import open_database
from features.dates import epoch_ms
from features.errors import InputError
from features.evaluate.report import STRATEGIES, Report, evaluate, measurable
from features.evaluate.splits import Split, hold_out_last, hold_out_random, split_by_time
from features.parameters import NightlyParameters
from features.progress import Progress
from features.recommend.strategies import choose
from features.release.build import plays_of
from features.release.ledger import hold_lease
from features.settings import Settings
from features.snapshot.clocks import Inputs, open_inputs
from features.snapshot.take import take_snapshot
from flows.commands.options import SplitName

HELD_OUT = 0.2
"""Share of each user's tracks that `last` and `random` hold out."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be evaluated.

    Attributes:
        snapshot: digest of the inputs.
        split: which.
        cut: its two parts.
        as_of: the moment from which on nothing counts.
        parameters: of a release, as a nightly run would have them.
    """

    snapshot: str
    split: SplitName
    cut: Split
    as_of: datetime
    parameters: NightlyParameters

    @property
    def as_of_ms(self) -> int:
        """Milliseconds since 1970."""
        return epoch_ms(self.as_of)

    def words(self) -> str:
        """What is held out, for a person."""
        if self.split == "time":
            days = self.parameters.evaluation.holdout_days
            begin = self.as_of - timedelta(days=days)
            return f"time split: held out is what was taken to in the {days} days from {begin:%Y-%m-%d %H:%M} UTC on"
        which = "the last by first listen" if self.split == "last" else "at random"
        until = f"up to {self.as_of:%Y-%m-%d %H:%M} UTC"
        return f"{self.split} split: held out is a fifth of each user's tracks, {which}, {until}"

    def told(self) -> dict[str, Any]:
        """The split, for programs."""
        days = self.parameters.evaluation.holdout_days if self.split == "time" else None
        return {"split": self.split, "holdout_days": days}


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS as in a nightly build: sums in another order would make other figures."""
    with threadpool_limits(1, "blas"):
        yield


def read_inputs(
    settings: Settings, bound: datetime, known_at: datetime | None, progress: Progress, *, stored: bool
) -> Inputs:
    """The snapshot, brought up to date as a nightly run does, unless `stored`; what of it was known by a moment.

    Raises:
        BusyError: another run is at work.
        DatabaseError, StorageError: the database can't be read, or the data folder not written.
    """
    if not stored:
        with open_database(settings) as database, hold_lease(database):  # no erasure runs beside it
            take_snapshot(database, settings.echotune_home, bound, progress, settings.echotune_hash_key)
    return open_inputs(settings.echotune_home, settings.mongodb_database, known_at)


def pose(inputs: Inputs, split: SplitName, as_of: datetime, parameters: NightlyParameters) -> Question:
    """Cuts the data.

    Raises:
        InputError: nothing is left to learn from.
    """
    as_of_ms = epoch_ms(as_of)
    tables = {name: inputs.table(name) for name in inputs.counts() if name != "plays"}
    dataset = build_dataset(tables, plays_of(inputs), as_of_ms=as_of_ms)
    if not len(dataset.plays):
        later = dataset.later["plays"]
        raise InputError(
            f"no plays before {as_of.isoformat()} ({later:,} after it); import some or pass a later --as-of"
        )
    question = Question(inputs.digest, split, _cut(dataset, split, as_of_ms, parameters), as_of, parameters)
    if not question.cut.interactions.weights.nnz:
        raise InputError(
            f"nothing is left to learn from ({question.words()}); hold out fewer days (--holdout-days), or take "
            "--split last or --split random"
        )
    return question


def _cut(dataset: Dataset, split: SplitName, as_of_ms: int, parameters: NightlyParameters) -> Split:
    how, half_life = parameters.evaluation, parameters.interactions.half_life_days
    repeats = parameters.recommendations.include_heard
    if split == "time":
        return split_by_time(
            dataset, as_of_ms=as_of_ms, holdout_days=how.holdout_days, half_life_days=half_life, repeats=repeats
        )
    if split == "last":
        return hold_out_last(
            dataset, as_of_ms=as_of_ms, half_life_days=half_life, share=HELD_OUT, seed=how.seed, repeats=repeats
        )
    return hold_out_random(dataset, as_of_ms=as_of_ms, half_life_days=half_life, share=HELD_OUT, seed=how.seed)


def measured(
    question: Question,
    *,
    ks: Sequence[int],
    strategies: Sequence[str],
    against: str,
    models: bool,
    progress: Progress,
) -> Report:
    """Chooses on what is learned from, fits, ranks, measures.

    Raises:
        InputError: there is no such strategy or model, or the data's size rules it out.
    """
    possible = measurable(question.cut, question.parameters)
    for option, names in (("--strategy", strategies), ("--against", [against])):
        for name in names:
            if name not in possible:
                raise InputError(f"{option} {name}: there is no such strategy here; there are {', '.join(possible)}")
    shown = [*(strategies or STRATEGIES), *(possible if models else ())]
    with one_thread():
        progress("choosing models", 0, None)
        recipes = choose(question.cut.dataset, question.parameters, as_of_ms=question.as_of_ms)
        progress("choosing models", 1, 1)
        return evaluate(
            question.cut, recipes, question.parameters, ks=ks, strategies=shown, against=against, tell=progress
        )
