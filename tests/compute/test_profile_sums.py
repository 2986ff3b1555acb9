"""Sums that profiles are made of, against scipy's products, to the bit."""

import numpy as np
import pytest
import scipy.sparse as sp

from features.compute.profile_sums import evenness_sums, listeners_of, weighted_sums

USERS = np.array([0, 2, 3, 7], np.int32)


def drawn(seed: int, rows: int, columns: int, density: float = 0.3) -> sp.csr_matrix:
    matrix = sp.random(rows, columns, density, format="csr", rng=np.random.default_rng(seed))
    matrix.sort_indices()
    return matrix


@pytest.mark.parametrize("seed", range(3))
def test_weighted_sums_are_the_products(seed):
    weights, shares = drawn(seed, 9, 40), drawn(seed + 10, 40, 5)
    said = np.random.default_rng(seed).normal(size=(40, 6))
    sums, shared = weighted_sums(weights, USERS, said, shares)
    assert sums.tobytes() == (weights[USERS] @ said).tobytes()
    assert shared.tobytes() == (weights[USERS] @ shares).toarray().tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_evenness_sums_are_those_of_counts_by_track_and_by_artist(seed):
    rng = np.random.default_rng(seed)
    played = drawn(seed, 9, 40)
    played.data = rng.integers(1, 9, played.nnz)
    played = played.astype(np.int32)
    artist = rng.integers(-1, 6, 40).astype(np.int32)
    number = np.arange(1, 400)
    logs = np.concatenate([[0.0], number * np.log(number)])
    by_track, total, by_artist = evenness_sums(played, USERS, artist, 6, logs)
    for row, user in enumerate(USERS):
        counts = played[user].toarray().ravel()
        artists = np.array([counts[artist == one].sum() for one in range(6)])
        assert total[row] == artists.sum()
        np.testing.assert_allclose(by_track[row], logs[counts].sum(), rtol=1e-14)
        np.testing.assert_allclose(by_artist[row], logs[artists].sum(), rtol=1e-14)


@pytest.mark.parametrize("threads", [1, 3])
def test_listeners_of_a_group_are_counted_once_each(threads):
    played, groups = drawn(1, 30, 40), drawn(2, 40, 7, 0.1)
    expected = ((played.toarray() > 0).astype(int) @ (groups.toarray() > 0) > 0).sum(axis=0)
    assert listeners_of(played, groups, threads).tolist() == expected.tolist()
