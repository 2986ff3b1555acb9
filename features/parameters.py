"""What a nightly run can be told, with bounds; `--set recommendations.k=50` reaches every one of them."""

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from features.errors import InputError
from features.model_parameters import model_parameters, model_value

STEPS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
MOST_MOMENTS = 4_000
"""Ten years of days: more is a slip of the keyboard."""


class Part(BaseModel):
    """Frozen, and an unknown name is an error rather than silently nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InteractionParameters(Part):
    """How plays and feedback become weights."""

    half_life_days: float = Field(180.0, gt=0, le=36_500, description="days until a play is worth half")


class ProfileParameters(Part):
    """Which dimensions profiles have."""

    top_genres: int = Field(24, ge=0, le=500, description="genres with a dimension of their own")


class EmbeddingParameters(Part):
    """The shape of track embeddings."""

    dimensions: int = Field(48, ge=1, le=1024, description="of the part learned from listening")
    content_dimensions: int = Field(48, ge=13, le=1024, description="of the part made of what the track is")
    seed: int = Field(20_260_101, ge=0, lt=2**32)


class SimilarityParameters(Part):
    """Similar users. The contract asks for at least five tracks in common."""

    k: int = Field(50, ge=1, le=1000, description="neighbours a user at most")
    min_common: int = Field(5, ge=5, le=1000, description="tracks in common at least")


class RankingParameters(Part):
    """How strategies choose the models they blend."""

    choose_every_days: int = Field(
        7, ge=1, le=365, description="models are chosen anew when their choice is so old; 1 for each night"
    )
    closed_form_limit: int = Field(
        6000, ge=0, le=40_000, description="users or tracks up to which models in closed form are tried"
    )
    sample_users: int = Field(
        25_000, ge=0, description="listeners at most whose histories models are chosen and measured on; 0 for all"
    )
    dense_cells: int = Field(
        1_000_000_000,
        ge=0,
        description="users × tracks up to which all tracks are scored for everyone; beyond, each one's candidates are",
    )
    pair_limit: int = Field(
        2_000_000_000,
        ge=0,
        description="pairs of tracks in all histories up to which item kNN and SVD are tried where candidates are "
        "scored and there is time to go by",
    )
    validation_share: float = Field(0.2, gt=0, lt=1, description="last of each user's tracks that choices are made on")
    validation_users: int = Field(1000, ge=0, le=1_000_000, description="users asked at most")
    min_validation_users: int = Field(30, ge=1, description="users to ask at least; fewer take the fixed blend")
    seed: int = Field(20_260_101, ge=0, lt=2**32, description="which users, and the order of what began at one moment")


class RecommendationParameters(Part):
    """The ranked lists."""

    k: int = Field(100, ge=1, le=1000, description="tracks a list at most")
    max_per_artist: int = Field(10, ge=0, le=1000, description="tracks of an artist, while there are others; 0 for any")
    diversity: float = Field(0.0, ge=0, le=1, description="how much unlikeness counts beside the score")
    damping: float = Field(
        0.05, ge=0, le=10, description="spreads of the best scores a track loses for each spread of fame"
    )
    rotation: float = Field(
        0.5, ge=0, le=10, description="spreads the first track of the last list loses while taste stays as it was"
    )
    discovery: float = Field(
        0.05, ge=0, le=1, description="share of a list that is new to the user where heard tracks are let in"
    )
    exploration: float = Field(
        0.03, ge=0, le=0.5, description="share of a hybrid list's places for tracks that hardly anybody has played"
    )
    include_heard: bool = Field(default=False, description="let already heard tracks in")
    same_song: bool = Field(
        default=True, description="other releases of a track count as that track: as heard, and once in a list"
    )

    @field_validator("include_heard")
    @classmethod
    def _some(cls, given: bool, others: ValidationInfo) -> bool:
        return given and others.data.get("discovery") != 1.0  # nothing but what is new: no heard track is let in


class EvaluationParameters(Part):
    """The time split on which a release's ranking is measured."""

    holdout_days: int = Field(7, ge=1, le=365, description="last days that are held out; a week has every weekday")
    k: int = Field(100, ge=1, le=1000, description="tracks ranked for each user")
    users: int = Field(2000, ge=0, le=1_000_000, description="users measured at most; 0 measures none")
    seed: int = Field(20_260_101, ge=0, lt=2**32, description="which users, where there are more")


