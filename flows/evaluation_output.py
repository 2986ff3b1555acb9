"""What `echotune evaluate` writes: the parameter file, tables for people, JSON for programs."""

from pathlib import Path

from features.evaluate.report import Report
from features.evaluate.tuning import Tuning
from features.parameter_file import ParameterFile, kept_path, words_of, write_parameter_file
from flows.console import say, show_json, show_table
from flows.evaluation import Question
from flows.evaluation_tables import activity_table, newcomers_table, overall_table, sentences, tuning_table


def show_search(home: Path, found: Tuning, made: ParameterFile, former: ParameterFile | None, *, as_json: bool) -> None:
    """Writes the file, unless there is nothing to write, and says what became of each model."""
    path = write_parameter_file(home, made, former) if made.models or former else None
    if as_json:
        show_json(made.to_json())
        return
    show_table(tuning_table(found), title=f"Parameters, by nDCG@100 of {found.users:,} users on validation")
    say(f"{sum(tuned.trials for tuned in found.models):,} trials in {made.search['seconds']:,.1f} s")
    if path is None:
        say("nothing beat the defaults; no file was written")
        return
    if former is not None:
        say(f"the former file is kept as {kept_path(home, former)}")
    say(f"version {made.version} written to {path}; nightly, backfill and evaluate go by it from now on")


def show_report(question: Question, report: Report, file: ParameterFile | None, *, as_json: bool) -> None:
    """Prints an evaluation."""
    if as_json:
        show_json(
            {
                **question.told(),
                "as_of": question.as_of,
                "snapshot": question.snapshot,
                "parameter_file": None if file is None else file.version,
                "parameters": question.parameters.model_dump(mode="json", exclude={"gate"}),
                **report.to_dict(),
            }
        )
        return
    say(question.words())
    if file is not None:
        say(words_of(file))
    for sentence in sentences(report):
        say(sentence)
    show_table(overall_table(report), title="Everybody with a history, means with 95 % intervals")
    show_table(activity_table(report), title="By tracks in the history")
    show_table(newcomers_table(report), title="Newcomers")
    if not report.counts["measured"]:
        say(
            "nobody can be measured: hold out more days (--holdout-days), or take --split last or --split random "
            "where plays have no time"
        )
