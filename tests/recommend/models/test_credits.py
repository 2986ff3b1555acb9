"""Who is credited: the artists of the catalogue, and guests and remixers by the title."""

import doctest

import numpy as np
import pytest

import features.recommend.models.credits
from features.recommend.models.credits import credit_rows, credited
from tests.worlds import dataset_of, play, track


@pytest.mark.parametrize(
    ("title", "guests"),
    [
        ("Dawn", set()),
        ("Dawn (feat. Ana)", {"ana"}),
        ("Dawn [ft. Ana, Bob and Cleo]", {"ana", "bob", "cleo"}),
        ("Dawn featuring Ana - Live", {"ana"}),
        ("Dawn (with Ana & Bob)", {"ana", "bob"}),
        ("Dawn - Ana Remix", {"ana"}),
        ("Dawn (Beyoncé Extended Mix)", {"beyonce"}),
        ("Dawn (feat. Al)", set()),  # too short to be looked for
    ],
)
def test_guests_and_remixers_are_named_in_titles(title, guests):
    assert credited(title, ("Dee",)) == guests | {"dee"}


def test_artists_filed_together_are_each_credited_and_short_names_are_if_they_are_filed():
    assert credited("Dawn", ("Ana & U2", "MØ")) == {"ana & u2", "ana", "mø"}


def test_rows_liken_tracks_by_whom_they_share_and_case_and_accents_are_put_aside():
    rows = [
        {**track("a", "Ana"), "name": "Dawn"},
        {**track("b", "BOB"), "name": "Dusk (feat. Aná)"},
        {**track("c", "Bob"), "name": "Noon (feat. Nobody Else)"},
        {**track("d"), "name": None},
    ]
    catalog = dataset_of(plays=[play("u", "a")], tracks=rows).catalog
    made = credit_rows(catalog)
    expected = np.array([[1, 0.5**0.5, 0, 0], [0.5**0.5, 1, 0.5**0.5, 0], [0, 0.5**0.5, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose((made @ made.T).toarray(), expected)


def test_examples_in_the_text_hold():
    assert doctest.testmod(features.recommend.models.credits).failed == 0
