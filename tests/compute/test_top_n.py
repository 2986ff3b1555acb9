"""The best of all tracks, against all products at once."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from features.compute import top_n as module
from features.compute.top_n import TopN, by_length, top_n, top_n_of
from features.compute.topk import top_k


def plainly(users: np.ndarray, tracks: np.ndarray, heard: sp.csr_matrix, n: int) -> TopN:
    products = users[:, None, :].astype(np.float64) * tracks[None, :, :]  # exact
    whole = users.shape[1] // 8 * 8
    lanes = [sum((products[:, :, k] for k in range(lane, whole, 8)), np.zeros(products.shape[:2])) for lane in range(8)]
    a, b, c, d, e, f, g, h = lanes
    scores = ((a + b) + (c + d)) + ((e + f) + (g + h)) + products[:, :, whole:].sum(axis=2)
    scores[np.repeat(np.arange(len(users)), np.diff(heard.indptr)), heard.indices] = -np.inf
    best = top_k(scores, n)
    of_best = np.take_along_axis(scores, np.maximum(best, 0), axis=1)
    return TopN(best, np.where(best >= 0, of_best, -np.inf).astype(np.float32))


def assert_same(one: TopN, other: TopN) -> None:
    np.testing.assert_array_equal(one.tracks, other.tracks)
    assert one.tracks.dtype == other.tracks.dtype == np.int32
    assert (one.scores + np.float32(0)).tobytes() == (other.scores + np.float32(0)).tobytes()  # -0 is 0


def some_heard(rng: np.random.Generator, users: int, tracks: int, share: float) -> sp.csr_matrix:
    return sp.csr_matrix(rng.random((users, tracks)) < share)


def drawn(seed: int, users: int, tracks: int, dimensions: int) -> tuple[np.ndarray, np.ndarray, sp.csr_matrix]:
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(0.0, 1.0, (tracks, 1))
    return (
        rng.normal(size=(users, dimensions)).astype(np.float32),
        (rng.normal(size=(tracks, dimensions)) * lengths).astype(np.float32),
        some_heard(rng, users, tracks, 0.1),
    )


def test_best_first_without_what_was_heard_and_ties_to_the_lower_number():
    users = np.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]], np.float32)
    tracks = np.array([[1.0, 0.0], [3.0, 9.0], [2.0, 5.0], [2.0, 5.0]], np.float32)
    heard = sp.csr_matrix(np.array([[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0]]))
    made = top_n(users, tracks, heard, 3)
    assert made.tracks.tolist() == [[1, 2, 3], [2, 3, 0], [3, -1, -1]]
    assert made.scores.tolist() == [[3, 2, 2], [7, 7, 1], [-2, -np.inf, -np.inf]]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_on_matrices_full_of_ties_it_is_what_all_products_say(data):
    users, tracks, dimensions = (
        data.draw(st.integers(0, most), name) for most, name in ((9, "u"), (150, "t"), (4, "d"))
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 9999), "seed"))
    whole = rng.integers(-1, data.draw(st.integers(1, 3), "most") + 1, (users + tracks, dimensions)).astype(np.float32)
    heard = some_heard(rng, users, tracks, data.draw(st.sampled_from([0.0, 0.2, 0.9]), "share"))
    n = data.draw(st.integers(0, 160), "n")
    rows = data.draw(st.integers(1, 9), "rows")
    made = top_n(whole[:users], whole[users:], heard, n, rows=rows)
    assert_same(made, plainly(whole[:users], whole[users:], heard, n))


@pytest.mark.parametrize("dimensions", [1, 7, 64])
@pytest.mark.parametrize("n", [1, 10, 400])
def test_neither_threads_nor_shards_nor_blocks_change_a_bit(dimensions, n, monkeypatch):
    users, tracks, heard = drawn(1, 90, 1000, dimensions)
    expected = plainly(users, tracks, heard, n)
    for blocks in ((512, 576), (16, 100), (7, 999)):
        monkeypatch.setattr(module, "USER_BLOCK", blocks[0])
        monkeypatch.setattr(module, "TRACK_BLOCK", blocks[1])
        for threads, rows in ((1, 90), (2, 31), (4, 7)):
            assert_same(top_n(users, tracks, heard, n, threads=threads, rows=rows), expected)


def test_a_users_best_are_the_same_whoever_stands_beside():
    users, tracks, heard = drawn(2, 60, 500, 24)
    whole, laid_out = top_n(users, tracks, heard, 20), by_length(tracks)
    asked = np.array([59, 3, 3, 17])
    made = top_n_of(users[asked], laid_out, heard[asked], 20)
    assert_same(made, TopN(whole.tracks[asked], whole.scores[asked]))


def test_what_single_precision_cannot_tell_apart_is_told_apart():
    rng = np.random.default_rng(3)
    small = rng.permutation(300).astype(np.float32) / 1e5
    large = np.full(300, 4096.0, np.float32)
    tracks = np.stack([large, small, -large], axis=1)
    users = np.ones((2, 3), np.float32)
    assert len(np.unique(users[:1] @ tracks.T)) < 20
    made = top_n(users, tracks, sp.csr_matrix((2, 300)), 40)
    assert small[made.tracks[0]].tolist() == sorted(small, reverse=True)[:40]


def test_products_too_small_for_single_precision_rank_as_well():
    users, tracks, heard = drawn(4, 5, 300, 8)
    users *= np.float32(1e-25)
    tracks *= np.float32(1e-20)
    np.testing.assert_array_equal(top_n(users, tracks, heard, 9).tracks, plainly(users, tracks, heard, 9).tracks)


def test_users_and_tracks_without_factors_tie_at_nothing():
    users, tracks, heard = drawn(5, 6, 200, 3)
    users[[0, 4]] = 0.0
    tracks[::2] = 0.0
    tracks[1::4] = -np.abs(tracks[1::4])
    for n in (5, 199, 300):
        assert_same(top_n(users, tracks, heard, n), plainly(users, tracks, heard, n))


def test_tracks_too_short_to_enter_are_not_multiplied(monkeypatch):
    users, tracks, heard = drawn(6, 40, 2000, 8)
    tracks[400:] *= np.float32(1e-3)
    monkeypatch.setattr(module, "TRACK_BLOCK", 100)
    asked = []
    product = np.matmul
    monkeypatch.setattr(module.np, "matmul", lambda a, b, out: asked.append(b.shape[1]) or product(a, b, out=out))
    made = top_n(users, tracks, heard, 10)
    assert sum(asked) <= 900  # of 2,000
    assert_same(made, plainly(users, tracks, heard, 10))


def test_inputs_stay_as_they_are_and_may_be_read_only_or_strided():
    users, tracks, heard = drawn(7, 12, 90, 6)
    expected = top_n(users, tracks, heard, 7)
    wide = np.repeat(tracks, 2, axis=1)[:, ::2]
    for array in (users, wide, heard.indices, heard.indptr):
        array.setflags(write=False)
    assert_same(top_n(users[:, :], wide, heard, 7), expected)


@pytest.mark.parametrize("whose", [0, 1])
def test_factors_that_are_no_numbers_are_refused(whose):
    given = list(drawn(8, 5, 9, 3))
    given[whose][3, 1] = np.nan
    with pytest.raises(ValueError, match=rf"1 of the {('users', 'tracks')[whose]} .* first number 3"):
        top_n(*given, 4)


def test_factors_whose_products_single_precision_cannot_hold_are_refused():
    users, tracks, heard = drawn(9, 5, 9, 3)
    with pytest.raises(ValueError, match="float32 can't hold"):
        top_n(users * np.float32(1e20), tracks * np.float32(1e18), heard, 4)