class GateParameters(Part):
    """What the gate lets through. It shapes no release and is no part of its id."""

    min_nights: int = Field(3, ge=1, le=7, description="recent nights to compare with; the median of fewer is chance")
    min_rows: int = Field(1000, ge=1, description="plays or documents on either side; chance moves a rate of fewer")
    min_entities: int = Field(100, ge=1, description="users, tracks or lists on either side; likewise")
    min_ranked: int = Field(30, ge=2, description="users measured on either side; the error of fewer is a guess")

    min_volume_ratio: float = Field(
        0.5, ge=0, le=1, description="of recent nights' rows and plays a week; holidays halve a day, not a week"
    )
    min_day_ratio: float = Field(
        0.1,
        ge=0,
        le=1,
        description="of recent nights' plays of the last day; a late import makes it small, not nothing",
    )
    max_set_aside: float = Field(
        0.2, ge=0, le=1, description="share of a collection; above it a writer has changed its format"
    )
    max_set_aside_growth: float = Field(
        3.0,
        ge=1,
        le=1000,
        description="times recent nights' share; a history is long, so one bad night moves it little",
    )
    min_set_aside: float = Field(0.002, ge=0, le=1, description="share that is never held against a night")
    max_missing_rise: float = Field(
        0.1, ge=0, le=1, description="of what lacks a value; a field unwritten for a day is a seventh of a week"
    )

    min_count_ratio: float = Field(0.8, ge=0, le=1, description="of the live documents; people seldom leave by fifths")
    max_count_ratio: float = Field(
        1.9, ge=1, le=1000, description="of the live documents; ids in two forms double them"
    )
    min_active_coverage: float = Field(
        0.99, ge=0, le=1, description="of this month's listeners served; who knows every track has no list"
    )
    max_rank_loss: float = Field(
        0.1, ge=0, le=1, description="of the dimensions embeddings span; the audio features are an eighth"
    )

    max_psi: float = Field(
        1.0, ge=0, le=100, description="of any dimension; one night apart, 1 is another unit or source"
    )
    max_drifted: float = Field(
        0.25, ge=0, le=1, description="share of dimensions with a PSI above 0.25, usually read as much"
    )
    max_ndcg_drop: float = Field(0.1, ge=0, le=1, description="relative to the live release; weeks differ by less")
    ndcg_errors: float = Field(3.0, ge=0, le=100, description="standard errors a drop must exceed too, to be no chance")


