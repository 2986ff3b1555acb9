"""What listeners answer makes the next lists better: twenty nights with hidden tastes, over the wire."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.feedback_simulation import by_artist, simulate
from benchmarks.simulated_listeners import make_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LISTENERS, TRACKS = 40, 600
RISE, LEAD = 0.04, 0.04
"""Half of what any of three seeds gave: the rise over the first night, when nobody had been heard, and the lead."""


@pytest.mark.parametrize("seed", [2])
def test_listeners_accept_more_from_night_to_night_when_they_are_heard(
    server_uri: str, quick_path: Path, seed: int
) -> None:
    world = make_world(seed, LISTENERS, TRACKS)
    heard, peer = simulate(server_uri, quick_path, world)
    last = heard.acceptance[-5:].mean()
    np.testing.assert_equal(heard.acceptance[0], peer.acceptance[0])
    assert last > heard.acceptance[0] + RISE
    assert last > peer.acceptance[-5:].mean() + LEAD
    assert (heard.said < 0).sum() > 100
    assert (heard.returned, peer.returned > 0) == (0, True)
    after = by_artist(world, heard)
    assert after[1] > 1.3 * after[0]
    assert after[-1] < 0.7 * after[0]
