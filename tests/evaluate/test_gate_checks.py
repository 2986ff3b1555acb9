"""The gate: a sound release passes, and each fault fails the check that names it and no other."""

import numpy as np
import pytest
from worlds import AS_OF, evidence_of, lists_of, random_world

from features.compute.overlaps import similar_users
from features.compute.profiles import build_profiles
from features.evaluate.gate import (
    Check,
    ListFaults,
    check_embeddings,
    check_lists,
    check_profiles,
    check_ranges,
    check_similarity,
    faults_of,
    verdict,
)


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


PROFILES = np.array([[0.5, np.nan], [0.1, 0.2]])
SURE = np.array([0.0, 1.0])


def test_sound_profiles_pass():
    assert failed(check_profiles(PROFILES, SURE, 2)) == []
    assert failed(check_profiles(np.zeros((0, 5)), np.zeros(0), 0)) == []


@pytest.mark.parametrize(
    ("vectors", "confidence", "expected", "name"),
    [
        (PROFILES, SURE, 3, "a profile for everyone who played"),
        (PROFILES, SURE, 1, "a profile for everyone who played"),
        (np.array([[np.inf, 0.0], [0.1, 0.2]]), SURE, 2, "profiles are finite"),
        (np.array([[np.nan, np.nan], [0.1, 0.2]]), SURE, 2, "no profile is all undefined"),
        (PROFILES, np.array([0.5, 1.1]), 2, "profile confidence in 0..1"),
        (PROFILES, np.array([-0.1, 0.5]), 2, "profile confidence in 0..1"),
        (PROFILES, np.array([np.nan, 0.5]), 2, "profile confidence in 0..1"),
    ],
)
def test_a_fault_of_profiles_fails_its_own_check(vectors, confidence, expected, name):
    assert failed(check_profiles(vectors, confidence, expected)) == [name]


RANGED = ("energy_mean", "plays_per_day_7d", "loudness_mean", "tempo_spread", "genre_loudness")


@pytest.mark.parametrize(
    ("row", "outside"),
    [
        ([0.0, 99.0, 1.1, -2.0, 1.0], []),
        ([np.nan] * 5, []),
        ([1.0 + 1e-12, 0.0, 0.0, 0.0, -1e-12], []),  # rounding
        ([1.1, 0.0, 0.0, 0.0, 0.5], ["energy_mean"]),
        ([-0.1, 0.0, 0.0, 0.0, 2.0], ["energy_mean", "genre_loudness"]),
    ],
)
def test_shares_and_rates_outside_their_range_are_named(row, outside):
    check = check_ranges(RANGED, np.array([[0.5] * 5, row]))
    assert check.passed is not bool(outside)
    assert check.detail == f"{len(outside)} of 2 do not" + (f": {', '.join(outside)}" if outside else "")


def test_no_profiles_are_all_in_range():
    assert check_ranges(RANGED, np.zeros((0, 5))).passed


EMBEDDINGS = np.array([[0.6, 0.8], [0.0, 0.0]], np.float32)


def test_sound_embeddings_pass():
    assert failed(check_embeddings(EMBEDDINGS, SURE)) == []


@pytest.mark.parametrize(
    ("vectors", "confidence", "name"),
    [
        (np.array([[np.nan, 0.0], [1.0, 0.0]]), SURE, "embeddings are finite"),
        (np.array([[0.6, 0.9], [1.0, 0.0]]), SURE, "embeddings have unit length"),
        (np.array([[0.01, 0.0], [1.0, 0.0]]), SURE, "embeddings have unit length"),
        (EMBEDDINGS, np.array([0.5, 2.0]), "embedding confidence in 0..1"),
    ],
)
def test_a_fault_of_embeddings_fails_its_own_check(vectors, confidence, name):
    assert failed(check_embeddings(vectors, confidence)) == [name]


NEIGHBORS, COMMON, SCORES = (
    np.array([[1, 2], [0, -1], [0, -1]]),
    np.array([[7, 5], [7, 0], [5, 0]]),
    [[0.5, 0.4], [0.5, 0], [0.4, 0]],
)


def test_sound_similarity_passes():
    assert failed(check_similarity(NEIGHBORS, COMMON, np.array(SCORES), 5)) == []
    assert failed(check_similarity(np.zeros((1, 0), int), np.zeros((1, 0), int), np.zeros((1, 0)), 5)) == []


