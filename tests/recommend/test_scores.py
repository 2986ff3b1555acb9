"""Raw scores of the strategies, small enough to be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from worlds import account, evidence_of, play, random_world, tables, track

from features.compute.embeddings import degree_scaled
from features.recommend.scores import (
    collaborative_scores,
    content_scores,
    forbidden,
    hybrid_scores,
    popularity_scores,
    standardized,
)

SCORES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.just(-np.inf) | st.floats(-100, 100).map(lambda x: round(x, 3)),
)


def test_standard_scores_have_mean_nothing_and_spread_one():
    made = standardized(np.array([[1.0, 3.0, -np.inf], [5.0, -np.inf, -np.inf]]))
    assert made.tolist() == [[-1.0, 1.0, -np.inf], [0.0, -np.inf, -np.inf]]


def test_scores_that_are_all_the_same_are_all_average():
    for value in (0.1, 1e-12, 12345.678):
        for count in range(1, 20):  # thrice 0.1 is not 0.3: some of their means are off by a rounding
            assert not standardized(np.full((2, count), value)).any()


@given(SCORES)
def test_standard_scores_keep_the_order_and_leave_out_what_is_left_out(scores):
    before, made = scores.copy(), standardized(scores)
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_array_equal(np.isneginf(made), np.isneginf(scores))
    assert not np.isnan(made).any()
    for row, standard in zip(scores, made, strict=True):
        order = np.argsort(row, kind="stable")
        finite = order[np.isfinite(row[order])]
        assert (np.diff(standard[finite]) >= 0).all()
        assert standard[finite].sum() == pytest.approx(0, abs=1e-6)


def test_content_scores_are_cosines_with_the_weighted_mean_of_what_is_liked():
    world = tables(
        plays=[play("u", "a"), play("v", "b")],
        tracks=[track("a", "A", ["rock"]), track("same", "A", ["rock"]), track("b", "B"), track("blank")],
    )
    evidence = evidence_of(world)
    scores = content_scores(evidence, np.arange(len(evidence.dataset.users)))
    ids = evidence.dataset.tracks.ids()
    assert scores[0, ids.index("a")] == pytest.approx(1.0)
    assert scores[0, ids.index("same")] == pytest.approx(1.0)
    assert scores[0, ids.index("blank")] == -np.inf


def test_a_listener_of_nothing_has_no_scores():
    evidence = evidence_of(tables(plays=[play("u", "a")], tracks=[track("a", "A")], users=[account("new")]))
    new = np.array([evidence.dataset.users.ids().index("new")])
    assert np.isneginf(collaborative_scores(evidence, new)).all()
    assert np.isneginf(content_scores(evidence, new)).all()


def test_popularity_rises_with_listeners_and_leaves_out_the_unplayed():
    evidence = evidence_of(tables(plays=[play("u", "a"), play("v", "a"), play("u", "b")] * 2, tracks=[track("c")]))
    scores = popularity_scores(evidence, np.array([0, 1]))
    assert scores.shape == (2, 3)
    assert scores[0].tolist() == scores[1].tolist() == [pytest.approx(np.log(3)), pytest.approx(np.log(2)), -np.inf]


def test_the_blend_trusts_listening_more_the_more_there_is():
    plays = [
        play("little", "t00"),
        *[play("much", f"t{i:02d}") for i in range(10)],
        play("other", "x"),
        play("other", "y"),
    ]
    evidence = evidence_of(tables(plays=plays))
    users = np.arange(3)
    one, other = np.tile([1.0, 2.0], (3, 1)), np.tile([2.0, 1.0], (3, 1))
    known = np.diff(evidence.interactions.weights.indptr)
    assert known.tolist() == [1, 10, 2]
    share = 0.7 * known / (known + 10)
    blend = hybrid_scores(evidence, users, one, other)
    assert blend == pytest.approx(np.column_stack([1 - 2 * share, 2 * share - 1]))


def test_what_one_side_says_nothing_of_is_average_there_and_what_neither_does_is_left_out():
    evidence = evidence_of(tables(plays=[play("u", t) for t in "abcdefghij"]))
    nothing = -np.inf
    blend = hybrid_scores(
        evidence, np.array([0]), np.array([[1.0, 3.0, nothing, nothing]]), np.array([[nothing, 1.0, 3.0, nothing]])
    )
    assert blend[0].tolist() == [pytest.approx(-0.35), pytest.approx(0.35 - 0.65), pytest.approx(0.65), nothing]


def test_limits_count_where_both_sides_are_known():
    world = tables(
        plays=[play("heard-it", "free")],
        tracks=[
            track("free"),
            track("rude", explicit=True),
            track("german", markets=["DE"]),
            track("unasked", markets=[]),  # a catalogue that never asked for markets
        ],
        users=[
            account("child", explicit_content=False),
            account("us", country="us "),
            account("de", country="DE"),
            account("any"),
        ],
    )
    evidence = evidence_of(world)
    mask = forbidden(evidence, np.arange(len(evidence.dataset.users)), include_heard=False)
    tracks = evidence.dataset.tracks.ids()
    left_out = {
        user: {tracks[t] for t in np.nonzero(row)[0]}
        for user, row in zip(evidence.dataset.users.ids(), mask, strict=True)
    }
    assert left_out == {
        "any": set(),
        "child": {"rude"},
        "de": set(),
        "us": {"german"},
        "heard-it": {"free"},
    }


def test_scaled_weights_are_those_the_decomposition_saw_in_the_same_places():
    evidence = evidence_of(random_world(4))
    weights, scaled = evidence.interactions.weights, evidence.scaled_weights
    np.testing.assert_array_equal(scaled.indices, weights.indices)
    dense = weights.toarray()
    rows, columns = np.maximum((dense > 0).sum(axis=1), 1), np.maximum((dense > 0).sum(axis=0), 1)
    expected = dense / rows[:, None] ** 0.3 / columns[None, :] ** 0.3
    np.testing.assert_allclose(degree_scaled(weights).toarray(), expected)
    np.testing.assert_allclose(scaled.toarray(), expected)
