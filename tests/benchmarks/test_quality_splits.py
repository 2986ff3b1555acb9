import numpy as np
import pytest

from benchmarks.quality.cases import first_listens_case, next_plays_case, pair_case, warm_and_cold
from benchmarks.quality.splits import held_out, held_out_first_listens, held_out_plays, neutral
from tests.benchmarks.listens import by_chance, listens


@pytest.mark.parametrize(("tracks", "out"), [(1, 0), (4, 0), (5, 1), (9, 1), (10, 2), (11, 2)])
def test_of_n_tracks_n_less_four_fifths_rounded_up_are_held_out(tracks, out):
    assert held_out(np.zeros(tracks, int), None, 0).sum() == out


def test_with_times_the_latest_are_held_out_whatever_the_order_of_rows():
    at = np.array([50, 10, 40, 20, 30])
    assert held_out(np.zeros(5, int), at, 0).tolist() == [True, False, False, False, False]


def test_pairs_of_one_moment_are_drawn_by_the_seed():
    drawn = {held_out(np.zeros(5, int), np.zeros(5), seed).argmax() for seed in range(30)}
    assert drawn == set(range(5))
    assert np.array_equal(held_out(np.zeros(5, int), None, 4), held_out(np.zeros(5, int), None, 4))


def test_a_user_with_few_tracks_takes_nothing_from_the_share_of_another():
    user = np.array([0] * 10 + [1] * 3)
    assert held_out(user, None, 0)[10:].sum() == 0
    assert held_out(user, None, 0)[:10].sum() == 2


def test_nothing_is_learned_from_what_was_played_since_the_first_track_held_out():
    item = np.array([0, 1, 2, 3, 0, 4, 0, 1])
    at = np.array([1, 2, 3, 4, 5, 6, 7, 6])
    kept, asked = held_out_first_listens(np.zeros(8, int), item, at, 0)
    assert asked.tolist() == [5]
    assert kept.tolist() == [True] * 5 + [False] * 3


def test_next_plays_hold_out_the_last_fifth_of_plays_heard_before_or_not():
    at = np.array([9, 1, 2, 3, 4, 5, 6, 7, 8, 10])
    assert np.flatnonzero(held_out_plays(np.zeros(10, int), at)).tolist() == [0, 9]


def test_neutral_numbers_are_those_of_the_ids_and_not_in_their_order():
    item = np.array(["c", "a", "b", "a", *map(str, range(20))])
    number, ids = neutral(item)
    assert ids[number].tolist() == item.tolist()
    assert sorted(set(number.tolist())) == list(range(len(ids)))
    assert ids.tolist() != sorted(ids.tolist())


@pytest.mark.parametrize(("case_of", "times"), [(pair_case, True), (pair_case, False), (first_listens_case, True)])
def test_no_pair_that_is_asked_was_learned_from(case_of, times):
    made = by_chance(times=times)
    if case_of is pair_case and times:
        _, first = np.unique(made.user * made.tracks + made.item, return_index=True)
        made = listens(made.user[first], made.item[first], made.at_ms[first])
    case = case_of("a", "A", made)
    for split in (case.validation, case.test):
        assert split.relevant.nnz > 0
        assert split.relevant.multiply(split.history.weights > 0).nnz == 0


@pytest.mark.parametrize("case_of", [pair_case, first_listens_case, next_plays_case])
def test_validation_is_made_of_the_training_part_alone(case_of):
    made = by_chance()
    case = case_of("a", "A", made)
    learned, tried = case.test.history.weights > 0, case.validation
    assert (tried.relevant > learned).nnz == 0
    assert ((tried.history.weights > 0) > learned).nnz == 0
    assert len(tried.dataset.plays) < len(case.test.dataset.plays)


def test_with_repeats_what_was_heard_is_asked_too_and_may_be_answered():
    case = next_plays_case("a", "A", by_chance())
    assert case.test.relevant.multiply(case.test.history.weights > 0).nnz > 0
    assert not case.test.mask_heard


def test_weights_are_the_logarithm_of_how_often():
    case = pair_case("a", "A", listens([0] * 4, range(4), count=[1, 3, 7, 15]))
    assert case.test.history.weights.toarray() == pytest.approx(np.array([[1.0, 2.0, 3.0, 4.0]]))


def test_warm_and_cold_part_the_tracks_and_what_is_asked():
    case = pair_case("a", "A", by_chance(items=150, times=False))
    warm, cold = warm_and_cold(case)
    assert (warm.test.candidates ^ cold.test.candidates).all()
    assert warm.test.asked.nnz + cold.test.asked.nnz == case.test.relevant.nnz
    assert cold.test.asked.nnz > 0
    assert not (cold.test.history.listeners > 0)[cold.test.candidates].any()


def test_tracks_that_come_up_in_the_test_only_are_no_candidates_of_validation():
    case = pair_case("a", "A", by_chance(items=150, times=False))
    _, cold = warm_and_cold(case)
    unknown = case.test.history.listeners == 0
    assert unknown.any()
    assert not (cold.validation.candidates & unknown).any()
    assert cold.validation.asked.nnz > 0
