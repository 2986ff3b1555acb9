"""`echotune evaluate`: what rankings are worth on one's own data, and the search for better parameters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from features.errors import InputError
from features.parameter_file import find_parameter_file
from features.parameters import NightlyParameters, resolve_budget, resolve_moments, with_settings
from features.settings import get_settings
from flows.commands.options import Json, NoParameterFile, Pairs, ParametersFile, SplitName
from flows.console import progress_bars

MOST_K = 1000
DEFAULT_BUDGET = "10m"


def run(
    *,
    split: Annotated[
        SplitName,
        typer.Option(help="By time for all, the last of each user's tracks, or at random: for data without time."),
    ] = "time",
    holdout_days: Annotated[
        int | None, typer.Option(min=1, max=365, help="Days that --split time holds out; 7 by default.")
    ] = None,
    k: Annotated[str, typer.Option("-k", "--k", help="Places that count, with commas between.")] = "10,20,100",
    strategy: Annotated[
        list[str] | None, typer.Option(help="hybrid, collaborative, content-based, popular or a model. Repeatable.")
    ] = None,
    models: Annotated[bool, typer.Option("--models", help="Each model by itself, too.")] = False,
    against: Annotated[str, typer.Option(help="The strategy or model that differences are to.")] = "hybrid",
    as_of: Annotated[
        str | None, typer.Option(help="A date (to its end) or a date and time, UTC; today by default.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(help="Leave out what became known after it; written as --as-of, which it then is too.")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Users measured at most; 2,000 by default.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Of what is drawn: users, resamples, the split, the search."),
    ] = None,
    settings_pairs: Pairs = None,
    parameters_file: ParametersFile = None,
    no_parameter_file: NoParameterFile = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="Take the last snapshot as it is and ask the database for nothing.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture into a .png, .svg or .pdf file.")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Search the models' parameters instead, for nightly runs to use.")
    ] = False,
    budget: Annotated[
        str | None, typer.Option(help=f"Time for the search, such as 90s, 10m, 2h; {DEFAULT_BUDGET} without --trials.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, max=100_000, help="Settings tried for each model.")] = None,
    as_json: Json = False,
) -> None:
    """Measure every strategy's lists on what was held out; with --tune, search the models' parameters."""
    ks = resolve_ks(k)
    length = None if budget is None and trials else resolve_budget(budget or DEFAULT_BUDGET)
    _refuse_mixed(tune=tune, search=bool(budget or trials), measure=bool(strategy or plot or models))
    now = datetime.now(UTC)
    moment, known = resolve_moments(as_of, known_at, now)
    settings = get_settings()
    home = settings.echotune_home
    file = None if no_parameter_file else find_parameter_file(home, parameters_file)
    former = find_parameter_file(home) if tune else None  # a broken one shows before the search
    # a search begins with the defaults, and tries what an earlier one found next
    parameters = _with_evaluation(
        with_settings(settings_pairs or [], None if file is None or tune else file.models),
        {"holdout_days": holdout_days, "users": users, "seed": seed},
    )
    from flows.evaluation import measured, pose, read_inputs  # all that computes: a wrong word shows at once
    from flows.evaluation_output import show_report, show_search
    from flows.evaluation_plot import check_plot, draw_plot
    from flows.tuning import new_file, searched

    if plot is not None:
        check_plot(plot)
    with progress_bars() as progress:
        inputs = read_inputs(settings, now, known, progress, stored=stored)
        question = pose(inputs, split, moment, parameters)
        if tune:
            found, took = searched(question, trials=trials, budget=length, file=file, progress=progress)
        else:
            report = measured(
                question, ks=ks, strategies=strategy or (), against=against, models=models, progress=progress
            )
    if tune:
        made = new_file(home, question, found, took, now, file=file, former=former)
        show_search(home, found, made, former, as_json=as_json)
        return
    if plot is not None:
        draw_plot(report, question.words(), plot)
    show_report(question, report, file, as_json=as_json)


def resolve_ks(text: str) -> list[int]:
    """The places that count, ascending, each once.

    Raises:
        InputError: one is no whole number from 1 to 1,000.
    """
    ks = set()
    for part in text.split(","):
        if not part.strip().isdecimal() or not 1 <= int(part) <= MOST_K:
            raise InputError(
                f"--k {text}: {part.strip() or 'nothing'} is no number from 1 to {MOST_K}; write 10,20,100"
            )
        ks.add(int(part))
    return sorted(ks)


def _refuse_mixed(*, tune: bool, search: bool, measure: bool) -> None:
    if tune and measure:
        raise InputError(
            "--tune measures no lists: leave out --strategy, --models and --plot, or run evaluate after it"
        )
    if search and not tune:
        raise InputError("--budget and --trials are of a search; add --tune")


def _with_evaluation(parameters: NightlyParameters, changes: Mapping[str, int | None]) -> NightlyParameters:
    """With what options say of the evaluation; typer has looked at their bounds."""
    told = {name: value for name, value in changes.items() if value is not None}
    return parameters.model_copy(update={"evaluation": parameters.evaluation.model_copy(update=told)})