@pytest.mark.parametrize(
    ("neighbors", "common", "scores", "name"),
    [
        (np.array([[1, 2], [1, -1], [0, -1]]), COMMON, SCORES, "nobody is their own neighbour"),
        (NEIGHBORS, np.array([[7, 4], [7, 0], [5, 0]]), SCORES, "neighbours share at least 5 tracks"),
        (NEIGHBORS, COMMON, [[0.4, 0.5], [0.5, 0], [0.4, 0]], "neighbours stand best first"),
    ],
)
def test_a_fault_of_similarity_fails_its_own_check(neighbors, common, scores, name):
    assert failed(check_similarity(neighbors, common, np.array(scores), 5)) == [name]


SIZES, RANKED, EXPLAINED = [3, 1], [0.9, 0.9, 0.1, 1.0], [True] * 4
"""The second list begins above where the first one ends, which is no fault."""


def faults(size: list[int], scores: list[float], explained: list[bool], forbidden: int = 0) -> ListFaults:
    return faults_of(np.array(size, int), np.array(scores, float), np.array(explained, bool), forbidden)


def test_sound_lists_pass():
    assert failed(check_lists(faults(SIZES, RANKED, EXPLAINED), 2)) == []
    assert failed(check_lists(faults([], [], []), 0)) == []


@pytest.mark.parametrize(
    ("size", "scores", "explained", "forbidden", "name"),
    [
        ([], [], [], 0, "there are lists where there is taste"),
        ([1], [1.5], [True], 0, "scores lie in 0..1"),
        ([1], [-0.5], [True], 0, "scores lie in 0..1"),
        ([1], [np.nan], [True], 0, "scores lie in 0..1"),
        ([2], [0.1, 0.2], [True] * 2, 0, "scores do not rise with rank"),
        ([1, 2], [0.1, 0.1, 0.2], [True] * 3, 0, "scores do not rise with rank"),
        ([2], [0.2, 0.1], [True, False], 0, "every track has a reason"),
        (SIZES, RANKED, EXPLAINED, 1, "no forbidden track is recommended"),
    ],
)
def test_a_fault_of_lists_fails_its_own_check(size, scores, explained, forbidden, name):
    assert failed(check_lists(faults(size, scores, explained, forbidden), 2)) == [name]


def test_faults_of_lists_are_counted_each():
    found = faults([2, 2], [0.1, 0.2, 1.5, 1.6], [False, True, False, False], 7)
    assert found == ListFaults(2, outside=2, rising=2, bare=3, forbidden=7)
    assert found + found == ListFaults(4, 4, 4, 6, 14)


def test_the_verdict_names_the_first_fault_and_counts_them():
    good, bad, worse = Check("a", True, "1"), Check("b", False, "2 of 3"), Check("c", False, "9")
    assert verdict([good, good]) == "2 checks passed"
    assert verdict([good, bad, worse]) == "2 of 3 checks failed, first: b (2 of 3)"


def test_a_check_is_plain_data():
    assert Check("a", True, "1").to_dict() == {"name": "a", "passed": True, "detail": "1", "against": ""}
    for check in (*check_profiles(PROFILES, SURE, 2), *check_similarity(NEIGHBORS, COMMON, np.array(SCORES), 5)):
        assert type(check.passed) is bool


@pytest.mark.parametrize("seed", range(5))
def test_what_is_computed_of_any_world_passes(seed):
    evidence = evidence_of(random_world(seed))
    data, made = evidence.dataset, evidence.embeddings
    profiles = build_profiles(evidence.interactions, data.plays, data.catalog, as_of_ms=AS_OF, top_genres=5)
    similar = similar_users(evidence.interactions.plays, k=4, min_common=2)
    lists = lists_of(evidence)
    checks = [
        *check_profiles(profiles.vectors, profiles.confidence, len(np.unique(data.plays.user))),
        check_ranges(profiles.dimensions, profiles.vectors),
        *check_embeddings(made.vectors, made.confidence),
        *check_similarity(similar.neighbors, similar.common, similar.jaccard, 2),
        *check_lists(
            faults_of(
                np.array([len(e.tracks) for e in lists]),
                np.concatenate([e.scores for e in lists]),
                np.array([any(reasons) for e in lists for reasons in e.reasons]),
            ),
            len(data.users),
        ),
    ]
    assert failed(checks) == []
