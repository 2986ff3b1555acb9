"""`prefect.yaml` says what the README promises of it."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda entry: entry["name"])
def test_the_entrypoint_is_a_flow_and_its_parameters_fit(deployment: dict[str, Any]) -> None:
    path, name = deployment["entrypoint"].split(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    flow = getattr(module, name)
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)
    asked_for = dict.fromkeys(flow.parameters.required, "2026-01-01")  # moments, by whoever runs a backfill
    assert flow.validate_parameters(asked_for | deployment["parameters"]) is not None


def test_the_nightly_run_has_a_time_zone_and_cancels_a_second_one_and_adhoc_runs_queue() -> None:
    by_name = {entry["name"]: entry for entry in DEPLOYMENTS}
    (schedule,) = by_name["nightly"]["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == ("0 3 * * *", "Etc/UTC")
    assert by_name["nightly"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert by_name["adhoc"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert "schedules" not in by_name["adhoc"]
    assert "schedules" not in by_name["backfill"]
    assert by_name["backfill"]["concurrency_limit"] == by_name["adhoc"]["concurrency_limit"]


def test_the_parameters_on_a_deployments_page_have_bounds() -> None:
    from flows.nightly import nightly

    definitions = nightly.parameters.model_dump()["definitions"]
    assert definitions["RecommendationParameters"]["properties"]["k"]["maximum"] == 1000
    assert definitions["SimilarityParameters"]["properties"]["min_common"]["minimum"] == 5
