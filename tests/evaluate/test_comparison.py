"""A release in context: each check seen holding, failing, and standing aside where there is too little to compare."""

import numpy as np
import pytest

from features.evaluate.comparison import (
    check_active,
    check_counts,
    check_missing,
    check_profiles_against,
    check_rank,
    check_ranking,
    check_recent_plays,
    check_set_aside,
    check_volume,
)
from features.parameters import GateParameters

HOW = GateParameters()
NAN = float("nan")


def failed(checks):
    return [check.name for check in checks if not check.passed]


def told(check, *texts):
    return all(text in check.detail for text in texts)


def test_an_input_that_lost_half_its_rows_is_named_with_both_figures():
    recent = [{"plays": rows, "tracks": 2_000.0} for rows in (10_000.0, 12_000.0, 11_000.0)]
    check = check_volume({"plays": 5_400.0, "tracks": 2_100.0}, recent, HOW)
    assert not check.passed
    assert told(check, "plays 5,400 of 11,000", "at least 50% of the median")
    assert not told(check, "tracks")
    assert check_volume({"plays": 5_500.0, "tracks": 1_000.0}, recent, HOW).passed
    assert not check_volume({"plays": 9_000.0, "tracks": 0.0}, recent, HOW).passed


def test_one_night_out_of_line_does_not_move_the_median():
    recent = [{"plays": rows} for rows in (10_000.0, 1.0, 11_000.0, 900_000.0)]
    assert not check_volume({"plays": 5_000.0}, recent, HOW).passed
    assert check_volume({"plays": 5_300.0}, recent, HOW).passed


@pytest.mark.parametrize(
    "recent",
    [
        [],
        [{"plays": 50_000.0}] * 2,  # too few nights
        [{"plays": 999.0}] * 7,  # too few rows
        [{}, {}, {"plays": 50_000.0}, {"plays": NAN}],  # too few nights that know
    ],
)
def test_without_enough_to_compare_a_small_input_passes_and_says_why(recent):
    check = check_volume({"plays": 1.0}, recent, HOW)
    assert check.passed
    assert told(check, "too little to compare")


WEEK = {"plays_last_day": 500.0, "plays_last_week": 3_500.0}


@pytest.mark.parametrize(
    ("day", "week", "names"),
    [
        (500.0, 3_500.0, []),
        (50.0, 1_750.0, []),
        (49.0, 3_000.0, ["the last day has its plays"]),
        (400.0, 1_749.0, ["the last week has its plays"]),
        (0.0, 0.0, ["the last day has its plays", "the last week has its plays"]),
    ],
)
def test_days_without_plays_are_noticed(day, week, names):
    assert failed(check_recent_plays({"plays_last_day": day, "plays_last_week": week}, [WEEK] * 3, HOW)) == names


def test_one_persons_holiday_is_no_fault():
    alone = {"plays_last_day": 40.0, "plays_last_week": 280.0}
    assert failed(check_recent_plays({"plays_last_day": 0.0, "plays_last_week": 0.0}, [alone] * 7, HOW)) == []
    assert failed(check_recent_plays({}, [WEEK] * 7, HOW)) == []  # built before this was measured
    assert failed(check_recent_plays({"plays_last_day": 0.0, "plays_last_week": 0.0}, [WEEK] * 2, HOW)) == []


FEW, MORE = "few documents are set aside", "no more documents are set aside than usual"


@pytest.mark.parametrize(
    ("aside", "read", "usual", "names"),
    [
        (0, 10_000, 0, []),
        (19, 10_000, 0, []),  # too few to be held against a night
        (21, 10_000, 0, [MORE]),
        (300, 10_000, 100, []),
        (301, 10_000, 100, [MORE]),
        (2_001, 10_000, 1_000, [FEW]),
        (9_000, 10_000, 10, [FEW, MORE]),
        (900, 999, 10, []),
    ],
)
def test_documents_set_aside_are_judged_by_themselves_and_against_recent_nights(aside, read, usual, names):
    recent = [{"plays": (usual, 10_000)}] * 3
    assert failed(check_set_aside({"plays": (aside, read)}, recent, HOW)) == names


