"""The users' side of the EASE family against one plain system for each listener."""

import numpy as np
import pytest

from features.recommend.models.linear_users import UserEase
from tests.recommend.models.histories import random_history


@pytest.mark.parametrize("size", [{"users": 24, "tracks": 50}, {"users": 60, "tracks": 20}], ids=str)
@pytest.mark.parametrize("output_power", [0.0, 0.3])
def test_user_ease_is_solved_as_if_each_listener_were_not_there(size, output_power):
    history = random_history(5, silent=2, refused=20, **size)
    model = UserEase(ridge=0.5, dropout=0.2, output_power=output_power, weight_power=0.5, popularity_power=0.1)
    model.fit(history)
    recent = history.recent(model.half_life, model.floor, model.strength)
    values = history.values(0.5).toarray().astype(np.float64)
    degree, popularity = (np.maximum((values > 0).sum(axis=axis), 1) for axis in (1, 0))
    scaled, asking = (
        matrix / degree[:, None] ** model.degree_power / popularity[None, :] ** 0.1
        for matrix in (values, recent.toarray().astype(np.float64))
    )
    gram = scaled @ scaled.T
    own = np.diag(gram).copy()
    system = gram + np.diag(0.5 * own[own > 0].mean() + 0.25 * own)
    made = model.scores(np.arange(size["users"]))
    for user in range(size["users"]):
        others = np.delete(np.arange(size["users"]), user)
        between = np.linalg.solve(system[np.ix_(others, others)], scaled[others] @ asking[user])
        expected = between @ (values[others] / popularity[None, :] ** output_power)
        np.testing.assert_allclose(made[user], expected, atol=1e-5)
    assert np.abs(made).max() > 0.05