class NightlyParameters(Part):
    """What a nightly run can be told. All but `gate` shapes the release and is part of its id."""

    interactions: InteractionParameters = InteractionParameters()
    profiles: ProfileParameters = ProfileParameters()
    embeddings: EmbeddingParameters = EmbeddingParameters()
    similarity: SimilarityParameters = SimilarityParameters()
    ranking: RankingParameters = RankingParameters()
    models: dict[str, dict[str, float]] = Field(
        default={}, description="parameters of models that are not as by default, such as ease.ridge"
    )
    recommendations: RecommendationParameters = RecommendationParameters()
    evaluation: EvaluationParameters = EvaluationParameters()
    gate: GateParameters = GateParameters()

    @field_validator("models")
    @classmethod
    def _sane(cls, given: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return {
            model: {name: model_value(f"{model}.{name}", value) for name, value in parameters.items()}
            for model, parameters in given.items()
        }


def with_settings(pairs: Sequence[str], models: Mapping[str, Mapping[str, float]] | None = None) -> NightlyParameters:
    """The defaults with `part.name=value` pairs put over them.

    Args:
        pairs: as written after `--set`.
        models: of a parameter file, over the defaults and under the pairs.

    Raises:
        InputError: a pair without `=`, an unknown name (with the closest known one), or a value out of bounds.
    """
    known = {
        f"{part}.{name}": (part, name)
        for part, field in NightlyParameters.model_fields.items()
        if issubclass(field.default.__class__, Part)
        for name in field.default.__class__.model_fields
    } | {f"models.{path}": ("models", path) for path in model_parameters()}
    values: dict[str, dict[str, Any]] = {"models": {name: dict(own) for name, own in (models or {}).items()}}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        path = path.strip()
        if not equals:
            raise InputError(f"--set {pair}: write it as name=value, for example recommendations.k=50")
        if path not in known:
            close = difflib.get_close_matches(path, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
            raise InputError(f"--set {pair}: unknown parameter {path}{hint}")
        part, name = known[path]
        if part == "models":
            model, _, own = name.partition(".")
            try:
                values[part].setdefault(model, {})[own] = model_value(name, value.strip())
            except ValueError as error:
                raise InputError(f"--set {path}={value.strip()}: {error}") from None
        else:
            values.setdefault(part, {})[name] = value.strip()
    try:
        return NightlyParameters.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in first["loc"])
        raise InputError(f"--set {path}={first['input']}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def resolve_budget(text: str) -> timedelta:
    """How long `90s`, `10m` or `2h` is.

    Raises:
        InputError: it is not written so, or is nothing.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})([smh])", text.strip())
    if found is None:
        raise InputError(f"--budget {text} is no length of time; write 90s, 10m or 2h")
    return int(found[1]) * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}[found[2]]


def resolve_moments(as_of: str | None, known_at: str | None, now: datetime) -> tuple[datetime, datetime | None]:
    """The moment from which on plays are left out, and the one up to which they had to be known, None for now.

    A date means to the end of that day in UTC; a date and time mean that moment, in UTC where no zone is given.
    Without `as_of` it is `known_at`; without either the end of today: everything known counts, and all runs of
    one day make the same release.

    Raises:
        InputError: neither a date nor a date and time, or one in the future.
    """
    known = None if known_at is None else resolve_moment("--known-at", known_at, now)
    if as_of is not None:
        moment = resolve_moment("--as-of", as_of, now)
    else:
        moment = known or datetime.combine(now.astimezone(UTC).date(), time(), UTC) + timedelta(days=1)
    return moment, known and min(known, now)


def resolve_moment(option: str, text: str, now: datetime) -> datetime:
    """The moment that a date, to its end in UTC, or a date and time means.

    Args:
        option: where it was written, for the error.
        text: as it was written.
        now: nothing may be later, but for the end of today.

    Raises:
        InputError: it is neither, or lies in the future.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{option} {text} is neither a date nor a time; write 2026-11-22 or 2026-11-22T03:00"
        ) from None
    whole_day = len(text.strip()) <= len("2026-11-22")
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise InputError(f"{option} {text} lies in the future; the latest is {now:%Y-%m-%d}")
    return moment + timedelta(days=1) if whole_day else moment


def moments_between(first: str, last: str, every: str, now: datetime) -> list[datetime]:
    """Moments from one to another, both included where the step meets them; dates mean to their end.

    Raises:
        InputError: a bad moment or step, none between them, too many, or one that is not over yet.
    """
    start, end, step = resolve_moment("--from", first, now), resolve_moment("--to", last, now), resolve_step(every)
    if start > end:
        raise InputError(f"--from {first} lies after --to {last}; exchange them")
    if end > now:
        raise InputError(f"--to {last} is not over yet; the last whole day is {now - timedelta(days=1):%Y-%m-%d}")
    if (end - start) // step >= MOST_MOMENTS:
        raise InputError(f"--every {every} makes more than {MOST_MOMENTS:,} releases; take a longer step")
    return [start + number * step for number in range((end - start) // step + 1)]


def resolve_step(every: str) -> timedelta:
    """How long `1d`, `12h` or `1w` is.

    Raises:
        InputError: it is not written so, or is nothing.
    """
    found = re.fullmatch(r"([1-9]\d{0,3})([hdw])", every.strip())
    if found is None:
        raise InputError(f"--every {every} is no step of time; write 1d, 12h or 1w")
    return int(found[1]) * STEPS[found[2]]