def test_the_first_nights_are_held_to_the_limit_alone():
    check, compared = check_set_aside({"plays": (150, 1_000), "feedback": (300, 1_000)}, [], HOW)
    assert not check.passed
    assert told(check, "feedback 30.00%", "at most 20%")
    assert compared.passed
    few_read = [{"feedback": (0, 20)}] * 5
    assert failed(check_set_aside({"feedback": (150, 1_000)}, few_read, HOW)) == []
    assert failed(check_set_aside({"feedback": (0, 0)}, [{"feedback": (0, 0)}] * 5, HOW)) == []


SOUND = {
    "plays_last_week": 5_000.0,
    "without_completion": 0.05,
    "without_audio": 0.2,
    "without_artist": 0.0,
    "without_genre": 0.1,
    "embeddings_empty": 0.0,
}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, []),
        ({"without_completion": 0.149}, []),
        ({"without_completion": 0.16}, ["without_completion 16.0%, usually 5.0%"]),
        ({"without_audio": 1.0, "without_artist": 1.0}, ["without_audio", "without_artist"]),
        ({"without_genre": 1.0}, ["without_genre 100.0%, usually 10.0%"]),
        ({"embeddings_empty": 0.2}, ["embeddings_empty"]),
        ({"without_audio": 0.0}, []),
        ({"without_audio": NAN}, []),
        ({"without_audio": 1.0, "plays_last_week": 999.0}, []),
        ({"embeddings_empty": 1.0, "plays_last_week": 0.0}, ["embeddings_empty"]),
    ],
)
def test_a_field_that_is_written_no_more_is_named(changed, named):
    check = check_missing(SOUND | changed, [SOUND] * 3, HOW)
    assert check.passed is not bool(named)
    assert told(check, *named)


def test_what_was_always_missing_is_not_held_against_a_night():
    bare = SOUND | {"without_audio": 1.0}
    assert check_missing(bare, [bare] * 3, HOW).passed
    assert check_missing(bare, [SOUND] * 2, HOW).passed
    assert check_missing(bare, [SOUND | {"plays_last_week": 10.0}] * 3, HOW).passed
    assert check_missing({}, [{}] * 3, HOW).passed


@pytest.mark.parametrize(
    ("now", "live", "passed"),
    [
        (5_000, 5_000, True),
        (4_000, 5_000, True),
        (3_999, 5_000, False),
        (9_500, 5_000, True),
        (9_501, 5_000, False),
        (0, 100, False),
        (0, 99, True),
        (50_000, 999, True),  # a young database grows
    ],
)
def test_outputs_are_about_as_many_as_the_live_ones(now, live, passed):
    check = check_counts({"user_profile": now, "similarity": 7}, {"user_profile": live, "similarity": 7}, HOW)
    assert check.passed is passed
    assert passed or told(check, f"user_profile {now:,}, live {live:,}", "0.8 to 1.9 times")
    assert check_counts({"user_profile": now}, {}, HOW).passed


@pytest.mark.parametrize(
    ("profiled", "listed", "passed"), [(200, 200, True), (198, 198, True), (197, 200, False), (200, 197, False)]
)
def test_active_listeners_have_a_profile_and_lists(profiled, listed, passed):
    measured = {"active_users": 200.0, "active_with_profile": profiled, "active_with_lists": listed}
    assert check_active(measured, HOW).passed is passed
    assert passed or told(check_active(measured, HOW), "197 of 200")


def test_of_a_handful_of_active_listeners_some_may_have_heard_everything():
    assert check_active({"active_users": 99.0, "active_with_profile": 99.0, "active_with_lists": 3.0}, HOW).passed
    assert check_active({}, HOW).passed


NAMES = ("energy_mean", "hour_03", "tempo_mean", "tempo_spread", "mode_mean")
DEAD, OTHER, DRIFTED = "no dimension has died", "no dimension is another altogether", "few dimensions have drifted"


def profiles(seed=0, users=400):
    rng = np.random.default_rng(seed)
    made = rng.normal(0.5, 0.1, (users, len(NAMES)))
    made[:, 1] = np.where(rng.random(users) < 0.1, made[:, 1], 0.0)  # hardly anybody is awake
    made[rng.random(made.shape) < 0.05] = np.nan
    return made


def against_live(now, live=None, live_names=NAMES):
    return check_profiles_against(NAMES, now, live_names, profiles() if live is None else live, HOW)


def with_column(column, values, of=None):
    made = profiles() if of is None else of
    made[:, column] = values
    return made


