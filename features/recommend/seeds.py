"""What of a user's own history moved their scores, on the scale that scores are blended on.

A model's standard score is its raw score less the mean, over the spread, of what the user may be shown. The mean is the
same for all tracks and moves none past another, so a track of the history moves a standard score by its influence over
that spread, and a blended one by as much times what the recipe lets the model say. Influences over their own absolute
sum would give a model that finds nothing in the history as much of a say as one that rests on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from features.compute.topk import top_k
from features.recommend.blend import LOWEST, Recipe, Standard, names_of
from features.recommend.models.contract import Model

MOST_SEEDS = 5


@dataclass(frozen=True, eq=False)
class Moved:
    """What moved the scores of some tracks for one user.

    Attributes:
        tracks: (n,) int, distinct.
        amounts: by model, (h, n) float64: standard deviations that each track of the history adds to each of `tracks`.
        standard: by model, (n,) float64 standard scores; -inf for what the model does not know.
    """

    tracks: np.ndarray
    amounts: Mapping[str, np.ndarray]
    standard: Mapping[str, np.ndarray]


def moved(
    models: Mapping[str, Model], standard: Mapping[str, Standard], row: int, user: int, tracks: np.ndarray
) -> Moved:
    """Asks every model in `standard`.

    Args:
        models: fitted, by name.
        standard: of a block of users.
        row: the user's in it.
        user: their number.
        tracks: (n,) int, distinct.
    """
    amounts = {}
    for name, of_block in standard.items():
        spread = float(of_block.spread[row])
        given = models[name].influences(user, tracks)
        # where all that may be shown is equal, nothing stands out, and what it owes to the history is of one size
        scale = spread if spread > 0 else float(np.abs(given).max(initial=0.0))
        amounts[name] = given / scale if scale > 0 else given
    return Moved(tracks, amounts, {name: of_block.scores[row, tracks] for name, of_block in standard.items()})


def says(recipe: Recipe, degree: int) -> dict[str, float]:
    """By model: how much of its standard score the recipe takes for a user with so many tracks of history."""
    blend = recipe.at(degree)
    return {name: blend.say(name) for name in names_of(recipe)}


def parts(recipe: Recipe, degree: int, of: Moved) -> dict[str, np.ndarray]:
    """By model, (n,) float64: its part in the blended score of each track; 0 for what it does not know."""
    blend, found = recipe.at(degree), {}
    for name in names_of(recipe):
        scores = of.standard[name]
        known = np.maximum(np.where(np.isfinite(scores), scores, 0.0), LOWEST)
        found[name] = blend.part(name, known)
    return found


def blended(of: Moved, say: Mapping[str, float], names: Iterable[str], columns: np.ndarray) -> np.ndarray:
    """(h, c) float64: what the history adds to the blended scores of some of the tracks, by these models.

    Args:
        of: what each model says.
        say: how much of it is taken.
        names: of the models that count; the others are left out.
        columns: (c,) places in `of.tracks`.
    """
    counted = [say[name] * of.amounts[name][:, columns] for name in names if say.get(name, 0.0) != 0.0]
    if counted:
        total: np.ndarray = sum(counted[1:], start=counted[0])
        return total
    return np.zeros((len(next(iter(of.amounts.values()))), len(columns)))


def seeds(history: np.ndarray, amounts: np.ndarray) -> list[int]:
    """The tracks of the history that added most to a list, best first, at most five; none that took from it.

    Args:
        history: (h,) int track numbers.
        amounts: (h,) float64, what each added to the scores of the list's tracks in all.
    """
    best = top_k(amounts[None, :], MOST_SEEDS)[0]
    return [int(history[place]) for place in best if place >= 0 and amounts[place] > 0]
