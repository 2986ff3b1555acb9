"""What the models' parameters may be: names, types and bounds, read off the models themselves."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache


@dataclass(frozen=True)
class Bounds:
    """Between which a parameter of a model makes sense, ends included but for a limit that it must stay `below`."""

    low: float
    high: float = math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and value < self.below

    def __str__(self) -> str:
        low = f"at least {self.low:g}"
        if self.below < math.inf:
            return f"{low} and less than {self.below:g}"
        return f"{low} and at most {self.high:g}"


_TINY = 1e-9
_COUNT, _SPAN, _SHARE, _WEIGHT = Bounds(1, 10_000), Bounds(0.01, 1e12), Bounds(0, 1), Bounds(0, 1000)
_POWER, _POSITIVE = Bounds(0, 5), Bounds(_TINY, 1e9)
MODEL_BOUNDS: Mapping[str, Bounds] = {
    **dict.fromkeys(("neighbors", "dimensions", "iterations"), _COUNT),
    **dict.fromkeys(("half_life", "gap_half_life", "half_lives", "short", "long"), _SPAN),
    **dict.fromkeys(("floor", "asymmetry", "lift"), _SHARE),
    **dict.fromkeys(
        ("artist", "album", "genre", "title", "audio", "age", "popularity", "heard", "appeal", "own"), _WEIGHT
    ),
    **dict.fromkeys(("content", "backward", "long_share"), _WEIGHT),
    **dict.fromkeys(("artist_share", "album_share", "genre_share"), _WEIGHT),
    **dict.fromkeys(("power", "weight_power", "strength", "degree_power", "popularity_power", "ridge_power"), _POWER),
    **dict.fromkeys(
        ("cold_lift", "frequency_power", "source_power", "target_power", "short_power", "long_power"), _POWER
    ),
    **dict.fromkeys(("exponent", "output_power"), Bounds(-5, 5)),
    **dict.fromkeys(("ridge", "regularization", "unobserved"), _POSITIVE),
    "shrink": Bounds(0, 1e9),
    "dropout": Bounds(0, below=1),
    "seed": Bounds(0, below=2**32),
    "targets": Bounds(0, 10_000),
    "smoothed_users": Bounds(0, 10_000),
    "waves": Bounds(8, 1024),
}
"""By the name of a parameter, whichever model has it. Wider than where a search looks (`Model.space`): beyond these a
model divides by nothing, has no neighbours, or learns to do without everything."""


def model_value(path: str, given: str | float) -> float:
    """The value of `model.parameter`, whole where it must be.

    Raises:
        ValueError: there is no such parameter, or the value is no number, not whole, or out of `MODEL_BOUNDS`.
    """
    known = model_parameters()
    if path not in known:
        close = difflib.get_close_matches(path, known, n=1)
        raise ValueError(f"unknown parameter models.{path}{f'; did you mean models.{close[0]}?' if close else ''}")
    kind, bounds = known[path], MODEL_BOUNDS.get(path.rpartition(".")[2], Bounds(-math.inf))
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (kind is int and value != int(value)):
        raise ValueError(f"models.{path} should be a {'whole' if kind is int else 'finite'} number")
    if value not in bounds:
        raise ValueError(f"models.{path} should be {bounds}")
    return kind(value)


@cache
def model_parameters() -> dict[str, type[float | int]]:
    """`model.parameter` of every model, and its type."""
    from features.recommend.models import MODELS  # scipy and scikit-learn, which a command that reads does not need

    return {
        f"{name}.{field.name}": int if field.type in (int, "int") else float
        for name, model in MODELS.items()
        for field in fields(model)  # type: ignore[arg-type]
    }
