"""The harness's own table and plan; the points themselves are run by `make faults`."""

import pytest

from faults.points import KINDS, plan
from faults.steps import STEPS, Moment, find

NIGHT = [Moment(step, when, 1) for step in STEPS for when in ("before", "after")]


@pytest.mark.parametrize("step", STEPS)
def test_every_named_step_is_a_function_of_the_code(step):
    holder, name = find(STEPS[step])
    assert callable(getattr(holder, name))


@pytest.mark.parametrize("gone", ["features.release.publish.uplaod", "features.nowhere.upload", "flows.nightly.x.y"])
def test_a_step_that_is_no_function_any_more_is_an_error_that_names_it(gone):
    with pytest.raises(LookupError, match=gone):
        find(gone)


@pytest.mark.parametrize("points", [30, 300])
def test_a_plan_has_every_fault_and_as_many_points_as_asked_for(points):
    chosen = plan(points, 1, NIGHT)
    assert len(chosen) == points
    assert {point.kind.name for point in chosen} == {kind.name for kind in KINDS}
    assert chosen == plan(points, 1, NIGHT) != plan(points, 2, NIGHT)


def test_a_long_plan_kills_the_job_at_every_moment_of_every_step():
    killed = {point.moment for point in plan(300, 1, NIGHT) if point.kind.name == "job killed at a step"}
    assert killed == set(NIGHT)