def test_profiles_of_the_same_people_and_of_others_alike_pass():
    assert failed(against_live(profiles())) == []
    assert failed(against_live(profiles(1))) == []
    assert against_live(profiles())[0].detail.startswith("5 compared")


@pytest.mark.parametrize("value", [NAN, 0.0, 0.37])
def test_a_dimension_that_is_undefined_or_constant_for_everyone_is_named(value):
    checks = against_live(with_column(0, value))
    assert failed(checks) == [DEAD]
    assert told(checks[0], "energy_mean")


def test_a_rounding_does_not_keep_a_dimension_alive():
    dust = np.where(np.arange(400) % 2, 0.1 + 0.2, 0.3)
    assert failed(against_live(with_column(0, dust))) == [DEAD]


def test_what_said_nothing_before_may_go_on_saying_nothing():
    for value in (NAN, 0.0):
        assert failed(against_live(with_column(0, value), with_column(0, value))) == []


def test_what_hardly_anybody_had_may_end_and_what_nobody_had_may_begin():
    rare = np.where(np.arange(400) < 19, 0.5, 0.0)
    assert failed(against_live(with_column(1, 0.0), with_column(1, rare))) == []
    common = np.where(np.arange(400) < 21, 0.5, 0.0)
    assert failed(against_live(with_column(1, 0.0), with_column(1, common))) == [DEAD]
    assert failed(against_live(profiles(), with_column(2, 0.0))) == []  # the first Tuesday of a history


def test_another_unit_is_another_dimension_altogether():
    checks = against_live(with_column(2, profiles()[:, 2] * 250))
    assert failed(checks) == [OTHER]
    assert told(checks[1], "tempo_mean", "PSI at most 1")
    assert not told(checks[1], "energy_mean")


def test_many_dimensions_that_shift_a_little_are_noticed_together():
    shift = np.array([0.06, 0.0, 0.06, 0.0, 0.0])
    checks = against_live(profiles() + shift)
    assert failed(checks) == [DRIFTED]  # two of five are more than a quarter
    assert told(checks[2], "2 of 5 dimensions", "energy_mean", "tempo_mean", "at most 25%")
    one = np.array([0.06, 0.0, 0.0, 0.0, 0.0])
    assert failed(against_live(profiles() + one)) == []


def test_dimensions_are_compared_by_name_and_genres_may_come_and_go():
    order = [3, 1, 4, 0]
    names = [*(NAMES[column] for column in order), "genre_gone"]
    live = np.column_stack([profiles()[:, order], np.linspace(0, 1, 400)])
    checks = against_live(profiles(), live, names)
    assert failed(checks) == []
    assert told(checks[0], "4 compared")


def test_few_profiles_are_not_compared():
    for users, live_users in ((99, 400), (400, 99), (400, 0)):
        checks = against_live(with_column(0, NAN, profiles(users=users)), profiles(users=live_users))
        assert failed(checks) == []
        assert all(told(check, "too little to compare") for check in checks)
    assert failed(check_profiles_against(NAMES, profiles(), [], np.zeros((0, 0)), HOW)) == []


def test_embeddings_that_lost_dimensions_are_noticed():
    def check(now, live, tracks=100):
        return check_rank({"embedding_rank": now}, {"embedding_rank": live}, tracks, HOW)

    assert check(96.0, 96.0).passed
    assert check(87.0, 96.0).passed
    assert not check(86.0, 96.0).passed
    assert told(check(84.0, 96.0), "84, live 96")
    assert check(1.0, 96.0, tracks=99).passed
    assert check(1.0, NAN).passed
    assert check_rank({}, {}, 500, HOW).passed


def ranked(ndcg, error=0.002, users=500.0):
    return {"ndcg@100": ndcg, "ndcg@100_se": error, "users": users}


