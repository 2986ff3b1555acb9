"""Nights on a real database: a choice of models is gone by for a week, and made anew where it should not be."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.manifest import Manifest
from features.release.publish import switch, upload, verify
from features.release.reference import Reference, find_reference, last_choice, read_reference
from features.schema import plan
from features.snapshot.stored import Snapshot
from features.snapshot.take import take_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

FIRST = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
USUAL = NightlyParameters.model_validate({"recommendations": {"k": 30}})


class Nights(NamedTuple):
    database: Database[dict[str, Any]]
    home: Path
    snapshot: Snapshot
    first: Reference


@pytest.fixture(scope="module")
def nights(server_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """A night of enough listeners to choose by, published. Not to be changed."""
    home, name = tmp_path_factory.mktemp("nights"), f"echotune_test_{ObjectId()}"
    with MongoClient(server_uri, tz_aware=True) as client:
        database = client[name]
        plan.apply(database)
        sample = make_sample(SampleSpec(users=60, tracks=200, days=40, seed=5), end=FIRST)
        write_sample(database, sample, home=home, now=FIRST)
        snapshot = take_snapshot(database, home, FIRST)
        manifest = build_release(snapshot, home, USUAL, FIRST)
        with hold_lease(database) as token:
            verify(database, manifest, upload(database, home, manifest, token))
            switch(database, manifest, token)
        yield Nights(database, home, snapshot, read_reference(home, manifest.id))
        client.drop_database(name)


def night_after(nights: Nights, as_of: datetime, reference: Reference | None = None) -> Manifest:
    return build_release(nights.snapshot, nights.home, USUAL, as_of, reference=reference or nights.first)


def test_the_first_night_tells_when_its_models_were_chosen(nights):
    assert nights.first.manifest.chosen_as_of == FIRST
    assert nights.first.manifest.strategies["hybrid"]["users"] >= USUAL.ranking.min_validation_users


def test_the_night_after_goes_by_the_choice_of_the_first(nights):
    second = night_after(nights, FIRST + DAY)
    assert second.chosen_as_of == FIRST
    assert second.strategies == nights.first.manifest.strategies
    assert second.metrics["users"] > 0  # it is measured all the same
    third = night_after(nights, FIRST + 2 * DAY, read_reference(nights.home, second.id))
    assert third.chosen_as_of == FIRST


def test_a_week_later_models_are_chosen_anew(nights):
    """By the hour, nights do not begin at quite the same moment."""
    assert night_after(nights, FIRST + 6 * DAY + HOUR).chosen_as_of == FIRST
    late = FIRST + 7 * DAY - HOUR
    assert night_after(nights, late).chosen_as_of == late


def test_models_that_data_no_longer_allow_are_chosen_anew(nights):
    strategies = nights.first.manifest.strategies
    hybrid = strategies["hybrid"]
    shares = hybrid["shares"] | {"personal": 0.5}  # goes by what was heard, which is let in nowhere here
    grown = replace(nights.first.manifest, strategies=strategies | {"hybrid": hybrid | {"shares": shares}})
    second = night_after(nights, FIRST + DAY, replace(nights.first, manifest=grown))
    assert second.chosen_as_of == FIRST + DAY
    assert "personal" not in second.strategies["hybrid"]["shares"]


@pytest.mark.parametrize(
    "changed",
    [
        lambda manifest: replace(manifest, code="0.1.0+other"),
        lambda manifest: replace(manifest, parameters=manifest.parameters | {"models": {"ease": {"ridge": 300.0}}}),
        lambda manifest: replace(
            manifest, parameters=manifest.parameters | {"recommendations": {"include_heard": True, "same_song": True}}
        ),
        lambda manifest: replace(manifest, chosen_as_of=None),  # written before there was a field for it
        lambda manifest: replace(manifest, as_of=FIRST + 2 * DAY),  # no night before
        lambda manifest: replace(
            manifest, strategies={name: how | {"users": 0} for name, how in manifest.strategies.items()}
        ),
    ],
    ids=["code", "models", "heard", "untold", "later", "fixed blend"],
)
def test_a_choice_made_otherwise_is_not_gone_by(nights, changed: Callable[[Manifest], Manifest]):
    assert last_choice(nights.first, USUAL, FIRST + DAY) is not None
    other = replace(nights.first, manifest=changed(nights.first.manifest))
    assert last_choice(other, USUAL, FIRST + DAY) is None


@pytest.mark.parametrize(("days", "age", "gone_by"), [(1, 0, True), (1, 1, False), (2, 1, True), (2, 2, False)])
def test_how_long_a_choice_is_gone_by_can_be_said(nights, days, age, gone_by):
    """Another run of the same day goes by it too."""
    parameters = NightlyParameters.model_validate({"ranking": {"choose_every_days": days}})
    first = replace(nights.first.manifest, parameters=parameters.model_dump(mode="json"))
    choice = last_choice(replace(nights.first, manifest=first), parameters, FIRST + age * DAY)
    assert (choice is not None) == gone_by


@pytest.mark.parametrize(
    "change",
    [{"gate": {"min_nights": 5}}, {"recommendations": {"k": 40}}, {"similarity": {"k": 20}}],
    ids=lambda change: next(iter(change)),
)
def test_parameters_that_no_choice_follows_from_do_not_matter(nights, change):
    assert last_choice(nights.first, NightlyParameters.model_validate(change), FIRST + DAY) is not None


def test_the_choice_in_the_database_is_that_on_disk(nights, tmp_path):
    elsewhere = find_reference(nights.database, tmp_path / "another machine", nights.first.release)
    assert last_choice(elsewhere, USUAL, FIRST + DAY) == last_choice(nights.first, USUAL, FIRST + DAY)
