"""Whether single pairs may be listed is what the filters say of whole rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from worlds import evidence_of, random_world, with_few_titles

from features.recommend.pairs import forbidden_pairs, holds


@pytest.mark.parametrize("include_heard", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_forbidden_as_rows_are(seed: int, include_heard: bool):
    filters = evidence_of(with_few_titles(random_world(seed), seed)).filters
    assert filters.known_otherwise.nnz
    users, tracks = len(filters.dataset.users), len(filters.dataset.tracks)
    every = np.divmod(np.arange(users * tracks), tracks)
    rows = filters.forbidden(np.arange(users), include_heard=include_heard)
    assert rows.any()
    assert not rows.all()
    found = forbidden_pairs(filters, *every, include_heard=include_heard)
    np.testing.assert_array_equal(found.reshape(users, tracks), rows)


def test_a_place_holds_what_is_stored_there_in_whatever_order():
    matrix = sp.csr_matrix((np.ones(4), np.array([3, 0, 2, 1]), np.array([0, 2, 2, 4])), shape=(3, 4))
    assert not matrix.has_sorted_indices
    rows, columns = np.divmod(np.arange(12), 4)
    expected = [True, False, False, True, *[False] * 4, False, True, True, False]
    assert holds(matrix, rows, columns).tolist() == expected
    assert not holds(matrix, np.zeros(0, int), np.zeros(0, int)).size