@pytest.mark.parametrize(
    ("now", "live", "passed"),
    [
        (ranked(0.20), ranked(0.20), True),
        (ranked(0.30), ranked(0.20), True),
        (ranked(0.181), ranked(0.20), True),  # no chance, but small
        (ranked(0.179), ranked(0.20), False),
        (ranked(0.10, 0.04), ranked(0.20), True),  # large, but chance
        (ranked(0.10), ranked(0.20, 0.04), True),
        (ranked(0.15, 0.012), ranked(0.20, 0.012), True),  # both errors count
        (ranked(0.10, 0.03), ranked(0.20), False),
        (ranked(0.0, 0.0), ranked(0.20), False),
        (ranked(0.0, users=29.0), ranked(0.20), True),
        (ranked(0.0), ranked(0.20, users=29.0), True),
        (ranked(NAN, NAN, 0.0), ranked(0.20), True),
        (ranked(0.0), {}, True),
        ({}, ranked(0.20), True),
    ],
)
def test_a_drop_in_ranking_fails_when_it_is_large_and_no_chance(now, live, passed):
    check = check_ranking(now, live, 100, HOW)
    assert check.passed is passed
    assert passed or told(check, "ndcg@100 ", "live 0.2000", "not both 10% and 3 errors lower")


def test_only_figures_at_the_same_k_are_compared():
    assert check_ranking(ranked(0.0), ranked(0.2), 50, HOW).passed
    assert told(check_ranking(ranked(0.0), ranked(0.2), 50, HOW), "too little to compare")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("min_volume_ratio", 0.0, lambda how: check_volume({"plays": 1.0}, [{"plays": 9_999.0}] * 3, how)),
        ("min_nights", 4, lambda how: check_volume({"plays": 1.0}, [{"plays": 9_999.0}] * 3, how)),
        ("min_rows", 10_000, lambda how: check_volume({"plays": 1.0}, [{"plays": 9_999.0}] * 3, how)),
        ("min_day_ratio", 0.0, lambda how: check_recent_plays(WEEK | {"plays_last_day": 0.0}, [WEEK] * 3, how)[0]),
        ("max_set_aside", 0.5, lambda how: check_set_aside({"plays": (400, 1_000)}, [], how)[0]),
        ("max_set_aside_growth", 9.0, lambda how: check_set_aside({"t": (8, 1_000)}, [{"t": (1, 1_000)}] * 3, how)[1]),
        ("min_set_aside", 0.1, lambda how: check_set_aside({"t": (80, 1_000)}, [{"t": (1, 1_000)}] * 3, how)[1]),
        ("max_missing_rise", 0.9, lambda how: check_missing(SOUND | {"without_audio": 1.0}, [SOUND] * 3, how)),
        ("min_count_ratio", 0.1, lambda how: check_counts({"u": 100}, {"u": 1_000}, how)),
        ("max_count_ratio", 3.0, lambda how: check_counts({"u": 3_000}, {"u": 1_000}, how)),
        ("min_entities", 2_000, lambda how: check_counts({"u": 100}, {"u": 1_000}, how)),
        (
            "min_active_coverage",
            0.5,
            lambda how: check_active(
                {"active_users": 500.0, "active_with_profile": 500.0, "active_with_lists": 250.0}, how
            ),
        ),
        ("max_rank_loss", 0.5, lambda how: check_rank({"embedding_rank": 50.0}, {"embedding_rank": 96.0}, 500, how)),
        (
            "max_psi",
            100.0,
            lambda how: check_profiles_against(NAMES, with_column(2, 9.0 + profiles(3)[:, 2]), NAMES, profiles(), how)[
                1
            ],
        ),
        (
            "max_drifted",
            1.0,
            lambda how: check_profiles_against(NAMES, profiles() + 0.06, NAMES, profiles(), how)[2],
        ),
        ("max_ndcg_drop", 0.6, lambda how: check_ranking(ranked(0.1), ranked(0.2), 100, how)),
        ("ndcg_errors", 50.0, lambda how: check_ranking(ranked(0.1), ranked(0.2), 100, how)),
        ("min_ranked", 501, lambda how: check_ranking(ranked(0.1), ranked(0.2), 100, how)),
    ],
)
def test_every_limit_can_be_set(name, value, check):
    assert not check(HOW).passed
    assert check(HOW.model_copy(update={name: value})).passed


def test_there_is_a_case_above_for_every_limit():
    cases = test_every_limit_can_be_set.pytestmark[0].args[1]
    assert {name for name, _, _ in cases} == set(GateParameters.model_fields)


def test_many_faults_are_counted_and_the_first_named():
    used = {f"table {number}": 0.0 for number in range(8)}
    check = check_volume(used, [dict.fromkeys(used, 5_000.0)] * 3, HOW)
    assert check.detail.count(" of 5,000") == 5
    assert told(check, "and 3 more")
