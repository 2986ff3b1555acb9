"""The table of what a play or a piece of feedback is worth, through the only door it is used by."""

import itertools

import numpy as np
import pytest
from worlds import AS_OF, DAY

from features.compute.interactions import Feedback, Plays, build_interactions, decay, play_weights
from features.compute.weights import SIGNAL_WEIGHTS, SKIPPED_PLAY_WEIGHT
from features.schema.names import SIGNALS

NO_PLAYS = Plays(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))


def weight_of_signal(
    signal: str, strength: float = np.nan, days_ago: float = 0.0, half_life_days: float = 180
) -> float:
    at = np.array([AS_OF - round(days_ago * DAY)])
    zero = np.zeros(1, np.int32)
    feedback = Feedback(zero, zero, np.array([signal], object), np.array([strength]), at)
    made = build_interactions(NO_PLAYS, feedback, (1, 1), as_of_ms=AS_OF, half_life_days=half_life_days)
    return float(made.weights.toarray()[0, 0])


def test_the_table_is_in_the_order_of_the_contract():
    completed, partial, skipped = play_weights(np.array([1.0, 0.4, 0.05], np.float32))
    table = SIGNAL_WEIGHTS
    assert table["love"] > table["like"] == table["save"] > table["replay"] > completed > partial > 0
    assert 0 > skipped > table["skip"] > table["dislike"]
    assert set(table) == set(SIGNALS)


@pytest.mark.parametrize("strength", [1.0, 2.0, 3.0, 4.0, 5.0])
def test_at_any_equal_strength_the_order_is_the_same(strength):
    love, like, save, replay = (weight_of_signal(s, strength) for s in ("love", "like", "save", "replay"))
    assert love > like == save > replay > 0
    assert weight_of_signal("skip", strength) == weight_of_signal("dislike", strength) == 0.0


def test_a_signal_is_scaled_by_its_strength_and_counts_as_it_is_without_one():
    assert weight_of_signal("like", 3.0) == weight_of_signal("like") == pytest.approx(3.0)
    assert weight_of_signal("like", 1.0) == pytest.approx(1.0)
    assert weight_of_signal("love", 5.0) == pytest.approx(25 / 3)


@pytest.mark.parametrize("signal", ["love", "like", "save", "replay"])
def test_a_signal_is_worth_half_at_the_half_life(signal):
    fresh = weight_of_signal(signal, 2.0)
    assert weight_of_signal(signal, 2.0, days_ago=90, half_life_days=90) == pytest.approx(fresh / 2, rel=1e-6)
    assert weight_of_signal(signal, 2.0, days_ago=180, half_life_days=90) == pytest.approx(fresh / 4, rel=1e-6)


def test_decay_halves_every_half_life_and_never_grows():
    at = AS_OF - np.array([0, 30, 60, -30]) * DAY
    assert decay(at, AS_OF, 30.0).tolist() == [1.0, 0.5, 0.25, 1.0]


def test_a_play_is_worth_more_the_more_of_it_was_heard():
    completions = np.linspace(0.15, 1.0, 50, dtype=np.float32)
    worth = play_weights(completions)
    assert (np.diff(worth) >= 0).all()
    assert worth[0] > 0
    assert worth[-1] == 1.0
    assert worth[completions < 0.8].max() < 1.0


def test_the_bounds_belong_to_the_better_side():
    for kind in (np.float32, np.float64):
        worth = play_weights(np.array([0.1499, 0.15, 0.8], kind))
        assert worth == pytest.approx([SKIPPED_PLAY_WEIGHT, 0.1, 1.0], abs=1e-6)


def test_unknown_completion_is_neither_zero_nor_a_skip():
    skipped, unknown, completed = play_weights(np.array([0.0, np.nan, 1.0], np.float32))
    assert skipped < 0 < unknown < completed


def test_play_weights_are_made_beside_their_input():
    completions = np.array([0.0, np.nan, 0.5, 1.0], np.float32)
    before = completions.copy()
    play_weights(completions)
    np.testing.assert_array_equal(completions, before)


def test_no_two_neighbouring_signals_but_like_and_save_are_worth_the_same():
    worth = [SIGNAL_WEIGHTS[signal] for signal in SIGNALS]
    assert [a == b for a, b in itertools.pairwise(worth)] == [False, True, False, False, False]
