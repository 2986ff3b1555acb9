"""Scores of a choice of tracks, beside the scores of all."""

import numpy as np
import pytest

from features.recommend.models import MODELS, content
from features.recommend.models.contract import ScoresSome, scores_of
from tests.recommend.models.histories import random_history

USERS = np.array([3, 0, 17, 29])


def choices(seed: int) -> np.ndarray:
    """Ascending, with empty places at the end, and a listener who has nothing else."""
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(40, 12, replace=False)) for _ in USERS]
    tracks = np.array(rows, np.int32)
    tracks[1, 5:], tracks[2] = -1, -1
    return tracks


def gathered(scores: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, np.maximum(tracks, 0), axis=1)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"content"}))
def test_a_choice_is_scored_as_all_are(name):
    model = MODELS[name]().fit(random_history(8, silent=1, refused=20))
    tracks = choices(1)
    expected, made = gathered(model.scores(USERS), tracks), scores_of(model, USERS, tracks)
    filled = tracks >= 0
    np.testing.assert_allclose(made[filled], expected[filled], rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("smoothed", [True, False])
def test_content_scores_a_choice_as_all_but_for_what_is_the_same_for_all_of_it(smoothed):
    model = content.Content(lift=0.0, cold_lift=0.0, smoothed_users=6000 if smoothed else 0).fit(random_history(8))
    tracks = choices(2)
    off = scores_of(model, USERS, tracks) / gathered(np.tile(model.lift_, (4, 1)), tracks)
    off -= gathered(model.scores(USERS) / model.lift_, tracks)
    for row, filled in zip(off, tracks >= 0, strict=True):
        assert np.ptp(row[filled]) < 1e-4 if filled.any() else True


def test_what_ranks_at_any_scale_scores_choices():
    some = {name for name, kind in MODELS.items() if isinstance(kind(), ScoresSome)}
    assert {"popular", "late", "item_knn", "svd", "ials", "proximity", "content", "personal"} <= some
